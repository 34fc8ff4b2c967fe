/* qgraph_search.c: what a search makes of a walk (qgraph_walk.c): the answer.
 *
 * Where inner distances are those of the rows, the nodes expanded are the answer; else the nearest of them are
 * measured again on the rows. A search goes in steps, of a visit or a row measured, between which it waits for
 * memory: so several can take turns (vdb_qgraph_search_many), and wait together.
 *
 * Threads: shared-read.
 */
#include <assert.h>
#include <math.h>

#include "base/mem.h"
#include "distance/cpu.h"
#include "qgraph_internal.h"

enum {
    ROWS_AHEAD = 2, /* asked for while one is measured, so many bytes of each */
    ROW_BYTES_AHEAD = 4096,
    SURE = 4,
    RERANK_MORE = 5,         /* candidates measured again beyond 3 k / 2 */
    SCAN_ROWS_PER_VISIT = 4, /* what measuring rows costs against visits: measured at 784 dimensions of u8 */
    TOGETHER_MAX = 4,        /* searches that take turns */
    LONG_BLOCK = 2560,       /* bytes; walks over longer ones do not: measured at 896, 2,048 and 3,072 */
};

enum phase { IDLE, WALK, MEASURE };

/* A search under way. */
struct answer {
    const struct vdb_qgraph *graph;
    const struct vdb_rows *rows;
    const struct vdb_query *query;
    struct vdb_topk *topk;
    struct qgraph_scratch *scratch; /* NULL until one is needed; kept for the next search */
    struct qgraph_walk walk;
    enum phase phase;
    struct vdb_topk best; /* MEASURE: nodes to be measured on the rows, ascending by inner distance... */
    size_t next;          /* ...and the next of them */
    uint64_t visited;
    uint64_t computed;
};

/* Offers the rows of a node: at the node's distance, or at their own. */
static void offer(struct answer *answer, uint32_t node, double distance)
{
    const struct vdb_qgraph *graph = answer->graph;
    const struct vdb_rows *rows = answer->rows;
    const struct vdb_qgraph_head head = qgraph_rows_of(graph, node);
    for (uint32_t i = 0; i < head.row_count; i++) {
        uint32_t row = i == 0 ? head.row : graph->rows[head.row_at + i];
        if (answer->query->allow != NULL && !vdb_bitset_test(answer->query->allow, row)) {
            continue;
        }
        answer->visited++;
        if (!graph->space.exact) {
            distance = vdb_kernels_get()->one[rows->element][rows->metric](
                answer->query->vector, vdb_rows_at(rows, row), rows->dimension);
            distance = isnan(distance) ? (double)INFINITY : distance;
            answer->computed++;
        }
        (void)vdb_topk_push(answer->topk, distance, row);
    }
}

static bool any_allowed(const struct answer *answer, uint32_t node)
{
    const struct vdb_qgraph_head head = qgraph_rows_of(answer->graph, node);
    bool any = answer->query->allow == NULL;
    for (uint32_t i = 0; i < head.row_count && !any; i++) {
        any = vdb_bitset_test(answer->query->allow, i == 0 ? head.row : answer->graph->rows[head.row_at + i]);
    }
    return any;
}

static void ask_for_row(const struct answer *answer, uint32_t node)
{
    const struct vdb_rows *rows = answer->rows;
    const size_t bytes = vdb_vector_bytes(rows->element, rows->dimension);
    const char *row = vdb_rows_at(rows, qgraph_rows_of(answer->graph, node).row);
    for (size_t at = 0; at < bytes && at < ROW_BYTES_AHEAD; at += VDB_CACHE_LINE_BYTES) {
        __builtin_prefetch(row + at);
    }
}

/* False: no row of a node at this inner distance is one of the k nearest. Each element of two inner vectors is
 * off by a rounding of variance 1/12, which makes I = |q - x|^2 greater by dimension / 6 in the mean and
 * scatters it with a deviation of 2 sqrt(I / 6); SURE of them are left. */
static bool can_get_in(const struct answer *answer, double inner)
{
    const struct qgraph_space *space = &answer->graph->space;
    if (space->metric == VDB_METRIC_DOT) {
        return true;
    }
    const double least = inner - space->dimension / 6.0 - SURE * 2 * sqrt(inner / 6);
    const double unit = (double)space->step * (double)space->step *
                        (space->metric == VDB_METRIC_COSINE ? 0.5 : 1);
    return !(least * unit > vdb_topk_bound(answer->topk));
}

