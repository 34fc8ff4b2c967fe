/* qgraph_space.c: rows as inner vectors: u8 elements compared by squared l2.
 *
 *     u8, l2       the row itself                       exact
 *     i8, l2       each element + 128                   exact
 *     others, l2   (x - centre) / step + 128, rounded and clipped
 *     cosine       the same of the row divided by its length: l2 then grows with 1 - cos
 *     dot          the same of x - centre followed by sqrt((longest^2 - |x - centre|^2) / 32) thirty-two times:
 *                  all rows then have one length, and l2 to a query with zeros there falls as the product grows
 *                  (Neyshabur and Srebro 2015). Spread over many dimensions, the addition is of the others'
 *                  magnitude, so that one step serves all. Queries are brought to the longest row's length: that
 *                  changes no order and keeps the answers' distances small beside the others'.
 *
 * Threads: pure functions on the caller's memory.
 */
#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "distance/wide.h"
#include "qgraph_internal.h"

enum {
    SAMPLE_ROWS = 20000,
    CLIPPED_PER_MILLION = 100, /* values of the sample that may fall outside of a code's range */
    BUCKETS = 4096,
    TOGETHER = 8,
    PIECE = 64,             /* numbers made codes of at a time */
    CLIPPED_FROM = 1 << 20, /* steps: beyond, numbers count as this many */
};

/* Several sums at a time, in one order at every level. */
static double square_of(const float *vector, size_t dimension)
{
    double sums[TOGETHER] = {0};
    double square = 0;
    size_t i = 0;
    for (; i + TOGETHER <= dimension; i += TOGETHER) {
        for (size_t lane = 0; lane < TOGETHER; lane++) {
            sums[lane] += (double)vector[i + lane] * (double)vector[i + lane];
        }
    }
    for (; i < dimension; i++) {
        square += (double)vector[i] * (double)vector[i];
    }
    for (size_t lane = 0; lane < TOGETHER; lane++) {
        square += sums[lane];
    }
    return square;
}

static double length_of(const float *vector, size_t dimension)
{
    return sqrt(square_of(vector, dimension));
}

/* The row as floats; for cosine, of length 1. */
static void load(const struct qgraph_space *space, const void *row, float *out)
{
    const size_t dimension = space->row_dimension;
    if (space->element == VDB_ELEMENT_U8) {
        for (size_t i = 0; i < dimension; i++) {
            out[i] = ((const uint8_t *)row)[i];
        }
    } else if (space->element == VDB_ELEMENT_I8) {
        for (size_t i = 0; i < dimension; i++) {
            out[i] = ((const int8_t *)row)[i];
        }
    } else {
        vdb_wide_load(space->element, row, dimension, out);
    }
    if (space->metric == VDB_METRIC_COSINE) {
        const double length = length_of(out, dimension);
        const double scale = length > 0 ? 1 / length : 0;
        for (size_t i = 0; i < dimension; i++) {
            out[i] = (float)((double)out[i] * scale);
        }
    }
}

/* The same around the centre. */
static void load_centred(const struct qgraph_space *space, const void *row, float *out)
{
    load(space, row, out);
    for (size_t i = 0; i < space->row_dimension; i++) {
        out[i] -= space->centre[i];
    }
}

/* dot: what each of the added dimensions of a centred row holds. */
static float addition_of(const struct qgraph_space *space, const float *centred)
{
    const double length = length_of(centred, space->row_dimension);
    const double left = (double)space->longest * (double)space->longest - length * length;
    return left > 0 ? (float)sqrt(left / QGRAPH_DOT_SPREAD) : 0;
}

/* Four at a time, which every x86-64 and ARMv8 has instructions for. */
typedef float floats4 __attribute__((vector_size(16)));
typedef int32_t ints4 __attribute__((vector_size(16)));

static inline floats4 clamp(floats4 x, float low, float high)
{
    const floats4 zero = {0};
    const ints4 under = x < zero + low;
    const ints4 over = x > zero + high;
    return (floats4)((under & (ints4)(zero + low)) | (over & (ints4)(zero + high)) |
                     (~(under | over) & (ints4)x));
}

