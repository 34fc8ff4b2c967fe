/* test_hnsw_inside.c: f32 rows kept as f16 or bf16 inside a graph: rounding, recall, and that answers are the
 * rows'. */
#include "hnsw_support.h"

#include "distance/wide.h"
#include "index/hnsw_internal.h"

enum { K = 10 };

static const vdb_element kinds[] = {VDB_ELEMENT_F16, VDB_ELEMENT_BF16};

static float widened(vdb_element kind, uint16_t half)
{
    float out;
    vdb_wide_load(kind, &half, 1, &out);
    return out;
}

static uint16_t converted(vdb_element kind, float value)
{
    const struct vdb_hnsw of_one = {.lossy = true, .inside_element = kind, .dimension = 1};
    uint16_t out;
    vdb_hnsw_convert(&of_one, &value, &out);
    return out;
}

/* Every half goes there and back; what lies between two goes to the nearer, the middle to the even one. */
static void test_rounding(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        const vdb_element kind = kinds[k];
        const unsigned last = kind == VDB_ELEMENT_F16 ? 0x7BFF : 0x7F7F; /* the largest finite */
        for (unsigned half = 0; half <= last; half++) {
            for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000) {
                assert_int_equal(converted(kind, widened(kind, (uint16_t)(half | sign))), half | sign);
            }
            if (half == last) {
                break;
            }
            float low = widened(kind, (uint16_t)half);
            float high = widened(kind, (uint16_t)(half + 1));
            float middle = (float)(((double)low + (double)high) / 2);
            if ((double)middle == ((double)low + (double)high) / 2) { /* not below the smallest f32 */
                assert_int_equal(converted(kind, middle), half + (half & 1));
                assert_int_equal(converted(kind, nextafterf(middle, high)), half + 1);
                assert_int_equal(converted(kind, nextafterf(middle, low)), half);
                assert_int_equal(converted(kind, -middle), (half + (half & 1)) | 0x8000);
            }
        }
        float largest = widened(kind, (uint16_t)last);
        assert_int_equal(converted(kind, nextafterf(largest, INFINITY)), last); /* stays finite */
        assert_int_equal(converted(kind, 3.4028235e38f), last);
        assert_int_equal(converted(kind, -3.4028235e38f), last | 0x8000);
        assert_true(isinf(widened(kind, converted(kind, INFINITY))));
        assert_true(isnan(widened(kind, converted(kind, NAN))));
    }
}

static void test_recall_and_distances(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (unsigned metric = VDB_METRIC_L2; metric <= VDB_METRIC_L1; metric++) {
            struct data data;
            struct vdb_hnsw_params params = vdb_hnsw_params_default();
            params.vectors_inside = true;
            params.inside_as = kinds[k];
            data_init(&data, 2000, 40, VDB_ELEMENT_F32, (vdb_metric)metric, 60 + metric);
            struct vdb_hnsw *hnsw = build_with(&data, &params, 2);
            struct vdb_hnsw_stats stats;
            vdb_hnsw_get_stats(hnsw, &stats);
            assert_int_equal(stats.vector_bytes, 2000 * 128); /* 80 bytes, whole lines */
            double recall = recall_of(hnsw, &data, NULL, 60, K, 64,
                                      VDB_HNSW_ALWAYS_WALK); /* compares distances too */
            if (recall < 0.97) {
                fail_msg("%s as %s: recall %.3f", vdb_metric_name((vdb_metric)metric), vdb_element_name(kinds[k]),
                         recall);
            }
            vdb_hnsw_destroy(hnsw);
            data_fini(&data);
        }
    }
}

/* Rows that differ in less than a half can say are near, not equal; those that are equal share a node. */
static void test_nearly_equal_rows_are_not_equal(void **state)
{
    (void)state;
    enum { ROWS = 3000, DIMENSION = 8 };
    struct data data;
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.vectors_inside = true;
    params.inside_as = VDB_ELEMENT_BF16;
    data_init(&data, ROWS, DIMENSION, VDB_ELEMENT_F32, VDB_METRIC_L2, 61);
    float *vectors = (float *)(void *)data.memory;
    for (size_t i = 0; i < (size_t)ROWS * DIMENSION; i++) {
        vectors[i] = 100 + (i % DIMENSION == 0 ? (float)(i / DIMENSION / 2) * 0x1p-16f : 0); /* pairs */
    }
    struct vdb_hnsw *hnsw = build_with(&data, &params, 1);
    struct vdb_hnsw_stats stats;
    vdb_hnsw_get_stats(hnsw, &stats);
    assert_true(stats.duplicates > 0 && stats.duplicates <= ROWS / 2);
    struct vdb_candidate answer[ROWS];
    struct vdb_query query = {.vector = vectors, .ef = ROWS};
    assert_int_equal(search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, ROWS, answer), ROWS);
    assert_true(answer[0].distance == 0 && answer[ROWS - 1].distance > 0);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

static void test_what_cannot_be_kept_so(void **state)
{
    (void)state;
    struct data data;
    struct vdb_err err = {0};
    struct vdb_hnsw *hnsw;
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    data_init(&data, 10, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, 62);
    params.inside_as = VDB_ELEMENT_F16; /* not inside at all */
    assert_fails(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), VDB_INVALID, &err, "inside_as: element 3");
    params.vectors_inside = true;
    params.inside_as = VDB_ELEMENT_U8;
    assert_fails(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), VDB_INVALID, &err, "inside_as: element 1");
    params.inside_as = VDB_ELEMENT_BF16;
    struct vdb_rows rows = data.rows;
    rows.element = VDB_ELEMENT_U8;
    assert_fails(vdb_hnsw_create(&params, &rows, 0, &hnsw, &err), VDB_INVALID, &err, "inside_as: element 4");
    data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_recall_and_distances),
        cmocka_unit_test(test_nearly_equal_rows_are_not_equal),
        cmocka_unit_test(test_what_cannot_be_kept_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