/* After a walk: the nearest visited nodes by inner distance, to be measured again on the rows. */
static bool choose(struct answer *answer)
{
    struct qgraph_scratch *scratch = answer->scratch;
    struct vdb_topk *best = &answer->best;
    const size_t count = answer->topk->k + answer->topk->k / 2 + RERANK_MORE;
    if (scratch->heap_capacity < count) {
        void *heap = scratch->heap;
        if (!vdb_realloc_array(&heap, count, sizeof *scratch->heap)) {
            return false;
        }
        scratch->heap = heap;
        scratch->heap_capacity = count;
    }
    vdb_topk_init(best, scratch->heap, count);
    for (size_t i = 0; i < scratch->visited_count; i++) {
        const struct vdb_candidate *visited = &scratch->visited[i];
        if (visited->distance <= vdb_topk_bound(best) && any_allowed(answer, visited->row)) {
            (void)vdb_topk_push(best, visited->distance, visited->row);
        }
    }
    vdb_topk_finish(best);
    answer->next = 0;
    for (size_t i = 0; i < best->count && i < ROWS_AHEAD; i++) {
        ask_for_row(answer, best->heap[i].row);
    }
    return true;
}

/* Measures the next of them; false when no other can get in. */
static bool measure_next(struct answer *answer)
{
    const struct vdb_topk *best = &answer->best;
    const size_t i = answer->next++;
    if (i == best->count || !can_get_in(answer, best->heap[i].distance)) {
        return false;
    }
    if (i + ROWS_AHEAD < best->count) {
        ask_for_row(answer, best->heap[i + ROWS_AHEAD].row);
    }
    offer(answer, best->heap[i].row, 0);
    return true;
}

/* Every row that is in and allowed, one by one: for filters that leave too few for a walk, and queries from
 * outside. */
static void scan(struct answer *answer)
{
    const struct vdb_qgraph *graph = answer->graph;
    const struct vdb_rows *rows = answer->rows;
    vdb_distance_fn *one = vdb_kernels_get()->one[rows->element][rows->metric];
    for (size_t w = 0; w < vdb_bitset_words(graph->row_end); w++) {
        uint64_t word = graph->taken.words[w] &
                        (answer->query->allow != NULL ? answer->query->allow->words[w] : UINT64_MAX);
        for (; word != 0; word &= word - 1) {
            const size_t row = w * 64 + (size_t)__builtin_ctzll(word);
            double distance = one(answer->query->vector, vdb_rows_at(rows, row), rows->dimension);
            distance = isnan(distance) ? (double)INFINITY : distance;
            answer->visited++;
            answer->computed++;
            if (distance <= vdb_topk_bound(answer->topk)) {
                (void)vdb_topk_push(answer->topk, distance, (uint32_t)row);
            }
        }
    }
}

/* How wide a walk must be to meet as many allowed rows as it would without a filter; 0 when looking at the
 * allowed rows one by one costs less. */
static size_t width_of(const struct vdb_qgraph *graph, const struct vdb_query *query, size_t ef)
{
    if (query->allow == NULL) {
        return ef;
    }
    size_t allowed = 0;
    for (size_t w = 0; w < vdb_bitset_words(graph->row_end); w++) {
        allowed += (size_t)__builtin_popcountll(query->allow->words[w] & graph->taken.words[w]);
    }
    const double wanted = (double)ef * (double)graph->row_count / ((double)allowed + 1);
    return wanted * SCAN_ROWS_PER_VISIT >= (double)allowed || wanted > VDB_QGRAPH_EF_MAX ? 0 : (size_t)wanted;
}

/* From a walk that has ended to an answer, or to rows to be measured. */
static bool arrive(struct answer *answer, bool complete)
{
    const struct qgraph_scratch *scratch = answer->scratch;
    answer->computed = answer->graph->compact.degree > 0 ? scratch->touched_count : scratch->visited_count;
    answer->phase = IDLE;
    if (!complete) {
        return false;
    }
    if (!answer->graph->space.exact) {
        answer->phase = MEASURE;
        return choose(answer);
    }
    for (size_t i = 0; i < scratch->visited_count; i++) {
        if (scratch->visited[i].distance <= vdb_topk_bound(answer->topk)) {
            offer(answer, scratch->visited[i].row, scratch->visited[i].distance);
        }
    }
    return true;
}

static bool lend(struct answer *answer, size_t places)
{
    if (answer->scratch == NULL) {
        answer->scratch = vdb_qgraph_walk_scratch(answer->graph, places);
        return answer->scratch != NULL;
    }
    return vdb_qgraph_walk_widen(answer->scratch, places);
}

