/* env.c: what can be done over any env: whole files, whole trees, paths; a reading of its counts. */
#include "env.h"
#include "env_error.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void read_transfers(const struct vdb_env_transfers *from, uint64_t *operations, uint64_t *bytes)
{
    *operations = atomic_load_explicit(&from->operations, memory_order_relaxed);
    *bytes = atomic_load_explicit(&from->bytes, memory_order_relaxed);
}

void vdb_env_get_io(const struct vdb_env *env, struct vdb_env_io_stats *out)
{
    read_transfers(&env->io.reads, &out->reads, &out->read_bytes);
    read_transfers(&env->io.writes, &out->writes, &out->write_bytes);
    read_transfers(&env->io.touches, &out->touches, &out->touched_bytes);
    out->synced_bytes = atomic_load_explicit(&env->io.synced_bytes, memory_order_relaxed);
    out->failures = atomic_load_explicit(&env->io.failures, memory_order_relaxed);
    vdb_histogram_read(&env->io.syncs, &out->syncs);
    vdb_histogram_read(&env->io.dir_syncs, &out->dir_syncs);
}

static vdb_status path_too_long(struct vdb_err *err, size_t bytes, size_t bytes_max)
{
    return vdb_err_set(err, VDB_LIMIT, "path of %zu bytes: limit is %zu with its end", bytes, bytes_max);
}

vdb_status vdb_path_join(char *out, size_t out_bytes, const char *dir, const char *name, struct vdb_err *err)
{
    size_t dir_bytes = strlen(dir);
    size_t name_bytes = strlen(name);
    size_t slash_bytes = dir_bytes > 0 && dir[dir_bytes - 1] != '/' ? 1 : 0;
    size_t bytes = dir_bytes + slash_bytes + name_bytes;
    if (bytes + 1 > out_bytes) {
        return path_too_long(err, bytes, out_bytes);
    }
    memcpy(out, dir, dir_bytes);
    if (slash_bytes != 0) {
        out[dir_bytes] = '/';
    }
    memcpy(out + dir_bytes + slash_bytes, name, name_bytes + 1);
    return VDB_OK;
}

/* Copies path without the slashes at its end (the root keeps its one). */
static vdb_status copy_path(char out[static VDB_LIMIT_PATH_BYTES_MAX], const char *path, size_t *bytes_out,
                            struct vdb_err *err)
{
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') {
        bytes--;
    }
    if (bytes + 1 > VDB_LIMIT_PATH_BYTES_MAX) {
        return path_too_long(err, bytes, VDB_LIMIT_PATH_BYTES_MAX);
    }
    memcpy(out, path, bytes);
    out[bytes] = '\0';
    *bytes_out = bytes;
    return VDB_OK;
}

/* Cuts path[0..bytes) (no slash at its end) to the directory that holds it: "a/b" to "a", "a" to ".", "/a" to
 * "/". */
static void cut_to_parent(char *path, size_t bytes)
{
    while (bytes > 0 && path[bytes - 1] != '/') {
        bytes--;
    }
    if (bytes == 0) {
        memcpy(path, ".", 2);
        return;
    }
    while (bytes > 1 && path[bytes - 1] == '/') {
        bytes--;
    }
    path[bytes] = '\0';
}

static vdb_status sync_parent(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    size_t bytes = 0;
    VDB_TRY(copy_path(parent, path, &bytes, err));
    cut_to_parent(parent, bytes);
    return env->ops->sync_dir(env, parent, err);
}

vdb_status vdb_env_read_file(struct vdb_env *env, const char *path, size_t bytes_max, uint8_t **out,
                             size_t *bytes, struct vdb_err *err)
{
    *out = NULL;
    *bytes = 0;
    vdb_status status = VDB_OK;
    struct vdb_file *file = NULL;
    uint8_t *data = NULL;
    uint64_t size = 0;
    size_t got = 0;
    VDB_CHECK(env->ops->open(env, path, VDB_OPEN_READ, &file, err));
    VDB_CHECK(env->ops->size(env, file, &size, err));
    if (size > bytes_max || size > SIZE_MAX - 1) {
        status = vdb_err_set(err, VDB_LIMIT, "read \"%s\": %llu bytes, limit is %zu", path,
                             (unsigned long long)size, bytes_max);
        goto cleanup;
    }
    data = malloc((size_t)size + 1);
    if (data == NULL) {
        status = vdb_err_no_memory(err, "a file's content");
        goto cleanup;
    }
    VDB_CHECK(env->ops->read_at(env, file, data, (size_t)size, 0, &got, err));
    data[got] = '\0'; /* got < size when it was cut meanwhile: then that is what it holds */
    *out = data;
    *bytes = got;
    data = NULL;

cleanup:
    free(data);
    env->ops->close(env, file);
    return status;
}

vdb_status vdb_env_replace_file(struct vdb_env *env, const char *path, const void *data, size_t bytes,
                                struct vdb_err *err)
{
    static const char suffix[] = ".tmp";
    char temp[VDB_LIMIT_PATH_BYTES_MAX];
    size_t path_bytes = strlen(path);
    if (path_bytes + sizeof suffix > sizeof temp) {
        return path_too_long(err, path_bytes + sizeof suffix - 1, sizeof temp);
    }
    memcpy(temp, path, path_bytes);
    memcpy(temp + path_bytes, suffix, sizeof suffix);

