/* test_flat_exact.c: one query over f32, f16 and bf16 against a naive loop in doubles over the numbers that the elements
 * stand for, to the bit: ids, order, ties, distances. Near-ties in the last bit, values whose squares underflow or
 * overflow f32, all metrics, filters that scan and that gather, a team of threads. The program runs itself again at
 * every lower level of VECDB_CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "distance/cpu.h"
#include "index/flat.h"

#ifdef VDB_SANITIZED
enum { COUNT = 300 };
#else
enum { COUNT = 800 };
#endif
enum { SEED_DEFAULT = 29, DIMENSION_MAX = 530, K = 20, TEAM_THREADS = 3, CHILD_FAILED = 99 };

static uint64_t seed = SEED_DEFAULT;
static struct vdb_rng rng;

static char rows_memory[COUNT * (DIMENSION_MAX * 4 + 2)];
static char query_memory[DIMENSION_MAX * 4];
static double wide_rows[COUNT][DIMENSION_MAX];
static double wide_query[DIMENSION_MAX];

/* ---- Numbers and their patterns ---- */

/* A pattern near `value`; which one does not matter. */
static uint32_t encode(vdb_element element, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (element == VDB_ELEMENT_F32) {
        return bits;
    }
    if (element == VDB_ELEMENT_BF16) {
        return bits >> 16;
    }
    const double most = fmin(fabs((double)value), 65504);
    const uint32_t sign = value < 0 ? 0x8000 : 0;
    if (most < 0x1p-14) {
        return sign | (uint32_t)(most * 0x1p24);
    }
    const int exponent = ilogb(most);
    return sign | (uint32_t)(exponent + 15) << 10 | ((uint32_t)ldexp(most, 10 - exponent) - 1024);
}

static double decode(vdb_element element, uint32_t pattern)
{
    float value;
    if (element == VDB_ELEMENT_F16) {
        int exponent = pattern >> 10 & 31;
        double number = exponent == 0 ? ldexp(pattern & 1023, -24)
                                      : ldexp(1024 + (int)(pattern & 1023), exponent - 25);
        return pattern & 0x8000 ? -number : number;
    }
    pattern <<= element == VDB_ELEMENT_BF16 ? 16 : 0;
    memcpy(&value, &pattern, sizeof value);
    return (double)value;
}

static void put(vdb_element element, char *vector, size_t i, uint32_t pattern)
{
    const uint16_t half = (uint16_t)pattern;
    if (element == VDB_ELEMENT_F32) {
        memcpy(vector + 4 * i, &pattern, 4);
    } else {
        memcpy(vector + 2 * i, &half, 2);
    }
}

enum fill { FILL_NORMAL, FILL_NEAR_TIES, FILL_SMALL, FILL_DUPLICATES, FILL_ROUNDING, FILL_COUNT };

/* Near ties: rows that differ from one vector in the last bit of a few elements. Rounding: rows share what is large, so
 * that sums in f32 round away what tells them apart. */
static void make_data(vdb_element element, size_t dimension, size_t stride_bytes, enum fill fill, float scale)
{
    uint32_t centre[DIMENSION_MAX];
    scale = fill == FILL_ROUNDING && scale > 1 ? scale / 256 : scale; /* what is large is larger still */
    for (size_t i = 0; i < dimension; i++) {
        float value = fill == FILL_SMALL ? (float)vdb_rng_below(&rng, 3) : vdb_rng_normal(&rng) * scale;
        put(element, query_memory, i, encode(element, value));
        wide_query[i] = decode(element, encode(element, value));
        centre[i] = encode(element, vdb_rng_normal(&rng) * scale * (fill == FILL_ROUNDING ? 30.0f : 1.0f));
    }
    for (size_t r = 0; r < COUNT; r++) {
        char *row = rows_memory + r * stride_bytes;
        if (r > 0 && fill == FILL_DUPLICATES && vdb_rng_below(&rng, 2) == 0) {
            memcpy(row, row - stride_bytes, vdb_vector_bytes(element, dimension));
            memcpy(wide_rows[r], wide_rows[r - 1], sizeof wide_rows[r]);
            continue;
        }
        for (size_t i = 0; i < dimension; i++) {
            uint32_t pattern = encode(element, fill == FILL_SMALL      ? (float)vdb_rng_below(&rng, 3)
                                               : fill == FILL_ROUNDING ? vdb_rng_normal(&rng) * scale * 1e-4f
                                                                       : vdb_rng_normal(&rng) * scale);
            if (fill == FILL_NEAR_TIES) {
                pattern = centre[i] ^ (uint32_t)(vdb_rng_below(&rng, 5) == 0);
            } else if (fill == FILL_ROUNDING && i % 4 == 0) {
                pattern = centre[i];
            }
            put(element, row, i, pattern);
            wide_rows[r][i] = decode(element, pattern);
        }
    }
}

