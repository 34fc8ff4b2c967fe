/* exact_low.h: the low-precision first pass on f32: the numbers of the test of distance/gemm.h's `low` tile, and why
 * no pair is missed.
 *
 * Queries and rows are shifted by a centre c (about the mean of the rows) and rounded to 8-bit codes:
 * q' = q - c is about q~ = s_q * codes, r' = r - c about r~ = s_r * codes. How far off is not estimated but measured,
 * for every single vector: E_q = |q' - q~|, E_r = |r' - r~|, in double. Then, by Cauchy-Schwarz,
 *
 *     q'.r' <= q~.r~ + E_q |r'| + |q~| E_r
 *
 * and q~.r~ = s_q s_r (product of the codes), which is exact in integers. Cosine takes q and r scaled to length 1.
 *
 * As in exact_bound.h let T be the threshold, D~ the distance that counts, e = VDB_WIDE_ERROR. D~ <= T implies, with
 * A = |q'|^2 and B = |r'|^2,
 *
 * l2      q'.r' + (T (1 + 2e) - A) / 2 >= B / 2             (a shift leaves distances as they are)
 * dot     q'.r' + (T + q'.c + c.c) + e |q| |r| >= -r'.c     (q.r = q'.r' + q'.c + r'.c + c.c)
 * cosine  as dot with T - 1 + 8e for T; 2^-33 more, for the vectors scaled to length 1 are off by 2^-36 each
 *
 * The tile test has these terms: limit is the parenthesis rounded up, gain = E_q + ..., lane_length = |q~|,
 * norm = |r'|, residual = E_r (all up), bias the right side (down). What its float arithmetic adds, at most 2^-20 of
 * each term (gemm.h, G4), goes into the same numbers with 2^-19: |q~| |r~| <= |q~| (|r'| + E_r), so gain gets
 * 2^-19 |q~|, lane_length a factor, limit its own part. Numbers in double have relative errors below 2^-34 (gemm.h,
 * struct vdb_gemm_codes): E gets 2^-34 of the vector's length more, squares and centre products likewise.
 *
 * Everything is multiplied by powers of two that bring the longest vectors to length 1 to 2. Rows of length 2^20 and
 * more thereafter, and what is not finite, always pass; so underflow in a product of scales is at most 2^-149 times
 * 2^36 (length times 127 sqrt(65,536)), and 2^-100 in the limit covers it.
 */
#ifndef VDB_INDEX_EXACT_LOW_H
#define VDB_INDEX_EXACT_LOW_H

#include <math.h>

#include "distance/gemm.h"
#include "exact_bound.h"

/* What does not change during a search. */
struct exact_low_bound {
    vdb_metric metric;
    double wide;       /* e */
    double centre;     /* |c| */
    double query_unit; /* powers of two */
    double row_unit;
};

/* What is kept of a query to compute its limit from a threshold. */
struct exact_low_query {
    double square; /* |q'|^2 */
    double offset; /* q'.c + c.c */
    bool finite;
    bool zero; /* cosine: at distance 1 from everything */
};

struct exact_low_row {
    float scale, norm, residual, bias;
};

static const double EXACT_LOW_ROUNDING = 0x1p-19;
static const double EXACT_LOW_WIDE = 0x1p-34;
static const double EXACT_LOW_UNDERFLOW = 0x1p-100;

static inline struct exact_low_row vdb_exact_low_row(const struct exact_low_bound *bound,
                                                     const struct vdb_gemm_codes *codes)
{
    const double length = sqrt(codes->square) * (1 + EXACT_LOW_WIDE);
    if (!(length * bound->row_unit <= 0x1p20)) {
        return (struct exact_low_row){.bias = -INFINITY};
    }
    const double residual = sqrt(codes->residual) * (1 + EXACT_LOW_WIDE) + EXACT_LOW_WIDE * length;
    const double right = bound->metric == VDB_METRIC_L2
                             ? codes->square * (1 - 2 * EXACT_LOW_WIDE) / 2
                             : -codes->centre_dot - 2 * EXACT_LOW_WIDE * bound->centre * length;
    return (struct exact_low_row){
        .scale = (float)((double)codes->scale * bound->row_unit),
        .norm = vdb_exact_bound_up(length * bound->row_unit),
        .residual = vdb_exact_bound_up(residual * bound->row_unit),
        .bias = vdb_exact_bound_down(right * bound->query_unit * bound->row_unit),
    };
}

/* The parts of the test that belong to the query alone. Not for a query that is not finite. */
static inline void vdb_exact_low_query(const struct exact_low_bound *bound, const struct vdb_gemm_codes *codes,
                                       float *lane_scale, float *gain, float *lane_length)
{
    const double length = sqrt(codes->square) * (1 + EXACT_LOW_WIDE);
    const double residual = sqrt(codes->residual) * (1 + EXACT_LOW_WIDE) + EXACT_LOW_WIDE * length;
    const double rounded = length + residual; /* at least |q~| */
    const double wide = bound->metric == VDB_METRIC_L2 ? 0 : EXACT_LOW_WIDE * (length + bound->centre);
    *lane_scale = (float)((double)codes->scale * bound->query_unit);
    *gain = vdb_exact_bound_up((residual + wide + EXACT_LOW_ROUNDING * rounded) * (1 + EXACT_LOW_ROUNDING) *
                               bound->query_unit);
    *lane_length = vdb_exact_bound_up(rounded * (1 + 2 * EXACT_LOW_ROUNDING) * bound->query_unit);
}

static inline float vdb_exact_low_limit(const struct exact_low_bound *bound, const struct exact_low_query *query,
                                        double threshold)
{
    const double unit = bound->query_unit * bound->row_unit;
    double limit;
    if (!query->finite || isinf(threshold)) {
        return query->finite && threshold < 0 ? -INFINITY : INFINITY;
    }
    if (bound->metric == VDB_METRIC_L2) {
        limit = (threshold + 2 * bound->wide * fabs(threshold) - query->square * (1 - 2 * EXACT_LOW_WIDE)) / 2;
    } else {
        if (bound->metric == VDB_METRIC_COSINE) {
            if (threshold >= 2 || query->zero) {
                return threshold >= 1 ? INFINITY : -INFINITY;
            }
            threshold += 8 * bound->wide + 0x1p-33 - 1;
        }
        double length = sqrt(query->square) + bound->centre;
        limit = threshold + query->offset + 0x1p-50 * fabs(threshold) +
                4 * EXACT_LOW_WIDE * length * bound->centre;
    }
    limit *= unit;
    return vdb_exact_bound_up(limit + EXACT_LOW_ROUNDING * fabs(limit) + EXACT_LOW_UNDERFLOW);
}

#endif
