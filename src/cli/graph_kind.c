/* graph_kind.c: what differs between `vecdb hnsw` and `vecdb qgraph`. */
#include "graph.h"

#include <stdio.h>

#include "base/progress.h"
#include "base/timer.h"
#include "index/qgraph.h"
#include "index/qgraph_kernels.h"

enum { REPORT_NS = 100000000, NOTE_BYTES = 160, DIAMETER_SAMPLES = 8, LAYERS_SHOWN_MAX = 6 };

static const char *const all_metrics[] = {"l2", "cosine", "dot", "l1", "hamming", "jaccard", NULL};
static const char *const number_metrics[] = {"l2", "cosine", "dot", NULL};
_Static_assert(VDB_METRIC_L2 == 0 && VDB_METRIC_COSINE == 1 && VDB_METRIC_DOT == 2 && VDB_METRIC_L1 == 3 &&
                   VDB_METRIC_HAMMING == 4 && VDB_METRIC_JACCARD == 5 && VDB_METRIC_COUNT == 6,
               "names are in the order of vdb_metric");

/* ---- HNSW ---- */

static const char *const inside_names[] = {"none", "same", "f16", "bf16", "u8", NULL};
enum { INSIDE_NONE, INSIDE_SAME, INSIDE_F16, INSIDE_BF16, INSIDE_U8 };

static size_t describe_hnsw(struct vdb_graph_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    table[i++] = (struct vdb_args_option){
        .name = "--M",
        .kind = VDB_ARGS_NUMBER,
        .out = &options->m,
        .value_name = "NUMBER",
        .help = "links of a node, twice as many in layer 0: 4 to 256 (default 16)",
        .min = VDB_HNSW_M_MIN,
        .max = VDB_HNSW_M_MAX};
    table[i++] = (struct vdb_args_option){.name = "--efConstruction",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->ef_construction,
                                          .value_name = "N",
                                          .help = "width of an insert's search: M to 65,536 (default 200)",
                                          .min = 1,
                                          .max = VDB_HNSW_EF_MAX};
    table[i++] = (struct vdb_args_option){.name = "--extend",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->extend,
                                          .help = "candidates' neighbours are candidates, too"};
    table[i++] = (struct vdb_args_option){.name = "--keep-pruned",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->keep_pruned,
                                          .help = "fill lists up with the nearest that diversity refused"};
    table[i++] = (struct vdb_args_option){
        .name = "--inside",
        .kind = VDB_ARGS_CHOICE,
        .out = &options->inside,
        .value_name = "TYPE",
        .help = "copy of the vectors in the graph: none (default), same, f16, bf16, u8 (8-bit codes)",
        .choices = inside_names};
    table[i++] = (struct vdb_args_option){.name = "--bits",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->bits,
                                          .value_name = "NUMBER",
                                          .help = "u8 rows are vectors of this many packed bits",
                                          .min = 1,
                                          .max = VDB_LIMIT_DIMENSION_MAX,
                                          .given = &options->bits_given};
    return i;
}

static struct vdb_hnsw_params hnsw_params(const struct vdb_graph_options *options)
{
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = (uint32_t)options->m;
    params.ef_construction = (uint32_t)options->ef_construction;
    params.extend_candidates = options->extend;
    params.keep_pruned = options->keep_pruned;
    params.seed = options->seed;
    params.vectors_inside = options->inside != INSIDE_NONE;
    params.inside_as = options->inside == INSIDE_F16    ? VDB_ELEMENT_F16
                       : options->inside == INSIDE_BF16 ? VDB_ELEMENT_BF16
                       : options->inside == INSIDE_U8   ? VDB_ELEMENT_U8
                                                        : VDB_ELEMENT_F32;
    return params;
}

static vdb_status check_hnsw(const struct vdb_graph_options *options, struct vdb_err *err)
{
    struct vdb_hnsw_params params = hnsw_params(options);
    return vdb_hnsw_params_check(&params, err);
}

/* The bar, with the layers as they fill behind it. */
struct hnsw_bar {
    struct vdb_progress progress;
    const struct vdb_hnsw *hnsw;
    uint64_t written_ns;
    char note[NOTE_BYTES];
};

