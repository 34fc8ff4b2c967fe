/* kernels_avx512vpopcntdq.c: the kernels of bits where the processor counts them, 8 words of 64 an instruction.
 *
 * P1 Counts are exact: a lane takes at most 65,536 / 512 = 128 steps of at most 64.
 * P2 No byte outside a vector is read: the tail's loads are masked.
 *
 * Threads: pure functions.
 */
#include "distance/kernels_rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { STEP_BYTES = 64 };

/* 64 bytes, or the first `left` of them and zeros. */
INLINE __m512i load_bits(const char *p, size_t left)
{
    return left >= STEP_BYTES ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8((UINT64_C(1) << left) - 1, p);
}

INLINE void sum_bits(vdb_metric metric, const void *query, struct kernel_rows rows, size_t row_count,
                     const char *ahead, size_t dimension, double *out)
{
    const size_t bytes = (dimension + 7) / 8;
    __m512i left[ROWS];
    __m512i right[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        left[r] = right[r] = _mm512_setzero_si512();
    }
    for (size_t i = 0; i < bytes; i += STEP_BYTES) {
        __m512i a = load_bits(at(query, 0, 0, i), bytes - i);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m512i b = load_bits(row_at(rows, r, i), bytes - i);
            if (metric == VDB_METRIC_HAMMING) {
                left[r] = _mm512_add_epi64(left[r], _mm512_popcnt_epi64(_mm512_xor_si512(a, b)));
            } else {
                left[r] = _mm512_add_epi64(left[r], _mm512_popcnt_epi64(_mm512_and_si512(a, b)));
                right[r] = _mm512_add_epi64(right[r], _mm512_popcnt_epi64(_mm512_or_si512(a, b)));
            }
            prefetch(ahead, row_count, r, i, STEP_BYTES);
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        struct vdb_kernels_bits counts = {_mm512_reduce_add_epi64(left[r]), 0};
        if (metric == VDB_METRIC_JACCARD) {
            counts.right = _mm512_reduce_add_epi64(right[r]);
        }
        out[r] = vdb_kernels_finish_bits(metric, counts, query, row_at(rows, r, 0), dimension);
    }
}

KERNEL(hamming, bit, BIT, sum_bits, CONSTANTS(VDB_METRIC_HAMMING))
KERNEL(jaccard, bit, BIT, sum_bits, CONSTANTS(VDB_METRIC_JACCARD))

void vdb_kernels_avx512vpopcntdq(struct vdb_kernels *table)
{
#define SET(...) SET_FROM("avx512vpopcntdq", __VA_ARGS__)
    VDB_KERNELS_OF_BITS(SET)
#undef SET
}

#endif
