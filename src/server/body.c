/* body.c: the seven bodies, each a table of fields. */
#include "server/body.h"

#include <string.h>

#include "base/element.h"
#include "base/limits.h"
#include "server/fields.h"

enum { K_DEFAULT = 10 };

/* Of the members of an index configuration, whatever its kind (vecdb.h); what a kind takes of that, the collection says. */
enum { M_MIN = 4, M_MAX = 256, EF_MAX = 65536, CODE_BITS_MIN = 64, CODE_BITS_MAX = 1024 };

static vdb_status read_number(struct vdb_fields_reader *reader, uint32_t min, uint32_t max, void *out,
                              struct vdb_err *err)
{
    uint64_t value;
    VDB_TRY(vdb_json_u64(&reader->json, &value, err));
    if (value < min || value > max) {
        return vdb_err_set(err, VDB_INVALID, "%llu is out of range, %u to %u", (unsigned long long)value, min,
                           max);
    }
    *(uint32_t *)out = (uint32_t)value;
    return VDB_OK;
}

/* ---- Dimension, metric, element ---- */

static vdb_status read_dimension(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    return read_number(reader, 1, VDB_LIMIT_DIMENSION_MAX, out, err);
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

/* ---- Index ---- */

static vdb_status read_kind(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    static const char *const kinds[] = {"flat", "hnsw", "qgraph"};
    struct vdb_str text;
    VDB_TRY(vdb_fields_string(reader, &text, err));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (vdb_str_is(text, kinds[i])) {
            *(const char **)out = kinds[i];
            return VDB_OK;
        }
    }
    return vdb_err_set(err, VDB_INVALID, "\"%.*s\" is none of flat, hnsw, qgraph",
                       (int)(text.bytes < 64 ? text.bytes : 64), text.data);
}

static vdb_status read_m(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    return read_number(reader, M_MIN, M_MAX, out, err);
}

static vdb_status read_ef(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    return read_number(reader, 1, EF_MAX, out, err);
}

static vdb_status read_code_bits(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    return read_number(reader, CODE_BITS_MIN, CODE_BITS_MAX, out, err);
}

static vdb_status read_compact(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    bool compact;
    VDB_TRY(vdb_fields_switch(reader, &compact, err));
    *(uint32_t *)out = compact;
    return VDB_OK;
}

static vdb_status read_scan_below(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    return read_number(reader, 1, VDB_LIMIT_COLLECTION_POINTS_MAX, out, err);
}

static vdb_status read_recall(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    double recall;
    VDB_TRY(vdb_json_double(&reader->json, &recall, err));
    if (!(recall > 0 && recall < 1)) {
        return vdb_err_set(err, VDB_INVALID, "%g is out of range, more than 0 and less than 1", recall);
    }
    *(double *)out = recall;
    return VDB_OK;
}

static const struct vdb_fields_field index_fields[] = {
    {"type", false, read_kind, offsetof(vecdb_index_config, type)},
    {"m", false, read_m, offsetof(vecdb_index_config, m)},
    {"ef_construction", false, read_ef, offsetof(vecdb_index_config, ef_construction)},
    {"ef_search", false, read_ef, offsetof(vecdb_index_config, ef_search)},
    {"code_bits", false, read_code_bits, offsetof(vecdb_index_config, code_bits)},
    {"compact", false, read_compact, offsetof(vecdb_index_config, compact)},
    {"scan_below", false, read_scan_below, offsetof(vecdb_index_config, scan_below)},
    {"target_recall", false, read_recall, offsetof(vecdb_index_config, target_recall)},
};

/* Into memory of the arena. */
static vdb_status read_index_config(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    vecdb_index_config *config = vdb_arena_alloc(reader->body->arena, sizeof *config);
    if (config == NULL) {
        return vdb_err_no_memory(err, "an index configuration");
    }
    *config = (vecdb_index_config){0};
    *(const vecdb_index_config **)out = config;
    return vdb_fields_read(reader, index_fields, sizeof index_fields / sizeof index_fields[0], config, err);
}

static vdb_status check_index(const vecdb_index_config *config, vecdb_metric metric, const char *field,
                              struct vdb_err *err)
{
    if (config->type != NULL && strcmp(config->type, "qgraph") == 0 && metric == VECDB_L1) {
        return vdb_err_set(err, VDB_INVALID, "%s: \"qgraph\" does not go with the metric l1; flat and hnsw do",
                           field);
    }
    return VDB_OK;
}

vdb_status vdb_body_parse_index(const struct vdb_body *body, vecdb_metric metric, vecdb_index_config *out,
                                struct vdb_err *err)
{
    *out = (vecdb_index_config){0};
    VDB_TRY(vdb_fields_read_body(body, index_fields, sizeof index_fields / sizeof index_fields[0], out, err));
    return check_index(out, metric, "type", err);
}

/* ---- Create ---- */

vdb_status vdb_body_parse_create(const struct vdb_body *body, vecdb_collection_config *out, struct vdb_err *err)
{
    static const struct vdb_fields_field fields[] = {
        {"name", true, vdb_fields_text, offsetof(vecdb_collection_config, name)},
        {"dimension", true, read_dimension, offsetof(vecdb_collection_config, dimension)},
        {"metric", false, read_metric, offsetof(vecdb_collection_config, metric)},
        {"element", false, read_element, offsetof(vecdb_collection_config, element)},
        {"index_config", false, read_index_config, offsetof(vecdb_collection_config, index_config)},
    };
    *out = (vecdb_collection_config){.metric = VECDB_COSINE};
    VDB_TRY(vdb_fields_read_body(body, fields, sizeof fields / sizeof fields[0], out, err));
    return out->index_config == NULL ? VDB_OK
                                     : check_index(out->index_config, out->metric, "index_config.type", err);
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
    uint32_t ef;
    double target_recall;
    bool exact;
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
        {"ef", false, read_ef, offsetof(struct search_fields, ef)},
        {"target_recall", false, read_recall, offsetof(struct search_fields, target_recall)},
        {"exact", false, vdb_fields_switch, offsetof(struct search_fields, exact)},
    };
    struct search_fields search = {.k = K_DEFAULT, .shape = {.with_metadata = true}};
    VDB_TRY(vdb_fields_read_body(body, fields, sizeof fields / sizeof fields[0], &search, err));
    if (search.ef > 0 && search.target_recall > 0) {
        return vdb_err_set(err, VDB_INVALID, "ef: %u, and target_recall: %g; one of the two may be given",
                           search.ef, search.target_recall);
    }
    *out = (struct vdb_body_search){.request = {.vector = search.vector,
                                                .dimension = body->dimension,
                                                .k = search.k,
                                                .filter = search.filter.data,
                                                .filter_bytes = search.filter.bytes,
                                                .with_vector = search.shape.with_vector,
                                                .without_metadata = !search.shape.with_metadata,
                                                .ef = search.ef,
                                                .target_recall = search.target_recall,
                                                .exact = search.exact},
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
