/* qgraph_visit_avx2.c: the quantised graph's steps with AVX2.
 *
 * All of a visit stays in registers but the pool, whose few lines stay in the first-level cache. Products of u8 and
 * i8 are taken in two parts of four bits, since the instruction that multiplies bytes saturates its sums.
 */
#include "index/qgraph_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum {
    LANES = 8,
    CHUNKS_UNROLLED = 8, /* of a pool: beyond, only those that a newcomer moves are touched */
    SHORT_SUMS = 8,      /* sums of two products of 15 and -128 that 16 bits hold */
    INPUTS_TOGETHER = 256,
};

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

INLINE __m256i aligned_256(const void *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

/* ---- Exact distances ---- */

/* Products of x's four bits, low and high, with q, in pairs of 16 bits. */
INLINE void add_products(__m256i x, __m256i q, __m256i *low, __m256i *high)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    *low = _mm256_add_epi16(*low, _mm256_maddubs_epi16(_mm256_and_si256(x, nibble), q));
    *high = _mm256_add_epi16(*high, _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(x, 4), nibble), q));
}

INLINE __m256i widen(__m256i low, __m256i high)
{
    return _mm256_add_epi32(_mm256_madd_epi16(low, _mm256_set1_epi16(1)),
                            _mm256_madd_epi16(high, _mm256_set1_epi16(16)));
}

/* bytes: a multiple of 64; both aligned. */
INLINE uint32_t dot_of(const uint8_t *x, const int8_t *q, size_t bytes)
{
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes;) {
        const size_t end = i + SHORT_SUMS * 32 < bytes ? i + SHORT_SUMS * 32 : bytes;
        __m256i low = _mm256_setzero_si256();
        __m256i high = low;
        for (; i < end; i += 64) {
            add_products(aligned_256(x + i), aligned_256(q + i), &low, &high);
            add_products(aligned_256(x + i + 32), aligned_256(q + i + 32), &low, &high);
        }
        sum = _mm256_add_epi32(sum, widen(low, high));
    }
    return sum_of(sum);
}

static uint32_t distance(const uint8_t *a, const uint8_t *b, size_t dimension)
{
    __m256i even = _mm256_setzero_si256();
    __m256i odd = even;
    size_t i = 0;
    for (; i + 32 <= dimension; i += 32) {
        __m256i x = load_256(a + i);
        __m256i y = load_256(b + i);
        __m256i d = _mm256_sub_epi8(_mm256_max_epu8(x, y), _mm256_min_epu8(x, y));
        __m256i d_even = _mm256_and_si256(d, _mm256_set1_epi16(0xFF));
        __m256i d_odd = _mm256_srli_epi16(d, 8);
        even = _mm256_add_epi32(even, _mm256_madd_epi16(d_even, d_even));
        odd = _mm256_add_epi32(odd, _mm256_madd_epi16(d_odd, d_odd));
    }
    if (i + 16 <= dimension) {
        __m256i d = _mm256_sub_epi16(_mm256_cvtepu8_epi16(load_128(a + i)),
                                     _mm256_cvtepu8_epi16(load_128(b + i)));
        even = _mm256_add_epi32(even, _mm256_madd_epi16(d, d));
        i += 16;
    }
    uint32_t total = sum_of(_mm256_add_epi32(even, odd));
    for (; i < dimension; i++) {
        int32_t d = (int32_t)a[i] - b[i];
        total += (uint32_t)(d * d);
    }
    return total;
}

/* ---- Estimates ---- */

/* Two shuffles' bytes added to sums of 16 bits: `all` of whole words, modulo 2^16, and `odd` of their high bytes. */
INLINE void add_bytes(__m256i bytes, __m256i *all, __m256i *odd)
{
    *all = _mm256_add_epi16(*all, bytes);
    *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16(bytes, 8));
}

/* From sums of two nibbles, a lane each, to those of 16 codes. A lane has codes 0-3, 8-11, 4-7, 12-15. */
INLINE __m256i finish(__m256i all, __m256i odd)
{
    __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    __m256i first = _mm256_unpacklo_epi16(even, odd);
    __m256i last = _mm256_unpackhi_epi16(even, odd);
    __m256i sums = _mm256_add_epi16(_mm256_permute2x128_si256(first, last, 0x20),
                                    _mm256_permute2x128_si256(first, last, 0x31));
    return _mm256_permute4x64_epi64(sums, 0xD8);
}

