/* schema.c: the rules of a schema and of an index's configuration. */
#include "schema.h"

#include <string.h>

static bool is_name_char(char c, bool first)
{
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
        return true;
    }
    return !first && (c == '_' || c == '.' || c == '-');
}

vdb_status vdb_schema_check_name(const char *name, struct vdb_err *err)
{
    size_t bytes = name != NULL ? strlen(name) : 0;
    if (bytes == 0) {
        return vdb_err_set(err, VDB_INVALID, "name: empty; a collection name has 1 to %u characters",
                           VDB_LIMIT_NAME_BYTES_MAX);
    }
    if (bytes > VDB_LIMIT_NAME_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "name: \"%.80s\" has %zu characters, at most %u are allowed", name,
                           bytes, VDB_LIMIT_NAME_BYTES_MAX);
    }
    for (size_t i = 0; i < bytes; i++) {
        if (!is_name_char(name[i], i == 0)) {
            return vdb_err_set(err, VDB_INVALID,
                               "name: \"%s\" has an illegal character at position %zu; a name matches "
                               "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
                               name, i);
        }
    }
    return VDB_OK;
}

vdb_status vdb_schema_check(const struct vdb_schema *schema, struct vdb_err *err)
{
    VDB_TRY(vdb_schema_check_name(schema->name, err));
    if (schema->dimension < 1 || schema->dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "dimension: %u is outside 1..%u", schema->dimension,
                           VDB_LIMIT_DIMENSION_MAX);
    }
    if ((unsigned)schema->metric >= VDB_METRIC_COUNT) {
        return vdb_err_set(err, VDB_INVALID, "metric: %d is none of l2, cosine, dot, l1", (int)schema->metric);
    }
    if (!vdb_element_is_kept(schema->element)) {
        return vdb_err_set(err, VDB_INVALID, "element: \"%s\" (%d) is none of f32, f16, u8, i8",
                           vdb_element_name(schema->element), (int)schema->element);
    }
    if (!vdb_metric_fits(schema->element, schema->metric)) {
        return vdb_err_set(err, VDB_INVALID,
                           "metric: \"%s\" compares vectors of bits; a collection takes one of "
                           "l2, cosine, dot, l1",
                           vdb_metric_name(schema->metric));
    }
    return VDB_OK;
}

vdb_status vdb_schema_check_index(const struct vdb_index_config *config, struct vdb_err *err)
{
    bool name = memchr(config->type, '\0', sizeof config->type) != NULL && config->type[0] != '\0';
    for (size_t i = 0; name && config->type[i] != '\0'; i++) {
        name = is_name_char(config->type[i], i == 0);
    }
    if (!name) {
        return vdb_err_set(err, VDB_INVALID,
                           "index type: \"%.*s\" does not match [A-Za-z0-9][A-Za-z0-9_.-]{0,%d}",
                           (int)sizeof config->type, config->type, VDB_INDEX_NAME_BYTES - 2);
    }
    if (!(config->target_recall >= 0 && config->target_recall < 1)) { /* not a number: neither */
        return vdb_err_set(err, VDB_INVALID, "target_recall: %g is not between 0 and 1", config->target_recall);
    }
    return VDB_OK;
}
