/* qgraph_search.c: the walk over blocks, and what a search makes of it.
 *
 * A walk begins with the entries: blocks around the middle of all nodes whose neighbours are spread over them, so
 * that it has a place near the query to start from before it has read a node. It keeps a pool of the `ef` nodes
 * estimated nearest. Each step expands the best that is not: its exact distance comes from its block's vector,
 * its neighbours' estimates from its codes, and those that beat the pool's worst go in. The walk ends when all of
 * the pool is expanded, or nobody left in it is near enough (qgraph_stop.c).
 *
 * Blocks come from memory, and a visit takes less time than one is on its way. So the walk takes the next few
 * nodes from the pool and asks for their blocks while it visits an earlier one: a choice that a later visit might
 * not have made, which costs two or three visits in all, and one that is never taken back, so that nothing is
 * read in vain. Against one visited at once with the runner-up asked for, four ahead gave 1.25 times the queries
 * at a width on 108,000 x 128 (960 bytes a block), 1.1 times on 60,000 x 784 (2,112), both at a better recall.
 *
 * A search's memory is kept by the graph and lent for one search at a time; only expanded nodes are marked, and
 * their marks are taken back one by one. So a search allocates nothing once its width has been seen, and clears 2
 * KiB.
 *
 * Threads: shared-read; scratch memory is handed out by atomic exchange.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "distance/cpu.h"
#include "qgraph_internal.h"

enum {
    VISITED_MIN = 1024,
    AHEAD = 4,      /* blocks asked for and not visited yet: measured */
    ROWS_AHEAD = 2, /* asked for while one is measured, so many bytes of each */
    ROW_BYTES_AHEAD = 4096,
    SURE = 4,
    RERANK_MORE = 5, /* candidates measured again beyond 3 k / 2 */
    SCAN_ROWS_PER_VISIT =
        4, /* distances on the rows that cost what a visit does: measured at 784 dimensions of u8 */
};

/* ---- Scratch ---- */

void vdb_qgraph_search_free(struct qgraph_scratch *scratch)
{
    if (scratch == NULL) {
        return;
    }
    free(scratch->pool.distances);
    free(scratch->pool.nodes);
    free(scratch->marks);
    free(scratch->visited);
    free(scratch->inner);
    free(scratch->vector);
    free(scratch->projected);
    free(scratch->values);
    free(scratch->tables);
    free(scratch->floats);
    free(scratch->heap);
    free(scratch->keys);
    free(scratch->touched);
    free(scratch);
}

static struct qgraph_scratch *scratch_create(const struct vdb_qgraph *graph)
{
    const struct vdb_qgraph_shape *shape = &graph->shape;
    struct qgraph_scratch *scratch = vdb_calloc(1, sizeof *scratch);
    if (scratch == NULL) {
        return NULL;
    }
    scratch->marks = vdb_calloc((graph->node_count + QGRAPH_ENTRIES_MAX) / 32 + 1, sizeof *scratch->marks);
    scratch->visited = vdb_calloc(VISITED_MIN, sizeof *scratch->visited);
    scratch->visited_capacity = VISITED_MIN;
    scratch->inner = vdb_alloc_aligned(shape->codes_at);
    scratch->vector = vdb_alloc_aligned(shape->codes_at);
    scratch->projected = vdb_alloc_aligned(shape->bits * sizeof *scratch->projected);
    scratch->values = vdb_alloc_aligned(shape->bits * sizeof *scratch->values);
    scratch->tables = vdb_alloc_aligned(vdb_fastscan_lut_bytes(shape->bits));
    scratch->floats = vdb_alloc_aligned(graph->space.row_dimension * sizeof *scratch->floats);
    if (scratch->marks == NULL || scratch->visited == NULL || scratch->inner == NULL || scratch->vector == NULL ||
        scratch->projected == NULL || scratch->values == NULL || scratch->tables == NULL ||
        scratch->floats == NULL) {
        vdb_qgraph_search_free(scratch);
        return NULL;
    }
    return scratch;
}

static bool scratch_widen(struct qgraph_scratch *scratch, size_t ef)
{
    size_t lanes = vdb_round_up(ef, VDB_QGRAPH_POOL_LANES);
    if (lanes <= scratch->capacity) {
        return true;
    }
    float *distances = vdb_alloc_aligned(lanes * sizeof *distances);
    uint32_t *nodes = vdb_alloc_aligned(lanes * sizeof *nodes);
    if (distances == NULL || nodes == NULL) {
        free(distances);
        free(nodes);
        return false;
    }
    free(scratch->pool.distances);
    free(scratch->pool.nodes);
    scratch->pool.distances = distances;
    scratch->pool.nodes = nodes;
    scratch->capacity = lanes;
    return true;
}

