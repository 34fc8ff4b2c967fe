/* rotation_kernels.h: the inner loops of rotations, one table per CPU level.
 *
 * K1 Every level's results equal the scalar ones to the last bit: multiplications and additions are separate (no fused ones),
 *    in the order written here; integers are exact.
 *
 * Threads: pure functions; the table is immutable after the first vdb_rotation_kernels_get.
 */
#ifndef VDB_QUANT_ROTATION_KERNELS_H
#define VDB_QUANT_ROTATION_KERNELS_H

#include "distance/kernels.h"

enum {
    VDB_ROTATION_PANEL = 64, /* outputs of a panel: four registers of 16 */
    VDB_ROTATION_ROWS = 6,   /* inputs of a tile: 24 registers of sums */
};

/* The Hadamard transform of x in place, times scale: for h = 1, 2, 4, ... below count the pairs (i, i + h) become their sum
 * and difference. count: a power of two, 64 or more. x: aligned to 64. */
typedef void vdb_rotation_hadamard_fn(float *x, size_t count, float scale);

/* x[i] = -x[i] where bit i % 64 of signs[i / 64] is set. count % 64 == 0; x aligned to 64. */
typedef void vdb_rotation_flip_fn(float *x, const uint64_t *signs, size_t count);

/* The halves a, b of x become (a + b) scale and (a - b) scale. half % 16 == 0; x aligned to 64. */
typedef void vdb_rotation_halves_fn(float *x, size_t half, float scale);

/* out[r][j] = sum over i, ascending from 0, of in[r][i] * panel[i][j]: 64 outputs of 1 to VDB_ROTATION_ROWS rows.
 * panel: float[dimension][64], aligned to 64, as are the rows of out; in has any alignment. Strides in floats. */
typedef void vdb_rotation_dense_fn(const float *panel, size_t dimension, const float *in, size_t in_stride,
                                   size_t rows, float *out, size_t out_stride);

/* out[j] = sum over i of in[i] * panel[i / 4][j][i % 4], exactly: 64 outputs. quads: dimension / 4 rounded up. in: 4 * quads
 * bytes, any alignment; panel: int8_t[quads][64][4], aligned to 64. At most VDB_LIMIT_DIMENSION_MAX elements. */
typedef void vdb_rotation_int8_fn(const int8_t *panel, size_t quads, const uint8_t *in, int32_t out[64]);

struct vdb_rotation_kernels {
    vdb_rotation_hadamard_fn *hadamard;
    vdb_rotation_flip_fn *flip;
    vdb_rotation_halves_fn *halves;
    vdb_rotation_dense_fn *dense;
    vdb_rotation_int8_fn *int8;
    const char *from;      /* "avx512": the file of the float kernels */
    const char *int8_from; /* "avx512vnni" */
};

const struct vdb_rotation_kernels *vdb_rotation_kernels_get(void);
void vdb_rotation_kernels_fill(struct vdb_rotation_kernels *table, vdb_cpu_level level, unsigned extensions);

/* Each sets the entries it has. */
void vdb_rotation_kernels_scalar(struct vdb_rotation_kernels *table);
void vdb_rotation_kernels_avx2(struct vdb_rotation_kernels *table);
void vdb_rotation_kernels_avx512(struct vdb_rotation_kernels *table);
void vdb_rotation_kernels_avx512vnni(struct vdb_rotation_kernels *table);

#endif
