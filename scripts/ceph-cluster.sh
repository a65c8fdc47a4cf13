#!/usr/bin/env bash
# A Ceph cluster on loopback, for tests and for trying out far memory: 1 monitor and 3 OSDs that keep
# their objects in memory, every object twice, with cephx on. It serves nobody but this machine and
# keeps nothing: `down` ends the daemons and removes all that they have written.
#
# Usage: scripts/ceph-cluster.sh up | down | status | renew       renew: down, then up
#        scripts/ceph-cluster.sh kill-osd N | revive-osd N          a daemon dies (SIGKILL), and is back
#        scripts/ceph-cluster.sh stop-mon | continue-mon            the monitor stands still (SIGSTOP)
#        scripts/ceph-cluster.sh stop-osd N | continue-osd N        an OSD does
#        scripts/ceph-cluster.sh fill | unfill                      the pool is full, and has room again
#        scripts/ceph-cluster.sh await-clean                        until every object is there twice
#        scripts/ceph-cluster.sh heal                               what stands still or is dead is back
#        scripts/ceph-cluster.sh ceph ...                           the command ceph, as administrator
#
# The state is in the folder $HOLDFAST_CEPH_DIR, else holdfast-ceph-<user id> in $TMPDIR or /tmp; each
# folder has a cluster of its own. `up` prints the one thing that users of the cluster need: the
# configuration, <folder>/ceph.conf, which names the monitor and the keyring. There is a pool `holdfast`
# (HOLDFAST_CEPH_POOL), and a user client.holdfast who may use that pool and nothing else. It listens on
# HOLDFAST_CEPH_ADDRESS, an IPv4 address of this machine, if that is not to be loopback.
# Needs the Debian packages ceph-mon, ceph-osd and ceph-common: tools/install_packages ceph.
set -eu

folder=${HOLDFAST_CEPH_DIR:-${TMPDIR:-/tmp}/holdfast-ceph-$(id -u)}
pool=${HOLDFAST_CEPH_POOL:-holdfast}
address=${HOLDFAST_CEPH_ADDRESS:-127.0.0.1}
osds=3
groups=4       # placement groups: little enough to be asked one by one
osd_bytes=$((2 << 30))
limit=60        # seconds for the cluster to answer
conf=$folder/ceph.conf
marker=$folder/.holdfast-ceph-cluster  # what down removes was made by up

say() { echo "ceph-cluster: $*" >&2; }
die() { say "$*"; exit 1; }

admin() { ceph --conf "$conf" --name client.admin --keyring "$folder/admin.keyring" --connect-timeout 20 "$@"; }

# pid_of NAME: the process of that daemon of this cluster, if it lives.
pid_of() {
  local pid
  pid=$(cat "$folder/$1.pid" 2>/dev/null) || return 1
  grep -qF -- "$conf" "/proc/$pid/cmdline" 2>/dev/null || return 1
  echo "$pid"
}

signal() {  # SIGNAL NAME
  local pid
  pid=$(pid_of "$2") || die "$2 does not run"
  kill "-$1" "$pid"
}

free_port() {  # two in a row, as the monitor's old protocol takes the second
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  die "no free port"
}

write_configuration() {
  local port=$1
  cat >"$conf" <<END
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:$address:$port/0]
mon initial members = a
public addr = $address
ms bind ipv4 = true
ms bind msgr1 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = $folder
log file = $folder/\$name.log
admin socket = $folder/\$name.asok
pid file = $folder/\$type.\$id.pid
crash dir =
osd pool default size = 2
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon data = $folder/mon.a
mon allow pool delete = true
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
mon osd down out interval = 600
mon osd min down reporters = 1
mon osd adjust heartbeat grace = false
osd data = $folder/osd.\$id
osd objectstore = memstore
memstore device bytes = $osd_bytes
osd heartbeat interval = 1
osd heartbeat grace = 4
osd max backfills = 4
osd recovery sleep hdd = 0
osd recovery sleep hybrid = 0
osd recovery sleep ssd = 0
osd recovery max active = 16
osd op num shards = 2
osd op num threads per shard = 1
ms async op threads = 1
[client.admin]
keyring = $folder/admin.keyring
log file =
admin socket =
[client.holdfast]
keyring = $folder/holdfast.keyring
[client]
log file =
admin socket =
END
}

