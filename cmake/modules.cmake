# One object library per module of src/, so that a module and its tests build without the others,
# and the layering is the link order.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

add_library(holdfast_flags INTERFACE)
target_compile_options(holdfast_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                                                -Wno-sign-conversion -Werror)
target_include_directories(holdfast_flags INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(holdfast_flags INTERFACE Threads::Threads PkgConfig::URING PkgConfig::LZ4
                                               PkgConfig::ZSTD PkgConfig::XXHASH)
if(HOLDFAST_DEBUG)
  target_compile_definitions(holdfast_flags INTERFACE HOLDFAST_DEBUG)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(holdfast_flags INTERFACE -Wthread-safety -Werror=thread-safety)
endif()

set(HOLDFAST_MODULES "" CACHE INTERNAL "")

# holdfast_module(name DEPS ...): static library holdfast_<name> from src/<name>/**.cc
function(holdfast_module name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  if(sources)
    add_library(holdfast_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(holdfast_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_link_libraries(holdfast_${name} ${scope} holdfast_flags)
  foreach(dep ${ARG_DEPS})
    target_link_libraries(holdfast_${name} ${scope} holdfast_${dep})
  endforeach()
  set(HOLDFAST_MODULES "${HOLDFAST_MODULES};${name}" CACHE INTERNAL "")
endfunction()

# The installable library: all modules in one archive.
function(holdfast_library)
endfunction()

# cli/, bench/, examples/
function(holdfast_programs)
endfunction()

# tests/<module>/*.cc -> holdfast_<module>_tests
function(holdfast_all_tests)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  file(GLOB folders LIST_DIRECTORIES true RELATIVE ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR}/tests/*)
  foreach(folder ${folders})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${folder}/*.cc)
    if(sources)
      add_executable(holdfast_${folder}_tests ${sources})
      target_include_directories(holdfast_${folder}_tests PRIVATE ${CMAKE_SOURCE_DIR}/tests)
      if(TARGET holdfast_${folder})
        target_link_libraries(holdfast_${folder}_tests PRIVATE holdfast_${folder})
      else()
        target_link_libraries(holdfast_${folder}_tests PRIVATE holdfast_engine)
      endif()
      target_link_libraries(holdfast_${folder}_tests PRIVATE GTest::gtest GTest::gtest_main)
      gtest_discover_tests(holdfast_${folder}_tests DISCOVERY_MODE PRE_TEST)
    endif()
  endforeach()
endfunction()
