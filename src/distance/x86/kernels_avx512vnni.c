/* kernels_avx512vnni.c: dot and cosine of u8 and i8 by VPDPBUSD, which multiplies 64 unsigned by 64 signed bytes
 * and adds them, four by four, to 16 sums of 32 bits. l2 and l1 stay with kernels_avx512.c: l2 made of such
 * products takes three a row and read the cache at 70 GB/s where squared differences read it at 89.
 *
 * Every byte x has two readings: u(x), unsigned, and s(x) = u(x) - 128, signed, which is the byte with its
 * highest bit flipped. One of them is the element itself: u of u8, s of i8. A product of two elements takes one
 * vector in either reading and puts right what the other's shift of 128 added:
 *
 *     u8:  sum u(a) u(b) = sum u(a) s(b) + 128 sum u(a)
 *     i8:  sum s(a) s(b) = sum u(b) s(a) - 128 sum s(a)
 *
 * with a the query, whose sum is taken once for all rows in step; squares likewise.
 *
 * N1 Exact: a sum of one lane grows by at most 4 * 255 * 128 = 130,560 a step and takes at most 65,536 / 64 =
 * 1,024 steps: 133,693,440 < 2^31. Lanes are widened to 64 bits before they are added up.
 * N2 The tail's masked bytes are element 0 of both types in both vectors: they add nothing to a product or a sum.
 * N3 No byte outside a vector is read: those loads are masked.
 *
 * Threads: pure functions.
 */
#include "distance/kernels_rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { STEP_BYTES = 64 };

/* Both readings of 64 elements, or of the first `left` and zeros. */
struct readings {
    __m512i u;
    __m512i s;
};

INLINE struct readings load_bytes(vdb_element element, const char *p, size_t left)
{
    __m512i v = left >= STEP_BYTES ? _mm512_loadu_si512(p)
                                   : _mm512_maskz_loadu_epi8((UINT64_C(1) << left) - 1, p);
    __m512i flipped = _mm512_xor_si512(v, _mm512_set1_epi8(-128));
    return element == VDB_ELEMENT_U8 ? (struct readings){v, flipped} : (struct readings){flipped, v};
}

INLINE int64_t reduce_int(__m512i v)
{
    __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(v));
    __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(v, 1));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
}

/* The sums of one row, and of the query against itself. Which of them a metric needs is constant, so the compiler
 * drops the others. */
struct sums {
    __m512i product; /* u(a) s(b) of u8, u(b) s(a) of i8 */
    __m512i square;  /* u(b) s(b) */
    __m512i sum;     /* u(b) of u8, s(b) of i8 */
};

INLINE __m512i sum_u(__m512i sum, struct readings x)
{
    return _mm512_dpbusd_epi32(sum, x.u, _mm512_set1_epi8(1));
}

INLINE __m512i sum_s(__m512i sum, struct readings x)
{
    return _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), x.s);
}

INLINE struct sums add_square(vdb_element element, struct sums sums, struct readings x)
{
    sums.square = _mm512_dpbusd_epi32(sums.square, x.u, x.s);
    sums.sum = element == VDB_ELEMENT_U8 ? sum_u(sums.sum, x) : sum_s(sums.sum, x);
    return sums;
}

INLINE struct sums add_row(vdb_element element, vdb_metric metric, struct sums sums, struct readings a,
                           struct readings b)
{
    sums.product = element == VDB_ELEMENT_U8 ? _mm512_dpbusd_epi32(sums.product, a.u, b.s)
                                             : _mm512_dpbusd_epi32(sums.product, b.u, a.s);
    return metric == VDB_METRIC_DOT ? sums : add_square(element, sums, b);
}

INLINE void sum_bytes(vdb_element element, vdb_metric metric, const void *query, struct kernel_rows rows,
                      size_t row_count, const char *ahead, size_t dimension, double *out)
{
    const struct sums zero = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    const int64_t shift = element == VDB_ELEMENT_U8 ? 128 : -128;
    struct sums self = zero;
    struct sums sums[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        sums[r] = zero;
    }
    size_t i = 0;
    for (; i + STEP_BYTES <= dimension; i += STEP_BYTES) {
        struct readings a = load_bytes(element, at(query, 0, 0, i), STEP_BYTES);
        self = add_square(element, self, a);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = add_row(element, metric, sums[r], a, load_bytes(element, row_at(rows, r, i), STEP_BYTES));
            prefetch(ahead, row_count, r, i, STEP_BYTES);
        }
    }
    if (i < dimension) {
        struct readings a = load_bytes(element, at(query, 0, 0, i), dimension - i);
        self = add_square(element, self, a);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = add_row(element, metric, sums[r], a,
                              load_bytes(element, row_at(rows, r, i), dimension - i));
        }
    }
    const int64_t query_shift = shift * reduce_int(self.sum);
    const int64_t aa = metric == VDB_METRIC_DOT ? 0 : reduce_int(self.square) + query_shift;
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        int64_t product = reduce_int(sums[r].product) + query_shift;
        if (metric == VDB_METRIC_DOT) {
            out[r] = vdb_kernels_finish_int(metric, product);
            continue;
        }
        int64_t bb = reduce_int(sums[r].square) + shift * reduce_int(sums[r].sum);
        out[r] = vdb_kernels_cosine((double)product, (double)aa, (double)bb);
    }
}

KERNEL(dot, u8, U8, sum_bytes, CONSTANTS(VDB_ELEMENT_U8, VDB_METRIC_DOT))
KERNEL(cosine, u8, U8, sum_bytes, CONSTANTS(VDB_ELEMENT_U8, VDB_METRIC_COSINE))
KERNEL(dot, i8, I8, sum_bytes, CONSTANTS(VDB_ELEMENT_I8, VDB_METRIC_DOT))
KERNEL(cosine, i8, I8, sum_bytes, CONSTANTS(VDB_ELEMENT_I8, VDB_METRIC_COSINE))

void vdb_kernels_avx512vnni(struct vdb_kernels *table)
{
#define SET(...) SET_FROM("avx512vnni", __VA_ARGS__)
    SET(u8, U8, dot, DOT)
    SET(u8, U8, cosine, COSINE)
    SET(i8, I8, dot, DOT)
    SET(i8, I8, cosine, COSINE)
#undef SET
}

#endif
