/* qgraph_walk.c: the walk over blocks.
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
 * Walks for several queries that take turns (vdb_qgraph_search_many) wait for memory together, and need fewer.
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
#include "qgraph_internal.h"

enum { VISITED_MIN = 1024 };

/* ---- Scratch ---- */

void vdb_qgraph_walk_free(struct qgraph_scratch *scratch)
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
        vdb_qgraph_walk_free(scratch);
        return NULL;
    }
    return scratch;
}

bool vdb_qgraph_walk_widen(struct qgraph_scratch *scratch, size_t ef)
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

struct qgraph_scratch *vdb_qgraph_walk_scratch(const struct vdb_qgraph *graph, size_t ef)
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
    if (scratch != NULL && !vdb_qgraph_walk_widen(scratch, ef)) {
        vdb_qgraph_walk_free(scratch);
        scratch = NULL;
    }
    return scratch;
}

void vdb_qgraph_walk_release(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch)
{
    struct vdb_qgraph *lender = (struct vdb_qgraph *)(uintptr_t)graph;
    for (size_t i = 0; i < QGRAPH_SCRATCH_SLOTS && scratch != NULL; i++) {
        struct qgraph_scratch *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&lender->scratch[i], &none, scratch, memory_order_release,
                                                    memory_order_relaxed)) {
            scratch = NULL;
        }
    }
    vdb_qgraph_walk_free(scratch);
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

void vdb_qgraph_walk_keep(uint32_t *nearest, size_t *count, size_t width, uint32_t distance)
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

/* After a visit: once k are known, the pool's limit and its other places. */
static void set_limit(const struct vdb_qgraph *graph, struct qgraph_walk *walk, uint32_t distance)
{
    struct qgraph_scratch *scratch = walk->scratch;
    struct vdb_qgraph_pool *pool = &scratch->pool;
    const struct qgraph_stop *stop = &walk->stop;
    const uint32_t full = (uint32_t)vdb_round_up(stop->places, VDB_QGRAPH_POOL_LANES);
    vdb_qgraph_walk_keep(scratch->nearest, &walk->known, stop->k, distance);
    if (walk->known < stop->k) {
        return;
    }
    pool->limit = (float)scratch->nearest[stop->k - 1] * graph->unit * stop->factor;
    if (pool->lanes < full) {
        pool->next = pool->next == pool->lanes ? full : pool->next; /* nobody is in the other places yet */
        pool->lanes = full;
    }
    pool->last = stop->places - 1;
}

/* Takes nodes for the next visits; false, and all marks are taken back, when there are none. */
static bool look_ahead(const struct vdb_qgraph *graph, struct qgraph_walk *walk)
{
    struct qgraph_scratch *scratch = walk->scratch;
    const struct vdb_qgraph_pool *pool = &scratch->pool;
    const uint32_t limit = walk->limit < pool->lanes ? walk->limit : pool->lanes;
    while (walk->coming_count < walk->ahead && pool->next < limit && pool->distances[pool->next] <= pool->limit) {
        walk->coming[walk->coming_count++] = take_next(graph, scratch, limit);
    }
    if (walk->coming_count > 0 && walk->complete) {
        return true;
    }
    for (size_t i = 0; i < scratch->visited_count; i++) {
        scratch->marks[scratch->visited[i].row / 32] = 0;
    }
    for (size_t i = 0; i < walk->coming_count; i++) {
        scratch->marks[walk->coming[i] / 32] = 0;
    }
    return false;
}

bool vdb_qgraph_walk_begin(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef,
                           const struct qgraph_stop *stop, unsigned ahead, struct qgraph_walk *walk)
{
    struct vdb_qgraph_pool *pool = &scratch->pool;
    assert(graph->compact.degree == 0 && ahead >= 1 && ahead <= QGRAPH_AHEAD_MAX);
    *walk = (struct qgraph_walk){.scratch = scratch,
                                 .query = prepare(graph, scratch),
                                 .stops = stop != NULL,
                                 .limit = stop != NULL ? stop->places : (uint32_t)ef,
                                 .ahead = ahead,
                                 .complete = true};
    if (stop != NULL) {
        walk->stop = *stop;
    }
    pool->lanes = (uint32_t)vdb_round_up(ef, VDB_QGRAPH_POOL_LANES);
    pool->last = (uint32_t)ef - 1;
    pool->limit = INFINITY;
    pool->marks = scratch->marks;
    pool->met = scratch->met;
    memset(scratch->met, 0, sizeof scratch->met);
    for (uint32_t i = 0; i < vdb_round_up(walk->limit, VDB_QGRAPH_POOL_LANES); i++) {
        pool->distances[i] = INFINITY;
        pool->nodes[i] = VDB_QGRAPH_DONE;
    }
    pool->next = pool->lanes;
    scratch->visited_count = 0;
    for (size_t entry = 0; entry < graph->entry_count; entry++) {
        (void)graph->kernels->visit(&graph->shape, &walk->query, qgraph_block(graph, graph->node_count + entry),
                                    pool);
    }
    return look_ahead(graph, walk);
}

bool vdb_qgraph_walk_step(const struct vdb_qgraph *graph, struct qgraph_walk *walk)
{
    const uint32_t node = walk->coming[0];
    walk->coming_count--;
    for (unsigned i = 0; i < walk->coming_count; i++) {
        walk->coming[i] = walk->coming[i + 1];
    }
    const uint32_t distance = graph->kernels->visit(&graph->shape, &walk->query, qgraph_block(graph, node),
                                                    &walk->scratch->pool);
    if (!remember(walk->scratch, node, distance)) {
        walk->complete = false;
        walk->scratch->marks[node / 32] = 0;
    }
    if (walk->stops) {
        set_limit(graph, walk, distance);
    }
    return look_ahead(graph, walk);
}

bool vdb_qgraph_walk(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef)
{
    struct qgraph_walk walk;
    if (graph->compact.degree > 0) {
        return vdb_qgraph_compact_walk(graph, scratch, ef);
    }
    for (bool on = vdb_qgraph_walk_begin(graph, scratch, ef, NULL, QGRAPH_AHEAD_ALONE, &walk); on;) {
        on = vdb_qgraph_walk_step(graph, &walk);
    }
    return walk.complete;
}
