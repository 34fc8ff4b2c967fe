# Warnings are errors, for gcc 12 and clang 14 alike.
add_compile_options(
  -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wvla -Wundef -Wformat=2 -Wimplicit-fallthrough -Wdouble-promotion)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  # snprintf that cuts a text to its buffer is what we use it for; gcc's guess when that happens varies with -O.
  add_compile_options(-Wno-format-truncation)
endif()
add_compile_options(-fno-omit-frame-pointer -fvisibility=hidden -fno-strict-aliasing -ffp-contract=off)
add_compile_definitions(_GNU_SOURCE)

if(VECDB_SANITIZE)
  add_compile_options(-fsanitize=${VECDB_SANITIZE} -fno-sanitize-recover=all)
  add_compile_options(-UNDEBUG) # asserts too: RelWithDebInfo would leave them out
  add_link_options(-fsanitize=${VECDB_SANITIZE})
  add_compile_definitions(VDB_SANITIZED=1)
endif()
if(VECDB_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()
if(VECDB_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
  add_compile_definitions(VDB_SANITIZED=1)
endif()
