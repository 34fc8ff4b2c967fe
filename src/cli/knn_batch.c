/* knn_batch.c: all queries of `vecdb knn` at once (index/exact.h), over a dataset in memory or one that comes
 * from its file block by block (--memory-limit). Time is that of the searches; reading is counted as loading. */
#include "knn.h"

#include "base/progress.h"
#include "base/timer.h"

#include <stdio.h>

enum { SLICE_ROWS = 1 << 16 }; /* of a dataset in memory: how often the progress bar moves */

static vdb_status create(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                         struct vdb_knn_results *results, struct vdb_err *err)
{
    bool by_radius = options->range_text != NULL;
    struct vdb_exact_options exact_options = {
        .k = by_radius ? 0 : results->k,
        .radius = by_radius ? vdb_knn_radius_inside(options) : 0,
        .by_radius = by_radius,
        .threads = (unsigned)options->threads,
    };
    return vdb_exact_create(vdb_vectors_row(&input->query, results->first_row),
                            vdb_vectors_row_bytes(&input->query), results->query_count, input->dimension,
                            input->element, (vdb_metric)options->metric, &exact_options, &results->exact, err);
}

/* What both kinds of dataset share. */
struct batch {
    const struct vdb_knn_options *options;
    struct vdb_knn_input *input;
    struct vdb_knn_results *results;
    struct vdb_knn_performance *performance;
    struct vdb_knn_out out;
    struct vdb_progress progress;
};

static vdb_status feed(struct batch *batch, const void *rows, size_t stride, size_t count, size_t first,
                       struct vdb_err *err)
{
    uint64_t start = vdb_now_ns();
    VDB_TRY(vdb_exact_feed(batch->results->exact, rows, stride, count, (uint32_t)first, err));
    batch->performance->seconds += (double)(vdb_now_ns() - start) / 1e9;
    vdb_progress_update(&batch->progress, (uint64_t)(first + count) * batch->results->query_count);
    return VDB_OK;
}

static vdb_status feed_memory(struct batch *batch, struct vdb_err *err)
{
    const struct vdb_vectors *dataset = &batch->input->dataset;
    VDB_TRY(vdb_knn_out_block(&batch->out, dataset, dataset->count, err));
    for (size_t first = 0; first < dataset->count; first += SLICE_ROWS) {
        size_t left = dataset->count - first;
        VDB_TRY(feed(batch, vdb_vectors_row(dataset, first), vdb_vectors_row_bytes(dataset),
                     left < SLICE_ROWS ? left : SLICE_ROWS, first, err));
    }
    return VDB_OK;
}

static vdb_status feed_stream(struct batch *batch, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_knn_input *input = batch->input;
    struct vdb_vectors block = {0};
    do {
        uint64_t start = vdb_now_ns();
        vdb_vectors_fini(&block);
        status = vdb_vector_stream_next(&input->stream, input->block_rows, &block, err);
        if (status != VDB_OK) {
            status = vdb_err_wrap(err, status, "--dataset");
            goto cleanup;
        }
        if (block.data != NULL) {
            VDB_CHECK(vdb_knn_input_prepare(batch->options, input, &block, err));
            VDB_CHECK(vdb_knn_out_block(&batch->out, &block, input->count, err));
            input->load_seconds += (double)(vdb_now_ns() - start) / 1e9;
            VDB_CHECK(feed(batch, block.data, vdb_vectors_row_bytes(&block), block.count, block.first_row, err));
        }
    } while (block.data != NULL);

cleanup:
    vdb_vectors_fini(&block);
    return status;
}

static vdb_status search(struct batch *batch, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_knn_results *results = batch->results;
    vdb_progress_begin(&batch->progress, "search", "distances",
                       (uint64_t)batch->input->count * results->query_count);
    VDB_CHECK(batch->input->streamed ? feed_stream(batch, err) : feed_memory(batch, err));
    uint64_t start = vdb_now_ns();
    VDB_CHECK(vdb_exact_finish(results->exact, err));
    batch->performance->seconds += (double)(vdb_now_ns() - start) / 1e9;
    batch->performance->distances = (uint64_t)batch->input->count * results->query_count;
    batch->performance->query_seconds_median = batch->performance->seconds / (double)results->query_count;

cleanup:
    vdb_progress_end(&batch->progress);
    return status;
}

vdb_status vdb_knn_batch(const struct vdb_knn_options *options, struct vdb_knn_input *input,
                         struct vdb_knn_results *results, struct vdb_knn_performance *performance,
                         struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct batch batch = {.options = options, .input = input, .results = results, .performance = performance};
    struct vdb_exact_stats stats;
    *performance = (struct vdb_knn_performance){0};
    *results = (struct vdb_knn_results){
        .first_row = options->row_given ? (size_t)options->row : 0,
        .query_count = options->row_given ? 1 : input->query.count,
        .k = options->range_text != NULL ? 0
             : options->k < input->count ? (size_t)options->k
                                         : input->count,
    };
    VDB_CHECK(create(options, input, results, err));
    if (input->streamed) {
        VDB_CHECK(vdb_knn_input_plan(options, input, results->exact, err));
    }
    if (options->out_path != NULL) {
        status = vdb_knn_out_open(options, &batch.out, err);
        if (status != VDB_OK) {
            status = vdb_err_wrap(err, status, "--out");
            goto cleanup;
        }
    }
    VDB_CHECK(search(&batch, err));
    vdb_exact_get_stats(results->exact, &stats);
    results->threads = stats.threads;
    snprintf(results->plan, sizeof results->plan, "%.20s (%.20s)", stats.plan, stats.kernel);
    if (!options->no_naive && !input->streamed) {
        VDB_CHECK(vdb_knn_run_naive(options, input, results, performance, err));
    }
    if (options->out_path != NULL) {
        VDB_CHECK(vdb_knn_out_finish(options, &batch.out, input, results, err));
    }

cleanup:
    vdb_knn_out_close(&batch.out);
    if (status != VDB_OK) {
        vdb_knn_results_fini(results);
    }
    return status;
}
