/* graph_sweep.c: `sweep` of `vecdb hnsw` and `vecdb qgraph`: recall against time, for one ef after the other. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cli.h"
#include "env/env.h"
#include "graph.h"
#include "plot_svg.h"

enum { EF_COUNT_MAX = 64, NOTE_BYTES = 96 };

static const char ef_list_default[] = "10,15,20,30,40,60,80,120,160,240,320,480,640";

static size_t describe_sweep(struct vdb_graph_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    table[i++] = vdb_graph_option_index(options);
    options->query_option = "--queries";
    table[i++] = (struct vdb_args_option){.name = "--queries",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->query,
                                          .value_name = "FILE",
                                          .help = "vectors to search for",
                                          .required = true};
    table[i++] = (struct vdb_args_option){
        .name = "--ground-truth",
        .kind = VDB_ARGS_TEXT,
        .out = &options->truth,
        .value_name = "FILE",
        .help = "ids of the nearest (.npy i32, .ivecs); default: an exact scan"};
    table[i++] = vdb_graph_option_k(options);
    table[i++] = (struct vdb_args_option){.name = "--ef",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->ef_list,
                                          .value_name = "LIST",
                                          .help = "widths, ascending (default 10,15,20,30,40,60,80,120,... 640)"};
    table[i++] = vdb_graph_option_dataset(options);
    table[i++] = (struct vdb_args_option){.name = "--plot",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->plot,
                                          .value_name = "F.svg",
                                          .help = "also draws recall against queries per second"};
    return i;
}

/* ---- The widths ---- */

vdb_status vdb_graph_sweep_parse(const char *text, uint32_t ef_max, size_t **out, size_t *count,
                                 struct vdb_err *err)
{
    const char *at = text;
    *count = 0;
    *out = vdb_calloc(EF_COUNT_MAX, sizeof **out);
    if (*out == NULL) {
        return vdb_err_no_memory(err, "the list of widths");
    }
    for (;;) {
        char *end = NULL;
        const uint64_t last = *count > 0 ? (*out)[*count - 1] : 0;
        const unsigned long long value = at[0] >= '0' && at[0] <= '9' ? strtoull(at, &end, 10) : 0;
        if (value <= last || value > ef_max || (*end != ',' && *end != '\0') || *count == EF_COUNT_MAX) {
            free(*out);
            *out = NULL;
            return vdb_err_set(err, VDB_INVALID,
                               "--ef is \"%.100s\"; up to %d ascending numbers from 1 to %" PRIu32
                               " with commas between them are allowed",
                               text, EF_COUNT_MAX, ef_max);
        }
        (*out)[(*count)++] = (size_t)value;
        if (*end == '\0') {
            return VDB_OK;
        }
        at = end + 1;
    }
}

/* Widths below k count as k: of these only one is measured. */
static void raise_to_k(size_t *efs, size_t *count, size_t k)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        const size_t ef = efs[i] > k ? efs[i] : k;
        if (kept == 0 || efs[kept - 1] < ef) {
            efs[kept++] = ef;
        }
    }
    *count = kept;
}

/* ---- Results ---- */

/* One ef, means of the queries. */
struct point {
    size_t ef;
    double recall;
    double seconds;
    double visited;
    double expanded;
    double distances;
    double estimates;
    struct vdb_graph_batch batch; /* seconds of a query; 0: the kind does nothing for a batch */
};

struct sweep {
    const struct vdb_graph_options *options;
    struct vdb_graph_open open;
    size_t *efs;
    size_t count;
    struct point points[EF_COUNT_MAX];
};

static bool batches(const struct sweep *sweep)
{
    return sweep->open.kind->ops->search_many != NULL;
}

static vdb_status measure(struct sweep *sweep, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_progress progress;
    const double queries = (double)sweep->open.query_count;
    vdb_progress_begin(&progress, "sweep", "widths", sweep->count);
    for (size_t i = 0; i < sweep->count; i++) {
        struct vdb_graph_run run = {0};
        vdb_progress_update(&progress, i);
        VDB_CHECK(vdb_graph_run_all(&sweep->open, sweep->efs[i], &run, err));
        sweep->points[i] = (struct point){.ef = run.ef,
                                          .recall = run.recall,
                                          .seconds = fmax(run.seconds / queries, 1e-9),
                                          .visited = (double)run.sum.visited / queries,
                                          .expanded = (double)run.sum.expanded / queries,
                                          .distances = (double)run.sum.distances / queries,
                                          .estimates = (double)run.sum.estimates / queries};
        vdb_graph_run_fini(&run);
        if (batches(sweep)) {
            struct vdb_graph_batch *batch = &sweep->points[i].batch;
            VDB_CHECK(vdb_graph_run_batch(&sweep->open, sweep->efs[i], batch, err));
            batch->seconds = fmax(batch->seconds / queries, 1e-9);
        }
    }

cleanup:
    vdb_progress_end(&progress);
    return status;
}

