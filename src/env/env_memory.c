/* env_memory.c: the env over the in-memory file system: handles, locks, faults, clock and entropy.
 *
 * The file system itself is memory_tree (names) and memory_image (contents), which also say what a power cut may
 * leave. Here each operation takes the one mutex, counts itself, perhaps fails on demand, and else does its work.
 */
#include "env_memory.h"
#include "env_error.h"
#include "memory_tree.h"

#include "base/bytes.h"
#include "base/limits.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLOCK_START_US 1704067200000000u /* 2024-01-01 00:00:00 UTC */
#define CLOCK_STEP_US  1000u

struct vdb_file {
    struct vdb_file *next;
    struct vdb_memory_node *node; /* NULL after a crash */
    bool writes;
    char path[]; /* for error texts */
};

struct vdb_lock {
    struct vdb_lock *next;
    struct vdb_memory_node *node; /* NULL after a crash */
};

struct memory_env {
    struct vdb_env env;
    pthread_mutex_t mutex; /* guards all below */
    struct vdb_memory_tree tree;
    struct vdb_file *files; /* open */
    struct vdb_lock *locks; /* held */
    uint64_t operations;
    uint64_t fail_at; /* 0: never */
    int fail_code;
    bool fail_forever;
    struct vdb_rng fail_rng;
    struct vdb_rng entropy_rng;
    uint64_t now_us;
};

static struct memory_env *memory_of(struct vdb_env *env)
{
    return (struct memory_env *)env; /* env is its first member */
}

/* Begins an operation: locks and counts. Returns 0, or the error number that it shall fail with. */
static int begin(struct memory_env *memory)
{
    pthread_mutex_lock(&memory->mutex);
    uint64_t n = ++memory->operations;
    bool fails = memory->fail_at != 0 && (n == memory->fail_at || (memory->fail_forever && n > memory->fail_at));
    return fails ? memory->fail_code : 0;
}

static void end(struct memory_env *memory)
{
    pthread_mutex_unlock(&memory->mutex);
}

/* Ends an operation on a path. */
static vdb_status finish(struct memory_env *memory, int code, const char *what, const char *path,
                         struct vdb_err *err)
{
    end(memory);
    if (code == 0) {
        return VDB_OK;
    }
    return code == ENOMEM ? vdb_err_no_memory(err, path) : vdb_env_error_set(err, code, what, path);
}

static vdb_status finish_at(struct memory_env *memory, int code, const char *what, const char *path,
                            uint64_t offset, struct vdb_err *err)
{
    end(memory);
    if (code == 0) {
        return VDB_OK;
    }
    return code == ENOMEM ? vdb_err_no_memory(err, path) : vdb_env_error_set_at(err, code, what, path, offset);
}

static int open_node(struct memory_env *memory, const char *path, unsigned flags, struct vdb_memory_node **out)
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
    return (flags & VDB_OPEN_TRUNCATE) != 0 ? vdb_memory_image_truncate(&(*out)->image, 0) : 0;
}

static vdb_status memory_open(struct vdb_env *env, const char *path, unsigned flags, struct vdb_file **out,
                              struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
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
    int code = begin(memory);
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
    struct memory_env *memory = memory_of(env);
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
    struct memory_env *memory = memory_of(env);
    *got = 0;
    int code = begin(memory);
    if (code == 0 && file->node == NULL) {
        code = EBADF;
    }
    if (code == 0) {
        *got = vdb_memory_image_read(&file->node->image, out, bytes, offset);
    }
    return finish_at(memory, code, "read", file->path, offset, err);
}

static int write_node(struct vdb_file *file, const void *data, size_t bytes, uint64_t offset)
{
    if (file->node == NULL || !file->writes) {
        return EBADF;
    }
    if (offset > INT64_MAX || bytes > (uint64_t)INT64_MAX - offset) {
        return EFBIG;
    }
    return vdb_memory_image_write(&file->node->image, data, bytes, offset);
}

static vdb_status memory_write_at(struct vdb_env *env, struct vdb_file *file, const void *data, size_t bytes,
                                  uint64_t offset, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
    if (code == 0) {
        code = write_node(file, data, bytes, offset);
    } else if (memory->operations == memory->fail_at) {
        size_t part = (size_t)vdb_rng_below(&memory->fail_rng, (uint64_t)bytes + 1);
        (void)write_node(file, data, part, offset); /* or no part of it: the write fails in any case */
    }
    return finish_at(memory, code, "write", file->path, offset, err);
}

