/* kernels_scalar.c: the reference kernels in plain C, which every instruction set is tested against, and the
 * double path for vectors of floats whose sums leave f32's range.
 *
 * S1 Integer sums are exact: int64 holds 65,536 * 255^2. Bits are counted 64 at a time.
 * S2 f32 sums run in 8 independent accumulators, element i in accumulator i % 8 and the last dimension % 8
 * elements in accumulator 0, added pairwise at the end. Every level has this shape with its own width; the error
 * bound of README.md counts its steps. Eight let the compiler keep two SSE registers busy without reordering a
 * sum. f16 and bf16 become f32 first, which holds every one of them.
 *
 * Inputs are read with memcpy, since rows of a mapped file may lie at any address. Threads: pure functions.
 */
#include "kernels_rows.h"

#include <string.h>

enum { F32_ACCUMULATORS = 8, WORD_BYTES = 8 };

/* ---- Loads ---- */

typedef float float_load(const void *vector, size_t i);
typedef int32_t int_load(const void *vector, size_t i);

static inline float load_f32(const void *vector, size_t i)
{
    float value;
    memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
    return value;
}

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* 1 sign bit, 5 of exponent (bias 15), 10 of fraction. */
static inline float load_f16(const void *vector, size_t i)
{
    uint16_t half;
    memcpy(&half, (const char *)vector + i * sizeof half, sizeof half);
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1F;
    uint32_t fraction = half & 0x3FF;
    if (exponent == 0) { /* a denormal counts units of 2^-24 */
        float value = (float)fraction * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    exponent = exponent == 0x1F ? 0xFF : exponent + 127 - 15;
    return float_of_bits(sign | exponent << 23 | fraction << 13);
}

static inline float load_bf16(const void *vector, size_t i)
{
    uint16_t upper;
    memcpy(&upper, (const char *)vector + i * sizeof upper, sizeof upper);
    return float_of_bits((uint32_t)upper << 16);
}

static inline int32_t load_u8(const void *vector, size_t i)
{
    return ((const uint8_t *)vector)[i];
}

static inline int32_t load_i8(const void *vector, size_t i)
{
    return ((const int8_t *)vector)[i];
}

/* ---- One element's share of each metric ---- */

typedef float float_step(float sum, float a, float b);

static inline float l2_float_step(float sum, float a, float b)
{
    return sum + (a - b) * (a - b);
}

static inline float dot_float_step(float sum, float a, float b)
{
    return sum + a * b;
}

static inline float l1_float_step(float sum, float a, float b)
{
    return sum + fabsf(a - b);
}

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

/* ---- Sums over a vector. The steps are constants at each call, so all of it is inlined. ---- */

INLINE float reduce_f32(const float sums[F32_ACCUMULATORS])
{
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

INLINE double one_sum_float(float_load *load, vdb_element element, float_step *step, vdb_metric metric,
                            const void *a, const void *b, size_t dimension)
{
    float sums[F32_ACCUMULATORS] = {0};
    size_t i = 0;
    for (; i + F32_ACCUMULATORS <= dimension; i += F32_ACCUMULATORS) {
        for (size_t j = 0; j < F32_ACCUMULATORS; j++) {
            sums[j] = step(sums[j], load(a, i + j), load(b, i + j));
        }
    }
    for (; i < dimension; i++) {
        sums[0] = step(sums[0], load(a, i), load(b, i));
    }
    return vdb_kernels_finish_float(element, metric, reduce_f32(sums), a, b, dimension);
}

INLINE double one_cosine_float(float_load *load, vdb_element element, const void *a, const void *b,
                               size_t dimension)
{
    float dot[F32_ACCUMULATORS] = {0};
    float aa[F32_ACCUMULATORS] = {0};
    float bb[F32_ACCUMULATORS] = {0};
    size_t i = 0;
    for (; i + F32_ACCUMULATORS <= dimension; i += F32_ACCUMULATORS) {
        for (size_t j = 0; j < F32_ACCUMULATORS; j++) {
            float x = load(a, i + j);
            float y = load(b, i + j);
            dot[j] = dot_float_step(dot[j], x, y);
            aa[j] = dot_float_step(aa[j], x, x);
            bb[j] = dot_float_step(bb[j], y, y);
        }
    }
    for (; i < dimension; i++) {
        float x = load(a, i);
        float y = load(b, i);
        dot[0] = dot_float_step(dot[0], x, y);
        aa[0] = dot_float_step(aa[0], x, x);
        bb[0] = dot_float_step(bb[0], y, y);
    }
    return vdb_kernels_finish_cosine_float(element, reduce_f32(dot), reduce_f32(aa), reduce_f32(bb), a, b,
                                           dimension);
}

INLINE double one_sum_int(int_load *load, int_step *step, vdb_metric metric, const void *a, const void *b,
                          size_t dimension)
{
    int64_t sum = 0;
    for (size_t i = 0; i < dimension; i++) {
        sum += step(load(a, i), load(b, i));
    }
    return vdb_kernels_finish_int(metric, sum);
}

INLINE double one_cosine_int(int_load *load, const void *a, const void *b, size_t dimension)
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

INLINE double one_bits(vdb_metric metric, const void *a, const void *b, size_t dimension)
{
    const size_t bytes = (dimension + 7) / 8;
    struct vdb_kernels_bits sum = {0, 0};
    for (size_t i = 0; i < bytes; i += WORD_BYTES) {
        size_t left = bytes - i < WORD_BYTES ? bytes - i : WORD_BYTES;
        uint64_t x = 0;
        uint64_t y = 0;
        if (left == WORD_BYTES) {
            memcpy(&x, (const char *)a + i, WORD_BYTES);
            memcpy(&y, (const char *)b + i, WORD_BYTES);
        } else {
            memcpy(&x, (const char *)a + i, left);
            memcpy(&y, (const char *)b + i, left);
        }
        struct vdb_kernels_bits more = vdb_kernels_bits_of(metric, x, y);
        sum.left += more.left;
        sum.right += more.right;
    }
    return vdb_kernels_finish_bits(metric, sum, a, b, dimension);
}

static double wide(float_load *load, vdb_metric metric, const void *a, const void *b, size_t dimension)
{
    double l2 = 0;
    double l1 = 0;
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (size_t i = 0; i < dimension; i++) {
        double x = (double)load(a, i);
        double y = (double)load(b, i);
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

double vdb_kernels_wide(vdb_element element, vdb_metric metric, const void *a, const void *b, size_t dimension)
{
    float_load *load = element == VDB_ELEMENT_F16 ? load_f16 : element == VDB_ELEMENT_BF16 ? load_bf16 : load_f32;
    return wide(load, metric, a, b, dimension);
}

/* ---- The families, in the shape of kernels_rows.h: row after row, there is nothing to share ---- */

#define ROW_BY_ROW(one)                                                                                          \
    (void)ahead;                                                                                                 \
    for (size_t r = 0; r < row_count; r++) {                                                                     \
        const void *row = row_at(rows, r, 0);                                                                    \
        out[r] = one;                                                                                            \
    }

INLINE void sum_float(float_load *load, vdb_element element, float_step *step, vdb_metric metric,
                      const void *query, struct kernel_rows rows, size_t row_count, const char *ahead,
                      size_t dimension,
                      double *out){ROW_BY_ROW(one_sum_float(load, element, step, metric, query, row, dimension))}

INLINE void cosine_float(float_load *load, vdb_element element, const void *query, struct kernel_rows rows,
                         size_t row_count, const char *ahead, size_t dimension,
                         double *out){ROW_BY_ROW(one_cosine_float(load, element, query, row, dimension))}

INLINE void sum_int(int_load *load, int_step *step, vdb_metric metric, const void *query, struct kernel_rows rows,
                    size_t row_count, const char *ahead, size_t dimension,
                    double *out){ROW_BY_ROW(one_sum_int(load, step, metric, query, row, dimension))}

INLINE void cosine_int(int_load *load, const void *query, struct kernel_rows rows, size_t row_count,
                       const char *ahead, size_t dimension,
                       double *out){ROW_BY_ROW(one_cosine_int(load, query, row, dimension))}

INLINE void sum_bits(vdb_metric metric, const void *query, struct kernel_rows rows, size_t row_count,
                     const char *ahead, size_t dimension,
                     double *out){ROW_BY_ROW(one_bits(metric, query, row, dimension))}

#define FLOAT_KERNELS(element, ELEMENT)                                                                          \
    KERNEL(l2, element, ELEMENT, sum_float,                                                                      \
           CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT, l2_float_step, VDB_METRIC_L2))                       \
    KERNEL(dot, element, ELEMENT, sum_float,                                                                     \
           CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT, dot_float_step, VDB_METRIC_DOT))                     \
    KERNEL(l1, element, ELEMENT, sum_float,                                                                      \
           CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT, l1_float_step, VDB_METRIC_L1))                       \
    KERNEL(cosine, element, ELEMENT, cosine_float, CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT))