# A daemon outlives whoever starts it, and must not keep what that has open: a lock, or a pipe.
daemon() (
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
  done
  exec nice -n 10 "$@" >>"$folder/start.log" 2>&1 </dev/null
)

start_mon() { daemon ceph-mon --conf "$conf" -i a; }

start_osd() {
  mkdir -p "$folder/osd.$1"
  daemon ceph-osd --conf "$conf" -i "$1"
}

make_mon() {
  local port=$1
  ceph-authtool --create-keyring "$folder/mon.keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
  ceph-authtool --create-keyring "$folder/admin.keyring" --gen-key -n client.admin \
    --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
  ceph-authtool "$folder/mon.keyring" --import-keyring "$folder/admin.keyring" >/dev/null
  monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$conf")" \
    --addv a "[v2:$address:$port]" "$folder/monmap" >/dev/null
  mkdir -p "$folder/mon.a"
  ceph-mon --conf "$conf" --mkfs -i a --monmap "$folder/monmap" --keyring "$folder/mon.keyring" \
    >>"$folder/start.log" 2>&1
}

# An OSD's objects are in its memory alone, so mkfs is all the identity that it has; a revived one
# begins with that again, and is filled from the others.
make_osd() {
  local n=$1 key uuid
  mkdir -p "$folder/osd.$n"
  uuid=$(cat /proc/sys/kernel/random/uuid)
  key=$(ceph-authtool --gen-print-key)
  printf '{"cephx_secret": "%s"}' "$key" | admin osd new "$uuid" "$n" -i - >/dev/null
  ceph-authtool --create-keyring "$folder/osd.$n/keyring" --name "osd.$n" --add-key "$key" >/dev/null
  nice -n 10 ceph-osd --conf "$conf" -i "$n" --mkfs --osd-uuid "$uuid" >>"$folder/start.log" 2>&1
}

up() {
  command -v ceph-mon >/dev/null && command -v ceph-osd >/dev/null && command -v ceph >/dev/null ||
    { say "ceph-mon, ceph-osd or ceph is not there: tools/install_packages ceph installs them"; exit 77; }
  [ ! -e "$marker" ] || die "there is a cluster in $folder already: $0 down removes it"
  [ ! -e "$folder" ] || [ -z "$(ls -A "$folder")" ] || die "$folder is not empty, and no cluster of mine"
  mkdir -p -m 700 "$folder"
  : >"$marker"
  trap 'say "failed; the end of $folder/start.log:"; tail -n 5 "$folder/start.log" >&2; down' ERR
  local begun=$SECONDS port n
  port=$(free_port)
  write_configuration "$port"
  make_mon "$port"
  start_mon
  for n in $(seq 0 $((osds - 1))); do make_osd "$n"; done
  for n in $(seq 0 $((osds - 1))); do start_osd "$n"; done
  admin osd pool create "$pool" "$groups" >/dev/null 2>&1
  admin osd pool application enable "$pool" holdfast >/dev/null 2>&1
  admin auth get-or-create client.holdfast mon 'allow r' osd "allow rwx pool=$pool" \
    >"$folder/holdfast.keyring"
  # Done when an object can be written.
  until timeout 5 rados --conf "$conf" --name client.holdfast -p "$pool" put up /dev/null 2>/dev/null; do
    [ $((SECONDS - begun)) -lt $limit ] || die "no object could be written for $limit s: see $folder/*.log"
    sleep 0.2
  done
  rados --conf "$conf" --name client.holdfast -p "$pool" rm up
  trap - ERR
  say "up in $((SECONDS - begun)) s: pool $pool, user client.holdfast"
  echo "$conf"
}

