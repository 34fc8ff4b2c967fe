/* test_flat.c: flat search against an oracle that sorts all distances: k below, at and above the row count, ties,
 * tie rules, filters of every shape, chunked rows, counters, teams of threads, and what `check` finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/pool.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "index/flat.h"

enum { SEED_DEFAULT = 7 };

static uint64_t seed = SEED_DEFAULT;

/* ---- Data ---- */

struct data {
    struct vdb_rows rows; /* one array */
    const void *array;
    char *memory;
    char *query;
};

/* Small integers, so that equal distances are common. */
static void fill(char *at, vdb_element element, size_t dimension, struct vdb_rng *rng)
{
    for (size_t i = 0; i < dimension; i++) {
        int value = (int)vdb_rng_below(rng, 4);
        if (element == VDB_ELEMENT_F32) {
            float f = (float)value;
            memcpy(at + i * sizeof f, &f, sizeof f);
        } else if (element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_BF16) {
            static const uint16_t numbers[2][4] = {{0, 0x3C00, 0x4000, 0x4200}, {0, 0x3F80, 0x4000, 0x4040}};
            memcpy(at + 2 * i, &numbers[element == VDB_ELEMENT_BF16][value], 2);
        } else if (element == VDB_ELEMENT_BIT) {
            char bit = (char)(0x80 >> i % 8);
            at[i / 8] = (char)(value % 2 != 0 ? at[i / 8] | bit : at[i / 8] & ~bit);
        } else {
            at[i] = (char)value;
        }
    }
}

static struct data *data_create(size_t count, size_t dimension, vdb_element element, vdb_metric metric,
                                struct vdb_rng *rng)
{
    struct data *data = calloc(1, sizeof *data);
    assert_non_null(data);
    size_t bytes = vdb_vector_bytes(element, dimension);
    data->memory = calloc(1, count * bytes + 1);
    data->query = calloc(1, bytes);
    assert_true(data->memory != NULL && data->query != NULL);
    for (size_t i = 0; i < count; i++) {
        fill(data->memory + i * bytes, element, dimension, rng);
    }
    fill(data->query, element, dimension, rng);
    data->array = data->memory;
    data->rows = vdb_rows_of_array(&data->array, count, dimension, element, metric);
    return data;
}

static void data_destroy(struct data *data)
{
    free(data->memory);
    free(data->query);
    free(data);
}

/* ---- The oracle: all allowed rows, sorted ---- */

static vdb_tie_fn *oracle_tie;

static bool lower_row_first(void *ctx, uint32_t a, uint32_t b)
{
    (void)ctx;
    return a < b;
}

static bool higher_row_first(void *ctx, uint32_t a, uint32_t b)
{
    (void)ctx;
    return a > b;
}

static int compare(const void *a, const void *b)
{
    const struct vdb_candidate *x = a;
    const struct vdb_candidate *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return oracle_tie(NULL, x->row, y->row) ? -1 : 1;
}

static size_t oracle(const struct data *data, const struct vdb_bitset *allow, vdb_tie_fn *tie,
                     struct vdb_candidate *out)
{
    const struct vdb_rows *rows = &data->rows;
    vdb_distance_fn *distance = vdb_kernels_get()->one[rows->element][rows->metric];
    size_t found = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (allow == NULL || vdb_bitset_test(allow, i)) {
            out[found].distance = distance(data->query, vdb_rows_at(rows, i), rows->dimension);
            out[found++].row = (uint32_t)i;
        }
    }
    oracle_tie = tie != NULL ? tie : lower_row_first;
    qsort(out, found, sizeof *out, compare);
    return found;
}

/* Half of a word's rows allowed: all 64 are computed; fewer: only those. */
static size_t expected_distances(size_t count, const struct vdb_bitset *allow)
{
    size_t sum = 0;
    for (size_t begin = 0; begin < count; begin += 64) {
        size_t end = begin + 64 < count ? begin + 64 : count;
        size_t allowed = 0;
        for (size_t i = begin; i < end; i++) {
            allowed += allow == NULL || vdb_bitset_test(allow, i);
        }
        sum += allow == NULL || allowed >= 32 ? end - begin : allowed;
    }
    return sum;
}

