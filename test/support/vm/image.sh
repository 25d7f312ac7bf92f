#!/bin/bash
# image.sh   makes the guest of the VM suite, once: .cache/vm/{vmlinuz,initrd.img,root.img}, and prints that folder
#
# A Debian 12 with its own kernel, the Engine and etcd, whose process 1 is guest-init.sh. Its packages are unpacked, not
# installed: nothing in it needs what their scripts set up, and it takes a third of the time. What it keeps is on a second
# disk (disk.sh). Needs root, mmdebstrap, e2fsprogs.
set -euo pipefail

here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
top=$(cd "$here/../../.." && pwd)
cache=${OPENEBS_CACHE:-$top/.cache}
guest=$cache/vm
packages=linux-image-amd64,kmod,bash,coreutils,grep,sed,mawk,procps,util-linux,mount,iproute2,iptables,e2fsprogs,xfsprogs
packages+=,ca-certificates,busybox-static,docker.io,etcd-server,etcd-client,open-iscsi
wanted=$({ echo "$packages"; cat "$here/image.sh" "$here/guest-init.sh"; } | sha256sum | cut -c1-16)

# Drivers of things that this machine does not have: nine tenths of all modules.
no_drivers=(sound 'drivers/gpu' 'drivers/media' 'drivers/staging' 'drivers/iio' 'drivers/usb' 'drivers/hid' 'drivers/hwmon'
  'drivers/infiniband' 'drivers/bluetooth' 'drivers/mtd' 'drivers/platform' 'drivers/input' 'drivers/net/wireless'
  'drivers/net/ethernet' 'drivers/net/usb' 'drivers/net/can' 'net/mac80211' 'net/wireless' 'net/bluetooth' 'fs/ocfs2' 'fs/gfs2')

unpack() {
  # shellcheck disable=SC2016 # $1 is for mmdebstrap to fill in
  "$top/deploy/base/debian-sources.sh" bookworm |
    mmdebstrap --quiet --mode=root --format=directory --variant=extract --include="$packages" \
      --aptopt='APT::Install-Recommends "false"' --aptopt="$(apt-config dump | grep -E '^Acquire::Check-' || true)" \
      --setup-hook='cd "$1" && mkdir -p usr/bin usr/sbin usr/lib usr/lib64 && for d in bin sbin lib lib64; do ln -s usr/$d $d; done' \
      --customize-hook='cd "$1" && rm -rf var/lib/apt var/cache usr/share/doc usr/share/man usr/share/locale etc/apt' \
      bookworm "$1" - >&2
}

# What the packages' own scripts would have set up, as far as it is used.
finish() {
  local root=$1 name suffix
  for name in iptables ip6tables; do
    for suffix in "" -save -restore; do ln -sfn "$name-nft$suffix" "$root/usr/sbin/$name$suffix"; done
  done
  ln -sfn mawk "$root/usr/bin/awk"
  ln -sfn bash "$root/usr/bin/sh"
  echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  echo '127.0.0.1 localhost vm' >"$root/etc/hosts"
  rm -rf "$root/var/run"
  ln -s /run "$root/var/run"
  mkdir -p "$root"/{proc,sys,dev,run,tmp,state,root,var/lib,etc/docker}
  install -m 0755 "$here/guest-init.sh" "$root/sbin/guest-init"
}

# The kernel's own drivers reach no disk: these few, in the order that modprobe would load them.
make_initrd() {
  local root=$1 version=$2 folder=$3 module path
  mkdir -p "$folder"/{bin,mod,dev,new}
  cp "$root/bin/busybox" "$folder/bin/"
  ln -s busybox "$folder/bin/sh"
  {
    printf '#!/bin/sh\n/bin/busybox mount -t devtmpfs dev /dev\n'
    for module in virtio_pci virtio_blk ext4; do
      chroot "$root" modprobe -S "$version" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r path; do
      cp "$root$path" "$folder/mod/"
      echo "/bin/busybox insmod /mod/${path##*/}"
    done
    # shellcheck disable=SC2016 # for the guest's shell
    echo 'until [ -b /dev/vda ] && [ -b /dev/vdb ]; do /bin/busybox usleep 50000; done'
    echo '/bin/busybox mount -t ext4 /dev/vda /new && /bin/busybox mount -o move /dev /new/dev'
    echo 'exec /bin/busybox switch_root /new /sbin/guest-init'
  } >"$folder/init"
  chmod +x "$folder/init"
  (cd "$folder" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null | gzip -1)
}

make_guest() {
  local work root version modules
  rm -rf "$guest" "$guest".part
  mkdir -p "$guest.part"
  work=$guest.part root=$work/root
  unpack "$root"
  finish "$root"
  version=$(ls "$root/usr/lib/modules")
  modules=$root/usr/lib/modules/$version
  (cd "$modules/kernel" && rm -rf "${no_drivers[@]}")
  chroot "$root" depmod "$version"
  make_initrd "$root" "$version" "$work/initrd" >"$work/initrd.img"
  mv "$root/boot/vmlinuz-$version" "$work/vmlinuz"
  mke2fs -q -t ext4 -F -m 0 -E lazy_itable_init=1 -d "$root" "$work/root.img" 2G >&2
  rm -rf "$root" "$work/initrd"
  echo "$wanted" >"$work/made"
  mv "$work" "$guest"
}

mkdir -p "$cache"
exec 9>"$guest.lock"
flock 9
[ "$(cat "$guest/made" 2>/dev/null)" = "$wanted" ] || make_guest
echo "$guest"