/* 16 bits each: codes 0-15 and 16-31. */
INLINE void sums_of(const uint8_t *codes, const uint8_t *tables, size_t bits, __m256i *low, __m256i *high)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    /* Four codes of four nibbles to four nibbles of four codes. */
    const __m256i turn = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m256i all_low = _mm256_setzero_si256();
    __m256i odd_low = all_low;
    __m256i all_high = all_low;
    __m256i odd_high = all_low;
    for (size_t at = 0; at < bits * 4; at += 64) {
        __m256i a = _mm256_shuffle_epi8(aligned_256(codes + at), turn);
        __m256i b = _mm256_shuffle_epi8(aligned_256(codes + at + 32), turn);
        /* Nibbles 0 and 1 of all codes, a lane each, and 2 and 3: as the tables lie. */
        __m256i first = _mm256_permute4x64_epi64(_mm256_unpacklo_epi32(a, b), 0xD8);
        __m256i last = _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(a, b), 0xD8);
        __m256i t01 = aligned_256(tables + at);
        __m256i t23 = aligned_256(tables + at + 32);
        add_bytes(_mm256_shuffle_epi8(t01, _mm256_and_si256(first, nibble)), &all_low, &odd_low);
        add_bytes(_mm256_shuffle_epi8(t23, _mm256_and_si256(last, nibble)), &all_low, &odd_low);
        first = _mm256_and_si256(_mm256_srli_epi16(first, 4), nibble);
        last = _mm256_and_si256(_mm256_srli_epi16(last, 4), nibble);
        add_bytes(_mm256_shuffle_epi8(t01, first), &all_high, &odd_high);
        add_bytes(_mm256_shuffle_epi8(t23, last), &all_high, &odd_high);
    }
    *low = finish(all_low, odd_low);
    *high = finish(all_high, odd_high);
}

/* Estimates of eight neighbours. */
INLINE __m256 estimate_of(const uint8_t *factors, __m128i sums, const struct vdb_qgraph_query *query, __m256 base)
{
    __m256 offset = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)factors));
    __m256 slope = _mm256_cvtph_ps(
        _mm_load_si128((const __m128i *)(const void *)(factors + VDB_QGRAPH_DEGREE * 2)));
    __m256 sum = _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(sums));
    __m256 value = _mm256_add_ps(_mm256_mul_ps(sum, _mm256_set1_ps(query->slope)), _mm256_set1_ps(query->shift));
    return _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(slope, value), offset), base);
}

/* ---- The pool ---- */

INLINE uint32_t bit_of(const uint32_t *words, uint32_t word, uint32_t node)
{
    return words[word] >> (node % 32) & 1;
}

INLINE void meet(uint32_t *met, uint32_t node)
{
    met[node / 32 % VDB_QGRAPH_MET_WORDS] |= UINT32_C(1) << (node % 32);
}

/* The last of eight comes first. */
INLINE __m256i turn_places(__m256i v)
{
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6));
}

/* Eight places of which those move that are farther than the newcomer: into each comes what stood before it, or the
 * newcomer. d_turned, n_turned: the eight turned; d_next, n_next: likewise those before them. `inside` has a sign
 * where places may change. */
INLINE void move_up(__m256 *d, __m256i *n, __m256i d_turned, __m256i n_turned, __m256i d_next, __m256i n_next,
                    __m256 distance, __m256 newcomer, __m256i inside)
{
    const __m256 d_before = _mm256_castsi256_ps(_mm256_blend_epi32(d_turned, d_next, 1));
    const __m256 n_before = _mm256_castsi256_ps(_mm256_blend_epi32(n_turned, n_next, 1));
    const __m256 mask = _mm256_castsi256_ps(inside);
    const __m256 farther = _mm256_and_ps(_mm256_cmp_ps(*d, distance, _CMP_GT_OQ), mask);
    const __m256 behind = _mm256_and_ps(_mm256_cmp_ps(d_before, distance, _CMP_GT_OQ), mask);
    const __m256 node = _mm256_blendv_ps(_mm256_castsi256_ps(*n), newcomer, farther);
    *n = _mm256_castps_si256(_mm256_blendv_ps(node, n_before, behind));
    *d = _mm256_blendv_ps(_mm256_blendv_ps(*d, distance, farther), d_before, behind);
}

