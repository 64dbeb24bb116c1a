#!/bin/sh
# Installs the programs that the tests start, with apt-get, and only those that are missing.
set -eu

# program:package
NEEDED="cc:build-essential redis-server:redis-server"

missing=""
for pair in $NEEDED; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "tests/install.sh: the tests need$missing; there is no apt-get here, so install that by hand" >&2
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
echo "tests/install.sh: installing$missing"
# The lists of packages may be old, or not there at all.
install || { $as_root apt-get update && install; }
