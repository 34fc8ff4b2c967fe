/* rotation_pca.c: what the dense kinds learn from a sample: mean, covariance, eigenvectors, and the mixing of the first ones.
 *
 * The covariance is taken with the same tile that applies rotations: columns of the centred sample are its inputs, panels of 64
 * columns its matrix, rows of the sample its inner dimension, a slab of them at a time; slabs add up in double. Each panel is
 * one piece of work, so threads do not show in the result.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "eigen.h"
#include "rotation_internal.h"

enum {
    PANEL = VDB_ROTATION_PANEL,
    TILE = VDB_ROTATION_ROWS,
    SLAB_ROWS = 512, /* of the sample: a panel of them is 128 KiB */
};

struct covariance {
    const struct vdb_rotation_kernels *kernels;
    size_t dimension, padded;
    size_t slab_rows; /* of this slab */
    float *columns;   /* [padded][SLAB_ROWS]: the slab, centred, transposed */
    float *panels;    /* [padded / 64][SLAB_ROWS][64]: the same, as panels */
    double *sums;     /* [dimension][dimension]: on and below the diagonal's panels */
};

static vdb_status find_mean(const struct vdb_rotation_options *options, size_t dimension, double *mean,
                            struct vdb_err *err)
{
    for (size_t row = 0; row < options->sample_count; row++) {
        const float *x = options->sample + row * options->sample_stride;
        for (size_t i = 0; i < dimension; i++) {
            if (!isfinite(x[i])) {
                return vdb_err_set(err, VDB_INVALID, "sample: element %zu of row %zu is not finite", i, row);
            }
            mean[i] += (double)x[i];
        }
    }
    for (size_t i = 0; i < dimension; i++) {
        mean[i] /= (double)options->sample_count;
    }
    return VDB_OK;
}

/* Columns i of a tile against the panel's, for all tiles that reach below the panel's first column. */
static void add_panel(void *ctx, unsigned worker, size_t panel)
{
    (void)worker;
    const struct covariance *c = ctx;
    _Alignas(64) float products[TILE][PANEL];
    const size_t first = panel * PANEL;
    for (size_t i = first; i < c->dimension; i += TILE) {
        size_t rows = c->dimension - i < TILE ? c->dimension - i : TILE;
        c->kernels->dense(c->panels + panel * SLAB_ROWS * PANEL, c->slab_rows, c->columns + i * SLAB_ROWS,
                          SLAB_ROWS, rows, products[0], PANEL);
        for (size_t r = 0; r < rows; r++) {
            for (size_t j = first; j < first + PANEL && j < c->dimension; j++) {
                c->sums[(i + r) * c->dimension + j] += (double)products[r][j - first];
            }
        }
    }
}

static void add_slab(struct covariance *c, const struct vdb_rotation_options *options, const double *mean,
                     size_t begin)
{
    const size_t left = options->sample_count - begin;
    c->slab_rows = left < SLAB_ROWS ? left : SLAB_ROWS;
    for (size_t row = 0; row < c->slab_rows; row++) {
        const float *x = options->sample + (begin + row) * options->sample_stride;
        for (size_t i = 0; i < c->dimension; i++) {
            float centred = (float)((double)x[i] - mean[i]);
            c->columns[i * SLAB_ROWS + row] = centred;
            c->panels[(i / PANEL * SLAB_ROWS + row) * PANEL + i % PANEL] = centred;
        }
    }
    if (options->pool != NULL) {
        vdb_pool_run(options->pool, c->padded / PANEL, add_panel, c);
        return;
    }
    for (size_t panel = 0; panel < c->padded / PANEL; panel++) {
        add_panel(c, 0, panel);
    }
}

/* The upper triangle follows from the lower one. */
static void finish_covariance(struct covariance *c, size_t sample_count)
{
    for (size_t i = 0; i < c->dimension; i++) {
        for (size_t j = 0; j <= i; j++) {
            double value = c->sums[i * c->dimension + j] / (double)sample_count;
            c->sums[i * c->dimension + j] = value;
            c->sums[j * c->dimension + i] = value;
        }
    }
}

