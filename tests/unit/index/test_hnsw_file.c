/* test_hnsw_file.c: a graph as bytes: round trips, other rows' bytes, and every flip and cut of a small one. */
#include "hnsw_support.h"

#include "base/crc32c.h"

enum { K = 10, STAMP = 4711 };

static struct vdb_buf save(struct vdb_hnsw *hnsw, const struct vdb_rows *rows)
{
    struct vdb_buf bytes = {0};
    struct vdb_err err = {0};
    assert_ok(vdb_hnsw_save(hnsw, rows, STAMP, append_bytes, &bytes, &err), &err);
    return bytes;
}

static void check_round_trip(struct data *data, struct vdb_hnsw *hnsw)
{
    struct vdb_err err = {0};
    struct vdb_buf bytes = save(hnsw, &data->rows);
    struct vdb_hnsw *loaded;
    assert_ok(vdb_hnsw_load(&data->rows, STAMP, bytes.data, bytes.bytes, &loaded, &err), &err);
    assert_ok(vdb_hnsw_check(loaded, &data->rows, &err), &err);
    struct vdb_buf again = save(loaded, &data->rows);
    assert_int_equal(again.bytes, bytes.bytes);
    assert_memory_equal(again.data, bytes.data, bytes.bytes);
    assert_int_equal(vdb_hnsw_get_params(loaded)->inside_as, vdb_hnsw_get_params(hnsw)->inside_as);
    assert_int_equal(vdb_hnsw_get_params(loaded)->seed, vdb_hnsw_get_params(hnsw)->seed);
    for (size_t q = 0; q < 20 && data->rows.count > 0; q++) {
        struct vdb_candidate answers[2][K];
        struct vdb_query query = {.vector = vdb_rows_at(&data->rows, q * 7 % data->rows.count)};
        size_t counts[2];
        counts[0] = search_graph(hnsw, &data->rows, &query, VDB_HNSW_ALWAYS_WALK, K, answers[0]);
        counts[1] = search_graph(loaded, &data->rows, &query, VDB_HNSW_ALWAYS_WALK, K, answers[1]);
        assert_int_equal(counts[0], counts[1]);
        for (size_t i = 0; i < counts[0]; i++) {
            assert_int_equal(answers[0][i].row, answers[1][i].row);
        }
    }
    /* What was loaded can be changed. */
    if (vdb_hnsw_has(loaded, 0)) {
        assert_ok(vdb_hnsw_remove(loaded, &data->rows, 0, &err), &err);
        assert_ok(vdb_hnsw_settle(loaded, &data->rows, &err), &err);
        assert_ok(vdb_hnsw_insert(loaded, &data->rows, 0, &err), &err);
        assert_ok(vdb_hnsw_check(loaded, &data->rows, &err), &err);
    }
    vdb_hnsw_destroy(loaded);
    vdb_buf_fini(&again);
    vdb_buf_fini(&bytes);
}

static void test_round_trips(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 50, 3000};
    static const vdb_metric metrics[] = {VDB_METRIC_L2, VDB_METRIC_COSINE, VDB_METRIC_DOT, VDB_METRIC_L1};
    const size_t plain = 2 * sizeof counts / sizeof counts[0];
    for (size_t i = 0; i < 2 * plain; i++) {
        const bool coded = i >= plain && i % 2 == 1;
        struct data data;
        struct vdb_err err = {0};
        struct vdb_hnsw_params params = vdb_hnsw_params_default();
        params.vectors_inside = i % 2 == 1;
        params.keep_pruned = i % 2 == 1;
        params.seed = UINT64_MAX - i;
        const bool floats = i >= plain || i % 4 == 3;
        const size_t bytes = floats ? 64 : 16;
        params.inside_as = coded        ? VDB_ELEMENT_U8
                           : i >= plain ? VDB_ELEMENT_F32
                           : i % 8 == 3 ? VDB_ELEMENT_F16
                           : i % 8 == 7 ? VDB_ELEMENT_BF16
                                        : VDB_ELEMENT_F32;
        data_init(&data, counts[i % plain / 2], 16, floats ? VDB_ELEMENT_F32 : VDB_ELEMENT_U8,
                  metrics[i >= plain ? i / 2 % 4 : 0], 3 + i);
        for (size_t row = 10; row < data.rows.count; row += 3) { /* equal ones */
            memcpy(data.memory + row * bytes, data.memory + row % 10 * bytes, bytes);
        }
        struct vdb_hnsw *hnsw = build_with(&data, &params, 2);
        check_round_trip(&data, hnsw);
        for (uint32_t row = 0; row < data.rows.count; row += 5) { /* and with gaps, not settled */
            assert_ok(vdb_hnsw_remove(hnsw, &data.rows, row, &err), &err);
        }
        check_round_trip(&data, hnsw);
        vdb_hnsw_destroy(hnsw);
        data_fini(&data);
    }
}

static vdb_status fail_at_third(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    (void)data;
    (void)bytes;
    return ++*(int *)ctx == 3 ? vdb_err_set(err, VDB_NO_SPACE, "the disk is full") : VDB_OK;
}

static void test_a_write_that_fails(void **state)
{
    (void)state;
    struct data data;
    struct vdb_err err = {0};
    int calls = 0;
    data_init(&data, 3000, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, 1);
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 2);
    assert_fails(vdb_hnsw_save(hnsw, &data.rows, STAMP, fail_at_third, &calls, &err), VDB_NO_SPACE, &err, "disk");
    assert_int_equal(calls, 3);
    check_round_trip(&data, hnsw);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

