/* rabitq_encode.c: from a vector to the grid point of the least angle.
 *
 * By symmetry the point's signs are the vector's, so magnitudes a[i] = |r[i]| remain, and levels m[i] = 0 to M = 2^(bits - 1) - 1
 * that stand for m + 1/2. Whatever the best levels are, some factor t gives them as m[i] = min(floor(t a[i]), M) (Gao et
 * al. 2025, section 3.2): the point nearest in angle is the nearest in distance to some multiple of a. As t grows, levels
 * change one at a time, at t = k / a[i]; each such event changes <y, a> by a[i] and |y|^2 by 2 k. So walking the events in order
 * meets every candidate at two additions each.
 *
 * Exact: all M D events. Near: the cosines of a row of factors 6% apart, around M / max a (where the greatest element just reaches
 * the last level) and up to 40 times it (long tails are best cut off), then of finer ones around the best of those. That takes
 * floats, in an order that all levels share (R3).
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "rabitq.h"

#define FACTOR_STEP  1.06f
#define FACTOR_FIRST 0.7f /* times M / max a */
#define FACTOR_LAST  40.0f

enum { FINE_STEPS = 20 /* to either side, within a coarse step */ };

struct event {
    double at; /* the factor */
    uint32_t dimension;
    uint32_t level; /* from here on */
};

struct vdb_rabitq_encoder {
    size_t dimensions;
    unsigned bits;
    vdb_rabitq_search search;
    float *magnitudes;    /* [dimensions], the greatest 1 */
    uint32_t *levels;     /* [dimensions] */
    struct event *events; /* of the exact search: all there are */
};

vdb_status vdb_rabitq_encoder_create(size_t dimensions, unsigned bits, vdb_rabitq_search search,
                                     struct vdb_rabitq_encoder **out, struct vdb_err *err)
{
    *out = NULL;
    if (dimensions > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "dimensions: %zu; at most %u", dimensions, VDB_LIMIT_DIMENSION_MAX);
    }
    if (dimensions == 0 || dimensions % VDB_RABITQ_MULTIPLE != 0) {
        return vdb_err_set(err, VDB_INVALID, "dimensions: %zu; a multiple of %d from %d on", dimensions,
                           VDB_RABITQ_MULTIPLE, VDB_RABITQ_MULTIPLE);
    }
    if (bits < 1 || bits > VDB_RABITQ_BITS_MAX) {
        return vdb_err_set(err, VDB_INVALID, "bits: %u; from 1 to %d", bits, VDB_RABITQ_BITS_MAX);
    }
    if ((unsigned)search > VDB_RABITQ_SEARCH_EXACT) {
        return vdb_err_set(err, VDB_INVALID, "search: %u; at most %d", (unsigned)search, VDB_RABITQ_SEARCH_EXACT);
    }
    struct vdb_rabitq_encoder *encoder = vdb_calloc(1, sizeof *encoder);
    if (encoder == NULL) {
        return vdb_err_no_memory(err, "an encoder");
    }
    *encoder = (struct vdb_rabitq_encoder){.dimensions = dimensions, .bits = bits, .search = search};
    encoder->magnitudes = vdb_calloc(dimensions, sizeof(float));
    encoder->levels = vdb_calloc(dimensions, sizeof(uint32_t));
    const bool events = bits > 1 && search == VDB_RABITQ_SEARCH_EXACT;
    if (events) {
        encoder->events = vdb_calloc(dimensions * ((1u << (bits - 1)) - 1), sizeof(struct event));
    }
    if (encoder->magnitudes == NULL || encoder->levels == NULL || (events && encoder->events == NULL)) {
        vdb_rabitq_encoder_destroy(encoder);
        return vdb_err_no_memory(err, "an encoder");
    }
    *out = encoder;
    return VDB_OK;
}

