/* test_index_config.c: defaults, limits and errors of index_config; the head of an index file back and forth, damaged, and
 * of a later version. */
#include "support.h"

#include <math.h>
#include <stdlib.h>

#include "collection/graph_head.h"

static struct vdb_schema schema_of(vdb_metric metric, uint32_t dimension)
{
    return (struct vdb_schema){.name = "docs", .dimension = dimension, .metric = metric};
}

static struct vdb_index_config config_of(const char *type)
{
    struct vdb_index_config config = {0};
    snprintf(config.type, sizeof config.type, "%s", type);
    return config;
}

static void test_defaults(void **state)
{
    static const struct {
        vdb_metric metric;
        uint32_t dimension;
        const char *type;
    } cases[] = {{VDB_METRIC_L2, 8, "qgraph"},  {VDB_METRIC_COSINE, 8192, "qgraph"},
                 {VDB_METRIC_DOT, 1, "qgraph"}, {VDB_METRIC_L1, 8, "hnsw"},
                 {VDB_METRIC_L2, 8193, "hnsw"}, {VDB_METRIC_L1, 65536, "hnsw"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct vdb_schema schema = schema_of(cases[i].metric, cases[i].dimension);
        struct vdb_index_config config;
        struct vdb_err err = {0};
        vdb_index_config_default(&schema, &config);
        assert_string_equal(config.type, cases[i].type);
        assert_ok(vdb_index_config_check(&config, &schema, &err), &err);
        assert_int_equal(vdb_index_config_scan_below(&config), 4096);
        assert_true(vdb_index_config_target_recall(&config) == 0.98);
    }
}

static void test_what_it_means(void **state)
{
    struct vdb_index_config config = config_of("hnsw");
    (void)state;
    struct vdb_index_build build = vdb_index_config_build(&config);
    assert_int_equal(build.m, 16);
    assert_int_equal(build.ef_construction, 200);
    config.m = 16;
    struct vdb_index_build same = vdb_index_config_build(&config);
    assert_memory_equal(&build, &same, sizeof build); /* the default said aloud builds nothing anew */
    config.m = 250;
    config.ef_construction = 300;
    config.ef_search = 70;
    config.target_recall = 0.5;
    config.scan_below = 1;
    build = vdb_index_config_build(&config);
    assert_int_equal(vdb_index_config_hnsw(&build).m, 250);
    assert_int_equal(vdb_index_config_hnsw(&build).ef_construction, 300);
    assert_int_equal(vdb_index_config_memory(&config).m, 250);
    assert_int_equal(vdb_index_config_memory(&config).ef_construction, 250); /* 200, but not below m */
    assert_int_equal(vdb_index_config_scan_below(&config), 1);
    config = config_of("qgraph");
    const struct vdb_index_build before = vdb_index_config_build(&config);
    config.m = 24; /* of memtables: builds no segment anew */
    build = vdb_index_config_build(&config);
    assert_memory_equal(&build, &before, sizeof build);
    assert_int_equal(vdb_index_config_memory(&config).m, 24);
    config.code_bits = 256;
    config.ef_construction = 77;
    build = vdb_index_config_build(&config);
    assert_int_equal(vdb_index_config_qgraph(&build).code_bits, 256);
    assert_int_equal(vdb_index_config_qgraph(&build).ef_construction, 77);
    assert_int_equal(vdb_index_config_memory(&config).ef_construction, 77);
    assert_true(memcmp(&build, &before, sizeof build) != 0);
}

static void refuse(const char *type, const struct vdb_index_config *numbers, vdb_status status, const char *text)
{
    struct vdb_schema schema = schema_of(VDB_METRIC_L2, 100);
    struct vdb_index_config config = *numbers;
    struct vdb_err err = {0};
    snprintf(config.type, sizeof config.type, "%s", type);
    assert_fails(vdb_index_config_check(&config, &schema, &err), status, &err, text);
}

static void accept(const char *type, const struct vdb_index_config *numbers)
{
    struct vdb_schema schema = schema_of(VDB_METRIC_L2, 100);
    struct vdb_index_config config = *numbers;
    struct vdb_err err = {0};
    snprintf(config.type, sizeof config.type, "%s", type);
    assert_ok(vdb_index_config_check(&config, &schema, &err), &err);
}

#define WITH(field, value) (&(struct vdb_index_config){.field = (value)})

static void test_limits(void **state)
{
    (void)state;
    refuse("hnsw", WITH(m, 3), VDB_INVALID, "index_config.m: 3; allowed are 4..256");
    refuse("hnsw", WITH(m, 257), VDB_INVALID, "index_config.m: 257; allowed are 4..256");
    accept("hnsw", WITH(m, 4));
    accept("hnsw", WITH(m, 256));
    refuse("hnsw", WITH(ef_construction, 15), VDB_INVALID,
           "index_config.ef_construction: 15; allowed are 16..65536");
    refuse("hnsw", WITH(ef_construction, 65537), VDB_INVALID, "65537");
    accept("hnsw", WITH(ef_construction, 65536));
    refuse("hnsw", WITH(code_bits, 64), VDB_INVALID, "index_config.code_bits: 64; type hnsw has none");
    refuse("hnsw", WITH(compact, 1), VDB_INVALID, "index_config.compact: 1; type hnsw has none");
    refuse("qgraph", WITH(m, 3), VDB_INVALID, "index_config.m: 3; allowed are 4..256");
    refuse("qgraph", WITH(ef_construction, 15), VDB_INVALID,
           "index_config.ef_construction: 15; allowed are 16..4096");
    refuse("qgraph", WITH(ef_construction, 4097), VDB_INVALID, "index_config.ef_construction: 4097");
    accept("qgraph", WITH(ef_construction, 4096));
    refuse("qgraph", WITH(code_bits, 100), VDB_INVALID,
           "index_config.code_bits: 100; allowed are multiples of 64");
    refuse("qgraph", WITH(code_bits, 1088), VDB_INVALID, "index_config.code_bits: 1088; allowed are 64..1024");
    accept("qgraph", WITH(code_bits, 1024));
    accept("qgraph", WITH(compact, 1));
    refuse("qgraph", WITH(compact, 2), VDB_INVALID, "index_config.compact: 2; allowed are 0..1");
    refuse("qgraph", (&(struct vdb_index_config){.compact = 1, .code_bits = 64}), VDB_INVALID,
           "index_config.code_bits: 64; a compact graph has no codes");
    refuse("flat", WITH(m, 16), VDB_INVALID, "index_config.m: 16; type flat has none");
    refuse("flat", WITH(ef_construction, 16), VDB_INVALID,
           "index_config.ef_construction: 16; type flat has none");
    refuse("flat", WITH(code_bits, 64), VDB_INVALID, "index_config.code_bits: 64; type flat has none");
    refuse("flat", WITH(compact, 1), VDB_INVALID, "index_config.compact: 1; type flat has none");
    accept("flat", WITH(scan_below, 7));
    refuse("qgraph", WITH(ef_search, 65537), VDB_INVALID, "index_config.ef_search: 65537; allowed are 1..65536");
    refuse("qgraph", WITH(scan_below, 1073741825), VDB_INVALID, "index_config.scan_below: 1073741825");
    refuse("qgraph", WITH(target_recall, 1), VDB_INVALID, "index_config.target_recall: 1; ");
    refuse("qgraph", WITH(target_recall, -0.5), VDB_INVALID, "index_config.target_recall: -0.5; ");
    refuse("qgraph", WITH(target_recall, (double)NAN), VDB_INVALID, "index_config.target_recall: ");
    accept("qgraph", WITH(target_recall, 0.999));
    refuse("ivf", &(struct vdb_index_config){0}, VDB_UNSUPPORTED,
           "index_config.type: \"ivf\" is not in this version; it has flat, hnsw and qgraph");
    refuse("", &(struct vdb_index_config){0}, VDB_UNSUPPORTED, "index_config.type: \"\"");
    struct vdb_index_config config = config_of("qgraph");
    struct vdb_err err = {0};
    struct vdb_schema schema = schema_of(VDB_METRIC_L1, 8);
    assert_fails(vdb_index_config_check(&config, &schema, &err), VDB_UNSUPPORTED, &err,
                 "qgraph has no metric l1");
    schema = schema_of(VDB_METRIC_L2, 8193);
    assert_fails(vdb_index_config_check(&config, &schema, &err), VDB_UNSUPPORTED, &err, "8192 dimensions");
}

static struct vdb_graph_head make_head(void)
{
    struct vdb_index_config config = config_of("qgraph");
    config.code_bits = 256;
    struct vdb_graph_head head = {.build = vdb_index_config_build(&config), .rows = 1234};
    head.recall = (struct vdb_recall_table){2, 10, {{10, 0.5f}, {20, 0.9f}}};
    return head;
}

static void test_heads(void **state)
{
    const struct vdb_graph_head head = make_head();
    struct vdb_graph_head again;
    struct vdb_buf buf = {0};
    struct vdb_err err = {0};
    size_t at;
    (void)state;
    vdb_graph_head_encode(&head, &buf);
    assert_false(buf.failed);
    assert_int_equal(buf.bytes % 64, 0);
    vdb_buf_put_text(&buf, "the index's bytes");
    const size_t head_bytes = buf.bytes - strlen("the index's bytes");
    assert_ok(vdb_graph_head_decode(buf.data, buf.bytes, &again, &at, &err), &err);
    assert_int_equal(at, head_bytes);
    assert_memory_equal(&again, &head, sizeof head);
    for (size_t cut = 0; cut < head_bytes; cut++) {
        uint8_t *part = malloc(cut + 1);
        memcpy(part, buf.data, cut);
        assert_fails(vdb_graph_head_decode(part, cut, &again, &at, &err), VDB_CORRUPT, &err, "");
        free(part);
    }
    /* A byte changed says another thing or is refused; never the same. */
    for (size_t i = 0; i < head_bytes; i++) {
        buf.data[i] ^= 0x41;
        if (vdb_graph_head_decode(buf.data, buf.bytes, &again, &at, &err) == VDB_OK) {
            assert_true(memcmp(&again, &head, sizeof head) != 0);
        }
        buf.data[i] ^= 0x41;
    }
    buf.data[4] = 2;
    assert_fails(vdb_graph_head_decode(buf.data, buf.bytes, &again, &at, &err), VDB_VERSION, &err, "version 2");
    buf.data[4] = 0;
    assert_fails(vdb_graph_head_decode(buf.data, buf.bytes, &again, &at, &err), VDB_CORRUPT, &err, "version 0");
    buf.data[4] = 1;
    memcpy(buf.data + 16, "flat", 5);
    assert_fails(vdb_graph_head_decode(buf.data, buf.bytes, &again, &at, &err), VDB_CORRUPT, &err, "");
    vdb_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_what_it_means),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
