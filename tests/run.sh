#!/usr/bin/env bash
# Installs what the tests need (Debian; root or sudo), builds the library in every way that is
# promised, and runs everything. Works offline once the packages are there.
#
#   bash tests/run.sh [--full] [--quick] [--no-install] [--only STEP[,STEP...]] [--list]
#
#   --full        also the long forms (soak, fuzzing, 100,000-token runs): hours, not minutes
#   --quick       only the plain build and its tests
#   --no-install  never call apt-get or pip; say what is missing instead
#   --only        just these steps, by the names that --list prints
#
# Every step prints one line when it passes and its log when it fails; the last line counts.
set -u
cd "$(dirname "$0")/.."
root=$PWD
out=$root/build-tests
full=no quick=no install=yes only=
STEPS="build unit contracts clang notokenizer avx512 aarch64 asan tsan valgrind python pybinding rust exchange quickstart"

usage() { sed -n '2,12p' "$0" | sed 's/^# \{0,1\}//'; }
while [ $# -gt 0 ]; do
  case $1 in
    --full) full=yes ;;
    --quick) quick=yes ;;
    --no-install) install=no ;;
    --only) [ $# -ge 2 ] || { usage; exit 2; }; only=$2; shift ;;
    --list) echo "$STEPS"; exit 0 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "tests/run.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done

export CK_TIMEOUT_MULTIPLIER=20 # for slow and busy machines; meson's limit per program stands
passed=0 failed=0 skipped=0 failures=
started=$(date +%s)

. examples/packages.sh
need_packages "$install" $SAMBA_BUILD_PACKAGES check libjansson-dev g++ clang-14 libclang-rt-14-dev valgrind \
  abigail-tools python3 python3-venv git || exit 1
mkdir -p "$out"

wanted() {
  [ -n "$only" ] && { case ",$only," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }
  [ $quick = no ] && return 0
  case $1 in build | unit | contracts) return 0 ;; *) return 1 ;; esac
}

# record NAME STATUS LOG SECONDS: one check is over. Status 77 is a skip.
record() {
  case $2 in
    0) passed=$((passed + 1)); printf 'ok    %-44s %5ss  %s\n' "$1" "$4" "$(tail -n 1 "$3" | cut -c1-70)" ;;
    77) skipped=$((skipped + 1)); printf 'skip  %-44s         %s\n' "$1" "$(tail -n 1 "$3" | cut -c1-90)" ;;
    *) failed=$((failed + 1)); failures="$failures $1"; printf 'FAIL  %s\n' "$1"; tail -n 60 "$3" | sed 's/^/      /' ;;
  esac
}

check() { # NAME COMMAND...
  local name=$1 log=$out/log-$(echo "$1" | tr '/ ' '__') t=$(date +%s) status
  shift
  "$@" >"$log" 2>&1 </dev/null
  status=$?
  record "$name" $status "$log" $(($(date +%s) - t))
  return $status
}

# configure DIR ARGS...: a fresh or an existing build folder.
configure() {
  local dir=$1
  shift
  if [ -f "$dir/build.ninja" ]; then meson configure "$dir" >/dev/null; else meson setup "$dir" "$@"; fi
}

build() { # DIR ARGS...
  configure "$@" && ninja -C "$1"
}

# meson_tests NAME DIR ARGS...: counts every test of a build folder on its own.
meson_tests() {
  local name=$1 dir=$2 log=$out/log-$1 t=$(date +%s)
  shift 2
  rm -f "$dir"/meson-logs/testlog*.json # a run that never starts must not count the last one
  meson test -C "$dir" --no-rebuild --print-errorlogs "$@" >"$log" 2>&1 </dev/null
  local counts
  counts=$(python3 - "$dir"/meson-logs/testlog*.json <<'END'
import json, sys
ok = bad = skip = 0
worst = []
for line in open(sys.argv[1]):
    t = json.loads(line)
    if t["result"] in ("OK", "EXPECTEDFAIL"): ok += 1
    elif t["result"] == "SKIP": skip += 1
    else: bad += 1; worst.append(t["name"].split(" / ")[-1])
print(ok, bad, skip, *worst)
END
  ) || counts="0 1 0 no-test-log"
  set -- $counts
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
  printf '%-5s %-44s %5ss  %s passed, %s failed, %s skipped\n' "$([ "$2" = 0 ] && echo ok || echo FAIL)" "$name" \
    $(($(date +%s) - t)) "$1" "$2" "$3"
  grep -E '^ *[0-9]+/[0-9]+ .*(SKIP)' "$log" | sed 's/^/      /'
  if [ "$2" != 0 ]; then
    shift 3
    failures="$failures $name:$*"
    grep -v ' OK ' "$log" | tail -n 150 | sed 's/^/      /'
  fi
}

# What the aarch64 build needs. Missing where nothing may be installed: skipped, not failed.
aarch64_packages() {
  need_packages "$install" gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static ||
    return $([ $install = yes ] && echo 1 || echo 77)
  bash tests/support/aarch64_sysroot.sh "$out/aarch64-sysroot" "$install"
}

# What the Rust crates need, likewise.
rust_packages() {
  need_packages "$install" cargo rustc rustfmt rust-clippy bindgen || return $([ $install = yes ] && echo 1 || echo 77)
}

