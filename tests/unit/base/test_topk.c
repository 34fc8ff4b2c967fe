/* test_topk.c: the k nearest of a stream against sorting all of it; ties, custom tie orders, k of 0, 1 and n. */
#include "support.h"

#include <stdlib.h>

#include "base/rng.h"
#include "base/topk.h"

enum { ROWS_MAX = 500 };

static const uint32_t *order_of_rows; /* for the sort below, which has no context */

static bool custom_tie(void *ctx, uint32_t a, uint32_t b)
{
    const uint32_t *order = ctx;
    return order[a] < order[b];
}

static int compare(const void *a, const void *b)
{
    const struct vdb_candidate *x = a;
    const struct vdb_candidate *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    uint32_t x_order = order_of_rows != NULL ? order_of_rows[x->row] : x->row;
    uint32_t y_order = order_of_rows != NULL ? order_of_rows[y->row] : y->row;
    return x_order < y_order ? -1 : x_order > y_order;
}

/* rows candidates with distances of which only `distinct` exist (few: many ties), in shuffled row order. */
static void check_against_sort(uint64_t seed, size_t rows, size_t k, uint64_t distinct, bool custom)
{
    struct vdb_candidate all[ROWS_MAX];
    struct vdb_candidate heap[ROWS_MAX + 10];
    uint32_t order[ROWS_MAX];
    struct vdb_rng rng;
    struct vdb_topk topk;
    vdb_rng_init(&rng, seed);
    for (size_t i = 0; i < rows; i++) {
        all[i] = (struct vdb_candidate){(double)vdb_rng_below(&rng, distinct) - (double)distinct / 2,
                                        (uint32_t)i};
        order[i] = (uint32_t)i;
    }
    for (size_t i = rows; i > 1; i--) {
        size_t j = vdb_rng_below(&rng, i);
        struct vdb_candidate swapped = all[i - 1];
        all[i - 1] = all[j];
        all[j] = swapped;
        j = vdb_rng_below(&rng, i);
        uint32_t swapped_order = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swapped_order;
    }
    vdb_topk_init(&topk, heap, k);
    topk.tie = custom ? custom_tie : NULL;
    topk.tie_ctx = order;
    order_of_rows = custom ? order : NULL;
    struct vdb_candidate seen[ROWS_MAX];
    for (size_t i = 0; i < rows; i++) {
        /* Kept exactly when fewer than k of those before are better; the bound is the k-th of those before. */
        size_t better = 0;
        memcpy(seen, all, i * sizeof *seen);
        for (size_t j = 0; j < i; j++) {
            better += compare(&seen[j], &all[i]) < 0 ? 1 : 0;
        }
        double bound = (double)INFINITY;
        if (k > 0 && i >= k) {
            qsort(seen, i, sizeof *seen, compare);
            bound = seen[k - 1].distance;
        }
        if (k > 0) {
            assert_true(vdb_topk_bound(&topk) == bound);
        }
        assert_int_equal(vdb_topk_push(&topk, all[i].distance, all[i].row), better < k);
        assert_int_equal(topk.count, i + 1 < k ? i + 1 : k);
    }
    vdb_topk_finish(&topk);
    qsort(all, rows, sizeof *all, compare);
    assert_int_equal(topk.count, k < rows ? k : rows);
    for (size_t i = 0; i < topk.count; i++) {
        if (heap[i].row != all[i].row || heap[i].distance != all[i].distance) {
            fail_msg("seed %llu, rows %zu, k %zu: place %zu has row %u at %g, expected row %u at %g",
                     (unsigned long long)seed, rows, k, i, heap[i].row, heap[i].distance, all[i].row,
                     all[i].distance);
        }
    }
}

static void test_against_sort(void **state)
{
    (void)state;
    static const size_t rows[] = {0, 1, 2, 3, 10, 60, 200};
    static const size_t ks[] = {0, 1, 2, 3, 7, 10, 60, 64, 200, 205};
    static const uint64_t distincts[] = {1, 2, 10, 1000000};
    uint64_t seed = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (size_t k = 0; k < sizeof ks / sizeof *ks; k++) {
            for (size_t d = 0; d < sizeof distincts / sizeof *distincts; d++) {
                check_against_sort(seed++, rows[r], ks[k], distincts[d], false);
                check_against_sort(seed++, rows[r], ks[k], distincts[d], true);
            }
        }
    }
    print_message("%llu streams\n", (unsigned long long)seed);
}

/* k of 0 keeps nothing and touches no memory. */
static void test_k_of_zero(void **state)
{
    (void)state;
    struct vdb_topk topk;
    vdb_topk_init(&topk, NULL, 0);
    assert_false(vdb_topk_push(&topk, 1.0, 1));
    assert_false(vdb_topk_push(&topk, -(double)INFINITY, 2));
    vdb_topk_finish(&topk);
    assert_int_equal(topk.count, 0);
}

static void test_extremes(void **state)
{
    (void)state;
    struct vdb_candidate heap[4];
    struct vdb_topk topk;
    vdb_topk_init(&topk, heap, 4);
    assert_true(vdb_topk_bound(&topk) == (double)INFINITY);
    assert_true(vdb_topk_push(&topk, (double)INFINITY, 5)); /* infinitely far is still a candidate */
    assert_true(vdb_topk_push(&topk, -(double)INFINITY, UINT32_MAX));
    assert_true(vdb_topk_push(&topk, 0.0, 9));
    assert_true(vdb_topk_push(&topk, -0.0, 8));
    assert_true(vdb_topk_bound(&topk) == (double)INFINITY);
    assert_false(vdb_topk_push(&topk, (double)INFINITY, 6));
    assert_true(vdb_topk_push(&topk, (double)INFINITY, 4)); /* ties with row 5 and goes before it */
    vdb_topk_finish(&topk);
    static const uint32_t expected[] = {UINT32_MAX, 8, 9, 4}; /* the two zeros are equal */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(heap[i].row, expected[i]);
    }
}

/* Sums that a float would round together stay apart. */
static void test_integer_sums_keep_their_order(void **state)
{
    (void)state;
    struct vdb_candidate heap[2];
    struct vdb_topk topk;
    vdb_topk_init(&topk, heap, 2);
    assert_true(vdb_topk_push(&topk, 4261478402.0, 0));
    assert_true(vdb_topk_push(&topk, 4261478401.0, 1));
    assert_true(vdb_topk_push(&topk, 4261478400.0, 2));
    vdb_topk_finish(&topk);
    assert_int_equal(heap[0].row, 2);
    assert_int_equal(heap[1].row, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_sort),
        cmocka_unit_test(test_k_of_zero),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_integer_sums_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