static void set_crc(struct vdb_buf *bytes)
{
    vdb_store_u32(bytes->data + bytes->bytes - 4, vdb_crc32c(0, bytes->data, bytes->bytes - 4));
}

static void test_other_rows_and_versions(void **state)
{
    (void)state;
    struct data data;
    struct vdb_err err = {0};
    data_init(&data, 100, 16, VDB_ELEMENT_F32, VDB_METRIC_L2, 1);
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    struct vdb_buf bytes = save(hnsw, &data.rows);
    struct vdb_hnsw *loaded;
    assert_fails(vdb_hnsw_load(&data.rows, STAMP + 1, bytes.data, bytes.bytes, &loaded, &err), VDB_INVALID, &err,
                 "stamp: 1267, these rows have 1268");
    struct vdb_rows other = data.rows;
    other.dimension = 15;
    assert_fails(vdb_hnsw_load(&other, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_INVALID, &err,
                 "dimension 16");
    other = data.rows;
    other.metric = VDB_METRIC_COSINE;
    assert_fails(vdb_hnsw_load(&other, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_INVALID, &err,
                 "metric 0");
    other = data.rows;
    other.element = VDB_ELEMENT_F16;
    assert_fails(vdb_hnsw_load(&other, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_INVALID, &err,
                 "element 0");
    other = data.rows;
    other.count = 99;
    assert_fails(vdb_hnsw_load(&other, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_INVALID, &err,
                 "row_end: 100, there are 99");
    other.count = 100;
    bytes.data[8] = 3; /* the next version, whatever its checksum */
    assert_fails(vdb_hnsw_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_VERSION, &err,
                 "version: 3");
    bytes.data[8] = 0;
    set_crc(&bytes);
    assert_fails(vdb_hnsw_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_VERSION, &err,
                 "version 0");
    bytes.data[8] = 1;
    bytes.data[13] = 1;
    set_crc(&bytes);
    assert_fails(vdb_hnsw_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_VERSION, &err,
                 "features 0x100");
    bytes.data[13] = 0;
    set_crc(&bytes); /* version 1 can be read... */
    assert_ok(vdb_hnsw_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err), &err);
    vdb_hnsw_destroy(loaded);
    bytes.data[38] = 4 | 32; /* ...and has no codes */
    set_crc(&bytes);
    assert_fails(vdb_hnsw_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err), VDB_CORRUPT, &err, "");
    assert_fails(vdb_hnsw_load(&data.rows, STAMP, "something else", 14, &loaded, &err), VDB_CORRUPT, &err,
                 "magic");
    assert_fails(vdb_hnsw_load(&data.rows, STAMP, NULL, 0, &loaded, &err), VDB_CORRUPT, &err, "magic");
    vdb_buf_fini(&bytes);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* Every bit, every length; then every bit again with the checksum put right: refused, or a graph that is sound.
 * */
static void flip_and_cut(bool coded)
{
    struct data data;
    struct vdb_err err = {0};
    struct vdb_hnsw *loaded;
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = 4;
    params.vectors_inside = coded;
    params.inside_as = coded ? VDB_ELEMENT_U8 : VDB_ELEMENT_F32;
    data_init(&data, 40, 4, coded ? VDB_ELEMENT_F32 : VDB_ELEMENT_U8, VDB_METRIC_L2, 1);
    const size_t stride = data.rows.stride_bytes;
    for (size_t row = 30; row < 36; row++) {
        memcpy(data.memory + row * stride, data.memory + row % 2 * stride, stride);
    }
    struct vdb_hnsw *hnsw = build_with(&data, &params, 1);
    assert_ok(vdb_hnsw_remove(hnsw, &data.rows, 20, &err), &err);
    struct vdb_buf bytes = save(hnsw, &data.rows);
    for (size_t cut = 0; cut < bytes.bytes; cut++) {
        void *exact = malloc(cut + 1); /* so that a sanitizer sees one byte too many */
        assert_non_null(exact);
        memcpy(exact, bytes.data, cut);
        assert_int_equal(vdb_hnsw_load(&data.rows, STAMP, exact, cut, &loaded, &err), VDB_CORRUPT);
        free(exact);
    }
    size_t sound = 0;
    for (size_t bit = 0; bit < bytes.bytes * 8; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        vdb_status status = vdb_hnsw_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err);
        assert_true(status == VDB_CORRUPT || (status == VDB_VERSION && bit / 8 >= 8 && bit / 8 < 12));
        assert_null(loaded);
        if (bit / 8 < bytes.bytes - 4) {
            set_crc(&bytes);
            status = vdb_hnsw_load(&data.rows, STAMP, bytes.data, bytes.bytes, &loaded, &err);
            if (status == VDB_OK) {
                assert_ok(vdb_hnsw_check(loaded, &data.rows, &err), &err);
                struct vdb_candidate answer[40];
                struct vdb_query query = {.vector = data.memory, .ef = 40};
                assert_true(search_graph(loaded, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, 40, answer) <= 40);
                vdb_hnsw_destroy(loaded);
                sound++;
            } else {
                assert_true(status == VDB_CORRUPT || status == VDB_VERSION || status == VDB_INVALID);
            }
        }
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        set_crc(&bytes);
    }
    assert_true(sound < bytes.bytes * 8 / 4); /* ef_search, a link to another near node: little more */
    vdb_buf_fini(&bytes);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

static void test_every_flip_and_every_cut(void **state)
{
    (void)state;
    flip_and_cut(false);
    flip_and_cut(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_a_write_that_fails),
        cmocka_unit_test(test_other_rows_and_versions),
        cmocka_unit_test(test_every_flip_and_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
