/* source.c: see source.h. Every read is checked against the size taken at opening, so a reader never depends on
 * the file staying as it was. */
#include "source.h"

#include "base/limits.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

/* Which file lies at the path, and when it was written. The env's table does not know, so the operating system is
 * asked; other envs (tests) leave zeros. */
static void identify(struct vdb_source *source)
{
    struct stat info;
    source->time_ns = source->device = source->number = 0;
    if (source->env == vdb_env_posix() && stat(source->path, &info) == 0) {
        source->time_ns = (uint64_t)info.st_mtim.tv_sec * 1000000000u + (uint64_t)info.st_mtim.tv_nsec;
        source->device = (uint64_t)info.st_dev;
        source->number = (uint64_t)info.st_ino;
    }
}

vdb_status vdb_source_open(struct vdb_source *source, struct vdb_env *env, const char *path, struct vdb_err *err)
{
    *source = (struct vdb_source){.env = env, .path = path};
    if (strlen(path) >= VDB_LIMIT_PATH_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "\"%.60s...\": the path has %zu bytes, at most %u are allowed", path,
                           strlen(path), VDB_LIMIT_PATH_BYTES_MAX - 1);
    }
    vdb_file_kind kind;
    uint64_t bytes;
    VDB_TRY(env->ops->stat(env, path, &kind, &bytes, err));
    if (kind == VDB_KIND_DIR) {
        return vdb_err_set(err, VDB_INVALID, "\"%s\" is a folder, a file of vectors is needed", path);
    }
    if (kind != VDB_KIND_FILE) {
        return vdb_err_set(err, VDB_INVALID, "\"%s\" is not a regular file, which is needed", path);
    }
    identify(source); /* before opening: a file that comes in between is another one at the first check */
    VDB_TRY(env->ops->open(env, path, VDB_OPEN_READ, &source->file, err));
    vdb_status status = env->ops->size(env, source->file, &source->bytes, err);
    if (status != VDB_OK) {
        vdb_source_close(source);
    }
    return status;
}

void vdb_source_of_memory(struct vdb_source *source, const void *data, size_t bytes)
{
    *source = (struct vdb_source){.bytes = bytes, .memory = data};
}

void vdb_source_close(struct vdb_source *source)
{
    if (source->env != NULL) {
        source->env->ops->close(source->env, source->file);
    }
    *source = (struct vdb_source){0};
}

vdb_status vdb_source_read(const struct vdb_source *source, void *out, size_t bytes, uint64_t offset,
                           struct vdb_err *err)
{
    if (offset > source->bytes || bytes > source->bytes - offset) {
        return vdb_err_set(err, VDB_INVALID,
                           "byte %" PRIu64 ": the file ends at byte %" PRIu64 ", %zu bytes are needed here",
                           offset, source->bytes, bytes);
    }
    if (bytes == 0) {
        return VDB_OK;
    }
    if (source->env == NULL) {
        memcpy(out, source->memory + offset, bytes);
        return VDB_OK;
    }
    size_t got = 0;
    VDB_TRY(source->env->ops->read_at(source->env, source->file, out, bytes, offset, &got, err));
    if (got != bytes) {
        return vdb_err_set(err, VDB_INVALID,
                           "the file changed while it was read: it had %" PRIu64
                           " bytes and ends at byte %" PRIu64 "; search again when nobody writes to it",
                           source->bytes, offset + got);
    }
    return VDB_OK;
}

vdb_status vdb_source_check_unchanged(const struct vdb_source *source, struct vdb_err *err)
{
    if (source->env == NULL) {
        return VDB_OK;
    }
    vdb_file_kind kind;
    uint64_t bytes;
    VDB_TRY(source->env->ops->stat(source->env, source->path, &kind, &bytes, err));
    if (bytes != source->bytes) {
        return vdb_err_set(err, VDB_INVALID,
                           "the file changed while it was read: it had %" PRIu64 " bytes and has %" PRIu64
                           "; search again when nobody writes to it",
                           source->bytes, bytes);
    }
    struct vdb_source now = {.env = source->env, .path = source->path};
    identify(&now);
    if (now.device != source->device || now.number != source->number) {
        return vdb_err_set(err, VDB_INVALID,
                           "the file changed while it was read: another file has its name now; search again when "
                           "nobody writes to it");
    }
    if (now.time_ns != source->time_ns) {
        return vdb_err_set(
            err, VDB_INVALID,
            "the file changed while it was read: it was written to since; search again when nobody "
            "writes to it");
    }
    return VDB_OK;
}
