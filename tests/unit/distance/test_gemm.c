/* test_gemm.c: the tile kernels of every level: integers exact, f32 within gemm.h's bound (G2) of a sum in
 * double, the test never drops what real arithmetic keeps; and the double kernels, equal on all levels to the
 * last bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <inttypes.h>
#include <math.h>
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

/* A tile of numbers at random (extreme: the largest products there are) and all that its test needs. */
struct data {
    vdb_element element;
    size_t dimension, queries, bytes, stride;
    char *rows; /* no byte past the last row */
    char *query;
    float *lanes; /* gains, then limits */
    float norm[ROWS], bias[ROWS];
    int32_t correction[ROWS];
};

static void fill(const struct data *data, char *at, size_t bytes, bool extreme)
{
    for (size_t i = 0; i < bytes; i++) {
        at[i] = extreme ? (char)(data->element == VDB_ELEMENT_U8 ? 255 : 128) : (char)vdb_rng_below(&rng, 256);
    }
}

static void fill_floats(const struct data *data, char *at)
{
    for (size_t i = 0; i < data->dimension; i++) {
        float x = vdb_rng_normal(&rng);
        memcpy(at + i * sizeof x, &x, sizeof x);
    }
}

static void data_init(struct data *data, vdb_element element, size_t dimension, size_t queries, bool extreme)
{
    *data = (struct data){.element = element, .dimension = dimension, .queries = queries};
    data->bytes = dimension * vdb_element_bytes(element);
    data->stride = data->bytes + (size_t)vdb_rng_below(&rng, 2) * 3;
    const size_t rows_bytes = data->stride * (ROWS - 1) + data->bytes;
    data->rows = malloc(rows_bytes);
    data->query = malloc(data->bytes * queries);
    data->lanes = vdb_alloc_aligned(2 * LANES * sizeof *data->lanes);
    assert_true(data->rows && data->query && data->lanes);
    fill(data, data->rows, rows_bytes, extreme);
    fill(data, data->query, data->bytes * queries, extreme);
    for (size_t v = 0; element == VDB_ELEMENT_F32 && v < ROWS + queries; v++) {
        fill_floats(data, v < ROWS ? data->rows + v * data->stride : data->query + (v - ROWS) * data->bytes);
    }
    for (size_t r = 0; r < ROWS; r++) {
        int64_t sum = 0;
        for (size_t i = 0; element != VDB_ELEMENT_F32 && i < dimension; i++) {
            sum += (int64_t)value_at(element, data->rows + r * data->stride, i);
        }
        data->norm[r] = vdb_rng_normal(&rng);
        data->bias[r] = r == 3 ? -INFINITY : vdb_rng_normal(&rng);
        data->correction[r] = (int32_t)(uint32_t)(uint64_t)(sum * (element == VDB_ELEMENT_U8 ? 128 : -128));
    }
    for (size_t l = 0; l < LANES; l++) {
        data->lanes[l] = vdb_rng_normal(&rng);
        data->lanes[LANES + l] = vdb_rng_normal(&rng) * (element == VDB_ELEMENT_F32 ? 3.0f : 1e5f);
    }
}

static void data_fini(struct data *data)
{
    free(data->rows);
    free(data->query);
    free(data->lanes);
}

/* The product of a row and a query against the tile's; returns the tile's as the test takes it. */
static double check_product(const struct data *data, const char *name, const struct vdb_gemm_out *out, size_t r,
                            size_t l)
{
    const double n = (double)data->dimension + 1;
    const double gamma = n * 0x1p-24 / (1 - n * 0x1p-24);
    double dot = 0;
    double absolute = 0;
    for (size_t i = 0; i < data->dimension; i++) {
        double product = value_at(data->element, data->rows + r * data->stride, i) *
                         value_at(data->element, data->query + l * data->bytes, i);
        dot += product;
        absolute += fabs(product);
    }
    if (data->element == VDB_ELEMENT_F32) {
        double got = (double)out->dots.f32[r][l];
        if (fabs(got - dot) > gamma * absolute + n * 0x1p-50 * absolute) {
            fail_msg("%s f32, dimension %zu: %.9g, want %.17g", name, data->dimension, got, dot);
        }
        return got;
    }
    double got = data->element == VDB_ELEMENT_U8 ? (double)out->dots.u32[r][l] : (double)out->dots.i32[r][l];
    if (got != dot) {
        fail_msg("%s %s, dimension %zu: %.17g, want %.17g", name, vdb_element_name(data->element),
                 data->dimension, got, dot);
    }
    return (double)(float)got;
}

