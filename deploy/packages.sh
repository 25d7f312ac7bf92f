#!/bin/sh
# packages.sh   has node_modules in line with package-lock.json; leaves it alone where it is
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$top"

# npm keeps what it installed in node_modules/.package-lock.json; what is optional may be for another processor.
in_line() {
  node -e '
    const read = (file) => JSON.parse(require("fs").readFileSync(file, "utf8")).packages
    const wanted = read("package-lock.json"), installed = read("node_modules/.package-lock.json")
    const missing = Object.keys(wanted).filter((name) => name && !installed[name] && !wanted[name].optional)
    const other = Object.keys(installed).filter((name) => installed[name].version !== wanted[name]?.version)
    process.exit(missing.length + other.length > 0 ? 1 : 0)' 2>/dev/null
}

have npm || fail 'npm is missing, which brings the checks and Node: install it (Debian, Ubuntu: sudo apt-get install npm)'
in_line || npm ci --loglevel=error --ignore-scripts --no-audit --no-fund
# npm 9 (Debian 12) skips the Node of the other processor, and takes away the link that both have.
case $(uname -m) in x86_64) processor=x64 ;; aarch64) processor=arm64 ;; *) processor=none ;; esac
brought=node-linux-$processor/bin/node
[ -e node_modules/.bin/node ] || [ ! -e "node_modules/$brought" ] || ln -sf "../$brought" node_modules/.bin/node
PATH=$top/node_modules/.bin:$PATH
said=$(node --version 2>&1) ||
  fail "node does not run: $said (Debian and Ubuntu have what Node 26 needs in libatomic1: sudo apt-get install libatomic1)"
major=$(echo "$said" | sed 's/^v\([0-9]*\).*/\1/')
[ "$major" -ge 26 ] ||
  fail "node in PATH is $said, and npm has no binary for this system: put Node 26 or later in PATH"
# tap makes its own entry point of the plugins that .taprc names.
built=$(cksum .taprc)
[ "$(cat node_modules/.tap-built 2>/dev/null)" = "$built" ] || { tap build && echo "$built" >node_modules/.tap-built; }
