/* fastscan.c: packing, the reference in plain C, and the choice among levels. See fastscan.h. */
#include "fastscan.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "levels.h"

enum { CHAINS = 4 }; /* of the sums in double: nibble j goes to chain j % 4, at every level */

/* ---- Packing ---- */

/* Where the nibbles of one code begin: byte i of the code has nibbles 2 i and 2 i + 1, which are bytes
 * 64 (i / 2) + 2 (i % 2) and the next of the code's column. */
static uint8_t *column(uint8_t *packed, unsigned slot)
{
    return packed + slot % 16 * 4;
}

void vdb_fastscan_set(uint8_t *packed, size_t bits, unsigned slot, const uint8_t *code)
{
    assert(vdb_fastscan_fits(bits) && slot < VDB_FASTSCAN_CODES);
    uint8_t *at = column(packed, slot);
    const unsigned shift = slot < 16 ? 0 : 4;
    const unsigned keep = slot < 16 ? 0xF0 : 0x0F;
    for (size_t i = 0; i < bits / 8; i++) {
        uint8_t *pair = at + i / 2 * 64 + i % 2 * 2;
        pair[0] = (uint8_t)((pair[0] & keep) | (code[i] & 15u) << shift);
        pair[1] = (uint8_t)((pair[1] & keep) | (code[i] >> 4 & 15u) << shift);
    }
}

void vdb_fastscan_get_code(const uint8_t *packed, size_t bits, unsigned slot, uint8_t *code)
{
    assert(vdb_fastscan_fits(bits) && slot < VDB_FASTSCAN_CODES);
    const uint8_t *at = packed + slot % 16 * 4;
    const unsigned shift = slot < 16 ? 0 : 4;
    for (size_t i = 0; i < bits / 8; i++) {
        const uint8_t *pair = at + i / 2 * 64 + i % 2 * 2;
        code[i] = (uint8_t)((pair[0] >> shift & 15u) | (pair[1] >> shift & 15u) << 4);
    }
}

void vdb_fastscan_pack(const uint8_t *codes, size_t bits, uint8_t *out)
{
    assert(vdb_fastscan_fits(bits));
    const size_t code_bytes = bits / 8;
    for (unsigned slot = 0; slot < 16; slot++) {
        const uint8_t *low = codes + slot * code_bytes;
        const uint8_t *high = low + 16 * code_bytes;
        uint8_t *at = column(out, slot);
        for (size_t i = 0; i < code_bytes; i++) {
            uint8_t *pair = at + i / 2 * 64 + i % 2 * 2;
            pair[0] = (uint8_t)((low[i] & 15u) | (high[i] & 15u) << 4);
            pair[1] = (uint8_t)((low[i] >> 4) | (high[i] & 0xF0u));
        }
    }
}

/* ---- The reference ---- */

static void scan(const uint8_t *packed, const uint8_t *lut, size_t bits, uint16_t out[32])
{
    assert(vdb_fastscan_fits(bits));
    uint32_t sums[VDB_FASTSCAN_CODES] = {0};
    for (size_t r = 0; r < bits / 16; r++, packed += 64, lut += 64) {
        for (unsigned b = 0; b < 64; b++) {
            const uint8_t *table = lut + b % 4 * 16;
            sums[b / 4] += table[packed[b] & 15];
            sums[16 + b / 4] += table[packed[b] >> 4];
        }
    }
    for (unsigned c = 0; c < VDB_FASTSCAN_CODES; c++) {
        out[c] = (uint16_t)sums[c];
    }
}

/* The sum of the values of four whose bit is set in v. Additions pair up in one order at every level. */
static float subset_sum(const float *four, unsigned v)
{
    float q0 = (v & 1) != 0 ? four[0] : 0;
    float q1 = (v & 2) != 0 ? four[1] : 0;
    float q2 = (v & 4) != 0 ? four[2] : 0;
    float q3 = (v & 8) != 0 ? four[3] : 0;
    return (q0 + q1) + (q2 + q3);
}

/* The least and the greatest of the 16 sums. Rounding keeps order, so they are those of the negative and of the positive
 * values. A value that is not a number counts with neither. */
static float lowest(const float *four)
{
    float low[4];
    for (unsigned k = 0; k < 4; k++) {
        low[k] = four[k] < 0 ? four[k] : 0;
    }
    return (low[0] + low[1]) + (low[2] + low[3]);
}

static float highest(const float *four)
{
    float high[4];
    for (unsigned k = 0; k < 4; k++) {
        high[k] = four[k] > 0 ? four[k] : 0;
    }
    return (high[0] + high[1]) + (high[2] + high[3]);
}

static void tables(const float *query, size_t bits, uint8_t *lut, float *scale, float *bias)
{
    assert(vdb_fastscan_fits(bits));
    double ranges[CHAINS] = {0};
    double lows[CHAINS] = {0};
    float range_max = 0;
    bool finite = true;
    for (size_t j = 0; j < bits / 4; j++) {
        const float *four = query + 4 * j;
        float low = lowest(four);
        float range = highest(four) - low;
        for (unsigned k = 0; k < 4; k++) {
            finite = finite && fabsf(four[k]) <= FLT_MAX;
        }
        range_max = range > range_max ? range : range_max;
        ranges[j % CHAINS] += (double)range;
        lows[j % CHAINS] += (double)low;
    }
    float inverse = vdb_fastscan_unit(range_max, (ranges[0] + ranges[1]) + (ranges[2] + ranges[3]), bits, scale);
    *bias = (float)((lows[0] + lows[1]) + (lows[2] + lows[3]));
    finite = finite && range_max <= FLT_MAX && fabsf(*bias) <= FLT_MAX;
    if (!finite || inverse == 0) {
        memset(lut, 0, vdb_fastscan_lut_bytes(bits));
        *scale = 0;
        *bias = finite ? *bias : NAN;
        return;
    }
    for (size_t j = 0; j < bits / 4; j++) {
        const float *four = query + 4 * j;
        float low = lowest(four);
        for (unsigned v = 0; v < 16; v++) {
            long byte = lrintf((subset_sum(four, v) - low) * inverse);
            lut[16 * j + v] = (uint8_t)(byte > 255 ? 255 : byte);
        }
    }
}

void vdb_fastscan_scalar(struct vdb_fastscan *table)
{
    *table = (struct vdb_fastscan){scan, tables, "scalar"};
}

/* ---- The choice ---- */

void vdb_fastscan_fill(struct vdb_fastscan *table, vdb_cpu_level level, unsigned extensions)
{
    assert((extensions & ~vdb_cpu_detect_extensions()) == 0);
    VDB_QUANT_LEVELS_ENTER(fastscan, table, level);
#if defined(__x86_64__)
    if (level >= VDB_CPU_AVX512 && (extensions & VDB_CPU_AVX512VNNI) != 0 &&
        __builtin_cpu_supports("avx512vbmi")) {
        vdb_fastscan_avx512vbmi(table);
    }
#else
    (void)extensions;
#endif
}

VDB_QUANT_LEVELS_GET(fastscan, kernels->level, kernels->extensions)

void vdb_fastscan_tables(const float *query, size_t bits, uint8_t *lut, float *scale, float *bias)
{
    vdb_fastscan_get()->tables(query, bits, lut, scale, bias);
}