static void report_text(const struct sweep *sweep, struct vdb_buf *out)
{
    char recall[VDB_TABLE_TEXT_BYTES];
    const struct vdb_table_column columns[] = {
        {"ef", true},        {recall, true},          {"time per query", true},
        {"queries/s", true}, {"nodes visited", true}, {"expanded", true},
        {"distances", true}, {"batch recall", true},  {"batch queries/s", true}};
    const size_t column_count = sizeof columns / sizeof columns[0] - (batches(sweep) ? 0 : 2);
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    snprintf(recall, sizeof recall, "recall@%zu", sweep->open.k);
    vdb_graph_put_head(&sweep->open, sweep->options, out);
    vdb_buf_put_text(out, "Truth    ");
    if (sweep->options->truth != NULL) {
        vdb_graph_put_path(out, sweep->options->truth);
        vdb_buf_put_u8(out, '\n');
    } else {
        vdb_buf_printf(out, "an exact scan, %s\n", vdb_table_duration(text, sweep->open.exact_seconds));
    }
    vdb_table_init(&table, columns, column_count);
    for (size_t i = 0; i < sweep->count; i++) {
        const struct point *point = &sweep->points[i];
        vdb_table_put(&table, vdb_table_count(text, point->ef));
        vdb_table_put(&table, vdb_table_decimal(text, point->recall, 4));
        vdb_table_put(&table, vdb_table_duration(text, point->seconds));
        vdb_table_put(&table, vdb_table_count(text, (uint64_t)(1 / point->seconds)));
        vdb_table_put(&table, vdb_table_decimal(text, point->visited, 1));
        vdb_table_put(&table, vdb_table_decimal(text, point->expanded, 1));
        vdb_table_put(&table, vdb_table_decimal(text, point->distances, 1));
        if (batches(sweep)) {
            vdb_table_put(&table, vdb_table_decimal(text, point->batch.recall, 4));
            vdb_table_put(&table, vdb_table_count(text, (uint64_t)(1 / point->batch.seconds)));
        }
    }
    vdb_buf_put_u8(out, '\n');
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
    vdb_buf_put_text(out, "\n  Means of all queries, one after the other on one thread.\n");
    if (batches(sweep)) {
        vdb_buf_put_text(out, "  Batch: all queries at once on that thread, so that a few take turns.\n");
    }
    if (sweep->options->plot != NULL) {
        vdb_buf_put_text(out, "\nWritten  ");
        vdb_graph_put_path(out, sweep->options->plot);
        vdb_buf_put_u8(out, '\n');
    }
}

static void report_json(const struct sweep *sweep, struct vdb_buf *out)
{
    vdb_buf_put_u8(out, '{');
    vdb_graph_put_json_head(&sweep->open, sweep->options, out);
    vdb_buf_printf(out, ",\"k\":%zu,\"queries\":%zu,\"ground_truth\":", sweep->open.k, sweep->open.query_count);
    if (sweep->options->truth != NULL) {
        vdb_json_put_string(out, vdb_str_of(sweep->options->truth));
    } else {
        vdb_buf_put_text(out, "null");
    }
    vdb_buf_put_text(out, ",\"points\":[");
    for (size_t i = 0; i < sweep->count; i++) {
        const struct point *point = &sweep->points[i];
        vdb_buf_printf(out, "%s{\"ef\":%zu", i > 0 ? "," : "", point->ef);
        vdb_graph_put_json_number("recall", point->recall, out);
        vdb_graph_put_json_number("query_ms", point->seconds * 1e3, out);
        vdb_graph_put_json_number("queries_per_second", 1 / point->seconds, out);
        vdb_graph_put_json_number("visited", point->visited, out);
        vdb_graph_put_json_number("expanded", point->expanded, out);
        vdb_graph_put_json_number("distances", point->distances, out);
        vdb_graph_put_json_number("estimates", point->estimates, out);
        if (batches(sweep)) {
            vdb_graph_put_json_number("batch_recall", point->batch.recall, out);
            vdb_graph_put_json_number("batch_queries_per_second", 1 / point->batch.seconds, out);
        }
        vdb_buf_put_u8(out, '}');
    }
    vdb_buf_put_text(out, "]}\n");
}

/* ---- The plot ---- */

