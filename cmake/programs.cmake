# Programs: src/cli -> bin/holdfast, bench -> bin/holdfast-bench, each example -> bin/<its name>.
#
# All sources of a program but main.cc are a library too, <target>_parts, so that tests/cli,
# tests/bench and tests/examples can reach them.

# holdfast_program(target SOURCES files... INCLUDE folders... LINK targets...)
function(holdfast_program target)
  cmake_parse_arguments(ARG "" "" "INCLUDE;LINK;SOURCES" ${ARGN})
  if(NOT ARG_SOURCES)
    return()
  endif()
  set(main ${ARG_SOURCES})
  list(FILTER main INCLUDE REGEX "/main\\.cc$")
  if(main)
    list(REMOVE_ITEM ARG_SOURCES ${main})
  else()  # a program of one file, or one whose main stands elsewhere
    set(main ${ARG_SOURCES})
    set(ARG_SOURCES "")
  endif()
  set(needs holdfast_flags Holdfast::holdfast fmt::fmt CLI11::CLI11 nlohmann_json::nlohmann_json
            ZLIB::ZLIB ${ARG_LINK})
  if(ARG_SOURCES)
    add_library(${target}_parts STATIC ${ARG_SOURCES})
    target_include_directories(${target}_parts PUBLIC ${ARG_INCLUDE})
    target_link_libraries(${target}_parts PUBLIC ${needs})
    list(PREPEND needs ${target}_parts)
  endif()
  add_executable(${target} ${main})
  target_include_directories(${target} PRIVATE ${ARG_INCLUDE})
  target_link_libraries(${target} PRIVATE ${needs})
  set_property(GLOBAL APPEND PROPERTY HOLDFAST_PROGRAMS ${target})
endfunction()

function(holdfast_programs)
  find_package(fmt REQUIRED)
  find_package(CLI11 REQUIRED)
  find_package(nlohmann_json REQUIRED)
  find_package(ZLIB REQUIRED)  # examples read compressed documentation
  find_package(benchmark QUIET)
  holdfast_runner()
  holdfast_command()
  holdfast_bench()
  holdfast_examples()
endfunction()

