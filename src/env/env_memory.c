/* env_memory.c: the env over the in-memory file system: its table of operations, on handles, locks and maps.
 *
 * The file system itself is memory_tree (names) and memory_image (contents), which also say what a power cut may
 * leave. Here each operation takes the one mutex, counts itself, perhaps fails on demand, and else does its work.
 * What a test does from outside (faults, power cuts, copies, damage) is in memory_control.c.
 */
#include "env_count.h"
#include "env_error.h"
#include "memory_env.h"

#include "base/bytes.h"
#include "base/limits.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAP_ALIGN_BYTES = 4096, CLOCK_STEP_US = 1000 };

/* Begins an operation: locks and counts. Returns 0, or the error number that it shall fail with. */
static int begin(struct vdb_memory_env *memory, vdb_memory_kind kind)
{
    pthread_mutex_lock(&memory->mutex);
    vdb_memory_env_forget_plan_locked(memory);
    if ((memory->fail_kinds & kind) == 0) {
        return 0;
    }
    uint64_t n = ++memory->operations;
    bool fails = memory->fail_at != 0 && (n == memory->fail_at || (memory->fail_forever && n > memory->fail_at));
    return fails ? memory->fail_code : 0;
}

static void end(struct vdb_memory_env *memory)
{
    pthread_mutex_unlock(&memory->mutex);
}

/* Ends an operation on a path. */
static vdb_status finish(struct vdb_memory_env *memory, int code, const char *what, const char *path,
                         struct vdb_err *err)
{
    end(memory);
    if (code == 0) {
        return VDB_OK;
    }
    return code == ENOMEM ? vdb_err_no_memory(err, path) : vdb_env_error_set(err, code, what, path);
}

static vdb_status finish_at(struct vdb_memory_env *memory, int code, const char *what, const char *path,
                            uint64_t offset, struct vdb_err *err)
{
    end(memory);
    if (code == 0) {
        return VDB_OK;
    }
    return code == ENOMEM ? vdb_err_no_memory(err, path) : vdb_env_error_set_at(err, code, what, path, offset);
}

static int open_node(struct vdb_memory_env *memory, const char *path, unsigned flags,
                     struct vdb_memory_node **out)
{
    int code = vdb_memory_tree_find(&memory->tree, path, out);
    if (code == ENOENT && (flags & VDB_OPEN_CREATE) != 0) {
        return vdb_memory_tree_create(&memory->tree, path, false, out);
    }
    if (code != 0) {
        return code;
    }
    if ((flags & VDB_OPEN_EXCLUSIVE) != 0) {
        return EEXIST;
    }
    if ((*out)->is_dir) {
        return EISDIR;
    }
    if ((flags & VDB_OPEN_TRUNCATE) == 0) {
        return 0;
    }
    assert((*out)->map_count == 0); /* E5 */
    return vdb_memory_image_truncate(&(*out)->image, 0);
}

static vdb_status memory_open(struct vdb_env *env, const char *path, unsigned flags, struct vdb_file **out,
                              struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    bool writes = (flags & VDB_OPEN_WRITE) != 0;
    assert(writes != ((flags & VDB_OPEN_READ) != 0));
    assert(writes || (flags & (VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE)) == 0);
    assert((flags & VDB_OPEN_EXCLUSIVE) == 0 || (flags & VDB_OPEN_CREATE) != 0);

    *out = NULL;
    size_t path_bytes = strlen(path) + 1;
    struct vdb_file *file = calloc(1, sizeof *file + path_bytes);
    if (file == NULL) {
        return vdb_err_no_memory(err, "a file handle");
    }
    memcpy(file->path, path, path_bytes);
    file->writes = writes;

    struct vdb_memory_node *node = NULL;
    int code = begin(memory,
                     (flags & (VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE)) != 0 ? VDB_MEMORY_WRITES : VDB_MEMORY_READS);
    if (code == 0) {
        code = open_node(memory, path, flags, &node);
    }
    if (code == 0) {
        vdb_memory_node_ref(node);
        file->node = node;
        file->next = memory->files;
        memory->files = file;
        *out = file;
    } else {
        free(file);
    }
    return finish(memory, code, "open", path, err);
}

static void memory_close(struct vdb_env *env, struct vdb_file *file)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    if (file == NULL) {
        return;
    }
    pthread_mutex_lock(&memory->mutex);
    struct vdb_file **link = &memory->files;
    while (*link != file) {
        link = &(*link)->next;
    }
    *link = file->next;
    vdb_memory_node_unref(&memory->tree, file->node);
    pthread_mutex_unlock(&memory->mutex);
    free(file);
}

