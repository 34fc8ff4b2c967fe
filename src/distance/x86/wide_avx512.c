/* wide_avx512.c: the double kernels in AVX-512: lanes 0 to 7 in one register, 8 to 15 in the other, so that every
 * lane takes its elements in the order that wide.h fixes. The tail is masked: its missing elements add nothing.
 * dot_many prefetches by R1 of kernels_rows.h.
 */
#include "distance/kernels_rows.h"
#include "distance/wide.h"

#if defined(__x86_64__)
#include <immintrin.h>

typedef __m512d wide_term(__m512d a, __m512d b);

static inline __m512d l2_term(__m512d a, __m512d b)
{
    __m512d difference = _mm512_sub_pd(a, b);
    return _mm512_mul_pd(difference, difference);
}

static inline __m512d dot_term(__m512d a, __m512d b)
{
    return _mm512_mul_pd(a, b);
}

static inline __m512d l1_term(__m512d a, __m512d b)
{
    return _mm512_abs_pd(_mm512_sub_pd(a, b));
}

/* The halves of wide.h: 16 lanes to 8, 4, 2, 1. */
INLINE double reduce(__m512d low, __m512d high)
{
    __m512d eight = _mm512_add_pd(low, high);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

INLINE double sum(wide_term *term, const float *a, const float *b, const char *ahead, size_t dimension)
{
    __m512d low = _mm512_setzero_pd();
    __m512d high = _mm512_setzero_pd();
    size_t i = 0;
    for (; i + VDB_WIDE_LANES <= dimension; i += VDB_WIDE_LANES) {
        low = _mm512_add_pd(
            low, term(_mm512_cvtps_pd(_mm256_loadu_ps(a + i)), _mm512_cvtps_pd(_mm256_loadu_ps(b + i))));
        high = _mm512_add_pd(
            high, term(_mm512_cvtps_pd(_mm256_loadu_ps(a + i + 8)), _mm512_cvtps_pd(_mm256_loadu_ps(b + i + 8))));
        prefetch(ahead, 1, 0, i * sizeof *b, VDB_WIDE_LANES * sizeof *b);
    }
    if (i < dimension) {
        prefetch(ahead, 1, 0, i * sizeof *b, VDB_WIDE_LANES * sizeof *b);
        unsigned mask = (1u << (dimension - i)) - 1;
        __mmask8 m0 = (__mmask8)mask;
        __mmask8 m1 = (__mmask8)(mask >> 8);
        low = _mm512_add_pd(low, term(_mm512_cvtps_pd(_mm256_maskz_loadu_ps(m0, a + i)),
                                      _mm512_cvtps_pd(_mm256_maskz_loadu_ps(m0, b + i))));
        high = _mm512_add_pd(high, term(_mm512_cvtps_pd(_mm256_maskz_loadu_ps(m1, a + i + 8)),
                                        _mm512_cvtps_pd(_mm256_maskz_loadu_ps(m1, b + i + 8))));
    }
    return reduce(low, high);
}

static double l2(const float *a, const float *b, size_t dimension)
{
    return sum(l2_term, a, b, NULL, dimension);
}

static double dot(const float *a, const float *b, size_t dimension)
{
    return sum(dot_term, a, b, NULL, dimension);
}

static double l1(const float *a, const float *b, size_t dimension)
{
    return sum(l1_term, a, b, NULL, dimension);
}

static void dot_many(const float *query, const void *rows, size_t stride_bytes, size_t count, size_t dimension,
                     double *out)
{
    const size_t ahead = ahead_bytes(stride_bytes);
    for (size_t i = 0; i < count; i++) {
        const char *row = at(rows, stride_bytes, i, 0);
        out[i] = sum(dot_term, query, (const void *)row,
                     ahead_of(row, stride_bytes, (count - i) * stride_bytes, ahead), dimension);
    }
}

/* Sixteen at a time; what is left over, and other elements, go the common way. */
static void load(vdb_element element, const void *vector, size_t dimension, float *out)
{
    const char *in = vector;
    size_t i = 0;
    switch (element) {
    case VDB_ELEMENT_F16:
        for (; i + 16 <= dimension; i += 16) {
            _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(in + 2 * i))));
        }
        break;
    case VDB_ELEMENT_U8:
        for (; i + 16 <= dimension; i += 16) {
            __m512i whole = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(in + i)));
            _mm512_storeu_ps(out + i, _mm512_cvtepi32_ps(whole));
        }
        break;
    case VDB_ELEMENT_I8:
        for (; i + 16 <= dimension; i += 16) {
            __m512i whole = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(in + i)));
            _mm512_storeu_ps(out + i, _mm512_cvtepi32_ps(whole));
        }
        break;
    default:
        break;
    }
    vdb_wide_load(element, in + i * vdb_element_bytes(element), dimension - i, out + i);
}

void vdb_wide_avx512(struct vdb_wide *table)
{
    *table = (struct vdb_wide){.l2 = l2, .dot = dot, .l1 = l1, .dot_many = dot_many, .load = load};
}

#endif
