/* test_flat_wide.c: wide queries (index.h) over f16, bf16, u8 and i8 against the same search over the same rows as f32:
 * rows, order and distances to the bit, for all metrics, filters, chunks and a team of threads; also where the query is
 * one that the element can hold, and the narrow search must agree too.
 */
#include "support.h"

#include <stdlib.h>

#include "base/convert.h"
#include "base/rng.h"
#include "distance/wide.h"
#include "index/flat.h"

#ifdef VDB_SANITIZED
enum { COUNT = 700 };
#else
enum { COUNT = 1500 };
#endif
enum { SEED = 41, DIMENSION_MAX = 600, K_MAX = 40, CHUNK_SHIFT = 8, TEAM_THREADS = 3 };

static struct vdb_rng rng;

struct data {
    vdb_element element;
    size_t dimension;
    size_t stride; /* bytes */
    char *narrow;
    float *wide; /* dimension apart */
    const void *narrow_chunks[COUNT / (1 << CHUNK_SHIFT) + 1];
    const void *wide_array;
};

static void make_data(struct data *data, vdb_element element, size_t dimension)
{
    data->element = element;
    data->dimension = dimension;
    data->stride = vdb_vector_bytes(element, dimension) + vdb_rng_below(&rng, 3) * 8;
    data->narrow = calloc(COUNT, data->stride);
    data->wide = calloc(COUNT * dimension, sizeof(float));
    assert_non_null(data->narrow);
    assert_non_null(data->wide);
    for (size_t r = 0; r < COUNT; r++) {
        char *row = data->narrow + r * data->stride;
        if (r > 0 && vdb_rng_below(&rng, 4) == 0) { /* ties */
            memcpy(row, row - data->stride, data->stride);
        } else if (element == VDB_ELEMENT_BF16) {
            for (size_t i = 0; i < dimension; i++) {
                float value = vdb_rng_normal(&rng);
                memcpy(row + 2 * i, (const char *)&value + 2, 2);
            }
        } else {
            for (size_t i = 0; i < dimension; i++) {
                float value = element == VDB_ELEMENT_F16 ? vdb_rng_normal(&rng) : (float)vdb_rng_below(&rng, 100);
                vdb_convert_narrow(element, &value, 1, row + i * vdb_element_bytes(element));
            }
        }
        vdb_wide_load(element, row, dimension, data->wide + r * dimension);
    }
    for (size_t c = 0; c << CHUNK_SHIFT < COUNT; c++) {
        data->narrow_chunks[c] = data->narrow + (c << CHUNK_SHIFT) * data->stride;
    }
    data->wide_array = data->wide;
}

static void search(const struct vdb_rows *rows, const struct vdb_query *query, size_t k,
                   struct vdb_flat_team *team, struct vdb_candidate out[K_MAX], size_t *count)
{
    struct vdb_topk topk;
    struct vdb_err err = {0};
    vdb_topk_init(&topk, out, k);
    assert_ok(team != NULL ? vdb_flat_team_search(team, rows, query, &topk, &err)
                           : vdb_index_flat.search(NULL, rows, query, &topk, &err),
              &err);
    vdb_topk_finish(&topk);
    *count = topk.count;
}

static void expect_same(const struct vdb_candidate *want, size_t want_count, const struct vdb_candidate *got,
                        size_t got_count)
{
    assert_int_equal(got_count, want_count);
    for (size_t i = 0; i < want_count; i++) {
        assert_int_equal(got[i].row, want[i].row);
        assert_true(got[i].distance == want[i].distance);
    }
}