/* Lanes' signs where place c * LANES + lane is before `end`. */
INLINE __m256i before_end(uint32_t end, unsigned c)
{
    return _mm256_sub_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                            _mm256_set1_epi32((int)end - (int)(c * LANES)));
}

/* Puts one among the first `end` places of all in registers. */
INLINE void put_in(__m256 *d, __m256i *n, const unsigned chunks, float distance, uint32_t node, uint32_t end,
                   const bool bounded)
{
    const __m256 d_new = _mm256_set1_ps(distance);
    const __m256 n_new = _mm256_castsi256_ps(_mm256_set1_epi32((int)node));
    __m256i d_turned = turn_places(_mm256_castps_si256(d[chunks - 1]));
    __m256i n_turned = turn_places(n[chunks - 1]);
    UNROLL for (unsigned c = chunks; c-- > 0;)
    {
        const __m256i d_next = c > 0 ? turn_places(_mm256_castps_si256(d[c - 1]))
                                     : _mm256_castps_si256(_mm256_set1_ps(-INFINITY));
        const __m256i n_next = c > 0 ? turn_places(n[c - 1]) : n_turned;
        const __m256i inside = bounded ? before_end(end, c) : _mm256_set1_epi32(-1);
        move_up(&d[c], &n[c], d_turned, n_turned, d_next, n_next, d_new, n_new, inside);
        d_turned = d_next;
        n_turned = n_next;
    }
}

INLINE uint32_t open_of(__m256i n)
{
    return (uint8_t)~_mm256_movemask_ps(_mm256_castsi256_ps(n));
}

/* Inserts the chosen neighbours into a pool of so many times eight places. */
INLINE void insert_all(struct vdb_qgraph_pool *pool, uint32_t fresh, uint32_t again, const float *estimates,
                       const uint32_t *nodes, const unsigned chunks)
{
    __m256 d[CHUNKS_UNROLLED];
    __m256i n[CHUNKS_UNROLLED];
    UNROLL for (unsigned c = 0; c < chunks; c++)
    {
        d[c] = _mm256_load_ps(pool->distances + c * LANES);
        n[c] = aligned_256(pool->nodes + c * LANES);
    }
    for (; fresh != 0; fresh &= fresh - 1) {
        const unsigned i = (unsigned)__builtin_ctz(fresh);
        meet(pool->met, nodes[i]);
        put_in(d, n, chunks, estimates[i], nodes[i], chunks * LANES, false);
    }
    for (; again != 0; again &= again - 1) {
        const unsigned i = (unsigned)__builtin_ctz(again);
        uint64_t same = 0;
        UNROLL for (unsigned c = 0; c < chunks; c++)
        {
            __m256i equal = _mm256_cmpeq_epi32(n[c], _mm256_set1_epi32((int)nodes[i]));
            same |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(equal)) << (c * LANES);
        }
        /* The place where the node stands is the last that may change. */
        const uint32_t end = same != 0 ? (uint32_t)__builtin_ctzll(same) + 1 : chunks * LANES;
        put_in(d, n, chunks, estimates[i], nodes[i], end, true);
    }
    uint64_t open = 0;
    UNROLL for (unsigned c = 0; c < chunks; c++)
    {
        open |= (uint64_t)open_of(n[c]) << (c * LANES);
        _mm256_store_ps(pool->distances + c * LANES, d[c]);
        _mm256_store_si256((__m256i *)(void *)(pool->nodes + c * LANES), n[c]);
    }
    pool->next = open != 0 ? (uint32_t)__builtin_ctzll(open) : chunks * LANES;
}

/* One past the place where a node stands, or all. */
INLINE uint32_t end_of(const struct vdb_qgraph_pool *pool, uint32_t node)
{
    const __m256i wanted = _mm256_set1_epi32((int)node);
    for (uint32_t at = 0; at < pool->lanes; at += 2 * LANES) {
        __m256i one = _mm256_cmpeq_epi32(aligned_256(pool->nodes + at), wanted);
        __m256i two = _mm256_cmpeq_epi32(aligned_256(pool->nodes + at + LANES), wanted);
        if (_mm256_testz_si256(_mm256_or_si256(one, two), _mm256_or_si256(one, two)) == 0) {
            const uint32_t same = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(one)) |
                                  (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(two)) << LANES;
            return at + (uint32_t)__builtin_ctz(same) + 1;
        }
    }
    return pool->lanes;
}

