/* test_recall.c: recall@1, @10 and @100 of both graphs at given widths, over data sets, metrics and elements: none may be
 * below its bound in tests/recall/bounds.csv. What was measured is written to recall.csv in the working directory, in the
 * same form, so that a change for the better can be taken over as the new bounds.
 *
 * A line is: data set, element, metric, kind, rows (evenly from the set), ef, and the bounds. Lines that differ in nothing but ef
 * stand together and share a graph. VECDB_DATA names the folder with a folder per data set (tests/README.md); sets that are
 * not there are left out, those drawn at random ("clusters-DIMENSION") are always there. Recall counts answers as near as the true
 * k-th, so that ties cost nobody. Bounds are measured values less a half to
 * one percent, for what other compilers make of last bits: one or two of the answers to 200 queries at k 1.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "index/exact.h"
#include "index/hnsw.h"
#include "index/qgraph.h"
#include "recall_support.h"

enum { QUERIES = 200, K_MAX = 100, KS = 3, NAME_BYTES = 32 };

static const size_t ks[KS] = {1, 10, 100};

#ifdef VDB_SANITIZED
enum { ONE_IN = 7 }; /* graphs: a sanitizer takes its time, and recall is not what it looks for */
#else
enum { ONE_IN = 1 };
#endif

struct line {
    char set[NAME_BYTES];
    char element[NAME_BYTES];
    char metric[NAME_BYTES];
    char kind[NAME_BYTES];
    size_t rows;
    size_t ef;
    double bounds[KS];
};

static bool same_graph(const struct line *a, const struct line *b)
{
    return strcmp(a->set, b->set) == 0 && strcmp(a->element, b->element) == 0 &&
           strcmp(a->metric, b->metric) == 0 && strcmp(a->kind, b->kind) == 0 && a->rows == b->rows;
}

struct graph {
    struct sample sample;
    const struct vdb_index_ops *ops;
    void *index;
    struct vdb_exact *truth;
};

/* False when the data set is not there. */
static bool graph_open(struct graph *graph, const struct line *line)
{
    struct vdb_err err = {0};
    vdb_element element;
    vdb_metric metric;
    assert_true(vdb_element_parse(vdb_str_of(line->element), &element));
    assert_true(vdb_metric_parse(vdb_str_of(line->metric), &metric));
    graph->ops = vdb_index_find(vdb_str_of(line->kind));
    assert_true(graph->ops == &vdb_index_hnsw || graph->ops == &vdb_index_qgraph);
    if (!sample_load(&graph->sample, line->set, line->rows, QUERIES, element, metric)) {
        return false;
    }
    const struct vdb_rows *rows = &graph->sample.rows;
    const struct vdb_index_settings settings = {
        .threads = graph->ops == &vdb_index_hnsw ? 1 : 2}; /* hnsw: one thread and one seed give one graph */
    const struct vdb_exact_options options = {.k = K_MAX, .threads = 2};
    assert_ok(graph->ops->build(rows, &settings, &graph->index, &err), &err);
    assert_ok(vdb_exact_create(graph->sample.queries, rows->stride_bytes, graph->sample.query_count,
                               rows->dimension, element, metric, &options, &graph->truth, &err),
              &err);
    assert_ok(vdb_exact_feed(graph->truth, graph->sample.memory, rows->stride_bytes, rows->count, 0, &err), &err);
    assert_ok(vdb_exact_finish(graph->truth, &err), &err);
    return true;
}

static void graph_close(struct graph *graph)
{
    vdb_exact_destroy(graph->truth);
    graph->ops->destroy(graph->index);
    sample_fini(&graph->sample);
}

