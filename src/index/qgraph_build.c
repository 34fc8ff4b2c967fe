/* qgraph_build.c: from rows to a graph.
 *
 *     rows -> inner vectors, equal ones together -> projections -> an order in which near nodes lie near
 *     -> candidates (qgraph_near.c, qgraph_seeds.c) -> pruned lists -> with reverse edges, filled up -> blocks
 *     -> each refinement: every node searched in the graph as it is; what the walk expanded is pruned anew
 *     -> every node reachable from an entry
 *
 * Threads: uses the pool's.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "distance/cpu.h"
#include "qgraph_internal.h"

enum {
    EF_CONSTRUCTION = 64,
    REFINEMENTS = 1,
    EF_CONSTRUCTION_MIN = 16,
    EF_CONSTRUCTION_MAX = 4096,
    REFINEMENTS_MAX = 8,
    EF_SEARCH = 64,
    NODES_PER_ENTRY = 1024,
    ENTRIES_COMPACT = 2, /* whose neighbours are measured one by one */
};

static const float ALPHA = 1.2F;

void vdb_qgraph_build_run(struct qgraph_builder *builder, size_t items, vdb_pool_work_fn *work)
{
    const size_t pieces = (items + QGRAPH_PIECE_NODES - 1) / QGRAPH_PIECE_NODES;
    if (builder->pool != NULL) {
        vdb_pool_run(builder->pool, pieces, work, builder);
        return;
    }
    for (size_t i = 0; i < pieces; i++) {
        work(builder, 0, i);
    }
}

vdb_status vdb_qgraph_build_report(struct qgraph_builder *builder, struct vdb_err *err)
{
    const struct vdb_index_settings *settings = builder->settings;
    builder->steps += builder->graph->node_count;
    if (settings != NULL && settings->progress != NULL &&
        !settings->progress(settings->progress_ctx, builder->steps, builder->steps_total)) {
        return vdb_err_set(err, VDB_CANCELLED, "the graph's build was stopped");
    }
    return VDB_OK;
}

/* ---- Inner vectors ---- */

static void load_rows(void *ctx, unsigned worker, size_t index)
{
    struct qgraph_builder *builder = ctx;
    for (size_t i = index * QGRAPH_PIECE_NODES; i < qgraph_piece_end(index, builder->taken_count); i++) {
        vdb_qgraph_space_row(&builder->graph->space, vdb_rows_at(builder->rows, builder->taken[i]),
                             builder->workers[worker].floats, builder->vectors + i * builder->vector_bytes);
    }
}

/* Rows with equal inner vectors become one node, numbered by its first row; vectors move up. */
static vdb_status join_equal(struct qgraph_builder *builder, struct vdb_err *err)
{
    const size_t count = builder->taken_count;
    const size_t bytes = builder->vector_bytes;
    size_t slots = 16;
    while (slots < count * 2) {
        slots *= 2;
    }
    uint32_t *table = vdb_calloc(slots, sizeof *table); /* node + 1 */
    uint32_t *hashes = vdb_calloc(count, sizeof *hashes);
    uint32_t *lasts = vdb_calloc(count, sizeof *lasts);
    builder->firsts = vdb_calloc(count, sizeof *builder->firsts);
    builder->next = vdb_calloc(count, sizeof *builder->next);
    if (table == NULL || hashes == NULL || lasts == NULL || builder->firsts == NULL || builder->next == NULL) {
        free(table);
        free(hashes);
        free(lasts);
        return vdb_err_no_memory(err, "the graph's nodes");
    }
    size_t node_count = 0;
    for (size_t row = 0; row < count; row++) {
        const uint8_t *vector = builder->vectors + row * bytes;
        uint32_t hash = vdb_crc32c(0, vector, bytes);
        size_t slot = hash & (slots - 1);
        while (table[slot] != 0 && (hashes[table[slot] - 1] != hash ||
                                    memcmp(builder->vectors + (table[slot] - 1) * bytes, vector, bytes) != 0)) {
            slot = (slot + 1) & (slots - 1);
        }
        builder->next[row] = UINT32_MAX;
        if (table[slot] != 0) {
            builder->next[lasts[table[slot] - 1]] = (uint32_t)row;
            lasts[table[slot] - 1] = (uint32_t)row;
            continue;
        }
        if (node_count != row) {
            memcpy(builder->vectors + node_count * bytes, vector, bytes);
        }
        hashes[node_count] = hash;
        builder->firsts[node_count] = (uint32_t)row;
        lasts[node_count] = (uint32_t)row;
        table[slot] = (uint32_t)++node_count;
    }
    builder->graph->node_count = node_count;
    free(table);
    free(hashes);
    free(lasts);
    return VDB_OK;
}

