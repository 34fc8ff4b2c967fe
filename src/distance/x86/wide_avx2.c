/* wide_avx2.c: the double kernels in AVX2: four registers of four lanes, in the order that wide.h fixes. The tail
 * goes through zero-filled copies: its missing elements add nothing. Products are not fused: -ffp-contract=off.
 * dot_many prefetches by R1 of kernels_rows.h.
 */
#include "distance/kernels_rows.h"
#include "distance/wide.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

enum { LANES = 4, REGISTERS = VDB_WIDE_LANES / LANES };

typedef __m256d wide_term(__m256d a, __m256d b);

static inline __m256d l2_term(__m256d a, __m256d b)
{
    __m256d difference = _mm256_sub_pd(a, b);
    return _mm256_mul_pd(difference, difference);
}

static inline __m256d dot_term(__m256d a, __m256d b)
{
    return _mm256_mul_pd(a, b);
}

static inline __m256d l1_term(__m256d a, __m256d b)
{
    return _mm256_andnot_pd(_mm256_set1_pd(-0.0), _mm256_sub_pd(a, b));
}

INLINE void step(wide_term *term, __m256d sums[REGISTERS], const float *a, const float *b)
{
    UNROLL for (size_t j = 0; j < REGISTERS; j++)
    {
        sums[j] = _mm256_add_pd(sums[j], term(_mm256_cvtps_pd(_mm_loadu_ps(a + j * LANES)),
                                              _mm256_cvtps_pd(_mm_loadu_ps(b + j * LANES))));
    }
}

INLINE double sum(wide_term *term, const float *a, const float *b, const char *ahead, size_t dimension)
{
    __m256d sums[REGISTERS];
    UNROLL for (size_t j = 0; j < REGISTERS; j++)
    {
        sums[j] = _mm256_setzero_pd();
    }
    size_t i = 0;
    for (; i + VDB_WIDE_LANES <= dimension; i += VDB_WIDE_LANES) {
        step(term, sums, a + i, b + i);
        prefetch(ahead, 1, 0, i * sizeof *b, VDB_WIDE_LANES * sizeof *b);
    }
    if (i < dimension) {
        prefetch(ahead, 1, 0, i * sizeof *b, VDB_WIDE_LANES * sizeof *b);
        float tail_a[VDB_WIDE_LANES] = {0};
        float tail_b[VDB_WIDE_LANES] = {0};
        memcpy(tail_a, a + i, (dimension - i) * sizeof *a);
        memcpy(tail_b, b + i, (dimension - i) * sizeof *b);
        step(term, sums, tail_a, tail_b);
    }
    __m256d four = _mm256_add_pd(_mm256_add_pd(sums[0], sums[2]), _mm256_add_pd(sums[1], sums[3]));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
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

/* Eight at a time; what is left over, and other elements, go the common way. */
static void load(vdb_element element, const void *vector, size_t dimension, float *out)
{
    const char *in = vector;
    size_t i = 0;
    switch (element) {
    case VDB_ELEMENT_F16:
        for (; i + 8 <= dimension; i += 8) {
            _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(in + 2 * i))));
        }
        break;
    case VDB_ELEMENT_U8:
        for (; i + 8 <= dimension; i += 8) {
            __m256i whole = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(in + i)));
            _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(whole));
        }
        break;
    case VDB_ELEMENT_I8:
        for (; i + 8 <= dimension; i += 8) {
            __m256i whole = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(in + i)));
            _mm256_storeu_ps(out + i, _mm256_cvtepi32_ps(whole));
        }
        break;
    default:
        break;
    }
    vdb_wide_load(element, in + i * vdb_element_bytes(element), dimension - i, out + i);
}

void vdb_wide_avx2(struct vdb_wide *table)
{
    *table = (struct vdb_wide){.l2 = l2, .dot = dot, .l1 = l1, .dot_many = dot_many, .load = load};
}

#endif
