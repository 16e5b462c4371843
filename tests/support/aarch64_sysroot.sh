#!/usr/bin/env bash
# A folder with the libraries that the aarch64 build links, unpacked from Debian's arm64 packages.
# apt works in that folder too: the machine's own package lists, architectures and libraries stay
# as they are, and nobody needs to be root. FOLDER/sysroot.ini is the cross file that names it.
# Usage: aarch64_sysroot.sh FOLDER yes|no (may download)
set -eu
mkdir -p "$1"
root=$(cd "$1" && pwd) may=$2
packages="libuv1 libuv1-dev libxxhash0 libxxhash-dev libzstd1 libzstd-dev libpcre2-8-0 libpcre2-dev libutf8proc2
  libutf8proc-dev libjansson4 libjansson-dev check libsubunit0 libsubunit-dev"
packages=$(echo $packages)
if [ "$(cat "$root/complete" 2>/dev/null)" = "$packages" ] && grep -qF "'$root'" "$root/sysroot.ini"; then
  echo "packages are there"
  exit 0
fi
[ "$may" = yes ] || { echo "missing arm64 packages: $packages"; exit 77; }

state=$root/apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
: >"$state/status"
apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= \
    -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::State::lists="$state/lists" \
    -o Dir::Cache="$state/cache" -o Acquire::Languages=none "$@"
}
apt update || echo "some package lists could not be read"
rm -f "$state"/*.deb
(cd "$state" && apt download $packages) ||
  { echo "missing arm64 packages: $packages (apt-get could not download them; is the network there?)"; exit 1; }
for deb in "$state"/*.deb; do
  dpkg-deb -x "$deb" "$root"
done
rm -rf "$state"
printf "[constants]\nsysroot = '%s'\n" "$root" >"$root/sysroot.ini"
echo "$packages" >"$root/complete"
echo "unpacked $(echo $packages | wc -w) arm64 packages"