/* The inner values of PIECE numbers; returns the square of all that clipping cut off, in steps. Adding and taking
 * away 1.5 * 2^23 rounds to the nearest whole number, ties to even. */
static double encode_piece(const float *floats, float inverse, uint8_t *out)
{
    static const float rounder = 12582912;
    int32_t whole[PIECE];
    floats4 lost = {0};
    for (size_t i = 0; i < PIECE; i += 4) {
        floats4 x;
        memcpy(&x, floats + i, sizeof x);
        x *= inverse;
        const ints4 number = ((ints4)x & INT32_MAX) <= 0x7F800000; /* what is none becomes 0 */
        x = clamp((floats4)((ints4)x & number), -CLIPPED_FROM, CLIPPED_FROM);
        const floats4 code = ((x + rounder) - rounder) + 128;
        const floats4 inside = clamp(code, 0, 255);
        const ints4 numbers = __builtin_convertvector(inside, ints4);
        lost += (code - inside) * (code - inside);
        memcpy(whole + i, &numbers, sizeof numbers);
    }
    for (size_t i = 0; i < PIECE; i++) {
        out[i] = (uint8_t)whole[i];
    }
    return ((double)lost[0] + (double)lost[1]) + ((double)lost[2] + (double)lost[3]);
}

/* The same of any number. */
static double encode(const float *floats, size_t count, float inverse, uint8_t *out)
{
    double lost = 0;
    size_t i = 0;
    for (; i + PIECE <= count; i += PIECE) {
        lost += encode_piece(floats + i, inverse, out + i);
    }
    if (i < count) {
        float rest[PIECE] = {0};
        uint8_t codes[PIECE];
        memcpy(rest, floats + i, (count - i) * sizeof *floats);
        lost += encode_piece(rest, inverse, codes);
        memcpy(out + i, codes, count - i);
    }
    return lost;
}

void vdb_qgraph_space_row(const struct qgraph_space *space, const void *row, float *floats, uint8_t *out)
{
    if (space->exact) {
        memcpy(out, row, space->dimension);
        for (size_t i = 0; space->element == VDB_ELEMENT_I8 && i < space->dimension; i++) {
            out[i] ^= 0x80;
        }
        return;
    }
    load_centred(space, row, floats);
    const float inverse = 1 / space->step;
    (void)encode(floats, space->row_dimension, inverse, out);
    if (space->metric == VDB_METRIC_DOT) {
        const float addition = addition_of(space, floats);
        uint8_t code;
        (void)encode(&addition, 1, inverse, &code);
        memset(out + space->row_dimension, code, QGRAPH_DOT_SPREAD);
    }
}

/* dot: to the longest row's length, or to where no element leaves a code's range. */
static float query_scale(const struct qgraph_space *space, const float *query)
{
    const double length = length_of(query, space->row_dimension);
    const double range = 127 * (double)space->step;
    double greatest = 0;
    for (size_t i = 0; i < space->row_dimension; i++) {
        greatest = fabs((double)query[i]) > greatest ? fabs((double)query[i]) : greatest;
    }
    if (!(length > 0) || !isfinite(length)) {
        return 0;
    }
    const double scale = (double)space->longest / length;
    return (float)(scale * greatest > range ? range / greatest : scale);
}

bool vdb_qgraph_space_query(const struct qgraph_space *space, const void *query, float *floats, uint8_t *out)
{
    if (space->exact) {
        vdb_qgraph_space_row(space, query, floats, out);
        return true;
    }
    if (space->metric == VDB_METRIC_DOT) { /* not around the centre, which adds the same to all rows' products */
        load(space, query, floats);
        const float scale = query_scale(space, floats);
        for (size_t i = 0; i < space->row_dimension; i++) {
            floats[i] *= scale;
        }
    } else {
        load_centred(space, query, floats);
    }
    const double lost = encode(floats, space->row_dimension, 1 / space->step, out);
    const double square = square_of(floats, space->row_dimension);
    if (space->metric == VDB_METRIC_DOT) {
        memset(out + space->row_dimension, 128, QGRAPH_DOT_SPREAD);
    }
    return lost * (double)space->step * (double)space->step * 4 <= square;
}

