#!/bin/sh
# registrator run [flags] | ls | get ...: the sidecar, and the commands that look into the registry.
# registrator [options] <registry URI>: the sidecar as a drop-in for gliderlabs/registrator.
set -eu

here=$0
while [ -L "$here" ]; do
  link=$(readlink "$here")
  case $link in
    /*) here=$link ;;
    *) here=$(dirname "$here")/$link ;;
  esac
done
root=$(cd "$(dirname "$here")/.." && pwd -P)

node=$root/node_modules/.bin/node
[ -x "$node" ] || node=node
# What Node has compiled once it need not compile, or strip of its types, again: a fifth less memory for the sidecar. Where
# the folder cannot be written it is done without.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-$root/.cache/node}"

# sidecar PROGRAM ARGUMENTS…
sidecar() {
  program=$1
  shift
  # it gives back what it has taken for a burst (process/memory.ts), so it need not save on that
  export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-1}"
  # with a heap of 30 MB several threads spend more on sharing a collection of young objects than they save
  exec "$node" --max-semi-space-size=4 --no-parallel-scavenge --max-old-space-size=512 "$root/$program" "$@"
}

if [ "${1:-}" = run ]; then
  shift
  sidecar sidecar/main.ts "$@"
fi

# The command line of gliderlabs/registrator: its options, and a registry's URI.
is_compat() {
  option=${1#-}
  option=${option#-}
  case $1 in
    [a-z]*://* | -version | -help) return 0 ;;
    -*) ;;
    *) return 1 ;;
  esac
  case ${option%%=*} in
    ip | internal | explicit | useIpFromLabel | ttl | ttl-refresh | tags | resync | deregister | cleanup | dry-run) return 0 ;;
    retry-attempts | retry-interval) return 0 ;;
    *) return 1 ;;
  esac
}
if [ $# -gt 0 ] && is_compat "$1"; then
  sidecar sidecar/compat/main.ts "$@"
fi
exec "$node" "$root/cli/main.ts" "$@"
