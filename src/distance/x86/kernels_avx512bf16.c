/* kernels_avx512bf16.c: dot and cosine of bf16 by VDPBF16PS, which multiplies 32 pairs and adds them to 16 sums.
 *
 * The product of two bf16 is exact in f32 (8 + 8 bits of significand); each instruction then rounds twice: a sum
 * takes its two products one after the other. Denormals count as 0, elements and results alike, whatever the
 * thread's mode. So this is not what the conversion to f32 and a fused multiply-add give, to the last bit; the
 * bound of README.md ("bf16 by VDPBF16PS") covers it. l2 and l1 need the difference and stay with
 * kernels_avx512.c.
 *
 * B1 The bound of README.md. Sums that flush to 0 below 2^-126 would cost a cosine more than it allows when
 * squared norms are small: below NORM_MIN they are taken in double. B2 No byte outside a vector is read: the
 * tail's loads are masked.
 *
 * Threads: pure functions.
 */
#include "distance/kernels_rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    STEP_ELEMENTS = 32,
    STEP_BYTES = 64,
    DOT_ACCUMULATORS = 4,    /* 4 rows * 4 = 16 of the 32 registers */
    COSINE_ACCUMULATORS = 2, /* (4 rows * 2 sums + |a|^2) * 2 = 18 */
    ACCUMULATORS_MAX = 4,
};

#define NORM_MIN 0x1p-60f /* 65,536 terms of at most 2^-126 are 2^-50 of it */

/* 32 elements, or the first `left` of them and zeros. */
INLINE __m512bh load_pairs(const char *p, size_t left)
{
    __m512i v = left >= STEP_ELEMENTS ? _mm512_loadu_si512(p)
                                      : _mm512_maskz_loadu_epi16((__mmask32)((UINT64_C(1) << left) - 1), p);
    return (__m512bh)v;
}

INLINE float reduce_f32(__m512 v)
{
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    quarter = _mm_add_ss(quarter, _mm_movehdup_ps(quarter));
    return _mm_cvtss_f32(quarter);
}

/* Of `accumulators` registers, which is 2 or 4. */
INLINE float reduce_sums(const __m512 *sums, size_t accumulators)
{
    __m512 sum = _mm512_add_ps(sums[0], sums[1]);
    return reduce_f32(accumulators == 2 ? sum : _mm512_add_ps(sum, _mm512_add_ps(sums[2], sums[3])));
}

/* Both metrics: cosine also needs the squared norms. */
INLINE void sum_bf16(vdb_metric metric, size_t accumulators, const void *query, struct kernel_rows rows,
                     size_t row_count, const char *ahead, size_t dimension, double *out)
{
    const bool cosine = metric == VDB_METRIC_COSINE;
    const size_t block = accumulators * STEP_ELEMENTS;
    __m512 aa[ACCUMULATORS_MAX];
    __m512 dot[ROWS][ACCUMULATORS_MAX];
    __m512 bb[ROWS][ACCUMULATORS_MAX];
    UNROLL for (size_t j = 0; j < accumulators; j++)
    {
        aa[j] = _mm512_setzero_ps();
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            dot[r][j] = bb[r][j] = _mm512_setzero_ps();
        }
    }
    size_t i = 0;
    for (; i + block <= dimension; i += block) {
        UNROLL for (size_t j = 0; j < accumulators; j++)
        {
            size_t byte = (i + j * STEP_ELEMENTS) * 2;
            __m512bh a = load_pairs(at(query, 0, 0, byte), STEP_ELEMENTS);
            aa[j] = cosine ? _mm512_dpbf16_ps(aa[j], a, a) : aa[j];
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                __m512bh b = load_pairs(row_at(rows, r, byte), STEP_ELEMENTS);
                dot[r][j] = _mm512_dpbf16_ps(dot[r][j], a, b);
                bb[r][j] = cosine ? _mm512_dpbf16_ps(bb[r][j], b, b) : bb[r][j];
                prefetch(ahead, row_count, r, byte, STEP_BYTES);
            }
        }
    }
    for (; i < dimension; i += STEP_ELEMENTS) {
        __m512bh a = load_pairs(at(query, 0, 0, i * 2), dimension - i);
        aa[0] = cosine ? _mm512_dpbf16_ps(aa[0], a, a) : aa[0];
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m512bh b = load_pairs(row_at(rows, r, i * 2), dimension - i);
            dot[r][0] = _mm512_dpbf16_ps(dot[r][0], a, b);
            bb[r][0] = cosine ? _mm512_dpbf16_ps(bb[r][0], b, b) : bb[r][0];
        }
    }
    float query_square = cosine ? reduce_sums(aa, accumulators) : 0;
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        const char *row = row_at(rows, r, 0);
        float product = reduce_sums(dot[r], accumulators);
        if (!cosine) {
            out[r] = vdb_kernels_finish_float(VDB_ELEMENT_BF16, metric, product, query, row, dimension);
            continue;
        }
        float row_square = reduce_sums(bb[r], accumulators);
        if (!(query_square >= NORM_MIN && row_square >= NORM_MIN)) {
            out[r] = vdb_kernels_wide(VDB_ELEMENT_BF16, metric, query, row, dimension);
            continue;
        }
        out[r] = vdb_kernels_finish_cosine_float(VDB_ELEMENT_BF16, product, query_square, row_square, query, row,
                                                 dimension);
    }
}

KERNEL(dot, bf16, BF16, sum_bf16, CONSTANTS(VDB_METRIC_DOT, DOT_ACCUMULATORS))
KERNEL(cosine, bf16, BF16, sum_bf16, CONSTANTS(VDB_METRIC_COSINE, COSINE_ACCUMULATORS))

void vdb_kernels_avx512bf16(struct vdb_kernels *table)
{
#define SET(...) SET_FROM("avx512bf16", __VA_ARGS__)
    SET(bf16, BF16, dot, DOT)
    SET(bf16, BF16, cosine, COSINE)
#undef SET
}

#endif