/* ---- Projections ---- */

/* From the inner vectors, in their order of rows. */
static void project_nodes(void *ctx, unsigned worker_number, size_t index)
{
    struct qgraph_builder *builder = ctx;
    const struct vdb_qgraph *graph = builder->graph;
    const struct qgraph_projection *projection = &graph->projection;
    const size_t bits = graph->shape.bits;
    const double in_cloud = (double)projection->unit * 128; /* a step of the 8-bit codes, in inner units */
    int32_t *projected = builder->workers[worker_number].projected;
    for (size_t node = index * QGRAPH_PIECE_NODES; node < qgraph_piece_end(index, graph->node_count); node++) {
        const uint8_t *vector = builder->vectors + node * builder->vector_bytes;
        int16_t *codes = builder->codes + node * bits;
        int8_t *low = builder->cloud.codes + node * bits;
        int32_t sum = 0;
        int32_t square = 0;
        double held = 0;
        graph->kernels->project(projection->matrix, vector, projection->inputs, bits, projected);
        for (size_t j = 0; j < bits; j++) {
            float scaled = (float)(projected[j] - projection->offset[j]) * projection->scale;
            scaled = scaled > VDB_QGRAPH_CODE_MAX    ? VDB_QGRAPH_CODE_MAX
                     : scaled < -VDB_QGRAPH_CODE_MAX ? -VDB_QGRAPH_CODE_MAX
                                                     : scaled;
            codes[j] = (int16_t)lrintf(scaled);
            int32_t code = (codes[j] + 64) >> 7;
            code = code > 127 ? 127 : code;
            low[j] = (int8_t)code;
            sum += code;
            square += code * code;
            held += (double)codes[j] * (double)codes[j];
        }
        double whole = 0;
        for (size_t i = 0; i < graph->shape.dimension; i++) {
            double x = (double)vector[i] - (double)projection->mean[i];
            whole += x * x;
        }
        const double outside = whole - held * (double)projection->unit * (double)projection->unit;
        const double rest = outside / (in_cloud * in_cloud);
        builder->rest[node] = (float)outside;
        builder->cloud.sum[node] = sum;
        builder->cloud.norm[node] = square + (rest > 0 && rest < 1e8 ? (int32_t)rest : 0);
    }
}

