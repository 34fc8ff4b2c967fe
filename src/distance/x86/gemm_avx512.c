/* gemm_avx512.c: the f32 tile in AVX-512: 12 rows x 32 queries in 24 registers, two loads of the panel and twelve
 * broadcasts of row elements for 24 multiply-adds: the multipliers, not the load ports, set the pace.
 *
 * The rows' addresses are four bases three rows apart, each with an index of one or two strides: twelve pointers
 * of their own would not fit the general registers.
 */
#include "distance/gemm.h"

#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { WIDTH = 16, REGISTERS = VDB_GEMM_LANES / WIDTH };

typedef float unaligned_float __attribute__((aligned(1), may_alias));

INLINE void step(__m512 sums[VDB_GEMM_ROWS][REGISTERS], const float *panel, const char *base[4], size_t stride,
                 size_t byte)
{
    __m512 low = _mm512_load_ps(panel);
    __m512 high = _mm512_load_ps(panel + WIDTH);
    UNROLL for (size_t r = 0; r < VDB_GEMM_ROWS; r++)
    {
        __m512 value = _mm512_set1_ps(*(const unaligned_float *)(base[r / 3] + r % 3 * stride + byte));
        sums[r][0] = _mm512_fmadd_ps(value, low, sums[r][0]);
        sums[r][1] = _mm512_fmadd_ps(value, high, sums[r][1]);
    }
}

static bool run_f32(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    const size_t stride = tile->stride_bytes;
    const float *panel = tile->panel;
    const char *base[4];
    __m512 sums[VDB_GEMM_ROWS][REGISTERS];
    UNROLL for (size_t r = 0; r < VDB_GEMM_ROWS; r++)
    {
        sums[r][0] = _mm512_setzero_ps();
        sums[r][1] = _mm512_setzero_ps();
    }
    UNROLL for (size_t i = 0; i < 4; i++)
    {
        base[i] = (const char *)tile->rows + 3 * i * stride;
    }
    size_t i = 0;
    for (; i + 4 <= tile->dimension; i += 4) {
        step(sums, panel, base, stride, 0);
        step(sums, panel + VDB_GEMM_LANES, base, stride, sizeof(float));
        step(sums, panel + 2 * VDB_GEMM_LANES, base, stride, 2 * sizeof(float));
        step(sums, panel + 3 * VDB_GEMM_LANES, base, stride, 3 * sizeof(float));
        panel += 4 * VDB_GEMM_LANES;
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            base[j] += 4 * sizeof(float);
        }
    }
    for (; i < tile->dimension; i++) {
        step(sums, panel, base, stride, 0);
        panel += VDB_GEMM_LANES;
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            base[j] += sizeof(float);
        }
    }
    uint32_t any = 0;
    UNROLL for (size_t r = 0; r < VDB_GEMM_ROWS; r++)
    {
        __m512 norm = _mm512_set1_ps(tile->norm[r]);
        __m512 bias = _mm512_set1_ps(tile->bias[r]);
        uint32_t passed = 0;
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            __m512 left = _mm512_fmadd_ps(_mm512_load_ps(tile->gain + j * WIDTH), norm, sums[r][j]);
            __m512 right = _mm512_add_ps(bias, _mm512_load_ps(tile->limit + j * WIDTH));
            passed |= (uint32_t)_mm512_cmp_ps_mask(left, right, _CMP_NLT_UQ) << (j * WIDTH);
            _mm512_store_ps(out->dots.f32[r] + j * WIDTH, sums[r][j]);
        }
        out->passed[r] = passed;
        any |= passed;
    }
    return any != 0;
}

