/* vecdb_bench_graph.c: the graph indexes for the benchmark harness: build, save, load, and batches of queries of
 * which each thread takes some at a time. As in vecdb_bench.c, nothing here makes a search faster.
 */
#include "vecdb_bench_graph.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/pool.h"
#include "distance/cpu.h"
#include "index/hnsw.h"
#include "index/qgraph.h"

enum {
    STAMP = 1, /* one set of rows for each file */
    PIECE_QUERIES = 64,
};

struct vecdb_bench_graph {
    const struct vdb_index_ops *ops;
    void *index;
    const void *row_data; /* what rows.chunks points to */
    struct vdb_rows rows;
    struct vdb_pool *pool;
    struct vdb_candidate *memory; /* memory_count for each of the pool's threads */
    size_t memory_count;
};

/* A batch while it runs. */
struct batch {
    const struct vecdb_bench_graph *graph;
    const struct vecdb_bench_job *job;
    size_t ef;
    size_t piece_queries; /* handed to the index at once: 1 or PIECE_QUERIES */
    uint32_t *ids;
    struct failure {
        vdb_status status;
        struct vdb_err err;
    } * failures; /* the first of each thread */
};

static int finish(vdb_status status, const struct vdb_err *err, struct vecdb_bench_text text)
{
    if (status != VDB_OK) {
        (void)snprintf(text.data, text.bytes, "%s", err->text);
    }
    return (int)status;
}

static vdb_status check(const struct vecdb_bench_job *job, struct vdb_err *err)
{
    VDB_TRY(vdb_cpu_check(err));
    if (job->element >= VDB_ELEMENT_COUNT || job->metric >= VDB_METRIC_COUNT) {
        return vdb_err_set(err, VDB_INVALID, "element: %u, metric: %u: unknown", job->element, job->metric);
    }
    if (job->dimension < 1 || job->dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "dimension: %llu is not in 1..%u",
                           (unsigned long long)job->dimension, VDB_LIMIT_DIMENSION_MAX);
    }
    return VDB_OK;
}

static vdb_status create(const struct vecdb_bench_job *job, const struct vecdb_bench_graph_options *options,
                         struct vecdb_bench_graph **out, struct vdb_err *err)
{
    VDB_TRY(check(job, err));
    if (options->kind != VECDB_BENCH_HNSW && options->kind != VECDB_BENCH_QGRAPH) {
        return vdb_err_set(err, VDB_INVALID, "kind: %u is neither %d, hnsw, nor %d, qgraph", options->kind,
                           VECDB_BENCH_HNSW, VECDB_BENCH_QGRAPH);
    }
    struct vecdb_bench_graph *graph = calloc(1, sizeof *graph);
    if (graph == NULL) {
        return vdb_err_no_memory(err, "graph");
    }
    graph->ops = options->kind == VECDB_BENCH_HNSW ? &vdb_index_hnsw : &vdb_index_qgraph;
    graph->row_data = job->rows;
    graph->rows = vdb_rows_of_array(&graph->row_data, (size_t)job->row_count, (size_t)job->dimension,
                                    (vdb_element)job->element, (vdb_metric)job->metric);
    *out = graph;
    return VDB_OK;
}

/* Builds with the kind's parameters. */
static vdb_status build(struct vecdb_bench_graph *graph, const struct vecdb_bench_graph_options *options,
                        unsigned threads, struct vdb_err *err)
{
    struct vdb_hnsw_params hnsw = vdb_hnsw_params_default();
    struct vdb_qgraph_params qgraph = vdb_qgraph_params_default();
    struct vdb_index_settings settings = {.threads = threads, .params = &qgraph};
    if (options->kind == VECDB_BENCH_HNSW) {
        hnsw.m = options->m != 0 ? options->m : hnsw.m;
        hnsw.ef_construction = options->ef_construction != 0 ? options->ef_construction : hnsw.ef_construction;
        hnsw.vectors_inside = true;
        hnsw.inside_as = (vdb_element)options->inside;
        settings.params = &hnsw;
    } else {
        qgraph.ef_construction = options->ef_construction != 0 ? options->ef_construction
                                                               : qgraph.ef_construction;
        qgraph.compact = options->compact != 0;
    }
    return graph->ops->build(&graph->rows, &settings, &graph->index, err);
}

