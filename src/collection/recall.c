/* recall.c: measuring what widths find, and choosing one.
 *
 * Rows as queries are too easy: the graph was built with them in it, and a row's own links lead to just its nearest. So a
 * query is made of four rows: half-way between a row and its tenth nearest or so, plus half the difference of two other
 * near rows, which takes it off the rows by about as much as rows are apart. Still easier than some users' queries: what such
 * queries miss is counted twice. README.md has what that foretold on real sets, beside what their queries got.
 *
 * The exact answers are those of a batch (index/exact.h), at a tenth or less of what as many scans cost.
 *
 * Threads: no state.
 */
#include "recall.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/convert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/rng.h"
#include "index/exact.h"

enum {
    QUERIES = 128,     /* their exact answers cost 1 to 3 % of a build: both grow with rows and dimension alike */
    FEED_ROWS = 16384, /* between two reports of progress */
    NEAR_EF = 64,      /* width of the searches that find near rows... */
    NEAR = 33,         /* ...and how many at most, the row itself among them */
    MORE = 8,          /* exact answers taken beyond those that the share of absent rows asks for */
    FLOATS = 4,
    STEPS = 2,        /* of the ladder: half as wide again each, or a third */
    LADDER_MIN = 8,   /* steps that are taken at least */
    EF_UNKNOWN = 256, /* without a table, for a target of 0.98: enough on all real sets of README.md */
};

static const uint16_t ladder[VDB_RECALL_POINTS_MAX] = {10, 12,  16,  20,  24,  32,  48,  64,
                                                       96, 128, 192, 256, 384, 512, 768, 1024};

#define RECALL_ENOUGH 0.999  /* no wider search is tried */
#define GAIN_MIN      0.0005 /* of STEPS steps: less, and wider ones would bring no more either */
#define TOLERANCE     1e-5   /* between a kernel's distances and those in double */
#define MISS_FACTOR   2.0    /* what users' queries miss, to what ours do */
#define ERRORS        1.0    /* standard errors that are taken off */
#define FLOOR         5.0 /* no width below FLOOR / sqrt(1 - target): on easy data too little is missed to be measured */
#define SAME_MISSES   1.1 /* where no width reaches the target: misses within this of the least are as good */
#define K_SLOPE       1.5 /* width for each further answer beyond the table's k */

struct calibration {
    const struct vdb_index_ops *ops;
    const void *index;
    const struct vdb_rows *rows;
    const struct vdb_bitset *only; /* NULL: all */
    size_t allowed;                /* rows that are in */
    size_t k;
    size_t count; /* queries */
    size_t stride;
    char *vectors;   /* of the queries */
    uint32_t *own;   /* the row that a query is, or UINT32_MAX */
    double *limits;  /* the true k-th distance */
    uint32_t *truth; /* k of each query */
    float *floats[FLOATS];
    struct vdb_candidate found[NEAR];
    struct vdb_rng rng;
    vdb_index_progress_fn *progress;
    void *progress_ctx;
    uint64_t done;
    uint64_t total;
};

static vdb_status report(struct calibration *c, uint64_t more, struct vdb_err *err)
{
    c->done += more;
    if (c->progress != NULL && !c->progress(c->progress_ctx, c->done, c->total)) {
        return vdb_err_set(err, VDB_CANCELLED, "calibration: cancelled");
    }
    return VDB_OK;
}

static bool is_in(const struct calibration *c, size_t row)
{
    return c->only == NULL || vdb_bitset_test(c->only, row);
}

/* ---- Queries ---- */

/* A row that is in; there is one. */
static uint32_t draw_row(struct calibration *c)
{
    size_t row = vdb_rng_below(&c->rng, c->rows->count);
    while (!is_in(c, row)) {
        row = row + 1 < c->rows->count ? row + 1 : 0;
    }
    return (uint32_t)row;
}

static vdb_status search(struct calibration *c, const void *vector, size_t ef, size_t k, struct vdb_topk *topk,
                         struct vdb_err *err)
{
    const struct vdb_query query = {.vector = vector, .allow = c->only, .ef = ef};
    vdb_topk_init(topk, c->found, k);
    VDB_TRY(c->ops->search(c->index, c->rows, &query, topk, err));
    vdb_topk_finish(topk);
    return VDB_OK;
}

