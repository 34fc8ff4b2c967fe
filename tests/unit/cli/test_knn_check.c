/* test_knn_check.c: the naive search, and that the check against it catches wrong answers, not only passes right
 * ones. The searches themselves are tested end to end (tests/e2e/test_knn.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cli/knn.h"
#include "cli/naive.h"

#include <math.h>
#include <string.h>

enum { ROWS = 200, DIMENSION = 33, K = 20 };

static float f32_rows[ROWS * DIMENSION];
static uint8_t u8_rows[ROWS * DIMENSION];

static void fill(void)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, 42);
    for (size_t i = 0; i < ROWS * DIMENSION; i++) {
        f32_rows[i] = vdb_rng_normal(&rng);
        u8_rows[i] = (uint8_t)vdb_rng_u64(&rng);
    }
}

static void test_distances_by_hand(void **state)
{
    (void)state;
    static const float a[] = {1, 2, 2};
    static const float b[] = {4, -2, 2};
    static const int8_t ai[] = {-128, 127};
    static const int8_t bi[] = {127, -128};
    assert_true(vdb_naive_distance(a, b, 3, VDB_ELEMENT_F32, VDB_METRIC_L2, NULL) == 25);
    assert_true(vdb_naive_distance(a, b, 3, VDB_ELEMENT_F32, VDB_METRIC_L1, NULL) == 7);
    assert_true(vdb_naive_distance(a, b, 3, VDB_ELEMENT_F32, VDB_METRIC_DOT, NULL) == -4);
    double cosine = vdb_naive_distance(a, b, 3, VDB_ELEMENT_F32, VDB_METRIC_COSINE, NULL);
    assert_true(fabs(cosine - (1 - 4 / (3 * sqrt(24)))) < 1e-15);
    double rounding;
    assert_true(vdb_naive_distance(ai, bi, 2, VDB_ELEMENT_I8, VDB_METRIC_L2, &rounding) == 130050);
    assert_true(rounding == 0);
    assert_true(vdb_naive_distance(ai, bi, 2, VDB_ELEMENT_I8, VDB_METRIC_DOT, &rounding) == 32512);
    assert_true(rounding == 0);
    /* For dot the rounding follows the terms' sizes, not their sum, which may cancel. */
    static const float c[] = {1e6f, -1e6f};
    static const float d[] = {1, 1};
    assert_true(vdb_naive_distance(c, d, 2, VDB_ELEMENT_F32, VDB_METRIC_DOT, &rounding) == 0);
    assert_true(rounding > 2e6 * 0x1p-24);
}

static void test_naive_order(void **state)
{
    (void)state;
    static const uint8_t rows_data[] = {5, 1, 3, 1, 9};
    const void *array = rows_data;
    struct vdb_rows rows = vdb_rows_of_array(&array, 5, 1, VDB_ELEMENT_U8, VDB_METRIC_L1);
    struct vdb_candidate out[5];
    static const uint8_t query = 2;
    static const uint32_t wanted[] = {1, 2, 3, 0, 4};
    vdb_naive_search(&rows, &query, out);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(out[i].row, wanted[i]);
    }
}

/* A right answer passes; each kind of wrong one is refused. */
static void check_catches(vdb_element element, vdb_metric metric)
{
    const void *array = element == VDB_ELEMENT_F32 ? (const void *)f32_rows : u8_rows;
    struct vdb_rows rows = vdb_rows_of_array(&array, ROWS, DIMENSION, element, metric);
    const void *query = vdb_rows_at(&rows, 7);
    struct vdb_candidate naive[ROWS];
    struct vdb_candidate answer[K];
    struct vdb_err err = {0};
    bool equal = false;
    vdb_naive_search(&rows, query, naive);
    memcpy(answer, naive, sizeof answer);
    assert_int_equal(vdb_knn_check(&rows, query, 7, answer, naive, K, &equal, &err), VDB_OK);
    assert_true(equal);

    answer[K - 1] = naive[K + 5]; /* a row that is not among the nearest */
    assert_int_equal(vdb_knn_check(&rows, query, 7, answer, naive, K, &equal, &err), VDB_CORRUPT);
    assert_non_null(strstr(err.text, "--query row 7, rank 20: id "));
    assert_false(equal);

    memcpy(answer, naive, sizeof answer);
    answer[3] = naive[9]; /* two ranks exchanged */
    answer[9] = naive[3];
    assert_int_equal(vdb_knn_check(&rows, query, 7, answer, naive, K, &equal, &err), VDB_CORRUPT);

    memcpy(answer, naive, sizeof answer);
    answer[5].distance *= 1.001; /* the right row at a wrong distance */
    assert_int_equal(vdb_knn_check(&rows, query, 7, answer, naive, K, &equal, &err), VDB_CORRUPT);

    memcpy(answer, naive, sizeof answer);
    answer[5] = answer[4]; /* a row twice */
    assert_int_equal(vdb_knn_check(&rows, query, 7, answer, naive, K, &equal, &err), VDB_CORRUPT);

    memcpy(answer, naive, sizeof answer);
    answer[5].distance = (double)NAN;
    assert_int_equal(vdb_knn_check(&rows, query, 7, answer, naive, K, &equal, &err), VDB_CORRUPT);
}

