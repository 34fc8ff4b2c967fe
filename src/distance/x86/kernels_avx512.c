/* kernels_avx512.c: the kernels in AVX-512 F, BW, DQ, VL. The same shape as kernels_avx2.c, twice as wide.
 *
 * V1 f32: F32_ACCUMULATORS registers of 16 lanes per row hide the latency of the fused multiply-add; what is left
 * after whole blocks goes masked into register 0. README.md counts these steps in its error bound. V2 Integers:
 * 32 elements a step, widened to 16 bits, multiplied and added in pairs to 32 bits (vpmaddwd). One step adds at
 * most 2 * 255^2 = 130,050 to a lane, and a lane takes at most 65,536 / 32 = 2,048 steps: 266,342,400 < 2^31.
 *    Lanes are widened to 64 bits before they are added up.
 * V3 No byte outside a vector is read: the tail's loads are masked.
 * V4 Prefetching is R1 and R2 of kernels_rows.h.
 *
 * Threads: pure functions.
 */
#include "distance/kernels_rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    F32_LANES = 16,
    F32_ACCUMULATORS = 4,    /* 4 rows * 4 = 16 of the 32 registers */
    COSINE_ACCUMULATORS = 2, /* (4 rows * 2 sums + |a|^2) * 2 = 18 */
    INT_ELEMENTS = 32,
};

/* ---- f32, f16, bf16 ---- */

typedef __m512 float_load(const char *p, size_t left);

/* 16 elements, or the first `left` of them and zeros. */
static inline __m512 load_f32(const char *p, size_t left)
{
    return left >= F32_LANES ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), p);
}

INLINE __m256i load_halves(const char *p, size_t left)
{
    return left >= F32_LANES ? _mm256_loadu_si256((const __m256i *)p)
                             : _mm256_maskz_loadu_epi16((__mmask16)((1u << left) - 1), p);
}

static inline __m512 load_f16(const char *p, size_t left)
{
    return _mm512_cvtph_ps(load_halves(p, left));
}

static inline __m512 load_bf16(const char *p, size_t left)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(p, left)), 16));
}

INLINE float reduce_f32(__m512 v)
{
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    quarter = _mm_add_ss(quarter, _mm_movehdup_ps(quarter));
    return _mm_cvtss_f32(quarter);
}

typedef __m512 float_step(__m512 sum, __m512 a, __m512 b);

static inline __m512 l2_float_step(__m512 sum, __m512 a, __m512 b)
{
    __m512 difference = _mm512_sub_ps(a, b);
    return _mm512_fmadd_ps(difference, difference, sum);
}

static inline __m512 dot_float_step(__m512 sum, __m512 a, __m512 b)
{
    return _mm512_fmadd_ps(a, b, sum);
}

static inline __m512 l1_float_step(__m512 sum, __m512 a, __m512 b)
{
    return _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b)));
}

INLINE void sum_float(float_load *load, vdb_element element, float_step *step, vdb_metric metric,
                      const void *query, struct kernel_rows rows, size_t row_count, const char *ahead,
                      size_t dimension, double *out)
{
    const size_t width = element == VDB_ELEMENT_F32 ? sizeof(float) : sizeof(uint16_t);
    const size_t block = F32_ACCUMULATORS * F32_LANES;
    __m512 sums[ROWS][F32_ACCUMULATORS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        UNROLL for (size_t j = 0; j < F32_ACCUMULATORS; j++)
        {
            sums[r][j] = _mm512_setzero_ps();
        }
    }
    size_t i = 0;
    for (; i + block <= dimension; i += block) {
        UNROLL for (size_t j = 0; j < F32_ACCUMULATORS; j++)
        {
            size_t byte = (i + j * F32_LANES) * width;
            __m512 a = load(at(query, 0, 0, byte), F32_LANES);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                sums[r][j] = step(sums[r][j], a, load(row_at(rows, r, byte), F32_LANES));
                prefetch(ahead, row_count, r, byte, F32_LANES * width);
            }
        }
    }
    for (; i < dimension; i += F32_LANES) {
        __m512 a = load(at(query, 0, 0, i * width), dimension - i);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m512 b = load(row_at(rows, r, i * width), dimension - i);
            sums[r][0] = step(sums[r][0], a, b);
            prefetch(ahead, row_count, r, i * width, F32_LANES * width);
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[r][0], sums[r][1]), _mm512_add_ps(sums[r][2], sums[r][3]));
        out[r] = vdb_kernels_finish_float(element, metric, reduce_f32(sum), query, row_at(rows, r, 0), dimension);
    }
}

