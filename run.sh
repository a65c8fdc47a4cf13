#!/usr/bin/env bash
# The main job, from a fresh clone on: an inverted index over the text that this machine has, built
# in ordinary std::pmr containers, in a quarter of the memory that it needs.
#
#   ./run.sh [OPTIONS OF THE EXAMPLE]     for example ./run.sh --memory 64M --query 'page fault'
#
# Missing Debian packages are installed (as root or through sudo). The exit status is the example's:
# 0 only if its answers are identical to those of the same index in ordinary memory.
set -eu
cd "$(dirname "$0")"

echo "== packages"
tools/install_packages build
echo "== build (preset release; log: build/logs/run-build.log)"
mkdir -p build/logs
if ! { cmake --preset release && cmake --build build/release -j "$(nproc)" --target index; } \
  >build/logs/run-build.log 2>&1; then
  tail -n 40 build/logs/run-build.log
  exit 1
fi
echo "== build/release/bin/index $*"
started=$SECONDS
status=0
build/release/bin/index "$@" || status=$?
echo "== done in $((SECONDS - started)) s, exit status $status"
exit "$status"
