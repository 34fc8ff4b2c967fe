/* exact_bound.h: which pairs the first pass may drop: the numbers of distance/gemm.h's test, and why no pair is
 * missed.
 *
 * Let q be a query and r a row, p = q.r, A = |q|^2, B = |r|^2 in real arithmetic; p~, A~, B~, D~ what wide.h
 * computes in double; D~ is the distance that counts. Pairs with D~ <= T matter, T being the k-th best so far or
 * the radius. A pair may be dropped when the test's left side is below its right side, so for each metric we
 * show: D~ <= T implies
 *
 *     s p' + gain * norm >= bias + limit        in real arithmetic (gemm.h: then in floats too)
 *
 * with s p' the float product of the query scaled by s (a power of two that brings the longest query to length 1
 * to 2, so that data of any magnitude stays clear of underflow; 1 for integers).
 *
 * First pass. By gemm.h (G2) and Cauchy-Schwarz, with g = gamma(dimension + 1) and n = dimension + 1,
 *     |s p' - s p| <= g s |q| |r| + 2 n 2^-126 + sqrt(dimension) 2^-126 |r|
 * The last part: query elements that fell below the normal range when scaled. Integers: p is exact and rounded
 * once to float, so g = 2^-24 and the rest is 0. We take g = VDB_EXACT_SLACK (gamma + 2^-20 gamma...) rounded up
 * amply; call the middle part eta.
 *
 * Second pass. With e = VDB_WIDE_ERROR(dimension) (which has slack for the handful of double roundings below):
 * |A~ - A| <= e A, likewise B; l2: |D~ - D| <= e D; |p~ - p| <= e |q| |r|; cosine: |D~ - D| <= 8 e.
 *
 * l2      D = A + B - 2 p <= T + 2 e |T|, so
 *         s p >= s B~ (1-2e) / 2  +  s (A~ (1-2e) - T - 2 e |T|) / 2
 *                [bias, down]        [limit + eta, down]
 * dot     p >= -T - e |q| |r|:       bias 0, limit = -s T - eta, e added to g.
 * cosine  p >= (1 - T - 8e) |q| |r|: bias 0, limit = -eta, gain = -(1 - T - 8e - g - 2^-21) s |q|, the 2^-21 for
 * norm and gain being rounded to floats (each by 2^-24 of a product of at most 2 |q| |r|).
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
    double tiny; /* sqrt(dimension) 2^-126: joins the gain */
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
    bound.tiny = sqrt(d) * 0x1p-126;
    return bound;
}

/* The kernels of distance/kernels.h on f32, for l2, cosine and l1: D~ >= distance - relative * distance -
 * absolute, whatever the kernel's level, by the bound of distance/README.md. It adds a term at most dimension / 8
 * + 7 times in an accumulator, 3 to 7 times in the reduction (levels of more lanes have fewer of the former),
 * with up to 3 roundings in the term: gamma(dimension / 8 + 17) covers all of them; twice that, for D~'s own
 * error and for gamma being relative to the exact distance. `absolute` covers terms below the normal range,
 * flushed or not; cosine's squared norms are at least 2^-100 (else the kernel takes doubles), so there they weigh
 * up to dimension 2^-26 of a norm. */
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
        *norm = (float)length; /* either sign of gain: nearest, and 2^-21 in the gain */
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