static void widen(const struct calibration *c, uint32_t row, float *out)
{
    vdb_convert_widen(c->rows->element, vdb_rows_at(c->rows, row), c->rows->dimension, out);
}

/* A row near `row`; if far, of the farther half of those found. */
static vdb_status draw_near(struct calibration *c, uint32_t row, bool far, uint32_t *out, struct vdb_err *err)
{
    struct vdb_topk topk;
    VDB_TRY(search(c, vdb_rows_at(c->rows, row), NEAR_EF, NEAR, &topk, err));
    const size_t first = far ? topk.count / 2 : 0;
    *out = topk.count == 0 ? row : c->found[first + vdb_rng_below(&c->rng, topk.count - first)].row;
    return VDB_OK;
}

static vdb_status make_query(struct calibration *c, size_t q, struct vdb_err *err)
{
    const struct vdb_rows *rows = c->rows;
    char *out = c->vectors + q * c->stride;
    const uint32_t row = draw_row(c);
    const uint32_t elsewhere = draw_row(c);
    uint32_t near_row;
    uint32_t near_elsewhere;
    c->own[q] = UINT32_MAX;
    if (rows->element != VDB_ELEMENT_F32 &&
        !vdb_element_is_kept(rows->element)) { /* no floats of them: rows it is */
        memcpy(out, vdb_rows_at(rows, row), vdb_vector_bytes(rows->element, rows->dimension));
        c->own[q] = row;
        return VDB_OK;
    }
    VDB_TRY(draw_near(c, row, true, &near_row, err));
    VDB_TRY(draw_near(c, elsewhere, false, &near_elsewhere, err));
    widen(c, row, c->floats[0]);
    widen(c, near_row, c->floats[1]);
    widen(c, elsewhere, c->floats[2]);
    widen(c, near_elsewhere, c->floats[3]);
    const float greatest = rows->element == VDB_ELEMENT_F16 ? VDB_CONVERT_F16_MAX : FLT_MAX;
    const bool whole = rows->element == VDB_ELEMENT_U8 || rows->element == VDB_ELEMENT_I8;
    for (size_t i = 0; i < rows->dimension; i++) {
        float value = (c->floats[0][i] + c->floats[1][i]) / 2 + (c->floats[2][i] - c->floats[3][i]) / 2;
        if (isfinite(value) && fabsf(value) <= greatest) {
            c->floats[0][i] = whole ? rintf(value) : value;
        }
    }
    vdb_convert_narrow(rows->element, c->floats[0], rows->dimension, out);
    return VDB_OK;
}

/* ---- Exact answers ---- */

/* Takes the first k hits that are in and not the query itself. False when there are fewer. */
static bool take_truth(struct calibration *c, size_t q, const struct vdb_candidate *hits, size_t count)
{
    size_t taken = 0;
    for (size_t i = 0; i < count && taken < c->k; i++) {
        if (is_in(c, hits[i].row) && hits[i].row != c->own[q]) {
            c->truth[q * c->k + taken++] = hits[i].row;
            c->limits[q] = hits[i].distance;
        }
    }
    return taken == c->k;
}

static vdb_status feed_all(struct calibration *c, struct vdb_exact *exact, struct vdb_err *err)
{
    const struct vdb_rows *rows = c->rows;
    const size_t chunk_rows = (size_t)1 << rows->chunk_shift;
    for (size_t row = 0, count; row < rows->count; row += count) {
        size_t left = rows->count - row;
        size_t left_in_chunk = chunk_rows - (row & (chunk_rows - 1));
        count = left < left_in_chunk ? left : left_in_chunk;
        count = count < FEED_ROWS ? count : FEED_ROWS;
        VDB_TRY(vdb_exact_feed(exact, vdb_rows_at(rows, row), rows->stride_bytes, count, (uint32_t)row, err));
        VDB_TRY(report(c, count, err));
    }
    return VDB_OK;
}

/* The true neighbours of all queries. A batch knows no `only`: it gives more than k, and where too many of those are not in,
 * a scan answers. */