void vdb_rabitq_encoder_destroy(struct vdb_rabitq_encoder *encoder)
{
    if (encoder != NULL) {
        free(encoder->magnitudes);
        free(encoder->levels);
        free(encoder->events);
        free(encoder);
    }
}

/* ---- The search ---- */

/* <y, a> and |y|^2 of a candidate. */
struct candidate {
    double product;
    double square;
};

static double cosine_squared(struct candidate c)
{
    return c.product * c.product / c.square; /* times |a|^2 */
}

static int compare_events(const void *a, const void *b)
{
    const struct event *x = a;
    const struct event *y = b;
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    if (x->dimension != y->dimension) {
        return x->dimension < y->dimension ? -1 : 1;
    }
    return x->level < y->level ? -1 : x->level > y->level;
}

/* All candidates; leaves the best one's levels in encoder->levels. */
static void find_exactly(struct vdb_rabitq_encoder *encoder, uint32_t level_max)
{
    size_t count = 0;
    struct candidate c = {0, (double)encoder->dimensions / 4};
    for (size_t i = 0; i < encoder->dimensions; i++) {
        const double magnitude = (double)encoder->magnitudes[i];
        encoder->levels[i] = 0;
        c.product += magnitude / 2;
        for (uint32_t level = 1; level <= level_max && magnitude > 0; level++) {
            encoder->events[count++] = (struct event){level / magnitude, (uint32_t)i, level};
        }
    }
    qsort(encoder->events, count, sizeof(struct event), compare_events);
    double best = cosine_squared(c);
    size_t best_count = 0;
    for (size_t e = 0; e < count; e++) {
        c.product += (double)encoder->magnitudes[encoder->events[e].dimension];
        c.square += 2.0 * encoder->events[e].level;
        if (cosine_squared(c) > best) {
            best = cosine_squared(c);
            best_count = e + 1;
        }
    }
    for (size_t e = 0; e < best_count; e++) {
        encoder->levels[encoder->events[e].dimension] = encoder->events[e].level;
    }
}

/* Keeps the better of the best factor so far and this one. */
static void try_factor(const struct vdb_rabitq_encoder *encoder, float factor, float level_max, float *best,
                       float *best_factor)
{
    float product;
    float square;
    vdb_rabitq_get()->score(encoder->magnitudes, encoder->dimensions, factor, level_max, &product, &square);
    float cosine = product / square * product; /* squared, times |a|^2 */
    if (cosine > *best) {
        *best = cosine;
        *best_factor = factor;
    }
}

/* The magnitudes are scaled so that the greatest is 1: no product leaves f32's range. */
static void find_nearly(struct vdb_rabitq_encoder *encoder, uint32_t level_max)
{
    const float most = (float)level_max;
    float best = -1;
    float centre = most;
    float factor = FACTOR_FIRST * most;
    while (factor < FACTOR_LAST * most) {
        try_factor(encoder, factor, most, &best, &centre);
        factor *= FACTOR_STEP;
    }
    factor = centre;
    for (int step = -FINE_STEPS; step <= FINE_STEPS; step++) {
        float near = centre * (1 + (FACTOR_STEP - 1) * (float)step / FINE_STEPS);
        try_factor(encoder, near, most, &best, &factor);
    }
    for (size_t i = 0; i < encoder->dimensions; i++) {
        float scaled = factor * encoder->magnitudes[i]; /* as score has it */
        encoder->levels[i] = (uint32_t)(scaled < most ? scaled : most);
    }
}

/* ---- Codes and factors ---- */

/* All from <y, r>, |y|^2 and |r|^2, where y is in units of half a level: u - centre. */
static void fill_factors(struct candidate c, double square, size_t dimensions, struct vdb_rabitq_factors *out)
{
    double cosine_2 = cosine_squared(c) / square;
    double rest = cosine_2 < 1 ? (1 - cosine_2) / cosine_2 : 0;
    out->scale = (float)(square / c.product);
    out->length = (float)sqrt(square);
    out->error = (float)(sqrt(square) * sqrt(rest) / sqrt((double)dimensions - 1));
}

