#!/usr/bin/env bash
# The weather of far memory, for minutes: a program that checks every byte that it reads works on four
# times its memory under `holdfast run`, with the rest in compressed memory and in a pool of a cluster of
# this script's own, while the OSDs of that are killed and revived one after another; then the monitor
# stands still. Not part of ./test.sh, which does a little of each.
#
# Usage: scripts/far-soak.sh [BUILD] [SECONDS [MONITOR-SECONDS]]
#
# BUILD: the folder of a build with the target holdfast_far_tests; build/debug. SECONDS: of OSDs; 120.
# MONITOR-SECONDS: 20. Exit status: 0 if every byte was right and the program ended well.
# Needs what scripts/ceph-cluster.sh needs, and what holdfast run needs.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$here/build/debug}
seconds=${2:-120}
monitor_seconds=${3:-20}
folder=$(mktemp -d)
export HOLDFAST_CEPH_DIR=$folder/cluster
program=

say() { echo "far-soak: $SECONDS s: $*"; }
cluster() { "$here/scripts/ceph-cluster.sh" "$@" >>"$folder/log" 2>&1 || { tail -n 3 "$folder/log" >&2; return 1; }; }
lives() { kill -0 "$program" 2>/dev/null; }
clean_up() {
  [ -z "$program" ] || kill -KILL "$program" 2>/dev/null || true
  "$here/scripts/ceph-cluster.sh" down >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap clean_up EXIT

[ -x "$build/bin/far_bytes" ] || { echo "far-soak: no far_bytes in $build/bin: build holdfast_far_tests" >&2; exit 2; }
cluster up
"$build/bin/holdfast" run --memory 64M --swap ram --swap "rados:holdfast@$HOLDFAST_CEPH_DIR/ceph.conf" \
  --far-user holdfast --report "$folder/report" -- "$build/bin/far_bytes" 256 "$folder/stop" \
  >"$folder/out" 2>"$folder/err" &
program=$!
until [ -e "$folder/stop.begun" ]; do
  lives || { cat "$folder/err" >&2; exit 1; }
  sleep 0.1
done
say "the program has written its memory"

begun=$SECONDS
turns=0
while [ $((SECONDS - begun)) -lt "$seconds" ]; do
  osd=$((turns % 3))
  cluster kill-osd $osd
  sleep 3  # some work is done without it
  cluster revive-osd $osd
  cluster await-clean  # before another one goes: each object is there twice
  turns=$((turns + 1))
  lives || { cat "$folder/out" "$folder/err" >&2; say "the program has ended"; exit 1; }
  say "osd.$osd was killed and is back"
done
if [ "$monitor_seconds" -gt 0 ]; then
  cluster stop-mon
  sleep "$monitor_seconds"
  cluster continue-mon
  lives || { cat "$folder/out" "$folder/err" >&2; say "the program has ended"; exit 1; }
  say "the monitor stood still for $monitor_seconds s"
fi
: >"$folder/stop"
status=0
wait "$program" || status=$?
program=
cat "$folder/out" "$folder/err"
say "$turns times an OSD was killed and revived; exit status $status"
[ $status -eq 0 ] && grep -qx 'every byte was right' "$folder/out"
