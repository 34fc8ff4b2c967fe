/* maintain.c: checkpoints, compactions, snapshots and verification of a collection, and the thread that does the first
 * two by itself. The life lock's read side is held throughout, so that no directory is renamed under them. */
#include "maintain.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "collection_internal.h"
#include "database.h"

enum { CHECKPOINT_BYTES_DEFAULT = 64 << 20, COMPACT_BYTES_PER_SECOND_DEFAULT = 200 * 1000 * 1000 };

/* ---- On demand ---- */

vdb_status vdb_collection_enter(struct vdb_collection *collection, struct vdb_err *err)
{
    pthread_rwlock_rdlock(&collection->life);
    if (!collection->dropped && !collection->closed) {
        return VDB_OK;
    }
    vdb_status status = vdb_err_set(err, VDB_NOT_FOUND, "collection \"%s\" was %s",
                                    vdb_collection_schema(collection)->name,
                                    collection->dropped ? "dropped" : "closed with its database");
    pthread_rwlock_unlock(&collection->life);
    return status;
}

vdb_status vdb_collection_leave(struct vdb_collection *collection, vdb_status status)
{
    pthread_rwlock_unlock(&collection->life);
    return status;
}

vdb_status vdb_collection_checkpoint(struct vdb_collection *collection, struct vdb_err *err)
{
    VDB_TRY(vdb_collection_enter(collection, err));
    /* From 0 also after a failure: the next attempt comes after as much more. */
    atomic_store_explicit(&collection->unsaved_bytes, 0, memory_order_relaxed);
    vdb_status status = vdb_store_checkpoint(collection->store, err);
    vdb_graphs_segments_changed(collection);
    return vdb_collection_leave(collection, status);
}

/* A compaction's caller, and whom its result concerns. */
struct compaction {
    struct vdb_collection *collection;
    const struct vdb_compact_options *options;
};

static bool compact_goes_on(void *ctx, uint64_t rows_done, uint64_t rows_total)
{
    const struct compaction *compaction = ctx;
    const struct vdb_compact_options *options = compaction->options;
    return options->progress == NULL || options->progress(options->ctx, rows_done, rows_total);
}

static void note_merged(void *ctx, const struct vdb_view *before, const uint32_t *first, const uint32_t *rows,
                        struct vdb_segment *output)
{
    const struct compaction *compaction = ctx;
    const struct vdb_compact_options *options = compaction->options;
    vdb_graph_segment_merged(compaction->collection, before, first, rows, output);
    if (options->merged != NULL) {
        options->merged(options->ctx, before, first, rows, output);
    }
}

vdb_status vdb_collection_compact(struct vdb_collection *collection, const struct vdb_compact_options *options,
                                  struct vdb_compact_result *result, struct vdb_err *err)
{
    struct compaction compaction = {collection, options};
    struct vdb_compact_options own = *options;
    own.cancel = &collection->closing;
    own.progress = compact_goes_on;
    own.merged = note_merged;
    own.ctx = &compaction;
    *result = (struct vdb_compact_result){0};
    VDB_TRY(vdb_collection_enter(collection, err));
    vdb_status status = vdb_store_compact(collection->store, &own, result, err);
    if (result->merged > 0) {
        vdb_graphs_segments_changed(collection);
    }
    return vdb_collection_leave(collection, status);
}

vdb_status vdb_collection_snapshot_create(struct vdb_collection *collection, const char *name,
                                          struct vdb_snapshot_info *info, struct vdb_err *err)
{
    VDB_TRY(vdb_collection_enter(collection, err));
    vdb_status status = vdb_collection_leave(collection,
                                             vdb_store_snapshot_create(collection->store, name, info, err));
    vdb_snapshots_forget(&collection->snapshots, name); /* one before it, whose deletion is not quite over */
    return status;
}

vdb_status vdb_collection_snapshot_list(struct vdb_collection *collection, struct vdb_snapshot_info **out,
                                        size_t *count, struct vdb_err *err)
{
    VDB_TRY(vdb_collection_enter(collection, err));
    return vdb_collection_leave(collection, vdb_store_snapshot_list(collection->store, out, count, err));
}

vdb_status vdb_collection_snapshot_delete(struct vdb_collection *collection, const char *name,
                                          struct vdb_err *err)
{
    VDB_TRY(vdb_collection_enter(collection, err));
    vdb_status status = vdb_collection_leave(collection, vdb_store_snapshot_delete(collection->store, name, err));
    vdb_snapshots_forget(&collection->snapshots, name); /* also after a failure: its name may be gone */
    return status;
}