/* The same for one and a pool of any size, from its end to the newcomer's place. */
INLINE void insert_one(struct vdb_qgraph_pool *pool, float distance, uint32_t node, uint32_t end)
{
    const __m256 d_new = _mm256_set1_ps(distance);
    const __m256 n_new = _mm256_castsi256_ps(_mm256_set1_epi32((int)node));
    unsigned c = (end - 1) / LANES;
    __m256 d = _mm256_load_ps(pool->distances + c * LANES);
    __m256i n = aligned_256(pool->nodes + c * LANES);
    __m256i d_turned = turn_places(_mm256_castps_si256(d));
    __m256i n_turned = turn_places(n);
    for (;; c--) {
        __m256 d_below = c > 0 ? _mm256_load_ps(pool->distances + (c - 1) * LANES) : _mm256_set1_ps(-INFINITY);
        __m256i n_below = c > 0 ? aligned_256(pool->nodes + (c - 1) * LANES) : n;
        const bool complete = c == 0 || !(pool->distances[c * LANES - 1] > distance);
        const __m256i d_next = turn_places(_mm256_castps_si256(d_below));
        const __m256i n_next = turn_places(n_below);
        move_up(&d, &n, d_turned, n_turned, d_next, n_next, d_new, n_new, before_end(end, c));
        _mm256_store_ps(pool->distances + c * LANES, d);
        _mm256_store_si256((__m256i *)(void *)(pool->nodes + c * LANES), n);
        if (complete) {
            break;
        }
        d = d_below;
        n = n_below;
        d_turned = d_next;
        n_turned = n_next;
    }
}

static void insert_many(struct vdb_qgraph_pool *pool, uint32_t fresh, uint32_t again, const float *estimates,
                        const uint32_t *nodes)
{
    for (; fresh != 0; fresh &= fresh - 1) {
        const unsigned i = (unsigned)__builtin_ctz(fresh);
        if (estimates[i] < pool->distances[pool->lanes - 1]) {
            meet(pool->met, nodes[i]);
            insert_one(pool, estimates[i], nodes[i], pool->lanes);
        }
    }
    for (; again != 0; again &= again - 1) {
        const unsigned i = (unsigned)__builtin_ctz(again);
        const uint32_t end = end_of(pool, nodes[i]);
        if (estimates[i] < pool->distances[end - 1]) {
            meet(pool->met, nodes[i]);
            insert_one(pool, estimates[i], nodes[i], end);
        }
    }
    for (pool->next = 0; pool->next < pool->lanes; pool->next += LANES) {
        const uint32_t open = open_of(aligned_256(pool->nodes + pool->next));
        if (open != 0) {
            pool->next += (uint32_t)__builtin_ctz(open);
            break;
        }
    }
}

static uint32_t visit(const struct vdb_qgraph_shape *shape, const struct vdb_qgraph_query *query,
                      const uint8_t *block, struct vdb_qgraph_pool *pool)
{
    const struct vdb_qgraph_head *head = (const struct vdb_qgraph_head *)(const void *)(block + shape->head_at);
    uint32_t nodes[VDB_QGRAPH_DEGREE]; /* of those chosen */
    const uint8_t *factors = block + shape->factors_at;
    const uint32_t exact = query->square + head->norm - 2 * dot_of(block, query->vector, shape->vector_bytes);
    const __m256 base = _mm256_set1_ps((float)exact * query->unit);
    const __m256 bound = _mm256_set1_ps(vdb_qgraph_kernels_bound(pool));
    _Alignas(32) float estimates[VDB_QGRAPH_DEGREE];
    __m256i sums[2];
    uint32_t chosen = 0;
    sums_of(block + shape->codes_at, query->tables, shape->bits, &sums[0], &sums[1]);
    UNROLL for (unsigned i = 0; i < VDB_QGRAPH_DEGREE / LANES; i++)
    {
        __m128i eight = i % 2 == 0 ? _mm256_castsi256_si128(sums[i / 2])
                                   : _mm256_extracti128_si256(sums[i / 2], 1);
        __m256 estimate = estimate_of(factors + (size_t)i * LANES * 2, eight, query, base);
        _mm256_store_ps(estimates + (size_t)i * LANES, estimate);
        chosen |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(estimate, bound, _CMP_LT_OQ)) << (i * LANES);
    }
    uint32_t again = 0;
    for (uint32_t left = chosen; left != 0; left &= left - 1) {
        const unsigned i = (unsigned)__builtin_ctz(left);
        const uint32_t node = nodes[i] = vdb_qgraph_kernels_node(shape, block, i);
        chosen &= ~(bit_of(pool->marks, node / 32, node) << i);
        again |= bit_of(pool->met, node / 32 % VDB_QGRAPH_MET_WORDS, node) << i;
    }
    again &= chosen;
    switch (pool->lanes / (2 * LANES)) {
#define CASE(pairs)                                                                                              \
    case pairs:                                                                                                  \
        insert_all(pool, chosen & ~again, again, estimates, nodes, (pairs)*2);                                   \
        break;
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
#undef CASE
    default:
        insert_many(pool, chosen & ~again, again, estimates, nodes);
        break;
    }
    return exact;
}

