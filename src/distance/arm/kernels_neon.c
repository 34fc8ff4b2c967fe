/* kernels_neon.c: the kernels in NEON (Advanced SIMD), which every 64-bit ARM processor has: f32, u8 and i8 of
 * all metrics, and hamming. f16, bf16 and jaccard stay scalar.
 *
 * V1 f32: FLOAT_ACCUMULATORS registers of 4 lanes per row; what is left after whole blocks goes into register 0,
 * the last elements with zeros. README.md of the parent folder counts these steps in its error bound.
 * V2 Integers: 16 elements a step, widened to 16 bits for products, which are added in pairs to 32 bits. A lane
 * of l2 or dot grows by at most 4 * 255^2 = 260,100 a step and takes at most 65,536 / 16 = 4,096 steps:
 * 1,065,369,600 < 2^31. Lanes are widened to 64 bits before they are added up. V3 No byte outside a vector is
 * read: the tail is copied.
 *
 * Threads: pure functions.
 */
#include "distance/kernels_rows.h"

#if defined(__aarch64__)
#include <arm_neon.h>

enum { FLOAT_LANES = 4, FLOAT_ACCUMULATORS = 4, COSINE_ACCUMULATORS = 2, STEP_BYTES = 16 };

/* ---- f32 ---- */

INLINE float32x4_t load_f32(const char *p, size_t left)
{
    float values[FLOAT_LANES] = {0};
    __builtin_memcpy(values, p, (left < FLOAT_LANES ? left : FLOAT_LANES) * sizeof(float));
    return vld1q_f32(values);
}

typedef float32x4_t float_step(float32x4_t sum, float32x4_t a, float32x4_t b);

static inline float32x4_t l2_float_step(float32x4_t sum, float32x4_t a, float32x4_t b)
{
    float32x4_t difference = vsubq_f32(a, b);
    return vfmaq_f32(sum, difference, difference);
}

static inline float32x4_t dot_float_step(float32x4_t sum, float32x4_t a, float32x4_t b)
{
    return vfmaq_f32(sum, a, b);
}

static inline float32x4_t l1_float_step(float32x4_t sum, float32x4_t a, float32x4_t b)
{
    return vaddq_f32(sum, vabdq_f32(a, b));
}

INLINE void sum_float(float_step *step, vdb_metric metric, const void *query, struct kernel_rows rows,
                      size_t row_count, const char *ahead, size_t dimension, double *out)
{
    const size_t block = FLOAT_ACCUMULATORS * FLOAT_LANES;
    float32x4_t sums[ROWS][FLOAT_ACCUMULATORS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        UNROLL for (size_t j = 0; j < FLOAT_ACCUMULATORS; j++)
        {
            sums[r][j] = vdupq_n_f32(0);
        }
    }
    size_t i = 0;
    for (; i + block <= dimension; i += block) {
        UNROLL for (size_t j = 0; j < FLOAT_ACCUMULATORS; j++)
        {
            size_t byte = (i + j * FLOAT_LANES) * sizeof(float);
            float32x4_t a = load_f32(at(query, 0, 0, byte), FLOAT_LANES);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                sums[r][j] = step(sums[r][j], a, load_f32(row_at(rows, r, byte), FLOAT_LANES));
                prefetch(ahead, row_count, r, byte, FLOAT_LANES * sizeof(float));
            }
        }
    }
    for (; i < dimension; i += FLOAT_LANES) {
        float32x4_t a = load_f32(at(query, 0, 0, i * sizeof(float)), dimension - i);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            float32x4_t b = load_f32(row_at(rows, r, i * sizeof(float)), dimension - i);
            sums[r][0] = step(sums[r][0], a, b);
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        float32x4_t sum = vaddq_f32(vaddq_f32(sums[r][0], sums[r][1]), vaddq_f32(sums[r][2], sums[r][3]));
        out[r] = vdb_kernels_finish_float(VDB_ELEMENT_F32, metric, vaddvq_f32(sum), query, row_at(rows, r, 0),
                                          dimension);
    }
}

