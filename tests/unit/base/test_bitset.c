/* test_bitset.c: the dense bitset against an array of bools, at and around word borders. */
#include "support.h"

#include <stdlib.h>

#include "huge_allocations.h"

#include "base/bitset.h"
#include "base/rng.h"

static void test_words(void **state)
{
    (void)state;
    assert_int_equal(vdb_bitset_words(0), 0);
    assert_int_equal(vdb_bitset_words(1), 1);
    assert_int_equal(vdb_bitset_words(64), 1);
    assert_int_equal(vdb_bitset_words(65), 2);
    assert_int_equal(vdb_bitset_words(128), 2);
}

static void test_empty(void **state)
{
    (void)state;
    struct vdb_bitset set;
    assert_true(vdb_bitset_init(&set, 0));
    vdb_bitset_fini(&set);
    assert_null(set.words);
    assert_int_equal(set.count, 0);
}

/* Bit i is bit i % 64 of word i / 64: the index reads words. */
static void test_layout(void **state)
{
    (void)state;
    struct vdb_bitset set;
    assert_true(vdb_bitset_init(&set, 130));
    vdb_bitset_set(&set, 0);
    vdb_bitset_set(&set, 63);
    vdb_bitset_set(&set, 64);
    vdb_bitset_set(&set, 129);
    assert_true(set.words[0] == (UINT64_C(1) | UINT64_C(1) << 63));
    assert_true(set.words[1] == 1);
    assert_true(set.words[2] == 2);
    vdb_bitset_fini(&set);
}

static void test_model(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 63, 64, 65, 127, 128, 129, 1000, 4097};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t count = counts[c];
        bool *model = calloc(count, sizeof *model);
        struct vdb_bitset set;
        struct vdb_rng rng;
        vdb_rng_init(&rng, count);
        assert_true(vdb_bitset_init(&set, count));
        for (size_t step = 0; step < 2 * count; step++) { /* ends with bits of both kinds */
            size_t i = vdb_rng_below(&rng, count);
            vdb_bitset_set(&set, i);
            model[i] = true;
            size_t gone = vdb_rng_below(&rng, count);
            if (step % 3 == 0) {
                vdb_bitset_clear(&set, gone);
                model[gone] = false;
            }
            size_t other = vdb_rng_below(&rng, count);
            assert_int_equal(vdb_bitset_test(&set, other), model[other]);
        }
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(vdb_bitset_test(&set, i), model[i]);
        }
        vdb_bitset_fini(&set);
        free(model);
    }
}

/* More bits than there is memory: refused, and fini is still right. */
static void test_too_large(void **state)
{
    (void)state;
    struct vdb_bitset set;
    volatile size_t count = SIZE_MAX - 63;
    assert_false(vdb_bitset_init(&set, count));
    vdb_bitset_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words), cmocka_unit_test(test_empty),     cmocka_unit_test(test_layout),
        cmocka_unit_test(test_model), cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
