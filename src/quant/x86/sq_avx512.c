/* sq_avx512.c: sums over scalar codes, 16 elements to a register. */
#include "quant/sq_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float sum_lanes(__m512 x)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 quad = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    quad = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
    return _mm_cvtss_f32(_mm_add_ss(quad, _mm_movehdup_ps(quad)));
}

INLINE __m512 widen(__m128i bytes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

INLINE __m512 l2_step(__m512 sum, __m512 values, const float *offsets, const float *weights)
{
    __m512 difference = _mm512_sub_ps(_mm512_load_ps(offsets), _mm512_mul_ps(_mm512_load_ps(weights), values));
    return _mm512_add_ps(sum, _mm512_mul_ps(difference, difference));
}

INLINE __m512 dot_step(__m512 sum, __m512 values, const float *offsets, const float *weights)
{
    (void)offsets;
    return _mm512_add_ps(sum, _mm512_mul_ps(_mm512_load_ps(weights), values));
}

#define SUMS(step, name)                                                                                         \
    static float name##_8(const uint8_t *code, size_t padded, const float *offsets, const float *weights)        \
    {                                                                                                            \
        __m512 sum = _mm512_setzero_ps();                                                                        \
        for (size_t i = 0; i < padded; i += 16) {                                                                \
            __m128i bytes = _mm_loadu_si128((const __m128i *)(code + i));                                        \
            sum = step(sum, widen(bytes), offsets + i, weights + i);                                             \
        }                                                                                                        \
        return sum_lanes(sum);                                                                                   \
    }                                                                                                            \
    static float name##_4(const uint8_t *code, size_t padded, const float *offsets, const float *weights)        \
    {                                                                                                            \
        const __m128i nibble = _mm_set1_epi8(15);                                                                \
        __m512 sum = _mm512_setzero_ps();                                                                        \
        for (size_t i = 0; i < padded; i += 32) {                                                                \
            __m128i bytes = _mm_loadu_si128((const __m128i *)(code + i / 2));                                    \
            __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble);                                      \
            sum = step(sum, widen(_mm_and_si128(bytes, nibble)), offsets + i, weights + i);                      \
            sum = step(sum, widen(high), offsets + i + 16, weights + i + 16);                                    \
        }                                                                                                        \
        return sum_lanes(sum);                                                                                   \
    }

SUMS(l2_step, l2)
SUMS(dot_step, dot)

void vdb_sq_kernels_avx512(struct vdb_sq_kernels *table)
{
    *table = (struct vdb_sq_kernels){{l2_4, l2_8}, {dot_4, dot_8}, "avx512"};
}
#endif
