/* exact_scan.c: the passes of a batch search: numbers of rows, tiles of products, distances of what passed.
 *
 * For each block of queries (whose panels fit the second-level cache) all rows of a slice go by, twelve at a
 * time; a tile's products are tested while they are in registers, and a pair that passes gets its exact distance
 * at once, while its row is in the cache. So the k-th best is always an exact distance, the tightest threshold to
 * be had, and neither a matrix of distances nor a list of candidates is ever written.
 *
 * E1 A pair that the test drops is not among the answers: exact_bound.h. A threshold only falls, so one that is
 * out of date merely lets more pass. E2 A list's content does not depend on the order in which pairs come:
 * (distance, row) is a total order. So neither blocks nor slices nor threads show in the answer.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "exact_internal.h"

enum {
    LIST_CAPACITY_MIN = 16,
    WINDOW_ROWS = 32 * VDB_GEMM_ROWS, /* between two looks at whether low precision pays */
    PENALTY_FACTOR = 4,
    PENALTY_MAX = 256,
};

/* ---- Rows ---- */

const void *vdb_exact_scan_rows(const struct vdb_exact *exact, struct exact_worker *worker, size_t begin,
                                size_t count, bool padded, size_t *stride_bytes)
{
    const char *rows = exact->rows + begin * exact->stride_bytes;
    const size_t bytes = exact->query_bytes;
    if (exact->work == exact->element && (!padded || count == VDB_GEMM_ROWS)) {
        *stride_bytes = exact->stride_bytes;
        return rows;
    }
    for (size_t i = 0; i < count; i++) {
        char *to = (char *)worker->rows + i * bytes;
        if (exact->work != exact->element) {
            vdb_wide_load(exact->element, rows + i * exact->stride_bytes, exact->dimension, (float *)(void *)to);
        } else {
            memcpy(to, rows + i * exact->stride_bytes, bytes);
        }
    }
    if (padded && count < VDB_GEMM_ROWS) {
        memset((char *)worker->rows + count * bytes, 0, (VDB_GEMM_ROWS - count) * bytes);
    }
    *stride_bytes = bytes;
    return worker->rows;
}

static void set_numbers(struct vdb_exact *exact, size_t row, double square)
{
    exact->numbers.square[row] = square;
    vdb_exact_bound_row(&exact->bound, square, &exact->numbers.norm[row], &exact->numbers.bias[row]);
}

void vdb_exact_scan_numbers(void *ctx, unsigned worker_number, size_t index)
{
    struct vdb_exact *exact = ctx;
    struct exact_worker *worker = &exact->workers[worker_number];
    size_t begin = index * EXACT_NUMBERS_ROWS;
    size_t end = begin + EXACT_NUMBERS_ROWS < exact->pass_rows ? begin + EXACT_NUMBERS_ROWS : exact->pass_rows;
    for (; begin < end; begin += EXACT_SCAN_ROWS) {
        size_t count = end - begin < EXACT_SCAN_ROWS ? end - begin : EXACT_SCAN_ROWS;
        size_t stride;
        const char *rows = vdb_exact_scan_rows(exact, worker, begin, count, false, &stride);
        if (exact->plan == EXACT_GEMM_F32) {
            for (size_t i = 0; i < count; i++) {
                const float *row = (const float *)(const void *)(rows + i * stride);
                set_numbers(exact, begin + i, exact->wide.dot(row, row, exact->dimension));
                if (exact->low.state == EXACT_LOW_ON) {
                    vdb_exact_low_row_codes(exact, row, begin + i);
                }
            }
            continue;
        }
        /* Integers: kernels of distance/kernels.h, which are exact; `dot` is the negated product. */
        vdb_distance_fn *dot = exact->kernels->one[exact->work][VDB_METRIC_DOT];
        exact->kernels->many[exact->work][VDB_METRIC_DOT](exact->ones, rows, stride, count, exact->dimension,
                                                          worker->distances);
        for (size_t i = 0; i < count; i++) {
            set_numbers(exact, begin + i, -dot(rows + i * stride, rows + i * stride, exact->dimension));
            int64_t sum = -(int64_t)worker->distances[i] * (exact->work == VDB_ELEMENT_U8 ? 128 : -128);
            exact->numbers.correction[begin + i] = (int32_t)(uint32_t)(uint64_t)sum;
        }
    }
}

/* ---- Hits ---- */

