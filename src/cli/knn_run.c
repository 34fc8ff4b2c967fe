/* knn_run.c: the searches of `vecdb knn`, timed one by one, each by as many threads as --threads says, and the naive
 * loop on a sample of them.
 *
 * The sample is spread evenly over the queries. Each sampled answer is checked twice: every distance against the
 * one computed in double, and every rank against the naive order. Integer data must agree to the last id; f32
 * answers may exchange neighbours whose distances are closer than the rounding of an f32 sum (naive.h).
 */
#include "knn.h"

#include "base/mem.h"
#include "base/progress.h"
#include "base/timer.h"
#include "index/flat.h"
#include "naive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_seconds(const void *a_raw, const void *b_raw)
{
    double a = *(const double *)a_raw;
    double b = *(const double *)b_raw;
    return a < b ? -1 : a > b;
}

/* Sorts values. */
static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_seconds);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* What the searches share. */
struct searches {
    const struct vdb_rows *rows;
    const struct vdb_vectors *queries;
    struct vdb_flat_team *team; /* NULL: this thread alone */
    struct vdb_knn_results *results;
    struct vdb_knn_performance *performance;
};

/* One query through the index, into k candidates. */
static vdb_status search_one(const struct searches *all, size_t at, struct vdb_err *err)
{
    const struct vdb_knn_results *results = all->results;
    const size_t query_row = results->first_row + at;
    struct vdb_search_counters counters = {0};
    struct vdb_query query = {.vector = vdb_vectors_row(all->queries, query_row), .counters = &counters};
    struct vdb_topk topk;
    vdb_topk_init(&topk, results->candidates + at * results->k, results->k);
    VDB_TRY(all->team != NULL ? vdb_flat_team_search(all->team, all->rows, &query, &topk, err)
                              : vdb_index_flat.search(NULL, all->rows, &query, &topk, err));
    vdb_topk_finish(&topk);
    all->performance->distances += counters.distances_computed;
    if (topk.count != results->k) {
        return vdb_err_set(err, VDB_CORRUPT, "--query row %zu: the index returned %zu results, %zu were due",
                           query_row, topk.count, results->k);
    }
    return VDB_OK;
}

static vdb_status search_all(const struct searches *all, double *seconds, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_progress progress;
    vdb_progress_begin(&progress, "search", "queries", all->results->query_count);
    for (size_t i = 0; i < all->results->query_count; i++) {
        uint64_t start = vdb_now_ns();
        VDB_CHECK(search_one(all, i, err));
        seconds[i] = (double)(vdb_now_ns() - start) / 1e9;
        all->performance->seconds += seconds[i];
        vdb_progress_update(&progress, i + 1);
    }

cleanup:
    vdb_progress_end(&progress);
    return status;
}

/* Whether a stands before b in an answer; never of a candidate and itself. A NaN stands nowhere. */
static bool before(const struct vdb_candidate *a, const struct vdb_candidate *b)
{
    return a->distance < b->distance || (a->distance <= b->distance && a->row < b->row);
}

/* Written with "not <=", so that a NaN fails. */
static bool differs(double a, double b, double allowed)
{
    return !(fabs(a - b) <= allowed);
}

vdb_status vdb_knn_check(const struct vdb_rows *rows, const void *query, size_t query_row,
                         const struct vdb_candidate *answer, const struct vdb_candidate *naive, size_t k,
                         bool *equal, struct vdb_err *err)
{
    *equal = true;
    double passed_rounding = 0; /* the largest of the naive order's first i + 1 rows */
    for (size_t i = 0; i < k; i++) {
        double rounding;
        double distance = vdb_naive_distance(query, vdb_rows_at(rows, answer[i].row), rows->dimension,
                                             rows->element, rows->metric, &rounding);
        double naive_rounding;
        (void)vdb_naive_distance(query, vdb_rows_at(rows, naive[i].row), rows->dimension, rows->element,
                                 rows->metric, &naive_rounding);
        passed_rounding = fmax(passed_rounding, naive_rounding);
        bool same = answer[i].row == naive[i].row;
        *equal = *equal && same;
        bool sorted = i == 0 || before(&answer[i - 1], &answer[i]); /* so no row comes twice */
        /* One of the naive order's first i + 1 rows did not come before rank i. It was passed over rightly only
         * if its rounding and that of the row at rank i, together, bridge their distances; of a dot product one
         * row's rounding may be a million times another's. Exact distances may not change places, even at a tie,
         * which goes to the lower row in both. */
        bool explained = same || (rounding > 0 && distance <= naive[i].distance + rounding + passed_rounding);
        if (!sorted || !explained || differs(answer[i].distance, distance, rounding)) {
            return vdb_err_set(
                err, VDB_CORRUPT,
                "--query row %zu, rank %zu: id %u at %.17g, but the naive loop has id %u at %.17g: this "
                "is a fault of this program, please report it",
                query_row, i + 1, answer[i].row, answer[i].distance, naive[i].row, naive[i].distance);
        }
    }
    return VDB_OK;
}

