#!/bin/sh
# What comes with the project: licences, bans, duplicates, sources and advisories (cargo-deny), crates that nobody uses
# (cargo-machete), and a bill of materials in target/ (cargo-cyclonedx). Installs its tools into target/tools.
#
# ADVISORIES=must: it is an error, too, if the list of known advisories can't be fetched.
set -eu
cd "$(dirname "$0")/.."

TOOLS=target/tools
BILL=edgeway.cdx
failed=""
unchecked=""

# Does nothing for a version that is there already.
cargo install --quiet --locked --root "$TOOLS" cargo-deny@0.20.2 cargo-machete@0.9.2 cargo-cyclonedx@0.5.9
PATH="$PWD/$TOOLS/bin:$PATH"

step() {
    echo "supply-chain: $*"
    "$@" || failed="$failed
  $*"
}

step cargo deny --locked check bans licenses sources
# The list lives on GitHub: whether it can be had says nothing of what stands in it.
if cargo deny --locked fetch db; then
    step cargo deny --locked check --disable-fetch advisories
else
    unchecked="the list of advisories (RustSec) can't be fetched: NOBODY HAS LOOKED FOR KNOWN VULNERABILITIES"
    [ "${ADVISORIES:-}" != must ] || failed="$failed
  $unchecked"
fi
step cargo machete
step cargo cyclonedx --format json --all --override-filename "$BILL"
# It can only write beside Cargo.toml.
[ ! -f "$BILL.json" ] || mv "$BILL.json" target/

[ -z "$unchecked" ] || echo "supply-chain: $unchecked" >&2
if [ -n "$failed" ]; then
    echo "supply-chain: failed:$failed" >&2
    exit 1
fi
[ -n "$unchecked" ] && what="the rest" || what="everything"
echo "supply-chain: $what is in order; the bill of materials is target/$BILL.json"
