/* source.h: where a reader's bytes come from: a file of an env, or memory (tests and fuzzers).
 *
 * Threads: confined.
 */
#ifndef VDB_DATA_SOURCE_H
#define VDB_DATA_SOURCE_H

#include "env/env.h"

struct vdb_source {
    uint64_t bytes; /* how many there are; fixed when opened */
    struct vdb_env *env;
    struct vdb_file *file;
    const uint8_t *memory;
    const char *path; /* borrowed */
    uint64_t time_ns; /* when the file was last written, as of opening; 0 where the env does not say... */
    uint64_t device;  /* ...and so are these two, which tell one file from another */
    uint64_t number;
};

/* VDB_NOT_FOUND when there is nothing at path, VDB_INVALID when it is not a file. Close it with vdb_source_close.
 */
vdb_status vdb_source_open(struct vdb_source *source, struct vdb_env *env, const char *path,
                           struct vdb_err *err) VDB_MUST_CHECK;
/* Borrows data. */
void vdb_source_of_memory(struct vdb_source *source, const void *data, size_t bytes);
void vdb_source_close(struct vdb_source *source);

/* All of the bytes, or an error. A range outside the source is VDB_INVALID; and so is
 * one in a file that got shorter. */
vdb_status vdb_source_read(const struct vdb_source *source, void *out, size_t bytes, uint64_t offset,
                           struct vdb_err *err) VDB_MUST_CHECK;

/* VDB_INVALID when the file at the path is no longer the one that was opened, or no longer has the size or the time of
 * writing that it had then. A writer that restores both goes unnoticed. */
vdb_status vdb_source_check_unchanged(const struct vdb_source *source, struct vdb_err *err) VDB_MUST_CHECK;

#endif
