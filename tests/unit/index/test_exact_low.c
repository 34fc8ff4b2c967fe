/* test_exact_low.c: the bound of index/exact_low.h against pairs made to strain it: queries along or against what the
 * codes of a row leave out (where Cauchy-Schwarz is an equality), last-bit distances, any magnitude. With the pair's
 * exact distance for a threshold the pair must pass; far enough below it must not. Codes themselves are checked
 * against their definition, at every level.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "index/exact_low.h"

enum {
    DIMENSION_MAX = 800,
    DIMENSION_LARGE = 4100,
    ROUNDS = 4000,
    SEED = 23,
    ROWS = VDB_GEMM_ROWS,
    LANES = VDB_GEMM_LANES
};

static struct vdb_rng rng;

static float x_row[DIMENSION_LARGE], x_query[DIMENSION_LARGE];
static double centre[DIMENSION_LARGE];
static _Alignas(64) int8_t codes[ROWS * (DIMENSION_LARGE + 64)], query_codes[DIMENSION_LARGE + 64];

/* Mostly few dimensions, now and then many, and seldom more than any of the loops' blocks. */
static size_t any_dimension(size_t round)
{
    size_t most = round % 64 == 8 ? DIMENSION_LARGE : round % 8 == 0 ? DIMENSION_MAX : 70;
    return 1 + (size_t)vdb_rng_below(&rng, most);
}

/* ---- Codes ---- */

static void check_codes(vdb_gemm_quantise_fn *quantise, size_t dimension, double factor, float step)
{
    struct vdb_gemm_codes got;
    const size_t padded = (dimension + 15) / 16 * 16;
    long double square = 0, residual = 0, centre_dot = 0, length = 0;
    int32_t sum = 0;
    bool plain = factor ==
                 1; /* x is what double holds: then the residual is known to a few roundings of itself */
    memset(codes, 0x55, sizeof codes);
    quantise(x_row, factor, centre, dimension, step, padded, codes, &got);
    assert_true(step == 0 || got.scale == step);
    for (size_t i = 0; i < padded; i++) {
        sum += codes[i];
        if (i >= dimension) {
            assert_int_equal(codes[i], 0);
            continue;
        }
        assert_true(step != 0 || codes[i] >= -127);
        long double x = (long double)x_row[i] * (long double)factor - (long double)centre[i];
        long double rest = x - (long double)got.scale * codes[i];
        plain = plain && (long double)(double)x == x;
        square += x * x;
        residual += rest * rest;
        centre_dot += x * (long double)centre[i];
        length += fabsl(x * (long double)centre[i]);
    }
    assert_int_equal(codes[padded], 0x55);
    assert_int_equal(got.sum, sum);
    assert_true(fabsl((long double)got.square - square) <= 0x1p-30L * square);
    assert_true(!plain || fabsl((long double)got.residual - residual) <= 0x1p-36L * residual);
    assert_true(fabsl((long double)got.centre_dot - centre_dot) <= 0x1p-30L * length);
    assert_true(fabsl(sqrtl((long double)got.residual) - sqrtl(residual)) <= 0x1p-34L * sqrtl(square));
    if (step == 0 && got.scale > 1e-37f) { /* half a step, a bit more for rounding */
        long double most = 0.5001L * (long double)got.scale;
        assert_true(residual <= most * most * (long double)dimension);
    }
}

static void test_codes_of_every_level(void **state)
{
    (void)state;
    for (size_t round = 0; round < ROUNDS; round++) {
        const size_t dimension = any_dimension(round);
        const float magnitude = ldexpf(1, round % 3 == 0 ? (int)vdb_rng_below(&rng, 200) - 100 : 0);
        const bool whole = round % 5 == 0;
        for (size_t i = 0; i < dimension; i++) {
            centre[i] = round % 2 == 0 ? 0 : (double)(vdb_rng_normal(&rng) * magnitude);
            x_row[i] = round % 11 == 0 ? 0 : vdb_rng_normal(&rng) * magnitude;
            if (whole) {
                centre[i] = 128;
                x_row[i] = (float)vdb_rng_below(&rng, 256);
            }
        }
        for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
            struct vdb_gemm table;
            if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
                continue;
            }
            vdb_gemm_fill(&table, (vdb_cpu_level)level, vdb_cpu_detect_extensions());
            check_codes(table.quantise, dimension, 1, whole ? 1 : 0);
            if (whole) {
                for (size_t i = 0; i < dimension; i++) {
                    assert_int_equal(codes[i], (int)x_row[i] - 128);
                }
            } else {
                check_codes(table.quantise, dimension, 0.3, 0);
            }
        }
    }
}

