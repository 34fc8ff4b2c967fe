/* qgraph_visit_avx512vbmi.c: the quantised graph's steps with AVX-512, VNNI and VBMI.
 *
 * All of a visit stays in registers but the pool, whose few lines stay in the first-level cache.
 */
#include "index/qgraph_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { LANES = VDB_QGRAPH_POOL_LANES, CHUNKS_MAX = 16, AND_OR = 0xEA /* (a & b) | c */ };

/* ---- Exact distances ---- */

INLINE uint32_t dot_of(const uint8_t *x, const int8_t *q, size_t bytes)
{
    __m512i a = _mm512_setzero_si512();
    __m512i b = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 128 <= bytes; i += 128) {
        a = _mm512_dpbusd_epi32(a, _mm512_load_si512(x + i), _mm512_load_si512(q + i));
        b = _mm512_dpbusd_epi32(b, _mm512_load_si512(x + i + 64), _mm512_load_si512(q + i + 64));
    }
    if (i < bytes) {
        a = _mm512_dpbusd_epi32(a, _mm512_load_si512(x + i), _mm512_load_si512(q + i));
    }
    return (uint32_t)_mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

INLINE void add_squares(__m512i x, __m512i y, __m512i *sum, __m512i *more)
{
    __m512i d = _mm512_sub_epi8(_mm512_max_epu8(x, y), _mm512_min_epu8(x, y));
    /* d^2 = d (d - 128) + 128 d: one factor unsigned, one signed */
    *sum = _mm512_dpbusd_epi32(*sum, d, _mm512_xor_si512(d, _mm512_set1_epi8((char)0x80)));
    *more = _mm512_add_epi64(*more, _mm512_sad_epu8(d, _mm512_setzero_si512()));
}

static uint32_t distance(const uint8_t *a, const uint8_t *b, size_t dimension)
{
    __m512i sum = _mm512_setzero_si512();
    __m512i more = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 64 <= dimension; i += 64) {
        add_squares(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i), &sum, &more);
    }
    if (i < dimension) {
        __mmask64 rest = (UINT64_C(1) << (dimension - i)) - 1;
        add_squares(_mm512_maskz_loadu_epi8(rest, a + i), _mm512_maskz_loadu_epi8(rest, b + i), &sum, &more);
    }
    return (uint32_t)_mm512_reduce_add_epi32(sum) + 128 * (uint32_t)_mm512_reduce_add_epi64(more);
}

/* ---- Estimates ---- */

/* quant/x86/fastscan_avx512vbmi.c's step, here so that the sums stay in registers. */
INLINE void step(const uint8_t *codes, const uint8_t *tables, __m512i *low, __m512i *high)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i table_number = _mm512_set1_epi32(0x30201000);
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i code = _mm512_load_si512(codes);
    __m512i table = _mm512_load_si512(tables);
    __asm__("" : "+v"(code), "+v"(table)); /* loaded once, not as operands twice */
    __m512i first = _mm512_ternarylogic_epi32(code, nibble, table_number, AND_OR);
    __m512i last = _mm512_ternarylogic_epi32(_mm512_srli_epi16(code, 4), nibble, table_number, AND_OR);
    *low = _mm512_dpbusd_epi32(*low, _mm512_permutexvar_epi8(first, table), ones);
    *high = _mm512_dpbusd_epi32(*high, _mm512_permutexvar_epi8(last, table), ones);
}

INLINE void sums_of(const uint8_t *codes, const uint8_t *tables, size_t bits, __m512i *low, __m512i *high)
{
    __m512i low0 = _mm512_setzero_si512();
    __m512i low1 = low0;
    __m512i high0 = low0;
    __m512i high1 = low0;
    for (size_t at = 0; at < bits * 4; at += 256) {
        step(codes + at, tables + at, &low0, &high0);
        step(codes + at + 64, tables + at + 64, &low1, &high1);
        step(codes + at + 128, tables + at + 128, &low0, &high0);
        step(codes + at + 192, tables + at + 192, &low1, &high1);
    }
    *low = _mm512_add_epi32(low0, low1);
    *high = _mm512_add_epi32(high0, high1);
}

