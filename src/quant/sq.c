/* sq.c: scalar quantisers as objects: learning bounds, codes, queries, bytes. */
#include "sq.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "distance/cpu.h"
#include "sq_kernels.h"

enum { MAGIC = 0x31515356 /* "VSQ1" */, VERSION = 1 };

struct vdb_sq {
    size_t dimension;
    size_t padded;
    unsigned bits;
    vdb_sq_bounds bounds;
    float *lows;  /* [padded], 0 from dimension on */
    float *steps; /* [padded], likewise */
};

static float level_max(const struct vdb_sq *sq)
{
    return sq->bits == 8 ? 255 : 15;
}

/* In double: bounds may lie further apart than f32 reaches. */
static double decoded(const struct vdb_sq *sq, size_t i, float level)
{
    return (double)sq->lows[i] + (double)sq->steps[i] * (double)level;
}

static vdb_status allocate(size_t dimension, unsigned bits, vdb_sq_bounds bounds, struct vdb_sq **out,
                           struct vdb_err *err)
{
    *out = NULL;
    struct vdb_sq *sq = vdb_calloc(1, sizeof *sq);
    if (sq == NULL) {
        return vdb_err_no_memory(err, "a quantiser");
    }
    *sq = (struct vdb_sq){.dimension = dimension, .bits = bits, .bounds = bounds};
    sq->padded = vdb_round_up(dimension, bits == 8 ? 16 : 32);
    sq->lows = vdb_calloc(sq->padded, sizeof(float));
    sq->steps = vdb_calloc(sq->padded, sizeof(float));
    if (sq->lows == NULL || sq->steps == NULL) {
        vdb_sq_destroy(sq);
        return vdb_err_no_memory(err, "a quantiser");
    }
    *out = sq;
    return VDB_OK;
}

void vdb_sq_destroy(struct vdb_sq *sq)
{
    if (sq != NULL) {
        free(sq->lows);
        free(sq->steps);
        free(sq);
    }
}

static vdb_status check_options(size_t dimension, const struct vdb_sq_options *options, struct vdb_err *err)
{
    if (dimension == 0) {
        return vdb_err_set(err, VDB_INVALID, "dimension: 0; at least 1");
    }
    if (dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "dimension: %zu; at most %u", dimension, VDB_LIMIT_DIMENSION_MAX);
    }
    if (options->bits != 8 && options->bits != 4) {
        return vdb_err_set(err, VDB_INVALID, "bits: %u; 4 or 8", options->bits);
    }
    if ((unsigned)options->bounds > VDB_SQ_BOUNDS_COMMON) {
        return vdb_err_set(err, VDB_INVALID, "bounds: %u; at most %d", (unsigned)options->bounds,
                           VDB_SQ_BOUNDS_COMMON);
    }
    if (options->sample == NULL || options->sample_count == 0) {
        return vdb_err_set(err, VDB_INVALID, "sample_count: 0; at least 1");
    }
    if (options->sample_stride < dimension) {
        return vdb_err_set(err, VDB_INVALID, "sample_stride: %zu; at least the dimension, %zu",
                           options->sample_stride, dimension);
    }
    return VDB_OK;
}

/* lows and highs: [dimension]. */
static vdb_status find_bounds(size_t dimension, const struct vdb_sq_options *options, float *lows, float *highs,
                              struct vdb_err *err)
{
    for (size_t row = 0; row < options->sample_count; row++) {
        const float *x = options->sample + row * options->sample_stride;
        for (size_t i = 0; i < dimension; i++) {
            if (!isfinite(x[i])) {
                return vdb_err_set(err, VDB_INVALID, "sample: element %zu of row %zu is not finite", i, row);
            }
            lows[i] = row == 0 || x[i] < lows[i] ? x[i] : lows[i];
            highs[i] = row == 0 || x[i] > highs[i] ? x[i] : highs[i];
        }
    }
    if (options->bounds == VDB_SQ_BOUNDS_COMMON) {
        for (size_t i = 1; i < dimension; i++) {
            lows[0] = fminf(lows[0], lows[i]);
            highs[0] = fmaxf(highs[0], highs[i]);
        }
        for (size_t i = 1; i < dimension; i++) {
            lows[i] = lows[0];
            highs[i] = highs[0];
        }
    }
    return VDB_OK;
}