/* One search over `rows` (the data's own or another view of it) against the oracle. */
static void check_search(const struct data *data, const struct vdb_rows *rows, const struct vdb_bitset *allow,
                         vdb_tie_fn *tie, size_t k)
{
    struct vdb_candidate *want = malloc((rows->count + 1) * sizeof *want);
    struct vdb_candidate *memory = malloc(k * sizeof *memory);
    assert_true(want != NULL && memory != NULL);
    size_t found = oracle(data, allow, tie, want);
    struct vdb_topk topk;
    vdb_topk_init(&topk, memory, k);
    topk.tie = tie;
    struct vdb_search_counters counters = {1000, 2000}; /* added to, never reset */
    struct vdb_query query = {.vector = data->query, .allow = allow, .counters = &counters};
    struct vdb_err err = {0};
    assert_int_equal(vdb_index_flat.search(NULL, rows, &query, &topk, &err), VDB_OK);
    vdb_topk_finish(&topk);
    assert_int_equal(topk.count, found < k ? found : k);
    for (size_t i = 0; i < topk.count; i++) {
        if (topk.heap[i].row != want[i].row || topk.heap[i].distance != want[i].distance) {
            fail_msg("place %zu of %zu: got row %" PRIu32 " at %g, want row %" PRIu32 " at %g (%zu rows, k %zu, "
                     "dimension %zu, %s, %s, seed %" PRIu64 "; VDB_TEST_SEED repeats it)",
                     i, topk.count, topk.heap[i].row, topk.heap[i].distance, want[i].row, want[i].distance,
                     rows->count, k, rows->dimension, vdb_element_name(rows->element),
                     vdb_metric_name(rows->metric), seed);
        }
    }
    assert_int_equal(counters.rows_visited, 1000 + found);
    assert_int_equal(counters.distances_computed, 2000 + expected_distances(rows->count, allow));
    free(want);
    free(memory);
}

/* ---- Filters ---- */

enum shape {
    SHAPE_NONE,
    SHAPE_ALL,
    SHAPE_FIRST,
    SHAPE_LAST,
    SHAPE_SPARSE,
    SHAPE_QUARTER,
    SHAPE_HALF,
    SHAPE_DENSE,
    SHAPE_RUNS,
    SHAPE_ALTERNATING,
    SHAPE_MIXED, /* words of every density beside each other */
    SHAPE_COUNT
};

/* `slack` bits past the rows are set: they must mean nothing. */
static struct vdb_bitset filter(enum shape shape, size_t count, size_t slack, struct vdb_rng *rng)
{
    struct vdb_bitset set;
    assert_true(vdb_bitset_init(&set, count + slack));
    for (size_t i = 0; i < count; i++) {
        bool on = shape == SHAPE_ALL || (shape == SHAPE_FIRST && i == 0) ||
                  (shape == SHAPE_LAST && i + 1 == count) ||
                  (shape == SHAPE_SPARSE && vdb_rng_below(rng, 100) == 0) ||
                  (shape == SHAPE_QUARTER && vdb_rng_below(rng, 4) == 0) ||
                  (shape == SHAPE_HALF && vdb_rng_below(rng, 2) == 0) ||
                  (shape == SHAPE_DENSE && vdb_rng_below(rng, 50) != 0) ||
                  (shape == SHAPE_RUNS && i / 90 % 2 == 1) || (shape == SHAPE_ALTERNATING && i % 2 == 1) ||
                  (shape == SHAPE_MIXED && vdb_rng_below(rng, 4) < i / 64 % 5);
        if (on) {
            vdb_bitset_set(&set, i);
        }
    }
    for (size_t i = count; i < count + slack; i++) {
        vdb_bitset_set(&set, i);
    }
    return set;
}

static const size_t counts[] = {0, 1, 2, 63, 64, 65, 127, 128, 200, 256, 257, 700, 3000};

/* ---- Tests ---- */

static int setup(void **state)
{
    static struct vdb_rng rng;
    const char *text = getenv("VDB_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : SEED_DEFAULT;
    vdb_rng_init(&rng, seed);
    *state = &rng;
    return 0;
}

static void test_every_k_element_and_metric(void **state)
{
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (unsigned kind = 0; kind < VDB_ELEMENT_COUNT * VDB_METRIC_COUNT; kind++) {
            if (!vdb_metric_fits((vdb_element)(kind / VDB_METRIC_COUNT), (vdb_metric)(kind % VDB_METRIC_COUNT))) {
                continue;
            }
            struct data *data = data_create(counts[c], 1 + c % 5, (vdb_element)(kind / VDB_METRIC_COUNT),
                                            (vdb_metric)(kind % VDB_METRIC_COUNT), *state);
            const size_t ks[] = {1, 10, counts[c] + 1, counts[c], counts[c] + 100};
            for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
                check_search(data, &data->rows, NULL, NULL, ks[i] > 0 ? ks[i] : 1);
            }
            data_destroy(data);
        }
    }
}

