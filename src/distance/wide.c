/* wide.c: the double kernels in plain C, which define the order of summation that all levels follow. */
#include "wide.h"

#include <assert.h>
#include <string.h>

#include "cpu.h"

#define INLINE static inline __attribute__((always_inline))

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

INLINE double sum(wide_term *term, const float *a, const float *b, size_t dimension)
{
    double lanes[VDB_WIDE_LANES] = {0};
    size_t i = 0;
    for (; i + VDB_WIDE_LANES <= dimension; i += VDB_WIDE_LANES) {
        for (size_t j = 0; j < VDB_WIDE_LANES; j++) {
            lanes[j] += term(load(a, i + j), load(b, i + j));
        }
    }
    for (size_t j = 0; i + j < dimension; j++) {
        lanes[j] += term(load(a, i + j), load(b, i + j));
    }
    for (size_t half = VDB_WIDE_LANES / 2; half > 0; half /= 2) {
        for (size_t j = 0; j < half; j++) {
            lanes[j] += lanes[j + half];
        }
    }
    return lanes[0];
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

void vdb_wide_scalar(struct vdb_wide *table)
{
    *table = (struct vdb_wide){.l2 = l2, .dot = dot, .l1 = l1, .dot_many = dot_many};
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
