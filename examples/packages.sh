# Sourced by quickstart.sh and tests/run.sh: the Debian packages that they need.
SAMBA_BUILD_PACKAGES="gcc libc6-dev pkg-config meson ninja-build libuv1-dev libxxhash-dev libzstd-dev libsodium-dev libpcre2-dev libutf8proc-dev"

# need_packages yes|no PACKAGE...: installs the ones that are not there (yes), or names them (no).
need_packages() {
  local may=$1 missing= p sudo=
  shift
  if ! command -v dpkg-query >/dev/null; then
    echo "no dpkg here: please see to it that these are installed: $*" >&2
    return 0
  fi
  for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
  done
  [ -n "$missing" ] || return 0
  if [ "$may" != yes ]; then
    echo "missing packages:$missing" >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "missing packages:$missing (install them as root; there is no sudo here)" >&2; return 1; }
    sudo=sudo
  fi
  echo "installing:$missing"
  { $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; } ||
    { echo "missing packages:$missing (apt-get could not install them; is the network there?)" >&2; return 1; }
}
