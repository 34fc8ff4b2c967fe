/* graph_search.c: `search` of `vecdb hnsw` and `vecdb qgraph`: what an index answers, and what that took. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "cli.h"
#include "graph.h"

enum { STEPS_SHOWN_MAX = 12 }; /* of one layer, in the table */

static size_t describe_search(struct vdb_graph_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    table[i++] = vdb_graph_option_index(options);
    options->query_option = "--query";
    table[i++] = (struct vdb_args_option){.name = "--query",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->query,
                                          .value_name = "FILE",
                                          .help = "one vector to search for, or many",
                                          .required = true};
    table[i++] = (struct vdb_args_option){.name = "--row",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->row,
                                          .value_name = "NUMBER",
                                          .help = "only this row of the query file, counted from 0",
                                          .max = VDB_LIMIT_COLLECTION_POINTS_MAX - 1,
                                          .given = &options->row_given};
    table[i++] = vdb_graph_option_k(options);
    table[i++] = (struct vdb_args_option){.name = "--ef",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->ef,
                                          .value_name = "NUMBER",
                                          .help = "width of the search (default 50); less than k counts as k",
                                          .min = 1,
                                          .max = options->kind->ef_max};
    table[i++] = vdb_graph_option_dataset(options);
    table[i++] = (struct vdb_args_option){.name = "--no-recall",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->no_recall,
                                          .help = "leave out the exact scan that recall is measured by"};
    return i;
}

/* ---- Text ---- */

/* Digits behind the point: none for whole numbers, else seven significant ones. */
static unsigned decimals_for(double value)
{
    if (value == rint(value)) {
        return 0;
    }
    const int decimals = 6 - (int)floor(log10(fabs(value)));
    return decimals < 0 ? 0 : decimals > 9 ? 9 : (unsigned)decimals;
}

static void put_hits(const struct vdb_graph_open *open, const struct vdb_graph_run *run, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{"rank", true}, {"id", true}, {"distance", true}};
    static const struct vdb_table_column dot_columns[] = {{"rank", true}, {"id", true}, {"product", true}};
    const vdb_metric metric = open->rows.metric;
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    unsigned decimals = 0;
    for (size_t i = 0; i < run->hit_counts[0]; i++) {
        const unsigned needed = decimals_for(vdb_metric_score(metric, run->hits[i].distance));
        decimals = needed > decimals ? needed : decimals;
    }
    vdb_buf_printf(out, "\nQuery row %zu\n\n", open->first_query);
    vdb_table_init(&table, metric == VDB_METRIC_DOT ? dot_columns : columns, 3);
    for (size_t i = 0; i < run->hit_counts[0]; i++) {
        snprintf(text, sizeof text, "%zu", i + 1);
        vdb_table_put(&table, text);
        snprintf(text, sizeof text, "%" PRIu32, run->hits[i].row);
        vdb_table_put(&table, text);
        vdb_table_put(&table, vdb_table_decimal(text, vdb_metric_score(metric, run->hits[i].distance), decimals));
    }
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

/* From the top layer down; of a layer's steps the first ones. */
static void put_path(const struct vdb_graph_open *open, const struct vdb_graph_run *run, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {
        {"layer", true}, {"hop", true}, {"node", true}, {"distance", true}};
    const struct vdb_hnsw_trace *steps = run->steps;
    const size_t kept = steps->step_count < VDB_HNSW_TRACE_STEPS_MAX ? steps->step_count
                                                                     : VDB_HNSW_TRACE_STEPS_MAX;
    const vdb_metric metric = open->rows.metric;
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    uint32_t layer = UINT32_MAX;
    uint32_t hop = 0;
    uint64_t hidden = steps->step_count - kept;
    unsigned decimals = 0;
    for (size_t i = 0; i < kept; i++) {
        const unsigned needed = decimals_for(vdb_metric_score(metric, steps->steps[i].distance));
        decimals = needed > decimals ? needed : decimals;
    }
    vdb_table_init(&table, columns, 4);
    for (size_t i = 0; i < kept; i++) {
        const struct vdb_hnsw_step *step = &steps->steps[i];
        hop = step->layer == layer ? hop + 1 : 0;
        layer = step->layer;
        if (hop >= STEPS_SHOWN_MAX) {
            hidden++;
            continue;
        }
        snprintf(text, sizeof text, "%" PRIu32, step->layer);
        vdb_table_put(&table, text);
        snprintf(text, sizeof text, "%" PRIu32, hop);
        vdb_table_put(&table, text);
        snprintf(text, sizeof text, "%" PRIu32, step->row);
        vdb_table_put(&table, text);
        vdb_table_put(&table, vdb_table_decimal(text, vdb_metric_score(metric, step->distance), decimals));
    }
    vdb_buf_put_text(out, "\nPath\n\n");
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
    if (hidden > 0) {
        vdb_buf_printf(out, "  ... and %s more (--json has up to %d)\n", vdb_table_count(text, hidden),
                       VDB_HNSW_TRACE_STEPS_MAX);
    }
}