static void test_ties(void **state)
{
    struct data *data = data_create(500, 1, VDB_ELEMENT_U8, VDB_METRIC_L2, *state); /* 4 distances, 500 rows */
    for (size_t k = 1; k <= 500; k += 83) {
        check_search(data, &data->rows, NULL, NULL, k);
        check_search(data, &data->rows, NULL, lower_row_first, k);
        check_search(data, &data->rows, NULL, higher_row_first, k);
    }
    data_destroy(data);
}

static void test_filters_of_every_shape(void **state)
{
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct data *data = data_create(counts[c], 3, VDB_ELEMENT_F32, VDB_METRIC_L2, *state);
        for (unsigned i = 0; i < 2 * SHAPE_COUNT; i++) {
            struct vdb_bitset allow = filter((enum shape)(i / 2), counts[c], i % 2 * 70, *state);
            for (size_t k = 1; k < 1000; k = k * 5 + 2) {
                check_search(data, &data->rows, &allow, NULL, k);
                check_search(data, &data->rows, &allow, higher_row_first, k);
            }
            vdb_bitset_fini(&allow);
        }
        data_destroy(data);
    }
}

/* The same rows in chunks of 1, 2, 8, 64 and 512, with padded strides, answer as the plain array does. */
static void test_chunked_rows_answer_as_one_array(void **state)
{
    const unsigned shifts[] = {0, 1, 3, 6, 9};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct data *data = data_create(counts[c], 3, VDB_ELEMENT_F32, VDB_METRIC_COSINE, *state);
        for (size_t s = 0; s < sizeof shifts / sizeof shifts[0]; s++) {
            struct vdb_rows rows = data->rows;
            size_t chunk_rows = (size_t)1 << shifts[s];
            size_t chunk_count = (counts[c] + chunk_rows - 1) / chunk_rows;
            size_t row_bytes = rows.stride_bytes;
            const void **chunks = calloc(chunk_count + 1, sizeof *chunks);
            assert_non_null(chunks);
            rows.chunks = chunks;
            rows.chunk_shift = shifts[s];
            rows.stride_bytes = row_bytes + 5;
            for (size_t i = 0; i < chunk_count; i++) {
                char *chunk = malloc(chunk_rows * rows.stride_bytes); /* its own, so that a run past it is seen */
                assert_non_null(chunk);
                for (size_t r = 0; r < chunk_rows && i * chunk_rows + r < counts[c]; r++) {
                    memcpy(chunk + r * rows.stride_bytes, data->memory + (i * chunk_rows + r) * row_bytes,
                           row_bytes);
                }
                chunks[i] = chunk;
            }
            struct vdb_err err = {0};
            assert_int_equal(vdb_index_flat.check(NULL, &rows, &err), VDB_OK);
            check_search(data, &rows, NULL, NULL, 20);
            for (unsigned shape = 0; shape < SHAPE_COUNT; shape++) {
                struct vdb_bitset allow = filter((enum shape)shape, counts[c], 1, *state);
                check_search(data, &rows, &allow, NULL, 20);
                vdb_bitset_fini(&allow);
            }
            for (size_t i = 0; i < chunk_count; i++) {
                free((void *)(uintptr_t)chunks[i]);
            }
            free(chunks);
        }
        data_destroy(data);
    }
}

/* F2: a NaN among the rows comes last, wherever it stands, and breaks nothing. */
static void test_a_nan_row_comes_last(void **state)
{
    (void)state;
    for (size_t bad = 0; bad < 5; bad++) {
        float memory[5] = {3, 1, 2, 0, 4};
        memory[bad] = NAN;
        const void *array = memory;
        struct vdb_rows rows = vdb_rows_of_array(&array, 5, 1, VDB_ELEMENT_F32, VDB_METRIC_L2);
        float vector = 0;
        struct vdb_query query = {.vector = &vector}; /* without counters */
        struct vdb_candidate heap[5];
        for (size_t k = 1; k <= 5; k++) {
            struct vdb_topk topk;
            vdb_topk_init(&topk, heap, k);
            assert_int_equal(vdb_index_flat.search(NULL, &rows, &query, &topk, NULL), VDB_OK);
            vdb_topk_finish(&topk);
            assert_int_equal(topk.count, k);
            for (size_t i = 0; i < k; i++) {
                assert_false(isnan(heap[i].distance));
                assert_int_equal(heap[i].row == bad, i == 4);
                assert_true(i == 0 || heap[i - 1].distance < heap[i].distance);
            }
        }
    }
}