static vdb_status find_truth(struct calibration *c, struct vdb_err *err)
{
    const struct vdb_rows *rows = c->rows;
    const size_t absent = rows->count - c->allowed;
    size_t fetch = c->k + 1 + (absent == 0 ? 0 : MORE + 2 * c->k * absent / c->allowed);
    fetch = fetch < 64 * (c->k + 1) ? fetch : 64 * (c->k + 1); /* nearly all rows gone: scans */
    const struct vdb_exact_options options = {.k = fetch, .threads = 1};
    struct vdb_exact *exact = NULL;
    vdb_status status;
    VDB_CHECK(vdb_exact_create(c->vectors, c->stride, c->count, rows->dimension, rows->element, rows->metric,
                               &options, &exact, err));
    VDB_CHECK(feed_all(c, exact, err));
    VDB_CHECK(vdb_exact_finish(exact, err));
    for (size_t q = 0; q < c->count; q++) {
        struct vdb_query query = {.vector = c->vectors + q * c->stride, .allow = c->only};
        struct vdb_topk topk;
        if (!take_truth(c, q, vdb_exact_hits(exact, q), vdb_exact_count(exact, q))) {
            vdb_topk_init(&topk, c->found, c->k + 1);
            VDB_CHECK(vdb_index_flat.search(NULL, rows, &query, &topk, err));
            vdb_topk_finish(&topk);
            bool all = take_truth(c, q, c->found, topk.count);
            assert(all); /* k is less than the rows that are in */
            (void)all;
        }
    }

cleanup:
    vdb_exact_destroy(exact);
    return status;
}

/* ---- The ladder ---- */

/* Answers that are among the true ones, or as near as the last of them. */
static size_t count_hits(const struct calibration *c, size_t q, const struct vdb_topk *topk)
{
    const double limit = c->limits[q] + fabs(c->limits[q]) * TOLERANCE;
    size_t hits = 0;
    size_t seen = 0;
    for (size_t i = 0; i < topk->count && seen < c->k; i++) {
        if (topk->heap[i].row == c->own[q]) {
            continue;
        }
        bool hit = topk->heap[i].distance <= limit;
        for (size_t j = 0; j < c->k && !hit; j++) {
            hit = c->truth[q * c->k + j] == topk->heap[i].row;
        }
        hits += hit;
        seen++;
    }
    return hits;
}

/* What searches of width ef find of the queries' neighbours: *mean, and *expected of users' queries at least. */
static vdb_status measure(struct calibration *c, size_t ef, double *mean, double *expected, struct vdb_err *err)
{
    double sum = 0;
    double squares = 0;
    for (size_t q = 0; q < c->count; q++) {
        struct vdb_topk topk;
        const bool own = c->own[q] != UINT32_MAX;
        VDB_TRY(search(c, c->vectors + q * c->stride, ef, c->k + own, &topk, err));
        const double part = (double)count_hits(c, q, &topk) / (double)c->k;
        sum += part;
        squares += part * part;
    }
    VDB_TRY(report(c, c->count, err));
    const double count = (double)c->count;
    *mean = sum / count;
    const double variance = squares / count - *mean * *mean;
    const double misses = 1 - *mean + 1 / (count * (double)c->k); /* one more than were seen */
    *expected = 1 - MISS_FACTOR * (misses + ERRORS * sqrt(variance > 0 ? variance / count : 0));
    return VDB_OK;
}

static vdb_status climb(struct calibration *c, struct vdb_recall_table *out, struct vdb_err *err)
{
    float least = 0;
    double mean = 0;
    double before[STEPS] = {0}; /* means at the widths before */
    for (size_t i = 0; i < VDB_RECALL_POINTS_MAX && mean < RECALL_ENOUGH; i++) {
        double expected;
        if (i >= LADDER_MIN && mean - before[i % STEPS] < GAIN_MIN) {
            break;
        }
        before[i % STEPS] = mean;
        VDB_TRY(measure(c, ladder[i], &mean, &expected, err));
        if (expected > (double)least) {
            least = (float)expected;
        }
        out->points[out->count++] = (struct vdb_recall_point){ladder[i], least};
    }
    out->k = (uint32_t)c->k;
    return VDB_OK;
}

static size_t count_in(const struct vdb_rows *rows, const struct vdb_bitset *only)
{
    size_t count = 0;
    for (size_t row = 0; only != NULL && row < rows->count; row++) {
        count += vdb_bitset_test(only, row);
    }
    return only == NULL ? rows->count : count;
}