static bool report_hnsw(void *ctx, uint64_t done, uint64_t total)
{
    struct hnsw_bar *bar = ctx;
    const uint64_t now = vdb_now_ns();
    if (bar->progress.enabled && (now - bar->written_ns >= REPORT_NS || done == total)) {
        uint64_t nodes[VDB_HNSW_LAYERS_MAX] = {0};
        char number[VDB_TABLE_TEXT_BYTES];
        int used = snprintf(bar->note, sizeof bar->note, "layers");
        vdb_hnsw_count_layers(bar->hnsw, nodes);
        for (unsigned i = 0; i < LAYERS_SHOWN_MAX && nodes[i] > 0 && used < NOTE_BYTES - 24; i++) {
            used += snprintf(bar->note + used, sizeof bar->note - (size_t)used, "%s %.20s", i > 0 ? " /" : "",
                             vdb_table_count(number, nodes[i]));
        }
        bar->progress.note = bar->note;
        bar->written_ns = now;
    }
    vdb_progress_update(&bar->progress, done);
    return true;
}

static vdb_status build_hnsw(const struct vdb_graph_options *options, const struct vdb_rows *rows, void **out,
                             struct vdb_err *err)
{
    struct vdb_hnsw *hnsw;
    struct hnsw_bar bar = {0};
    const struct vdb_hnsw_params params = hnsw_params(options);
    VDB_TRY(vdb_hnsw_create(&params, rows, rows->count, &hnsw, err));
    bar.hnsw = hnsw;
    vdb_progress_begin(&bar.progress, "build", "nodes", rows->count);
    const struct vdb_index_settings settings = {
        .threads = (unsigned)options->threads, .progress = report_hnsw, .progress_ctx = &bar};
    vdb_status status = vdb_hnsw_build(hnsw, rows, &settings, err);
    vdb_progress_end(&bar.progress);
    if (status != VDB_OK) {
        vdb_hnsw_destroy(hnsw);
        return status;
    }
    *out = hnsw;
    return VDB_OK;
}

static vdb_status search_hnsw(const void *index, const struct vdb_rows *rows, const void *vector, size_t ef,
                              struct vdb_topk *topk, struct vdb_graph_trace *trace, struct vdb_hnsw_trace *steps,
                              struct vdb_err *err)
{
    const struct vdb_query query = {.vector = vector, .ef = ef};
    struct vdb_hnsw_trace own;
    struct vdb_hnsw_trace *to = steps != NULL ? steps : trace != NULL ? &own : NULL;
    VDB_TRY(vdb_hnsw_search(index, rows, &query, VDB_HNSW_ALWAYS_WALK, topk, to, err));
    if (trace != NULL) {
        *trace = (struct vdb_graph_trace){
            .expanded = to->expanded, .visited = to->visited, .distances = to->distances};
        for (uint32_t i = 0; i < VDB_HNSW_LAYERS_MAX; i++) {
            trace->hops[i] = to->hops[i];
            trace->layer_count = to->hops[i] > 0 ? i + 1 : trace->layer_count;
        }
    }
    return VDB_OK;
}

static vdb_status shape_hnsw(void *index, const struct vdb_rows *rows, struct vdb_graph_shape *out,
                             struct vdb_err *err)
{
    struct vdb_hnsw_stats stats;
    const struct vdb_hnsw_params *params = vdb_hnsw_get_params(index);
    vdb_hnsw_get_stats(index, &stats);
    *out = (struct vdb_graph_shape){
        .nodes = stats.nodes,
        .duplicates = stats.duplicates,
        .layer_count = stats.layer_count,
        .average_links = stats.nodes > 0 ? (double)stats.layer_links[0] / (double)stats.nodes : 0,
        .graph_bytes = stats.graph_bytes,
        .copy_bytes = stats.vector_bytes,
        .facts = {{"M", "m", params->m, 0}, {"efConstruction", "ef_construction", params->ef_construction, 0}},
        .fact_count = 2,
    };
    memcpy(out->layer_nodes, stats.layer_nodes, sizeof out->layer_nodes);
    memcpy(out->layer_links, stats.layer_links, sizeof out->layer_links);
    out->holds_rows = params->vectors_inside && params->inside_as == VDB_ELEMENT_F32;
    out->has_diameter = true;
    (void)rows;
    return vdb_hnsw_estimate_diameter(index, DIAMETER_SAMPLES, &out->diameter, err);
}

