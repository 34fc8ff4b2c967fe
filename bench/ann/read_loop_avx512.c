/* read_loop_avx512.c: what the machine can read: one pass over memory by 64-byte loads that do nothing but xor,
 * eight at a time. It is the roof that a single-query scan is held against. In a file of its own, since it alone
 * is compiled for AVX-512.
 */
#include "vecdb_bench.h"

#if defined(__AVX512F__)

#include <immintrin.h>

uint64_t vdb_read_loop_avx512(const void *data, size_t bytes)
{
    enum { LOADS = 8, STEP_BYTES = LOADS * 64 };
    const char *at = data;
    __m512i sums[LOADS];
    for (int lane = 0; lane < LOADS; lane++) {
        sums[lane] = _mm512_setzero_si512();
    }
    size_t i = 0;
    for (; i + STEP_BYTES <= bytes; i += STEP_BYTES) {
        for (int lane = 0; lane < LOADS; lane++) {
            sums[lane] = _mm512_xor_si512(sums[lane], _mm512_loadu_si512(at + i + lane * 64));
        }
    }
    for (int lane = 1; lane < LOADS; lane++) {
        sums[0] = _mm512_xor_si512(sums[0], sums[lane]);
    }
    uint64_t words[8];
    _mm512_storeu_si512(words, sums[0]);
    uint64_t sum = vdb_read_loop_plain(at + i, bytes - i);
    for (int lane = 0; lane < 8; lane++) {
        sum ^= words[lane];
    }
    return sum;
}

#endif
