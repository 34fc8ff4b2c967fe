/* exact_bound.h: which pairs the first pass may drop: the numbers of distance/gemm.h's test, and why no pair is
 * missed.
 *
 * Let q be a query and r a row, p = q.r, A = |q|^2, B = |r|^2 in real arithmetic; p~, A~, B~, D~ what wide.h
 * computes in double; D~ is the distance that counts. Pairs with D~ <= T matter, T being the k-th best so far or
 * the radius. A pair may be dropped when the test's left side is below its right side, so for each metric we
 * show: D~ <= T implies
 *
 *     s p' + gain * norm >= bias + limit
 *
 * in real arithmetic, with enough to spare that it holds in the tile's floats too (gemm.h: that a level rounds gain *
 * norm on its own costs 2^-24 of it and 2^-126; all other roundings keep order). What is spared: gain is (1 + 2^-20)
 * times what is needed under l2 and dot, 2^-21 s |q| more under cosine, and eta has 30 2^-126 over its sum.
 *
 * with s p' the float product of the query scaled by s (a power of two that brings the longest query to length 1
 * to 2, so that data of any magnitude stays clear of underflow; 1 for integers).
 *
 * First pass. By gemm.h (G2) and Cauchy-Schwarz, with g = gamma(dimension + 1) and n = dimension + 1,
 *     |s p' - s p| <= g s |q| |r| + 2 n 2^-126 + sqrt(dimension) 2^-126 |r|
 * The last part: query elements that fell below the normal range when scaled. Integers: p is exact and rounded
 * once to float, so g = 2^-24 and the rest is 0 (a product of gain and norm does not underflow there). We take g =
 * gamma(dimension + 2) (1 + 2^-20), for integers 1.06 2^-24; call the middle part eta; the last part is taken twice, so
 * that its own rounding is covered as well.
 *
 * Second pass. With e = VDB_WIDE_ERROR(dimension) (which has slack for the handful of double roundings below):
 * |A~ - A| <= e A, likewise B; l2: |D~ - D| <= e D; |p~ - p| <= e |q| |r|; cosine: |D~ - D| <= 8 e.
 *
 * l2      D = A + B - 2 p <= T + 2 e |T|, so
 *         s p >= s B~ (1-2e) / 2  +  s (A~ (1-2e) - T - 2 e |T|) / 2
 *                [bias, down]        [limit + eta, down]
 * dot     p >= -T - e |q| |r|:       bias 0, limit = -s T - eta, e added to g.
 * cosine  p >= (1 - T - 8e) |q| |r|: bias 0, limit = -eta, gain = -(1 - T - 8e - g - 2^-21) s |q|. The 2^-21 pays for
 * norm being rounded to nearest and for their product being rounded on its own: each 2^-24 of at most (2 + 2^-9) s |q|
 * |r|, 2^-22 in all. (gain is rounded up, which is safe with either sign. Under l2 and dot norm is rounded up too.)
 *
 * "down" and "up" are roundings to float in the safe direction. A row that is longer than 2^100 or not finite,
 * and a query that is not finite, get -infinity on the right: they always pass.
 */
#ifndef VDB_INDEX_EXACT_BOUND_H
#define VDB_INDEX_EXACT_BOUND_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "distance/wide.h"

/* What does not change during a search. */
struct vdb_exact_bound {
    vdb_metric metric;
    double scale; /* s */
    double first; /* g */
    double eta;
    double tiny; /* 2 sqrt(dimension) 2^-126: joins the gain */
    double wide; /* e */
};

/* Rounds to float, never up. The next float below by its bits: nextafterf took a tenth of a row's time. */
static inline float vdb_exact_bound_down(double x)
{
    float f = (float)x;
    if ((double)f > x) {
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        bits = f > 0 ? bits - 1 : f < 0 ? bits + 1 : UINT32_C(0x80000001); /* below 0: the least denormal */
        memcpy(&f, &bits, sizeof f);
    }
    return f;
}

static inline float vdb_exact_bound_up(double x)
{
    return -vdb_exact_bound_down(-x);
}

/* longest: the greatest |q| that is finite; 0 when there is none. */
static inline struct vdb_exact_bound vdb_exact_bound_of(vdb_metric metric, size_t dimension, bool integer,
                                                        double longest)
{
    const double d = (double)dimension;
    struct vdb_exact_bound bound = {.metric = metric, .scale = 1, .wide = VDB_WIDE_ERROR(dimension)};
    if (integer) {
        bound.first = 0x1.1p-24;
        return bound;
    }
    if (longest > 0) {
        int exponent = ilogb(longest);
        exponent = exponent < -126 ? -126 : exponent > 126 ? 126 : exponent;
        bound.scale = ldexp(1, -exponent);
    }
    double nu = (d + 2) * 0x1p-24; /* one more than G2 needs: our own doubles' roundings */
    bound.first = nu / (1 - nu) * (1 + 0x1p-20);
    bound.eta = (2 * d + 32) * 0x1p-126;
    bound.tiny = 2 * sqrt(d) * 0x1p-126;
    return bound;
}

