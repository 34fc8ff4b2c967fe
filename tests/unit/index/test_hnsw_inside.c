/* test_hnsw_inside.c: f32 rows kept as f16, bf16 or 8-bit codes inside a graph: rounding, recall, and that answers are the
 * rows'. */
#include "hnsw_support.h"

#include "distance/wide.h"
#include "index/hnsw_internal.h"

enum { K = 10 };

static const vdb_element kinds[] = {VDB_ELEMENT_F16, VDB_ELEMENT_BF16, VDB_ELEMENT_U8};
enum { HALVES = 2, KINDS = 3 };

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
    for (size_t k = 0; k < HALVES; k++) {
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
    for (size_t k = 0; k < KINDS; k++) {
        for (unsigned metric = VDB_METRIC_L2; metric <= VDB_METRIC_L1; metric++) {
            struct data data;
            struct vdb_hnsw_params params = vdb_hnsw_params_default();
            params.vectors_inside = true;
            params.inside_as = kinds[k];
            data_init(&data, 2000, 40, VDB_ELEMENT_F32, (vdb_metric)metric, 60 + metric);
            struct vdb_hnsw *hnsw = build_with(&data, &params, 2);
            struct vdb_hnsw_stats stats;
            vdb_hnsw_get_stats(hnsw, &stats);
            assert_int_equal(stats.vector_bytes,
                             2000 * (k < HALVES ? 128 : 64)); /* 80 or 40 bytes, whole lines */
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

/* One row, inserted into an empty graph, or built from: what its codes stand for. */
static void check_codes(vdb_metric metric, bool built, const float *values, size_t count, double error_max)
{
    const void *array = values;
    const struct vdb_rows rows = vdb_rows_of_array(&array, 1, count, VDB_ELEMENT_F32, metric);
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    params.vectors_inside = true;
    params.inside_as = VDB_ELEMENT_U8;
    assert_ok(vdb_hnsw_create(&params, &rows, 0, &hnsw, &err), &err);
    assert_ok(built ? vdb_hnsw_build(hnsw, &rows, NULL, &err) : vdb_hnsw_insert(hnsw, &rows, 0, &err), &err);
    assert_ok(vdb_hnsw_check(hnsw, &rows, &err), &err);
    const uint8_t *codes = hnsw_at(&hnsw->vectors, 0);
    const bool is_signed = metric == VDB_METRIC_DOT || metric == VDB_METRIC_COSINE;
    float longest = 0;
    for (size_t i = 0; i < count; i++) {
        longest = fabsf(values[i]) > longest ? fabsf(values[i]) : longest;
    }
    for (size_t i = 0; i < count; i++) {
        const double code = is_signed ? (double)(int8_t)codes[i] : (double)codes[i];
        const double step = metric == VDB_METRIC_COSINE ? (double)longest / 127 : (double)hnsw->code_step;
        const double decoded = code * step + (is_signed ? 0 : (double)hnsw->code_low);
        if (fabs(decoded - (double)values[i]) > error_max) {
            fail_msg("%s, %s: %g became %g", vdb_metric_name(metric), built ? "built" : "inserted",
                     (double)values[i], decoded);
        }
    }
    vdb_hnsw_destroy(hnsw);
}

static void test_codes_stand_for_their_vectors(void **state)
{
    (void)state;
    static const float values[] = {-1, -0.5f, 0, 0.25f, 3, 2.999f, 1e-6f, -0.9f};
    for (unsigned metric = VDB_METRIC_L2; metric <= VDB_METRIC_L1; metric++) {
        const bool is_signed = metric == VDB_METRIC_DOT || metric == VDB_METRIC_COSINE;
        const double half = is_signed ? 3.0 / 127 / 2 : 4.0 / 255 / 2;
        check_codes((vdb_metric)metric, true, values, 8, half * 1.001);
        check_codes((vdb_metric)metric, false, values, 8, half * (metric == VDB_METRIC_COSINE ? 1.001 : 2.001));
    }
    static const float bytes[] = {0, 255, 7, 254, 128, 1}; /* whole numbers of up to 255 stay what they are */
    check_codes(VDB_METRIC_L2, true, bytes, 6, 1e-5);
}

/* Vectors of which codes can say little, or nothing: answers are the rows' all the same. */
static void test_codes_of_odd_vectors(void **state)
{
    (void)state;
    enum { ROWS = 300, DIMENSION = 5 };
    for (unsigned kind = 0; kind < 6; kind++) {
        for (unsigned metric = VDB_METRIC_L2; metric <= VDB_METRIC_L1; metric++) {
            struct data data;
            struct vdb_hnsw_params params = vdb_hnsw_params_default();
            params.vectors_inside = true;
            params.inside_as = VDB_ELEMENT_U8;
            data_init(&data, ROWS, DIMENSION, VDB_ELEMENT_F32, (vdb_metric)metric, 70 + kind);
            float *vectors = (float *)(void *)data.memory;
            for (size_t i = 0; i < (size_t)ROWS * DIMENSION; i++) {
                const float value = vectors[i];
                vectors[i] = kind == 0   ? 0
                             : kind == 1 ? 1e-42f * (float)(i % 7)
                             : kind == 2 ? value * 1e38f
                             : kind == 3 ? (i % 11 == 0 ? INFINITY : value)
                             : kind == 4 ? (i % 11 == 0 ? NAN : value)
                                         : (i == 7 ? 1e30f : value);
            }
            struct vdb_hnsw *hnsw = build_with(&data, &params, 1);
            struct vdb_candidate answer[ROWS];
            struct vdb_query query = {.vector = vectors + 40, .ef = ROWS};
            assert_int_equal(search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, ROWS, answer), ROWS);
            vdb_hnsw_destroy(hnsw);
            data_fini(&data);
        }
    }
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
    assert_fails(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), VDB_INVALID, &err, "inside_as: f16: only");
    assert_non_null(strstr(err.text, "these are of f32, not kept inside"));
    params.vectors_inside = true;
    params.inside_as = VDB_ELEMENT_I8; /* U8 stands for codes of both kinds */
    assert_fails(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), VDB_INVALID, &err, "inside_as: i8: only");
    params.inside_as = VDB_ELEMENT_COUNT;
    assert_fails(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), VDB_INVALID, &err,
                 "inside_as: none of them");
    params.inside_as = VDB_ELEMENT_BF16;
    struct vdb_rows rows = data.rows;
    rows.element = VDB_ELEMENT_U8;
    assert_fails(vdb_hnsw_create(&params, &rows, 0, &hnsw, &err), VDB_INVALID, &err, "these are of u8");
    data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_recall_and_distances),
        cmocka_unit_test(test_nearly_equal_rows_are_not_equal),
        cmocka_unit_test(test_codes_stand_for_their_vectors),
        cmocka_unit_test(test_codes_of_odd_vectors),
        cmocka_unit_test(test_what_cannot_be_kept_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
