/* qgraph_visit_avx2.c: the quantised graph's steps with AVX2.
 *
 * Products of u8 and i8 are taken in 16 bits, for the instruction that multiplies bytes saturates its sums. The
 * codes are scanned by quant's kernel of this level.
 */
#include "index/qgraph_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { STEP = 16 };

INLINE uint32_t sum_of(__m256i v)
{
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(sum);
}

INLINE int64_t sum_of_64(__m256i v)
{
    __m128i sum = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return _mm_cvtsi128_si64(sum) + _mm_extract_epi64(sum, 1);
}

INLINE __m128i load_128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

INLINE __m256i load_256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE uint32_t dot_of(const uint8_t *x, const int8_t *q, size_t bytes)
{
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes; i += STEP) {
        __m256i a = _mm256_cvtepu8_epi16(load_128(x + i));
        __m256i b = _mm256_cvtepi8_epi16(load_128(q + i));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    return sum_of(sum);
}

/* Estimates of eight neighbours. */
INLINE __m256 estimate_of(const uint8_t *factors, const uint16_t *sums, const struct vdb_qgraph_query *query,
                          __m256 base)
{
    __m256 offset = _mm256_cvtph_ps(load_128(factors));
    __m256 slope = _mm256_cvtph_ps(load_128(factors + VDB_QGRAPH_DEGREE * 2));
    __m256 sum = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(load_128(sums)));
    __m256 value = _mm256_add_ps(_mm256_mul_ps(sum, _mm256_set1_ps(query->slope)), _mm256_set1_ps(query->shift));
    return _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(slope, value), offset), base);
}

static uint32_t visit(const struct vdb_qgraph_shape *shape, const struct vdb_qgraph_query *query,
                      const uint8_t *block, struct vdb_qgraph_pool *pool)
{
    const struct vdb_qgraph_head *head = (const struct vdb_qgraph_head *)(const void *)(block + shape->head_at);
    const uint32_t *nodes = (const uint32_t *)(const void *)(block + shape->nodes_at);
    const uint32_t exact = query->square + head->norm - 2 * dot_of(block, query->vector, shape->codes_at);
    const __m256 base = _mm256_set1_ps((float)exact * query->unit);
    const __m256 bound = _mm256_set1_ps(vdb_qgraph_kernels_bound(pool));
    uint16_t sums[VDB_FASTSCAN_CODES];
    float estimates[VDB_QGRAPH_DEGREE];
    uint32_t near = 0;
    query->scan(block + shape->codes_at, query->tables, shape->bits, sums);
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i += 8) {
        __m256 estimate = estimate_of(block + shape->factors_at + i * 2, sums + i, query, base);
        _mm256_storeu_ps(estimates + i, estimate);
        near |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(estimate, bound, _CMP_LT_OQ)) << i;
    }
    vdb_qgraph_kernels_insert_all(pool, near, estimates, nodes);
    return exact;
}

static uint32_t distance(const uint8_t *a, const uint8_t *b, size_t dimension)
{
    __m256i sum = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + STEP <= dimension; i += STEP) {
        __m256i d = _mm256_sub_epi16(_mm256_cvtepu8_epi16(load_128(a + i)),
                                     _mm256_cvtepu8_epi16(load_128(b + i)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(d, d));
    }
    uint32_t total = sum_of(sum);
    for (; i < dimension; i++) {
        int32_t d = (int32_t)a[i] - b[i];
        total += (uint32_t)(d * d);
    }
    return total;
}

static void project(const int8_t *matrix, const uint8_t *vector, size_t inputs, size_t outputs, int32_t *out)
{
    /* Four outputs to a register: two sums of two products each. */
    for (size_t j = 0; j < outputs; j += 16) {
        __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                           _mm256_setzero_si256()};
        const int8_t *m = matrix + j / 64 * 64 * ((inputs + 3) / 4 * 4) + j % 64 * 4;
        for (size_t i = 0; i < inputs; i += 4, m += 256) {
            int group;
            memcpy(&group, vector + i, sizeof group);
            __m256i x = _mm256_cvtepu8_epi16(_mm_set1_epi32(group));
            for (size_t s = 0; s < 4; s++) {
                sums[s] = _mm256_add_epi32(sums[s],
                                           _mm256_madd_epi16(_mm256_cvtepi8_epi16(load_128(m + s * 16)), x));
            }
        }
        for (size_t s = 0; s < 4; s++) {
            __m256i pairs = _mm256_hadd_epi32(sums[s], sums[s]);
            __m128i four = _mm_unpacklo_epi64(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
            _mm_storeu_si128((__m128i *)(void *)(out + j + s * 4), four);
        }
    }
}

INLINE __m256i add_pairs_64(__m256i sum, __m256i pairs)
{
    sum = _mm256_add_epi64(sum, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(pairs)));
    return _mm256_add_epi64(sum, _mm256_cvtepu32_epi64(_mm256_extracti128_si256(pairs, 1)));
}

static struct vdb_qgraph_numbers code_of(const int16_t *x, const int16_t *y, size_t bits, uint8_t *code)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i square = _mm256_setzero_si256();
    __m256i length = square;
    __m256i product = square;
    for (size_t i = 0; i < bits; i += STEP) {
        __m256i a = load_256(x + i);
        __m256i r = _mm256_sub_epi16(load_256(y + i), a);
        __m256i negative = _mm256_srai_epi16(r, 15);
        __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(negative), _mm256_extracti128_si256(negative, 1));
        uint16_t positive = (uint16_t)~_mm_movemask_epi8(bytes);
        memcpy(code + i / 8, &positive, sizeof positive);
        __m256i turned = _mm256_sub_epi16(_mm256_xor_si256(a, negative), negative);
        square = add_pairs_64(square, _mm256_madd_epi16(r, r));
        length = _mm256_add_epi32(length, _mm256_madd_epi16(_mm256_abs_epi16(r), ones));
        product = _mm256_add_epi32(product, _mm256_madd_epi16(turned, ones));
    }
    return (struct vdb_qgraph_numbers){sum_of_64(square), (int32_t)sum_of(length), (int32_t)sum_of(product)};
}

void vdb_qgraph_kernels_avx2(struct vdb_qgraph_kernels *table)
{
    *table = (struct vdb_qgraph_kernels){visit, distance, project, code_of, "avx2"};
}
#endif
