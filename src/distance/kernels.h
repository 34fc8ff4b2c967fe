/* kernels.h: the distance kernels' signatures and the table that holds the chosen ones.
 *
 * In dav1d's manner: a kernel's signature is declared once here, the scalar version fills the table first, and
 * each instruction set overrides it downwards. The process's table is filled once (cpu.c); inner loops fetch a
 * pointer once and call it. Only this header and intrinsics may be included by x86/ *.c.
 *
 * All return the inside form of base/element.h: smaller is better. double, because u8 sums of squares reach
 * 65,536 * 255^2 < 2^32, which a float would round into false ties. Integer kernels are exact; f32 kernels
 * accumulate in f32 and stay within the bound stated in distance/README.md. Finite inputs give a finite result: a
 * sum that leaves f32's range is taken again in double. Only an input that holds a NaN or an infinity can give a
 * NaN.
 *
 * Inputs need no alignment. dimension is 1..VDB_LIMIT_DIMENSION_MAX. Cosine of a zero vector is defined as
 * distance 1. Threads: the table is immutable after the first vdb_kernels_get.
 */
#ifndef VDB_DISTANCE_KERNELS_H
#define VDB_DISTANCE_KERNELS_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/element.h"

/* Distance of two vectors of `dimension` elements. */
typedef double vdb_distance_fn(const void *a, const void *b, size_t dimension);

/* Distances of one query to `count` rows that lie stride_bytes apart: out[i] for row i. Each equals what the
 * one-to-one kernel of the same table gives, to the last bit. */
typedef void vdb_distance_many_fn(const void *query, const void *rows, size_t stride_bytes, size_t count,
                                  size_t dimension, double *out);

/* Ordered: a level includes the ones before it. */
typedef enum vdb_cpu_level { VDB_CPU_SCALAR, VDB_CPU_AVX2, VDB_CPU_AVX512, VDB_CPU_LEVEL_COUNT } vdb_cpu_level;

struct vdb_kernels {
    vdb_cpu_level level; /* the highest level that filled an entry */
    vdb_distance_fn *one[VDB_ELEMENT_COUNT][VDB_METRIC_COUNT];
    vdb_distance_many_fn *many[VDB_ELEMENT_COUNT][VDB_METRIC_COUNT];
};

/* Each sets the entries it has; called in this order. */
void vdb_kernels_scalar(struct vdb_kernels *table);
void vdb_kernels_avx2(struct vdb_kernels *table);   /* needs AVX2, FMA, F16C */
void vdb_kernels_avx512(struct vdb_kernels *table); /* needs AVX-512 F, BW, DQ, VL */

/* ---- What the kernel files share; nobody else calls it ---- */

/* Every pair an instruction set fills in: X(element, ELEMENT, metric, METRIC). */
#define VDB_KERNELS_LIST(X)                                                                                      \
    X(f32, F32, l2, L2)                                                                                          \
    X(f32, F32, dot, DOT)                                                                                        \
    X(f32, F32, l1, L1)                                                                                          \
    X(f32, F32, cosine, COSINE)                                                                                  \
    X(u8, U8, l2, L2)                                                                                            \
    X(u8, U8, dot, DOT)                                                                                          \
    X(u8, U8, l1, L1)                                                                                            \
    X(u8, U8, cosine, COSINE)                                                                                    \
    X(i8, I8, l2, L2)                                                                                            \
    X(i8, I8, dot, DOT)                                                                                          \
    X(i8, I8, l1, L1)                                                                                            \
    X(i8, I8, cosine, COSINE)

/* The f32 distance taken in double, where no product or sum of floats overflows or underflows. Slow: for the
 * vectors whose f32 sums left the range that the error bound covers. */
double vdb_kernels_wide_f32(vdb_metric metric, const void *a, const void *b, size_t dimension);

/* The one cosine formula of all levels, from dot(a, b), |a|^2 and |b|^2. aa * bb is at most 2^64 for integers and
 * within double's range for floats; sqrt(aa * aa) is aa exactly, so a vector is at distance 0 from itself.
 * Rounding may leave [0, 2] by a last bit: clamped here and nowhere else. A NaN stays one. */
static inline double vdb_kernels_cosine(double dot, double aa, double bb)
{
    if (aa == 0 || bb == 0) {
        return 1;
    }
    double distance = 1 - dot / sqrt(aa * bb);
    return distance < 0 ? 0 : distance > 2 ? 2 : distance;
}

/* From an f32 sum to the inside form, for l2, dot and l1. */
static inline double vdb_kernels_finish_f32(vdb_metric metric, float sum, const void *a, const void *b,
                                            size_t dimension)
{
    if (!(fabsf(sum) <= FLT_MAX)) { /* overflow: infinity, or infinity - infinity */
        return vdb_kernels_wide_f32(metric, a, b, dimension);
    }
    return metric == VDB_METRIC_DOT ? -(double)sum : (double)sum;
}

/* The same for cosine. Below 2^-100 a squared norm of up to 65,536 terms could owe more than 2^-33 of itself to
 * terms that underflowed (each loses at most 2^-150); 0 itself may be a tiny vector. */
static inline double vdb_kernels_finish_cosine_f32(float dot, float aa, float bb, const void *a, const void *b,
                                                   size_t dimension)
{
    const float low = 0x1p-100f;
    if (!(aa >= low && aa <= FLT_MAX && bb >= low && bb <= FLT_MAX && fabsf(dot) <= FLT_MAX)) {
        return vdb_kernels_wide_f32(VDB_METRIC_COSINE, a, b, dimension);
    }
    return vdb_kernels_cosine((double)dot, (double)aa, (double)bb);
}

/* The exact integer sum to the inside form, for l2, dot and l1. */
static inline double vdb_kernels_finish_int(vdb_metric metric, int64_t sum)
{
    return (double)(metric == VDB_METRIC_DOT ? -sum : sum);
}

#endif
