#!/usr/bin/env bash
# An installed library serves a host program built outside the tree with pkg-config, shared and
# static, and the tree serves as a Meson subproject.
# Usage: check_install.sh SOURCE_ROOT BUILD_DIR MODEL.gguf
set -eu
src=$(cd "$1" && pwd) build=$(cd "$2" && pwd) model=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
DESTDIR="$work/root" meson install -C "$build" --no-rebuild --quiet
pc=$(dirname "$(find "$work/root" -name samba.pc)")
libdir=$(dirname "$(find "$work/root" -name 'libsamba.so')")
cp "$src/examples/minimal.c" "$work/host.c"
export PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$work/root
gcc -std=c11 -Wall -Wextra -Werror "$work/host.c" $(pkg-config --cflags --libs samba) -o "$work/host"
LD_LIBRARY_PATH=$libdir "$work/host" "$model" >"$work/shared.out"
# The sysroot prefixes the system's own folders too; static linking asks for none of them.
statics="$(pkg-config --static --libs samba | sed "s|-lsamba|$libdir/libsamba.a|; s|-L$work/root[^ ]*||g")"
gcc -std=c11 -Wall -Wextra -Werror "$work/host.c" $(pkg-config --cflags samba) $statics -o "$work/host-static"
"$work/host-static" "$model" >"$work/static.out"
cmp "$work/shared.out" "$work/static.out"
[ -s "$work/shared.out" ] || { echo "the host program printed nothing"; exit 1; }
mkdir -p "$work/sub/subprojects"
ln -s "$src" "$work/sub/subprojects/samba"
cp "$src/examples/minimal.c" "$work/sub/host.c"
cat >"$work/sub/meson.build" <<'END'
project('host', 'c', default_options: ['c_std=c11'])
samba = dependency('samba', fallback: ['samba', 'samba_dep'])
executable('host', 'host.c', dependencies: samba)
END
unset PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
meson setup "$work/sub/build" "$work/sub" -Doptimization=0 -Dsamba:avx512=none >"$work/setup.log" 2>&1 || { cat "$work/setup.log"; exit 1; }
ninja -C "$work/sub/build" >"$work/ninja.log" 2>&1 || { tail -20 "$work/ninja.log"; exit 1; }
"$work/sub/build/host" "$model" >"$work/sub.out"
cmp "$work/shared.out" "$work/sub.out"
echo "installed, linked both ways, and used as a subproject"