INLINE __m512 estimate_of(const uint8_t *factors, __m512i sum, const struct vdb_qgraph_query *query, __m512 base)
{
    __m512 offset = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)factors));
    __m512 slope = _mm512_cvtph_ps(
        _mm256_load_si256((const __m256i *)(const void *)(factors + 2 * VDB_QGRAPH_DEGREE)));
    __m512 value = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(query->slope)),
                                 _mm512_set1_ps(query->shift));
    return _mm512_add_ps(_mm512_add_ps(_mm512_mul_ps(slope, value), offset), base);
}

/* ---- The pool ---- */

/* Those of 16 nodes that are not marked. */
INLINE uint32_t unmarked(const uint32_t *nodes, const uint32_t *marks)
{
    __m512i node = _mm512_load_si512(nodes);
    __m512i words = _mm512_i32gather_epi32(_mm512_srli_epi32(node, 5), marks, 4);
    __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(node, _mm512_set1_epi32(31)));
    return _mm512_testn_epi32_mask(words, bit);
}

/* Those of 16 nodes that may have been put into the pool before. */
INLINE uint32_t met_before(const uint32_t *nodes, const uint32_t *met)
{
    __m512i node = _mm512_load_si512(nodes);
    __m512i word = _mm512_and_si512(_mm512_srli_epi32(node, 5), _mm512_set1_epi32(VDB_QGRAPH_MET_WORDS - 1));
    __m512i words = _mm512_i32gather_epi32(word, met, 4);
    __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(node, _mm512_set1_epi32(31)));
    return _mm512_test_epi32_mask(words, bit);
}

INLINE void meet(uint32_t *met, uint32_t node)
{
    met[node / 32 % VDB_QGRAPH_MET_WORDS] |= UINT32_C(1) << (node % 32);
}

/* Inserts the chosen neighbours into a pool of CHUNKS registers. A distance moves up one place where the one
 * before it is greater than the newcomer: min(own, max(newcomer, the one before)); but not past the place, if
 * any, where the same node stood, and if it stands nearer, nothing moves. */