const struct vdb_graph_kind vdb_graph_kind_hnsw = {
    .name = "hnsw",
    .about =
        "Builds the layered graph of Malkov and Yashunin over all vectors of a file and writes it to an index\n"
        "file. While it builds, the bar on a terminal shows how many nodes each layer has.\n",
    .examples = "  vecdb hnsw build --dataset base.npy --M 16 --efConstruction 200 --out base.idx\n"
                "  vecdb hnsw search --index base.idx --query queries.npy --row 0 --k 10 --ef 50\n"
                "  vecdb hnsw sweep --index base.idx --queries queries.npy --plot sweep.svg\n",
    .ops = &vdb_index_hnsw,
    .metrics = all_metrics,
    .metrics_text = "l2 (default), cosine, dot, l1, hamming or jaccard",
    .ef_max = VDB_HNSW_EF_MAX,
    .describe = describe_hnsw,
    .check_options = check_hnsw,
    .build = build_hnsw,
    .search = search_hnsw,
    .shape = shape_hnsw,
};

/* ---- The quantised graph ---- */

static size_t describe_qgraph(struct vdb_graph_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    table[i++] = (struct vdb_args_option){
        .name = "--efConstruction",
        .kind = VDB_ARGS_NUMBER,
        .out = &options->ef_construction,
        .value_name = "N",
        .help = "width of a refinement's searches: 16 to 4,096 (default: the kind's)",
        .min = 1,
        .max = VDB_QGRAPH_EF_MAX};
    table[i++] = (struct vdb_args_option){.name = "--refinements",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->refinements,
                                          .value_name = "NUMBER",
                                          .help = "passes that search every node's neighbours anew: 0 to 8",
                                          .max = 8};
    table[i++] = (struct vdb_args_option){
        .name = "--code-bits",
        .kind = VDB_ARGS_NUMBER,
        .out = &options->code_bits,
        .value_name = "NUMBER",
        .help = "of a neighbour's code: a multiple of 64 up to 1,024; 0 (default): chosen by the data",
        .max = VDB_QGRAPH_BITS_MAX};
    table[i++] = (struct vdb_args_option){.name = "--compact",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->compact,
                                          .help = "no codes: a third of the memory, slower searches"};
    return i;
}

static struct vdb_qgraph_params qgraph_params(const struct vdb_graph_options *options)
{
    struct vdb_qgraph_params params = vdb_qgraph_params_default();
    params.seed = options->seed;
    params.code_bits = (uint32_t)options->code_bits;
    params.compact = options->compact;
    if (options->ef_construction > 0) {
        params.ef_construction = (uint32_t)options->ef_construction;
    }
    if (options->refinements != UINT64_MAX) {
        params.refinements = (uint32_t)options->refinements;
    }
    return params;
}

static vdb_status check_qgraph(const struct vdb_graph_options *options, struct vdb_err *err)
{
    struct vdb_qgraph_params params = qgraph_params(options);
    return vdb_qgraph_params_check(&params, err);
}

static bool report_qgraph(void *ctx, uint64_t done, uint64_t total)
{
    struct vdb_progress *progress = ctx;
    progress->total = total; /* passes over the nodes are part of it */
    vdb_progress_update(progress, done);
    return true;
}