bool vdb_exact_scan_push(const struct vdb_exact_options *options, struct exact_list *list, double distance,
                         uint32_t row)
{
    struct vdb_topk *topk = &list->topk;
    if (options->by_radius ? !(distance <= options->radius) : distance > vdb_topk_bound(topk)) {
        return true;
    }
    if (topk->count == list->capacity && (options->by_radius || topk->count < topk->k)) {
        size_t capacity;
        void *heap = topk->heap;
        if (!vdb_size_mul(list->capacity, 2, &capacity)) {
            return false;
        }
        capacity = capacity < LIST_CAPACITY_MIN ? LIST_CAPACITY_MIN : capacity;
        if (!options->by_radius && capacity > topk->k) {
            capacity = topk->k;
        }
        if (!vdb_realloc_array(&heap, capacity, sizeof *topk->heap)) {
            return false;
        }
        topk->heap = heap;
        list->capacity = capacity;
    }
    if (options->by_radius) {
        topk->heap[topk->count++] = (struct vdb_candidate){distance, row};
    } else {
        (void)vdb_topk_push(topk, distance, row);
    }
    return true;
}

static double threshold_of(const struct vdb_exact *exact, const struct exact_list *list)
{
    return exact->options.by_radius ? exact->options.radius : vdb_topk_bound(&list->topk);
}

static struct exact_list *list_of(struct vdb_exact *exact, size_t slice, size_t query)
{
    return &exact->lists[slice * exact->query_count + query];
}

void vdb_exact_scan_set_limit(struct vdb_exact *exact, size_t slice, size_t query)
{
    size_t lane = slice * exact->panel_count * VDB_GEMM_LANES + query;
    double threshold = threshold_of(exact, list_of(exact, slice, query));
    vdb_exact_bound_query(&exact->bound, exact->query_square[query], threshold, &exact->gain[lane],
                          &exact->limit[lane]);
    if (exact->low.state == EXACT_LOW_ON) {
        vdb_exact_low_set_limit(exact, slice, query);
    }
}

static const void *query_at(const struct vdb_exact *exact, size_t query)
{
    return (const char *)exact->queries + query * exact->query_bytes;
}

/* Offers a pair's exact distance; the query's limit follows when its list's bound fell. */
static void offer(struct vdb_exact *exact, struct exact_worker *worker, size_t slice, size_t query, size_t row,
                  double distance)
{
    struct exact_list *list = list_of(exact, slice, query);
    double before = threshold_of(exact, list);
    worker->rerank_count++;
    worker->useless_count += distance > before;
    if (!vdb_exact_scan_push(&exact->options, list, distance, exact->first_row + (uint32_t)row)) {
        atomic_store_explicit(&exact->failed, true, memory_order_relaxed);
    }
    if (threshold_of(exact, list) != before && exact->plan != EXACT_SCAN) {
        vdb_exact_scan_set_limit(exact, slice, query);
    }
}

/* ---- Tiles ---- */

/* The exact distance of an integer pair from its product. */
static double int_distance(const struct vdb_exact *exact, size_t query, size_t row, int64_t dot)
{
    double a = exact->query_square[query];
    double b = exact->numbers.square[row];
    switch (exact->metric) {
    case VDB_METRIC_L2:
        return (double)((int64_t)a + (int64_t)b - 2 * dot);
    case VDB_METRIC_DOT:
        return (double)-dot;
    default:
        return vdb_kernels_cosine((double)dot, a, b);
    }
}

static double float_distance(const struct vdb_exact *exact, size_t query, size_t row, const float *vector)
{
    const float *q = query_at(exact, query);
    double distance;
    if (exact->metric != VDB_METRIC_COSINE) {
        return vdb_wide_distance(&exact->wide, exact->metric, q, 0, vector, exact->dimension);
    }
    distance = vdb_kernels_cosine(exact->wide.dot(q, vector, exact->dimension), exact->query_square[query],
                                  exact->numbers.square[row]);
    return isnan(distance) ? (double)INFINITY : distance;
}

static void take_passed(struct vdb_exact *exact, struct exact_worker *worker, size_t slice, size_t panel,
                        size_t row, size_t row_count, const char *rows, size_t stride_bytes)
{
    const struct vdb_gemm_out *out = worker->out;
    const size_t first_query = panel * VDB_GEMM_LANES;
    const size_t lanes = exact->query_count - first_query;
    const uint32_t valid = lanes >= VDB_GEMM_LANES ? UINT32_MAX : (UINT32_C(1) << lanes) - 1;
    for (size_t r = 0; r < row_count; r++) {
        for (uint32_t passed = out->passed[r] & valid; passed != 0; passed &= passed - 1) {
            size_t lane = (size_t)__builtin_ctz(passed);
            size_t query = first_query + lane;
            double distance;
            if (exact->plan == EXACT_GEMM_F32) {
                const char *vector = rows + r * stride_bytes;
                distance = float_distance(exact, query, row + r, (const float *)(const void *)vector);
            } else {
                int64_t dot = exact->work == VDB_ELEMENT_U8 ? (int64_t)out->dots.u32[r][lane]
                                                            : out->dots.i32[r][lane];
                distance = int_distance(exact, query, row + r, dot);
            }
            offer(exact, worker, slice, query, row + r, distance);
        }
    }
}

