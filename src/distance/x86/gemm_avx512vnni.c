/* gemm_avx512vnni.c: the u8 and i8 tiles with vpdpbusd, which adds four products of an unsigned and a signed byte
 * to a 32-bit lane: 128 multiply-adds in two instructions' time, four times as many as f32 has.
 *
 * Both operands of ours have the same sign, so the panel holds the queries shifted by 128 (gemm.c), and what that
 * changes is the row's sum times 128, which the caller knows (tile->correction):
 *     u8: sum r (q - 128) = dot - 128 sum r        i8: sum (q + 128) r = dot + 128 sum r
 * Lanes wrap modulo 2^32 and come out right (G1). The instruction widens before it adds: nothing saturates.
 */
#include "distance/gemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { WIDTH = 16, REGISTERS = VDB_GEMM_LANES / WIDTH, GROUP = 4, STEP_BYTES = VDB_GEMM_LANES * GROUP };

typedef int32_t unaligned_int __attribute__((aligned(1), may_alias));

INLINE __m512i multiply_add(__m512i sum, __m512i row, __m512i query, bool is_signed)
{
    return is_signed ? _mm512_dpbusd_epi32(sum, query, row) : _mm512_dpbusd_epi32(sum, row, query);
}

INLINE void step(__m512i sums[VDB_GEMM_ROWS][REGISTERS], const char *panel, const char *base[4], size_t stride,
                 size_t byte, bool is_signed)
{
    __m512i low = _mm512_load_si512(panel);
    __m512i high = _mm512_load_si512(panel + WIDTH * GROUP);
    UNROLL for (size_t r = 0; r < VDB_GEMM_ROWS; r++)
    {
        __m512i value = _mm512_set1_epi32(*(const unaligned_int *)(base[r / 3] + r % 3 * stride + byte));
        sums[r][0] = multiply_add(sums[r][0], value, low, is_signed);
        sums[r][1] = multiply_add(sums[r][1], value, high, is_signed);
    }
}

/* The last 1 to 3 elements of each row, copied so that nothing past them is read (G3). */
INLINE void step_tail(__m512i sums[VDB_GEMM_ROWS][REGISTERS], const char *panel, const char *base[4],
                      size_t stride, size_t left, bool is_signed)
{
    char copy[VDB_GEMM_ROWS][GROUP] = {{0}};
    const char *copies[4];
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        memcpy(copy[r], base[r / 3] + r % 3 * stride, left);
    }
    for (size_t i = 0; i < 4; i++) {
        copies[i] = copy[3 * i];
    }
    step(sums, panel, copies, GROUP, 0, is_signed);
}

INLINE void multiply(const struct vdb_gemm_tile *tile, __m512i sums[VDB_GEMM_ROWS][REGISTERS], bool is_signed)
{
    const size_t stride = tile->stride_bytes;
    const char *panel = tile->panel;
    const char *base[4];
    UNROLL for (size_t r = 0; r < VDB_GEMM_ROWS; r++)
    {
        sums[r][0] = _mm512_set1_epi32(tile->correction[r]);
        sums[r][1] = sums[r][0];
    }
    UNROLL for (size_t i = 0; i < 4; i++)
    {
        base[i] = (const char *)tile->rows + 3 * i * stride;
    }
    size_t i = 0;
    for (; i + 4 * GROUP <= tile->dimension; i += 4 * GROUP) {
        step(sums, panel, base, stride, 0, is_signed);
        step(sums, panel + STEP_BYTES, base, stride, GROUP, is_signed);
        step(sums, panel + 2 * STEP_BYTES, base, stride, 2 * GROUP, is_signed);
        step(sums, panel + 3 * STEP_BYTES, base, stride, 3 * GROUP, is_signed);
        panel += 4 * STEP_BYTES;
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            base[j] += 4 * GROUP;
        }
    }
    for (; i + GROUP <= tile->dimension; i += GROUP) {
        step(sums, panel, base, stride, 0, is_signed);
        panel += STEP_BYTES;
        UNROLL for (size_t j = 0; j < 4; j++)
        {
            base[j] += GROUP;
        }
    }
    if (i < tile->dimension) {
        step_tail(sums, panel, base, stride, tile->dimension - i, is_signed);
    }
}

INLINE bool run_int(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out, bool is_signed)
{
    __m512i sums[VDB_GEMM_ROWS][REGISTERS];
    multiply(tile, sums, is_signed);
    uint32_t any = 0;
    UNROLL for (size_t r = 0; r < VDB_GEMM_ROWS; r++)
    {
        __m512 norm = _mm512_set1_ps(tile->norm[r]);
        __m512 bias = _mm512_set1_ps(tile->bias[r]);
        uint32_t passed = 0;
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            __m512 dot = is_signed ? _mm512_cvtepi32_ps(sums[r][j]) : _mm512_cvtepu32_ps(sums[r][j]);
            __m512 left = _mm512_fmadd_ps(_mm512_load_ps(tile->gain + j * WIDTH), norm, dot);
            __m512 right = _mm512_add_ps(bias, _mm512_load_ps(tile->limit + j * WIDTH));
            passed |= (uint32_t)_mm512_cmp_ps_mask(left, right, _CMP_NLT_UQ) << (j * WIDTH);
            _mm512_store_si512(out->dots.u32[r] + j * WIDTH, sums[r][j]);
        }
        out->passed[r] = passed;
        any |= passed;
    }
    return any != 0;
}

static bool run_u8(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    return run_int(tile, out, false);
}

static bool run_i8(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    return run_int(tile, out, true);
}

/* Rows and queries are codes, signed like i8. Products stay in registers. */
static bool run_low(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    __m512i sums[VDB_GEMM_ROWS][REGISTERS];
    uint32_t any = 0;
    multiply(tile, sums, true);
    UNROLL for (size_t r = 0; r < VDB_GEMM_ROWS; r++)
    {
        const __m512 scale = _mm512_set1_ps(tile->scale[r]);
        const __m512 norm = _mm512_set1_ps(tile->norm[r]);
        const __m512 residual = _mm512_set1_ps(tile->residual[r]);
        const __m512 bias = _mm512_set1_ps(tile->bias[r]);
        uint32_t passed = 0;
        UNROLL for (size_t j = 0; j < REGISTERS; j++)
        {
            __m512 left = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][j]),
                                        _mm512_load_ps(tile->lane_scale + j * WIDTH));
            left = _mm512_fmadd_ps(left, scale, _mm512_load_ps(tile->limit + j * WIDTH));
            left = _mm512_fmadd_ps(norm, _mm512_load_ps(tile->gain + j * WIDTH), left);
            left = _mm512_fmadd_ps(residual, _mm512_load_ps(tile->lane_length + j * WIDTH), left);
            passed |= (uint32_t)_mm512_cmp_ps_mask(left, bias, _CMP_NLT_UQ) << (j * WIDTH);
        }
        out->passed[r] = passed;
        any |= passed;
    }
    return any != 0;
}

void vdb_gemm_avx512vnni(struct vdb_gemm *table)
{
    table->kernels[VDB_ELEMENT_U8] = (struct vdb_gemm_kernel){run_u8, vdb_gemm_panel_bytes_int8,
                                                              vdb_gemm_pack_int8, "avx512-vnni"};
    table->kernels[VDB_ELEMENT_I8] = (struct vdb_gemm_kernel){run_i8, vdb_gemm_panel_bytes_int8,
                                                              vdb_gemm_pack_int8, "avx512-vnni"};
    table->low = (struct vdb_gemm_kernel){run_low, vdb_gemm_panel_bytes_int8, vdb_gemm_pack_int8, "avx512-vnni"};
}

#endif
