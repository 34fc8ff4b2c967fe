/* exact.c: a batch search as an object: what it checks, the memory it holds, and in which order its work is done.
 *
 * A feed goes in passes of up to EXACT_PASS_ROWS_MAX rows: first the numbers of all rows (exact_bound.h), then
 * every block of queries over every slice of rows. Blocks are as many panels as fit half of a second-level cache,
 * but enough of them to keep all threads busy; rows are sliced only where there are fewer blocks than threads,
 * since every slice costs each query a list of its own. Slices are merged in vdb_exact_finish.
 */
#include "exact.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "exact_internal.h"

enum {
    BLOCK_BYTES = 512 << 10, /* panels of a block: half of the 1 MiB that current cores have */
    BLOCKS_PER_THREAD = 4,   /* so that one slow block does not leave the others waiting long */
    SCAN_BLOCK_BYTES = 1 << 20,
};

/* ---- Creation ---- */

static vdb_status check_options(size_t query_stride_bytes, size_t dimension, vdb_element element,
                                vdb_metric metric, const struct vdb_exact_options *options, struct vdb_err *err)
{
    if ((unsigned)element >= VDB_ELEMENT_COUNT) {
        return vdb_err_set(err, VDB_INVALID, "element: %u is none of the %d kinds", (unsigned)element,
                           VDB_ELEMENT_COUNT);
    }
    if ((unsigned)metric >= VDB_METRIC_COUNT || !vdb_metric_fits(element, metric)) {
        return vdb_err_set(err, VDB_INVALID, "metric: %s does not compare vectors of %s", vdb_metric_name(metric),
                           vdb_element_name(element));
    }
    if (dimension < 1 || dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "dimension: %zu is not in 1..%u", dimension,
                           VDB_LIMIT_DIMENSION_MAX);
    }
    if (query_stride_bytes < vdb_vector_bytes(element, dimension)) {
        return vdb_err_set(err, VDB_INVALID, "query_stride_bytes: %zu is less than a query's %zu bytes",
                           query_stride_bytes, vdb_vector_bytes(element, dimension));
    }
    if ((unsigned)options->plan > VDB_EXACT_PLAN_AMX) {
        return vdb_err_set(err, VDB_INVALID, "plan: %u is none of the four plans", (unsigned)options->plan);
    }
    if (options->by_radius && isnan(options->radius)) {
        return vdb_err_set(err, VDB_INVALID, "radius: not a number");
    }
    if (!options->by_radius && options->k == 0) {
        return vdb_err_set(err, VDB_INVALID, "k: 0 is less than 1");
    }
    return VDB_OK;
}

static exact_plan plan_of(vdb_element work, vdb_metric metric)
{
    if (metric != VDB_METRIC_L2 && metric != VDB_METRIC_COSINE && metric != VDB_METRIC_DOT) {
        return EXACT_SCAN;
    }
    return work == VDB_ELEMENT_F32 ? EXACT_GEMM_F32 : EXACT_GEMM_INT;
}

