/* flat.c: exact search over all rows: the oracle that every other index is measured against.
 *
 * Without a filter the one-to-many kernel runs over blocks of rows. With one, the filter's words decide, 64 rows
 * at a time: a word that allows many is scanned whole, its refused rows too, since a row skipped costs more (the
 * stream of addresses breaks off) than a row computed; of a word that allows few, only those rows are read, by
 * the gather kernel, which asks for the rows that follow ahead of their turn. Both kernels give the same distance
 * to the last bit, so the answer does not depend on which of them ran.
 *
 * On f32 those distances are a first pass: a row whose distance less the kernel's error bound (exact_bound.h) is
 * within the top-k's bound gets its distance in double (distance/wide.h), and only that is offered. An inner
 * product has no bound without the row's norm, so dot is taken in double at once, which the memory hides.
 *
 * F1 Every allowed row is offered to the top-k at most once, and every one not beyond its bound; no other row is.
 * F2 A distance that is NaN (only from rows that hold a NaN or an infinity, which writers refuse) counts as
 * +infinity: the top-k's order stays total.
 * F3 On f32, ids, order and ties are those of distances in double precision (wide.h), on every machine.
 *
 * Threads: shared-read; nothing is kept between searches.
 */
#include "index.h"

#include <assert.h>

#include "base/limits.h"
#include "base/mem.h"
#include "distance/cpu.h"
#include "exact_bound.h"

enum {
    WORD_ROWS = 64,
    BLOCK_ROWS = 256,    /* distances held on the stack: 2 KiB */
    DENSE_ROWS_MIN = 32, /* allowed rows of a word from which it is scanned whole: measured, see README.md */
    PREFETCH_ROWS = 8,   /* doubles of gathered rows: rows between the one asked for and the one computed */
    PREFETCH_BYTES_MAX = 1024, /* of a row; the processor's own prefetchers follow a longer one */
};

struct scan {
    const struct vdb_rows *rows;
    const void *query;
    const struct vdb_bitset *allow; /* or NULL */
    vdb_distance_many_fn *many;
    vdb_distance_gather_fn *gather;
    bool in_double;    /* F3: what the kernels give is a first pass... */
    bool wide_at_once; /* ...or not asked for */
    struct vdb_wide wide;
    double query_square; /* cosine in double */
    double relative;     /* exact_bound.h: the kernels' error */
    double absolute;
    struct vdb_topk *topk;
    struct vdb_search_counters counters;
    size_t waiting_count; /* allowed rows of sparse words, not computed yet */
    uint32_t waiting[BLOCK_ROWS];
};

/* A row's distance in double, as its vector lies. */
static double distance_in_double(const struct scan *scan, const void *row)
{
    return vdb_wide_distance(&scan->wide, scan->rows->metric, scan->query, scan->query_square, row,
                             scan->rows->dimension);
}

/* Offers an allowed row of which the kernel says `distance`. */
static void offer(struct scan *scan, double distance, size_t row)
{
    if (scan->in_double && !scan->wide_at_once) {
        if (distance - scan->relative * distance - scan->absolute > vdb_topk_bound(scan->topk)) {
            return;
        }
        distance = distance_in_double(scan, vdb_rows_at(scan->rows, row));
    }
    if (isnan(distance)) { /* F2 */
        distance = (double)INFINITY;
    }
    (void)vdb_topk_push(scan->topk, distance, (uint32_t)row);
}

/* Distances of `count` rows of one chunk, all or those of `slots`. */
static void compute(const struct scan *scan, const void *first, const uint32_t *slots, size_t count, double *out)
{
    const struct vdb_rows *rows = scan->rows;
    if (scan->wide_at_once) {
        for (size_t i = 0; i < count; i++) {
            const char *row = (const char *)first + (slots == NULL ? i : slots[i]) * rows->stride_bytes;
            if (slots != NULL && i + PREFETCH_ROWS < count) {
                const char *ahead = (const char *)first + slots[i + PREFETCH_ROWS] * rows->stride_bytes;
                for (size_t byte = 0; byte < PREFETCH_BYTES_MAX && byte < rows->dimension * sizeof(float);
                     byte += VDB_CACHE_LINE_BYTES) {
                    __builtin_prefetch(ahead + byte);
                }
            }
            out[i] = distance_in_double(scan, row);
        }
    } else if (slots == NULL) {
        scan->many(scan->query, first, rows->stride_bytes, count, rows->dimension, out);
    } else {
        scan->gather(scan->query, first, rows->stride_bytes, slots, count, rows->dimension, out);
    }
}

