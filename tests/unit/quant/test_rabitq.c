/* test_rabitq.c: codes are the best there are, estimates have no bias, their bound holds as often as it says, and levels answer
 * alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "quant/fastscan.h"
#include "quant/rabitq.h"
#include "quant/rotation.h"

enum { SEED = 41, D = 192, CODE_BYTES_MAX = D / 8 * VDB_RABITQ_BITS_MAX };

static struct vdb_rng rng;

static void normals(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        x[i] = vdb_rng_normal(&rng);
    }
}

static double dot(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

static struct vdb_rabitq_encoder *encoder_of(size_t dimensions, unsigned bits, vdb_rabitq_search search)
{
    struct vdb_rabitq_encoder *encoder;
    assert_int_equal(vdb_rabitq_encoder_create(dimensions, bits, search, &encoder, NULL), VDB_OK);
    return encoder;
}

/* The squared cosine of the angle between a vector and its grid point. */
static double cosine_squared(const float *vector, size_t dimensions, unsigned bits, const uint8_t *code)
{
    double product = 0;
    double square = 0;
    for (size_t i = 0; i < dimensions; i++) {
        double y = vdb_rabitq_value(code, dimensions, bits, i) - ((1u << bits) - 1) / 2.0;
        product += y * (double)vector[i];
        square += y * y;
    }
    return product * product / square / dot(vector, vector, dimensions);
}

/* Factors are what the header says of the code. */
static void test_factors_follow_from_the_code(void **state)
{
    (void)state;
    float vector[D];
    uint8_t code[CODE_BYTES_MAX];
    for (unsigned bits = 1; bits <= VDB_RABITQ_BITS_MAX; bits++) {
        struct vdb_rabitq_encoder *encoder = encoder_of(D, bits, VDB_RABITQ_SEARCH_NEAR);
        for (unsigned round = 0; round < 5; round++) {
            struct vdb_rabitq_factors f;
            normals(vector, D);
            vdb_rabitq_encode(encoder, vector, code, &f);
            double square = dot(vector, vector, D);
            double product = 0;
            for (size_t i = 0; i < D; i++) {
                double y = vdb_rabitq_value(code, D, bits, i) - ((1u << bits) - 1) / 2.0;
                product += y * (double)vector[i];
                assert_true((vector[i] >= 0) == (y > 0));
            }
            double c2 = cosine_squared(vector, D, bits, code);
            assert_true(fabs((double)f.scale - square / product) < 1e-6 * square / product);
            assert_true(fabs((double)f.length - sqrt(square)) < 1e-6 * sqrt(square));
            assert_true(fabs((double)f.error - sqrt(square * (1 - c2) / c2 / (D - 1))) < 1e-5 * sqrt(square));
        }
        vdb_rabitq_encoder_destroy(encoder);
    }
}

/* Against all points of the grid, where they can be counted: 8 dimensions matter, the others are far smaller. */
static void test_exact_search_finds_the_best(void **state)
{
    (void)state;
    enum { FEW = 6, DIMS = 64 };
    float vector[DIMS];
    uint8_t code[DIMS / 8 * 3];
    for (unsigned bits = 2; bits <= 3; bits++) {
        struct vdb_rabitq_encoder *encoder = encoder_of(DIMS, bits, VDB_RABITQ_SEARCH_EXACT);
        for (unsigned round = 0; round < 20; round++) {
            struct vdb_rabitq_factors f;
            normals(vector, DIMS);
            for (size_t i = FEW; i < DIMS; i++) {
                vector[i] = 0; /* their level is the lowest in any best point */
            }
            vdb_rabitq_encode(encoder, vector, code, &f);
            const double found = cosine_squared(vector, DIMS, bits, code);
            const unsigned levels = 1u << (bits - 1);
            double best = 0;
            for (unsigned n = 0; n < (unsigned)pow(levels, FEW); n++) {
                double product = 0;
                double square = (DIMS - FEW) / 4.0;
                unsigned rest = n;
                for (size_t i = 0; i < FEW; i++, rest /= levels) {
                    double y = rest % levels + 0.5;
                    product += y * fabs((double)vector[i]);
                    square += y * y;
                }
                best = fmax(best, product * product / square / dot(vector, vector, DIMS));
            }
            assert_true(fabs(found - best) < 1e-12);
        }
        vdb_rabitq_encoder_destroy(encoder);
    }
}

