# tests/<folder>/**.cc -> holdfast_<folder>_tests, labelled <folder> for ctest -L.
#
# A folder named after a module links that module (and, above sync, the simulated machine); any
# other folder (sim, program, race, soak, ...) links the whole engine.

# The simulated machine switches stacks by itself, which ThreadSanitizer cannot follow.
set(HOLDFAST_NOT_UNDER_TSAN sim program)
# These know nothing of machines, so that they need not wait for the simulated one to compile.
set(HOLDFAST_WITHOUT_SIM base sync page lru)

function(holdfast_test_folder folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*.cc)
  if(NOT sources)
    return()
  endif()
  set(target holdfast_${folder}_tests)
  add_executable(${target} ${sources})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  if(NOT folder IN_LIST HOLDFAST_WITHOUT_SIM)
    target_link_libraries(${target} PRIVATE holdfast_sim)
  endif()
  if(TARGET holdfast_${folder} AND NOT folder STREQUAL "sim")
    target_link_libraries(${target} PRIVATE holdfast_${folder})
  else()
    target_link_libraries(${target} PRIVATE holdfast_engine)
  endif()
  target_link_libraries(${target} PRIVATE GTest::gtest GTest::gtest_main)
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       TEST_PREFIX ${folder}/ PROPERTIES LABELS ${folder} TIMEOUT 300)
endfunction()

function(holdfast_all_tests)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  file(GLOB folders LIST_DIRECTORIES true RELATIVE ${CMAKE_SOURCE_DIR}/tests CONFIGURE_DEPENDS
       ${CMAKE_SOURCE_DIR}/tests/*)
  foreach(folder ${folders})
    if(HOLDFAST_SANITIZE STREQUAL "thread" AND folder IN_LIST HOLDFAST_NOT_UNDER_TSAN)
      message(STATUS "tests/${folder}: not under ThreadSanitizer")
    elseif(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/tests/${folder})
      holdfast_test_folder(${folder})
    endif()
  endforeach()
endfunction()
