/* qgraph_project.c: the orthonormal directions on which neighbours' codes are taken.
 *
 * Up to 256 dimensions: a random rotation of all of them, into more where they are few. Beyond: the leading
 * principal directions, 256 or as many more as hold most of the variance, and a random rotation within them, for
 * signs describe a vector best whose coordinates are alike (Gao and Long 2024). The leading subspace is found by
 * orthogonal iteration on the covariance of a sample: nothing needs the single eigenvectors, since a rotation
 * follows.
 *
 * The matrix is kept in 8 bits, and projections are integers: the same at every CPU level. Sums of floats here go
 * in a fixed order for the same reason.
 *
 * Threads: confined.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "distance/gemm.h"
#include "qgraph_internal.h"

enum {
    SAMPLE_ROWS = 4096, /* times 255^2 fits 32 bits */
    ITERATIONS = 4,
    LEADING_BITS = 256,
    BITS_STEP = 128,
    BITS_MIN = 128, /* more signs than dimensions say more: the rotation then goes into a wider space */
    WIDTH = 16,     /* floats of a step */
};

static const double EXPLAINED_MIN = 0.95; /* by the leading directions, else more are taken */

typedef float wide __attribute__((vector_size(WIDTH * sizeof(float))));

/* ---- Rows of floats, each `padded` (a multiple of WIDTH) long ---- */

static float dot_of(const float *a, const float *b, size_t padded)
{
    wide sum = {0};
    for (size_t i = 0; i < padded; i += WIDTH) {
        wide x;
        wide y;
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        sum += x * y;
    }
    float total = 0;
    for (size_t i = 0; i < WIDTH; i++) {
        total += sum[i];
    }
    return total;
}

/* to += factor * from */
static void add_scaled(float *to, float factor, const float *from, size_t padded)
{
    for (size_t i = 0; i < padded; i += WIDTH) {
        wide x;
        wide y;
        memcpy(&x, to + i, sizeof x);
        memcpy(&y, from + i, sizeof y);
        x += y * factor;
        memcpy(to + i, &x, sizeof x);
    }
}

static void random_rows(struct vdb_rng *rng, float *rows, size_t count, size_t length, size_t padded)
{
    for (size_t r = 0; r < count; r++) {
        for (size_t i = 0; i < length; i++) {
            rows[r * padded + i] = vdb_rng_normal(rng);
        }
    }
}

/* Gram and Schmidt, each row twice; a row that depends on those before it is drawn anew. */
static void orthonormalise(struct vdb_rng *rng, float *rows, size_t count, size_t length, size_t padded)
{
    for (size_t r = 0; r < count; r++) {
        float *row = rows + r * padded;
        for (;;) {
            float before = dot_of(row, row, padded);
            for (size_t twice = 0; twice < 2; twice++) {
                for (size_t s = 0; s < r; s++) {
                    add_scaled(row, -dot_of(row, rows + s * padded, padded), rows + s * padded, padded);
                }
            }
            float after = dot_of(row, row, padded);
            if (after > before * 1e-8f && after > 0 && isfinite(after)) {
                float scale = 1 / sqrtf(after);
                for (size_t i = 0; i < length; i++) {
                    row[i] *= scale;
                }
                break;
            }
            random_rows(rng, row, 1, length, padded);
        }
    }
}

/* out (count x padded) = rows (count x inner) times matrix (inner x padded). */
static void multiply(const float *rows, size_t count, size_t row_stride, size_t inner, const float *matrix,
                     size_t padded, float *out)
{
    enum { TOGETHER = 8 };
    memset(out, 0, count * padded * sizeof *out);
    for (size_t r = 0; r < count; r += TOGETHER) {
        size_t end = r + TOGETHER < count ? r + TOGETHER : count;
        for (size_t i = 0; i < inner; i++) {
            for (size_t s = r; s < end; s++) {
                add_scaled(out + s * padded, rows[s * row_stride + i], matrix + i * padded, padded);
            }
        }
    }
}

/* ---- The covariance ---- */

