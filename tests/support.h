/* support.h: what the C tests share: cmocka's includes in their order, and checks that show the error text. */
#ifndef VDB_TESTS_SUPPORT_H
#define VDB_TESTS_SUPPORT_H

/* cmocka wants these first, in this order. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* The call succeeds; otherwise its error text is shown. */
#define assert_ok(call, err)                                                                                     \
    do {                                                                                                         \
        vdb_status support_status = (call);                                                                      \
        if (support_status != VDB_OK) {                                                                          \
            fail_msg("%s: %s: %s", #call, vdb_status_name(support_status), (err)->text);                         \
        }                                                                                                        \
    } while (0)

/* The call fails with that status and a text that contains `part`. */
#define assert_fails(call, expected, err, part)                                                                  \
    do {                                                                                                         \
        vdb_status support_status = (call);                                                                      \
        if (support_status != (expected)) {                                                                      \
            fail_msg("%s: %s, expected %s (%s)", #call, vdb_status_name(support_status),                         \
                     vdb_status_name(expected), support_status != VDB_OK ? (err)->text : "");                    \
        }                                                                                                        \
        if (strstr((err)->text, (part)) == NULL) {                                                               \
            fail_msg("%s: the text \"%s\" does not contain \"%s\"", #call, (err)->text, (part));                 \
        }                                                                                                        \
    } while (0)

#endif
