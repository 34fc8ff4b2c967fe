/* rotation.h: orthonormal transforms of vectors, as preparation for codes.
 *
 * RaBitQ's guarantees hold under a random rotation (Gao and Long, SIGMOD 2024, section 3.1.2); a principal component analysis
 * moves what tells vectors apart to the front, so that a code may do with fewer dimensions (SAQ, Li et al. 2025). Kinds:
 *
 *   RANDOM      random signs and fast Hadamard transforms in rounds, O(d log d). A Hadamard transform has a power of two of
 *               elements; other dimensions take the largest such block at the front and at the back by turns, and
 *               after each a butterfly of the two halves, so that a block's part outside the overlap mixes as well.
 *   PCA         the eigenvectors of a sample's covariance, greatest variance first: a dense matrix.
 *   PCA_RANDOM  the same, its `leading` first dimensions then mixed by a random rotation: a dense matrix, too.
 *
 * Vectors of `dimension` floats go to vectors of `padded` (dimension rounded up to 64) floats; lengths and distances stay, up
 * to rounding: O1 |out| = |in| (1 + e), |e| <= 2^-16. Results are equal to the last bit at every CPU level (O2), since
 * each output is a chain of separate multiplications and additions in one order.
 *
 * The integer form of a dense rotation (vdb_rotation_apply_u8, _i8) has a matrix of 8-bit codes with a scale for each row:
 *   O3 | out[j] - exact |  <=  scale(j) / 2 * sum |in[i]|  +  2^-20 |in|,     scale(j) = max |M[j][i]| / 127
 *      which is never reached: roundings are independent, so the error's standard deviation is near scale(j) / sqrt(12) * |in|.
 *      Sums are exact integers up to the last multiplication.
 *
 * Threads: immutable after vdb_rotation_create or _load and vdb_rotation_prepare_int8; apply is shared-read.
 */
#ifndef VDB_QUANT_ROTATION_H
#define VDB_QUANT_ROTATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/pool.h"

enum {
    VDB_ROTATION_MULTIPLE = 64,  /* of `padded` and of every count of leading dimensions */
    VDB_ROTATION_PCA_MAX = 4096, /* dimensions: the eigenvectors take the cube of it, here about a minute */
};

typedef enum vdb_rotation_kind {
    VDB_ROTATION_RANDOM,
    VDB_ROTATION_PCA,
    VDB_ROTATION_PCA_RANDOM,
    VDB_ROTATION_KIND_COUNT
} vdb_rotation_kind;

struct vdb_rotation;

struct vdb_rotation_options {
    vdb_rotation_kind kind;
    uint64_t seed;         /* of the random part */
    size_t leading;        /* PCA_RANDOM: dimensions mixed, a multiple of 64; 0: all of `padded` */
    double explained_min;  /* PCA_RANDOM with leading 0: the fewest that explain this much (0 to 1); 0: all */
    const float *sample;   /* PCA kinds: rows to learn from */
    size_t sample_stride;  /* floats from row to row, at least dimension */
    size_t sample_count;   /* at least 1; some 20 for each dimension are plenty */
    struct vdb_pool *pool; /* for the covariance; NULL: the caller's thread alone */
};

/* VDB_INVALID: a field breaks its rule or the sample holds what is not finite. VDB_LIMIT: dimension over
 * VDB_LIMIT_DIMENSION_MAX, with PCA over VDB_ROTATION_PCA_MAX. The sample is not kept. */
vdb_status vdb_rotation_create(size_t dimension, const struct vdb_rotation_options *options,
                               struct vdb_rotation **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_rotation_destroy(struct vdb_rotation *rotation); /* NULL is allowed */

size_t vdb_rotation_dimension(const struct vdb_rotation *rotation);
size_t vdb_rotation_padded(const struct vdb_rotation *rotation);
size_t vdb_rotation_leading(const struct vdb_rotation *rotation); /* those that PCA_RANDOM mixes; else `padded` */
vdb_rotation_kind vdb_rotation_kind_of(const struct vdb_rotation *rotation);
uint64_t vdb_rotation_bytes(const struct vdb_rotation *rotation); /* of memory */

/* The share of the sample's variance that the first `count` dimensions of the output hold, 0 to 1. What a random
 * rotation mixes is counted as spread evenly, so RANDOM gives count / padded. 1 where there is no variance at all. */
double vdb_rotation_explained(const struct vdb_rotation *rotation, size_t count);

/* The fewest dimensions, a multiple of 64, that hold at least `share` of the variance. */
size_t vdb_rotation_dimensions_for(const struct vdb_rotation *rotation, double share);

/* The first out_count (a multiple of 64, at most padded) outputs of one vector. in: dimension floats. out: aligned to 64, room
 * for `padded` floats, of which those from out_count on are left undefined. */
void vdb_rotation_apply(const struct vdb_rotation *rotation, const float *in, size_t out_count, float *out);

/* The same for rows; strides in floats; out_stride a multiple of 16 and at least out_count (RANDOM: at least padded). pool:
 * NULL for the caller's thread. Each row's result equals that of vdb_rotation_apply. */
void vdb_rotation_apply_many(const struct vdb_rotation *rotation, const float *in, size_t in_stride, size_t count,
                             size_t out_count, float *out, size_t out_stride, struct vdb_pool *pool);

/* Makes the 8-bit matrix for up to out_count outputs. Nothing for RANDOM. Before the object is shared. */
vdb_status vdb_rotation_prepare_int8(struct vdb_rotation *rotation, size_t out_count,
                                     struct vdb_err *err) VDB_MUST_CHECK;

/* As vdb_rotation_apply, for `dimension` bytes, by the 8-bit matrix (out_count at most what it was made for); RANDOM converts
 * and rotates floats. */
void vdb_rotation_apply_u8(const struct vdb_rotation *rotation, const uint8_t *in, size_t out_count, float *out);
void vdb_rotation_apply_i8(const struct vdb_rotation *rotation, const int8_t *in, size_t out_count, float *out);

/* Bytes: "VROT", version, kind, dimension, leading, seed, and for dense kinds the eigenvalues and the matrix. */
void vdb_rotation_save(const struct vdb_rotation *rotation, struct vdb_buf *out);

/* Reads what vdb_rotation_save wrote, from the cursor's place on. VDB_VERSION: of a later version; VDB_CORRUPT: cut short, not
 * possible, or vectors at random do not keep their lengths; a flipped low bit is for the file's checksum to find. */
vdb_status vdb_rotation_load(struct vdb_cursor *in, struct vdb_rotation **out,
                             struct vdb_err *err) VDB_MUST_CHECK;

#endif
