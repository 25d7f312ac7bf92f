# shellcheck shell=sh
# How openebs-initiator attaches by the kernel's own iSCSI initiator (iscsi_tcp).
#
#     portal <- iSCSI - the kernel <- a SCSI disk
# Sourced by it, after lib.sh and devices.sh; attach-userspace.sh says what functions a way to attach has. Names of that script:
# shellcheck disable=SC2154,SC2034
# iscsid, in the container openebs-iscsid, opens sessions and opens them anew when they break; iscsiadm asks it to, by an abstract
# socket of the host's network. What it needs for that stands in a record, in memory, for as long as the login takes: later the
# kernel itself tells iscsid by what to log in again.
# A session outlives us, and so does what is mounted from it: nothing is lost when this container is killed, and the next one goes
# on with it. So it must be told apart from one of before: the name of its interface says the epoch.

interface=epoch-${OPENEBS_EPOCH:-}
host=${OPENEBS_PORTAL%:*}
host=${host#[}
host=${host%]}
port=${OPENEBS_PORTAL##*:}
database=/var/lib/iscsi
sessions=/sys/class/iscsi_session
session=                        # "session3"
disk=                           # its disk, as the kernel shows it: …/block/sdb

prepare() {
  need OPENEBS_EPOCH
  [ -e /sys/class/iscsi_transport/tcp ] ||
    fail 75 'this kernel has no iscsi_tcp: modprobe iscsi_tcp on the host, and have it loaded at boot (/etc/modules-load.d)'
  mkdir -p "$database"
  mount -t tmpfs -o mode=0700,size=1m tmpfs "$database"
  know_interface "$interface"
}

ours() { [ "$(cat "$1/targetname" 2>/dev/null)" = "$OPENEBS_IQN" ]; }

# is_current SESSION: it is one to the portal and of the epoch that we are to log in to
is_current() {
  [ "$(cat "$1/ifacename")" = "$interface" ] || return 1
  for connection in "$1"/device/connection*/iscsi_connection/connection*; do
    [ "$(cat "$connection/persistent_address") $(cat "$connection/persistent_port")" = "$host $port" ] || return 1
  done
}

# Takes up the session that a killed initiator left. One of another epoch or portal is none to go on with.
find_session() {
  session=
  for path in "$sessions"/session*; do
    ours "$path" || continue
    if [ -z "$session" ] && is_current "$path"; then
      session=${path##*/}
    else
      say "logging out of ${path##*/}, which is of another epoch or portal"
      log_out "${path##*/}"
    fi
  done
}

# log_out SESSION: however often it takes, as iscsid may be being started anew
log_out() {
  until reason=$(end_session "$1" 2>&1) || [ ! -e "$sessions/$1" ]; do
    every_minute "cannot log out: $(echo "$reason" | tr '\n' ' ')"
    sleep 0.5
  done
}

# What iscsiadm tells iscsid at the login. I/O waits for a target that is away, for ever: an error in between would end the file
# system; openebs-iscsid has the same for sessions that it takes up. Not by iscsiadm: a password in its arguments could be read by all.
write_record() {
  folder=$database/nodes/$OPENEBS_IQN/$host,$port,1
  record="node.name = $OPENEBS_IQN
node.tpgt = 1
node.startup = manual
iface.iscsi_ifacename = $interface
iface.transport_name = tcp
node.conn[0].address = $host
node.conn[0].port = $port
node.session.timeo.replacement_timeout = -1
node.conn[0].timeo.noop_out_interval = 5
node.conn[0].timeo.noop_out_timeout = 10"
  [ "${OPENEBS_CHAP:-}" != yes ] || record="$record
node.session.auth.authmethod = CHAP
node.session.auth.username = $interface
node.session.auth.password = $(cat "/chap/$OPENEBS_EPOCH")"
  mkdir -p "$folder"
  echo "$record" >"$folder/$interface"
}

log_in() {
  answer=$(nc -z -w 2 "$host" "$port" 2>&1) || { echo "$answer"; return 1; }
  iscsiadm --mode node --targetname "$OPENEBS_IQN" --portal "$OPENEBS_PORTAL" --interface "$interface" --login
}

attach() {
  find_session
  attached_at=/mounts/.$volume.lock
  [ -n "$session" ] || { touch "$attached_at" && write_record; }
  until [ -n "$session" ]; do
    reason=$(log_in 2>&1) || {
      every_minute "waiting for portal $OPENEBS_PORTAL: $(echo "$reason" | tr '\n' ' ')"
      sleep 0.5
    }
    find_session    # also where iscsid did it, and died before it could say so
  done
  rm -rf "$database/nodes"
  say "the kernel is logged in to $OPENEBS_IQN at $OPENEBS_PORTAL ($session)"
  find_disk
  device=/dev/${disk##*/}
  [ -b "$device" ] || mknod -m 0600 "$device" b "$(cut_number 1)" "$(cut_number 2)"
  # What is written counts as volatile until it is flushed, as it is at the target.
  [ "$(cat "$disk/queue/write_cache")" = 'write back' ] || fail 1 "$device is not taken for one with a write cache"
}

# LUN 1; 0 is the target's controller. iscsid has the kernel look for disks after the login.
find_disk() {
  deadline=$(($(date +%s) + 60))
  until set -- "$sessions/$session"/device/target*/*:1/block/sd* && [ -e "$1" ]; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
      log_out "$session"
      fail 75 "$OPENEBS_IQN shows no LUN 1 after 60 s"
    fi
    sleep 0.1
  done
  disk=$1
}

# cut_number 1|2: of the disk's "8:16"
cut_number() {
  number=$(cat "$disk/dev")
  if [ "$1" = 1 ]; then echo "${number%:*}"; else echo "${number#*:}"; fi
}

# In any mount namespace: containers that use it, and what a killed initiator left.
is_live() { [ -e "/sys/fs/$OPENEBS_FS/${device#/dev/}" ]; }

watch() {
  while [ -e "$disk" ]; do
    sleep 10 8>&- 9>&- &
    wait "$!" || true   # or a signal ended the wait
  done
  lost="the kernel has no ${device#/dev/} any more, or is no longer logged in"
}

detach() {
  [ -n "$session" ] || return 0
  wait_until_released
  log_out "$session"
}

# What containers wrote is lost if the session ends before their mounts do, hence the wait without an end.
wait_until_released() {
  [ -n "$device" ] || return 0
  while is_live; do
    every_minute "waiting for the containers that still use volume $volume"
    sleep 0.1
  done
  # An ext4 is no longer shown a moment before it has written all; e2fsck (8: it cannot) leaves alone what is in use.
  [ "$OPENEBS_FS" = ext4 ] || return 0
  deadline=$(($(date +%s) + 10))
  while code=0 && { e2fsck -p "$device" >/dev/null 2>&1 || code=$?; } && [ "$code" = 8 ] && [ "$(date +%s)" -lt "$deadline" ]; do
    sleep 0.1
  done
}

clean_up() { :; }
