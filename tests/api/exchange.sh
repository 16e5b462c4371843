#!/usr/bin/env bash
# A snapshot that one binding writes the other resumes, with the same tokens and the same bits.
# Usage: exchange.sh BUILD_DIR PYTHON_VENV MODEL    (as bindings/rust/run_tests.sh and
# bindings/python/tests/run.sh leave them; 77 if one of them has not run)
set -eu
build=$(cd "$1" && pwd)
python=$2/bin/python
model=$3
here=$(dirname "$0")
rust=$build/rust/debug/examples/exchange
[ -x "$rust" ] || { echo "the crates have not been built: no $rust"; exit 77; }
"$python" -c "import libsamba" 2>/dev/null || { echo "the Python package is not installed in $2"; exit 77; }
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT

of_rust() { LD_LIBRARY_PATH=$build/lib "$rust" "$@"; }
of_python() { "$python" "$here/exchange.py" "$@"; }
of_rust write "$model" "$where/rust.samba" "$where/rust"
of_python write "$model" "$where/python.samba" "$where/python"
of_python read "$model" "$where/rust.samba" "$where/rust-python"
of_rust read "$model" "$where/python.samba" "$where/python-rust"
cmp "$where/rust" "$where/rust-python"
cmp "$where/python" "$where/python-rust"
cmp "$where/rust" "$where/python" # one library, one sequence
[ "$(wc -c <"$where/rust")" -gt 1000 ] || { echo "the results are empty"; exit 1; }
echo "snapshots go from Rust to Python and back with the same bits"