static vdb_status memory_size(struct vdb_env *env, struct vdb_file *file, uint64_t *out, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
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
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
    if (code == 0 && (file->node == NULL || !file->writes)) {
        code = file->node == NULL ? EBADF : EINVAL; /* as ftruncate */
    }
    if (code == 0 && bytes > INT64_MAX) {
        code = EFBIG;
    }
    if (code == 0) {
        code = vdb_memory_image_truncate(&file->node->image, bytes);
    }
    return finish_at(memory, code, "truncate", file->path, bytes, err);
}

static vdb_status memory_sync(struct vdb_env *env, struct vdb_file *file, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
    if (file->node == NULL) {
        code = code != 0 ? code : EBADF;
    } else if (code == 0) {
        vdb_memory_image_sync(&file->node->image);
    } else {
        vdb_memory_image_fail_sync(&file->node->image);
    }
    return finish(memory, code, "sync", file->path, err);
}

static int find_dir(struct memory_env *memory, const char *path, struct vdb_memory_node **out)
{
    int code = vdb_memory_tree_find(&memory->tree, path, out);
    return code == 0 && !(*out)->is_dir ? ENOTDIR : code;
}

static vdb_status memory_sync_dir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    struct vdb_memory_node *dir = NULL;
    int code = begin(memory);
    if (code == 0) {
        code = find_dir(memory, path, &dir);
    }
    if (code == 0) {
        vdb_memory_tree_sync_dir(&memory->tree, dir);
    }
    return finish(memory, code, "sync directory", path, err);
}

static vdb_status memory_rename(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
    if (code == 0) {
        code = vdb_memory_tree_rename(&memory->tree, from, to);
    }
    end(memory);
    if (code == 0) {
        return VDB_OK;
    }
    return code == ENOMEM ? vdb_err_no_memory(err, from) : vdb_env_error_set_rename(err, code, from, to);
}

static vdb_status memory_unlink(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
    if (code == 0) {
        code = vdb_memory_tree_remove(&memory->tree, path, false);
    }
    return finish(memory, code, "unlink", path, err);
}

static vdb_status memory_mkdir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    struct vdb_memory_node *dir = NULL;
    int code = begin(memory);
    if (code == 0) {
        code = vdb_memory_tree_create(&memory->tree, path, true, &dir);
    }
    return finish(memory, code, "mkdir", path, err);
}

static vdb_status memory_rmdir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
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
    struct memory_env *memory = memory_of(env);
    struct vdb_memory_node *dir = NULL;
    struct vdb_buf entries = {0};
    int code = begin(memory);
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
    struct memory_env *memory = memory_of(env);
    struct vdb_memory_node *node = NULL;
    int code = begin(memory);
    if (code == 0) {
        code = vdb_memory_tree_find(&memory->tree, path, &node);
    }
    if (code == 0) {
        *kind = node->is_dir ? VDB_KIND_DIR : VDB_KIND_FILE;
        *bytes = node->image.seen_bytes;
    }
    return finish(memory, code, "stat", path, err);
}

static bool is_locked(const struct memory_env *memory, const struct vdb_memory_node *node)
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
    struct memory_env *memory = memory_of(env);
    *out = NULL;
    struct vdb_lock *lock = calloc(1, sizeof *lock);
    if (lock == NULL) {
        return vdb_err_no_memory(err, "a lock");
    }
    struct vdb_memory_node *node = NULL;
    int code = begin(memory);
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
    struct memory_env *memory = memory_of(env);
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

static uint64_t memory_now_us(struct vdb_env *env)
{
    struct memory_env *memory = memory_of(env);
    pthread_mutex_lock(&memory->mutex);
    uint64_t now = memory->now_us;
    memory->now_us += CLOCK_STEP_US;
    pthread_mutex_unlock(&memory->mutex);
    return now;
}

