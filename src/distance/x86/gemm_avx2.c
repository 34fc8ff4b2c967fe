/* gemm_avx2.c: the tiles in AVX2. Sixteen registers hold a block of 6 rows x 16 queries (12 sums), so a tile is
 * four blocks. Integers are widened to 16 bits and multiplied and added in pairs (vpmaddwd), exactly, modulo
 * 2^32.
 *
 * A pair of 16-bit products is at most 2 * 255^2 < 2^31: vpmaddwd does not overflow. Rows are widened CHUNK
 * elements at a time into memory on the stack; between chunks the sums rest in out->dots.
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

enum {
    WIDTH = 8,
    BLOCK_ROWS = 6,
    BLOCK_LANES = 2 * WIDTH,
    CHUNK = 512, /* elements of BLOCK_ROWS rows as 16 bits: 6 KiB */
};

typedef float unaligned_float __attribute__((aligned(1), may_alias));
typedef int32_t pair_of_int16 __attribute__((may_alias));

INLINE uint32_t test(const struct vdb_gemm_tile *tile, size_t r, size_t lane, __m256 dots)
{
    __m256 left = _mm256_fmadd_ps(_mm256_load_ps(tile->gain + lane), _mm256_set1_ps(tile->norm[r]), dots);
    __m256 right = _mm256_add_ps(_mm256_set1_ps(tile->bias[r]), _mm256_load_ps(tile->limit + lane));
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(left, right, _CMP_NLT_UQ)) << lane;
}

static void block_f32(const struct vdb_gemm_tile *tile, size_t first_row, size_t lane, struct vdb_gemm_out *out)
{
    const size_t stride = tile->stride_bytes;
    const char *low = (const char *)tile->rows + first_row * stride;
    const char *high = low + 3 * stride;
    const float *panel = (const float *)tile->panel + lane;
    __m256 sums[BLOCK_ROWS][2];
    UNROLL for (size_t r = 0; r < BLOCK_ROWS; r++)
    {
        sums[r][0] = _mm256_setzero_ps();
        sums[r][1] = _mm256_setzero_ps();
    }
    for (size_t i = 0; i < tile->dimension; i++) {
        __m256 p0 = _mm256_load_ps(panel);
        __m256 p1 = _mm256_load_ps(panel + WIDTH);
        UNROLL for (size_t r = 0; r < BLOCK_ROWS; r++)
        {
            __m256 value = _mm256_set1_ps(*(const unaligned_float *)((r < 3 ? low : high) + r % 3 * stride));
            sums[r][0] = _mm256_fmadd_ps(value, p0, sums[r][0]);
            sums[r][1] = _mm256_fmadd_ps(value, p1, sums[r][1]);
        }
        panel += VDB_GEMM_LANES;
        low += sizeof(float);
        high += sizeof(float);
    }
    UNROLL for (size_t r = 0; r < BLOCK_ROWS; r++)
    {
        UNROLL for (size_t j = 0; j < 2; j++)
        {
            size_t at = lane + j * WIDTH;
            _mm256_store_ps(out->dots.f32[first_row + r] + at, sums[r][j]);
            out->passed[first_row + r] |= test(tile, first_row + r, at, sums[r][j]);
        }
    }
}

INLINE bool any_passed(const struct vdb_gemm_out *out)
{
    uint32_t any = 0;
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        any |= out->passed[r];
    }
    return any != 0;
}

static bool run_f32(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    memset(out->passed, 0, sizeof out->passed);
    for (size_t row = 0; row < VDB_GEMM_ROWS; row += BLOCK_ROWS) {
        for (size_t lane = 0; lane < VDB_GEMM_LANES; lane += BLOCK_LANES) {
            block_f32(tile, row, lane, out);
        }
    }
    return any_passed(out);
}

/* Adds the products of `pairs` pairs of elements to the sums in out->dots. rows: BLOCK_ROWS times CHUNK elements.
 */
static void block_int(const pair_of_int16 *rows, const int16_t *panel, size_t pairs, size_t first_row,
                      size_t lane, struct vdb_gemm_out *out)
{
    __m256i sums[BLOCK_ROWS][2];
    UNROLL for (size_t r = 0; r < BLOCK_ROWS; r++)
    {
        sums[r][0] = _mm256_load_si256((const __m256i *)(out->dots.u32[first_row + r] + lane));
        sums[r][1] = _mm256_load_si256((const __m256i *)(out->dots.u32[first_row + r] + lane + WIDTH));
    }
    panel += lane * 2;
    for (size_t i = 0; i < pairs; i++) {
        __m256i p0 = _mm256_load_si256((const __m256i *)panel);
        __m256i p1 = _mm256_load_si256((const __m256i *)(panel + WIDTH * 2));
        UNROLL for (size_t r = 0; r < BLOCK_ROWS; r++)
        {
            __m256i value = _mm256_set1_epi32(rows[r * (CHUNK / 2) + i]);
            sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(value, p0));
            sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(value, p1));
        }
        panel += VDB_GEMM_LANES * 2;
    }
    UNROLL for (size_t r = 0; r < BLOCK_ROWS; r++)
    {
        _mm256_store_si256((__m256i *)(out->dots.u32[first_row + r] + lane), sums[r][0]);
        _mm256_store_si256((__m256i *)(out->dots.u32[first_row + r] + lane + WIDTH), sums[r][1]);
    }
}

