# shellcheck shell=sh
# How openebs-initiator attaches in user space; the kernel needs no iSCSI for it.
#
#     portal <- iSCSI - qemu-storage-daemon - FUSE -> a file <- loop device (direct I/O)
# Sourced by it, after lib.sh and devices.sh; names of that script:
# shellcheck disable=SC2154,SC2034
# Each way to attach has: prepare (what must hold before anything is touched), attach (waits for the portal as long as it takes;
# sets $device), is_live (the file system of the device is mounted somewhere already), watch (returns when the device is lost;
# sets $lost), detach (after the unmount, when no container holds the file system any more), clean_up (whatever ends the script).

exports=/run/openebs/exports
least_qemu=10.0.13
qemu=
loop=

# 7.2 (bookworm) silently corrupts data under concurrent direct I/O.
check_qemu() {
  version=$(qemu-storage-daemon --version | sed -n 's/^qemu-storage-daemon version \([0-9.]*\).*/\1/p')
  oldest=$(printf '%s\n' "$least_qemu" "$version" | sort -V | head -n 1)
  [ "$oldest" = "$least_qemu" ] || fail 65 "qemu-storage-daemon $version is not safe: at least $least_qemu is needed"
}

prepare() {
  # The LUN as a file. The name is the volume's: the kernel shows it as the loop's backing file.
  file=$exports/$volume.lun
  check_qemu
  refuse_kernel_session
  share_exports
}

# The kernel may be logged in to this very LUN still, for an initiator of the other way that was killed: two that write to one LUN
# destroy its file system.
refuse_kernel_session() {
  # In a network namespace of its own an Engine has no part in the kernel's sessions (8: NETLINK_ISCSI).
  grep -Eq '^[^ ]+ +8 +0 ' /proc/net/netlink || return 0
  for session in /sys/class/iscsi_session/session*; do
    [ "$(cat "$session/targetname" 2>/dev/null)" != "$OPENEBS_IQN" ] ||
      fail 75 "the kernel is logged in to $OPENEBS_IQN ($session), so it is not attached in user space"
  done
}

# A killed predecessor leaves the mount (it lives in the host's namespace too) on a loop device whose file is dead. Containers
# that still use it get I/O errors until they are started anew; mount and device go with the last of them.
release_stale() {
  for path in /sys/block/loop*/loop; do
    name=${path#/sys/block/}
    name=${name%/loop}
    in_use "$name" || continue
    [ "$(cat "$path/autoclear" 2>/dev/null)" = 0 ] || continue    # the kernel detaches it after its last user
    detach_dead "$name"
  done
}

# libiscsi retries for ever by itself, but only once it was logged in: the first login is ours to repeat.
# The write cache is on and flushes are passed on: an fsync by a consumer ends as an fsync of the target's file.
connect() {
  : >"$file"
  until reason=$(nc -z -w 2 "${OPENEBS_PORTAL%:*}" "${OPENEBS_PORTAL##*:}" 2>&1) && start_qemu; do
    every_minute "waiting for portal $OPENEBS_PORTAL ${reason:+($reason)}"
    sleep 0.5
  done
  say "logged in to $OPENEBS_IQN at $OPENEBS_PORTAL"
}

# qemu-storage-daemon lives in a mount namespace of its own, in which no volume is mounted; only its FUSE file is seen here too.
# Otherwise, when all of this container is killed at once, one of its threads may be the last to hold the file system and has
# to write it out through the FUSE file that it no longer serves: it then hangs for ever, unkillable, and losetup with it.
# Made private first: unmounting in a shared copy would unmount every volume of the host.
share_exports() {
  mkdir -p "$exports"
  mount --bind "$exports" "$exports"
  mount --make-shared "$exports"
}
in_own_namespace() {
  # shellcheck disable=SC2016 # for the shell in the namespace
  exec unshare --mount --propagation unchanged sh -c \
    'mount --make-private / && mount --make-rprivate /mounts && umount -l /mounts && exec "$@"' sh "$@"
}

start_qemu() {
  rm -f "$run/qemu.pid"
  # a password in the arguments could be read by everybody on the host
  secret='' login=''
  if [ "${OPENEBS_CHAP:-}" = yes ]; then
    secret="--object secret,id=chap,file=/chap/$OPENEBS_EPOCH"
    login=",user=epoch-$OPENEBS_EPOCH,password-secret=chap"
  fi
  # shellcheck disable=SC2086 # two words or none
  in_own_namespace qemu-storage-daemon --pidfile "$run/qemu.pid" $secret \
    --blockdev "driver=iscsi,node-name=lun,transport=tcp,portal=$OPENEBS_PORTAL,target=$OPENEBS_IQN,lun=1,initiator-name=$OPENEBS_INITIATOR,cache.direct=on,cache.no-flush=off$login" \
    --export "type=fuse,id=file,node-name=lun,mountpoint=$file,writable=on,allow-other=off" \
    --chardev "socket,id=qmp,path=$run/qmp,server=on,wait=off" --monitor chardev=qmp 9>&- &
  qemu=$!
  # The file with its process number is written when login and export are done.
  until [ -s "$run/qemu.pid" ]; do
    kill -0 "$qemu" 2>/dev/null || { wait "$qemu" || true; qemu=; return 1; }
    sleep 0.05
  done
}

attach() {
  release_stale
  connect
  attach_loop
  device=/dev/$loop
}

# Nothing of another life of this volume is mounted: its file is new.
is_live() { false; }

# Initiators that start at the same time are offered the same free device, and one of them gets it.
attach_loop() {
  while :; do
    name=$(losetup -f)              # "/dev/loop3", or "/dev/loop3 (lost)" when it has no node here yet
    name=${name#/dev/}
    name=${name%% *}
    node "$name"
    if output=$(losetup --direct-io=on "/dev/$name" "$file" 2>&1); then break; fi
    in_use "$name" || fail 1 "cannot attach $name: $output"
  done
  loop=$name
  # The kernel falls back to buffered I/O without a word, which caches twice and reports lost writes late.
  [ "$(cat "/sys/block/$loop/loop/dio")" = 1 ] || fail 1 "$loop does not do direct I/O"
}

watch() {
  while :; do
    code=0
    wait "$qemu" || code=$?
    kill -0 "$qemu" 2>/dev/null || break    # a signal ended the wait
  done
  lost="qemu-storage-daemon ended with status $code"
}

detach() {
  if [ -n "$loop" ]; then
    losetup -d "/dev/$loop"
    wait_until_released
  fi
  if [ -n "$qemu" ]; then
    kill "$qemu"
    wait "$qemu" || fail 1 "qemu-storage-daemon ended with status $?"
  fi
}

# The device stays attached while any container still has the file system mounted in its own namespace. What they wrote is
# lost if qemu-storage-daemon ends before that, hence the wait without an end (the container's stop timeout is one).
wait_until_released() {
  while [ "$(cat "/sys/block/$loop/loop/backing_file" 2>/dev/null)" = "$file" ]; do
    kill -0 "$qemu" 2>/dev/null || fail 1 'qemu-storage-daemon ended before the volume was released'
    every_minute "waiting for the containers that still use volume $volume"
    sleep 0.1
  done
}

# Whatever ends this script: a loop device that stays attached holds its number for ever.
clean_up() { [ -z "$loop" ] || ! in_use "$loop" || losetup -d "/dev/$loop"; }
