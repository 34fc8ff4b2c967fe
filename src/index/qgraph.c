/* qgraph.c: the quantised graph as an index: its numbers, its rules, the table of operations.
 *
 * Q1 Every node is reached from an entry.
 * Q2 A node's neighbours are other nodes, each at most once; places nobody has point to the node itself, at
 * infinity. Q3 Every row that is in belongs to one node; a node's rows ascend.
 * Q4 A node's vector is the inner vector of each of its rows, and its norm is that vector's.
 *
 * Threads: shared-read once built.
 */
#include "qgraph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "qgraph_internal.h"

enum { HALF_INFINITY = 0x7C00, MET_WORDS = 16, REACH_AHEAD = 16 };

void vdb_qgraph_destroy(struct vdb_qgraph *graph)
{
    if (graph == NULL) {
        return;
    }
    for (size_t i = 0; i < QGRAPH_SCRATCH_SLOTS; i++) {
        vdb_qgraph_walk_free(atomic_load_explicit(&graph->scratch[i], memory_order_acquire));
    }
    vdb_qgraph_space_fini(&graph->space);
    vdb_qgraph_project_fini(&graph->projection);
    vdb_qgraph_block_free(graph->blocks, graph->blocks_bytes);
    vdb_bitset_fini(&graph->taken);
    free(graph->rows);
    free(graph);
}

void vdb_qgraph_get_info(const struct vdb_qgraph *graph, struct vdb_qgraph_info *out)
{
    const struct qgraph_projection *projection = &graph->projection;
    const bool compact = graph->compact.degree > 0;
    uint64_t bytes = sizeof *graph +
                     (compact ? graph->compact.bytes
                              : (uint64_t)(graph->node_count + graph->entry_count) * graph->shape.block_bytes) +
                     graph->shared_count * sizeof *graph->rows +
                     vdb_bitset_words(graph->row_end) * sizeof(uint64_t) +
                     (uint64_t)projection->inputs * projection->bits +
                     ((uint64_t)projection->inputs + projection->bits) * sizeof(float) +
                     (graph->space.exact ? 0 : graph->space.row_dimension * sizeof(float));
    *out = (struct vdb_qgraph_info){
        .row_count = graph->row_count,
        .node_count = graph->node_count,
        .code_bits = compact ? 0 : graph->shape.bits,
        .block_bytes = graph->shape.block_bytes,
        .degree = compact ? graph->compact.degree : VDB_QGRAPH_DEGREE,
        .compact = compact,
        .explained = projection->explained,
        .average_degree = graph->average_degree,
        .linked = graph->linked,
        .memory_bytes = bytes,
    };
}

/* ---- Rules ---- */

static bool is_among(const uint32_t *nodes, size_t count, uint32_t node)
{
    bool among = false;
    for (size_t i = 0; i < count; i++) {
        among = among || nodes[i] == node;
    }
    return among;
}

static vdb_status check_neighbours(const struct vdb_qgraph *graph, size_t node, struct vdb_err *err)
{
    uint32_t room[VDB_QGRAPH_DEGREE];
    const uint32_t *nodes = qgraph_neighbours(graph, node, room);
    uint64_t met[MET_WORDS] = {0}; /* bits of numbers: only what shares one can be there twice */
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        if (nodes[i] >= graph->node_count && nodes[i] != node) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: neighbour %zu is %u, and there are %zu nodes",
                               node, i, nodes[i], graph->node_count);
        }
        uint64_t *word = &met[nodes[i] / 64 % MET_WORDS];
        const bool shared = (*word >> (nodes[i] % 64) & 1) != 0;
        *word |= UINT64_C(1) << (nodes[i] % 64);
        if (shared && nodes[i] != node && is_among(nodes, i, nodes[i])) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: neighbour %u is there twice", node, nodes[i]);
        }
    }
    return VDB_OK;
}

static vdb_status check_factors(const struct vdb_qgraph *graph, size_t node, struct vdb_err *err)
{
    uint32_t room[VDB_QGRAPH_DEGREE];
    const uint32_t *nodes = qgraph_neighbours(graph, node, room);
    const uint8_t *factors = qgraph_block(graph, node) + graph->shape.factors_at;
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        const uint16_t offset = vdb_load_u16(factors + i * sizeof offset);
        const uint16_t slope = vdb_load_u16(factors + (VDB_QGRAPH_DEGREE + i) * sizeof slope);
        if ((nodes[i] == node) != (offset == HALF_INFINITY) || (offset & 0x7FFFu) > HALF_INFINITY ||
            (slope & HALF_INFINITY) == HALF_INFINITY) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: neighbour %zu has no usable factors", node,
                               i);
        }
    }
    return VDB_OK;
}

