/* rotation_internal.h: what a rotation is made of; for rotation*.c only. */
#ifndef VDB_QUANT_ROTATION_INTERNAL_H
#define VDB_QUANT_ROTATION_INTERNAL_H

#include <stdbool.h>

#include "rotation.h"
#include "rotation_kernels.h"

struct vdb_rotation {
    vdb_rotation_kind kind;
    size_t dimension;
    size_t padded;
    size_t leading; /* what the random part mixes; `padded` where the kind does not say */
    uint64_t seed;
    uint64_t *signs;     /* [rounds][padded / 64] of RANDOM; else NULL */
    float *panels;       /* dense kinds: [padded / 64][dimension][64] */
    double *variance;    /* dense kinds: [padded], of the sample along each output */
    size_t int8_count;   /* outputs that the 8-bit matrix has */
    int8_t *int8_panels; /* [int8_count / 64][dimension / 4 rounded up][64][4] */
    float *int8_scales;  /* [int8_count] */
    int32_t *int8_sums;  /* [int8_count]: of the codes of a row */
};

/* Whether so many leading outputs can be asked for. */
static inline bool vdb_rotation_fits(const struct vdb_rotation *rotation, size_t out_count)
{
    return out_count <= rotation->padded && out_count % VDB_ROTATION_MULTIPLE == 0;
}

/* Memory for all that the kind, dimension and leading need, zeroed. */
vdb_status vdb_rotation_allocate(vdb_rotation_kind kind, size_t dimension, struct vdb_rotation **out,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* Rounds of the random transform of `count` elements, and their signs: [rounds][count / 64]. */
unsigned vdb_rotation_rounds(size_t count);
void vdb_rotation_draw_signs(uint64_t seed, size_t count, uint64_t *signs);

/* The random transform in place. x: count floats, aligned to 64; count a multiple of 64. */
void vdb_rotation_mix(const struct vdb_rotation_kernels *kernels, const uint64_t *signs, size_t count, float *x);

/* rotation_pca.c: fills panels, variance and leading from options->sample. */
vdb_status vdb_rotation_learn(struct vdb_rotation *rotation, const struct vdb_rotation_options *options,
                              struct vdb_err *err) VDB_MUST_CHECK;

#endif