INLINE void widen(const char *row, size_t count, bool is_signed, int16_t *out)
{
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(row + i));
        _mm256_store_si256((__m256i *)(out + i),
                           is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes));
    }
    for (; i < count; i++) {
        out[i] = is_signed ? (int16_t)(signed char)row[i] : (int16_t)(unsigned char)row[i];
    }
    if (count % 2 != 0) {
        out[count] = 0;
    }
}

INLINE __m256 to_float(__m256i sums, bool is_signed)
{
    __m256 converted = _mm256_cvtepi32_ps(sums);
    if (is_signed) {
        return converted;
    }
    /* An unsigned lane of 2^31 or more: high and low halves, each exact as a float, then one rounding. */
    __m256 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(sums, 16));
    __m256 low = _mm256_cvtepi32_ps(_mm256_and_si256(sums, _mm256_set1_epi32(0xffff)));
    return _mm256_fmadd_ps(high, _mm256_set1_ps(65536.0f), low);
}

/* The tile's products, into out->dots; nothing has passed. */
INLINE void multiply_int(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out, bool is_signed)
{
    _Alignas(32) int16_t rows[BLOCK_ROWS * CHUNK];
    memset(out->dots.u32, 0, sizeof out->dots.u32);
    memset(out->passed, 0, sizeof out->passed);
    for (size_t begin = 0; begin < tile->dimension; begin += CHUNK) {
        size_t count = tile->dimension - begin < CHUNK ? tile->dimension - begin : CHUNK;
        const int16_t *panel = (const int16_t *)tile->panel + begin * VDB_GEMM_LANES;
        for (size_t row = 0; row < VDB_GEMM_ROWS; row += BLOCK_ROWS) {
            for (size_t r = 0; r < BLOCK_ROWS; r++) {
                widen((const char *)tile->rows + (row + r) * tile->stride_bytes + begin, count, is_signed,
                      rows + r * CHUNK);
            }
            for (size_t lane = 0; lane < VDB_GEMM_LANES; lane += BLOCK_LANES) {
                block_int((const pair_of_int16 *)rows, panel, (count + 1) / 2, row, lane, out);
            }
        }
    }
}

INLINE bool run_int(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out, bool is_signed)
{
    multiply_int(tile, out, is_signed);
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        for (size_t lane = 0; lane < VDB_GEMM_LANES; lane += WIDTH) {
            __m256i sums = _mm256_load_si256((const __m256i *)(out->dots.u32[r] + lane));
            out->passed[r] |= test(tile, r, lane, to_float(sums, is_signed));
        }
    }
    return any_passed(out);
}

static bool run_u8(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    return run_int(tile, out, false);
}

static bool run_i8(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    return run_int(tile, out, true);
}

static bool run_low(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    multiply_int(tile, out, true);
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        const __m256 bias = _mm256_set1_ps(tile->bias[r]);
        for (size_t lane = 0; lane < VDB_GEMM_LANES; lane += WIDTH) {
            __m256 left = _mm256_cvtepi32_ps(_mm256_load_si256((const __m256i *)(out->dots.u32[r] + lane)));
            left = _mm256_mul_ps(left, _mm256_load_ps(tile->lane_scale + lane));
            left = _mm256_fmadd_ps(left, _mm256_set1_ps(tile->scale[r]), _mm256_load_ps(tile->limit + lane));
            left = _mm256_fmadd_ps(_mm256_load_ps(tile->gain + lane), _mm256_set1_ps(tile->norm[r]), left);
            left = _mm256_fmadd_ps(_mm256_load_ps(tile->lane_length + lane), _mm256_set1_ps(tile->residual[r]),
                                   left);
            out->passed[r] |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(left, bias, _CMP_NLT_UQ)) << lane;
        }
    }
    return any_passed(out);
}

void vdb_gemm_avx2(struct vdb_gemm *table)
{
    table->kernels[VDB_ELEMENT_F32] = (struct vdb_gemm_kernel){run_f32, vdb_gemm_panel_bytes_f32,
                                                               vdb_gemm_pack_f32, "avx2"};
    table->kernels[VDB_ELEMENT_U8] = (struct vdb_gemm_kernel){run_u8, vdb_gemm_panel_bytes_int16,
                                                              vdb_gemm_pack_u8_int16, "avx2"};
    table->kernels[VDB_ELEMENT_I8] = (struct vdb_gemm_kernel){run_i8, vdb_gemm_panel_bytes_int16,
                                                              vdb_gemm_pack_i8_int16, "avx2"};
    table->low = (struct vdb_gemm_kernel){run_low, vdb_gemm_panel_bytes_int16, vdb_gemm_pack_i8_int16, "avx2"};
}

#endif
