/* exact_low.c: the low-precision first pass as an object: its centre and scales, the codes of queries and rows.
 *
 * The centre is the mean of the first rows (scaled to length 1 under cosine): what all vectors share costs no
 * precision then. Where those rows and all queries are whole numbers that span at most 255 (bytes stored as floats),
 * the step is 1 and the codes are the numbers themselves: their residual is 0, and later rows that break the rule
 * merely have a greater one. Codes are made feed by feed, once for all queries.
 */
#include "exact_low.h"

#include <assert.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "exact_internal.h"

enum {
    SAMPLE_ROWS_MAX = 1024,
    AUTO_ROWS_MIN = 256,   /* fewer rows in a feed are searched before the plans are compared */
    AUTO_QUERIES_MIN = 48, /* below it, codes of rows have never paid, and comparing the plans costs too */
    CODES_BYTES = 8 << 20, /* rows' codes held at a time: within a third-level cache */
    ROWS_MAX = 1 << 16,    /* the same by number, for few dimensions */
    PROBE_ROWS = 8 * VDB_GEMM_ROWS,
};

static const double WHOLE_SPAN_MAX = 255; /* of codes, -128 to 127 */

size_t vdb_exact_low_code_bytes(size_t dimension)
{
    return (dimension + VDB_GEMM_CODES_MULTIPLE - 1) / VDB_GEMM_CODES_MULTIPLE * VDB_GEMM_CODES_MULTIPLE;
}

size_t vdb_exact_low_rows(size_t dimension)
{
    size_t rows = CODES_BYTES / vdb_exact_low_code_bytes(dimension);
    rows = rows < ROWS_MAX ? rows : ROWS_MAX;
    rows = rows / EXACT_NUMBERS_ROWS * EXACT_NUMBERS_ROWS;
    return rows > 0 ? rows : EXACT_NUMBERS_ROWS;
}

/* What a vector is multiplied by before all else; 0 when it has no direction. */
static double factor_of(const struct vdb_exact *exact, double square)
{
    if (exact->metric != VDB_METRIC_COSINE) {
        return 1;
    }
    return square > 0 && square <= DBL_MAX ? 1 / sqrt(square) : 0;
}

static const float *query_at(const struct vdb_exact *exact, size_t query)
{
    return (const float *)(const void *)((const char *)exact->queries + query * exact->query_bytes);
}

/* Rows may lie at any address. */
static double element_at(const float *vector, size_t i)
{
    float value;
    memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
    return (double)value;
}

/* Widens [*least, *most] by a vector; false when it holds a number that is not whole, or the span gets too wide. */
static bool widen_whole(const float *vector, size_t dimension, double *least, double *most)
{
    for (size_t i = 0; i < dimension; i++) {
        double x = element_at(vector, i);
        if (!(fabs(x) <= 0x1p24) || x != rint(x)) {
            return false;
        }
        *least = x < *least ? x : *least;
        *most = x > *most ? x : *most;
    }
    return *most - *least <= WHOLE_SPAN_MAX;
}

/* The centre and the step, from the first rows of the pass. */
static void choose_centre(struct vdb_exact *exact)
{
    struct exact_low *low = &exact->low;
    const size_t dimension = exact->dimension;
    const size_t count = exact->pass_rows < SAMPLE_ROWS_MAX ? exact->pass_rows : SAMPLE_ROWS_MAX;
    double least = (double)INFINITY;
    double most = -(double)INFINITY;
    bool whole = exact->metric != VDB_METRIC_COSINE;
    size_t taken = 0;
    for (size_t query = 0; whole && query < exact->query_count; query++) {
        whole = widen_whole(query_at(exact, query), dimension, &least, &most);
    }
    for (size_t row = 0; row < count; row++) {
        size_t stride;
        const float *vector = vdb_exact_scan_rows(exact, &exact->workers[0], row, 1, false, &stride);
        double square = exact->wide.dot(vector, vector, dimension);
        double factor = factor_of(exact, square);
        whole = whole && widen_whole(vector, dimension, &least, &most);
        if (!(square <= 0x1p200) || factor == 0) {
            continue;
        }
        for (size_t i = 0; i < dimension; i++) {
            low->centre[i] += element_at(vector, i) * factor;
        }
        taken++;
    }
    low->step = whole ? 1 : 0;
    for (size_t i = 0; i < dimension; i++) {
        low->centre[i] = whole ? least + 128 : taken > 0 ? low->centre[i] / (double)taken : 0;
    }
}