# src/run/report_page/*: text that the pager carries in itself, as `source` (src/run/report_page.h).
function(holdfast_report_page source)
  set(folder ${CMAKE_SOURCE_DIR}/src/run/report_page)
  set(text "#include \"run/report_page.h\"\n\nnamespace holdfast::run {\n")
  foreach(part Page:html Style:css Script:js)
    string(REPLACE ":" ";" part ${part})
    list(GET part 0 name)
    list(GET part 1 suffix)
    file(READ ${folder}/page.${suffix} content)
    string(APPEND text "const std::string_view kReport${name} = R\"holdfast(${content})holdfast\";\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${folder}/page.${suffix})
  endforeach()
  string(APPEND text "}  // namespace holdfast::run\n")
  file(WRITE ${source}.new "${text}")
  configure_file(${source}.new ${source} COPYONLY)  # changed only where it differs
endfunction()

# src/run: the supervisor of other programs, for the command alone, and its shim, which is preloaded into
# them: no C++ runtime, no libc of its own, nothing but system calls.
function(holdfast_runner)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/run/*.cc)
  set(shim ${sources})
  list(FILTER shim INCLUDE REGEX "/src/run/shim/")
  list(FILTER sources EXCLUDE REGEX "/src/run/shim/")
  set(page ${CMAKE_BINARY_DIR}/generated/report_page.cc)
  holdfast_report_page(${page})
  add_library(holdfast_run STATIC ${sources} ${page})
  target_link_libraries(holdfast_run PUBLIC holdfast_flags holdfast_needs Holdfast::holdfast fmt::fmt
                                            nlohmann_json::nlohmann_json)
  add_library(holdfast_run_shim MODULE ${shim})
  set_target_properties(holdfast_run_shim PROPERTIES
    OUTPUT_NAME holdfast_run LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  target_include_directories(holdfast_run_shim PRIVATE ${CMAKE_SOURCE_DIR}/src)
  # Never instrumented: it runs before, and outside of, everything that a sanitizer needs.
  target_compile_options(holdfast_run_shim PRIVATE
    -O2 -Wall -Wextra -Wshadow -Werror -ffreestanding -fno-exceptions -fno-rtti
    -fno-stack-protector -fno-threadsafe-statics -fvisibility=hidden)
  target_link_options(holdfast_run_shim PRIVATE -nostdlib -nostartfiles -Wl,-z,now)
  add_dependencies(holdfast_run holdfast_run_shim)
  install(TARGETS holdfast_run_shim LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/holdfast)
endfunction()

# Man pages and completion: what the command prints of its own flags.
function(holdfast_manual)
  set(folder ${CMAKE_BINARY_DIR}/manual)
  add_custom_command(
    OUTPUT ${folder}/holdfast.1 ${folder}/holdfast-run.1 ${folder}/completion/holdfast
    COMMAND ${CMAKE_COMMAND} -E make_directory ${folder}/completion
    COMMAND holdfast_command man > ${folder}/holdfast.1
    COMMAND holdfast_command man run > ${folder}/holdfast-run.1
    COMMAND holdfast_command completion bash > ${folder}/completion/holdfast
    DEPENDS holdfast_command VERBATIM)
  add_custom_target(holdfast_manual ALL DEPENDS ${folder}/holdfast.1)
  install(FILES ${folder}/holdfast.1 ${folder}/holdfast-run.1
          DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${folder}/completion/holdfast
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
endfunction()

function(holdfast_command)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cli/*.cc)
  holdfast_program(holdfast_command SOURCES ${sources} INCLUDE ${CMAKE_SOURCE_DIR}/src
                   LINK holdfast_run)
  if(TARGET holdfast_command)
    set_target_properties(holdfast_command PROPERTIES OUTPUT_NAME holdfast)
    target_compile_definitions(holdfast_command PRIVATE HOLDFAST_VERSION="${PROJECT_VERSION}")
    install(TARGETS holdfast_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    holdfast_manual()
  endif()
  if(TARGET holdfast_command_parts)
    target_compile_definitions(holdfast_command_parts PRIVATE HOLDFAST_VERSION="${PROJECT_VERSION}")
  endif()
endfunction()

function(holdfast_bench)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.cc)
  list(FILTER sources EXCLUDE REGEX "/bench/running/programs/")
  set(link PkgConfig::URING)  # a peer of ours
  if(TARGET benchmark::benchmark)
    list(APPEND link benchmark::benchmark)
  endif()
  find_package(SQLite3 QUIET)  # another peer
  if(SQLite3_FOUND)
    list(APPEND link SQLite::SQLite3)
  endif()
  holdfast_program(holdfast-bench SOURCES ${sources} LINK ${link}
                   INCLUDE ${CMAKE_SOURCE_DIR}/bench ${CMAKE_SOURCE_DIR}/src)
  target_compile_definitions(holdfast-bench_parts
                             PRIVATE HOLDFAST_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                     HOLDFAST_BENCH_SQLITE=$<BOOL:${SQLite3_FOUND}>)
  # What it runs beside the machine's own programs: bench/running/programs/<name>.cc
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/running/programs/*.cc)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    holdfast_program(holdfast-bench-${name} SOURCES ${source} LINK holdfast-bench_parts)
  endforeach()
  add_dependencies(holdfast-bench holdfast_command)  # it runs that, too
endfunction()

# Examples see include/ and nothing else of ours, as any user does.
function(holdfast_examples)
  file(GLOB entries LIST_DIRECTORIES true CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*)
  foreach(entry ${entries})
    get_filename_component(name ${entry} NAME_WE)
    set(include "")
    if(IS_DIRECTORY ${entry})
      file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${entry}/*.cc)
      set(include ${entry})
    else()
      set(sources ${entry})
      list(FILTER sources INCLUDE REGEX "\\.cc$")
    endif()
    holdfast_program(${name} SOURCES ${sources} INCLUDE ${include})
  endforeach()
endfunction()
