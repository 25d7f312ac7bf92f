#!/bin/sh
# images.sh   builds the images that a host needs, and says how large they are
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
reach_engine
load_settings

step 'base image' sh "$top/deploy/base.sh"
for name in vsm registrator-rootfs registrator-sidecar etcd; do
  [ "$name" != etcd ] || { [ -z "$STORE" ] && [ -z "${ETCD_IMAGE:-}" ]; } || continue
  step "image openebs/$name:$version" sh "$top/deploy/image.sh" "$name"
  note "$(($(docker image inspect -f '{{.Size}}' "openebs/$name:$version") / 1000000)) MB"
done
