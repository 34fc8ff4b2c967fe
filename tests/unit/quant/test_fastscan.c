/* test_fastscan.c: packing, tables and scans of every level against sums taken one by one. */
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

enum { SEED = 11, CODES = VDB_FASTSCAN_CODES, LEVELS_MAX = 8, POISON = 0xA5 };

static struct vdb_rng rng;

/* Every table this machine can fill. */
static unsigned all_levels(struct vdb_fastscan levels[LEVELS_MAX])
{
    unsigned count = 0;
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        if (vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            vdb_fastscan_fill(&levels[count++], (vdb_cpu_level)level, 0);
        }
    }
    if (vdb_cpu_detect_extensions() != 0) {
        vdb_fastscan_fill(&levels[count++], VDB_CPU_AVX512, vdb_cpu_detect_extensions());
    }
    return count;
}

static const size_t sizes[] = {64, 128, 192, 256, 320, 448, 784 / 64 * 64 + 64, 1024, 1088, 4096, 65536};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

struct buffers {
    uint8_t *codes, *packed, *lut;
    float *query;
};

static struct buffers buffers_create(size_t bits)
{
    struct buffers b = {vdb_alloc_aligned(bits / 8 * CODES), vdb_alloc_aligned(vdb_fastscan_packed_bytes(bits)),
                        vdb_alloc_aligned(vdb_fastscan_lut_bytes(bits)), malloc(bits * sizeof(float))};
    assert_true(b.codes != NULL && b.packed != NULL && b.lut != NULL && b.query != NULL);
    for (size_t i = 0; i < bits / 8 * CODES; i++) {
        b.codes[i] = (uint8_t)vdb_rng_u64(&rng);
    }
    memset(b.packed, POISON, vdb_fastscan_packed_bytes(bits));
    return b;
}

static void buffers_destroy(struct buffers *b)
{
    free(b->codes);
    free(b->packed);
    free(b->lut);
    free(b->query);
}

static unsigned code_bit(const struct buffers *b, size_t bits, unsigned code, size_t i)
{
    return b->codes[code * (bits / 8) + i / 8] >> i % 8 & 1u;
}

static void test_packing(void **state)
{
    (void)state;
    for (size_t s = 0; s < SIZES; s++) {
        const size_t bits = sizes[s];
        const size_t bytes = vdb_fastscan_packed_bytes(bits);
        struct buffers b = buffers_create(bits);
        uint8_t *one_by_one = malloc(bytes);
        uint8_t *code = malloc(bits / 8);
        assert_true(one_by_one != NULL && code != NULL);
        memset(one_by_one, POISON, bytes);
        vdb_fastscan_pack(b.codes, bits, b.packed);
        for (unsigned c = 0; c < CODES; c++) { /* in a scattered order: no slot may touch another */
            unsigned slot = c * 13 % CODES;
            vdb_fastscan_set(one_by_one, bits, slot, b.codes + slot * (bits / 8));
        }
        assert_memory_equal(one_by_one, b.packed, bytes);
        for (unsigned c = 0; c < CODES; c++) {
            vdb_fastscan_get_code(b.packed, bits, c, code);
            assert_memory_equal(code, b.codes + c * (bits / 8), bits / 8);
        }
        memset(code, 0, bits / 8);
        vdb_fastscan_set(b.packed, bits, 17, code);
        for (unsigned c = 0; c < CODES; c++) {
            vdb_fastscan_get_code(b.packed, bits, c, code);
            if (c != 17) {
                assert_memory_equal(code, b.codes + c * (bits / 8), bits / 8);
            }
        }
        free(one_by_one);
        free(code);
        buffers_destroy(&b);
    }
}

/* S1 on tables of random bytes, and of the greatest that fit. */
static void test_scans_are_exact(void **state)
{
    (void)state;
    struct vdb_fastscan levels[LEVELS_MAX];
    const unsigned level_count = all_levels(levels);
    for (size_t s = 0; s < SIZES; s++) {
        const size_t bits = sizes[s];
        for (unsigned fill = 0; fill < 2; fill++) {
            struct buffers b = buffers_create(bits);
            const unsigned byte_max = bits <= 1024 ? 255 : (unsigned)(65535 / (bits / 4));
            for (size_t i = 0; i < vdb_fastscan_lut_bytes(bits); i++) {
                b.lut[i] = (uint8_t)(fill == 0 ? vdb_rng_below(&rng, byte_max + 1) : byte_max);
            }
            vdb_fastscan_pack(b.codes, bits, b.packed);
            uint32_t expected[CODES] = {0};
            for (unsigned c = 0; c < CODES; c++) {
                for (size_t j = 0; j < bits / 4; j++) {
                    unsigned nibble = 0;
                    for (unsigned k = 0; k < 4; k++) {
                        nibble |= code_bit(&b, bits, c, 4 * j + k) << k;
                    }
                    expected[c] += b.lut[16 * j + nibble];
                }
            }
            for (unsigned l = 0; l < level_count; l++) {
                uint16_t out[CODES + 2];
                memset(out, POISON, sizeof out);
                levels[l].scan(b.packed, b.lut, bits, out + 1); /* out needs no alignment */
                for (unsigned c = 0; c < CODES; c++) {
                    if (out[1 + c] != expected[c]) {
                        fail_msg("%s, %zu bits, code %u: %u, not %" PRIu32, levels[l].from, bits, c, out[1 + c],
                                 expected[c]);
                    }
                }
                assert_int_equal(out[0], POISON << 8 | POISON);
                assert_int_equal(out[CODES + 1], POISON << 8 | POISON);
            }
            buffers_destroy(&b);
        }
    }
}

