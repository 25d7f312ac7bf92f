# shellcheck shell=sh
# What the scripts behind the Makefile share: words, steps with their time, the state of this clone, names and versions.
# Sourced by scripts in deploy/; every one of them may be run by itself too (`sh deploy/up.sh`).
# Its names are for those scripts:
# shellcheck disable=SC2034

top=$(cd "$(dirname "$0")/.." && pwd)
run=${OPENEBS_RUN:-$top/.run}
build=$top/build
state=$run/state
version=$(sed -n 's/^  "version": "\([^"]*\)",$/\1/p' "$top/package.json")

plugin=openebs
etcd_container=openebs-etcd
etcd_volume=openebs-etcd
sidecar_container=openebs-registrator
demo_container=openebs-demo
iscsid_container=openebs-iscsid
vsm_image=openebs/vsm:$version
sidecar_image=openebs/registrator-sidecar:$version
rootfs_image=openebs/registrator-rootfs:$version
own_etcd_image=openebs/etcd:$version
made_base=openebs/base:trixie

say() { echo "$*"; }
note() { echo "  $*"; }
fail() { echo "✗ $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# Hundredths of a second since boot: `date` has no fractions everywhere, and its clock may be set.
clock() { cut -d' ' -f1 /proc/uptime | tr -d .; }
seconds_since() { since=$(($(clock) - $1)); printf '%d.%02d s' $((since / 100)) $((since % 100)); }

# step WORDS COMMAND...: runs it with its output in .run/log/<script>.log and prints one line with a tick and the time it
# took; a long one shows in between that it is alive. When it fails, the end of its output is shown and the script ends.
step() {
  words=$1
  shift
  mkdir -p "$run/log"
  log=$run/log/$(basename "$0" .sh).log
  from=$(wc -c 2>/dev/null <"$log" || echo 0)
  began=$(clock)
  "$@" >>"$log" 2>&1 </dev/null 9>&- &
  work=$! pulse=$!
  # A shell's background jobs ignore the interrupt key: end them from here, and give them time to clean up after themselves.
  trap 'kill "$work" "$pulse" 2>/dev/null || true; wait "$work" || true; exit 130' INT TERM HUP
  heartbeat 9>&- &
  pulse=$!
  status=0
  wait "$work" || status=$?
  kill "$pulse" 2>/dev/null || true
  wait "$pulse" 2>/dev/null || true
  trap - INT TERM HUP
  [ ! -t 1 ] || printf '\r\033[K'
  if [ "$status" = 0 ]; then
    say "✓ $words  $(seconds_since "$began")"
    return
  fi
  echo "✗ $words  $(seconds_since "$began"): status $status, the end of $log:" >&2
  tail -c "+$((from + 1))" "$log" | tail -n 25 | sed 's/^/    /' >&2
  exit 1
}

# It also ends by itself: a signal that comes just when the shell has made it can get lost, and step would wait for ever.
heartbeat() {
  beats=0
  while sleep 1 && kill -0 "$work" 2>/dev/null; do
    beats=$((beats + 1))
    if [ -t 1 ]; then
      printf '\r\033[K… %s  %s s' "$words" "$beats"
    elif [ $((beats % 10)) = 0 ]; then
      say "… $words  $beats s"
    fi
  done
}

# The state of this clone, lines of NAME=value: what `make up` was told and what it added, for down, purge, status and env.
recall() { [ ! -e "$state" ] || sed -n "s|^$1=||p" "$state" | tail -n 1; }
remember() {
  mkdir -p "$run"
  { [ ! -e "$state" ] || grep -v "^$1=" "$state" || true; echo "$1=$2"; } >"$state.new"
  mv "$state.new" "$state"
}

# setting NAME DEFAULT: what the caller says now, else what was said at the last `make up`, else the default.
setting() {
  eval "given=\${$1:-}"
  [ -n "$given" ] || given=$(recall "$1")
  echo "${given:-$2}"
}

# Two of these scripts at once would undo each other's work. A child that outlives the script must not keep the lock (fd 9).
only_one() {
  mkdir -p "$run"
  have flock || return 0
  exec 9>"$run/lock"
  flock -n 9 || fail "another make up, down, purge or demo is at work in $top: wait for it"
}

# fingerprint WORD... -- PATH...: twelve digits that change when a word or a file below a path does.
fingerprint() {
  words_in=
  while [ "$1" != -- ]; do
    words_in="$words_in $1"
    shift
  done
  shift
  { echo "$words_in"; (cd "$top" && find "$@" -type f ! -name '*.md' -print | LC_ALL=C sort | xargs sha256sum); } |
    sha256sum | cut -c1-12
}

# What is ended or removed is what was set up: the settings of that make up count, not those that the caller has at hand.
only_remembered() { unset STORE ETCD_PORT ETCD_PEER_PORT REGISTRATOR_PORT ROOT; }

load_settings() {
  ETCD_PORT=$(setting ETCD_PORT 2379)
  ETCD_PEER_PORT=$(setting ETCD_PEER_PORT 2380)
  REGISTRATOR_PORT=$(setting REGISTRATOR_PORT 9190)
  STORE=$(setting STORE '')
  # Nothing given means what was said last, so the way back from an etcd that was named needs a word.
  [ "$STORE" != own ] || STORE=
  case $STORE in
    '') store=etcd://127.0.0.1:$ETCD_PORT ;;
    etcd://?*) store=$STORE ;;
    *) fail "STORE is $STORE: expected etcd://host:port[,host:port...][/prefix], or own for an etcd of our own" ;;
  esac
  for port in "$ETCD_PORT" "$ETCD_PEER_PORT" "$REGISTRATOR_PORT"; do
    case $port in
      *[!0-9]* | '' | ??????*) fail "'$port' is no port: ETCD_PORT, ETCD_PEER_PORT and REGISTRATOR_PORT are numbers up to 65535" ;;
    esac
  done
}
