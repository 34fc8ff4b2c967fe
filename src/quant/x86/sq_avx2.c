/* sq_avx2.c: sums over scalar codes, two registers of 8 elements for each 16; sq_avx512.c has the same shape. */
#include "quant/sq_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

struct pair {
    __m256 low, high;
};

INLINE float sum_lanes(struct pair x)
{
    __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 quad = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    quad = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
    return _mm_cvtss_f32(_mm_add_ss(quad, _mm_movehdup_ps(quad)));
}

INLINE __m256 l2_eight(__m256 sum, __m128i bytes, const float *offsets, const float *weights)
{
    __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    __m256 difference = _mm256_sub_ps(_mm256_load_ps(offsets), _mm256_mul_ps(_mm256_load_ps(weights), values));
    return _mm256_add_ps(sum, _mm256_mul_ps(difference, difference));
}

INLINE __m256 dot_eight(__m256 sum, __m128i bytes, const float *offsets, const float *weights)
{
    (void)offsets;
    __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    return _mm256_add_ps(sum, _mm256_mul_ps(_mm256_load_ps(weights), values));
}

#define SUMS(eight, name)                                                                                        \
    INLINE struct pair name##_step(struct pair sum, __m128i bytes, const float *offsets, const float *weights)   \
    {                                                                                                            \
        sum.low = eight(sum.low, bytes, offsets, weights);                                                       \
        sum.high = eight(sum.high, _mm_srli_si128(bytes, 8), offsets + 8, weights + 8);                          \
        return sum;                                                                                              \
    }                                                                                                            \
    static float name##_8(const uint8_t *code, size_t padded, const float *offsets, const float *weights)        \
    {                                                                                                            \
        struct pair sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};                                            \
        for (size_t i = 0; i < padded; i += 16) {                                                                \
            __m128i bytes = _mm_loadu_si128((const __m128i *)(code + i));                                        \
            sum = name##_step(sum, bytes, offsets + i, weights + i);                                             \
        }                                                                                                        \
        return sum_lanes(sum);                                                                                   \
    }                                                                                                            \
    static float name##_4(const uint8_t *code, size_t padded, const float *offsets, const float *weights)        \
    {                                                                                                            \
        const __m128i nibble = _mm_set1_epi8(15);                                                                \
        struct pair sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};                                            \
        for (size_t i = 0; i < padded; i += 32) {                                                                \
            __m128i bytes = _mm_loadu_si128((const __m128i *)(code + i / 2));                                    \
            __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble);                                      \
            sum = name##_step(sum, _mm_and_si128(bytes, nibble), offsets + i, weights + i);                      \
            sum = name##_step(sum, high, offsets + i + 16, weights + i + 16);                                    \
        }                                                                                                        \
        return sum_lanes(sum);                                                                                   \
    }

SUMS(l2_eight, l2)
SUMS(dot_eight, dot)

void vdb_sq_kernels_avx2(struct vdb_sq_kernels *table)
{
    *table = (struct vdb_sq_kernels){{l2_4, l2_8}, {dot_4, dot_8}, "avx2"};
}
#endif
