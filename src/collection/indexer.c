/* indexer.c: the builder and the keeper. */
#include "indexer.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pool.h"
#include "collection_internal.h"
#include "database.h"
#include "graphs.h"
#include "shadow.h"

enum { NICENESS = 10, AGAIN_NS = 50 * 1000000 };

void vdb_indexer_init(struct vdb_indexer *indexer)
{
    pthread_condattr_t attributes;
    *indexer = (struct vdb_indexer){0};
    pthread_mutex_init(&indexer->mutex, NULL);
    pthread_cond_init(&indexer->build, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&indexer->keep, &attributes);
    pthread_condattr_destroy(&attributes);
}

void vdb_indexer_fini(struct vdb_indexer *indexer)
{
    pthread_cond_destroy(&indexer->keep);
    pthread_cond_destroy(&indexer->build);
    pthread_mutex_destroy(&indexer->mutex);
}

static bool is_stopped(struct vdb_indexer *indexer)
{
    return atomic_load_explicit(&indexer->stop, memory_order_relaxed);
}

static void lower_priority(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS); /* a wish */
}

static void log_failure(struct vdb_collection *collection, vdb_status status, const struct vdb_err *err)
{
    if (status != VDB_OK && status != VDB_CANCELLED && status != VDB_NOT_FOUND) {
        vdb_log(VDB_LOG_ERROR, "indexer", "collection \"%s\": %s", vdb_collection_schema(collection)->name,
                err->text);
    }
}

/* Calls `work` for each collection. */
static void for_all(struct vdb_indexer *indexer,
                    void (*work)(struct vdb_indexer *indexer, struct vdb_collection *collection, bool *again),
                    bool *again)
{
    struct vdb_collection **list;
    size_t count;
    if (vdb_database_list(indexer->database, &list, &count, NULL) != VDB_OK) {
        *again = true; /* out of memory */
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_stopped(indexer)) {
            work(indexer, list[i], again);
        }
        vdb_collection_unref(list[i]);
    }
    free(list);
}

/* ---- The builder ---- */

static bool build_on(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return !is_stopped(ctx);
}

static void build_one(struct vdb_indexer *indexer, struct vdb_collection *collection)
{
    struct vdb_err err = {0};
    if (!atomic_exchange_explicit(&collection->graphs.segments_due, false, memory_order_acq_rel)) {
        return;
    }
    /* Half of the processors, as the work is for later and the users' is for now. */
    const struct vdb_index_build_options options = {
        .threads = (vdb_pool_cores() + 1) / 2, .progress = build_on, .ctx = indexer};
    log_failure(collection, vdb_graphs_run(collection, &options, &err), &err);
}

/* With those of its snapshots that are open. */
static void build_collection(struct vdb_indexer *indexer, struct vdb_collection *collection, bool *again)
{
    struct vdb_collection *snapshots[VDB_SNAPSHOTS_OPEN_MAX];
    (void)again;
    build_one(indexer, collection);
    const size_t count = vdb_snapshots_get_open(&collection->snapshots, snapshots);
    for (size_t i = 0; i < count; i++) {
        build_one(indexer, snapshots[i]);
        vdb_collection_unref(snapshots[i]);
    }
}

static void *run_builder(void *arg)
{
    struct vdb_indexer *indexer = arg;
    bool again = false;
    lower_priority();
    pthread_mutex_lock(&indexer->mutex);
    while (!is_stopped(indexer)) {
        if (!indexer->segments_due) {
            pthread_cond_wait(&indexer->build, &indexer->mutex);
            continue;
        }
        indexer->segments_due = false;
        pthread_mutex_unlock(&indexer->mutex);
        for_all(indexer, build_collection, &again);
        pthread_mutex_lock(&indexer->mutex);
    }
    pthread_mutex_unlock(&indexer->mutex);
    return NULL;
}

/* ---- The keeper ---- */

static bool keep_on(void *ctx)
{
    return !is_stopped(ctx);
}

static void keep_collection(struct vdb_indexer *indexer, struct vdb_collection *collection, bool *again)
{
    struct vdb_err err = {0};
    bool more;
    vdb_status status = vdb_graph_memory_catch_up(collection, true, keep_on, indexer, &more, &err);
    log_failure(collection, status, &err);
    *again = *again || more;
}

