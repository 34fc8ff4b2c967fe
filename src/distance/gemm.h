/* gemm.h: inner products of many queries with many rows, a tile at a time, and the test that picks out of a tile
 * the pairs that may be near.
 *
 * A tile is VDB_GEMM_ROWS rows, read where they lie, against one panel of VDB_GEMM_LANES queries, packed once:
 * the panel's k-th element of all queries lies together, so a register holds one element of 16 (or 8) queries and
 * each element of a row is broadcast over it. A tile's products never leave the first-level cache.
 *
 * The test, per pair of row r and lane l, with `dot` the computed product as a float:
 *
 *     the pair passes unless  dot + gain[l] * norm[r] < bias[r] + limit[l]      (a NaN on either side passes)
 *
 * G0 A pair passes if  dot + gain * norm >= bias + limit  holds in real arithmetic and has  2^-24 |gain * norm| + 2^-126
 *    to spare. For the right side is rounded once, and so is the left one where it is fused: rounding to nearest keeps
 *    order, so there a pair needs nothing to spare. Plain C rounds the product on its own first, which may lose that
 *    much; from then on order is kept there too. index/exact_bound.h derives the four numbers from a distance that must
 *    not be missed, and what they have to spare.
 *
 * G1 u8 and i8: dots are exact, modulo 2^32: as uint32_t for u8 (up to 65,536 * 255^2 < 2^32), as int32_t for i8.
 * G2 f32: each lane is one chain of `dimension` multiply-adds in f32 from 0, in ascending order, so with
 *    n = dimension + 1 roundings of the first term:
 *        |dot - exact| <= gamma(n) sum |a_i b_i| + 2 n 2^-126       gamma(n) = n 2^-24 / (1 - n 2^-24)
 *    The last part: products and sums below the normal range, which may also be flushed to 0.
 * G3 A row's bytes outside its `dimension` elements are not read.
 *
 * The low-precision tile (vdb_gemm.low) multiplies the 8-bit codes of f32 vectors (vdb_gemm_quantise_fn), exactly
 * (G1), and its test scales the product back and adds what the codes leave open:
 *
 *     the pair passes unless  dot * lane_scale[l] * scale[r] + limit[l] + gain[l] * norm[r]
 *                             + lane_length[l] * residual[r] < bias[r]         (a NaN on either side passes)
 *
 * G4 The left side is summed in this order with at most nine roundings to float (in plain C; five when fused), so
 *    it is within 2^-20 of the sum of its terms' absolute values of the exact one, plus 2^-140 for underflow;
 *    index/exact_low.h has that in its numbers.
 *
 * Threads: pure functions; the tables are immutable.
 */
#ifndef VDB_DISTANCE_GEMM_H
#define VDB_DISTANCE_GEMM_H

#include <stdbool.h>

#include "kernels.h"

enum {
    VDB_GEMM_ROWS = 12,  /* 12 rows x 2 registers of queries = 24 of AVX-512's 32 registers for sums */
    VDB_GEMM_LANES = 32, /* queries of a panel */
};

struct vdb_gemm_tile {
    const void *panel;
    const void *rows; /* VDB_GEMM_ROWS of them, any alignment */
    size_t stride_bytes;
    size_t dimension;
    const float *norm; /* per row */
    const float *bias; /* per row */
    const int32_t
        *correction; /* per row, integers only: sum of the row's elements times 128 (u8) or -128 (i8), mod 2^32 */
    const float *gain;  /* per lane, aligned to 64 bytes */
    const float *limit; /* per lane, aligned to 64 bytes */
    /* Low-precision tiles only. */
    const float *scale;       /* per row */
    const float *residual;    /* per row */
    const float *lane_scale;  /* per lane, aligned to 64 bytes */
    const float *lane_length; /* per lane, aligned to 64 bytes */
};

struct vdb_gemm_out {
    _Alignas(64) union {
        float f32[VDB_GEMM_ROWS][VDB_GEMM_LANES];
        uint32_t u32[VDB_GEMM_ROWS][VDB_GEMM_LANES];
        int32_t i32[VDB_GEMM_ROWS][VDB_GEMM_LANES];
    } dots;
    uint32_t passed[VDB_GEMM_ROWS]; /* bit l: lane l passed */
};

/* Fills out; returns true when any bit of `passed` is set. */
typedef bool vdb_gemm_fn(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out);