int vecdb_bench_graph_build(const struct vecdb_bench_job *job, const struct vecdb_bench_graph_options *options,
                            struct vecdb_bench_graph **out, struct vecdb_bench_text text)
{
    struct vdb_err err = {0};
    struct vecdb_bench_graph *graph = NULL;
    vdb_status status;
    *out = NULL;
    VDB_CHECK(create(job, options, &graph, &err));
    VDB_CHECK(build(graph, options, job->threads, &err));
    *out = graph;
    graph = NULL;
cleanup:
    vecdb_bench_graph_destroy(graph);
    return finish(status, &err, text);
}

void vecdb_bench_graph_destroy(struct vecdb_bench_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    vdb_pool_destroy(graph->pool);
    graph->ops->destroy(graph->index);
    free(graph->memory);
    free(graph);
}

/* ---- Search ---- */

static vdb_status search_piece(const struct batch *batch, unsigned worker, size_t piece, struct vdb_err *err)
{
    const struct vecdb_bench_graph *graph = batch->graph;
    const size_t k = (size_t)batch->job->k;
    const size_t bytes = graph->rows.stride_bytes;
    const size_t first = piece * batch->piece_queries;
    const size_t left = (size_t)batch->job->query_count - first;
    const size_t count = left < batch->piece_queries ? left : batch->piece_queries;
    struct vdb_candidate *memory = graph->memory + worker * graph->memory_count;
    struct vdb_query queries[PIECE_QUERIES] = {0};
    struct vdb_topk topks[PIECE_QUERIES];
    for (size_t i = 0; i < count; i++) {
        queries[i] = (struct vdb_query){.vector = (const char *)batch->job->queries + (first + i) * bytes,
                                        .ef = batch->ef};
        vdb_topk_init(&topks[i], memory + i * k, k);
    }
    VDB_TRY(vdb_index_search_many(graph->ops, graph->index, &graph->rows, queries, topks, count, err));
    for (size_t i = 0; i < count; i++) {
        vdb_topk_finish(&topks[i]);
        for (size_t j = 0; j < k; j++) {
            batch->ids[(first + i) * k + j] = j < topks[i].count ? memory[i * k + j].row : UINT32_MAX;
        }
    }
    return VDB_OK;
}

static void search_queries(void *ctx, unsigned worker, size_t piece)
{
    struct batch *batch = ctx;
    struct failure *failure = &batch->failures[worker];
    if (failure->status == VDB_OK) {
        failure->status = search_piece(batch, worker, piece, &failure->err);
    }
}

/* Threads and their memory, kept from the last batch where they suffice. */
static vdb_status prepare(struct vecdb_bench_graph *graph, unsigned threads, size_t k, struct vdb_err *err)
{
    threads = threads != 0 ? threads : vdb_pool_cores();
    if (graph->pool != NULL && vdb_pool_threads(graph->pool) == threads &&
        graph->memory_count >= k * PIECE_QUERIES) {
        return VDB_OK;
    }
    vdb_pool_destroy(graph->pool);
    graph->pool = NULL;
    free(graph->memory);
    graph->memory_count = 0;
    graph->memory = calloc((size_t)threads * k * PIECE_QUERIES, sizeof *graph->memory);
    if (graph->memory == NULL) {
        return vdb_err_no_memory(err, "hits");
    }
    VDB_TRY(vdb_pool_create(threads, &graph->pool, err));
    graph->memory_count = k * PIECE_QUERIES;
    return VDB_OK;
}