static size_t choose_leading(const struct vdb_rotation *rotation, const struct vdb_rotation_options *options)
{
    if (rotation->kind != VDB_ROTATION_PCA_RANDOM) {
        return rotation->padded;
    }
    if (options->leading != 0 || options->explained_min == 0) {
        return options->leading != 0 ? options->leading : rotation->padded;
    }
    return vdb_rotation_dimensions_for(rotation, options->explained_min);
}

/* Mixes the outputs below `leading` of each column of the matrix, and spreads their variance. */
static vdb_status mix_leading(struct vdb_rotation *rotation, struct vdb_err *err)
{
    const struct vdb_rotation_kernels *kernels = vdb_rotation_kernels_get();
    const size_t leading = rotation->leading;
    uint64_t *signs = vdb_calloc(vdb_rotation_rounds(leading) * leading / 64, sizeof *signs);
    float *column = vdb_alloc_aligned(leading * sizeof *column);
    if (signs == NULL || column == NULL) {
        free(signs);
        free(column);
        return vdb_err_no_memory(err, "a rotation's random part");
    }
    vdb_rotation_draw_signs(rotation->seed, leading, signs);
    for (size_t i = 0; i < rotation->dimension; i++) {
        for (size_t j = 0; j < leading; j++) {
            column[j] = rotation->panels[(j / PANEL * rotation->dimension + i) * PANEL + j % PANEL];
        }
        vdb_rotation_mix(kernels, signs, leading, column);
        for (size_t j = 0; j < leading; j++) {
            rotation->panels[(j / PANEL * rotation->dimension + i) * PANEL + j % PANEL] = column[j];
        }
    }
    double sum = 0;
    for (size_t j = 0; j < leading; j++) {
        sum += rotation->variance[j];
    }
    for (size_t j = 0; j < leading; j++) {
        rotation->variance[j] = sum / (double)leading;
    }
    free(signs);
    free(column);
    return VDB_OK;
}

vdb_status vdb_rotation_learn(struct vdb_rotation *rotation, const struct vdb_rotation_options *options,
                              struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    const size_t d = rotation->dimension;
    struct covariance c = {.kernels = vdb_rotation_kernels_get(), .dimension = d, .padded = rotation->padded};
    double *mean = vdb_calloc(d, sizeof *mean);
    double *values = vdb_calloc(d, sizeof *values);
    double *vectors = vdb_calloc(d * d, sizeof *vectors);
    c.sums = vdb_calloc(d * d, sizeof *c.sums);
    c.columns = vdb_alloc_aligned(c.padded * SLAB_ROWS * sizeof *c.columns);
    c.panels = vdb_alloc_aligned(c.padded * SLAB_ROWS * sizeof *c.panels);
    if (mean == NULL || values == NULL || vectors == NULL || c.sums == NULL || c.columns == NULL ||
        c.panels == NULL) {
        status = vdb_err_no_memory(err, "a sample's covariance");
        goto cleanup;
    }
    VDB_CHECK(find_mean(options, d, mean, err));
    for (size_t begin = 0; begin < options->sample_count; begin += SLAB_ROWS) {
        add_slab(&c, options, mean, begin);
    }
    finish_covariance(&c, options->sample_count);
    status = vdb_eigen_symmetric(c.sums, d, values, vectors, err);
    if (status != VDB_OK) {
        status = vdb_err_wrap(err, status, "sample: covariance");
        goto cleanup;
    }
    for (size_t j = 0; j < d; j++) {
        rotation->variance[j] = values[j] > 0 ? values[j] : 0;
        for (size_t i = 0; i < d; i++) {
            rotation->panels[(j / PANEL * d + i) * PANEL + j % PANEL] = (float)vectors[j * d + i];
        }
    }
    rotation->leading = choose_leading(rotation, options);
    if (rotation->kind == VDB_ROTATION_PCA_RANDOM) {
        VDB_CHECK(mix_leading(rotation, err));
    }
cleanup:
    free(mean);
    free(values);
    free(vectors);
    free(c.sums);
    free(c.columns);
    free(c.panels);
    return status;
}
