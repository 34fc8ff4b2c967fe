/* kernels_avx2.c: the kernels in AVX2 and FMA. The same shape as kernels_avx512.c, half as wide.
 *
 * One function per family computes several rows at once or one row, by a constant `row_count`: the loads of the
 * query are shared, and each row has accumulators of its own. So a row's sum takes the same operations in the
 * same order in either, and one-to-many equals one-to-one to the last bit.
 *
 * V1 f32: F32_ACCUMULATORS registers of 8 lanes per row hide the latency of the fused multiply-add; what is left
 * after whole blocks goes masked into register 0. README.md counts these steps in its error bound. V2 Integers:
 * 16 elements a step, widened to 16 bits, multiplied and added in pairs to 32 bits (vpmaddwd). One step adds at
 * most 2 * 255^2 = 130,050 to a lane, and a lane takes at most 65,536 / 16 = 4,096 steps: 532,684,800 < 2^31.
 *    Lanes are widened to 64 bits before they are added up.
 * V3 No byte outside a vector is read: the tail's loads are masked (f32) or end where the vector ends (integers).
 * V4 The hardware's prefetchers follow one stream of addresses better than ROWS at once: from memory, rows in
 * step came at 18 to 25 GB/s and one by one at 33. So each step prefetches in address order, two groups ahead and
 * never past the rows of the call: then both come at 33 and, in the cache, rows in step are ahead.
 *
 * Threads: pure functions.
 */
#include "distance/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum {
    ROWS = 4,
    LINE_BYTES = 64,
    F32_LANES = 8,
    F32_ACCUMULATORS = 2,    /* 4 rows * 2 = 8 of the 16 registers */
    COSINE_ACCUMULATORS = 2, /* X */
    INT_ELEMENTS = 16,
};

INLINE const char *at(const void *rows, size_t stride_bytes, size_t row, size_t byte)
{
    return (const char *)rows + row * stride_bytes + byte;
}

/* V4: asks for one line of the group of rows that comes two groups later, in the order of its addresses. `byte`
 * is how far the group's rows have been read, in steps of step_bytes per row. */
INLINE void prefetch(const char *ahead, size_t row_count, size_t row, size_t byte, size_t step_bytes)
{
    if (row_count == ROWS && row * step_bytes % LINE_BYTES == 0) {
        __builtin_prefetch(ahead + byte * ROWS + row * step_bytes);
    }
}

/* ---- f32 ---- */

/* From word 8 - n on: n words of ones, then zeros. */
static const int32_t word_mask[2 * F32_LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};

/* 8 floats, or the first `left` of them and zeros. */
INLINE __m256 load_f32(const char *p, size_t left)
{
    if (left >= F32_LANES) {
        return _mm256_loadu_ps((const float *)p);
    }
    __m256i mask = _mm256_loadu_si256((const __m256i *)(word_mask + F32_LANES - left));
    return _mm256_maskload_ps((const float *)p, mask);
}

INLINE float reduce_f32(__m256 v)
{
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    quarter = _mm_add_ss(quarter, _mm_movehdup_ps(quarter));
    return _mm_cvtss_f32(quarter);
}

typedef __m256 f32_step(__m256 sum, __m256 a, __m256 b);

static inline __m256 l2_f32_step(__m256 sum, __m256 a, __m256 b)
{
    __m256 difference = _mm256_sub_ps(a, b);
    return _mm256_fmadd_ps(difference, difference, sum);
}

static inline __m256 dot_f32_step(__m256 sum, __m256 a, __m256 b)
{
    return _mm256_fmadd_ps(a, b, sum);
}

static inline __m256 l1_f32_step(__m256 sum, __m256 a, __m256 b)
{
    return _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(a, b)));
}

INLINE void sum_f32(f32_step *step, vdb_metric metric, const void *query, const void *rows, size_t stride_bytes,
                    size_t row_count, const char *ahead, size_t dimension, double *out)
{
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
            size_t byte = (i + j * F32_LANES) * sizeof(float);
            __m256 a = load_f32(at(query, 0, 0, byte), F32_LANES);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                sums[r][j] = step(sums[r][j], a, load_f32(at(rows, stride_bytes, r, byte), F32_LANES));
                prefetch(ahead, row_count, r, byte, F32_LANES * sizeof(float));
            }
        }
    }
    for (; i < dimension; i += F32_LANES) {
        __m256 a = load_f32(at(query, 0, 0, i * sizeof(float)), dimension - i);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m256 b = load_f32(at(rows, stride_bytes, r, i * sizeof(float)), dimension - i);
            sums[r][0] = step(sums[r][0], a, b);
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        __m256 sum = _mm256_add_ps(sums[r][0], sums[r][1]);
        out[r] = vdb_kernels_finish_f32(metric, reduce_f32(sum), query, at(rows, stride_bytes, r, 0), dimension);
    }
}

