/* graph_build.c: `build` of `vecdb hnsw` and `vecdb qgraph`. */
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "base/timer.h"
#include "cli.h"
#include "graph.h"
#include "knn.h"
#include "storage.h"

static size_t describe_build(struct vdb_graph_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    table[i++] = (struct vdb_args_option){.name = "--dataset",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->dataset,
                                          .value_name = "FILE",
                                          .help = "vectors (.npy, .fvecs, .bvecs, .hdf5)",
                                          .required = true};
    table[i++] = (struct vdb_args_option){.name = "--out",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->out,
                                          .value_name = "FILE",
                                          .help = "the index file; an older one is replaced",
                                          .required = true};
    i += options->kind->describe(options, table + i);
    table[i++] = (struct vdb_args_option){.name = "--metric",
                                          .kind = VDB_ARGS_CHOICE,
                                          .out = &options->metric,
                                          .value_name = "METRIC",
                                          .help = options->kind->metrics_text,
                                          .choices = options->kind->metrics,
                                          .given = &options->metric_given};
    table[i++] = (struct vdb_args_option){.name = "--threads",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->threads,
                                          .value_name = "NUMBER",
                                          .help = "how many threads, 1 to 1,024 (default: one per core)",
                                          .min = 1,
                                          .max = 1024};
    table[i++] = (struct vdb_args_option){.name = "--seed",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->seed,
                                          .value_name = "NUMBER",
                                          .help = "of all that is left to chance (default 1)",
                                          .max = UINT64_MAX};
    return i;
}

/* What a build leaves to be told. */
struct report {
    const struct vdb_graph_options *options;
    const struct vdb_graph_file *head;
    struct vdb_graph_shape shape;
    uint64_t row_bytes; /* of the dataset, if searches read it */
    uint64_t file_bytes;
    double load_seconds;
    double build_seconds;
    double save_seconds;
};

static void put_layers(const struct vdb_graph_shape *shape, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {
        {"layer", true}, {"nodes", true}, {"links", true}, {"average", true}};
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 4);
    for (uint32_t i = shape->layer_count; i-- > 0;) {
        snprintf(text, sizeof text, "%" PRIu32, i);
        vdb_table_put(&table, text);
        vdb_table_put(&table, vdb_table_count(text, shape->layer_nodes[i]));
        vdb_table_put(&table, vdb_table_count(text, shape->layer_links[i]));
        vdb_table_put(&table, vdb_table_decimal(text,
                                                shape->layer_nodes[i] > 0 ? (double)shape->layer_links[i] /
                                                                                (double)shape->layer_nodes[i]
                                                                          : 0,
                                                1));
    }
    vdb_buf_put_u8(out, '\n');
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

static void put_sizes(const struct report *report, struct vdb_buf *out)
{
    const struct vdb_graph_shape *shape = &report->shape;
    char graph[VDB_TABLE_TEXT_BYTES];
    char vectors[VDB_TABLE_TEXT_BYTES];
    char all[VDB_TABLE_TEXT_BYTES];
    const uint64_t total = shape->graph_bytes + shape->copy_bytes + report->row_bytes;
    vdb_storage_line(out, "Index size", "%s: graph %s + vectors %s", vdb_storage_bytes(all, total),
                     vdb_storage_bytes(graph, shape->graph_bytes),
                     vdb_storage_bytes(vectors, report->row_bytes + shape->copy_bytes));
    vdb_storage_line(out, "Per vector", "%s bytes, of them %s graph",
                     vdb_table_decimal(all, (double)total / (double)report->head->rows, 0),
                     vdb_table_decimal(graph, (double)shape->graph_bytes / (double)report->head->rows, 0));
}

static void report_text(const struct report *report, struct vdb_buf *out)
{
    const struct vdb_graph_shape *shape = &report->shape;
    const struct vdb_graph_file *head = report->head;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    vdb_buf_put_text(out, "Dataset  ");
    vdb_graph_put_path(out, report->options->dataset);
    vdb_buf_printf(out, ": %s vectors of dimension %s, %s, %s\nWritten  ", vdb_table_count(a, head->rows),
                   vdb_table_count(b, head->dimension), vdb_element_name(head->element),
                   vdb_metric_name(head->metric));
    vdb_graph_put_path(out, report->options->out);
    vdb_buf_printf(out, ": %s, %s\n", report->options->kind->name, vdb_storage_bytes(a, report->file_bytes));
    if (shape->layer_count > 1 || shape->layer_links[0] > 0) {
        put_layers(shape, out);
    }
    vdb_buf_put_u8(out, '\n');
    vdb_storage_line(
        out, "Build time", "%s, %s", vdb_table_duration(a, report->build_seconds),
        vdb_table_rate(b, (double)head->rows / (report->build_seconds > 0 ? report->build_seconds : 1e-9),
                       "vectors/s"));
    put_sizes(report, out);
    vdb_storage_line(out, "Nodes", "%s%s%s%s", vdb_table_count(a, shape->nodes),
                     shape->duplicates > 0 ? ", shared by " : "",
                     shape->duplicates > 0 ? vdb_table_count(b, shape->duplicates) : "",
                     shape->duplicates > 0 ? " more of equal vectors" : "");
    vdb_storage_line(out, "Average connections", "%s", vdb_table_decimal(a, shape->average_links, 1));
    if (shape->layer_count > 0 && shape->has_diameter) {
        vdb_storage_line(out, "Top layer", "%" PRIu32, shape->layer_count - 1);
        vdb_storage_line(out, "Diameter", "about %" PRIu32 " links in layer 0 (a lower bound, from samples)",
                         shape->diameter);
    }
    for (size_t i = 0; i < shape->fact_count; i++) {
        vdb_storage_line(out, shape->facts[i].label, "%s",
                         vdb_table_decimal(a, shape->facts[i].value, shape->facts[i].decimals));
    }
    vdb_storage_line(out, "Loading, saving", "%s, %s", vdb_table_duration(a, report->load_seconds),
                     vdb_table_duration(b, report->save_seconds));
}

