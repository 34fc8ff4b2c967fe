/* rabitq.h: codes of 1 to 9 bits a dimension whose inner products with a query are estimated without bias.
 *
 * RaBitQ (Gao and Long, SIGMOD 2024, section 3) and its extension to more bits (Gao et al., SIGMOD 2025, sections 3 and 4). A
 * vector r that has been rotated at random (rotation.h) is stood for by the point y of the grid {u - centre}, u = 0 to
 * 2^bits - 1 in each dimension, centre = (2^bits - 1) / 2, that has the least angle to it. With c = <y, r> / (|y| |r|):
 *
 *     <r, q>  ~  scale * <y, q>,   scale = |r|^2 / <y, r>,      <y, q> = sum u[i] q[i] - centre sum q[i]
 *
 * R1 Over the rotation's randomness the expectation of the right side is <r, q>: what y adds to r lies at right angles to it, in a
 *    direction that is uniform.
 * R2 |estimate - <r, q>| <= epsilon * error * |q|,   error = |r| sqrt((1 - c^2) / c^2) / sqrt(dimensions - 1),
 *    with a probability of at least 1 - 2 exp(-epsilon^2 / 2): the first coordinate of a unit vector drawn uniformly in
 *    dimensions - 1. In many dimensions it is near normal: 5.7% are beyond 1.9, 0.27% beyond 3.
 *
 * Vectors and queries are taken relative to a centroid or a graph's node by the caller: then r and q are the differences.
 * Our differences from the papers: a code is stored as bit planes, the signs' first, so that every plane is a 1-bit code that
 * fastscan.h can pack (the first estimate is then scale1 * (2 S - sum q) / 2 with S its scan); the best grid point is sought near the best
 * of a coarse row of factors instead of among all of them (VDB_RABITQ_SEARCH_EXACT looks at all).
 *
 * R3 Codes, factors and dots are equal to the last bit at every CPU level.
 *
 * Code: `bits` planes of dimensions / 8 bytes; plane p holds bit bits - 1 - p of every u, dimension i at bit i % 8 of byte
 * i / 8. Bit 1 of the first plane: r[i] >= 0.
 *
 * Threads: an encoder is confined; everything else is pure, and the table immutable after the first vdb_rabitq_get.
 */
#ifndef VDB_QUANT_RABITQ_H
#define VDB_QUANT_RABITQ_H

#include "base/err.h"
#include "distance/kernels.h"

enum {
    VDB_RABITQ_BITS_MAX = 9,
    VDB_RABITQ_MULTIPLE = 64, /* of dimensions */
};

static inline size_t vdb_rabitq_code_bytes(size_t dimensions, unsigned bits)
{
    return dimensions / 8 * bits;
}

struct vdb_rabitq_factors {
    float scale;  /* 0 where r is 0 */
    float length; /* |r| */
    float error;  /* see R2; times epsilon and |q| */
};

typedef enum vdb_rabitq_search {
    VDB_RABITQ_SEARCH_NEAR,  /* the best of some 110 points, chosen in two rounds: microseconds */
    VDB_RABITQ_SEARCH_EXACT, /* the best grid point there is: D 2^(bits - 1) of them in order */
} vdb_rabitq_search;

struct vdb_rabitq_encoder;

/* VDB_INVALID: dimensions 0 or no multiple of 64, bits not 1 to 9. VDB_LIMIT: dimensions over VDB_LIMIT_DIMENSION_MAX. */
vdb_status vdb_rabitq_encoder_create(size_t dimensions, unsigned bits, vdb_rabitq_search search,
                                     struct vdb_rabitq_encoder **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_rabitq_encoder_destroy(struct vdb_rabitq_encoder *encoder); /* NULL is allowed */

/* code: vdb_rabitq_code_bytes. A vector of zeros, or one that holds what is not finite or whose square leaves f32's
 * range, has a code and factors of 0 (its length excepted, which is then not finite). */
void vdb_rabitq_encode(struct vdb_rabitq_encoder *encoder, const float *vector, uint8_t *code,
                       struct vdb_rabitq_factors *out);

/* One bit, no encoder: the signs. As an encoder of 1 bit gives. */
void vdb_rabitq_encode_signs(const float *vector, size_t dimensions, uint8_t *code,
                             struct vdb_rabitq_factors *out);

/* u of dimension i. */
static inline unsigned vdb_rabitq_value(const uint8_t *code, size_t dimensions, unsigned bits, size_t i)
{
    unsigned u = 0;
    for (unsigned plane = 0; plane < bits; plane++) {
        u = 2 * u + (code[plane * (dimensions / 8) + i / 8] >> i % 8 & 1u);
    }
    return u;
}

/* What the estimates need of a query, besides its values. */
struct vdb_rabitq_query {
    const float *values; /* borrowed */
    size_t dimensions;
    float sum;
    float square; /* |q|^2 */
};

void vdb_rabitq_query_init(struct vdb_rabitq_query *query, const float *values, size_t dimensions);

/* sum of u[i] q[i]. Sums go in 16 chains per plane, dimension i in chain i % 16, so rounding is within (dimensions / 16 + 8)
 * 2^-24 (2^bits - 1) sum |q[i]|. */
typedef float vdb_rabitq_dot_fn(const uint8_t *code, size_t dimensions, unsigned bits, const float *query);

/* For an encoder: with l = min(factor a[i], level_max) cut to a whole number, y = l + 1/2: the sums of y a[i] and of y y over all
 * dimensions, in 16 chains of floats likewise. a: none below 0. */
typedef void vdb_rabitq_score_fn(const float *magnitudes, size_t dimensions, float factor, float level_max,
                                 float *product, float *square);

struct vdb_rabitq {
    vdb_rabitq_dot_fn *dot;
    vdb_rabitq_score_fn *score;
    const char *from;
};

const struct vdb_rabitq *vdb_rabitq_get(void);
void vdb_rabitq_fill(struct vdb_rabitq *table, vdb_cpu_level level);

/* The estimate of <r, q> from sum u[i] q[i], however that came about (vdb_rabitq.dot; of one bit: a scan). */
static inline float vdb_rabitq_product(const struct vdb_rabitq_factors *factors, unsigned bits, float dot,
                                       float query_sum)
{
    return factors->scale * (dot - (float)((1u << bits) - 1) / 2 * query_sum);
}

/* The estimate of |r - q|^2. */
static inline float vdb_rabitq_l2(const struct vdb_rabitq_factors *factors, unsigned bits, float dot,
                                  const struct vdb_rabitq_query *query)
{
    float product = vdb_rabitq_product(factors, bits, dot, query->sum);
    return factors->length * factors->length + query->square - 2 * product;
}

/* ---- What the kernel files share; nobody else calls it ---- */

void vdb_rabitq_scalar(struct vdb_rabitq *table);
void vdb_rabitq_avx2(struct vdb_rabitq *table);
void vdb_rabitq_avx512(struct vdb_rabitq *table);

#endif