down() {
  trap - ERR
  if [ ! -e "$marker" ]; then
    say "there is no cluster in $folder"
    return 0
  fi
  local pid file
  for file in "$folder"/*.pid; do
    pid=$(pid_of "$(basename "$file" .pid)") || continue
    kill -KILL "$pid" 2>/dev/null || true  # nothing is kept, so nothing need be put in order
    while [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.05; done
  done
  rm -rf "$folder"
}

revive_osd() {
  if pid_of "osd.$1" >/dev/null; then die "osd.$1 runs"; fi
  # The monitor knows the key; the store is made anew with the same identity.
  local uuid keyring
  uuid=$(admin osd dump --format json | python3 -c '
import json, sys
print(next(o["uuid"] for o in json.load(sys.stdin)["osds"] if o["osd"] == int(sys.argv[1])))' "$1")
  keyring=$(cat "$folder/osd.$1/keyring")
  rm -rf "$folder/osd.$1"
  mkdir -p "$folder/osd.$1"
  echo "$keyring" >"$folder/osd.$1/keyring"
  nice -n 10 ceph-osd --conf "$conf" -i "$1" --mkfs --osd-uuid "$uuid" >>"$folder/start.log" 2>&1
  start_osd "$1"
}

heal() {
  local name n
  for name in mon.a $(seq -f 'osd.%g' 0 $((osds - 1))); do
    if pid_of "$name" >/dev/null; then signal CONT "$name"; fi
  done
  for n in $(seq 0 $((osds - 1))); do
    if ! pid_of "osd.$n" >/dev/null; then revive_osd "$n"; fi
  done
  unfill
}

full_ratios() {  # of all room: when objects are refused, when they are not copied, when it is told
  admin osd set-full-ratio "$1" >/dev/null 2>&1
  admin osd set-backfillfull-ratio "$2" >/dev/null 2>&1
  admin osd set-nearfull-ratio "$3" >/dev/null 2>&1
}

is_full() { admin osd dump 2>/dev/null | grep -qE "^pool .*flags [^ ]*full"; }

# An object more than there may be.
fill() {
  local begun=$SECONDS
  head -c 8M /dev/zero | rados --conf "$conf" --name client.holdfast -p "$pool" put filler -
  full_ratios 0.00001 0.00001 0.00001
  until is_full; do
    [ $((SECONDS - begun)) -lt $limit ] || die "the pool does not fill"
    sleep 0.2
  done
}

unfill() {
  local begun=$SECONDS
  is_full || return 0
  full_ratios 0.95 0.9 0.85
  while is_full; do
    [ $((SECONDS - begun)) -lt $limit ] || die "the pool stays full"
    sleep 0.2
  done
  rados --conf "$conf" --name client.holdfast -p "$pool" rm filler
}

status() {
  [ -e "$marker" ] || { echo "no cluster in $folder"; return 1; }
  local name
  for name in mon.a $(seq -f 'osd.%g' 0 $((osds - 1))); do
    if pid_of "$name" >/dev/null; then echo "$name runs"; else echo "$name is dead"; fi
  done
  admin osd stat
  admin osd lspools
}

# Without a manager nobody sums up; each placement group's own OSD is asked.
await_clean() {
  local begun=$SECONDS id group state
  for id in $(admin osd lspools | awk '{print $1}'); do
    for group in $(seq 0 $((groups - 1))); do
      until state=$(timeout 10 ceph --conf "$conf" --name client.admin --keyring "$folder/admin.keyring" \
        tell "$id.$group" query 2>/dev/null | sed -n 's/^ *"state": "\(.*\)",/\1/p' | head -n 1) &&
        [ "$state" = active+clean ]; do
        [ $((SECONDS - begun)) -lt $((2 * limit)) ] || die "group $id.$group is still ${state:-silent}"
        sleep 0.2
      done
    done
  done
}

number() {
  case "${1:-}" in
    [0-9]) [ "$1" -lt "$osds" ] || die "there are OSDs 0 to $((osds - 1))" ;;
    *) die "which OSD? 0 to $((osds - 1))" ;;
  esac
}

case "${1:-}" in
  up | down | status | heal | fill | unfill) "$1" ;;
  renew) down; up ;;
  kill-osd) number "${2:-}"; signal KILL "osd.$2" ;;
  revive-osd) number "${2:-}"; revive_osd "$2" ;;
  stop-osd) number "${2:-}"; signal STOP "osd.$2" ;;
  continue-osd) number "${2:-}"; signal CONT "osd.$2" ;;
  await-clean) await_clean ;;
  stop-mon) signal STOP mon.a ;;
  continue-mon) signal CONT mon.a ;;
  ceph) shift; admin "$@" ;;
  *) sed -n '2,22s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
