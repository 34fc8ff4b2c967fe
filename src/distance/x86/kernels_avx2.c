/* kernels_avx2.c: the kernels in AVX2 and FMA. The same shape as kernels_avx512.c, half as wide.
 *
 * V1 f32: F32_ACCUMULATORS registers of 8 lanes per row hide the latency of the fused multiply-add; what is left
 * after whole blocks goes masked into register 0. README.md counts these steps in its error bound. V2 Integers:
 * 16 elements a step, widened to 16 bits, multiplied and added in pairs to 32 bits (vpmaddwd). One step adds at
 * most 2 * 255^2 = 130,050 to a lane, and a lane takes at most 65,536 / 16 = 4,096 steps: 532,684,800 < 2^31.
 *    Lanes are widened to 64 bits before they are added up.
 * V3 No byte outside a vector is read: the tail's loads are masked (f32) or end where the vector ends (integers).
 * V4 Prefetching is R1 and R2 of kernels_rows.h.
 *
 * Threads: pure functions.
 */
#include "distance/kernels_rows.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    F32_LANES = 8,
    F32_ACCUMULATORS = 2,    /* 4 rows * 2 = 8 of the 16 registers */
    COSINE_ACCUMULATORS = 2, /* X */
    INT_ELEMENTS = 16,
    BITS_BYTES = 32,
};

/* ---- f32, f16, bf16 ---- */

/* From word 8 - n on: n words of ones, then zeros. */
static const int32_t word_mask[2 * F32_LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};

typedef __m256 float_load(const char *p, size_t left);

/* 8 elements, or the first `left` of them and zeros. */
static inline __m256 load_f32(const char *p, size_t left)
{
    if (left >= F32_LANES) {
        return _mm256_loadu_ps((const float *)p);
    }
    __m256i mask = _mm256_loadu_si256((const __m256i *)(word_mask + F32_LANES - left));
    return _mm256_maskload_ps((const float *)p, mask);
}

INLINE __m128i load_halves(const char *p, size_t left)
{
    if (left >= F32_LANES) {
        return _mm_loadu_si128((const __m128i *)p);
    }
    uint16_t halves[F32_LANES] = {0}; /* AVX2 has no masked load of 16 bits */
    for (size_t i = 0; i < left; i++) {
        __builtin_memcpy(&halves[i], p + 2 * i, 2);
    }
    return _mm_loadu_si128((const __m128i *)halves);
}

static inline __m256 load_f16(const char *p, size_t left)
{
    return _mm256_cvtph_ps(load_halves(p, left));
}

static inline __m256 load_bf16(const char *p, size_t left)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(p, left)), 16));
}

INLINE float reduce_f32(__m256 v)
{
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    quarter = _mm_add_ss(quarter, _mm_movehdup_ps(quarter));
    return _mm_cvtss_f32(quarter);
}

typedef __m256 float_step(__m256 sum, __m256 a, __m256 b);

static inline __m256 l2_float_step(__m256 sum, __m256 a, __m256 b)
{
    __m256 difference = _mm256_sub_ps(a, b);
    return _mm256_fmadd_ps(difference, difference, sum);
}

static inline __m256 dot_float_step(__m256 sum, __m256 a, __m256 b)
{
    return _mm256_fmadd_ps(a, b, sum);
}

static inline __m256 l1_float_step(__m256 sum, __m256 a, __m256 b)
{
    return _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(a, b)));
}

INLINE void sum_float(float_load *load, vdb_element element, float_step *step, vdb_metric metric,
                      const void *query, struct kernel_rows rows, size_t row_count, const char *ahead,
                      size_t dimension, double *out)
{
    const size_t width = element == VDB_ELEMENT_F32 ? sizeof(float) : sizeof(uint16_t);
    const size_t block = F32_ACCUMULATORS * F32_LANES;
    __m256 sums[ROWS][F32_ACCUMULATORS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        UNROLL for (size_t j = 0; j < F32_ACCUMULATORS; j++)
        {
            sums[r][j] = _mm256_setzero_ps();
        }
    }
    size_t i = 0;
    for (; i + block <= dimension; i += block) {
        UNROLL for (size_t j = 0; j < F32_ACCUMULATORS; j++)
        {
            size_t byte = (i + j * F32_LANES) * width;
            __m256 a = load(at(query, 0, 0, byte), F32_LANES);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                sums[r][j] = step(sums[r][j], a, load(row_at(rows, r, byte), F32_LANES));
                prefetch(ahead, row_count, r, byte, F32_LANES * width);
            }
        }
    }
    for (; i < dimension; i += F32_LANES) {
        __m256 a = load(at(query, 0, 0, i * width), dimension - i);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m256 b = load(row_at(rows, r, i * width), dimension - i);
            sums[r][0] = step(sums[r][0], a, b);
            prefetch(ahead, row_count, r, i * width, F32_LANES * width);
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        __m256 sum = _mm256_add_ps(sums[r][0], sums[r][1]);
        out[r] = vdb_kernels_finish_float(element, metric, reduce_f32(sum), query, row_at(rows, r, 0), dimension);
    }
}

