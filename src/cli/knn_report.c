/* knn_report.c: what `vecdb knn` prints: tables for people, or one JSON object for programs.
 *
 * Text goes out query by query, so that ten thousand answers do not pile up in memory.
 */
#include "knn.h"

#include "base/json.h"
#include "base/utf8.h"
#include "cli.h"
#include "distance/cpu.h"
#include "table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Rates that both forms print. Times of zero (a clock too coarse for a tiny set) count as one nanosecond. */
struct rates {
    double queries_per_second;
    double distances_per_second;
    double gigabytes_per_second; /* 10^9 bytes of dataset rows read */
    double speed_up;             /* medians: naive over ours */
};

static struct rates rates_of(const struct vdb_knn_input *input, const struct vdb_knn_results *results,
                             const struct vdb_knn_performance *performance)
{
    double seconds = fmax(performance->seconds, 1e-9);
    double distances = (double)performance->distances;
    return (struct rates){
        .queries_per_second = (double)results->query_count / seconds,
        .distances_per_second = distances / seconds,
        .gigabytes_per_second = distances * (double)vdb_vector_bytes(input->element, input->dimension) / seconds /
                                1e9,
        .speed_up = performance->naive_seconds_median / fmax(performance->query_seconds_median, 1e-9),
    };
}

static const char *kernels_name(void)
{
    return vdb_cpu_level_name(vdb_kernels_get()->level);
}

/* ", u8" or ", f16 (computed in f32)" */
static void put_type(struct vdb_buf *out, const char *file_name, vdb_element computed)
{
    if (vdb_str_is(vdb_str_of(file_name), vdb_element_name(computed))) {
        vdb_buf_printf(out, ", %s", file_name);
    } else {
        vdb_buf_printf(out, ", %s (computed in %s)", file_name, vdb_element_name(computed));
    }
}

/* What could steer a terminal in a file's name must not reach it. */
static void put_path(struct vdb_buf *out, const char *path)
{
    char text[VDB_LIMIT_PATH_BYTES_MAX + 512]; /* a path, and the data set behind it */
    snprintf(text, sizeof text, "%s", path);
    vdb_utf8_make_printable(text);
    vdb_buf_put_text(out, text);
}

static void put_head(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                     const struct vdb_knn_results *results, struct vdb_buf *out)
{
    char number[VDB_TABLE_TEXT_BYTES];
    vdb_buf_put_text(out, "Dataset  ");
    put_path(out, options->dataset_path);
    vdb_buf_printf(out, ": %s vectors", vdb_table_count(number, input->count));
    vdb_buf_printf(out, " of dimension %s", vdb_table_count(number, input->dimension));
    put_type(out, input->dataset_type_name, input->element);
    vdb_buf_put_text(out, "\nQueries  ");
    put_path(out, options->query_from);
    vdb_buf_printf(out, ": %s vectors", vdb_table_count(number, input->query.count));
    put_type(out, input->query_type_name, input->element);
    if (options->row_given) {
        vdb_buf_printf(out, "; row %zu", results->first_row);
    }
    vdb_metric metric = (vdb_metric)options->metric;
    vdb_buf_printf(out, "\nMetric   %s (%s is nearer)", vdb_metric_name(metric),
                   metric == VDB_METRIC_DOT ? "higher" : "lower");
    if (options->range_text != NULL) {
        vdb_buf_printf(out, ", all at %s %s\n", metric == VDB_METRIC_DOT ? "a product of at least" : "most",
                       options->range_text);
        return;
    }
    vdb_buf_printf(out, ", k %" PRIu64 "\n", options->k);
    if (results->k < options->k) {
        vdb_buf_printf(out, "Note     k is more than the dataset holds: all %s vectors are returned\n",
                       vdb_table_count(number, results->k));
    }
}

/* Digits behind the point, one number for a whole table: whole numbers get none, the rest seven significant
 * digits in the largest value, which is what an f32 carries. */
static unsigned decimals_for(const struct vdb_candidate *candidates, size_t count, vdb_metric metric)
{
    double largest = 0;
    bool whole = true;
    for (size_t i = 0; i < count; i++) {
        double score = vdb_metric_score(metric, candidates[i].distance);
        largest = fmax(largest, fabs(score));
        whole = whole && score == rint(score);
    }
    if (whole) {
        return 0;
    }
    int decimals = 6 - (int)floor(log10(largest));
    return decimals < 0 ? 0 : decimals > 9 ? 9 : (unsigned)decimals;
}

static void put_results_table(const struct vdb_knn_results *results, size_t query, vdb_metric metric,
                              struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{"rank", true}, {"id", true}, {"distance", true}};
    static const struct vdb_table_column dot_columns[] = {{"rank", true}, {"id", true}, {"product", true}};
    size_t count;
    const struct vdb_candidate *candidates = vdb_knn_hits(results, query, &count);
    unsigned decimals = decimals_for(candidates, count, metric);
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    vdb_buf_printf(out, "\nQuery row %zu", results->first_row + query);
    if (results->k == 0) {
        vdb_buf_printf(out, ": %s found", vdb_table_count(text, count));
    }
    vdb_buf_put_text(out, count > 0 ? "\n\n" : "\n");
    if (count == 0) {
        return;
    }
    vdb_table_init(&table, metric == VDB_METRIC_DOT ? dot_columns : columns, 3);
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%zu", i + 1);
        vdb_table_put(&table, text);
        snprintf(text, sizeof text, "%u", candidates[i].row);
        vdb_table_put(&table, text);
        vdb_table_put(&table,
                      vdb_table_decimal(text, vdb_metric_score(metric, candidates[i].distance), decimals));
    }
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

