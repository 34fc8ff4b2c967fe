# vdb_folder(NAME [DEPS folder...] [LIBS library...]): src/NAME as an object library vdb_NAME_objects and, for the
# tests that need one floor only, a static library vdb_NAME that brings its lower floors along.
# Files are found by name: adding one needs no edit here.
function(vdb_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c ${CMAKE_SOURCE_DIR}/src/${name}/*/*.c)
  add_library(vdb_${name}_objects OBJECT ${sources})
  target_include_directories(vdb_${name}_objects PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  # Only what is needed per file: each instruction set's kernels get their own flags, the rest stays at the baseline.
  foreach(source ${sources})
    if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
      # elsewhere those files compile to nothing
    elseif(source MATCHES "_avx2\\.c$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avx512\\.c$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avx512(vnni|bf16|vpopcntdq)\\.c$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512${CMAKE_MATCH_1};-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avx512vbmi\\.c$") # in company of VNNI only: Ice Lake, Zen 4 and later have both
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512vbmi;-mavx512vnni;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_amx\\.c$") # nothing but the tile instructions: the file also asks whether they exist
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mamx-tile;-mamx-int8")
    endif()
  endforeach()
  add_library(vdb_${name} STATIC $<TARGET_OBJECTS:vdb_${name}_objects>)
  target_include_directories(vdb_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  set_target_properties(vdb_${name} PROPERTIES LINKER_LANGUAGE C)
  foreach(dep ${ARG_DEPS})
    target_link_libraries(vdb_${name} PUBLIC vdb_${dep})
  endforeach()
  target_link_libraries(vdb_${name} PUBLIC ${ARG_LIBS})
endfunction()
