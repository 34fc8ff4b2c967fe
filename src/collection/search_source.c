/* search_source.c: see search_source.h.
 *
 * A memtable's graph answers for the slots below its watermark; the rest are scanned (graphs.h, A1). A graph's answer is
 * taken as it is only where its distances are a scan's: whole numbers. Else its rows are gathered, each a chunk of its own,
 * and scanned.
 *
 * A query that the element cannot hold walks a graph as the nearest that it can, wider, and what was found is measured
 * by the query itself. Under cosine and dot its length does not matter, so it is first made as long as the element has
 * room for. Where the nearest is too far off (a range left, numbers that are all small), the source is scanned.
 */
#include "search_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/convert.h"
#include "graphs.h"

enum {
    ARENA_BYTES = 4096,
    WIDE_FACTOR = 2, /* rows found by a rounded query, of which the k nearest are among */
    WIDE_MORE = 16,
    LIVELY_MORE = 8, /* asked for where rows have ended, besides what their share asks for */
    TRIES_MAX = 3,   /* walks, each so much wider */
    WIDER = 4,
    ENDED_SHARE_MIN = 4, /* with more than one in so many ended, a bitset it is */
};

/* Of the vector's squared length; what rounding to whole numbers costs a vector whose numbers are 6 or so. */
#define ROUNDING_MAX 0.0025

/* ---- The query ---- */

/* The vector as numbers of the element, and how far off: part of the squared length. */
static double round_vector(const struct vdb_search_run *run, float *out)
{
    const struct vdb_schema *schema = run->schema;
    const bool half = schema->element == VDB_ELEMENT_F16;
    const float least = half ? -VDB_CONVERT_F16_MAX : (float)vdb_convert_least(schema->element);
    const float greatest = half ? VDB_CONVERT_F16_MAX : (float)vdb_convert_greatest(schema->element);
    float longest = 0;
    float scale = 1;
    double error = 0;
    double square = 0;
    for (size_t i = 0; i < schema->dimension; i++) {
        longest = fmaxf(longest, fabsf(run->vector[i]));
    }
    if (longest > 0 && schema->metric != VDB_METRIC_L2 && schema->metric != VDB_METRIC_L1) {
        scale = (half ? 1 : greatest) / longest;
        scale = isfinite(scale) && scale > 0 ? scale : 1;
    }
    for (size_t i = 0; i < schema->dimension; i++) {
        const float exact = run->vector[i] * scale;
        const float inside = fminf(fmaxf(exact, least), greatest);
        const float near = half ? inside : rintf(inside);
        out[i] = near;
        error += ((double)near - (double)exact) * ((double)near - (double)exact);
        square += (double)exact * (double)exact;
    }
    return square > 0 ? error / square : (double)INFINITY;
}

static vdb_status narrow_query(struct vdb_search_run *run, struct vdb_err *err)
{
    const struct vdb_schema *schema = run->schema;
    const vdb_element element = schema->element;
    if (element == VDB_ELEMENT_F32) {
        return VDB_OK;
    }
    const bool exact = vdb_convert_is_exact(element, run->vector, schema->dimension);
    void *narrow = vdb_arena_alloc(&run->arena, vdb_vector_bytes(element, schema->dimension));
    float *near = exact ? NULL : vdb_arena_alloc(&run->arena, schema->dimension * sizeof *near);
    if (narrow == NULL || (near == NULL && !exact)) {
        return vdb_err_no_memory(err, "a search");
    }
    if (exact) {
        vdb_convert_narrow(element, run->vector, schema->dimension, narrow);
        run->narrow = narrow;
        run->rounded = narrow;
    } else if (!run->exact && round_vector(run, near) <= ROUNDING_MAX) {
        vdb_convert_narrow(element, near, schema->dimension, narrow);
        run->rounded = narrow;
    }
    return VDB_OK;
}

vdb_status vdb_search_begin(struct vdb_search_run *run, struct vdb_err *err)
{
    vdb_arena_init(&run->arena, ARENA_BYTES);
    VDB_TRY(narrow_query(run, err));
    if (run->exact) {
        return VDB_OK;
    }
    run->found_max = run->narrow != NULL || run->schema->element == VDB_ELEMENT_F32
                         ? run->k
                         : WIDE_FACTOR * run->k + WIDE_MORE;
    run->room = (run->found_max + LIVELY_MORE) * ENDED_SHARE_MIN / (ENDED_SHARE_MIN - 1) + 1;
    run->found = vdb_arena_alloc(&run->arena, run->room * sizeof *run->found);
    run->again = vdb_arena_alloc(&run->arena, run->k * sizeof *run->again);
    run->gathered = vdb_arena_alloc(&run->arena, run->room * sizeof *run->gathered);
    return run->found != NULL && run->again != NULL && run->gathered != NULL ? VDB_OK
                                                                             : vdb_err_no_memory(err, "a search");
}

