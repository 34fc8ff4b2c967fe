/* err.h: an error as a chain of context, deepest fact last in the text.
 *
 * The function that knows the fact calls vdb_err_set; each caller that can add where it happened calls
 * vdb_err_wrap, which puts its words in front:
 *
 *     open "docs": replay segment_000007.wal: record at byte 8192: checksum mismatch
 *
 * Three kinds never mix: our bugs are asserts, the world's faults and hostile input are statuses, absence is
 * VDB_NOT_FOUND. Threads: confined (one vdb_err belongs to one caller's stack).
 */
#ifndef VDB_BASE_ERR_H
#define VDB_BASE_ERR_H

#include "status.h"

enum { VDB_ERR_TEXT_BYTES = 512 }; /* longer texts are cut, always NUL-terminated */

struct vdb_err {
    vdb_status status;
    char text[VDB_ERR_TEXT_BYTES];
};

/* vdb_err_set(err, status, format, ...): writes status and the formatted text. vdb_err_wrap(err, status, format,
 * ...): puts "formatted text: " before what err holds. err may be NULL. Both have the value of status, so that
 * they can end a function; they are macros, so that the compiler sees that value and knows which paths leave
 * outputs unset. */
#define vdb_err_set(err, status, ...)  VDB_ERR_VALUED(vdb_err_write, err, status, __VA_ARGS__)
#define vdb_err_wrap(err, status, ...) VDB_ERR_VALUED(vdb_err_prefix, err, status, __VA_ARGS__)

/* Sets VDB_NO_MEMORY naming what could not be had. */
#define vdb_err_no_memory(err, what) vdb_err_set(err, VDB_NO_MEMORY, "out of memory for %s", what)

void vdb_err_write(struct vdb_err *err, vdb_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void vdb_err_prefix(struct vdb_err *err, vdb_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define VDB_ERR_VALUED(function, err, status, ...)                                                               \
    __extension__({                                                                                              \
        const vdb_status vdb_err_status = (status);                                                              \
        function((err), vdb_err_status, __VA_ARGS__);                                                            \
        vdb_err_status;                                                                                          \
    })

/* Returns from the calling function with the status of a failed call. For functions with nothing to clean up. */
#define VDB_TRY(call)                                                                                            \
    do {                                                                                                         \
        vdb_status vdb_try_status = (call);                                                                      \
        if (vdb_try_status != VDB_OK) {                                                                          \
            return vdb_try_status;                                                                               \
        }                                                                                                        \
    } while (0)

/* The same for functions with one `cleanup:` label and a local `status`. */
#define VDB_CHECK(call)                                                                                          \
    do {                                                                                                         \
        status = (call);                                                                                         \
        if (status != VDB_OK) {                                                                                  \
            goto cleanup;                                                                                        \
        }                                                                                                        \
    } while (0)

#endif
