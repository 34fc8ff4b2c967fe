/* test_qgraph_project.c: directions of the quantised graph's codes: how many, how they lie, which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "index/qgraph_internal.h"

struct rows {
    uint8_t *bytes;
    size_t stride;
    size_t count;
    uint32_t dimension;
};

/* Rows that `factors` directions span, but for noise; 0 factors: noise only. */
static struct rows make(size_t count, uint32_t dimension, size_t factors, float noise, uint64_t seed)
{
    struct rows rows = {.stride = vdb_round_up(dimension, 64), .count = count, .dimension = dimension};
    struct vdb_rng rng;
    vdb_rng_init(&rng, seed);
    rows.bytes = vdb_alloc_aligned(count * rows.stride);
    float *directions = vdb_calloc(factors * dimension + 1, sizeof *directions);
    float *row = vdb_calloc(dimension, sizeof *row);
    assert_non_null(rows.bytes);
    assert_non_null(directions);
    assert_non_null(row);
    for (size_t i = 0; i < factors * dimension; i++) {
        directions[i] = vdb_rng_normal(&rng) / sqrtf((float)factors);
    }
    for (size_t r = 0; r < count; r++) {
        for (size_t i = 0; i < dimension; i++) {
            row[i] = noise * vdb_rng_normal(&rng);
        }
        for (size_t f = 0; f < factors; f++) {
            const float weight = 30 * vdb_rng_normal(&rng);
            for (size_t i = 0; i < dimension; i++) {
                row[i] += weight * directions[f * dimension + i];
            }
        }
        for (size_t i = 0; i < dimension; i++) {
            rows.bytes[r * rows.stride + i] = (uint8_t)lrintf(fminf(fmaxf(row[i] + 128, 0), 255));
        }
    }
    free(directions);
    free(row);
    return rows;
}

static struct qgraph_projection project(const struct rows *rows, unsigned bits)
{
    struct qgraph_projection projection;
    struct vdb_err err = {0};
    assert_int_equal(vdb_qgraph_project_init(&projection, rows->bytes, rows->stride, rows->count, rows->dimension,
                                             bits, 7, &err),
                     VDB_OK);
    return projection;
}

/* An entry of the matrix, and its rows' length: as if rows were of length 1. */
static double at(const struct qgraph_projection *projection, size_t row, size_t i)
{
    const size_t groups = (projection->inputs + 3) / 4;
    return projection->matrix[(row / 64 * groups + i / 4) * 256 + row % 64 * 4 + i % 4];
}

static double product(const struct qgraph_projection *projection, size_t a, size_t b)
{
    double sum = 0;
    for (size_t i = 0; i < projection->inputs; i++) {
        sum += at(projection, a, i) * at(projection, b, i);
    }
    return sum;
}

static void check_right_angles(const struct qgraph_projection *projection, const char *what)
{
    const double length = product(projection, 0, 0);
    for (size_t a = 0; a < projection->bits; a++) {
        /* all pairs of near rows, and some of far ones */
        for (size_t b = 0; b <= a; b += a - b > 40 ? 37 : 1) {
            const double want = a == b ? 1 : 0;
            const double is = product(projection, a, b) / length;
            if (fabs(is - want) > 0.02) {
                fail_msg("%s: rows %zu and %zu of %u: %.3f", what, a, b, projection->bits, is);
            }
        }
    }
}

/* The part of the rows' variance about the mean that the directions hold. */
static double held(const struct rows *rows, const struct qgraph_projection *projection, size_t every)
{
    const double length = product(projection, 0, 0);
    double all = 0;
    double seen = 0;
    for (size_t r = 0; r < rows->count; r += every) {
        const uint8_t *row = rows->bytes + r * rows->stride;
        for (size_t i = 0; i < rows->dimension; i++) {
            const double x = row[i] - (double)projection->mean[i];
            all += x * x;
        }
        for (size_t b = 0; b < projection->bits; b++) {
            double sum = 0;
            for (size_t i = 0; i < rows->dimension; i++) {
                sum += at(projection, b, i) * (row[i] - (double)projection->mean[i]);
            }
            seen += sum * sum / length;
        }
    }
    return seen / all;
}

static void test_leading_directions_are_found(void **state)
{
    (void)state;
    static const struct {
        size_t count;
        uint32_t dimension;
        const char *what;
    } cases[] = {
        {1500, 333, "by dimensions"},
        {200, 700, "by rows"},
        {351, 700, "just too many rows"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct rows rows = make(cases[c].count, cases[c].dimension, 60, 2, 11 + c);
        struct qgraph_projection projection = project(&rows, 64);
        assert_int_equal(projection.bits, 64);
        check_right_angles(&projection, cases[c].what);
        const double part = held(&rows, &projection, 7);
        /* noise holds 4 of about 904 parts */
        if (part < 0.97 || fabs(part - projection.explained) > 0.01) {
            fail_msg("%s: %.4f held, %.4f said", cases[c].what, part, projection.explained);
        }
        vdb_qgraph_project_fini(&projection);
        free(rows.bytes);
    }
}

/* No more directions than lead: the rest is drawn at random, at right angles all the same. */
static void test_more_bits_than_rows(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 40, 100, 200};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct rows rows = make(counts[c], 400, 10, 5, 31 + c);
        struct qgraph_projection projection = project(&rows, 192);
        check_right_angles(&projection, "few rows");
        if (counts[c] > 1 && counts[c] < 192) {
            assert_true(held(&rows, &projection, 1) > 0.98);
        }
        vdb_qgraph_project_fini(&projection);
        free(rows.bytes);
    }
}

/* Beyond 1,024 dimensions of noise no directions are looked for where most rows are outside the sample. */
static void test_noise_takes_random_directions(void **state)
{
    (void)state;
    struct rows noise = make(5000, 1056, 0, 30, 41);
    struct qgraph_projection projection = project(&noise, 0);
    assert_int_equal(projection.bits, 1024);
    assert_true(projection.explained == 1024.0 / 1056);
    check_right_angles(&projection, "noise");
    assert_true(fabs(held(&noise, &projection, 500) - projection.explained) < 0.02);
    vdb_qgraph_project_fini(&projection);
    free(noise.bytes);

    struct rows led = make(1200, 1056, 40, 2, 43);
    projection = project(&led, 0);
    assert_int_equal(projection.bits, 256);
    assert_true(projection.explained > 0.97);
    vdb_qgraph_project_fini(&projection);
    free(led.bytes);
}

static void test_the_same_again(void **state)
{
    (void)state;
    struct rows rows = make(300, 650, 20, 5, 51);
    struct qgraph_projection a = project(&rows, 0);
    struct qgraph_projection b = project(&rows, 0);
    assert_int_equal(a.bits, b.bits);
    assert_memory_equal(a.matrix, b.matrix, (size_t)(a.inputs + 3) / 4 * 4 * a.bits);
    assert_memory_equal(a.offset, b.offset, a.bits * sizeof *a.offset);
    vdb_qgraph_project_fini(&a);
    vdb_qgraph_project_fini(&b);
    free(rows.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leading_directions_are_found),
        cmocka_unit_test(test_more_bits_than_rows),
        cmocka_unit_test(test_noise_takes_random_directions),
        cmocka_unit_test(test_the_same_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