/* With a radius: no row beyond the answer is nearer than it, by more than rounding explains. */
static vdb_status check_range_end(const struct vdb_rows *rows, const void *query, size_t query_row,
                                  const struct vdb_candidate *naive, size_t count, double radius,
                                  struct vdb_err *err)
{
    double rounding;
    if (count == rows->count) {
        return VDB_OK;
    }
    double distance = vdb_naive_distance(query, vdb_rows_at(rows, naive[count].row), rows->dimension,
                                         rows->element, rows->metric, &rounding);
    if (distance > radius - rounding) {
        return VDB_OK;
    }
    return vdb_err_set(err, VDB_CORRUPT,
                       "--query row %zu: id %u at %.17g is missing from the answer: this is a fault of this "
                       "program, please report it",
                       query_row, naive[count].row, distance);
}

vdb_status vdb_knn_run_naive(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                             const struct vdb_knn_results *results, struct vdb_knn_performance *performance,
                             struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const void *array = input->dataset.data;
    const struct vdb_vectors *queries = &input->query;
    struct vdb_rows of_array = vdb_rows_of_array(&array, input->count, input->dimension, input->element,
                                                 (vdb_metric)options->metric);
    const struct vdb_rows *rows = &of_array;
    double seconds[VDB_KNN_NAIVE_QUERIES_MAX];
    size_t sample = results->query_count < VDB_KNN_NAIVE_QUERIES_MAX ? results->query_count
                                                                     : VDB_KNN_NAIVE_QUERIES_MAX;
    struct vdb_candidate *naive = vdb_calloc(rows->count, sizeof *naive);
    if (naive == NULL) {
        return vdb_err_no_memory(err, "the naive loop's distances");
    }
    struct vdb_progress progress;
    vdb_progress_begin(&progress, "naive loop", "queries", sample);
    uint64_t spent_ns = 0;
    for (size_t s = 0; s < sample && spent_ns < VDB_KNN_NAIVE_NS_MAX; s++) {
        size_t at = s * results->query_count / sample;
        size_t query_row = results->first_row + at;
        const void *query = vdb_vectors_row(queries, query_row);
        uint64_t start = vdb_now_ns();
        vdb_naive_search(rows, query, naive);
        uint64_t ns = vdb_now_ns() - start;
        bool equal;
        size_t hit_count;
        const struct vdb_candidate *hits = vdb_knn_hits(results, at, &hit_count);
        VDB_CHECK(vdb_knn_check(rows, query, query_row, hits, naive, hit_count, &equal, err));
        if (options->range_text != NULL) {
            VDB_CHECK(
                check_range_end(rows, query, query_row, naive, hit_count, vdb_knn_radius_inside(options), err));
        }
        spent_ns += ns;
        seconds[performance->naive_count++] = (double)ns / 1e9;
        performance->naive_equal += equal;
        vdb_progress_update(&progress, s + 1);
    }
    performance->naive_seconds_median = median(seconds, performance->naive_count);

cleanup:
    vdb_progress_end(&progress);
    free(naive);
    return status;
}

vdb_status vdb_knn_run(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                       struct vdb_knn_results *results, struct vdb_knn_performance *performance,
                       struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    double *seconds = NULL;
    size_t count = input->dataset.count;
    *performance = (struct vdb_knn_performance){0};
    *results = (struct vdb_knn_results){
        .first_row = options->row_given ? (size_t)options->row : 0,
        .query_count = options->row_given ? 1 : input->query.count,
        .k = options->k < count ? (size_t)options->k : count,
        .threads = options->threads_given ? (unsigned)options->threads : 1,
    };
    struct vdb_flat_team *team = NULL;
    const void *array = input->dataset.data;
    struct vdb_rows rows = vdb_rows_of_array(&array, count, input->dataset.dimension, input->element,
                                             (vdb_metric)options->metric);
    size_t total;
    if (!vdb_size_mul(results->query_count, results->k, &total)) {
        return vdb_err_no_memory(err, "the results");
    }
    results->candidates = vdb_calloc(total, sizeof *results->candidates);
    seconds = vdb_calloc(results->query_count, sizeof *seconds);
    if (results->candidates == NULL || seconds == NULL) {
        status = vdb_err_no_memory(err, "the results");
        goto cleanup;
    }
    if (results->threads > 1) {
        VDB_CHECK(vdb_flat_team_create(results->threads, results->k, &team, err));
    }
    const struct searches all = {&rows, &input->query, team, results, performance};
    VDB_CHECK(search_all(&all, seconds, err));
    performance->query_seconds_median = median(seconds, results->query_count);
    if (!options->no_naive) {
        VDB_CHECK(vdb_knn_run_naive(options, input, results, performance, err));
    }

cleanup:
    vdb_flat_team_destroy(team);
    free(seconds);
    if (status != VDB_OK) {
        vdb_knn_results_fini(results);
    }
    return status;
}

void vdb_knn_results_fini(struct vdb_knn_results *results)
{
    free(results->candidates);
    vdb_exact_destroy(results->exact);
    *results = (struct vdb_knn_results){0};
}
