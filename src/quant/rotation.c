/* rotation.c: rotations as objects: making, applying, the 8-bit matrix. */
#include "rotation.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/rng.h"
#include "rotation_internal.h"

enum {
    PANEL = VDB_ROTATION_PANEL,
    CHUNK_ROWS =
        96, /* of one piece of apply_many: 16 tiles for each load of a panel into the second-level cache */
    CODE_MAX = 127,
};

/* ---- Making ---- */

static bool is_dense(const struct vdb_rotation *rotation)
{
    return rotation->kind != VDB_ROTATION_RANDOM;
}

vdb_status vdb_rotation_allocate(vdb_rotation_kind kind, size_t dimension, struct vdb_rotation **out,
                                 struct vdb_err *err)
{
    struct vdb_rotation *rotation = vdb_calloc(1, sizeof *rotation);
    *out = NULL;
    if (rotation == NULL) {
        return vdb_err_no_memory(err, "a rotation");
    }
    rotation->kind = kind;
    rotation->dimension = dimension;
    rotation->padded = vdb_round_up(dimension, VDB_ROTATION_MULTIPLE);
    rotation->leading = rotation->padded;
    bool got;
    if (is_dense(rotation)) {
        rotation->panels = vdb_alloc_aligned(rotation->padded * dimension * sizeof(float));
        rotation->variance = vdb_calloc(rotation->padded, sizeof(double));
        got = rotation->panels != NULL && rotation->variance != NULL;
    } else {
        rotation->signs = vdb_calloc(vdb_rotation_rounds(rotation->padded) * rotation->padded / 64,
                                     sizeof(uint64_t));
        got = rotation->signs != NULL;
    }
    if (!got) {
        vdb_rotation_destroy(rotation);
        return vdb_err_no_memory(err, "a rotation");
    }
    *out = rotation;
    return VDB_OK;
}

void vdb_rotation_destroy(struct vdb_rotation *rotation)
{
    if (rotation == NULL) {
        return;
    }
    free(rotation->signs);
    free(rotation->panels);
    free(rotation->variance);
    free(rotation->int8_panels);
    free(rotation->int8_scales);
    free(rotation->int8_sums);
    free(rotation);
}

static vdb_status check_options(size_t dimension, const struct vdb_rotation_options *options, struct vdb_err *err)
{
    const size_t padded = vdb_round_up(dimension, VDB_ROTATION_MULTIPLE);
    if (dimension == 0) {
        return vdb_err_set(err, VDB_INVALID, "dimension: 0; at least 1");
    }
    if (dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "dimension: %zu; at most %u", dimension, VDB_LIMIT_DIMENSION_MAX);
    }
    if ((unsigned)options->kind >= VDB_ROTATION_KIND_COUNT) {
        return vdb_err_set(err, VDB_INVALID, "kind: %u; below %d", (unsigned)options->kind,
                           VDB_ROTATION_KIND_COUNT);
    }
    if (options->kind == VDB_ROTATION_RANDOM) {
        return VDB_OK;
    }
    if (dimension > VDB_ROTATION_PCA_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "dimension: %zu; at most %d with PCA", dimension,
                           VDB_ROTATION_PCA_MAX);
    }
    if (options->sample == NULL || options->sample_count == 0) {
        return vdb_err_set(err, VDB_INVALID, "sample_count: 0; at least 1");
    }
    if (options->sample_stride < dimension) {
        return vdb_err_set(err, VDB_INVALID, "sample_stride: %zu; at least the dimension, %zu",
                           options->sample_stride, dimension);
    }
    if (options->leading > padded || options->leading % VDB_ROTATION_MULTIPLE != 0) {
        return vdb_err_set(err, VDB_INVALID, "leading: %zu; a multiple of %d up to %zu", options->leading,
                           VDB_ROTATION_MULTIPLE, padded);
    }
    if (!(options->explained_min >= 0 && options->explained_min <= 1)) {
        return vdb_err_set(err, VDB_INVALID, "explained_min: %g; from 0 to 1", options->explained_min);
    }
    return VDB_OK;
}

