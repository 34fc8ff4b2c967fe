/* test_histogram.c: bounds, counting at and beside them, quantiles against sorted samples, and threads. */
#include "support.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/histogram.h"
#include "base/rng.h"

static void test_bounds(void **state)
{
    (void)state;
    assert_int_equal(vdb_histogram_bound(0), 1000);
    assert_int_equal(vdb_histogram_bound(1), 1250);
    assert_int_equal(vdb_histogram_bound(3), 2000);
    assert_int_equal(vdb_histogram_bound(7), 5000);
    assert_int_equal(vdb_histogram_bound(10), 10000);
    assert_int_equal(vdb_histogram_bound(79), UINT64_C(80000000000));
    assert_int_equal(vdb_histogram_bound(80), UINT64_C(100000000000));
    assert_true(vdb_histogram_bound(VDB_HISTOGRAM_BUCKETS - 1) == UINT64_MAX);
    for (size_t i = 1; i < VDB_HISTOGRAM_BOUNDS; i++) {
        uint64_t low = vdb_histogram_bound(i - 1);
        uint64_t high = vdb_histogram_bound(i);
        assert_true(high > low && high * 100 <= low * 128); /* H1 */
    }
}

/* Which bucket one addition goes to. */
static size_t bucket_of(uint64_t ns)
{
    struct vdb_histogram histogram = {0};
    struct vdb_histogram_reading reading;
    size_t found = VDB_HISTOGRAM_BUCKETS;
    vdb_histogram_add(&histogram, ns);
    vdb_histogram_read(&histogram, &reading);
    assert_int_equal(reading.count, 1);
    assert_true(reading.sum_ns == ns && reading.max_ns == ns);
    for (size_t i = 0; i < VDB_HISTOGRAM_BUCKETS; i++) {
        if (reading.buckets[i] != 0) {
            assert_int_equal(found, VDB_HISTOGRAM_BUCKETS);
            found = i;
        }
    }
    return found;
}

static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(bucket_of(0), 0);
    for (size_t i = 0; i < VDB_HISTOGRAM_BOUNDS; i++) {
        assert_int_equal(bucket_of(vdb_histogram_bound(i)), i);
        assert_int_equal(bucket_of(vdb_histogram_bound(i) + 1), i + 1);
    }
    assert_int_equal(bucket_of(UINT64_MAX), VDB_HISTOGRAM_BUCKETS - 1);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Every quantile is between the true one and 1.28 times that (H1). */
static void test_quantiles(void **state)
{
    (void)state;
    enum { SAMPLES = 20000 };
    static uint64_t samples[SAMPLES];
    static const double shares[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    struct vdb_histogram histogram = {0};
    struct vdb_histogram_reading reading;
    struct vdb_rng rng;
    uint64_t sum = 0;
    print_message("seed 11\n");
    vdb_rng_init(&rng, 11);
    for (size_t i = 0; i < SAMPLES; i++) {
        samples[i] = 1000 + vdb_rng_below(&rng, UINT64_C(1) << (10 + vdb_rng_below(&rng, 27)));
        sum += samples[i];
        vdb_histogram_add(&histogram, samples[i]);
    }
    qsort(samples, SAMPLES, sizeof samples[0], by_value);
    vdb_histogram_read(&histogram, &reading);
    assert_int_equal(reading.count, SAMPLES);
    assert_int_equal(reading.sum_ns, sum);
    assert_int_equal(reading.max_ns, samples[SAMPLES - 1]);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        size_t rank = (size_t)(shares[i] * SAMPLES);
        uint64_t truth = samples[rank > 0 ? rank - 1 : 0];
        uint64_t found = vdb_histogram_quantile(&reading, shares[i]);
        if (found < truth || found * 100 > truth * 128) {
            fail_msg("share %g is %llu, the histogram says %llu", shares[i], (unsigned long long)truth,
                     (unsigned long long)found);
        }
    }
    assert_int_equal(vdb_histogram_quantile(&reading, 1), samples[SAMPLES - 1]);
}