void vdb_exact_scan_tile(const struct vdb_exact *exact, struct exact_worker *worker, size_t row, size_t count,
                         struct vdb_gemm_tile *tile)
{
    tile->dimension = exact->dimension;
    tile->rows = vdb_exact_scan_rows(exact, worker, row, count, true, &tile->stride_bytes);
    tile->norm = exact->numbers.norm + row; /* readable past the last row: exact.c */
    tile->bias = exact->numbers.bias + row;
    tile->correction = exact->numbers.correction + row;
}

static void run_tiles(struct vdb_exact *exact, struct exact_worker *worker, size_t slice, size_t first_panel,
                      size_t end_panel, size_t begin, size_t end)
{
    const size_t lane_base = slice * exact->panel_count * VDB_GEMM_LANES;
    struct vdb_gemm_tile tile = {0};
    for (size_t row = begin; row < end; row += VDB_GEMM_ROWS) {
        size_t count = end - row < VDB_GEMM_ROWS ? end - row : VDB_GEMM_ROWS;
        vdb_exact_scan_tile(exact, worker, row, count, &tile);
        for (size_t panel = first_panel; panel < end_panel; panel++) {
            tile.panel = (const char *)exact->panels + panel * exact->panel_bytes;
            tile.gain = exact->gain + lane_base + panel * VDB_GEMM_LANES;
            tile.limit = exact->limit + lane_base + panel * VDB_GEMM_LANES;
            if (exact->gemm.run(&tile, worker->out)) {
                worker->passed_tiles++;
                take_passed(exact, worker, slice, panel, row, count, tile.rows, tile.stride_bytes);
            }
        }
        worker->f32_tiles += end_panel - first_panel;
    }
}

/* ---- Low precision ---- */

void vdb_exact_scan_low_tile(const struct vdb_exact *exact, size_t row, struct vdb_gemm_tile *tile)
{
    const struct exact_low *low = &exact->low;
    tile->dimension = low->code_bytes;
    tile->stride_bytes = low->code_bytes;
    tile->rows = low->codes + row * low->code_bytes; /* all these are readable past the last row: exact_low.c */
    tile->scale = low->scale + row;
    tile->norm = low->norm + row;
    tile->residual = low->residual + row;
    tile->bias = low->bias + row;
    tile->correction = low->correction + row;
}

static void run_low_tiles(struct vdb_exact *exact, struct exact_worker *worker, size_t slice, size_t first_panel,
                          size_t end_panel, size_t begin, size_t end)
{
    const struct exact_low *low = &exact->low;
    const size_t lane_base = slice * exact->panel_count * VDB_GEMM_LANES;
    struct vdb_gemm_tile tile = {0};
    for (size_t row = begin; row < end; row += VDB_GEMM_ROWS) {
        const size_t count = end - row < VDB_GEMM_ROWS ? end - row : VDB_GEMM_ROWS;
        const char *rows = NULL;
        size_t stride = 0;
        vdb_exact_scan_low_tile(exact, row, &tile);
        for (size_t panel = first_panel; panel < end_panel; panel++) {
            const size_t lane = panel * VDB_GEMM_LANES;
            tile.panel = (const char *)low->panels + panel * low->panel_bytes;
            tile.lane_scale = low->lane_scale + lane;
            tile.lane_length = low->lane_length + lane;
            tile.gain = low->gain + lane;
            tile.limit = low->limit + lane_base + lane;
            if (!low->gemm.run(&tile, worker->out)) {
                continue;
            }
            worker->passed_tiles++;
            if (rows == NULL) {
                rows = vdb_exact_scan_rows(exact, worker, row, count, false, &stride);
            }
            take_passed(exact, worker, slice, panel, row, count, rows, stride);
        }
        worker->low_tiles += end_panel - first_panel;
    }
}

/* Whether low precision lost in a window: what it let pass in vain cost more than its tiles saved. */
static bool lost(const struct vdb_exact *exact, uint64_t useless, uint64_t tiles)
{
    const struct exact_costs *costs = &exact->low.costs;
    double pairs = (double)tiles * VDB_GEMM_ROWS * VDB_GEMM_LANES;
    return (double)useless * costs->rerank > pairs * (costs->f32_pair - costs->low_pair);
}