INLINE void cosine_f32(const void *query, const void *rows, size_t stride_bytes, size_t row_count,
                       const char *ahead, size_t dimension, double *out)
{
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
            size_t byte = (i + j * F32_LANES) * sizeof(float);
            __m256 a = load_f32(at(query, 0, 0, byte), F32_LANES);
            aa[j] = _mm256_fmadd_ps(a, a, aa[j]);
            UNROLL for (size_t r = 0; r < row_count; r++)
            {
                __m256 b = load_f32(at(rows, stride_bytes, r, byte), F32_LANES);
                dot[r][j] = _mm256_fmadd_ps(a, b, dot[r][j]);
                bb[r][j] = _mm256_fmadd_ps(b, b, bb[r][j]);
                prefetch(ahead, row_count, r, byte, F32_LANES * sizeof(float));
            }
        }
    }
    for (; i < dimension; i += F32_LANES) {
        __m256 a = load_f32(at(query, 0, 0, i * sizeof(float)), dimension - i);
        aa[0] = _mm256_fmadd_ps(a, a, aa[0]);
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            __m256 b = load_f32(at(rows, stride_bytes, r, i * sizeof(float)), dimension - i);
            dot[r][0] = _mm256_fmadd_ps(a, b, dot[r][0]);
            bb[r][0] = _mm256_fmadd_ps(b, b, bb[r][0]);
        }
    }
    float query_square = reduce_f32(_mm256_add_ps(aa[0], aa[1]));
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_finish_cosine_f32(reduce_f32(_mm256_add_ps(dot[r][0], dot[r][1])), query_square,
                                               reduce_f32(_mm256_add_ps(bb[r][0], bb[r][1])), query,
                                               at(rows, stride_bytes, r, 0), dimension);
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

INLINE void sum_int(int_widen *widen, int_step *step, vdb_metric metric, const void *query, const void *rows,
                    size_t stride_bytes, size_t row_count, const char *ahead, size_t dimension, double *out)
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
            sums[r] = step(sums[r], a, widen(load_bytes(at(rows, stride_bytes, r, i))));
            prefetch(ahead, row_count, r, i, INT_ELEMENTS);
        }
    }
    if (i < dimension) {
        __m256i a = widen(load_tail(query, dimension));
        UNROLL for (size_t r = 0; r < row_count; r++)
        {
            sums[r] = step(sums[r], a, widen(load_tail(at(rows, stride_bytes, r, 0), dimension)));
        }
    }
    UNROLL for (size_t r = 0; r < row_count; r++)
    {
        out[r] = vdb_kernels_finish_int(metric, reduce_int(sums[r]));
    }
}

INLINE void cosine_int(int_widen *widen, const void *query, const void *rows, size_t stride_bytes,
                       size_t row_count, const char *ahead, size_t dimension, double *out)
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
            __m256i b = widen(load_bytes(at(rows, stride_bytes, r, i)));
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
            __m256i b = widen(load_tail(at(rows, stride_bytes, r, 0), dimension));
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

/* ---- The entry points: metric_element_one and metric_element_many ----
 * `family` is one of the four above, `...` its constants. */

#define KERNEL(metric, element, family, ...)                                                                     \
    static double metric##_##element##_one(const void *a, const void *b, size_t dimension)                       \
    {                                                                                                            \
        double out;                                                                                              \
        family(__VA_ARGS__ a, b, 0, 1, NULL, dimension, &out);                                                   \
        return out;                                                                                              \
    }                                                                                                            \
    static void metric##_##element##_many(const void *query, const void *rows, size_t stride_bytes,              \
                                          size_t count, size_t dimension, double *out)                           \
    {                                                                                                            \
        size_t i = 0;                                                                                            \
        for (; i + ROWS <= count; i += ROWS) {                                                                   \
            const char *group = at(rows, stride_bytes, i, 0);                                                    \
            const char *ahead = i + 3 * ROWS <= count ? at(group, stride_bytes, 2 * ROWS, 0) : group;            \
            family(__VA_ARGS__ query, group, stride_bytes, ROWS, ahead, dimension, out + i);                     \
        }                                                                                                        \
        for (; i < count; i++) {                                                                                 \
            out[i] = metric##_##element##_one(query, at(rows, stride_bytes, i, 0), dimension);                   \
        }                                                                                                        \
    }
#define CONSTANTS(...) __VA_ARGS__,

KERNEL(l2, f32, sum_f32, CONSTANTS(l2_f32_step, VDB_METRIC_L2))
KERNEL(dot, f32, sum_f32, CONSTANTS(dot_f32_step, VDB_METRIC_DOT))
KERNEL(l1, f32, sum_f32, CONSTANTS(l1_f32_step, VDB_METRIC_L1))
KERNEL(cosine, f32, cosine_f32, )

#define INT_KERNELS(element)                                                                                     \
    KERNEL(l2, element, sum_int, CONSTANTS(widen_##element, l2_int_step, VDB_METRIC_L2))                         \
    KERNEL(dot, element, sum_int, CONSTANTS(widen_##element, dot_int_step, VDB_METRIC_DOT))                      \
    KERNEL(l1, element, sum_int, CONSTANTS(widen_##element, l1_int_step, VDB_METRIC_L1))                         \
    KERNEL(cosine, element, cosine_int, CONSTANTS(widen_##element))

INT_KERNELS(u8)
INT_KERNELS(i8)

void vdb_kernels_avx2(struct vdb_kernels *table)
{
#define SET(element, ELEMENT, metric, METRIC)                                                                    \
    table->one[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_one;                           \
    table->many[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_many;
    VDB_KERNELS_LIST(SET)
#undef SET
    table->level = VDB_CPU_AVX2;
}

#endif
