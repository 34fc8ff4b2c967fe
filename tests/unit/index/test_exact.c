/* test_exact.c: batch search against a naive oracle in double precision, to the bit: ids, order, ties, distances.
 * Random shapes, all elements and metrics, near-ties in the last bit, tiny and huge values, blocks of odd sizes,
 * 1 to 3 threads, radius searches. The program runs itself again at every lower level of VECDB_CPU.
 */
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
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "index/exact.h"

#ifdef VDB_SANITIZED
enum { ROUNDS = 48 }; /* a sanitized scalar run takes twenty times as long */
#else
enum { ROUNDS = 260 };
#endif
enum { SEED_DEFAULT = 11, CHILD_FAILED = 99 };

static uint64_t seed = SEED_DEFAULT;
static struct vdb_rng rng;

/* ---- Data ---- */

enum fill {
    FILL_NORMAL,
    FILL_SMALL,     /* integers 0 to 2: ties and duplicates everywhere */
    FILL_NEAR_TIES, /* one vector, each row off it by a last bit in a few places */
    FILL_TINY,      /* about 1e-30: squares vanish in f32 */
    FILL_DENORMAL,
    FILL_HUGE,   /* squares overflow f32 */
    FILL_MIXED,  /* rows of every magnitude, zero vectors among them */
    FILL_OFFSET, /* far from the origin, close to each other */
    FILL_WHOLE,  /* whole numbers 0 to 255: 8-bit codes lose nothing */
    FILL_STRAY,  /* the same, and now and then one that breaks the rule */
    FILL_SPIKES, /* one element dwarfs the others: 8-bit codes lose nearly everything */
    FILL_COUNT
};

static const char *const fill_names[FILL_COUNT] = {"normal", "small",  "near ties", "tiny",  "denormal", "huge",
                                                   "mixed",  "offset", "whole",     "stray", "spikes"};

struct data {
    size_t row_count, query_count, dimension, stride_bytes;
    vdb_element element;
    vdb_metric metric;
    enum fill fill;
    char *rows, *queries;             /* of `element` */
    double *wide_rows, *wide_queries; /* the same numbers, dense */
};

static float float_of(enum fill fill, const float *centre, size_t i, float magnitude)
{
    float x = vdb_rng_normal(&rng);
    switch (fill) {
    case FILL_SMALL:
        return (float)vdb_rng_below(&rng, 3);
    case FILL_NEAR_TIES:
        return vdb_rng_below(&rng, 8) == 0 ? nextafterf(centre[i], vdb_rng_below(&rng, 2) ? 9e9f : -9e9f)
                                           : centre[i];
    case FILL_TINY:
        return x * 1e-30f;
    case FILL_DENORMAL:
        return x * 1e-41f;
    case FILL_HUGE:
        return x * 3e37f;
    case FILL_MIXED:
        return x * magnitude;
    case FILL_OFFSET:
        return 1000 + x * 0.01f;
    case FILL_STRAY:
        if (vdb_rng_below(&rng, 400) == 0) {
            return x * 1000;
        }
        return (float)vdb_rng_below(&rng, 256);
    case FILL_WHOLE:
        return (float)vdb_rng_below(&rng, 256);
    case FILL_SPIKES:
        return i == 1 ? x * 1e4f : x;
    default:
        return x;
    }
}