INLINE void insert_all(struct vdb_qgraph_pool *pool, uint32_t chosen, uint32_t again, const float *estimates,
                       const uint32_t *nodes, const unsigned chunks)
{
    __m512 d[CHUNKS_MAX];
    __m512i n[CHUNKS_MAX];
    const __m512 least = _mm512_set1_ps(-INFINITY);
    UNROLL for (unsigned c = 0; c < chunks; c++)
    {
        d[c] = _mm512_load_ps(pool->distances + c * LANES);
        n[c] = _mm512_load_si512(pool->nodes + c * LANES);
    }
    for (uint32_t left = chosen & ~again; left != 0; left &= left - 1) {
        const unsigned i = (unsigned)__builtin_ctz(left);
        const __m512 distance = _mm512_set1_ps(estimates[i]);
        const __m512i newcomer = _mm512_set1_epi32((int)nodes[i]);
        meet(pool->met, nodes[i]);
        UNROLL for (unsigned c = chunks; c-- > 0;)
        {
            __m512i d_here = _mm512_castps_si512(d[c]);
            __m512i d_below = _mm512_castps_si512(c > 0 ? d[c - 1] : least);
            __m512 before = _mm512_castsi512_ps(_mm512_alignr_epi32(d_here, d_below, 15));
            __mmask16 greater = _mm512_cmp_ps_mask(d[c], distance, _CMP_GT_OQ);
            __mmask16 here = _mm512_mask_cmp_ps_mask(greater, before, distance, _CMP_LE_OQ);
            n[c] = _mm512_mask_alignr_epi32(n[c], greater, n[c], c > 0 ? n[c - 1] : n[c], 15);
            n[c] = _mm512_mask_mov_epi32(n[c], here, newcomer);
            d[c] = _mm512_min_ps(d[c], _mm512_max_ps(distance, before));
        }
    }
    for (uint32_t left = chosen & again; left != 0; left &= left - 1) {
        const unsigned i = (unsigned)__builtin_ctz(left);
        const __m512 distance = _mm512_set1_ps(estimates[i]);
        const __m512i newcomer = _mm512_set1_epi32((int)nodes[i]);
        uint64_t same[CHUNKS_MAX / 4] = {0};
        UNROLL for (unsigned c = 0; c < chunks; c++)
        {
            same[c / 4] |= (uint64_t)_mm512_cmpeq_epi32_mask(n[c], newcomer) << (c % 4 * LANES);
        }
        /* In each word the lanes up to the one where the node stands, or all of them before it. */
        uint64_t upto[CHUNKS_MAX / 4];
        bool past = false;
        UNROLL for (unsigned w = 0; w < (chunks + 3) / 4; w++)
        {
            upto[w] = past ? 0 : same[w] ^ (same[w] - 1);
            past = past || same[w] != 0;
        }
        UNROLL for (unsigned c = chunks; c-- > 0;)
        {
            const __mmask16 inside = (__mmask16)(upto[c / 4] >> (c % 4 * LANES));
            __m512i d_here = _mm512_castps_si512(d[c]);
            __m512i d_below = _mm512_castps_si512(c > 0 ? d[c - 1] : least);
            __m512 before = _mm512_castsi512_ps(_mm512_alignr_epi32(d_here, d_below, 15));
            __mmask16 greater = _mm512_mask_cmp_ps_mask(inside, d[c], distance, _CMP_GT_OQ);
            __mmask16 here = _mm512_mask_cmp_ps_mask(greater, before, distance, _CMP_LE_OQ);
            n[c] = _mm512_mask_alignr_epi32(n[c], greater, n[c], c > 0 ? n[c - 1] : n[c], 15);
            n[c] = _mm512_mask_mov_epi32(n[c], here, newcomer);
            d[c] = _mm512_mask_max_ps(d[c], greater, distance, before);
        }
    }
    pool->next = chunks * LANES;
    UNROLL for (unsigned c = chunks; c-- > 0;)
    {
        const uint32_t open = (uint16_t)~_mm512_movepi32_mask(n[c]);
        pool->next = open != 0 ? c * LANES + (uint32_t)__builtin_ctz(open) : pool->next;
        _mm512_store_ps(pool->distances + c * LANES, d[c]);
        _mm512_store_si512(pool->nodes + c * LANES, n[c]);
    }
}

/* The same for one and a pool of any size, 16 places at a time. */
INLINE void insert_one(struct vdb_qgraph_pool *pool, float distance, uint32_t node)
{
    const __m512 new_distance = _mm512_set1_ps(distance);
    const __m512i new_node = _mm512_set1_epi32((int)node);
    const uint32_t lanes = pool->lanes;
    uint32_t first = 0;
    while (pool->distances[first + LANES - 1] <= distance) {
        first += LANES;
    }
    uint32_t last = 0; /* the 16 places in which the moving ends, and those of them that may */
    uint32_t same = 0;
    for (; last < lanes && same == 0; last += LANES) {
        same = _mm512_cmpeq_epi32_mask(_mm512_load_si512(pool->nodes + last), new_node);
    }
    last -= LANES;
    __mmask16 inside = (__mmask16)(same ^ (same - 1));
    if (last < first) {
        return;
    }
    for (uint32_t i = last; i > first; i -= LANES, inside = 0xFFFF) {
        __m512i d = _mm512_load_si512((const void *)(pool->distances + i));
        __m512i n = _mm512_load_si512(pool->nodes + i);
        __m512i d_before = _mm512_load_si512((const void *)(pool->distances + i - LANES));
        __m512i n_before = _mm512_load_si512(pool->nodes + i - LANES);
        _mm512_store_si512((void *)(pool->distances + i), _mm512_mask_alignr_epi32(d, inside, d, d_before, 15));
        _mm512_store_si512(pool->nodes + i, _mm512_mask_alignr_epi32(n, inside, n, n_before, 15));
    }
    __m512i d = _mm512_load_si512((const void *)(pool->distances + first));
    __m512i n = _mm512_load_si512(pool->nodes + first);
    const uint32_t greater = _mm512_mask_cmp_ps_mask(inside, _mm512_castsi512_ps(d), new_distance, _CMP_GT_OQ);
    if (greater == 0) {
        return;
    }
    const __mmask16 here = (__mmask16)(greater & -greater);
    const __mmask16 behind = (__mmask16)(greater & (greater - 1));
    d = _mm512_mask_alignr_epi32(d, behind, d, d, 15);
    n = _mm512_mask_alignr_epi32(n, behind, n, n, 15);
    d = _mm512_mask_mov_epi32(d, here, _mm512_castps_si512(new_distance));
    n = _mm512_mask_mov_epi32(n, here, new_node);
    _mm512_store_si512((void *)(pool->distances + first), d);
    _mm512_store_si512(pool->nodes + first, n);
    const uint32_t at = first + (uint32_t)__builtin_ctz(greater);
    pool->next = at < pool->next ? at : pool->next;
}

