/* flat.c: exact search over all rows: the oracle that every other index is measured against.
 *
 * Without a filter the one-to-many kernel runs over blocks of rows. With one, the filter's words decide, 64 rows
 * at a time: a word that allows many is scanned whole, its refused rows too, since a row skipped costs more (the
 * stream of addresses breaks off) than a row computed; of a word that allows few, only those rows are read, by
 * the gather kernel, which asks for the rows that follow ahead of their turn. Both kernels give the same distance
 * to the last bit, so the answer does not depend on which of them ran.
 *
 * On f32, f16 and bf16 those distances are a first pass: a row whose distance less the kernel's error bound
 * (exact_bound.h) is within the top-k's bound gets its distance in double (distance/wide.h), and only that is offered.
 * An inner product has no bound without the row's norm: on f32 dot is taken in double at once, which the memory hides;
 * on f16 and bf16, whose conversion it would not hide, the kernel multiplies each row with itself too.
 *
 * Several threads share one query's rows by pieces (vdb_flat_team), each with a top-k of its own; the top-k's order
 * is total, so the answer does not depend on who took which piece.
 *
 * A wide query (index.h) over rows of another element widens the rows that it comes to, in the first-level cache, and goes
 * on as over rows of f32.
 *
 * F1 Every allowed row is offered to the top-k at most once, and every one not beyond its bound; no other row is.
 * F2 A distance that is NaN (only from rows that hold a NaN or an infinity, which writers refuse) counts as
 * +infinity: the top-k's order stays total.
 * F3 On f32, f16 and bf16, ids, order and ties are those of distances in double precision (wide.h), on every machine.
 *
 * Threads: shared-read; nothing is kept between searches.
 */
#include "flat.h"

#include <assert.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/pool.h"
#include "distance/cpu.h"
#include "exact_bound.h"

enum {
    WORD_ROWS = 64,
    BLOCK_ROWS =
        1024, /* distances held on the stack: 8 KiB. The kernels' prefetching begins anew with each block */
    WAITING_ROWS = 256,
    DENSE_ROWS_MIN = 32, /* allowed rows of a word from which it is scanned whole: measured, see README.md */
    PREFETCH_ROWS = 8,   /* doubles of gathered rows: rows between the one asked for and the one computed */
    PREFETCH_BYTES_MAX = 1024, /* of a row; the processor's own prefetchers follow a longer one */
    SQUARE_BYTES = 128 << 10,  /* of a block whose rows are read twice: in the second-level cache still */
    WIDENED_BYTES = 16 << 10,  /* of rows widened at a time: they stay in the first-level cache (README.md) */
    PIECE_BYTES = 4 << 20,     /* of rows that a thread of a team takes at once: some 100 microseconds */
};

struct scan {
    const struct vdb_rows *rows;
    const void *query;
    const struct vdb_bitset *allow; /* or NULL */
    vdb_distance_many_fn *many;
    vdb_distance_gather_fn *gather;
    bool in_double;         /* F3: what the kernels give is a first pass... */
    bool wide_at_once;      /* ...or not asked for */
    vdb_distance_fn *inner; /* dot of f16 and bf16: the kernel that gives a row's squared norm; else NULL */
    vdb_element element;    /* of the distances: the rows', or f32 for a wide query */
    float *widened;         /* for a wide query: widened_rows rows as f32, and one more behind them; else NULL */
    size_t widened_rows;
    size_t widened_stride; /* floats between them */
    size_t block_rows;
    struct vdb_wide wide;
    double query_square; /* cosine in double */
    double relative;     /* exact_bound.h: the kernels' error */
    double absolute;
    struct vdb_topk *topk;
    double limit; /* what the kernels' distance of a row must not exceed for it to be offered */
    struct vdb_search_counters counters;
    size_t waiting_count; /* allowed rows of sparse words, not computed yet */
    uint32_t waiting[WAITING_ROWS];
};

/* A row's distance in double, as its vector lies. */
static double distance_in_double(const struct scan *scan, const void *row)
{
    const struct vdb_rows *rows = scan->rows;
    if (scan->widened != NULL) {
        float *last = scan->widened + scan->widened_rows * scan->widened_stride;
        scan->wide.load(rows->element, row, rows->dimension, last);
        row = last;
    } else if (rows->element != VDB_ELEMENT_F32) {
        return vdb_wide_halves(rows->element, rows->metric, scan->query, scan->query_square, row,
                               rows->dimension);
    }
    return vdb_wide_distance(&scan->wide, rows->metric, scan->query, scan->query_square, row, rows->dimension);
}

/* The limit that follows from the top-k's bound: distance - relative * distance - absolute <= bound, solved for
 * distance and rounded up. */