/* The nearest f16 or bf16 is not needed: any pattern that is finite will do. */
static void put(struct data *data, char *at, double *wide, size_t i, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (data->element == VDB_ELEMENT_F32) {
        memcpy(at + 4 * i, &value, 4);
        wide[i] = (double)value;
    } else if (data->element == VDB_ELEMENT_BF16) {
        uint16_t half = (uint16_t)(bits >> 16);
        uint32_t back = (uint32_t)half << 16;
        float number;
        memcpy(at + 2 * i, &half, 2);
        memcpy(&number, &back, 4);
        wide[i] = (double)number;
    } else if (data->element == VDB_ELEMENT_F16) {
        uint16_t half = (uint16_t)(vdb_rng_below(&rng, 2) << 15 |
                                   vdb_rng_below(&rng, data->fill == FILL_SMALL ? 3 : 31) << 10 |
                                   (data->fill == FILL_SMALL ? 0 : vdb_rng_below(&rng, 1024)));
        int exponent = half >> 10 & 31;
        double number = exponent == 0 ? ldexp(half & 1023, -24) : ldexp(1024 + (half & 1023), exponent - 25);
        memcpy(at + 2 * i, &half, 2);
        wide[i] = half & 0x8000 ? -number : number;
    } else if (data->element == VDB_ELEMENT_BIT) {
        bool on = data->fill == FILL_MIXED ? vdb_rng_below(&rng, 16) == 0 : vdb_rng_below(&rng, 2) == 1;
        at[i / 8] = (char)(at[i / 8] | (on ? 0x80 >> i % 8 : 0));
        wide[i] = on;
    } else {
        unsigned byte = data->fill == FILL_SMALL ? (unsigned)value : (unsigned)vdb_rng_below(&rng, 256);
        byte = data->fill == FILL_HUGE ? (data->element == VDB_ELEMENT_U8 ? 255 - byte % 2 : 128 + byte % 2)
                                       : byte;
        at[i] = (char)byte;
        wide[i] = data->element == VDB_ELEMENT_U8 ? (double)(uint8_t)byte : (double)(int8_t)(uint8_t)byte;
    }
}

static void fill_vectors(struct data *data, char *at, double *wide, size_t count, size_t stride,
                         const float *centre)
{
    for (size_t v = 0; v < count; v++) {
        float magnitude = ldexpf(1, (int)vdb_rng_below(&rng, 240) - 120);
        magnitude = vdb_rng_below(&rng, 10) == 0 ? 0 : magnitude;
        for (size_t i = 0; i < data->dimension; i++) {
            put(data, at + v * stride, wide + v * data->dimension, i, float_of(data->fill, centre, i, magnitude));
        }
        if (v > 0 && vdb_rng_below(&rng, 10) == 0) { /* a duplicate */
            size_t from = (size_t)vdb_rng_below(&rng, v);
            memcpy(at + v * stride, at + from * stride, vdb_vector_bytes(data->element, data->dimension));
            memcpy(wide + v * data->dimension, wide + from * data->dimension, data->dimension * sizeof *wide);
        }
    }
}

static struct data data_create(size_t row_count, size_t query_count, size_t dimension, vdb_element element,
                               vdb_metric metric, enum fill fill)
{
    struct data data = {.row_count = row_count,
                        .query_count = query_count,
                        .dimension = dimension,
                        .element = element,
                        .metric = metric,
                        .fill = fill};
    size_t bytes = vdb_vector_bytes(element, dimension);
    data.stride_bytes = bytes + (size_t)vdb_rng_below(&rng, 2) * 5; /* rows at odd addresses too */
    data.rows = calloc(row_count + 1, data.stride_bytes);
    data.queries = calloc(query_count + 1, bytes);
    data.wide_rows = calloc(row_count + 1, dimension * sizeof(double));
    data.wide_queries = calloc(query_count + 1, dimension * sizeof(double));
    float *centre = calloc(dimension, sizeof *centre);
    assert_true(data.rows && data.queries && data.wide_rows && data.wide_queries && centre);
    for (size_t i = 0; i < dimension; i++) {
        centre[i] = vdb_rng_normal(&rng);
    }
    fill_vectors(&data, data.rows, data.wide_rows, row_count, data.stride_bytes, centre);
    fill_vectors(&data, data.queries, data.wide_queries, query_count, bytes, centre);
    free(centre);
    return data;
}

static void data_fini(struct data *data)
{
    free(data->rows);
    free(data->queries);
    free(data->wide_rows);
    free(data->wide_queries);
}

/* ---- The oracle ---- */