INLINE void cosine_float(const void *query, struct kernel_rows rows, size_t row_count, const char *ahead,
                         size_t dimension, double *out)
{
    const size_t block = COSINE_ACCUMULATORS * FLOAT_LANES;
    float32x4_t aa[COSINE_ACCUMULATORS];
    float32x4_t dot[ROWS][COSINE_ACCUMULATORS];
    float32x4_t bb[ROWS][COSINE_ACCUMULATORS];
    UNROLL for (size_t j = 0; j < COSINE_ACCUMULATORS; j++)
    {
        aa[j] = vdupq_n_f32(0);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            dot[r][j] = bb[r][j] = vdupq_n_f32(0);
        }
    }
    for (size_t i = 0; i < dimension;) {
        size_t registers = i + block <= dimension ? COSINE_ACCUMULATORS : 1;
        for (size_t j = 0; j < registers; j++, i += FLOAT_LANES) {
            size_t byte = i * sizeof(float);
            float32x4_t a = load_f32(at(query, 0, 0, byte), dimension - i);
            aa[j] = vfmaq_f32(aa[j], a, a);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                float32x4_t b = load_f32(row_at(rows, r, byte), dimension - i);
                dot[r][j] = vfmaq_f32(dot[r][j], a, b);
                bb[r][j] = vfmaq_f32(bb[r][j], b, b);
                prefetch(ahead, row_count, r, byte, FLOAT_LANES * sizeof(float));
            }
        }
    }
    float query_square = vaddvq_f32(vaddq_f32(aa[0], aa[1]));
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_finish_cosine_float(VDB_ELEMENT_F32, vaddvq_f32(vaddq_f32(dot[r][0], dot[r][1])),
                                                 query_square, vaddvq_f32(vaddq_f32(bb[r][0], bb[r][1])), query,
                                                 row_at(rows, r, 0), dimension);
    }
}

/* ---- u8, i8, bits: 16 bytes a step ---- */

/* 16 bytes, or the first `left` of them and zeros. */
INLINE uint8x16_t load_bytes(const char *p, size_t left)
{
    uint8_t bytes[STEP_BYTES] = {0};
    __builtin_memcpy(bytes, p, left < STEP_BYTES ? left : STEP_BYTES);
    return vld1q_u8(bytes);
}

/* Sums of 32 bits, unsigned or the two's complement of signed ones. */
typedef uint32x4_t int_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b);

static inline uint32x4_t dot_u8_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b)
{
    sum = vpadalq_u16(sum, vmull_u8(vget_low_u8(a), vget_low_u8(b)));
    return vpadalq_u16(sum, vmull_high_u8(a, b));
}

static inline uint32x4_t l2_u8_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b)
{
    uint8x16_t difference = vabdq_u8(a, b);
    return dot_u8_step(sum, difference, difference);
}

static inline uint32x4_t l1_u8_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b)
{
    return vpadalq_u16(sum, vpaddlq_u8(vabdq_u8(a, b)));
}

static inline uint32x4_t dot_i8_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b)
{
    int8x16_t x = vreinterpretq_s8_u8(a);
    int8x16_t y = vreinterpretq_s8_u8(b);
    int32x4_t total = vreinterpretq_s32_u32(sum);
    total = vpadalq_s16(total, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    return vreinterpretq_u32_s32(vpadalq_s16(total, vmull_high_s8(x, y)));
}

/* The distance of two i8 is that of the same bytes with the highest bit flipped, read as u8. */
static inline uint32x4_t l2_i8_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b)
{
    return l2_u8_step(sum, veorq_u8(a, vdupq_n_u8(128)), veorq_u8(b, vdupq_n_u8(128)));
}

static inline uint32x4_t l1_i8_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b)
{
    return l1_u8_step(sum, veorq_u8(a, vdupq_n_u8(128)), veorq_u8(b, vdupq_n_u8(128)));
}

static inline uint32x4_t hamming_step(uint32x4_t sum, uint8x16_t a, uint8x16_t b)
{
    return vpadalq_u16(sum, vpaddlq_u8(vcntq_u8(veorq_u8(a, b))));
}