/* ---- The query ---- */

INLINE __m256i broadcast_group(const uint8_t *bits)
{
    return _mm256_castps_si256(_mm256_broadcast_ss((const float *)(const void *)bits));
}

/* Adds the products of up to SHORT_SUMS groups of four inputs, whose bits are given low and high, to 32 outputs. */
INLINE void project_groups(__m256i sums[4], const int8_t *matrix, const uint8_t *low_bits,
                           const uint8_t *high_bits, size_t groups)
{
    __m256i low[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                      _mm256_setzero_si256()};
    __m256i high[4] = {low[0], low[0], low[0], low[0]};
    size_t g = 0;
    do {
        const __m256i l = broadcast_group(low_bits + g * 4);
        const __m256i h = broadcast_group(high_bits + g * 4);
        UNROLL for (size_t s = 0; s < 4; s++)
        {
            const __m256i m = aligned_256(matrix + g * 256 + s * 32);
            low[s] = _mm256_add_epi16(low[s], _mm256_maddubs_epi16(l, m));
            high[s] = _mm256_add_epi16(high[s], _mm256_maddubs_epi16(h, m));
            __asm__("" : "+x"(low[s]), "+x"(high[s])); /* summed here, or the compiler keeps all products */
        }
    } while (++g < groups);
    UNROLL for (size_t s = 0; s < 4; s++)
    {
        sums[s] = _mm256_add_epi32(sums[s], widen(low[s], high[s]));
    }
}

static void project(const int8_t *matrix, const uint8_t *vector, size_t inputs, size_t outputs, int32_t *out)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    const size_t padded = (inputs + 3) / 4 * 4;
    memset(out, 0, outputs * sizeof *out);
    for (size_t i = 0; i < padded; i += INPUTS_TOGETHER) {
        const size_t bytes = padded - i < INPUTS_TOGETHER ? padded - i : INPUTS_TOGETHER;
        _Alignas(32) uint8_t low[INPUTS_TOGETHER];
        _Alignas(32) uint8_t high[INPUTS_TOGETHER];
        memcpy(low, vector + i, bytes);
        for (size_t at = 0; at < bytes; at += 32) {
            __m256i x = aligned_256(low + at);
            _mm256_store_si256((__m256i *)(void *)(low + at), _mm256_and_si256(x, nibble));
            _mm256_store_si256((__m256i *)(void *)(high + at), _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
        }
        for (size_t j = 0; j < outputs; j += 32) {
            const int8_t *m = matrix + j / 64 * 64 * padded + i * 64 + j % 64 * 4;
            __m256i sums[4];
            UNROLL for (size_t s = 0; s < 4; s++)
            {
                sums[s] = aligned_256(out + j + s * LANES);
            }
            size_t at = 0;
            for (; at + SHORT_SUMS * 4 <= bytes; at += SHORT_SUMS * 4) {
                project_groups(sums, m + at * 64, low + at, high + at, SHORT_SUMS);
            }
            if (at < bytes) {
                project_groups(sums, m + at * 64, low + at, high + at, (bytes - at) / 4);
            }
            UNROLL for (size_t s = 0; s < 4; s++)
            {
                _mm256_store_si256((__m256i *)(void *)(out + j + s * LANES), sums[s]);
            }
        }
    }
}

/* ---- Codes ---- */

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
    for (size_t i = 0; i < bits; i += 16) {
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
