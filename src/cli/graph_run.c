/* graph_run.c: an index opened with its dataset and queries; searches, timed; recall.
 *
 * A hit is right when it is no farther than the k-th nearest, so that of equally near rows any will do. Both distances
 * are taken by the naive loop in double precision, whatever the index and the exact scan computed with.
 */
#include "graph.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/progress.h"
#include "base/timer.h"
#include "env/env.h"
#include "index/exact.h"
#include "naive.h"

enum { FEW_QUERIES = 100, FEW_PASSES = 5, SLICE_ROWS = 1 << 16 };

/* A bound of the kernels' rounding in f32, brought to what sums in double leave. */
static const double DOUBLE_OF_FLOAT = 1.0 / (1 << 24);

/* ---- Options of whoever opens an index ---- */

struct vdb_args_option vdb_graph_option_index(struct vdb_graph_options *options)
{
    return (struct vdb_args_option){.name = "--index",
                                    .kind = VDB_ARGS_TEXT,
                                    .out = &options->index,
                                    .value_name = "FILE",
                                    .help = "the index file",
                                    .required = true};
}

struct vdb_args_option vdb_graph_option_k(struct vdb_graph_options *options)
{
    return (struct vdb_args_option){.name = "--k",
                                    .kind = VDB_ARGS_NUMBER,
                                    .out = &options->k,
                                    .value_name = "NUMBER",
                                    .help = "how many nearest vectors, 1 to 16,384 (default 10)",
                                    .min = 1,
                                    .max = VDB_LIMIT_K_MAX};
}

struct vdb_args_option vdb_graph_option_dataset(struct vdb_graph_options *options)
{
    return (struct vdb_args_option){.name = "--dataset",
                                    .kind = VDB_ARGS_TEXT,
                                    .out = &options->dataset,
                                    .value_name = "FILE",
                                    .help = "where the index's dataset is, if it has moved"};
}

/* ---- Opening ---- */

static vdb_status load_dataset(const struct vdb_graph_options *options, struct vdb_graph_open *open,
                               struct vdb_err *err)
{
    const struct vdb_graph_file *head = &open->head;
    const char *option = options->dataset != NULL ? "--dataset" : "--index: its dataset";
    vdb_element element;
    open->dataset = options->dataset != NULL ? options->dataset : head->dataset;
    vdb_status status = vdb_graph_input_load(option, open->dataset, head->metric,
                                             head->element == VDB_ELEMENT_BIT ? head->dimension : 0,
                                             &open->vectors, &element, err);
    if (status == VDB_NOT_FOUND && options->dataset == NULL) {
        return vdb_err_wrap(err, status, "--dataset must say where it is now");
    }
    VDB_TRY(status);
    open->array = open->vectors.data;
    open->rows = vdb_rows_of_array(&open->array, open->vectors.count, open->vectors.dimension, element,
                                   head->metric);
    status = vdb_graph_file_fits(head, open->dataset, &open->rows, vdb_graph_input_stamp(&open->vectors), err);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "%s", option);
}

static vdb_status load_index(const struct vdb_graph_options *options, struct vdb_graph_open *open,
                             struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_env *env = vdb_env_posix();
    struct vdb_map map = {0};
    const uint8_t *payload;
    size_t payload_bytes;
    bool of_dataset = false; /* an error that says so itself */
    VDB_CHECK(env->ops->map(env, options->index, &map, err));
    VDB_CHECK(env->ops->touch(env, &map, 0, map.bytes, err));
    open->file_bytes = map.bytes;
    VDB_CHECK(vdb_graph_file_parse(map.data, (size_t)map.bytes, &open->head, &payload, &payload_bytes, err));
    if (strcmp(open->head.kind, options->kind->name) != 0) {
        status = vdb_err_set(err, VDB_INVALID, "it is of the kind \"%s\", not \"%s\": vecdb %s searches it",
                             open->head.kind, options->kind->name, open->head.kind);
        goto cleanup;
    }
    of_dataset = true;
    VDB_CHECK(load_dataset(options, open, err));
    of_dataset = false;
    VDB_CHECK(options->kind->ops->load(&open->rows, open->head.stamp, payload, payload_bytes, &open->index, err));

cleanup:
    env->ops->unmap(env, &map);
    return status == VDB_OK || of_dataset ? status
                                          : vdb_err_wrap(err, status, "--index: \"%.200s\"", options->index);
}