static vdb_status project(struct qgraph_builder *builder, struct vdb_err *err)
{
    struct vdb_qgraph *graph = builder->graph;
    const size_t count = graph->node_count;
    VDB_TRY(vdb_qgraph_project_init(&graph->projection, builder->vectors, builder->vector_bytes, count,
                                    graph->space.dimension, builder->params.code_bits, builder->params.seed,
                                    err));
    vdb_qgraph_block_shape(graph->space.dimension, graph->projection.bits, count, &graph->shape);
    const size_t bits = graph->shape.bits;
    builder->codes = vdb_calloc(count + 1, bits * sizeof *builder->codes);
    builder->rest = vdb_calloc(count + 1, sizeof *builder->rest);
    builder->cloud = (struct qgraph_cloud){.count = count, .bits = bits};
    builder->cloud.codes = vdb_calloc(count, bits);
    builder->cloud.norm = vdb_calloc(count, sizeof *builder->cloud.norm);
    builder->cloud.sum = vdb_calloc(count, sizeof *builder->cloud.sum);
    bool done = builder->codes != NULL && builder->rest != NULL && builder->cloud.codes != NULL &&
                builder->cloud.norm != NULL && builder->cloud.sum != NULL;
    for (unsigned i = 0; done && i < builder->worker_count; i++) {
        builder->workers[i].projected = vdb_alloc_aligned(bits * sizeof *builder->workers[i].projected);
        done = builder->workers[i].projected != NULL;
    }
    if (!done) {
        return vdb_err_no_memory(err, "the graph's projections");
    }
    vdb_qgraph_build_run(builder, count, project_nodes);
    return VDB_OK;
}

/* ---- The order of nodes ---- */

/* Moves `count` items of `bytes` each so that the i-th is what was order[i]-th: along each cycle of the order,
 * the first of it kept in `spare`. moved: count bits. */
static void reorder(void *items, const uint32_t *order, size_t count, size_t bytes, char *spare,
                    struct vdb_bitset *moved)
{
    char *all = items;
    memset(moved->words, 0, vdb_bitset_words(count) * sizeof *moved->words);
    for (size_t first = 0; first < count; first++) {
        if (vdb_bitset_test(moved, first)) {
            continue;
        }
        memcpy(spare, all + first * bytes, bytes);
        size_t to = first;
        for (size_t from = order[to]; from != first; to = from, from = order[from]) {
            __builtin_prefetch(all + (size_t)order[from] * bytes);
            memcpy(all + to * bytes, all + from * bytes, bytes);
            vdb_bitset_set(moved, to);
        }
        memcpy(all + to * bytes, spare, bytes);
        vdb_bitset_set(moved, to);
    }
}

/* What is known of nodes goes where the nodes went. */
static vdb_status reorder_all(struct qgraph_builder *builder, struct vdb_err *err)
{
    const size_t count = builder->graph->node_count;
    const size_t bits = builder->graph->shape.bits;
    struct vdb_bitset moved = {0};
    char *spare = vdb_calloc(bits, sizeof *builder->codes);
    if (spare == NULL || !vdb_bitset_init(&moved, count)) {
        free(spare);
        return vdb_err_no_memory(err, "the graph's order");
    }
    reorder(builder->codes, builder->order, count, bits * sizeof *builder->codes, spare, &moved);
    reorder(builder->rest, builder->order, count, sizeof *builder->rest, spare, &moved);
    reorder(builder->cloud.codes, builder->order, count, bits, spare, &moved);
    reorder(builder->cloud.norm, builder->order, count, sizeof *builder->cloud.norm, spare, &moved);
    reorder(builder->cloud.sum, builder->order, count, sizeof *builder->cloud.sum, spare, &moved);
    vdb_bitset_fini(&moved);
    free(spare);
    return VDB_OK;
}

static uint32_t norm_of(const uint8_t *vector, size_t dimension)
{
    uint32_t norm = 0;
    for (size_t i = 0; i < dimension; i++) {
        norm += (uint32_t)vector[i] * vector[i] - 256 * (uint32_t)vector[i];
    }
    return norm;
}

