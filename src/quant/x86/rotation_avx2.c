/* rotation_avx2.c: the inner loops of rotations, 8 floats to a register; rotation_avx512.c has the same shape. */
#include "quant/rotation_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { WIDTH = 8, REGISTERS = VDB_ROTATION_PANEL / WIDTH / 2 /* half a panel at a time */ };

/* The stages h = 1, 2, 4 within a register: the blend takes differences in the upper lane of each pair. */
INLINE __m256 inner_stages(__m256 x)
{
    __m256 partner = _mm256_permute_ps(x, 0xB1);
    x = _mm256_blend_ps(_mm256_add_ps(x, partner), _mm256_sub_ps(partner, x), 0xAA);
    partner = _mm256_permute_ps(x, 0x4E);
    x = _mm256_blend_ps(_mm256_add_ps(x, partner), _mm256_sub_ps(partner, x), 0xCC);
    partner = _mm256_permute2f128_ps(x, x, 0x01);
    return _mm256_blend_ps(_mm256_add_ps(x, partner), _mm256_sub_ps(partner, x), 0xF0);
}

static void hadamard(float *x, size_t count, float scale)
{
    for (size_t i = 0; i < count; i += WIDTH) {
        _mm256_store_ps(x + i, inner_stages(_mm256_load_ps(x + i)));
    }
    for (size_t h = WIDTH; h < count; h *= 2) {
        for (size_t i = 0; i < count; i += 2 * h) {
            for (size_t k = i; k < i + h; k += WIDTH) {
                __m256 a = _mm256_load_ps(x + k);
                __m256 b = _mm256_load_ps(x + k + h);
                _mm256_store_ps(x + k, _mm256_add_ps(a, b));
                _mm256_store_ps(x + k + h, _mm256_sub_ps(a, b));
            }
        }
    }
    const __m256 scales = _mm256_set1_ps(scale);
    for (size_t i = 0; i < count; i += WIDTH) {
        _mm256_store_ps(x + i, _mm256_mul_ps(_mm256_load_ps(x + i), scales));
    }
}

static void flip(float *x, const uint64_t *signs, size_t count)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i sign = _mm256_set1_epi32(INT32_MIN);
    for (size_t i = 0; i < count; i += WIDTH) {
        __m256i eight = _mm256_set1_epi32((int)(signs[i / 64] >> i % 64 & 0xFF));
        __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(eight, bit), bit);
        __m256i value = _mm256_load_si256((const __m256i *)(x + i));
        _mm256_store_si256((__m256i *)(x + i), _mm256_xor_si256(value, _mm256_and_si256(set, sign)));
    }
}

static void halves(float *x, size_t half, float scale)
{
    const __m256 scales = _mm256_set1_ps(scale);
    for (size_t i = 0; i < half; i += WIDTH) {
        __m256 a = _mm256_load_ps(x + i);
        __m256 b = _mm256_loadu_ps(x + i + half);
        _mm256_store_ps(x + i, _mm256_mul_ps(_mm256_add_ps(a, b), scales));
        _mm256_storeu_ps(x + i + half, _mm256_mul_ps(_mm256_sub_ps(a, b), scales));
    }
}

/* Half a panel of `rows` (1 or 2) inputs. */
INLINE void dense_rows(const float *panel, size_t dimension, const float *in, size_t in_stride, size_t rows,
                       float *out, size_t out_stride)
{
    __m256 sums[2][REGISTERS];
    UNROLL for (size_t r = 0; r < rows; r++)
    {
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            sums[r][j] = _mm256_setzero_ps();
        }
    }
    for (size_t i = 0; i < dimension; i++, panel += VDB_ROTATION_PANEL) {
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            __m256 column = _mm256_load_ps(panel + j * WIDTH);
            UNROLL for (size_t r = 0; r < rows; r++)
            {
                __m256 product = _mm256_mul_ps(_mm256_broadcast_ss(in + r * in_stride + i), column);
                sums[r][j] = _mm256_add_ps(sums[r][j], product);
            }
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++)
    {
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            _mm256_store_ps(out + r * out_stride + j * WIDTH, sums[r][j]);
        }
    }
}

static void dense(const float *panel, size_t dimension, const float *in, size_t in_stride, size_t rows,
                  float *out, size_t out_stride)
{
    for (size_t half = 0; half < VDB_ROTATION_PANEL; half += VDB_ROTATION_PANEL / 2) {
        size_t r = 0;
        for (; r + 2 <= rows; r += 2) {
            dense_rows(panel + half, dimension, in + r * in_stride, in_stride, 2, out + r * out_stride + half,
                       out_stride);
        }
        if (r < rows) {
            dense_rows(panel + half, dimension, in + r * in_stride, in_stride, 1, out + r * out_stride + half,
                       out_stride);
        }
    }
}

/* Pairs of products of bytes could pass what vpmaddubsw's 16 bits hold, so both sides are widened first. */
static void int8(const int8_t *panel, size_t quads, const uint8_t *in, int32_t out[64])
{
    for (size_t j = 0; j < VDB_ROTATION_PANEL; j += 8) {
        __m256i low = _mm256_setzero_si256();  /* outputs j to j + 3: two sums each */
        __m256i high = _mm256_setzero_si256(); /* j + 4 to j + 7 */
        const int8_t *at = panel + 4 * j;
        for (size_t i = 0; i < quads; i++, at += 4 * VDB_ROTATION_PANEL) {
            int32_t four;
            memcpy(&four, in + 4 * i, sizeof four);
            __m256i values = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
            __m256i first = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)at));
            __m256i second = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(at + 16)));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(values, first));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(values, second));
        }
        __m256i both = _mm256_hadd_epi32(low, high); /* outputs 0 1 4 5 | 2 3 6 7 */
        both = _mm256_permute4x64_epi64(both, 0xD8);
        _mm256_storeu_si256((__m256i *)(out + j), both);
    }
}

void vdb_rotation_kernels_avx2(struct vdb_rotation_kernels *table)
{
    *table = (struct vdb_rotation_kernels){hadamard, flip, halves, dense, int8, "avx2", "avx2"};
}
#endif