static vdb_status load_queries(const struct vdb_graph_options *options, struct vdb_graph_open *open,
                               struct vdb_err *err)
{
    const struct vdb_rows *rows = &open->rows;
    const char *option = options->query_option;
    vdb_element element;
    VDB_TRY(vdb_graph_input_load(option, options->query, rows->metric,
                                 rows->element == VDB_ELEMENT_BIT ? rows->dimension : 0, &open->queries, &element,
                                 err));
    if (open->queries.dimension != rows->dimension) {
        return vdb_err_set(err, VDB_INVALID, "%s: dimension is %zu, the index has %zu: they must be equal",
                           option, open->queries.dimension, rows->dimension);
    }
    if (element != rows->element && (rows->element != VDB_ELEMENT_F32 || element == VDB_ELEMENT_BIT)) {
        return vdb_err_set(err, VDB_INVALID, "%s holds %s and the index %s: save the queries as %s", option,
                           vdb_element_name(element), vdb_element_name(rows->element),
                           vdb_element_name(rows->element));
    }
    if (element != rows->element) {
        VDB_TRY(vdb_vectors_to_f32(&open->queries, err));
    }
    if (options->row_given && options->row >= open->queries.count) {
        return vdb_err_set(err, VDB_INVALID, "--row is %" PRIu64 ", \"%.200s\" has rows 0 to %zu", options->row,
                           options->query, open->queries.count - 1);
    }
    open->first_query = options->row_given ? (size_t)options->row : 0;
    open->query_count = options->row_given ? 1 : open->queries.count;
    return VDB_OK;
}

vdb_status vdb_graph_run_open(const struct vdb_graph_options *options, struct vdb_graph_open *out,
                              struct vdb_err *err)
{
    const uint64_t start = vdb_now_ns();
    out->kind = options->kind;
    VDB_TRY(load_index(options, out, err));
    VDB_TRY(load_queries(options, out, err));
    out->k = options->k < out->rows.count ? (size_t)options->k : out->rows.count;
    out->load_seconds = (double)(vdb_now_ns() - start) / 1e9;
    return VDB_OK;
}

void vdb_graph_run_close(struct vdb_graph_open *open)
{
    if (open->index != NULL) {
        open->kind->ops->destroy(open->index);
    }
    vdb_vectors_fini(&open->vectors);
    vdb_vectors_fini(&open->queries);
    free(open->edge);
    *open = (struct vdb_graph_open){0};
}

/* ---- What is right ---- */

static double distance_of(const struct vdb_graph_open *open, size_t query, uint32_t row, double *rounding)
{
    const struct vdb_rows *rows = &open->rows;
    return vdb_naive_distance(vdb_graph_query(open, query), vdb_rows_at(rows, row), rows->dimension,
                              rows->element, rows->metric, rounding);
}

static vdb_status edges_of_file(struct vdb_graph_open *open, const char *path, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_vectors ids = {0};
    VDB_CHECK(vdb_vectors_load(vdb_env_posix(), path, &ids, err));
    if (ids.type != VDB_VECTORS_I32) {
        status = vdb_err_set(err, VDB_INVALID, "\"%.200s\" holds %s, ids are i32", path,
                             vdb_vectors_type_name(ids.type));
        goto cleanup;
    }
    if (ids.count != open->queries.count || ids.dimension < open->k) {
        status = vdb_err_set(err, VDB_INVALID,
                             "\"%.200s\" has %zu ids of %zu queries; %zu or more of %zu are needed", path,
                             ids.dimension, ids.count, open->k, open->queries.count);
        goto cleanup;
    }
    for (size_t q = 0; q < open->query_count; q++) {
        const int32_t *row = vdb_vectors_row(&ids, open->first_query + q);
        open->edge[q] = -(double)INFINITY;
        for (size_t i = 0; i < open->k; i++) {
            if (row[i] < 0 || (size_t)row[i] >= open->rows.count) {
                status = vdb_err_set(err, VDB_INVALID, "\"%.200s\": row %zu has id %d, the dataset has 0 to %zu",
                                     path, open->first_query + q, row[i], open->rows.count - 1);
                goto cleanup;
            }
            open->edge[q] = fmax(open->edge[q], distance_of(open, q, (uint32_t)row[i], NULL));
        }
    }

cleanup:
    vdb_vectors_fini(&ids);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "--ground-truth");
}