/* What is not finite shows in `square`. */
static void test_codes_of_what_is_not_finite(void **state)
{
    (void)state;
    const float odd[] = {NAN, INFINITY, -INFINITY};
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        struct vdb_gemm table;
        struct vdb_gemm_codes got;
        if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            continue;
        }
        vdb_gemm_fill(&table, (vdb_cpu_level)level, vdb_cpu_detect_extensions());
        for (size_t place = 0; place < 40; place++) {
            for (size_t i = 0; i < 40; i++) {
                x_row[i] = i == place ? odd[place % 3] : 1;
                centre[i] = 0.5;
            }
            for (unsigned step = 0; step < 2; step++) {
                table.quantise(x_row, 1, centre, 40, (float)step, 48, codes, &got);
                assert_false(got.square <= 0x1p1000);
            }
        }
    }
}

/* ---- The bound ---- */

/* Whether the tile test lets the pair pass; the row is the first of the tile, the query its last lane. */
static bool passes(const struct vdb_gemm *table, const struct exact_low_bound *bound, size_t dimension,
                   double factor_q, double factor_r, float step, double threshold)
{
    const size_t padded = (dimension + 15) / 16 * 16;
    struct vdb_gemm_codes of_row, of_query;
    static _Alignas(64) float scales[LANES], gains[LANES], lengths[LANES], limits[LANES];
    static float row_scale[ROWS], norm[ROWS], residual[ROWS], bias[ROWS];
    int32_t correction[ROWS] = {0};
    struct vdb_gemm_out *out = vdb_alloc_aligned(sizeof *out);
    int8_t *lanes = calloc(LANES, padded + 1);
    void *panel = vdb_alloc_aligned(table->low.panel_bytes(padded));
    assert_true(out && lanes && panel);
    memset(codes, 0, sizeof codes);
    table->quantise(x_row, factor_r, centre, dimension, step, padded, codes, &of_row);
    table->quantise(x_query, factor_q, centre, dimension, step, padded, query_codes, &of_query);
    memcpy(lanes + (LANES - 1) * padded, query_codes, padded);
    table->low.pack(lanes, padded, LANES, padded, 1, panel);
    struct exact_low_row row = vdb_exact_low_row(bound, &of_row);
    struct exact_low_query query = {of_query.square, of_query.centre_dot + bound->centre * bound->centre, true,
                                    false};
    vdb_exact_low_query(bound, &of_query, &scales[LANES - 1], &gains[LANES - 1], &lengths[LANES - 1]);
    limits[LANES - 1] = vdb_exact_low_limit(bound, &query, threshold);
    row_scale[0] = row.scale;
    norm[0] = row.norm;
    residual[0] = row.residual;
    bias[0] = row.bias;
    correction[0] = -128 * of_row.sum;
    struct vdb_gemm_tile tile = {.panel = panel,
                                 .rows = codes,
                                 .stride_bytes = padded,
                                 .dimension = padded,
                                 .norm = norm,
                                 .bias = bias,
                                 .correction = correction,
                                 .gain = gains,
                                 .limit = limits,
                                 .scale = row_scale,
                                 .residual = residual,
                                 .lane_scale = scales,
                                 .lane_length = lengths};
    (void)table->low.run(&tile, out);
    bool passed = out->passed[0] >> (LANES - 1) & 1;
    free(out);
    free(lanes);
    free(panel);
    return passed;
}

static double length_of(const float *vector, size_t dimension, double factor)
{
    double square = 0;
    for (size_t i = 0; i < dimension; i++) {
        double x = (double)vector[i] * factor - centre[i];
        square += x * x;
    }
    return sqrt(square);
}

