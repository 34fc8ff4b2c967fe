/* rotation_kernels.c: the reference in plain C, and the choice among levels. */
#include "rotation_kernels.h"

#include <assert.h>
#include <string.h>

#include "levels.h"

static void hadamard(float *x, size_t count, float scale)
{
    assert(count >= 64 && (count & (count - 1)) == 0);
    for (size_t h = 1; h < count; h *= 2) {
        for (size_t i = 0; i < count; i += 2 * h) {
            for (size_t k = i; k < i + h; k++) {
                float a = x[k];
                float b = x[k + h];
                x[k] = a + b;
                x[k + h] = a - b;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        x[i] *= scale;
    }
}

static void flip(float *x, const uint64_t *signs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        x[i] = (signs[i / 64] >> i % 64 & 1) != 0 ? -x[i] : x[i];
    }
}

static void halves(float *x, size_t half, float scale)
{
    for (size_t i = 0; i < half; i++) {
        float a = x[i];
        float b = x[i + half];
        x[i] = (a + b) * scale;
        x[i + half] = (a - b) * scale;
    }
}

static void dense(const float *panel, size_t dimension, const float *in, size_t in_stride, size_t rows,
                  float *out, size_t out_stride)
{
    assert(rows >= 1 && rows <= VDB_ROTATION_ROWS);
    for (size_t r = 0; r < rows; r++) {
        float sums[VDB_ROTATION_PANEL] = {0};
        for (size_t i = 0; i < dimension; i++) {
            const float value = in[r * in_stride + i];
            const float *column = panel + i * VDB_ROTATION_PANEL;
            for (size_t j = 0; j < VDB_ROTATION_PANEL; j++) {
                sums[j] += value * column[j];
            }
        }
        memcpy(out + r * out_stride, sums, sizeof sums);
    }
}

static void int8(const int8_t *panel, size_t quads, const uint8_t *in, int32_t out[64])
{
    memset(out, 0, VDB_ROTATION_PANEL * sizeof out[0]);
    for (size_t i = 0; i < quads; i++, panel += 4 * VDB_ROTATION_PANEL, in += 4) {
        for (size_t j = 0; j < VDB_ROTATION_PANEL; j++) {
            for (size_t k = 0; k < 4; k++) {
                out[j] += in[k] * panel[4 * j + k];
            }
        }
    }
}

void vdb_rotation_kernels_scalar(struct vdb_rotation_kernels *table)
{
    *table = (struct vdb_rotation_kernels){hadamard, flip, halves, dense, int8, "scalar", "scalar"};
}

void vdb_rotation_kernels_fill(struct vdb_rotation_kernels *table, vdb_cpu_level level, unsigned extensions)
{
    assert((extensions & ~vdb_cpu_detect_extensions()) == 0);
    VDB_QUANT_LEVELS_ENTER(rotation_kernels, table, level);
#if defined(__x86_64__)
    if (level >= VDB_CPU_AVX512 && (extensions & VDB_CPU_AVX512VNNI) != 0) {
        vdb_rotation_kernels_avx512vnni(table);
    }
#else
    (void)extensions;
#endif
}

VDB_QUANT_LEVELS_GET(rotation_kernels, kernels->level, kernels->extensions)