vdb_status vdb_collection_snapshot_read(struct vdb_collection *collection, const char *name,
                                        struct vdb_store **out, struct vdb_err *err)
{
    VDB_TRY(vdb_collection_enter(collection, err));
    return vdb_collection_leave(collection, vdb_store_snapshot_read(collection->store, name, out, err));
}

vdb_status vdb_collection_promote(struct vdb_collection *collection, struct vdb_err *err)
{
    VDB_TRY(vdb_collection_enter(collection, err));
    return vdb_collection_leave(collection, vdb_store_promote(collection->store, err));
}

vdb_status vdb_collection_verify(struct vdb_collection *collection, struct vdb_verify_result *result,
                                 struct vdb_err *err)
{
    *result = (struct vdb_verify_result){0};
    VDB_TRY(vdb_collection_enter(collection, err));
    vdb_status status = vdb_collection_leave(collection, vdb_store_verify(collection->store, result, err));
    return status == VDB_OK ? vdb_graphs_check(collection, err) : status;
}

/* ---- By itself ---- */

void vdb_collection_note_unsaved(struct vdb_collection *collection, uint64_t bytes)
{
    uint64_t unsaved = atomic_fetch_add_explicit(&collection->unsaved_bytes, bytes, memory_order_relaxed) + bytes;
    if (collection->maintainer != NULL) {
        vdb_maintainer_note(collection->maintainer, unsaved);
        if (vdb_store_wants_memory(collection->store)) {
            vdb_maintainer_note_memory(collection->maintainer, collection);
        }
    }
}

void vdb_maintainer_init(struct vdb_maintainer *maintainer)
{
    *maintainer = (struct vdb_maintainer){.options.checkpoint_bytes = CHECKPOINT_BYTES_DEFAULT};
    pthread_mutex_init(&maintainer->mutex, NULL);
    pthread_cond_init(&maintainer->changed, NULL);
    pthread_cond_init(&maintainer->memory_wanted, NULL);
    vdb_indexer_init(&maintainer->indexer);
}

void vdb_maintainer_fini(struct vdb_maintainer *maintainer)
{
    vdb_indexer_fini(&maintainer->indexer);
    pthread_cond_destroy(&maintainer->memory_wanted);
    pthread_cond_destroy(&maintainer->changed);
    pthread_mutex_destroy(&maintainer->mutex);
}

static void wake(struct vdb_maintainer *maintainer)
{
    pthread_mutex_lock(&maintainer->mutex);
    maintainer->due = true;
    pthread_cond_signal(&maintainer->changed);
    pthread_mutex_unlock(&maintainer->mutex);
}

void vdb_maintainer_note(struct vdb_maintainer *maintainer, uint64_t unsaved_bytes)
{
    if (unsaved_bytes >= maintainer->options.checkpoint_bytes) {
        wake(maintainer);
    }
}

static bool go_on(void *ctx, uint64_t rows_done, uint64_t rows_total)
{
    struct vdb_maintainer *maintainer = ctx;
    (void)rows_done;
    (void)rows_total;
    return !atomic_load_explicit(&maintainer->stop, memory_order_relaxed);
}

/* A checkpoint, then compactions while the tiers ask for them. */
static vdb_status maintain_collection(struct vdb_maintainer *maintainer, struct vdb_collection *collection,
                                      struct vdb_err *err)
{
    const struct vdb_compact_options options = {
        .bytes_per_second = maintainer->options.compact_bytes_per_second, .progress = go_on, .ctx = maintainer};
    if (atomic_load_explicit(&collection->unsaved_bytes, memory_order_relaxed) <
        maintainer->options.checkpoint_bytes) {
        return VDB_OK;
    }
    VDB_TRY(vdb_collection_checkpoint(collection, err));
    while (go_on(maintainer, 0, 0) && vdb_store_wants_compaction(collection->store)) {
        struct vdb_compact_result result;
        VDB_TRY(vdb_collection_compact(collection, &options, &result, err));
        if (result.merged == 0) {
            break;
        }
    }
    return VDB_OK;
}

