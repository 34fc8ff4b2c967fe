/* graph_segment.c: the graph of one segment: from its file, or built and saved.
 *
 * A file is bound to its rows by a stamp made of the segment's own (length and checksum of its vectors): an index file of
 * another segment, or of other rows under the same number, is refused and built anew.
 *
 * Lineage. When segments were merged, each row of the output that came from a segment with a graph has its old number
 * kept here, with a reference to that graph, until the output's own is built, the settings change, or too much memory is
 * held so. A build may take neighbours from there.
 *
 * Threads: any; a pass (graphs.c) builds one segment after the other.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/timer.h"
#include "collection_internal.h"
#include "graphs.h"

enum {
    CALIBRATION_SEED = 5,
    PART_BYTES = 1 << 20,          /* of a saved graph, between looks at whether it is still wanted */
    LINEAGE_BYTES_MAX = 512 << 20, /* of row maps */
};

vdb_status vdb_graph_segment_rows(struct vdb_segment *segment, const struct vdb_schema *schema,
                                  const void **chunk, struct vdb_rows *rows, struct vdb_err *err)
{
    VDB_TRY(vdb_segment_vectors(segment, chunk, err));
    *rows = (struct vdb_rows){
        .chunks = chunk,
        .chunk_shift = 40, /* one chunk */
        .stride_bytes = vdb_segment_stride(segment),
        .dimension = schema->dimension,
        .element = schema->element,
        .metric = schema->metric,
        .count = vdb_segment_rows(segment),
    };
    return VDB_OK;
}

vdb_status vdb_graph_source_rows(const struct vdb_view *view, uint32_t source, const struct vdb_schema *schema,
                                 const void **chunk, struct vdb_rows *rows, struct vdb_err *err)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    if (memtable == NULL) {
        return vdb_graph_segment_rows(vdb_view_segment(view, source), schema, chunk, rows, err);
    }
    *rows = (struct vdb_rows){
        .chunks = memtable->vector_chunks,
        .chunk_shift = memtable->chunk_shift,
        .stride_bytes = memtable->stride_bytes,
        .dimension = schema->dimension,
        .element = VDB_ELEMENT_F32,
        .metric = schema->metric,
        .count = memtable->slot_count,
    };
    return VDB_OK;
}

static uint64_t stamp_of(const struct vdb_segment *segment)
{
    const struct vdb_stamp *stamp = &vdb_segment_info(segment)->vectors;
    uint64_t mixed = (stamp->bytes << 32 ^ stamp->bytes >> 32 ^ stamp->crc) * UINT64_C(0x9E3779B97F4A7C15);
    return mixed ^ mixed >> 29 ^ vdb_segment_rows(segment);
}

/* ---- Lineage ---- */

/* Rows of the output that were rows of one input with a graph. */
struct ancestor {
    struct vdb_graph *graph;     /* one reference */
    struct vdb_segment *segment; /* likewise: its rows */
    uint32_t *row_of;            /* of the input's rows: the output's, UINT32_MAX: gone */
    uint32_t rows;
};

struct vdb_lineage {
    struct vdb_lineage *next;
    uint32_t number; /* of the output */
    uint32_t count;
    struct ancestor ancestors[];
};

static void lineage_destroy(struct vdb_lineage *lineage)
{
    for (uint32_t i = 0; lineage != NULL && i < lineage->count; i++) {
        vdb_companion_unref(&lineage->ancestors[i].graph->companion);
        vdb_segment_unref(lineage->ancestors[i].segment);
        free(lineage->ancestors[i].row_of);
    }
    free(lineage);
}

void vdb_graph_segment_forget(struct vdb_lineage *lineages)
{
    while (lineages != NULL) {
        struct vdb_lineage *next = lineages->next;
        lineage_destroy(lineages);
        lineages = next;
    }
}

