/* test_wide.c: dot_many of every level gives what the scalar one-to-one function gives, to the last bit, in exactly
 * `count` places, for packed and padded rows, near and far; and distances of f16 and bf16 are those of the f32 they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "distance/cpu.h"
#include "distance/wide.h"

enum { SEED = 11, ROWS_MAX = 37, DIMENSION_MAX = 1100, PADDING_MAX = 1000 };

static struct vdb_rng rng;

static void check(const char *rows, size_t stride, size_t dimension, const float *query)
{
    const double poison = 12345;
    struct vdb_wide scalar;
    vdb_wide_scalar(&scalar);
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        struct vdb_wide wide;
        if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            continue;
        }
        vdb_wide_fill(&wide, (vdb_cpu_level)level);
        for (size_t count = 0; count <= ROWS_MAX; count = count == 5 ? ROWS_MAX : count + 1) {
            double out[ROWS_MAX + 2];
            for (size_t i = 0; i < ROWS_MAX + 2; i++) {
                out[i] = poison;
            }
            /* The rows end where the memory ends: a sanitizer sees what is read beyond them. */
            size_t bytes = count == 0 ? 1 : (count - 1) * stride + dimension * sizeof(float);
            char *copy = malloc(bytes);
            assert_non_null(copy);
            memcpy(copy, rows, bytes);
            wide.dot_many(query, copy, stride, count, dimension, out + 1);
            for (size_t i = 0; i < count; i++) {
                double want = scalar.dot(query, (const void *)(copy + i * stride), dimension);
                if (memcmp(&out[i + 1], &want, sizeof want) != 0) {
                    fail_msg("level %u, dimension %zu, stride %zu, row %zu of %zu: %.17g, want %.17g (seed %d)",
                             level, dimension, stride, i, count, out[i + 1], want, SEED);
                }
            }
            assert_true(out[0] == poison && out[count + 1] == poison);
            free(copy);
        }
    }
}

static void test_dot_many_equals_dot(void **state)
{
    (void)state;
    const size_t memory_bytes = ROWS_MAX * (DIMENSION_MAX * sizeof(float) + PADDING_MAX);
    float *memory = malloc(memory_bytes);
    assert_non_null(memory);
    float query[DIMENSION_MAX];
    for (size_t i = 0; i < memory_bytes / sizeof *memory; i++) {
        memory[i] = vdb_rng_normal(&rng);
    }
    for (size_t i = 0; i < DIMENSION_MAX; i++) {
        query[i] = vdb_rng_normal(&rng);
    }
    for (size_t dimension = 1; dimension <= DIMENSION_MAX; dimension += dimension < 70 ? 1 : 103) {
        check((const char *)memory, dimension * sizeof(float), dimension, query);
        check((const char *)memory, dimension * sizeof(float) + 4, dimension, query);
        check((const char *)memory, dimension * sizeof(float) + PADDING_MAX, dimension, query);
    }
    free(memory);
}

/* f16 and bf16: all patterns load as what they are, and distances are those of the loaded vectors, to the bit. */
static void test_halves(void **state)
{
    (void)state;
    enum { DIMENSION = 700 };
    static uint16_t a[DIMENSION + 1], b[DIMENSION + 1];
    static float x[DIMENSION], y[DIMENSION];
    struct vdb_wide wide;
    vdb_wide_scalar(&wide);
    for (uint32_t pattern = 0; pattern < 65536; pattern++) {
        const uint16_t half = (uint16_t)pattern;
        const int exponent = half >> 10 & 31;
        double want = exponent == 0 ? ldexp(half & 1023, -24) : ldexp(1024 + (half & 1023), exponent - 25);
        want = exponent < 31 ? want : (half & 1023) != 0 ? (double)NAN : (double)INFINITY;
        vdb_wide_load(VDB_ELEMENT_F16, &half, 1, x);
        assert_true(isnan(want) ? isnan(x[0]) : (double)x[0] == (half & 0x8000 ? -want : want));
        const uint32_t bits = pattern << 16;
        vdb_wide_load(VDB_ELEMENT_BF16, &half, 1, x);
        assert_memory_equal(x, &bits, sizeof bits);
    }
    for (size_t dimension = 1; dimension <= DIMENSION; dimension += dimension < 40 ? 1 : 73) {
        for (unsigned run = 0; run < 2 * (VDB_METRIC_L1 + 1); run++) {
            const vdb_element element = run % 2 ? VDB_ELEMENT_BF16 : VDB_ELEMENT_F16;
            const vdb_metric metric = (vdb_metric)(run / 2);
            const char *odd = (const char *)b + run % 2; /* at any address */
            for (size_t i = 0; i <= dimension;
                 i++) { /* of all magnitudes but the greatest, in either byte order */
                a[i] = (uint16_t)vdb_rng_below(&rng, 65536) & 0xBBBB;
                b[i] = (uint16_t)vdb_rng_below(&rng, 65536) & 0xBBBB;
            }
            vdb_wide_load(element, a, dimension, x);
            vdb_wide_load(element, odd, dimension, y);
            double aa = wide.dot(x, x, dimension);
            assert_true(vdb_wide_halves(element, VDB_METRIC_DOT, a, 0, a, dimension) == -aa);
            assert_true(vdb_wide_halves(element, metric, a, aa, odd, dimension) ==
                        vdb_wide_distance(&wide, metric, x, aa, y, dimension));
        }
    }
}

/* Every level loads what the common code does, at any address and length, and nothing beyond. */
static void test_loads(void **state)
{
    (void)state;
    enum { DIMENSION = 75 };
    static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_U8, VDB_ELEMENT_I8, VDB_ELEMENT_F16,
                                           VDB_ELEMENT_BF16};
    static uint16_t every[65536];
    static float want[65536];
    static float got[65536];
    for (uint32_t pattern = 0; pattern < 65536; pattern++) {
        every[pattern] = (uint16_t)((pattern >> 10 & 31) == 31 ? pattern & 0x83FF : pattern); /* finite */
    }
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        struct vdb_wide wide;
        if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            continue;
        }
        vdb_wide_fill(&wide, (vdb_cpu_level)level);
        for (size_t e = 0; e < sizeof elements / sizeof *elements; e++) {
            size_t whole = elements[e] == VDB_ELEMENT_F32 ? 32768 : 65536;
            vdb_wide_load(elements[e], every, whole, want);
            wide.load(elements[e], every, whole, got);
            assert_memory_equal(got, want, whole * sizeof *got);
            for (size_t dimension = 1; dimension <= DIMENSION; dimension++) {
                /* The vector ends where the memory ends: a sanitizer sees what is read beyond it. */
                size_t bytes = vdb_vector_bytes(elements[e], dimension);
                char *copy = malloc(bytes + 1);
                assert_non_null(copy);
                for (size_t i = 0; i < bytes; i++) {
                    copy[i + 1] = (char)(vdb_rng_below(&rng, 256) & 0xBB);
                }
                vdb_wide_load(elements[e], copy + 1, dimension, want);
                got[dimension] = 12345;
                wide.load(elements[e], copy + 1, dimension, got);
                assert_memory_equal(got, want, dimension * sizeof *got);
                assert_true(got[dimension] == 12345);
                free(copy);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dot_many_equals_dot),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_loads),
    };
    vdb_rng_init(&rng, SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
