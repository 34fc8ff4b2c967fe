/* rabitq.c: queries, dot products with codes in plain C, and the choice among levels. Encoding is in rabitq_encode.c. */
#include "rabitq.h"

#include <assert.h>
#include <string.h>

#include "levels.h"

enum { LANES = 16 };

/* The sum over lanes, halves first. */
static float sum_lanes(float lanes[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lanes[i] += lanes[i + half];
        }
    }
    return lanes[0];
}

static float dot(const uint8_t *code, size_t dimensions, unsigned bits, const float *query)
{
    assert(dimensions % VDB_RABITQ_MULTIPLE == 0 && bits >= 1 && bits <= VDB_RABITQ_BITS_MAX);
    float total = 0;
    for (unsigned plane = 0; plane < bits; plane++, code += dimensions / 8) {
        float lanes[LANES] = {0};
        for (size_t i = 0; i < dimensions; i++) {
            if ((code[i / 8] >> i % 8 & 1) != 0) {
                lanes[i % LANES] += query[i];
            }
        }
        total = total + total + sum_lanes(lanes);
    }
    return total;
}

static void score(const float *magnitudes, size_t dimensions, float factor, float level_max, float *product,
                  float *square)
{
    float products[LANES] = {0};
    float squares[LANES] = {0};
    for (size_t i = 0; i < dimensions; i++) {
        float scaled = factor * magnitudes[i];
        float y = (float)(int32_t)(scaled < level_max ? scaled : level_max) + 0.5f;
        products[i % LANES] += y * magnitudes[i];
        squares[i % LANES] += y * y;
    }
    *product = sum_lanes(products);
    *square = sum_lanes(squares);
}

void vdb_rabitq_scalar(struct vdb_rabitq *table)
{
    *table = (struct vdb_rabitq){dot, score, "scalar"};
}

void vdb_rabitq_query_init(struct vdb_rabitq_query *query, const float *values, size_t dimensions)
{
    float sums[LANES] = {0};
    float squares[LANES] = {0};
    for (size_t i = 0; i < dimensions; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            sums[lane] += values[i + lane];
            squares[lane] += values[i + lane] * values[i + lane];
        }
    }
    *query = (struct vdb_rabitq_query){values, dimensions, sum_lanes(sums), sum_lanes(squares)};
}

void vdb_rabitq_fill(struct vdb_rabitq *table, vdb_cpu_level level)
{
    VDB_QUANT_LEVELS_ENTER(rabitq, table, level);
}

VDB_QUANT_LEVELS_GET(rabitq, kernels->level)
