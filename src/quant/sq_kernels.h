/* sq_kernels.h: sums over scalar codes, one table per CPU level. Results are equal to the last bit at every level: element i goes to
 * chain i % 16, products and sums round separately, chains are added halves first.
 *
 * Threads: pure functions; the table is immutable after the first vdb_sq_kernels_get.
 */
#ifndef VDB_QUANT_SQ_KERNELS_H
#define VDB_QUANT_SQ_KERNELS_H

#include "distance/kernels.h"

/* l2: sum (offsets[i] - weights[i] c[i])^2; dot: sum weights[i] c[i], offsets not read. padded: a multiple of 16 (8 bits) or 32
 * (4 bits); offsets and weights aligned to 64. */
typedef float vdb_sq_sum_fn(const uint8_t *code, size_t padded, const float *offsets, const float *weights);

struct vdb_sq_kernels {
    vdb_sq_sum_fn *l2[2]; /* of 4 bits, of 8 bits */
    vdb_sq_sum_fn *dot[2];
    const char *from;
};

const struct vdb_sq_kernels *vdb_sq_kernels_get(void);
void vdb_sq_kernels_fill(struct vdb_sq_kernels *table, vdb_cpu_level level);

/* Each sets the entries it has. */
void vdb_sq_kernels_scalar(struct vdb_sq_kernels *table);
void vdb_sq_kernels_avx2(struct vdb_sq_kernels *table);
void vdb_sq_kernels_avx512(struct vdb_sq_kernels *table);

#endif
