/* test_qgraph_many.c: several searches of the quantised graph that take turns. */
#include "qgraph_support.h"

#include "distance/cpu.h"

enum { ROWS = 20000, DIMENSION = 32, WIDE = 400 };

struct found {
    size_t counts[QUERIES];
    struct vdb_candidate hits[QUERIES][K];
};

static void search_together(const struct vdb_qgraph *graph, const struct data *data, size_t ef, struct found *out)
{
    struct vdb_query queries[QUERIES];
    struct vdb_topk topks[QUERIES];
    struct vdb_err err = {0};
    for (size_t q = 0; q < QUERIES; q++) {
        queries[q] = (struct vdb_query){.vector = data->queries + q * data->bytes, .ef = ef};
        vdb_topk_init(&topks[q], out->hits[q], K);
    }
    assert_int_equal(vdb_qgraph_search_many(graph, &data->rows, queries, topks, QUERIES, &err), VDB_OK);
    for (size_t q = 0; q < QUERIES; q++) {
        vdb_topk_finish(&topks[q]);
        out->counts[q] = topks[q].count;
    }
}

static void search_alone(const struct vdb_qgraph *graph, const struct data *data, size_t ef, struct found *out)
{
    for (size_t q = 0; q < QUERIES; q++) {
        out->counts[q] = search(&vdb_index_qgraph, graph, data, data->queries + q * data->bytes, NULL, ef, K,
                                out->hits[q]);
    }
}

static size_t count_equal(const struct found *a, const struct found *b)
{
    size_t equal = 0;
    for (size_t q = 0; q < QUERIES; q++) {
        assert_int_equal(a->counts[q], K);
        assert_int_equal(b->counts[q], K);
        for (size_t i = 0; i < K; i++) {
            equal += a->hits[q][i].row == b->hits[q][i].row;
        }
    }
    return equal;
}

/* Turns change how far each walk looks ahead, so that narrow searches may differ; wide ones find the same. What one
 * search marks, no other sees. */
static void test_together_is_as_alone(void **state)
{
    static const struct {
        vdb_element element;
        vdb_metric metric;
        size_t dimension;
    } cases[] = {{VDB_ELEMENT_U8, VDB_METRIC_L2, DIMENSION},
                 {VDB_ELEMENT_F32, VDB_METRIC_L2, DIMENSION},
                 {VDB_ELEMENT_F32, VDB_METRIC_COSINE, 900}, /* long blocks: one after the other */
                 {VDB_ELEMENT_F32, VDB_METRIC_DOT, DIMENSION}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct found alone;
        static struct found together;
        static struct found again;
        struct data data;
        make(&data, cases[i].dimension > DIMENSION ? ROWS / 10 : ROWS, cases[i].dimension, cases[i].element,
             cases[i].metric, 20, 31 + i);
        struct vdb_qgraph *graph = build(&data, NULL);
        search_alone(graph, &data, WIDE, &alone);
        search_together(graph, &data, WIDE, &together);
        const size_t equal = count_equal(&alone, &together);
        if (equal * 100 < QUERIES * K * 99) {
            fail_msg("case %zu: %zu of %d", i, equal, QUERIES * K);
        }
        search_together(graph, &data, 12, &together);
        search_together(graph, &data, 12, &again);
        assert_int_equal(count_equal(&together, &again), QUERIES * K);
        search_alone(graph, &data, WIDE, &again);
        assert_int_equal(count_equal(&alone, &again), QUERIES * K);
        vdb_qgraph_destroy(graph);
        free(data.memory);
    }
}

static void test_queries_of_another_element_are_refused(void **state)
{
    struct data data;
    struct vdb_candidate hits[2][K];
    struct vdb_topk topks[2];
    struct vdb_err err = {0};
    (void)state;
    make(&data, 500, 8, VDB_ELEMENT_F32, VDB_METRIC_L2, 5, 3);
    struct vdb_qgraph *graph = build(&data, NULL);
    const struct vdb_query queries[2] = {{.vector = data.queries}, {.vector = data.queries, .wide = true}};
    vdb_topk_init(&topks[0], hits[0], K);
    vdb_topk_init(&topks[1], hits[1], K);
    assert_int_equal(vdb_qgraph_search_many(graph, &data.rows, queries, topks, 2, &err), VDB_UNSUPPORTED);
    assert_non_null(strstr(err.text, "element"));
    assert_int_equal(topks[0].count, 0); /* nothing was begun */
    vdb_qgraph_destroy(graph);
    free(data.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together_is_as_alone),
        cmocka_unit_test(test_queries_of_another_element_are_refused),
    };
    struct vdb_err err = {0};
    if (vdb_cpu_check(&err) != VDB_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
