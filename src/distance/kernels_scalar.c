/* kernels_scalar.c: the reference kernels in plain C, which every instruction set is tested against, and the
 * double path for f32 vectors whose sums leave f32's range.
 *
 * S1 Integer sums are exact: int64 holds 65,536 * 255^2.
 * S2 f32 sums run in 8 independent accumulators, element i in accumulator i % 8 and the last dimension % 8
 * elements in accumulator 0, added pairwise at the end. Every level has this shape with its own width; the error
 * bound of README.md counts its steps. Eight let the compiler keep two SSE registers busy without reordering a
 * sum.
 *
 * Inputs are read with memcpy, since rows of a mapped file may lie at any address. Threads: pure functions.
 */
#include "kernels.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { F32_ACCUMULATORS = 8 };

INLINE float load_f32(const void *vector, size_t i)
{
    float value;
    memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
    return value;
}

INLINE int32_t load_u8(const void *vector, size_t i)
{
    return ((const uint8_t *)vector)[i];
}

INLINE int32_t load_i8(const void *vector, size_t i)
{
    return ((const int8_t *)vector)[i];
}

/* One element's share of each metric. */

typedef float f32_step(float sum, float a, float b);

static inline float l2_f32_step(float sum, float a, float b)
{
    return sum + (a - b) * (a - b);
}

static inline float dot_f32_step(float sum, float a, float b)
{
    return sum + a * b;
}

static inline float l1_f32_step(float sum, float a, float b)
{
    return sum + fabsf(a - b);
}

typedef int32_t int_load(const void *vector, size_t i);
typedef int32_t int_step(int32_t a, int32_t b);

static inline int32_t l2_int_step(int32_t a, int32_t b)
{
    return (a - b) * (a - b);
}

static inline int32_t dot_int_step(int32_t a, int32_t b)
{
    return a * b;
}

static inline int32_t l1_int_step(int32_t a, int32_t b)
{
    return a < b ? b - a : a - b;
}

/* Sums over a vector. The steps are constants at each call, so all of it is inlined. */

INLINE float reduce_f32(const float sums[F32_ACCUMULATORS])
{
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

INLINE double sum_f32(f32_step *step, vdb_metric metric, const void *a, const void *b, size_t dimension)
{
    float sums[F32_ACCUMULATORS] = {0};
    size_t i = 0;
    for (; i + F32_ACCUMULATORS <= dimension; i += F32_ACCUMULATORS) {
        for (size_t j = 0; j < F32_ACCUMULATORS; j++) {
            sums[j] = step(sums[j], load_f32(a, i + j), load_f32(b, i + j));
        }
    }
    for (; i < dimension; i++) {
        sums[0] = step(sums[0], load_f32(a, i), load_f32(b, i));
    }
    return vdb_kernels_finish_f32(metric, reduce_f32(sums), a, b, dimension);
}

INLINE double cosine_f32(const void *a, const void *b, size_t dimension)
{
    float dot[F32_ACCUMULATORS] = {0};
    float aa[F32_ACCUMULATORS] = {0};
    float bb[F32_ACCUMULATORS] = {0};
    size_t i = 0;
    for (; i + F32_ACCUMULATORS <= dimension; i += F32_ACCUMULATORS) {
        for (size_t j = 0; j < F32_ACCUMULATORS; j++) {
            float x = load_f32(a, i + j);
            float y = load_f32(b, i + j);
            dot[j] = dot_f32_step(dot[j], x, y);
            aa[j] = dot_f32_step(aa[j], x, x);
            bb[j] = dot_f32_step(bb[j], y, y);
        }
    }
    for (; i < dimension; i++) {
        float x = load_f32(a, i);
        float y = load_f32(b, i);
        dot[0] = dot_f32_step(dot[0], x, y);
        aa[0] = dot_f32_step(aa[0], x, x);
        bb[0] = dot_f32_step(bb[0], y, y);
    }
    return vdb_kernels_finish_cosine_f32(reduce_f32(dot), reduce_f32(aa), reduce_f32(bb), a, b, dimension);
}

INLINE double sum_int(int_load *load, int_step *step, vdb_metric metric, const void *a, const void *b,
                      size_t dimension)
{
    int64_t sum = 0;
    for (size_t i = 0; i < dimension; i++) {
        sum += step(load(a, i), load(b, i));
    }
    return vdb_kernels_finish_int(metric, sum);
}

INLINE double cosine_int(int_load *load, const void *a, const void *b, size_t dimension)
{
    int64_t dot = 0;
    int64_t aa = 0;
    int64_t bb = 0;
    for (size_t i = 0; i < dimension; i++) {
        int32_t x = load(a, i);
        int32_t y = load(b, i);
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    return vdb_kernels_cosine((double)dot, (double)aa, (double)bb);
}

double vdb_kernels_wide_f32(vdb_metric metric, const void *a, const void *b, size_t dimension)
{
    double l2 = 0;
    double l1 = 0;
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (size_t i = 0; i < dimension; i++) {
        double x = (double)load_f32(a, i);
        double y = (double)load_f32(b, i);
        l2 += (x - y) * (x - y);
        l1 += fabs(x - y);
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    return metric == VDB_METRIC_L2    ? l2
           : metric == VDB_METRIC_L1  ? l1
           : metric == VDB_METRIC_DOT ? -dot
                                      : vdb_kernels_cosine(dot, aa, bb);
}

/* The entry points: metric_element_one and metric_element_many. `many` calls `one`: there is nothing to share. */

#define KERNEL(metric, element, call)                                                                            \
    static double metric##_##element##_one(const void *a, const void *b, size_t dimension)                       \
    {                                                                                                            \
        return call;                                                                                             \
    }                                                                                                            \
    static void metric##_##element##_many(const void *query, const void *rows, size_t stride_bytes,              \
                                          size_t count, size_t dimension, double *out)                           \
    {                                                                                                            \
        for (size_t i = 0; i < count; i++) {                                                                     \
            out[i] = metric##_##element##_one(query, (const char *)rows + i * stride_bytes, dimension);          \
        }                                                                                                        \
    }

KERNEL(l2, f32, sum_f32(l2_f32_step, VDB_METRIC_L2, a, b, dimension))
KERNEL(dot, f32, sum_f32(dot_f32_step, VDB_METRIC_DOT, a, b, dimension))
KERNEL(l1, f32, sum_f32(l1_f32_step, VDB_METRIC_L1, a, b, dimension))
KERNEL(cosine, f32, cosine_f32(a, b, dimension))

#define INT_KERNELS(element)                                                                                     \
    KERNEL(l2, element, sum_int(load_##element, l2_int_step, VDB_METRIC_L2, a, b, dimension))                    \
    KERNEL(dot, element, sum_int(load_##element, dot_int_step, VDB_METRIC_DOT, a, b, dimension))                 \
    KERNEL(l1, element, sum_int(load_##element, l1_int_step, VDB_METRIC_L1, a, b, dimension))                    \
    KERNEL(cosine, element, cosine_int(load_##element, a, b, dimension))

INT_KERNELS(u8)
INT_KERNELS(i8)

void vdb_kernels_scalar(struct vdb_kernels *table)
{
#define SET(element, ELEMENT, metric, METRIC)                                                                    \
    table->one[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_one;                           \
    table->many[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_many;
    VDB_KERNELS_LIST(SET)
#undef SET
    table->level = VDB_CPU_SCALAR;
}
