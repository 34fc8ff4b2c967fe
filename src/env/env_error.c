/* env_error.c: error numbers into statuses and texts. */
#include "env_error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    /* A path may have 4096 bytes, an error text 512: of a long path the end is shown, which names the file, so
     * that the reason behind it is never the part that is cut. Two such paths and a reason fit. */
    PATH_SHOWN_BYTES = 180,
    REASON_BYTES = 96
};

static const char *path_tail(const char *path, const char **dots)
{
    size_t bytes = strlen(path);
    if (bytes <= PATH_SHOWN_BYTES) {
        *dots = "";
        return path;
    }
    *dots = "...";
    const char *tail = path + (bytes - PATH_SHOWN_BYTES);
    while (((unsigned char)*tail & 0xC0u) == 0x80u) {
        tail++; /* not into the middle of a UTF-8 character */
    }
    return tail;
}

vdb_status vdb_env_error_status(int code)
{
    switch (code) {
    case ENOENT:
        return VDB_NOT_FOUND;
    case EEXIST:
        return VDB_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return VDB_NO_SPACE;
    case ENOMEM:
        return VDB_NO_MEMORY;
    default:
        return VDB_IO;
    }
}

vdb_status vdb_env_error_set(struct vdb_err *err, int code, const char *what, const char *path)
{
    char reason[REASON_BYTES];
    const char *dots;
    const char *tail = path_tail(path, &dots);
    return vdb_err_set(err, vdb_env_error_status(code), "%s \"%s%s\": %s", what, dots, tail,
                       strerror_r(code, reason, sizeof reason));
}

vdb_status vdb_env_error_set_at(struct vdb_err *err, int code, const char *what, const char *path,
                                uint64_t offset)
{
    char reason[REASON_BYTES];
    const char *dots;
    const char *tail = path_tail(path, &dots);
    return vdb_err_set(err, vdb_env_error_status(code), "%s \"%s%s\" at byte %llu: %s", what, dots, tail,
                       (unsigned long long)offset, strerror_r(code, reason, sizeof reason));
}

vdb_status vdb_env_error_set_pair(struct vdb_err *err, int code, const char *what, const char *from,
                                  const char *to)
{
    char reason[REASON_BYTES];
    const char *dots_from;
    const char *dots_to;
    const char *tail_from = path_tail(from, &dots_from);
    const char *tail_to = path_tail(to, &dots_to);
    return vdb_err_set(err, vdb_env_error_status(code), "%s \"%s%s\" to \"%s%s\": %s", what, dots_from, tail_from,
                       dots_to, tail_to, strerror_r(code, reason, sizeof reason));
}

vdb_status vdb_env_error_set_text(struct vdb_err *err, vdb_status status, const char *what, const char *path,
                                  const char *reason)
{
    const char *dots;
    const char *tail = path_tail(path, &dots);
    return vdb_err_set(err, status, "%s \"%s%s\": %s", what, dots, tail, reason);
}

vdb_status vdb_env_error_set_busy(struct vdb_err *err, const char *path, long pid)
{
    char reason[REASON_BYTES] = "in use by another holder";
    if (pid > 0) {
        snprintf(reason, sizeof reason, "in use by process %ld", pid);
    }
    return vdb_env_error_set_text(err, VDB_BUSY, "lock", path, reason);
}
