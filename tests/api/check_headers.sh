#!/usr/bin/env bash
# The public headers compile alone in every language they promise. Usage: check_headers.sh INCLUDE_DIR
set -eu
inc=$1
n=0
try() { # compiler language standard header
  command -v "$1" >/dev/null || return 0
  printf '#include "%s"\nint main(void) { return (int)sizeof(struct samba_allocator) == 0; }\n' "$4" |
    "$1" -x "$2" -std="$3" -Wall -Wextra -pedantic -Werror -I "$inc" -fsyntax-only - ||
    { echo "$4 does not compile: $1 -std=$3"; exit 1; }
  n=$((n + 1))
}
for header in samba.h samba/backend.h; do
  for cc in gcc clang-14; do
    for std in c99 c11 c17; do try $cc c $std $header; done
  done
  for cxx in g++ clang++-14; do
    for std in c++11 c++17 c++20; do try $cxx c++ $std $header; done
  done
done
others=$(grep -h '#include' "$inc/samba.h" | grep -v -E '<stddef.h>|<stdint.h>' || true)
[ -z "$others" ] || { echo "samba.h includes more than stddef.h and stdint.h: $others"; exit 1; }
echo "$n combinations compile"
[ "$n" -ge 12 ]