static void place_nodes(void *ctx, unsigned worker_number, size_t index)
{
    struct qgraph_builder *builder = ctx;
    struct vdb_qgraph *graph = builder->graph;
    (void)worker_number;
    for (size_t node = index * QGRAPH_PIECE_NODES; node < qgraph_piece_end(index, graph->node_count); node++) {
        const size_t from = builder->order[node];
        const uint8_t *vector = builder->vectors + from * builder->vector_bytes;
        struct vdb_qgraph_head *head = qgraph_head(graph, node);
        const uint32_t numbers = builder->places[node + 1] - builder->places[node];
        uint32_t *numbers_at = graph->rows + builder->places[node];
        memcpy(qgraph_block(graph, node), vector, graph->shape.dimension);
        head->row_at = numbers > 0 ? builder->places[node] + 1 : 0;
        head->row = builder->taken[builder->firsts[from]];
        head->row_count = numbers > 0 ? numbers - 1 : 1;
        head->norm = norm_of(vector, graph->shape.dimension);
        if (numbers > 0) {
            *numbers_at++ = numbers - 1;
            for (uint32_t row = builder->firsts[from]; row != UINT32_MAX; row = builder->next[row]) {
                *numbers_at++ = builder->taken[row];
            }
        }
    }
}

/* Puts all into the order, vectors and rows into blocks; then `vectors` is gone. */
static vdb_status place(struct qgraph_builder *builder, struct vdb_err *err)
{
    struct vdb_qgraph *graph = builder->graph;
    const size_t count = graph->node_count;
    size_t bytes;
    builder->order = vdb_calloc(count, sizeof *builder->order);
    builder->places = vdb_calloc(count + 1, sizeof *builder->places);
    if (builder->order == NULL || builder->places == NULL ||
        !vdb_size_mul(count + QGRAPH_ENTRIES_MAX, graph->shape.block_bytes, &bytes)) {
        return vdb_err_no_memory(err, "the graph's order");
    }
    graph->blocks = vdb_qgraph_block_alloc(bytes, &graph->blocks_bytes);
    if (graph->blocks == NULL) {
        return vdb_err_no_memory(err, "the graph's blocks");
    }
    graph->entry_count = (uint32_t)(count / NODES_PER_ENTRY);
    graph->entry_count = graph->entry_count < 1 ? 1 : graph->entry_count;
    const uint32_t most = builder->params.compact ? ENTRIES_COMPACT : QGRAPH_ENTRIES_MAX;
    graph->entry_count = graph->entry_count < most ? graph->entry_count : most;
    VDB_TRY(vdb_qgraph_near_order(&builder->cloud, builder->params.seed + 1, builder->pool, builder->order, err));
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) { /* first where each node's rows go, then all at once */
        uint32_t rows = 0;
        for (uint32_t row = builder->firsts[builder->order[i]]; row != UINT32_MAX; row = builder->next[row]) {
            rows++;
        }
        builder->places[i] = at;
        at += rows > 1 ? 1 + rows : 0;
    }
    builder->places[count] = at;
    graph->shared_count = at;
    graph->rows = vdb_calloc(at, sizeof *graph->rows);
    if (graph->rows == NULL) {
        return vdb_err_no_memory(err, "the graph's rows");
    }
    vdb_qgraph_build_run(builder, count, place_nodes);
    for (size_t entry = 0; entry < graph->entry_count; entry++) {
        uint8_t *middle = qgraph_block(graph, count + entry);
        for (size_t d = 0; d < graph->shape.dimension; d++) {
            middle[d] = (uint8_t)lrintf(graph->projection.mean[d]);
        }
        qgraph_head(graph, count + entry)->norm = norm_of(middle, graph->shape.dimension);
    }
    vdb_qgraph_block_free(builder->vectors, builder->vectors_mapped);
    builder->vectors = NULL;
    return reorder_all(builder, err);
}

/* ---- All of it ---- */

struct vdb_qgraph_params vdb_qgraph_params_default(void)
{
    return (struct vdb_qgraph_params){EF_CONSTRUCTION, REFINEMENTS, 0, EF_SEARCH, ALPHA, 1, false};
}