static void compare(const struct data *data, vdb_metric metric, const float *vector,
                    const struct vdb_bitset *allow, struct vdb_flat_team *team)
{
    struct vdb_candidate want[K_MAX];
    struct vdb_candidate got[K_MAX];
    char narrow[DIMENSION_MAX * sizeof(float)];
    size_t want_count;
    size_t got_count;
    size_t k = 1 + vdb_rng_below(&rng, K_MAX);
    struct vdb_search_counters want_counters = {0};
    struct vdb_search_counters got_counters = {0};
    struct vdb_rows floats = vdb_rows_of_array(&data->wide_array, COUNT, data->dimension, VDB_ELEMENT_F32,
                                               metric);
    struct vdb_rows rows = {.chunks = data->narrow_chunks,
                            .chunk_shift = CHUNK_SHIFT,
                            .stride_bytes = data->stride,
                            .dimension = data->dimension,
                            .element = data->element,
                            .metric = metric,
                            .count = COUNT};
    struct vdb_query query = {.vector = vector, .allow = allow, .counters = &want_counters};
    search(&floats, &query, k, NULL, want, &want_count);
    query.counters = &got_counters;
    query.wide = true;
    search(&rows, &query, k, NULL, got, &got_count);
    expect_same(want, want_count, got, got_count);
    assert_int_equal(got_counters.rows_visited, want_counters.rows_visited);
    assert_int_equal(got_counters.distances_computed, want_counters.distances_computed);
    search(&rows, &query, k, team, got, &got_count);
    expect_same(want, want_count, got, got_count);
    /* Over rows of f32 `wide` says nothing new. */
    search(&floats, &query, k, NULL, got, &got_count);
    expect_same(want, want_count, got, got_count);
    if (data->element != VDB_ELEMENT_BF16 && vdb_convert_is_exact(data->element, vector, data->dimension)) {
        vdb_convert_narrow(data->element, vector, data->dimension, narrow);
        query = (struct vdb_query){.vector = narrow, .allow = allow};
        search(&rows, &query, k, NULL, got, &got_count);
        expect_same(want, want_count, got, got_count);
    }
}

static void test_wide_queries(void **state)
{
    (void)state;
    static const vdb_element elements[] = {VDB_ELEMENT_F16, VDB_ELEMENT_BF16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};
    static const size_t dimensions[] = {1, 7, 64, 130, DIMENSION_MAX};
    struct vdb_flat_team *team;
    struct vdb_err err = {0};
    float vector[DIMENSION_MAX];
    assert_ok(vdb_flat_team_create(TEAM_THREADS, K_MAX, &team, &err), &err);
    for (size_t round = 0; round < 4 * 5; round++) {
        struct data data;
        make_data(&data, elements[round % 4], dimensions[round / 4]);
        for (unsigned run = 0; run < 4 * 2 * 3; run++) {
            const unsigned of_eight[] = {8, 5, 1};
            struct vdb_bitset allow;
            const bool whole = run / 4 % 2 == 0; /* which all elements hold */
            assert_true(vdb_bitset_init(&allow, COUNT));
            for (size_t r = 0; r < COUNT; r++) {
                if (vdb_rng_below(&rng, 8) < of_eight[run / 8]) {
                    vdb_bitset_set(&allow, r);
                }
            }
            for (size_t i = 0; i < data.dimension; i++) {
                vector[i] = whole ? (float)(1 + vdb_rng_below(&rng, 90)) : vdb_rng_normal(&rng) * 40;
            }
            compare(&data, (vdb_metric)(run % 4), vector, run / 8 == 0 ? NULL : &allow, team);
            vdb_bitset_fini(&allow);
        }
        free(data.narrow);
        free(data.wide);
    }
    vdb_flat_team_destroy(team);
}

/* The longest rows: one is wider than what is widened at a time. */
static void test_long_rows(void **state)
{
    (void)state;
    enum { DIMENSION = 65536, ROWS = 3 };
    uint8_t *rows_memory = calloc(ROWS, DIMENSION);
    float *vector = calloc(DIMENSION, sizeof *vector);
    assert_non_null(rows_memory);
    assert_non_null(vector);
    for (size_t i = 0; i < DIMENSION; i++) {
        vector[i] = 0.5f;
        rows_memory[i] = 2;
        rows_memory[DIMENSION + i] = 0;
        rows_memory[(size_t)2 * DIMENSION + i] = 1;
    }
    const void *array = rows_memory;
    struct vdb_rows rows = vdb_rows_of_array(&array, ROWS, DIMENSION, VDB_ELEMENT_U8, VDB_METRIC_L2);
    struct vdb_query query = {.vector = vector, .wide = true};
    struct vdb_candidate got[K_MAX];
    size_t count;
    search(&rows, &query, ROWS, NULL, got, &count);
    assert_int_equal(count, ROWS);
    assert_int_equal(got[0].row, 1); /* a tie with row 2 */
    assert_int_equal(got[1].row, 2);
    assert_int_equal(got[2].row, 0);
    assert_true(got[0].distance == DIMENSION / 4.0);
    assert_true(got[2].distance == DIMENSION * 9 / 4.0);
    free(rows_memory);
    free(vector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide_queries),
        cmocka_unit_test(test_long_rows),
    };
    print_message("seed %d\n", SEED);
    vdb_rng_init(&rng, SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