struct qgraph_scratch *vdb_qgraph_search_scratch(const struct vdb_qgraph *graph, size_t ef)
{
    struct vdb_qgraph *lender = (struct vdb_qgraph *)(uintptr_t)graph; /* the slots are all that changes */
    struct qgraph_scratch *scratch = NULL;
    for (size_t i = 0; i < QGRAPH_SCRATCH_SLOTS && scratch == NULL; i++) {
        if (atomic_load_explicit(&lender->scratch[i], memory_order_relaxed) != NULL) {
            scratch = atomic_exchange_explicit(&lender->scratch[i], NULL, memory_order_acquire);
        }
    }
    if (scratch == NULL) {
        scratch = scratch_create(graph);
    }
    if (scratch != NULL && !scratch_widen(scratch, ef)) {
        vdb_qgraph_search_free(scratch);
        scratch = NULL;
    }
    return scratch;
}

void vdb_qgraph_search_release(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch)
{
    struct vdb_qgraph *lender = (struct vdb_qgraph *)(uintptr_t)graph;
    for (size_t i = 0; i < QGRAPH_SCRATCH_SLOTS && scratch != NULL; i++) {
        struct qgraph_scratch *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&lender->scratch[i], &none, scratch, memory_order_release,
                                                    memory_order_relaxed)) {
            scratch = NULL;
        }
    }
    vdb_qgraph_search_free(scratch);
}

/* ---- The walk ---- */

/* Sixteen numbers at a time, in plain C: the same sums at every level. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t shorts16 __attribute__((vector_size(32)));
typedef uint32_t words16 __attribute__((vector_size(64)));
typedef int32_t ints16 __attribute__((vector_size(64)));
typedef float floats16 __attribute__((vector_size(64)));

enum { TOGETHER = 16 };

/* The inner vector less 128, which its square is returned of; both are zero past their end, to a multiple of 64.
 */
static uint32_t turn(const uint8_t *inner, size_t dimension, int8_t *vector)
{
    words16 sums = {0};
    uint32_t square = 0;
    for (size_t i = 0; i < dimension; i += TOGETHER) {
        bytes16 x;
        memcpy(&x, inner + i, sizeof x);
        const shorts16 wide = __builtin_convertvector(x, shorts16);
        sums += __builtin_convertvector(wide * wide, words16); /* 255^2 fits 16 bits */
        x ^= 0x80;
        memcpy(vector + i, &x, sizeof x);
    }
    for (size_t i = dimension; i % TOGETHER != 0; i++) {
        vector[i] = 0;
    }
    for (size_t i = 0; i < TOGETHER; i++) {
        square += sums[i];
    }
    return square;
}

/* Projections in units of codes at build time; returns their sum. */
static float scale_projections(const struct qgraph_projection *projection, const int32_t *projected,
                               float *values)
{
    floats16 sums = {0};
    float sum = 0;
    for (size_t i = 0; i < projection->bits; i += TOGETHER) {
        ints16 x;
        ints16 offset;
        memcpy(&x, projected + i, sizeof x);
        memcpy(&offset, projection->offset + i, sizeof offset);
        const floats16 value = __builtin_convertvector(x - offset, floats16) * projection->scale;
        memcpy(values + i, &value, sizeof value);
        sums += value;
    }
    for (size_t i = 0; i < TOGETHER; i++) {
        sum += sums[i];
    }
    return sum;
}

/* From scratch->inner to all that visits need of a query. */
static struct vdb_qgraph_query prepare(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch)
{
    const struct qgraph_projection *projection = &graph->projection;
    const size_t bits = graph->shape.bits;
    float scale;
    float bias;
    const uint32_t square = turn(scratch->inner, graph->shape.dimension, scratch->vector);
    graph->kernels->project(projection->matrix, scratch->inner, projection->inputs, bits, scratch->projected);
    const float sum = scale_projections(projection, scratch->projected, scratch->values);
    vdb_fastscan_tables(scratch->values, bits, scratch->tables, &scale, &bias);
    const float ratio = graph->unit / graph->slope_unit;
    return (struct vdb_qgraph_query){.vector = scratch->vector,
                                     .tables = scratch->tables,
                                     .scan = vdb_fastscan_get()->scan,
                                     .square = square,
                                     .unit = graph->unit,
                                     .slope = 2 * scale * ratio,
                                     .shift = (2 * bias - sum) * ratio};
}

static inline void ask_for(const struct vdb_qgraph *graph, uint32_t node)
{
    const uint8_t *block = qgraph_block(graph, node);
    for (uint32_t at = 0; at < graph->shape.block_bytes; at += VDB_CACHE_LINE_BYTES) {
        __builtin_prefetch(block + at);
    }
}

