/* test_flat_real.c: flat search on real data with known answers: of bits and of integers the ids are those of the
 * ground truth exactly, ties to the lower row.
 *
 * VECDB_DATA names the folder with a folder per data set (tests/README.md). Sets that are not there are skipped.
 */
#include "support.h"

#include <stdlib.h>

#include "index/index.h"
#include "npy_support.h"

enum { QUERIES_MAX = 60, K_MAX = 100 };

static void check_set(const char *set, const char *truth_name, vdb_element element, vdb_metric metric)
{
    const char *type = element == VDB_ELEMENT_I8 ? "|i1" : "|u1";
    struct matrix base;
    struct matrix queries;
    struct matrix truth;
    if (getenv("VECDB_DATA") == NULL || !matrix_read(set, "base", type, &base)) {
        printf("%s is not in VECDB_DATA: skipped\n", set);
        skip();
    }
    assert_true(matrix_read(set, "queries", type, &queries));
    assert_true(matrix_read(set, truth_name, "<i4", &truth));
    size_t dimension = element == VDB_ELEMENT_BIT ? base.columns * 8 : base.columns;
    const void *array = base.data;
    struct vdb_rows rows = vdb_rows_of_array(&array, base.rows, dimension, element, metric);
    size_t k = truth.columns < K_MAX ? truth.columns : K_MAX;
    struct vdb_candidate memory[K_MAX];
    for (size_t q = 0; q < queries.rows && q < QUERIES_MAX; q++) {
        struct vdb_query query = {.vector = queries.data + q * queries.columns};
        struct vdb_topk topk;
        struct vdb_err err = {0};
        vdb_topk_init(&topk, memory, k);
        assert_ok(vdb_index_flat.search(NULL, &rows, &query, &topk, &err), &err);
        vdb_topk_finish(&topk);
        for (size_t i = 0; i < k; i++) {
            int32_t want;
            memcpy(&want, truth.data + (q * truth.columns + i) * sizeof want, sizeof want);
            if ((int32_t)memory[i].row != want) {
                fail_msg("%s %s: query %zu place %zu: row %u at %.17g, the ground truth has %d", set, truth_name,
                         q, i, memory[i].row, memory[i].distance, want);
            }
        }
    }
    free(base.bytes);
    free(queries.bytes);
    free(truth.bytes);
}

static void test_bits_by_hamming(void **state)
{
    (void)state;
    check_set("chem-hiv-1024b", "gt_hamming_ids", VDB_ELEMENT_BIT, VDB_METRIC_HAMMING);
}

static void test_bits_by_jaccard(void **state)
{
    (void)state;
    check_set("chem-hiv-1024b", "gt_jaccard_ids", VDB_ELEMENT_BIT, VDB_METRIC_JACCARD);
}

static void test_i8_by_cosine(void **state)
{
    (void)state;
    check_set("cohere-int8-900", "gt_ids", VDB_ELEMENT_I8, VDB_METRIC_COSINE);
}

static void test_u8_by_l2(void **state)
{
    (void)state;
    check_set("fashion-mnist-784", "gt_ids", VDB_ELEMENT_U8, VDB_METRIC_L2);
}

static void test_u8_of_128_by_l2(void **state)
{
    (void)state;
    check_set("sift-castle-128", "gt_ids", VDB_ELEMENT_U8, VDB_METRIC_L2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_by_hamming), cmocka_unit_test(test_bits_by_jaccard),
        cmocka_unit_test(test_i8_by_cosine),    cmocka_unit_test(test_u8_by_l2),
        cmocka_unit_test(test_u8_of_128_by_l2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
