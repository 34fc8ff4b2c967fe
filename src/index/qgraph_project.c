/* qgraph_project.c: the orthonormal directions on which neighbours' codes are taken.
 *
 * Up to 256 dimensions: a random rotation of all of them, into more where they are few. Beyond: the leading
 * principal directions, 256 or as many more as hold most of the variance, and a random rotation within them, for
 * signs describe a vector best whose coordinates are alike (Gao and Long 2024). The leading subspace is found by
 * orthogonal iteration on the covariance of a sample: nothing needs the single eigenvectors, since a rotation
 * follows. Beyond 1,024 dimensions none are looked for where none lead: noise gets random ones.
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
    FLAT_ROWS = 512,    /* of the sample: those whose products tell whether any directions lead */
    ITERATIONS = 4,
    LEADING_BITS = 256,
    BITS_STEP = 128,
    BITS_MIN = 128, /* more signs than dimensions say more: the rotation then goes into a wider space */
    WIDTH = 16,     /* floats of a step */
};

static const double EXPLAINED_MIN = 0.95; /* by the leading directions, else more are taken */
static const double LEAD_MIN = 0.1; /* of the variance, beyond what random directions hold, to look for any */

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

/* ---- Products of matrices ---- */

enum {
    TILE_ROWS = 4,
    TILE_WIDTH = 8,    /* columns: with TILE_ROWS, sums that stay in registers at the lowest level of x86-64 */
    PANEL_DEPTH = 256, /* a strip of a panel fits the first-level cache, */
    PANEL_WIDTH = 64,  /* and all strips the second */
    BLOCK_ROWS = 32,   /* rows made orthonormal at a time */
};

typedef float narrow __attribute__((vector_size(4 * sizeof(float))));

/* A matrix of which element (i, j) is at[i * down + j * right]. */
struct operand {
    const float *at;
    size_t down;
    size_t right;
};

/* Strips of TILE_WIDTH columns, each row by row; zero past the last column. */
static void pack_panel(struct operand from, size_t depth, size_t columns, float *panel)
{
    for (size_t column = 0; column < columns; column += TILE_WIDTH) {
        const size_t width = columns - column < TILE_WIDTH ? columns - column : TILE_WIDTH;
        for (size_t i = 0; i < depth; i++) {
            const float *row = from.at + i * from.down + column * from.right;
            for (size_t j = 0; j < TILE_WIDTH; j++) {
                panel[i * TILE_WIDTH + j] = j < width ? row[j * from.right] : 0;
            }
        }
        panel += depth * TILE_WIDTH;
    }
}

/* sums += TILE_ROWS rows times a strip */
static void add_tile(const float *const rows[TILE_ROWS], size_t depth, const float *strip,
                     float sums[TILE_ROWS][TILE_WIDTH])
{
    narrow low[TILE_ROWS];
    narrow high[TILE_ROWS];
    for (size_t r = 0; r < TILE_ROWS; r++) {
        memcpy(&low[r], sums[r], sizeof low[r]);
        memcpy(&high[r], sums[r] + 4, sizeof high[r]);
    }
    for (size_t i = 0; i < depth; i++) {
        narrow a;
        narrow b;
        memcpy(&a, strip + i * TILE_WIDTH, sizeof a);
        memcpy(&b, strip + i * TILE_WIDTH + 4, sizeof b);
#pragma GCC unroll 4
        for (size_t r = 0; r < TILE_ROWS; r++) {
            low[r] += a * rows[r][i];
            high[r] += b * rows[r][i];
        }
    }
    for (size_t r = 0; r < TILE_ROWS; r++) {
        memcpy(sums[r], &low[r], sizeof low[r]);
        memcpy(sums[r] + 4, &high[r], sizeof high[r]);
    }
}

/* out (count x columns) += rows (count x inner) times matrix (inner x columns), each sum in the order of `inner`.
 * panel: room for PANEL_DEPTH * PANEL_WIDTH. */