static void test_check_catches_wrong_answers(void **state)
{
    (void)state;
    for (unsigned metric = 0; metric <= VDB_METRIC_L1; metric++) {
        check_catches(VDB_ELEMENT_F32, (vdb_metric)metric);
        check_catches(VDB_ELEMENT_U8, (vdb_metric)metric);
    }
}

/* Neighbours closer than the rounding of an f32 sum may change places; integers at equal distance may not. */
static void test_check_allows_rounding_of_floats_only(void **state)
{
    (void)state;
    static const float close[] = {1, 1 + 0x1p-22f, 9};
    static const uint8_t ties[] = {4, 4, 9};
    const void *array = close;
    struct vdb_rows rows = vdb_rows_of_array(&array, 3, 1, VDB_ELEMENT_F32, VDB_METRIC_L2);
    struct vdb_candidate naive[3];
    struct vdb_err err = {0};
    bool equal = true;
    static const float query = 0;
    vdb_naive_search(&rows, &query, naive);
    /* What an f32 kernel may have made of them. */
    struct vdb_candidate answer[] = {{1, 1}, {1 + 0x1p-23, 0}};
    assert_int_equal(vdb_knn_check(&rows, &query, 0, answer, naive, 2, &equal, &err), VDB_OK);
    assert_false(equal);
    answer[0] = answer[1]; /* within rounding, but a row twice */
    assert_int_equal(vdb_knn_check(&rows, &query, 0, answer, naive, 2, &equal, &err), VDB_CORRUPT);

    array = ties;
    rows = vdb_rows_of_array(&array, 3, 1, VDB_ELEMENT_U8, VDB_METRIC_L2);
    static const uint8_t zero = 0;
    vdb_naive_search(&rows, &zero, naive);
    struct vdb_candidate wrong_tie[] = {naive[1], naive[0]};
    assert_int_equal(vdb_knn_check(&rows, &zero, 0, wrong_tie, naive, 2, &equal, &err), VDB_CORRUPT);
}

/* Of dot products that cancel one row may round by far more than its neighbours. When such a row falls back, all
 * behind it move up, each by more than its own rounding: no fault. */
static void test_check_allows_a_row_that_rounds_more(void **state)
{
    (void)state;
    static const float data[] = {1e8f, 1, -1e8f, 0.75f, 0, 0, 0.5f, 0, 0, -900, 0, 0};
    static const float query[] = {1, 1, 1};
    const void *array = data;
    struct vdb_rows rows = vdb_rows_of_array(&array, 4, 3, VDB_ELEMENT_F32, VDB_METRIC_DOT);
    struct vdb_candidate naive[4];
    struct vdb_err err = {0};
    bool equal = true;
    vdb_naive_search(&rows, query, naive);
    assert_true(naive[0].row == 0 && naive[0].distance == -1);
    /* In f32, 1e8 + 1 - 1e8 is 0. */
    struct vdb_candidate answer[] = {{-0.75, 1}, {-0.5, 2}, {0, 0}};
    assert_int_equal(vdb_knn_check(&rows, query, 0, answer, naive, 3, &equal, &err), VDB_OK);
    assert_false(equal);
    assert_int_equal(vdb_knn_check(&rows, query, 0, answer, naive, 2, &equal, &err), VDB_OK);
    struct vdb_candidate too_far[] = {{-0.75, 1}, {-0.5, 2}, {900, 3}};
    assert_int_equal(vdb_knn_check(&rows, query, 0, too_far, naive, 3, &equal, &err), VDB_CORRUPT);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distances_by_hand),
        cmocka_unit_test(test_naive_order),
        cmocka_unit_test(test_check_catches_wrong_answers),
        cmocka_unit_test(test_check_allows_rounding_of_floats_only),
        cmocka_unit_test(test_check_allows_a_row_that_rounds_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