/* Bytes of one panel, a multiple of 64. */
typedef size_t vdb_gemm_panel_bytes_fn(size_t dimension);

/* Packs `count` (1..VDB_GEMM_LANES) queries that lie stride_bytes apart; lanes past them are zero. f32 elements
 * are multiplied by `scale`. panel is aligned to 64 bytes. */
typedef void vdb_gemm_pack_fn(const void *queries, size_t stride_bytes, size_t count, size_t dimension,
                              float scale, void *panel);

struct vdb_gemm_kernel {
    vdb_gemm_fn *run;
    vdb_gemm_panel_bytes_fn *panel_bytes;
    vdb_gemm_pack_fn *pack;
    const char *name; /* "avx512-vnni" */
};

/* By element: f32, u8, i8 (their numbers 0 to 2). */
enum { VDB_GEMM_KERNELS = 3 };

/* A vector's codes: with x = factor * vector - centre, elementwise and as rounded to double, x is about scale * codes.
 * All in double, in any order of summation: square and residual are within 2^-36 of the exact ones of that x, relative
 * to themselves (their terms are none below 0, and each is right to a few roundings, since scale * code is exact in
 * double); centre_dot is, relative to |x| |centre|. x + centre is within 2^-52 of factor * vector elementwise, relative
 * to the greater of it and (factor 1) x, (else) itself. */
struct vdb_gemm_codes {
    double square;     /* |x|^2 */
    double residual;   /* |x - scale * codes|^2: may be far below square, and is right there too */
    double centre_dot; /* x . centre */
    float scale;
    int32_t sum; /* of the codes */
};

/* Writes `padded` codes, zero from `dimension` on. step: the scale to take, codes clipped to -128..127; or 0: the
 * greatest |x| becomes 127. With anything not finite, `square` is not finite either, or a NaN. */
typedef void vdb_gemm_quantise_fn(const float *vector, double factor, const double *centre, size_t dimension,
                                  float step, size_t padded, int8_t *codes, struct vdb_gemm_codes *out);

enum {
    VDB_GEMM_CODES_MULTIPLE = 16, /* codes of a vector are padded to this many */
    VDB_GEMM_CODES_SLACK = 64,    /* bytes that may be read past the codes of the last row of a tile */
};

struct vdb_gemm {
    struct vdb_gemm_kernel kernels[VDB_GEMM_KERNELS];
    struct vdb_gemm_kernel low; /* takes i8 codes as queries and rows, a multiple of 16; out->dots is undefined */
    struct vdb_gemm_kernel amx; /* the same by AMX, which reads past a row's codes; run is NULL
                                   where AMX is not at hand */
    vdb_gemm_quantise_fn *quantise;
};

/* NULL when AMX can be used by this process (asks the system for it on the first call), else why not. */
const char *vdb_gemm_amx_missing(void);

/* The kernels of a level and of the extensions to avx512 (a set of vdb_cpu_extension): the processor has them. */
void vdb_gemm_fill(struct vdb_gemm *table, vdb_cpu_level level, unsigned extensions);

/* Each sets the entries it has. */
void vdb_gemm_scalar(struct vdb_gemm *table);
void vdb_gemm_avx2(struct vdb_gemm *table);
void vdb_gemm_avx512(struct vdb_gemm *table);
void vdb_gemm_avx512vnni(struct vdb_gemm *table);
void vdb_gemm_amx(struct vdb_gemm *table);

/* ---- What the kernel files share ---- */

vdb_gemm_quantise_fn vdb_gemm_quantise_scalar;

/* The low-precision test on the products in out->dots.i32: fills out->passed. */
vdb_gemm_fn vdb_gemm_test_low_scalar;
vdb_gemm_fn vdb_gemm_test_low_avx512;

size_t vdb_gemm_panel_bytes_f32(size_t dimension);   /* float[dimension][32] */
size_t vdb_gemm_panel_bytes_int16(size_t dimension); /* int16_t[dimension / 2 rounded up][32][2] */
size_t vdb_gemm_panel_bytes_int8(size_t dimension);  /* [dimension / 4 rounded up][32][4], elements ^ 0x80 */
void vdb_gemm_pack_f32(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                       void *panel);
void vdb_gemm_pack_u8_int16(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                            void *panel);
void vdb_gemm_pack_i8_int16(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                            void *panel);
void vdb_gemm_pack_int8(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                        void *panel);

#endif
