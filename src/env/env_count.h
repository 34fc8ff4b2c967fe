/* env_count.h: counts what goes through an env, the same way for both. Private to this folder.
 *
 * Each function takes an operation's outcome and hands it on, so that an operation ends with
 * `return vdb_env_count_...(..., status)`. What failed counts as a failure only. Threads: atomic.
 */
#ifndef VDB_ENV_ENV_COUNT_H
#define VDB_ENV_ENV_COUNT_H

#include "base/timer.h"
#include "env.h"

static inline void vdb_env_count_add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

/* One operation that moved so many bytes. */
static inline vdb_status vdb_env_count_transfer(struct vdb_env *env, struct vdb_env_transfers *counted,
                                                uint64_t bytes, vdb_status status)
{
    if (status != VDB_OK) {
        vdb_env_count_add(&env->io.failures, 1);
        return status;
    }
    vdb_env_count_add(&counted->operations, 1);
    vdb_env_count_add(&counted->bytes, bytes);
    return VDB_OK;
}

/* What a handle has written and not synced since is counted in the handle. */
static inline vdb_status vdb_env_count_write(struct vdb_env *env, _Atomic uint64_t *unsynced_bytes,
                                             uint64_t bytes, vdb_status status)
{
    if (status == VDB_OK) {
        vdb_env_count_add(unsynced_bytes, bytes);
    }
    return vdb_env_count_transfer(env, &env->io.writes, bytes, status);
}

/* A sync that is under way. */
struct vdb_env_count_sync {
    uint64_t started_ns;
    uint64_t bytes;
};

/* unsynced_bytes: NULL for a directory. Those written while the sync runs belong to the next one. */
static inline struct vdb_env_count_sync vdb_env_count_begin_sync(_Atomic uint64_t *unsynced_bytes)
{
    return (struct vdb_env_count_sync){
        .started_ns = vdb_now_ns(),
        .bytes = unsynced_bytes != NULL ? atomic_exchange_explicit(unsynced_bytes, 0, memory_order_relaxed) : 0,
    };
}

static inline vdb_status vdb_env_count_end_sync(struct vdb_env *env, struct vdb_histogram *counted,
                                                struct vdb_env_count_sync sync, vdb_status status)
{
    if (status != VDB_OK) {
        vdb_env_count_add(&env->io.failures, 1);
        return status;
    }
    vdb_histogram_add(counted, vdb_now_ns() - sync.started_ns);
    vdb_env_count_add(&env->io.synced_bytes, sync.bytes);
    return VDB_OK;
}

#endif
