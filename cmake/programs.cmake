# The two programs: vecdb (command line) and vecdb-server.
#
# Rule: src/cli/main.c and src/server/main.c hold main() and little else. They are compiled into their executables
# only, never into the folders' libraries, so that test programs link those libraries and bring a main() of their own.
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)

# vdb_program(TARGET OUTPUT_NAME FOLDER): takes main.c out of vdb_FOLDER's library and makes a program of the two.
function(vdb_program target output_name folder)
  get_target_property(sources vdb_${folder}_objects SOURCES)
  list(REMOVE_ITEM sources ${CMAKE_SOURCE_DIR}/src/${folder}/main.c)
  set_property(TARGET vdb_${folder}_objects PROPERTY SOURCES ${sources})
  add_executable(${target} ${CMAKE_SOURCE_DIR}/src/${folder}/main.c)
  target_link_libraries(${target} PRIVATE vdb_${folder})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${output_name})
endfunction()

vdb_folder(server DEPS api LIBS PkgConfig::MICROHTTPD PkgConfig::YAML)
target_link_libraries(vdb_server_objects PUBLIC PkgConfig::MICROHTTPD PkgConfig::YAML)
vdb_program(vecdb_server_program vecdb-server server)

vdb_folder(cli DEPS api data)
vdb_program(vecdb_program vecdb cli)

install(TARGETS vecdb_program vecdb_server_program)