/* Takes the lineage of a segment out of the list; NULL: it has none. */
static struct vdb_lineage *lineage_take(struct vdb_graphs *graphs, uint32_t number)
{
    pthread_mutex_lock(&graphs->lock);
    struct vdb_lineage **at = &graphs->lineages;
    while (*at != NULL && (*at)->number != number) {
        at = &(*at)->next;
    }
    struct vdb_lineage *found = *at;
    if (found != NULL) {
        *at = found->next;
        found->next = NULL;
    }
    pthread_mutex_unlock(&graphs->lock);
    return found;
}

static void lineage_put(struct vdb_graphs *graphs, struct vdb_lineage *lineage)
{
    if (lineage != NULL) {
        pthread_mutex_lock(&graphs->lock);
        lineage->next = graphs->lineages;
        graphs->lineages = lineage;
        pthread_mutex_unlock(&graphs->lock);
    }
}

static uint64_t lineage_bytes(const struct vdb_lineage *lineages)
{
    uint64_t bytes = 0;
    for (; lineages != NULL; lineages = lineages->next) {
        for (uint32_t i = 0; i < lineages->count; i++) {
            bytes += lineages->ancestors[i].rows * sizeof(uint32_t);
        }
    }
    return bytes;
}

/* Adds what became of one input. False when memory is short. */
static bool add_ancestor(struct vdb_lineage *lineage, struct vdb_graph *graph, struct vdb_segment *segment,
                         const uint32_t *rows, uint32_t from, uint32_t to)
{
    struct ancestor *ancestor = &lineage->ancestors[lineage->count];
    const uint32_t count = vdb_segment_rows(segment);
    ancestor->row_of = vdb_calloc(count, sizeof *ancestor->row_of);
    if (ancestor->row_of == NULL) {
        return false;
    }
    memset(ancestor->row_of, 0xFF, count * sizeof *ancestor->row_of);
    for (uint32_t i = from; i < to; i++) {
        ancestor->row_of[rows[i]] = i;
    }
    ancestor->rows = count;
    ancestor->graph = graph;
    ancestor->segment = segment;
    vdb_companion_ref(&graph->companion);
    vdb_segment_ref(segment);
    lineage->count++;
    return true;
}

void vdb_graph_segment_merged(struct vdb_collection *collection, const struct vdb_view *before,
                              const uint32_t *first, const uint32_t *rows, struct vdb_segment *output)
{
    struct vdb_graphs *graphs = &collection->graphs;
    const struct vdb_version *version = before->version;
    if (atomic_load_explicit(&graphs->flat, memory_order_relaxed)) {
        return;
    }
    struct vdb_lineage *lineage = vdb_calloc(1, sizeof *lineage +
                                                    version->segment_count * sizeof lineage->ancestors[0]);
    for (uint32_t s = 0; lineage != NULL && s < version->segment_count; s++) {
        struct vdb_graph *graph = vdb_graph_of(before, version->memtable_count + s);
        if (first[s] < first[s + 1] && graph != NULL &&
            !add_ancestor(lineage, graph, version->segments[s], rows, first[s], first[s + 1])) {
            break; /* the build does without the rest */
        }
    }
    if (lineage != NULL && lineage->count > 0) {
        lineage->number = vdb_segment_info(output)->number;
        lineage_put(graphs, lineage);
    } else {
        lineage_destroy(lineage);
    }
    vdb_graph_segment_prune(collection); /* the inputs' own */
    pthread_mutex_lock(&graphs->lock);
    struct vdb_lineage *doomed = NULL;
    if (lineage_bytes(graphs->lineages) > LINEAGE_BYTES_MAX) {
        doomed = graphs->lineages->next;
        graphs->lineages->next = NULL;
    }
    pthread_mutex_unlock(&graphs->lock);
    vdb_graph_segment_forget(doomed);
}

/* Whether some segment of that number waits for a graph. */
static bool is_awaited(const struct vdb_view *view, uint32_t number)
{
    const struct vdb_version *version = view->version;
    for (uint32_t s = 0; s < version->segment_count; s++) {
        if (vdb_segment_info(version->segments[s])->number == number) {
            return vdb_graph_of(view, version->memtable_count + s) == NULL;
        }
    }
    return false;
}

