/* check.c: what a user can get wrong about an id or a vector. */
#include "check.h"

#include <math.h>

#include "base/convert.h"
#include "base/limits.h"
#include "base/utf8.h"

static bool is_utf8(const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    const unsigned char *end = p + bytes;
    while (p < end) {
        unsigned step = vdb_utf8_sequence(p, end);
        if (step == 0) {
            return false;
        }
        p += step;
    }
    return true;
}

vdb_status vdb_check_id(const struct vdb_id *id, struct vdb_err *err)
{
    if (id->text == NULL) {
        return VDB_OK;
    }
    if (id->text_bytes < 1 || id->text_bytes > VDB_LIMIT_ID_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "id: a string of %u bytes; allowed are 1..%u", id->text_bytes,
                           VDB_LIMIT_ID_BYTES_MAX);
    }
    if (!is_utf8(id->text, id->text_bytes)) {
        return vdb_err_set(err, VDB_INVALID, "id: not well-formed UTF-8");
    }
    return VDB_OK;
}

static bool is_zero(const float *vector, size_t dimension)
{
    for (size_t i = 0; i < dimension; i++) {
        if (vector[i] != 0.0f) {
            return false;
        }
    }
    return true;
}

vdb_status vdb_check_vector(const float *vector, size_t dimension, const struct vdb_schema *schema,
                            struct vdb_err *err)
{
    if (vector == NULL) {
        return vdb_err_set(err, VDB_INVALID, "vector: missing");
    }
    if (dimension != schema->dimension) {
        return vdb_err_set(err, VDB_INVALID, "vector: %zu numbers given, the collection \"%s\" has dimension %u",
                           dimension, schema->name, schema->dimension);
    }
    for (size_t i = 0; i < dimension; i++) {
        if (!isfinite(vector[i])) {
            return vdb_err_set(err, VDB_INVALID, "vector[%zu]: %s; every element must be finite", i,
                               isnan(vector[i]) ? "NaN" : "infinity");
        }
    }
    if (schema->metric == VDB_METRIC_COSINE && is_zero(vector, dimension)) {
        return vdb_err_set(err, VDB_INVALID, "vector: the zero vector has no direction, metric cosine needs one");
    }
    return VDB_OK;
}

/* What the element cannot hold. Finite numbers. */
static vdb_status check_range(const float *vector, const struct vdb_schema *schema, struct vdb_err *err)
{
    const bool half = schema->element == VDB_ELEMENT_F16;
    const float greatest = half ? VDB_CONVERT_F16_MAX : (float)vdb_convert_greatest(schema->element);
    const float least = half ? -greatest : (float)vdb_convert_least(schema->element);
    for (size_t i = 0; i < schema->dimension; i++) {
        if (vector[i] >= least && vector[i] <= greatest && (half || truncf(vector[i]) == vector[i])) {
            continue;
        }
        return vdb_err_set(err, VDB_INVALID,
                           "vector[%zu]: %.9g; the collection \"%s\" keeps %s: %s from %.9g to %.9g", i,
                           (double)vector[i], schema->name, vdb_element_name(schema->element),
                           half ? "numbers" : "whole numbers", (double)least, (double)greatest);
    }
    return VDB_OK;
}

vdb_status vdb_check_kept_vector(const float *vector, size_t dimension, const struct vdb_schema *schema,
                                 float *room, const float **out, struct vdb_err *err)
{
    VDB_TRY(vdb_check_vector(vector, dimension, schema, err));
    *out = vector;
    if (schema->element == VDB_ELEMENT_F32) {
        return VDB_OK;
    }
    VDB_TRY(check_range(vector, schema, err));
    vdb_convert_round(schema->element, vector, dimension, room);
    *out = room;
    if (schema->metric == VDB_METRIC_COSINE && is_zero(room, dimension)) {
        return vdb_err_set(err, VDB_INVALID,
                           "vector: rounded to %s it is the zero vector, which has no direction; metric cosine "
                           "needs one",
                           vdb_element_name(schema->element));
    }
    return VDB_OK;
}