/* S2, S3. fill 0: normal, 1: one nibble outweighs all, 2: all negative, 3: the least that has tables, 4: large */
static void test_tables_stay_within_the_bound(void **state)
{
    (void)state;
    struct vdb_fastscan levels[LEVELS_MAX];
    const unsigned level_count = all_levels(levels);
    for (size_t s = 0; s < SIZES; s++) {
        const size_t bits = sizes[s];
        for (unsigned fill = 0; fill < 5; fill++) {
            struct buffers b = buffers_create(bits);
            double magnitude = 0;
            for (size_t i = 0; i < bits; i++) {
                float x = vdb_rng_normal(&rng);
                x = fill == 1 && i / 4 == 3 ? x * 1e6f : fill == 2 ? -fabsf(x) : x;
                b.query[i] = fill == 3 ? x * 0x1p-112f : fill == 4 ? x * 0x1p100f : x;
                magnitude += fabs((double)b.query[i]);
            }
            uint8_t *other = vdb_alloc_aligned(vdb_fastscan_lut_bytes(bits));
            assert_non_null(other);
            float scale = 0;
            float bias = 0;
            levels[0].tables(b.query, bits, b.lut, &scale, &bias);
            assert_true(scale > 0);
            for (unsigned l = 1; l < level_count; l++) {
                float other_scale = 0;
                float other_bias = 0;
                levels[l].tables(b.query, bits, other, &other_scale, &other_bias);
                assert_memory_equal(&other_scale, &scale, sizeof scale);
                assert_memory_equal(&other_bias, &bias, sizeof bias);
                assert_memory_equal(other, b.lut, vdb_fastscan_lut_bytes(bits));
            }
            /* Code 0: the nibbles of the greatest bytes. Their sum must fit 16 bits. */
            uint32_t most = 0;
            for (size_t j = 0; j < bits / 4; j++) {
                unsigned best = 0;
                for (unsigned v = 1; v < 16; v++) {
                    best = b.lut[16 * j + v] > b.lut[16 * j + best] ? v : best;
                }
                most += b.lut[16 * j + best];
                b.codes[j / 2] = (uint8_t)((b.codes[j / 2] & (0xF0u >> j % 2 * 4)) | best << j % 2 * 4);
            }
            assert_true(most <= 65535);
            vdb_fastscan_pack(b.codes, bits, b.packed);
            uint16_t out[CODES];
            levels[level_count - 1].scan(b.packed, b.lut, bits, out);
            assert_int_equal(out[0], most);
            for (unsigned c = 0; c < CODES; c++) {
                double exact = 0;
                for (size_t i = 0; i < bits; i++) {
                    exact += code_bit(&b, bits, c, i) != 0 ? (double)b.query[i] : 0;
                }
                double error = fabs((double)scale * out[c] + (double)bias - exact);
                double bound = (double)scale * (double)bits / 8 + 0x1p-20 * magnitude;
                if (!(error <= bound)) {
                    fail_msg("%zu bits, fill %u, code %u: error %g, bound %g", bits, fill, c, error, bound);
                }
            }
            free(other);
            buffers_destroy(&b);
        }
    }
}

static void test_queries_without_tables(void **state)
{
    (void)state;
    enum { BITS = 192 };
    struct vdb_fastscan levels[LEVELS_MAX];
    const unsigned level_count = all_levels(levels);
    const float strange[] = {0, NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f};
    for (unsigned l = 0; l < level_count; l++) {
        for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
            struct buffers b = buffers_create(BITS);
            memset(b.query, 0, BITS * sizeof(float));
            b.query[100] = strange[i];
            b.query[101] = strange[i];
            float scale = 1;
            float bias = 1;
            memset(b.lut, POISON, vdb_fastscan_lut_bytes(BITS));
            levels[l].tables(b.query, BITS, b.lut, &scale, &bias);
            assert_true(scale == 0);
            assert_true(i == 0 || i == 6 ? fabsf(bias) < 1e-39f : isnan(bias));
            for (size_t k = 0; k < vdb_fastscan_lut_bytes(BITS); k++) {
                assert_int_equal(b.lut[k], 0);
            }
            buffers_destroy(&b);
        }
    }
}

static void test_levels_come_from_their_files(void **state)
{
    (void)state;
    struct vdb_fastscan table;
    vdb_fastscan_fill(&table, VDB_CPU_SCALAR, 0);
    assert_string_equal(table.from, "scalar");
    if (vdb_cpu_runs(vdb_cpu_detect(), VDB_CPU_AVX2)) {
        vdb_fastscan_fill(&table, VDB_CPU_AVX2, 0);
        assert_string_equal(table.from, "avx2");
    }
    if (vdb_cpu_runs(vdb_cpu_detect(), VDB_CPU_AVX512)) {
        vdb_fastscan_fill(&table, VDB_CPU_AVX512, 0);
        assert_string_equal(table.from, "avx512");
    }
    assert_non_null(vdb_fastscan_get()->scan);
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
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_scans_are_exact),
        cmocka_unit_test(test_tables_stay_within_the_bound),
        cmocka_unit_test(test_queries_without_tables),
        cmocka_unit_test(test_levels_come_from_their_files),
    };
    return cmocka_run_group_tests(tests, seed, NULL);
}
