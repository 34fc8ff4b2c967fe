/* require.h: what a fuzz target demands of a parser. It holds in every build, unlike assert. */
#ifndef VDB_TESTS_FUZZ_REQUIRE_H
#define VDB_TESTS_FUZZ_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                                       \
    do {                                                                                                         \
        if (!(condition)) {                                                                                      \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                       \
            abort();                                                                                             \
        }                                                                                                        \
    } while (0)

#endif
