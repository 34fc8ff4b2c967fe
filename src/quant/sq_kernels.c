/* sq_kernels.c: the reference in plain C, and the choice among levels. */
#include "sq_kernels.h"

#include "levels.h"

enum { LANES = 16 };

static float sum_lanes(float lanes[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lanes[i] += lanes[i + half];
        }
    }
    return lanes[0];
}

/* Element i of a code. */
static float value8(const uint8_t *code, size_t i)
{
    return code[i];
}

static float value4(const uint8_t *code, size_t i)
{
    return (float)(code[i / 32 * 16 + i % 16] >> i % 32 / 16 * 4 & 15);
}

#define SUMS(name, value)                                                                                        \
    static float l2_##name(const uint8_t *code, size_t padded, const float *offsets, const float *weights)       \
    {                                                                                                            \
        float lanes[LANES] = {0};                                                                                \
        for (size_t i = 0; i < padded; i++) {                                                                    \
            float difference = offsets[i] - weights[i] * value(code, i);                                         \
            lanes[i % LANES] += difference * difference;                                                         \
        }                                                                                                        \
        return sum_lanes(lanes);                                                                                 \
    }                                                                                                            \
    static float dot_##name(const uint8_t *code, size_t padded, const float *offsets, const float *weights)      \
    {                                                                                                            \
        (void)offsets;                                                                                           \
        float lanes[LANES] = {0};                                                                                \
        for (size_t i = 0; i < padded; i++) {                                                                    \
            lanes[i % LANES] += weights[i] * value(code, i);                                                     \
        }                                                                                                        \
        return sum_lanes(lanes);                                                                                 \
    }

SUMS(4, value4)
SUMS(8, value8)

void vdb_sq_kernels_scalar(struct vdb_sq_kernels *table)
{
    *table = (struct vdb_sq_kernels){{l2_4, l2_8}, {dot_4, dot_8}, "scalar"};
}

void vdb_sq_kernels_fill(struct vdb_sq_kernels *table, vdb_cpu_level level)
{
    VDB_QUANT_LEVELS_ENTER(sq_kernels, table, level);
}

VDB_QUANT_LEVELS_GET(sq_kernels, kernels->level)