void vdb_graph_segment_prune(struct vdb_collection *collection)
{
    struct vdb_graphs *graphs = &collection->graphs;
    struct vdb_lineage *doomed = NULL;
    struct vdb_view view;
    vdb_store_pin(collection->store, &view);
    pthread_mutex_lock(&graphs->lock);
    for (struct vdb_lineage **at = &graphs->lineages; *at != NULL;) {
        struct vdb_lineage *lineage = *at;
        if (is_awaited(&view, lineage->number)) {
            at = &lineage->next;
        } else {
            *at = lineage->next;
            lineage->next = doomed;
            doomed = lineage;
        }
    }
    pthread_mutex_unlock(&graphs->lock);
    vdb_view_release(&view);
    vdb_graph_segment_forget(doomed);
}

/* ---- Loading ---- */

static vdb_status load(struct vdb_segment *segment, const struct vdb_rows *rows, const uint8_t *data,
                       uint64_t bytes, struct vdb_graph **out, struct vdb_err *err)
{
    struct vdb_graph_head head;
    size_t at;
    VDB_TRY(vdb_graph_head_decode(data, bytes, &head, &at, err));
    if (head.rows != vdb_segment_rows(segment)) {
        return vdb_err_set(err, VDB_INVALID, "index file: of %u rows, the segment has %u", head.rows,
                           vdb_segment_rows(segment));
    }
    const struct vdb_index_ops *ops = vdb_index_find(vdb_str_of(head.build.type));
    struct vdb_graph *graph = vdb_graph_create(ops);
    if (graph == NULL) {
        return vdb_err_no_memory(err, "a graph");
    }
    vdb_status status = ops->load(rows, stamp_of(segment), data + at, bytes - at, &graph->index, err);
    if (status != VDB_OK) {
        vdb_companion_unref(&graph->companion);
        return status;
    }
    struct vdb_index_stats stats = {0};
    ops->stats(graph->index, &stats);
    graph->memory_bytes = stats.memory_bytes;
    graph->recall = head.recall;
    graph->build = head.build;
    *out = graph;
    return VDB_OK;
}

vdb_status vdb_graph_segment_load(struct vdb_collection *collection, struct vdb_segment *segment,
                                  struct vdb_err *err)
{
    struct vdb_block_file *file = NULL;
    struct vdb_graph *graph = NULL;
    const uint8_t *data;
    uint64_t bytes;
    const void *chunk;
    struct vdb_rows rows;
    vdb_status status;
    VDB_TRY(vdb_collection_enter(collection, err));
    VDB_CHECK(vdb_store_attached_open(collection->store, segment, &file, &data, &bytes, err));
    VDB_CHECK(vdb_graph_segment_rows(segment, vdb_collection_schema(collection), &chunk, &rows, err));
    VDB_CHECK(load(segment, &rows, data, bytes, &graph, err));
    VDB_CHECK(vdb_store_set_companion(collection->store, segment, &graph->companion, err));
    atomic_fetch_add_explicit(&collection->graphs.loads, 1, memory_order_relaxed);

cleanup:
    if (graph != NULL) {
        vdb_companion_unref(&graph->companion);
    }
    vdb_block_file_close(file);
    return vdb_collection_leave(collection, status);
}

/* ---- Building ---- */

struct save {
    struct vdb_collection *collection;
    struct vdb_segment *segment;
    struct vdb_graph *graph;
    const struct vdb_rows *rows;
    uint64_t epoch;
    vdb_attach_put_fn *put;
    void *put_ctx;
    uint64_t since_look; /* bytes */
};

static bool is_wanted(struct vdb_collection *collection, uint64_t epoch)
{
    return !atomic_load_explicit(&collection->closing, memory_order_relaxed) &&
           atomic_load_explicit(&collection->graphs.epoch, memory_order_relaxed) == epoch;
}

