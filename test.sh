#!/usr/bin/env bash
# Builds and tests everything, from a fresh clone on.
#
#   ./test.sh           what CI runs: all checks; all tests in the debug build, but those of the
#                       benchmarks, which are built for release alone; in the release, asan+ubsan
#                       and tsan builds those that the build is there for (with fewer seeds); the
#                       library compiled by clang 19 with thread-safety analysis
#   ./test.sh --quick   the checks and the debug build's tests without the long ones: for every edit
#   ./test.sh --full    every test in every build, clang-tidy, ten times the seeds: for a release
#
# Missing Debian packages are installed (as root or through sudo). Logs are kept in build/logs. The
# last line is `N passed, N failed`; the exit status is 0 if nothing failed.
set -u
cd "$(dirname "$0")" || exit 1

mode=normal
case "${1:-}" in
  "") ;;
  --quick) mode=quick ;;
  --full) mode=full ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

logs=build/logs
jobs=$(nproc)
test_timeout=900       # seconds for one test: a hang is a failure, not a stuck run
debug_tests=$(find tests -mindepth 1 -maxdepth 1 -type d -printf '%f\n' |
  grep -vxE 'bench|support|models' | sort | paste -sd '|')
release_tests='engine|soak|race|cli|bench|examples'  # the build that users get
asan_tests='base|page|lru|swap|cache|space|engine|image|aio|program'  # memory
tsan_tests='sync|page|lru|swap|sys|space|engine|aio|capture|race'  # threads
long_tests='^(soak|program|examples|bench)$'  # labels of folders that take minutes
passed=0 failed=0 skipped=0 failures=()
started=$SECONDS
mkdir -p "$logs"

if [ "$mode" = full ]; then
  export HOLDFAST_SEED_FACTOR=${HOLDFAST_SEED_FACTOR:-10}
  test_timeout=28800
fi

# step NAME WHAT COMMAND...: runs a command with its output in a log; one line tells the outcome.
step() {
  local name=$1 what=$2 begun=$SECONDS
  shift 2
  printf '== %-16s %s ... ' "$name" "$what"
  if "$@" >"$logs/$name.log" 2>&1; then
    passed=$((passed + 1))
    printf 'ok (%d s)\n' $((SECONDS - begun))
    return 0
  fi
  failed=$((failed + 1))
  failures+=("$name")
  printf 'FAILED (%d s); the end of %s:\n' $((SECONDS - begun)) "$logs/$name.log"
  tail -n 40 "$logs/$name.log" | sed 's/^/   | /'
  return 1
}

# shellcheck disable=SC2317  # called through step
configure_and_build() {
  cmake --preset "$1" && cmake --build "build/$1" -j "$jobs"
}

# build PRESET: true if it built.
build() {
  step "build-$1" "configure and build the preset $1" configure_and_build "$1"
}

# shellcheck disable=SC2317  # called through step
configure_and_build_some() {
  local preset=$1 folder targets=()
  for folder in ${2//|/ }; do
    [ -d "tests/$folder" ] && targets+=("holdfast_${folder}_tests")
  done
  cmake --preset "$preset" && cmake --build "build/$preset" -j "$jobs" --target "${targets[@]}"
}

# shellcheck disable=SC2317  # called through step
configure_and_build_library() {
  cmake --preset "$1" && cmake --build "build/$1" -j "$jobs" --target holdfast holdfast_command
}

# build_some PRESET 'FOLDER|FOLDER...': builds the tests of those folders only.
build_some() {
  step "build-$1" "configure and build the preset $1: $2" configure_and_build_some "$1" "$2"
}

# tests PRESET [CTEST OPTIONS]: each test counts by itself.
tests() {
  local preset=$1 log=$logs/tests-$1.log begun=$SECONDS total bad left_out
  shift
  printf '== %-16s run the tests of the preset %s ... ' "tests-$preset" "$preset"
  ctest --test-dir "build/$preset" -j 2 --timeout "$test_timeout" --output-on-failure \
    --no-tests=error "$@" >"$log" 2>&1
  local status=$?
  read -r bad total < <(sed -n 's/.* \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log" | tail -n 1)
  if [ -z "${total:-}" ]; then
    bad=1 total=1  # no tests, or ctest itself failed
  elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1 total=$((total + 1))
  fi
  left_out=$(grep -c '\*\*\*Skipped' "$log")
  passed=$((passed + total - bad - left_out))
  failed=$((failed + bad))
  skipped=$((skipped + left_out))
  printf '%d passed, %d failed, %d skipped (%d s)\n' $((total - bad - left_out)) "$bad" "$left_out" \
    $((SECONDS - begun))
  if [ "$bad" -ne 0 ]; then
    failures+=("tests-$preset")
    grep -vE '^ *[0-9]+/[0-9]+ .* Passed |^ +Start +[0-9]+:' "$log" | tail -n 80 | sed 's/^/   | /'
  fi
  if [ "$left_out" -ne 0 ]; then  # which, and the reasons that they gave
    grep '\*\*\*Skipped' "$log" | sed 's/^/   | /'
    grep -A 1 ': Skipped$' "build/$preset/Testing/Temporary/LastTest.log" |
      grep -vE ': Skipped$|^--$' | sort | uniq -c | sed 's/^/   | /'
  fi
}

# build_and_test PRESET [CTEST OPTIONS]
build_and_test() {
  local preset=$1
  shift
  build "$preset" && tests "$preset" "$@"
}

finish() {
  [ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[*]}"
  [ "$skipped" -eq 0 ] || printf '%d skipped, each with its reason in %s\n' "$skipped" "$logs"
  printf 'took %d min %d s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
  exit
}

printf 'holdfast %s on %s, %s CPUs, mode %s\n' \
  "$(git rev-parse --short HEAD 2>/dev/null || echo '(no git)')" "$(uname -sr)" "$jobs" "$mode"
step packages 'install what is missing' tools/install_packages test || finish

case "$mode" in
  quick)
    step checks 'layers, headers, format, style, docs' tools/check
    build_and_test debug -LE "$long_tests"
    ;;
  normal)
    step checks 'layers, headers, format, style, docs' tools/check
    build_some debug "$debug_tests" && tests debug -L "^($debug_tests|models)\$"
    build_some release "$release_tests" &&
      HOLDFAST_SEED_FACTOR=0.05 tests release -L "^($release_tests)\$"
    step install 'install, then build a consumer by CMake and by pkg-config' tools/test_install
    # The same tests; random ones with fewer seeds, since these builds are slow.
    export HOLDFAST_SEED_FACTOR=${HOLDFAST_SEED_FACTOR:-0.02}
    build_some asan "$asan_tests" && tests asan -L "^($asan_tests)$"
    build_some tsan "$tsan_tests" && tests tsan -L "^($tsan_tests)$"
    step build-clang19 'compile library and programs with clang 19, thread-safety analysis as errors' \
      configure_and_build_library clang19
    ;;
  full)
    step clang19-config 'configure clang 19 for clang-tidy' cmake --preset clang19
    step checks 'layers, headers, format, style, docs, clang-tidy' tools/check --tidy
    for preset in debug release asan tsan clang19; do
      build_and_test "$preset"
    done
    step install 'install, then build a consumer by CMake and by pkg-config' tools/test_install
    ;;
esac
finish