/* Begins a search, with its query and topk set; false when memory is short. */
static bool begin(struct answer *answer, unsigned ahead)
{
    const struct vdb_qgraph *graph = answer->graph;
    const struct vdb_query *query = answer->query;
    struct qgraph_stop stop = {.k = answer->topk->k};
    assert(stop.k > 0 && answer->rows->dimension == graph->space.row_dimension);
    assert(query->allow == NULL || query->allow->count >= graph->row_end);
    answer->visited = 0;
    answer->computed = 0;
    answer->phase = IDLE;
    size_t ef = query->ef == 0 ? graph->ef_search : query->ef;
    ef = ef < stop.k ? stop.k : ef;
    ef = width_of(graph, query, ef);
    ef = ef < graph->node_count ? ef : graph->node_count;
    if (ef == 0 || ef > VDB_QGRAPH_EF_MAX) {
        scan(answer);
        return true;
    }
    stop.factor = query->allow == NULL ? vdb_qgraph_stop_factor(graph, ef, stop.k) : INFINITY;
    stop.places = (uint32_t)(ef * 2 < graph->node_count ? ef * 2 : graph->node_count);
    const bool stops = stop.factor < INFINITY;
    if (!lend(answer, stops ? stop.places : ef)) {
        return false;
    }
    if (!vdb_qgraph_space_query(&graph->space, query->vector, answer->scratch->floats, answer->scratch->inner)) {
        scan(answer);
        return true;
    }
    if (graph->compact.degree > 0) {
        return arrive(answer, vdb_qgraph_compact_walk(graph, answer->scratch, ef));
    }
    answer->phase = WALK;
    return vdb_qgraph_walk_begin(graph, answer->scratch, ef, stops ? &stop : NULL, ahead, &answer->walk) ||
           arrive(answer, answer->walk.complete);
}

/* The next step of a search that is not IDLE yet; false when memory is short. */
static bool go_on(struct answer *answer)
{
    if (answer->phase == WALK) {
        return vdb_qgraph_walk_step(answer->graph, &answer->walk) || arrive(answer, answer->walk.complete);
    }
    answer->phase = measure_next(answer) ? MEASURE : IDLE;
    return true;
}

static void count_up(const struct answer *answer)
{
    if (answer->query->counters != NULL) {
        answer->query->counters->rows_visited += answer->visited;
        answer->query->counters->distances_computed += answer->computed;
    }
}

static vdb_status check_query(const struct vdb_query *query, struct vdb_err *err)
{
    return query->wide ? vdb_err_set(err, VDB_UNSUPPORTED, "qgraph: takes queries of the rows' own element only")
                       : VDB_OK;
}

vdb_status vdb_qgraph_search(const struct vdb_qgraph *graph, const struct vdb_rows *rows,
                             const struct vdb_query *query, struct vdb_topk *topk, struct vdb_err *err)
{
    VDB_TRY(check_query(query, err));
    struct answer answer = {.graph = graph, .rows = rows, .query = query, .topk = topk};
    bool enough = begin(&answer, QGRAPH_AHEAD_ALONE);
    while (enough && answer.phase != IDLE) {
        enough = go_on(&answer);
    }
    count_up(&answer);
    vdb_qgraph_walk_release(graph, answer.scratch);
    return enough ? VDB_OK : vdb_err_no_memory(err, "a search of the graph");
}

vdb_status vdb_qgraph_search_many(const struct vdb_qgraph *graph, const struct vdb_rows *rows,
                                  const struct vdb_query *queries, struct vdb_topk *topks, size_t count,
                                  struct vdb_err *err)
{
    struct answer answers[TOGETHER_MAX];
    /* Long blocks of several walks, with their tables and rows, are too much for a first-level cache. */
    const bool longer = graph->shape.block_bytes > LONG_BLOCK;
    const size_t together = longer ? 1 : TOGETHER_MAX;
    const unsigned ahead = longer ? QGRAPH_AHEAD_ALONE : 1;
    size_t places = 0; /* answers[0..places) are under way */
    size_t begun = 0;
    bool enough = true;
    for (size_t i = 0; i < count; i++) {
        VDB_TRY(check_query(&queries[i], err));
    }
    for (; places < together && places < count; places++) {
        answers[places] = (struct answer){.graph = graph, .rows = rows};
    }
    for (size_t at = 0, left = count; left > 0 && enough; at = at + 1 < places ? at + 1 : 0) {
        struct answer *answer = &answers[at];
        if (answer->phase != IDLE) {
            enough = go_on(answer);
        } else if (begun < count) {
            answer->query = &queries[begun];
            answer->topk = &topks[begun];
            begun++;
            enough = begin(answer, ahead);
        } else {
            continue;
        }
        if (answer->phase == IDLE) {
            count_up(answer);
            left--;
        }
    }
    for (size_t i = 0; i < places; i++) {
        if (answers[i].phase == WALK) { /* it has marks left */
            vdb_qgraph_walk_free(answers[i].scratch);
        } else {
            vdb_qgraph_walk_release(graph, answers[i].scratch);
        }
    }
    return enough ? VDB_OK : vdb_err_no_memory(err, "searches of the graph");
}