static void check_passed(const struct data *data, const char *name, const struct vdb_gemm_out *out, size_t r,
                         size_t l, double got)
{
    bool passed = out->passed[r] >> l & 1;
    double left = got + (double)data->lanes[l] * (double)data->norm[r];
    double right = (double)data->bias[r] + (double)data->lanes[LANES + l];
    double slack = 1e-6 * (fabs(got) + fabs(right) + 10);
    if (r == 3 ? !passed : passed ? left < right - slack : left >= right + slack) {
        fail_msg("%s %s: passed %d at %.17g against %.17g", name, vdb_element_name(data->element), passed, left,
                 right);
    }
}

static void check_tile(const struct vdb_gemm_kernel *kernel, vdb_element element, size_t dimension,
                       size_t queries, bool extreme)
{
    struct data data;
    uint32_t seen = 0;
    data_init(&data, element, dimension, queries, extreme);
    void *panel = vdb_alloc_aligned(kernel->panel_bytes(dimension));
    struct vdb_gemm_out *out = vdb_alloc_aligned(sizeof *out);
    assert_true(panel && out);
    kernel->pack(data.query, data.bytes, queries, dimension, 1, panel);
    memset(out, 0xA5, sizeof *out);
    struct vdb_gemm_tile tile = {.panel = panel,
                                 .rows = data.rows,
                                 .stride_bytes = data.stride,
                                 .dimension = dimension,
                                 .norm = data.norm,
                                 .bias = data.bias,
                                 .correction = data.correction,
                                 .gain = data.lanes,
                                 .limit = data.lanes + LANES};
    bool any = kernel->run(&tile, out);
    for (size_t r = 0; r < ROWS; r++) {
        seen |= out->passed[r];
        for (size_t l = 0; l < queries; l++) {
            check_passed(&data, kernel->name, out, r, l, check_product(&data, kernel->name, out, r, l));
        }
    }
    assert_int_equal(any, seen != 0);
    free(panel);
    free(out);
    data_fini(&data);
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

/* Lanes without a query: gain 0 and limit +infinity never pass, whatever the row, short of one that always does. */
static void test_lanes_of_padding_never_pass(void **state)
{
    (void)state;
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        for (unsigned with = 0; with < 2 && vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level); with++) {
            struct vdb_gemm table;
            vdb_gemm_fill(&table, (vdb_cpu_level)level, with ? vdb_cpu_detect_extensions() : 0);
            for (unsigned element = 0; element < VDB_GEMM_KERNELS; element++) {
                const struct vdb_gemm_kernel *kernel = &table.kernels[element];
                struct data data;
                data_init(&data, (vdb_element)element, 40, 3, false);
                void *panel = vdb_alloc_aligned(kernel->panel_bytes(40));
                struct vdb_gemm_out *out = vdb_alloc_aligned(sizeof *out);
                assert_true(panel && out);
                kernel->pack(data.query, data.bytes, 3, 40, 1, panel);
                for (size_t l = 3; l < LANES; l++) {
                    data.lanes[l] = 0;
                    data.lanes[LANES + l] = INFINITY;
                }
                data.bias[5] = FLT_MAX;
                struct vdb_gemm_tile tile = {
                    panel,      data.rows,          data.stride, 40,   data.norm, data.bias, data.correction,
                    data.lanes, data.lanes + LANES, NULL,        NULL, NULL,      NULL};
                (void)kernel->run(&tile, out);
                for (size_t r = 0; r < ROWS; r++) {
                    assert_int_equal(out->passed[r] >> 3, r == 3 ? UINT32_MAX >> 3 : 0);
                }
                free(panel);
                free(out);
                data_fini(&data);
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
        cmocka_unit_test(test_lanes_of_padding_never_pass),
        cmocka_unit_test(test_doubles_are_equal_on_all_levels),
    };
    vdb_rng_init(&rng, SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
