#!/bin/sh
# down.sh   ends all that `make up` started; data, images and settings stay, and `make up` brings the volumes back
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"

if ! have docker || [ ! -e "$state" ]; then
  say '✓ nothing was set up from this clone: nothing to end'
  exit
fi
only_one
only_remembered
choose_engine
if [ "$chosen" = private ] && ! private_daemon_pid >/dev/null; then
  stop_private_daemon
  say '✓ the private Docker Engine is not running: nothing to end'
  exit
fi
reach_engine
refuse_while_used 'make down'

# The plugin would take the containers of a volume for lost, and make them anew: what it made meanwhile ends after it.
end_volumes() {
  end_demo
  end_initiators
  disable_plugin
  end_initiators
  end_container "$iscsid_container"
  end_targets
}

step 'end the sidecar' end_container "$sidecar_container"
step 'detach volumes, disable the plugin, end the targets' end_volumes
step 'end etcd' end_container "$etcd_container"
[ "$chosen" != private ] || step 'end the private Docker Engine' stop_private_daemon
say '✓ ended; the data are kept: make up goes on with them, make purge removes them'