void *vdb_exact_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (!vdb_size_mul(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    return vdb_alloc_aligned(bytes > 0 ? bytes : 1);
}

/* Panels per block and slices of rows: see the head of this file. Where codes may be used, blocks are for them, and
 * what goes by f32 all the same takes a block in parts. */
static void cut_work(struct vdb_exact *exact)
{
    const size_t threads = vdb_pool_threads(exact->pool);
    size_t panel_bytes = exact->plan == EXACT_SCAN ? exact->query_bytes * VDB_GEMM_LANES : exact->panel_bytes;
    if (exact->low.state != EXACT_LOW_OFF) {
        exact->f32_panels = BLOCK_BYTES / panel_bytes > 0 ? BLOCK_BYTES / panel_bytes : 1;
        panel_bytes = exact->low.gemm.panel_bytes(vdb_exact_low_code_bytes(exact->dimension));
    }
    size_t fit = (exact->plan == EXACT_SCAN ? SCAN_BLOCK_BYTES : BLOCK_BYTES) / panel_bytes;
    fit = fit > 0 ? fit : 1;
    size_t blocks = (exact->panel_count + fit - 1) / fit;
    size_t wanted = threads * BLOCKS_PER_THREAD;
    if (threads >
        1) { /* as many as there are turns for all, but no block below two panels: a row is read for each */
        size_t most = (exact->panel_count + 1) / 2;
        blocks = blocks < wanted ? wanted : (blocks + threads - 1) / threads * threads;
        blocks = exact->panel_count / blocks >= 2 ? blocks : most;
        blocks = blocks > 0 ? blocks : 1;
    }
    size_t even = blocks == 0 ? 0 : (exact->panel_count + blocks - 1) / blocks;
    exact->block_panels = even > fit ? fit : even > 0 ? even : 1;
    exact->block_count = (exact->panel_count + exact->block_panels - 1) / exact->block_panels;
    exact->slice_count = 1;
    if (exact->block_count > 0 && exact->block_count < threads) {
        exact->slice_count = (2 * threads + exact->block_count - 1) / exact->block_count;
    }
}

static vdb_status copy_queries(struct vdb_exact *exact, const void *queries, size_t stride_bytes,
                               struct vdb_err *err)
{
    exact->queries = vdb_exact_alloc(exact->query_count, exact->query_bytes);
    exact->query_square = vdb_exact_alloc(exact->query_count, sizeof *exact->query_square);
    if (exact->queries == NULL || exact->query_square == NULL) {
        return vdb_err_no_memory(err, "the queries");
    }
    vdb_distance_fn *dot = exact->kernels->one[exact->work][VDB_METRIC_DOT];
    for (size_t i = 0; i < exact->query_count; i++) {
        const char *from = (const char *)queries + i * stride_bytes;
        char *to = (char *)exact->queries + i * exact->query_bytes;
        if (exact->work == VDB_ELEMENT_F32) {
            float *vector = (float *)(void *)to;
            vdb_wide_load(exact->element, from, exact->dimension, vector);
            exact->query_square[i] = exact->wide.dot(vector, vector, exact->dimension);
        } else {
            memcpy(to, from, exact->query_bytes);
            exact->query_square[i] = dot == NULL ? 0 : -dot(to, to, exact->dimension);
        }
    }
    return VDB_OK;
}

static void set_bounds(struct vdb_exact *exact)
{
    double longest = 0;
    for (size_t i = 0; i < exact->query_count; i++) {
        double square = exact->query_square[i];
        longest = square <= DBL_MAX && square > longest ? square : longest;
    }
    exact->bound = vdb_exact_bound_of(exact->metric, exact->dimension, exact->work != VDB_ELEMENT_F32,
                                      sqrt(longest));
    if (exact->plan == EXACT_SCAN && exact->work == VDB_ELEMENT_F32) {
        vdb_exact_bound_kernel(exact->metric, exact->dimension, &exact->scan_relative, &exact->scan_absolute);
    }
}

static vdb_status pack_panels(struct vdb_exact *exact, struct vdb_err *err)
{
    exact->panel_count = (exact->query_count + VDB_GEMM_LANES - 1) / VDB_GEMM_LANES;
    if (exact->plan == EXACT_SCAN) {
        return VDB_OK;
    }
    exact->panel_bytes = exact->gemm.panel_bytes(exact->dimension);
    exact->panels = vdb_exact_alloc(exact->panel_count, exact->panel_bytes);
    if (exact->panels == NULL) {
        return vdb_err_no_memory(err, "the packed queries");
    }
    for (size_t panel = 0; panel < exact->panel_count; panel++) {
        size_t first = panel * VDB_GEMM_LANES;
        size_t count = exact->query_count - first < VDB_GEMM_LANES ? exact->query_count - first : VDB_GEMM_LANES;
        exact->gemm.pack((const char *)exact->queries + first * exact->query_bytes, exact->query_bytes, count,
                         exact->dimension, (float)exact->bound.scale,
                         (char *)exact->panels + panel * exact->panel_bytes);
    }
    return VDB_OK;
}

static vdb_status make_lists(struct vdb_exact *exact, struct vdb_err *err)
{
    size_t lanes = exact->panel_count * VDB_GEMM_LANES;
    size_t count = 0;
    if (!vdb_size_mul(exact->slice_count, exact->query_count, &count)) {
        return vdb_err_no_memory(err, "the lists of hits");
    }
    exact->lists = vdb_exact_alloc(count, sizeof *exact->lists);
    if (exact->plan != EXACT_SCAN) {
        exact->gain = vdb_exact_alloc(exact->slice_count, lanes * sizeof *exact->gain);
        exact->limit = vdb_exact_alloc(exact->slice_count, lanes * sizeof *exact->limit);
    }
    if (exact->lists == NULL || (exact->plan != EXACT_SCAN && (exact->gain == NULL || exact->limit == NULL))) {
        return vdb_err_no_memory(err, "the lists of hits");
    }
    for (size_t slice = 0; exact->plan != EXACT_SCAN && slice < exact->slice_count; slice++) {
        for (size_t lane = exact->query_count; lane < lanes; lane++) { /* no query there: nothing passes */
            exact->limit[slice * lanes + lane] = INFINITY;
        }
    }
    for (size_t i = 0; i < count; i++) {
        vdb_topk_init(&exact->lists[i].topk, NULL, exact->options.k);
        if (exact->plan != EXACT_SCAN) {
            vdb_exact_scan_set_limit(exact, i / exact->query_count, i % exact->query_count);
        }
    }
    return VDB_OK;
}

static vdb_status make_workers(struct vdb_exact *exact, struct vdb_err *err)
{
    unsigned threads = vdb_pool_threads(exact->pool);
    exact->workers = vdb_calloc(threads, sizeof *exact->workers);
    if (exact->workers == NULL) {
        return vdb_err_no_memory(err, "the threads' scratch");
    }
    for (unsigned i = 0; i < threads; i++) {
        struct exact_worker *worker = &exact->workers[i];
        worker->rows = vdb_exact_alloc(EXACT_SCAN_ROWS, exact->query_bytes);
        worker->distances = vdb_exact_alloc(EXACT_SCAN_ROWS, sizeof *worker->distances);
        worker->out = vdb_exact_alloc(1, sizeof *worker->out);
        if (worker->rows == NULL || worker->distances == NULL || worker->out == NULL) {
            return vdb_err_no_memory(err, "the threads' scratch");
        }
    }
    return VDB_OK;
}

vdb_status vdb_exact_create(const void *queries, size_t query_stride_bytes, size_t query_count, size_t dimension,
                            vdb_element element, vdb_metric metric, const struct vdb_exact_options *options,
                            struct vdb_exact **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_gemm gemm;
    *out = NULL;
    VDB_TRY(check_options(query_stride_bytes, dimension, element, metric, options, err));
    struct vdb_exact *exact = vdb_calloc(1, sizeof *exact);
    if (exact == NULL) {
        return vdb_err_no_memory(err, "a batch search");
    }
    exact->options = *options;
    exact->element = element;
    exact->work = element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_BF16 ? VDB_ELEMENT_F32 : element;
    exact->metric = metric;
    exact->dimension = dimension;
    exact->query_count = query_count;
    exact->query_bytes = vdb_vector_bytes(exact->work, dimension);
    exact->plan = plan_of(exact->work, metric);
    atomic_init(&exact->failed, false);
    exact->kernels = vdb_kernels_get();
    vdb_wide_fill(&exact->wide, exact->kernels->level);
    vdb_gemm_fill(&gemm, exact->kernels->level, exact->kernels->extensions);
    if (exact->plan != EXACT_SCAN) {
        exact->gemm = gemm.kernels[exact->work];
    }
    if (exact->plan == EXACT_GEMM_F32 && options->plan != VDB_EXACT_PLAN_F32) {
        exact->low.state = EXACT_LOW_WAITING;
        exact->low.gemm = gemm.low;
        exact->low.quantise = gemm.quantise;
        exact->low.amx = gemm.amx;
        if (gemm.amx.run != NULL) {
            exact->low.gemm.panel_bytes = gemm.amx.panel_bytes;
            exact->low.gemm.pack = gemm.amx.pack;
        }
    }
    if (exact->plan == EXACT_GEMM_INT) {
        exact->ones = vdb_exact_alloc(dimension, 1);
        if (exact->ones == NULL) {
            status = vdb_err_no_memory(err, "a batch search");
            goto cleanup;
        }
        memset(exact->ones, 1, dimension);
    }
    VDB_CHECK(vdb_pool_create(options->threads, &exact->pool, err));
    VDB_CHECK(copy_queries(exact, queries, query_stride_bytes, err));
    set_bounds(exact);
    VDB_CHECK(pack_panels(exact, err));
    cut_work(exact);
    VDB_CHECK(make_lists(exact, err));
    VDB_CHECK(make_workers(exact, err));
    *out = exact;
    exact = NULL;
cleanup:
    vdb_exact_destroy(exact);
    return status;
}

void vdb_exact_destroy(struct vdb_exact *exact)
{
    if (exact == NULL) {
        return;
    }
    for (unsigned i = 0; exact->workers != NULL && i < vdb_pool_threads(exact->pool); i++) {
        free(exact->workers[i].rows);
        free(exact->workers[i].distances);
        free(exact->workers[i].out);
    }
    for (size_t i = 0; exact->lists != NULL && i < exact->slice_count * exact->query_count; i++) {
        free(exact->lists[i].topk.heap);
    }
    vdb_exact_low_fini(&exact->low);
    vdb_pool_destroy(exact->pool);
    free(exact->workers);
    free(exact->lists);
    free(exact->gain);
    free(exact->limit);
    free(exact->panels);
    free(exact->queries);
    free(exact->query_square);
    free(exact->ones);
    free(exact->numbers.square);
    free(exact->numbers.norm);
    free(exact->numbers.bias);
    free(exact->numbers.correction);
    free(exact);
}

/* ---- Feeding ---- */

/* Memory for the numbers of so many rows. A tile reads those of VDB_GEMM_ROWS rows wherever it begins. */
static vdb_status reserve_numbers(struct vdb_exact *exact, size_t row_count, struct vdb_err *err)
{
    struct exact_row_numbers *numbers = &exact->numbers;
    if (exact->plan == EXACT_SCAN || row_count <= exact->numbers_capacity) {
        return VDB_OK;
    }
    free(numbers->square);
    free(numbers->norm);
    free(numbers->bias);
    free(numbers->correction);
    exact->numbers_capacity = 0;
    size_t count = row_count + VDB_GEMM_ROWS;
    numbers->square = vdb_exact_alloc(count, sizeof *numbers->square);
    numbers->norm = vdb_exact_alloc(count, sizeof *numbers->norm);
    numbers->bias = vdb_exact_alloc(count, sizeof *numbers->bias);
    numbers->correction = vdb_exact_alloc(count, sizeof *numbers->correction);
    if (numbers->square == NULL || numbers->norm == NULL || numbers->bias == NULL ||
        numbers->correction == NULL) {
        return vdb_err_no_memory(err, "the numbers of a block of rows");
    }
    exact->numbers_capacity = row_count;
    return VDB_OK;
}

/* One pass over exact->rows. Once the low-precision pass is on, the numbers include codes. */
static vdb_status run_pass(struct vdb_exact *exact, struct vdb_err *err)
{
    if (exact->low.state == EXACT_LOW_ON) {
        VDB_TRY(vdb_exact_low_reserve(exact, exact->pass_rows, err));
    }
    const size_t stretches = (exact->pass_rows + EXACT_NUMBERS_ROWS - 1) / EXACT_NUMBERS_ROWS;
    if (exact->plan != EXACT_SCAN) {
        vdb_pool_run(exact->pool, stretches, vdb_exact_scan_numbers, exact);
    }
    if (exact->low.state == EXACT_LOW_WAITING) {
        VDB_TRY(vdb_exact_low_start(exact, err));
        if (exact->low.state == EXACT_LOW_ON) {
            vdb_pool_run(exact->pool, stretches, vdb_exact_scan_numbers, exact);
        }
    }
    vdb_pool_run(exact->pool, exact->block_count * exact->slice_count, vdb_exact_scan_block, exact);
    if (atomic_load_explicit(&exact->failed, memory_order_relaxed)) {
        return vdb_err_no_memory(err, "the hits");
    }
    return VDB_OK;
}

vdb_status vdb_exact_feed(struct vdb_exact *exact, const void *rows, size_t stride_bytes, size_t row_count,
                          uint32_t first_row, struct vdb_err *err)
{
    assert(!exact->finished);
    if (row_count > VDB_LIMIT_COLLECTION_POINTS_MAX || first_row > VDB_LIMIT_COLLECTION_POINTS_MAX - row_count) {
        return vdb_err_set(err, VDB_LIMIT, "rows: %zu from number %u on go over the limit of %u in one search",
                           row_count, first_row, VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    if (stride_bytes < vdb_vector_bytes(exact->element, exact->dimension)) {
        return vdb_err_set(err, VDB_INVALID, "stride_bytes: %zu is less than a row's %zu bytes", stride_bytes,
                           vdb_vector_bytes(exact->element, exact->dimension));
    }
    exact->row_count += row_count;
    if (exact->query_count == 0) {
        return VDB_OK;
    }
    const size_t most = exact->low.state == EXACT_LOW_OFF ? EXACT_PASS_ROWS_MAX
                                                          : vdb_exact_low_rows(exact->dimension);
    VDB_TRY(reserve_numbers(exact, row_count < most ? row_count : most, err));
    exact->stride_bytes = stride_bytes;
    for (size_t begin = 0; begin < row_count; begin += exact->pass_rows) {
        size_t left = row_count - begin;
        exact->pass_rows = left < most ? left : most;
        exact->rows = (const char *)rows + begin * stride_bytes;
        exact->first_row = first_row + (uint32_t)begin;
        VDB_TRY(run_pass(exact, err));
    }
    return VDB_OK;
}

/* ---- The answers ---- */

static int compare_candidates(const void *a, const void *b)
{
    const struct vdb_candidate *x = a;
    const struct vdb_candidate *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Work for the pool: merges a query's slices into the first and sorts it. */
static void finish_query(void *ctx, unsigned worker, size_t query)
{
    struct vdb_exact *exact = ctx;
    struct exact_list *list = &exact->lists[query];
    (void)worker;
    for (size_t slice = 1; slice < exact->slice_count; slice++) {
        struct exact_list *other = &exact->lists[slice * exact->query_count + query];
        for (size_t i = 0; i < other->topk.count; i++) {
            if (!vdb_exact_scan_push(&exact->options, list, other->topk.heap[i].distance,
                                     other->topk.heap[i].row)) {
                atomic_store_explicit(&exact->failed, true, memory_order_relaxed);
            }
        }
        free(other->topk.heap);
        *other = (struct exact_list){0};
    }
    if (!exact->options.by_radius) {
        vdb_topk_finish(&list->topk);
    } else if (list->topk.count > 0) {
        qsort(list->topk.heap, list->topk.count, sizeof *list->topk.heap, compare_candidates);
    }
}

vdb_status vdb_exact_finish(struct vdb_exact *exact, struct vdb_err *err)
{
    assert(!exact->finished);
    vdb_pool_run(exact->pool, exact->query_count, finish_query, exact);
    exact->finished = true;
    if (atomic_load_explicit(&exact->failed, memory_order_relaxed)) {
        return vdb_err_no_memory(err, "the hits");
    }
    return VDB_OK;
}

size_t vdb_exact_count(const struct vdb_exact *exact, size_t query)
{
    assert(exact->finished && query < exact->query_count);
    return exact->lists[query].topk.count;
}

const struct vdb_candidate *vdb_exact_hits(const struct vdb_exact *exact, size_t query)
{
    assert(exact->finished && query < exact->query_count);
    return exact->lists[query].topk.heap;
}

void vdb_exact_get_stats(const struct vdb_exact *exact, struct vdb_exact_stats *out)
{
    static const char *const plans[] = {"gemm f32", "gemm int", "scan"};
    uint64_t reranked = 0;
    uint64_t low_tiles = 0;
    uint64_t f32_tiles = 0;
    uint64_t passed_tiles = 0;
    unsigned threads = vdb_pool_threads(exact->pool);
    for (unsigned i = 0; i < threads; i++) {
        reranked += exact->workers[i].rerank_count;
        low_tiles += exact->workers[i].low_tiles;
        f32_tiles += exact->workers[i].f32_tiles;
        passed_tiles += exact->workers[i].passed_tiles;
    }
    *out = (struct vdb_exact_stats){
        .plan = plans[exact->plan],
        .kernel = exact->plan != EXACT_SCAN ? exact->gemm.name : vdb_cpu_level_name(exact->kernels->level),
        .threads = threads,
        .query_count = exact->query_count,
        .slice_count = exact->slice_count,
        .row_count = exact->row_count,
        .rerank_per_query = exact->query_count == 0 ? 0 : (double)reranked / (double)exact->query_count,
        .tiles = low_tiles + f32_tiles,
        .passed_tiles = passed_tiles,
    };
    if (low_tiles > 0) {
        out->plan = f32_tiles == 0 ? "gemm int8" : "gemm int8+f32";
        out->kernel = exact->low.gemm.name;
    }
}