/* What the near search loses, in the share of the angle's square: next to nothing. Normal, long-tailed, few distinct values. */
static void test_near_search_is_near_the_exact_one(void **state)
{
    (void)state;
    float vector[D];
    uint8_t code[CODE_BYTES_MAX];
    for (unsigned bits = 2; bits <= VDB_RABITQ_BITS_MAX; bits++) {
        struct vdb_rabitq_encoder *near = encoder_of(D, bits, VDB_RABITQ_SEARCH_NEAR);
        struct vdb_rabitq_encoder *exact = encoder_of(D, bits, VDB_RABITQ_SEARCH_EXACT);
        for (unsigned fill = 0; fill < 4; fill++) {
            double lost = 0;
            double had = 0;
            for (unsigned round = 0; round < 6; round++) {
                struct vdb_rabitq_factors f;
                normals(vector, D);
                for (size_t i = 0; i < D; i++) {
                    float x = vector[i];
                    vector[i] = fill == 1 ? x * x * x : fill == 2 ? rintf(x * 2) : x;
                    vector[i] = fill == 3 && i == 7 ? 100 : vector[i];
                }
                vdb_rabitq_encode(exact, vector, code, &f);
                double best = 1 - cosine_squared(vector, D, bits, code);
                vdb_rabitq_encode(near, vector, code, &f);
                double got = 1 - cosine_squared(vector, D, bits, code);
                assert_true(got >= best - 1e-12);
                lost += got - best;
                had += best;
            }
            if (!(lost <= 0.02 * had + 1e-12)) {
                fail_msg("%u bits, fill %u: %g of %g lost", bits, fill, lost, had);
            }
        }
        vdb_rabitq_encoder_destroy(near);
        vdb_rabitq_encoder_destroy(exact);
    }
}

/* R1, R2, over rotations at random of one pair that no rotation favours: far from normal, correlated. Errors are
 * counted in units of error * |q|. */
static void test_estimates_have_no_bias_and_keep_their_bound(void **state)
{
    (void)state;
    enum { ROTATIONS = 3000 };
    float *r = vdb_alloc_aligned(2 * D * sizeof *r);
    float *turned = vdb_alloc_aligned(2 * D * sizeof *turned);
    assert_true(r != NULL && turned != NULL);
    float *q = r + D;
    for (size_t i = 0; i < D; i++) {
        r[i] = expf(-(float)i / 10) * (i % 3 == 0 ? -1 : 1);
        q[i] = 0.6f * r[i] + 0.1f * (float)(i % 5);
    }
    const double exact = dot(r, q, D);
    const double q_length = sqrt(dot(q, q, D));
    const double l2 = dot(r, r, D) + dot(q, q, D) - 2 * exact;
    double sum[VDB_RABITQ_BITS_MAX + 1] = {0};
    double sum_square[VDB_RABITQ_BITS_MAX + 1] = {0};
    double worst_factor[VDB_RABITQ_BITS_MAX + 1] = {0};
    double l2_sum[VDB_RABITQ_BITS_MAX + 1] = {0};
    unsigned beyond_2[VDB_RABITQ_BITS_MAX + 1] = {0};
    unsigned beyond_4[VDB_RABITQ_BITS_MAX + 1] = {0};
    struct vdb_rabitq_encoder *encoders[VDB_RABITQ_BITS_MAX + 1];
    for (unsigned bits = 1; bits <= VDB_RABITQ_BITS_MAX; bits++) {
        encoders[bits] = encoder_of(D, bits, VDB_RABITQ_SEARCH_NEAR);
    }
    for (unsigned round = 0; round < ROTATIONS; round++) {
        struct vdb_rotation_options options = {.kind = VDB_ROTATION_RANDOM, .seed = vdb_rng_u64(&rng)};
        struct vdb_rotation *rotation;
        assert_int_equal(vdb_rotation_create(D, &options, &rotation, NULL), VDB_OK);
        vdb_rotation_apply_many(rotation, r, D, 2, D, turned, D, NULL);
        vdb_rotation_destroy(rotation);
        struct vdb_rabitq_query query;
        vdb_rabitq_query_init(&query, turned + D, D);
        /* More bits cost more: every tenth rotation has them all. */
        for (unsigned bits = 1; bits <= (round % 10 == 0 ? VDB_RABITQ_BITS_MAX : 3); bits++) {
            uint8_t code[CODE_BYTES_MAX];
            struct vdb_rabitq_factors f;
            vdb_rabitq_encode(encoders[bits], turned, code, &f);
            float s = vdb_rabitq_get()->dot(code, D, bits, turned + D);
            double error = (double)vdb_rabitq_product(&f, bits, s, query.sum) - exact;
            double unit = (double)f.error * q_length;
            sum[bits] += error / unit;
            sum_square[bits] += error / unit * error / unit;
            beyond_2[bits] += fabs(error) > 1.9 * unit;
            beyond_4[bits] += fabs(error) > 4 * unit;
            worst_factor[bits] = fmax(worst_factor[bits], (double)f.error / (double)f.length);
            l2_sum[bits] += (double)vdb_rabitq_l2(&f, bits, s, &query) - l2;
        }
    }
    for (unsigned bits = 1; bits <= VDB_RABITQ_BITS_MAX; bits++) {
        const double count = bits <= 3 ? ROTATIONS : ROTATIONS / 10;
        const double mean = sum[bits] / count;
        const double deviation = sqrt(sum_square[bits] / count);
        print_message("%u bits: bias %+.3f +- %.3f, deviation %.3f, beyond 1.9: %.2f%%, error factor %.5f\n",
                      bits, mean, 1 / sqrt(count), deviation, 100 * beyond_2[bits] / count, worst_factor[bits]);
        assert_true(fabs(mean) < 4 / sqrt(count));
        assert_true(deviation < 1.1);
        assert_true(beyond_2[bits] <= count * 0.057 + 4 * sqrt(count * 0.057));
        assert_true(beyond_4[bits] <= count * 2 * exp(-8) + 3);
        assert_true(fabs(l2_sum[bits] / count) <
                    4 * 2 * worst_factor[bits] * sqrt(dot(r, r, D)) * q_length / sqrt(count));
        /* About half the error with each bit more. */
        assert_true(bits == 1 || worst_factor[bits] < 0.6 * worst_factor[bits - 1]);
        vdb_rabitq_encoder_destroy(encoders[bits]);
    }
    free(r);
    free(turned);
}