/* A query along (sign 1) or against what the row's codes leave out, or one at random, or close to the row. */
static void make_query(const struct vdb_gemm *table, size_t dimension, double factor, unsigned kind,
                       float magnitude)
{
    struct vdb_gemm_codes of_row;
    table->quantise(x_row, factor, centre, dimension, 0, (dimension + 15) / 16 * 16, codes, &of_row);
    for (size_t i = 0; i < dimension; i++) {
        double rest = (double)x_row[i] * factor - centre[i] - (double)of_row.scale * codes[i];
        double along = of_row.residual > 0 ? rest / sqrt(of_row.residual) * (double)magnitude : 0;
        switch (kind) {
        case 0:
            x_query[i] = (float)(centre[i] + along);
            break;
        case 1:
            x_query[i] = (float)(centre[i] - along);
            break;
        case 2:
            x_query[i] = vdb_rng_normal(&rng) * magnitude;
            break;
        case 3:
            x_query[i] = nextafterf(x_row[i], vdb_rng_below(&rng, 2) ? 9e9f : -9e9f);
            break;
        default:
            x_query[i] = x_row[i];
            break;
        }
    }
}

/* The row along or against what the codes of a random query leave out. */
static void make_row(const struct vdb_gemm *table, size_t dimension, double factor, bool along, float magnitude)
{
    struct vdb_gemm_codes of_query;
    for (size_t i = 0; i < dimension; i++) {
        x_query[i] = (float)centre[i] + vdb_rng_normal(&rng) * magnitude;
    }
    table->quantise(x_query, factor, centre, dimension, 0, (dimension + 15) / 16 * 16, codes, &of_query);
    double most = of_query.residual > 0 ? (double)magnitude / sqrt(of_query.residual) : 0;
    for (size_t i = 0; i < dimension; i++) {
        double rest = (double)x_query[i] * factor - centre[i] - (double)of_query.scale * codes[i];
        x_row[i] = (float)(centre[i] + (along ? most : -most) * rest);
    }
}

/* A pair and the bound it is held against. */
struct pair {
    struct vdb_gemm table;
    struct vdb_wide wide;
    struct exact_low_bound bound;
    vdb_cpu_level level;
    unsigned extensions;
    size_t dimension;
    float step;
    double factor_q, factor_r;
    double q, r; /* lengths, less the centre */
    double centre_square;
    double distance;
};

/* Any level, with any of its extensions or none. */
static void choose_level(struct pair *pair)
{
    do {
        pair->level = (vdb_cpu_level)vdb_rng_below(&rng, VDB_CPU_LEVEL_COUNT);
    } while (!vdb_cpu_runs(vdb_cpu_detect(), pair->level));
    pair->extensions = vdb_cpu_detect_extensions() & (unsigned)vdb_rng_below(&rng, VDB_CPU_EXTENSIONS_ALL + 1);
    vdb_gemm_fill(&pair->table, pair->level, pair->extensions);
    vdb_wide_fill(&pair->wide, pair->level);
}

/* x_row, x_query and the centre, for codes with a scale of their own. */
static void make_scaled(struct pair *pair, size_t round, bool cosine)
{
    const float magnitude = ldexpf(1, round % 4 == 0 ? (int)vdb_rng_below(&rng, 160) - 80 : 0);
    const double offset = round % 7 == 0 ? 1000 : 0.3;
    const size_t dimension = pair->dimension;
    for (size_t i = 0; i < dimension; i++) {
        centre[i] = round % 2 == 0 ? 0
                                   : offset * (double)(cosine ? 0.1f : magnitude) * (double)vdb_rng_normal(&rng);
        x_row[i] = (cosine ? 0 : (float)centre[i]) + vdb_rng_normal(&rng) * magnitude;
    }
    const unsigned kind = (unsigned)vdb_rng_below(&rng, 7);
    if (kind < 5) {
        double factor = cosine ? 1 / sqrt(pair->wide.dot(x_row, x_row, dimension)) : 1;
        make_query(&pair->table, dimension, factor, kind, magnitude);
    } else {
        make_row(&pair->table, dimension, 1, kind == 5, magnitude);
    }
}

/* The same for step 1: whole numbers of 0 to 255, which lose nothing; in rounds that are `odd` some that lose much: not
 * whole, or out of the range. */
static void make_whole(const struct pair *pair, bool odd)
{
    for (size_t i = 0; i < pair->dimension; i++) {
        centre[i] = 128;
        x_row[i] = (float)vdb_rng_below(&rng, 256);
        x_query[i] = (float)vdb_rng_below(&rng, 256);
        if (odd && vdb_rng_below(&rng, 10) == 0) {
            x_row[i] += vdb_rng_normal(&rng) * (vdb_rng_below(&rng, 4) == 0 ? 1000 : 1);
            x_query[i] += vdb_rng_normal(&rng) * (vdb_rng_below(&rng, 4) == 0 ? 1000 : 1);
        }
    }
}

