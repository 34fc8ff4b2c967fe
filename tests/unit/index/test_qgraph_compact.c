/* test_qgraph_compact.c: graphs without codes: recall, bytes per vector, what is kept and what is refused. */
#include "qgraph_support.h"

#include "base/crc32c.h"
#include "index/qgraph_internal.h"

static struct vdb_qgraph *build_compact(const struct data *data, unsigned threads)
{
    struct vdb_qgraph_params params = vdb_qgraph_params_default();
    params.compact = true;
    const struct vdb_index_settings settings = {.params = &params, .threads = threads};
    return build(data, &settings);
}

static void test_recall_on_every_kind(void **state)
{
    (void)state;
    static const struct {
        size_t count;
        size_t dimension;
        vdb_element element;
        vdb_metric metric;
    } cases[] = {
        {1500, 32, VDB_ELEMENT_U8, VDB_METRIC_L2},     {1000, 128, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {1000, 100, VDB_ELEMENT_I8, VDB_METRIC_L2},    {600, 256, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {2000, 48, VDB_ELEMENT_F32, VDB_METRIC_L2},    {800, 200, VDB_ELEMENT_F32, VDB_METRIC_COSINE},
        {2000, 64, VDB_ELEMENT_F32, VDB_METRIC_DOT},   {2000, 1, VDB_ELEMENT_F32, VDB_METRIC_L2},
        {800, 159, VDB_ELEMENT_U8, VDB_METRIC_COSINE},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct data data;
        make(&data, cases[c].count, cases[c].dimension, cases[c].element, cases[c].metric, 30, 300 + c);
        struct vdb_qgraph *graph = build_compact(&data, 2);
        const double recall = recall_of(graph, &data, NULL, 64);
        if (recall < 0.95) {
            fail_msg("case %zu: recall %.3f", c, recall);
        }
        vdb_qgraph_destroy(graph);
        free(data.memory);
    }
}

static void test_tiny_sets_are_answered_exactly(void **state)
{
    (void)state;
    for (size_t count = 0; count <= 70; count += count < 36 ? 1 : 17) {
        struct data data;
        make(&data, count, 9, count % 2 == 0 ? VDB_ELEMENT_F32 : VDB_ELEMENT_U8, VDB_METRIC_L2, 3, count);
        struct vdb_qgraph *graph = build_compact(&data, 1);
        const double recall = recall_of(graph, &data, NULL, 128);
        if (recall < 1) {
            fail_msg("%zu rows: recall %.3f", count, recall);
        }
        vdb_qgraph_destroy(graph);
        free(data.memory);
    }
}

/* Under 0.35 of hnswlib's index: f32, 32 links of 4 bytes and their number, a label and the pointers. */
static void test_bytes_per_vector(void **state)
{
    (void)state;
    static const size_t dimensions[] = {128, 160, 784};
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        struct data data;
        make(&data, 1000, dimensions[d], VDB_ELEMENT_U8, VDB_METRIC_L2, 30, d);
        struct vdb_qgraph *graph = build_compact(&data, 2);
        struct vdb_qgraph_info info;
        vdb_qgraph_get_info(graph, &info);
        assert_true(info.compact && info.code_bits == 0);
        assert_int_equal(info.degree, dimensions[d] < 160 ? 28 : 32);
        const double each = ((double)info.memory_bytes - (double)sizeof *graph) / 1000;
        const double theirs = (double)dimensions[d] * 4 + 32 * 4 + 4 + 16;
        if (each > theirs * 0.35) {
            fail_msg("%zu dimensions: %.1f bytes, %.3f of %.0f", dimensions[d], each, each / theirs, theirs);
        }
        vdb_qgraph_destroy(graph);
        free(data.memory);
    }
}

static void test_filters_and_equal_rows(void **state)
{
    (void)state;
    struct data data;
    make(&data, 4000, 24, VDB_ELEMENT_U8, VDB_METRIC_L2, 10, 5);
    uint8_t *memory = data.memory;
    for (size_t row = 2000; row < 4000; row++) { /* one row 1,001 times, others twice */
        memcpy(memory + row * 24, memory + (row < 3000 ? row - 2000 : 77) * 24, 24);
    }
    struct vdb_qgraph *graph = build_compact(&data, 2);
    struct vdb_qgraph_info info;
    vdb_qgraph_get_info(graph, &info);
    assert_int_equal(info.row_count, 4000);
    assert_true(info.node_count <= 2000);
    assert_true(recall_of(graph, &data, NULL, 64) >= 0.95);
    struct vdb_bitset allow;
    assert_true(vdb_bitset_init(&allow, 4000));
    for (size_t every = 2; every <= 2000; every *= 10) {
        memset(allow.words, 0, vdb_bitset_words(4000) * sizeof *allow.words);
        for (size_t row = 0; row < 4000; row += every) {
            vdb_bitset_set(&allow, row);
        }
        assert_true(recall_of(graph, &data, &allow, 64) >= 0.95);
    }
    struct vdb_candidate found[1500]; /* more than the pool was for: its memory grows */
    assert_int_equal(search(&vdb_index_qgraph, graph, &data, data.queries, NULL, 0, 1500, found), 1500);
    assert_int_equal(search(&vdb_index_qgraph, graph, &data, memory + 77 * 24, NULL, 0, 1002, found), 1002);
    assert_true(found[1000].distance == 0);
    vdb_bitset_fini(&allow);
    vdb_qgraph_destroy(graph);
    free(data.memory);
}

static void test_threads_do_not_show(void **state)
{
    (void)state;
    struct data data;
    struct vdb_buf bytes[2];
    make(&data, 2500, 40, VDB_ELEMENT_F32, VDB_METRIC_COSINE, 20, 8);
    for (unsigned i = 0; i < 2; i++) {
        struct vdb_qgraph *graph = build_compact(&data, i == 0 ? 1 : 3);
        save(graph, &bytes[i]);
        vdb_qgraph_destroy(graph);
    }
    assert_int_equal(bytes[0].bytes, bytes[1].bytes);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].bytes);
    vdb_buf_fini(&bytes[0]);
    vdb_buf_fini(&bytes[1]);
    free(data.memory);
}