static void put_line(struct vdb_table *table, const char *label, const char *value, const char *note)
{
    vdb_table_put(table, label);
    vdb_table_put(table, value);
    vdb_table_put(table, note);
}

static void put_hops(const struct vdb_graph_trace *sum, size_t count, struct vdb_table *table)
{
    char text[VDB_TABLE_TEXT_BYTES];
    char label[VDB_TABLE_TEXT_BYTES];
    for (uint32_t i = sum->layer_count; i-- > 0;) {
        snprintf(label, sizeof label, "Hops in layer %" PRIu32, i);
        put_line(table, label, vdb_table_decimal(text, (double)sum->hops[i] / (double)count, count > 1 ? 1 : 0),
                 "");
    }
}

static void put_recall(const struct vdb_graph_open *open, const struct vdb_graph_run *run,
                       struct vdb_table *table)
{
    char label[VDB_TABLE_TEXT_BYTES];
    char value[VDB_TABLE_TEXT_BYTES];
    char note[VDB_TABLE_CELL_BYTES];
    snprintf(label, sizeof label, "Recall@%zu", open->k);
    if (open->edge == NULL) {
        put_line(table, label, "-", "not measured (--no-recall)");
        return;
    }
    if (open->query_count == 1) {
        snprintf(note, sizeof note, "%zu of %zu", run->right[0], open->k);
    } else {
        snprintf(note, sizeof note, "least of a query: %.30s", vdb_table_decimal(value, run->recall_min, 4));
    }
    put_line(table, label, vdb_table_decimal(value, run->recall, 4), note);
}

static void put_work(const struct vdb_graph_open *open, const struct vdb_graph_run *run, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{NULL, false}, {NULL, true}, {NULL, false}};
    const struct vdb_graph_trace *sum = &run->sum;
    const size_t count = open->query_count;
    const double queries = (double)count;
    const unsigned decimals = count > 1 ? 1 : 0;
    const double distances = (double)sum->distances / queries;
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    char number[VDB_TABLE_TEXT_BYTES];
    char note[VDB_TABLE_CELL_BYTES];
    vdb_buf_printf(out, "\nSearch%s\n\n", count > 1 ? " (means of all queries)" : "");
    vdb_table_init(&table, columns, 3);
    if (count > 1) {
        put_line(&table, "Queries", vdb_table_count(text, count),
                 sum->layer_count > 0 ? "--row N shows one, and its way" : "--row N shows one");
    }
    put_hops(sum, count, &table);
    put_line(&table, "Candidates expanded", vdb_table_decimal(text, (double)sum->expanded / queries, decimals),
             "");
    put_line(&table, "Nodes visited", vdb_table_decimal(text, (double)sum->visited / queries, decimals), "");
    if (sum->estimates > 0) {
        put_line(&table, "Distances estimated",
                 vdb_table_decimal(text, (double)sum->estimates / queries, decimals), "from codes");
    }
    snprintf(note, sizeof note, "of %.20s by brute force", vdb_table_count(number, open->rows.count));
    put_line(&table, "Distance calculations", vdb_table_decimal(text, distances, decimals), note);
    const double less = (double)open->rows.count / fmax(distances, 1);
    snprintf(note, sizeof note, "%.30sx", vdb_table_decimal(text, less, less < 100 ? 1 : 0));
    put_line(&table, "Fewer by", note, "");
    put_line(&table, "Time per query", vdb_table_duration(text, run->seconds / queries),
             count > 1 ? "mean, on one thread" : "on one thread, the vectors in cache");
    if (count > 1) {
        put_line(&table, "", vdb_table_duration(text, run->seconds_median), "median");
        put_line(&table, "Throughput", vdb_table_rate(text, queries / fmax(run->seconds, 1e-9), "queries/s"), "");
    }
    put_recall(open, run, &table);
    if (open->exact_seconds > 0) {
        put_line(&table, "Exact scan", vdb_table_duration(text, open->exact_seconds),
                 count > 1 ? "all queries at once, on all cores" : "on all cores");
    }
    put_line(&table, "Loading", vdb_table_duration(text, open->load_seconds), "index, dataset, queries");
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

static vdb_status report_text(const struct vdb_graph_options *options, const struct vdb_graph_open *open,
                              const struct vdb_graph_run *run, struct vdb_err *err)
{
    struct vdb_buf out = {0};
    vdb_graph_put_head(open, options, &out);
    vdb_buf_printf(&out, "Search   k %zu, ef %zu\n", open->k, run->ef);
    if (open->query_count == 1) {
        put_hits(open, run, &out);
        if (run->steps->step_count > 0) {
            put_path(open, run, &out);
        }
    }
    put_work(open, run, &out);
    vdb_status status = vdb_cli_write(&out, err);
    vdb_buf_fini(&out);
    return status;
}

/* ---- JSON ---- */

static void put_json_trace(const struct vdb_graph_trace *trace, struct vdb_buf *out)
{
    vdb_buf_printf(out,
                   "\"expanded\":%" PRIu64 ",\"visited\":%" PRIu64 ",\"distances\":%" PRIu64
                   ",\"estimates\":%" PRIu64 ",\"hops\":[",
                   trace->expanded, trace->visited, trace->distances, trace->estimates);
    for (uint32_t i = 0; i < trace->layer_count; i++) {
        vdb_buf_printf(out, "%s%" PRIu64, i > 0 ? "," : "", trace->hops[i]);
    }
    vdb_buf_put_u8(out, ']');
}

