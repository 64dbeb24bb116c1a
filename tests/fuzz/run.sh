#!/bin/sh
# Fuzzes each program of fuzz/ for so many seconds, with AddressSanitizer and libFuzzer: run.sh SECONDS [program...]
# Installs cargo-fuzz into target/tools. What is learned stays in target/fuzz-corpus, and the next run begins with it.
#
# The sanitizer needs -Z options. A nightly compiler takes them; if there is none, the project's own stable one takes
# them, too, if RUSTC_BOOTSTRAP says that it may: the same compiler, with the gate for unstable options open. That is
# all right here, since nothing of it is shipped.
set -eu
cd "$(dirname "$0")/../.."

seconds="$1"
shift
BUILD="$PWD/target/fuzz"
# Seeds, what was learned, and the inputs that were findings.
WORK="$PWD/target/fuzz-corpus"
# No input of a client that matters here is longer.
INPUT_MAX_BYTES=8192
# For one input; what takes longer is a finding.
INPUT_MAX_SECONDS=10

cargo install --quiet --locked --root target/tools cargo-fuzz@0.13.2
PATH="$PWD/target/tools/bin:$PATH"
# By the ordinary compiler: nothing of the ordinary build is to be done again for what follows.
EDGEWAY_FUZZ_SEEDS="$WORK/seeds" cargo test --quiet --locked --test fuzz begins_with_the_same_seeds

if cargo +nightly --version >/dev/null 2>&1; then
    toolchain="+nightly"
else
    toolchain=""
    export RUSTC_BOOTSTRAP=1
fi
echo "fuzz: with $(cargo $toolchain --version)${RUSTC_BOOTSTRAP:+, by RUSTC_BOOTSTRAP}"

[ $# -gt 0 ] || set -- $(cd fuzz/fuzz_targets && ls ./*.rs | sed 's|^\./||; s|\.rs$||')
# shellcheck disable=SC2086 # no word if there is no nightly compiler
cargo $toolchain fuzz build --target-dir "$BUILD"
for program in "$@"; do
    mkdir -p "$WORK/learned/$program" "$WORK/findings/$program"
    echo "fuzz: $program"
    # shellcheck disable=SC2086
    cargo $toolchain fuzz run --target-dir "$BUILD" "$program" "$WORK/learned/$program" "$WORK/seeds/$program" -- \
        -max_total_time="$seconds" -max_len=$INPUT_MAX_BYTES -timeout=$INPUT_MAX_SECONDS \
        -artifact_prefix="$WORK/findings/$program/" -print_final_stats=1
done
