#!/usr/bin/env bash
# From a bare Debian 12 machine to text: installs the packages it lacks (root or sudo), builds, lets
# the bundled model write, then hides a pass key in a long text and asks for it. Works offline once
# the packages are there.
#
#   bash examples/quickstart.sh [--tokens N] [--threads N] [--prompt TEXT] [--build-dir DIR]
#                               [--no-install]
#
#   --tokens     length of the haystack (default 100000)
#   --build-dir  use this build (default: build/, made if it is not there)
set -eu
cd "$(dirname "$0")/.."
build=build tokens=100000 threads= prompt="It was a dark night, and" install=yes
while [ $# -gt 0 ]; do
  case $1 in
    --tokens | --threads | --prompt | --build-dir)
      [ $# -ge 2 ] || { echo "quickstart.sh: $1 needs a value" >&2; exit 2; } ;;
  esac
  case $1 in
    --tokens) tokens=$2; shift ;;
    --threads) threads="--threads $2"; shift ;;
    --prompt) prompt=$2; shift ;;
    --build-dir) build=$2; shift ;;
    --no-install) install=no ;;
    -h | --help) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "quickstart.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done

. examples/packages.sh
need_packages $install $SAMBA_BUILD_PACKAGES || exit 1

if [ ! -f "$build/build.ninja" ]; then
  meson setup "$build" -Dtests=false >"${TMPDIR:-/tmp}/samba-setup.$$" 2>&1 ||
    { cat "${TMPDIR:-/tmp}/samba-setup.$$" >&2; exit 1; }
  rm -f "${TMPDIR:-/tmp}/samba-setup.$$"
fi
echo "building ..."
ninja -C "$build" --quiet
lm=$build/examples/samba-lm
model=examples/models/samba-13m.gguf

echo
echo "== The bundled model writes =="
"$lm" generate "$model" "$prompt" --max-tokens 120 --temp 0.8 --top-p 0.95 --seed 7 --stats $threads
echo
echo "== It reads a text of 2,000 and one of $tokens tokens, and names the pass key hidden in each =="
"$lm" passkey "$model" --tokens "2000,$tokens" --samples 1 --depth 0.4 --show $threads
