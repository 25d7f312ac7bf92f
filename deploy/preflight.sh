#!/bin/sh
# preflight.sh   can this machine be an OpenEBS host? Changes nothing; each obstacle is one sentence with its remedy
#
# Status 0: yes. 3: yes, but no Docker Engine answers yet and `make up` may install or start one. 1: no.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"

obstacles=0
obstacle() {
  echo "✗ $*" >&2
  obstacles=$((obstacles + 1))
}
finish() {
  [ "$obstacles" = 0 ] || exit 1
  exit "${1:-0}"
}

linux_vm='A Linux virtual machine is needed, for instance by Lima (limactl start --name=openebs template://debian-12, then
limactl shell openebs) or by Multipass (multipass launch --name openebs --disk 20G, then multipass shell openebs); clone
this repository there and run make demo. make check works here too, with Node 26 or later in PATH.'

case $(uname -s) in
  Linux) ;;
  Darwin) fail "This is macOS: volumes are attached by loop devices and FUSE of a Linux kernel. $linux_vm" ;;
  MINGW* | MSYS* | CYGWIN* | Windows*) fail "This is Windows: volumes are attached by loop devices and FUSE of a Linux" \
    "kernel. $linux_vm" ;;
  *) fail "This is $(uname -s): volumes are attached by loop devices and FUSE of a Linux kernel. $linux_vm" ;;
esac

load_settings

# Needed before anything is asked of a daemon.
if ! have npm && ! can_install; then
  obstacle 'npm is missing, which brings Node and the libraries of the images: install it (Debian, Ubuntu: sudo apt-get' \
    'install npm)'
fi
case $(uname -m) in
  x86_64 | aarch64) ;;
  *) obstacle "this machine is $(uname -m): expected x86_64 or aarch64, for which Node and our images exist" ;;
esac

# "Cannot be reached" has five reasons, each with another remedy.
explain_silence() {
  case $refusal in
    *'permission denied'*)
      obstacle "$(id -un) may not talk to the Docker Engine at $endpoint: join its group (sudo usermod -aG docker" \
        "$(id -un)) and log in again" ;;
    *)
      if [ "$chosen" = named ]; then
        obstacle "the Docker Engine at $endpoint, which DOCKER_HOST or the Docker context names, does not answer" \
          "($(first_line "$refusal")): start it, or name another by DOCKER_HOST or docker context use"
      elif ! can_install && ! have dockerd; then
        obstacle 'no Docker Engine answers, and none can be installed from here: install one (Debian, Ubuntu: sudo apt-get' \
          'install docker.io; elsewhere docs.docker.com/engine/install)'
      elif ! is_root; then
        obstacle 'the Docker Engine is not running: start it (sudo systemctl start docker)'
      else
        return 0
      fi ;;
  esac
}

check_engine() {
  major=$(told version | cut -d. -f1)
  case $major in
    '' | *[!0-9]*) ;;
    *) [ "$major" -ge 20 ] || obstacle "the Docker Engine is $(told version): expected 20.10 or later" ;;
  esac
  [ "$(told type)" = linux ] ||
    obstacle "the Docker Engine runs $(told type) containers: switch it to Linux containers"
  case $(told os) in
    *'Docker Desktop'*)
      fail "This is Docker Desktop, whose virtual machine is thrown away and closed to plugins like ours. $linux_vm" ;;
  esac
  case $(told security) in
    *name=rootless*)
      obstacle 'this Docker Engine is rootless, and may use neither loop devices nor FUSE for others: use one that runs as' \
        'root (docker context use default)' ;;
    *name=userns*)
      obstacle 'this Docker Engine remaps users (userns-remap), and a container that attaches volumes must be the real root:' \
        'remove userns-remap from daemon.json, or use another engine' ;;
  esac
  case $(told root) in
    /var/snap/*)
      obstacle 'this Docker Engine is the snap, which is confined and lets no plugin mount: remove it (sudo snap remove' \
        'docker) and install docker.io (sudo apt-get install docker.io)' ;;
  esac
  [ "$(socket_name)" = docker.sock ] ||
    obstacle "the socket $endpoint is not called docker.sock, and the plugin binds its folder: link it under that name"
}

check_devices() {
  for device in /dev/fuse:fuse /dev/loop-control:loop; do
    [ -e "${device%:*}" ] || { is_root && modprobe -q "${device#*:}" 2>/dev/null && [ -e "${device%:*}" ]; } ||
      obstacle "${device%:*} is missing: load the kernel's module (sudo modprobe ${device#*:}); a virtual machine without" \
        'it cannot attach volumes'
  done
}

# check_space FOLDER MEGABYTES WHAT
check_space() {
  folder=$1
  while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
  free=$(df -Pm "$folder" 2>/dev/null | awk 'NR == 2 { print $4 }')
  [ -z "$free" ] || [ "$free" -ge "$2" ] ||
    obstacle "$folder has $free MB free, and $3 need $2 MB: make room there"
}

# Listening ports of all addresses, from the kernel: ss and netstat are not everywhere. State 0A is LISTEN.
is_taken() { cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { print $2 }' | grep -qi ":$(printf '%04X' "$1")\$"; }

# check_port PORT CONTAINER SETTING ADVICE: a port that our own running container holds is as it should be.
check_port() {
  is_taken "$1" || return 0
  [ "$2" = running ] ||
    obstacle "port $1 is in use by another program: choose another ($3=<port>)$4"
}

running_state() {
  found=$(docker container inspect -f '{{.State.Status}}' "$1" 2>/dev/null) || found=none
  echo "$found"
}

check_ports() {
  etcd=none sidecar=none
  if [ "${1:-}" = ask ]; then
    etcd=$(running_state "$etcd_container")
    sidecar=$(running_state "$sidecar_container")
  fi
  if [ -z "$STORE" ]; then
    check_port "$ETCD_PORT" "$etcd" ETCD_PORT ", or use an etcd that is there (STORE=etcd://127.0.0.1:$ETCD_PORT)"
    check_port "$ETCD_PEER_PORT" "$etcd" ETCD_PEER_PORT ''
  fi
  check_port "$REGISTRATOR_PORT" "$sidecar" REGISTRATOR_PORT ''
}

if ! have docker; then
  chosen=none refusal='there is no docker command' endpoint=$default_endpoint
else
  choose_engine
  is_same_engine
fi
if [ "$chosen" != none ] && ask_engine; then
  check_engine
  if is_local_engine; then
    check_devices
    check_space "$(told root)" 3000 'images and plugin'
    check_space "$build" 1000 'builds'
    check_ports ask
  fi
  finish
fi

explain_silence
check_devices
check_space "$run" 3000 'images and plugin'
check_ports
finish 3
