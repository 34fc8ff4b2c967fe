/* eigen.c: Householder reduction and implicit QL. All vectors lie in rows, so that every inner loop runs over neighbours. */
#include "eigen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "eigen_kernels.h"

enum {
    STEPS_MAX = 64,         /* QL steps per eigenvalue; three is usual */
    ROTATIONS_PER_ROW = 64, /* that wait: a block of columns serves so many sweeps */
    ROWS_TOGETHER = 8,      /* of n doubles: the second-level cache holds them */
};

#define NOTHING 0x1p-100 /* beside a greatest element of 1 */

/* The work of one decomposition. diagonal and off: the tridiagonal matrix; off[i] between i and i + 1. Row k of `matrix` keeps,
 * from column k + 1 on, the vector of the k-th reflection 1 - beta v v'. */
struct work {
    const struct vdb_eigen_kernels *kernels;
    double *matrix, *vectors;
    double *diagonal, *off, *beta;
    double *product, *next_product; /* p of this reflection, and the sums that the next one's will come from */
    size_t n;
    /* QL steps wait here and are applied together, a block of columns at a time. */
    struct vdb_eigen_rotation *rotations; /* [ROTATIONS_PER_ROW * n] */
    struct step *steps;                   /* [as many] */
    size_t rotation_count, step_count;
};

struct step {
    size_t top; /* the first rotation's upper row */
    size_t first, count;
};

/* ---- To a tridiagonal matrix ---- */

/* Makes row k, whose elements are final, the vector of the k-th reflection. */
static void make_reflection(struct work *w, size_t k)
{
    const size_t n = w->n;
    double *v = w->matrix + k * n + k + 1;
    const size_t left = n - k - 1;
    w->diagonal[k] = w->matrix[k * n + k];
    w->beta[k] = 0;
    w->off[k] = 0;
    if (left == 0) {
        return;
    }
    const double length = sqrt(w->kernels->dot(v, v, left));
    w->off[k] = v[0];
    if (left == 1 || length <= fabs(v[0])) { /* nothing beyond the first */
        return;
    }
    if (length < NOTHING) { /* what rounding left of zeros; smaller still, its square would be none */
        w->off[k] = 0;
        return;
    }
    /* The reflection takes v to (off, 0, ..., 0); the sign avoids cancellation. */
    w->off[k] = v[0] > 0 ? -length : length;
    v[0] -= w->off[k];
    w->beta[k] = 2 / w->kernels->dot(v, v, left);
}

/* Each row below takes two multiples, of v and of p, and yields in the same pass its product with the next reflection's vector,
 * which is known as soon as the first of the rows is done. The matrix is symmetric and kept whole. */
static void reduce(struct work *w)
{
    const struct vdb_eigen_kernels *kernels = w->kernels;
    const size_t n = w->n;
    make_reflection(w, 0);
    for (size_t i = 1; i < n; i++) {
        w->product[i] = kernels->dot(w->matrix + i * n + 1, w->matrix + 1, n - 1);
    }
    for (size_t k = 0; k + 1 < n; k++) {
        const double *v = w->matrix + k * n;
        double *p = w->product;
        const double beta = w->beta[k];
        for (size_t i = k + 1; i < n; i++) {
            p[i] *= beta;
        }
        if (beta != 0) {
            double half = beta / 2 * kernels->dot(p + k + 1, v + k + 1, n - k - 1);
            kernels->add(p + k + 1, -half, v + k + 1, n - k - 1);
        }
        double *first = w->matrix + (k + 1) * n;
        (void)kernels->update(first + k + 1, -v[k + 1], p + k + 1, -p[k + 1], v + k + 1, v + k + 1, n - k - 1);
        make_reflection(w, k + 1);
        for (size_t i = k + 2; i < n; i++) {
            w->next_product[i] = kernels->update(w->matrix + i * n + k + 2, -v[i], p + k + 2, -p[i], v + k + 2,
                                                 first + k + 2, n - k - 2);
        }
        w->product = w->next_product;
        w->next_product = p;
    }
}

/* ---- To a diagonal one ---- */

static void flush_steps(struct work *w)
{
    for (size_t column = 0; column < w->n; column += VDB_EIGEN_COLUMNS) {
        size_t columns = w->n - column < VDB_EIGEN_COLUMNS ? w->n - column : VDB_EIGEN_COLUMNS;
        for (size_t i = 0; i < w->step_count; i++) {
            const struct step *step = &w->steps[i];
            w->kernels->sweep(w->vectors + column, w->n, columns, step->top, w->rotations + step->first,
                              step->count);
        }
    }
    w->rotation_count = 0;
    w->step_count = 0;
}

/* One QL step on rows l to m. Ends early, to be taken up again, when a rotation's radius is 0. */
static void ql_step(struct work *w, size_t l, size_t m)
{
    double *d = w->diagonal;
    double *e = w->off;
    if (w->rotation_count + (m - l) > ROTATIONS_PER_ROW * w->n) {
        flush_steps(w);
    }
    struct vdb_eigen_rotation *rotations = w->rotations + w->rotation_count;
    double shift = (d[l + 1] - d[l]) / (2 * e[l]);
    double g = d[m] - d[l] + e[l] / (shift + copysign(hypot(shift, 1), shift));
    double s = 1;
    double c = 1;
    double p = 0;
    size_t count = 0;
    bool ended = false;
    for (size_t i = m; i-- > l;) {
        double f = s * e[i];
        double b = c * e[i];
        double radius = hypot(f, g);
        e[i + 1] = radius;
        if (radius == 0) {
            d[i + 1] -= p;
            e[m] = 0;
            ended = true;
            break;
        }
        s = f / radius;
        c = g / radius;
        g = d[i + 1] - p;
        double r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        rotations[count++] = (struct vdb_eigen_rotation){c, s};
    }
    if (!ended) {
        d[l] -= p;
        e[l] = g;
        e[m] = 0;
    }
    if (count > 0) {
        w->steps[w->step_count++] = (struct step){m, w->rotation_count, count};
        w->rotation_count += count;
    }
}

