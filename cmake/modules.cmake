# One static library per module of src/, so that a module and its tests build without the others,
# and the layering is the link order.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
# Ceph's client library is loaded at run time, when far memory is asked for; building needs its header.
find_path(HOLDFAST_RADOS_INCLUDE rados/librados.h)
if(NOT HOLDFAST_RADOS_INCLUDE)
  message(STATUS "librados-dev is not installed: built without far memory")
endif()

find_program(HOLDFAST_CCACHE ccache)
if(HOLDFAST_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${HOLDFAST_CCACHE})
endif()

# What every target of ours is compiled with; not part of what is installed.
add_library(holdfast_flags INTERFACE)
target_compile_options(holdfast_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                                                -Wno-sign-conversion -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Off: a designated initialiser that leaves the rest to the defaults, and HF_CHECK(!"why"); g++ sees
  # nothing wrong in either.
  target_compile_options(holdfast_flags INTERFACE -Wthread-safety -Werror=thread-safety
                         -Wno-missing-designated-field-initializers -Wno-string-conversion)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlapping copies in "literal" + std::string (GCC bug 105329).
  target_compile_options(holdfast_flags INTERFACE -Wno-restrict)
endif()
if(HOLDFAST_DEBUG)
  target_compile_definitions(holdfast_flags INTERFACE HOLDFAST_DEBUG)
endif()
if(HOLDFAST_SANITIZE)
  target_compile_options(holdfast_flags INTERFACE -fsanitize=${HOLDFAST_SANITIZE}
                                                  -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(holdfast_flags INTERFACE -fsanitize=${HOLDFAST_SANITIZE})
  if(HOLDFAST_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ warns that ThreadSanitizer does not model fences; ours stand beside atomics that it does.
    target_compile_options(holdfast_flags INTERFACE -Wno-tsan)
  endif()
endif()

# What the library itself needs of others. Programs and tests get it through the library.
add_library(holdfast_needs INTERFACE)
target_include_directories(holdfast_needs INTERFACE ${CMAKE_SOURCE_DIR}/include
                                                    ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(holdfast_needs INTERFACE Threads::Threads PkgConfig::URING PkgConfig::LZ4
                                               PkgConfig::ZSTD PkgConfig::XXHASH PkgConfig::CRYPTO
                                               ${CMAKE_DL_LIBS})

set_property(GLOBAL PROPERTY HOLDFAST_MODULES "")

# holdfast_sources_as_library(target sources deps...): a library even where there is no source yet.
function(holdfast_sources_as_library target sources)
  if(sources)
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_link_libraries(${target} ${scope} holdfast_flags holdfast_needs ${ARGN})
endfunction()

# holdfast_module(name DEPS ...): library holdfast_<name> from src/<name>/**.cc
function(holdfast_module name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/src/sys/sim(/|\\.cc)")
  if(HOLDFAST_RADOS_INCLUDE)
    list(FILTER sources EXCLUDE REGEX "/src/sys/real/without_rados\\.cc")
  else()
    list(FILTER sources EXCLUDE REGEX "/src/sys/real/rados_")
  endif()
  list(TRANSFORM ARG_DEPS PREPEND holdfast_)
  holdfast_sources_as_library(holdfast_${name} "${sources}" ${ARG_DEPS})
  set_property(GLOBAL APPEND PROPERTY HOLDFAST_MODULES ${name})
endfunction()

# holdfast_sim: src/sys/sim, facade sys/sim.h.
function(holdfast_simulation)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/sys/sim/*.cc
       ${CMAKE_SOURCE_DIR}/src/sys/sim.cc)
  list(FILTER sources INCLUDE REGEX "/src/sys/sim(/|\\.cc)")
  holdfast_sources_as_library(holdfast_sim "${sources}" holdfast_sys)
endfunction()
