#!/bin/bash
# engine.sh: a Docker Engine of a Debian suite as a host of its own, several side by side, without touching this machine's own
#
#   engine.sh start FOLDER [dockerd options]   make the host if there is none, start dockerd in it, return when it answers
#   engine.sh halt FOLDER [SIGNAL]             end dockerd alone (TERM; KILL is a crash of it): the host stays, start it again
#   engine.sh stop FOLDER                      halt, then end the host
#   engine.sh crash FOLDER                     the host dies: all its processes at once. Its disk (FOLDER) stays, and so does
#                                              the page cache of this machine: it tells nothing about data not yet synced
#   engine.sh cut FOLDER, engine.sh join FOLDER   take the host off the network, and put it back
#   engine.sh exec FOLDER COMMAND…             run COMMAND in the host: its mounts, processes, network, and its own programs
#   engine.sh net FOLDER COMMAND…              run COMMAND of this machine in the host's network
#   engine.sh fetch                            only get the programs
#
# Environment: ENGINE_SUITE   bullseye 20.10.5, bookworm 20.10.24 (the default), trixie 26.1, forky or sid 28.5
#              ENGINE_NET     lan (the default), or host: this machine's network, for builds; containers of it have that or none
#              OPENEBS_CACHE  where the programs are kept (.cache in the repository)
# FOLDER: docker.sock, daemon.json (edit it before start), data, run and etc (/run and /etc/docker of the host), dockerd.log,
#         addr (its address), outer.pid (what waits for dockerd out here), holder.pid (its process 1; /proc/<that>/root/<path> is a file of the host). The host is called
#         like the folder. Keep its path short: a socket's is cut at 107 bytes.
# Needs root, mmdebstrap, iproute2, procps and a docker client.
#
# How: the suite's packages are unpacked, not installed. A holder, process 1 of a pid namespace, keeps a mount namespace in
# which that tree's /usr covers ours, and /run and /etc/docker are the host's own; all else is this machine's, so paths mean the same inside and
# outside. dockerd is started into it, and can die and come back there. When the holder dies all that runs there dies too.
# The hosts are on one network, 198.19.0.0/16. Its switch is in a namespace too, so this machine's packet filter has no say;
# this machine is 198.19.0.1 on it. The last host to end takes it away.
set -euo pipefail

self=$(readlink -f "$0")
repository=$(cd "$(dirname "$self")/../.." && pwd)
cache=${OPENEBS_CACHE:-$repository/.cache}
suite=${ENGINE_SUITE:-bookworm}
tree=$cache/engine-$suite
lan=openebs-lan

fail() { echo "engine: error: $*" >&2; exit 1; }

# until_true SECONDS COMMAND…: waits for it to succeed
until_true() {
  local tries=$(($1 * 20))
  shift
  until "$@"; do
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep .05
  done
}

# --- programs -----------------------------------------------------------------------------------------------------------

# In a subshell, like all that holds a lock here: what is started later must not inherit it.
fetch() {
  [ ! -e "$tree/.complete" ] || return 0
  mkdir -p "$cache"
  (
    flock 9
    [ -e "$tree/.complete" ] || unpack
  ) 9>"$tree.lock"
}

unpack() {
  local include=docker.io,iptables,ca-certificates,iproute2,kmod,procps,coreutils,bash,grep,e2fsprogs,xfsprogs,git,xz-utils,pigz,tini,mount,util-linux
  case $suite in bullseye | bookworm) ;; *) include+=,docker-cli ;; esac
  rm -rf "$tree" "$tree.part"
  # shellcheck disable=SC2016 # $1 is for mmdebstrap to fill in
  "$repository/deploy/base/debian-sources.sh" "$suite" release |
    mmdebstrap --quiet --mode=root --format=directory --variant=extract --include="$include" \
      --aptopt='APT::Install-Recommends "false"' --aptopt="$(apt-config dump | grep -E '^Acquire::Check-' || true)" \
      --setup-hook='cd "$1" && mkdir -p usr/bin usr/sbin usr/lib usr/lib64 && for d in bin sbin lib lib64; do ln -s usr/$d $d; done' \
      --customize-hook='cd "$1" && rm -rf var/lib/apt var/cache usr/share/doc usr/share/man usr/share/locale etc/apt' \
      "$suite" "$tree.part" - >&2
  link_alternatives "$tree.part"
  chmod 755 "$tree.part"
  touch "$tree.part/.complete"
  mv "$tree.part" "$tree"
}

# What the packages' own scripts would have set up, had they been installed.
link_alternatives() {
  local name suffix
  for name in iptables ip6tables; do
    for suffix in "" -save -restore; do ln -sfn "$name-nft$suffix" "$1/usr/sbin/$name$suffix"; done
  done
  ln -sfn mawk "$1/usr/bin/awk"
  ln -sfn bash "$1/usr/bin/sh"
}

