#!/bin/bash
# disk.sh   prints the state disk that a guest begins with: .cache/vm-disk/state.img, an ext4 with the images and the plugin
#           (not enabled) of this clone in the Engine's data root. Made anew when template.sh's is.
set -euo pipefail

here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
top=$(cd "$here/../../.." && pwd)
cache=${OPENEBS_CACHE:-$top/.cache}
data=$(ENGINE_SUITE=bookworm sh "$here/../template.sh")
disk=$cache/vm-disk

exec 9>"$disk.lock"
flock 9
if ! cmp -s "$data/../made" "$disk/made"; then
  rm -rf "$disk"
  mkdir -p "$disk/root"
  # mke2fs takes a folder's content: nothing has to be loaded in the guest, which emulates its processor
  mkdir "$disk/root/docker"
  mount --bind "$data" "$disk/root/docker"
  trap 'umount "$disk/root/docker"' EXIT
  mke2fs -q -t ext4 -F -m 0 -E lazy_itable_init=1,lazy_journal_init=1 -d "$disk/root" "$disk/state.img" 8G >&2
  umount "$disk/root/docker"
  trap - EXIT
  cp "$data/../made" "$disk/made"
fi
echo "$disk/state.img"
