#!/usr/bin/env bash
# A virtual environment with the Python packages that tests compare with.
# Usage: python_env.sh FOLDER yes|no (may install)
set -eu
venv=$1 may=$2
packages="numpy gguf==0.19.0"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if "$venv/bin/python" -c 'import numpy, gguf' 2>/dev/null; then
  echo "packages are there"
  exit 0
fi
[ "$may" = yes ] || { echo "missing Python packages: $packages"; exit 1; }
"$venv/bin/pip" install --quiet --disable-pip-version-check $packages ||
  { echo "missing Python packages: $packages (pip could not install them)"; exit 1; }
echo "installed $packages"