static vdb_status draw(const struct sweep *sweep, struct vdb_buf *out, struct vdb_err *err)
{
    double x[EF_COUNT_MAX];
    double y[EF_COUNT_MAX];
    char title[NOTE_BYTES];
    char subtitle[2 * NOTE_BYTES];
    char note[NOTE_BYTES];
    char label[NOTE_BYTES];
    char rows[VDB_TABLE_TEXT_BYTES];
    for (size_t i = 0; i < sweep->count; i++) {
        x[i] = sweep->points[i].recall;
        y[i] = 1 / sweep->points[i].seconds;
    }
    const struct vdb_graph_file *head = &sweep->open.head;
    snprintf(title, sizeof title, "%s: recall against speed", head->kind);
    snprintf(subtitle, sizeof subtitle, "%.30s vectors of dimension %" PRIu32 ", %s, %s; one thread",
             vdb_table_count(rows, head->rows), head->dimension, vdb_element_name(head->element),
             vdb_metric_name(head->metric));
    snprintf(note, sizeof note, "ef %zu to %zu", sweep->points[0].ef, sweep->points[sweep->count - 1].ef);
    snprintf(label, sizeof label, "recall@%zu", sweep->open.k);
    const struct vdb_plot_svg_curve curve = {
        .name = head->kind, .note = note, .x = x, .y = y, .count = sweep->count};
    const struct vdb_plot_svg plot = {
        .title = title,
        .subtitle = subtitle,
        .x = {label, VDB_PLOT_SVG_SHARE, false},
        .y = {"queries per second", VDB_PLOT_SVG_NUMBER, true},
        .curves = &curve,
        .curve_count = 1,
    };
    return vdb_plot_svg_write(&plot, out, err);
}

/* Only over nothing, or over a file whose name ends as a drawing's does, so that no dataset is lost to a slip; and where
 * files can be made: all before a long sweep, not after it. */
static vdb_status check_plot(const char *path, struct vdb_err *err)
{
    struct vdb_env *env = vdb_env_posix();
    const size_t bytes = strlen(path);
    vdb_file_kind kind;
    uint64_t file_bytes;
    if (bytes < 5 || strcmp(path + bytes - 4, ".svg") != 0) {
        return vdb_err_set(err, VDB_INVALID, "--plot is \"%.200s\"; its name must end in .svg", path);
    }
    if (bytes >= VDB_LIMIT_PATH_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "--plot: the path has %zu bytes, at most %u are allowed", bytes,
                           VDB_LIMIT_PATH_BYTES_MAX - 1);
    }
    const vdb_status status = env->ops->stat(env, path, &kind, &file_bytes, err);
    if (status != VDB_OK && status != VDB_NOT_FOUND) {
        return vdb_err_wrap(err, status, "--plot");
    }
    if (status == VDB_OK && kind != VDB_KIND_FILE) {
        return vdb_err_set(err, VDB_INVALID, "--plot is \"%.200s\": what is there is not a file", path);
    }
    return vdb_graph_file_try_directory("--plot", path, err);
}

static vdb_status save_plot(const struct sweep *sweep, struct vdb_err *err)
{
    struct vdb_buf out = {0};
    vdb_status status = draw(sweep, &out, err);
    if (status == VDB_OK && out.failed) {
        status = vdb_err_no_memory(err, "the drawing");
    }
    if (status == VDB_OK) {
        status = vdb_env_replace_file(vdb_env_posix(), sweep->options->plot, out.data, out.bytes, err);
    }
    vdb_buf_fini(&out);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "--plot");
}

static vdb_status run_sweep(const struct vdb_graph_options *options, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_buf out = {0};
    struct sweep sweep = {.options = options};
    const char *list = options->ef_list != NULL ? options->ef_list : ef_list_default;
    VDB_CHECK(vdb_graph_sweep_parse(list, options->kind->ef_max, &sweep.efs, &sweep.count, err));
    if (options->plot != NULL) {
        VDB_CHECK(check_plot(options->plot, err));
    }
    VDB_CHECK(vdb_graph_run_open(options, &sweep.open, err));
    VDB_CHECK(vdb_graph_run_truth(&sweep.open, options->truth, err));
    raise_to_k(sweep.efs, &sweep.count, sweep.open.k);
    VDB_CHECK(measure(&sweep, err));
    if (options->plot != NULL) {
        VDB_CHECK(save_plot(&sweep, err));
    }
    if (options->json) {
        report_json(&sweep, &out);
    } else {
        report_text(&sweep, &out);
    }
    VDB_CHECK(vdb_cli_write(&out, err));

cleanup:
    free(sweep.efs);
    vdb_graph_run_close(&sweep.open);
    vdb_buf_fini(&out);
    return status;
}

const struct vdb_graph_verb vdb_graph_sweep_verb = {
    .name = "sweep",
    .summary = "Recall and time for one ef after the other",
    .about =
        "Searches for all queries with each width in turn and prints recall, time per query and work. An answer\n"
        "is right when it is no farther than the k-th nearest. --plot draws the curve.\n",
    .describe = describe_sweep,
    .run = run_sweep,
};