static vdb_status edges_of_scan(struct vdb_graph_open *open, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const struct vdb_rows *rows = &open->rows;
    struct vdb_exact *exact = NULL;
    struct vdb_progress progress;
    const struct vdb_exact_options how = {.k = open->k};
    const uint64_t start = vdb_now_ns();
    vdb_progress_begin(&progress, "exact scan", "vectors", rows->count);
    VDB_CHECK(vdb_exact_create(vdb_graph_query(open, 0), vdb_vectors_row_bytes(&open->queries), open->query_count,
                               rows->dimension, rows->element, rows->metric, &how, &exact, err));
    for (size_t first = 0; first < rows->count; first += SLICE_ROWS) {
        const size_t left = rows->count - first;
        const size_t count = left < SLICE_ROWS ? left : SLICE_ROWS;
        VDB_CHECK(
            vdb_exact_feed(exact, vdb_rows_at(rows, first), rows->stride_bytes, count, (uint32_t)first, err));
        vdb_progress_update(&progress, first + count);
    }
    VDB_CHECK(vdb_exact_finish(exact, err));
    open->exact_seconds = (double)(vdb_now_ns() - start) / 1e9;
    for (size_t q = 0; q < open->query_count; q++) {
        open->edge[q] = distance_of(open, q, vdb_exact_hits(exact, q)[open->k - 1].row, NULL);
    }

cleanup:
    vdb_progress_end(&progress);
    vdb_exact_destroy(exact);
    return status;
}

vdb_status vdb_graph_run_truth(struct vdb_graph_open *open, const char *path, struct vdb_err *err)
{
    open->edge = vdb_calloc(open->query_count, sizeof *open->edge);
    if (open->edge == NULL) {
        return vdb_err_no_memory(err, "the queries' exact answers");
    }
    return path != NULL ? edges_of_file(open, path, err) : edges_of_scan(open, err);
}

static size_t count_right(const struct vdb_graph_open *open, size_t query, const struct vdb_candidate *hits,
                          size_t count)
{
    size_t right = 0;
    for (size_t i = 0; i < count; i++) {
        double rounding;
        const double distance = distance_of(open, query, hits[i].row, &rounding);
        right += distance <= open->edge[query] + rounding * DOUBLE_OF_FLOAT;
    }
    return right;
}

/* ---- Searching ---- */

static void add_trace(struct vdb_graph_trace *sum, const struct vdb_graph_trace *trace)
{
    sum->expanded += trace->expanded;
    sum->visited += trace->visited;
    sum->distances += trace->distances;
    sum->estimates += trace->estimates;
    for (uint32_t i = 0; i < trace->layer_count; i++) {
        sum->hops[i] += trace->hops[i];
    }
    sum->layer_count = sum->layer_count > trace->layer_count ? sum->layer_count : trace->layer_count;
}