static void set_limit(struct scan *scan)
{
    double limit = (vdb_topk_bound(scan->topk) + scan->absolute) / (1 - scan->relative);
    scan->limit = limit + fabs(limit) * 0x1p-50;
}

/* Offers an allowed row of which the kernel says `distance`. */
static void offer(struct scan *scan, double distance, size_t row)
{
    if (distance > scan->limit) {
        return;
    }
    if (scan->in_double && !scan->wide_at_once) {
        distance = distance_in_double(scan, vdb_rows_at(scan->rows, row));
    }
    if (isnan(distance)) { /* F2 */
        distance = (double)INFINITY;
    }
    if (vdb_topk_push(scan->topk, distance, (uint32_t)row)) {
        set_limit(scan);
    }
}

/* Distances in double of rows of one chunk by their numbers: an inner product is never a first pass. */
static void gather_in_double(const struct scan *scan, const char *first, const uint32_t *slots, size_t count,
                             double *out)
{
    const struct vdb_rows *rows = scan->rows;
    for (size_t i = 0; i < count; i++) {
        if (i + PREFETCH_ROWS < count) {
            const char *ahead = first + slots[i + PREFETCH_ROWS] * rows->stride_bytes;
            for (size_t byte = 0; byte < PREFETCH_BYTES_MAX && byte < rows->dimension * sizeof(float);
                 byte += VDB_CACHE_LINE_BYTES) {
                __builtin_prefetch(ahead + byte);
            }
        }
        out[i] = distance_in_double(scan, first + slots[i] * rows->stride_bytes);
    }
}

/* Turns the kernel's inner products into the least that those in double can be. */
static void lower_to_bound(const struct scan *scan, const char *first, const uint32_t *slots, size_t count,
                           double *out)
{
    const struct vdb_rows *rows = scan->rows;
    const double query_length = sqrt(scan->query_square);
    for (size_t i = 0; i < count; i++) {
        const char *row = first + (slots == NULL ? i : slots[i]) * rows->stride_bytes;
        double square = -scan->inner(row, row, rows->dimension);
        out[i] = vdb_exact_bound_kernel_dot(rows->dimension, query_length, square, out[i]);
    }
}

/* Distances of `count` rows that lie stride_bytes apart. */
static void compute_all(const struct scan *scan, const void *first, size_t stride_bytes, size_t count,
                        double *out)
{
    const size_t dimension = scan->rows->dimension;
    if (!scan->wide_at_once) {
        scan->many(scan->query, first, stride_bytes, count, dimension, out);
        return;
    }
    scan->wide.dot_many(scan->query, first, stride_bytes, count, dimension, out);
    for (size_t i = 0; i < count; i++) {
        out[i] = -out[i];
    }
}

/* The same for a wide query: rows are widened a part at a time, and go on as rows of f32 do. */
static void compute_widened(const struct scan *scan, const char *first, const uint32_t *slots, size_t count,
                            double *out)
{
    const struct vdb_rows *rows = scan->rows;
    for (size_t at = 0; at < count; at += scan->widened_rows) {
        size_t part = count - at < scan->widened_rows ? count - at : scan->widened_rows;
        for (size_t i = 0; i < part; i++) {
            const char *row = first + (slots == NULL ? at + i : slots[at + i]) * rows->stride_bytes;
            scan->wide.load(rows->element, row, rows->dimension, scan->widened + i * scan->widened_stride);
        }
        compute_all(scan, scan->widened, scan->widened_stride * sizeof(float), part, out + at);
    }
}

