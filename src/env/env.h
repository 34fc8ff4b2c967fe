/* env.h: the outside world as a table: files, directories, locks, clock, entropy.
 *
 * Everything durable goes through here, so that a test can break the N-th call, lose unsynced bytes at a power
 * cut, or run a whole database in memory. Two implementations: env_posix.c and env_memory.c (the latter with
 * faults and power loss, see env_memory.h).
 *
 * Durability contract, which the storage engine's argument rests on:
 *   E1  Bytes written with write_at are durable after sync of that file returns VDB_OK, not before.
 *   E2  A created, renamed or removed name is durable after sync_dir of its directory returns VDB_OK, not before.
 *   E3  After a failed sync nothing is known of the unsynced bytes; the caller never retries the sync.
 *   E4  rename over an existing name is atomic: after a crash the name holds the old file or the new, whole.
 *   E5  A map shows the whole file as it was when it was mapped, whatever becomes of its names (unlink, rename over
 *       it, link), until unmap. In return a file that is mapped is never written or truncated again, by anyone.
 *   E6  link gives a file a second name, which is durable after sync_dir of its directory (E2). The content belongs
 *       to the file: one sync serves all its names, and removing one name leaves the others as they are.
 *
 * An I/O error under a map is a signal (SIGBUS), not a status: the process dies as if killed. No handler is put up
 * for it (handlers belong to the program that we are part of), and no wrong byte is ever seen. What storage does
 * about it: `touch` reads a range in and reports such an error as VDB_IO, path and byte named, before the first
 * access; the blocks of a mapped file are touched when their checksums are looked at, so that a sector that cannot
 * be read is an error of the call that came upon it. Left over is a page that was good, was evicted, and can no
 * longer be read: then the process dies, which recovery is made for.
 *
 * Paths are NUL-terminated, '/'-separated, at most VDB_LIMIT_PATH_BYTES_MAX. Errors name the operation, the path
 * and the system's reason: `write "wal/segment_000000.wal" at byte 4096: No space left on device`. A missing file
 * is VDB_NOT_FOUND, ENOSPC/EDQUOT is VDB_NO_SPACE, EEXIST is VDB_EXISTS, ENOMEM is VDB_NO_MEMORY, the rest VDB_IO.
 *
 * Threads: the table is immutable; an env may be used from all threads; one file handle may be read from many
 * threads at once and written by one at a time.
 */
#ifndef VDB_ENV_ENV_H
#define VDB_ENV_ENV_H

#include "base/err.h"
#include "base/histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdb_env;
struct vdb_file; /* an open file, of the env that opened it */
struct vdb_lock; /* a held directory lock */

enum {
    VDB_OPEN_READ = 1,      /* read only; must exist */
    VDB_OPEN_WRITE = 2,     /* read and write; must exist */
    VDB_OPEN_CREATE = 4,    /* with WRITE: create when missing */
    VDB_OPEN_EXCLUSIVE = 8, /* with CREATE: VDB_EXISTS when there */
    VDB_OPEN_TRUNCATE = 16, /* with WRITE: empty it */
};

typedef enum vdb_file_kind { VDB_KIND_FILE, VDB_KIND_DIR, VDB_KIND_OTHER } vdb_file_kind;

/* A whole file in memory, read only (E5). Zeroed: nothing, which unmap takes too. */
struct vdb_map {
    const uint8_t *data; /* from a multiple of 4096; not NULL, even when bytes is 0 */
    uint64_t bytes;
    void *impl; /* the env's */
};

/* How a range of a map will be read. RANDOM matters most: else each read of a cold page brings in its neighbours,
 * too, and a disk that could do thousands of reads a second does some hundred. */
typedef enum vdb_access {
    VDB_ACCESS_NORMAL,
    VDB_ACCESS_SEQUENTIAL,
    VDB_ACCESS_RANDOM,
    VDB_ACCESS_SOON
} vdb_access;

/* Called once per entry ("." and ".." left out), in no order; a status other than VDB_OK stops and is returned.
 */
typedef vdb_status vdb_dir_fn(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err);