static void insert_many(struct vdb_qgraph_pool *pool, uint32_t chosen, uint32_t again, const float *estimates,
                        const uint32_t *nodes)
{
    for (unsigned turn = 0; turn < 2; turn++) {
        for (uint32_t left = chosen & (turn == 0 ? ~again : again); left != 0; left &= left - 1) {
            const unsigned i = (unsigned)__builtin_ctz(left);
            if (estimates[i] < pool->distances[pool->lanes - 1]) {
                meet(pool->met, nodes[i]);
                insert_one(pool, estimates[i], nodes[i]);
            }
        }
    }
    while (pool->next < pool->lanes && (pool->nodes[pool->next] & VDB_QGRAPH_DONE) != 0) {
        pool->next++;
    }
}

/* Numbers of three or four bytes, each to its lane. */
INLINE void load_nodes(const struct vdb_qgraph_shape *shape, const uint8_t *block, uint32_t *out)
{
    const uint8_t *from = block + shape->nodes_at;
    const __m512i first = _mm512_set1_epi32(0x03020100);
    const __m512i step = _mm512_mullo_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_set1_epi32(0x01010101 * (int)shape->node_bytes));
    const __mmask64 whole = shape->node_bytes == 4 ? UINT64_MAX : UINT64_C(0x7777777777777777);
    const __m512i places = _mm512_add_epi8(step, first);
    _mm512_store_si512(out, _mm512_maskz_permutexvar_epi8(whole, places, _mm512_loadu_si512(from)));
    from += LANES * shape->node_bytes;
    _mm512_store_si512(out + LANES, _mm512_maskz_permutexvar_epi8(whole, places, _mm512_loadu_si512(from)));
}

static uint32_t visit(const struct vdb_qgraph_shape *shape, const struct vdb_qgraph_query *query,
                      const uint8_t *block, struct vdb_qgraph_pool *pool)
{
    const struct vdb_qgraph_head *head = (const struct vdb_qgraph_head *)(const void *)(block + shape->head_at);
    _Alignas(64) uint32_t nodes[VDB_QGRAPH_DEGREE];
    load_nodes(shape, block, nodes);
    const uint32_t exact = query->square + head->norm - 2 * dot_of(block, query->vector, shape->vector_bytes);
    const __m512 base = _mm512_mul_ps(_mm512_cvtepu32_ps(_mm512_set1_epi32((int)exact)),
                                      _mm512_set1_ps(query->unit));
    __m512i low;
    __m512i high;
    uint32_t chosen = unmarked(nodes, pool->marks) | unmarked(nodes + LANES, pool->marks) << LANES;
    const uint32_t again = met_before(nodes, pool->met) | met_before(nodes + LANES, pool->met) << LANES;
    sums_of(block + shape->codes_at, query->tables, shape->bits, &low, &high);
    const uint8_t *factors = block + shape->factors_at;
    __m512 estimate0 = estimate_of(factors, low, query, base);
    __m512 estimate1 = estimate_of(factors + VDB_QGRAPH_DEGREE, high, query, base);
    __m512 bound = _mm512_set1_ps(vdb_qgraph_kernels_bound(pool));
    chosen &= (uint32_t)_mm512_cmp_ps_mask(estimate0, bound, _CMP_LT_OQ) |
              (uint32_t)_mm512_cmp_ps_mask(estimate1, bound, _CMP_LT_OQ) << LANES;
    _Alignas(64) float estimates[VDB_QGRAPH_DEGREE];
    _mm512_store_ps(estimates, estimate0);
    _mm512_store_ps(estimates + LANES, estimate1);
    switch (pool->lanes / LANES) {
#define CASE(chunks)                                                                                             \
    case chunks:                                                                                                 \
        insert_all(pool, chosen, again, estimates, nodes, chunks);                                               \
        break;
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
        CASE(13)
        CASE(14)
        CASE(15)
        CASE(16)
#undef CASE
    default:
        insert_many(pool, chosen, again, estimates, nodes);
        break;
    }
    return exact;
}