/* at: how much of the table of shared nodes belongs to the nodes before. */
static vdb_status check_rows(const struct vdb_qgraph *graph, size_t node, size_t *at, struct vdb_bitset *seen,
                             struct vdb_err *err)
{
    const bool compact = graph->compact.degree > 0;
    const uint32_t place = compact ? vdb_qgraph_compact_place(graph, node) : 0;
    const bool shared = compact ? (place & QGRAPH_SHARED) != 0 : qgraph_head(graph, node)->row_count != 1;
    if (shared) {
        const size_t begins = compact ? place & ~QGRAPH_SHARED : (size_t)qgraph_head(graph, node)->row_at - 1;
        if (begins != *at || begins >= graph->shared_count) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: its rows begin at %zu", node, begins);
        }
        if (graph->rows[begins] < 2 || graph->rows[begins] >= graph->shared_count - begins) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: it cannot have %u rows", node,
                               graph->rows[begins]);
        }
    }
    const struct vdb_qgraph_head head = qgraph_rows_of(graph, node);
    if (shared ? head.row_count != graph->rows[*at] || head.row != graph->rows[*at + 1] : head.row_at != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: row %u and %u in all are not its own", node,
                           head.row, head.row_count);
    }
    for (uint32_t i = 0; i < head.row_count; i++) {
        const uint32_t row = qgraph_row(graph, &head, i);
        if (row >= graph->row_end || !vdb_bitset_test(&graph->taken, row) || vdb_bitset_test(seen, row) ||
            (i > 0 && qgraph_row(graph, &head, i - 1) >= row)) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: row %u is out of order or not in", node, row);
        }
        vdb_bitset_set(seen, row);
    }
    *at += shared ? 1 + (size_t)head.row_count : 0;
    return VDB_OK;
}

static vdb_status check_vector(const struct vdb_qgraph *graph, const struct vdb_rows *rows, size_t node,
                               float *floats, uint8_t *inner, struct vdb_err *err)
{
    const struct vdb_qgraph_head head = qgraph_rows_of(graph, node);
    const bool compact = graph->compact.degree > 0;
    const uint8_t *vector = compact ? vdb_qgraph_compact_vector(graph, node) : qgraph_block(graph, node);
    uint32_t norm = 0;
    for (size_t i = 0; !compact && i < graph->shape.dimension; i++) {
        norm += (uint32_t)vector[i] * vector[i] - 256 * (uint32_t)vector[i];
    }
    if (norm != head.norm) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: its norm is not its vector's", node);
    }
    for (uint32_t i = 0; rows != NULL && i < head.row_count; i++) {
        const uint32_t row = qgraph_row(graph, &head, i);
        vdb_qgraph_space_row(&graph->space, vdb_rows_at(rows, row), floats, inner);
        if (memcmp(inner, vector, graph->shape.dimension) != 0) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: node %zu: its vector is not that of row %u", node, row);
        }
    }
    return VDB_OK;
}

static vdb_status check_reach(const struct vdb_qgraph *graph, uint32_t *queue, struct vdb_bitset *seen,
                              struct vdb_err *err)
{
    const bool compact = graph->compact.degree > 0;
    const size_t entries = compact ? 0 : graph->entry_count;
    size_t count = 0;
    uint32_t room[VDB_QGRAPH_DEGREE];
    memset(seen->words, 0, vdb_bitset_words(seen->count) * sizeof *seen->words);
    for (size_t i = 0; compact && i < vdb_qgraph_compact_entries(graph); i++) {
        queue[count] = (uint32_t)(graph->node_count * i / vdb_qgraph_compact_entries(graph));
        vdb_bitset_set(seen, queue[count++]);
    }
    for (size_t done = 0; done < entries + count; done++) {
        const size_t node = done < entries ? graph->node_count + done : queue[done - entries];
        const uint32_t *nodes = qgraph_neighbours(graph, node, room);
        if (done >= entries && done - entries + REACH_AHEAD < count) {
            const uint32_t coming = queue[done - entries + REACH_AHEAD];
            const uint8_t *links = compact ? vdb_qgraph_compact_links(graph, coming)
                                           : qgraph_block(graph, coming) + graph->shape.nodes_at;
            __builtin_prefetch(links);
            __builtin_prefetch(links + VDB_CACHE_LINE_BYTES);
        }
        for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
            if (nodes[i] < graph->node_count && !vdb_bitset_test(seen, nodes[i])) {
                vdb_bitset_set(seen, nodes[i]);
                queue[count++] = nodes[i];
            }
        }
    }
    if (count != graph->node_count) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: %zu of %zu nodes are not reached from the entries",
                           graph->node_count - count, graph->node_count);
    }
    return VDB_OK;
}