/* The kernels of distance/kernels.h on f32, f16 and bf16, for l2, cosine and l1: D~ >= distance - relative * distance -
 * absolute, whatever the kernel's level, by the bound of distance/README.md. It adds a term at most dimension / 8
 * + 7 times in an accumulator, 3 to 7 times in the reduction (levels of more lanes have fewer of the former),
 * with up to 3 roundings in the term: gamma(dimension / 8 + 17) covers all of them; twice that, for D~'s own
 * error and for gamma being relative to the exact distance. `absolute` covers terms below the normal range,
 * flushed or not; cosine's squared norms are at least 2^-100 (else the kernel takes doubles), so there they weigh
 * up to dimension 2^-26 of a norm. VDPBF16PS (cosine of bf16) rounds twice a step, of which there are a quarter as many
 * or fewer: 2 (dimension / 64 + 2) + 5 roundings; the denormals it drops are 2^-96 sqrt(dimension) of norms above 2^-30
 * each. */
static inline void vdb_exact_bound_kernel(vdb_metric metric, size_t dimension, double *relative, double *absolute)
{
    const double d = (double)dimension;
    const double n = (d / 8 + 17) * 0x1p-24;
    const double gamma = n / (1 - n);
    if (metric == VDB_METRIC_COSINE) {
        *relative = 0;
        *absolute = 4 * gamma + d * 0x1p-24 + 8 * VDB_WIDE_ERROR(dimension);
        return;
    }
    *relative = 2 * gamma;
    *absolute = (2 * d + 32) * 0x1p-126;
}

/* The same for dot, which needs the vectors' lengths: the least that D~ can be when the kernel says `distance`.
 * query_length: |q|; row_square: what the same kernel gives for the row with itself, less its sign. By Cauchy-Schwarz
 * and gamma as above, |distance - D| <= gamma |q| |r| + 2 d 2^-126 and, for VDPBF16PS, which takes denormal elements for
 * 0, sqrt(d) 2^-126 (|q| + |r|); D~'s own error is in the second gamma. Not finite: a NaN or -infinity. */
static inline double vdb_exact_bound_kernel_dot(size_t dimension, double query_length, double row_square,
                                                double distance)
{
    const double d = (double)dimension;
    const double n = (d / 8 + 17) * 0x1p-24;
    const double gamma = n / (1 - n);
    const double eta = (2 * d + 32) * 0x1p-126;
    const double row_length = sqrt((row_square + eta) * (1 + 4 * gamma));
    return distance - 2 * gamma * query_length * row_length - eta -
           2 * sqrt(d) * 0x1p-126 * (query_length + row_length);
}

/* A row's two numbers; square: B~. */
static inline void vdb_exact_bound_row(const struct vdb_exact_bound *bound, double square, float *norm,
                                       float *bias)
{
    if (!(square <= 0x1p200)) {
        *norm = 0;
        *bias = -INFINITY;
        return;
    }
    double length = sqrt(square);
    if (bound->metric == VDB_METRIC_COSINE) {
        *norm = (float)length; /* either sign of gain: nearest */
        *bias = 0;
        return;
    }
    *norm = vdb_exact_bound_up(length * (1 + 2 * bound->wide));
    *bias = 0;
    if (bound->metric == VDB_METRIC_L2) {
        float down = vdb_exact_bound_down(bound->scale * square * (1 - 2 * bound->wide) / 2);
        *bias = down > FLT_MAX ? FLT_MAX : down;
    }
}

/* A query's two numbers for the threshold T; square: A~. */
static inline void vdb_exact_bound_query(const struct vdb_exact_bound *bound, double square, double threshold,
                                         float *gain, float *limit)
{
    const double e = bound->wide;
    const double length = bound->scale * sqrt(square) * (1 + 2 * e); /* s |q|, rounded up */
    *gain = 0;
    *limit = -INFINITY;
    if (!(square <= DBL_MAX) || threshold == (double)INFINITY) {
        return;
    }
    switch (bound->metric) {
    case VDB_METRIC_L2:
        *gain = vdb_exact_bound_up(bound->first * length * (1 + 0x1p-20) + bound->tiny);
        *limit = vdb_exact_bound_down(
            bound->scale * (square * (1 - 2 * e) - threshold - 2 * e * fabs(threshold)) / 2 - bound->eta);
        break;
    case VDB_METRIC_DOT:
        *gain = vdb_exact_bound_up((bound->first + e) * length * (1 + 0x1p-20) + bound->tiny);
        *limit = vdb_exact_bound_down(-bound->scale * threshold * (threshold > 0 ? 1 + e : 1 - e) - bound->eta);
        break;
    default: /* cosine */
        if (threshold >= 2) {
            return;
        }
        if (square == 0) { /* at distance 1 from everything */
            *limit = threshold >= 1 ? -INFINITY : INFINITY;
            return;
        }
        double slack = 8 * e + bound->first * (1 + 0x1p-20) + 0x1p-21;
        double least = 1 - (threshold > -1 ? threshold : -1) - slack;
        *gain = vdb_exact_bound_up(bound->tiny - least * (least > 0 ? length * (1 - 4 * e) : length));
        *limit = vdb_exact_bound_down(-bound->eta);
        break;
    }
}

#endif
