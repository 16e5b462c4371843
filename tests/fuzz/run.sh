#!/usr/bin/env bash
# Runs every libFuzzer target of a build made with -Dfuzz=true, at low priority, each for the given
# time, starting from the committed corpus. New inputs stay in the build folder; a crash fails.
# Usage: run.sh BUILD_FOLDER SECONDS_PER_TARGET
set -u
build=$(realpath "$1") seconds=$2
here=$(realpath "$(dirname "$0")")
status=0 n=0
for target in "$build"/tests/fuzz/fuzz_*; do
  [ -x "$target" ] && [ -f "$target" ] || continue
  name=${target##*/fuzz_}
  work=$build/fuzz/$name
  mkdir -p "$work"
  n=$((n + 1))
  most=8192
  [ "$name" != snapshot ] || most=32768
  if ! nice -n 19 "$target" -max_total_time="$seconds" -max_len="$most" -timeout=10 -rss_limit_mb=2048 \
      -artifact_prefix="$work-" -print_final_stats=1 "$work" "$here/corpus/$name" >"$work.log" 2>&1; then
    echo "fuzz_$name failed:"
    tail -n 40 "$work.log"
    status=1
  else
    echo "fuzz_$name: $(sed -n 's/stat::number_of_executed_units: *//p' "$work.log") inputs, no failure"
  fi
done
[ $n -gt 0 ] || { echo "no fuzz targets in $build"; exit 1; }
exit $status
