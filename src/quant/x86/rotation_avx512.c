/* rotation_avx512.c: the inner loops of rotations, 16 floats to a register. Sums equal the scalar ones to the last bit
 * (rotation_kernels.h, K1), so products are not fused into them. */
#include "quant/rotation_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { WIDTH = 16, REGISTERS = VDB_ROTATION_PANEL / WIDTH };

/* Sums where `upper` is 0, differences from the partner where it is 1. */
INLINE __m512 butterfly(__m512 x, __m512 partner, __mmask16 upper)
{
    return _mm512_mask_sub_ps(_mm512_add_ps(x, partner), upper, partner, x);
}

/* The stages h = 1, 2, 4, 8 within a register. */
INLINE __m512 inner_stages(__m512 x)
{
    x = butterfly(x, _mm512_permute_ps(x, 0xB1), 0xAAAA);
    x = butterfly(x, _mm512_permute_ps(x, 0x4E), 0xCCCC);
    x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0xB1), 0xF0F0);
    return butterfly(x, _mm512_shuffle_f32x4(x, x, 0x4E), 0xFF00);
}

/* Stages h and 2 h of four registers h apart. */
INLINE void two_stages(__m512 x[4])
{
    __m512 a = _mm512_add_ps(x[0], x[1]);
    __m512 b = _mm512_sub_ps(x[0], x[1]);
    __m512 c = _mm512_add_ps(x[2], x[3]);
    __m512 d = _mm512_sub_ps(x[2], x[3]);
    x[0] = _mm512_add_ps(a, c);
    x[1] = _mm512_add_ps(b, d);
    x[2] = _mm512_sub_ps(a, c);
    x[3] = _mm512_sub_ps(b, d);
}

static void hadamard(float *x, size_t count, float scale)
{
    for (size_t i = 0; i < count; i += 4 * WIDTH) {
        __m512 part[4];
        UNROLL for (size_t k = 0; k < 4; k++)
        {
            part[k] = inner_stages(_mm512_load_ps(x + i + k * WIDTH));
        }
        two_stages(part);
        UNROLL for (size_t k = 0; k < 4; k++)
        {
            _mm512_store_ps(x + i + k * WIDTH, part[k]);
        }
    }
    size_t h = 4 * WIDTH;
    for (; 2 * h < count; h *= 4) {
        for (size_t i = 0; i < count; i += 4 * h) {
            for (size_t k = i; k < i + h; k += WIDTH) {
                __m512 part[4];
                UNROLL for (size_t p = 0; p < 4; p++)
                {
                    part[p] = _mm512_load_ps(x + k + p * h);
                }
                two_stages(part);
                UNROLL for (size_t p = 0; p < 4; p++)
                {
                    _mm512_store_ps(x + k + p * h, part[p]);
                }
            }
        }
    }
    const __m512 scales = _mm512_set1_ps(scale);
    if (h < count) { /* one stage is left: h == count / 2 */
        for (size_t k = 0; k < h; k += WIDTH) {
            __m512 a = _mm512_load_ps(x + k);
            __m512 b = _mm512_load_ps(x + k + h);
            _mm512_store_ps(x + k, _mm512_mul_ps(_mm512_add_ps(a, b), scales));
            _mm512_store_ps(x + k + h, _mm512_mul_ps(_mm512_sub_ps(a, b), scales));
        }
        return;
    }
    for (size_t k = 0; k < count; k += WIDTH) {
        _mm512_store_ps(x + k, _mm512_mul_ps(_mm512_load_ps(x + k), scales));
    }
}

static void flip(float *x, const uint64_t *signs, size_t count)
{
    const __m512i sign = _mm512_set1_epi32(INT32_MIN);
    for (size_t i = 0; i < count; i += WIDTH) {
        __m512i value = _mm512_load_si512(x + i);
        __mmask16 mask = (__mmask16)(signs[i / 64] >> i % 64);
        _mm512_store_si512(x + i, _mm512_mask_xor_epi32(value, mask, value, sign));
    }
}

static void halves(float *x, size_t half, float scale)
{
    const __m512 scales = _mm512_set1_ps(scale);
    for (size_t i = 0; i < half; i += WIDTH) {
        __m512 a = _mm512_load_ps(x + i);
        __m512 b = _mm512_loadu_ps(x + i + half);
        _mm512_store_ps(x + i, _mm512_mul_ps(_mm512_add_ps(a, b), scales));
        _mm512_storeu_ps(x + i + half, _mm512_mul_ps(_mm512_sub_ps(a, b), scales));
    }
}

INLINE void dense_rows(const float *panel, size_t dimension, const float *in, size_t in_stride, size_t rows,
                       float *out, size_t out_stride)
{
    __m512 sums[VDB_ROTATION_ROWS][REGISTERS];
    UNROLL for (size_t r = 0; r < rows; r++)
    {
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            sums[r][j] = _mm512_setzero_ps();
        }
    }
    for (size_t i = 0; i < dimension; i++, panel += VDB_ROTATION_PANEL) {
        __m512 column[REGISTERS];
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            column[j] = _mm512_load_ps(panel + j * WIDTH);
        }
        UNROLL for (size_t r = 0; r < rows; r++)
        {
            __m512 value = _mm512_set1_ps(in[r * in_stride + i]);
            UNROLL for (size_t j = 0; j < REGISTERS; j++)
            {
                sums[r][j] = _mm512_add_ps(sums[r][j], _mm512_mul_ps(value, column[j]));
            }
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++)
    {
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            _mm512_store_ps(out + r * out_stride + j * WIDTH, sums[r][j]);
        }
    }
}

static void dense(const float *panel, size_t dimension, const float *in, size_t in_stride, size_t rows,
                  float *out, size_t out_stride)
{
    if (rows == VDB_ROTATION_ROWS) {
        dense_rows(panel, dimension, in, in_stride, VDB_ROTATION_ROWS, out, out_stride);
        return;
    }
    for (size_t r = 0; r < rows; r++) {
        dense_rows(panel, dimension, in + r * in_stride, in_stride, 1, out + r * out_stride, out_stride);
    }
}

void vdb_rotation_kernels_avx512(struct vdb_rotation_kernels *table)
{
    table->hadamard = hadamard;
    table->flip = flip;
    table->halves = halves;
    table->dense = dense;
    table->from = "avx512";
}
#endif