static void test_quantile_edges(void **state)
{
    (void)state;
    struct vdb_histogram histogram = {0};
    struct vdb_histogram_reading reading;
    vdb_histogram_read(&histogram, &reading);
    assert_int_equal(vdb_histogram_quantile(&reading, 0.5), 0);
    vdb_histogram_add(&histogram, UINT64_C(250000000000)); /* past the last bound */
    vdb_histogram_read(&histogram, &reading);
    assert_int_equal(vdb_histogram_quantile(&reading, 0), UINT64_C(250000000000));
    assert_int_equal(vdb_histogram_quantile(&reading, 1), UINT64_C(250000000000));
    vdb_histogram_add(&histogram, 1);
    vdb_histogram_read(&histogram, &reading);
    assert_int_equal(vdb_histogram_quantile(&reading, 0.5), 1000); /* the first of two */
    assert_int_equal(vdb_histogram_quantile(&reading, 0.51), UINT64_C(250000000000));
    assert_int_equal(vdb_histogram_quantile(&reading, -1), 1000);
    assert_int_equal(vdb_histogram_quantile(&reading, 2), UINT64_C(250000000000));
}

static void test_merge_and_subtract(void **state)
{
    (void)state;
    struct vdb_histogram one = {0};
    struct vdb_histogram two = {0};
    struct vdb_histogram_reading first;
    struct vdb_histogram_reading both;
    struct vdb_histogram_reading sum;
    vdb_histogram_add(&one, 1000);
    vdb_histogram_add(&one, 9000);
    vdb_histogram_read(&one, &first);
    vdb_histogram_add(&one, 5000);
    vdb_histogram_read(&one, &both);
    vdb_histogram_subtract(&both, &first);
    assert_int_equal(both.count, 1);
    assert_int_equal(both.sum_ns, 5000);
    assert_int_equal(both.buckets[7], 1);
    assert_int_equal(both.max_ns, 9000); /* of all */
    assert_int_equal(vdb_histogram_quantile(&both, 0.99), 5000);

    vdb_histogram_add(&two, 70000);
    vdb_histogram_read(&two, &sum);
    vdb_histogram_merge(&sum, &first);
    assert_int_equal(sum.count, 3);
    assert_int_equal(sum.sum_ns, 80000);
    assert_int_equal(sum.max_ns, 70000);
    assert_int_equal(sum.buckets[0], 1);
    vdb_histogram_subtract(&first, &first);
    assert_int_equal(first.count, 0);
    assert_int_equal(vdb_histogram_quantile(&first, 0.5), 0);
}

enum { THREADS = 4, ADDITIONS = 20000 };

struct race {
    struct vdb_histogram histogram;
    _Atomic unsigned left;
};

static void *add_many(void *arg)
{
    struct race *race = arg;
    for (uint64_t i = 0; i < ADDITIONS; i++) {
        vdb_histogram_add(&race->histogram, i * 1000);
    }
    atomic_fetch_sub(&race->left, 1);
    return NULL;
}

/* Nothing is lost, and every reading meanwhile fits together (H3). */
static void test_threads(void **state)
{
    (void)state;
    struct race race = {.left = THREADS};
    struct vdb_histogram_reading reading;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &race), 0);
    }
    uint64_t before = 0;
    while (atomic_load(&race.left) > 0) {
        vdb_histogram_read(&race.histogram, &reading);
        assert_true(reading.count >= before);
        before = reading.count;
        uint64_t least = 0; /* what the counts alone say of the sum and the largest */
        for (size_t i = 1; i < VDB_HISTOGRAM_BUCKETS; i++) {
            least += reading.buckets[i] * vdb_histogram_bound(i - 1);
            assert_true(reading.buckets[i] == 0 || reading.max_ns > vdb_histogram_bound(i - 1));
        }
        assert_true(reading.sum_ns >= least);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    vdb_histogram_read(&race.histogram, &reading);
    assert_int_equal(reading.count, THREADS * ADDITIONS);
    assert_int_equal(reading.sum_ns, UINT64_C(1000) * THREADS * (ADDITIONS / 2) * (ADDITIONS - 1));
    assert_int_equal(reading.max_ns, (ADDITIONS - 1) * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_quantile_edges),
        cmocka_unit_test(test_merge_and_subtract),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("base/histogram", tests, NULL, NULL);
}
