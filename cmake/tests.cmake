# tests/<folder>/**.cc -> holdfast_<folder>_tests, labelled <folder> for ctest -L.
#
# A folder named after a module links that module (and, above sync, the simulated machine); cli,
# bench and examples link the parts of their programs; any other folder (sim, program, race,
# soak, ...) links the whole engine. tests/support is what they share, not a test.

# The simulated machine switches stacks by itself, which ThreadSanitizer cannot follow.
set(HOLDFAST_NOT_UNDER_TSAN sim program files)
# These know nothing of machines, so that they need not wait for the simulated one to compile.
set(HOLDFAST_WITHOUT_SIM base sync page lru cli bench examples run far disk)

# What a test folder links of ours, into `result`.
function(holdfast_test_needs folder result)
  get_property(programs GLOBAL PROPERTY HOLDFAST_PROGRAMS)
  get_property(modules GLOBAL PROPERTY HOLDFAST_MODULES)
  set(needs "")
  if(folder STREQUAL "cli")
    set(candidates holdfast_command)
  elseif(folder STREQUAL "bench")
    set(candidates holdfast-bench)
  elseif(folder MATCHES "^(run|far)$")
    set(candidates holdfast_command)
  elseif(folder STREQUAL "examples")
    set(candidates ${programs})
    list(REMOVE_ITEM candidates holdfast_command holdfast-bench)
  elseif(folder IN_LIST modules)
    set(candidates "")
    list(APPEND needs holdfast_${folder})
    if(folder MATCHES "^(aio|capture)$")
      list(APPEND needs holdfast_engine)  # it works on an engine by the public interface
    endif()
  else()
    set(candidates "")
    list(APPEND needs holdfast_engine)
  endif()
  foreach(program ${candidates})
    if(TARGET ${program}_parts)
      list(APPEND needs ${program}_parts)
    endif()
  endforeach()
  if(candidates)
    list(APPEND needs holdfast_flags holdfast_needs Holdfast::holdfast)
  endif()
  if(NOT folder IN_LIST HOLDFAST_WITHOUT_SIM)
    list(PREPEND needs holdfast_test_support holdfast_sim)
  endif()
  set(${result} ${needs} PARENT_SCOPE)
endfunction()

