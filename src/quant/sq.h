/* sq.h: scalar quantisation: each element becomes a whole number of steps above a lower bound, in 8 or 4 bits.
 *
 * Bounds are the least and the greatest value of a sample, for each dimension or for all together. Elements beyond them count as
 * the bound; a NaN counts as the lower one.
 *
 * Q1 An element x within its bounds [low, high] decodes to within  step (1/2 + 2^-14) + 2^-22 max(|low|, |high|) + 2^-126,
 *    step = (high - low) / (2^bits - 1).
 * Q2 Distances of a float query to codes are those to the decoded vectors, up to rounding: with e = sum (|q[i] - low[i]| +
 *    step[i] c[i])^2 (l2) or sum |q[i]| (|low[i]| + step[i] c[i]) (dot), within (dimension / 16 + 16) 2^-24 e. They are equal to
 *    the last bit at every CPU level: 16 chains of separate multiplications and additions, added halves first.
 * Q3 8 bits with common bounds: vdb_sq_between is step^2 times the exact l2 of the codes as u8 vectors (distance/kernels.h).
 *
 * Cosine: normalise vectors before they are encoded, and take dot.
 *
 * Code layout: 8 bits: one byte each, zeros up to a multiple of 16. 4 bits: byte k of each 16 has dimension k of 32 in its low half
 * and dimension 16 + k in its high half, zeros up to a multiple of 32 dimensions.
 *
 * Threads: immutable after vdb_sq_create or _load, shared-read; a vdb_sq_query is immutable after vdb_sq_query_init.
 */
#ifndef VDB_QUANT_SQ_H
#define VDB_QUANT_SQ_H

#include "base/bytes.h"
#include "base/err.h"
#include "distance/kernels.h"

struct vdb_sq;

typedef enum vdb_sq_bounds {
    VDB_SQ_BOUNDS_EACH,   /* of each dimension */
    VDB_SQ_BOUNDS_COMMON, /* one pair for all dimensions */
} vdb_sq_bounds;

struct vdb_sq_options {
    unsigned bits; /* 8 or 4 */
    vdb_sq_bounds bounds;
    const float *sample;
    size_t sample_stride; /* floats from row to row, at least dimension */
    size_t sample_count;  /* at least 1 */
};

/* VDB_INVALID: a field breaks its rule or the sample holds what is not finite. VDB_LIMIT: dimension over
 * VDB_LIMIT_DIMENSION_MAX. The sample is not kept. */
vdb_status vdb_sq_create(size_t dimension, const struct vdb_sq_options *options, struct vdb_sq **out,
                         struct vdb_err *err) VDB_MUST_CHECK;
void vdb_sq_destroy(struct vdb_sq *sq); /* NULL is allowed */

size_t vdb_sq_dimension(const struct vdb_sq *sq);
unsigned vdb_sq_bits(const struct vdb_sq *sq);
size_t vdb_sq_code_bytes(const struct vdb_sq *sq); /* a multiple of 16 */
float vdb_sq_step(const struct vdb_sq *sq, size_t i);
float vdb_sq_low(const struct vdb_sq *sq, size_t i);

/* vector: dimension floats; code: vdb_sq_code_bytes. Neither needs alignment. */
void vdb_sq_encode(const struct vdb_sq *sq, const float *vector, uint8_t *code);
void vdb_sq_decode(const struct vdb_sq *sq, const uint8_t *code, float *vector);

/* A float query prepared for its distances to codes. */
struct vdb_sq_query {
    const struct vdb_sq *sq;
    vdb_metric metric;
    size_t padded;
    float *offsets; /* l2: q - low. dot: not used */
    float *weights; /* l2: step. dot: q step */
    float bias;     /* dot: sum q low */
};

/* Floats of scratch that a query needs; aligned to 64, the caller's, outliving the query. */
size_t vdb_sq_query_floats(const struct vdb_sq *sq);

/* metric: l2 or dot. VDB_UNSUPPORTED: another. */
vdb_status vdb_sq_query_init(struct vdb_sq_query *query, const struct vdb_sq *sq, vdb_metric metric,
                             const float *vector, float *scratch, struct vdb_err *err) VDB_MUST_CHECK;

/* The inside form of base/element.h (l2 squared, dot negative), to each of `count` codes stride_bytes apart. */
void vdb_sq_distances(const struct vdb_sq_query *query, const uint8_t *codes, size_t stride_bytes, size_t count,
                      float *out);

/* |a - b|^2 of two codes. For 8 bits with common bounds; VDB_UNSUPPORTED for others, which decode one side into a query. */
vdb_status vdb_sq_between(const struct vdb_sq *sq, const uint8_t *a, const uint8_t *b, double *out,
                          struct vdb_err *err) VDB_MUST_CHECK;

/* Bytes: "VSQ1", version, bits, bounds, dimension, the lower bounds, the steps. */
void vdb_sq_save(const struct vdb_sq *sq, struct vdb_buf *out);

/* From the cursor's place on. VDB_VERSION: of a later version; VDB_CORRUPT: cut short or not possible. */
vdb_status vdb_sq_load(struct vdb_cursor *in, struct vdb_sq **out, struct vdb_err *err) VDB_MUST_CHECK;

#endif
