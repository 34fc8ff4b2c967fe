/* vectors.c: see vectors.h: memory, dispatch by the end of the file's name, conversion and checks. */
#include "vectors.h"

#include "base/limits.h"
#include "base/mem.h"
#include "float16.h"
#include "npy.h"
#include "source.h"
#include "vecs.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    size_t bytes;
} types[VDB_VECTORS_TYPE_COUNT] = {
    [VDB_VECTORS_F32] = {"f32", 4}, [VDB_VECTORS_F16] = {"f16", 2}, [VDB_VECTORS_U8] = {"u8", 1},
    [VDB_VECTORS_I8] = {"i8", 1},   [VDB_VECTORS_I32] = {"i32", 4},
};

const char *vdb_vectors_type_name(vdb_vectors_type type)
{
    return types[type].name;
}

size_t vdb_vectors_type_bytes(vdb_vectors_type type)
{
    return types[type].bytes;
}

bool vdb_vectors_type_element(vdb_vectors_type type, vdb_element *out)
{
    switch (type) {
    case VDB_VECTORS_F32:
        *out = VDB_ELEMENT_F32;
        return true;
    case VDB_VECTORS_U8:
        *out = VDB_ELEMENT_U8;
        return true;
    case VDB_VECTORS_I8:
        *out = VDB_ELEMENT_I8;
        return true;
    default:
        return false;
    }
}

/* The bytes of a matrix; false when they overflow. 64 more must fit, for the rounding of aligned memory. */
static bool matrix_bytes(size_t count, size_t dimension, vdb_vectors_type type, size_t *out)
{
    size_t padded;
    return vdb_size_mul(count, dimension, out) && vdb_size_mul(*out, vdb_vectors_type_bytes(type), out) &&
           vdb_size_add(*out, VDB_CACHE_LINE_BYTES, &padded);
}

vdb_status vdb_vectors_init(struct vdb_vectors *vectors, vdb_vectors_type type, size_t count, size_t dimension,
                            struct vdb_err *err)
{
    *vectors = (struct vdb_vectors){0};
    size_t bytes;
    if (!matrix_bytes(count, dimension, type, &bytes)) {
        return vdb_err_set(err, VDB_LIMIT, "%zu x %zu values of %s overflow the address space", count, dimension,
                           vdb_vectors_type_name(type));
    }
    void *data = vdb_alloc_aligned(bytes > 0 ? bytes : VDB_CACHE_LINE_BYTES);
    if (data == NULL) {
        return vdb_err_set(err, VDB_NO_MEMORY, "no memory for %zu vectors of dimension %zu (%zu bytes)", count,
                           dimension, bytes);
    }
    *vectors = (struct vdb_vectors){data, count, dimension, type};
    return VDB_OK;
}

void vdb_vectors_fini(struct vdb_vectors *vectors)
{
    free(vectors->data);
    *vectors = (struct vdb_vectors){0};
}

size_t vdb_vectors_row_bytes(const struct vdb_vectors *vectors)
{
    return vectors->dimension * vdb_vectors_type_bytes(vectors->type);
}

const void *vdb_vectors_row(const struct vdb_vectors *vectors, size_t row)
{
    return (const char *)vectors->data + row * vdb_vectors_row_bytes(vectors);
}

static bool ends_with(const char *text, const char *end)
{
    size_t text_bytes = strlen(text);
    size_t end_bytes = strlen(end);
    return text_bytes >= end_bytes && strcasecmp(text + text_bytes - end_bytes, end) == 0;
}

vdb_status vdb_vectors_load(struct vdb_env *env, const char *path, struct vdb_vectors *out, struct vdb_err *err)
{
    static const struct {
        const char *end;
        vdb_vectors_type type;
    } row_formats[] = {{".fvecs", VDB_VECTORS_F32}, {".bvecs", VDB_VECTORS_U8}, {".ivecs", VDB_VECTORS_I32}};
    *out = (struct vdb_vectors){0};
    bool npy = ends_with(path, ".npy");
    vdb_vectors_type row_type = VDB_VECTORS_TYPE_COUNT;
    for (size_t i = 0; i < sizeof row_formats / sizeof row_formats[0]; i++) {
        if (ends_with(path, row_formats[i].end)) {
            row_type = row_formats[i].type;
        }
    }
    if (!npy && row_type == VDB_VECTORS_TYPE_COUNT) {
        return vdb_err_set(
            err, VDB_INVALID,
            "\"%s\": the name does not say what is in it; it must end in .npy, .fvecs, .bvecs or .ivecs", path);
    }
    struct vdb_source source;
    VDB_TRY(vdb_source_open(&source, env, path, err));
    vdb_status status = npy ? vdb_npy_read(&source, out, err) : vdb_vecs_read(&source, row_type, out, err);
    vdb_source_close(&source);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "\"%s\"", path);
}

