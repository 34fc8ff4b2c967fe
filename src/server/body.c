/* body.c: the six bodies, each a table of fields. */
#include "server/body.h"

#include "base/element.h"
#include "base/limits.h"
#include "server/fields.h"

enum { K_DEFAULT = 10 };

/* ---- Create ---- */

static vdb_status read_dimension(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    uint64_t dimension;
    VDB_TRY(vdb_json_u64(&reader->json, &dimension, err));
    if (dimension == 0 || dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "%llu is out of range, 1 to %u", (unsigned long long)dimension,
                           VDB_LIMIT_DIMENSION_MAX);
    }
    *(uint32_t *)out = (uint32_t)dimension;
    return VDB_OK;
}

static vdb_status read_metric(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    struct vdb_str text;
    vdb_metric metric;
    VDB_TRY(vdb_fields_string(reader, &text, err));
    if (!vdb_metric_parse(text, &metric) || !vdb_metric_fits(VDB_ELEMENT_F32, metric)) {
        return vdb_err_set(err, VDB_INVALID, "\"%.*s\" is none of l2, cosine, dot, l1",
                           (int)(text.bytes < 64 ? text.bytes : 64), text.data);
    }
    *(vecdb_metric *)out = (vecdb_metric)metric;
    return VDB_OK;
}

static vdb_status read_element(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    struct vdb_str text;
    vdb_element element;
    VDB_TRY(vdb_fields_string(reader, &text, err));
    if (!vdb_element_parse(text, &element) || !vdb_element_is_kept(element)) {
        return vdb_err_set(err, VDB_INVALID, "\"%.*s\" is none of f32, f16, u8, i8",
                           (int)(text.bytes < 64 ? text.bytes : 64), text.data);
    }
    *(vecdb_element *)out = (vecdb_element)element;
    return VDB_OK;
}

/* {"type": "flat"}: goes into `index` of the collection's config. */
static vdb_status read_index_config(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {{"type", false, vdb_fields_text, 0}};
    return vdb_fields_read(reader, fields, sizeof fields / sizeof fields[0], out, err);
}

vdb_status vdb_body_parse_create(const struct vdb_body *body, vecdb_collection_config *out, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {
        {"name", true, vdb_fields_text, offsetof(vecdb_collection_config, name)},
        {"dimension", true, read_dimension, offsetof(vecdb_collection_config, dimension)},
        {"metric", false, read_metric, offsetof(vecdb_collection_config, metric)},
        {"element", false, read_element, offsetof(vecdb_collection_config, element)},
        {"index_config", false, read_index_config, offsetof(vecdb_collection_config, index)},
    };
    *out = (vecdb_collection_config){.metric = VECDB_COSINE};
    return vdb_fields_read_body(body, fields, sizeof fields / sizeof fields[0], out, err);
}

vdb_status vdb_body_parse_snapshot(const struct vdb_body *body, const char **name, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {{"name", true, vdb_fields_text, 0}};
    *name = NULL;
    return vdb_fields_read_body(body, fields, sizeof fields / sizeof fields[0], name, err);
}

/* ---- Upsert ---- */

struct point_fields {
    vecdb_id id;
    const float *vector;
    struct vdb_str metadata;
};

static vdb_status read_point(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {
        {"id", true, vdb_fields_id, offsetof(struct point_fields, id)},
        {"vector", true, vdb_fields_vector, offsetof(struct point_fields, vector)},
        {"metadata", false, vdb_fields_metadata, offsetof(struct point_fields, metadata)},
    };
    struct point_fields point = {.metadata = {NULL, 0}};
    VDB_TRY(vdb_fields_read(reader, fields, sizeof fields / sizeof fields[0], &point, err));
    *(vecdb_point *)out = (vecdb_point){.id = point.id,
                                        .vector = point.vector,
                                        .dimension = reader->body->dimension,
                                        .metadata = point.metadata.data,
                                        .metadata_bytes = point.metadata.bytes};
    return VDB_OK;
}

static vdb_status read_points(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    struct vdb_body_points *points = out;
    void *items;
    VDB_TRY(vdb_fields_read_array(reader, sizeof(vecdb_point), VDB_LIMIT_BATCH_POINTS_MAX, read_point, &items,
                                  &points->count, err));
    points->points = items;
    return VDB_OK;
}