# suite_programs DIR SUITE...: the test programs of these suites, as ninja calls them.
suite_programs() {
  meson introspect --tests "$1" | python3 -c '
import json, os, sys
for t in json.load(sys.stdin):
    if any(s.split(":")[-1] in sys.argv[2:] for s in t["suite"]):
        print(*[os.path.relpath(c, sys.argv[1]) for c in t["cmd"] if c.startswith(sys.argv[1])])
' "$@"
}

# build_suites DIR SUITES ARGS...: only the test programs of these suites (comma between).
build_suites() {
  local dir=$1 suites=$2
  shift 2
  configure "$dir" "$@" && ninja -C "$dir" $(suite_programs "$dir" $(echo "$suites" | tr , ' '))
}

# What the emulated AVX-512 build needs, likewise; nothing where the unit tests had AVX-512 itself.
avx512_packages() {
  if grep -q avx512_bf16 /proc/cpuinfo; then
    echo "this machine has AVX-512: the other steps test it"
    return 77
  fi
  need_packages "$install" libsimde-dev || return $([ $install = yes ] && echo 1 || echo 77)
}

aarch64_build() { # DIR
  configure "$1" --cross-file "$out/aarch64-sysroot/sysroot.ini" --cross-file tests/support/aarch64.ini -Dwerror=true &&
    ninja -C "$1" $(suite_programs "$1" kernels golden) examples/samba-lm
}

plain=$out/plain
model=examples/models/samba-13m.gguf
avx512_suites=kernels,golden,tiers$([ $full = yes ] && echo ,state,run)
suite_args=$([ $full = yes ] && echo "--test-args=--full --timeout-multiplier=0")

if wanted build; then
  check build/gcc build "$plain" -Dwerror=true -Ddebug=true || { echo "0 passed, 1 failed"; exit 1; }
fi
if wanted unit; then
  meson_tests unit "$plain" $suite_args
fi
if wanted contracts; then
  check contracts/headers bash tests/api/check_headers.sh include
  check contracts/layers bash tests/api/check_layers.sh .
  check contracts/symbols bash tests/api/check_symbols.sh "$plain/lib/libsamba.so" "$plain/lib/libsamba.a" tests/api/symbols.txt
  check contracts/abi bash tests/api/check_abi.sh "$plain/lib/libsamba.so" tests/api/samba-0.abi include
  check contracts/install bash tests/api/check_install.sh . "$plain" "$model"
fi
if wanted clang; then
  CC=clang-14 check build/clang build "$out/clang" -Dwerror=true &&
    meson_tests clang "$out/clang" --suite golden --suite base
fi
if wanted notokenizer; then
  check build/no-tokenizer build "$out/notok" -Dtokenizer=disabled -Davx512=none -Dwerror=true &&
    meson_tests no-tokenizer "$out/notok"
fi
if wanted avx512; then
  check avx512/packages avx512_packages &&
    check build/avx512 build_suites "$out/avx512" $avx512_suites -Davx512=emulated -Doptimization=1 -Dwerror=true &&
    meson_tests avx512 "$out/avx512" $(echo ",$avx512_suites" | sed 's/,/ --suite /g') --timeout-multiplier=10
fi
if wanted aarch64; then # under qemu: the fake backend's golden cases, which it does slowly, are left out
  check aarch64/packages aarch64_packages && check build/aarch64 aarch64_build "$out/aarch64" &&
    meson_tests aarch64-kernels "$out/aarch64" --suite kernels --timeout-multiplier=3 &&
    meson_tests aarch64-golden "$out/aarch64" --suite golden --test-args=--no-fake --timeout-multiplier=3
fi
if wanted asan; then
  check build/asan build "$out/asan" -Db_sanitize=address,undefined -Doptimization=1 -Ddebug=true -Dinvariants=true -Db_lundef=false &&
    meson_tests asan "$out/asan" --no-suite long --timeout-multiplier=6
fi
if wanted tsan; then
  check build/tsan build_suites "$out/tsan" threads -Db_sanitize=thread -Davx512=none -Doptimization=1 -Ddebug=true -Db_lundef=false &&
    meson_tests tsan "$out/tsan" --suite threads --timeout-multiplier=10
fi
if wanted valgrind; then
  meson_tests valgrind "$plain" --suite valgrind --timeout-multiplier=20 \
    --wrap='valgrind --quiet --leak-check=full --error-exitcode=1'
fi
if wanted python; then
  check python/packages bash tests/support/python_env.sh "$out/venv" "$install" &&
    check python/gguf "$out/venv/bin/python" tests/format/test_gguf_interop.py "$plain" tests/golden/cases
fi
if wanted rust; then
  check rust/packages rust_packages && check rust bash bindings/rust/run_tests.sh "$plain" $([ $full = yes ] && echo --full)
fi
if wanted pybinding; then
  check pybinding bash bindings/python/tests/run.sh "$plain" "$out/pyvenv" \
    $([ $install = no ] && echo --no-install) $([ $full = yes ] && echo "--asan $out/asan")
fi
if wanted exchange; then # of the bindings that the steps before have built
  check exchange bash tests/api/exchange.sh "$plain" "$out/pyvenv" "$model"
fi
if wanted quickstart; then
  check quickstart bash examples/quickstart.sh --build-dir "$plain" --tokens 3000
fi
if [ $full = yes ]; then
  CC=clang-14 check build/fuzz build "$out/fuzz" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false &&
    check fuzz bash tests/fuzz/run.sh "$out/fuzz" 1800
fi

echo
echo "wall time: $(($(date +%s) - started)) s"
[ -z "$failures" ] || echo "failed:$failures"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