void vdb_search_end(struct vdb_search_run *run)
{
    vdb_arena_fini(&run->arena);
}

/* ---- What a view sees ---- */

static bool is_seen(const struct vdb_view *view, uint32_t source, uint32_t row)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    return memtable != NULL ? vdb_slot_visible(memtable, row)
                            : vdb_segment_sees(vdb_view_segment(view, source), row, view->seq);
}

static uint32_t count_ended(const struct vdb_view *view, uint32_t source)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    return memtable != NULL ? memtable->dead_count : vdb_segment_dead(vdb_view_segment(view, source));
}

/* ---- A scan ---- */

/* What is to be searched. */
struct part {
    uint32_t source;
    struct vdb_rows rows;
    const struct vdb_bitset *allow; /* NULL: all, or */
    bool lively;                    /* those that the view sees */
};

/* The query for rows of an element, as scans take it. */
static struct vdb_query query_of(const struct vdb_search_run *run, const struct vdb_rows *rows)
{
    const bool narrow = run->narrow != NULL && rows->element != VDB_ELEMENT_F32;
    return (struct vdb_query){.vector = narrow ? run->narrow : run->vector,
                              .wide = !narrow && rows->element != VDB_ELEMENT_F32};
}

static vdb_status scan(struct vdb_search_run *run, const struct vdb_rows *rows, const struct vdb_bitset *allow,
                       struct vdb_topk *topk, struct vdb_err *err)
{
    struct vdb_search_counters counters = {0};
    struct vdb_query query = query_of(run, rows);
    query.allow = allow;
    query.counters = &counters;
    VDB_TRY(vdb_index_flat.search(NULL, rows, &query, topk, err));
    run->distances += counters.distances_computed;
    return VDB_OK;
}

/* Rows that go by other numbers than the source's, and yet by its tie rule. */
struct renamed {
    const struct vdb_topk *of;
    const struct vdb_candidate *rows; /* their numbers there, or NULL: */
    uint32_t first;                   /* what is added to them */
};

static uint32_t name_of(const struct renamed *renamed, uint32_t row)
{
    return renamed->rows != NULL ? renamed->rows[row].row : row + renamed->first;
}

static bool tie_of_renamed(void *ctx, uint32_t a, uint32_t b)
{
    const struct renamed *renamed = ctx;
    return renamed->of->tie(renamed->of->tie_ctx, name_of(renamed, a), name_of(renamed, b));
}

/* Scans rows, and offers the k best by their numbers in the source. */
static vdb_status scan_renamed(struct vdb_search_run *run, const struct vdb_rows *rows,
                               const struct vdb_bitset *allow, struct renamed *renamed, struct vdb_topk *topk,
                               struct vdb_err *err)
{
    struct vdb_topk own;
    renamed->of = topk;
    vdb_topk_init(&own, run->again, run->k);
    if (topk->tie != NULL) {
        own.tie = tie_of_renamed;
        own.tie_ctx = renamed;
    }
    VDB_TRY(scan(run, rows, allow, &own, err));
    for (size_t i = 0; i < own.count; i++) {
        (void)vdb_topk_push(topk, own.heap[i].distance, name_of(renamed, own.heap[i].row));
    }
    return VDB_OK;
}

/* Scans the rows of a memtable's part from `from` on. */
static vdb_status scan_tail(struct vdb_search_run *run, const struct part *part, uint32_t from,
                            struct vdb_topk *topk, struct vdb_err *err)
{
    const size_t chunk = from >> part->rows.chunk_shift;
    const size_t first = chunk << part->rows.chunk_shift;
    struct vdb_rows tail = part->rows;
    struct vdb_bitset only = {0};
    struct renamed renamed = {.first = (uint32_t)first};
    tail.chunks += chunk;
    tail.count -= first;
    if (!vdb_bitset_init(&only, tail.count)) {
        return vdb_err_no_memory(err, "a search");
    }
    for (size_t row = from; row < part->rows.count; row++) {
        bool wanted = part->lively ? is_seen(run->view, part->source, (uint32_t)row)
                                   : part->allow == NULL || vdb_bitset_test(part->allow, row);
        if (wanted) {
            vdb_bitset_set(&only, row - first);
        }
    }
    vdb_status status = scan_renamed(run, &tail, &only, &renamed, topk, err);
    vdb_bitset_fini(&only);
    run->plans |= VDB_PLAN_FLAT;
    return status;
}

