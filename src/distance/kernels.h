/* kernels.h: the distance kernels' signatures and the table that holds the chosen ones.
 *
 * In dav1d's manner: a kernel's signature is declared once here, the scalar version fills the table first, and
 * each instruction set overrides it downwards. The process's table is filled once (cpu.c); inner loops fetch a
 * pointer once and call it. Only this header, kernels_rows.h and intrinsics may be included by x86/ and arm/.
 *
 * All return the inside form of base/element.h: smaller is better. double, because u8 sums of squares reach
 * 65,536 * 255^2 < 2^32, which a float would round into false ties. Integer and bit kernels are exact; those of
 * f32, f16 and bf16 accumulate in f32 and stay within the bound stated in distance/README.md. Finite inputs give
 * a finite result: a sum that leaves f32's range is taken again in double. Only an input that holds a NaN or an
 * infinity can give a NaN.
 *
 * Inputs need no alignment. dimension is 1..VDB_LIMIT_DIMENSION_MAX. Cosine of a zero vector is defined as
 * distance 1, jaccard of two empty sets as 0. Threads: the table is immutable after the first vdb_kernels_get.
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

/* The same for the rows of the numbers in `slots`, in any order: out[i] for row slots[i]. Rows are asked for
 * ahead of their turn, so it beats one-to-one calls when they lie in memory rather than in the cache. */
typedef void vdb_distance_gather_fn(const void *query, const void *rows, size_t stride_bytes,
                                    const uint32_t *slots, size_t count, size_t dimension, double *out);

/* The same for VDB_KERNELS_FEW rows that lie anywhere, in step: out[i] for rows[i], any of which may be the same.
 * Nothing is asked for ahead. */
enum { VDB_KERNELS_FEW = 4 };
typedef void vdb_distance_few_fn(const void *query, const void *const rows[VDB_KERNELS_FEW], size_t dimension,
                                 double *out);

/* Ordered: on its processor a level includes the ones before it. neon is 64-bit ARM's, avx2 and avx512 x86-64's.
 */
typedef enum vdb_cpu_level {
    VDB_CPU_SCALAR,
    VDB_CPU_NEON,
    VDB_CPU_AVX2,
    VDB_CPU_AVX512,
    VDB_CPU_LEVEL_COUNT
} vdb_cpu_level;

/* What a processor of level avx512 may have beyond it: bits of a set. Each has a file of its own. */
typedef enum vdb_cpu_extension {
    VDB_CPU_AVX512VNNI = 1,
    VDB_CPU_AVX512BF16 = 2,
    VDB_CPU_AVX512VPOPCNTDQ = 4,
    VDB_CPU_EXTENSIONS_ALL = 7
} vdb_cpu_extension;

/* Entries of pairs that vdb_metric_fits refuses are NULL; all others are filled. */
struct vdb_kernels {
    vdb_cpu_level level; /* the highest level that filled an entry */
    unsigned extensions; /* those that were offered to it: vdb_cpu_extension */
    vdb_distance_fn *one[VDB_ELEMENT_COUNT][VDB_METRIC_COUNT];
    vdb_distance_few_fn *few[VDB_ELEMENT_COUNT][VDB_METRIC_COUNT];
    vdb_distance_many_fn *many[VDB_ELEMENT_COUNT][VDB_METRIC_COUNT];
    vdb_distance_gather_fn *gather[VDB_ELEMENT_COUNT][VDB_METRIC_COUNT];
    const char *from[VDB_ELEMENT_COUNT][VDB_METRIC_COUNT]; /* "avx2": the file is kernels_avx2.c */
};

/* Each sets the entries it has; called in this order. */
void vdb_kernels_scalar(struct vdb_kernels *table);
void vdb_kernels_neon(struct vdb_kernels *table);            /* every 64-bit ARM has it */
void vdb_kernels_avx2(struct vdb_kernels *table);            /* needs AVX2, FMA, F16C */
void vdb_kernels_avx512(struct vdb_kernels *table);          /* needs AVX-512 F, BW, DQ, VL */
void vdb_kernels_avx512vnni(struct vdb_kernels *table);      /* and VNNI: dot and cosine of u8, i8 */
void vdb_kernels_avx512bf16(struct vdb_kernels *table);      /* and BF16: dot and cosine of bf16 */
void vdb_kernels_avx512vpopcntdq(struct vdb_kernels *table); /* and VPOPCNTDQ: bits */

/* ---- What the kernel files share; nobody else calls it ---- */

