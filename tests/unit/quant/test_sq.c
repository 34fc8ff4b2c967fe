/* test_sq.c: codes stay within their bound, distances on codes are those of decoded vectors, levels answer alike. */
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

#include "base/limits.h"
#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "quant/sq.h"
#include "quant/sq_kernels.h"

enum { SEED = 51, ROWS = 40 };

static struct vdb_rng rng;

static const size_t dimensions[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 784, VDB_LIMIT_DIMENSION_MAX};
enum { DIMENSIONS = sizeof dimensions / sizeof dimensions[0] };

/* Rows whose dimensions differ in place and width; dimension 1 is constant. */
static float *sample_create(size_t d)
{
    float *x = malloc(ROWS * d * sizeof *x);
    assert_non_null(x);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < d; i++) {
            float width = i == 1 ? 0 : 0.1f * (float)(1 + i % 7);
            x[row * d + i] = (float)(i % 5) * 10 - 20 + width * vdb_rng_normal(&rng);
        }
    }
    return x;
}

static struct vdb_sq *sq_of(const float *sample, size_t d, unsigned bits, vdb_sq_bounds bounds)
{
    struct vdb_sq_options options = {bits, bounds, sample, d, ROWS};
    struct vdb_sq *sq;
    assert_int_equal(vdb_sq_create(d, &options, &sq, NULL), VDB_OK);
    return sq;
}

/* Q1, for the sample's rows and what lies beyond. */
static void test_codes_stay_within_the_bound(void **state)
{
    (void)state;
    for (size_t n = 0; n < DIMENSIONS; n++) {
        const size_t d = dimensions[n];
        float *sample = sample_create(d);
        float *decoded = malloc(d * sizeof *decoded);
        assert_non_null(decoded);
        for (unsigned shape = 0; shape < 4; shape++) {
            const unsigned bits = shape % 2 == 0 ? 8 : 4;
            struct vdb_sq *sq = sq_of(sample, d, bits, shape < 2 ? VDB_SQ_BOUNDS_EACH : VDB_SQ_BOUNDS_COMMON);
            const double levels = bits == 8 ? 255 : 15;
            const size_t bytes = vdb_sq_code_bytes(sq);
            assert_int_equal(vdb_sq_dimension(sq), d);
            assert_int_equal(vdb_sq_bits(sq), bits);
            assert_int_equal(bytes, bits == 8 ? (d + 15) / 16 * 16 : (d + 31) / 32 * 16);
            uint8_t *code = malloc(bytes);
            assert_non_null(code);
            for (size_t row = 0; row < ROWS; row++) {
                const float *x = sample + row * d;
                vdb_sq_encode(sq, x, code);
                vdb_sq_decode(sq, code, decoded);
                for (size_t i = 0; i < d; i++) {
                    double low = (double)vdb_sq_low(sq, i);
                    double step = (double)vdb_sq_step(sq, i);
                    double most = fmax(fabs(low), fabs(low + levels * step));
                    double bound = step * (0.5 + 0x1p-14) + 0x1p-22 * most + 0x1p-126;
                    assert_true((double)x[i] >= low && (double)x[i] <= low + levels * step + bound);
                    assert_true(fabs((double)decoded[i] - (double)x[i]) <= bound);
                }
            }
            float *beyond = malloc(d * sizeof *beyond);
            assert_non_null(beyond);
            const float strange[] = {1e30f, -1e30f, INFINITY, -INFINITY, NAN};
            for (size_t s = 0; s < 5; s++) {
                for (size_t i = 0; i < d; i++) {
                    beyond[i] = strange[s];
                }
                vdb_sq_encode(sq, beyond, code);
                vdb_sq_decode(sq, code, decoded);
                const double level = s == 0 || s == 2 ? levels : 0;
                double expected = (double)vdb_sq_low(sq, 0) + (double)vdb_sq_step(sq, 0) * level;
                assert_true(decoded[0] == (float)expected);
            }
            free(beyond);
            free(code);
            vdb_sq_destroy(sq);
        }
        free(sample);
        free(decoded);
    }
}

