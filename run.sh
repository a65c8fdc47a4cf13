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

# A real program that knows nothing of Holdfast, with a quarter of the memory that it needs: GNU sort of
# the lines of the documentation, output compared with the same without Holdfast.
run_under_budget() {
  local holdfast=build/release/bin/holdfast lines native held
  if ! "$holdfast" run --quiet --memory 16M -- true 2>/dev/null; then
    echo "== holdfast run: left out, this machine does not allow it:"
    "$holdfast" run --memory 16M -- true || true
    return 0
  fi
  lines=$(mktemp)
  find /usr/share/doc -name '*.gz' -size -2000k -print0 | sort -z | head -z -n 4000 |
    xargs -0 zcat 2>/dev/null | head -c 64M >"$lines" || true
  echo "== sort -S 1G of $(($(stat -c %s "$lines") >> 20)) MiB of text, then the same under: holdfast run --memory 48M"
  native=$(LC_ALL=C sort -S 1G "$lines" | cksum)
  held=$(LC_ALL=C "$holdfast" run --memory 48M -- sort -S 1G "$lines" | cksum)
  rm -f "$lines"
  if [ "$native" != "$held" ]; then
    echo "DIFFERENT: $native is not $held"
    return 1
  fi
  echo "identical: $held"
}

echo "== packages"
tools/install_packages build
echo "== build (preset release; log: build/logs/run-build.log)"
mkdir -p build/logs
if ! { cmake --preset release && cmake --build build/release -j "$(nproc)" --target index holdfast_command; } \
  >build/logs/run-build.log 2>&1; then
  tail -n 40 build/logs/run-build.log
  exit 1
fi
echo "== build/release/bin/index $*"
started=$SECONDS
status=0
build/release/bin/index "$@" || status=$?
if [ "$status" -eq 0 ]; then
  run_under_budget || status=$?
fi
echo "== done in $((SECONDS - started)) s, exit status $status"
exit "$status"