static vdb_status allocate(struct calibration *c, struct vdb_err *err)
{
    bool all = true;
    c->vectors = vdb_alloc_aligned(c->count * c->stride);
    c->own = vdb_calloc(c->count, sizeof *c->own);
    c->limits = vdb_calloc(c->count, sizeof *c->limits);
    c->truth = vdb_calloc(c->count * c->k, sizeof *c->truth);
    for (size_t i = 0; i < FLOATS; i++) {
        c->floats[i] = vdb_calloc(c->rows->dimension, sizeof(float));
        all = all && c->floats[i] != NULL;
    }
    if (!all || c->vectors == NULL || c->own == NULL || c->limits == NULL || c->truth == NULL) {
        return vdb_err_no_memory(err, "a calibration");
    }
    return VDB_OK;
}

vdb_status vdb_recall_calibrate(const struct vdb_index_ops *ops, const void *index, const struct vdb_rows *rows,
                                const struct vdb_bitset *only, size_t queries, uint64_t seed,
                                vdb_index_progress_fn *progress, void *progress_ctx, struct vdb_recall_table *out,
                                struct vdb_err *err)
{
    vdb_status status;
    struct calibration c = {
        .ops = ops,
        .index = index,
        .rows = rows,
        .only = only,
        .allowed = count_in(rows, only),
        .count = queries == 0 ? QUERIES : queries,
        .stride = vdb_round_up(vdb_vector_bytes(rows->element, rows->dimension), VDB_CACHE_LINE_BYTES),
        .progress = progress,
        .progress_ctx = progress_ctx};
    *out = (struct vdb_recall_table){0};
    if (c.allowed < 2) {
        return VDB_OK;
    }
    if (rows->count > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "rows: %zu is over the limit of %u", rows->count,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    c.k = c.allowed - 1 < VDB_RECALL_K ? c.allowed - 1 : VDB_RECALL_K;
    c.only = c.allowed == rows->count ? NULL : only;
    c.total = rows->count + c.count * (1 + VDB_RECALL_POINTS_MAX);
    vdb_rng_init(&c.rng, seed);
    VDB_CHECK(allocate(&c, err));
    for (size_t q = 0; q < c.count; q++) {
        VDB_CHECK(make_query(&c, q, err));
        VDB_CHECK(report(&c, 1, err));
    }
    VDB_CHECK(find_truth(&c, err));
    VDB_CHECK(climb(&c, out, err));

cleanup:
    if (status != VDB_OK) {
        *out = (struct vdb_recall_table){0};
    }
    free(c.vectors);
    free(c.own);
    free(c.limits);
    free(c.truth);
    for (size_t i = 0; i < FLOATS; i++) {
        free(c.floats[i]);
    }
    return status;
}

/* ---- Choosing ---- */

/* The width between two points where a straight line reaches the target: recall grows ever slower, so it is enough. */
static double between(const struct vdb_recall_point *low, const struct vdb_recall_point *high, double target)
{
    const double part = (target - (double)low->recall) / (double)(high->recall - low->recall);
    return low->ef + part * (high->ef - low->ef);
}

/* The least width that misses about as little as the widest. */
static double best_width(const struct vdb_recall_table *table)
{
    const struct vdb_recall_point *last = &table->points[table->count - 1];
    uint32_t i = 0;
    while (1 - (double)table->points[i].recall > (1 - (double)last->recall) * SAME_MISSES) {
        i++;
    }
    return table->points[i].ef;
}

/* For the table's own k. */
static double width_for(const struct vdb_recall_table *table, double target)
{
    const struct vdb_recall_point *points = table->points;
    if (table->count == 0) {
        return EF_UNKNOWN * sqrt(0.02 / (1 - target));
    }
    if ((double)points[0].recall >= target) {
        return points[0].ef;
    }
    for (uint32_t i = 1; i < table->count; i++) {
        if ((double)points[i].recall >= target) {
            return between(&points[i - 1], &points[i], target);
        }
    }
    const struct vdb_recall_point *last = &points[table->count - 1];
    const double misses = 1 - (double)last->recall;
    const double earlier = table->count > STEPS ? 1 - (double)points[table->count - 1 - STEPS].recall : 1;
    if (table->count < VDB_RECALL_POINTS_MAX && misses * SAME_MISSES < earlier) {
        /* It missed next to nothing: what is left falls about as the width grows. */
        return last->ef * misses / (1 - target);
    }
    return best_width(table);
}

uint32_t vdb_recall_ef(const struct vdb_recall_table *table, double target, uint32_t k, double boost)
{
    static const struct vdb_recall_table unknown;
    table = table == NULL ? &unknown : table;
    assert(target > 0 && target < 1 && boost >= 1);
    const double base = table->k > 0 ? table->k : VDB_RECALL_K;
    double ef = fmax(width_for(table, target), FLOOR / sqrt(1 - target));
    if (k > base) {
        ef = ef * sqrt(k / base) + K_SLOPE * (k - base);
    }
    ef = fmin(ceil(ef * boost), VDB_RECALL_EF_MAX);
    return ef < k ? k : (uint32_t)ef;
}

/* ---- Bytes ---- */

void vdb_recall_table_encode(const struct vdb_recall_table *table, struct vdb_buf *out)
{
    vdb_buf_put_u32(out, table->count);
    vdb_buf_put_u32(out, table->k);
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t bits;
        memcpy(&bits, &table->points[i].recall, sizeof bits);
        vdb_buf_put_u32(out, table->points[i].ef);
        vdb_buf_put_u32(out, bits);
    }
}

