/* gemm.c: the tile kernels in plain C, the packing of panels, and the choice of a level's kernels. */
#include "gemm.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "cpu.h"

enum { ALIGN_BYTES = 64 };

/* ---- Panels ---- */

size_t vdb_gemm_panel_bytes_f32(size_t dimension)
{
    return dimension * VDB_GEMM_LANES * sizeof(float);
}

size_t vdb_gemm_panel_bytes_int16(size_t dimension)
{
    return (dimension + 1) / 2 * VDB_GEMM_LANES * 2 * sizeof(int16_t);
}

size_t vdb_gemm_panel_bytes_int8(size_t dimension)
{
    return (dimension + 3) / 4 * VDB_GEMM_LANES * 4;
}

void vdb_gemm_pack_f32(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                       void *panel)
{
    float *out = panel;
    memset(panel, 0, vdb_gemm_panel_bytes_f32(dimension));
    for (size_t lane = 0; lane < count; lane++) {
        const char *query = (const char *)queries + lane * stride_bytes;
        for (size_t i = 0; i < dimension; i++) {
            float value;
            memcpy(&value, query + i * sizeof value, sizeof value);
            out[i * VDB_GEMM_LANES + lane] = value * scale;
        }
    }
}

void vdb_gemm_pack_u8_int16(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                            void *panel)
{
    int16_t *out = panel;
    (void)scale;
    memset(panel, 0, vdb_gemm_panel_bytes_int16(dimension));
    for (size_t lane = 0; lane < count; lane++) {
        const uint8_t *query = (const uint8_t *)queries + lane * stride_bytes;
        for (size_t i = 0; i < dimension; i++) {
            out[(i / 2 * VDB_GEMM_LANES + lane) * 2 + i % 2] = query[i];
        }
    }
}

void vdb_gemm_pack_i8_int16(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                            void *panel)
{
    int16_t *out = panel;
    (void)scale;
    memset(panel, 0, vdb_gemm_panel_bytes_int16(dimension));
    for (size_t lane = 0; lane < count; lane++) {
        const int8_t *query = (const int8_t *)queries + lane * stride_bytes;
        for (size_t i = 0; i < dimension; i++) {
            out[(i / 2 * VDB_GEMM_LANES + lane) * 2 + i % 2] = (int16_t)query[i];
        }
    }
}

/* u8 becomes the signed q - 128, i8 the unsigned q + 128: in both the top bit turns over. Elements past the
 * dimension are 0, so that whatever a row offers there counts nothing. */
void vdb_gemm_pack_int8(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                        void *panel)
{
    uint8_t *out = panel;
    (void)scale;
    memset(panel, 0, vdb_gemm_panel_bytes_int8(dimension));
    for (size_t lane = 0; lane < count; lane++) {
        const uint8_t *query = (const uint8_t *)queries + lane * stride_bytes;
        for (size_t i = 0; i < dimension; i++) {
            out[(i / 4 * VDB_GEMM_LANES + lane) * 4 + i % 4] = query[i] ^ 0x80;
        }
    }
}

/* ---- Tiles in plain C ---- */

static uint32_t test_row(const struct vdb_gemm_tile *tile, size_t r, const float *dots)
{
    uint32_t passed = 0;
    for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
        bool fails = dots[lane] + tile->gain[lane] * tile->norm[r] < tile->bias[r] + tile->limit[lane];
        passed |= (uint32_t)!fails << lane;
    }
    return passed;
}

static bool run_f32(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    uint32_t any = 0;
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        const char *row = (const char *)tile->rows + r * tile->stride_bytes;
        const float *panel = tile->panel;
        float *dots = out->dots.f32[r];
        memset(dots, 0, sizeof out->dots.f32[r]);
        for (size_t i = 0; i < tile->dimension; i++, panel += VDB_GEMM_LANES) {
            float value;
            memcpy(&value, row + i * sizeof value, sizeof value);
            for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
                dots[lane] += panel[lane] * value;
            }
        }
        out->passed[r] = test_row(tile, r, dots);
        any |= out->passed[r];
    }
    return any != 0;
}

static inline bool run_int(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out, bool is_signed)
{
    uint32_t any = 0;
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        const uint8_t *row = (const uint8_t *)tile->rows + r * tile->stride_bytes;
        const int16_t *panel = tile->panel;
        uint32_t *dots = out->dots.u32[r];
        float floats[VDB_GEMM_LANES];
        memset(dots, 0, sizeof out->dots.u32[r]);
        for (size_t i = 0; i < tile->dimension; i++) {
            int32_t value = is_signed ? (int8_t)row[i] : row[i];
            const int16_t *group = panel + i / 2 * VDB_GEMM_LANES * 2 + i % 2;
            for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
                dots[lane] += (uint32_t)(group[lane * 2] * value);
            }
        }
        for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
            floats[lane] = is_signed ? (float)(int32_t)dots[lane] : (float)dots[lane];
        }
        out->passed[r] = test_row(tile, r, floats);
        any |= out->passed[r];
    }
    return any != 0;
}

