/* fastscan.h: inner products of one query with 32 binary codes at once, by byte shuffles.
 *
 * André, Kermarrec and Le Scouarnec (VLDB 2015) keep the look-up tables of product quantisation in registers and
 * look 16 codes up in one shuffle; Gao and Long (SIGMOD 2024, section 3.3.2) do it for 1-bit codes: four bits of a code are one
 * of 16 patterns, whose sums of query values stand in a table of 16 bytes. Our differences: the four nibbles that one
 * 64-byte register covers lie side by side for each code, so that AVX-512 VBMI looks up four tables in one
 * vpermb and VNNI adds a code's four bytes in one instruction (1.5 times the form with vpshufb and 16-bit sums on a
 * Zen 5); and the tables' scale is taken from what the sums can reach, so any number of bits fits 16-bit sums.
 *
 * With `codes` of `bits` bits each (bits % 64 == 0, 64 to VDB_FASTSCAN_BITS_MAX; bit i is bit i % 8 of byte i / 8):
 *
 *     S1  scan: out[c] = sum over nibbles j of lut[16 j + nibble j of code c], exactly, at every level.
 *     S2  tables: lut, scale and bias are equal to the last bit at every level.
 *     S3  | scale * out[c] + bias  -  sum over the set bits i of code c of query[i] |
 *             <= scale * bits / 8  +  2^-20 * sum |query[i]|
 *         The first part is half a unit for each nibble; as roundings of different nibbles have nothing to do with each
 *         other, the error's standard deviation is near scale * sqrt(bits / 48).
 *
 * Packed layout, bits / 4 * 16 bytes: block r of 64 bytes holds nibbles 4 r to 4 r + 3 of all codes; its byte b
 * has nibble 4 r + b % 4 of code b / 4 in the low half and of code 16 + b / 4 in the high half.
 *
 * Threads: pure functions; the table is immutable after the first vdb_fastscan_get.
 */
#ifndef VDB_QUANT_FASTSCAN_H
#define VDB_QUANT_FASTSCAN_H

#include <stdbool.h>

#include "distance/kernels.h"

enum {
    VDB_FASTSCAN_CODES = 32,
    VDB_FASTSCAN_ALIGN = 64, /* of packed codes and tables */
    VDB_FASTSCAN_BITS_MULTIPLE = 64,
    VDB_FASTSCAN_BITS_MAX = 65536, /* VDB_LIMIT_DIMENSION_MAX */
};

static inline size_t vdb_fastscan_packed_bytes(size_t bits)
{
    return bits / 8 * VDB_FASTSCAN_CODES;
}

static inline size_t vdb_fastscan_lut_bytes(size_t bits)
{
    return bits / 4 * 16;
}

static inline bool vdb_fastscan_fits(size_t bits)
{
    return bits > 0 && bits <= VDB_FASTSCAN_BITS_MAX && bits % VDB_FASTSCAN_BITS_MULTIPLE == 0;
}

/* codes: 32 codes, row-major, bits / 8 bytes each. out: vdb_fastscan_packed_bytes(bits). */
void vdb_fastscan_pack(const uint8_t *codes, size_t bits, uint8_t *out);

/* Replaces one of the 32, or reads it back. code: bits / 8 bytes. */
void vdb_fastscan_set(uint8_t *packed, size_t bits, unsigned slot, const uint8_t *code);
void vdb_fastscan_get_code(const uint8_t *packed, size_t bits, unsigned slot, uint8_t *code);

/* Tables of a query of `bits` values. lut: vdb_fastscan_lut_bytes(bits), aligned. A query in which no four neighbours
 * differ from 0 by more than about 2^-118 has tables of 0 and scale 0; so has one that holds what is not finite or
 * overflows, and its bias is NaN. */
typedef void vdb_fastscan_tables_fn(const float *query, size_t bits, uint8_t *lut, float *scale, float *bias);

/* packed, lut: aligned. */
typedef void vdb_fastscan_fn(const uint8_t *packed, const uint8_t *lut, size_t bits, uint16_t out[32]);

struct vdb_fastscan {
    vdb_fastscan_fn *scan;
    vdb_fastscan_tables_fn *tables;
    const char *from; /* "scalar", "avx2", "avx512", "avx512vbmi": the file of `scan` */
};

/* The process's table, filled on the first call by what the processor has and VECDB_CPU allows. */
const struct vdb_fastscan *vdb_fastscan_get(void);

/* Fills a table of the caller's at a level that this machine runs, with a set of the vdb_cpu_extension it has. VNNI stands
 * for VBMI as well, where the processor has both. */
void vdb_fastscan_fill(struct vdb_fastscan *table, vdb_cpu_level level, unsigned extensions);

/* vdb_fastscan_get()->tables. */
void vdb_fastscan_tables(const float *query, size_t bits, uint8_t *lut, float *scale, float *bias);

/* ---- What the kernel files share; nobody else calls it ---- */

void vdb_fastscan_scalar(struct vdb_fastscan *table);
void vdb_fastscan_avx2(struct vdb_fastscan *table);
void vdb_fastscan_avx512(struct vdb_fastscan *table);
void vdb_fastscan_avx512vbmi(struct vdb_fastscan *table); /* needs VBMI and VNNI: scan */

/* From the greatest range of a nibble and the sum of all: the unit of the tables. Returns its inverse, 0 for tables of 0.
 * Byte of a sum t: (t - lowest) * inverse to the nearest, at most 255. */
static inline float vdb_fastscan_unit(float range_max, double range_sum, size_t bits, float *scale)
{
    /* Bytes end at 255; and rounded up by half each, they add up to at most 65,535. */
    double unit = (double)range_max / 255;
    double least = range_sum / (65534 - (double)bits / 8);
    unit = least > unit ? least : unit;
    if (!(unit >= 0x1p-126) || !(unit <= (double)FLT_MAX)) {
        *scale = 0;
        return 0;
    }
    *scale = (float)unit;
    return 1 / *scale;
}

#endif