/* Distances of `count` rows of one chunk, all or those of `slots`. */
static void compute(const struct scan *scan, const void *first, const uint32_t *slots, size_t count, double *out)
{
    const struct vdb_rows *rows = scan->rows;
    if (scan->widened != NULL) {
        compute_widened(scan, first, slots, count, out);
    } else if (slots == NULL) {
        compute_all(scan, first, rows->stride_bytes, count, out);
    } else if (scan->wide_at_once) {
        gather_in_double(scan, first, slots, count, out);
    } else {
        scan->gather(scan->query, first, rows->stride_bytes, slots, count, rows->dimension, out);
    }
    if (scan->inner != NULL) {
        lower_to_bound(scan, first, slots, count, out);
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
        count = count < scan->block_rows ? count : scan->block_rows;
        compute(scan, vdb_rows_at(rows, begin), NULL, count, distances);
        for (size_t i = 0; i < count; i++) {
            if (distances[i] > scan->limit) {
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
    uint32_t slots[WAITING_ROWS]; /* within their chunk */
    double distances[WAITING_ROWS];
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

/* Rows [begin, end) by the filter; begin is a multiple of WORD_ROWS, and so is end unless it is the last row's. */
static void scan_allowed(struct scan *scan, size_t begin, size_t end)
{
    size_t whole_begin = begin; /* the consecutive dense words up to here */
    for (size_t w = begin / WORD_ROWS; w < vdb_bitset_words(end); w++) {
        uint64_t word = word_of(scan, w);
        size_t allowed = (size_t)__builtin_popcountll(word);
        scan->counters.rows_visited += allowed;
        if (allowed >= DENSE_ROWS_MIN) {
            continue;
        }
        scan_whole(scan, whole_begin, w * WORD_ROWS);
        whole_begin = (w + 1) * WORD_ROWS;
        if (scan->waiting_count + allowed > WAITING_ROWS) {
            scan_waiting(scan);
        }
        for (; word != 0; word &= word - 1) {
            scan->waiting[scan->waiting_count++] = (uint32_t)(w * WORD_ROWS + (size_t)__builtin_ctzll(word));
        }
    }
    scan_waiting(scan);
    if (whole_begin < end) {
        scan_whole(scan, whole_begin, end);
    }
}

static void scan_range(struct scan *scan, size_t begin, size_t end)
{
    if (scan->allow == NULL) {
        scan->counters.rows_visited += end - begin;
        scan_whole(scan, begin, end);
    } else {
        scan_allowed(scan, begin, end);
    }
}

/* F3: how the distances of this element and metric come to be those in double. */
static void set_exactness(struct scan *scan, const struct vdb_kernels *kernels)
{
    const struct vdb_rows *rows = scan->rows;
    const bool halves = scan->element == VDB_ELEMENT_F16 || scan->element == VDB_ELEMENT_BF16;
    const bool dot = rows->metric == VDB_METRIC_DOT;
    scan->in_double = scan->element == VDB_ELEMENT_F32 || halves;
    scan->wide_at_once = dot && scan->element == VDB_ELEMENT_F32;
    scan->inner = dot && halves ? kernels->one[scan->element][VDB_METRIC_DOT] : NULL;
    scan->block_rows = BLOCK_ROWS;
    scan->query_square = 0;
    scan->relative = 0;
    scan->absolute = 0;
    if (!scan->in_double) {
        return;
    }
    vdb_wide_fill(&scan->wide, kernels->level);
    scan->query_square = halves ? -vdb_wide_halves(scan->element, VDB_METRIC_DOT, scan->query, 0, scan->query,
                                                   rows->dimension)
                                : scan->wide.dot(scan->query, scan->query, rows->dimension);
    if (!dot) {
        vdb_exact_bound_kernel(rows->metric, rows->dimension, &scan->relative, &scan->absolute);
    }
    if (scan->inner != NULL) {
        size_t fit = SQUARE_BYTES / rows->stride_bytes;
        scan->block_rows = fit < 1 ? 1 : fit < BLOCK_ROWS ? fit : BLOCK_ROWS;
    }
}

/* The memory of a wide query. */
static vdb_status begin_wide(struct scan *scan, struct vdb_err *err)
{
    const size_t row_bytes = vdb_round_up(vdb_vector_bytes(VDB_ELEMENT_F32, scan->rows->dimension),
                                          VDB_CACHE_LINE_BYTES);
    const size_t fit = WIDENED_BYTES / row_bytes;
    scan->element = VDB_ELEMENT_F32;
    scan->widened_rows = fit < 1 ? 1 : fit < BLOCK_ROWS ? fit : BLOCK_ROWS;
    scan->widened_stride = row_bytes / sizeof(float);
    scan->widened = vdb_alloc_aligned((scan->widened_rows + 1) * row_bytes);
    return scan->widened != NULL ? VDB_OK : vdb_err_no_memory(err, "a search over rows of another element");
}

/* On success scan_end frees what it took. */
static vdb_status scan_begin(const struct vdb_rows *rows, const struct vdb_query *query, struct vdb_topk *topk,
                             struct scan *scan, struct vdb_err *err)
{
    assert(topk->k > 0 && rows->dimension > 0);
    assert(vdb_metric_fits(rows->element, rows->metric));
    assert(query->allow == NULL || query->allow->count >= rows->count);
    assert(!query->wide || rows->element != VDB_ELEMENT_BIT);
    if (rows->count > VDB_LIMIT_COLLECTION_POINTS_MAX) { /* a file may hold more than a row number can say */
        return vdb_err_set(err, VDB_LIMIT, "rows: %zu is over the limit of %u in one search", rows->count,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    const struct vdb_kernels *kernels = vdb_kernels_get();
    scan->rows = rows;
    scan->query = query->vector;
    scan->allow = query->allow;
    scan->element = rows->element;
    scan->widened = NULL;
    if (query->wide && rows->element != VDB_ELEMENT_F32) {
        VDB_TRY(begin_wide(scan, err));
    }
    scan->many = kernels->many[scan->element][rows->metric];
    scan->gather = kernels->gather[scan->element][rows->metric];
    scan->topk = topk;
    set_exactness(scan, kernels);
    set_limit(scan);
    scan->counters = (struct vdb_search_counters){0};
    scan->waiting_count = 0;
    return VDB_OK;
}

static void scan_end(struct scan *scan, const struct vdb_query *query)
{
    free(scan->widened);
    scan->widened = NULL;
    if (query->counters != NULL) {
        query->counters->rows_visited += scan->counters.rows_visited;
        query->counters->distances_computed += scan->counters.distances_computed;
    }
}

static vdb_status search(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                         struct vdb_topk *topk, struct vdb_err *err)
{
    (void)index;
    struct scan scan;
    VDB_TRY(scan_begin(rows, query, topk, &scan, err));
    scan_range(&scan, 0, rows->count);
    scan_end(&scan, query);
    return VDB_OK;
}

/* ---- Teams ---- */

struct vdb_flat_team {
    struct vdb_pool *pool;
    size_t k_max;
    struct vdb_topk *topks;       /* one for each thread */
    struct scan *scans;           /* likewise */
    struct vdb_candidate *memory; /* k_max for each */
    size_t piece_rows;
};

vdb_status vdb_flat_team_create(unsigned threads, size_t k_max, struct vdb_flat_team **out, struct vdb_err *err)
{
    vdb_status status;
    *out = NULL;
    if (k_max > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "k: %zu is over the limit of %u", k_max,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    struct vdb_flat_team *team = vdb_calloc(1, sizeof *team);
    if (team == NULL) {
        return vdb_err_no_memory(err, "a team of searching threads");
    }
    VDB_CHECK(vdb_pool_create(threads, &team->pool, err));
    threads = vdb_pool_threads(team->pool);
    team->k_max = k_max;
    team->topks = vdb_calloc(threads, sizeof *team->topks);
    team->scans = vdb_calloc(threads, sizeof *team->scans);
    team->memory = vdb_calloc(k_max * threads, sizeof *team->memory);
    if (team->topks == NULL || team->scans == NULL || team->memory == NULL) {
        status = vdb_err_no_memory(err, "a team of searching threads");
        goto cleanup;
    }
    *out = team;
    team = NULL;
cleanup:
    vdb_flat_team_destroy(team);
    return status;
}

void vdb_flat_team_destroy(struct vdb_flat_team *team)
{
    if (team == NULL) {
        return;
    }
    vdb_pool_destroy(team->pool);
    free(team->topks);
    free(team->scans);
    free(team->memory);
    free(team);
}

unsigned vdb_flat_team_threads(const struct vdb_flat_team *team)
{
    return vdb_pool_threads(team->pool);
}

static void scan_piece(void *ctx, unsigned worker, size_t piece)
{
    struct vdb_flat_team *team = ctx;
    struct scan *scan = &team->scans[worker];
    size_t begin = piece * team->piece_rows;
    size_t left = scan->rows->count - begin;
    scan_range(scan, begin, begin + (left < team->piece_rows ? left : team->piece_rows));
}

vdb_status vdb_flat_team_search(struct vdb_flat_team *team, const struct vdb_rows *rows,
                                const struct vdb_query *query, struct vdb_topk *topk, struct vdb_err *err)
{
    assert(topk->k <= team->k_max && topk->count == 0);
    const unsigned threads = vdb_pool_threads(team->pool);
    for (unsigned i = 0; i < threads; i++) {
        team->topks[i] = *topk;
        team->topks[i].heap = team->memory + i * team->k_max;
        vdb_status status = scan_begin(rows, query, &team->topks[i], &team->scans[i], err);
        if (status != VDB_OK) {
            while (i > 0) {
                scan_end(&team->scans[--i], query);
            }
            return status;
        }
    }
    size_t words = PIECE_BYTES / WORD_ROWS / rows->stride_bytes;
    team->piece_rows = (words > 0 ? words : 1) * WORD_ROWS;
    vdb_pool_run(team->pool, (rows->count + team->piece_rows - 1) / team->piece_rows, scan_piece, team);
    for (unsigned i = 0; i < threads; i++) {
        for (size_t hit = 0; hit < team->topks[i].count; hit++) {
            (void)vdb_topk_push(topk, team->topks[i].heap[hit].distance, team->topks[i].heap[hit].row);
        }
        scan_end(&team->scans[i], query);
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
    .caps = VDB_INDEX_EXACT | VDB_INDEX_WIDE,
    .search = search,
    .cost = cost,
    .check = check,
    .stats = stats,
};