/* Scans rows [begin, end) whole and offers the allowed ones. No block crosses a chunk. */
static void scan_whole(struct scan *scan, size_t begin, size_t end)
{
    const struct vdb_rows *rows = scan->rows;
    const size_t chunk_rows = (size_t)1 << rows->chunk_shift;
    double distances[BLOCK_ROWS];
    scan->counters.distances_computed += end - begin;
    while (begin < end) {
        size_t count = end - begin;
        size_t left_in_chunk = chunk_rows - (begin & (chunk_rows - 1));
        count = count < left_in_chunk ? count : left_in_chunk;
        count = count < BLOCK_ROWS ? count : BLOCK_ROWS;
        compute(scan, vdb_rows_at(rows, begin), NULL, count, distances);
        for (size_t i = 0; i < count; i++) {
            double least = distances[i] - scan->relative * distances[i] - scan->absolute;
            if (least > vdb_topk_bound(scan->topk)) {
                continue;
            }
            if (scan->allow == NULL || vdb_bitset_test(scan->allow, begin + i)) {
                offer(scan, distances[i], begin + i);
            }
        }
        begin += count;
    }
}

/* Computes and offers the rows that wait: they ascend, so those of one chunk lie side by side. */
static void scan_waiting(struct scan *scan)
{
    const struct vdb_rows *rows = scan->rows;
    const size_t row_mask = ((size_t)1 << rows->chunk_shift) - 1;
    uint32_t slots[BLOCK_ROWS]; /* within their chunk */
    double distances[BLOCK_ROWS];
    for (size_t begin = 0, end; begin < scan->waiting_count; begin = end) {
        size_t chunk = (size_t)scan->waiting[begin] >> rows->chunk_shift;
        for (end = begin; end < scan->waiting_count; end++) {
            size_t row = scan->waiting[end];
            if (row >> rows->chunk_shift != chunk) {
                break;
            }
            slots[end - begin] = (uint32_t)(row & row_mask);
        }
        compute(scan, rows->chunks[chunk], slots, end - begin, distances);
        for (size_t i = begin; i < end; i++) {
            offer(scan, distances[i - begin], scan->waiting[i]);
        }
    }
    scan->counters.distances_computed += scan->waiting_count;
    scan->waiting_count = 0;
}

/* The filter's bits of one word of rows; those past the last row mean nothing. */
static uint64_t word_of(const struct scan *scan, size_t w)
{
    size_t left = scan->rows->count - w * WORD_ROWS;
    uint64_t word = scan->allow->words[w];
    return left < WORD_ROWS ? word & ((UINT64_C(1) << left) - 1) : word;
}

static void scan_allowed(struct scan *scan)
{
    const size_t row_count = scan->rows->count;
    const size_t word_count = vdb_bitset_words(row_count);
    size_t whole_begin = 0; /* the consecutive dense words up to here */
    for (size_t w = 0; w < word_count; w++) {
        uint64_t word = word_of(scan, w);
        size_t allowed = (size_t)__builtin_popcountll(word);
        scan->counters.rows_visited += allowed;
        if (allowed >= DENSE_ROWS_MIN) {
            continue;
        }
        scan_whole(scan, whole_begin, w * WORD_ROWS);
        whole_begin = (w + 1) * WORD_ROWS;
        if (scan->waiting_count + allowed > BLOCK_ROWS) {
            scan_waiting(scan);
        }
        for (; word != 0; word &= word - 1) {
            scan->waiting[scan->waiting_count++] = (uint32_t)(w * WORD_ROWS + (size_t)__builtin_ctzll(word));
        }
    }
    scan_waiting(scan);
    if (whole_begin < row_count) {
        scan_whole(scan, whole_begin, row_count);
    }
}

