/* test_gemm.c: the tile kernels of every level: integers exact, f32 within gemm.h's bound (G2) of a sum in
 * double, the test never drops what real arithmetic keeps; and the double kernels, equal on all levels to the
 * last bit.
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
#include "distance/gemm.h"
#include "distance/wide.h"

enum { SEED = 5, ROWS = VDB_GEMM_ROWS, LANES = VDB_GEMM_LANES };

static struct vdb_rng rng;

static double value_at(vdb_element element, const char *vector, size_t i)
{
    float f;
    if (element != VDB_ELEMENT_F32) {
        return element == VDB_ELEMENT_U8 ? (double)(uint8_t)vector[i] : (double)(int8_t)vector[i];
    }
    memcpy(&f, vector + i * sizeof f, sizeof f);
    return (double)f;
}

static void check_tile(const struct vdb_gemm_kernel *kernel, vdb_element element, size_t dimension,
                       size_t queries, bool extreme)
{
    const size_t bytes = dimension * vdb_element_bytes(element);
    const size_t stride = bytes + (size_t)vdb_rng_below(&rng, 2) * 3;
    char *rows = malloc(stride * (ROWS - 1) + bytes); /* no byte past the last row */
    char *query = malloc(bytes * queries);
    void *panel = vdb_alloc_aligned(kernel->panel_bytes(dimension));
    struct vdb_gemm_out *out = vdb_alloc_aligned(sizeof *out);
    float *lanes = vdb_alloc_aligned(2 * LANES * sizeof *lanes);
    float norm[ROWS], bias[ROWS];
    int32_t correction[ROWS];
    assert_true(rows && query && panel && out && lanes);
    for (size_t i = 0; i < stride * (ROWS - 1) + bytes; i++) {
        rows[i] = extreme ? (char)(element == VDB_ELEMENT_U8 ? 255 : 128) : (char)vdb_rng_below(&rng, 256);
    }
    for (size_t i = 0; i < bytes * queries; i++) {
        query[i] = extreme ? (char)(element == VDB_ELEMENT_U8 ? 255 : 128) : (char)vdb_rng_below(&rng, 256);
    }
    for (size_t v = 0; element == VDB_ELEMENT_F32 && v < ROWS + queries; v++) {
        for (size_t i = 0; i < dimension; i++) {
            float x = vdb_rng_normal(&rng);
            memcpy((v < ROWS ? rows + v * stride : query + (v - ROWS) * bytes) + i * sizeof x, &x, sizeof x);
        }
    }
    for (size_t r = 0; r < ROWS; r++) {
        int64_t sum = 0;
        for (size_t i = 0; element != VDB_ELEMENT_F32 && i < dimension; i++) {
            sum += (int64_t)value_at(element, rows + r * stride, i);
        }
        norm[r] = vdb_rng_normal(&rng);
        bias[r] = r == 3 ? -INFINITY : vdb_rng_normal(&rng);
        correction[r] = (int32_t)(uint32_t)(uint64_t)(sum * (element == VDB_ELEMENT_U8 ? 128 : -128));
    }
    for (size_t l = 0; l < LANES; l++) {
        lanes[l] = vdb_rng_normal(&rng);
        lanes[LANES + l] = vdb_rng_normal(&rng) * (element == VDB_ELEMENT_F32 ? 3.0f : 1e5f);
    }
    kernel->pack(query, bytes, queries, dimension, 1, panel);
    memset(out, 0xA5, sizeof *out);
    struct vdb_gemm_tile tile = {.panel = panel,
                                 .rows = rows,
                                 .stride_bytes = stride,
                                 .dimension = dimension,
                                 .norm = norm,
                                 .bias = bias,
                                 .correction = correction,
                                 .gain = lanes,
                                 .limit = lanes + LANES};
    bool any = kernel->run(&tile, out);
    uint32_t seen = 0;
    const double n = (double)dimension + 1;
    const double gamma = n * 0x1p-24 / (1 - n * 0x1p-24);
    for (size_t r = 0; r < ROWS; r++) {
        seen |= out->passed[r];
        for (size_t l = 0; l < queries; l++) {
            double dot = 0;
            double absolute = 0;
            for (size_t i = 0; i < dimension; i++) {
                double product = value_at(element, rows + r * stride, i) *
                                 value_at(element, query + l * bytes, i);
                dot += product;
                absolute += fabs(product);
            }
            double got = (double)out->dots.f32[r][l];
            if (element == VDB_ELEMENT_F32) {
                if (fabs(got - dot) > gamma * absolute + n * 0x1p-50 * absolute) {
                    fail_msg("%s f32, dimension %zu: %.9g, want %.17g", kernel->name, dimension, got, dot);
                }
            } else {
                got = element == VDB_ELEMENT_U8 ? (double)out->dots.u32[r][l] : (double)out->dots.i32[r][l];
                if (got != dot) {
                    fail_msg("%s %s, dimension %zu: %.17g, want %.17g", kernel->name, vdb_element_name(element),
                             dimension, got, dot);
                }
                got = (double)(float)got;
            }
            bool passed = out->passed[r] >> l & 1;
            double left = got + (double)lanes[l] * (double)norm[r];
            double right = (double)bias[r] + (double)lanes[LANES + l];
            double slack = 1e-6 * (fabs(got) + fabs(right) + 10);
            if (r == 3 ? !passed : passed ? left < right - slack : left >= right + slack) {
                fail_msg("%s %s: passed %d at %.17g against %.17g", kernel->name, vdb_element_name(element),
                         passed, left, right);
            }
        }
    }
    assert_int_equal(any, seen != 0);
    free(rows);
    free(query);
    free(panel);
    free(out);
    free(lanes);
}