static void wait_again(struct vdb_indexer *indexer)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += AGAIN_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&indexer->keep, &indexer->mutex, &until);
}

static void *run_keeper(void *arg)
{
    struct vdb_indexer *indexer = arg;
    bool again = false;
    lower_priority();
    pthread_mutex_lock(&indexer->mutex);
    while (!is_stopped(indexer)) {
        struct vdb_shadow_query *shadow = indexer->shadow;
        if (shadow == NULL && again) {
            wait_again(indexer); /* whoever wakes it, it looks */
            again = false;
            atomic_store_explicit(&indexer->memory_due, true, memory_order_relaxed);
            continue;
        }
        if (shadow == NULL && !atomic_load_explicit(&indexer->memory_due, memory_order_relaxed)) {
            pthread_cond_wait(&indexer->keep, &indexer->mutex);
            continue;
        }
        indexer->shadow = NULL;
        pthread_mutex_unlock(&indexer->mutex);
        if (shadow != NULL) {
            vdb_shadow_query_run(shadow);
        }
        if (atomic_exchange_explicit(&indexer->memory_due, false, memory_order_acq_rel)) {
            for_all(indexer, keep_collection, &again);
        }
        pthread_mutex_lock(&indexer->mutex);
    }
    pthread_mutex_unlock(&indexer->mutex);
    return NULL;
}

/* ---- From outside ---- */

void vdb_indexer_start(struct vdb_indexer *indexer, struct vdb_database *database)
{
    indexer->database = database;
    pthread_mutex_lock(&indexer->mutex); /* others may note already */
    indexer->segments_due = true;        /* of what was found at open */
    pthread_mutex_unlock(&indexer->mutex);
    atomic_store_explicit(&indexer->memory_due, true, memory_order_relaxed);
    indexer->builder_started = pthread_create(&indexer->builder, NULL, run_builder, indexer) == 0;
    indexer->keeper_started = pthread_create(&indexer->keeper, NULL, run_keeper, indexer) == 0;
    atomic_store_explicit(&indexer->running, indexer->keeper_started, memory_order_release);
    if (!indexer->builder_started || !indexer->keeper_started) {
        vdb_log(VDB_LOG_ERROR, "indexer", "no thread to make graphs with: searches scan");
    }
}

void vdb_indexer_stop(struct vdb_indexer *indexer)
{
    pthread_mutex_lock(&indexer->mutex);
    atomic_store_explicit(&indexer->running, false, memory_order_release);
    atomic_store_explicit(&indexer->stop, true, memory_order_relaxed);
    pthread_cond_broadcast(&indexer->build);
    pthread_cond_broadcast(&indexer->keep);
    struct vdb_shadow_query *shadow = indexer->shadow;
    indexer->shadow = NULL;
    pthread_mutex_unlock(&indexer->mutex);
    vdb_shadow_query_destroy(shadow);
    if (indexer->builder_started) {
        pthread_join(indexer->builder, NULL);
        indexer->builder_started = false;
    }
    if (indexer->keeper_started) {
        pthread_join(indexer->keeper, NULL);
        indexer->keeper_started = false;
    }
}

void vdb_indexer_note_segments(struct vdb_indexer *indexer)
{
    if (indexer != NULL) {
        pthread_mutex_lock(&indexer->mutex);
        indexer->segments_due = true;
        pthread_cond_signal(&indexer->build);
        pthread_mutex_unlock(&indexer->mutex);
    }
}

void vdb_indexer_note_memory(struct vdb_indexer *indexer)
{
    if (indexer != NULL && !atomic_exchange_explicit(&indexer->memory_due, true, memory_order_acq_rel)) {
        pthread_mutex_lock(&indexer->mutex);
        pthread_cond_signal(&indexer->keep);
        pthread_mutex_unlock(&indexer->mutex);
    }
}

bool vdb_indexer_note_shadow(struct vdb_indexer *indexer, struct vdb_shadow_query *query)
{
    if (indexer == NULL) {
        return false;
    }
    pthread_mutex_lock(&indexer->mutex);
    bool taken = indexer->shadow == NULL && atomic_load_explicit(&indexer->running, memory_order_relaxed);
    if (taken) {
        indexer->shadow = query;
        pthread_cond_signal(&indexer->keep);
    }
    pthread_mutex_unlock(&indexer->mutex);
    return taken;
}