/* Sums of products of all pairs of dimensions over the sample, exactly: tiles of 12 by 32 dimensions. */
static vdb_status covariance_of(const uint8_t *turned, size_t sampled, size_t dimension, size_t padded,
                                const double *mean, float *covariance, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_gemm gemm;
    const struct vdb_kernels *kernels = vdb_kernels_get();
    vdb_gemm_fill(&gemm, kernels->level, kernels->extensions);
    const struct vdb_gemm_kernel *kernel = &gemm.kernels[VDB_ELEMENT_U8];
    void *panel = vdb_alloc_aligned(kernel->panel_bytes(sampled));
    struct vdb_gemm_out *out = vdb_alloc_aligned(sizeof *out);
    int32_t *correction = vdb_calloc(dimension + VDB_GEMM_ROWS, sizeof *correction);
    if (panel == NULL || out == NULL || correction == NULL) {
        status = vdb_err_no_memory(err, "the graph's covariance");
        goto cleanup;
    }
    static const float zeros[VDB_GEMM_LANES] __attribute__((aligned(64)));
    for (size_t i = 0; i < dimension; i++) {
        correction[i] = (int32_t)(128 * (int64_t)llrint(mean[i] * (double)sampled));
    }
    for (size_t column = 0; column < dimension; column += VDB_GEMM_LANES) {
        size_t lanes = dimension - column < VDB_GEMM_LANES ? dimension - column : VDB_GEMM_LANES;
        kernel->pack(turned + column * sampled, sampled, lanes, sampled, 1, panel);
        for (size_t row = 0; row < dimension; row += VDB_GEMM_ROWS) {
            /* `turned` has VDB_GEMM_ROWS rows of zeros behind it */
            struct vdb_gemm_tile tile = {.panel = panel, .rows = turned + row * sampled, .stride_bytes = sampled};
            tile.dimension = sampled;
            tile.norm = zeros;
            tile.bias = zeros;
            tile.gain = zeros;
            tile.limit = zeros;
            tile.correction = correction + row;
            (void)kernel->run(&tile, out);
            for (size_t r = 0; r < VDB_GEMM_ROWS && row + r < dimension; r++) {
                for (size_t lane = 0; lane < lanes; lane++) {
                    covariance[(row + r) * padded + column + lane] = (float)((double)out->dots.u32[r][lane] /
                                                                                 (double)sampled -
                                                                             mean[row + r] * mean[column + lane]);
                }
            }
        }
    }
cleanup:
    free(panel);
    free(out);
    free(correction);
    return status;
}

/* The part of the variance that the first `count` directions hold. */
static double explained_by(const float *directions, const float *moved, size_t count, const float *covariance,
                           size_t dimension, size_t padded)
{
    double trace = 0;
    double held = 0;
    for (size_t i = 0; i < dimension; i++) {
        trace += (double)covariance[i * padded + i];
    }
    for (size_t r = 0; r < count; r++) {
        held += (double)dot_of(directions + r * padded, moved + r * padded, padded);
    }
    return trace > 0 ? held / trace : 1;
}

/* ---- The matrix ---- */

struct plan {
    size_t dimension;
    size_t padded; /* dimension, to a multiple of 64 */
    double *mean;
    uint8_t *turned; /* the sample, dimension by dimension */
    size_t sampled;
    float *directions; /* bits x padded */
    float *rotation;   /* bits x bits */
};

static vdb_status take_sample(struct plan *plan, const uint8_t *vectors, size_t stride_bytes, size_t count,
                              struct vdb_err *err)
{
    const size_t every = count / SAMPLE_ROWS + 1;
    plan->sampled = (count + every - 1) / every;
    plan->mean = vdb_calloc(plan->dimension, sizeof *plan->mean);
    plan->turned = vdb_calloc(plan->dimension + VDB_GEMM_ROWS, plan->sampled > 0 ? plan->sampled : 1);
    if (plan->mean == NULL || plan->turned == NULL) {
        return vdb_err_no_memory(err, "the graph's sample");
    }
    for (size_t s = 0; s < plan->sampled; s++) {
        const uint8_t *vector = vectors + s * every * stride_bytes;
        for (size_t i = 0; i < plan->dimension; i++) {
            plan->turned[i * plan->sampled + s] = vector[i];
            plan->mean[i] += vector[i];
        }
    }
    for (size_t i = 0; plan->sampled > 0 && i < plan->dimension; i++) {
        plan->mean[i] /= (double)plan->sampled;
    }
    return VDB_OK;
}

