/* env_error.h: one wording for what a file system refuses, whichever env it came from.
 *
 * The in-memory env speaks in the system's error numbers too, so that a caller and its tests see the same
 * statuses and the same texts from both. Private to this folder. Threads: the functions are thread-safe.
 */
#ifndef VDB_ENV_ENV_ERROR_H
#define VDB_ENV_ENV_ERROR_H

#include "base/err.h"

#include <stdint.h>

/* ENOENT is VDB_NOT_FOUND, EEXIST is VDB_EXISTS, ENOSPC and EDQUOT are VDB_NO_SPACE, ENOMEM is VDB_NO_MEMORY,
 * the rest VDB_IO. */
vdb_status vdb_env_error_status(int code);

/* `WHAT "PATH": reason`. All return the status that goes with code. err may be NULL. */
vdb_status vdb_env_error_set(struct vdb_err *err, int code, const char *what, const char *path);

/* `WHAT "PATH" at byte OFFSET: reason`. */
vdb_status vdb_env_error_set_at(struct vdb_err *err, int code, const char *what, const char *path,
                                uint64_t offset);

/* `WHAT "FROM" to "TO": reason`. */
vdb_status vdb_env_error_set_pair(struct vdb_err *err, int code, const char *what, const char *from,
                                  const char *to);

/* `WHAT "PATH": REASON` for what has no error number. */
vdb_status vdb_env_error_set_text(struct vdb_err *err, vdb_status status, const char *what, const char *path,
                                  const char *reason);

/* VDB_BUSY: `lock "PATH": in use by process PID`; pid 0 when it is not known. */
vdb_status vdb_env_error_set_busy(struct vdb_err *err, const char *path, long pid);

#endif
