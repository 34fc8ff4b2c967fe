/* test_hnsw_real.c: recall of the graph at default settings on real data with known answers.
 *
 * VECDB_DATA names the folder with a folder per data set (tests/README.md). Sets that are not there are skipped.
 * The bounds are a little under what was measured when they were written.
 */
#include "hnsw_support.h"

#include "npy_support.h"

enum { QUERIES_MAX = 400, K = 10 };

/* Bytes as the f32 that they are. */
static void *as_floats(const struct matrix *matrix)
{
    float *out = malloc(matrix->rows * matrix->columns * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < matrix->rows * matrix->columns; i++) {
        out[i] = (float)((const uint8_t *)matrix->data)[i];
    }
    return out;
}

struct set {
    const char *name;
    const char *truth;
    const char *type;
    vdb_element element; /* in the graph; u8 files may go in as f32 */
    vdb_metric metric;
    double recall_min; /* at ef 64 */
    double wide_min;   /* at ef 200 */
    bool codes;        /* copies of 8 bits inside */
};

static double recall_at(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows, const char *queries,
                        size_t query_count, const struct matrix *truth, size_t ef)
{
    size_t hits = 0;
    for (size_t q = 0; q < query_count; q++) {
        struct vdb_candidate answer[K];
        struct vdb_query query = {.vector = queries + q * vdb_vector_bytes(rows->element, rows->dimension),
                                  .ef = ef};
        size_t count = search_graph(hnsw, rows, &query, VDB_HNSW_ALWAYS_WALK, K, answer);
        for (size_t i = 0; i < count; i++) {
            for (size_t j = 0; j < K; j++) {
                int32_t want;
                memcpy(&want, truth->data + (q * truth->columns + j) * sizeof want, sizeof want);
                hits += (uint32_t)want == answer[i].row;
            }
        }
    }
    return (double)hits / (double)(query_count * K);
}

static void check_set(const struct set *set)
{
    struct matrix base;
    struct matrix queries;
    struct matrix truth;
    if (getenv("VECDB_DATA") == NULL || !matrix_read(set->name, "base", set->type, &base)) {
        printf("%s is not in VECDB_DATA: skipped\n", set->name);
        skip();
    }
    assert_true(matrix_read(set->name, "queries", set->type, &queries));
    assert_true(matrix_read(set->name, set->truth, "<i4", &truth));
    const bool widen = set->element == VDB_ELEMENT_F32 && strcmp(set->type, "|u1") == 0;
    void *floats = widen ? as_floats(&base) : NULL;
    void *query_floats = widen ? as_floats(&queries) : NULL;
    const void *array = widen ? floats : base.data;
    struct data data = {.array = array};
    data.rows = vdb_rows_of_array(&data.array, base.rows,
                                  set->element == VDB_ELEMENT_BIT ? base.columns * 8 : base.columns, set->element,
                                  set->metric);
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.vectors_inside = set->codes;
    params.inside_as = set->codes ? VDB_ELEMENT_U8 : VDB_ELEMENT_F32;
    struct vdb_hnsw *hnsw = build_with(&data, &params, 0);
    size_t count = queries.rows < QUERIES_MAX ? queries.rows : QUERIES_MAX;
    const char *vectors = widen ? query_floats : queries.data;
    double recall = recall_at(hnsw, &data.rows, vectors, count, &truth, 64);
    double wide = recall_at(hnsw, &data.rows, vectors, count, &truth, 200);
    printf("%s, %s, %s: recall@10 %.4f at ef 64, %.4f at ef 200\n", set->name, vdb_element_name(set->element),
           vdb_metric_name(set->metric), recall, wide);
    assert_true(recall >= set->recall_min && wide >= set->wide_min);
    vdb_hnsw_destroy(hnsw);
    free(floats);
    free(query_floats);
    free(base.bytes);
    free(queries.bytes);
    free(truth.bytes);
}

#define SET_TEST(test_name, ...)                                                                                 \
    static void test_name(void **state)                                                                          \
    {                                                                                                            \
        (void)state;                                                                                             \
        check_set(&(struct set){__VA_ARGS__});                                                                   \
    }

SET_TEST(test_fashion_as_u8, "fashion-mnist-784", "gt_ids", "|u1", VDB_ELEMENT_U8, VDB_METRIC_L2, 0.995, 0.999,
         false)
SET_TEST(test_fashion_as_f32, "fashion-mnist-784", "gt_ids", "|u1", VDB_ELEMENT_F32, VDB_METRIC_L2, 0.995, 0.999,
         false)
SET_TEST(test_sift_as_u8, "sift-castle-128", "gt_ids", "|u1", VDB_ELEMENT_U8, VDB_METRIC_L2, 0.99, 0.998, false)
SET_TEST(test_beir_by_cosine, "beir-bge-768", "gt_ids", "<f4", VDB_ELEMENT_F32, VDB_METRIC_COSINE, 0.98, 0.998,
         false)
SET_TEST(test_beir_in_codes, "beir-bge-768", "gt_ids", "<f4", VDB_ELEMENT_F32, VDB_METRIC_COSINE, 0.98, 0.998,
         true)
SET_TEST(test_movielens_by_dot, "movielens-16", "gt_ids", "<f4", VDB_ELEMENT_F32, VDB_METRIC_DOT, 0.96, 0.98,
         false)
SET_TEST(test_movies_as_f16, "wiki-movies-384", "gt_ids", "<f2", VDB_ELEMENT_F16, VDB_METRIC_COSINE, 0.955, 0.992,
         false)
SET_TEST(test_cohere_as_i8, "cohere-int8-900", "gt_ids", "|i1", VDB_ELEMENT_I8, VDB_METRIC_COSINE, 0.995, 0.998,
         false)
SET_TEST(test_chem_by_hamming, "chem-hiv-1024b", "gt_hamming_ids", "|u1", VDB_ELEMENT_BIT, VDB_METRIC_HAMMING,
         0.94, 0.97, false)
SET_TEST(test_chem_by_jaccard, "chem-hiv-1024b", "gt_jaccard_ids", "|u1", VDB_ELEMENT_BIT, VDB_METRIC_JACCARD,
         0.975, 0.992, false)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fashion_as_u8),    cmocka_unit_test(test_fashion_as_f32),
        cmocka_unit_test(test_sift_as_u8),       cmocka_unit_test(test_beir_by_cosine),
        cmocka_unit_test(test_movielens_by_dot), cmocka_unit_test(test_beir_in_codes),
        cmocka_unit_test(test_movies_as_f16),    cmocka_unit_test(test_cohere_as_i8),
        cmocka_unit_test(test_chem_by_hamming),  cmocka_unit_test(test_chem_by_jaccard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
