/* eigen_kernels.h: the inner loops of eigen.c, one table per CPU level, all from eigen_loops.h: the same statements compiled for
 * different registers, so results are equal to the last bit.
 *
 * Threads: pure functions; the table is immutable after the first vdb_eigen_kernels_get.
 */
#ifndef VDB_QUANT_EIGEN_KERNELS_H
#define VDB_QUANT_EIGEN_KERNELS_H

#include "distance/kernels.h"

enum { VDB_EIGEN_COLUMNS = 32 /* of a sweep: four registers of AVX-512 */ };

/* What one rotation of rows i and i + 1 does: (low, high) <- (c low - s high, s low + c high). */
struct vdb_eigen_rotation {
    double c, s;
};

struct vdb_eigen_kernels {
    double (*dot)(const double *a, const double *b, size_t n);
    /* y += a x */
    void (*add)(double *y, double a, const double *x, size_t n);
    /* y += a x + b z; returns the dot product of the new y with w. */
    double (*update)(double *y, double a, const double *x, double b, const double *z, const double *w, size_t n);
    /* `count` rotations: of rows top - 1 and top, top - 2 and top - 1, and so on; the first `columns` (at most VDB_EIGEN_COLUMNS)
     * elements of rows that lie `stride` apart. */
    void (*sweep)(double *rows, size_t stride, size_t columns, size_t top,
                  const struct vdb_eigen_rotation *rotations, size_t count);
    const char *from;
};

const struct vdb_eigen_kernels *vdb_eigen_kernels_get(void);
void vdb_eigen_kernels_fill(struct vdb_eigen_kernels *table, vdb_cpu_level level);

/* Each sets all entries. */
void vdb_eigen_kernels_scalar(struct vdb_eigen_kernels *table);
void vdb_eigen_kernels_avx2(struct vdb_eigen_kernels *table);
void vdb_eigen_kernels_avx512(struct vdb_eigen_kernels *table);

#endif