static void put_line(struct vdb_table *table, const char *label, const char *value, const char *note)
{
    vdb_table_put(table, label);
    vdb_table_put(table, value);
    vdb_table_put(table, note);
}

static void put_naive_lines(struct vdb_table *table, const struct vdb_knn_results *results,
                            const struct vdb_knn_performance *performance, double speed_up, bool streamed)
{
    char text[VDB_TABLE_TEXT_BYTES];
    char note[VDB_TABLE_CELL_BYTES];
    if (performance->naive_count == 0) {
        put_line(table, "Naive time", "-",
                 streamed ? "not run (the dataset is streamed)" : "not run (--no-naive)");
        return;
    }
    bool sampled = performance->naive_count < results->query_count;
    snprintf(note, sizeof note, "%s%zu quer%s%s", sampled ? "median of a sample of " : "median of ",
             performance->naive_count, performance->naive_count == 1 ? "y" : "ies",
             sampled ? "" : ", all of them");
    put_line(table, "Naive time per query", vdb_table_duration(text, performance->naive_seconds_median),
             results->query_count == 1 ? "scalar double loop, full sort" : note);
    size_t differ = performance->naive_count - performance->naive_equal;
    snprintf(note, sizeof note, differ == 0 ? "ids and order" : "the others differ by rounding only");
    char agree[VDB_TABLE_TEXT_BYTES];
    snprintf(agree, sizeof agree, "%zu of %zu", performance->naive_equal, performance->naive_count);
    put_line(table, "Equal to the naive answer", agree, note);
    snprintf(agree, sizeof agree, "%.30sx", vdb_table_decimal(text, speed_up, speed_up < 100 ? 1 : 0));
    put_line(table, "Speed-up", agree, "");
}

static void put_performance(const struct vdb_knn_input *input, const struct vdb_knn_results *results,
                            const struct vdb_knn_performance *performance, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{NULL, false}, {NULL, true}, {NULL, false}};
    struct rates rates = rates_of(input, results, performance);
    char text[VDB_TABLE_TEXT_BYTES];
    char joined[VDB_TABLE_TEXT_BYTES];
    char note[VDB_TABLE_CELL_BYTES];
    struct vdb_table table;
    snprintf(note, sizeof note, "%u thread%s, %s", results->threads, results->threads == 1 ? "" : "s",
             input->streamed ? "without reading the file" : "files in memory");
    vdb_table_init(&table, columns, 3);
    put_line(&table, "Queries", vdb_table_count(text, results->query_count), "");
    put_line(&table, "Distance calculations", vdb_table_count(text, performance->distances), "");
    put_line(&table, "Time", vdb_table_duration(text, performance->seconds), note);
    put_line(&table, "Time per query", vdb_table_duration(text, performance->query_seconds_median),
             results->exact != NULL ? "mean of the batch" : "median");
    put_naive_lines(&table, results, performance, rates.speed_up, input->streamed);
    put_line(&table, "Throughput", vdb_table_rate(text, rates.queries_per_second, "queries/s"), "");
    put_line(&table, "", vdb_table_rate(text, rates.distances_per_second, "distances/s"), "");
    snprintf(joined, sizeof joined, "%.30s GB/s",
             vdb_table_decimal(text, rates.gigabytes_per_second, rates.gigabytes_per_second < 10 ? 2 : 1));
    put_line(&table, "", joined, "");
    put_line(&table, "Kernels", kernels_name(), results->plan);
    put_line(&table, "Loading", vdb_table_duration(text, input->load_seconds), "read, check, convert");
    vdb_buf_put_text(out, "\nPerformance\n\n");
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

static void put_out(const struct vdb_knn_options *options, struct vdb_buf *out)
{
    char distances[VDB_LIMIT_PATH_BYTES_MAX + 8];
    size_t ignored;
    const char *part;
    vdb_buf_put_text(out, "\nWritten  ");
    put_path(out, options->out_path);
    if (vdb_vector_stream_is_hdf5(options->out_path, &ignored, &part)) {
        vdb_buf_put_text(out, " (train, test, neighbors, distances)\n");
        return;
    }
    vdb_knn_out_distances_path(options->out_path, distances, sizeof distances);
    vdb_buf_put_text(out, " (ids), ");
    put_path(out, distances);
    vdb_buf_put_text(out, " (distances)\n");
}

static vdb_status report_text(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                              const struct vdb_knn_results *results,
                              const struct vdb_knn_performance *performance, struct vdb_buf *out,
                              struct vdb_err *err)
{
    put_head(options, input, results, out);
    if (options->out_path != NULL) {
        put_out(options, out);
    }
    for (size_t q = 0; q < results->query_count && options->out_path == NULL; q++) {
        put_results_table(results, q, (vdb_metric)options->metric, out);
        VDB_TRY(vdb_cli_write(out, err));
    }
    put_performance(input, results, performance, out);
    return vdb_cli_write(out, err);
}