static vdb_status memory_read_at(struct vdb_env *env, struct vdb_file *file, void *out, size_t bytes,
                                 uint64_t offset, size_t *got, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    *got = 0;
    int code = begin(memory, VDB_MEMORY_READS);
    if (code == 0 && file->node == NULL) {
        code = EBADF;
    }
    if (code == 0) {
        *got = vdb_memory_image_read(&file->node->image, out, bytes, offset);
    }
    vdb_status status = finish_at(memory, code, "read", file->path, offset, err);
    return vdb_env_count_transfer(env, &env->io.reads, *got, status);
}

static int write_node(struct vdb_file *file, const void *data, size_t bytes, uint64_t offset)
{
    if (file->node == NULL || !file->writes) {
        return EBADF;
    }
    if (offset > INT64_MAX || bytes > (uint64_t)INT64_MAX - offset) {
        return EFBIG;
    }
    assert(file->node->map_count == 0 || bytes == 0); /* E5 */
    return vdb_memory_image_write(&file->node->image, data, bytes, offset);
}

static vdb_status memory_write_at(struct vdb_env *env, struct vdb_file *file, const void *data, size_t bytes,
                                  uint64_t offset, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0) {
        code = write_node(file, data, bytes, offset);
    } else if (memory->operations == memory->fail_at) {
        size_t part = (size_t)vdb_rng_below(&memory->fail_rng, (uint64_t)bytes + 1);
        (void)write_node(file, data, part, offset); /* or no part of it: the write fails in any case */
    }
    vdb_status status = finish_at(memory, code, "write", file->path, offset, err);
    return vdb_env_count_write(env, &file->unsynced_bytes, bytes, status);
}

static vdb_status memory_size(struct vdb_env *env, struct vdb_file *file, uint64_t *out, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_READS);
    if (code == 0 && file->node == NULL) {
        code = EBADF;
    }
    if (code == 0) {
        *out = file->node->image.seen_bytes;
    }
    return finish(memory, code, "size", file->path, err);
}

static vdb_status memory_truncate(struct vdb_env *env, struct vdb_file *file, uint64_t bytes, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0 && (file->node == NULL || !file->writes)) {
        code = file->node == NULL ? EBADF : EINVAL; /* as ftruncate */
    }
    if (code == 0 && bytes > INT64_MAX) {
        code = EFBIG;
    }
    if (code == 0) {
        assert(file->node->map_count == 0); /* E5 */
        code = vdb_memory_image_truncate(&file->node->image, bytes);
    }
    return finish_at(memory, code, "truncate", file->path, bytes, err);
}

static vdb_status memory_sync(struct vdb_env *env, struct vdb_file *file, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_env_count_sync sync = vdb_env_count_begin_sync(&file->unsynced_bytes);
    int code = begin(memory, VDB_MEMORY_SYNCS);
    if (file->node == NULL) {
        code = code != 0 ? code : EBADF;
    } else if (code == 0) {
        vdb_memory_image_sync(&file->node->image);
    } else {
        vdb_memory_image_fail_sync(&file->node->image);
    }
    vdb_status status = finish(memory, code, "sync", file->path, err);
    return vdb_env_count_end_sync(env, &env->io.syncs, sync, status);
}

static int find_dir(struct vdb_memory_env *memory, const char *path, struct vdb_memory_node **out)
{
    int code = vdb_memory_tree_find(&memory->tree, path, out);
    return code == 0 && !(*out)->is_dir ? ENOTDIR : code;
}

static vdb_status memory_sync_dir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_memory_node *dir = NULL;
    struct vdb_env_count_sync sync = vdb_env_count_begin_sync(NULL);
    int code = begin(memory, VDB_MEMORY_SYNCS);
    if (code == 0) {
        code = find_dir(memory, path, &dir);
    }
    if (code == 0) {
        vdb_memory_tree_sync_dir(&memory->tree, dir);
    }
    vdb_status status = finish(memory, code, "sync directory", path, err);
    return vdb_env_count_end_sync(env, &env->io.dir_syncs, sync, status);
}

static vdb_status memory_rename(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0) {
        code = vdb_memory_tree_rename(&memory->tree, from, to);
    }
    end(memory);
    if (code == 0) {
        return VDB_OK;
    }
    return code == ENOMEM ? vdb_err_no_memory(err, from) : vdb_env_error_set_pair(err, code, "rename", from, to);
}

static vdb_status memory_unlink(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0) {
        code = vdb_memory_tree_remove(&memory->tree, path, false);
    }
    return finish(memory, code, "unlink", path, err);
}

