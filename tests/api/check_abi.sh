#!/usr/bin/env bash
# The ABI against the committed dump of the last release (or, before the first release, of the last
# deliberate change). Usage: check_abi.sh [--update] LIB.so DUMP INCLUDE_DIR
set -eu
update=no
[ "$1" = --update ] && { update=yes; shift; }
so=$1 dump=$2 inc=$3
command -v abidw >/dev/null || { echo "abidw (abigail-tools) is missing"; exit 77; }
now=$(mktemp)
trap 'rm -f "$now"' EXIT
abidw --headers-dir "$inc" --drop-private-types --no-comp-dir-path --no-corpus-path \
  --no-show-locs --out-file "$now" "$so"
[ $update = no ] || cat "$now" >"$dump"
abidiff --no-added-syms "$dump" "$now" || { echo "the ABI differs from $dump"; exit 1; }
grep -q samba_context_create "$now" || { echo "the dump lacks samba_context_create"; exit 1; }
echo "ABI as recorded"
