/* read_loop.c: the plain read loop where no vector instructions are known. See read_loop_avx512.c. */
#include <string.h>

#include "vecdb_bench.h"

uint64_t vdb_read_loop_plain(const void *data, size_t bytes)
{
    const char *at = data;
    uint64_t sums[8] = {0};
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        for (size_t lane = 0; lane < 8; lane++) {
            uint64_t word;
            memcpy(&word, at + i + lane * 8, sizeof word);
            sums[lane] ^= word;
        }
    }
    uint64_t sum = 0;
    for (; i < bytes; i++) {
        sum += (unsigned char)at[i];
    }
    for (size_t lane = 0; lane < 8; lane++) {
        sum ^= sums[lane];
    }
    return sum;
}