vdb_status vdb_vectors_to_f32(struct vdb_vectors *vectors, struct vdb_err *err)
{
    if (vectors->type == VDB_VECTORS_F32) {
        return VDB_OK;
    }
    if (vectors->type == VDB_VECTORS_I32) {
        return vdb_err_set(err, VDB_UNSUPPORTED,
                           "i32 values are not converted to f32, which holds them exactly only "
                           "up to 16,777,216");
    }
    struct vdb_vectors converted;
    VDB_TRY(vdb_vectors_init(&converted, VDB_VECTORS_F32, vectors->count, vectors->dimension, err));
    size_t values = vectors->count * vectors->dimension; /* checked when the source was allocated */
    float *out = converted.data;
    if (vectors->type == VDB_VECTORS_F16) {
        vdb_float16_to_f32_many(vectors->data, values, out);
    } else if (vectors->type == VDB_VECTORS_U8) {
        const uint8_t *in = vectors->data;
        for (size_t i = 0; i < values; i++) {
            out[i] = in[i];
        }
    } else {
        const int8_t *in = vectors->data;
        for (size_t i = 0; i < values; i++) {
            out[i] = in[i];
        }
    }
    vdb_vectors_fini(vectors);
    *vectors = converted;
    return VDB_OK;
}

static const char *special_name(bool is_nan, bool negative)
{
    return is_nan ? "nan" : negative ? "-infinity" : "infinity";
}

static vdb_status refuse_special(const struct vdb_vectors *vectors, size_t i, bool is_nan, bool negative,
                                 struct vdb_err *err)
{
    return vdb_err_set(err, VDB_INVALID, "row %zu, column %zu: the value is %s, every value must be finite",
                       i / vectors->dimension, i % vectors->dimension, special_name(is_nan, negative));
}

vdb_status vdb_vectors_check_finite(const struct vdb_vectors *vectors, struct vdb_err *err)
{
    size_t values = vectors->count * vectors->dimension;
    if (vectors->type == VDB_VECTORS_F32) {
        const float *in = vectors->data;
        for (size_t i = 0; i < values; i++) {
            if (!isfinite(in[i])) {
                return refuse_special(vectors, i, isnan(in[i]), signbit(in[i]), err);
            }
        }
    } else if (vectors->type == VDB_VECTORS_F16) {
        const uint16_t *in = vectors->data;
        for (size_t i = 0; i < values; i++) {
            if ((in[i] & 0x7c00u) == 0x7c00u) {
                return refuse_special(vectors, i, (in[i] & 0x3ffu) != 0, (in[i] & 0x8000u) != 0, err);
            }
        }
    }
    return VDB_OK;
}

/* Whether all values of a row are zero; for floats -0 is zero too. */
static bool row_is_zero(const struct vdb_vectors *vectors, size_t row)
{
    const uint8_t *in = vdb_vectors_row(vectors, row);
    size_t value_bytes = vdb_vectors_type_bytes(vectors->type);
    bool is_float = vectors->type == VDB_VECTORS_F32 || vectors->type == VDB_VECTORS_F16;
    for (size_t i = 0; i < vectors->dimension; i++, in += value_bytes) {
        for (size_t b = 0; b < value_bytes; b++) {
            bool sign_byte = is_float && b == value_bytes - 1;
            if ((sign_byte ? in[b] & 0x7f : in[b]) != 0) {
                return false;
            }
        }
    }
    return true;
}

vdb_status vdb_vectors_check_nonzero(const struct vdb_vectors *vectors, struct vdb_err *err)
{
    for (size_t row = 0; row < vectors->count; row++) {
        if (row_is_zero(vectors, row)) {
            return vdb_err_set(
                err, VDB_INVALID,
                "row %zu: all values are zero; cosine needs a direction, the zero vector is refused", row);
        }
    }
    return VDB_OK;
}
