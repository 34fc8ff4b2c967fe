/* rabitq_avx512.c: dot products of multi-bit codes with floats, where a plane's bits are the masks of additions, and the
 * scores of an encoder's candidates. */
#include "quant/rabitq.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Halves first, as the reference does. */
INLINE float sum_lanes(__m512 x)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 quad = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    quad = _mm_add_ps(quad, _mm_movehl_ps(quad, quad));
    return _mm_cvtss_f32(_mm_add_ss(quad, _mm_movehdup_ps(quad)));
}

/* `bits` is a constant where this is inlined, so the sums stay in registers. */
INLINE float dot_of(const uint8_t *code, size_t dimensions, unsigned bits, const float *query)
{
    const size_t plane_bytes = dimensions / 8;
    __m512 sums[VDB_RABITQ_BITS_MAX];
    UNROLL for (unsigned plane = 0; plane < bits; plane++)
    {
        sums[plane] = _mm512_setzero_ps();
    }
    for (size_t i = 0; i < dimensions; i += 16) {
        __m512 values = _mm512_loadu_ps(query + i);
        UNROLL for (unsigned plane = 0; plane < bits; plane++)
        {
            uint16_t mask;
            memcpy(&mask, code + plane * plane_bytes + i / 8, sizeof mask);
            sums[plane] = _mm512_mask_add_ps(sums[plane], mask, sums[plane], values);
        }
    }
    float total = 0;
    UNROLL for (unsigned plane = 0; plane < bits; plane++)
    {
        total = total + total + sum_lanes(sums[plane]);
    }
    return total;
}

static float dot(const uint8_t *code, size_t dimensions, unsigned bits, const float *query)
{
    switch (bits) {
    case 1:
        return dot_of(code, dimensions, 1, query);
    case 2:
        return dot_of(code, dimensions, 2, query);
    case 3:
        return dot_of(code, dimensions, 3, query);
    case 4:
        return dot_of(code, dimensions, 4, query);
    case 5:
        return dot_of(code, dimensions, 5, query);
    case 6:
        return dot_of(code, dimensions, 6, query);
    case 7:
        return dot_of(code, dimensions, 7, query);
    case 8:
        return dot_of(code, dimensions, 8, query);
    default:
        return dot_of(code, dimensions, VDB_RABITQ_BITS_MAX, query);
    }
}

static void score(const float *magnitudes, size_t dimensions, float factor, float level_max, float *product,
                  float *square)
{
    const __m512 factors = _mm512_set1_ps(factor);
    const __m512 most = _mm512_set1_ps(level_max);
    const __m512 half = _mm512_set1_ps(0.5f);
    __m512 products = _mm512_setzero_ps();
    __m512 squares = _mm512_setzero_ps();
    for (size_t i = 0; i < dimensions; i += 16) {
        __m512 a = _mm512_loadu_ps(magnitudes + i);
        __m512i levels = _mm512_cvttps_epi32(_mm512_min_ps(_mm512_mul_ps(factors, a), most));
        __m512 y = _mm512_add_ps(_mm512_cvtepi32_ps(levels), half);
        products = _mm512_add_ps(products, _mm512_mul_ps(y, a));
        squares = _mm512_add_ps(squares, _mm512_mul_ps(y, y));
    }
    *product = sum_lanes(products);
    *square = sum_lanes(squares);
}

void vdb_rabitq_avx512(struct vdb_rabitq *table)
{
    *table = (struct vdb_rabitq){dot, score, "avx512"};
}
#endif