static vdb_status search_counted(const struct vdb_graph_open *open, struct vdb_graph_run *run,
                                 struct vdb_err *err)
{
    for (size_t q = 0; q < open->query_count; q++) {
        struct vdb_topk topk;
        struct vdb_candidate *hits = run->hits + q * open->k;
        vdb_topk_init(&topk, hits, open->k);
        VDB_TRY(open->kind->search(open->index, &open->rows, vdb_graph_query(open, q), run->ef, &topk,
                                   &run->traces[q], run->steps, err));
        vdb_topk_finish(&topk);
        run->hit_counts[q] = topk.count;
        add_trace(&run->sum, &run->traces[q]);
    }
    return VDB_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static vdb_status search_timed(const struct vdb_graph_open *open, struct vdb_graph_run *run, double *seconds,
                               struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_candidate *memory = vdb_calloc(open->k, sizeof *memory);
    if (memory == NULL) {
        return vdb_err_no_memory(err, "the results");
    }
    const int passes = open->query_count < FEW_QUERIES ? FEW_PASSES : 1;
    run->seconds = (double)INFINITY;
    for (int pass = 0; pass < passes; pass++) {
        double sum = 0;
        for (size_t q = 0; q < open->query_count; q++) {
            struct vdb_topk topk;
            vdb_topk_init(&topk, memory, open->k);
            const uint64_t start = vdb_now_ns();
            VDB_CHECK(open->kind->search(open->index, &open->rows, vdb_graph_query(open, q), run->ef, &topk, NULL,
                                         NULL, err));
            const double took = (double)(vdb_now_ns() - start) / 1e9;
            seconds[q] = pass == 0 ? took : fmin(seconds[q], took);
            sum += took;
        }
        run->seconds = fmin(run->seconds, sum);
    }
    qsort(seconds, open->query_count, sizeof *seconds, compare_doubles);
    run->seconds_median = seconds[open->query_count / 2];

cleanup:
    free(memory);
    return status;
}

vdb_status vdb_graph_run_all(const struct vdb_graph_open *open, size_t ef, struct vdb_graph_run *run,
                             struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    double *seconds = NULL;
    size_t total;
    *run = (struct vdb_graph_run){
        .ef = ef > open->k ? ef : open->k, .recall = (double)NAN, .recall_min = (double)NAN};
    if (vdb_size_mul(open->query_count, open->k, &total)) {
        run->hits = vdb_calloc(total, sizeof *run->hits);
    }
    run->hit_counts = vdb_calloc(open->query_count, sizeof *run->hit_counts);
    run->right = vdb_calloc(open->query_count, sizeof *run->right);
    run->traces = vdb_calloc(open->query_count, sizeof *run->traces);
    seconds = vdb_calloc(open->query_count, sizeof *seconds);
    if (open->query_count == 1) {
        run->steps = vdb_calloc(1, sizeof *run->steps);
    }
    if (run->hits == NULL || run->hit_counts == NULL || run->right == NULL || run->traces == NULL ||
        seconds == NULL || (open->query_count == 1 && run->steps == NULL)) {
        status = vdb_err_no_memory(err, "the results");
        goto cleanup;
    }
    VDB_CHECK(search_counted(open, run, err));
    VDB_CHECK(search_timed(open, run, seconds, err));
    if (open->edge != NULL) {
        size_t right = 0;
        run->recall_min = 1;
        for (size_t q = 0; q < open->query_count; q++) {
            run->right[q] = count_right(open, q, run->hits + q * open->k, run->hit_counts[q]);
            right += run->right[q];
            run->recall_min = fmin(run->recall_min, (double)run->right[q] / (double)open->k);
        }
        run->recall = (double)right / (double)open->query_count / (double)open->k;
    }

cleanup:
    free(seconds);
    if (status != VDB_OK) {
        vdb_graph_run_fini(run);
    }
    return status;
}

void vdb_graph_run_fini(struct vdb_graph_run *run)
{
    free(run->hits);
    free(run->hit_counts);
    free(run->right);
    free(run->traces);
    free(run->steps);
    *run = (struct vdb_graph_run){0};
}

/* ---- All queries at once ---- */

vdb_status vdb_graph_run_batch(const struct vdb_graph_open *open, size_t ef, struct vdb_graph_batch *out,
                               struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const size_t count = open->query_count;
    struct vdb_candidate *hits = NULL;
    struct vdb_query *queries = vdb_calloc(count, sizeof *queries);
    struct vdb_topk *topks = vdb_calloc(count, sizeof *topks);
    size_t total;
    size_t right = 0;
    *out = (struct vdb_graph_batch){0, (double)NAN};
    if (vdb_size_mul(count, open->k, &total)) {
        hits = vdb_calloc(total, sizeof *hits);
    }
    if (hits == NULL || queries == NULL || topks == NULL) {
        status = vdb_err_no_memory(err, "the results");
        goto cleanup;
    }
    for (size_t q = 0; q < count; q++) {
        queries[q] = (struct vdb_query){.vector = vdb_graph_query(open, q), .ef = ef > open->k ? ef : open->k};
        vdb_topk_init(&topks[q], hits + q * open->k, open->k);
    }
    const uint64_t start = vdb_now_ns();
    VDB_CHECK(open->kind->ops->search_many(open->index, &open->rows, queries, topks, count, err));
    out->seconds = (double)(vdb_now_ns() - start) / 1e9;
    if (open->edge != NULL) {
        for (size_t q = 0; q < count; q++) {
            vdb_topk_finish(&topks[q]);
            right += count_right(open, q, hits + q * open->k, topks[q].count);
        }
        out->recall = (double)right / (double)count / (double)open->k;
    }

cleanup:
    free(hits);
    free(queries);
    free(topks);
    return status;
}
