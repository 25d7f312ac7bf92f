# shellcheck shell=sh
# What the scripts of the VSM image share. Exit codes: 64 called wrongly, 65 what is found is not what was asked for (do not
# repeat), 75 cannot be done now (repeat), 1 anything else.

say() { echo "openebs: $*"; }

# fail CODE SENTENCE: ends the script with one line that says why.
fail() {
  code=$1
  shift
  echo "openebs: error: $*" >&2
  exit "$code"
}

# need NAME...: these environment variables must be set. All that are missing are named at once.
need() {
  missing=
  for name in "$@"; do
    eval "[ -n \"\${$name:-}\" ]" || missing="$missing $name"
  done
  [ -z "$missing" ] || fail 64 "not set:$missing"
}

# A volume's name becomes a path, part of an IQN and of a JSON file: nothing but these characters, no dot or dash first.
valid_volume() { echo "$1" | grep -Eqx '[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}'; }
valid_uuid() { echo "$1" | grep -Eqx '[0-9a-fA-F-]{36}'; }

# field FILE NAME: a string of one of our own JSON files (flat, one line, no escapes). Empty if there is none.
field() { [ ! -e "$1" ] || sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p" "$1"; }

# write_synced FILE TEXT: whole or not at all, and on the disk when it returns.
write_synced() {
  echo "$2" >"$1.new"
  sync "$1.new"
  mv "$1.new" "$1"
  sync "$(dirname "$1")"
}
