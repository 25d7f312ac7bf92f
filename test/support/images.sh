#!/bin/sh
# images.sh [NAME...]   builds images for tests: base, vsm, registrator-sidecar, registrator-rootfs (default: base and vsm);
#                       plugin: the managed plugin of vsm and registrator-rootfs, in .cache/plugin
#
# Writes .cache/images/<NAME>.tar, for `docker load`, anew only when the image changed. Built by deploy/image.sh in an Engine of
# its own, which is kept in .cache/build (with its layers) and runs only meanwhile: no daemon of the user is asked. OPENEBS_CACHE
# names another folder than .cache.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${OPENEBS_CACHE:-$top/.cache}
version=$(sed -n 's/^  "version": "\([^"]*\)",$/\1/p' "$top/package.json")
[ $# -gt 0 ] || set -- base vsm
mkdir -p "$cache/images" "$cache/build"

# Test files run side by side, and want the same images.
exec 9>"$cache/build.lock"
flock 9

# A short path for the socket, wherever the repository is. The Engine must not inherit the lock.
engine=$(mktemp -d /tmp/oe-build.XXXXXX)
ln -s "$cache/build" "$engine/data"
clean_up() {
  "$here/engine.sh" stop "$engine" 9>&-
  rm -rf "$engine"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
ENGINE_SUITE=bookworm ENGINE_NET=host "$here/engine.sh" start "$engine" 9>&-
unset DOCKER_CONTEXT
export DOCKER_HOST="unix://$engine/docker.sock" OPENEBS_RUN="$cache/run"

make_base() {
  ! docker image inspect openebs/base:trixie >/dev/null 2>&1 || return 0
  sh "$top/deploy/base/make-base.sh" "$cache/base.tar"
  docker import --change 'CMD ["bash"]' "$cache/base.tar" openebs/base:trixie >/dev/null
  rm "$cache/base.tar"
}

save() {
  id=$(docker image inspect -f '{{.Id}}' "$2")
  [ "$(cat "$cache/images/$1.id" 2>/dev/null)" != "$id" ] || return 0
  docker save -o "$cache/images/$1.tar.part" "$2"
  mv "$cache/images/$1.tar.part" "$cache/images/$1.tar"
  echo "$id" >"$cache/images/$1.id"
}

# A base that is there is not pulled: tests need no registry, and all of them use the same.
make_base
for name in "$@"; do
  if [ "$name" = base ]; then
    save base openebs/base:trixie
  elif [ "$name" = plugin ]; then
    OPENEBS_PLUGIN_BUILD=$cache sh "$top/deploy/plugin.sh" assemble
  else
    BASE=openebs/base:trixie DOCKER_BUILDKIT=0 sh "$top/deploy/image.sh" "$name"
    save "$name" "openebs/$name:$version"
  fi
done