static void test_tiles_of_every_level(void **state)
{
    (void)state;
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            continue;
        }
        for (unsigned with = 0; with < 2; with++) {
            struct vdb_gemm table;
            vdb_gemm_fill(&table, (vdb_cpu_level)level, with ? vdb_cpu_detect_extensions() : 0);
            for (unsigned element = 0; element < VDB_GEMM_KERNELS; element++) {
                for (size_t dimension = 1; dimension <= 130; dimension++) {
                    check_tile(&table.kernels[element], (vdb_element)element, dimension, 1 + dimension % LANES,
                               false);
                }
                const size_t large[] = {511, 512, 513, 768, 784, 1537};
                for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
                    check_tile(&table.kernels[element], (vdb_element)element, large[i], LANES, false);
                }
                check_tile(&table.kernels[element], (vdb_element)element, 65536, 2, element != VDB_ELEMENT_F32);
            }
        }
    }
}

static void test_doubles_are_equal_on_all_levels(void **state)
{
    (void)state;
    float a[1100], b[1100];
    struct vdb_wide scalar;
    vdb_wide_scalar(&scalar);
    for (size_t dimension = 1; dimension <= 1090; dimension += dimension < 130 ? 1 : 61) {
        for (size_t i = 0; i < dimension + 3; i++) {
            a[i] = vdb_rng_normal(&rng);
            b[i] = vdb_rng_normal(&rng);
        }
        for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
            struct vdb_wide wide;
            if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
                continue;
            }
            vdb_wide_fill(&wide, (vdb_cpu_level)level);
            size_t shift = dimension % 3;
            assert_true(wide.l2(a + shift, b, dimension) == scalar.l2(a + shift, b, dimension));
            assert_true(wide.dot(a + shift, b, dimension) == scalar.dot(a + shift, b, dimension));
            assert_true(wide.l1(a + shift, b, dimension) == scalar.l1(a + shift, b, dimension));
        }
        double want = 0;
        for (size_t i = 0; i < dimension; i++) {
            want += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        }
        assert_true(fabs(scalar.l2(a, b, dimension) - want) <= want * 2 * (double)dimension * 0x1p-53);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiles_of_every_level),
        cmocka_unit_test(test_doubles_are_equal_on_all_levels),
    };
    vdb_rng_init(&rng, SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