/* The power of two that brings `length` to 1 to 2. */
static double unit_of(double length)
{
    return length > 0 && length <= DBL_MAX ? ldexp(1, -ilogb(length)) : 1;
}

/* The powers of two, and |c|. codes: those of the queries. */
static void choose_units(struct vdb_exact *exact, const struct vdb_gemm_codes *codes)
{
    struct exact_low *low = &exact->low;
    const size_t count = exact->pass_rows < SAMPLE_ROWS_MAX ? exact->pass_rows : SAMPLE_ROWS_MAX;
    double query_square = 0;
    double row_square = 0;
    double centre_square = 0;
    for (size_t query = 0; query < exact->query_count; query++) {
        double square = codes[query].square;
        query_square = square <= DBL_MAX && square > query_square ? square : query_square;
    }
    for (size_t row = 0; row < count; row++) {
        size_t stride;
        struct vdb_gemm_codes of_row;
        const float *vector = vdb_exact_scan_rows(exact, &exact->workers[0], row, 1, false, &stride);
        double factor = factor_of(exact, exact->wide.dot(vector, vector, exact->dimension));
        low->quantise(vector, factor, low->centre, exact->dimension, low->step, low->code_bytes, low->codes,
                      &of_row);
        row_square = of_row.square <= 0x1p200 && of_row.square > row_square ? of_row.square : row_square;
    }
    for (size_t i = 0; i < exact->dimension; i++) {
        centre_square += low->centre[i] * low->centre[i];
    }
    low->bound = (struct exact_low_bound){
        .metric = exact->metric,
        .wide = VDB_WIDE_ERROR(exact->dimension),
        .centre = sqrt(centre_square) * (1 + EXACT_LOW_WIDE),
        .query_unit = unit_of(sqrt(query_square)),
        .row_unit = unit_of(sqrt(row_square)),
    };
    if (exact->metric == VDB_METRIC_L2) { /* squares of both meet in one sum */
        double unit = low->bound.query_unit < low->bound.row_unit ? low->bound.query_unit : low->bound.row_unit;
        low->bound.query_unit = unit;
        low->bound.row_unit = unit;
    }
}

static void free_rows(struct exact_low *low)
{
    free(low->codes);
    free(low->scale);
    free(low->norm);
    free(low->residual);
    free(low->bias);
    free(low->correction);
    low->row_capacity = 0;
}

/* A tile reads VDB_GEMM_ROWS rows wherever it begins, and AMX a little past the last one's codes. */
vdb_status vdb_exact_low_reserve(struct vdb_exact *exact, size_t row_count, struct vdb_err *err)
{
    struct exact_low *low = &exact->low;
    if (row_count <= low->row_capacity) {
        return VDB_OK;
    }
    free_rows(low);
    const size_t rows = row_count + VDB_GEMM_ROWS;
    low->codes = vdb_exact_alloc(rows * low->code_bytes + VDB_GEMM_CODES_SLACK, 1);
    low->scale = vdb_exact_alloc(rows, sizeof *low->scale);
    low->norm = vdb_exact_alloc(rows, sizeof *low->norm);
    low->residual = vdb_exact_alloc(rows, sizeof *low->residual);
    low->bias = vdb_exact_alloc(rows, sizeof *low->bias);
    low->correction = vdb_exact_alloc(rows, sizeof *low->correction);
    if (low->codes == NULL || low->scale == NULL || low->norm == NULL || low->residual == NULL ||
        low->bias == NULL || low->correction == NULL) {
        return vdb_err_no_memory(err, "the rows' codes");
    }
    low->row_capacity = row_count;
    return VDB_OK;
}