/* The numbers of the pair; false when a vector has no direction and cosine asks for one. */
static bool measure_pair(struct pair *pair, vdb_metric metric)
{
    const size_t dimension = pair->dimension;
    const double qq = pair->wide.dot(x_query, x_query, dimension);
    const double rr = pair->wide.dot(x_row, x_row, dimension);
    if (metric == VDB_METRIC_COSINE && (qq == 0 || rr == 0)) {
        return false;
    }
    pair->factor_q = metric == VDB_METRIC_COSINE ? 1 / sqrt(qq) : 1;
    pair->factor_r = metric == VDB_METRIC_COSINE ? 1 / sqrt(rr) : 1;
    pair->q = length_of(x_query, dimension, pair->factor_q);
    pair->r = length_of(x_row, dimension, pair->factor_r);
    pair->centre_square = 0;
    for (size_t i = 0; i < dimension; i++) {
        pair->centre_square += centre[i] * centre[i];
    }
    pair->bound = (struct exact_low_bound){.metric = metric,
                                           .wide = VDB_WIDE_ERROR(dimension),
                                           .centre = sqrt(pair->centre_square) * (1 + EXACT_LOW_WIDE),
                                           .query_unit = pair->q > 0 ? ldexp(1, -ilogb(pair->q)) : 1,
                                           .row_unit = pair->r > 0 ? ldexp(1, -ilogb(pair->r)) : 1};
    if (metric == VDB_METRIC_L2) {
        pair->bound.query_unit = fmin(pair->bound.query_unit, pair->bound.row_unit);
        pair->bound.row_unit = pair->bound.query_unit;
    }
    pair->distance = vdb_wide_distance(&pair->wide, metric, x_query, qq, x_row, dimension);
    return true;
}

static bool pair_passes(const struct pair *pair, double threshold)
{
    return passes(&pair->table, &pair->bound, pair->dimension, pair->factor_q, pair->factor_r, pair->step,
                  threshold);
}

static void test_no_pair_is_missed(void **state)
{
    unsigned whole_count = 0;
    (void)state;
    for (size_t round = 0; round < ROUNDS; round++) {
        const vdb_metric metric = (vdb_metric)(round % 3);
        const bool cosine = metric == VDB_METRIC_COSINE;
        const bool whole = round % 10 < 2 && !cosine;
        const bool odd = round % 10 == 1;
        struct pair pair = {.dimension = any_dimension(round), .step = whole ? 1 : 0};
        choose_level(&pair);
        if (whole) {
            make_whole(&pair, odd);
        } else {
            make_scaled(&pair, round, cosine);
        }
        if (!measure_pair(&pair, metric)) {
            continue;
        }
        const double distance = pair.distance, q = pair.q, r = pair.r;
        if (!pair_passes(&pair, distance)) {
            fail_msg("round %zu, metric %d, dimension %zu, %s, extensions %u: dropped at its own distance %.17g",
                     round, (int)metric, pair.dimension, vdb_cpu_level_name(pair.level), pair.extensions,
                     distance);
        }
        /* Each vector's codes are off by half a step at most: dimension steps of 2 most / 254. Whole numbers are not. */
        double off = whole ? 0 : sqrt((double)pair.dimension) / 120;
        double apart = 2 * q * r * 2 * off + 1e-5 * (q * r + q * q + r * r + fabs(distance) + pair.centre_square +
                                                     (q + r) * sqrt(pair.centre_square));
        if (!(whole && odd) && distance - apart > -1e30 && apart > 1e-30 &&
            pair_passes(&pair, distance - apart)) {
            fail_msg("round %zu, metric %d, dimension %zu, %s: passes %.17g below its distance %.17g", round,
                     (int)metric, pair.dimension, vdb_cpu_level_name(pair.level), apart, distance);
        }
        assert_true(pair_passes(&pair, (double)INFINITY));
        assert_false(pair_passes(&pair, -(double)INFINITY));
        whole_count += whole;
    }
    assert_true(whole_count > ROUNDS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes_of_every_level),
        cmocka_unit_test(test_codes_of_what_is_not_finite),
        cmocka_unit_test(test_no_pair_is_missed),
    };
    vdb_rng_init(&rng, SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