static void add_product(const float *rows, size_t count, size_t row_stride, size_t inner, struct operand matrix,
                        size_t columns, float *out, size_t out_stride, float *panel)
{
    for (size_t i = 0; i < inner; i += PANEL_DEPTH) {
        const size_t depth = inner - i < PANEL_DEPTH ? inner - i : PANEL_DEPTH;
        for (size_t j = 0; j < columns; j += PANEL_WIDTH) {
            const size_t width = columns - j < PANEL_WIDTH ? columns - j : PANEL_WIDTH;
            struct operand part = matrix;
            part.at += i * part.down + j * part.right;
            pack_panel(part, depth, width, panel);
            for (size_t r = 0; r < count; r += TILE_ROWS) {
                const size_t high = count - r < TILE_ROWS ? count - r : TILE_ROWS;
                const float *tile_rows[TILE_ROWS];
                for (size_t t = 0; t < TILE_ROWS; t++) {
                    tile_rows[t] = rows + (r + (t < high ? t : 0)) * row_stride + i;
                }
                for (size_t k = 0; k < width; k += TILE_WIDTH) {
                    const size_t wide_of = width - k < TILE_WIDTH ? width - k : TILE_WIDTH;
                    float sums[TILE_ROWS][TILE_WIDTH] = {{0}};
                    for (size_t t = 0; t < high; t++) {
                        memcpy(sums[t], out + (r + t) * out_stride + j + k, wide_of * sizeof(float));
                    }
                    add_tile(tile_rows, depth, panel + k * depth, sums);
                    for (size_t t = 0; t < high; t++) {
                        memcpy(out + (r + t) * out_stride + j + k, sums[t], wide_of * sizeof(float));
                    }
                }
            }
        }
    }
}

/* out (count x padded) = rows (count x inner) times matrix (inner x padded). */
static void multiply(const float *rows, size_t count, size_t row_stride, size_t inner, const float *matrix,
                     size_t padded, float *out, float *panel)
{
    memset(out, 0, count * padded * sizeof *out);
    add_product(rows, count, row_stride, inner, (struct operand){matrix, padded, 1}, padded, out, padded, panel);
}

/* ---- Gram and Schmidt ---- */

/* What takes the space of rows `first` to `until` out of the row. */
static void take_out(float *row, const float *rows, size_t first, size_t until, size_t padded)
{
    for (size_t s = first; s < until; s++) {
        add_scaled(row, -dot_of(row, rows + s * padded, padded), rows + s * padded, padded);
    }
}

/* The row to length 1; false if next to nothing is left of it. */
static bool normalise(float *row, float before, size_t length, size_t padded)
{
    const float after = dot_of(row, row, padded);
    if (!(after > before * 1e-8f && after > 0 && isfinite(after))) {
        return false;
    }
    const float scale = 1 / sqrtf(after);
    for (size_t i = 0; i < length; i++) {
        row[i] *= scale;
    }
    return true;
}

/* A new row at right angles to the r before it. */
static void draw_row(struct vdb_rng *rng, float *rows, size_t r, size_t length, size_t padded)
{
    float *row = rows + r * padded;
    float before;
    do {
        random_rows(rng, row, 1, length, padded);
        before = dot_of(row, row, padded);
        take_out(row, rows, 0, r, padded);
        take_out(row, rows, 0, r, padded);
    } while (!normalise(row, before, length, padded));
}

/* Room that orthonormalise() and multiply() work in: vdb_alloc_aligned'd. */
struct room {
    float *panel;  /* PANEL_DEPTH * PANEL_WIDTH */
    float *shares; /* BLOCK_ROWS * VDB_QGRAPH_BITS_MAX */
};

/* Gram and Schmidt, twice: BLOCK_ROWS rows at once lose what lies in the space of the rows before them, then one
 * after the other what lies in that of the block's. A row that depends on those before it is drawn anew. */
static void orthonormalise(struct vdb_rng *rng, float *rows, size_t count, size_t length, size_t padded,
                           const struct room *room)
{
    for (size_t first = 0; first < count; first += BLOCK_ROWS) {
        const size_t height = count - first < BLOCK_ROWS ? count - first : BLOCK_ROWS;
        float *block = rows + first * padded;
        for (size_t twice = 0; twice < 2; twice++) {
            float before[BLOCK_ROWS];
            for (size_t r = 0; r < height; r++) {
                before[r] = dot_of(block + r * padded, block + r * padded, padded);
            }
            memset(room->shares, 0, height * first * sizeof *room->shares);
            add_product(block, height, padded, length, (struct operand){rows, 1, padded}, first, room->shares,
                        first, room->panel);
            for (size_t i = 0; i < height * first; i++) {
                room->shares[i] = -room->shares[i];
            }
            add_product(room->shares, height, first, first, (struct operand){rows, padded, 1}, padded, block,
                        padded, room->panel);
            for (size_t r = 0; r < height; r++) {
                take_out(block + r * padded, block, 0, r, padded);
                if (!normalise(block + r * padded, before[r], length, padded)) {
                    draw_row(rng, rows, first + r, length, padded);
                }
            }
        }
    }
}