/* Fills plan->directions with the leading subspace of `bits` dimensions. */
static vdb_status lead(struct plan *plan, struct vdb_rng *rng, size_t bits, double *explained,
                       struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const size_t padded = plan->padded;
    float *covariance = vdb_alloc_aligned(padded * padded * sizeof *covariance);
    float *moved = vdb_alloc_aligned(bits * padded * sizeof *moved);
    if (covariance == NULL || moved == NULL) {
        status = vdb_err_no_memory(err, "the graph's covariance");
        goto cleanup;
    }
    VDB_CHECK(covariance_of(plan->turned, plan->sampled, plan->dimension, padded, plan->mean, covariance, err));
    random_rows(rng, plan->directions, bits, plan->dimension, padded);
    for (size_t i = 0; i < ITERATIONS; i++) {
        orthonormalise(rng, plan->directions, bits, plan->dimension, padded);
        multiply(plan->directions, bits, padded, plan->dimension, covariance, padded, moved);
        memcpy(plan->directions, moved, bits * padded * sizeof *moved);
    }
    orthonormalise(rng, plan->directions, bits, plan->dimension, padded);
    multiply(plan->directions, bits, padded, plan->dimension, covariance, padded, moved);
    *explained = explained_by(plan->directions, moved, bits, covariance, plan->dimension, padded);
cleanup:
    free(covariance);
    free(moved);
    return status;
}

/* plan->directions = a random rotation of them; or, if there are none, of all dimensions. */
static vdb_status rotate(struct plan *plan, struct vdb_rng *rng, size_t bits, bool led, struct vdb_err *err)
{
    plan->rotation = vdb_alloc_aligned(bits * bits * sizeof *plan->rotation);
    if (plan->rotation == NULL) {
        return vdb_err_no_memory(err, "the graph's rotation");
    }
    random_rows(rng, plan->rotation, bits, bits, bits);
    orthonormalise(rng, plan->rotation, bits, bits, bits);
    if (!led) {
        for (size_t j = 0; j < bits; j++) {
            memcpy(plan->directions + j * plan->padded, plan->rotation + j * bits,
                   plan->dimension * sizeof *plan->directions);
        }
        return VDB_OK;
    }
    float *turned = vdb_alloc_aligned(bits * plan->padded * sizeof *turned);
    if (turned == NULL) {
        return vdb_err_no_memory(err, "the graph's rotation");
    }
    multiply(plan->rotation, bits, bits, bits, plan->directions, plan->padded, turned);
    memcpy(plan->directions, turned, bits * plan->padded * sizeof *turned);
    free(turned);
    return VDB_OK;
}