static bool diagonalise(struct work *w)
{
    const size_t n = w->n;
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        norm = fmax(norm, fabs(w->diagonal[i]) + fabs(w->off[i]));
        w->vectors[i * n + i] = 1;
    }
    const double small = norm * 0x1p-53;
    for (size_t l = 0; l < n; l++) {
        for (unsigned step = 0;; step++) {
            size_t m = l;
            while (m + 1 < n && fabs(w->off[m]) > small) {
                m++;
            }
            if (m == l) {
                break;
            }
            if (step == STEPS_MAX) {
                return false;
            }
            ql_step(w, l, m);
        }
    }
    flush_steps(w);
    return true;
}

/* From eigenvectors of the tridiagonal matrix to those of the given one: the reflections, last one first, on a few rows at a
 * time, so that a reflection's vector is fetched once for all of them. */
static void transform_back(struct work *w)
{
    const size_t n = w->n;
    for (size_t first = 0; first < n; first += ROWS_TOGETHER) {
        const size_t end = first + ROWS_TOGETHER < n ? first + ROWS_TOGETHER : n;
        for (size_t k = n - 1; k-- > 0;) {
            const double *v = w->matrix + k * n + k + 1;
            for (size_t row = first; row < end && w->beta[k] != 0; row++) {
                double *z = w->vectors + row * n + k + 1;
                w->kernels->add(z, -w->beta[k] * w->kernels->dot(v, z, n - k - 1), v, n - k - 1);
            }
        }
    }
}

/* Greatest value first; each vector's greatest component positive. */
static void order(struct work *w, double scale, double *values)
{
    const size_t n = w->n;
    for (size_t i = 0; i < n; i++) {
        size_t best = i;
        for (size_t k = i + 1; k < n; k++) {
            best = w->diagonal[k] > w->diagonal[best] ? k : best;
        }
        double *row = w->vectors + i * n;
        if (best != i) {
            double value = w->diagonal[i];
            w->diagonal[i] = w->diagonal[best];
            w->diagonal[best] = value;
            for (size_t k = 0; k < n; k++) {
                double x = row[k];
                row[k] = w->vectors[best * n + k];
                w->vectors[best * n + k] = x;
            }
        }
        values[i] = w->diagonal[i] * scale;
        size_t top = 0;
        for (size_t k = 1; k < n; k++) {
            top = fabs(row[k]) > fabs(row[top]) ? k : top;
        }
        if (row[top] < 0) {
            for (size_t k = 0; k < n; k++) {
                row[k] = -row[k];
            }
        }
    }
}

vdb_status vdb_eigen_symmetric(double *matrix, size_t n, double *values, double *vectors, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct work work = {.kernels = vdb_eigen_kernels_get(), .matrix = matrix, .vectors = vectors, .n = n};
    double scale = 0;
    for (size_t i = 0; i < n * n; i++) {
        if (!isfinite(matrix[i])) {
            return vdb_err_set(err, VDB_INVALID, "matrix: element %zu of row %zu is not finite", i % n, i / n);
        }
        scale = fmax(scale, fabs(matrix[i]));
    }
    work.diagonal = vdb_calloc(n, sizeof(double));
    work.off = vdb_calloc(n, sizeof(double));
    work.beta = vdb_calloc(n, sizeof(double));
    work.product = vdb_calloc(n, sizeof(double));
    work.next_product = vdb_calloc(n, sizeof(double));
    work.rotations = vdb_calloc(n, ROTATIONS_PER_ROW * sizeof *work.rotations);
    work.steps = vdb_calloc(n, ROTATIONS_PER_ROW * sizeof *work.steps);
    if (work.diagonal == NULL || work.off == NULL || work.beta == NULL || work.product == NULL ||
        work.next_product == NULL || work.rotations == NULL || work.steps == NULL) {
        status = vdb_err_no_memory(err, "an eigenvalue decomposition");
        goto cleanup;
    }
    if (scale == 0) {
        scale = 1;
    }
    for (size_t i = 0; i < n * n; i++) { /* to magnitudes that squares neither over- nor underflow */
        matrix[i] /= scale;
    }
    memset(vectors, 0, n * n * sizeof vectors[0]);
    reduce(&work);
    if (!diagonalise(&work)) {
        status = vdb_err_set(err, VDB_INVALID, "matrix: its eigenvalues do not converge in %d steps each",
                             STEPS_MAX);
        goto cleanup;
    }
    transform_back(&work);
    order(&work, scale, values);
cleanup:
    free(work.diagonal);
    free(work.off);
    free(work.beta);
    free(work.product);
    free(work.next_product);
    free(work.rotations);
    free(work.steps);
    return status;
}
