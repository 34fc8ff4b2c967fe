/* qgraph_kernels.c: the steps of qgraph_kernels.h in plain C, and the choice of a level's.
 *
 * Threads: safe from all threads; the table is filled once.
 */
#include "qgraph_kernels.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "distance/cpu.h"

static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31;
    uint32_t mantissa = half & 0x3FFu;
    if (exponent == 0) {
        float value = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    uint32_t bits = sign | mantissa << 13 | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- Visits ---- */

static uint32_t dot_of(const uint8_t *x, const int8_t *q, size_t bytes)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i++) {
        sum += (uint32_t)(x[i] * q[i]);
    }
    return sum;
}

static uint32_t visit(const struct vdb_qgraph_shape *shape, const struct vdb_qgraph_query *query,
                      const uint8_t *block, struct vdb_qgraph_pool *pool)
{
    const struct vdb_qgraph_head *head = (const struct vdb_qgraph_head *)(const void *)(block + shape->head_at);
    const uint16_t *factors = (const uint16_t *)(const void *)(block + shape->factors_at);
    uint32_t nodes[VDB_QGRAPH_DEGREE];
    const uint32_t exact = query->square + head->norm - 2 * dot_of(block, query->vector, shape->dimension);
    const float base = (float)exact * query->unit;
    uint16_t sums[VDB_FASTSCAN_CODES];
    query->scan(block + shape->codes_at, query->tables, shape->bits, sums);
    const float bound = vdb_qgraph_kernels_bound(pool);
    float estimates[VDB_QGRAPH_DEGREE];
    uint32_t near = 0;
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        float value = (float)sums[i] * query->slope + query->shift;
        float estimate = half_to_float(factors[VDB_QGRAPH_DEGREE + i]) * value;
        estimate = estimate + half_to_float(factors[i]);
        estimates[i] = estimate + base;
        near |= (uint32_t)(estimates[i] < bound) << i;
    }
    vdb_qgraph_kernels_nodes(shape, block, nodes);
    vdb_qgraph_kernels_insert_all(pool, near, estimates, nodes);
    return exact;
}

/* ---- The others ---- */

static uint32_t distance(const uint8_t *a, const uint8_t *b, size_t dimension)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < dimension; i++) {
        int32_t difference = (int32_t)a[i] - b[i];
        sum += (uint32_t)(difference * difference);
    }
    return sum;
}

static void project(const int8_t *matrix, const uint8_t *vector, size_t inputs, size_t outputs, int32_t *out)
{
    memset(out, 0, outputs * sizeof *out);
    for (size_t first = 0; first < outputs; first += 64) {
        for (size_t i = 0; i < inputs; i += 4) {
            for (size_t j = first; j < first + 64; j++, matrix += 4) {
                out[j] += matrix[0] * vector[i] + matrix[1] * vector[i + 1] + matrix[2] * vector[i + 2] +
                          matrix[3] * vector[i + 3];
            }
        }
    }
}

static struct vdb_qgraph_numbers code_of(const int16_t *x, const int16_t *y, size_t bits, uint8_t *code)
{
    struct vdb_qgraph_numbers n = {0, 0, 0};
    for (size_t i = 0; i < bits; i += 8) {
        unsigned byte = 0;
        int32_t length = 0;
        int32_t product = 0;
        int64_t square = 0;
        for (size_t j = 0; j < 8; j++) {
            int32_t r = (int32_t)y[i + j] - x[i + j];
            unsigned positive = r >= 0;
            byte |= positive << j;
            length += positive ? r : -r;
            product += positive ? x[i + j] : -x[i + j];
            square += (int64_t)r * r;
        }
        code[i / 8] = (uint8_t)byte;
        n.square += square;
        n.length += length;
        n.product += product;
    }
    return n;
}

void vdb_qgraph_kernels_scalar(struct vdb_qgraph_kernels *table)
{
    *table = (struct vdb_qgraph_kernels){visit, distance, project, code_of, "scalar"};
}

void vdb_qgraph_kernels_fill(struct vdb_qgraph_kernels *table, unsigned level, unsigned extensions)
{
    vdb_qgraph_kernels_scalar(table);
#if defined(__x86_64__)
    if (level >= VDB_CPU_AVX2) {
        vdb_qgraph_kernels_avx2(table);
    }
    if (level >= VDB_CPU_AVX512 && (extensions & VDB_CPU_AVX512VNNI) != 0 &&
        __builtin_cpu_supports("avx512vbmi")) {
        vdb_qgraph_kernels_avx512vbmi(table);
    }
#else
    (void)level;
    (void)extensions;
#endif
}

static struct vdb_qgraph_kernels process_table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_once(void)
{
    const struct vdb_kernels *kernels = vdb_kernels_get();
    vdb_qgraph_kernels_fill(&process_table, kernels->level, kernels->extensions);
}

const struct vdb_qgraph_kernels *vdb_qgraph_kernels_get(void)
{
    (void)pthread_once(&once, fill_once);
    return &process_table;
}
