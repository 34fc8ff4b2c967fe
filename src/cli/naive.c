/* naive.c: see naive.h. The loops are left plain on purpose: one value at a time into one double, in order, which
 * a compiler may not reorder into vector instructions. */
#include "naive.h"

#include <math.h>
#include <stdlib.h>

/* The sums that all metrics are made of, one loop per element type and metric. */
struct sums {
    double value; /* l2: sum (a-b)^2; l1: sum |a-b|; dot and cosine: sum a*b */
    double aa;    /* cosine only: sum a^2, sum b^2 */
    double bb;
};

#define DEFINE_SUMS(type, name)                                                                                  \
    static struct sums sums_##name(const void *a_raw, const void *b_raw, size_t dimension, vdb_metric metric)    \
    {                                                                                                            \
        const type *a = a_raw;                                                                                   \
        const type *b = b_raw;                                                                                   \
        struct sums sums = {0};                                                                                  \
        switch (metric) {                                                                                        \
        case VDB_METRIC_L2:                                                                                      \
            for (size_t i = 0; i < dimension; i++) {                                                             \
                double difference = (double)a[i] - (double)b[i];                                                 \
                sums.value += difference * difference;                                                           \
            }                                                                                                    \
            break;                                                                                               \
        case VDB_METRIC_L1:                                                                                      \
            for (size_t i = 0; i < dimension; i++) {                                                             \
                sums.value += fabs((double)a[i] - (double)b[i]);                                                 \
            }                                                                                                    \
            break;                                                                                               \
        case VDB_METRIC_COSINE:                                                                                  \
            for (size_t i = 0; i < dimension; i++) {                                                             \
                sums.value += (double)a[i] * (double)b[i];                                                       \
                sums.aa += (double)a[i] * (double)a[i];                                                          \
                sums.bb += (double)b[i] * (double)b[i];                                                          \
            }                                                                                                    \
            break;                                                                                               \
        default:                                                                                                 \
            for (size_t i = 0; i < dimension; i++) {                                                             \
                sums.value += (double)a[i] * (double)b[i];                                                       \
            }                                                                                                    \
            break;                                                                                               \
        }                                                                                                        \
        return sums;                                                                                             \
    }

DEFINE_SUMS(float, f32)
DEFINE_SUMS(uint8_t, u8)
DEFINE_SUMS(int8_t, i8)

/* Bits one at a time: hamming and jaccard. */
static double bits_distance(const uint8_t *a, const uint8_t *b, size_t dimension, vdb_metric metric)
{
    size_t differ = 0;
    size_t both = 0;
    size_t either = 0;
    for (size_t i = 0; i < dimension; i++) {
        bool in_a = (a[i / 8] >> (7 - i % 8) & 1) != 0;
        bool in_b = (b[i / 8] >> (7 - i % 8) & 1) != 0;
        differ += in_a != in_b;
        both += in_a && in_b;
        either += in_a || in_b;
    }
    if (metric == VDB_METRIC_HAMMING) {
        return (double)differ;
    }
    return either == 0 ? 0 : 1 - (double)both / (double)either;
}

/* Sum of |a*b|, for the rounding of a dot product of floats. */
static double dot_size(const float *a, const float *b, size_t dimension)
{
    double size = 0;
    for (size_t i = 0; i < dimension; i++) {
        size += fabs((double)a[i] * (double)b[i]);
    }
    return size;
}

double vdb_naive_distance(const void *a, const void *b, size_t dimension, vdb_element element, vdb_metric metric,
                          double *rounding)
{
    if (element == VDB_ELEMENT_BIT) {
        if (rounding != NULL) {
            *rounding = metric == VDB_METRIC_HAMMING ? 0 : 0x1p-48;
        }
        return bits_distance(a, b, dimension, metric);
    }
    struct sums sums = element == VDB_ELEMENT_F32  ? sums_f32(a, b, dimension, metric)
                       : element == VDB_ELEMENT_U8 ? sums_u8(a, b, dimension, metric)
                                                   : sums_i8(a, b, dimension, metric);
    double distance = sums.value;
    double size = sums.value;
    if (metric == VDB_METRIC_COSINE) {
        double norms = sqrt(sums.aa) * sqrt(sums.bb);
        distance = norms > 0 ? 1 - sums.value / norms : 1;
        size = 3; /* |cos| is at most 1, and the two norms round as well */
    } else if (metric == VDB_METRIC_DOT) {
        distance = -sums.value;
    }
    if (rounding != NULL) {
        if (element == VDB_ELEMENT_F32 && metric == VDB_METRIC_DOT) {
            size = dot_size(a, b, dimension);
        }
        /* 2^-126: a term smaller than that may be flushed to zero. Integers: the sums are exact; only the
         * cosine's root and division round, in double. */
        *rounding = element == VDB_ELEMENT_F32    ? (double)(dimension + 16) * (0x1p-24 * size + 0x1p-126)
                    : metric == VDB_METRIC_COSINE ? 0x1p-48
                                                  : 0;
    }
    return distance;
}

static int compare(const void *a_raw, const void *b_raw)
{
    const struct vdb_candidate *a = a_raw;
    const struct vdb_candidate *b = b_raw;
    if (a->distance != b->distance) {
        return a->distance < b->distance ? -1 : 1;
    }
    return a->row < b->row ? -1 : a->row > b->row;
}

void vdb_naive_search(const struct vdb_rows *rows, const void *query, struct vdb_candidate *out)
{
    for (size_t row = 0; row < rows->count; row++) {
        double distance = vdb_naive_distance(query, vdb_rows_at(rows, row), rows->dimension, rows->element,
                                             rows->metric, NULL);
        out[row] = (struct vdb_candidate){distance, (uint32_t)row};
    }
    qsort(out, rows->count, sizeof *out, compare);
}
