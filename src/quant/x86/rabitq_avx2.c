/* rabitq_avx2.c: dot products of multi-bit codes with floats: a byte of a plane selects among eight values. */
#include "quant/rabitq.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* The values whose bit is set, 0 for the others. */
INLINE __m256 selected(unsigned byte, const float *values)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)byte), bit), bit);
    return _mm256_and_ps(_mm256_castsi256_ps(set), _mm256_loadu_ps(values));
}

/* Halves first, as the reference does. */
INLINE float sum_lanes(__m256 low, __m256 high)
{
    __m256 eight = _mm256_add_ps(low, high);
    __m128 quad = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    quad = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
    return _mm_cvtss_f32(_mm_add_ss(quad, _mm_movehdup_ps(quad)));
}

static float dot(const uint8_t *code, size_t dimensions, unsigned bits, const float *query)
{
    float total = 0;
    for (unsigned plane = 0; plane < bits; plane++, code += dimensions / 8) {
        __m256 low = _mm256_setzero_ps(); /* chains 0 to 7 */
        __m256 high = _mm256_setzero_ps();
        for (size_t i = 0; i < dimensions; i += 16) {
            low = _mm256_add_ps(low, selected(code[i / 8], query + i));
            high = _mm256_add_ps(high, selected(code[i / 8 + 1], query + i + 8));
        }
        total = total + total + sum_lanes(low, high);
    }
    return total;
}

static void score(const float *magnitudes, size_t dimensions, float factor, float level_max, float *product,
                  float *square)
{
    const __m256 factors = _mm256_set1_ps(factor);
    const __m256 most = _mm256_set1_ps(level_max);
    const __m256 half = _mm256_set1_ps(0.5f);
    __m256 products[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    __m256 squares[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < dimensions; i += 8) {
        __m256 a = _mm256_loadu_ps(magnitudes + i);
        __m256i levels = _mm256_cvttps_epi32(_mm256_min_ps(_mm256_mul_ps(factors, a), most));
        __m256 y = _mm256_add_ps(_mm256_cvtepi32_ps(levels), half);
        products[i / 8 % 2] = _mm256_add_ps(products[i / 8 % 2], _mm256_mul_ps(y, a));
        squares[i / 8 % 2] = _mm256_add_ps(squares[i / 8 % 2], _mm256_mul_ps(y, y));
    }
    *product = sum_lanes(products[0], products[1]);
    *square = sum_lanes(squares[0], squares[1]);
}

void vdb_rabitq_avx2(struct vdb_rabitq *table)
{
    *table = (struct vdb_rabitq){dot, score, "avx2"};
}
#endif
