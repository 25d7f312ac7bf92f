# shellcheck shell=sh
# What the scripts share that mount: loop devices, mounts and iSCSI sessions, as the kernel tells of them. Needs lib.sh.

# /dev is the container's own: a loop device that the kernel has is given a node here when it is needed.
node() { [ -b "/dev/$1" ] || mknod -m 0600 "/dev/$1" b 7 "${1#loop}"; }

# Asks the kernel's table: the root of an XFS that has shut down cannot be looked at, so mountpoint(1) sees no mount there.
is_mounted() { grep -qF " $1 " /proc/self/mountinfo; }

in_use() { [ -e "/sys/block/$1/loop/backing_file" ]; }

# is_dead LOOP: its file was served by a qemu-storage-daemon that was killed. Such a file is the root of a mount that is gone,
# which the kernel shows as "/" (so whose it was cannot be told), and nothing can be read from it. A device with requests that
# do not end is left alone: a read would wait for them, for ever, and nothing can kill a process that does.
is_dead() {
  [ "$(cat "/sys/block/$1/loop/backing_file" 2>/dev/null)" = / ] && is_at_rest "$1" &&
    ! dd if="/dev/$1" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null
}

is_at_rest() {
  read -r reads writes <"/sys/block/$1/inflight"
  [ "$reads$writes" = 00 ]
}

# detach_dead LOOP: leaves one alone that is not dead.
detach_dead() {
  node "$1"
  is_dead "$1" || return 0
  say "detaching $1, whose file is gone"
  # Another initiator may do the same at this moment.
  losetup -d "/dev/$1" || ! in_use "$1" || fail 1 "cannot detach $1"
}

# unmount_stale MOUNTPOINT: also where one lies over another
unmount_stale() {
  while is_mounted "$1"; do
    say "unmounting what was left at $1"
    umount -l "$1"
  done
}

# know_interface NAME: has iscsiadm know it, which wants a file for each. All that matters is in the record of a node.
know_interface() {
  mkdir -p /etc/iscsi /run/lock/iscsi /var/lib/iscsi/ifaces
  : >/etc/iscsi/iscsid.conf
  [ "$1" = default ] ||
    printf 'iface.iscsi_ifacename = %s\niface.transport_name = tcp\n' "$1" >"/var/lib/iscsi/ifaces/$1"
}

# end_session SESSION: has iscsid log out of "session3"
end_session() {
  know_interface "$(cat "/sys/class/iscsi_session/$1/ifacename")"
  timeout 60 iscsiadm --mode session --sid "${1#session}" --logout
}