vdb_status vdb_rotation_create(size_t dimension, const struct vdb_rotation_options *options,
                               struct vdb_rotation **out, struct vdb_err *err)
{
    *out = NULL;
    VDB_TRY(check_options(dimension, options, err));
    struct vdb_rotation *rotation;
    VDB_TRY(vdb_rotation_allocate(options->kind, dimension, &rotation, err));
    rotation->seed = options->seed;
    if (is_dense(rotation)) {
        vdb_status status = vdb_rotation_learn(rotation, options, err);
        if (status != VDB_OK) {
            vdb_rotation_destroy(rotation);
            return status;
        }
    } else {
        vdb_rotation_draw_signs(options->seed, rotation->padded, rotation->signs);
    }
    *out = rotation;
    return VDB_OK;
}

/* ---- What it is ---- */

size_t vdb_rotation_dimension(const struct vdb_rotation *rotation)
{
    return rotation->dimension;
}

size_t vdb_rotation_padded(const struct vdb_rotation *rotation)
{
    return rotation->padded;
}

size_t vdb_rotation_leading(const struct vdb_rotation *rotation)
{
    return rotation->leading;
}

vdb_rotation_kind vdb_rotation_kind_of(const struct vdb_rotation *rotation)
{
    return rotation->kind;
}

uint64_t vdb_rotation_bytes(const struct vdb_rotation *rotation)
{
    uint64_t bytes = sizeof *rotation;
    if (is_dense(rotation)) {
        bytes += rotation->padded * (rotation->dimension * sizeof(float) + sizeof(double));
        bytes += rotation->int8_count * (vdb_round_up(rotation->dimension, 4) + sizeof(float) + sizeof(int32_t));
    } else {
        bytes += vdb_rotation_rounds(rotation->padded) * rotation->padded / 8;
    }
    return bytes;
}

double vdb_rotation_explained(const struct vdb_rotation *rotation, size_t count)
{
    count = count < rotation->padded ? count : rotation->padded;
    if (!is_dense(rotation)) {
        return (double)count / (double)rotation->padded;
    }
    double within = 0;
    double all = 0;
    for (size_t i = 0; i < rotation->padded; i++) {
        all += rotation->variance[i];
        within = i + 1 == count ? all : within;
    }
    return all > 0 ? within / all : 1;
}

size_t vdb_rotation_dimensions_for(const struct vdb_rotation *rotation, double share)
{
    size_t count = VDB_ROTATION_MULTIPLE;
    while (count < rotation->padded && !(vdb_rotation_explained(rotation, count) >= share)) {
        count += VDB_ROTATION_MULTIPLE;
    }
    return count;
}

/* ---- The random transform ---- */

static size_t block_of(size_t count)
{
    size_t block = VDB_ROTATION_MULTIPLE;
    while (2 * block <= count) {
        block *= 2;
    }
    return block;
}

/* A whole Hadamard transform mixes everything with everything, so three rounds give what passes for a random
 * rotation. Blocks at the front and at the back come by turns; with two of each a unit vector may leave a fifth of its
 * square in one output of 192, with three of each it leaves what chance would. */
unsigned vdb_rotation_rounds(size_t count)
{
    return block_of(count) == count ? 3 : 6;
}

void vdb_rotation_draw_signs(uint64_t seed, size_t count, uint64_t *signs)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, seed);
    for (size_t i = 0; i < vdb_rotation_rounds(count) * count / 64; i++) {
        signs[i] = vdb_rng_u64(&rng);
    }
}