static vdb_status save_part(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    struct save *save = ctx;
    save->since_look += bytes;
    if (save->since_look >= PART_BYTES) {
        save->since_look = 0;
        if (!is_wanted(save->collection, save->epoch)) {
            return vdb_err_set(err, VDB_CANCELLED, "index file: no longer wanted");
        }
    }
    return save->put(save->put_ctx, data, bytes, err);
}

static vdb_status fill_file(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    struct save *save = ctx;
    struct vdb_buf buf = {0};
    save->put = put;
    save->put_ctx = put_ctx;
    const struct vdb_graph_head head = {
        .build = save->graph->build, .recall = save->graph->recall, .rows = vdb_segment_rows(save->segment)};
    vdb_graph_head_encode(&head, &buf);
    vdb_status status = buf.failed ? vdb_err_no_memory(err, "an index file's head")
                                   : put(put_ctx, buf.data, buf.bytes, err);
    vdb_buf_fini(&buf);
    VDB_TRY(status);
    return save->graph->ops->save(save->graph->index, save->rows, stamp_of(save->segment), save_part, save, err);
}

/* The rows to take in: all but those that had ended by the checkpoint (A2). Words NULL: all. */
static vdb_status choose_rows(struct vdb_collection *collection, struct vdb_segment *segment,
                              struct vdb_bitset *only, struct vdb_err *err)
{
    struct vdb_store_stats stats;
    const uint32_t rows = vdb_segment_rows(segment);
    if (vdb_segment_dead(segment) == 0) {
        return VDB_OK;
    }
    vdb_store_get_stats(collection->store, &stats);
    if (!vdb_bitset_init(only, rows)) {
        return vdb_err_no_memory(err, "a build's rows");
    }
    for (uint32_t row = 0; row < rows; row++) {
        if (vdb_segment_sees(segment, row, stats.checkpoint_seq)) {
            vdb_bitset_set(only, row);
        }
    }
    return VDB_OK;
}

/* What a lineage is to a build. */
struct seeds {
    struct vdb_index_seeds *items;
    struct vdb_rows *rows;
    const void **chunks;
    size_t count;
};

static void seeds_fini(struct seeds *seeds)
{
    free(seeds->items);
    free(seeds->rows);
    free(seeds->chunks);
}

/* The lineage (NULL: none) must outlive them. */
static vdb_status seeds_init(struct seeds *seeds, const struct vdb_lineage *lineage,
                             const struct vdb_schema *schema, struct vdb_err *err)
{
    if (lineage == NULL) {
        return VDB_OK;
    }
    seeds->items = vdb_calloc(lineage->count, sizeof *seeds->items);
    seeds->rows = vdb_calloc(lineage->count, sizeof *seeds->rows);
    seeds->chunks = vdb_calloc(lineage->count, sizeof *seeds->chunks);
    if (seeds->items == NULL || seeds->rows == NULL || seeds->chunks == NULL) {
        return vdb_err_no_memory(err, "a build's seeds");
    }
    for (uint32_t i = 0; i < lineage->count; i++) {
        const struct ancestor *ancestor = &lineage->ancestors[i];
        VDB_TRY(vdb_graph_segment_rows(ancestor->segment, schema, &seeds->chunks[i], &seeds->rows[i], err));
        seeds->items[i] = (struct vdb_index_seeds){.ops = ancestor->graph->ops,
                                                   .index = ancestor->graph->index,
                                                   .rows = &seeds->rows[i],
                                                   .row_of = ancestor->row_of,
                                                   .row_count = ancestor->rows};
    }
    seeds->count = lineage->count;
    return VDB_OK;
}

/* A build's caller, once the graph is built: its calibration is not counted, so that what is told never goes back. */
struct built {
    vdb_index_progress_fn *progress;
    void *ctx;
};

static bool is_calibration_wanted(void *ctx, uint64_t done, uint64_t total)
{
    const struct built *built = ctx;
    (void)done;
    (void)total;
    return built->progress == NULL || built->progress(built->ctx, 1, 1);
}