/* ---- The oracle ---- */

/* The order of summation is the one that distance/wide.h fixes, written anew. */
static double sum_of(char kind, const double *a, const double *b, size_t dimension)
{
    double lane[16] = {0};
    for (size_t i = 0; i < dimension; i++) {
        double difference = a[i] - b[i];
        lane[i % 16] += kind == '*' ? a[i] * b[i] : kind == '2' ? difference * difference : fabs(difference);
    }
    for (size_t half = 8; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0];
}

static double distance_of(vdb_metric metric, const double *a, const double *b, size_t dimension)
{
    if (metric != VDB_METRIC_COSINE) {
        double sum = sum_of(metric == VDB_METRIC_L2 ? '2' : metric == VDB_METRIC_L1 ? '1' : '*', a, b, dimension);
        return metric == VDB_METRIC_DOT ? -sum : sum;
    }
    double aa = sum_of('*', a, a, dimension);
    double bb = sum_of('*', b, b, dimension);
    double cosine = aa == 0 || bb == 0 ? 1 : 1 - sum_of('*', a, b, dimension) / sqrt(aa * bb);
    return cosine < 0 ? 0 : cosine > 2 ? 2 : cosine;
}

static int compare(const void *a, const void *b)
{
    const struct vdb_candidate *x = a;
    const struct vdb_candidate *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return x->row < y->row ? -1 : 1;
}

static void expect(const struct vdb_rows *rows, const char *how, struct vdb_topk *topk,
                   const struct vdb_candidate *want, size_t found)
{
    vdb_topk_finish(topk);
    assert_int_equal(topk->count, found < topk->k ? found : topk->k);
    for (size_t i = 0; i < topk->count; i++) {
        if (topk->heap[i].row != want[i].row || topk->heap[i].distance != want[i].distance) {
            fail_msg("place %zu of %zu, %s: row %" PRIu32 " at %.17g, want row %" PRIu32
                     " at %.17g (dimension %zu, "
                     "%s, %s, level %s, seed %" PRIu64 "; VDB_TEST_SEED repeats it)",
                     i, topk->count, how, topk->heap[i].row, topk->heap[i].distance, want[i].row,
                     want[i].distance, rows->dimension, vdb_element_name(rows->element),
                     vdb_metric_name(rows->metric), vdb_cpu_level_name(vdb_kernels_get()->level), seed);
        }
    }
}

/* One query without a filter, with one that gathers, one that scans, and by a team. */
static void check_search(const struct vdb_rows *rows, struct vdb_flat_team *team)
{
    static const unsigned of_eight[] = {8, 1, 6}; /* rows allowed */
    static const char *const names[] = {"all rows", "one of 8", "six of 8"};
    static struct vdb_candidate all[COUNT], want[COUNT];
    struct vdb_candidate heap[K];
    struct vdb_topk topk;
    for (uint32_t r = 0; r < COUNT; r++) {
        all[r].distance = distance_of(rows->metric, wide_query, wide_rows[r], rows->dimension);
        all[r].row = r;
    }
    qsort(all, COUNT, sizeof *all, compare);
    for (size_t f = 0; f < sizeof of_eight / sizeof of_eight[0]; f++) {
        struct vdb_bitset allow;
        size_t found = 0;
        assert_true(vdb_bitset_init(&allow, COUNT));
        for (size_t r = 0; r < COUNT; r++) {
            if (vdb_rng_below(&rng, 8) < of_eight[f]) {
                vdb_bitset_set(&allow, r);
            }
        }
        for (size_t i = 0; i < COUNT; i++) {
            if (vdb_bitset_test(&allow, all[i].row)) {
                want[found++] = all[i];
            }
        }
        struct vdb_query query = {.vector = query_memory, .allow = f == 0 ? NULL : &allow};
        vdb_topk_init(&topk, heap, K);
        assert_int_equal(vdb_index_flat.search(NULL, rows, &query, &topk, NULL), VDB_OK);
        expect(rows, names[f], &topk, want, found);
        vdb_topk_init(&topk, heap, K);
        assert_int_equal(vdb_flat_team_search(team, rows, &query, &topk, NULL), VDB_OK);
        expect(rows, "by a team", &topk, want, found);
        vdb_bitset_fini(&allow);
    }
}

/* ---- Tests ---- */