/* Q2 against doubles, Q3, and padding that must not count. */
static void test_distances_are_those_of_decoded_vectors(void **state)
{
    (void)state;
    for (size_t n = 0; n + 1 < DIMENSIONS; n++) {
        const size_t d = dimensions[n];
        float *sample = sample_create(d);
        float *decoded = malloc(2 * d * sizeof *decoded);
        assert_non_null(decoded);
        for (unsigned shape = 0; shape < 4; shape++) {
            const unsigned bits = shape % 2 == 0 ? 8 : 4;
            const bool common = shape >= 2;
            struct vdb_sq *sq = sq_of(sample, d, bits, common ? VDB_SQ_BOUNDS_COMMON : VDB_SQ_BOUNDS_EACH);
            const size_t bytes = vdb_sq_code_bytes(sq);
            uint8_t *codes = malloc(ROWS * (bytes + 3));
            float *scratch = vdb_alloc_aligned(vdb_sq_query_floats(sq) * sizeof *scratch);
            assert_true(codes != NULL && scratch != NULL);
            for (size_t row = 0; row < ROWS; row++) {
                vdb_sq_encode(sq, sample + row * d, codes + row * (bytes + 3));
            }
            for (unsigned metric = VDB_METRIC_L2; metric <= VDB_METRIC_DOT;
                 metric += VDB_METRIC_DOT - VDB_METRIC_L2) {
                struct vdb_sq_query query;
                float out[ROWS];
                const float *q = sample + 3 * d;
                assert_int_equal(vdb_sq_query_init(&query, sq, (vdb_metric)metric, q, scratch, NULL), VDB_OK);
                vdb_sq_distances(&query, codes, bytes + 3, ROWS, out);
                for (size_t row = 0; row < ROWS; row++) {
                    vdb_sq_decode(sq, codes + row * (bytes + 3), decoded);
                    double exact = 0;
                    double e = 0;
                    for (size_t i = 0; i < d; i++) {
                        double low = (double)vdb_sq_low(sq, i);
                        double x = (double)decoded[i];
                        if (metric == VDB_METRIC_L2) {
                            exact += ((double)q[i] - x) * ((double)q[i] - x);
                            e += pow(fabs((double)q[i]) + fabs(low) + fabs(x - low), 2);
                        } else {
                            exact -= (double)q[i] * x;
                            e += fabs((double)q[i]) * (fabs(low) + fabs(x - low));
                        }
                    }
                    if (!(fabs((double)out[row] - exact) <= ((double)d / 16 + 16) * 0x1p-24 * e)) {
                        fail_msg("%zu dimensions, %u bits, metric %u, row %zu: %g, not %g", d, bits, metric, row,
                                 (double)out[row], exact);
                    }
                }
            }
            double between = 0;
            struct vdb_err err;
            vdb_status status = vdb_sq_between(sq, codes, codes + bytes + 3, &between, &err);
            assert_int_equal(status, common && bits == 8 ? VDB_OK : VDB_UNSUPPORTED);
            if (status == VDB_OK) {
                double exact = 0;
                for (size_t i = 0; i < d; i++) {
                    double difference = (double)codes[i] - (double)codes[bytes + 3 + i];
                    exact += difference * difference;
                }
                assert_true(between == (double)vdb_sq_step(sq, 0) * (double)vdb_sq_step(sq, 0) * exact);
            }
            struct vdb_sq_query query;
            assert_int_equal(vdb_sq_query_init(&query, sq, VDB_METRIC_COSINE, sample, scratch, &err),
                             VDB_UNSUPPORTED);
            assert_string_equal(err.text, "metric: cosine on scalar codes; l2 or dot");
            free(codes);
            free(scratch);
            vdb_sq_destroy(sq);
        }
        free(sample);
        free(decoded);
    }
}

/* As wide as f32 is: what decodes stays finite, and no step is lost. */
static void test_the_widest_bounds(void **state)
{
    (void)state;
    const float ends[][2] = {{0, FLT_MAX}, {-FLT_MAX, FLT_MAX}, {-FLT_MAX, 0}, {0, 1e-44f}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        for (unsigned bits = 4; bits <= 8; bits += 4) {
            struct vdb_sq_options options = {bits, VDB_SQ_BOUNDS_EACH, ends[i], 1, 2};
            struct vdb_sq *sq;
            uint8_t code[16];
            float decoded;
            assert_int_equal(vdb_sq_create(1, &options, &sq, NULL), VDB_OK);
            for (size_t end = 0; end < 2; end++) {
                vdb_sq_encode(sq, &ends[i][end], code);
                vdb_sq_decode(sq, code, &decoded);
                assert_true(isfinite(decoded));
                const double bound = i < 3 ? 0x1p-20 * (double)FLT_MAX : 0x1p-126;
                assert_true(fabs((double)decoded - (double)ends[i][end]) <= bound);
            }
            vdb_sq_destroy(sq);
        }
    }
}

static void test_levels_are_equal(void **state)
{
    (void)state;
    const size_t sizes[] = {32, 64, 96, 800, 4096};
    struct vdb_sq_kernels scalar;
    vdb_sq_kernels_fill(&scalar, VDB_CPU_SCALAR);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t d = sizes[s];
        uint8_t *code = malloc(d + 1);
        float *offsets = vdb_alloc_aligned(d * sizeof *offsets);
        float *weights = vdb_alloc_aligned(d * sizeof *weights);
        assert_true(code != NULL && offsets != NULL && weights != NULL);
        for (size_t i = 0; i < d; i++) {
            code[i + 1] = (uint8_t)vdb_rng_u64(&rng);
            offsets[i] = 100 * vdb_rng_normal(&rng);
            weights[i] = vdb_rng_normal(&rng);
        }
        for (unsigned level = 1; level < VDB_CPU_LEVEL_COUNT; level++) {
            if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
                continue;
            }
            struct vdb_sq_kernels table;
            vdb_sq_kernels_fill(&table, (vdb_cpu_level)level);
            for (unsigned width = 0; width < 2; width++) {
                float expected[2] = {scalar.l2[width](code + 1, d, offsets, weights),
                                     scalar.dot[width](code + 1, d, offsets, weights)};
                float got[2] = {table.l2[width](code + 1, d, offsets, weights),
                                table.dot[width](code + 1, d, offsets, weights)};
                if (memcmp(got, expected, sizeof got) != 0) {
                    fail_msg("%s, %zu dimensions, width %u: %g %g, not %g %g", table.from, d, width,
                             (double)got[0], (double)got[1], (double)expected[0], (double)expected[1]);
                }
            }
        }
        free(code);
        free(offsets);
        free(weights);
    }
}