/* ---- The query ---- */

INLINE void multiply_group(__m512i sum[4], const int8_t *matrix, const uint8_t *vector)
{
    int group;
    __builtin_memcpy(&group, vector, sizeof group);
    const __m512i x = _mm512_set1_epi32(group);
    UNROLL for (size_t s = 0; s < 4; s++)
    {
        sum[s] = _mm512_dpbusd_epi32(sum[s], x, _mm512_load_si512(matrix + s * 64));
    }
}

static void project(const int8_t *matrix, const uint8_t *vector, size_t inputs, size_t outputs, int32_t *out)
{
    for (size_t j = 0; j < outputs; j += 64) {
        __m512i even[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                           _mm512_setzero_si512()};
        __m512i odd[4] = {even[0], even[0], even[0],
                          even[0]}; /* two chains of sums hide the instruction's time */
        size_t i = 0;
        for (; i + 4 < inputs; i += 8, matrix += 512) {
            multiply_group(even, matrix, vector + i);
            multiply_group(odd, matrix + 256, vector + i + 4);
        }
        if (i < inputs) {
            multiply_group(even, matrix, vector + i);
            matrix += 256;
        }
        UNROLL for (size_t s = 0; s < 4; s++)
        {
            _mm512_store_si512(out + j + s * 16, _mm512_add_epi32(even[s], odd[s]));
        }
    }
}

/* ---- Codes ---- */

INLINE __m512i add_pairs_64(__m512i sum, __m512i pairs)
{
    sum = _mm512_add_epi64(sum, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(pairs)));
    return _mm512_add_epi64(sum, _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(pairs, 1)));
}

static struct vdb_qgraph_numbers code_of(const int16_t *x, const int16_t *y, size_t bits, uint8_t *code)
{
    const __m512i ones = _mm512_set1_epi16(1);
    __m512i square = _mm512_setzero_si512();
    __m512i length = square;
    __m512i product = square;
    for (size_t i = 0; i < bits; i += 32) {
        __m512i a = _mm512_loadu_si512(x + i);
        __m512i r = _mm512_sub_epi16(_mm512_loadu_si512(y + i), a);
        __mmask32 negative = _mm512_movepi16_mask(r);
        uint32_t positive = ~(uint32_t)negative;
        __builtin_memcpy(code + i / 8, &positive, sizeof positive);
        __m512i turned = _mm512_mask_sub_epi16(a, negative, _mm512_setzero_si512(), a);
        square = add_pairs_64(square, _mm512_madd_epi16(r, r));
        length = _mm512_add_epi32(length, _mm512_madd_epi16(_mm512_abs_epi16(r), ones));
        product = _mm512_add_epi32(product, _mm512_madd_epi16(turned, ones));
    }
    return (struct vdb_qgraph_numbers){_mm512_reduce_add_epi64(square), _mm512_reduce_add_epi32(length),
                                       _mm512_reduce_add_epi32(product)};
}

void vdb_qgraph_kernels_avx512vbmi(struct vdb_qgraph_kernels *table)
{
    *table = (struct vdb_qgraph_kernels){visit, distance, project, code_of, "avx512vbmi"};
}
#endif
