#!/usr/bin/env bash
# The layering, from the #include lines: a file of lib/ includes its own folder, a lower layer, or
# the public headers. Also: #if only where it may stand, and no file past 800 lines.
# Usage: check_layers.sh SOURCE_ROOT
set -eu
cd "$1"
rank() {
  case $1 in
    base) echo 0 ;; tensor) echo 1 ;; format) echo 2 ;; token) echo 3 ;; model) echo 4 ;;
    backend) echo 5 ;; cpu) echo 6 ;; state) echo 7 ;; run) echo 8 ;; api) echo 9 ;; *) echo 99 ;;
  esac
}
fail=0 n=0
for f in $(find lib -name '*.[ch]' | sort); do
  own=$(echo "$f" | cut -d/ -f2)
  while read -r i; do
    [ -n "$i" ] || continue
    n=$((n + 1))
    case $i in
      samba.h | samba/backend.h) ;;
      */*)
        dir=${i%%/*}
        if [ "$(rank "$dir")" -gt "$(rank "$own")" ]; then
          echo "$f includes $i: upward"
          fail=1
        elif [ "$dir" = cpu ] && [ "$own" != cpu ]; then
          echo "$f includes $i: a concrete backend"
          fail=1
        fi
        ;;
      *)
        echo "$f includes \"$i\": write it as folder/file.h"
        fail=1
        ;;
    esac
  done < <(grep -o -E '^#include "[^"]+"' "$f" | sed 's/.*"\(.*\)"/\1/')
  lines=$(wc -l <"$f")
  [ "$lines" -le 800 ] || { echo "$f has $lines lines"; fail=1; }
  case $f in
    lib/base/* | lib/cpu/dispatch.c | lib/backend/registry.c) ;;
    *.c) if grep -n -E '^#\s*(if|ifdef|ifndef)' "$f"; then echo "$f: #if outside base, dispatch and registry"; fail=1; fi ;;
  esac
done
for f in examples/*.c; do
  if grep -n -E '^#include "' "$f" | grep -v -E '"(samba\.h|samba-lm[a-z0-9_-]*\.h|lm_[a-z]+\.h)"'; then
    echo "$f includes more than the public header"
    fail=1
  fi
done
echo "$n includes"
[ "$n" -gt 100 ] || { echo "too few includes seen: is this the source root?"; fail=1; }
exit $fail