static bool run_u8(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    return run_int(tile, out, false);
}

static bool run_i8(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    return run_int(tile, out, true);
}

bool vdb_gemm_test_low_scalar(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    uint32_t any = 0;
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        uint32_t passed = 0;
        for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
            float left = (float)out->dots.i32[r][lane] * tile->lane_scale[lane];
            left = left * tile->scale[r] + tile->limit[lane];
            left = left + tile->gain[lane] * tile->norm[r];
            left = left + tile->lane_length[lane] * tile->residual[r];
            bool fails = left < tile->bias[r];
            passed |= (uint32_t)!fails << lane;
        }
        out->passed[r] = passed;
        any |= passed;
    }
    return any != 0;
}

static bool run_low(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    static const float zeros[VDB_GEMM_LANES];
    struct vdb_gemm_tile plain = *tile;
    plain.norm = zeros; /* run_i8's own test decides nothing here */
    plain.bias = zeros;
    plain.gain = zeros;
    plain.limit = zeros;
    (void)run_i8(&plain, out);
    return vdb_gemm_test_low_scalar(tile, out);
}

/* ---- Codes ---- */

/* Element i of a vector at any address. */
static inline double element_at(const float *vector, size_t i)
{
    float value;
    memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
    return (double)value;
}

void vdb_gemm_quantise_scalar(const float *vector, double factor, const double *centre, size_t dimension,
                              float step, size_t padded, int8_t *codes, struct vdb_gemm_codes *out)
{
    double most = 0;
    double scale = (double)step;
    *out = (struct vdb_gemm_codes){0};
    for (size_t i = 0; step == 0 && i < dimension; i++) {
        double x = fabs(element_at(vector, i) * factor - centre[i]);
        most = x > most ? x : most;
    }
    if (step == 0) {
        out->scale = (float)(most / 127);
        scale = (double)out->scale;
    } else {
        out->scale = step;
    }
    double inverse = scale > 0 && scale <= (double)FLT_MAX ? 1 / scale : 0;
    for (size_t i = 0; i < dimension; i++) {
        double x = element_at(vector, i) * factor - centre[i];
        double code = x * inverse;
        code = code > 127 ? 127 : code > -128 ? code : -128; /* a NaN becomes -128 */
        codes[i] = (int8_t)lrint(code);
        double rest = x - scale * codes[i];
        out->sum += codes[i];
        out->square += x * x;
        out->residual += rest * rest;
        out->centre_dot += x * centre[i];
    }
    memset(codes + dimension, 0, padded - dimension);
}

void vdb_gemm_scalar(struct vdb_gemm *table)
{
    table->kernels[VDB_ELEMENT_F32] = (struct vdb_gemm_kernel){run_f32, vdb_gemm_panel_bytes_f32,
                                                               vdb_gemm_pack_f32, "scalar"};
    table->kernels[VDB_ELEMENT_U8] = (struct vdb_gemm_kernel){run_u8, vdb_gemm_panel_bytes_int16,
                                                              vdb_gemm_pack_u8_int16, "scalar"};
    table->kernels[VDB_ELEMENT_I8] = (struct vdb_gemm_kernel){run_i8, vdb_gemm_panel_bytes_int16,
                                                              vdb_gemm_pack_i8_int16, "scalar"};
    table->low = (struct vdb_gemm_kernel){run_low, vdb_gemm_panel_bytes_int16, vdb_gemm_pack_i8_int16, "scalar"};
    table->amx = (struct vdb_gemm_kernel){0};
    table->quantise = vdb_gemm_quantise_scalar;
}

/* ---- The choice ---- */

void vdb_gemm_fill(struct vdb_gemm *table, vdb_cpu_level level, unsigned extensions)
{
    assert(vdb_cpu_runs(vdb_cpu_detect(), level) && (extensions & ~vdb_cpu_detect_extensions()) == 0);
    vdb_gemm_scalar(table);
#if defined(__x86_64__)
    if (level >= VDB_CPU_AVX2) {
        vdb_gemm_avx2(table);
    }
    if (level >= VDB_CPU_AVX512) {
        vdb_gemm_avx512(table);
        if ((extensions & VDB_CPU_AVX512VNNI) != 0) {
            vdb_gemm_avx512vnni(table);
            if (vdb_gemm_amx_missing() == NULL) {
                vdb_gemm_amx(table);
            }
        }
    }
#else
    (void)level;
    (void)extensions;
#endif
}
