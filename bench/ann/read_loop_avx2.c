/* read_loop_avx2.c: the read loops with 32-byte loads. See read_loop_avx512.c. */
#include "vecdb_bench.h"

#if defined(__AVX2__)

#include <immintrin.h>

enum { LOADS = 8, LOAD_BYTES = 32, LINE_BYTES = 64 };

static inline __m256i load(const char *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

static uint64_t fold(const __m256i sums[LOADS])
{
    __m256i sum = sums[0];
    for (int i = 1; i < LOADS; i++) {
        sum = _mm256_xor_si256(sum, sums[i]);
    }
    uint64_t words[LOAD_BYTES / 8];
    _mm256_storeu_si256((__m256i *)words, sum);
    uint64_t value = 0;
    for (int i = 0; i < LOAD_BYTES / 8; i++) {
        value ^= words[i];
    }
    return value;
}

/* LOADS loads a step, of one stream or shared out over two. */
static inline __attribute__((always_inline)) uint64_t read_streams(const char *at, size_t bytes, size_t streams)
{
    const size_t share = bytes / streams, step = LOADS * LOAD_BYTES / streams;
    __m256i sums[LOADS];
    for (int i = 0; i < LOADS; i++) {
        sums[i] = _mm256_setzero_si256();
    }
    for (size_t i = 0; i < share; i += step) {
        for (size_t lane = 0; lane < LOADS; lane++) {
            const char *line = at + lane % streams * share + i + lane / streams * LOAD_BYTES;
            sums[lane] = _mm256_xor_si256(sums[lane], load(line));
        }
    }
    return fold(sums);
}

static uint64_t read_ahead(const char *at, size_t bytes)
{
    __m256i sums[LOADS];
    for (int i = 0; i < LOADS; i++) {
        sums[i] = _mm256_setzero_si256();
    }
    for (size_t i = 0; i < bytes; i += LINE_BYTES) {
        _mm_prefetch(at + i + VDB_READ_LOOP_AHEAD_BYTES, _MM_HINT_T1);
        for (size_t lane = 0; lane < LINE_BYTES / LOAD_BYTES; lane++) {
            sums[lane] = _mm256_xor_si256(sums[lane], load(at + i + lane * LOAD_BYTES));
        }
    }
    return fold(sums);
}

uint64_t vdb_read_loop_avx2(enum vecdb_bench_loop loop, const void *data, size_t bytes)
{
    const size_t whole = bytes / (2 * LOADS * LOAD_BYTES) * (2 * LOADS * LOAD_BYTES);
    const char *at = data;
    uint64_t sum = loop == VECDB_BENCH_LOOP_AHEAD     ? read_ahead(at, whole)
                   : loop == VECDB_BENCH_LOOP_STREAMS ? read_streams(at, whole, 2)
                                                      : read_streams(at, whole, 1);
    return sum ^ vdb_read_loop_plain(VECDB_BENCH_LOOP_PLAIN, at + whole, bytes - whole);
}

#endif
