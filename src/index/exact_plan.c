/* exact_plan.c: what the two plans for f32 cost, measured for each shape and remembered for the process.
 *
 * The first searches of a shape time both kernels on their own first rows and queries: a few tiles each, the fastest of
 * three turns, well under a millisecond in all. What else ran on the core can only make a cost greater, so of several
 * searches the least of each cost counts: a disturbed millisecond is forgotten with the next search. What depends on the data is not remembered: how many pairs the
 * low-precision test lets pass is watched window by window while the search runs (exact_scan.c). All metrics share
 * the kernels, and f16 and bf16 come as f32, so a shape is a dimension and a number of queries, by powers of two.
 *
 * Threads: safe from all threads; the table is locked.
 */
#include <pthread.h>
#include <time.h>

#include "exact_internal.h"

enum {
    BUCKETS = 32, /* powers of two */
    TURNS = 3,
    SEARCHES = 5, /* that measure: less than five milliseconds of a process's life for a shape */
    PANELS_MAX = 4,
};

/* Nanoseconds that a re-ranked pair takes beyond a distance of vectors in the cache, as the probe's are: its row and its
 * query come from memory or the third-level cache, the list and the limit change. Measured as what 8 bits with k 10 took
 * more than the same tiles with nothing to re-rank, per pair: 166 ns at 128 dimensions (10 of them the distance), 217 to
 * 268 at 784 (57); 1,000 queries, 300,000 and 60,000 normal rows, one core of a Zen 5. */
static const double RERANK_FAR_NS = 150;

/* The low-precision pass must be this much faster to be begun with, for its re-ranking comes on top: 10 to 13% of a search
 * (docs/decisions/0008), 13 to 24% on rows without any structure (the measurement above); near 0.8 it does not matter
 * which plan is taken. */
static const double PAYS_BELOW = 0.8;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct exact_costs costs;
    unsigned searches;     /* whose measurements these are the least of */
} table[BUCKETS][BUCKETS]; /* by dimension and queries */

static size_t bucket_of(size_t value)
{
    size_t bucket = 0;
    for (; value > 1 && bucket < BUCKETS - 1; value /= 2) {
        bucket++;
    }
    return bucket;
}

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* One turn over the rows with limits that nothing passes; low: NULL for f32. */
static void run_tiles(struct vdb_exact *exact, size_t row_count, size_t panels, vdb_gemm_fn *low,
                      const float *gain, const float *limit)
{
    struct exact_worker *worker = &exact->workers[0];
    struct vdb_gemm_tile tile = {.gain = gain, .limit = limit};
    for (size_t row = 0; row + VDB_GEMM_ROWS <= row_count; row += VDB_GEMM_ROWS) {
        if (low != NULL) {
            vdb_exact_scan_low_tile(exact, row, &tile);
        } else {
            vdb_exact_scan_tile(exact, worker, row, VDB_GEMM_ROWS, &tile);
        }
        for (size_t panel = 0; panel < panels; panel++) {
            if (low != NULL) {
                tile.panel = (const char *)exact->low.panels + panel * exact->low.panel_bytes;
                tile.lane_scale = gain;
                tile.lane_length = gain;
                (void)low(&tile, worker->out);
            } else {
                tile.panel = (const char *)exact->panels + panel * exact->panel_bytes;
                (void)exact->gemm.run(&tile, worker->out);
            }
        }
    }
}

static struct exact_costs measure(struct vdb_exact *exact, size_t row_count)
{
    _Alignas(64) float zeros[VDB_GEMM_LANES] = {0};
    _Alignas(64) float never[2][VDB_GEMM_LANES];
    struct exact_costs costs = {HUGE_VAL, HUGE_VAL, HUGE_VAL, HUGE_VAL, HUGE_VAL};
    const size_t panels = exact->panel_count < PANELS_MAX ? exact->panel_count : PANELS_MAX;
    const size_t tiles = row_count / VDB_GEMM_ROWS;
    const double pairs = (double)(tiles * VDB_GEMM_ROWS * panels * VDB_GEMM_LANES);
    for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
        never[0][lane] = INFINITY;
        never[1][lane] = -INFINITY;
    }
    for (size_t turn = 0; turn < TURNS; turn++) {
        volatile double sink = 0;
        double begin = now_ns();
        run_tiles(exact, row_count, panels, NULL, zeros, never[0]);
        double f32 = now_ns();
        run_tiles(exact, row_count, panels, exact->low.gemm.run, zeros, never[1]);
        double low = now_ns();
        if (exact->low.amx.run != NULL) {
            run_tiles(exact, row_count, panels, exact->low.amx.run, zeros, never[1]);
            costs.amx_pair = fmin(costs.amx_pair, (now_ns() - low) / pairs);
        }
        double amx = now_ns();
        for (size_t row = 0; row < row_count; row++) {
            size_t stride;
            const float *vector = vdb_exact_scan_rows(exact, &exact->workers[0], row, 1, false, &stride);
            sink = sink + vdb_wide_distance(&exact->wide, exact->metric, (const float *)exact->queries, 1, vector,
                                            exact->dimension);
        }
        double rerank = now_ns();
        for (size_t row = 0; row < row_count; row++) {
            size_t stride;
            vdb_exact_low_row_codes(exact, vdb_exact_scan_rows(exact, &exact->workers[0], row, 1, false, &stride),
                                    row);
        }
        double codes = now_ns();
        costs.f32_pair = fmin(costs.f32_pair, (f32 - begin) / pairs);
        costs.low_pair = fmin(costs.low_pair, (low - f32) / pairs);
        costs.rerank = fmin(costs.rerank, (rerank - amx) / (double)row_count + RERANK_FAR_NS);
        costs.codes_row = fmin(costs.codes_row, (codes - rerank) / (double)row_count);
    }
    return costs;
}

static struct exact_costs least_of(const struct exact_costs *a, const struct exact_costs *b)
{
    return (struct exact_costs){
        .f32_pair = fmin(a->f32_pair, b->f32_pair),
        .low_pair = fmin(a->low_pair, b->low_pair),
        .amx_pair = fmin(a->amx_pair, b->amx_pair),
        .rerank = fmin(a->rerank, b->rerank),
        .codes_row = fmin(a->codes_row, b->codes_row),
    };
}

struct exact_costs vdb_exact_plan_costs(struct vdb_exact *exact, size_t row_count)
{
    const size_t i = bucket_of(exact->dimension);
    const size_t j = bucket_of(exact->query_count);
    pthread_mutex_lock(&table_lock);
    const unsigned searches = table[i][j].searches;
    struct exact_costs costs = table[i][j].costs;
    pthread_mutex_unlock(&table_lock);
    if (searches >= SEARCHES) {
        return costs;
    }
    const struct exact_costs now = measure(exact, row_count); /* two searches at once may both measure: no harm */
    pthread_mutex_lock(&table_lock);
    struct exact_costs *known = &table[i][j].costs;
    *known = table[i][j].searches == 0 ? now : least_of(known, &now);
    table[i][j].searches++;
    costs = *known;
    pthread_mutex_unlock(&table_lock);
    return costs;
}

bool vdb_exact_plan_low_pays(const struct exact_costs *costs, size_t query_count)
{
    return costs->low_pair + costs->codes_row / (double)query_count < PAYS_BELOW * costs->f32_pair;
}
