/* graph_memory.c: the HNSW beside a memtable.
 *
 * It begins when the memtable holds as many rows as are worth one. Slots are given out in order (`next`): a writer of few
 * rows takes what there is after its batch was acknowledged, all else is left to the background. Slots may be finished out
 * of order; the watermark follows over those that are, and a search scans from there on (A1). A slot whose insertion failed
 * holds the watermark up, nothing else, until the background has tried again.
 *
 * Every version stays in the graph, ended or not: a view of before may see it, and searches refuse the rest (`allow`).
 *
 * Lifetime. The graph keeps no pointer to rows: each call brings those of a view that its caller holds, whose arrays of
 * chunks stay readable while the memtable lives, outgrown ones too (memtable.c), and which covers all slots below its
 * slot_count. A graph beside rows that have grown since passes over nodes from that count on (hnsw.h).
 *
 * Threads: any number of writers, one at a time in the background, searches beside all.
 */
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/timer.h"
#include "collection_internal.h"
#include "graphs.h"
#include "indexer.h"

enum {
    INLINE_ROWS_MAX = 16,   /* of a batch that its writer inserts itself */
    INLINE_GAP_MAX = 32,    /* that it takes on, others' rows included */
    SLICE_ROWS = 32,        /* that the background takes at once */
    OTHERS_NS = 1000000,    /* between looks at what others have taken */
    LOOK_NS = 50 * 1000000, /* between looks at how the memtable grows */
    /* Rows of a look that are too many to keep up with. Who loads so fast fills the memtable and has a segment soon, whose
     * graph is built at once; inserts would be for nothing and take the loader's time. */
    FAST_ROWS = 400,
    CALIBRATE_ROWS = 8192,
    MEASURE_ROWS = 8192, /* between two measures of memory, which hold inserts up */
};

static void destroy_graph(struct vdb_companion *companion)
{
    struct vdb_graph *graph = (struct vdb_graph *)(void *)companion;
    struct vdb_graph_measure *measure = atomic_load_explicit(&graph->measure, memory_order_acquire);
    while (measure != NULL) {
        struct vdb_graph_measure *older = measure->older;
        free(measure);
        measure = older;
    }
    graph->ops->destroy(graph->index);
    free(graph);
}

struct vdb_graph *vdb_graph_create(const struct vdb_index_ops *ops)
{
    struct vdb_graph *graph = vdb_calloc(1, sizeof *graph);
    if (graph != NULL) {
        atomic_init(&graph->companion.refs, 1);
        graph->companion.destroy = destroy_graph;
        graph->ops = ops;
    }
    return graph;
}

/* ---- Inserts ---- */

static void advance(struct vdb_graph *graph)
{
    /* Of two who finish at the same time the second one here sees the first one's slots. */
    atomic_fetch_add_explicit(&graph->finished, 1, memory_order_acq_rel);
    uint32_t from = atomic_load_explicit(&graph->watermark, memory_order_acquire);
    const uint32_t next = atomic_load_explicit(&graph->next, memory_order_acquire);
    uint32_t to = from;
    while (to < next && vdb_hnsw_has(graph->index, to)) {
        to++;
    }
    while (to > from && !atomic_compare_exchange_weak_explicit(&graph->watermark, &from, to, memory_order_acq_rel,
                                                               memory_order_acquire)) {
    }
}

static vdb_status insert_range(struct vdb_graph *graph, const struct vdb_rows *rows, uint32_t from, uint32_t to,
                               struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    for (uint32_t slot = from; slot < to && status == VDB_OK; slot++) {
        status = vdb_hnsw_has(graph->index, slot) ? VDB_OK : vdb_hnsw_insert(graph->index, rows, slot, err);
        status = status == VDB_EXISTS ? VDB_OK : status; /* somebody is at it */
    }
    advance(graph);
    return status;
}

/* Takes the next slots of the view, at most `most`: from *from on, how many it returns. */
static uint32_t take(struct vdb_graph *graph, uint32_t slot_count, uint32_t most, uint32_t *from)
{
    uint32_t next = atomic_load_explicit(&graph->next, memory_order_relaxed);
    uint32_t count;
    do {
        if (next >= slot_count) {
            return 0;
        }
        count = slot_count - next < most ? slot_count - next : most;
    } while (!atomic_compare_exchange_weak_explicit(&graph->next, &next, next + count, memory_order_acq_rel,
                                                    memory_order_relaxed));
    *from = next;
    return count;
}