struct vdb_env_ops {
    const char *name;
    vdb_status (*open)(struct vdb_env *env, const char *path, unsigned flags, struct vdb_file **out,
                       struct vdb_err *err) VDB_MUST_CHECK;
    /* Never fails: durability was settled by sync. file may be NULL. */
    void (*close)(struct vdb_env *env, struct vdb_file *file);
    /* Reads up to bytes; *got < bytes only at the end of the file. */
    vdb_status (*read_at)(struct vdb_env *env, struct vdb_file *file, void *out, size_t bytes, uint64_t offset,
                          size_t *got, struct vdb_err *err) VDB_MUST_CHECK;
    /* Writes all of it or fails (short writes are carried on inside). */
    vdb_status (*write_at)(struct vdb_env *env, struct vdb_file *file, const void *data, size_t bytes,
                           uint64_t offset, struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*size)(struct vdb_env *env, struct vdb_file *file, uint64_t *out,
                       struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*truncate)(struct vdb_env *env, struct vdb_file *file, uint64_t bytes,
                           struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*sync)(struct vdb_env *env, struct vdb_file *file, struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*sync_dir)(struct vdb_env *env, const char *path, struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*rename)(struct vdb_env *env, const char *from, const char *to,
                         struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*unlink)(struct vdb_env *env, const char *path, struct vdb_err *err) VDB_MUST_CHECK;
    /* A second name, to, for the file from (E6). VDB_EXISTS when to is there; VDB_IO when it would be on another
     * file system (the caller may copy instead), or from is not a file. */
    vdb_status (*link)(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*mkdir)(struct vdb_env *env, const char *path, struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*rmdir)(struct vdb_env *env, const char *path, struct vdb_err *err) VDB_MUST_CHECK;
    vdb_status (*list)(struct vdb_env *env, const char *path, vdb_dir_fn *fn, void *ctx,
                       struct vdb_err *err) VDB_MUST_CHECK;
    /* VDB_NOT_FOUND when there is nothing at path. bytes is 0 for all but files. A symbolic link is
     * VDB_KIND_OTHER, here and in list; "LINK/." asks what is behind it. */
    vdb_status (*stat)(struct vdb_env *env, const char *path, vdb_file_kind *kind, uint64_t *bytes,
                       struct vdb_err *err) VDB_MUST_CHECK;
    /* An advisory lock on a file that is created when missing, held until unlock or the end of the process.
     * VDB_BUSY when another holder (in any process, or in this one) has it; the text names its process when
     * known. */
    vdb_status (*lock)(struct vdb_env *env, const char *path, struct vdb_lock **out,
                       struct vdb_err *err) VDB_MUST_CHECK;
    void (*unlock)(struct vdb_env *env, struct vdb_lock *lock);
    /* Maps the file at path whole (E5). *out is zeroed on failure. */
    vdb_status (*map)(struct vdb_env *env, const char *path, struct vdb_map *out,
                      struct vdb_err *err) VDB_MUST_CHECK;
    /* Never fails; zeroes *map. Nobody may look at its data any more. */
    void (*unmap)(struct vdb_env *env, struct vdb_map *map);
    /* Reads data[offset .. offset + bytes), which lies in the map, into memory: an I/O error is a status here and
     * SIGBUS later. */
    vdb_status (*touch)(struct vdb_env *env, const struct vdb_map *map, uint64_t offset, uint64_t bytes,
                        struct vdb_err *err) VDB_MUST_CHECK;
    /* A hint on the range, for its whole pages and those it begins or ends in; a range may reach past the end. */
    void (*advise)(struct vdb_env *env, const struct vdb_map *map, uint64_t offset, uint64_t bytes,
                   vdb_access access);
    uint64_t (*now_us)(struct vdb_env *env); /* microseconds since 1970-01-01 UTC */
    vdb_status (*entropy)(struct vdb_env *env, void *out, size_t bytes, struct vdb_err *err) VDB_MUST_CHECK;
};

/* What has gone through an env since it was made; counted inside the operations, in relaxed atomics. */
struct vdb_env_transfers {
    _Atomic uint64_t operations;
    _Atomic uint64_t bytes;
};

struct vdb_env_io {
    struct vdb_env_transfers reads;   /* read_at */
    struct vdb_env_transfers writes;  /* write_at */
    struct vdb_env_transfers touches; /* touch */
    _Atomic uint64_t synced_bytes;    /* written through a handle and then made durable by a sync of it */
    _Atomic uint64_t failures;        /* of all these and of syncs; what failed is counted here only */
    struct vdb_histogram syncs;       /* how long each sync took */
    struct vdb_histogram dir_syncs;   /* and each sync_dir */
};

/* Implementations embed this as their first member, zeroed but for ops. */
struct vdb_env {
    const struct vdb_env_ops *ops;
    struct vdb_env_io io;
};

/* The operating system's; static, never freed. One for the process: its counts are those of all who use it. */
struct vdb_env *vdb_env_posix(void);

/* A reading of the counts. Reads through a map are not seen, as no operation is: what touch has asked for stands for
 * them, whether it came from the disk or was in the page cache; what was mapped and not touched (or is read again
 * later) stands nowhere. */
struct vdb_env_io_stats {
    uint64_t reads;
    uint64_t read_bytes;
    uint64_t writes;
    uint64_t write_bytes;
    uint64_t touches;
    uint64_t touched_bytes;
    uint64_t synced_bytes;
    uint64_t failures;
    struct vdb_histogram_reading syncs;
    struct vdb_histogram_reading dir_syncs;
};

void vdb_env_get_io(const struct vdb_env *env, struct vdb_env_io_stats *out);

/* Helpers over any env (env.c). */

/* Reads a whole file of at most bytes_max bytes; *out is the caller's, freed with free(), NUL-terminated past
 * *bytes. VDB_LIMIT when it is larger. */
vdb_status vdb_env_read_file(struct vdb_env *env, const char *path, size_t bytes_max, uint8_t **out,
                             size_t *bytes, struct vdb_err *err) VDB_MUST_CHECK;

/* Replaces a file whole: writes PATH.tmp, syncs it, renames it over PATH, syncs the directory (E1, E2, E4). After
 * a failure PATH holds the old content or the new, whole; which of them survives a crash is open. */
vdb_status vdb_env_replace_file(struct vdb_env *env, const char *path, const void *data, size_t bytes,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* mkdir for every missing part of path, syncing each parent. Parts that are there already, also behind links, are
 * taken as durable. */
vdb_status vdb_env_mkdirs(struct vdb_env *env, const char *path, struct vdb_err *err) VDB_MUST_CHECK;

/* Removes a directory and all that is in it (or a single file). Links are removed, not followed. Durable after
 * the caller's sync_dir of its parent. VDB_NOT_FOUND when there is nothing at path. */
vdb_status vdb_env_remove_tree(struct vdb_env *env, const char *path, struct vdb_err *err) VDB_MUST_CHECK;

/* Joins with '/' into out (VDB_LIMIT_PATH_BYTES_MAX bytes). VDB_LIMIT when too long. */
vdb_status vdb_path_join(char *out, size_t out_bytes, const char *dir, const char *name,
                         struct vdb_err *err) VDB_MUST_CHECK;

#endif