static void maintain_all(struct vdb_maintainer *maintainer)
{
    struct vdb_collection **list;
    size_t count;
    struct vdb_err err = {0};
    if (vdb_database_list(maintainer->database, &list, &count, &err) != VDB_OK) {
        return; /* out of memory: the next write past the limit wakes us again */
    }
    for (size_t i = 0; i < count; i++) {
        vdb_status status = go_on(maintainer, 0, 0) ? maintain_collection(maintainer, list[i], &err) : VDB_OK;
        if (status != VDB_OK && status != VDB_CANCELLED && status != VDB_NOT_FOUND) {
            vdb_log(VDB_LOG_ERROR, "maintain", "collection \"%s\": %s", vdb_collection_schema(list[i])->name,
                    err.text);
        }
        vdb_collection_unref(list[i]);
    }
    free(list);
}

static void *run(void *arg)
{
    struct vdb_maintainer *maintainer = arg;
    pthread_mutex_lock(&maintainer->mutex);
    while (!atomic_load_explicit(&maintainer->stop, memory_order_relaxed)) {
        if (!maintainer->due) {
            pthread_cond_wait(&maintainer->changed, &maintainer->mutex);
            continue;
        }
        maintainer->due = false;
        pthread_mutex_unlock(&maintainer->mutex);
        maintain_all(maintainer);
        pthread_mutex_lock(&maintainer->mutex);
    }
    pthread_mutex_unlock(&maintainer->mutex);
    return NULL;
}

/* ---- Memory ahead of writers ---- */

void vdb_maintainer_note_memory(struct vdb_maintainer *maintainer, struct vdb_collection *collection)
{
    pthread_mutex_lock(&maintainer->mutex);
    if (maintainer->memory_taken && maintainer->memory_for == NULL) {
        vdb_collection_ref(collection);
        maintainer->memory_for = collection;
        pthread_cond_signal(&maintainer->memory_wanted);
    }
    pthread_mutex_unlock(&maintainer->mutex);
}

static void *run_memory(void *arg)
{
    struct vdb_maintainer *maintainer = arg;
    pthread_mutex_lock(&maintainer->mutex);
    maintainer->memory_taken = true;
    for (;;) {
        struct vdb_collection *collection = maintainer->memory_for;
        if (collection == NULL && atomic_load_explicit(&maintainer->stop, memory_order_relaxed)) {
            break;
        }
        if (collection == NULL) {
            pthread_cond_wait(&maintainer->memory_wanted, &maintainer->mutex);
            continue;
        }
        pthread_mutex_unlock(&maintainer->mutex);
        vdb_store_make_memory(collection->store);
        vdb_collection_unref(collection);
        pthread_mutex_lock(&maintainer->mutex);
        maintainer->memory_for = NULL;
    }
    maintainer->memory_taken = false;
    pthread_mutex_unlock(&maintainer->mutex);
    return NULL;
}

vdb_status vdb_maintainer_start(struct vdb_maintainer *maintainer, struct vdb_database *database,
                                const struct vdb_maintain_options *options, struct vdb_err *err)
{
    maintainer->database = database;
    maintainer->options.checkpoint_bytes = options != NULL && options->checkpoint_bytes > 0
                                               ? options->checkpoint_bytes
                                               : CHECKPOINT_BYTES_DEFAULT;
    maintainer->options.compact_bytes_per_second = options != NULL && options->compact_bytes_per_second > 0
                                                       ? options->compact_bytes_per_second
                                                       : COMPACT_BYTES_PER_SECOND_DEFAULT;
    maintainer->due = true; /* what was found at open may be much already */
    if (pthread_create(&maintainer->thread, NULL, run, maintainer) != 0) {
        return vdb_err_no_memory(err, "the maintenance thread");
    }
    maintainer->running = true;
    /* Without it writers make their own memory. */
    maintainer->memory_started = pthread_create(&maintainer->memory_thread, NULL, run_memory, maintainer) == 0;
    vdb_indexer_start(&maintainer->indexer, database);
    return VDB_OK;
}

void vdb_maintainer_stop(struct vdb_maintainer *maintainer)
{
    if (maintainer->running) {
        atomic_store_explicit(&maintainer->stop, true, memory_order_relaxed);
        vdb_indexer_stop(&maintainer->indexer);
        wake(maintainer);
        pthread_join(maintainer->thread, NULL);
        maintainer->running = false;
        if (maintainer->memory_started) {
            pthread_mutex_lock(&maintainer->mutex);
            pthread_cond_signal(&maintainer->memory_wanted);
            pthread_mutex_unlock(&maintainer->mutex);
            pthread_join(maintainer->memory_thread, NULL);
            maintainer->memory_started = false;
        }
    }
}