static bool remember(struct qgraph_scratch *scratch, uint32_t node, uint32_t distance)
{
    if (scratch->visited_count == scratch->visited_capacity) {
        void *visited = scratch->visited;
        if (!vdb_realloc_array(&visited, scratch->visited_capacity * 2, sizeof *scratch->visited)) {
            return false;
        }
        scratch->visited = visited;
        scratch->visited_capacity *= 2;
    }
    scratch->visited[scratch->visited_count++] = (struct vdb_candidate){distance, node};
    return true;
}

static inline void set_mark(struct qgraph_scratch *scratch, uint32_t node)
{
    scratch->marks[node / 32] |= UINT32_C(1) << (node % 32);
}

/* Takes the pool's best, which there is, for expansion and asks for its block. */
static inline uint32_t take_next(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, uint32_t limit)
{
    struct vdb_qgraph_pool *pool = &scratch->pool;
    const uint32_t node = pool->nodes[pool->next];
    pool->nodes[pool->next] |= VDB_QGRAPH_DONE;
    set_mark(scratch, node);
    ask_for(graph, node);
    while (pool->next < limit && (pool->nodes[pool->next] & VDB_QGRAPH_DONE) != 0) {
        pool->next++;
    }
    return node;
}

void vdb_qgraph_search_keep(uint32_t *nearest, size_t *count, size_t width, uint32_t distance)
{
    size_t i = *count < width ? (*count)++ : width;
    if (i == width) {
        if (distance >= nearest[width - 1]) {
            return;
        }
        i = width - 1;
    }
    for (; i > 0 && nearest[i - 1] > distance; i--) {
        nearest[i] = nearest[i - 1];
    }
    nearest[i] = distance;
}

/* When a walk ends before its pool does: beyond `factor` times the k-th distance. INFINITY: never. */
struct stop {
    size_t k;
    float factor;
    uint32_t places; /* of the pool, once k are known */
};

/* After a visit: once k are known, the pool's limit and its other places. */
static void set_limit(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, const struct stop *stop,
                      size_t *known, uint32_t distance)
{
    struct vdb_qgraph_pool *pool = &scratch->pool;
    const uint32_t full = (uint32_t)vdb_round_up(stop->places, VDB_QGRAPH_POOL_LANES);
    vdb_qgraph_search_keep(scratch->nearest, known, stop->k, distance);
    if (*known < stop->k) {
        return;
    }
    pool->limit = (float)scratch->nearest[stop->k - 1] * graph->unit * stop->factor;
    if (pool->lanes < full) {
        pool->next = pool->next == pool->lanes ? full : pool->next; /* nobody is in the other places yet */
        pool->lanes = full;
    }
}

/* The walk whose pool has `ef` places, and with a stop, of which it begins with so many. */
static bool walk(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef,
                 const struct stop *stop)
{
    struct vdb_qgraph_pool *pool = &scratch->pool;
    const struct vdb_qgraph_query query = prepare(graph, scratch);
    const bool stops = stop != NULL;
    const uint32_t limit = stops ? stop->places : (uint32_t)ef;
    size_t known = 0;
    bool complete = true;
    pool->lanes = (uint32_t)vdb_round_up(ef, VDB_QGRAPH_POOL_LANES);
    pool->limit = INFINITY;
    pool->marks = scratch->marks;
    pool->met = scratch->met;
    memset(scratch->met, 0, sizeof scratch->met);
    for (uint32_t i = 0; i < vdb_round_up(limit, VDB_QGRAPH_POOL_LANES); i++) {
        pool->distances[i] = INFINITY;
        pool->nodes[i] = VDB_QGRAPH_DONE;
    }
    pool->next = pool->lanes;
    scratch->visited_count = 0;
    for (size_t entry = 0; entry < graph->entry_count; entry++) {
        (void)graph->kernels->visit(&graph->shape, &query, qgraph_block(graph, graph->node_count + entry), pool);
    }
    uint32_t coming[AHEAD]; /* asked for, in the order in which they will be visited */
    size_t count = 0;
    for (;;) {
        while (count < AHEAD && pool->next < limit && pool->next < pool->lanes &&
               pool->distances[pool->next] <= pool->limit) {
            coming[count++] = take_next(graph, scratch, limit < pool->lanes ? limit : pool->lanes);
        }
        if (count == 0) {
            break;
        }
        const uint32_t node = coming[0];
        count--;
        for (size_t i = 0; i < count; i++) {
            coming[i] = coming[i + 1];
        }
        const uint32_t distance = graph->kernels->visit(&graph->shape, &query, qgraph_block(graph, node), pool);
        if (!remember(scratch, node, distance)) {
            complete = false;
            break;
        }
        if (stops) {
            set_limit(graph, scratch, stop, &known, distance);
        }
    }
    for (size_t i = 0; i < scratch->visited_count; i++) {
        scratch->marks[scratch->visited[i].row / 32] = 0;
    }
    return complete;
}

