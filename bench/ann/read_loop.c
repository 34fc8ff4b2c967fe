/* read_loop.c: the read loops where no vector instructions are known. See read_loop_avx512.c. */
#include <string.h>

#include "vecdb_bench.h"

static uint64_t word_at(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* From `at` and, with streams, from `second` too, `bytes` bytes of each. */
static uint64_t read_lines(enum vecdb_bench_loop loop, const char *at, const char *second, size_t bytes)
{
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 64 <= bytes; i += 64) {
        if (loop == VECDB_BENCH_LOOP_AHEAD) {
            __builtin_prefetch(at + i + VDB_READ_LOOP_AHEAD_BYTES, 0, 2);
        }
        for (size_t lane = 0; lane < 8; lane++) {
            sums[lane] ^= word_at(at + i + lane * 8);
            if (loop == VECDB_BENCH_LOOP_STREAMS) {
                sums[lane] ^= word_at(second + i + lane * 8);
            }
        }
    }
    uint64_t sum = 0;
    for (size_t lane = 0; lane < 8; lane++) {
        sum ^= sums[lane];
    }
    return sum;
}

uint64_t vdb_read_loop_plain(enum vecdb_bench_loop loop, const void *data, size_t bytes)
{
    const char *at = data;
    size_t streams = loop == VECDB_BENCH_LOOP_STREAMS ? 2 : 1;
    size_t share = bytes / streams / 64 * 64;
    uint64_t sum = read_lines(loop, at, at + (streams - 1) * share, share);
    for (size_t i = streams * share; i < bytes; i++) {
        sum += (unsigned char)at[i];
    }
    return sum;
}