/* Every pair there is: X(element, ELEMENT, metric, METRIC). */
#define VDB_KERNELS_OF_NUMBERS(X, element, ELEMENT)                                                              \
    X(element, ELEMENT, l2, L2)                                                                                  \
    X(element, ELEMENT, dot, DOT)                                                                                \
    X(element, ELEMENT, l1, L1)                                                                                  \
    X(element, ELEMENT, cosine, COSINE)
#define VDB_KERNELS_OF_BITS(X)                                                                                   \
    X(bit, BIT, hamming, HAMMING)                                                                                \
    X(bit, BIT, jaccard, JACCARD)
#define VDB_KERNELS_LIST(X)                                                                                      \
    VDB_KERNELS_OF_NUMBERS(X, f32, F32)                                                                          \
    VDB_KERNELS_OF_NUMBERS(X, f16, F16)                                                                          \
    VDB_KERNELS_OF_NUMBERS(X, bf16, BF16)                                                                        \
    VDB_KERNELS_OF_NUMBERS(X, u8, U8)                                                                            \
    VDB_KERNELS_OF_NUMBERS(X, i8, I8)                                                                            \
    VDB_KERNELS_OF_BITS(X)

/* The distance of two vectors of f32, f16 or bf16 taken in double, where no product or sum of theirs overflows or
 * underflows. Slow: for the vectors whose f32 sums left the range that the error bound covers. */
double vdb_kernels_wide(vdb_element element, vdb_metric metric, const void *a, const void *b, size_t dimension);

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
static inline double vdb_kernels_finish_float(vdb_element element, vdb_metric metric, float sum, const void *a,
                                              const void *b, size_t dimension)
{
    if (!(fabsf(sum) <= FLT_MAX)) { /* overflow: infinity, or infinity - infinity */
        return vdb_kernels_wide(element, metric, a, b, dimension);
    }
    return metric == VDB_METRIC_DOT ? -(double)sum : (double)sum;
}

/* The same for cosine. Below 2^-100 a squared norm of up to 65,536 terms could owe more than 2^-33 of itself to
 * terms that underflowed (each loses at most 2^-150); 0 itself may be a tiny vector. */
static inline double vdb_kernels_finish_cosine_float(vdb_element element, float dot, float aa, float bb,
                                                     const void *a, const void *b, size_t dimension)
{
    const float low = 0x1p-100f;
    if (!(aa >= low && aa <= FLT_MAX && bb >= low && bb <= FLT_MAX && fabsf(dot) <= FLT_MAX)) {
        return vdb_kernels_wide(element, VDB_METRIC_COSINE, a, b, dimension);
    }
    return vdb_kernels_cosine((double)dot, (double)aa, (double)bb);
}

/* The exact integer sum to the inside form, for l2, dot and l1. */
static inline double vdb_kernels_finish_int(vdb_metric metric, int64_t sum)
{
    return (double)(metric == VDB_METRIC_DOT ? -sum : sum);
}

/* What a kernel of bits counts over whole bytes. */
struct vdb_kernels_bits {
    int64_t left;  /* hamming: bits that differ; jaccard: bits in both */
    int64_t right; /* jaccard: bits in either */
};

static inline struct vdb_kernels_bits vdb_kernels_bits_of(vdb_metric metric, uint64_t a, uint64_t b)
{
    if (metric == VDB_METRIC_HAMMING) {
        return (struct vdb_kernels_bits){__builtin_popcountll(a ^ b), 0};
    }
    return (struct vdb_kernels_bits){__builtin_popcountll(a & b), __builtin_popcountll(a | b)};
}

/* From counts over all bytes of the two vectors to the inside form; takes out what padding added. */
static inline double vdb_kernels_finish_bits(vdb_metric metric, struct vdb_kernels_bits bits, const void *a,
                                             const void *b, size_t dimension)
{
    if (dimension % 8 != 0) {
        unsigned padding = 0xFFu >> (dimension % 8);
        struct vdb_kernels_bits more = vdb_kernels_bits_of(metric, ((const uint8_t *)a)[dimension / 8] & padding,
                                                           ((const uint8_t *)b)[dimension / 8] & padding);
        bits.left -= more.left;
        bits.right -= more.right;
    }
    if (metric == VDB_METRIC_HAMMING) {
        return (double)bits.left;
    }
    return bits.right == 0 ? 0 : 1 - (double)bits.left / (double)bits.right;
}

#endif
