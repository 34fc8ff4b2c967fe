/* write.c: prepare and write batches.
 *
 * Prepare checks everything a user can get wrong (dimension, finiteness, ids, metadata, limits) and encodes the
 * batch; it shows nothing. From then on only the world can fail. Error texts name the point by its place in the
 * batch.
 */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "collection_internal.h"
#include "storage/batch.h"

static vdb_status check_count(size_t count, const char *what, struct vdb_err *err)
{
    if (count < 1) {
        return vdb_err_set(err, VDB_INVALID, "%s: empty; a batch has 1 to %u", what, VDB_LIMIT_BATCH_POINTS_MAX);
    }
    if (count > VDB_LIMIT_BATCH_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "%s: %zu in one batch, at most %u are allowed", what, count,
                           VDB_LIMIT_BATCH_POINTS_MAX);
    }
    return VDB_OK;
}

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

static vdb_status check_id(const struct vdb_id *id, struct vdb_err *err)
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

static vdb_status check_vector(const float *vector, const struct vdb_schema *schema, struct vdb_err *err)
{
    if (vector == NULL) {
        return vdb_err_set(err, VDB_INVALID, "vector: missing");
    }
    bool all_zero = true;
    for (uint32_t i = 0; i < schema->dimension; i++) {
        if (!isfinite(vector[i])) {
            return vdb_err_set(err, VDB_INVALID, "vector[%u]: %s; every element must be finite", i,
                               isnan(vector[i]) ? "NaN" : "infinity");
        }
        all_zero = all_zero && vector[i] == 0.0f;
    }
    if (all_zero && schema->metric == VDB_METRIC_COSINE) {
        return vdb_err_set(err, VDB_INVALID, "vector: the zero vector has no direction, metric cosine needs one");
    }
    return VDB_OK;
}

/* The user's JSON in canonical compact form, behind what `out` holds. */
static vdb_status compact_metadata(struct vdb_str text, struct vdb_buf *out, struct vdb_err *err)
{
    if (text.data == NULL) {
        vdb_buf_put_text(out, "{}");
        return VDB_OK;
    }
    struct vdb_json json;
    vdb_json_type type = VDB_JSON_NULL;
    size_t start = out->bytes;
    vdb_json_init(&json, text.data, text.bytes, VDB_LIMIT_JSON_DEPTH_MAX);
    vdb_status status = vdb_json_peek(&json, &type, err);
    if (status == VDB_OK && type != VDB_JSON_OBJECT) {
        return vdb_err_set(err, VDB_INVALID, "metadata: a JSON %s, expected an object", vdb_json_type_name(type));
    }
    if (status == VDB_OK) {
        status = vdb_json_compact(&json, out, err);
    }
    if (status == VDB_OK) {
        status = vdb_json_end(&json, err);
    }
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "metadata");
    }
    if (!out->failed && out->bytes - start > VDB_LIMIT_METADATA_BYTES_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "metadata: %zu bytes in compact form, at most %u are allowed",
                           out->bytes - start, VDB_LIMIT_METADATA_BYTES_MAX);
    }
    return VDB_OK;
}

static vdb_status put_point(struct vdb_buf *payload, struct vdb_buf *metadata, const struct vdb_schema *schema,
                            const struct vdb_point *point, struct vdb_err *err)
{
    VDB_TRY(check_id(&point->id, err));
    VDB_TRY(check_vector(point->vector, schema, err));
    vdb_buf_clear(metadata);
    VDB_TRY(compact_metadata(point->metadata, metadata, err));
    vdb_batch_upsert(payload, &point->id, point->vector, schema->dimension,
                     (struct vdb_str){(const char *)metadata->data, metadata->bytes});
    if (payload->failed || metadata->failed) {
        return vdb_err_no_memory(err, "a batch");
    }
    if (payload->bytes > VDB_LIMIT_BATCH_BYTES_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "the batch exceeds %u bytes here; send it in parts",
                           VDB_LIMIT_BATCH_BYTES_MAX);
    }
    return VDB_OK;
}

vdb_status vdb_collection_write(struct vdb_collection *collection, const void *payload, size_t bytes,
                                struct vdb_write_result *result, struct vdb_err *err)
{
    vdb_status status;
    pthread_rwlock_rdlock(&collection->life);
    if (collection->dropped) {
        status = vdb_err_set(err, VDB_NOT_FOUND, "collection \"%s\" was dropped",
                             vdb_collection_schema(collection)->name);
    } else {
        status = vdb_store_write(collection->store, payload, bytes, &result->seq, &result->changed, err);
    }
    pthread_rwlock_unlock(&collection->life);
    return status;
}

vdb_status vdb_collection_upsert(struct vdb_collection *collection, const struct vdb_point *points, size_t count,
                                 struct vdb_write_result *result, struct vdb_err *err)
{
    const struct vdb_schema *schema = vdb_collection_schema(collection);
    struct vdb_buf payload = {0};
    struct vdb_buf metadata = {0};
    vdb_status status;
    VDB_CHECK(check_count(count, "points", err));
    vdb_batch_begin(&payload, schema->dimension);
    for (size_t i = 0; i < count; i++) {
        status = put_point(&payload, &metadata, schema, &points[i], err);
        if (status != VDB_OK) {
            (void)vdb_err_wrap(err, status, "points[%zu]", i);
            goto cleanup;
        }
    }
    status = vdb_collection_write(collection, payload.data, payload.bytes, result, err);

cleanup:
    vdb_buf_fini(&metadata);
    vdb_buf_fini(&payload);
    return status;
}

vdb_status vdb_collection_delete(struct vdb_collection *collection, const struct vdb_id *ids, size_t count,
                                 struct vdb_write_result *result, struct vdb_err *err)
{
    struct vdb_buf payload = {0};
    vdb_status status;
    VDB_CHECK(check_count(count, "ids", err));
    vdb_batch_begin(&payload, vdb_collection_schema(collection)->dimension);
    for (size_t i = 0; i < count; i++) {
        status = check_id(&ids[i], err);
        if (status != VDB_OK) {
            (void)vdb_err_wrap(err, status, "ids[%zu]", i);
            goto cleanup;
        }
        vdb_batch_delete(&payload, &ids[i]);
    }
    status = payload.failed ? vdb_err_no_memory(err, "a batch")
                            : vdb_collection_write(collection, payload.data, payload.bytes, result, err);

cleanup:
    vdb_buf_fini(&payload);
    return status;
}
