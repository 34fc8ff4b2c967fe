/* crc32c.c: CRC-32C by the SSE4.2 instruction, else by an 8-way table (slicing by 8, Kounavis and Berry 2005).
 *
 * The instruction has a latency of 3 cycles and a throughput of 1, so one dependent chain gives 8 bytes per 3
 * cycles. Long inputs are cut in three streams that run side by side; their checksums are joined by the operator
 * that appends zeros, precomputed as a table for the one stream length used.
 */
#include "crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

enum { POLYNOMIAL_SLICES = 8, STREAM_BYTES = 1024 };

static uint32_t slices[POLYNOMIAL_SLICES][256];
static uint32_t shift_stream[4][256]; /* the checksum of x followed by STREAM_BYTES zeros, by bytes of crc(x) */
#if defined(__x86_64__)
static bool have_instruction;
#endif
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
    const uint32_t polynomial = 0x82f63b78u; /* reflected Castagnoli */
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? polynomial : 0);
        }
        slices[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int s = 1; s < POLYNOMIAL_SLICES; s++) {
            slices[s][i] = (slices[s - 1][i] >> 8) ^ slices[0][slices[s - 1][i] & 255];
        }
    }
    /* Shifting by zeros is linear over GF(2): the image of each bit, then of each byte value by exclusive or. */
    uint32_t image[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t crc = UINT32_C(1) << bit;
        for (int i = 0; i < STREAM_BYTES; i++) {
            crc = (crc >> 8) ^ slices[0][crc & 255];
        }
        image[bit] = crc;
    }
    for (int byte = 0; byte < 4; byte++) {
        for (uint32_t value = 0; value < 256; value++) {
            uint32_t crc = 0;
            for (int bit = 0; bit < 8; bit++) {
                crc ^= ((value >> bit) & 1) != 0 ? image[byte * 8 + bit] : 0;
            }
            shift_stream[byte][value] = crc;
        }
    }
#if defined(__x86_64__)
    have_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t update_table(uint32_t crc, const uint8_t *p, size_t bytes)
{
    while (bytes >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        word ^= crc;
        crc = 0;
        for (int i = 0; i < 8; i++) {
            crc ^= slices[7 - i][(word >> (8 * i)) & 255];
        }
        p += 8;
        bytes -= 8;
    }
    while (bytes-- > 0) {
        crc = (crc >> 8) ^ slices[0][(crc ^ *p++) & 255];
    }
    return crc;
}

uint32_t vdb_crc32c_table(uint32_t crc, const void *data, size_t bytes)
{
    pthread_once(&once, fill_tables);
    return ~update_table(~crc, data, bytes);
}

#if defined(__x86_64__)
static uint32_t shift(uint32_t crc)
{
    return shift_stream[0][crc & 255] ^ shift_stream[1][(crc >> 8) & 255] ^ shift_stream[2][(crc >> 16) & 255] ^
           shift_stream[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t update_instruction(uint32_t crc, const uint8_t *p, size_t bytes)
{
    uint64_t a = crc;
    while (bytes >= 3 * STREAM_BYTES) {
        uint64_t b = 0;
        uint64_t c = 0;
        for (size_t i = 0; i < STREAM_BYTES; i += 8) {
            uint64_t x;
            uint64_t y;
            uint64_t z;
            memcpy(&x, p + i, 8);
            memcpy(&y, p + STREAM_BYTES + i, 8);
            memcpy(&z, p + 2 * STREAM_BYTES + i, 8);
            a = _mm_crc32_u64(a, x);
            b = _mm_crc32_u64(b, y);
            c = _mm_crc32_u64(c, z);
        }
        a = shift(shift((uint32_t)a) ^ (uint32_t)b) ^ c;
        p += (size_t)3 * STREAM_BYTES;
        bytes -= (size_t)3 * STREAM_BYTES;
    }
    while (bytes >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        a = _mm_crc32_u64(a, word);
        p += 8;
        bytes -= 8;
    }
    uint32_t tail = (uint32_t)a;
    while (bytes-- > 0) {
        tail = _mm_crc32_u8(tail, *p++);
    }
    return tail;
}
#endif

uint32_t vdb_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    pthread_once(&once, fill_tables);
#if defined(__x86_64__)
    if (have_instruction) {
        return ~update_instruction(~crc, data, bytes);
    }
#endif
    return ~update_table(~crc, data, bytes);
}