/* The sum in the order that distance/wide.h fixes, written anew. Whole numbers come out exact in any order. */
static double sum_of(char kind, const double *a, const double *b, size_t dimension)
{
    double lane[16] = {0};
    for (size_t i = 0; i < dimension; i++) {
        double difference = a[i] - b[i];
        lane[i % 16] += kind == '*' ? a[i] * b[i] : kind == '2' ? difference * difference : fabs(difference);
    }
    double eight[8], four[4];
    for (size_t i = 0; i < 8; i++) {
        eight[i] = lane[i] + lane[i + 8];
    }
    for (size_t i = 0; i < 4; i++) {
        four[i] = eight[i] + eight[i + 4];
    }
    return (four[0] + four[2]) + (four[1] + four[3]);
}

static double oracle_distance(vdb_metric metric, const double *a, const double *b, size_t dimension)
{
    double dot = sum_of('*', a, b, dimension);
    double aa = sum_of('*', a, a, dimension);
    double bb = sum_of('*', b, b, dimension);
    double cosine;
    switch (metric) {
    case VDB_METRIC_L2:
        return sum_of('2', a, b, dimension);
    case VDB_METRIC_DOT:
        return -dot;
    case VDB_METRIC_L1:
    case VDB_METRIC_HAMMING:
        return sum_of('1', a, b, dimension);
    case VDB_METRIC_JACCARD:
        return aa + bb - dot == 0 ? 0 : 1 - dot / (aa + bb - dot);
    default:
        if (aa == 0 || bb == 0) {
            return 1;
        }
        cosine = 1 - dot / sqrt(aa * bb);
        return cosine < 0 ? 0 : cosine > 2 ? 2 : cosine;
    }
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

/* All rows of each query, sorted: [query][row]. */
static struct vdb_candidate *oracle(const struct data *data)
{
    struct vdb_candidate *all = malloc((data->query_count * data->row_count + 1) * sizeof *all);
    assert_non_null(all);
    for (size_t q = 0; q < data->query_count; q++) {
        struct vdb_candidate *of_query = all + q * data->row_count;
        for (size_t r = 0; r < data->row_count; r++) {
            of_query[r].row = (uint32_t)r;
            of_query[r].distance = oracle_distance(data->metric, data->wide_queries + q * data->dimension,
                                                   data->wide_rows + r * data->dimension, data->dimension);
        }
        qsort(of_query, data->row_count, sizeof *of_query, compare);
    }
    return all;
}

/* ---- One search against it ---- */

static void expect(const struct data *data, const struct vdb_exact *exact, const struct vdb_candidate *all,
                   const struct vdb_exact_options *options)
{
    for (size_t q = 0; q < data->query_count; q++) {
        const struct vdb_candidate *want = all + q * data->row_count;
        const struct vdb_candidate *got = vdb_exact_hits(exact, q);
        size_t count = data->row_count < options->k ? data->row_count : options->k;
        if (options->by_radius) {
            for (count = 0; count < data->row_count && want[count].distance <= options->radius; count++) {
            }
        }
        if (vdb_exact_count(exact, q) != count) {
            fail_msg("query %zu: %zu hits, want %zu", q, vdb_exact_count(exact, q), count);
        }
        for (size_t i = 0; i < count; i++) {
            if (got[i].row != want[i].row || got[i].distance != want[i].distance) {
                fail_msg("query %zu of %zu, place %zu of %zu: row %" PRIu32 " at %.17g, want row %" PRIu32
                         " at %.17g (%zu rows, dimension %zu, %s, %s, fill %s, %u threads, seed %" PRIu64
                         ", plan %d; VDB_TEST_SEED repeats it)",
                         q, data->query_count, i, count, got[i].row, got[i].distance, want[i].row,
                         want[i].distance, data->row_count, data->dimension, vdb_element_name(data->element),
                         vdb_metric_name(data->metric), fill_names[data->fill], options->threads, seed,
                         (int)options->plan);
            }
        }
    }
}

/* block: rows per feed; 0: all at once. Blocks go in from the last to the first when `backwards`. */
static void check_search(const struct data *data, const struct vdb_candidate *all,
                         const struct vdb_exact_options *options, size_t block, bool backwards)
{
    struct vdb_exact *exact;
    struct vdb_err err = {0};
    size_t bytes = vdb_vector_bytes(data->element, data->dimension);
    assert_int_equal(vdb_exact_create(data->queries, bytes, data->query_count, data->dimension, data->element,
                                      data->metric, options, &exact, &err),
                     VDB_OK);
    block = block == 0 ? data->row_count + 1 : block;
    size_t blocks = (data->row_count + block - 1) / block;
    for (size_t i = 0; i < blocks; i++) {
        size_t begin = (backwards ? blocks - 1 - i : i) * block;
        size_t count = data->row_count - begin < block ? data->row_count - begin : block;
        char *copy = malloc(count * data->stride_bytes -
                            (data->stride_bytes - bytes)); /* no byte past the last row */
        assert_non_null(copy);
        memcpy(copy, data->rows + begin * data->stride_bytes,
               count * data->stride_bytes - (data->stride_bytes - bytes));
        assert_int_equal(vdb_exact_feed(exact, copy, data->stride_bytes, count, (uint32_t)begin, &err), VDB_OK);
        free(copy);
    }
    assert_int_equal(vdb_exact_finish(exact, &err), VDB_OK);
    expect(data, exact, all, options);
    struct vdb_exact_stats stats;
    vdb_exact_get_stats(exact, &stats);
    assert_int_equal(stats.row_count, data->row_count);
    assert_int_equal(stats.threads, options->threads);
    assert_true(stats.rerank_per_query <= (double)data->row_count);
    vdb_exact_destroy(exact);
}

/* Mostly 8-bit codes: left alone, searches as small as these go by f32. */
static vdb_exact_plan any_plan(void)
{
    static const vdb_exact_plan plans[] = {VDB_EXACT_PLAN_AUTO, VDB_EXACT_PLAN_F32, VDB_EXACT_PLAN_INT8,
                                           VDB_EXACT_PLAN_INT8, VDB_EXACT_PLAN_AMX};
    return plans[vdb_rng_below(&rng, sizeof plans / sizeof plans[0])];
}

static void check_data(const struct data *data)
{
    struct vdb_candidate *all = oracle(data);
    const size_t ks[] = {1, 10, data->row_count, data->row_count + 5};
    for (size_t i = 0; i < 4; i++) {
        struct vdb_exact_options options = {
            .k = ks[i] > 0 ? ks[i] : 1, .threads = 1 + (unsigned)vdb_rng_below(&rng, 3), .plan = any_plan()};
        check_search(data, all, &options, (size_t)vdb_rng_below(&rng, 3) * (1 + (size_t)vdb_rng_below(&rng, 37)),
                     vdb_rng_below(&rng, 2));
    }
    struct vdb_exact_options options = {
        .by_radius = true, .threads = 1 + (unsigned)vdb_rng_below(&rng, 3), .plan = any_plan()};
    if (data->row_count > 0 && data->query_count > 0) {
        options.radius =
            all[vdb_rng_below(&rng, data->row_count)].distance; /* exactly a row's, and equal ones count */
    }
    check_search(data, all, &options, 0, false);
    options.radius = nextafter(options.radius, -(double)INFINITY);
    check_search(data, all, &options, 23, true);
    options.radius = (double)INFINITY;
    check_search(data, all, &options, 0, false);
    options.radius = -(double)INFINITY;
    check_search(data, all, &options, 0, false);
    free(all);
}

/* ---- Tests ---- */

static void test_random_shapes(void **state)
{
    (void)state;
    size_t large[] = {256, 768, 784, 1000};
    for (size_t round = 0; round < ROUNDS; round++) {
        vdb_element element = (vdb_element)(round % VDB_ELEMENT_COUNT);
        vdb_metric metric;
        do {
            metric = (vdb_metric)vdb_rng_below(&rng, VDB_METRIC_COUNT);
        } while (!vdb_metric_fits(element, metric));
        size_t dimension = round % 13 == 0 ? large[vdb_rng_below(&rng, 4)] : 1 + (size_t)vdb_rng_below(&rng, 130);
        struct data data = data_create((size_t)vdb_rng_below(&rng, 300), (size_t)vdb_rng_below(&rng, 80),
                                       dimension, element, metric, (enum fill)vdb_rng_below(&rng, FILL_COUNT));
        check_data(&data);
        data_fini(&data);
    }
}

/* Every fill under every metric of f32: where the bounds are put to the test. */
static void test_every_fill_and_metric_of_f32(void **state)
{
    (void)state;
    for (unsigned fill = 0; fill < FILL_COUNT; fill++) {
        for (unsigned metric = 0; metric <= VDB_METRIC_L1; metric++) {
            struct data data = data_create(ROUNDS, 33, 1 + (size_t)vdb_rng_below(&rng, 300), VDB_ELEMENT_F32,
                                           (vdb_metric)metric, (enum fill)fill);
            check_data(&data);
            data_fini(&data);
        }
    }
}

/* Many queries and few, so that blocks and slices are cut every way, all threads giving one answer. */
static void test_threads_and_cuts_do_not_show(void **state)
{
    (void)state;
    const size_t query_counts[] = {1, 31, 32, 33, 64, 65, 200, 700};
    for (size_t i = 0; i < sizeof query_counts / sizeof query_counts[0]; i++) {
        struct data data = data_create(260, query_counts[i], 20, i % 2 ? VDB_ELEMENT_F32 : VDB_ELEMENT_U8,
                                       VDB_METRIC_L2, i % 3 ? FILL_NORMAL : FILL_SMALL);
        struct vdb_candidate *all = oracle(&data);
        for (unsigned threads = 1; threads <= 5; threads++) {
            struct vdb_exact_options options = {.k = 7, .threads = threads, .plan = any_plan()};
            check_search(&data, all, &options, 0, false);
            check_search(&data, all, &options, 100, true);
        }
        free(all);
        data_fini(&data);
    }
}

/* The largest sums of integers that the limits allow. */
static void test_the_largest_dimension(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 9; kind++) {
        struct data data = data_create(15, 3, VDB_LIMIT_DIMENSION_MAX, (vdb_element)(kind % 3),
                                       (vdb_metric)(kind / 3),
                                       kind % 3 == VDB_ELEMENT_F32 ? FILL_NEAR_TIES : FILL_HUGE);
        struct vdb_candidate *all = oracle(&data);
        struct vdb_exact_options options = {.k = 4, .threads = 2};
        check_search(&data, all, &options, 0, false);
        free(all);
        data_fini(&data);
    }
}