static vdb_status reserve(struct vdb_exact *exact, struct vdb_err *err)
{
    struct exact_low *low = &exact->low;
    const size_t lanes = exact->panel_count * VDB_GEMM_LANES;
    VDB_TRY(vdb_exact_low_reserve(exact, exact->pass_rows, err));
    low->panel_bytes = low->gemm.panel_bytes(low->code_bytes);
    low->centre = vdb_exact_alloc(exact->dimension, sizeof *low->centre);
    low->panels = vdb_exact_alloc(exact->panel_count, low->panel_bytes);
    low->queries = vdb_exact_alloc(exact->query_count, sizeof *low->queries);
    low->lane_scale = vdb_exact_alloc(lanes, sizeof *low->lane_scale);
    low->gain = vdb_exact_alloc(lanes, sizeof *low->gain);
    low->lane_length = vdb_exact_alloc(lanes, sizeof *low->lane_length);
    low->limit = vdb_exact_alloc(exact->slice_count, lanes * sizeof *low->limit);
    low->turns = vdb_exact_alloc(exact->slice_count, exact->block_count * sizeof *low->turns);
    if (low->centre == NULL || low->panels == NULL || low->queries == NULL || low->lane_scale == NULL ||
        low->gain == NULL || low->lane_length == NULL || low->limit == NULL || low->turns == NULL) {
        return vdb_err_no_memory(err, "the low-precision copies");
    }
    return VDB_OK;
}

static void pack_queries(struct vdb_exact *exact, const int8_t *codes)
{
    struct exact_low *low = &exact->low;
    for (size_t panel = 0; panel < exact->panel_count; panel++) {
        size_t first = panel * VDB_GEMM_LANES;
        size_t count = exact->query_count - first < VDB_GEMM_LANES ? exact->query_count - first : VDB_GEMM_LANES;
        low->gemm.pack(codes + first * low->code_bytes, low->code_bytes, count, low->code_bytes, 1,
                       (char *)low->panels + panel * low->panel_bytes);
    }
}

static void set_queries(struct vdb_exact *exact, const struct vdb_gemm_codes *codes)
{
    struct exact_low *low = &exact->low;
    for (size_t query = 0; query < exact->query_count; query++) {
        low->queries[query] = (struct exact_low_query){
            .square = codes[query].square,
            .offset = codes[query].centre_dot + low->bound.centre * low->bound.centre,
            .finite = exact->query_square[query] <= DBL_MAX && codes[query].square <= DBL_MAX,
            .zero = exact->metric == VDB_METRIC_COSINE && exact->query_square[query] == 0,
        };
        if (low->queries[query].finite) {
            vdb_exact_low_query(&low->bound, &codes[query], &low->lane_scale[query], &low->gain[query],
                                &low->lane_length[query]);
        }
        for (size_t slice = 0; slice < exact->slice_count; slice++) {
            vdb_exact_low_set_limit(exact, slice, query);
        }
    }
    const size_t lanes = exact->panel_count * VDB_GEMM_LANES;
    for (size_t slice = 0; slice < exact->slice_count; slice++) {
        for (size_t lane = exact->query_count; lane < lanes; lane++) { /* no query there: nothing passes */
            low->limit[slice * lanes + lane] = -INFINITY;
        }
    }
}

/* Compares the plans on the first rows; their numbers for f32 are there already. */
static bool pays(struct vdb_exact *exact)
{
    const size_t count = exact->pass_rows < PROBE_ROWS ? exact->pass_rows : PROBE_ROWS;
    for (size_t row = 0; row < count; row++) {
        size_t stride;
        vdb_exact_low_row_codes(exact, vdb_exact_scan_rows(exact, &exact->workers[0], row, 1, false, &stride),
                                row);
    }
    exact->low.costs = vdb_exact_plan_costs(exact, count);
    if (exact->low.costs.amx_pair < exact->low.costs.low_pair) {
        exact->low.gemm = exact->low.amx;
        exact->low.costs.low_pair = exact->low.costs.amx_pair;
    }
    return vdb_exact_plan_low_pays(&exact->low.costs, exact->query_count);
}

