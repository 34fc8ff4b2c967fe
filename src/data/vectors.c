/* vectors.c: see vectors.h: memory, dispatch by the end of the file's name, conversion and checks. */
#include "vectors.h"

#include "base/convert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "stream.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} types[VDB_VECTORS_TYPE_COUNT] = {
    [VDB_VECTORS_F32] = {"f32", 4}, [VDB_VECTORS_F16] = {"f16", 2}, [VDB_VECTORS_U8] = {"u8", 1},
    [VDB_VECTORS_I8] = {"i8", 1},   [VDB_VECTORS_I32] = {"i32", 4}, [VDB_VECTORS_BIT] = {"bit", 0},
};

const char *vdb_vectors_type_name(vdb_vectors_type type)
{
    return types[type].name;
}

size_t vdb_vectors_type_bytes(vdb_vectors_type type)
{
    return types[type].bytes;
}

size_t vdb_vectors_type_row_bytes(vdb_vectors_type type, size_t dimension)
{
    return type == VDB_VECTORS_BIT ? (dimension + 7) / 8 : dimension * types[type].bytes;
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
    case VDB_VECTORS_BIT:
        *out = VDB_ELEMENT_BIT;
        return true;
    default:
        return false;
    }
}

/* The bytes of a matrix; false when they overflow. 64 more must fit, for the rounding of aligned memory. */
static bool matrix_bytes(size_t count, size_t dimension, vdb_vectors_type type, size_t *out)
{
    size_t padded;
    bool fits = type == VDB_VECTORS_BIT ? vdb_size_add(dimension, 7, out)
                                        : vdb_size_mul(dimension, vdb_vectors_type_bytes(type), out);
    return fits && vdb_size_mul(count, vdb_vectors_type_row_bytes(type, dimension), out) &&
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
    *vectors = (struct vdb_vectors){data, count, dimension, type, 0};
    return VDB_OK;
}

void vdb_vectors_fini(struct vdb_vectors *vectors)
{
    free(vectors->data);
    *vectors = (struct vdb_vectors){0};
}

size_t vdb_vectors_row_bytes(const struct vdb_vectors *vectors)
{
    return vdb_vectors_type_row_bytes(vectors->type, vectors->dimension);
}

const void *vdb_vectors_row(const struct vdb_vectors *vectors, size_t row)
{
    return (const char *)vectors->data + row * vdb_vectors_row_bytes(vectors);
}

vdb_status vdb_vectors_load(struct vdb_env *env, const char *path, struct vdb_vectors *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_vectors end = {0};
    struct vdb_vector_stream stream;
    *out = (struct vdb_vectors){0};
    VDB_TRY(vdb_vector_stream_open(&stream, env, path, NULL, err));
    if (stream.count == 0) {
        VDB_CHECK(vdb_vectors_init(out, stream.type, 0, stream.dimension, err));
    } else {
        VDB_CHECK(vdb_vector_stream_next(&stream, stream.count, out, err));
    }
    VDB_CHECK(vdb_vector_stream_next(&stream, 1, &end, err));

cleanup:
    vdb_vector_stream_close(&stream);
    if (status != VDB_OK) {
        vdb_vectors_fini(out);
    }
    return status;
}

vdb_status vdb_vectors_as_bits(struct vdb_vectors *vectors, size_t bits, struct vdb_err *err)
{
    if (vectors->type != VDB_VECTORS_U8) {
        return vdb_err_set(err, VDB_INVALID, "it holds %s values; bits are packed in u8 values",
                           vdb_vectors_type_name(vectors->type));
    }
    if (bits < 1 || bits > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "%zu bits a vector, 1 to %u are allowed", bits,
                           VDB_LIMIT_DIMENSION_MAX);
    }
    if ((bits + 7) / 8 != vectors->dimension) {
        return vdb_err_set(err, VDB_INVALID, "vectors of %zu bits take rows of %zu bytes, it has rows of %zu",
                           bits, (bits + 7) / 8, vectors->dimension);
    }
    vectors->type = VDB_VECTORS_BIT;
    vectors->dimension = bits;
    return VDB_OK;
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
    if (vectors->type == VDB_VECTORS_BIT) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "bits are not converted to f32");
    }
    struct vdb_vectors converted;
    VDB_TRY(vdb_vectors_init(&converted, VDB_VECTORS_F32, vectors->count, vectors->dimension, err));
    size_t values = vectors->count * vectors->dimension; /* checked when the source was allocated */
    vdb_element element = vectors->type == VDB_VECTORS_F16  ? VDB_ELEMENT_F16
                          : vectors->type == VDB_VECTORS_U8 ? VDB_ELEMENT_U8
                                                            : VDB_ELEMENT_I8;
    vdb_convert_widen(element, vectors->data, values, converted.data);
    converted.first_row = vectors->first_row;
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
                       vectors->first_row + i / vectors->dimension, i % vectors->dimension,
                       special_name(is_nan, negative));
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
    if (vectors->type == VDB_VECTORS_BIT) {
        return false; /* the empty set is a vector of bits like any other */
    }
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
                "row %zu: all values are zero; cosine needs a direction, the zero vector is refused",
                vectors->first_row + row);
        }
    }
    return VDB_OK;
}
