/* eigen_loops.h: the loops behind vdb_eigen_kernels, for the compiler to fit to the registers it may use. Included by the files that
 * fill the table, once each. Eight doubles go together everywhere, and products and sums round apart, so the order of all
 * roundings is the same whatever the registers are.
 */
#ifndef VDB_QUANT_EIGEN_LOOPS_H
#define VDB_QUANT_EIGEN_LOOPS_H

#include "quant/eigen_kernels.h"

typedef double eight __attribute__((vector_size(64), aligned(8), may_alias));

enum { EIGHT = 8 };

/* Sums of lanes, halves first. */
static inline double loop_sum(const double lanes[EIGHT])
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static double loop_dot(const double *a, const double *b, size_t n)
{
    eight sums[2] = {{0}, {0}};
    double rest = 0;
    size_t i = 0;
    for (; i + 2 * EIGHT <= n; i += 2 * EIGHT) {
        sums[0] += *(const eight *)(a + i) * *(const eight *)(b + i);
        sums[1] += *(const eight *)(a + i + EIGHT) * *(const eight *)(b + i + EIGHT);
    }
    for (; i < n; i++) {
        rest += a[i] * b[i];
    }
    double lanes[EIGHT];
    *(eight *)lanes = sums[0] + sums[1];
    return loop_sum(lanes) + rest;
}

static void loop_add(double *y, double a, const double *x, size_t n)
{
    size_t i = 0;
    for (; i + EIGHT <= n; i += EIGHT) {
        *(eight *)(y + i) += a * *(const eight *)(x + i);
    }
    for (; i < n; i++) {
        y[i] += a * x[i];
    }
}

static double loop_update(double *y, double a, const double *x, double b, const double *z, const double *w,
                          size_t n)
{
    eight sums[2] = {{0}, {0}};
    double rest = 0;
    size_t i = 0;
    for (; i + 2 * EIGHT <= n; i += 2 * EIGHT) {
        eight first = *(eight *)(y + i) + (a * *(const eight *)(x + i) + b * *(const eight *)(z + i));
        eight last = *(eight *)(y + i + EIGHT) +
                     (a * *(const eight *)(x + i + EIGHT) + b * *(const eight *)(z + i + EIGHT));
        *(eight *)(y + i) = first;
        *(eight *)(y + i + EIGHT) = last;
        sums[0] += first * *(const eight *)(w + i);
        sums[1] += last * *(const eight *)(w + i + EIGHT);
    }
    for (; i < n; i++) {
        y[i] += a * x[i] + b * z[i];
        rest += y[i] * w[i];
    }
    double lanes[EIGHT];
    *(eight *)lanes = sums[0] + sums[1];
    return loop_sum(lanes) + rest;
}

/* All columns: the row that the next rotation takes as its upper one stays in registers. */
static void loop_sweep_whole(double *rows, size_t stride, size_t top, const struct vdb_eigen_rotation *rotations,
                             size_t count)
{
    eight high[VDB_EIGEN_COLUMNS / EIGHT];
    double *at = rows + top * stride;
    for (size_t k = 0; k < VDB_EIGEN_COLUMNS / EIGHT; k++) {
        high[k] = *(eight *)(at + k * EIGHT);
    }
    for (size_t r = 0; r < count; r++, at -= stride) {
        const double c = rotations[r].c;
        const double s = rotations[r].s;
        for (size_t k = 0; k < VDB_EIGEN_COLUMNS / EIGHT; k++) {
            eight low = *(eight *)(at - stride + k * EIGHT);
            *(eight *)(at + k * EIGHT) = s * low + c * high[k];
            high[k] = c * low - s * high[k];
        }
    }
    for (size_t k = 0; k < VDB_EIGEN_COLUMNS / EIGHT; k++) {
        *(eight *)(at + k * EIGHT) = high[k];
    }
}

static void loop_sweep(double *rows, size_t stride, size_t columns, size_t top,
                       const struct vdb_eigen_rotation *rotations, size_t count)
{
    if (columns == VDB_EIGEN_COLUMNS) {
        loop_sweep_whole(rows, stride, top, rotations, count);
        return;
    }
    double *at = rows + top * stride;
    for (size_t r = 0; r < count; r++, at -= stride) {
        for (size_t i = 0; i < columns; i++) {
            double low = at[i - stride];
            double high = at[i];
            at[i] = rotations[r].s * low + rotations[r].c * high;
            at[i - stride] = rotations[r].c * low - rotations[r].s * high;
        }
    }
}

#endif