INLINE void cosine_float(float_load *load, vdb_element element, const void *query, struct kernel_rows rows,
                         size_t row_count, const char *ahead, size_t dimension, double *out)
{
    const size_t width = element == VDB_ELEMENT_F32 ? sizeof(float) : sizeof(uint16_t);
    const size_t block = COSINE_ACCUMULATORS * F32_LANES;
    __m256 aa[COSINE_ACCUMULATORS];
    __m256 dot[ROWS][COSINE_ACCUMULATORS];
    __m256 bb[ROWS][COSINE_ACCUMULATORS];
    UNROLL for (size_t j = 0; j < COSINE_ACCUMULATORS; j++)
    {
        aa[j] = _mm256_setzero_ps();
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            dot[r][j] = _mm256_setzero_ps();
            bb[r][j] = _mm256_setzero_ps();
        }
    }
    size_t i = 0;
    for (; i + block <= dimension; i += block) {
        UNROLL for (size_t j = 0; j < COSINE_ACCUMULATORS; j++)
        {
            size_t byte = (i + j * F32_LANES) * width;
            __m256 a = load(at(query, 0, 0, byte), F32_LANES);
            aa[j] = _mm256_fmadd_ps(a, a, aa[j]);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                __m256 b = load(row_at(rows, r, byte), F32_LANES);
                dot[r][j] = _mm256_fmadd_ps(a, b, dot[r][j]);
                bb[r][j] = _mm256_fmadd_ps(b, b, bb[r][j]);
                prefetch(ahead, row_count, r, byte, F32_LANES * width);
            }
        }
    }
    for (; i < dimension; i += F32_LANES) {
        __m256 a = load(at(query, 0, 0, i * width), dimension - i);
        aa[0] = _mm256_fmadd_ps(a, a, aa[0]);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m256 b = load(row_at(rows, r, i * width), dimension - i);
            dot[r][0] = _mm256_fmadd_ps(a, b, dot[r][0]);
            bb[r][0] = _mm256_fmadd_ps(b, b, bb[r][0]);
            prefetch(ahead, row_count, r, i * width, F32_LANES * width);
        }
    }
    float query_square = reduce_f32(_mm256_add_ps(aa[0], aa[1]));
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_finish_cosine_float(element, reduce_f32(_mm256_add_ps(dot[r][0], dot[r][1])),
                                                 query_square, reduce_f32(_mm256_add_ps(bb[r][0], bb[r][1])),
                                                 query, row_at(rows, r, 0), dimension);
    }
}

/* ---- u8 and i8 ---- */

INLINE __m128i load_bytes(const char *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* From byte 16 - n on: 16 bytes of which the last n are ones. Loaded from byte n. */
static const uint8_t byte_mask[2 * INT_ELEMENTS] = {
    [16] = 255, [17] = 255, [18] = 255, [19] = 255, [20] = 255, [21] = 255, [22] = 255, [23] = 255,
    [24] = 255, [25] = 255, [26] = 255, [27] = 255, [28] = 255, [29] = 255, [30] = 255, [31] = 255};

/* The last dimension % 16 bytes of a vector, and zeros: the 16 bytes that end where the vector ends, less those
 * that the whole steps have had. The order within a step does not matter, since integer sums are exact. */
INLINE __m128i load_tail(const char *vector, size_t dimension)
{
    if (dimension < INT_ELEMENTS) {
        char bytes[INT_ELEMENTS] = {0};
        for (size_t i = 0; i < dimension; i++) {
            bytes[i] = vector[i];
        }
        return load_bytes(bytes);
    }
    __m128i mask = load_bytes((const char *)byte_mask + dimension % INT_ELEMENTS);
    return _mm_and_si128(mask, load_bytes(vector + dimension - INT_ELEMENTS));
}

typedef __m256i int_widen(__m128i bytes);

static inline __m256i widen_u8(__m128i bytes)
{
    return _mm256_cvtepu8_epi16(bytes);
}

static inline __m256i widen_i8(__m128i bytes)
{
    return _mm256_cvtepi8_epi16(bytes);
}

INLINE int64_t reduce_int(__m256i v)
{
    __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(v));
    __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1));
    __m256i sums = _mm256_add_epi64(low, high);
    __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return _mm_extract_epi64(pair, 0) + _mm_extract_epi64(pair, 1);
}

typedef __m256i int_step(__m256i sum, __m256i a, __m256i b);

static inline __m256i l2_int_step(__m256i sum, __m256i a, __m256i b)
{
    __m256i difference = _mm256_sub_epi16(a, b);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(difference, difference));
}

static inline __m256i dot_int_step(__m256i sum, __m256i a, __m256i b)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

static inline __m256i l1_int_step(__m256i sum, __m256i a, __m256i b)
{
    __m256i difference = _mm256_abs_epi16(_mm256_sub_epi16(a, b));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(difference, _mm256_set1_epi16(1)));
}