/* The first pass does its part: of rows at random, few come to the second. */
static void test_few_pairs_are_reranked(void **state)
{
    (void)state;
    for (unsigned metric = 0; metric <= VDB_METRIC_L1; metric++) {
        for (unsigned fill = FILL_NORMAL; fill <= FILL_TINY; fill += FILL_TINY) {
            struct vdb_exact_options options = {.k = 10, .threads = 1};
            struct vdb_exact *exact;
            struct vdb_exact_stats stats;
            if (fill == FILL_TINY && metric == VDB_METRIC_L1) {
                continue; /* no scaling there, nor need: differences do not underflow */
            }
            struct data data = data_create(5000, 40, 64, VDB_ELEMENT_F32, (vdb_metric)metric, (enum fill)fill);
            assert_int_equal(
                vdb_exact_create(data.queries, 256, 40, 64, VDB_ELEMENT_F32, data.metric, &options, &exact, NULL),
                VDB_OK);
            assert_int_equal(vdb_exact_feed(exact, data.rows, data.stride_bytes, 5000, 0, NULL), VDB_OK);
            assert_int_equal(vdb_exact_finish(exact, NULL), VDB_OK);
            vdb_exact_get_stats(exact, &stats);
            if (stats.rerank_per_query < 10 || stats.rerank_per_query > 300) { /* 10 ln(500) + 10 = 72 expected */
                fail_msg("%s, fill %s: %g pairs a query", vdb_metric_name(data.metric), fill_names[fill],
                         stats.rerank_per_query);
            }
            vdb_exact_destroy(exact);
            data_fini(&data);
        }
    }
}