/* One bit by a scan of 32 codes gives what the dot gives, up to the tables' own bound. */
static void test_signs_by_fastscan(void **state)
{
    (void)state;
    enum { COUNT = VDB_FASTSCAN_CODES };
    static uint8_t codes[COUNT * D / 8];
    struct vdb_rabitq_factors f[COUNT];
    uint8_t *packed = vdb_alloc_aligned(vdb_fastscan_packed_bytes(D));
    uint8_t *lut = vdb_alloc_aligned(vdb_fastscan_lut_bytes(D));
    assert_true(packed != NULL && lut != NULL);
    float vector[D];
    float query[D];
    for (size_t i = 0; i < COUNT; i++) {
        normals(vector, D);
        vdb_rabitq_encode_signs(vector, D, codes + i * D / 8, &f[i]);
    }
    normals(query, D);
    float scale;
    float bias;
    uint16_t out[COUNT];
    vdb_fastscan_pack(codes, D, packed);
    vdb_fastscan_tables(query, D, lut, &scale, &bias);
    vdb_fastscan_get()->scan(packed, lut, D, out);
    double magnitude = 0;
    for (size_t i = 0; i < D; i++) {
        magnitude += fabs((double)query[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        double exact = (double)vdb_rabitq_get()->dot(codes + i * D / 8, D, 1, query);
        assert_true(fabs((double)scale * out[i] + (double)bias - exact) <=
                    (double)scale * D / 8 + 0x1p-19 * magnitude);
    }
    free(packed);
    free(lut);
}

/* R3, and the dot's bound. */
static void test_levels_are_equal(void **state)
{
    (void)state;
    const size_t sizes[] = {64, 128, 320, 832, 4096};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t d = sizes[s];
        uint8_t *code = malloc(d / 8 * VDB_RABITQ_BITS_MAX);
        float *query = malloc(d * sizeof *query);
        assert_true(code != NULL && query != NULL);
        for (unsigned bits = 1; bits <= VDB_RABITQ_BITS_MAX; bits++) {
            for (unsigned fill = 0; fill < 3; fill++) {
                double magnitude = 0;
                double exact = 0;
                for (size_t i = 0; i < d / 8 * bits; i++) {
                    code[i] = (uint8_t)(fill == 0 ? vdb_rng_u64(&rng) : fill == 1 ? 0xFF : 0);
                }
                normals(query, d);
                for (size_t i = 0; i < d; i++) {
                    magnitude += fabs((double)query[i]);
                    exact += (double)query[i] * vdb_rabitq_value(code, d, bits, i);
                }
                struct vdb_rabitq table;
                vdb_rabitq_fill(&table, VDB_CPU_SCALAR);
                float *magnitudes = malloc(d * sizeof *magnitudes);
                assert_non_null(magnitudes);
                for (size_t i = 0; i < d; i++) {
                    magnitudes[i] = fabsf(query[i]);
                }
                float scores[2];
                const float level_max = (float)((1u << (bits - 1)) - 1);
                table.score(magnitudes, d, 0.4f * level_max, level_max, &scores[0], &scores[1]);
                const float expected = table.dot(code, d, bits, query);
                double bound = ((double)d / 16 + 8) * 0x1p-24 * ((1u << bits) - 1) * magnitude;
                assert_true(fabs((double)expected - exact) <= bound);
                for (unsigned level = 1; level < VDB_CPU_LEVEL_COUNT; level++) {
                    if (vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
                        vdb_rabitq_fill(&table, (vdb_cpu_level)level);
                        float got_scores[2];
                        table.score(magnitudes, d, 0.4f * level_max, level_max, &got_scores[0], &got_scores[1]);
                        assert_memory_equal(got_scores, scores, sizeof scores);
                        const float got = table.dot(code, d, bits, query);
                        if (memcmp(&got, &expected, sizeof got) != 0) {
                            fail_msg("%s, %zu dimensions, %u bits: %g, not %g", table.from, d, bits, (double)got,
                                     (double)expected);
                        }
                    }
                }
                free(magnitudes);
            }
        }
        free(code);
        free(query);
    }
}

static void test_strange_vectors(void **state)
{
    (void)state;
    float vector[D];
    uint8_t code[CODE_BYTES_MAX];
    uint8_t zeros[CODE_BYTES_MAX] = {0};
    for (unsigned bits = 1; bits <= 4; bits += 3) {
        struct vdb_rabitq_encoder *encoder = encoder_of(D, bits, VDB_RABITQ_SEARCH_NEAR);
        const float strange[] = {0, 1e-30f, NAN, INFINITY, -INFINITY, 3e38f};
        for (size_t s = 0; s < sizeof strange / sizeof strange[0]; s++) {
            struct vdb_rabitq_factors f;
            memset(vector, 0, sizeof vector);
            memset(code, 0xA5, sizeof code);
            vector[5] = strange[s];
            vdb_rabitq_encode(encoder, vector, code, &f);
            assert_memory_equal(code, zeros, vdb_rabitq_code_bytes(D, bits));
            assert_true(f.scale == 0 && f.error == 0);
            assert_true(s >= 2 && s < 5 ? !isfinite(f.length) : f.length == strange[s]);
        }
        /* One element alone, all equal: the grid has the first nearly, the second exactly. */
        struct vdb_rabitq_factors f;
        memset(vector, 0, sizeof vector);
        vector[9] = -1e10f;
        vdb_rabitq_encode(encoder, vector, code, &f);
        assert_true(f.scale > 0 && isfinite(f.error) && vdb_rabitq_value(code, D, bits, 9) == 0);
        for (size_t i = 0; i < D; i++) {
            vector[i] = -0.25f;
        }
        vdb_rabitq_encode(encoder, vector, code, &f);
        assert_true(f.error < 1e-6f);
        vdb_rabitq_encoder_destroy(encoder);
    }
}

static void test_bad_input_is_named(void **state)
{
    (void)state;
    const struct {
        size_t dimensions;
        unsigned bits, search;
        vdb_status status;
        const char *text;
    } wrong[] = {
        {0, 1, 0, VDB_INVALID, "dimensions: 0; a multiple of 64 from 64 on"},
        {65, 1, 0, VDB_INVALID, "dimensions: 65; a multiple of 64 from 64 on"},
        {65600, 1, 0, VDB_LIMIT, "dimensions: 65600; at most 65536"},
        {64, 0, 0, VDB_INVALID, "bits: 0; from 1 to 9"},
        {64, 10, 0, VDB_INVALID, "bits: 10; from 1 to 9"},
        {64, 9, 2, VDB_INVALID, "search: 2; at most 1"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct vdb_rabitq_encoder *encoder;
        struct vdb_err err = {0};
        assert_int_equal(vdb_rabitq_encoder_create(wrong[i].dimensions, wrong[i].bits,
                                                   (vdb_rabitq_search)wrong[i].search, &encoder, &err),
                         wrong[i].status);
        assert_null(encoder);
        assert_string_equal(err.text, wrong[i].text);
    }
    vdb_rabitq_encoder_destroy(NULL);
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
        cmocka_unit_test(test_factors_follow_from_the_code),
        cmocka_unit_test(test_exact_search_finds_the_best),
        cmocka_unit_test(test_near_search_is_near_the_exact_one),
        cmocka_unit_test(test_estimates_have_no_bias_and_keep_their_bound),
        cmocka_unit_test(test_signs_by_fastscan),
        cmocka_unit_test(test_levels_are_equal),
        cmocka_unit_test(test_strange_vectors),
        cmocka_unit_test(test_bad_input_is_named),
    };
    return cmocka_run_group_tests(tests, seed, NULL);
}
