#!/usr/bin/env bash
# Exported symbols = the committed list, all versioned; and the library calls nothing that ends,
# prints in, or reads the environment of its host. Usage: check_symbols.sh LIB.so LIB.a SYMBOLS.txt
# After a deliberate change of the API: check_symbols.sh --update LIB.so LIB.a SYMBOLS.txt
set -eu
update=no
[ "$1" = --update ] && { update=yes; shift; }
so=$1 archive=$2 list=$3
exported=$(nm -D --defined-only "$so" | awk '$2 != "A" {print $3}' | sort)
bad=$(echo "$exported" | grep -v '@@SAMBA_' || true)
[ -z "$bad" ] || { echo "not under a SAMBA_ version: $bad"; exit 1; }
[ $update = no ] || echo "$exported" >"$list"
echo "$exported" | diff -u "$list" - || { echo "exported symbols differ from $list"; exit 1; }
forbidden='abort|exit|_exit|_Exit|quick_exit|atexit|printf|fprintf|vprintf|vfprintf|dprintf|puts|putchar|fputs|fputc|putc|fwrite|perror|getenv|secure_getenv|setenv|putenv|signal|sigaction|setlocale|system|__assert_fail|raise|stdout|stderr|rand|srand|random|strtok|localtime|gmtime|setjmp|longjmp|_setjmp|__longjmp_chk|__printf_chk|__fprintf_chk'
calls=$(nm -u "$archive" | awk '{print $2}' | sed 's/@.*//' | sort -u | grep -x -E "$forbidden" || true)
[ -z "$calls" ] || { echo "the library calls: $calls"; exit 1; }
libm=$(nm -u "$archive" | awk '{print $2}' | sort -u | grep -x -E '(exp|log|pow|sin|cos|tanh|exp2|log2|log1p|expm1|fma|ceil|floor|round|rint|nearbyint|sqrt|ldexp|fmod)f?' || true)
[ -z "$libm" ] || { echo "the library calls libm: $libm"; exit 1; }
# Constant tables that hold pointers lie in .data.rel.ro; what is left is state.
globals=$(objdump -t "$archive" | awk '$3 == "O" && $4 ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)$/ || $2 == "O" && $3 ~ /^(\.data|\.bss|\.tdata|\.tbss)$/ {print $NF}')
[ -z "$globals" ] || { echo "mutable data in the library: $globals"; exit 1; }
echo "$(echo "$exported" | wc -l) symbols, none forbidden"