/* Fed whole and at once: the plan that was taken, and the pairs it let pass. */
static struct vdb_exact_stats search_once(const struct data *data, vdb_exact_plan plan,
                                          const struct vdb_candidate *all)
{
    struct vdb_exact_options options = {.k = 10, .threads = 1, .plan = plan};
    struct vdb_exact *exact;
    struct vdb_exact_stats stats;
    assert_int_equal(vdb_exact_create(data->queries, vdb_vector_bytes(data->element, data->dimension),
                                      data->query_count, data->dimension, data->element, data->metric, &options,
                                      &exact, NULL),
                     VDB_OK);
    assert_int_equal(vdb_exact_feed(exact, data->rows, data->stride_bytes, data->row_count, 0, NULL), VDB_OK);
    assert_int_equal(vdb_exact_finish(exact, NULL), VDB_OK);
    expect(data, exact, all, &options);
    vdb_exact_get_stats(exact, &stats);
    vdb_exact_destroy(exact);
    return stats;
}

/* 8-bit codes: whole numbers lose nothing, so few pass; normal ones lose little; and under spikes, where nearly all
 * pass, a search that is left alone turns back to f32. */
static void test_plans(void **state)
{
    (void)state;
    const enum fill fills[] = {FILL_WHOLE, FILL_NORMAL, FILL_OFFSET, FILL_SPIKES};
    const double most[] = {150, 2500, 2500, 4000}; /* of 4,000; 10 ln(400) + 10 = 70 at the least */
    for (unsigned metric = 0; metric < VDB_METRIC_L1; metric++) {
        for (size_t i = 0; i < 4; i++) {
            if (metric == VDB_METRIC_COSINE && (fills[i] == FILL_WHOLE || fills[i] == FILL_OFFSET)) {
                continue; /* scaled to length 1 they are like the others */
            }
            struct data data = data_create(4000, 130, 48, VDB_ELEMENT_F32, (vdb_metric)metric, fills[i]);
            struct vdb_candidate *all = oracle(&data);
            struct vdb_exact_stats stats = search_once(&data, VDB_EXACT_PLAN_INT8, all);
            assert_string_equal(stats.plan, "gemm int8");
            if (stats.rerank_per_query > most[i]) {
                fail_msg("%s, fill %s: %g pairs a query", vdb_metric_name(data.metric), fill_names[fills[i]],
                         stats.rerank_per_query);
            }
            stats = search_once(&data, VDB_EXACT_PLAN_F32, all);
            assert_string_equal(stats.plan, "gemm f32");
            stats = search_once(&data, VDB_EXACT_PLAN_AUTO, all);
            if (fills[i] == FILL_SPIKES && stats.rerank_per_query > 2000) {
                fail_msg("%s: %g pairs a query by %s", vdb_metric_name(data.metric), stats.rerank_per_query,
                         stats.plan);
            }
            free(all);
            data_fini(&data);
        }
    }
}

