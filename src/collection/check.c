/* check.c: what a user can get wrong about an id or a vector. */
#include "check.h"

#include <math.h>

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
    bool all_zero = true;
    for (size_t i = 0; i < dimension; i++) {
        if (!isfinite(vector[i])) {
            return vdb_err_set(err, VDB_INVALID, "vector[%zu]: %s; every element must be finite", i,
                               isnan(vector[i]) ? "NaN" : "infinity");
        }
        all_zero = all_zero && vector[i] == 0.0f;
    }
    if (all_zero && schema->metric == VDB_METRIC_COSINE) {
        return vdb_err_set(err, VDB_INVALID, "vector: the zero vector has no direction, metric cosine needs one");
    }
    return VDB_OK;
}
