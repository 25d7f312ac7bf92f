#!/bin/sh
# base.sh   prints the name of the image that ours are built from, after making sure that the daemon has it
#
# BASE if it is given; else debian:trixie-slim, there already or pulled; else one made from this machine's apt sources, under a
# name of our own. trixie, as the qemu of older Debians corrupts data under concurrent writes (docs/decisions/0003).
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"

usual=debian:trixie-slim
there() { docker image inspect "$1" >/dev/null 2>&1; }
pull() { timeout "${PULL_TIMEOUT:-180}" docker pull "$1" >&2; }

if [ -n "${BASE:-}" ]; then
  there "$BASE" || pull "$BASE" || fail "BASE is $BASE: the daemon neither has that image nor can pull it"
  echo "$BASE"
  exit
fi
for image in "$usual" "$made_base"; do
  ! there "$image" || { echo "$image"; exit; }
done
if pull "$usual"; then
  remember PULLED_BASE "$usual"
  echo "$usual"
  exit
fi

echo "$usual cannot be pulled: making the same from this machine's apt sources" >&2
for needed in mmdebstrap:mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring; do
  ! command -v "${needed%:*}" >/dev/null || continue
  [ ! -e "${needed%:*}" ] || continue
  can_install || fail "$usual cannot be pulled, and to make it ${needed#*:} is needed: sudo apt-get install ${needed#*:}," \
    'or name an image of Debian trixie by BASE'
  install "${needed#*:}" >&2
done
is_root || fail "$usual cannot be pulled, and only root can make it: run this once as root, or name an image of Debian" \
  'trixie by BASE'
mkdir -p "$build"
sh "$top/deploy/base/make-base.sh" "$build/base.tar" trixie >&2
docker import --change 'CMD ["bash"]' --change 'LABEL openebs.role=base' "$build/base.tar" "$made_base" >&2
rm -f "$build/base.tar"
echo "$made_base"