/* Rows so far apart that a piece of a team's work is one word of them: many pieces, with ties across all. */
static void test_teams_answer_as_one_thread(void **state)
{
    enum { COUNT = 1000, STRIDE_BYTES = 1 << 16, K_MAX = 500 };
    const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_U8};
    const vdb_metric metrics[] = {VDB_METRIC_L2, VDB_METRIC_DOT, VDB_METRIC_COSINE};
    char *far = calloc(COUNT, STRIDE_BYTES);
    assert_non_null(far);
    const void *chunk = far;
    for (unsigned threads = 1; threads <= 5; threads += 2) {
        struct vdb_flat_team *team;
        struct vdb_err err = {0};
        assert_int_equal(vdb_flat_team_create(threads, K_MAX, &team, &err), VDB_OK);
        assert_int_equal(vdb_flat_team_threads(team), threads);
        for (unsigned round = 0; round < 2 * 3 * SHAPE_COUNT; round++) {
            const vdb_metric metric = metrics[round / 2 % 3];
            struct data *data = data_create(COUNT, 3, elements[round % 2], metric, *state);
            const size_t row_bytes = vdb_vector_bytes(data->rows.element, 3);
            for (size_t i = 0; i < COUNT; i++) {
                memcpy(far + i * STRIDE_BYTES, data->memory + i * row_bytes, row_bytes);
            }
            struct vdb_rows rows = data->rows;
            rows.chunks = &chunk;
            rows.stride_bytes = STRIDE_BYTES;
            rows.count = COUNT - round; /* the last word is not whole */
            struct vdb_bitset allow = filter((enum shape)(round / 6), COUNT, 0, *state);
            struct vdb_candidate want_memory[K_MAX], got_memory[K_MAX];
            struct vdb_search_counters want_counters = {0}, got_counters = {0};
            struct vdb_topk want, got;
            vdb_topk_init(&want, want_memory, 1 + round * 7);
            vdb_topk_init(&got, got_memory, 1 + round * 7);
            want.tie = got.tie = round % 4 < 2 ? NULL : higher_row_first;
            struct vdb_query query = {.vector = data->query,
                                      .allow = round / 6 == SHAPE_NONE ? NULL : &allow,
                                      .counters = &want_counters};
            assert_int_equal(vdb_index_flat.search(NULL, &rows, &query, &want, &err), VDB_OK);
            query.counters = &got_counters;
            assert_int_equal(vdb_flat_team_search(team, &rows, &query, &got, &err), VDB_OK);
            vdb_topk_finish(&want);
            vdb_topk_finish(&got);
            assert_int_equal(got.count, want.count);
            for (size_t i = 0; i < want.count; i++) {
                assert_int_equal(got_memory[i].row, want_memory[i].row);
                assert_true(got_memory[i].distance == want_memory[i].distance);
            }
            assert_int_equal(got_counters.rows_visited, want_counters.rows_visited);
            assert_int_equal(got_counters.distances_computed, want_counters.distances_computed);
            vdb_bitset_fini(&allow);
            data_destroy(data);
        }
        vdb_flat_team_destroy(team);
    }
    free(far);
}

static void test_teams_name_what_they_cannot(void **state)
{
    (void)state;
    struct vdb_flat_team *team;
    struct vdb_err err = {0};
    assert_int_equal(vdb_flat_team_create(VDB_POOL_THREADS_MAX + 1, 1, &team, &err), VDB_LIMIT);
    assert_null(team);
    assert_non_null(strstr(err.text, "threads: 1025"));
    assert_int_equal(vdb_flat_team_create(2, (size_t)VDB_LIMIT_COLLECTION_POINTS_MAX + 1, &team, &err),
                     VDB_LIMIT);
    assert_null(team);
    assert_non_null(strstr(err.text, "k: 1073741825"));
    assert_int_equal(vdb_flat_team_create(2, 3, &team, &err), VDB_OK);
    const float row = 1;
    const void *array = &row;
    struct vdb_candidate memory[3];
    struct vdb_topk topk;
    vdb_topk_init(&topk, memory, 3);
    struct vdb_query query = {.vector = &row};
    struct vdb_rows rows = vdb_rows_of_array(&array, 0, 1, VDB_ELEMENT_F32, VDB_METRIC_L2);
    assert_int_equal(vdb_flat_team_search(team, &rows, &query, &topk, &err), VDB_OK);
    assert_int_equal(topk.count, 0);
    rows.count = (size_t)VDB_LIMIT_COLLECTION_POINTS_MAX + 1;
    assert_int_equal(vdb_flat_team_search(team, &rows, &query, &topk, &err), VDB_LIMIT);
    vdb_flat_team_destroy(team);
    vdb_flat_team_destroy(NULL);
}

