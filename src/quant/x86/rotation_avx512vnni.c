/* rotation_avx512vnni.c: bytes times the 8-bit matrix by VNNI: each instruction multiplies four elements of the input with
 * those of 16 outputs. */
#include "quant/rotation_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

static void int8(const int8_t *panel, size_t quads, const uint8_t *in, int32_t out[64])
{
    __m512i sums[2][4];
    for (size_t j = 0; j < 8; j++) {
        sums[j / 4][j % 4] = _mm512_setzero_si512();
    }
    size_t i = 0;
    for (; i + 2 <= quads; i += 2, panel += 512) { /* two chains each: an addition takes longer than its turn */
        int32_t four[2];
        memcpy(four, in + 4 * i, sizeof four);
        __m512i first = _mm512_set1_epi32(four[0]);
        __m512i second = _mm512_set1_epi32(four[1]);
        for (size_t j = 0; j < 4; j++) {
            sums[0][j] = _mm512_dpbusd_epi32(sums[0][j], first, _mm512_load_si512(panel + 64 * j));
            sums[1][j] = _mm512_dpbusd_epi32(sums[1][j], second, _mm512_load_si512(panel + 256 + 64 * j));
        }
    }
    if (i < quads) {
        int32_t four;
        memcpy(&four, in + 4 * i, sizeof four);
        for (size_t j = 0; j < 4; j++) {
            sums[0][j] = _mm512_dpbusd_epi32(sums[0][j], _mm512_set1_epi32(four),
                                             _mm512_load_si512(panel + 64 * j));
        }
    }
    for (size_t j = 0; j < 4; j++) {
        _mm512_storeu_si512(out + 16 * j, _mm512_add_epi32(sums[0][j], sums[1][j]));
    }
}

void vdb_rotation_kernels_avx512vnni(struct vdb_rotation_kernels *table)
{
    table->int8 = int8;
    table->int8_from = "avx512vnni";
}
#endif
