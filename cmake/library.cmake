# libvecdb.so and libvecdb.a: all floors up to the API but `data`, whose files only the command line reads; only the names of include/vecdb.h are visible in the .so.
set(vdb_library_objects "")
foreach(name base env distance quant index storage filter collection api)
  list(APPEND vdb_library_objects $<TARGET_OBJECTS:vdb_${name}_objects>)
endforeach()

add_library(vecdb_shared SHARED ${vdb_library_objects})
add_library(vecdb_static STATIC ${vdb_library_objects})
set_target_properties(vecdb_shared PROPERTIES OUTPUT_NAME vecdb VERSION ${PROJECT_VERSION} SOVERSION 0 LINKER_LANGUAGE C)
set_target_properties(vecdb_static PROPERTIES OUTPUT_NAME vecdb LINKER_LANGUAGE C)
foreach(target vecdb_shared vecdb_static)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE Threads::Threads PkgConfig::LZ4 m)
endforeach()

# The .pc file finds its prefix from its own place, so that `cmake --install --prefix` anywhere is right.
file(RELATIVE_PATH VDB_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/vecdb.pc.in vecdb.pc @ONLY)
install(TARGETS vecdb_shared vecdb_static)
install(FILES include/vecdb.h TYPE INCLUDE)
install(FILES ${CMAKE_BINARY_DIR}/vecdb.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
