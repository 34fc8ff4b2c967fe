/* pool.h: a fixed set of threads that share out the indices of a loop.
 *
 * vdb_pool_run(pool, count, work, ctx) calls work(ctx, worker, index) once for every index in [0, count) and
 * returns when all calls have. Which thread takes which index is decided by a shared counter, so uneven work
 * evens out; `worker` in [0, vdb_pool_threads) says whose scratch memory a call may use. The caller's thread is
 * worker 0 and works along, so a pool of one thread starts none.
 *
 * Threads: one vdb_pool_run at a time per pool (confined); `work` runs on all of the pool's threads at once.
 */
#ifndef VDB_BASE_POOL_H
#define VDB_BASE_POOL_H

#include <stddef.h>

#include "err.h"

enum { VDB_POOL_THREADS_MAX = 1024 };

struct vdb_pool;

typedef void vdb_pool_work_fn(void *ctx, unsigned worker, size_t index);

/* The processors this process may run on, at least 1. */
unsigned vdb_pool_cores(void);

/* threads: 0 for one per core; over VDB_POOL_THREADS_MAX is VDB_LIMIT. VDB_NO_MEMORY when a thread cannot be had.
 */
vdb_status vdb_pool_create(unsigned threads, struct vdb_pool **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_pool_destroy(struct vdb_pool *pool); /* NULL is allowed */

unsigned vdb_pool_threads(const struct vdb_pool *pool);

/* What `work` wrote is visible to the caller afterwards. */
void vdb_pool_run(struct vdb_pool *pool, size_t count, vdb_pool_work_fn *work, void *ctx);

#endif