/* The graph of the memtable that takes the writes, made if it is worth one; NULL: not yet, or memory is short. */
static struct vdb_graph *graph_of_memtable(struct vdb_collection *collection, const struct vdb_view *view)
{
    struct vdb_graphs *graphs = &collection->graphs;
    struct vdb_graph *graph = vdb_graph_of(view, 0);
    if (graph != NULL ||
        view->memtables[0].slot_count < atomic_load_explicit(&graphs->scan_below, memory_order_relaxed)) {
        return graph;
    }
    struct vdb_index_config config;
    struct vdb_rows rows;
    struct vdb_err err = {0};
    vdb_graphs_get_config(graphs, &config);
    const struct vdb_hnsw_params params = vdb_index_config_memory(&config);
    graph = vdb_graph_create(&vdb_index_hnsw);
    if (graph == NULL ||
        vdb_graph_source_rows(view, 0, vdb_collection_schema(collection), NULL, &rows, &err) != VDB_OK ||
        vdb_hnsw_create(&params, &rows, 0, (struct vdb_hnsw **)&graph->index, &err) != VDB_OK) {
        if (graph != NULL) {
            vdb_companion_unref(&graph->companion);
        }
        vdb_log(VDB_LOG_WARN, "graphs", "collection \"%s\": no graph beside the memtable: %s",
                vdb_collection_schema(collection)->name, err.text);
        return NULL;
    }
    if (!vdb_memtable_set_companion(view->version->memtables[0], &graph->companion)) {
        vdb_companion_unref(&graph->companion); /* another thread was quicker */
    }
    return vdb_graph_of(view, 0);
}

void vdb_graph_memory_written(struct vdb_collection *collection, uint64_t rows)
{
    struct vdb_graphs *graphs = &collection->graphs;
    struct vdb_view view;
    struct vdb_rows all;
    struct vdb_err err = {0};
    uint32_t from = 0;
    if (rows == 0 || atomic_load_explicit(&graphs->flat, memory_order_relaxed)) {
        return;
    }
    vdb_store_pin(collection->store, &view);
    struct vdb_graph *graph = graph_of_memtable(collection, &view);
    const uint32_t slot_count = view.memtables[0].slot_count;
    if (graph != NULL && atomic_load_explicit(&graph->next, memory_order_relaxed) < slot_count) {
        const uint32_t gap = slot_count - atomic_load_explicit(&graph->next, memory_order_relaxed);
        uint32_t count = rows <= INLINE_ROWS_MAX && gap <= INLINE_GAP_MAX
                             ? take(graph, slot_count, INLINE_GAP_MAX, &from)
                             : 0;
        if (count == 0 ||
            vdb_graph_source_rows(&view, 0, vdb_collection_schema(collection), NULL, &all, &err) != VDB_OK ||
            insert_range(graph, &all, from, from + count, &err) != VDB_OK) {
            vdb_indexer_note_memory(vdb_collection_indexer(collection));
        }
    }
    vdb_view_release(&view);
}

/* ---- The background ---- */

/* One look at the view's memtable: inserts for some time, or until all that the view has is in. */
static vdb_status catch_up_once(struct vdb_collection *collection, const struct vdb_view *view,
                                bool (*go_on)(void *ctx), void *ctx, bool *done, struct vdb_err *err)
{
    struct vdb_rows rows;
    const uint64_t started = vdb_now_ns();
    *done = true;
    const uint32_t slot_count = view->memtables[0].slot_count;
    struct vdb_graph *graph = graph_of_memtable(collection, view);
    if (graph != NULL) {
        VDB_TRY(vdb_graph_source_rows(view, 0, vdb_collection_schema(collection), NULL, &rows, err));
        /* What others failed to insert, or are at. */
        const uint32_t taken = atomic_load_explicit(&graph->next, memory_order_acquire);
        const uint32_t watermark = atomic_load_explicit(&graph->watermark, memory_order_acquire);
        VDB_TRY(insert_range(graph, &rows, watermark, taken < slot_count ? taken : slot_count, err));
        uint32_t from = 0;
        uint32_t count = 1;
        while (count > 0 && go_on(ctx) && vdb_now_ns() - started < LOOK_NS) {
            count = take(graph, slot_count, SLICE_ROWS, &from);
            VDB_TRY(insert_range(graph, &rows, from, from + count, err));
        }
        *done = count == 0 && atomic_load_explicit(&graph->watermark, memory_order_acquire) >= slot_count;
        if (count == 0 && !*done) { /* the rest is with writers, or whoever else is at this */
            (void)nanosleep(&(struct timespec){.tv_nsec = OTHERS_NS}, NULL);
        }
    }
    return VDB_OK;
}