void vdb_rotation_mix(const struct vdb_rotation_kernels *kernels, const uint64_t *signs, size_t count, float *x)
{
    const size_t block = block_of(count);
    const float scale = 1 / sqrtf((float)block);
    const unsigned rounds = vdb_rotation_rounds(count);
    for (unsigned round = 0; round < rounds; round++) {
        kernels->flip(x, signs + round * (count / 64), count);
        kernels->hadamard(round % 2 == 0 ? x : x + (count - block), block, scale);
        if (block != count) {
            kernels->halves(x, count / 2, (float)M_SQRT1_2);
        }
    }
}

static void apply_random(const struct vdb_rotation *rotation, const struct vdb_rotation_kernels *kernels,
                         float *out)
{
    memset(out + rotation->dimension, 0, (rotation->padded - rotation->dimension) * sizeof out[0]);
    vdb_rotation_mix(kernels, rotation->signs, rotation->padded, out);
}

/* ---- Applying ---- */

void vdb_rotation_apply(const struct vdb_rotation *rotation, const float *in, size_t out_count, float *out)
{
    assert(vdb_rotation_fits(rotation, out_count));
    const struct vdb_rotation_kernels *kernels = vdb_rotation_kernels_get();
    if (!is_dense(rotation)) {
        memcpy(out, in, rotation->dimension * sizeof out[0]);
        apply_random(rotation, kernels, out);
        return;
    }
    for (size_t j = 0; j < out_count; j += PANEL) {
        kernels->dense(rotation->panels + j * rotation->dimension, rotation->dimension, in, 0, 1, out + j, 0);
    }
}

struct apply_task {
    const struct vdb_rotation *rotation;
    const float *in;
    float *out;
    size_t in_stride, out_stride, count, out_count;
};

static void apply_chunk(void *ctx, unsigned worker, size_t index)
{
    (void)worker;
    const struct apply_task *task = ctx;
    const struct vdb_rotation *rotation = task->rotation;
    const struct vdb_rotation_kernels *kernels = vdb_rotation_kernels_get();
    const size_t begin = index * CHUNK_ROWS;
    const size_t end = begin + CHUNK_ROWS < task->count ? begin + CHUNK_ROWS : task->count;
    if (!is_dense(rotation)) {
        for (size_t i = begin; i < end; i++) {
            vdb_rotation_apply(rotation, task->in + i * task->in_stride, task->out_count,
                               task->out + i * task->out_stride);
        }
        return;
    }
    for (size_t j = 0; j < task->out_count; j += PANEL) {
        const float *panel = rotation->panels + j * rotation->dimension;
        for (size_t i = begin; i < end; i += VDB_ROTATION_ROWS) {
            size_t rows = end - i < VDB_ROTATION_ROWS ? end - i : VDB_ROTATION_ROWS;
            kernels->dense(panel, rotation->dimension, task->in + i * task->in_stride, task->in_stride, rows,
                           task->out + i * task->out_stride + j, task->out_stride);
        }
    }
}

void vdb_rotation_apply_many(const struct vdb_rotation *rotation, const float *in, size_t in_stride, size_t count,
                             size_t out_count, float *out, size_t out_stride, struct vdb_pool *pool)
{
    assert(vdb_rotation_fits(rotation, out_count) && out_stride % 16 == 0);
    assert(out_stride >= (is_dense(rotation) ? out_count : rotation->padded));
    struct apply_task task = {rotation, in, out, in_stride, out_stride, count, out_count};
    const size_t chunks = (count + CHUNK_ROWS - 1) / CHUNK_ROWS;
    if (pool != NULL) {
        vdb_pool_run(pool, chunks, apply_chunk, &task);
        return;
    }
    for (size_t i = 0; i < chunks; i++) {
        apply_chunk(&task, 0, i);
    }
}

/* ---- The 8-bit matrix ---- */

