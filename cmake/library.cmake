# The installable library: all modules in one archive libholdfast.a, its public headers, and what
# find_package(Holdfast) and pkg-config need to use it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

function(holdfast_library)
  get_property(modules GLOBAL PROPERTY HOLDFAST_MODULES)
  set(objects "")
  foreach(module ${modules})
    get_target_property(type holdfast_${module} TYPE)
    if(type STREQUAL "STATIC_LIBRARY")
      list(APPEND objects $<TARGET_OBJECTS:holdfast_${module}>)
    endif()
  endforeach()
  if(NOT objects)  # a tree of headers only: nothing to merge
    set(objects ${CMAKE_BINARY_DIR}/empty.cc)
    file(WRITE ${CMAKE_BINARY_DIR}/empty.cc "")
  endif()
  add_library(holdfast STATIC ${objects})
  add_library(Holdfast::holdfast ALIAS holdfast)
  set_target_properties(holdfast PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME holdfast)
  target_compile_features(holdfast INTERFACE cxx_std_23)
  target_include_directories(holdfast INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                                                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(holdfast PRIVATE Threads::Threads PkgConfig::URING PkgConfig::LZ4
                                         PkgConfig::ZSTD PkgConfig::XXHASH PkgConfig::CRYPTO
                                         ${CMAKE_DL_LIBS})
  holdfast_install_library()
endfunction()

function(holdfast_install_library)
  install(TARGETS holdfast EXPORT HoldfastTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/holdfast
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Holdfast)
  install(EXPORT HoldfastTargets NAMESPACE Holdfast:: DESTINATION ${package_dir})
  configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/HoldfastConfig.cmake.in
                                ${CMAKE_BINARY_DIR}/package/HoldfastConfig.cmake
                                INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/HoldfastConfigVersion.cmake
                                   VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/package/HoldfastConfig.cmake
                ${CMAKE_BINARY_DIR}/package/HoldfastConfigVersion.cmake
          DESTINATION ${package_dir})
  # Relative to the .pc file itself, so that `cmake --install --prefix` needs no new configure.
  file(RELATIVE_PATH HOLDFAST_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/holdfast.pc.in ${CMAKE_BINARY_DIR}/package/holdfast.pc
                 @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/package/holdfast.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