static vdb_status memory_link(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0) {
        code = vdb_memory_tree_link(&memory->tree, from, to);
    }
    end(memory);
    if (code == 0) {
        return VDB_OK;
    }
    return code == ENOMEM ? vdb_err_no_memory(err, to) : vdb_env_error_set_pair(err, code, "link", from, to);
}

static vdb_status memory_mkdir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_memory_node *dir = NULL;
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0) {
        code = vdb_memory_tree_create(&memory->tree, path, true, &dir);
    }
    return finish(memory, code, "mkdir", path, err);
}

static vdb_status memory_rmdir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0) {
        code = vdb_memory_tree_remove(&memory->tree, path, true);
    }
    return finish(memory, code, "rmdir", path, err);
}

/* The entries as a run of: kind (one byte), name, NUL. */
static int copy_entries(const struct vdb_memory_node *dir, struct vdb_buf *entries)
{
    for (size_t i = 0; i < dir->slot_count; i++) {
        const struct vdb_memory_slot *slot = dir->slots[i];
        if (slot->seen != NULL) {
            vdb_buf_put_u8(entries, (uint8_t)(slot->seen->is_dir ? VDB_KIND_DIR : VDB_KIND_FILE));
            vdb_buf_put(entries, slot->name, strlen(slot->name) + 1);
        }
    }
    return entries->failed ? ENOMEM : 0;
}

static vdb_status memory_list(struct vdb_env *env, const char *path, vdb_dir_fn *fn, void *ctx,
                              struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_memory_node *dir = NULL;
    struct vdb_buf entries = {0};
    int code = begin(memory, VDB_MEMORY_READS);
    if (code == 0) {
        code = find_dir(memory, path, &dir);
    }
    if (code == 0) {
        code = copy_entries(dir, &entries);
    }
    vdb_status status = finish(memory, code, "list", path, err);
    /* From the copy and without the mutex: fn may call the env. */
    for (size_t at = 0; status == VDB_OK && at < entries.bytes;) {
        const char *name = (const char *)entries.data + at + 1;
        status = fn(ctx, name, (vdb_file_kind)entries.data[at], err);
        at += 1 + strlen(name) + 1;
    }
    vdb_buf_fini(&entries);
    return status;
}

static vdb_status memory_stat(struct vdb_env *env, const char *path, vdb_file_kind *kind, uint64_t *bytes,
                              struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_memory_node *node = NULL;
    int code = begin(memory, VDB_MEMORY_READS);
    if (code == 0) {
        code = vdb_memory_tree_find(&memory->tree, path, &node);
    }
    if (code == 0) {
        *kind = node->is_dir ? VDB_KIND_DIR : VDB_KIND_FILE;
        *bytes = node->image.seen_bytes;
    }
    return finish(memory, code, "stat", path, err);
}

static bool is_locked(const struct vdb_memory_env *memory, const struct vdb_memory_node *node)
{
    for (const struct vdb_lock *lock = memory->locks; lock != NULL; lock = lock->next) {
        if (lock->node == node) {
            return true;
        }
    }
    return false;
}

static vdb_status memory_lock(struct vdb_env *env, const char *path, struct vdb_lock **out, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    *out = NULL;
    struct vdb_lock *lock = calloc(1, sizeof *lock);
    if (lock == NULL) {
        return vdb_err_no_memory(err, "a lock");
    }
    struct vdb_memory_node *node = NULL;
    int code = begin(memory, VDB_MEMORY_WRITES);
    if (code == 0) {
        code = open_node(memory, path, VDB_OPEN_WRITE | VDB_OPEN_CREATE, &node);
    }
    if (code == 0 && is_locked(memory, node)) {
        end(memory);
        free(lock);
        return vdb_env_error_set_busy(err, path, (long)getpid());
    }
    if (code == 0) {
        vdb_memory_node_ref(node);
        lock->node = node;
        lock->next = memory->locks;
        memory->locks = lock;
        *out = lock;
    } else {
        free(lock);
    }
    return finish(memory, code, "lock", path, err);
}

static void memory_unlock(struct vdb_env *env, struct vdb_lock *lock)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    if (lock == NULL) {
        return;
    }
    pthread_mutex_lock(&memory->mutex);
    struct vdb_lock **link = &memory->locks;
    while (*link != lock) {
        link = &(*link)->next;
    }
    *link = lock->next;
    vdb_memory_node_unref(&memory->tree, lock->node);
    pthread_mutex_unlock(&memory->mutex);
    free(lock);
}

