#!/usr/bin/env bash
# Tests the crates against the library of a Meson build folder, with Debian's toolchain and without
# a network: stale bindings, format, clippy, tests, documentation, an example.
# Usage: run_tests.sh BUILD_DIR [--full]    (--full: also linked to a library built from the tree)
set -eu
build=$(cd "$1" && pwd)
cd "$(dirname "$0")"
export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_TARGET_DIR=$build/rust CARGO_HOME=$build/rust/home CARGO_NET_OFFLINE=true
export PKG_CONFIG_PATH=$build/meson-uninstalled LD_LIBRARY_PATH=$build/lib SAMBA_BUILD_DIR=$build
model=$PWD/../../examples/models/samba-13m.gguf
mkdir -p "$CARGO_HOME"

bash generate.sh --check
cargo fmt --all -- --check
cargo clippy --offline --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --offline --no-deps
cargo test --offline -- --nocapture

# The example and the command write one text.
cargo run --offline --quiet --example generate -- "$model" "The old man" 24 >"$CARGO_TARGET_DIR/shared.out"
"$build/examples/samba-lm" generate "$model" "The old man" --greedy --no-prompt -n 24 >"$CARGO_TARGET_DIR/c.out"
cmp "$CARGO_TARGET_DIR/c.out" "$CARGO_TARGET_DIR/shared.out"
if [ "${2:-}" = --full ]; then # not optimised, to save time
  env -u PKG_CONFIG_PATH -u LD_LIBRARY_PATH CARGO_TARGET_DIR="$build/rust-vendored" SAMBA_MESON_OPTIONS=-Doptimization=0 \
    cargo run --offline --quiet --features samba-lm/vendored --example generate -- "$model" "The old man" 24 \
    >"$CARGO_TARGET_DIR/vendored.out"
  cmp "$CARGO_TARGET_DIR/shared.out" "$CARGO_TARGET_DIR/vendored.out"
fi
echo "the crates pass"