vdb_status vdb_rotation_prepare_int8(struct vdb_rotation *rotation, size_t out_count, struct vdb_err *err)
{
    assert(vdb_rotation_fits(rotation, out_count));
    if (!is_dense(rotation) || out_count <= rotation->int8_count) {
        return VDB_OK;
    }
    const size_t dimension = rotation->dimension;
    const size_t quads = (dimension + 3) / 4;
    int8_t *panels = vdb_alloc_aligned(out_count * quads * 4);
    float *scales = vdb_calloc(out_count, sizeof(float));
    int32_t *sums = vdb_calloc(out_count, sizeof(int32_t));
    if (panels == NULL || scales == NULL || sums == NULL) {
        free(panels);
        free(scales);
        free(sums);
        return vdb_err_no_memory(err, "a rotation's 8-bit matrix");
    }
    for (size_t j = 0; j < out_count; j++) {
        const float *column = rotation->panels + j / PANEL * PANEL * dimension + j % PANEL;
        int8_t *codes = panels + j / PANEL * PANEL * quads * 4 + j % PANEL * 4;
        float most = 0;
        for (size_t i = 0; i < dimension; i++) {
            most = fmaxf(most, fabsf(column[i * PANEL]));
        }
        scales[j] = most / CODE_MAX;
        for (size_t i = 0; i < dimension && most > 0; i++) {
            long code = lrintf(column[i * PANEL] / scales[j]);
            code = code > CODE_MAX ? CODE_MAX : code < -CODE_MAX ? -CODE_MAX : code;
            codes[i / 4 * 4 * PANEL + i % 4] = (int8_t)code;
            sums[j] += (int32_t)code;
        }
    }
    free(rotation->int8_panels);
    free(rotation->int8_scales);
    free(rotation->int8_sums);
    rotation->int8_panels = panels;
    rotation->int8_scales = scales;
    rotation->int8_sums = sums;
    rotation->int8_count = out_count;
    return VDB_OK;
}

/* bytes: dimension of them as they lie; offset: what each stands above its value (128 for signed ones). */
static void apply_bytes(const struct vdb_rotation *rotation, const uint8_t *bytes, uint8_t flip, int32_t offset,
                        size_t out_count, float *out)
{
    assert(out_count <= rotation->int8_count);
    const struct vdb_rotation_kernels *kernels = vdb_rotation_kernels_get();
    const size_t dimension = rotation->dimension;
    const size_t quads = (dimension + 3) / 4;
    uint8_t copy[VDB_ROTATION_PCA_MAX];
    if (flip != 0 || dimension % 4 != 0) {
        for (size_t i = 0; i < dimension; i++) {
            copy[i] = bytes[i] ^ flip;
        }
        memset(copy + dimension, 0, 4 * quads - dimension); /* meets codes of 0 */
        bytes = copy;
    }
    for (size_t j = 0; j < out_count; j += PANEL) {
        int32_t dots[PANEL];
        kernels->int8(rotation->int8_panels + j * quads * 4, quads, bytes, dots);
        for (size_t k = 0; k < PANEL; k++) {
            out[j + k] = (float)(dots[k] - offset * rotation->int8_sums[j + k]) * rotation->int8_scales[j + k];
        }
    }
}

void vdb_rotation_apply_u8(const struct vdb_rotation *rotation, const uint8_t *in, size_t out_count, float *out)
{
    assert(vdb_rotation_fits(rotation, out_count));
    if (is_dense(rotation)) {
        apply_bytes(rotation, in, 0, 0, out_count, out);
        return;
    }
    for (size_t i = 0; i < rotation->dimension; i++) {
        out[i] = in[i];
    }
    apply_random(rotation, vdb_rotation_kernels_get(), out);
}

void vdb_rotation_apply_i8(const struct vdb_rotation *rotation, const int8_t *in, size_t out_count, float *out)
{
    assert(vdb_rotation_fits(rotation, out_count));
    if (is_dense(rotation)) {
        apply_bytes(rotation, (const uint8_t *)in, 0x80, 128, out_count, out);
        return;
    }
    for (size_t i = 0; i < rotation->dimension; i++) {
        out[i] = in[i];
    }
    apply_random(rotation, vdb_rotation_kernels_get(), out);
}