/* A block of panels over rows, window by window, each by the plan that pays. */
static void run_windows(struct vdb_exact *exact, struct exact_worker *worker, size_t slice, size_t first_panel,
                        size_t end_panel, size_t begin, size_t end)
{
    struct exact_turn *turn = &exact->low.turns[slice * exact->block_count + first_panel / exact->block_panels];
    size_t window_end;
    for (size_t row = begin; row < end; row = window_end) {
        window_end = end - row < WINDOW_ROWS ? end : row + WINDOW_ROWS;
        if (turn->skip > 0) {
            turn->skip--;
            for (size_t panel = first_panel; panel < end_panel; panel += exact->f32_panels) {
                size_t last = panel + exact->f32_panels;
                run_tiles(exact, worker, slice, panel, last < end_panel ? last : end_panel, row, window_end);
            }
            continue;
        }
        uint64_t useless = worker->useless_count;
        uint64_t tiles = worker->low_tiles;
        run_low_tiles(exact, worker, slice, first_panel, end_panel, row, window_end);
        if (exact->low.forced || !lost(exact, worker->useless_count - useless, worker->low_tiles - tiles)) {
            turn->penalty = 0;
            continue;
        }
        turn->penalty = turn->penalty == 0 ? 1 : turn->penalty * PENALTY_FACTOR;
        turn->penalty = turn->penalty < PENALTY_MAX ? turn->penalty : PENALTY_MAX;
        turn->skip = turn->penalty;
    }
}

/* ---- The plan "scan": one-to-many kernels, for the metrics that are no inner product ---- */

static void run_scan(struct vdb_exact *exact, struct exact_worker *worker, size_t slice, size_t first_query,
                     size_t end_query, size_t begin, size_t end)
{
    vdb_distance_many_fn *many = exact->kernels->many[exact->work][exact->metric];
    const bool rerank = exact->work == VDB_ELEMENT_F32;
    for (size_t row = begin; row < end; row += EXACT_SCAN_ROWS) {
        size_t count = end - row < EXACT_SCAN_ROWS ? end - row : EXACT_SCAN_ROWS;
        size_t stride;
        const char *rows = vdb_exact_scan_rows(exact, worker, row, count, false, &stride);
        for (size_t query = first_query; query < end_query; query++) {
            const struct exact_list *list = list_of(exact, slice, query);
            many(query_at(exact, query), rows, stride, count, exact->dimension, worker->distances);
            for (size_t i = 0; i < count; i++) {
                double distance = worker->distances[i];
                double least = distance * (1 - exact->scan_relative) - exact->scan_absolute;
                if (least > threshold_of(exact, list)) {
                    continue; /* a NaN goes on */
                }
                if (rerank) {
                    const float *vector = (const float *)(const void *)(rows + i * stride);
                    distance = vdb_wide_distance(&exact->wide, exact->metric, query_at(exact, query), 0, vector,
                                                 exact->dimension);
                }
                offer(exact, worker, slice, query, row + i, distance);
            }
        }
    }
}

void vdb_exact_scan_block(void *ctx, unsigned worker_number, size_t index)
{
    struct vdb_exact *exact = ctx;
    struct exact_worker *worker = &exact->workers[worker_number];
    const size_t slice = index / exact->block_count;
    const size_t first_panel = index % exact->block_count * exact->block_panels;
    size_t end_panel = first_panel + exact->block_panels;
    end_panel = end_panel < exact->panel_count ? end_panel : exact->panel_count;
    size_t slice_rows = (exact->pass_rows + exact->slice_count - 1) / exact->slice_count;
    slice_rows = (slice_rows + VDB_GEMM_ROWS - 1) / VDB_GEMM_ROWS * VDB_GEMM_ROWS;
    size_t begin = slice * slice_rows;
    size_t end = begin + slice_rows < exact->pass_rows ? begin + slice_rows : exact->pass_rows;
    if (begin >= end || first_panel >= end_panel) {
        return;
    }
    if (exact->low.state == EXACT_LOW_ON) {
        run_windows(exact, worker, slice, first_panel, end_panel, begin, end);
        return;
    }
    if (exact->plan != EXACT_SCAN) {
        const size_t most = exact->f32_panels > 0 ? exact->f32_panels : end_panel - first_panel;
        for (size_t panel = first_panel; panel < end_panel; panel += most) {
            size_t last = panel + most < end_panel ? panel + most : end_panel;
            run_tiles(exact, worker, slice, panel, last, begin, end);
        }
        return;
    }
    size_t end_query = end_panel * VDB_GEMM_LANES;
    run_scan(exact, worker, slice, first_panel * VDB_GEMM_LANES,
             end_query < exact->query_count ? end_query : exact->query_count, begin, end);
}
