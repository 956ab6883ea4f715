#!/usr/bin/env bash
# Builds a fuzz target on the stable toolchain and runs it for a bounded time.
#   fuzz/run.sh TARGET SECONDS [libFuzzer options]
# Exits non-zero when the target does not build, or crashes, hangs or runs out of memory; the input is then
# in fuzz/artifacts/TARGET/. What it learned stays in fuzz/corpus/TARGET/.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 64
fi
target=$1
seconds=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
triple=$(rustc -vV | sed -n 's/^host: //p')

# Coverage counters without the nightly-only sanitizer flags. With an explicit --target these flags do not
# reach build scripts and procedural macros, which could not link them.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Ccodegen-units=1 --cfg fuzzing"
(cd "$here" && RUSTFLAGS="$flags" cargo build --release --target "$triple" --bin "$target")

# Words the target would otherwise have to guess.
if [ -f "$here/$target.dict" ]; then
    set -- "-dict=$here/$target.dict" "$@"
fi
mkdir -p "$here/corpus/$target" "$here/artifacts/$target"
exec "$here/target/$triple/release/$target" "$here/corpus/$target" \
    -max_total_time="$seconds" -artifact_prefix="$here/artifacts/$target/" \
    -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "$@"