static vdb_status memory_entropy(struct vdb_env *env, void *out, size_t bytes, struct vdb_err *err)
{
    struct memory_env *memory = memory_of(env);
    int code = begin(memory);
    for (size_t i = 0; code == 0 && i < bytes; i++) {
        ((uint8_t *)out)[i] = (uint8_t)vdb_rng_below(&memory->entropy_rng, 256);
    }
    return finish(memory, code, "entropy", "memory", err);
}

static const struct vdb_env_ops memory_ops = {
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
    .mkdir = memory_mkdir,
    .rmdir = memory_rmdir,
    .list = memory_list,
    .stat = memory_stat,
    .lock = memory_lock,
    .unlock = memory_unlock,
    .now_us = memory_now_us,
    .entropy = memory_entropy,
};

struct vdb_env *vdb_env_memory_create(void)
{
    struct memory_env *memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        return NULL;
    }
    if (!vdb_memory_tree_init(&memory->tree)) {
        free(memory);
        return NULL;
    }
    if (pthread_mutex_init(&memory->mutex, NULL) != 0) {
        vdb_memory_tree_fini(&memory->tree);
        free(memory);
        return NULL;
    }
    memory->env.ops = &memory_ops;
    memory->now_us = CLOCK_START_US;
    vdb_rng_init(&memory->entropy_rng, 1);
    return &memory->env;
}

/* As the end of a process does. The handles' memory stays until close and unlock. */
static void cut_handles(struct memory_env *memory)
{
    for (struct vdb_file *file = memory->files; file != NULL; file = file->next) {
        vdb_memory_node_unref(&memory->tree, file->node);
        file->node = NULL;
    }
    for (struct vdb_lock *lock = memory->locks; lock != NULL; lock = lock->next) {
        vdb_memory_node_unref(&memory->tree, lock->node);
        lock->node = NULL;
    }
}

void vdb_env_memory_destroy(struct vdb_env *env)
{
    if (env == NULL) {
        return;
    }
    struct memory_env *memory = memory_of(env);
    cut_handles(memory);
    while (memory->files != NULL) {
        struct vdb_file *file = memory->files;
        memory->files = file->next;
        free(file);
    }
    while (memory->locks != NULL) {
        struct vdb_lock *lock = memory->locks;
        memory->locks = lock->next;
        free(lock);
    }
    vdb_memory_tree_fini(&memory->tree);
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
}

uint64_t vdb_env_memory_operations(struct vdb_env *env)
{
    struct memory_env *memory = memory_of(env);
    pthread_mutex_lock(&memory->mutex);
    uint64_t operations = memory->operations;
    pthread_mutex_unlock(&memory->mutex);
    return operations;
}

void vdb_env_memory_fail_at(struct vdb_env *env, uint64_t n, vdb_status status, bool forever, uint64_t seed)
{
    struct memory_env *memory = memory_of(env);
    assert(n == 0 || status == VDB_IO || status == VDB_NO_SPACE);
    pthread_mutex_lock(&memory->mutex);
    memory->operations = 0;
    memory->fail_at = n;
    memory->fail_code = status == VDB_NO_SPACE ? ENOSPC : EIO;
    memory->fail_forever = forever;
    vdb_rng_init(&memory->fail_rng, seed);
    pthread_mutex_unlock(&memory->mutex);
}

void vdb_env_memory_crash(struct vdb_env *env, uint64_t seed)
{
    struct memory_env *memory = memory_of(env);
    pthread_mutex_lock(&memory->mutex);
    cut_handles(memory);
    if (seed != UINT64_MAX) {
        struct vdb_rng rng;
        vdb_rng_init(&rng, seed);
        vdb_memory_tree_crash(&memory->tree, seed == 0 ? NULL : &rng);
    }
    pthread_mutex_unlock(&memory->mutex);
}

bool vdb_env_memory_flip(struct vdb_env *env, const char *path, uint64_t offset, uint8_t xor_mask)
{
    struct memory_env *memory = memory_of(env);
    struct vdb_memory_node *node;
    pthread_mutex_lock(&memory->mutex);
    bool flipped = vdb_memory_tree_find(&memory->tree, path, &node) == 0 && !node->is_dir &&
                   vdb_memory_image_flip(&node->image, offset, xor_mask);
    pthread_mutex_unlock(&memory->mutex);
    return flipped;
}
