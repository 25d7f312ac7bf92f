#!/bin/sh
# image.sh NAME...   builds openebs/<NAME>:<version> where it is missing or made of other sources: vsm, etcd,
#                    registrator-sidecar, registrator-rootfs (of the plugin). FORCE_BUILD=1 asks the builder in any case.
#
# The label openebs.build holds the sources' fingerprint. Both builders of Docker do: no heredocs, no RUN --mount. The builds
# use the host's network: where a daemon has none of its own for containers, apt still works.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
reach_engine
arch=$(node_arch)
common='package.json package-lock.json registry docker process deploy/stage.sh'

# The paths are words of a list, and meant to split.
# shellcheck disable=SC2086
sources_of() {
  case $1 in
    vsm) fingerprint "$arch" "${BASE:-}" -- vsm/Dockerfile vsm/*.sh vsm/parts.list vsm/target vsm/initiator ;;
    etcd) fingerprint "$arch" "${BASE:-}" -- deploy/etcd ;;
    registrator-sidecar) fingerprint "$arch" "${BASE:-}" -- $common vsm/*.ts sidecar cli plugin/guard ;;
    registrator-rootfs) fingerprint "$arch" "${BASE:-}" -- $common vsm/*.ts plugin ;;
    *) fail "no image is called $1: expected vsm, etcd, registrator-sidecar or registrator-rootfs" ;;
  esac
}

build_image() {
  name=$1
  wanted=$(sources_of "$name")
  image=openebs/$name:$version
  label='{{index .Config.Labels "openebs.build"}}'
  [ -n "${FORCE_BUILD:-}" ] ||
    [ "$(docker image inspect -f "$label" "$image" 2>/dev/null)" != "$wanted" ] || return 0
  base=$(sh "$top/deploy/base.sh")
  case $name in
    vsm) set -- "$top/vsm" ;;
    etcd) set -- "$top/deploy/etcd" ;;
    *)
      sh "$top/deploy/stage.sh" "$arch"
      folder=${name#registrator-}
      [ "$folder" != rootfs ] || folder=plugin
      set -- --build-arg "ARCH=$arch" -f "$top/$folder/Dockerfile" "$top"
      ;;
  esac
  # Attestations would make an index of the image, which older engines do not load.
  BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --network host --force-rm --build-arg "BASE=$base" \
    --label "openebs.build=$wanted" --label "openebs.role=image" --label "org.opencontainers.image.version=$version" \
    -t "$image" "$@"
}

for wanted_image in "$@"; do build_image "$wanted_image"; done
# What newer ones took the name of. Layers that are used again have the new image as their owner.
docker image prune -f --filter label=openebs.role=image
