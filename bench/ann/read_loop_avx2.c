/* read_loop_avx2.c: the plain read loop with 32-byte loads. See read_loop_avx512.c. */
#include "vecdb_bench.h"

#if defined(__AVX2__)

#include <immintrin.h>

uint64_t vdb_read_loop_avx2(const void *data, size_t bytes)
{
    enum { LOADS = 8, STEP_BYTES = LOADS * 32 };
    const char *at = data;
    __m256i sums[LOADS];
    for (int lane = 0; lane < LOADS; lane++) {
        sums[lane] = _mm256_setzero_si256();
    }
    size_t i = 0;
    for (; i + STEP_BYTES <= bytes; i += STEP_BYTES) {
        for (int lane = 0; lane < LOADS; lane++) {
            sums[lane] = _mm256_xor_si256(sums[lane], _mm256_loadu_si256((const void *)(at + i + lane * 32)));
        }
    }
    for (int lane = 1; lane < LOADS; lane++) {
        sums[0] = _mm256_xor_si256(sums[0], sums[lane]);
    }
    uint64_t words[4];
    _mm256_storeu_si256((void *)words, sums[0]);
    return words[0] ^ words[1] ^ words[2] ^ words[3] ^ vdb_read_loop_plain(at + i, bytes - i);
}

#endif
