/* wide.h: distances of floats in double precision, the same to the last bit on every machine.
 *
 * These define what "exact" means for vectors of f32, f16 and bf16 (each element of the latter two is an f32): element i is added to lane i % VDB_WIDE_LANES, in ascending
 * order, products and sums rounded to double one by one (never fused), and the lanes are added in halves: lane j
 * and lane j + 8, then j + 4, j + 2, j + 1. Every level follows that order, so all levels agree bit for bit. A
 * product of two floats is exact in double, and nothing that floats can hold overflows or underflows.
 *
 * Against exact arithmetic on d elements a sum has a relative error (of the sum of its terms' absolute values) of
 * at most VDB_WIDE_ERROR(d): d / 16 + 5 additions, up to 3 roundings in a term, and slack. Threads: pure
 * functions; the process's table is immutable.
 */
#ifndef VDB_DISTANCE_WIDE_H
#define VDB_DISTANCE_WIDE_H

#include "kernels.h"

enum { VDB_WIDE_LANES = 16 };

#define VDB_WIDE_ERROR(dimension) ((double)((dimension) + 16) * 0x1p-53)

typedef double vdb_wide_fn(const float *a, const float *b, size_t dimension); /* any alignment */

/* out[i] is what the one-to-one function gives for row i, to the last bit. Asks for rows ahead of their turn. */
typedef void vdb_wide_many_fn(const float *query, const void *rows, size_t stride_bytes, size_t count,
                              size_t dimension, double *out);

typedef void vdb_wide_load_fn(vdb_element element, const void *vector, size_t dimension, float *out);

struct vdb_wide {
    vdb_wide_fn *l2;  /* sum (a-b)^2 */
    vdb_wide_fn *dot; /* sum a*b, not negated */
    vdb_wide_fn *l1;  /* sum |a-b| */
    vdb_wide_many_fn *dot_many;
    vdb_wide_load_fn *load; /* vdb_wide_load, quicker */
};

void vdb_wide_scalar(struct vdb_wide *table);
void vdb_wide_avx2(struct vdb_wide *table);
void vdb_wide_avx512(struct vdb_wide *table);

/* The table of a level, which must not be above what the processor has. */
void vdb_wide_fill(struct vdb_wide *table, vdb_cpu_level level);

/* The inside form of `metric` (l2, cosine, dot, l1) in double. A NaN (only of inputs that hold one or an
 * infinity) becomes +infinity. aa: wide->dot(a, a), of which a caller with one query needs but one; only cosine
 * reads it. */
static inline double vdb_wide_distance(const struct vdb_wide *wide, vdb_metric metric, const float *a, double aa,
                                       const float *b, size_t dimension)
{
    double distance;
    switch (metric) {
    case VDB_METRIC_L2:
        distance = wide->l2(a, b, dimension);
        break;
    case VDB_METRIC_DOT:
        distance = -wide->dot(a, b, dimension);
        break;
    case VDB_METRIC_L1:
        distance = wide->l1(a, b, dimension);
        break;
    default:
        distance = vdb_kernels_cosine(wide->dot(a, b, dimension), aa, wide->dot(b, b, dimension));
        break;
    }
    return isnan(distance) ? (double)INFINITY : distance;
}

/* Elements of f16, bf16, u8 or i8 as the f32 they are (f32: copied). Any alignment. */
vdb_wide_load_fn vdb_wide_load;

/* vdb_wide_distance of the vectors that vdb_wide_load would give, to the last bit, for f16 and bf16. In plain C on all
 * levels and converted again with each call: for the few rows that a first pass leaves. aa: -distance(dot, a, a). */
double vdb_wide_halves(vdb_element element, vdb_metric metric, const void *a, double aa, const void *b,
                       size_t dimension);

#endif