INLINE void cosine_float(float_load *load, vdb_element element, const void *query, struct kernel_rows rows,
                         size_t row_count, const char *ahead, size_t dimension, double *out)
{
    const size_t width = element == VDB_ELEMENT_F32 ? sizeof(float) : sizeof(uint16_t);
    const size_t block = COSINE_ACCUMULATORS * F32_LANES;
    __m512 aa[COSINE_ACCUMULATORS];
    __m512 dot[ROWS][COSINE_ACCUMULATORS];
    __m512 bb[ROWS][COSINE_ACCUMULATORS];
    UNROLL for (size_t j = 0; j < COSINE_ACCUMULATORS; j++)
    {
        aa[j] = _mm512_setzero_ps();
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            dot[r][j] = _mm512_setzero_ps();
            bb[r][j] = _mm512_setzero_ps();
        }
    }
    size_t i = 0;
    for (; i + block <= dimension; i += block) {
        UNROLL for (size_t j = 0; j < COSINE_ACCUMULATORS; j++)
        {
            size_t byte = (i + j * F32_LANES) * width;
            __m512 a = load(at(query, 0, 0, byte), F32_LANES);
            aa[j] = _mm512_fmadd_ps(a, a, aa[j]);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                __m512 b = load(row_at(rows, r, byte), F32_LANES);
                dot[r][j] = _mm512_fmadd_ps(a, b, dot[r][j]);
                bb[r][j] = _mm512_fmadd_ps(b, b, bb[r][j]);
                prefetch(ahead, row_count, r, byte, F32_LANES * width);
            }
        }
    }
    for (; i < dimension; i += F32_LANES) {
        __m512 a = load(at(query, 0, 0, i * width), dimension - i);
        aa[0] = _mm512_fmadd_ps(a, a, aa[0]);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m512 b = load(row_at(rows, r, i * width), dimension - i);
            dot[r][0] = _mm512_fmadd_ps(a, b, dot[r][0]);
            bb[r][0] = _mm512_fmadd_ps(b, b, bb[r][0]);
            prefetch(ahead, row_count, r, i * width, F32_LANES * width);
        }
    }
    float query_square = reduce_f32(_mm512_add_ps(aa[0], aa[1]));
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_finish_cosine_float(element, reduce_f32(_mm512_add_ps(dot[r][0], dot[r][1])),
                                                 query_square, reduce_f32(_mm512_add_ps(bb[r][0], bb[r][1])),
                                                 query, row_at(rows, r, 0), dimension);
    }
}

/* ---- u8 and i8 ---- */

/* 32 bytes, or the first `left` of them and zeros. */
INLINE __m256i load_bytes(const char *p, size_t left)
{
    return left >= INT_ELEMENTS ? _mm256_loadu_si256((const __m256i *)p)
                                : _mm256_maskz_loadu_epi8((__mmask32)((UINT64_C(1) << left) - 1), p);
}

typedef __m512i int_widen(__m256i bytes);

static inline __m512i widen_u8(__m256i bytes)
{
    return _mm512_cvtepu8_epi16(bytes);
}

static inline __m512i widen_i8(__m256i bytes)
{
    return _mm512_cvtepi8_epi16(bytes);
}

INLINE int64_t reduce_int(__m512i v)
{
    __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(v));
    __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(v, 1));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
}

typedef __m512i int_step(__m512i sum, __m512i a, __m512i b);

static inline __m512i l2_int_step(__m512i sum, __m512i a, __m512i b)
{
    __m512i difference = _mm512_sub_epi16(a, b);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(difference, difference));
}

static inline __m512i dot_int_step(__m512i sum, __m512i a, __m512i b)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}

static inline __m512i l1_int_step(__m512i sum, __m512i a, __m512i b)
{
    __m512i difference = _mm512_abs_epi16(_mm512_sub_epi16(a, b));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(difference, _mm512_set1_epi16(1)));
}