static vdb_status decode_point(struct vdb_cursor *in, struct vdb_recall_table *table, struct vdb_err *err)
{
    struct vdb_recall_point point;
    const struct vdb_recall_point before = table->count > 0 ? table->points[table->count - 1]
                                                            : (struct vdb_recall_point){0};
    point.ef = vdb_cursor_u32(in);
    const uint32_t bits = vdb_cursor_u32(in);
    memcpy(&point.recall, &bits, sizeof bits);
    if (in->failed) {
        return vdb_err_set(err, VDB_CORRUPT, "recall table: ends within point %u", table->count);
    }
    if (point.ef <= before.ef || point.ef > VDB_RECALL_EF_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "recall table: point %u: ef %u is not in %u..%u", table->count,
                           point.ef, before.ef + 1, (unsigned)VDB_RECALL_EF_MAX);
    }
    if (!(point.recall >= before.recall && point.recall <= 1)) { /* nor a NaN */
        return vdb_err_set(err, VDB_CORRUPT, "recall table: point %u: recall %g is not in %g..1", table->count,
                           (double)point.recall, (double)before.recall);
    }
    table->points[table->count++] = point;
    return VDB_OK;
}

vdb_status vdb_recall_table_decode(struct vdb_cursor *in, struct vdb_recall_table *out, struct vdb_err *err)
{
    struct vdb_recall_table table = {0};
    *out = table;
    const uint32_t count = vdb_cursor_u32(in);
    table.k = vdb_cursor_u32(in);
    if (in->failed) {
        return vdb_err_set(err, VDB_CORRUPT, "recall table: shorter than its head");
    }
    if (count > VDB_RECALL_POINTS_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "recall table: %u points; at most %d are allowed", count,
                           VDB_RECALL_POINTS_MAX);
    }
    if (table.k > VDB_RECALL_K || (table.k == 0) != (count == 0)) {
        return vdb_err_set(err, VDB_CORRUPT, "recall table: k %u with %u points", table.k, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        VDB_TRY(decode_point(in, &table, err));
    }
    *out = table;
    return VDB_OK;
}

/* ---- Shadow queries ---- */

#define INTERVAL_NS    UINT64_C(250000000)   /* four a second at most */
#define COST_SHARE     100                   /* one part in so many of a core */
#define LOST_NS        UINT64_C(60000000000) /* one that did not report within a minute is forgotten */
#define SHADOWS_MEMORY 64.0                  /* reports that a moving average looks back on */
#define SHADOWS_MIN    16.0                  /* before the boost changes (again) */
#define DOUBT          0.01                  /* variance that few reports may have hidden */
#define SURE           2.0                   /* standard errors */
#define RAISE          1.15
#define LOWER          0.98

