/* wide.c: the double kernels in plain C, which define the order of summation that all levels follow. */
#include "wide.h"

#include <assert.h>
#include <string.h>

#include "base/convert.h"
#include "cpu.h"

#define INLINE static inline __attribute__((always_inline))

enum { LOADED_ELEMENTS = 16 * VDB_WIDE_LANES }; /* of f16 and bf16 at a time: two kilobytes of stack */

typedef double wide_term(double a, double b);

static inline double l2_term(double a, double b)
{
    return (a - b) * (a - b);
}

static inline double dot_term(double a, double b)
{
    return a * b;
}

static inline double l1_term(double a, double b)
{
    return fabs(a - b);
}

INLINE double load(const float *vector, size_t i)
{
    float value;
    memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
    return (double)value;
}

/* Adds the terms of `count` elements, the first of which belongs to lane 0. */
INLINE void add(wide_term *term, const float *a, const float *b, size_t count, double *lanes)
{
    size_t i = 0;
    for (; i + VDB_WIDE_LANES <= count; i += VDB_WIDE_LANES) {
        for (size_t j = 0; j < VDB_WIDE_LANES; j++) {
            lanes[j] += term(load(a, i + j), load(b, i + j));
        }
    }
    for (size_t j = 0; i + j < count; j++) {
        lanes[j] += term(load(a, i + j), load(b, i + j));
    }
}

INLINE double reduce(double *lanes)
{
    for (size_t half = VDB_WIDE_LANES / 2; half > 0; half /= 2) {
        for (size_t j = 0; j < half; j++) {
            lanes[j] += lanes[j + half];
        }
    }
    return lanes[0];
}

INLINE double sum(wide_term *term, const float *a, const float *b, size_t dimension)
{
    double lanes[VDB_WIDE_LANES] = {0};
    add(term, a, b, dimension, lanes);
    return reduce(lanes);
}

static double l2(const float *a, const float *b, size_t dimension)
{
    return sum(l2_term, a, b, dimension);
}

static double dot(const float *a, const float *b, size_t dimension)
{
    return sum(dot_term, a, b, dimension);
}

static double l1(const float *a, const float *b, size_t dimension)
{
    return sum(l1_term, a, b, dimension);
}

static void dot_many(const float *query, const void *rows, size_t stride_bytes, size_t count, size_t dimension,
                     double *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = dot(query, (const void *)((const char *)rows + i * stride_bytes), dimension);
    }
}

/* ---- f16 and bf16 ---- */

void vdb_wide_load(vdb_element element, const void *vector, size_t dimension, float *out)
{
    const char *in = vector;
    uint16_t half;
    if (element != VDB_ELEMENT_BF16) {
        vdb_convert_widen(element, vector, dimension, out);
        return;
    }
    for (size_t i = 0; i < dimension; i++) {
        memcpy(&half, in + i * sizeof half, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

INLINE double sum_halves(wide_term *term, vdb_element element, const char *a, const char *b, size_t dimension)
{
    double lanes[VDB_WIDE_LANES] = {0};
    float x[LOADED_ELEMENTS], y[LOADED_ELEMENTS];
    for (size_t i = 0; i < dimension; i += LOADED_ELEMENTS) {
        size_t count = dimension - i < LOADED_ELEMENTS ? dimension - i : LOADED_ELEMENTS;
        vdb_wide_load(element, a + i * sizeof(uint16_t), count, x);
        vdb_wide_load(element, b + i * sizeof(uint16_t), count, y);
        add(term, x, y, count, lanes);
    }
    return reduce(lanes);
}

double vdb_wide_halves(vdb_element element, vdb_metric metric, const void *a, double aa, const void *b,
                       size_t dimension)
{
    double distance;
    assert(element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_BF16);
    switch (metric) {
    case VDB_METRIC_L2:
        distance = sum_halves(l2_term, element, a, b, dimension);
        break;
    case VDB_METRIC_DOT:
        distance = -sum_halves(dot_term, element, a, b, dimension);
        break;
    case VDB_METRIC_L1:
        distance = sum_halves(l1_term, element, a, b, dimension);
        break;
    default:
        distance = vdb_kernels_cosine(sum_halves(dot_term, element, a, b, dimension), aa,
                                      sum_halves(dot_term, element, b, b, dimension));
        break;
    }
    return isnan(distance) ? (double)INFINITY : distance;
}

void vdb_wide_scalar(struct vdb_wide *table)
{
    *table = (struct vdb_wide){.l2 = l2, .dot = dot, .l1 = l1, .dot_many = dot_many, .load = vdb_wide_load};
}

void vdb_wide_fill(struct vdb_wide *table, vdb_cpu_level level)
{
    assert(vdb_cpu_runs(vdb_cpu_detect(), level));
    vdb_wide_scalar(table);
#if defined(__x86_64__)
    if (level >= VDB_CPU_AVX2) {
        vdb_wide_avx2(table);
    }
    if (level >= VDB_CPU_AVX512) {
        vdb_wide_avx512(table);
    }
#else
    (void)level;
#endif
}
