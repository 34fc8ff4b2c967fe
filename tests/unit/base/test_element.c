/* test_element.c: element types and metrics: pinned numbers and names, and the scores users see. */
#include "support.h"

#include <math.h>

#include "base/element.h"

static void test_numbers_are_pinned(void **state)
{
    (void)state;
    /* They are on disk. */
    assert_int_equal(VDB_ELEMENT_F32, 0);
    assert_int_equal(VDB_ELEMENT_U8, 1);
    assert_int_equal(VDB_ELEMENT_I8, 2);
    assert_int_equal(VDB_ELEMENT_F16, 3);
    assert_int_equal(VDB_ELEMENT_BF16, 4);
    assert_int_equal(VDB_ELEMENT_BIT, 5);
    assert_int_equal(VDB_ELEMENT_COUNT, 6);
    assert_int_equal(VDB_METRIC_L2, 0);
    assert_int_equal(VDB_METRIC_COSINE, 1);
    assert_int_equal(VDB_METRIC_DOT, 2);
    assert_int_equal(VDB_METRIC_L1, 3);
    assert_int_equal(VDB_METRIC_HAMMING, 4);
    assert_int_equal(VDB_METRIC_JACCARD, 5);
    assert_int_equal(VDB_METRIC_COUNT, 6);
    assert_int_equal(vdb_element_bytes(VDB_ELEMENT_F32), 4);
    assert_int_equal(vdb_element_bytes(VDB_ELEMENT_U8), 1);
    assert_int_equal(vdb_element_bytes(VDB_ELEMENT_I8), 1);
    assert_int_equal(vdb_element_bytes(VDB_ELEMENT_F16), 2);
    assert_int_equal(vdb_element_bytes(VDB_ELEMENT_BF16), 2);
    assert_int_equal(vdb_element_bytes(VDB_ELEMENT_BIT), 0);
}

static void test_vector_bytes(void **state)
{
    (void)state;
    for (int element = 0; element < VDB_ELEMENT_BIT; element++) {
        for (size_t dimension = 0; dimension < 20; dimension++) {
            assert_int_equal(vdb_vector_bytes((vdb_element)element, dimension),
                             dimension * vdb_element_bytes((vdb_element)element));
        }
    }
    static const size_t bits[][2] = {{0, 0}, {1, 1},      {7, 1},        {8, 1},
                                     {9, 2}, {1024, 128}, {65535, 8192}, {65536, 8192}};
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        assert_int_equal(vdb_vector_bytes(VDB_ELEMENT_BIT, bits[i][0]), bits[i][1]);
    }
    assert_int_equal(vdb_vector_bytes(VDB_ELEMENT_BIT, SIZE_MAX), SIZE_MAX / 8 + 1); /* does not wrap */
}

static void test_metrics_fit_their_elements(void **state)
{
    (void)state;
    for (int element = 0; element < VDB_ELEMENT_COUNT; element++) {
        for (int metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            bool of_bits = metric == VDB_METRIC_HAMMING || metric == VDB_METRIC_JACCARD;
            assert_int_equal(vdb_metric_fits((vdb_element)element, (vdb_metric)metric),
                             of_bits == (element == VDB_ELEMENT_BIT));
        }
    }
    volatile int beyond[] = {-1, VDB_ELEMENT_COUNT, VDB_METRIC_COUNT};
    assert_false(vdb_metric_fits((vdb_element)beyond[0], VDB_METRIC_L2));
    assert_false(vdb_metric_fits((vdb_element)beyond[1], VDB_METRIC_L2));
    assert_false(vdb_metric_fits(VDB_ELEMENT_F32, (vdb_metric)beyond[0]));
    assert_false(vdb_metric_fits(VDB_ELEMENT_F32, (vdb_metric)beyond[2]));
}

static void test_names(void **state)
{
    (void)state;
    static const char *const elements[] = {"f32", "u8", "i8", "f16", "bf16", "bit"};
    static const char *const metrics[] = {"l2", "cosine", "dot", "l1", "hamming", "jaccard"};
    for (int i = 0; i < VDB_ELEMENT_COUNT; i++) {
        vdb_element element = VDB_ELEMENT_COUNT;
        assert_string_equal(vdb_element_name((vdb_element)i), elements[i]);
        assert_true(vdb_element_parse(vdb_str_of(elements[i]), &element));
        assert_int_equal(element, i);
    }
    for (int i = 0; i < VDB_METRIC_COUNT; i++) {
        vdb_metric metric = VDB_METRIC_COUNT;
        assert_string_equal(vdb_metric_name((vdb_metric)i), metrics[i]);
        assert_true(vdb_metric_parse(vdb_str_of(metrics[i]), &metric));
        assert_int_equal(metric, i);
    }
    assert_string_equal(vdb_element_name(VDB_ELEMENT_COUNT), "unknown");
    assert_string_equal(vdb_metric_name(VDB_METRIC_COUNT), "unknown");
    volatile int negative = -1;
    assert_string_equal(vdb_element_name((vdb_element)negative), "unknown");
    assert_string_equal(vdb_metric_name((vdb_metric)negative), "unknown");
}

/* Names are exact: no case folding, no cut, no trailing bytes; a miss leaves *out alone. */
static void test_foreign_names(void **state)
{
    (void)state;
    static const char *const foreign[] = {"",          "L2",  "l",  "l22",  " l2", "l2 ",
                                          "euclidean", "F32", "f3", "f322", "f64"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        vdb_metric metric = VDB_METRIC_DOT;
        vdb_element element = VDB_ELEMENT_I8;
        assert_false(vdb_metric_parse(vdb_str_of(foreign[i]), &metric));
        assert_false(vdb_element_parse(vdb_str_of(foreign[i]), &element));
        assert_int_equal(metric, VDB_METRIC_DOT);
        assert_int_equal(element, VDB_ELEMENT_I8);
    }
    vdb_metric metric;
    assert_false(vdb_metric_parse((struct vdb_str){"l2\0", 3}, &metric));
    assert_false(vdb_metric_parse((struct vdb_str){NULL, 0}, &metric));
    assert_true(vdb_metric_parse((struct vdb_str){"l2x", 2}, &metric)); /* need not be NUL-terminated */
}

static void test_scores(void **state)
{
    (void)state;
    assert_true(vdb_metric_score(VDB_METRIC_L2, 9.0) == 3.0);
    assert_true(vdb_metric_score(VDB_METRIC_L2, 0.0) == 0.0);
    assert_true(vdb_metric_score(VDB_METRIC_COSINE, 0.25) == 0.25);
    assert_true(vdb_metric_score(VDB_METRIC_L1, 7.5) == 7.5);
    assert_true(vdb_metric_score(VDB_METRIC_DOT, -12.0) == 12.0);
    assert_true(vdb_metric_score(VDB_METRIC_DOT, 12.0) == -12.0);
    /* No negative zero reaches a user: it would print as "-0". */
    assert_false(signbit(vdb_metric_score(VDB_METRIC_DOT, 0.0)));
    assert_false(signbit(vdb_metric_score(VDB_METRIC_DOT, -0.0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_pinned),
        cmocka_unit_test(test_vector_bytes),
        cmocka_unit_test(test_metrics_fit_their_elements),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_foreign_names),
        cmocka_unit_test(test_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