void vdb_shadow_init(struct vdb_shadow *shadow)
{
    *shadow = (struct vdb_shadow){.boost = 1, .lock = PTHREAD_MUTEX_INITIALIZER};
}

void vdb_shadow_fini(struct vdb_shadow *shadow)
{
    pthread_mutex_destroy(&shadow->lock);
}

bool vdb_shadow_due(struct vdb_shadow *shadow, uint64_t now_ns)
{
    uint64_t next = atomic_load_explicit(&shadow->next_ns, memory_order_relaxed);
    if (now_ns < next) {
        return false;
    }
    uint64_t started = atomic_load_explicit(&shadow->started_ns, memory_order_relaxed);
    if (started != 0 && now_ns < started + LOST_NS) {
        return false;
    }
    if (!atomic_compare_exchange_strong_explicit(&shadow->started_ns, &started, now_ns == 0 ? 1 : now_ns,
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        return false;
    }
    next = atomic_load_explicit(&shadow->next_ns, memory_order_relaxed);
    if (now_ns < next) { /* another came and went in between */
        atomic_store_explicit(&shadow->started_ns, 0, memory_order_release);
        return false;
    }
    atomic_store_explicit(&shadow->next_ns, now_ns + INTERVAL_NS, memory_order_relaxed);
    return true;
}

/* Raises the boost when users surely get less than they asked for, and lets it fall while they surely get more. */
static void adjust(struct vdb_shadow *shadow)
{
    const double variance = fmax(shadow->above_square - shadow->above * shadow->above, 0) + DOUBT;
    const double error = SURE * sqrt(variance / shadow->weight);
    double boost = atomic_load_explicit(&shadow->boost, memory_order_relaxed);
    if (shadow->weight < SHADOWS_MIN) {
        return;
    }
    if (shadow->above + error < 0) {
        boost = fmin(boost * RAISE, VDB_RECALL_BOOST_MAX);
        shadow->weight = 0; /* what was seen at the old boost says nothing of the new one */
        shadow->above = 0;
        shadow->above_square = 0;
    } else if (shadow->above - error / 2 > 0) {
        boost = fmax(boost * LOWER, 1);
    }
    atomic_store_explicit(&shadow->boost, boost, memory_order_relaxed);
}

static double averaged(double average, double value, double weight)
{
    return average + (value - average) / weight;
}

void vdb_shadow_report(struct vdb_shadow *shadow, double target, double recall, uint64_t cost_ns)
{
    const double above = recall - target;
    pthread_mutex_lock(&shadow->lock);
    shadow->queries++;
    shadow->recall = averaged(shadow->recall, recall, fmin((double)shadow->queries, SHADOWS_MEMORY));
    shadow->weight = fmin(shadow->weight + 1, SHADOWS_MEMORY);
    shadow->above = averaged(shadow->above, above, shadow->weight);
    shadow->above_square = averaged(shadow->above_square, above * above, shadow->weight);
    adjust(shadow);
    pthread_mutex_unlock(&shadow->lock);
    const uint64_t started = atomic_load_explicit(&shadow->started_ns, memory_order_relaxed);
    const uint64_t pause = cost_ns < UINT64_MAX / 2 / COST_SHARE ? cost_ns * COST_SHARE : UINT64_MAX / 2;
    if (pause > INTERVAL_NS) {
        atomic_store_explicit(&shadow->next_ns, started + pause, memory_order_relaxed);
    }
    atomic_store_explicit(&shadow->started_ns, 0, memory_order_release);
}

void vdb_shadow_cancel(struct vdb_shadow *shadow)
{
    atomic_store_explicit(&shadow->started_ns, 0, memory_order_release);
}

double vdb_shadow_boost(const struct vdb_shadow *shadow)
{
    return atomic_load_explicit(&shadow->boost, memory_order_relaxed);
}

void vdb_shadow_get(const struct vdb_shadow *shadow, struct vdb_shadow_stats *out)
{
    struct vdb_shadow *locked = (struct vdb_shadow *)(uintptr_t)shadow; /* the lock is all that changes */
    pthread_mutex_lock(&locked->lock);
    *out = (struct vdb_shadow_stats){.queries = shadow->queries, .recall = shadow->recall};
    pthread_mutex_unlock(&locked->lock);
    out->boost = vdb_shadow_boost(shadow);
}
