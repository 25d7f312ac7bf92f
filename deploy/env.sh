#!/bin/sh
# env.sh   prints shell exports to work with what `make up` set up: eval "$(make -s env)"
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

load_settings
engine=$(recall ENGINE)
[ -n "$engine" ] || fail 'nothing is set up from this clone: run make up first'

# etcd://a:2379,b:2379/prefix -> http://a:2379,http://b:2379
members=${store#etcd://}
members=${members%%/*}
endpoints=$(echo "$members" | sed 's|\([^,]*\)|http://\1|g')

echo "export DOCKER_HOST='$engine'"
echo "export ETCDCTL_API=3"
echo "export ETCDCTL_ENDPOINTS='$endpoints'"
echo "export REGISTRATOR_URL='http://127.0.0.1:$REGISTRATOR_PORT'"