static void test_rows_over_the_limit_are_refused(void **state)
{
    (void)state;
    float vector = 0;
    const void *array = &vector;
    struct vdb_rows rows = vdb_rows_of_array(&array, (size_t)VDB_LIMIT_COLLECTION_POINTS_MAX + 1, 1,
                                             VDB_ELEMENT_F32, VDB_METRIC_L2);
    struct vdb_query query = {.vector = &vector};
    struct vdb_candidate heap[1];
    struct vdb_topk topk;
    vdb_topk_init(&topk, heap, 1);
    struct vdb_err err = {0};
    assert_int_equal(vdb_index_flat.search(NULL, &rows, &query, &topk, &err), VDB_LIMIT);
    assert_non_null(strstr(err.text, "1073741825"));
    assert_non_null(strstr(err.text, "1073741824"));
}

static void expect_broken(const struct vdb_rows *rows, const char *word)
{
    struct vdb_err err = {0};
    assert_int_equal(vdb_index_flat.check(NULL, rows, &err), VDB_CORRUPT);
    if (strstr(err.text, word) == NULL) {
        fail_msg("\"%s\" does not name %s", err.text, word);
    }
}

static void test_check_names_what_is_broken(void **state)
{
    struct data *data = data_create(10, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, *state);
    struct vdb_err err = {0};
    assert_int_equal(vdb_index_flat.check(NULL, &data->rows, &err), VDB_OK);
    struct vdb_rows rows = data->rows;
    rows.dimension = 0;
    expect_broken(&rows, "dimension: 0");
    rows.dimension = VDB_LIMIT_DIMENSION_MAX + 1;
    expect_broken(&rows, "dimension: 65537");
    rows = data->rows;
    rows.stride_bytes = 15;
    expect_broken(&rows, "stride_bytes: 15");
    rows = data->rows;
    rows.element = VDB_ELEMENT_COUNT;
    expect_broken(&rows, "element: 6");
    rows = data->rows;
    rows.metric = VDB_METRIC_COUNT;
    expect_broken(&rows, "metric: 6");
    rows = data->rows;
    rows.metric = VDB_METRIC_HAMMING;
    expect_broken(&rows, "metric: hamming does not compare");
    rows.element = VDB_ELEMENT_BIT;
    rows.metric = VDB_METRIC_L2;
    expect_broken(&rows, "metric: l2 does not compare vectors of bit");
    rows = data->rows;
    rows.chunk_shift = 64;
    expect_broken(&rows, "chunk_shift: 64");
    rows = data->rows;
    rows.count = (size_t)VDB_LIMIT_COLLECTION_POINTS_MAX + 1;
    expect_broken(&rows, "count: 1073741825");
    rows = data->rows;
    rows.chunks = NULL;
    expect_broken(&rows, "chunks");
    rows.count = 0;
    assert_int_equal(vdb_index_flat.check(NULL, &rows, &err), VDB_OK); /* an empty view needs none */
    const void *chunks[] = {data->memory, data->memory, NULL};
    rows = data->rows;
    rows.chunks = chunks;
    rows.chunk_shift = 2; /* 10 rows: three chunks */
    expect_broken(&rows, "chunk 2 of 3");
    rows.count = 8;
    assert_int_equal(vdb_index_flat.check(NULL, &rows, &err), VDB_OK);
    data_destroy(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_k_element_and_metric),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_filters_of_every_shape),
        cmocka_unit_test(test_chunked_rows_answer_as_one_array),
        cmocka_unit_test(test_a_nan_row_comes_last),
        cmocka_unit_test(test_teams_answer_as_one_thread),
        cmocka_unit_test(test_teams_name_what_they_cannot),
        cmocka_unit_test(test_rows_over_the_limit_are_refused),
        cmocka_unit_test(test_check_names_what_is_broken),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