static vdb_status load(const struct data *data, const void *bytes, size_t count, struct vdb_err *err)
{
    struct vdb_qgraph *graph = NULL;
    const vdb_status status = vdb_qgraph_load(&data->rows, STAMP, bytes, count, &graph, err);
    assert_int_equal(status == VDB_OK, graph != NULL);
    if (graph != NULL) {
        struct vdb_candidate found[K];
        (void)search(&vdb_index_qgraph, graph, data, data->queries, NULL, 32, K, found);
        vdb_qgraph_destroy(graph);
    }
    return status;
}

static void seal(struct vdb_buf *buf)
{
    vdb_store_u32((char *)buf->data + buf->bytes - 4, vdb_crc32c(0, buf->data, buf->bytes - 4));
}

static void test_bytes_come_back_or_are_refused(void **state)
{
    (void)state;
    struct data data;
    struct vdb_buf bytes;
    struct vdb_err err = {0};
    make(&data, 300, 20, VDB_ELEMENT_U8, VDB_METRIC_L2, 5, 6);
    struct vdb_qgraph *graph = build_compact(&data, 1);
    save(graph, &bytes);
    struct vdb_qgraph *loaded = NULL;
    assert_int_equal(vdb_qgraph_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_OK);
    assert_int_equal(vdb_qgraph_check(loaded, &data.rows, &err), VDB_OK);
    for (size_t q = 0; q < QUERIES; q++) {
        struct vdb_candidate found[2][K];
        (void)search(&vdb_index_qgraph, graph, &data, data.queries + q * data.bytes, NULL, 40, K, found[0]);
        (void)search(&vdb_index_qgraph, loaded, &data, data.queries + q * data.bytes, NULL, 40, K, found[1]);
        for (size_t i = 0; i < K; i++) {
            assert_int_equal(found[0][i].row, found[1][i].row);
            assert_true(found[0][i].distance == found[1][i].distance);
        }
    }
    vdb_qgraph_destroy(loaded);
    vdb_qgraph_destroy(graph);

    char *data_bytes = (char *)bytes.data;
    for (size_t cut = 0; cut < bytes.bytes; cut += cut < 200 ? 1 : 997) {
        assert_int_not_equal(load(&data, bytes.data, cut, &err), VDB_OK);
    }
    data_bytes[12] = 3; /* a feature that nobody knows */
    seal(&bytes);
    assert_int_equal(load(&data, bytes.data, bytes.bytes, &err), VDB_VERSION);
    data_bytes[12] = 0; /* no longer compact: its parts do not fit */
    seal(&bytes);
    assert_int_equal(load(&data, bytes.data, bytes.bytes, &err), VDB_CORRUPT);
    data_bytes[12] = 1;
    seal(&bytes);
    assert_int_equal(load(&data, bytes.data, bytes.bytes, &err), VDB_OK);
    /* Any byte may be wrong with a checksum that fits: refused, or sound enough to search. */
    size_t refused = 0;
    struct vdb_rng rng;
    vdb_rng_init(&rng, 99);
    for (size_t i = 0; i < 1000; i++) {
        const size_t at = i < 128 ? i : (size_t)vdb_rng_below(&rng, bytes.bytes - 4);
        const char was = data_bytes[at];
        data_bytes[at] = (char)(was ^ (1 << vdb_rng_below(&rng, 8)));
        seal(&bytes);
        refused += load(&data, bytes.data, bytes.bytes, &err) != VDB_OK;
        data_bytes[at] = was;
    }
    assert_true(refused > 50);
    vdb_buf_fini(&bytes);
    free(data.memory);
}