static double recall_of(const struct graph *graph, size_t k, size_t ef)
{
    size_t hits = 0;
    for (size_t q = 0; q < graph->sample.query_count; q++) {
        const struct vdb_candidate *truth = vdb_exact_hits(graph->truth, q);
        struct vdb_candidate found[K_MAX];
        struct vdb_topk topk;
        struct vdb_err err = {0};
        const struct vdb_query query = {.vector = graph->sample.queries + q * graph->sample.rows.stride_bytes,
                                        .ef = ef};
        vdb_topk_init(&topk, found, k);
        if (graph->ops == &vdb_index_hnsw) { /* its scan of few rows would be exact */
            assert_ok(vdb_hnsw_search(graph->index, &graph->sample.rows, &query, VDB_HNSW_ALWAYS_WALK, &topk,
                                      NULL, &err),
                      &err);
        } else {
            assert_ok(graph->ops->search(graph->index, &graph->sample.rows, &query, &topk, &err), &err);
        }
        vdb_topk_finish(&topk);
        assert_true(vdb_exact_count(graph->truth, q) >= k);
        const double limit = truth[k - 1].distance + fabs(truth[k - 1].distance) * 1e-6;
        for (size_t i = 0; i < topk.count; i++) {
            bool hit = found[i].distance <= limit;
            for (size_t j = 0; j < k && !hit; j++) {
                hit = truth[j].row == found[i].row;
            }
            hits += hit;
        }
    }
    return (double)hits / (double)(graph->sample.query_count * k);
}

/* Returns how many of the line's recalls are below their bounds. */
static unsigned check_line(const struct graph *graph, const struct line *line, FILE *out)
{
    unsigned below = 0;
    fprintf(out, "%s,%s,%s,%s,%zu,%zu", line->set, line->element, line->metric, line->kind, line->rows, line->ef);
    for (size_t i = 0; i < KS; i++) {
        const double recall = recall_of(graph, ks[i], line->ef);
        fprintf(out, ",%.4f", recall);
        if (recall < line->bounds[i]) {
            print_error("%s, %s, %s, %s, %zu rows, ef %zu: recall@%zu is %.4f, below %.4f\n", line->set,
                        line->element, line->metric, line->kind, line->rows, line->ef, ks[i], recall,
                        line->bounds[i]);
            below++;
        }
    }
    fprintf(out, "\n");
    return below;
}

/* tests/recall/bounds.csv, found from this file's own path. */
static FILE *open_bounds(void)
{
    static const char here[] = "unit/index/test_recall.c";
    char path[1024];
    const char *file = __FILE__;
    size_t bytes = strlen(file);
    assert_true(bytes >= sizeof here - 1 && strcmp(file + bytes - (sizeof here - 1), here) == 0);
    snprintf(path, sizeof path, "%.*srecall/bounds.csv", (int)(bytes - (sizeof here - 1)), file);
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        fail_msg("%s cannot be opened", path);
    }
    return in;
}

static bool read_line(FILE *in, struct line *out)
{
    char text[256];
    if (fgets(text, sizeof text, in) == NULL) {
        return false;
    }
    int fields = sscanf(text, "%31[^,],%31[^,],%31[^,],%31[^,],%zu,%zu,%lf,%lf,%lf", out->set, out->element,
                        out->metric, out->kind, &out->rows, &out->ef, &out->bounds[0], &out->bounds[1],
                        &out->bounds[2]);
    if (fields != 9) {
        fail_msg("bounds.csv: not a line of nine fields: %s", text);
    }
    return true;
}

static void test_recall_is_within_bounds(void **state)
{
    (void)state;
    static const char head[] = "set,element,metric,kind,rows,ef,recall_at_1,recall_at_10,recall_at_100\n";
    struct graph graph = {0};
    struct line line;
    struct line of = {0}; /* the graph's */
    char text[256];
    bool open = false;
    unsigned below = 0;
    unsigned graphs = 0;
    unsigned lines = 0;
    unsigned missing = 0;
    FILE *in = open_bounds();
    FILE *out = fopen("recall.csv", "w");
    assert_non_null(out);
    assert_non_null(fgets(text, sizeof text, in));
    assert_string_equal(text, head);
    fputs(head, out);
    while (read_line(in, &line)) {
        if (!same_graph(&line, &of)) {
            if (open) {
                graph_close(&graph);
            }
            open = graphs++ % ONE_IN == 0 && graph_open(&graph, &line);
            of = line;
        }
        if (open) {
            below += check_line(&graph, &line, out);
            lines++;
        } else {
            missing++;
        }
    }
    if (open) {
        graph_close(&graph);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
    char *here = getcwd(NULL, 0);
    assert_non_null(here);
    printf(
        "%s/recall.csv: %u lines measured, %u left out (their data is not in VECDB_DATA, or a sanitizer runs)\n",
        here, lines, missing);
    free(here);
    assert_true(lines > 0);
    if (below > 0) {
        fail_msg("%u recalls are below their bounds", below);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recall_is_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
