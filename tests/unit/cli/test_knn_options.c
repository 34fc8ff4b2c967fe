/* test_knn_options.c: the radius of --range: whoever copies a distance that was printed finds its row again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cli/knn.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Inside a radius of sqrt(square) is everything up to the last number whose root is no larger. */
static void check_square(double square)
{
    struct vdb_knn_options options = {.metric = VDB_METRIC_L2, .radius = sqrt(square)};
    double inside = vdb_knn_radius_inside(&options);
    assert_true(inside >= square);
    assert_true(sqrt(inside) <= options.radius);
    assert_true(sqrt(nextafter(inside, (double)INFINITY)) > options.radius);
}

static void test_radius_of_l2(void **state)
{
    (void)state;
    struct vdb_rng rng;
    vdb_rng_init(&rng, 7);
    for (unsigned i = 0; i < 300000; i++) {
        check_square(i);
    }
    for (unsigned i = 0; i < 300000; i++) {
        uint64_t bits = vdb_rng_u64(&rng) >> 1; /* of any size: also subnormal */
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) {
            check_square(value);
        }
    }
    check_square(DBL_TRUE_MIN);
    check_square(DBL_MIN);
    check_square(DBL_MAX);
}

/* A radius whose square is beyond all numbers takes in all of them, and ends. */
static void test_radius_of_others(void **state)
{
    (void)state;
    struct vdb_knn_options options = {.metric = VDB_METRIC_L2, .radius = DBL_MAX};
    assert_true(vdb_knn_radius_inside(&options) == DBL_MAX);
    options.radius = DBL_TRUE_MIN;
    assert_true(vdb_knn_radius_inside(&options) == 0);
    options.radius = 3.25;
    options.metric = VDB_METRIC_L1;
    assert_true(vdb_knn_radius_inside(&options) == 3.25);
    options.metric = VDB_METRIC_DOT;
    assert_true(vdb_knn_radius_inside(&options) == -3.25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_radius_of_l2),
                                       cmocka_unit_test(test_radius_of_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