static void check_element(vdb_element element)
{
    const size_t dimensions[] = {1, 37, 128, 529};
    /* Of f32 and bf16: squares that vanish, denormals, squares that overflow. Of f16: denormals, the greatest. */
    const float scales[2][4] = {{1, 1e-30f, 1e-41f, 3e37f}, {1, 1e-3f, 1e-6f, 2e4f}};
    struct vdb_flat_team *team;
    struct vdb_err err = {0};
    assert_int_equal(vdb_flat_team_create(TEAM_THREADS, K, &team, &err), VDB_OK);
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        for (unsigned round = 0; round < 4 * FILL_COUNT; round++) {
            const size_t stride = vdb_vector_bytes(element, dimensions[d]) + (round % 3 == 0 ? 2 : 0);
            const void *array = rows_memory;
            if (round % FILL_COUNT == FILL_SMALL && round / FILL_COUNT > 0) {
                continue; /* whole numbers have no scale */
            }
            make_data(element, dimensions[d], stride, (enum fill)(round % FILL_COUNT),
                      scales[element == VDB_ELEMENT_F16][round / FILL_COUNT]);
            for (unsigned metric = 0; metric <= VDB_METRIC_L1; metric++) {
                struct vdb_rows rows = vdb_rows_of_array(&array, COUNT, dimensions[d], element,
                                                         (vdb_metric)metric);
                rows.stride_bytes = stride;
                check_search(&rows, team);
            }
        }
    }
    vdb_flat_team_destroy(team);
}

static void test_f32_answers_are_those_of_doubles(void **state)
{
    (void)state;
    check_element(VDB_ELEMENT_F32);
}

static void test_f16_answers_are_those_of_doubles(void **state)
{
    (void)state;
    check_element(VDB_ELEMENT_F16);
}

static void test_bf16_answers_are_those_of_doubles(void **state)
{
    (void)state;
    check_element(VDB_ELEMENT_BF16);
}

/* F2 for 16-bit elements, whose dot is bounded by lengths that are not finite here. */
static void test_halves_that_are_not_finite_come_last(void **state)
{
    (void)state;
    const uint16_t one[2] = {0x3C00, 0x3F80};
    const uint16_t nan[2] = {0x7E00, 0x7FC0};
    for (unsigned run = 0; run < 2 * (VDB_METRIC_L1 + 1); run++) {
        const unsigned kind = run % 2;
        for (size_t bad = 0; bad < 5; bad++) {
            uint16_t memory[5][2];
            const uint16_t query_vector[2] = {one[kind], one[kind]};
            const void *array = memory;
            struct vdb_candidate heap[5];
            struct vdb_topk topk;
            for (size_t r = 0; r < 5; r++) {
                memory[r][0] = r == bad ? nan[kind] : one[kind];
                memory[r][1] = (uint16_t)(one[kind] + r);
            }
            struct vdb_rows rows = vdb_rows_of_array(&array, 5, 2, kind ? VDB_ELEMENT_BF16 : VDB_ELEMENT_F16,
                                                     (vdb_metric)(run / 2));
            struct vdb_query query = {.vector = query_vector};
            vdb_topk_init(&topk, heap, 5);
            assert_int_equal(vdb_index_flat.search(NULL, &rows, &query, &topk, NULL), VDB_OK);
            vdb_topk_finish(&topk);
            assert_int_equal(topk.count, 5);
            assert_int_equal(heap[4].row, bad);
            assert_true(heap[4].distance == (double)INFINITY && heap[3].distance < 3);
        }
    }
}

/* This program again at each level below the present one. */
static void test_every_lower_level(void **state)
{
    (void)state;
    vdb_cpu_level top = vdb_kernels_get()->level;
    if (getenv("VDB_TEST_CHILD") != NULL) {
        skip();
    }
    for (unsigned level = 0; level < (unsigned)top; level++) {
        if (!vdb_cpu_runs(top, (vdb_cpu_level)level)) {
            continue;
        }
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            setenv("VECDB_CPU", vdb_cpu_level_name((vdb_cpu_level)level), 1);
            setenv("VDB_TEST_CHILD", "1", 1);
            execl("/proc/self/exe", "test_flat_exact", (char *)NULL);
            _exit(CHILD_FAILED);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fail_msg("at level %s: status %d", vdb_cpu_level_name((vdb_cpu_level)level), status);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32_answers_are_those_of_doubles),
        cmocka_unit_test(test_f16_answers_are_those_of_doubles),
        cmocka_unit_test(test_bf16_answers_are_those_of_doubles),
        cmocka_unit_test(test_halves_that_are_not_finite_come_last),
        cmocka_unit_test(test_every_lower_level),
    };
    const char *text = getenv("VDB_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : SEED_DEFAULT;
    vdb_rng_init(&rng, seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