static int map_node(struct vdb_memory_map *map, struct vdb_memory_node *node)
{
    if (node->is_dir) {
        return EISDIR;
    }
    map->bytes = node->image.seen_bytes;
    void *data;
    if (posix_memalign(&data, MAP_ALIGN_BYTES, map->bytes > 0 ? map->bytes : 1) != 0) {
        return ENOMEM;
    }
    map->data = data;
    map->data[0] = 0;
    (void)vdb_memory_image_read(&node->image, map->data, map->bytes, 0);
    map->node = node;
    node->map_count++;
    vdb_memory_node_ref(node);
    return 0;
}

static vdb_status memory_map(struct vdb_env *env, const char *path, struct vdb_map *out, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    *out = (struct vdb_map){0};
    size_t path_bytes = strlen(path) + 1;
    struct vdb_memory_map *map = calloc(1, sizeof *map + path_bytes);
    if (map == NULL) {
        return vdb_err_no_memory(err, "a map");
    }
    memcpy(map->path, path, path_bytes);
    struct vdb_memory_node *node = NULL;
    int code = begin(memory, VDB_MEMORY_READS);
    if (code == 0) {
        code = vdb_memory_tree_find(&memory->tree, path, &node);
    }
    if (code == 0) {
        code = map_node(map, node);
    }
    if (code == 0) {
        map->next = memory->maps;
        memory->maps = map;
        *out = (struct vdb_map){.data = map->data, .bytes = map->bytes, .impl = map};
    } else {
        free(map);
    }
    return finish(memory, code, "map", path, err);
}

static void memory_unmap(struct vdb_env *env, struct vdb_map *out)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_memory_map *map = out->impl;
    *out = (struct vdb_map){0};
    if (map == NULL) {
        return;
    }
    pthread_mutex_lock(&memory->mutex);
    struct vdb_memory_map **link = &memory->maps;
    while (*link != map) {
        link = &(*link)->next;
    }
    *link = map->next;
    vdb_memory_env_cut_map_locked(memory, map);
    pthread_mutex_unlock(&memory->mutex);
    free(map->data);
    free(map);
}

static vdb_status memory_touch(struct vdb_env *env, const struct vdb_map *map, uint64_t offset, uint64_t bytes,
                               struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    assert(offset <= map->bytes && bytes <= map->bytes - offset);
    if (bytes == 0) {
        return vdb_env_count_transfer(env, &env->io.touches, 0, VDB_OK);
    }
    const struct vdb_memory_map *mine = map->impl;
    int code = begin(memory, VDB_MEMORY_READS);
    if (code == 0 && mine->node == NULL) {
        code = EBADF;
    }
    vdb_status status = finish_at(memory, code, "read", mine->path, offset, err);
    return vdb_env_count_transfer(env, &env->io.touches, bytes, status);
}

static void memory_advise(struct vdb_env *env, const struct vdb_map *map, uint64_t offset, uint64_t bytes,
                          vdb_access access)
{
    (void)env, (void)map, (void)offset, (void)bytes, (void)access;
}

static uint64_t memory_now_us(struct vdb_env *env)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    pthread_mutex_lock(&memory->mutex);
    uint64_t now = memory->now_us;
    memory->now_us += CLOCK_STEP_US;
    pthread_mutex_unlock(&memory->mutex);
    return now;
}

static vdb_status memory_entropy(struct vdb_env *env, void *out, size_t bytes, struct vdb_err *err)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    int code = begin(memory, VDB_MEMORY_READS);
    for (size_t i = 0; code == 0 && i < bytes; i++) {
        ((uint8_t *)out)[i] = (uint8_t)vdb_rng_below(&memory->entropy_rng, 256);
    }
    return finish(memory, code, "entropy", "memory", err);
}

const struct vdb_env_ops vdb_memory_env_ops = {
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .read_at = memory_read_at,
    .write_at = memory_write_at,
    .size = memory_size,
    .truncate = memory_truncate,
    .sync = memory_sync,
    .sync_dir = memory_sync_dir,
    .rename = memory_rename,
    .unlink = memory_unlink,
    .link = memory_link,
    .mkdir = memory_mkdir,
    .rmdir = memory_rmdir,
    .list = memory_list,
    .stat = memory_stat,
    .lock = memory_lock,
    .unlock = memory_unlock,
    .map = memory_map,
    .unmap = memory_unmap,
    .touch = memory_touch,
    .advise = memory_advise,
    .now_us = memory_now_us,
    .entropy = memory_entropy,
};