/* Squares of floats in double neither over- nor underflow, so what is refused is refused for f32's sake. */
static bool fits(double square, struct vdb_rabitq_factors *out)
{
    *out = (struct vdb_rabitq_factors){0, (float)sqrt(square), 0};
    return square >= 0x1p-140 && square <= (double)FLT_MAX;
}

void vdb_rabitq_encode_signs(const float *vector, size_t dimensions, uint8_t *code,
                             struct vdb_rabitq_factors *out)
{
    assert(dimensions % VDB_RABITQ_MULTIPLE == 0);
    struct candidate c = {0, (double)dimensions / 4};
    double square = 0;
    for (size_t i = 0; i < dimensions; i += 8) {
        unsigned byte = 0;
        for (size_t k = 0; k < 8; k++) {
            double x = (double)vector[i + k];
            byte |= (unsigned)(x >= 0) << k;
            c.product += fabs(x) / 2;
            square += x * x;
        }
        code[i / 8] = (uint8_t)byte;
    }
    if (!fits(square, out)) {
        memset(code, 0, dimensions / 8);
        return;
    }
    fill_factors(c, square, dimensions, out);
}

/* Bit j of eight to bit 0 of byte j. */
static uint64_t spread_bits(uint32_t eight)
{
    /* The first product puts the number into every byte, the mask leaves byte j its bit j, and adding 0x7F carries it to bit 7. */
    uint64_t bits = (eight & 0xFF) * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    return ((bits + UINT64_C(0x007F7F7F7F7F7F7F)) | bits) >> 7 & UINT64_C(0x0101010101010101);
}

void vdb_rabitq_encode(struct vdb_rabitq_encoder *encoder, const float *vector, uint8_t *code,
                       struct vdb_rabitq_factors *out)
{
    const size_t dimensions = encoder->dimensions;
    const unsigned bits = encoder->bits;
    if (bits == 1) {
        vdb_rabitq_encode_signs(vector, dimensions, code, out);
        return;
    }
    double square = 0;
    float greatest = 0;
    for (size_t i = 0; i < dimensions; i++) {
        float magnitude = fabsf(vector[i]);
        greatest = magnitude > greatest ? magnitude : greatest;
        square += (double)magnitude * (double)magnitude;
    }
    if (!fits(square, out)) {
        memset(code, 0, vdb_rabitq_code_bytes(dimensions, bits));
        return;
    }
    for (size_t i = 0; i < dimensions; i++) {
        encoder->magnitudes[i] = fabsf(vector[i]) / greatest;
    }
    const uint32_t half = 1u << (bits - 1);
    if (encoder->search == VDB_RABITQ_SEARCH_EXACT) {
        find_exactly(encoder, half - 1);
    } else {
        find_nearly(encoder, half - 1);
    }
    struct candidate c = {0, 0};
    for (size_t i = 0; i < dimensions; i += 8) {
        uint64_t planes = 0; /* a byte each; but the last of 9, which is `low` */
        unsigned low = 0;
        for (size_t k = 0; k < 8; k++) {
            const uint32_t level = encoder->levels[i + k];
            const uint32_t u = vector[i + k] >= 0 ? half + level : half - 1 - level;
            c.product += (level + 0.5) * fabs((double)vector[i + k]);
            c.square += (level + 0.5) * (level + 0.5);
            planes |= spread_bits(u >> (bits > 8 ? bits - 8 : 0)) << k;
            low |= (u & 1) << k;
        }
        for (unsigned plane = 0; plane < bits; plane++) {
            const unsigned from_last = bits - 1 - plane - (bits > 8 ? 1 : 0);
            code[plane * (dimensions / 8) + i / 8] = plane == 8 ? (uint8_t)low
                                                                : (uint8_t)(planes >> 8 * from_last);
        }
    }
    fill_factors(c, square, dimensions, out);
}