bool vdb_qgraph_search_walk(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef)
{
    return graph->compact.degree > 0 ? vdb_qgraph_compact_walk(graph, scratch, ef)
                                     : walk(graph, scratch, ef, NULL);
}

/* ---- Search ---- */

struct answer {
    const struct vdb_qgraph *graph;
    const struct vdb_rows *rows;
    const struct vdb_query *query;
    struct vdb_topk *topk;
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

/* The nearest visited nodes by inner distance, measured again on the rows. */
static bool rerank(struct answer *answer, struct qgraph_scratch *scratch)
{
    const size_t count = answer->topk->k + answer->topk->k / 2 + RERANK_MORE;
    if (scratch->heap_capacity < count) {
        void *heap = scratch->heap;
        if (!vdb_realloc_array(&heap, count, sizeof *scratch->heap)) {
            return false;
        }
        scratch->heap = heap;
        scratch->heap_capacity = count;
    }
    struct vdb_topk best;
    vdb_topk_init(&best, scratch->heap, count);
    for (size_t i = 0; i < scratch->visited_count; i++) {
        const struct vdb_candidate *visited = &scratch->visited[i];
        if (visited->distance <= vdb_topk_bound(&best) && any_allowed(answer, visited->row)) {
            (void)vdb_topk_push(&best, visited->distance, visited->row);
        }
    }
    vdb_topk_finish(&best);
    for (size_t i = 0; i < best.count && i < ROWS_AHEAD; i++) {
        ask_for_row(answer, best.heap[i].row);
    }
    for (size_t i = 0; i < best.count && can_get_in(answer, best.heap[i].distance); i++) {
        if (i + ROWS_AHEAD < best.count) {
            ask_for_row(answer, best.heap[i + ROWS_AHEAD].row);
        }
        offer(answer, best.heap[i].row, 0);
    }
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

vdb_status vdb_qgraph_search(const struct vdb_qgraph *graph, const struct vdb_rows *rows,
                             const struct vdb_query *query, struct vdb_topk *topk, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct answer answer = {graph, rows, query, topk, 0, 0};
    struct qgraph_scratch *scratch = NULL;
    struct stop stop = {.k = topk->k};
    bool complete = true;
    assert(topk->k > 0 && rows->dimension == graph->space.row_dimension);
    assert(query->allow == NULL || query->allow->count >= graph->row_end);
    if (query->wide) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "qgraph: takes queries of the rows' own element only");
    }
    size_t ef = query->ef == 0 ? graph->ef_search : query->ef;
    ef = ef < topk->k ? topk->k : ef;
    ef = width_of(graph, query, ef);
    ef = ef < graph->node_count ? ef : graph->node_count;
    if (ef == 0 || ef > VDB_QGRAPH_EF_MAX) {
        scan(&answer);
        goto counters;
    }
    stop.factor = query->allow == NULL ? vdb_qgraph_stop_factor(graph, ef, topk->k) : INFINITY;
    stop.places = (uint32_t)(ef * 2 < graph->node_count ? ef * 2 : graph->node_count);
    scratch = vdb_qgraph_search_scratch(graph, stop.factor < INFINITY ? stop.places : ef);
    if (scratch == NULL) {
        return vdb_err_no_memory(err, "a search of the graph");
    }
    if (!vdb_qgraph_space_query(&graph->space, query->vector, scratch->floats, scratch->inner)) {
        scan(&answer);
        goto counters;
    }
    complete = stop.factor < INFINITY ? walk(graph, scratch, ef, &stop)
                                      : vdb_qgraph_search_walk(graph, scratch, ef);
    answer.computed = graph->compact.degree > 0 ? scratch->touched_count : scratch->visited_count;
    if (complete && graph->space.exact) {
        for (size_t i = 0; i < scratch->visited_count; i++) {
            if (scratch->visited[i].distance <= vdb_topk_bound(topk)) {
                offer(&answer, scratch->visited[i].row, scratch->visited[i].distance);
            }
        }
    } else if (complete) {
        complete = rerank(&answer, scratch);
    }
    if (!complete) {
        status = vdb_err_no_memory(err, "a search of the graph");
    }
counters:
    if (query->counters != NULL) {
        query->counters->rows_visited += answer.visited;
        query->counters->distances_computed += answer.computed;
    }
    vdb_qgraph_search_release(graph, scratch);
    return status;
}