/* ---- Products within the sample ---- */

/* What the product of vectors i and j is to become: factor * product - left[i] * left[j] + rest[i] + rest[j]. */
struct centring {
    double factor;
    const double *left;
    const double *rest;
};

/* Products of all pairs of `count` vectors of `length`, exact before they are centred: tiles of 12 by 32.
 * VDB_GEMM_ROWS vectors of zeros lie behind. sums: of each vector's elements. */
static vdb_status multiply_pairs(const uint8_t *vectors, size_t count, size_t length, const double *sums,
                                 struct centring centring, float *out, size_t padded, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_gemm gemm;
    const struct vdb_kernels *kernels = vdb_kernels_get();
    vdb_gemm_fill(&gemm, kernels->level, kernels->extensions);
    const struct vdb_gemm_kernel *kernel = &gemm.kernels[VDB_ELEMENT_U8];
    void *panel = vdb_alloc_aligned(kernel->panel_bytes(length));
    struct vdb_gemm_out *tile_out = vdb_alloc_aligned(sizeof *tile_out);
    int32_t *correction = vdb_calloc(count + VDB_GEMM_ROWS, sizeof *correction);
    if (panel == NULL || tile_out == NULL || correction == NULL) {
        status = vdb_err_no_memory(err, "the graph's covariance");
        goto cleanup;
    }
    static const float zeros[VDB_GEMM_LANES] __attribute__((aligned(64)));
    for (size_t i = 0; i < count; i++) {
        correction[i] = (int32_t)(128 * (int64_t)llrint(sums[i]));
    }
    for (size_t column = 0; column < count; column += VDB_GEMM_LANES) {
        size_t lanes = count - column < VDB_GEMM_LANES ? count - column : VDB_GEMM_LANES;
        kernel->pack(vectors + column * length, length, lanes, length, 1, panel);
        for (size_t row = 0; row < count; row += VDB_GEMM_ROWS) {
            struct vdb_gemm_tile tile = {.panel = panel, .rows = vectors + row * length, .stride_bytes = length};
            tile.dimension = length;
            tile.norm = zeros;
            tile.bias = zeros;
            tile.gain = zeros;
            tile.limit = zeros;
            tile.correction = correction + row;
            (void)kernel->run(&tile, tile_out);
            for (size_t r = 0; r < VDB_GEMM_ROWS && row + r < count; r++) {
                for (size_t lane = 0; lane < lanes; lane++) {
                    const size_t j = column + lane;
                    const double product = centring.factor * (double)tile_out->dots.u32[r][lane];
                    out[(row + r) * padded + j] = (float)(product - centring.left[row + r] * centring.left[j] +
                                                          centring.rest[row + r] + centring.rest[j]);
                }
            }
        }
    }
cleanup:
    free(panel);
    free(tile_out);
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
    struct room room;
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

/* Fills found (count x padded) with the leading subspace of a symmetric matrix; returns the part of its trace
 * that it holds. moved: room for as much. */
static double find_leading(const struct plan *plan, struct vdb_rng *rng, float *found, float *moved, size_t count,
                           const float *matrix, size_t length, size_t padded)
{
    random_rows(rng, found, count, length, padded);
    for (size_t i = 0; i < ITERATIONS; i++) {
        orthonormalise(rng, found, count, length, padded, &plan->room);
        multiply(found, count, padded, length, matrix, padded, moved, plan->room.panel);
        memcpy(found, moved, count * padded * sizeof *moved);
    }
    orthonormalise(rng, found, count, length, padded, &plan->room);
    multiply(found, count, padded, length, matrix, padded, moved, plan->room.panel);
    return explained_by(found, moved, count, matrix, length, padded);
}

/* lead() from the rows' products with each other, where rows are few: the leading subspace of these, times the
 * rows. More bits than rows: the other directions are random. */
static vdb_status lead_by_rows(struct plan *plan, struct vdb_rng *rng, size_t bits, double *explained,
                               struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const size_t sampled = plan->sampled;
    const size_t side = vdb_round_up(sampled, 64);
    const size_t count = bits < sampled ? bits : sampled;
    double *sums = vdb_calloc(sampled, sizeof *sums);
    double *none = vdb_calloc(sampled, sizeof *none);
    double *rest = vdb_calloc(sampled, sizeof *rest);
    uint8_t *vectors = vdb_calloc(sampled + VDB_GEMM_ROWS, plan->dimension);
    float *products = vdb_alloc_aligned(side * side * sizeof *products);
    float *found = vdb_alloc_aligned(count * side * sizeof *found);
    float *moved = vdb_alloc_aligned(count * side * sizeof *moved);
    float *rows = vdb_alloc_aligned(sampled * plan->padded * sizeof *rows);
    if (sums == NULL || none == NULL || rest == NULL || vectors == NULL || products == NULL || found == NULL ||
        moved == NULL || rows == NULL) {
        status = vdb_err_no_memory(err, "the graph's covariance");
        goto cleanup;
    }
    const double factor = 1 / (double)plan->dimension;
    for (size_t i = 0; i < plan->dimension; i++) {
        for (size_t r = 0; r < sampled; r++) {
            const uint8_t value = plan->turned[i * sampled + r];
            vectors[r * plan->dimension + i] = value;
            rows[r * plan->padded + i] = (float)(value - plan->mean[i]);
            sums[r] += value;
            rest[r] += (plan->mean[i] / 2 - value) * plan->mean[i] * factor;
        }
    }
    VDB_CHECK(multiply_pairs(vectors, sampled, plan->dimension, sums, (struct centring){factor, none, rest},
                             products, side, err));
    *explained = find_leading(plan, rng, found, moved, count, products, sampled, side);
    multiply(found, count, side, sampled, rows, plan->padded, plan->directions, plan->room.panel);
    random_rows(rng, plan->directions + count * plan->padded, bits - count, plan->dimension, plan->padded);
    orthonormalise(rng, plan->directions, bits, plan->dimension, plan->padded, &plan->room);
cleanup:
    free(sums);
    free(none);
    free(rest);
    free(vectors);
    free(products);
    free(found);
    free(moved);
    free(rows);
    return status;
}

/* Fills plan->directions with the leading subspace of `bits` dimensions. */
static vdb_status lead(struct plan *plan, struct vdb_rng *rng, size_t bits, double *explained,
                       struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const size_t padded = plan->padded;
    if (plan->sampled > 0 && plan->sampled * 2 <= plan->dimension) {
        return lead_by_rows(plan, rng, bits, explained, err);
    }
    double *sums = vdb_calloc(plan->dimension, sizeof *sums);
    double *none = vdb_calloc(plan->dimension, sizeof *none);
    float *covariance = vdb_alloc_aligned(padded * padded * sizeof *covariance);
    float *moved = vdb_alloc_aligned(bits * padded * sizeof *moved);
    if (sums == NULL || none == NULL || covariance == NULL || moved == NULL) {
        status = vdb_err_no_memory(err, "the graph's covariance");
        goto cleanup;
    }
    for (size_t i = 0; i < plan->dimension; i++) {
        sums[i] = plan->mean[i] * (double)plan->sampled;
    }
    const struct centring centring = {1 / (double)plan->sampled, plan->mean, none};
    VDB_CHECK(
        multiply_pairs(plan->turned, plan->dimension, plan->sampled, sums, centring, covariance, padded, err));
    *explained = find_leading(plan, rng, plan->directions, moved, bits, covariance, plan->dimension, padded);
cleanup:
    free(sums);
    free(none);
    free(covariance);
    free(moved);
    return status;
}

/* The eigenvalues' variance over their squared mean. It needs no eigenvalues: their squares sum up to the mean
 * squared product of two independent rows, and a row's product with itself has their sum as its mean. Infinite
 * for samples too small to tell. */
static vdb_status spread_of(const struct plan *plan, double *spread, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const size_t padded = plan->padded;
    const double dimension = (double)plan->dimension;
    float *rows = vdb_alloc_aligned(FLAT_ROWS * padded * sizeof *rows);
    float *products = vdb_alloc_aligned(FLAT_ROWS * (size_t)FLAT_ROWS * sizeof *products);
    *spread = HUGE_VAL;
    if (rows == NULL || products == NULL) {
        status = vdb_err_no_memory(err, "the graph's covariance");
        goto cleanup;
    }
    if (plan->sampled < FLAT_ROWS) {
        goto cleanup;
    }
    for (size_t i = 0; i < plan->dimension; i++) {
        const float mean = (float)plan->mean[i];
        for (size_t r = 0; r < FLAT_ROWS; r++) {
            rows[r * padded + i] = plan->turned[i * plan->sampled + r * plan->sampled / FLAT_ROWS] - mean;
        }
    }
    add_product(rows, FLAT_ROWS, padded, plan->dimension, (struct operand){rows, 1, padded}, FLAT_ROWS, products,
                FLAT_ROWS, plan->room.panel);
    double own = 0;
    double squares = 0;
    for (size_t r = 0; r < FLAT_ROWS; r++) {
        own += (double)products[r * FLAT_ROWS + r];
        for (size_t s = 0; s < r; s++) {
            squares += (double)products[r * FLAT_ROWS + s] * (double)products[r * FLAT_ROWS + s];
        }
    }
    own /= FLAT_ROWS;
    squares /= FLAT_ROWS * (FLAT_ROWS - 1) / 2;
    *spread = own > 0 ? fmax(dimension * squares / (own * own) - 1, 0) : 0;
cleanup:
    free(rows);
    free(products);
    return status;
}

/* How much more of the variance than random directions, which hold `share` of it, do as many leading ones hold at
 * most (Cauchy and Schwarz). */
static double lead_at_most(double share, double spread)
{
    return sqrt(share * (1 - share) * spread);
}

/* For more dimensions than there may be bits: whether no directions are worth looking for, else how many may do.
 */
static vdb_status find_flat(const struct plan *plan, size_t count, unsigned *bits, bool *flat,
                            struct vdb_err *err)
{
    double spread;
    const double dimension = plan->dimension;
    VDB_TRY(spread_of(plan, &spread, err));
    /* The sample's own directions lead in it even if its rows are noise: then the codes of these rows gain, and
     * those of others do not. */
    const double sampled = (double)plan->sampled;
    const double own = spread + dimension / sampled;
    const double share = VDB_QGRAPH_BITS_MAX / dimension;
    const double seen = sampled / (double)count;
    *flat = seen * lead_at_most(share, own) + (1 - seen) * lead_at_most(share, spread) < LEAD_MIN;
    while (*bits < VDB_QGRAPH_BITS_MAX &&
           *bits / dimension + lead_at_most(*bits / dimension, own) < EXPLAINED_MIN) {
        *bits += BITS_STEP;
    }
    return VDB_OK;
}

/* plan->directions = a random rotation of them; or, if there are none, of all dimensions. */
static vdb_status rotate(struct plan *plan, struct vdb_rng *rng, size_t bits, bool led, struct vdb_err *err)
{
    plan->rotation = vdb_alloc_aligned(bits * bits * sizeof *plan->rotation);
    if (plan->rotation == NULL) {
        return vdb_err_no_memory(err, "the graph's rotation");
    }
    random_rows(rng, plan->rotation, bits, bits, bits);
    orthonormalise(rng, plan->rotation, bits, bits, bits, &plan->room);
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
    multiply(plan->rotation, bits, bits, bits, plan->directions, plan->padded, turned, plan->room.panel);
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
    bool flat = false;
    struct plan plan = {.dimension = dimension, .padded = all};
    *projection = (struct qgraph_projection){.inputs = dimension, .explained = 1};
    vdb_rng_init(&rng, seed);
    if (chosen) {
        bits = all < LEADING_BITS ? all : LEADING_BITS;
        bits = bits < BITS_MIN ? BITS_MIN : bits;
    }
    plan.directions = vdb_alloc_aligned(VDB_QGRAPH_BITS_MAX * (size_t)plan.padded * sizeof *plan.directions);
    plan.room.panel = vdb_alloc_aligned(PANEL_DEPTH * PANEL_WIDTH * sizeof(float));
    plan.room.shares = vdb_alloc_aligned(BLOCK_ROWS * (size_t)VDB_QGRAPH_BITS_MAX * sizeof(float));
    if (plan.directions == NULL || plan.room.panel == NULL || plan.room.shares == NULL) {
        status = vdb_err_no_memory(err, "the graph's projection");
        goto cleanup;
    }
    VDB_CHECK(take_sample(&plan, vectors, stride_bytes, count, err));
    if (chosen && dimension > VDB_QGRAPH_BITS_MAX && count > 0) {
        VDB_CHECK(find_flat(&plan, count, &bits, &flat, err));
    }
    if (flat) {
        bits = VDB_QGRAPH_BITS_MAX;
        projection->explained = (double)bits / dimension;
        random_rows(&rng, plan.directions, bits, dimension, plan.padded);
        orthonormalise(&rng, plan.directions, bits, dimension, plan.padded, &plan.room);
    }
    while (!flat) {
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
    if (!flat) {
        VDB_CHECK(rotate(&plan, &rng, bits, bits < all, err));
    }
    VDB_CHECK(finish(projection, &plan, vectors, stride_bytes, count, err));
cleanup:
    free(plan.mean);
    free(plan.turned);
    free(plan.directions);
    free(plan.rotation);
    free(plan.room.panel);
    free(plan.room.shares);
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