# --- the host -----------------------------------------------------------------------------------------------------------

holder() { cat "$folder/holder.pid" 2>/dev/null || true; }
lives() { [ "$(cat "/proc/$(holder)/comm" 2>/dev/null)" = tini ]; }
is_gone() { [ ! -e "/proc/$1" ]; }
within() { nsenter -t "$(holder)" -m -n -p -u -- "$@"; }

make_host() {
  local namespaces=(-m -p -u -f --propagation slave) outer
  [ "${ENGINE_NET:-lan}" = host ] || namespaces+=(-n)
  rm -rf "$folder"/{run,exec,addr,docker.pid,docker.sock}
  mkdir -p "$folder"/{data,exec,run,etc}
  mkdir -p /etc/docker
  setsid unshare "${namespaces[@]}" bash "$self" inside "$folder" >"$folder/holder.log" 2>&1 </dev/null &
  outer=$!
  found_holder() { pgrep -P "$outer" -x tini >"$folder/holder.pid"; }
  until_true 10 found_holder || fail "no namespaces: $(cat "$folder/holder.log")"
  [ "${ENGINE_NET:-lan}" = host ] || connect_host
}

# Runs as process 1 in the new namespaces. /sys is mounted anew to show the new network namespace, with the cgroups kept.
become_holder() {
  mount -t proc proc /proc
  basename "$folder" >/proc/sys/kernel/hostname
  mount --bind "$folder/run" /run
  mkdir -p /run/docker/plugins /run/lock
  mount --bind "$folder/etc" /etc/docker    # an Engine keeps the key there that it gets its ID from
  if [ "${ENGINE_NET:-lan}" = lan ]; then
    mount --make-rslave /sys
    mkdir /run/cgroup
    mount --rbind /sys/fs/cgroup /run/cgroup
    mount -t sysfs sysfs /sys
    mount --rbind /run/cgroup /sys/fs/cgroup
    umount -l /run/cgroup
    ip link set lo up
  fi
  mount --bind "$tree/usr" /usr
  exec tini -s -- sleep infinity
}

# In cgroup v1 a paused container does not even die.
thaw_containers() {
  local container state
  for container in "$folder"/data/containers/*; do
    state=/sys/fs/cgroup/freezer/docker/${container##*/}/freezer.state
    [ ! -e "$state" ] || echo THAWED >"$state"
  done
}

end_host() {
  local pid
  pid=$(holder)
  if lives; then
    kill -KILL "$pid"
    thaw_containers
    until_true 30 is_gone "$pid" || fail "process $pid, which holds $folder, does not end"
  fi
  rm -rf "$folder"/{docker.pid,docker.sock,holder.pid,exec}
  remove_own_bridge
  leave_lan
}

# --- the network --------------------------------------------------------------------------------------------------------

lan_stands() { ip netns exec "$lan" true && ip link show openebs0; } >/dev/null 2>&1

# Also what a run that was killed left half made.
remove_lan() {
  ! ip link show openebs0 >/dev/null 2>&1 || ip link del openebs0
  ! ip netns list | grep -qw "$lan" || ip netns del "$lan"
}

make_lan() {
  remove_lan
  ip netns add "$lan"
  ip -n "$lan" link set lo up
  ip -n "$lan" link add switch type bridge
  ip -n "$lan" link set switch up
  ip link add openebs0 type veth peer name machine netns "$lan"
  ip -n "$lan" link set machine master switch up
  ip addr add 198.19.0.1/16 dev openebs0
  ip link set openebs0 up
}

# Addresses count upwards from the last one given, so that one which was just left is not answered by somebody else.
connect_host() {
  (
    flock 9
    take_port
  ) 9>/run/lock/openebs-lan
}

take_port() {
  local n last=/run/lock/openebs-lan.last
  lan_stands || make_lan
  n=$(cat "$last" 2>/dev/null || echo 1)
  while :; do
    n=$((n % 65000 + 1))
    [ "$n" -gt 1 ] && ! ip -n "$lan" link show "host$n" >/dev/null 2>&1 && break
  done
  echo "$n" >"$last"
  ip -n "$lan" link add "host$n" type veth peer name up0 netns "$(holder)"
  ip -n "$lan" link set "host$n" master switch up
  within ip addr add "198.19.$((n / 256)).$((n % 256))/16" dev up0
  within ip link set up0 up
  within ip route add default via 198.19.0.1
  echo "198.19.$((n / 256)).$((n % 256))" >"$folder/addr"
}