/* ---- A graph ---- */

static uint64_t count_allowed(const struct vdb_bitset *allow, size_t rows)
{
    uint64_t count = 0;
    if (allow == NULL) {
        return rows;
    }
    for (size_t w = 0; w < rows / 64; w++) {
        count += (uint64_t)__builtin_popcountll(allow->words[w]);
    }
    if (rows % 64 != 0) {
        count += (uint64_t)__builtin_popcountll(allow->words[rows / 64] & ((UINT64_C(1) << (rows % 64)) - 1));
    }
    return count;
}

/* Offers what a graph found, with a scan's distances. */
static vdb_status measure(struct vdb_search_run *run, const struct vdb_rows *rows, const struct vdb_topk *found,
                          struct vdb_topk *topk, struct vdb_err *err)
{
    const bool whole = rows->element == VDB_ELEMENT_U8 || rows->element == VDB_ELEMENT_I8;
    if (whole && run->narrow != NULL) {
        for (size_t i = 0; i < found->count; i++) {
            (void)vdb_topk_push(topk, found->heap[i].distance, found->heap[i].row);
        }
        return VDB_OK;
    }
    for (size_t i = 0; i < found->count; i++) {
        run->gathered[i] = vdb_rows_at(rows, found->heap[i].row);
        __builtin_prefetch(run->gathered[i]);
    }
    struct vdb_rows each = *rows;
    struct renamed renamed = {.rows = found->heap};
    each.chunks = run->gathered;
    each.chunk_shift = 0;
    each.count = found->count;
    return scan_renamed(run, &each, NULL, &renamed, topk, err);
}

/* Leaves out what the view does not see. The heap is one no longer. */
static void drop_ended(const struct vdb_search_run *run, uint32_t source, struct vdb_topk *found)
{
    size_t kept = 0;
    for (size_t i = 0; i < found->count; i++) {
        if (is_seen(run->view, source, found->heap[i].row)) {
            found->heap[kept++] = found->heap[i];
        }
    }
    found->count = kept;
}

/* Searches the part by its graph. *answered: false when it found fewer than there are; the topk is as before then. */
static vdb_status walk(struct vdb_search_run *run, const struct vdb_graph *graph, const struct part *part,
                       struct vdb_topk *topk, bool *answered, struct vdb_err *err)
{
    const struct vdb_rows *rows = &part->rows;
    struct vdb_search_counters counters = {0};
    struct vdb_topk found;
    size_t most = run->found_max;
    size_t ef = run->ef != 0
                    ? run->ef
                    : vdb_recall_ef(vdb_graph_recall(graph), run->target_recall, (uint32_t)run->k, run->boost);
    if (part->lively) {
        const double seen = 1 - (double)count_ended(run->view, part->source) /
                                    vdb_view_source_rows(run->view, part->source);
        most = (size_t)((double)(most + LIVELY_MORE) / seen);
        most = most < run->room ? most : run->room;
        ef = (size_t)((double)ef / seen);
    }
    ef = ef > most ? ef : most;
    ef = ef < VDB_INDEX_CONFIG_EF_MAX ? ef : VDB_INDEX_CONFIG_EF_MAX;
    struct vdb_query query = {.vector = rows->element == VDB_ELEMENT_F32 ? run->vector : run->rounded,
                              .allow = part->allow,
                              .counters = &counters};
    /* Where all that is near is refused, a wider walk still costs less than a scan. */
    for (int tries = 0; tries == 0 || (!*answered && !part->lively && tries < TRIES_MAX); tries++) {
        query.ef = tries == 0 ? ef : ef * WIDER < VDB_INDEX_CONFIG_EF_MAX ? ef * WIDER : VDB_INDEX_CONFIG_EF_MAX;
        ef = query.ef;
        vdb_topk_init(&found, run->found, most);
        if (most == run->k) {
            found.tie = topk->tie;
            found.tie_ctx = topk->tie_ctx;
        }
        VDB_TRY(graph->ops->search(graph->index, rows, &query, &found, err));
        if (part->lively) {
            drop_ended(run, part->source, &found);
        }
        *answered = found.count >= run->k ||
                    (!part->lively && found.count >= count_allowed(part->allow, rows->count));
    }
    run->distances += counters.distances_computed;
    if (!*answered) {
        return VDB_OK;
    }
    VDB_TRY(measure(run, rows, &found, topk, err));
    run->plans |= graph->ops == &vdb_index_hnsw ? VDB_PLAN_HNSW : VDB_PLAN_QGRAPH;
    run->rows_indexed += rows->count;
    run->ef_widest = run->ef_widest > ef ? run->ef_widest : (uint32_t)ef;
    return VDB_OK;
}

