#!/bin/sh
# Installs the programs that the tests start, with apt-get, and only those that are missing.
set -eu

# program:package
NEEDED="cc:build-essential redis-server:redis-server chromium:chromium /usr/sbin/nginx:nginx-light valgrind:valgrind"
# What is taken out of a package alone, since installing it would start a server.
TOOLS="$(dirname "$0")/../target/tools"

missing=""
for pair in $NEEDED; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
promtool=""
command -v promtool >/dev/null 2>&1 || [ -x "$TOOLS/promtool" ] || promtool="promtool"
[ -n "$missing$promtool" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "tests/install.sh: the tests need$missing $promtool; there is no apt-get here, so install that by hand" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
install() {
    # shellcheck disable=SC2086 # several packages, several words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}
# The lists of packages may be old, or not there at all.
if [ -n "$missing" ]; then
    echo "tests/install.sh: installing$missing"
    install || { $as_root apt-get update && install; }
fi
if [ -n "$promtool" ]; then
    echo "tests/install.sh: fetching promtool"
    package=$(mktemp -d)
    download() {
        (cd "$package" && apt-get download -q prometheus)
    }
    download || { $as_root apt-get update && download; }
    mkdir -p "$TOOLS"
    dpkg-deb --fsys-tarfile "$package"/prometheus_*.deb | tar -x --strip-components=3 -C "$TOOLS" ./usr/bin/promtool
    rm -r "$package"
fi