#define INT_KERNELS(element, ELEMENT)                                                                            \
    KERNEL(l2, element, ELEMENT, sum_int, CONSTANTS(load_##element, l2_int_step, VDB_METRIC_L2))                 \
    KERNEL(dot, element, ELEMENT, sum_int, CONSTANTS(load_##element, dot_int_step, VDB_METRIC_DOT))              \
    KERNEL(l1, element, ELEMENT, sum_int, CONSTANTS(load_##element, l1_int_step, VDB_METRIC_L1))                 \
    KERNEL(cosine, element, ELEMENT, cosine_int, CONSTANTS(load_##element))

FLOAT_KERNELS(f32, F32) FLOAT_KERNELS(f16, F16) FLOAT_KERNELS(bf16, BF16) INT_KERNELS(u8, U8) INT_KERNELS(i8, I8)
    KERNEL(hamming, bit, BIT, sum_bits, CONSTANTS(VDB_METRIC_HAMMING))
        KERNEL(jaccard, bit, BIT, sum_bits, CONSTANTS(VDB_METRIC_JACCARD))

            void vdb_kernels_scalar(struct vdb_kernels *table)
{
    *table = (struct vdb_kernels){.level = VDB_CPU_SCALAR};
#define SET(...) SET_FROM("scalar", __VA_ARGS__)
    VDB_KERNELS_LIST(SET)
#undef SET
}