/* Puts it in place, with its file or, if that cannot be written, without. */
static vdb_status show(struct save *save, struct vdb_err *err)
{
    struct vdb_collection *collection = save->collection;
    VDB_TRY(vdb_collection_enter(collection, err));
    vdb_status status = VDB_CANCELLED;
    if (is_wanted(collection, save->epoch)) {
        status = vdb_store_attach(collection->store, save->segment, fill_file, save, &save->graph->companion,
                                  err);
        if (status != VDB_OK && status != VDB_NOT_FOUND && status != VDB_BUSY && status != VDB_CANCELLED) {
            vdb_log(VDB_LOG_WARN, "graphs", "collection \"%s\": a graph is kept in memory only: %s",
                    vdb_collection_schema(collection)->name, err != NULL ? err->text : "");
            status = vdb_store_set_companion(collection->store, save->segment, &save->graph->companion, err);
        }
    } else {
        (void)vdb_err_set(err, VDB_CANCELLED, "a graph that is no longer wanted");
    }
    return vdb_collection_leave(collection, status);
}

vdb_status vdb_graph_segment_build(struct vdb_collection *collection, struct vdb_segment *segment,
                                   const struct vdb_index_build *build, unsigned threads,
                                   vdb_index_progress_fn *progress, void *progress_ctx, struct vdb_err *err)
{
    struct vdb_graphs *graphs = &collection->graphs;
    const struct vdb_hnsw_params hnsw = vdb_index_config_hnsw(build);
    const struct vdb_qgraph_params qgraph = vdb_index_config_qgraph(build);
    const bool is_hnsw = strcmp(build->type, "hnsw") == 0;
    struct vdb_lineage *lineage = lineage_take(graphs, vdb_segment_info(segment)->number);
    struct vdb_graph *graph = vdb_graph_create(is_hnsw ? &vdb_index_hnsw : &vdb_index_qgraph);
    const uint64_t started = vdb_now_ns();
    struct vdb_bitset only = {0};
    struct seeds seeds = {0};
    const void *chunk;
    struct vdb_rows rows;
    vdb_status status;
    if (graph == NULL) {
        status = vdb_err_no_memory(err, "a graph");
        goto cleanup;
    }
    struct save save = {.collection = collection,
                        .segment = segment,
                        .graph = graph,
                        .rows = &rows,
                        .epoch = atomic_load_explicit(&graphs->epoch, memory_order_relaxed)};
    VDB_CHECK(vdb_graph_segment_rows(segment, vdb_collection_schema(collection), &chunk, &rows, err));
    VDB_CHECK(choose_rows(collection, segment, &only, err));
    VDB_CHECK(seeds_init(&seeds, lineage, vdb_collection_schema(collection), err));
    const struct vdb_index_settings settings = {.params = is_hnsw ? (const void *)&hnsw : &qgraph,
                                                .threads = threads,
                                                .only = only.words != NULL ? &only : NULL,
                                                .seeds = seeds.items,
                                                .seed_count = seeds.count,
                                                .progress = progress,
                                                .progress_ctx = progress_ctx};
    graph->build = *build;
    VDB_CHECK(graph->ops->build(&rows, &settings, &graph->index, err));
    struct built built = {progress, progress_ctx};
    VDB_CHECK(vdb_recall_calibrate(graph->ops, graph->index, &rows, settings.only, 0, CALIBRATION_SEED,
                                   is_calibration_wanted, &built, &graph->recall, err));
    struct vdb_index_stats stats = {0};
    graph->ops->stats(graph->index, &stats);
    graph->memory_bytes = stats.memory_bytes;
    VDB_CHECK(show(&save, err));
    atomic_fetch_add_explicit(&graphs->builds, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&graphs->build_ns, vdb_now_ns() - started, memory_order_relaxed);

cleanup:
    vdb_bitset_fini(&only);
    seeds_fini(&seeds);
    if (status == VDB_CANCELLED) {
        lineage_put(graphs, lineage); /* whoever tries again begins from there */
    } else {
        lineage_destroy(lineage);
    }
    if (graph != NULL) {
        vdb_companion_unref(&graph->companion);
    }
    return status;
}