# tests/support/**.cc: the library of what tests share.
function(holdfast_test_support_library)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/*.cc)
  holdfast_sources_as_library(holdfast_test_support "${sources}" holdfast_sim GTest::gtest)
  if(sources)
    target_include_directories(holdfast_test_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)
  endif()
endfunction()

# tests/<folder>/programs/<name>.cc: programs that tests run, and that know nothing of Holdfast.
function(holdfast_test_programs folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/programs/*.cc)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE holdfast_flags Threads::Threads)
    file(STRINGS ${source} uses REGEX "^#include .holdfast/")
    if(uses)  # the others know nothing of it
      target_link_libraries(${name} PRIVATE Holdfast::holdfast)
    endif()
    add_dependencies(holdfast_${folder}_tests ${name})
  endforeach()
endfunction()

function(holdfast_test_folder folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/tests/${folder}/programs/")
  if(NOT sources)
    return()
  endif()
  set(target holdfast_${folder}_tests)
  add_executable(${target} ${sources})
  holdfast_test_needs(${folder} needs)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE HOLDFAST_BIN_DIR="${CMAKE_BINARY_DIR}/bin"
                                               HOLDFAST_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE ${needs} GTest::gtest GTest::gtest_main)
  # Line tables are enough to debug tests with; all of -g costs a quarter more to compile.
  target_compile_options(${target} PRIVATE $<$<CONFIG:Debug>:-g1>)
  # They run the programs too.
  if(folder MATCHES "^(cli|examples|bench)$")
    get_property(programs GLOBAL PROPERTY HOLDFAST_PROGRAMS)
    if(NOT folder STREQUAL "bench")
      list(REMOVE_ITEM programs holdfast-bench)
    endif()
    add_dependencies(${target} holdfast ${programs})
  elseif(folder STREQUAL "capture")
    add_dependencies(${target} holdfast_command)
  endif()
  set(properties LABELS ${folder})
  if(folder MATCHES "^(run|far)$")
    add_dependencies(${target} holdfast_command)
  endif()
  if(folder STREQUAL "far")
    holdfast_test_cluster(properties)
    add_dependencies(${target} run_storm)
  endif()
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       TEST_PREFIX ${folder}/ PROPERTIES ${properties})
  holdfast_test_programs(${folder})
endfunction()

# A Ceph cluster on loopback around the tests of a folder, one at a time; appends to `result`.
function(holdfast_test_cluster result)
  set(folder ${CMAKE_BINARY_DIR}/ceph-cluster)
  set(script ${CMAKE_SOURCE_DIR}/scripts/ceph-cluster.sh)
  set(environment HOLDFAST_CEPH_DIR=${folder})
  add_test(NAME far/cluster_comes_up COMMAND ${script} renew)
  set_tests_properties(far/cluster_comes_up PROPERTIES LABELS far FIXTURES_SETUP far_cluster
                       ENVIRONMENT ${environment} SKIP_RETURN_CODE 77)
  add_test(NAME far/cluster_goes_and_leaves_nothing COMMAND ${script} down)
  set_tests_properties(far/cluster_goes_and_leaves_nothing PROPERTIES LABELS far
                       FIXTURES_CLEANUP far_cluster ENVIRONMENT ${environment})
  set(${result} ${${result}} FIXTURES_REQUIRED far_cluster RESOURCE_LOCK far_cluster
      ENVIRONMENT ${environment} PARENT_SCOPE)
endfunction()

# holdfast_model(name model expected mutations...): spin searches tests/models/<model>.pml.
function(holdfast_model name model expected)
  add_test(NAME models/${name}
           COMMAND ${CMAKE_SOURCE_DIR}/tests/models/check ${model} ${expected} ${ARGN})
  set_tests_properties(models/${name} PROPERTIES LABELS models TIMEOUT 300 SKIP_RETURN_CODE 77)
endfunction()

# tests/models: what must be found is as much a test as what must not.
function(holdfast_models)
  holdfast_model(linux24_meets_the_oops_of_the_mail linux24 "listed&&in_interrupt" -DOOPS)
  holdfast_model(linux24_without_its_BUG_deadlocks linux24 deadlock)
  holdfast_model(linux24_with_the_hack_is_right linux24 nothing -DHACK)
  holdfast_model(linux24_hack_needs_its_other_side linux24 "count[p]==0" -DHACK -DCHECK_THEN_GET)
  holdfast_model(irq_lock_is_right irq_lock nothing)
  holdfast_model(irq_lock_with_interrupts_on_deadlocks irq_lock deadlock -DINTERRUPTS_ON)
  holdfast_model(reference_is_right reference nothing)
  holdfast_model(reference_needs_the_VMs_own reference "!(on_lru" -DNO_VM_REFERENCE)
  holdfast_model(reference_is_taken_before_the_list reference "count[p]==0" -DADD_FIRST)
  holdfast_model(reference_is_dropped_in_the_end reference "is_free[0]" -DVM_FORGETS)
  holdfast_model(reference_is_dropped_after_the_list reference "!(on_lru" -DVM_DROPS_FIRST)
endfunction()

function(holdfast_all_tests)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  holdfast_test_support_library()
  file(GLOB folders LIST_DIRECTORIES true RELATIVE ${CMAKE_SOURCE_DIR}/tests CONFIGURE_DEPENDS
       ${CMAKE_SOURCE_DIR}/tests/*)
  list(REMOVE_ITEM folders support models)
  if(NOT HOLDFAST_SANITIZE)
    holdfast_models()
  endif()
  foreach(folder ${folders})
    if(HOLDFAST_SANITIZE STREQUAL "thread" AND folder IN_LIST HOLDFAST_NOT_UNDER_TSAN)
      message(STATUS "tests/${folder}: not under ThreadSanitizer")
    elseif(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/tests/${folder})
      holdfast_test_folder(${folder})
    endif()
  endforeach()
endfunction()