    vdb_status status = VDB_OK;
    struct vdb_file *file = NULL;
    bool made = false; /* a temporary file is there that must not stay */
    VDB_CHECK(env->ops->open(env, temp, VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE, &file, err));
    made = true;
    VDB_CHECK(env->ops->write_at(env, file, data, bytes, 0, err));
    VDB_CHECK(env->ops->sync(env, file, err));
    env->ops->close(env, file);
    file = NULL;
    VDB_CHECK(env->ops->rename(env, temp, path, err));
    made = false;
    VDB_CHECK(sync_parent(env, path, err));

cleanup:
    env->ops->close(env, file);
    if (made) {
        /* The first failure is the one to report; the next replacement truncates what is left. */
        (void)!env->ops->unlink(env, temp, NULL);
    }
    return status;
}

/* Makes one directory whose parent is there. A part that is there already is taken as durable; so that this holds
 * after a failure too, a directory whose parent could not be synced is taken away again. */
static vdb_status make_part(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    vdb_file_kind kind;
    uint64_t bytes;
    vdb_status status = env->ops->stat(env, path, &kind, &bytes, err);
    if (status == VDB_NOT_FOUND) {
        status = env->ops->mkdir(env, path, err);
        if (status == VDB_OK) {
            status = sync_parent(env, path, err);
            if (status != VDB_OK && env->ops->rmdir(env, path, NULL) != VDB_OK) {
                return status; /* the first failure is the one to report */
            }
            return status;
        }
        if (status != VDB_EXISTS) {
            return status;
        }
        status = env->ops->stat(env, path, &kind, &bytes, err); /* another one made it in between */
    }
    if (status == VDB_OK && kind == VDB_KIND_OTHER) {
        /* Perhaps a link to a directory, as /var/lib/NAME is on many machines: "/." asks behind it. */
        char behind[VDB_LIMIT_PATH_BYTES_MAX];
        VDB_TRY(vdb_path_join(behind, sizeof behind, path, ".", err));
        status = env->ops->stat(env, behind, &kind, &bytes, err);
    }
    if (status == VDB_OK && kind != VDB_KIND_DIR) {
        status = vdb_env_error_set(err, ENOTDIR, "mkdir", path);
    }
    return status;
}

vdb_status vdb_env_mkdirs(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    char part[VDB_LIMIT_PATH_BYTES_MAX];
    size_t bytes = 0;
    VDB_TRY(copy_path(part, path, &bytes, err));
    if (bytes == 0) {
        return vdb_env_error_set(err, ENOENT, "mkdir", path);
    }
    for (size_t i = 1; i <= bytes; i++) {
        bool ends = (part[i] == '/' || part[i] == '\0') && part[i - 1] != '/';
        if (!ends && i < bytes) {
            continue;
        }
        char kept = part[i];
        part[i] = '\0';
        VDB_TRY(make_part(env, part, err));
        part[i] = kept;
    }
    return VDB_OK;
}

/* One directory's entries as a run of: kind (one byte), name, NUL. Collected before the first is removed, for a
 * directory may not be changed under its listing. */
static vdb_status collect_entry(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct vdb_buf *entries = ctx;
    vdb_buf_put_u8(entries, (uint8_t)kind);
    vdb_buf_put(entries, name, strlen(name) + 1);
    return entries->failed ? vdb_err_no_memory(err, "a directory's entries") : VDB_OK;
}

/* Absence is what was wanted. */
static vdb_status ignore_absence(vdb_status status)
{
    return status == VDB_NOT_FOUND ? VDB_OK : status;
}

/* Empties and removes the directory path[0..bytes). One buffer serves all levels, so that the recursion, at most
 * as deep as a path has parts, stays light on the stack. */
static vdb_status remove_dir(struct vdb_env *env, char path[static VDB_LIMIT_PATH_BYTES_MAX], size_t bytes,
                             struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_buf entries = {0};
    VDB_CHECK(env->ops->list(env, path, collect_entry, &entries, err));
    for (size_t at = 0; at < entries.bytes;) {
        vdb_file_kind kind = (vdb_file_kind)entries.data[at];
        const char *name = (const char *)entries.data + at + 1;
        size_t name_bytes = strlen(name);
        at += 1 + name_bytes + 1;
        size_t slash_bytes = path[bytes - 1] == '/' ? 0 : 1; /* only the root ends in one */
        if (bytes + slash_bytes + name_bytes + 1 > VDB_LIMIT_PATH_BYTES_MAX) {
            status = path_too_long(err, bytes + slash_bytes + name_bytes, VDB_LIMIT_PATH_BYTES_MAX);
            goto cleanup;
        }
        path[bytes] = '/';
        memcpy(path + bytes + slash_bytes, name, name_bytes + 1);
        if (kind == VDB_KIND_DIR) {
            status = remove_dir(env, path, bytes + slash_bytes + name_bytes, err);
        } else {
            status = env->ops->unlink(env, path, err);
        }
        path[bytes] = '\0';
        VDB_CHECK(ignore_absence(status));
    }
    status = env->ops->rmdir(env, path, err);

cleanup:
    vdb_buf_fini(&entries);
    return status;
}

vdb_status vdb_env_remove_tree(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    char walked[VDB_LIMIT_PATH_BYTES_MAX];
    size_t bytes = 0;
    vdb_file_kind kind;
    uint64_t file_bytes;
    VDB_TRY(copy_path(walked, path, &bytes, err));
    VDB_TRY(env->ops->stat(env, walked, &kind, &file_bytes, err));
    if (kind != VDB_KIND_DIR) {
        return env->ops->unlink(env, walked, err);
    }
    return remove_dir(env, walked, bytes, err);
}
