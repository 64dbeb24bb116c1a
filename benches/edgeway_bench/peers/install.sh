#!/bin/sh
# Fetches the servers that Edgeway is measured beside, into target/peers: Nchan out of Debian's package, without installing
# it, since that would touch a running nginx; Socket.IO from npm, at the versions of the lock file.
set -eu

cd "$(dirname "$0")/../../.."
PEERS="$PWD/target/peers"
mkdir -p "$PEERS"
if ! [ -e "$PEERS/ngx_nchan_module.so" ]; then
    package=$(mktemp -d)
    (cd "$package" && { apt-get download -q libnginx-mod-nchan || { apt-get update -q && apt-get download -q libnginx-mod-nchan; }; })
    dpkg-deb --fsys-tarfile "$package"/libnginx-mod-nchan_*.deb |
        tar -x --strip-components=5 -C "$PEERS" ./usr/lib/nginx/modules/ngx_nchan_module.so
    rm -r "$package"
fi
cp benches/edgeway_bench/peers/package.json benches/edgeway_bench/peers/package-lock.json "$PEERS"
npm ci --silent --prefix "$PEERS"
