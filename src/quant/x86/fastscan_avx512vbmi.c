/* fastscan_avx512vbmi.c: 32 codes at once with VBMI and VNNI.
 *
 * vpermb takes its byte from any of 64: four tables. A code's four nibbles get their table's number above them in the same
 * instruction that masks them (ternary logic), and vpdpbusd adds the four bytes that come out to the code's sum of 32 bits.
 * Per 64 packed bytes: two loads, a shift, two ternaries, two vpermb, two vpdpbusd.
 */
#include "quant/fastscan.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { AND_OR = 0xEA }; /* (a & b) | c */

INLINE void step(const uint8_t *packed, const uint8_t *lut, __m512i *low, __m512i *high)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i table_number = _mm512_set1_epi32(0x30201000);
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i codes = _mm512_load_si512(packed);
    __m512i table = _mm512_load_si512(lut);
    /* Loads are what it is short of: without this, compilers load both twice, as operands. */
    __asm__("" : "+v"(codes), "+v"(table));
    __m512i first = _mm512_ternarylogic_epi32(codes, nibble, table_number, AND_OR);
    __m512i last = _mm512_ternarylogic_epi32(_mm512_srli_epi16(codes, 4), nibble, table_number, AND_OR);
    *low = _mm512_dpbusd_epi32(*low, _mm512_permutexvar_epi8(first, table), ones);
    *high = _mm512_dpbusd_epi32(*high, _mm512_permutexvar_epi8(last, table), ones);
}

static void scan(const uint8_t *packed, const uint8_t *lut, size_t bits, uint16_t out[32])
{
    __m512i low[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    __m512i high[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t r = 0; r < bits / 64; r++, packed += 256, lut += 256) {
        step(packed, lut, &low[0], &high[0]);
        step(packed + 64, lut + 64, &low[1], &high[1]);
        step(packed + 128, lut + 128, &low[0], &high[0]);
        step(packed + 192, lut + 192, &low[1], &high[1]);
    }
    _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi32_epi16(_mm512_add_epi32(low[0], low[1])));
    _mm256_storeu_si256((__m256i *)out + 1, _mm512_cvtepi32_epi16(_mm512_add_epi32(high[0], high[1])));
}

void vdb_fastscan_avx512vbmi(struct vdb_fastscan *table)
{
    table->scan = scan;
    table->from = "avx512vbmi";
}
#endif