static void put_json_file(const char *key, const char *path, size_t count, size_t dimension,
                          const char *type_name, struct vdb_buf *out)
{
    vdb_buf_printf(out, "\"%s\":{\"path\":", key);
    vdb_json_put_string(out, vdb_str_of(path));
    vdb_buf_printf(out, ",\"count\":%zu,\"dimension\":%zu,\"type\":\"%s\"}", count, dimension, type_name);
}

static void put_json_query(const struct vdb_knn_results *results, size_t query, vdb_metric metric,
                           struct vdb_buf *out)
{
    size_t count;
    const struct vdb_candidate *candidates = vdb_knn_hits(results, query, &count);
    vdb_buf_printf(out, "%s{\"row\":%zu,\"count\":%zu,\"results\":[", query > 0 ? "," : "",
                   results->first_row + query, count);
    for (size_t i = 0; i < count; i++) {
        vdb_buf_printf(out, "%s{\"rank\":%zu,\"id\":%u,\"distance\":", i > 0 ? "," : "", i + 1,
                       candidates[i].row);
        vdb_json_put_double(out, vdb_metric_score(metric, candidates[i].distance));
        vdb_buf_put_u8(out, '}');
    }
    vdb_buf_put_text(out, "]}");
}

static void put_json_number(const char *key, double value, struct vdb_buf *out)
{
    vdb_buf_printf(out, ",\"%s\":", key);
    vdb_json_put_double(out, value);
}

static void put_json_performance(const struct vdb_knn_input *input, const struct vdb_knn_results *results,
                                 const struct vdb_knn_performance *performance, struct vdb_buf *out)
{
    struct rates rates = rates_of(input, results, performance);
    vdb_buf_printf(out, "\"performance\":{\"queries\":%zu,\"distance_calculations\":%" PRIu64,
                   results->query_count, performance->distances);
    put_json_number("time_ms", performance->seconds * 1e3, out);
    put_json_number("query_ms_median", performance->query_seconds_median * 1e3, out);
    if (performance->naive_count > 0) {
        vdb_buf_printf(out, ",\"naive\":{\"queries\":%zu,\"queries_equal\":%zu", performance->naive_count,
                       performance->naive_equal);
        put_json_number("query_ms_median", performance->naive_seconds_median * 1e3, out);
        vdb_buf_put_u8(out, '}');
        put_json_number("speed_up", rates.speed_up, out);
    } else {
        vdb_buf_put_text(out, ",\"naive\":null,\"speed_up\":null");
    }
    put_json_number("queries_per_second", rates.queries_per_second, out);
    put_json_number("distances_per_second", rates.distances_per_second, out);
    put_json_number("gigabytes_per_second", rates.gigabytes_per_second, out);
    put_json_number("load_ms", input->load_seconds * 1e3, out);
    vdb_buf_printf(out, ",\"threads\":%u,\"kernels\":\"%s\"}", results->threads, kernels_name());
}

static vdb_status report_json(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                              const struct vdb_knn_results *results,
                              const struct vdb_knn_performance *performance, struct vdb_buf *out,
                              struct vdb_err *err)
{
    vdb_metric metric = (vdb_metric)options->metric;
    vdb_buf_put_u8(out, '{');
    put_json_file("dataset", options->dataset_path, input->count, input->dimension, input->dataset_type_name,
                  out);
    vdb_buf_put_u8(out, ',');
    put_json_file("query", options->query_from, input->query.count, input->dimension, input->query_type_name,
                  out);
    vdb_buf_printf(out, ",\"computed_in\":\"%s\",\"metric\":\"%s\"", vdb_element_name(input->element),
                   vdb_metric_name(metric));
    if (options->range_text != NULL) {
        put_json_number("range", options->radius, out);
    } else {
        vdb_buf_printf(out, ",\"k\":%" PRIu64 ",\"k_returned\":%zu", options->k, results->k);
    }
    if (options->out_path != NULL) {
        vdb_buf_put_text(out, ",\"out\":");
        vdb_json_put_string(out, vdb_str_of(options->out_path));
    }
    vdb_buf_put_text(out, ",\"queries\":[");
    for (size_t q = 0; q < results->query_count && options->out_path == NULL; q++) {
        put_json_query(results, q, metric, out);
        VDB_TRY(vdb_cli_write(out, err));
    }
    vdb_buf_put_text(out, "],");
    put_json_performance(input, results, performance, out);
    vdb_buf_put_text(out, "}\n");
    return vdb_cli_write(out, err);
}

vdb_status vdb_knn_report(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                          const struct vdb_knn_results *results, const struct vdb_knn_performance *performance,
                          struct vdb_err *err)
{
    struct vdb_buf out = {0};
    vdb_status status = (options->json ? report_json : report_text)(options, input, results, performance, &out,
                                                                    err);
    vdb_buf_fini(&out);
    return status;
}