vdb_status vdb_qgraph_params_check(const struct vdb_qgraph_params *params, struct vdb_err *err)
{
    if (params->ef_construction < EF_CONSTRUCTION_MIN || params->ef_construction > EF_CONSTRUCTION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "ef_construction: %u is not in %u to %u", params->ef_construction,
                           EF_CONSTRUCTION_MIN, EF_CONSTRUCTION_MAX);
    }
    if (params->refinements > REFINEMENTS_MAX) {
        return vdb_err_set(err, VDB_INVALID, "refinements: %u is not in 0 to %u", params->refinements,
                           REFINEMENTS_MAX);
    }
    if (params->code_bits % 64 != 0 || params->code_bits > VDB_QGRAPH_BITS_MAX) {
        return vdb_err_set(err, VDB_INVALID, "code_bits: %u is no multiple of 64 from 0 to %u", params->code_bits,
                           VDB_QGRAPH_BITS_MAX);
    }
    if (params->ef_search == 0 || params->ef_search > VDB_QGRAPH_EF_MAX) {
        return vdb_err_set(err, VDB_INVALID, "ef_search: %u is not in 1 to %u", params->ef_search,
                           VDB_QGRAPH_EF_MAX);
    }
    if (!(params->alpha >= 1 && params->alpha <= 2)) {
        return vdb_err_set(err, VDB_INVALID, "alpha: %g is not in 1 to 2", (double)params->alpha);
    }
    return VDB_OK;
}

static vdb_status check_rows(const struct vdb_rows *rows, struct vdb_err *err)
{
    if (rows->metric != VDB_METRIC_L2 && rows->metric != VDB_METRIC_COSINE && rows->metric != VDB_METRIC_DOT) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "metric: qgraph has no %s; it has l2, cosine and dot",
                           vdb_metric_name(rows->metric));
    }
    if (!vdb_metric_fits(rows->element, rows->metric)) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "metric: qgraph: %s does not compare vectors of %s",
                           vdb_metric_name(rows->metric), vdb_element_name(rows->element));
    }
    if (rows->dimension == 0 || rows->dimension > VDB_QGRAPH_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "dimension: %zu is not in 1 to %u", rows->dimension,
                           VDB_QGRAPH_DIMENSION_MAX);
    }
    if (rows->count > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "rows: %zu is over the limit of %u in one index", rows->count,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    return VDB_OK;
}

static void builder_fini(struct qgraph_builder *builder)
{
    for (unsigned i = 0; builder->workers != NULL && i < builder->worker_count; i++) {
        free(builder->workers[i].floats);
        free(builder->workers[i].projected);
    }
    vdb_pool_destroy(builder->pool);
    free(builder->workers);
    free(builder->taken);
    vdb_qgraph_block_free(builder->vectors, builder->vectors_mapped);
    free(builder->firsts);
    free(builder->next);
    free(builder->order);
    free(builder->places);
    free(builder->codes);
    free(builder->rest);
    free(builder->cloud.codes);
    free(builder->cloud.norm);
    free(builder->cloud.sum);
    vdb_qgraph_near_fini(&builder->near);
    vdb_qgraph_seeds_fini(&builder->seeding);
    vdb_qgraph_weave_lists_fini(&builder->now);
    vdb_qgraph_weave_lists_fini(&builder->then);
    free(builder->incoming_at);
    free(builder->incoming);
}

/* Which rows go in; their number and bits go to the graph. */
static vdb_status take_rows(struct qgraph_builder *builder, struct vdb_err *err)
{
    struct vdb_qgraph *graph = builder->graph;
    const struct vdb_bitset *only = builder->settings != NULL ? builder->settings->only : NULL;
    const size_t count = builder->rows->count;
    builder->taken = vdb_calloc(count + 1, sizeof *builder->taken);
    if (builder->taken == NULL || !vdb_bitset_init(&graph->taken, count)) {
        return vdb_err_no_memory(err, "the graph's rows");
    }
    for (size_t row = 0; row < count; row++) {
        if (only == NULL || vdb_bitset_test(only, row)) {
            vdb_bitset_set(&graph->taken, row);
            builder->taken[builder->taken_count++] = (uint32_t)row;
        }
    }
    graph->row_count = builder->taken_count;
    graph->row_end = count;
    return VDB_OK;
}

