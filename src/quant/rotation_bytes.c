/* rotation_bytes.c: rotations to bytes and back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/rng.h"
#include "rotation_internal.h"

#define VARIANCE_MAX 0x1p260 /* of f32 values, with room */

enum { MAGIC = 0x544F5256 /* "VROT" */, VERSION = 1, PROBES = 4 };

void vdb_rotation_save(const struct vdb_rotation *rotation, struct vdb_buf *out)
{
    vdb_buf_put_u32(out, MAGIC);
    vdb_buf_put_u32(out, VERSION);
    vdb_buf_put_u32(out, (uint32_t)rotation->kind);
    vdb_buf_put_u32(out, (uint32_t)rotation->dimension);
    vdb_buf_put_u32(out, (uint32_t)rotation->leading);
    vdb_buf_put_u32(out, 0);
    vdb_buf_put_u64(out, rotation->seed);
    if (rotation->panels != NULL) {
        vdb_buf_put(out, rotation->variance, rotation->padded * sizeof rotation->variance[0]);
        vdb_buf_put(out, rotation->panels, rotation->padded * rotation->dimension * sizeof rotation->panels[0]);
    }
}

/* Whether vectors at random keep their lengths, which those of a damaged matrix do not. */
static bool keeps_lengths(const struct vdb_rotation *rotation, float *in, float *out)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, 1);
    for (unsigned probe = 0; probe < PROBES; probe++) {
        double before = 0;
        double after = 0;
        for (size_t i = 0; i < rotation->dimension; i++) {
            in[i] = vdb_rng_normal(&rng);
            before += (double)in[i] * (double)in[i];
        }
        vdb_rotation_apply(rotation, in, rotation->padded, out);
        for (size_t i = 0; i < rotation->padded; i++) {
            after += (double)out[i] * (double)out[i];
        }
        if (!(fabs(after - before) <= before * 0x1p-12)) { /* rounding stays below 2^-16 */
            return false;
        }
    }
    return true;
}

static vdb_status load_dense(struct vdb_rotation *rotation, struct vdb_cursor *in, struct vdb_err *err)
{
    const size_t variance_bytes = rotation->padded * sizeof rotation->variance[0];
    const size_t panel_bytes = rotation->padded * rotation->dimension * sizeof rotation->panels[0];
    const uint8_t *variance = vdb_cursor_take(in, variance_bytes);
    const uint8_t *panels = vdb_cursor_take(in, panel_bytes);
    if (variance == NULL || panels == NULL) {
        return vdb_err_set(err, VDB_CORRUPT, "rotation: cut short");
    }
    memcpy(rotation->variance, variance, variance_bytes);
    memcpy(rotation->panels, panels, panel_bytes);
    for (size_t i = 0; i < rotation->padded; i++) {
        if (!(rotation->variance[i] >= 0 && rotation->variance[i] <= VARIANCE_MAX)) {
            return vdb_err_set(err, VDB_CORRUPT, "rotation: the variance of dimension %zu is %g", i,
                               rotation->variance[i]);
        }
    }
    float *vectors = vdb_alloc_aligned(2 * rotation->padded * sizeof *vectors);
    if (vectors == NULL) {
        return vdb_err_no_memory(err, "a rotation's check");
    }
    bool good = keeps_lengths(rotation, vectors + rotation->padded, vectors);
    free(vectors);
    return good ? VDB_OK : vdb_err_set(err, VDB_CORRUPT, "rotation: the matrix does not keep lengths");
}

vdb_status vdb_rotation_load(struct vdb_cursor *in, struct vdb_rotation **out, struct vdb_err *err)
{
    *out = NULL;
    const uint32_t magic = vdb_cursor_u32(in);
    const uint32_t version = vdb_cursor_u32(in);
    const uint32_t kind = vdb_cursor_u32(in);
    const uint32_t dimension = vdb_cursor_u32(in);
    const uint32_t leading = vdb_cursor_u32(in);
    const uint32_t reserved = vdb_cursor_u32(in);
    const uint64_t seed = vdb_cursor_u64(in);
    if (in->failed) {
        return vdb_err_set(err, VDB_CORRUPT, "rotation: cut short");
    }
    if (magic != MAGIC) {
        return vdb_err_set(err, VDB_CORRUPT, "rotation: begins with %08x, not VROT", magic);
    }
    if (version != VERSION) {
        return vdb_err_set(err, VDB_VERSION, "rotation: version %u; this program knows %d", version, VERSION);
    }
    const uint32_t dimension_max = kind == VDB_ROTATION_RANDOM ? VDB_LIMIT_DIMENSION_MAX
                                                               : (uint32_t)VDB_ROTATION_PCA_MAX;
    const size_t padded = vdb_round_up(dimension, VDB_ROTATION_MULTIPLE);
    if (kind >= VDB_ROTATION_KIND_COUNT || reserved != 0 || dimension == 0 || dimension > dimension_max) {
        return vdb_err_set(err, VDB_CORRUPT, "rotation: kind %u of dimension %u", kind, dimension);
    }
    if (leading == 0 || leading > padded || leading % VDB_ROTATION_MULTIPLE != 0 ||
        (kind != VDB_ROTATION_PCA_RANDOM && leading != padded)) {
        return vdb_err_set(err, VDB_CORRUPT, "rotation: leading %u of %zu", leading, padded);
    }
    if (kind != VDB_ROTATION_RANDOM &&
        vdb_cursor_left(in) < padded * (sizeof(double) + dimension * sizeof(float))) {
        return vdb_err_set(err, VDB_CORRUPT, "rotation: cut short"); /* before any memory is taken for it */
    }
    struct vdb_rotation *rotation;
    VDB_TRY(vdb_rotation_allocate((vdb_rotation_kind)kind, dimension, &rotation, err));
    rotation->leading = leading;
    rotation->seed = seed;
    if (kind == VDB_ROTATION_RANDOM) {
        vdb_rotation_draw_signs(seed, padded, rotation->signs);
    } else {
        vdb_status status = load_dense(rotation, in, err);
        if (status != VDB_OK) {
            vdb_rotation_destroy(rotation);
            return status;
        }
    }
    *out = rotation;
    return VDB_OK;
}