/* Lanes past the last query let nothing pass: with one query and k 1 few tiles of a panel have a hit in them. */
static void test_lanes_of_padding_never_pass(void **state)
{
    (void)state;
    enum { COUNT = 6000, DIMENSION = 24 };
    static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_F32, VDB_ELEMENT_BF16, VDB_ELEMENT_U8};
    static const vdb_exact_plan plans[] = {VDB_EXACT_PLAN_F32, VDB_EXACT_PLAN_INT8, VDB_EXACT_PLAN_INT8,
                                           VDB_EXACT_PLAN_AUTO};
    for (unsigned run = 0; run < 4 * VDB_METRIC_L1 * 2; run++) {
        const unsigned kind = run % 4;
        const size_t queries = run < 4 * VDB_METRIC_L1 ? 1 : 33; /* one lane of one panel, or of the second */
        struct vdb_exact_options options = {.k = 1, .threads = 1 + run % 2, .plan = plans[kind]};
        struct vdb_exact *exact;
        struct vdb_exact_stats stats;
        struct data data = data_create(COUNT, queries, DIMENSION, elements[kind],
                                       (vdb_metric)(run / 4 % VDB_METRIC_L1), FILL_WHOLE);
        for (size_t q = 1; q < 32 && queries > 1; q++) { /* the first panel passes as rarely as the second */
            memcpy(data.queries + q * vdb_vector_bytes(data.element, DIMENSION), data.queries,
                   vdb_vector_bytes(data.element, DIMENSION));
        }
        assert_int_equal(vdb_exact_create(data.queries, vdb_vector_bytes(data.element, DIMENSION), queries,
                                          DIMENSION, data.element, data.metric, &options, &exact, NULL),
                         VDB_OK);
        assert_int_equal(vdb_exact_feed(exact, data.rows, data.stride_bytes, COUNT, 0, NULL), VDB_OK);
        assert_int_equal(vdb_exact_finish(exact, NULL), VDB_OK);
        vdb_exact_get_stats(exact, &stats);
        assert_int_equal(stats.tiles, (uint64_t)((COUNT + 11) / 12) * (queries / 32 + 1));
        assert_true(stats.passed_tiles > 0);
        if (stats.passed_tiles * 4 > stats.tiles) {
            fail_msg("%s, %s, %s, %zu queries: %" PRIu64 " of %" PRIu64 " tiles passed (seed %" PRIu64 ")",
                     vdb_metric_name(data.metric), vdb_element_name(data.element), stats.plan, queries,
                     stats.passed_tiles, stats.tiles, seed);
        }
        vdb_exact_destroy(exact);
        data_fini(&data);
    }
}

