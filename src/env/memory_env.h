/* memory_env.h: the in-memory env from inside: what env_memory.c (its operations) and memory_control.c (what a test
 * does to it) share. Private to this folder. Threads: the mutex guards all; _locked functions are called with it.
 */
#ifndef VDB_ENV_MEMORY_ENV_H
#define VDB_ENV_MEMORY_ENV_H

#include "env_memory.h"
#include "memory_choice.h"

#include <pthread.h>

struct vdb_file {
    struct vdb_file *next;
    struct vdb_memory_node *node; /* NULL after a crash */
    bool writes;
    _Atomic uint64_t unsynced_bytes;
    char path[]; /* for error texts */
};

struct vdb_lock {
    struct vdb_lock *next;
    struct vdb_memory_node *node; /* NULL after a crash */
};

struct vdb_memory_map {
    struct vdb_memory_map *next;
    struct vdb_memory_node *node; /* NULL after a crash */
    uint8_t *data;                /* a copy of just so many bytes: a sanitizer sees who reads past them */
    size_t bytes;
    char path[]; /* for error texts */
};

struct vdb_memory_env {
    struct vdb_env env;
    pthread_mutex_t mutex; /* guards all below */
    struct vdb_memory_tree tree;
    struct vdb_file *files; /* open */
    struct vdb_lock *locks; /* held */
    struct vdb_memory_map *maps;
    struct vdb_memory_plan *plan; /* of the power cut's outcomes as things are now; NULL: not made yet */
    uint64_t operations;          /* of the kinds in fail_kinds */
    unsigned fail_kinds;
    uint64_t fail_at; /* 0: never */
    int fail_code;
    bool fail_forever;
    struct vdb_rng fail_rng;
    struct vdb_rng entropy_rng;
    uint64_t now_us;
};

static inline struct vdb_memory_env *vdb_memory_env_of(struct vdb_env *env)
{
    return (struct vdb_memory_env *)env; /* env is its first member */
}

/* Things are no longer as the plan has them. */
static inline void vdb_memory_env_forget_plan_locked(struct vdb_memory_env *memory)
{
    vdb_memory_choice_unref(memory->plan);
    memory->plan = NULL;
}

/* The node's mapping is over; the copy stays until unmap. */
static inline void vdb_memory_env_cut_map_locked(struct vdb_memory_env *memory, struct vdb_memory_map *map)
{
    if (map->node != NULL) {
        map->node->map_count--;
        vdb_memory_node_unref(&memory->tree, map->node);
        map->node = NULL;
    }
}

extern const struct vdb_env_ops vdb_memory_env_ops; /* env_memory.c */

#endif