# On this machine's network dockerd gets a bridge that nobody uses, and may not touch the packet filter: with its own it would
# fight over docker0 with this machine's Engine, and with --bridge=none it *deletes* docker0.
own_bridge() { echo "oe-$(echo "$folder" | sha256sum | cut -c1-8)"; }

make_own_bridge() {
  local bridge
  bridge=$(own_bridge)
  ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge
  ip addr replace "198.18.255.$((0x$(echo "$folder" | sha256sum | cut -c1-2) % 63 * 4 + 1))/30" dev "$bridge"
}

remove_own_bridge() { ! ip link show "$(own_bridge)" >/dev/null 2>&1 || ip link del "$(own_bridge)"; }

port() { IFS=. read -r _ _ a b <"$folder/addr" && echo "host$((a * 256 + b))"; }

leave_lan() {
  [ -e "$folder/addr" ] || return 0
  (
    flock 9
    give_back_port "$(port)"
  ) 9>/run/lock/openebs-lan
  rm -f "$folder/addr"
}

# The kernel would take a port away with its host's namespace, and openebs0 with the switch's, but later: too late for whoever
# makes the next one at once.
give_back_port() {
  ! ip -n "$lan" link show "$1" >/dev/null 2>&1 || ip -n "$lan" link del "$1" 2>/dev/null || true
  case $(ip -n "$lan" -br link show type veth) in
    *host*) ;;
    *) remove_lan ;;
  esac
}

# --- dockerd ------------------------------------------------------------------------------------------------------------

answers() { [ -S "$folder/docker.sock" ] && timeout 3 docker -H "unix://$folder/docker.sock" version >/dev/null 2>&1; }

start_dockerd() {
  local outer
  if [ "${ENGINE_NET:-lan}" = host ]; then
    make_own_bridge
    set -- --bridge="$(own_bridge)" --iptables=false --ip-forward=false "$@"
  fi
  [ -e "$folder/daemon.json" ] || echo '{}' >"$folder/daemon.json"
  rm -f "$folder/docker.pid" "$folder/docker.sock"
  [ "${ENGINE_NET:-lan}" = lan ] || set -- --bridge=none --iptables=false "$@"
  setsid nsenter -t "$(holder)" -m -n -p -u env PATH=/usr/sbin:/usr/bin TMPDIR=/tmp dockerd \
    --config-file="$folder/daemon.json" --data-root="$folder/data" --exec-root="$folder/exec" \
    --pidfile="$folder/docker.pid" -H "unix://$folder/docker.sock" "$@" >>"$folder/dockerd.log" 2>&1 </dev/null &
  outer=$!
  echo "$outer" >"$folder/outer.pid"
  answers_or_ended() { answers || is_gone "$outer"; }
  until_true 180 answers_or_ended || { kill "$outer"; fail "dockerd does not answer: see $folder/dockerd.log"; }
  answers || fail "dockerd ended: $(grep -m 1 -B 15 -A 15 -E '^(panic|fatal error|unexpected fault)' "$folder/dockerd.log" || tail -n 5 "$folder/dockerd.log")"
}

halt_dockerd() {
  lives && [ -e "$folder/docker.pid" ] || return 0
  local pid
  pid=$(cat "$folder/docker.pid")   # as seen inside
  within kill "-$1" "$pid" || true  # it may have ended by itself
  ended() { ! lives || ! within test -e "/proc/$pid"; }
  until_true 180 ended || fail "dockerd does not end: see $folder/dockerd.log"
  rm -f "$folder/docker.pid" "$folder/docker.sock"
}

# ------------------------------------------------------------------------------------------------------------------------

command=${1:?usage: engine.sh start|halt|stop|crash|cut|join|exec|net FOLDER, or fetch}
shift
case $command in
  fetch) fetch; exit ;;
  start) mkdir -p "${1:?which folder?}" ;;
esac
folder=$(readlink -f "${1:?which folder?}")
shift
case $command in
  start)
    [ ${#folder} -le 90 ] || fail "$folder is too long a path for a socket"
    fetch
    lives || make_host
    answers || start_dockerd "$@" ;;
  halt) halt_dockerd "${1:-TERM}" ;;
  stop) halt_dockerd TERM; end_host ;;
  crash) end_host ;;
  cut) ip -n "$lan" link set "$(port)" down ;;
  join) ip -n "$lan" link set "$(port)" up ;;
  exec) exec nsenter -t "$(holder)" -m -n -p -u env PATH=/usr/sbin:/usr/bin "DOCKER_HOST=unix://$folder/docker.sock" "$@" ;;
  net) exec nsenter -t "$(holder)" -n env "DOCKER_HOST=unix://$folder/docker.sock" "$@" ;;
  inside) become_holder ;;
  *) fail "no such command: $command" ;;
esac