vdb_status vdb_body_parse_upsert(const struct vdb_body *body, struct vdb_body_points *out, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {{"points", true, read_points, 0}};
    *out = (struct vdb_body_points){NULL, 0};
    return vdb_fields_read_body(body, fields, sizeof fields / sizeof fields[0], out, err);
}

/* ---- Ids ---- */

static vdb_status read_ids(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    struct vdb_body_ids *ids = out;
    void *items;
    VDB_TRY(vdb_fields_read_array(reader, sizeof(vecdb_id), VDB_LIMIT_BATCH_POINTS_MAX, vdb_fields_id, &items,
                                  &ids->count, err));
    ids->ids = items;
    return VDB_OK;
}

vdb_status vdb_body_parse_ids(const struct vdb_body *body, bool to_read, struct vdb_body_ids *out,
                              struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {
        {"ids", true, read_ids, 0},
        {"with_vector", false, vdb_fields_switch, offsetof(struct vdb_body_ids, shape.with_vector)},
        {"with_metadata", false, vdb_fields_switch, offsetof(struct vdb_body_ids, shape.with_metadata)},
        {"vector_encoding", false, vdb_fields_encoding, offsetof(struct vdb_body_ids, shape.base64)},
        {"snapshot", false, vdb_fields_text, offsetof(struct vdb_body_ids, snapshot)},
    };
    *out = (struct vdb_body_ids){.shape = {.with_metadata = true}};
    return vdb_fields_read_body(body, fields, to_read ? sizeof fields / sizeof fields[0] : 1, out, err);
}

/* ---- Search and count ---- */

static vdb_status read_k(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    uint64_t k;
    VDB_TRY(vdb_json_u64(&reader->json, &k, err));
    if (k == 0 || k > VDB_LIMIT_K_MAX) {
        return vdb_err_set(err, k == 0 ? VDB_INVALID : VDB_LIMIT, "%llu is out of range, 1 to %u",
                           (unsigned long long)k, VDB_LIMIT_K_MAX);
    }
    *(uint32_t *)out = (uint32_t)k;
    return VDB_OK;
}

struct search_fields {
    const float *vector;
    uint32_t k;
    struct vdb_str filter;
    struct vdb_body_shape shape;
    bool explain;
    const char *snapshot;
};

vdb_status vdb_body_parse_search(const struct vdb_body *body, struct vdb_body_search *out, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {
        {"vector", true, vdb_fields_vector, offsetof(struct search_fields, vector)},
        {"k", false, read_k, offsetof(struct search_fields, k)},
        {"filter", false, vdb_fields_filter, offsetof(struct search_fields, filter)},
        {"with_vector", false, vdb_fields_switch, offsetof(struct search_fields, shape.with_vector)},
        {"with_metadata", false, vdb_fields_switch, offsetof(struct search_fields, shape.with_metadata)},
        {"vector_encoding", false, vdb_fields_encoding, offsetof(struct search_fields, shape.base64)},
        {"explain", false, vdb_fields_switch, offsetof(struct search_fields, explain)},
        {"snapshot", false, vdb_fields_text, offsetof(struct search_fields, snapshot)},
    };
    struct search_fields search = {.k = K_DEFAULT, .shape = {.with_metadata = true}};
    VDB_TRY(vdb_fields_read_body(body, fields, sizeof fields / sizeof fields[0], &search, err));
    *out = (struct vdb_body_search){.request = {.vector = search.vector,
                                                .dimension = body->dimension,
                                                .k = search.k,
                                                .filter = search.filter.data,
                                                .filter_bytes = search.filter.bytes,
                                                .with_vector = search.shape.with_vector,
                                                .without_metadata = !search.shape.with_metadata},
                                    .shape = search.shape,
                                    .explain = search.explain,
                                    .snapshot = search.snapshot};
    return VDB_OK;
}

vdb_status vdb_body_parse_count(const struct vdb_body *body, struct vdb_body_count *out, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {
        {"filter", false, vdb_fields_filter, offsetof(struct vdb_body_count, filter)},
        {"snapshot", false, vdb_fields_text, offsetof(struct vdb_body_count, snapshot)},
    };
    *out = (struct vdb_body_count){.filter = {NULL, 0}};
    return vdb_fields_read_body(body, fields, sizeof fields / sizeof fields[0], out, err);
}
