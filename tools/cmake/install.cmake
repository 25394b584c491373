# `cmake --install`: the program, one static library a layer, the public headers, the recipes, the
# report, and two ways to find them: find_package(coterie) with the target coterie::coterie, and
# `pkg-config --static coterie`.
include(CMakePackageConfigHelpers)

set(coterie_layers base math comm io param moe model optim data special run)
set(coterie_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/coterie)

foreach(layer IN LISTS coterie_layers)
  set_target_properties(coterie_${layer} PROPERTIES EXPORT_NAME ${layer})
  install(TARGETS coterie_${layer} EXPORT coterieTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endforeach()
set_target_properties(coterie_library PROPERTIES EXPORT_NAME coterie)
install(TARGETS coterie_library EXPORT coterieTargets)
install(EXPORT coterieTargets NAMESPACE coterie:: DESTINATION ${coterie_package_dir})

# A cluster's libraries lie where a module put them: the installed program finds them there again.
set_target_properties(coterie PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS coterie RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/coterie DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(DIRECTORY jobs/recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/coterie)
install(PROGRAMS tools/report DESTINATION ${CMAKE_INSTALL_DATADIR}/coterie)
install(DIRECTORY tools/analysis DESTINATION ${CMAKE_INSTALL_DATADIR}/coterie
        PATTERN "__pycache__" EXCLUDE)
install(FILES LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(tools/cmake/coterieConfig.cmake.in coterieConfig.cmake
                              INSTALL_DESTINATION ${coterie_package_dir})
write_basic_package_version_file(coterieConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/coterieConfig.cmake ${CMAKE_BINARY_DIR}/coterieConfigVersion.cmake
              tools/cmake/dependencies.cmake
        DESTINATION ${coterie_package_dir})

# What pkg-config prints: the layers from the top down, as a linker wants static libraries, then
# what they stand on.
function(coterie_join_flags out prefix)
  list(REMOVE_DUPLICATES ARGN)
  list(TRANSFORM ARGN PREPEND "${prefix}")
  string(JOIN " " flags ${ARGN})
  set(${out} "${flags}" PARENT_SCOPE)
endfunction()

set(pc_layers "")
foreach(layer IN LISTS coterie_layers)
  get_target_property(type coterie_${layer} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    list(PREPEND pc_layers coterie_${layer})
  endif()
endforeach()
coterie_join_flags(COTERIE_PC_LAYERS "-l" ${pc_layers})
coterie_join_flags(COTERIE_PC_MPI_INCLUDES "-I" ${MPI_C_INCLUDE_DIRS})
coterie_join_flags(COTERIE_PC_LIBRARIES "" ${HDF5_HL_LIBRARIES} ${HDF5_LIBRARIES} ${MPI_C_LIBRARIES} m)
string(REGEX REPLACE "(^| )([^ /-][^ ]*)" "\\1-l\\2" COTERIE_PC_LIBRARIES "${COTERIE_PC_LIBRARIES}")
file(RELATIVE_PATH COTERIE_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" COTERIE_PC_PREFIX "${COTERIE_PC_PREFIX}")
configure_file(tools/cmake/coterie.pc.in coterie.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/coterie.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
