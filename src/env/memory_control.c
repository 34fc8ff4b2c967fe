/* memory_control.c: what a test does to the in-memory env: make and copy it, break it, cut its power, damage it. */
#include "memory_env.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define CLOCK_START_US 1704067200000000u /* 2024-01-01 00:00:00 UTC */

/* All but the tree. NULL when memory is short. */
static struct vdb_memory_env *create_env(void)
{
    struct vdb_memory_env *memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&memory->mutex, NULL) != 0) {
        free(memory);
        return NULL;
    }
    memory->env.ops = &vdb_memory_env_ops;
    memory->now_us = CLOCK_START_US;
    memory->fail_kinds = VDB_MEMORY_ALL;
    vdb_rng_init(&memory->entropy_rng, 1);
    return memory;
}

static void destroy_env(struct vdb_memory_env *memory)
{
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
}

struct vdb_env *vdb_env_memory_create(void)
{
    struct vdb_memory_env *memory = create_env();
    if (memory == NULL) {
        return NULL;
    }
    if (!vdb_memory_tree_init(&memory->tree)) {
        destroy_env(memory);
        return NULL;
    }
    return &memory->env;
}

struct vdb_env *vdb_env_memory_clone(struct vdb_env *env)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_memory_env *copy = create_env();
    if (copy == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&memory->mutex);
    bool done = vdb_memory_tree_clone(&memory->tree, &copy->tree);
    if (done) {
        copy->entropy_rng = memory->entropy_rng;
        copy->now_us = memory->now_us;
        copy->plan = vdb_memory_choice_ref(memory->plan);
    }
    pthread_mutex_unlock(&memory->mutex);
    if (!done) {
        destroy_env(copy);
        return NULL;
    }
    return &copy->env;
}

/* As the end of a process does. The handles' memory stays until close and unlock. */
static void cut_handles(struct vdb_memory_env *memory)
{
    for (struct vdb_file *file = memory->files; file != NULL; file = file->next) {
        vdb_memory_node_unref(&memory->tree, file->node);
        file->node = NULL;
    }
    for (struct vdb_lock *lock = memory->locks; lock != NULL; lock = lock->next) {
        vdb_memory_node_unref(&memory->tree, lock->node);
        lock->node = NULL;
    }
    for (struct vdb_memory_map *map = memory->maps; map != NULL; map = map->next) {
        vdb_memory_env_cut_map_locked(memory, map);
    }
}

void vdb_env_memory_destroy(struct vdb_env *env)
{
    if (env == NULL) {
        return;
    }
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
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
    while (memory->maps != NULL) {
        struct vdb_memory_map *map = memory->maps;
        memory->maps = map->next;
        free(map->data);
        free(map);
    }
    vdb_memory_env_forget_plan_locked(memory);
    vdb_memory_tree_fini(&memory->tree);
    destroy_env(memory);
}

uint64_t vdb_env_memory_operations(struct vdb_env *env)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    pthread_mutex_lock(&memory->mutex);
    uint64_t operations = memory->operations;
    pthread_mutex_unlock(&memory->mutex);
    return operations;
}

void vdb_env_memory_fail_at(struct vdb_env *env, uint64_t n, vdb_status status, bool forever, uint64_t seed)
{
    vdb_env_memory_fail_kinds_at(env, VDB_MEMORY_ALL, n, status, forever, seed);
}

void vdb_env_memory_fail_kinds_at(struct vdb_env *env, unsigned kinds, uint64_t n, vdb_status status,
                                  bool forever, uint64_t seed)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    assert(n == 0 || status == VDB_IO || status == VDB_NO_SPACE);
    pthread_mutex_lock(&memory->mutex);
    memory->operations = 0;
    memory->fail_kinds = kinds;
    memory->fail_at = n;
    memory->fail_code = status == VDB_NO_SPACE ? ENOSPC : EIO;
    memory->fail_forever = forever;
    vdb_rng_init(&memory->fail_rng, seed);
    pthread_mutex_unlock(&memory->mutex);
}

void vdb_env_memory_crash(struct vdb_env *env, uint64_t seed)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    pthread_mutex_lock(&memory->mutex);
    vdb_memory_env_forget_plan_locked(memory);
    cut_handles(memory);
    if (seed != UINT64_MAX) {
        struct vdb_rng rng;
        vdb_rng_init(&rng, seed);
        vdb_memory_tree_crash(&memory->tree, seed == 0 ? NULL : &rng);
    }
    pthread_mutex_unlock(&memory->mutex);
}

static const struct vdb_memory_plan *plan_locked(struct vdb_memory_env *memory)
{
    if (memory->plan == NULL) {
        memory->plan = vdb_memory_choice_plan(&memory->tree);
    }
    return memory->plan;
}

uint64_t vdb_env_memory_crash_choices(struct vdb_env *env)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    pthread_mutex_lock(&memory->mutex);
    const struct vdb_memory_plan *plan = plan_locked(memory);
    uint64_t count = plan != NULL ? vdb_memory_choice_count(plan) : UINT64_MAX;
    pthread_mutex_unlock(&memory->mutex);
    return count;
}

void vdb_env_memory_crash_choice(struct vdb_env *env, uint64_t choice)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    pthread_mutex_lock(&memory->mutex);
    const struct vdb_memory_plan *plan = plan_locked(memory);
    bool by_number = plan != NULL && vdb_memory_choice_count(plan) != UINT64_MAX;
    if (by_number) {
        cut_handles(memory);
        vdb_memory_choice_crash(&memory->tree, plan, choice);
        vdb_memory_env_forget_plan_locked(memory);
    }
    pthread_mutex_unlock(&memory->mutex);
    if (!by_number) {
        vdb_env_memory_crash(env, choice);
    }
}

bool vdb_env_memory_flip(struct vdb_env *env, const char *path, uint64_t offset, uint8_t xor_mask)
{
    struct vdb_memory_env *memory = vdb_memory_env_of(env);
    struct vdb_memory_node *node;
    pthread_mutex_lock(&memory->mutex);
    bool flipped = vdb_memory_tree_find(&memory->tree, path, &node) == 0 && !node->is_dir &&
                   vdb_memory_image_flip(&node->image, offset, xor_mask);
    for (struct vdb_memory_map *map = memory->maps; flipped && map != NULL; map = map->next) {
        if (map->node == node) {
            map->data[offset] ^= xor_mask; /* mapped whole, and never resized since */
        }
    }
    pthread_mutex_unlock(&memory->mutex);
    return flipped;
}
