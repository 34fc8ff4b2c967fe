/* test_rng.c: the generator's stream is pinned (seeds in test logs must mean the same on every machine), and its
 * derived distributions have the moments they should. The bounds are 5 standard errors or wider; seeds are fixed.
 */
#include "support.h"

#include <math.h>
#include <stdbool.h>

#include "base/rng.h"

static void test_pinned_stream(void **state)
{
    (void)state;
    /* The generator's published values from the state {1, 2, 3, 4}. */
    static const uint64_t published[] = {11520,
                                         0,
                                         1509978240,
                                         UINT64_C(1215971899390074240),
                                         UINT64_C(1216172134540287360),
                                         UINT64_C(607988272756665600)};
    struct vdb_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        assert_true(vdb_rng_u64(&rng) == published[i]);
    }
    /* With the state filled from a seed; computed by a separate program from the two papers. */
    static const struct {
        uint64_t seed;
        uint64_t first[3];
    } pinned[] = {
        {0, {UINT64_C(0x99ec5f36cb75f2b4), UINT64_C(0xbf6e1f784956452a), UINT64_C(0x1a5f849d4933e6e0)}},
        {1, {UINT64_C(0xb3f2af6d0fc710c5), UINT64_C(0x853b559647364cea), UINT64_C(0x92f89756082a4514)}},
        {42, {UINT64_C(0x15780b2e0c2ec716), UINT64_C(0x6104d9866d113a7e), UINT64_C(0xae17533239e499a1)}},
        {UINT64_MAX, {UINT64_C(0x8f5520d52a7ead08), UINT64_C(0xc476a018caa1802d), UINT64_C(0x81de31c0d260469e)}},
    };
    for (size_t s = 0; s < sizeof pinned / sizeof *pinned; s++) {
        vdb_rng_init(&rng, pinned[s].seed);
        for (size_t i = 0; i < 3; i++) {
            assert_true(vdb_rng_u64(&rng) == pinned[s].first[i]);
        }
    }
}

static void test_same_seed_same_stream(void **state)
{
    (void)state;
    struct vdb_rng a;
    struct vdb_rng b;
    struct vdb_rng other;
    vdb_rng_init(&a, 77);
    vdb_rng_init(&b, 77);
    vdb_rng_init(&other, 78);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t value = vdb_rng_u64(&a);
        assert_true(vdb_rng_u64(&b) == value);
        same += vdb_rng_u64(&other) == value ? 1 : 0;
    }
    assert_int_equal(same, 0);
}

/* Chi-square over the cells of small bounds: mean bound-1, variance 2(bound-1). */
static void test_below_is_uniform(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {2, 3, 7, 10, 64, 100};
    enum { DRAWS = 200000 };
    struct vdb_rng rng;
    vdb_rng_init(&rng, 5);
    for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
        uint64_t cells[100] = {0};
        for (int i = 0; i < DRAWS; i++) {
            uint64_t value = vdb_rng_below(&rng, bounds[b]);
            assert_true(value < bounds[b]);
            cells[value]++;
        }
        double expected = (double)DRAWS / (double)bounds[b];
        double chi = 0;
        for (uint64_t i = 0; i < bounds[b]; i++) {
            chi += ((double)cells[i] - expected) * ((double)cells[i] - expected) / expected;
        }
        double freedom = (double)bounds[b] - 1;
        if (chi > freedom + 6 * sqrt(2 * freedom)) {
            fail_msg("bound %llu: chi-square %g with %g degrees of freedom", (unsigned long long)bounds[b], chi,
                     freedom);
        }
    }
}

/* A bound of 3/4 of 2^64: a plain remainder would double the lower third, a product without rejection the
 * multiples of three. */
static void test_below_has_no_bias_at_large_bounds(void **state)
{
    (void)state;
    const uint64_t bound = UINT64_C(3) << 62;
    enum { DRAWS = 100000 };
    struct vdb_rng rng;
    vdb_rng_init(&rng, 6);
    int thirds[3] = {0};
    int residues[3] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint64_t value = vdb_rng_below(&rng, bound);
        assert_true(value < bound);
        thirds[value >> 62]++;
        residues[value % 3]++;
    }
    for (int i = 0; i < 3; i++) {
        assert_true(fabs(thirds[i] - DRAWS / 3.0) < 6 * sqrt(DRAWS * 2.0 / 9.0));
        assert_true(fabs(residues[i] - DRAWS / 3.0) < 6 * sqrt(DRAWS * 2.0 / 9.0));
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(vdb_rng_below(&rng, 1), 0);
        assert_true(vdb_rng_below(&rng, UINT64_MAX) < UINT64_MAX);
    }
}

static void test_double_moments(void **state)
{
    (void)state;
    enum { DRAWS = 500000 };
    struct vdb_rng rng;
    vdb_rng_init(&rng, 7);
    double sum = 0;
    double squares = 0;
    double least = 1;
    double most = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = vdb_rng_double(&rng);
        assert_true(x >= 0 && x < 1);
        sum += x;
        squares += x * x;
        least = x < least ? x : least;
        most = x > most ? x : most;
    }
    double mean = sum / DRAWS;
    double variance = squares / DRAWS - mean * mean;
    assert_true(fabs(mean - 0.5) < 5 * sqrt(1 / 12.0 / DRAWS));
    assert_true(fabs(variance - 1 / 12.0) < 5 * sqrt(1 / 180.0 / DRAWS));
    assert_true(least < 1e-4 && most > 1 - 1e-4);
    /* The ends of the 64-bit range map into [0, 1): state[1] = 0 gives the result 0. */
    struct vdb_rng zero = {{1, 0, 1, 1}};
    assert_true(vdb_rng_double(&zero) == 0.0);
}

static void test_normal_moments(void **state)
{
    (void)state;
    enum { DRAWS = 400000 };
    struct vdb_rng rng;
    vdb_rng_init(&rng, 8);
    double moments[5] = {0};
    double lag = 0;
    double before = 0;
    int within_one = 0;
    for (int i = 0; i < DRAWS; i++) {
        double x = (double)vdb_rng_normal(&rng);
        assert_true(isfinite(x));
        double power = 1;
        for (int m = 0; m < 5; m++) {
            moments[m] += power / DRAWS;
            power *= x;
        }
        lag += x * before / DRAWS;
        before = x;
        within_one += fabs(x) < 1 ? 1 : 0;
    }
    double error = sqrt(1.0 / DRAWS);
    assert_true(fabs(moments[1]) < 5 * error);
    assert_true(fabs(moments[2] - 1) < 5 * sqrt(2) * error);
    assert_true(fabs(moments[3]) < 5 * sqrt(15) * error);
    assert_true(fabs(moments[4] - 3) < 5 * sqrt(96) * error);
    assert_true(fabs(lag) < 5 * error); /* neighbours are independent */
    assert_true(fabs(within_one / (double)DRAWS - 0.6826895) < 5 * 0.4655 * error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pinned_stream),    cmocka_unit_test(test_same_seed_same_stream),
        cmocka_unit_test(test_below_is_uniform), cmocka_unit_test(test_below_has_no_bias_at_large_bounds),
        cmocka_unit_test(test_double_moments),   cmocka_unit_test(test_normal_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