vdb_status vdb_qgraph_check(const struct vdb_qgraph *graph, const struct vdb_rows *rows, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const size_t most = graph->row_end > graph->node_count ? graph->row_end : graph->node_count;
    struct vdb_bitset seen = {0};
    uint32_t *queue = vdb_calloc(graph->node_count + 1, sizeof *queue);
    float *floats = vdb_calloc(graph->space.row_dimension, sizeof *floats);
    uint8_t *inner = vdb_calloc(graph->space.dimension, 1);
    size_t shared_at = 0;
    size_t found = 0;
    if (queue == NULL || floats == NULL || inner == NULL || !vdb_bitset_init(&seen, most + 1)) {
        status = vdb_err_no_memory(err, "a check of the graph");
        goto cleanup;
    }
    if (graph->node_count == 0) {
        goto cleanup;
    }
    const bool compact = graph->compact.degree > 0;
    for (size_t entry = 0; !compact && entry < graph->entry_count; entry++) {
        VDB_CHECK(check_neighbours(graph, graph->node_count + entry, err));
        VDB_CHECK(check_factors(graph, graph->node_count + entry, err));
    }
    for (size_t node = 0; node < graph->node_count; node++) {
        VDB_CHECK(check_neighbours(graph, node, err)); /* Q2 */
        if (!compact) {
            VDB_CHECK(check_factors(graph, node, err));
        }
        VDB_CHECK(check_rows(graph, node, &shared_at, &seen, err)); /* Q3 */
        found += qgraph_rows_of(graph, node).row_count;
        VDB_CHECK(check_vector(graph, rows, node, floats, inner, err)); /* Q4 */
    }
    if (shared_at != graph->shared_count || found != graph->row_count) {
        status = vdb_err_set(err, VDB_CORRUPT, "qgraph: nodes have %zu rows of %zu, and %zu numbers of %zu",
                             found, graph->row_count, shared_at, graph->shared_count);
        goto cleanup;
    }
    VDB_CHECK(check_reach(graph, queue, &seen, err)); /* Q1 */
cleanup:
    vdb_bitset_fini(&seen);
    free(queue);
    free(floats);
    free(inner);
    return status;
}

/* ---- The table ---- */

static vdb_status search(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                         struct vdb_topk *topk, struct vdb_err *err)
{
    return vdb_qgraph_search(index, rows, query, topk, err);
}

static vdb_status search_many(const void *index, const struct vdb_rows *rows, const struct vdb_query *queries,
                              struct vdb_topk *topks, size_t count, struct vdb_err *err)
{
    return vdb_qgraph_search_many(index, rows, queries, topks, count, err);
}

/* A walk measures one distance for each place of its pool, more under a filter in the measure in which it
 * refuses. */
static double cost(const void *index, const struct vdb_rows *rows, size_t allowed)
{
    const struct vdb_qgraph *graph = index;
    double walk = (double)graph->ef_search * (double)rows->count / (allowed > 0 ? (double)allowed : 1);
    return walk < (double)allowed ? walk : (double)allowed;
}

static vdb_status check(const void *index, const struct vdb_rows *rows, struct vdb_err *err)
{
    return vdb_qgraph_check(index, rows, err);
}

static void stats(const void *index, struct vdb_index_stats *out)
{
    struct vdb_qgraph_info info;
    vdb_qgraph_get_info(index, &info);
    out->memory_bytes = info.memory_bytes;
}

static vdb_status build(const struct vdb_rows *rows, const struct vdb_index_settings *settings, void **out,
                        struct vdb_err *err)
{
    struct vdb_qgraph *graph;
    vdb_status status = vdb_qgraph_build(rows, settings, &graph, err);
    *out = graph;
    return status;
}

static void destroy(void *index)
{
    vdb_qgraph_destroy(index);
}

static vdb_status save(void *index, const struct vdb_rows *rows, uint64_t stamp, vdb_index_write_fn *write,
                       void *ctx, struct vdb_err *err)
{
    (void)rows;
    return vdb_qgraph_save(index, stamp, write, ctx, err);
}

static vdb_status load(const struct vdb_rows *rows, uint64_t stamp, const void *data, size_t bytes, void **out,
                       struct vdb_err *err)
{
    struct vdb_qgraph *graph;
    vdb_status status = vdb_qgraph_load(rows, stamp, data, bytes, &graph, err);
    *out = graph;
    return status;
}

const struct vdb_index_ops vdb_index_qgraph = {
    .name = "qgraph",
    .caps = VDB_INDEX_BUILT,
    .search = search,
    .search_many = search_many,
    .cost = cost,
    .check = check,
    .stats = stats,
    .build = build,
    .destroy = destroy,
    .save = save,
    .load = load,
};
