/* fastscan_avx512.c: 32 codes at once with byte shuffles of 64 bytes, four tables each; and the tables, 16 entries to a
 * register. */
#include "quant/fastscan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* A shuffle's bytes added to sums of 16 bits: `all` of whole words, modulo 2^16, and `odd` of their high bytes. */
INLINE void add_bytes(__m512i bytes, __m512i *all, __m512i *odd)
{
    *all = _mm512_add_epi16(*all, bytes);
    *odd = _mm512_add_epi16(*odd, _mm512_srli_epi16(bytes, 8));
}

static void scan(const uint8_t *packed, const uint8_t *lut, size_t bits, uint16_t out[32])
{
    const __m512i nibble = _mm512_set1_epi8(15);
    /* Four codes of four nibbles to four nibbles of four codes, then a nibble's of all 16 codes together. */
    const __m512i turn = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i gather = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i all[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    __m512i odd[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t r = 0; r < bits / 16; r++, packed += 64, lut += 64) {
        __m512i codes = _mm512_load_si512(packed);
        __m512i table = _mm512_load_si512(lut);
        codes = _mm512_permutexvar_epi32(gather, _mm512_shuffle_epi8(codes, turn));
        __m512i high = _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble);
        add_bytes(_mm512_shuffle_epi8(table, _mm512_and_si512(codes, nibble)), &all[0], &odd[0]);
        add_bytes(_mm512_shuffle_epi8(table, high), &all[1], &odd[1]);
    }
    __m512i halves[2]; /* of codes 0-15 and 16-31: the sums of nibbles 0 and 2, then 1 and 3: 8 codes to a lane */
    for (unsigned h = 0; h < 2; h++) {
        __m512i even = _mm512_sub_epi16(all[h], _mm512_slli_epi16(odd[h], 8));
        __m512i first = _mm512_unpacklo_epi16(even, odd[h]); /* codes 0-7 of every lane */
        __m512i last = _mm512_unpackhi_epi16(even, odd[h]);  /* codes 8-15 */
        halves[h] = _mm512_add_epi16(_mm512_shuffle_i64x2(first, last, 0x44),
                                     _mm512_shuffle_i64x2(first, last, 0xEE));
    }
    _mm512_storeu_si512(out, _mm512_add_epi16(_mm512_shuffle_i64x2(halves[0], halves[1], 0x88),
                                              _mm512_shuffle_i64x2(halves[0], halves[1], 0xDD)));
}

/* Each group of four lanes: their sum in all four, paired as the reference pairs them. */
INLINE __m512 sum_of_four(__m512 x)
{
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xB1));
    return _mm512_add_ps(x, _mm512_permute_ps(x, 0x4E));
}

INLINE __m256d first_of_fours(__m512 x)
{
    const __m512i lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm256_cvtps_pd(_mm512_castps512_ps128(_mm512_permutexvar_ps(lanes, x)));
}

/* As the reference does: (0 + 1) + (2 + 3). */
INLINE double sum_of_chains(__m256d chains)
{
    double sums[4];
    _mm256_storeu_pd(sums, chains);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static void tables(const float *query, size_t bits, uint8_t *lut, float *scale, float *bias)
{
    const __m512 zero = _mm512_setzero_ps();
    const __m512 largest = _mm512_set1_ps(FLT_MAX);
    __m256d ranges = _mm256_setzero_pd();
    __m256d lows = _mm256_setzero_pd();
    __m512 maxima = zero;
    __mmask16 strange = 0;
    for (size_t i = 0; i < bits; i += 16) {
        __m512 q = _mm512_loadu_ps(query + i);
        __m512 low = sum_of_four(_mm512_min_ps(q, zero)); /* of a NaN the second operand */
        __m512 range = _mm512_sub_ps(sum_of_four(_mm512_max_ps(q, zero)), low);
        strange |= _mm512_cmp_ps_mask(_mm512_abs_ps(q), largest, _CMP_NLE_UQ);
        maxima = _mm512_max_ps(maxima, range);
        ranges = _mm256_add_pd(ranges, first_of_fours(range));
        lows = _mm256_add_pd(lows, first_of_fours(low));
    }
    float range_max = _mm512_reduce_max_ps(maxima);
    float inverse = vdb_fastscan_unit(range_max, sum_of_chains(ranges), bits, scale);
    *bias = (float)sum_of_chains(lows);
    bool finite = strange == 0 && range_max <= FLT_MAX && fabsf(*bias) <= FLT_MAX;
    if (!finite || inverse == 0) {
        memset(lut, 0, vdb_fastscan_lut_bytes(bits));
        *scale = 0;
        *bias = finite ? *bias : NAN;
        return;
    }
    const __m512 inverses = _mm512_set1_ps(inverse);
    for (size_t i = 0; i < bits; i += 4) {
        __m512 q = _mm512_broadcast_f32x4(_mm_loadu_ps(query + i));
        __m512 low = sum_of_four(_mm512_min_ps(q, zero));
        /* Lane v takes value k where bit k of v is set. */
        __m512 left = _mm512_add_ps(_mm512_maskz_permute_ps(0xAAAA, q, 0x00),
                                    _mm512_maskz_permute_ps(0xCCCC, q, 0x55));
        __m512 right = _mm512_add_ps(_mm512_maskz_permute_ps(0xF0F0, q, 0xAA),
                                     _mm512_maskz_permute_ps(0xFF00, q, 0xFF));
        __m512 above = _mm512_sub_ps(_mm512_add_ps(left, right), low);
        __m512i bytes = _mm512_cvtps_epi32(_mm512_mul_ps(above, inverses));
        _mm_store_si128((__m128i *)(lut + 4 * i), _mm512_cvtusepi32_epi8(bytes));
    }
}

void vdb_fastscan_avx512(struct vdb_fastscan *table)
{
    *table = (struct vdb_fastscan){scan, tables, "avx512"};
}
#endif
