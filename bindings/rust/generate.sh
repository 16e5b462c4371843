#!/usr/bin/env bash
# Writes samba-lm-sys/src/bindings.rs from include/samba.h with Debian 12's bindgen and rustfmt.
#   bash bindings/rust/generate.sh            writes
#   bash bindings/rust/generate.sh --check    fails if what is committed is stale
set -eu
cd "$(dirname "$0")"
export PATH=/usr/bin:$PATH RUSTFMT=/usr/bin/rustfmt
committed=samba-lm-sys/src/bindings.rs
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
version=$(bindgen --version)
[ "$version" = "bindgen 0.60.1" ] || { echo "this is $version; the committed output is that of bindgen 0.60.1"; exit 1; }
# bindgen can't evaluate UINT64_MAX and takes SIZE_MAX for -1: those constants stand in src/lib.rs.
bindgen ../../include/samba.h --no-doc-comments --no-layout-tests --size_t-is-usize --with-derive-default \
  --default-macro-constant-type signed --blocklist-item SAMBA_ROW_LAST \
  --allowlist-function 'samba_.*' --allowlist-type 'samba_.*' --allowlist-var 'SAMBA_.*' \
  --rustfmt-configuration-file "$PWD/rustfmt.toml" -- -std=c11 >"$fresh"
if [ "${1:-}" = --check ]; then
  diff -u "$committed" "$fresh" || { echo "$committed is stale: run bindings/rust/generate.sh"; exit 1; }
  echo "bindings.rs is what bindgen makes of include/samba.h"
else
  cp "$fresh" "$committed"
fi