/* A NaN among rows or queries counts as infinitely far and spoils no other answer. */
static void test_nan_is_infinitely_far(void **state)
{
    (void)state;
    for (unsigned run = 0; run <= 2 * VDB_METRIC_L1; run++) {
        const unsigned metric = run % (VDB_METRIC_L1 + 1);
        float rows[5][2] = {{3, 1}, {NAN, 1}, {1, 1}, {INFINITY, 0}, {2, 1}};
        float queries[3][2] = {{1, 1}, {NAN, 0}, {2, 0}};
        struct vdb_exact_options options = {
            .k = 5, .threads = 1, .plan = run == metric ? VDB_EXACT_PLAN_F32 : VDB_EXACT_PLAN_INT8};
        struct vdb_exact *exact;
        assert_int_equal(
            vdb_exact_create(queries, 8, 3, 2, VDB_ELEMENT_F32, (vdb_metric)metric, &options, &exact, NULL),
            VDB_OK);
        assert_int_equal(vdb_exact_feed(exact, rows, 8, 5, 0, NULL), VDB_OK);
        assert_int_equal(vdb_exact_finish(exact, NULL), VDB_OK);
        for (size_t q = 0; q < 3; q++) {
            const struct vdb_candidate *hits = vdb_exact_hits(exact, q);
            assert_int_equal(vdb_exact_count(exact, q), 5);
            for (size_t i = 0; i < 5; i++) {
                assert_false(isnan(hits[i].distance));
                assert_true(i == 0 || hits[i - 1].distance < hits[i].distance ||
                            (hits[i - 1].distance == hits[i].distance && hits[i - 1].row < hits[i].row));
                assert_true(q != 1 || hits[i].row == i); /* all at infinity: in the order of rows */
            }
        }
        vdb_exact_destroy(exact);
    }
}

static void expect_refused(size_t stride, size_t dimension, vdb_element element, vdb_metric metric,
                           struct vdb_exact_options options, vdb_status want, const char *word)
{
    float query[4] = {0};
    struct vdb_exact *exact;
    struct vdb_err err = {0};
    assert_int_equal(vdb_exact_create(query, stride, 1, dimension, element, metric, &options, &exact, &err),
                     want);
    assert_null(exact);
    if (strstr(err.text, word) == NULL) {
        fail_msg("\"%s\" does not say %s", err.text, word);
    }
}