INLINE void sum_int(int_widen *widen, int_step *step, vdb_metric metric, const void *query,
                    struct kernel_rows rows, size_t row_count, const char *ahead, size_t dimension, double *out)
{
    __m256i sums[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        sums[r] = _mm256_setzero_si256();
    }
    size_t i = 0;
    for (; i + INT_ELEMENTS <= dimension; i += INT_ELEMENTS) {
        __m256i a = widen(load_bytes(at(query, 0, 0, i)));
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = step(sums[r], a, widen(load_bytes(row_at(rows, r, i))));
            prefetch(ahead, row_count, r, i, INT_ELEMENTS);
        }
    }
    if (i < dimension) {
        __m256i a = widen(load_tail(query, dimension));
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = step(sums[r], a, widen(load_tail(row_at(rows, r, 0), dimension)));
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
    __m256i aa = _mm256_setzero_si256();
    __m256i dot[ROWS];
    __m256i bb[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        dot[r] = _mm256_setzero_si256();
        bb[r] = _mm256_setzero_si256();
    }
    size_t i = 0;
    for (; i + INT_ELEMENTS <= dimension; i += INT_ELEMENTS) {
        __m256i a = widen(load_bytes(at(query, 0, 0, i)));
        aa = dot_int_step(aa, a, a);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m256i b = widen(load_bytes(row_at(rows, r, i)));
            dot[r] = dot_int_step(dot[r], a, b);
            bb[r] = dot_int_step(bb[r], b, b);
            prefetch(ahead, row_count, r, i, INT_ELEMENTS);
        }
    }
    if (i < dimension) {
        __m256i a = widen(load_tail(query, dimension));
        aa = dot_int_step(aa, a, a);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m256i b = widen(load_tail(row_at(rows, r, 0), dimension));
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

/* ---- bits ---- */

INLINE __m256i load_bits(const char *p, size_t left)
{
    if (left >= BITS_BYTES) {
        return _mm256_loadu_si256((const __m256i *)p);
    }
    uint64_t words[BITS_BYTES / 8] = {0};
    UNROLL for (size_t w = 0; w < BITS_BYTES / 8; w++)
    {
        if (8 * w + 8 <= left) {
            __builtin_memcpy(&words[w], p + 8 * w, 8);
            continue;
        }
        for (size_t i = 8 * w; i < left; i++) {
            words[w] |= (uint64_t)(uint8_t)p[i] << 8 * (i % 8);
        }
        break;
    }
    return _mm256_set_epi64x((long long)words[3], (long long)words[2], (long long)words[1], (long long)words[0]);
}

/* The bits set of each 8 bytes: a table of 16 counts looked up by every half of a byte (vpshufb), the bytes'
 * counts summed (vpsadbw). */
INLINE __m256i popcount(__m256i v)
{
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2,
                                            3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    __m256i lower = _mm256_shuffle_epi8(counts, _mm256_and_si256(v, low));
    __m256i upper = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), low));
    return _mm256_sad_epu8(_mm256_add_epi8(lower, upper), _mm256_setzero_si256());
}

INLINE int64_t reduce_i64(__m256i v)
{
    __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return _mm_extract_epi64(pair, 0) + _mm_extract_epi64(pair, 1);
}

INLINE void sum_bits(vdb_metric metric, const void *query, struct kernel_rows rows, size_t row_count,
                     const char *ahead, size_t dimension, double *out)
{
    const size_t bytes = (dimension + 7) / 8;
    __m256i left[ROWS];
    __m256i right[ROWS];
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        left[r] = right[r] = _mm256_setzero_si256();
    }
    for (size_t i = 0; i < bytes; i += BITS_BYTES) {
        __m256i a = load_bits(at(query, 0, 0, i), bytes - i);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m256i b = load_bits(row_at(rows, r, i), bytes - i);
            if (metric == VDB_METRIC_HAMMING) {
                left[r] = _mm256_add_epi64(left[r], popcount(_mm256_xor_si256(a, b)));
            } else {
                left[r] = _mm256_add_epi64(left[r], popcount(_mm256_and_si256(a, b)));
                right[r] = _mm256_add_epi64(right[r], popcount(_mm256_or_si256(a, b)));
            }
            prefetch(ahead, row_count, r, i, BITS_BYTES);
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        struct vdb_kernels_bits counts = {reduce_i64(left[r]), reduce_i64(right[r])};
        out[r] = vdb_kernels_finish_bits(metric, counts, query, row_at(rows, r, 0), dimension);
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
KERNEL(hamming, bit, BIT, sum_bits, CONSTANTS(VDB_METRIC_HAMMING))
KERNEL(jaccard, bit, BIT, sum_bits, CONSTANTS(VDB_METRIC_JACCARD))

void vdb_kernels_avx2(struct vdb_kernels *table)
{
#define SET(...) SET_FROM("avx2", __VA_ARGS__)
    VDB_KERNELS_LIST(SET)
#undef SET
    table->level = VDB_CPU_AVX2;
}

#endif