/* The step at which all but a few of the sample's values fit a code. */
static bool set_step(struct qgraph_space *space, const struct vdb_rows *rows, size_t every, float *floats)
{
    double greatest = 0;
    size_t *buckets = vdb_calloc(BUCKETS, sizeof *buckets);
    if (buckets == NULL) {
        return false;
    }
    for (unsigned pass = 0; pass < 2; pass++) {
        for (size_t row = 0; row < rows->count; row += every) {
            load_centred(space, vdb_rows_at(rows, row), floats);
            for (size_t i = 0; i <= space->row_dimension; i++) {
                float x = i < space->row_dimension          ? fabsf(floats[i])
                          : space->metric == VDB_METRIC_DOT ? addition_of(space, floats)
                                                            : 0;
                if (!isfinite(x)) {
                    continue;
                }
                if (pass == 0) {
                    greatest = (double)x > greatest ? (double)x : greatest;
                } else {
                    buckets[(size_t)((double)x / greatest * (BUCKETS - 1))]++;
                }
            }
        }
        if (greatest == 0) {
            break;
        }
    }
    size_t total = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        total += buckets[i];
    }
    size_t top = BUCKETS;
    for (size_t over = 0; top > 1; top--) {
        over += buckets[top - 1];
        if (over * 1000000 > total * CLIPPED_PER_MILLION) {
            break;
        }
    }
    free(buckets);
    space->step = greatest == 0 ? 1 : (float)(greatest * (double)top / BUCKETS / 127);
    if (!(space->step > 0) || !isfinite(1 / space->step)) {
        space->step = 1;
    }
    return true;
}

void vdb_qgraph_space_set(struct qgraph_space *space, const struct vdb_rows *rows)
{
    *space = (struct qgraph_space){.element = rows->element, .metric = rows->metric, .step = 1};
    space->row_dimension = (uint32_t)rows->dimension;
    space->dimension = (uint32_t)rows->dimension + (rows->metric == VDB_METRIC_DOT ? QGRAPH_DOT_SPREAD : 0);
    space->exact = rows->metric == VDB_METRIC_L2 &&
                   (rows->element == VDB_ELEMENT_U8 || rows->element == VDB_ELEMENT_I8);
}

vdb_status vdb_qgraph_space_init(struct qgraph_space *space, const struct vdb_rows *rows, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    float *floats = NULL;
    double *sums = NULL;
    vdb_qgraph_space_set(space, rows);
    if (space->exact) {
        return VDB_OK;
    }
    const size_t every = rows->count / SAMPLE_ROWS + 1;
    size_t sampled = 0;
    floats = vdb_calloc(rows->dimension, sizeof *floats);
    sums = vdb_calloc(rows->dimension, sizeof *sums);
    space->centre = vdb_calloc(rows->dimension, sizeof *space->centre);
    if (floats == NULL || sums == NULL || space->centre == NULL) {
        status = vdb_err_no_memory(err, "the graph's codes");
        goto cleanup;
    }
    for (size_t row = 0; row < rows->count; row += every) {
        load(space, vdb_rows_at(rows, row), floats);
        for (size_t i = 0; i < rows->dimension; i++) {
            sums[i] += isfinite(floats[i]) ? (double)floats[i] : 0;
        }
        sampled++;
    }
    for (size_t i = 0; sampled > 0 && i < rows->dimension; i++) {
        space->centre[i] = (float)(sums[i] / (double)sampled);
    }
    for (size_t row = 0; space->metric == VDB_METRIC_DOT && row < rows->count; row++) {
        load_centred(space, vdb_rows_at(rows, row), floats);
        const double length = length_of(floats, rows->dimension);
        space->longest = length > (double)space->longest && length < (double)FLT_MAX ? (float)length
                                                                                     : space->longest;
    }
    if (!set_step(space, rows, every, floats)) {
        status = vdb_err_no_memory(err, "the graph's codes");
    }
cleanup:
    free(floats);
    free(sums);
    if (status != VDB_OK) {
        vdb_qgraph_space_fini(space);
    }
    return status;
}

void vdb_qgraph_space_fini(struct qgraph_space *space)
{
    free(space->centre);
    space->centre = NULL;
}