static void test_saved_ones_load(void **state)
{
    (void)state;
    enum { D = 37 };
    float *sample = sample_create(D);
    for (unsigned common = 0; common < 2; common++) {
        struct vdb_sq *sq = sq_of(sample, D, 4, (vdb_sq_bounds)common);
        struct vdb_sq *loaded;
        struct vdb_buf bytes = {0};
        struct vdb_cursor cursor;
        struct vdb_err err;
        vdb_sq_save(sq, &bytes);
        vdb_buf_put_u8(&bytes, 1);
        vdb_cursor_init(&cursor, bytes.data, bytes.bytes);
        assert_int_equal(vdb_sq_load(&cursor, &loaded, &err), VDB_OK);
        assert_int_equal(vdb_cursor_left(&cursor), 1);
        uint8_t a[32];
        uint8_t b[32];
        vdb_sq_encode(sq, sample, a);
        vdb_sq_encode(loaded, sample, b);
        assert_memory_equal(a, b, vdb_sq_code_bytes(sq));
        vdb_sq_destroy(loaded);
        for (size_t cut = 0; cut + 1 < bytes.bytes; cut++) {
            vdb_cursor_init(&cursor, bytes.data, cut);
            assert_int_equal(vdb_sq_load(&cursor, &loaded, &err), VDB_CORRUPT);
            assert_null(loaded);
        }
        const struct {
            size_t at;
            uint32_t value;
            vdb_status status;
        } wrong[] = {{0, 1, VDB_CORRUPT},           {4, 2, VDB_VERSION},
                     {8, 5, VDB_CORRUPT},           {12, 2, VDB_CORRUPT},
                     {16, 0, VDB_CORRUPT},          {16, 65537, VDB_CORRUPT},
                     {20, 0x7FC00000, VDB_CORRUPT}, {20 + 4 * D, 0xBF800000, VDB_CORRUPT},
                     {20 + 4 * D, 1, VDB_CORRUPT},  {24, 0x42000000, common != 0 ? VDB_CORRUPT : VDB_OK}};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            uint32_t old = vdb_load_u32(bytes.data + wrong[i].at);
            vdb_store_u32(bytes.data + wrong[i].at, wrong[i].value);
            vdb_cursor_init(&cursor, bytes.data, bytes.bytes);
            assert_int_equal(vdb_sq_load(&cursor, &loaded, &err), wrong[i].status);
            vdb_sq_destroy(loaded);
            vdb_store_u32(bytes.data + wrong[i].at, old);
        }
        vdb_buf_fini(&bytes);
        vdb_sq_destroy(sq);
    }
    free(sample);
}

static void expect_refused(size_t dimension, struct vdb_sq_options options, vdb_status status, const char *text)
{
    struct vdb_sq *sq;
    struct vdb_err err = {0};
    assert_int_equal(vdb_sq_create(dimension, &options, &sq, &err), status);
    assert_null(sq);
    assert_string_equal(err.text, text);
}

static void test_bad_input_is_named(void **state)
{
    (void)state;
    float sample[8] = {0, 1, 2, 3, 4, 5, 6, NAN};
    const struct vdb_sq_options options = {8, VDB_SQ_BOUNDS_EACH, sample, 4, 2};
    struct vdb_sq_options wrong = options;
    expect_refused(4, options, VDB_INVALID, "sample: element 3 of row 1 is not finite");
    expect_refused(0, options, VDB_INVALID, "dimension: 0; at least 1");
    expect_refused(65537, options, VDB_LIMIT, "dimension: 65537; at most 65536");
    wrong.bits = 5;
    expect_refused(4, wrong, VDB_INVALID, "bits: 5; 4 or 8");
    wrong = options;
    wrong.bounds = (vdb_sq_bounds)2;
    expect_refused(4, wrong, VDB_INVALID, "bounds: 2; at most 1");
    wrong = options;
    wrong.sample_count = 0;
    expect_refused(4, wrong, VDB_INVALID, "sample_count: 0; at least 1");
    wrong = options;
    wrong.sample_stride = 3;
    expect_refused(4, wrong, VDB_INVALID, "sample_stride: 3; at least the dimension, 4");
    vdb_sq_destroy(NULL);
}

static int seed(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    vdb_rng_init(&rng, SEED);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes_stay_within_the_bound),
        cmocka_unit_test(test_distances_are_those_of_decoded_vectors),
        cmocka_unit_test(test_the_widest_bounds),
        cmocka_unit_test(test_levels_are_equal),
        cmocka_unit_test(test_saved_ones_load),
        cmocka_unit_test(test_bad_input_is_named),
    };
    return cmocka_run_group_tests(tests, seed, NULL);
}