static void put_json_path(const struct vdb_graph_open *open, const struct vdb_graph_run *run, struct vdb_buf *out)
{
    const struct vdb_hnsw_trace *steps = run->steps;
    vdb_buf_put_text(out, ",\"path\":[");
    for (size_t i = 0; i < steps->step_count && i < VDB_HNSW_TRACE_STEPS_MAX; i++) {
        vdb_buf_printf(out, "%s{\"layer\":%" PRIu32 ",\"node\":%" PRIu32, i > 0 ? "," : "", steps->steps[i].layer,
                       steps->steps[i].row);
        vdb_graph_put_json_number("distance", vdb_metric_score(open->rows.metric, steps->steps[i].distance), out);
        vdb_buf_put_u8(out, '}');
    }
    vdb_buf_put_u8(out, ']');
}

static void put_json_query(const struct vdb_graph_open *open, const struct vdb_graph_run *run, size_t query,
                           struct vdb_buf *out)
{
    const struct vdb_candidate *hits = run->hits + query * open->k;
    vdb_buf_printf(out, "%s{\"row\":%zu,\"results\":[", query > 0 ? "," : "", open->first_query + query);
    for (size_t i = 0; i < run->hit_counts[query]; i++) {
        vdb_buf_printf(out, "%s{\"rank\":%zu,\"id\":%" PRIu32, i > 0 ? "," : "", i + 1, hits[i].row);
        vdb_graph_put_json_number("distance", vdb_metric_score(open->rows.metric, hits[i].distance), out);
        vdb_buf_put_u8(out, '}');
    }
    vdb_buf_put_text(out, "],");
    put_json_trace(&run->traces[query], out);
    vdb_graph_put_json_number(
        "recall", open->edge != NULL ? (double)run->right[query] / (double)open->k : (double)NAN, out);
    if (run->steps != NULL) {
        put_json_path(open, run, out);
    }
    vdb_buf_put_u8(out, '}');
}

static vdb_status report_json(const struct vdb_graph_options *options, const struct vdb_graph_open *open,
                              const struct vdb_graph_run *run, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_buf out = {0};
    const double queries = (double)open->query_count;
    vdb_buf_put_u8(&out, '{');
    vdb_graph_put_json_head(open, options, &out);
    vdb_buf_printf(&out, ",\"k\":%zu,\"ef\":%zu,\"queries\":[", open->k, run->ef);
    for (size_t q = 0; q < open->query_count; q++) {
        put_json_query(open, run, q, &out);
        VDB_CHECK(vdb_cli_write(&out, err));
    }
    vdb_buf_printf(&out, "],\"performance\":{\"queries\":%zu,\"brute_force_distances\":%zu", open->query_count,
                   open->rows.count);
    vdb_graph_put_json_number("expanded", (double)run->sum.expanded / queries, &out);
    vdb_graph_put_json_number("visited", (double)run->sum.visited / queries, &out);
    vdb_graph_put_json_number("distances", (double)run->sum.distances / queries, &out);
    vdb_graph_put_json_number("estimates", (double)run->sum.estimates / queries, &out);
    vdb_graph_put_json_number("query_ms", run->seconds / queries * 1e3, &out);
    vdb_graph_put_json_number("query_ms_median", run->seconds_median * 1e3, &out);
    vdb_graph_put_json_number("recall", run->recall, &out);
    vdb_graph_put_json_number("recall_min", run->recall_min, &out);
    vdb_graph_put_json_number("exact_ms", open->exact_seconds > 0 ? open->exact_seconds * 1e3 : (double)NAN,
                              &out);
    vdb_graph_put_json_number("load_ms", open->load_seconds * 1e3, &out);
    vdb_buf_put_text(&out, "}}\n");
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    return status;
}

static vdb_status run_search(const struct vdb_graph_options *options, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_graph_open open = {0};
    struct vdb_graph_run run = {0};
    VDB_CHECK(vdb_graph_run_open(options, &open, err));
    if (!options->no_recall) {
        VDB_CHECK(vdb_graph_run_truth(&open, NULL, err));
    }
    VDB_CHECK(vdb_graph_run_all(&open, (size_t)options->ef, &run, err));
    status = options->json ? report_json(options, &open, &run, err) : report_text(options, &open, &run, err);

cleanup:
    vdb_graph_run_fini(&run);
    vdb_graph_run_close(&open);
    return status;
}

const struct vdb_graph_verb vdb_graph_search_verb = {
    .name = "search",
    .summary = "Search an index: the answers, the way to them, and what it took",
    .about = "Prints the nearest vectors of one query, the path that led to them (hnsw), and the work: nodes\n"
             "expanded (their links read) and visited (their distance taken), against the brute force over all\n"
             "vectors. Recall is measured by an exact scan. With many queries it prints means.\n",
    .describe = describe_search,
    .run = run_search,
};
