/* fastscan_avx2.c: 32 codes at once with shuffles of 32 bytes: the packed bytes of a nibble are gathered first, since a
 * shuffle here knows one table per 16 bytes. */
#include "quant/fastscan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Two shuffles' bytes added to sums of 16 bits: `all` of whole words, modulo 2^16, and `odd` of their high bytes. */
INLINE void add_bytes(__m256i bytes, __m256i *all, __m256i *odd)
{
    *all = _mm256_add_epi16(*all, bytes);
    *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16(bytes, 8));
}

/* From a lane's worth of nibbles j and one of j + 2 (16 codes each) to 16 sums in the order of the codes. */
INLINE __m256i finish(__m256i all, __m256i odd)
{
    __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    __m256i first = _mm256_unpacklo_epi16(even, odd); /* codes 0-7, of either lane */
    __m256i last = _mm256_unpackhi_epi16(even, odd);  /* codes 8-15 */
    return _mm256_add_epi16(_mm256_permute2x128_si256(first, last, 0x20),
                            _mm256_permute2x128_si256(first, last, 0x31));
}

static void scan(const uint8_t *packed, const uint8_t *lut, size_t bits, uint16_t out[32])
{
    const __m256i nibble = _mm256_set1_epi8(15);
    /* Four codes of four nibbles to four nibbles of four codes, then the lanes' together. */
    const __m256i turn = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m256i gather = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i all[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    __m256i odd[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t r = 0; r < bits / 16; r++, packed += 64, lut += 64) {
        __m256i a = _mm256_load_si256((const __m256i *)packed); /* codes 0-7 and 16-23 */
        __m256i b = _mm256_load_si256((const __m256i *)packed + 1);
        a = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(a, turn), gather);
        b = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(b, turn), gather);
        __m256i first = _mm256_unpacklo_epi64(a, b); /* nibbles 0 and 2 of all codes */
        __m256i last = _mm256_unpackhi_epi64(a, b);  /* nibbles 1 and 3 */
        __m256i t01 = _mm256_load_si256((const __m256i *)lut);
        __m256i t23 = _mm256_load_si256((const __m256i *)lut + 1);
        __m256i t02 = _mm256_permute2x128_si256(t01, t23, 0x20);
        __m256i t13 = _mm256_permute2x128_si256(t01, t23, 0x31);
        add_bytes(_mm256_shuffle_epi8(t02, _mm256_and_si256(first, nibble)), &all[0], &odd[0]);
        add_bytes(_mm256_shuffle_epi8(t13, _mm256_and_si256(last, nibble)), &all[0], &odd[0]);
        first = _mm256_and_si256(_mm256_srli_epi16(first, 4), nibble);
        last = _mm256_and_si256(_mm256_srli_epi16(last, 4), nibble);
        add_bytes(_mm256_shuffle_epi8(t02, first), &all[1], &odd[1]);
        add_bytes(_mm256_shuffle_epi8(t13, last), &all[1], &odd[1]);
    }
    _mm256_storeu_si256((__m256i *)out, finish(all[0], odd[0]));
    _mm256_storeu_si256((__m256i *)out + 1, finish(all[1], odd[1]));
}

void vdb_fastscan_avx2(struct vdb_fastscan *table)
{
    table->scan = scan;
    table->from = "avx2";
}
#endif