/* By the source's graph, and the tail of a memtable by a scan. *answered: false when there is no graph, or none that the
 * query can walk, or walk says so. */
static vdb_status search_graph(struct vdb_search_run *run, const struct part *part, struct vdb_topk *topk,
                               bool *answered, struct vdb_err *err)
{
    const struct vdb_graph *graph = run->exact ? NULL : vdb_graph_of(run->view, part->source);
    const bool memory = vdb_view_memtable(run->view, part->source) != NULL;
    struct part in_graph = *part;
    *answered = false;
    if (graph == NULL || (!memory && part->rows.element != VDB_ELEMENT_F32 && run->rounded == NULL)) {
        return VDB_OK;
    }
    if (memory) {
        const uint32_t watermark = atomic_load_explicit(&graph->watermark, memory_order_acquire);
        in_graph.rows.count = watermark < part->rows.count ? watermark : part->rows.count;
    }
    if (in_graph.rows.count == 0) {
        return VDB_OK;
    }
    VDB_TRY(walk(run, graph, &in_graph, topk, answered, err));
    return *answered && in_graph.rows.count < part->rows.count
               ? scan_tail(run, part, (uint32_t)in_graph.rows.count, topk, err)
               : VDB_OK;
}

vdb_status vdb_search_source(struct vdb_search_run *run, uint32_t source, const struct vdb_bitset *allow,
                             struct vdb_topk *topk, struct vdb_err *err)
{
    struct part part = {.source = source, .allow = allow};
    const void *chunk;
    bool answered;
    VDB_TRY(vdb_graph_source_rows(run->view, source, run->schema, &chunk, &part.rows, err));
    VDB_TRY(search_graph(run, &part, topk, &answered, err));
    if (answered) {
        return VDB_OK;
    }
    run->plans |= VDB_PLAN_FLAT;
    return scan(run, &part.rows, allow, topk, err);
}

vdb_status vdb_search_lively(struct vdb_search_run *run, uint32_t source, struct vdb_topk *topk,
                             uint64_t *allowed, bool *answered, struct vdb_err *err)
{
    struct part part = {.source = source, .lively = true};
    const uint32_t rows = vdb_view_source_rows(run->view, source);
    const uint32_t ended = count_ended(run->view, source);
    const void *chunk;
    *answered = false;
    if (run->exact || vdb_graph_of(run->view, source) == NULL || ended > rows / ENDED_SHARE_MIN) {
        return VDB_OK;
    }
    *allowed = rows - ended;
    VDB_TRY(vdb_graph_source_rows(run->view, source, run->schema, &chunk, &part.rows, err));
    return search_graph(run, &part, topk, answered, err);
}

vdb_status vdb_search_exactly(const struct vdb_schema *schema, const struct vdb_view *view, const float *vector,
                              size_t k, struct vdb_candidate *out, size_t *count, struct vdb_err *err)
{
    struct vdb_search_run run = {.view = view, .schema = schema, .vector = vector, .k = k, .exact = true};
    struct vdb_candidate *own = vdb_calloc(k, sizeof *own);
    struct vdb_bitset allow = {0};
    struct vdb_topk all;
    vdb_status status;
    vdb_topk_init(&all, out, k);
    VDB_CHECK(vdb_search_begin(&run, err));
    if (own == NULL) {
        status = vdb_err_no_memory(err, "a search");
        goto cleanup;
    }
    for (uint32_t source = 0; source < vdb_view_sources(view); source++) {
        const bool restricted = !vdb_view_sees_all(view, source);
        const uint32_t rows = vdb_view_source_rows(view, source);
        struct vdb_topk topk;
        if (restricted) {
            if (!vdb_bitset_init(&allow, rows)) {
                status = vdb_err_no_memory(err, "a search");
                goto cleanup;
            }
            (void)vdb_view_fill_visible(view, source, &allow);
        }
        vdb_topk_init(&topk, own, k);
        if (rows > 0) {
            VDB_CHECK(vdb_search_source(&run, source, restricted ? &allow : NULL, &topk, err));
            for (size_t i = 0; i < topk.count; i++) {
                (void)vdb_topk_push(&all, topk.heap[i].distance, topk.heap[i].row);
            }
        }
        vdb_bitset_fini(&allow);
        allow = (struct vdb_bitset){0};
    }
    vdb_topk_finish(&all);
    *count = all.count;

cleanup:
    vdb_bitset_fini(&allow);
    vdb_search_end(&run);
    free(own);
    return status;
}