static vdb_status search(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                         struct vdb_topk *topk, struct vdb_err *err)
{
    (void)index;
    assert(topk->k > 0 && rows->dimension > 0);
    assert(vdb_metric_fits(rows->element, rows->metric));
    assert(query->allow == NULL || query->allow->count >= rows->count);
    if (rows->count > VDB_LIMIT_COLLECTION_POINTS_MAX) { /* a file may hold more than a row number can say */
        return vdb_err_set(err, VDB_LIMIT, "rows: %zu is over the limit of %u in one search", rows->count,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    const struct vdb_kernels *kernels = vdb_kernels_get();
    struct scan scan;
    scan.rows = rows;
    scan.query = query->vector;
    scan.allow = query->allow;
    scan.many = kernels->many[rows->element][rows->metric];
    scan.gather = kernels->gather[rows->element][rows->metric];
    scan.topk = topk;
    scan.in_double = rows->element == VDB_ELEMENT_F32;
    scan.wide_at_once = scan.in_double && rows->metric == VDB_METRIC_DOT;
    scan.query_square = 0;
    scan.relative = 0;
    scan.absolute = 0;
    if (scan.in_double) {
        vdb_wide_fill(&scan.wide, kernels->level);
        scan.query_square = scan.wide.dot(query->vector, query->vector, rows->dimension);
        if (!scan.wide_at_once) {
            vdb_exact_bound_kernel(rows->metric, rows->dimension, &scan.relative, &scan.absolute);
        }
    }
    scan.counters = (struct vdb_search_counters){0};
    scan.waiting_count = 0;
    if (query->allow == NULL) {
        scan.counters.rows_visited = rows->count;
        scan_whole(&scan, 0, rows->count);
    } else {
        scan_allowed(&scan);
    }
    if (query->counters != NULL) {
        query->counters->rows_visited += scan.counters.rows_visited;
        query->counters->distances_computed += scan.counters.distances_computed;
    }
    return VDB_OK;
}

static double cost(const void *index, const struct vdb_rows *rows, size_t allowed)
{
    (void)index;
    if (allowed > 0 &&
        allowed >= rows->count / WORD_ROWS * DENSE_ROWS_MIN) { /* if they lie evenly, words are scanned whole */
        return (double)rows->count;
    }
    return (double)allowed;
}

/* flat has no structure of its own: what can be wrong is the view of the rows. */
static vdb_status check(const void *index, const struct vdb_rows *rows, struct vdb_err *err)
{
    (void)index;
    if ((unsigned)rows->element >= VDB_ELEMENT_COUNT) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: element: %u is none of the %d kinds", (unsigned)rows->element,
                           VDB_ELEMENT_COUNT);
    }
    if ((unsigned)rows->metric >= VDB_METRIC_COUNT) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: metric: %u is none of the %d kinds", (unsigned)rows->metric,
                           VDB_METRIC_COUNT);
    }
    if (!vdb_metric_fits(rows->element, rows->metric)) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: metric: %s does not compare vectors of %s",
                           vdb_metric_name(rows->metric), vdb_element_name(rows->element));
    }
    if (rows->dimension < 1 || rows->dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: dimension: %zu is not in 1..%u", rows->dimension,
                           VDB_LIMIT_DIMENSION_MAX);
    }
    size_t row_bytes = vdb_vector_bytes(rows->element, rows->dimension);
    if (rows->stride_bytes < row_bytes) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: stride_bytes: %zu is less than a row's %zu bytes",
                           rows->stride_bytes, row_bytes);
    }
    if (rows->count > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: count: %zu is over the limit of %u", rows->count,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    if (rows->chunk_shift >= 64) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: chunk_shift: %u is not below 64", rows->chunk_shift);
    }
    if (rows->count > 0 && rows->chunks == NULL) {
        return vdb_err_set(err, VDB_CORRUPT, "flat: chunks: missing, with %zu rows", rows->count);
    }
    size_t chunk_count = rows->count == 0 ? 0 : ((rows->count - 1) >> rows->chunk_shift) + 1;
    for (size_t i = 0; i < chunk_count; i++) {
        if (rows->chunks[i] == NULL) {
            return vdb_err_set(err, VDB_CORRUPT, "flat: chunks: chunk %zu of %zu is missing", i, chunk_count);
        }
    }
    return VDB_OK;
}

static void stats(const void *index, struct vdb_index_stats *out)
{
    (void)index;
    *out = (struct vdb_index_stats){0};
}

const struct vdb_index_ops vdb_index_flat = {
    .name = "flat",
    .caps = VDB_INDEX_EXACT,
    .search = search,
    .cost = cost,
    .check = check,
    .stats = stats,
};