vdb_status vdb_sq_create(size_t dimension, const struct vdb_sq_options *options, struct vdb_sq **out,
                         struct vdb_err *err)
{
    *out = NULL;
    VDB_TRY(check_options(dimension, options, err));
    struct vdb_sq *sq;
    VDB_TRY(allocate(dimension, options->bits, options->bounds, &sq, err));
    vdb_status status = find_bounds(dimension, options, sq->lows, sq->steps, err);
    if (status != VDB_OK) {
        vdb_sq_destroy(sq);
        return status;
    }
    for (size_t i = 0; i < dimension; i++) {
        double step = ((double)sq->steps[i] - (double)sq->lows[i]) / (double)level_max(sq);
        sq->steps[i] = step >= 0x1p-126 ? (float)step : 0; /* below that its inverse may not be finite */
        if (!(decoded(sq, i, level_max(sq)) <= (double)FLT_MAX)) {
            sq->steps[i] = nextafterf(sq->steps[i], 0); /* was rounded up, near f32's end */
        }
    }
    *out = sq;
    return VDB_OK;
}

size_t vdb_sq_dimension(const struct vdb_sq *sq)
{
    return sq->dimension;
}

unsigned vdb_sq_bits(const struct vdb_sq *sq)
{
    return sq->bits;
}

size_t vdb_sq_code_bytes(const struct vdb_sq *sq)
{
    return sq->padded * sq->bits / 8;
}

float vdb_sq_step(const struct vdb_sq *sq, size_t i)
{
    assert(i < sq->dimension);
    return sq->steps[i];
}

float vdb_sq_low(const struct vdb_sq *sq, size_t i)
{
    assert(i < sq->dimension);
    return sq->lows[i];
}

/* ---- Codes ---- */

/* Where the 4-bit code of element i lies. */
static size_t byte_of(size_t i)
{
    return i / 32 * 16 + i % 16;
}

static unsigned shift_of(size_t i)
{
    return (unsigned)(i % 32 / 16 * 4);
}

void vdb_sq_encode(const struct vdb_sq *sq, const float *vector, uint8_t *code)
{
    memset(code, 0, vdb_sq_code_bytes(sq));
    const double most = (double)level_max(sq);
    for (size_t i = 0; i < sq->dimension; i++) {
        double above = (double)vector[i] - (double)sq->lows[i];
        double steps = sq->steps[i] > 0 ? above / (double)sq->steps[i] : 0;
        steps = steps > 0 ? steps : 0; /* a NaN too */
        unsigned level = (unsigned)lrint(steps < most ? steps : most);
        if (sq->bits == 8) {
            code[i] = (uint8_t)level;
        } else {
            code[byte_of(i)] |= (uint8_t)(level << shift_of(i));
        }
    }
}

void vdb_sq_decode(const struct vdb_sq *sq, const uint8_t *code, float *vector)
{
    for (size_t i = 0; i < sq->dimension; i++) {
        unsigned level = sq->bits == 8 ? code[i] : code[byte_of(i)] >> shift_of(i) & 15u;
        vector[i] = (float)decoded(sq, i, (float)level);
    }
}

/* ---- Distances ---- */

size_t vdb_sq_query_floats(const struct vdb_sq *sq)
{
    return 2 * sq->padded;
}

vdb_status vdb_sq_query_init(struct vdb_sq_query *query, const struct vdb_sq *sq, vdb_metric metric,
                             const float *vector, float *scratch, struct vdb_err *err)
{
    if (metric != VDB_METRIC_L2 && metric != VDB_METRIC_DOT) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "metric: %s on scalar codes; l2 or dot",
                           vdb_metric_name(metric));
    }
    *query = (struct vdb_sq_query){
        .sq = sq, .metric = metric, .padded = sq->padded, .offsets = scratch, .weights = scratch + sq->padded};
    memset(scratch, 0, vdb_sq_query_floats(sq) * sizeof *scratch);
    double bias = 0;
    for (size_t i = 0; i < sq->dimension; i++) {
        if (metric == VDB_METRIC_L2) {
            query->offsets[i] = vector[i] - sq->lows[i];
            query->weights[i] = sq->steps[i];
        } else {
            query->weights[i] = vector[i] * sq->steps[i];
            bias += (double)vector[i] * (double)sq->lows[i];
        }
    }
    query->bias = (float)bias;
    return VDB_OK;
}