INLINE void sum_int(int_widen *widen, int_step *step, vdb_metric metric, const void *query,
                    struct kernel_rows rows, size_t row_count, const char *ahead, size_t dimension, double *out)
{
    __m512i sums[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        sums[r] = _mm512_setzero_si512();
    }
    size_t i = 0;
    for (; i + INT_ELEMENTS <= dimension; i += INT_ELEMENTS) {
        __m512i a = widen(load_bytes(at(query, 0, 0, i), INT_ELEMENTS));
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = step(sums[r], a, widen(load_bytes(row_at(rows, r, i), INT_ELEMENTS)));
            prefetch(ahead, row_count, r, i, INT_ELEMENTS);
        }
    }
    if (i < dimension) {
        __m512i a = widen(load_bytes(at(query, 0, 0, i), dimension - i));
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = step(sums[r], a, widen(load_bytes(row_at(rows, r, i), dimension - i)));
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_finish_int(metric, reduce_int(sums[r]));
    }
}

INLINE void cosine_int(int_widen *widen, const void *query, struct kernel_rows rows, size_t row_count,
                       const char *ahead, size_t dimension, double *out)
{
    __m512i aa = _mm512_setzero_si512();
    __m512i dot[ROWS];
    __m512i bb[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        dot[r] = _mm512_setzero_si512();
        bb[r] = _mm512_setzero_si512();
    }
    size_t i = 0;
    for (; i + INT_ELEMENTS <= dimension; i += INT_ELEMENTS) {
        __m512i a = widen(load_bytes(at(query, 0, 0, i), INT_ELEMENTS));
        aa = dot_int_step(aa, a, a);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m512i b = widen(load_bytes(row_at(rows, r, i), INT_ELEMENTS));
            dot[r] = dot_int_step(dot[r], a, b);
            bb[r] = dot_int_step(bb[r], b, b);
            prefetch(ahead, row_count, r, i, INT_ELEMENTS);
        }
    }
    if (i < dimension) {
        __m512i a = widen(load_bytes(at(query, 0, 0, i), dimension - i));
        aa = dot_int_step(aa, a, a);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m512i b = widen(load_bytes(row_at(rows, r, i), dimension - i));
            dot[r] = dot_int_step(dot[r], a, b);
            bb[r] = dot_int_step(bb[r], b, b);
        }
    }
    double query_square = (double)reduce_int(aa);
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_cosine((double)reduce_int(dot[r]), query_square, (double)reduce_int(bb[r]));
    }
}

/* ---- The entry points ---- */

#define FLOAT_KERNELS(element, ELEMENT)                                                                          \
    KERNEL(l2, element, ELEMENT, sum_float,                                                                      \
           CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT, l2_float_step, VDB_METRIC_L2))                       \
    KERNEL(dot, element, ELEMENT, sum_float,                                                                     \
           CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT, dot_float_step, VDB_METRIC_DOT))                     \
    KERNEL(l1, element, ELEMENT, sum_float,                                                                      \
           CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT, l1_float_step, VDB_METRIC_L1))                       \
    KERNEL(cosine, element, ELEMENT, cosine_float, CONSTANTS(load_##element, VDB_ELEMENT_##ELEMENT))

#define INT_KERNELS(element, ELEMENT)                                                                            \
    KERNEL(l2, element, ELEMENT, sum_int, CONSTANTS(widen_##element, l2_int_step, VDB_METRIC_L2))                \
    KERNEL(dot, element, ELEMENT, sum_int, CONSTANTS(widen_##element, dot_int_step, VDB_METRIC_DOT))             \
    KERNEL(l1, element, ELEMENT, sum_int, CONSTANTS(widen_##element, l1_int_step, VDB_METRIC_L1))                \
    KERNEL(cosine, element, ELEMENT, cosine_int, CONSTANTS(widen_##element))

FLOAT_KERNELS(f32, F32)
FLOAT_KERNELS(f16, F16)
FLOAT_KERNELS(bf16, BF16)
INT_KERNELS(u8, U8)
INT_KERNELS(i8, I8)

void vdb_kernels_avx512(struct vdb_kernels *table)
{
#define SET(...) SET_FROM("avx512", __VA_ARGS__)
    VDB_KERNELS_OF_NUMBERS(SET, f32, F32)
    VDB_KERNELS_OF_NUMBERS(SET, f16, F16)
    VDB_KERNELS_OF_NUMBERS(SET, bf16, BF16)
    VDB_KERNELS_OF_NUMBERS(SET, u8, U8)
    VDB_KERNELS_OF_NUMBERS(SET, i8, I8)
#undef SET
    table->level = VDB_CPU_AVX512;
}

#endif