INLINE int64_t reduce_int(uint32x4_t sum)
{
    return vaddlvq_s32(vreinterpretq_s32_u32(sum));
}

/* hamming is the metric of bits: `bytes` of the vector, whatever an element is. */
INLINE void sum_bytes(int_step *step, vdb_metric metric, const void *query, struct kernel_rows rows,
                      size_t row_count, const char *ahead, size_t dimension, double *out)
{
    const size_t bytes = metric == VDB_METRIC_HAMMING ? (dimension + 7) / 8 : dimension;
    uint32x4_t sums[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        sums[r] = vdupq_n_u32(0);
    }
    for (size_t i = 0; i < bytes; i += STEP_BYTES) {
        uint8x16_t a = load_bytes(at(query, 0, 0, i), bytes - i);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = step(sums[r], a, load_bytes(row_at(rows, r, i), bytes - i));
            prefetch(ahead, row_count, r, i, STEP_BYTES);
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        int64_t sum = reduce_int(sums[r]);
        struct vdb_kernels_bits bits = {sum, 0};
        out[r] = metric == VDB_METRIC_HAMMING
                     ? vdb_kernels_finish_bits(metric, bits, query, row_at(rows, r, 0), dimension)
                     : vdb_kernels_finish_int(metric, sum);
    }
}

INLINE void cosine_bytes(int_step *dot_step, const void *query, struct kernel_rows rows, size_t row_count,
                         const char *ahead, size_t dimension, double *out)
{
    uint32x4_t aa = vdupq_n_u32(0);
    uint32x4_t dot[ROWS];
    uint32x4_t bb[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        dot[r] = bb[r] = vdupq_n_u32(0);
    }
    for (size_t i = 0; i < dimension; i += STEP_BYTES) {
        uint8x16_t a = load_bytes(at(query, 0, 0, i), dimension - i);
        aa = dot_step(aa, a, a);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            uint8x16_t b = load_bytes(row_at(rows, r, i), dimension - i);
            dot[r] = dot_step(dot[r], a, b);
            bb[r] = dot_step(bb[r], b, b);
            prefetch(ahead, row_count, r, i, STEP_BYTES);
        }
    }
    double query_square = (double)reduce_int(aa);
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_cosine((double)reduce_int(dot[r]), query_square, (double)reduce_int(bb[r]));
    }
}

KERNEL(l2, f32, F32, sum_float, CONSTANTS(l2_float_step, VDB_METRIC_L2))
KERNEL(dot, f32, F32, sum_float, CONSTANTS(dot_float_step, VDB_METRIC_DOT))
KERNEL(l1, f32, F32, sum_float, CONSTANTS(l1_float_step, VDB_METRIC_L1))
KERNEL(cosine, f32, F32, cosine_float, )

#define INT_KERNELS(element, ELEMENT)                                                                            \
    KERNEL(l2, element, ELEMENT, sum_bytes, CONSTANTS(l2_##element##_step, VDB_METRIC_L2))                       \
    KERNEL(dot, element, ELEMENT, sum_bytes, CONSTANTS(dot_##element##_step, VDB_METRIC_DOT))                    \
    KERNEL(l1, element, ELEMENT, sum_bytes, CONSTANTS(l1_##element##_step, VDB_METRIC_L1))                       \
    KERNEL(cosine, element, ELEMENT, cosine_bytes, CONSTANTS(dot_##element##_step))

INT_KERNELS(u8, U8)
INT_KERNELS(i8, I8)
KERNEL(hamming, bit, BIT, sum_bytes, CONSTANTS(hamming_step, VDB_METRIC_HAMMING))

void vdb_kernels_neon(struct vdb_kernels *table)
{
#define SET(...) SET_FROM("neon", __VA_ARGS__)
    VDB_KERNELS_OF_NUMBERS(SET, f32, F32)
    VDB_KERNELS_OF_NUMBERS(SET, u8, U8)
    VDB_KERNELS_OF_NUMBERS(SET, i8, I8)
    SET(bit, BIT, hamming, HAMMING)
#undef SET
    table->level = VDB_CPU_NEON;
}

#endif