static void report_json(const struct report *report, struct vdb_buf *out)
{
    const struct vdb_graph_shape *shape = &report->shape;
    const struct vdb_graph_file *head = report->head;
    vdb_buf_printf(out, "{\"kind\":\"%s\",\"index\":{\"path\":", report->options->kind->name);
    vdb_json_put_string(out, vdb_str_of(report->options->out));
    vdb_buf_printf(out, ",\"bytes\":%" PRIu64 "},\"dataset\":{\"path\":", report->file_bytes);
    vdb_json_put_string(out, vdb_str_of(report->options->dataset));
    vdb_buf_printf(out,
                   ",\"count\":%" PRIu64 ",\"dimension\":%" PRIu32 ",\"element\":\"%s\"},\"metric\":\"%s\","
                   "\"nodes\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"layers\":[",
                   head->rows, head->dimension, vdb_element_name(head->element), vdb_metric_name(head->metric),
                   shape->nodes, shape->duplicates);
    const bool layered = shape->has_diameter;
    for (uint32_t i = 0; layered && i < shape->layer_count; i++) {
        vdb_buf_printf(out, "%s{\"layer\":%" PRIu32 ",\"nodes\":%" PRIu64 ",\"links\":%" PRIu64 "}",
                       i > 0 ? "," : "", i, shape->layer_nodes[i], shape->layer_links[i]);
    }
    vdb_buf_printf(out, "],\"top_layer\":");
    if (layered && shape->layer_count > 0) {
        vdb_buf_printf(out, "%" PRIu32 ",\"diameter\":%" PRIu32, shape->layer_count - 1, shape->diameter);
    } else {
        vdb_buf_put_text(out, "null,\"diameter\":null");
    }
    vdb_graph_put_json_number("average_connections", shape->average_links, out);
    vdb_buf_printf(out, ",\"graph_bytes\":%" PRIu64 ",\"vector_bytes\":%" PRIu64, shape->graph_bytes,
                   report->row_bytes + shape->copy_bytes);
    for (size_t i = 0; i < shape->fact_count; i++) {
        vdb_graph_put_json_number(shape->facts[i].key, shape->facts[i].value, out);
    }
    vdb_graph_put_json_number("build_ms", report->build_seconds * 1e3, out);
    vdb_graph_put_json_number("load_ms", report->load_seconds * 1e3, out);
    vdb_graph_put_json_number("save_ms", report->save_seconds * 1e3, out);
    vdb_buf_put_text(out, "}\n");
}

/* Without --metric an HDF5 file may say which: the rules are those of `vecdb knn`. */
static vdb_status find_metric(const struct vdb_graph_options *options, vdb_metric *out, struct vdb_err *err)
{
    struct vdb_knn_options knn = {.dataset_path = options->dataset,
                                  .query_path = options->dataset,
                                  .metric = options->metric,
                                  .metric_given = options->metric_given,
                                  .bits_given = options->bits_given};
    VDB_TRY(vdb_knn_options_resolve(&knn, err));
    *out = (vdb_metric)knn.metric;
    return VDB_OK;
}

static double since(uint64_t start_ns)
{
    return (double)(vdb_now_ns() - start_ns) / 1e9;
}

static vdb_status run_build(const struct vdb_graph_options *options, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const struct vdb_graph_kind *kind = options->kind;
    struct vdb_vectors vectors = {0};
    struct vdb_graph_file head = {0};
    struct report report = {.options = options, .head = &head};
    struct vdb_buf out = {0};
    void *index = NULL;
    VDB_CHECK(kind->check_options(options, err));
    VDB_CHECK(vdb_graph_file_may_write(options->out, err));
    VDB_CHECK(find_metric(options, &head.metric, err));
    uint64_t start = vdb_now_ns();
    VDB_CHECK(vdb_graph_input_load("--dataset", options->dataset, head.metric, options->bits, &vectors,
                                   &head.element, err));
    head.stamp = vdb_graph_input_stamp(&vectors);
    head.rows = vectors.count;
    head.dimension = (uint32_t)vectors.dimension;
    report.load_seconds = since(start);
    const void *array = vectors.data;
    const struct vdb_rows rows = vdb_rows_of_array(&array, vectors.count, vectors.dimension, head.element,
                                                   head.metric);
    start = vdb_now_ns();
    VDB_CHECK(kind->build(options, &rows, &index, err));
    report.build_seconds = since(start);
    VDB_CHECK(kind->shape(index, &rows, &report.shape, err));
    report.row_bytes = report.shape.holds_rows ? 0 : (uint64_t)rows.stride_bytes * rows.count;
    start = vdb_now_ns();
    VDB_CHECK(
        vdb_graph_file_save(options->out, kind, options->dataset, &head, index, &rows, &report.file_bytes, err));
    report.save_seconds = since(start);
    if (options->json) {
        report_json(&report, &out);
    } else {
        report_text(&report, &out);
    }
    VDB_CHECK(vdb_cli_write(&out, err));

cleanup:
    if (index != NULL) {
        kind->ops->destroy(index);
    }
    vdb_buf_fini(&out);
    vdb_vectors_fini(&vectors);
    return status;
}

const struct vdb_graph_verb vdb_graph_build_verb = {
    .name = "build",
    .summary = "Build a graph over a dataset and write it to a file",
    .about = NULL, /* the kind's */
    .describe = describe_build,
    .run = run_build,
};