vdb_status vdb_exact_low_start(struct vdb_exact *exact, struct vdb_err *err)
{
    struct exact_low *low = &exact->low;
    const bool forced = exact->options.plan != VDB_EXACT_PLAN_AUTO;
    vdb_status status = VDB_OK;
    struct vdb_gemm_codes *of_queries = NULL;
    int8_t *codes = NULL;
    if (!forced && exact->query_count < AUTO_QUERIES_MIN) {
        low->state = EXACT_LOW_OFF;
        return VDB_OK;
    }
    if (!forced && exact->pass_rows < AUTO_ROWS_MIN) {
        return VDB_OK;
    }
    low->code_bytes = vdb_exact_low_code_bytes(exact->dimension);
    VDB_CHECK(reserve(exact, err));
    of_queries = vdb_exact_alloc(exact->query_count, sizeof *of_queries);
    codes = vdb_exact_alloc(exact->query_count, low->code_bytes);
    if (of_queries == NULL || codes == NULL) {
        status = vdb_err_no_memory(err, "the queries' codes");
        goto cleanup;
    }
    choose_centre(exact);
    for (size_t query = 0; query < exact->query_count; query++) {
        low->quantise(query_at(exact, query), factor_of(exact, exact->query_square[query]), low->centre,
                      exact->dimension, low->step, low->code_bytes, codes + query * low->code_bytes,
                      &of_queries[query]);
    }
    choose_units(exact, of_queries);
    pack_queries(exact, codes);
    set_queries(exact, of_queries);
    low->forced = forced;
    if (exact->options.plan == VDB_EXACT_PLAN_AMX && low->amx.run != NULL) {
        low->gemm = low->amx;
    }
    low->state = forced || pays(exact) ? EXACT_LOW_ON : EXACT_LOW_OFF;
    if (low->state == EXACT_LOW_OFF) {
        vdb_exact_low_fini(low);
        *low = (struct exact_low){0};
    }
cleanup:
    free(of_queries);
    free(codes);
    return status;
}

void vdb_exact_low_row_codes(struct vdb_exact *exact, const float *vector, size_t row)
{
    struct exact_low *low = &exact->low;
    struct vdb_gemm_codes codes;
    const double factor = factor_of(exact, exact->numbers.square[row]);
    low->quantise(vector, factor, low->centre, exact->dimension, low->step, low->code_bytes,
                  low->codes + row * low->code_bytes, &codes);
    struct exact_low_row numbers = vdb_exact_low_row(&low->bound, &codes);
    if (factor == 0) { /* no direction: its distance is set by rule */
        numbers = (struct exact_low_row){.bias = -INFINITY};
    }
    low->scale[row] = numbers.scale;
    low->norm[row] = numbers.norm;
    low->residual[row] = numbers.residual;
    low->bias[row] = numbers.bias;
    low->correction[row] = -128 * codes.sum;
}

void vdb_exact_low_set_limit(struct vdb_exact *exact, size_t slice, size_t query)
{
    struct exact_low *low = &exact->low;
    const struct vdb_topk *topk = &exact->lists[slice * exact->query_count + query].topk;
    double threshold = exact->options.by_radius ? exact->options.radius : vdb_topk_bound(topk);
    low->limit[slice * exact->panel_count * VDB_GEMM_LANES + query] = vdb_exact_low_limit(
        &low->bound, &low->queries[query], threshold);
}

void vdb_exact_low_fini(struct exact_low *low)
{
    free_rows(low);
    free(low->centre);
    free(low->panels);
    free(low->queries);
    free(low->lane_scale);
    free(low->gain);
    free(low->lane_length);
    free(low->limit);
    free(low->turns);
}