static void test_check_names_what_is_broken(void **state)
{
    (void)state;
    struct data data;
    struct vdb_err err = {0};
    make(&data, 500, 20, VDB_ELEMENT_U8, VDB_METRIC_L2, 5, 6);
    struct vdb_qgraph *graph = build_compact(&data, 1);
    uint8_t *links = graph->blocks + graph->compact.links_at + 17 * graph->compact.link_bytes;
    static const struct {
        size_t at;
        uint32_t value;
        const char *names;
    } breaks[] = {{4, 0xFFFFFF, "neighbour"}, {4, 500, "neighbour"}, {0, 18, "row"}, {0, UINT32_MAX, "row"}};
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        const uint32_t was = vdb_load_u32(links + breaks[i].at);
        vdb_store_u32(links + breaks[i].at,
                      breaks[i].at == 0 ? breaks[i].value : (was & 0xFF000000u) | breaks[i].value);
        assert_int_equal(vdb_qgraph_check(graph, &data.rows, &err), VDB_CORRUPT);
        assert_non_null(strstr(err.text, breaks[i].names));
        vdb_store_u32(links + breaks[i].at, was);
    }
    memcpy(links + 7, links + 4, 3); /* twice the same */
    assert_int_equal(vdb_qgraph_check(graph, &data.rows, &err), VDB_CORRUPT);
    assert_non_null(strstr(err.text, "twice"));
    vdb_qgraph_destroy(graph);
    graph = build_compact(&data, 1);
    graph->blocks[3 * graph->compact.vector_bytes + 5] ^= 1;
    assert_int_equal(vdb_qgraph_check(graph, &data.rows, &err), VDB_CORRUPT);
    assert_non_null(strstr(err.text, "vector"));
    vdb_qgraph_destroy(graph);
    free(data.memory);
}

/* Seeds may be of either sort, whatever is built. */
static void test_compact_and_full_seed_each_other(void **state)
{
    (void)state;
    struct data data;
    make(&data, 2000, 24, VDB_ELEMENT_U8, VDB_METRIC_L2, 10, 12);
    uint32_t row_of[2000];
    for (uint32_t row = 0; row < 2000; row++) {
        row_of[row] = row;
    }
    struct vdb_qgraph *full = build(&data, NULL);
    struct vdb_qgraph *compact = build_compact(&data, 1);
    for (unsigned i = 0; i < 2; i++) {
        struct vdb_qgraph_params params = vdb_qgraph_params_default();
        params.compact = i == 0;
        const struct vdb_index_seeds seed = {&vdb_index_qgraph, i == 0 ? full : compact, NULL, row_of, 2000};
        const struct vdb_index_settings settings = {
            .params = &params, .threads = 1, .seeds = &seed, .seed_count = 1};
        struct vdb_qgraph *graph = build(&data, &settings);
        assert_true(recall_of(graph, &data, NULL, 64) >= 0.95);
        vdb_qgraph_destroy(graph);
    }
    vdb_qgraph_destroy(full);
    vdb_qgraph_destroy(compact);
    free(data.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recall_on_every_kind),
        cmocka_unit_test(test_tiny_sets_are_answered_exactly),
        cmocka_unit_test(test_bytes_per_vector),
        cmocka_unit_test(test_filters_and_equal_rows),
        cmocka_unit_test(test_threads_do_not_show),
        cmocka_unit_test(test_bytes_come_back_or_are_refused),
        cmocka_unit_test(test_check_names_what_is_broken),
        cmocka_unit_test(test_compact_and_full_seed_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