/* The 8-bit matrix, and what its outputs mean. */
static vdb_status finish(struct qgraph_projection *projection, const struct plan *plan, const uint8_t *vectors,
                         size_t stride_bytes, size_t count, struct vdb_err *err)
{
    const size_t bits = projection->bits;
    const size_t groups = (plan->dimension + 3) / 4;
    float greatest = 0;
    projection->matrix = vdb_alloc_aligned(groups * 4 * bits);
    projection->offset = vdb_alloc_aligned(bits * sizeof *projection->offset);
    projection->mean = vdb_calloc(plan->dimension, sizeof *projection->mean);
    int32_t *projected = vdb_alloc_aligned(bits * sizeof *projected);
    if (projection->matrix == NULL || projection->offset == NULL || projection->mean == NULL ||
        projected == NULL) {
        free(projected);
        return vdb_err_no_memory(err, "the graph's projection");
    }
    for (size_t i = 0; i < bits * plan->padded; i++) {
        float x = fabsf(plan->directions[i]);
        greatest = x > greatest ? x : greatest;
    }
    const float scale = 127 / greatest;
    for (size_t i = 0; i < plan->dimension; i++) {
        projection->mean[i] = (float)plan->mean[i];
    }
    for (size_t j = 0; j < bits; j++) {
        double offset = 0;
        for (size_t i = 0; i < plan->dimension; i++) {
            int8_t value = (int8_t)rintf(plan->directions[j * plan->padded + i] * scale);
            projection->matrix[(j / 64 * groups + i / 4) * 256 + j % 64 * 4 + i % 4] = value;
            offset += value * plan->mean[i];
        }
        projection->offset[j] = (int32_t)rint(offset);
    }
    int64_t most = 1;
    const size_t every = count / SAMPLE_ROWS + 1;
    for (size_t row = 0; row < count; row += every) {
        vdb_qgraph_kernels_get()->project(projection->matrix, vectors + row * stride_bytes, plan->dimension, bits,
                                          projected);
        for (size_t j = 0; j < bits; j++) {
            int64_t value = llabs((int64_t)projected[j] - projection->offset[j]);
            most = value > most ? value : most;
        }
    }
    free(projected);
    projection->scale = (float)VDB_QGRAPH_CODE_MAX / (float)most;
    projection->unit = 1 / (scale * projection->scale);
    return VDB_OK;
}

vdb_status vdb_qgraph_project_init(struct qgraph_projection *projection, const uint8_t *vectors,
                                   size_t stride_bytes, size_t count, uint32_t dimension, unsigned bits,
                                   uint64_t seed, struct vdb_err *err)
{
    vdb_status status;
    struct vdb_rng rng;
    const unsigned all = (unsigned)vdb_round_up(dimension, 64);
    const bool chosen = bits == 0;
    struct plan plan = {.dimension = dimension, .padded = all};
    *projection = (struct qgraph_projection){.inputs = dimension, .explained = 1};
    vdb_rng_init(&rng, seed);
    if (chosen) {
        bits = all < LEADING_BITS ? all : LEADING_BITS;
        bits = bits < BITS_MIN ? BITS_MIN : bits;
    }
    plan.directions = vdb_alloc_aligned(VDB_QGRAPH_BITS_MAX * (size_t)plan.padded * sizeof *plan.directions);
    if (plan.directions == NULL) {
        status = vdb_err_no_memory(err, "the graph's projection");
        goto cleanup;
    }
    VDB_CHECK(take_sample(&plan, vectors, stride_bytes, count, err));
    for (;;) {
        if (bits >= all) {
            projection->explained = 1;
            break;
        }
        VDB_CHECK(lead(&plan, &rng, bits, &projection->explained, err));
        if (!chosen || projection->explained >= EXPLAINED_MIN || bits == VDB_QGRAPH_BITS_MAX) {
            break;
        }
        /* Each direction holds less than those before it: what a share of it cannot reach is not tried. At thousands of
         * dimensions without any that lead, each try takes minutes. */
        const double each = projection->explained / bits;
        do {
            bits += BITS_STEP;
        } while (bits < VDB_QGRAPH_BITS_MAX && each * bits < EXPLAINED_MIN);
        bits = bits < all ? bits : all;
        bits = bits < VDB_QGRAPH_BITS_MAX ? bits : VDB_QGRAPH_BITS_MAX;
    }
    projection->bits = bits;
    VDB_CHECK(rotate(&plan, &rng, bits, bits < all, err));
    VDB_CHECK(finish(projection, &plan, vectors, stride_bytes, count, err));
cleanup:
    free(plan.mean);
    free(plan.turned);
    free(plan.directions);
    free(plan.rotation);
    if (status != VDB_OK) {
        vdb_qgraph_project_fini(projection);
    }
    return status;
}

void vdb_qgraph_project_fini(struct qgraph_projection *projection)
{
    free(projection->matrix);
    free(projection->offset);
    free(projection->mean);
    projection->mean = NULL;
    projection->matrix = NULL;
    projection->offset = NULL;
}