/* Whether the memtable has grown since the last look by more than inserts keep up with. The first look after a while sees
 * too much; then the next one is soon. */
static bool grows_fast(struct vdb_collection *collection)
{
    struct vdb_view view;
    vdb_store_pin(collection->store, &view);
    const uint32_t now = view.memtables[0].slot_count;
    vdb_view_release(&view);
    const uint32_t before = atomic_exchange_explicit(&collection->graphs.memory_seen, now, memory_order_relaxed);
    return now > before && now - before > FAST_ROWS;
}

struct calibration {
    bool (*go_on)(void *ctx);
    void *ctx;
};

static bool calibration_goes_on(void *ctx, uint64_t done, uint64_t total)
{
    const struct calibration *calibration = ctx;
    (void)done;
    (void)total;
    return calibration->go_on(calibration->ctx);
}

/* Measures which width a recall takes, whenever the graph has doubled since. */
static vdb_status calibrate(struct vdb_collection *collection, bool (*go_on)(void *ctx), void *ctx,
                            struct vdb_err *err)
{
    struct calibration calibration = {go_on, ctx};
    struct vdb_graph_measure *measure = NULL;
    struct vdb_view view;
    struct vdb_rows rows;
    vdb_status status = VDB_OK;
    vdb_store_pin(collection->store, &view);
    struct vdb_graph *graph = vdb_graph_of(&view, 0);
    const uint32_t watermark = graph != NULL ? atomic_load_explicit(&graph->watermark, memory_order_acquire) : 0;
    if (watermark < CALIBRATE_ROWS || watermark / 2 < graph->measured_rows) {
        goto cleanup;
    }
    VDB_CHECK(vdb_graph_source_rows(&view, 0, vdb_collection_schema(collection), NULL, &rows, err));
    rows.count = watermark < rows.count ? watermark : rows.count;
    measure = vdb_calloc(1, sizeof *measure);
    if (measure == NULL) {
        status = vdb_err_no_memory(err, "a calibration");
        goto cleanup;
    }
    VDB_CHECK(vdb_recall_calibrate(graph->ops, graph->index, &rows, NULL, 0, 1, calibration_goes_on, &calibration,
                                   &measure->table, err));
    measure->older = atomic_load_explicit(&graph->measure, memory_order_relaxed);
    atomic_store_explicit(&graph->measure, measure, memory_order_release);
    graph->measured_rows = watermark;
    measure = NULL;

cleanup:
    free(measure);
    vdb_view_release(&view);
    return status;
}

vdb_status vdb_graph_memory_catch_up(struct vdb_collection *collection, bool patient, bool (*go_on)(void *ctx),
                                     void *ctx, bool *again, struct vdb_err *err)
{
    struct vdb_view view;
    bool done = false;
    vdb_status status = VDB_OK;
    *again = false;
    vdb_store_pin(collection->store, &view);
    while (!done && status == VDB_OK && !atomic_load_explicit(&collection->graphs.flat, memory_order_relaxed)) {
        if (!go_on(ctx)) {
            status = vdb_err_set(err, VDB_CANCELLED, "cancelled at the rows in memory");
        } else if (patient && grows_fast(collection)) {
            *again = true;
            break;
        } else {
            status = catch_up_once(collection, &view, go_on, ctx, &done, err);
            if (patient) {
                vdb_view_release(&view);
                vdb_store_pin(collection->store, &view);
            }
        }
    }
    vdb_view_release(&view);
    VDB_TRY(status);
    /* One at a time: the background, or a user's build. */
    if (done && pthread_mutex_trylock(&collection->graphs.measuring) == 0) {
        status = calibrate(collection, go_on, ctx, err);
        pthread_mutex_unlock(&collection->graphs.measuring);
        return status;
    }
    return VDB_OK;
}

uint64_t vdb_graph_memory_bytes(struct vdb_graph *graph)
{
    const uint32_t watermark = atomic_load_explicit(&graph->watermark, memory_order_relaxed);
    const uint32_t measured_at = atomic_load_explicit(&graph->measured_at, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&graph->measured, memory_order_relaxed);
    if (bytes == 0 || watermark >= measured_at + MEASURE_ROWS) {
        struct vdb_index_stats stats = {0};
        graph->ops->stats(graph->index, &stats);
        bytes = stats.memory_bytes;
        atomic_store_explicit(&graph->measured, bytes, memory_order_relaxed);
        atomic_store_explicit(&graph->measured_at, watermark, memory_order_relaxed);
    }
    return bytes;
}