bool vdb_gemm_test_low_avx512(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    uint32_t any = 0;
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        uint32_t passed = 0;
        for (size_t j = 0; j < REGISTERS; j++) {
            __m512 left = _mm512_cvtepi32_ps(_mm512_load_si512(out->dots.i32[r] + j * WIDTH));
            left = _mm512_mul_ps(left, _mm512_load_ps(tile->lane_scale + j * WIDTH));
            left = _mm512_fmadd_ps(left, _mm512_set1_ps(tile->scale[r]), _mm512_load_ps(tile->limit + j * WIDTH));
            left = _mm512_fmadd_ps(_mm512_load_ps(tile->gain + j * WIDTH), _mm512_set1_ps(tile->norm[r]), left);
            left = _mm512_fmadd_ps(_mm512_load_ps(tile->lane_length + j * WIDTH),
                                   _mm512_set1_ps(tile->residual[r]), left);
            passed |= (uint32_t)_mm512_cmp_ps_mask(left, _mm512_set1_ps(tile->bias[r]), _CMP_NLT_UQ)
                      << (j * WIDTH);
        }
        out->passed[r] = passed;
        any |= passed;
    }
    return any != 0;
}

/* ---- Codes ---- */

enum { DOUBLES = 8 };

INLINE __m512d element(const float *vector, const double *centre, __mmask8 mask, __m512d factor)
{
    return _mm512_fmsub_pd(_mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, vector)), factor,
                           _mm512_maskz_loadu_pd(mask, centre));
}

INLINE __mmask8 mask_of(size_t left)
{
    return (__mmask8)(left >= DOUBLES ? 0xff : (1u << left) - 1);
}

static void quantise(const float *vector, double factor, const double *centre, size_t dimension, float step,
                     size_t padded, int8_t *codes, struct vdb_gemm_codes *out)
{
    const __m512d factors = _mm512_set1_pd(factor);
    __m512d square = _mm512_setzero_pd();
    __m512d residual = square;
    __m512d centre_dot = square;
    __m256i sum = _mm256_setzero_si256();
    out->scale = step;
    if (step == 0) {
        __m512d most = _mm512_setzero_pd();
        for (size_t i = 0; i < dimension; i += DOUBLES) {
            __m512d x = element(vector + i, centre + i, mask_of(dimension - i), factors);
            most = _mm512_max_pd(_mm512_abs_pd(x), most);
        }
        out->scale = (float)(_mm512_reduce_max_pd(most) / 127);
    }
    const double wide_scale = (double)out->scale;
    const __m512d scale = _mm512_set1_pd(wide_scale);
    const __m512d inverse = _mm512_set1_pd(wide_scale > 0 && wide_scale <= (double)FLT_MAX ? 1 / wide_scale : 0);
    for (size_t i = 0; i < dimension; i += DOUBLES) {
        __mmask8 mask = mask_of(dimension - i);
        __m512d x = element(vector + i, centre + i, mask, factors);
        __m256i code = _mm512_cvtpd_epi32(_mm512_mul_pd(x, inverse));
        code = _mm256_max_epi32(_mm256_min_epi32(code, _mm256_set1_epi32(127)), _mm256_set1_epi32(-128));
        _mm256_mask_cvtepi32_storeu_epi8(codes + i, mask, code);
        __m512d rest = _mm512_fnmadd_pd(_mm512_cvtepi32_pd(code), scale, x);
        sum = _mm256_add_epi32(sum, code);
        square = _mm512_fmadd_pd(x, x, square);
        residual = _mm512_fmadd_pd(rest, rest, residual);
        centre_dot = _mm512_fmadd_pd(x, _mm512_maskz_loadu_pd(mask, centre + i), centre_dot);
    }
    out->square = _mm512_reduce_add_pd(square);
    out->residual = _mm512_reduce_add_pd(residual);
    out->centre_dot = _mm512_reduce_add_pd(centre_dot);
    out->sum = _mm512_reduce_add_epi32(_mm512_zextsi256_si512(sum));
    memset(codes + dimension, 0, padded - dimension);
}

void vdb_gemm_avx512(struct vdb_gemm *table)
{
    table->quantise = quantise;
    table->kernels[VDB_ELEMENT_F32] = (struct vdb_gemm_kernel){run_f32, vdb_gemm_panel_bytes_f32,
                                                               vdb_gemm_pack_f32, "avx512"};
}

#endif
