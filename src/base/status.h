/* status.h: the outcomes a VecDB call can have, and their pinned numbers.
 *
 * One X-macro is the only list: the internal enum, the names, and the public codes of include/vecdb.h (checked
 * equal at compile time in src/api) all follow it. Numbers are part of the ABI: append, never renumber.
 */
#ifndef VDB_BASE_STATUS_H
#define VDB_BASE_STATUS_H

#define VDB_STATUS_LIST(X)                                                                                       \
    X(OK, 0, "ok")                                                                                               \
    X(INVALID, 1, "invalid argument") /* the caller's input breaks a stated rule */                              \
    X(NOT_FOUND, 2, "not found")      /* absence: a collection, point or file that is not there */               \
    X(EXISTS, 3, "already exists")                                                                               \
    X(LIMIT, 4, "limit exceeded")    /* past a number of src/base/limits.h */                                    \
    X(BUSY, 5, "in use")             /* another process or thread holds it */                                    \
    X(IO, 6, "input/output error")   /* the world failed: read, write, sync, network */                          \
    X(CORRUPT, 7, "data is damaged") /* stored bytes fail their check */                                         \
    X(NO_SPACE, 8, "no space left")                                                                              \
    X(NO_MEMORY, 9, "out of memory")                                                                             \
    X(UNSUPPORTED, 10, "not supported")      /* well-formed, but this build or index cannot do it */             \
    X(READ_ONLY, 11, "read-only")            /* writes stopped after a failed write or sync; reads go on */      \
    X(VERSION, 12, "unknown format version") /* written by a newer or foreign version: refused by name */        \
    X(CANCELLED, 13, "cancelled")

typedef enum vdb_status {
#define VDB_STATUS_ENUM(name, number, text) VDB_##name = (number),
    VDB_STATUS_LIST(VDB_STATUS_ENUM)
#undef VDB_STATUS_ENUM
} vdb_status;

/* Every fallible function carries this, so an ignored status does not compile. */
#define VDB_MUST_CHECK __attribute__((warn_unused_result))

/* The status's text ("not found"); never NULL, also for numbers outside the list. */
const char *vdb_status_text(vdb_status status);

/* The status's name in lower case with underscores ("not_found"), for machines. */
const char *vdb_status_name(vdb_status status);

#endif