int vecdb_bench_graph_search(struct vecdb_bench_graph *graph, const struct vecdb_bench_job *job, uint64_t ef,
                             uint32_t one_by_one, uint32_t *ids, struct vecdb_bench_text text)
{
    struct vdb_err err = {0};
    const size_t at_once = one_by_one != 0 ? 1 : PIECE_QUERIES;
    struct batch batch = {graph, job, (size_t)ef, at_once, ids, NULL};
    vdb_status status;
    VDB_CHECK(check(job, &err));
    if (job->dimension != graph->rows.dimension || (vdb_element)job->element != graph->rows.element ||
        job->k < 1) {
        status = vdb_err_set(&err, VDB_INVALID,
                             "queries: %llu dimensions of %s, or k: %llu, do not fit the graph",
                             (unsigned long long)job->dimension, vdb_element_name((vdb_element)job->element),
                             (unsigned long long)job->k);
        goto cleanup;
    }
    VDB_CHECK(prepare(graph, job->threads, (size_t)job->k, &err));
    const unsigned threads = vdb_pool_threads(graph->pool);
    batch.failures = calloc(threads, sizeof *batch.failures);
    if (batch.failures == NULL) {
        status = vdb_err_no_memory(&err, "batch");
        goto cleanup;
    }
    vdb_pool_run(graph->pool, ((size_t)job->query_count + batch.piece_queries - 1) / batch.piece_queries,
                 search_queries, &batch);
    for (unsigned i = 0; i < threads && status == VDB_OK; i++) {
        status = batch.failures[i].status;
        err = batch.failures[i].err;
    }
cleanup:
    free(batch.failures);
    return finish(status, &err, text);
}

void vecdb_bench_graph_get_stats(const struct vecdb_bench_graph *graph, struct vecdb_bench_graph_stats *out)
{
    *out = (struct vecdb_bench_graph_stats){0};
    if (graph->ops == &vdb_index_hnsw) {
        struct vdb_hnsw_stats stats;
        vdb_hnsw_get_stats(graph->index, &stats);
        out->index_bytes = stats.graph_bytes + stats.vector_bytes;
        out->vector_bytes = stats.vector_bytes;
        return;
    }
    struct vdb_qgraph_info info;
    vdb_qgraph_get_info(graph->index, &info);
    out->index_bytes = info.memory_bytes;
    out->code_bits = info.code_bits;
}

/* ---- Files ---- */

static vdb_status write_file(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    if (fwrite(data, 1, bytes, ctx) != bytes) {
        return vdb_err_set(err, VDB_IO, "%zu bytes cannot be written", bytes);
    }
    return VDB_OK;
}

int vecdb_bench_graph_save(struct vecdb_bench_graph *graph, const char *path, struct vecdb_bench_text text)
{
    struct vdb_err err = {0};
    vdb_status status;
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return finish(vdb_err_set(&err, VDB_IO, "%s: cannot be made", path), &err, text);
    }
    VDB_CHECK(graph->ops->save(graph->index, &graph->rows, STAMP, write_file, file, &err));
cleanup:
    if (fclose(file) != 0 && status == VDB_OK) {
        status = vdb_err_set(&err, VDB_IO, "%s: cannot be closed", path);
    }
    return finish(status, &err, text);
}

static vdb_status read_file(const char *path, void **data, size_t *bytes, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return vdb_err_set(err, VDB_IO, "%s: cannot be opened", path);
    }
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    *data = size < 0 ? NULL : malloc((size_t)size + 1);
    *bytes = size < 0 ? 0 : (size_t)size;
    if (*data == NULL || fseek(file, 0, SEEK_SET) != 0 || fread(*data, 1, *bytes, file) != *bytes) {
        status = vdb_err_set(err, VDB_IO, "%s: cannot be read", path);
    }
    (void)fclose(file);
    return status;
}

int vecdb_bench_graph_load(const struct vecdb_bench_job *job, const struct vecdb_bench_graph_options *options,
                           const char *path, struct vecdb_bench_graph **out, struct vecdb_bench_text text)
{
    struct vdb_err err = {0};
    struct vecdb_bench_graph *graph = NULL;
    void *data = NULL;
    size_t bytes = 0;
    vdb_status status;
    *out = NULL;
    VDB_CHECK(create(job, options, &graph, &err));
    VDB_CHECK(read_file(path, &data, &bytes, &err));
    VDB_CHECK(graph->ops->load(&graph->rows, STAMP, data, bytes, &graph->index, &err));
    *out = graph;
    graph = NULL;
cleanup:
    free(data);
    vecdb_bench_graph_destroy(graph);
    return finish(status, &err, text);
}