static void test_bad_input_is_refused(void **state)
{
    (void)state;
    const struct vdb_exact_options good = {.k = 1, .threads = 1};
    expect_refused(16, 0, VDB_ELEMENT_F32, VDB_METRIC_L2, good, VDB_INVALID, "dimension: 0");
    expect_refused(1 << 20, 65537, VDB_ELEMENT_F32, VDB_METRIC_L2, good, VDB_INVALID, "dimension: 65537");
    expect_refused(15, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, good, VDB_INVALID, "query_stride_bytes: 15");
    expect_refused(16, 4, VDB_ELEMENT_COUNT, VDB_METRIC_L2, good, VDB_INVALID, "element: 6");
    expect_refused(16, 4, VDB_ELEMENT_F32, VDB_METRIC_HAMMING, good, VDB_INVALID, "metric: hamming");
    expect_refused(16, 4, VDB_ELEMENT_BIT, VDB_METRIC_L2, good, VDB_INVALID, "metric: l2");
    expect_refused(16, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, (struct vdb_exact_options){.threads = 1}, VDB_INVALID,
                   "k: 0");
    expect_refused(16, 4, VDB_ELEMENT_F32, VDB_METRIC_L2,
                   (struct vdb_exact_options){.by_radius = true, .radius = (double)NAN, .threads = 1},
                   VDB_INVALID, "radius");
    expect_refused(16, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, (struct vdb_exact_options){.k = 1, .threads = 1025},
                   VDB_LIMIT, "threads: 1025");

    expect_refused(16, 4, VDB_ELEMENT_F32, VDB_METRIC_L2,
                   (struct vdb_exact_options){.k = 1, .threads = 1, .plan = (vdb_exact_plan)4}, VDB_INVALID,
                   "plan: 4");

    float vector[4] = {1, 2, 3, 4};
    struct vdb_exact *exact;
    struct vdb_err err = {0};
    assert_int_equal(vdb_exact_create(vector, 16, 1, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, &good, &exact, &err),
                     VDB_OK);
    assert_int_equal(vdb_exact_feed(exact, vector, 12, 1, 0, &err), VDB_INVALID);
    assert_non_null(strstr(err.text, "stride_bytes: 12"));
    assert_int_equal(vdb_exact_feed(exact, vector, 16, 1, VDB_LIMIT_COLLECTION_POINTS_MAX, &err), VDB_LIMIT);
    assert_int_equal(vdb_exact_feed(exact, vector, 16, (size_t)VDB_LIMIT_COLLECTION_POINTS_MAX + 1, 0, &err),
                     VDB_LIMIT);
    assert_int_equal(vdb_exact_feed(exact, vector, 16, 1, VDB_LIMIT_COLLECTION_POINTS_MAX - 1, &err), VDB_OK);
    assert_int_equal(vdb_exact_feed(exact, vector, 16, 0, 0, &err), VDB_OK);
    assert_int_equal(vdb_exact_finish(exact, &err), VDB_OK);
    assert_int_equal(vdb_exact_count(exact, 0), 1);
    assert_int_equal(vdb_exact_hits(exact, 0)->row, VDB_LIMIT_COLLECTION_POINTS_MAX - 1);
    vdb_exact_destroy(exact);
    vdb_exact_destroy(NULL);
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
            execl("/proc/self/exe", "test_exact", (char *)NULL);
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
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_every_fill_and_metric_of_f32),
        cmocka_unit_test(test_threads_and_cuts_do_not_show),
        cmocka_unit_test(test_the_largest_dimension),
        cmocka_unit_test(test_few_pairs_are_reranked),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_lanes_of_padding_never_pass),
        cmocka_unit_test(test_nan_is_infinitely_far),
        cmocka_unit_test(test_bad_input_is_refused),
        cmocka_unit_test(test_every_lower_level),
    };
    const char *text = getenv("VDB_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : SEED_DEFAULT;
    vdb_rng_init(&rng, seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