void vdb_sq_distances(const struct vdb_sq_query *query, const uint8_t *codes, size_t stride_bytes, size_t count,
                      float *out)
{
    const struct vdb_sq_kernels *kernels = vdb_sq_kernels_get();
    const size_t width = query->sq->bits == 8 ? 1 : 0;
    if (query->metric == VDB_METRIC_L2) {
        for (size_t i = 0; i < count; i++) {
            out[i] = kernels->l2[width](codes + i * stride_bytes, query->padded, query->offsets, query->weights);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        float sum = kernels->dot[width](codes + i * stride_bytes, query->padded, query->offsets, query->weights);
        out[i] = -(query->bias + sum);
    }
}

vdb_status vdb_sq_between(const struct vdb_sq *sq, const uint8_t *a, const uint8_t *b, double *out,
                          struct vdb_err *err)
{
    if (sq->bits != 8 || sq->bounds != VDB_SQ_BOUNDS_COMMON) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "between: %u bits, bounds of %s; 8 bits with common bounds",
                           sq->bits, sq->bounds == VDB_SQ_BOUNDS_COMMON ? "all dimensions" : "each dimension");
    }
    const double step = (double)sq->steps[0];
    *out = step * step * vdb_kernels_get()->one[VDB_ELEMENT_U8][VDB_METRIC_L2](a, b, sq->dimension);
    return VDB_OK;
}

/* ---- Bytes ---- */

void vdb_sq_save(const struct vdb_sq *sq, struct vdb_buf *out)
{
    vdb_buf_put_u32(out, MAGIC);
    vdb_buf_put_u32(out, VERSION);
    vdb_buf_put_u32(out, sq->bits);
    vdb_buf_put_u32(out, (uint32_t)sq->bounds);
    vdb_buf_put_u32(out, (uint32_t)sq->dimension);
    vdb_buf_put(out, sq->lows, sq->dimension * sizeof(float));
    vdb_buf_put(out, sq->steps, sq->dimension * sizeof(float));
}

static vdb_status check_loaded(const struct vdb_sq *sq, struct vdb_err *err)
{
    for (size_t i = 0; i < sq->dimension; i++) {
        const float low = sq->lows[i];
        const float step = sq->steps[i];
        if (!isfinite(low) || !(decoded(sq, i, level_max(sq)) <= (double)FLT_MAX) || !(step >= 0) ||
            (step > 0 && step < 0x1p-126f)) {
            return vdb_err_set(err, VDB_CORRUPT, "quantiser: dimension %zu begins at %g and has steps of %g", i,
                               (double)low, (double)step);
        }
        if (sq->bounds == VDB_SQ_BOUNDS_COMMON && (low != sq->lows[0] || step != sq->steps[0])) {
            return vdb_err_set(err, VDB_CORRUPT, "quantiser: dimension %zu has bounds of its own", i);
        }
    }
    return VDB_OK;
}

vdb_status vdb_sq_load(struct vdb_cursor *in, struct vdb_sq **out, struct vdb_err *err)
{
    *out = NULL;
    const uint32_t magic = vdb_cursor_u32(in);
    const uint32_t version = vdb_cursor_u32(in);
    const uint32_t bits = vdb_cursor_u32(in);
    const uint32_t bounds = vdb_cursor_u32(in);
    const uint32_t dimension = vdb_cursor_u32(in);
    if (in->failed) {
        return vdb_err_set(err, VDB_CORRUPT, "quantiser: cut short");
    }
    if (magic != MAGIC) {
        return vdb_err_set(err, VDB_CORRUPT, "quantiser: begins with %08x, not VSQ1", magic);
    }
    if (version != VERSION) {
        return vdb_err_set(err, VDB_VERSION, "quantiser: version %u; this program knows %d", version, VERSION);
    }
    if ((bits != 8 && bits != 4) || bounds > VDB_SQ_BOUNDS_COMMON || dimension == 0 ||
        dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "quantiser: %u bits, bounds %u, dimension %u", bits, bounds,
                           dimension);
    }
    const size_t bytes = dimension * sizeof(float);
    const uint8_t *lows = vdb_cursor_take(in, bytes);
    const uint8_t *steps = vdb_cursor_take(in, bytes);
    if (lows == NULL || steps == NULL) {
        return vdb_err_set(err, VDB_CORRUPT, "quantiser: cut short");
    }
    struct vdb_sq *sq;
    VDB_TRY(allocate(dimension, bits, (vdb_sq_bounds)bounds, &sq, err));
    memcpy(sq->lows, lows, bytes);
    memcpy(sq->steps, steps, bytes);
    vdb_status status = check_loaded(sq, err);
    if (status != VDB_OK) {
        vdb_sq_destroy(sq);
        return status;
    }
    *out = sq;
    return VDB_OK;
}