static vdb_status build_qgraph(const struct vdb_graph_options *options, const struct vdb_rows *rows, void **out,
                               struct vdb_err *err)
{
    struct vdb_qgraph *graph;
    struct vdb_progress progress;
    const struct vdb_qgraph_params params = qgraph_params(options);
    const struct vdb_index_settings settings = {.params = &params,
                                                .threads = (unsigned)options->threads,
                                                .progress = report_qgraph,
                                                .progress_ctx = &progress};
    vdb_progress_begin(&progress, "build", "steps", rows->count);
    vdb_status status = vdb_qgraph_build(rows, &settings, &graph, err);
    vdb_progress_end(&progress);
    if (status == VDB_OK) {
        *out = graph;
    }
    return status;
}

/* qgraph.h: these vectors are kept as they are, and answered from the graph alone. */
static bool keeps_exactly(const struct vdb_rows *rows)
{
    return rows->metric == VDB_METRIC_L2 && (rows->element == VDB_ELEMENT_U8 || rows->element == VDB_ELEMENT_I8);
}

static vdb_status search_qgraph(const void *index, const struct vdb_rows *rows, const void *vector, size_t ef,
                                struct vdb_topk *topk, struct vdb_graph_trace *trace,
                                struct vdb_hnsw_trace *steps, struct vdb_err *err)
{
    struct vdb_search_counters counters = {0};
    const struct vdb_query query = {.vector = vector, .ef = ef, .counters = trace != NULL ? &counters : NULL};
    VDB_TRY(vdb_qgraph_search(index, rows, &query, topk, err));
    (void)steps;
    if (trace != NULL) {
        /* Kept exactly, a vector is measured when its node is expanded; else rows_visited are measured again. */
        const uint64_t again = keeps_exactly(rows) ? 0 : counters.rows_visited;
        *trace = (struct vdb_graph_trace){.expanded = counters.distances_computed - again,
                                          .visited = counters.distances_computed - again,
                                          .distances = counters.distances_computed};
        struct vdb_qgraph_info info;
        vdb_qgraph_get_info(index, &info);
        trace->estimates = info.compact ? 0 : trace->expanded * VDB_QGRAPH_DEGREE;
    }
    return VDB_OK;
}

static vdb_status shape_qgraph(void *index, const struct vdb_rows *rows, struct vdb_graph_shape *out,
                               struct vdb_err *err)
{
    struct vdb_qgraph_info info;
    (void)err;
    vdb_qgraph_get_info(index, &info);
    const bool exact = keeps_exactly(rows);
    const uint64_t inside = exact ? (uint64_t)info.node_count * rows->dimension : 0;
    *out = (struct vdb_graph_shape){
        .nodes = info.node_count,
        .duplicates = info.row_count - info.node_count,
        .layer_nodes = {info.node_count},
        .layer_count = 1,
        .average_links = info.average_degree,
        .graph_bytes = info.memory_bytes - inside,
        .copy_bytes = inside,
        .holds_rows = exact,
        .facts = {{"Links of a block", "degree", info.degree, 0},
                  {"Bits of a code", "code_bits", info.code_bits, 0},
                  {"Bytes of a block", "block_bytes", info.block_bytes, 0},
                  {"Variance in codes", "explained", info.explained, 3},
                  {"Linked at the end", "linked", (double)info.linked, 0}},
        .fact_count = 5,
    };
    return VDB_OK;
}

const struct vdb_graph_kind vdb_graph_kind_qgraph = {
    .name = "qgraph",
    .about =
        "Builds the quantised graph over all vectors of a file and writes it to an index file: one layer, 32\n"
        "links a node with a code for each, and the node's own vector in 8 bits. l2, cosine and dot.\n"
        "--compact leaves the codes out.\n",
    .examples = "  vecdb qgraph build --dataset base.npy --out base.idx\n"
                "  vecdb qgraph search --index base.idx --query queries.npy --row 0 --k 10 --ef 50\n"
                "  vecdb qgraph sweep --index base.idx --queries queries.npy --plot sweep.svg\n",
    .ops = &vdb_index_qgraph,
    .metrics = number_metrics,
    .metrics_text = "l2 (default), cosine or dot",
    .ef_max = VDB_QGRAPH_EF_MAX,
    .describe = describe_qgraph,
    .check_options = check_qgraph,
    .build = build_qgraph,
    .search = search_qgraph,
    .shape = shape_qgraph,
};
