/* pool.c: threads that sleep on a condition until a loop is handed to them.
 *
 * P1 A loop is a generation: the caller publishes it under the mutex and raises `generation`; each thread runs
 * every generation exactly once and reports in `running`. P2 vdb_pool_run returns only at running == 0, so no
 * thread touches a loop's data after it. P3 Indices are taken from an atomic counter; the mutex, not the counter,
 * is what orders the loop's memory between threads.
 */
#include "pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "mem.h"

struct worker {
    struct vdb_pool *pool;
    pthread_t thread;
    unsigned number;
};

struct vdb_pool {
    pthread_mutex_t mutex;
    pthread_cond_t start; /* a new generation, or stop */
    pthread_cond_t done;  /* running is 0 */
    uint64_t generation;
    unsigned running; /* threads that have not finished this generation */
    bool stop;
    unsigned started; /* threads besides the caller's */
    struct worker *workers;
    vdb_pool_work_fn *work;
    void *ctx;
    size_t count;
    atomic_size_t next;
};

unsigned vdb_pool_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1; /* more than CPU_SETSIZE processors, or none of our business */
    }
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : (unsigned)count;
}

static void take_indices(struct vdb_pool *pool, unsigned number)
{
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed); /* P3 */
        if (index >= pool->count) {
            return;
        }
        pool->work(pool->ctx, number, index);
    }
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct vdb_pool *pool = worker->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->stop && pool->generation == seen) {
            pthread_cond_wait(&pool->start, &pool->mutex);
        }
        if (pool->stop) {
            break;
        }
        seen = pool->generation; /* P1 */
        pthread_mutex_unlock(&pool->mutex);
        take_indices(pool, worker->number);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->running == 0) {
            pthread_cond_signal(&pool->done);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

vdb_status vdb_pool_create(unsigned threads, struct vdb_pool **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_pool *pool = NULL;
    *out = NULL;
    if (threads > VDB_POOL_THREADS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "threads: %u is over the limit of %d", threads, VDB_POOL_THREADS_MAX);
    }
    if (threads == 0) {
        threads = vdb_pool_cores();
        threads = threads < VDB_POOL_THREADS_MAX ? threads : VDB_POOL_THREADS_MAX;
    }
    pool = vdb_calloc(1, sizeof *pool);
    if (pool == NULL) {
        return vdb_err_no_memory(err, "a thread pool");
    }
    pthread_mutex_init(&pool->mutex, NULL); /* on Linux these three cannot fail */
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->done, NULL);
    atomic_init(&pool->next, 0);
    pool->workers = vdb_calloc(threads, sizeof *pool->workers);
    if (pool->workers == NULL) {
        status = vdb_err_no_memory(err, "a thread pool");
        goto cleanup;
    }
    for (unsigned i = 1; i < threads; i++) {
        struct worker *worker = &pool->workers[i];
        worker->pool = pool;
        worker->number = i;
        if (pthread_create(&worker->thread, NULL, run_worker, worker) != 0) {
            status = vdb_err_set(err, VDB_NO_MEMORY, "threads: the system gives %u of %u", i, threads);
            goto cleanup;
        }
        pool->started++;
    }
    *out = pool;
    pool = NULL;
cleanup:
    vdb_pool_destroy(pool);
    return status;
}

void vdb_pool_destroy(struct vdb_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 1; i <= pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->start);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

unsigned vdb_pool_threads(const struct vdb_pool *pool)
{
    return pool->started + 1;
}

void vdb_pool_run(struct vdb_pool *pool, size_t count, vdb_pool_work_fn *work, void *ctx)
{
    if (pool->started == 0 || count <= 1) {
        for (size_t i = 0; i < count; i++) {
            work(ctx, 0, i);
        }
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    assert(pool->running == 0);
    pool->work = work;
    pool->ctx = ctx;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->running = pool->started;
    pool->generation++;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->mutex);
    take_indices(pool, 0);
    pthread_mutex_lock(&pool->mutex);
    while (pool->running > 0) { /* P2 */
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
}