static vdb_status builder_init(struct qgraph_builder *builder, struct vdb_err *err)
{
    const unsigned threads = builder->settings != NULL ? builder->settings->threads : 0;
    size_t bytes;
    if (threads != 1) {
        VDB_TRY(vdb_pool_create(threads, &builder->pool, err));
    }
    builder->worker_count = builder->pool == NULL ? 1 : vdb_pool_threads(builder->pool);
    builder->workers = vdb_calloc(builder->worker_count, sizeof *builder->workers);
    if (builder->workers == NULL) {
        return vdb_err_no_memory(err, "the graph's threads");
    }
    for (unsigned i = 0; i < builder->worker_count; i++) {
        builder->workers[i].floats = vdb_alloc_aligned(builder->rows->dimension * sizeof(float));
        if (builder->workers[i].floats == NULL) {
            return vdb_err_no_memory(err, "the graph's threads");
        }
    }
    builder->degree = builder->params.compact ? vdb_qgraph_compact_degree(builder->graph->space.dimension)
                                              : VDB_QGRAPH_DEGREE;
    builder->vector_bytes = vdb_round_up(builder->graph->space.dimension, 64);
    if (vdb_size_mul(builder->taken_count, builder->vector_bytes, &bytes)) {
        builder->vectors = vdb_qgraph_block_alloc(bytes, &builder->vectors_mapped);
    }
    return builder->vectors != NULL ? VDB_OK : vdb_err_no_memory(err, "the graph's vectors");
}

vdb_status vdb_qgraph_build(const struct vdb_rows *rows, const struct vdb_index_settings *settings,
                            struct vdb_qgraph **out, struct vdb_err *err)
{
    vdb_status status;
    struct qgraph_builder builder = {.rows = rows, .settings = settings, .params = vdb_qgraph_params_default()};
    *out = NULL;
    if (settings != NULL && settings->params != NULL) {
        builder.params = *(const struct vdb_qgraph_params *)settings->params;
    }
    VDB_TRY(vdb_qgraph_params_check(&builder.params, err));
    VDB_TRY(check_rows(rows, err));
    struct vdb_qgraph *graph = vdb_calloc(1, sizeof *graph);
    if (graph == NULL) {
        return vdb_err_no_memory(err, "a graph");
    }
    builder.graph = graph;
    graph->kernels = vdb_qgraph_kernels_get();
    graph->ef_search = builder.params.ef_search;
    graph->unit = 1;
    graph->slope_unit = 1;
    VDB_CHECK(take_rows(&builder, err));
    VDB_CHECK(vdb_qgraph_space_init(&graph->space, rows, err));
    if (graph->row_count > 0) {
        VDB_CHECK(builder_init(&builder, err));
        vdb_qgraph_build_run(&builder, graph->row_count, load_rows);
        VDB_CHECK(join_equal(&builder, err));
        builder.steps_total = (uint64_t)graph->node_count * (4 + 2 * (uint64_t)builder.params.refinements);
        VDB_CHECK(vdb_qgraph_build_report(&builder, err));
        VDB_CHECK(project(&builder, err));
        VDB_CHECK(vdb_qgraph_build_report(&builder, err));
        VDB_CHECK(place(&builder, err));
        VDB_CHECK(vdb_qgraph_seeds_init(&builder, err));
        VDB_CHECK(vdb_qgraph_weave(&builder, err));
        if (builder.params.compact) {
            VDB_CHECK(vdb_qgraph_compact_from(graph, err));
        }
        if (!vdb_qgraph_stop_set(graph)) {
            status = vdb_err_no_memory(err, "the graph's widths");
            goto cleanup;
        }
    }
    *out = graph;
cleanup:
    builder_fini(&builder);
    if (status != VDB_OK) {
        vdb_qgraph_destroy(graph);
    }
    return status;
}
