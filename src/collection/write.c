/* write.c: prepare and write batches.
 *
 * Prepare checks everything a user can get wrong (dimension, finiteness, ids, metadata, limits), rounds vectors to what
 * the collection's element holds, and encodes the batch; it shows nothing. From then on only the world can fail, and what
 * was acknowledged reads the same before and after a checkpoint writes it to a segment. Error texts name the point by its
 * place in the batch.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "check.h"
#include "collection_internal.h"
#include "storage/batch.h"

/* Fresh pages for each batch's payload would cost a tenth of an ingest. */
enum { SPARE_BYTES_MAX = 1 << 20 };

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

/* `vector[2]: NaN` in point 3 becomes `points[3].vector[2]: NaN`. */
static vdb_status place_error(struct vdb_err *err, vdb_status status, const char *list, size_t index)
{
    if (err == NULL) {
        return status;
    }
    char inner[VDB_ERR_TEXT_BYTES];
    memcpy(inner, err->text, sizeof inner);
    return vdb_err_set(err, status, "%s[%zu].%s", list, index, inner);
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

/* What one batch is made with. */
struct draft {
    const struct vdb_schema *schema;
    struct vdb_buf payload;
    struct vdb_buf metadata; /* of one point */
    float *room;             /* for one vector as it is kept; NULL when the element is f32 */
    bool spared;             /* payload's memory is the collection's spare */
};

/* Takes the collection's spare for the payload, unless another writer has it. */
static void take_spare(struct vdb_collection *collection, struct draft *draft)
{
    draft->spared = !atomic_exchange_explicit(&collection->spare_taken, true, memory_order_acquire);
    if (draft->spared) {
        draft->payload = collection->spare;
        collection->spare = (struct vdb_buf){0};
        vdb_buf_clear(&draft->payload);
    }
}

static void give_spare_back(struct vdb_collection *collection, struct draft *draft)
{
    if (!draft->spared) {
        vdb_buf_fini(&draft->payload);
        return;
    }
    if (draft->payload.capacity > SPARE_BYTES_MAX) {
        vdb_buf_fini(&draft->payload);
        draft->payload = (struct vdb_buf){0};
    }
    collection->spare = draft->payload;
    atomic_store_explicit(&collection->spare_taken, false, memory_order_release);
}

static vdb_status put_point(struct draft *draft, const struct vdb_point *point, struct vdb_err *err)
{
    const struct vdb_schema *schema = draft->schema;
    struct vdb_buf *metadata = &draft->metadata;
    const float *vector;
    VDB_TRY(vdb_check_id(&point->id, err));
    VDB_TRY(vdb_check_kept_vector(point->vector, point->dimension, schema, draft->room, &vector, err));
    vdb_buf_clear(metadata);
    VDB_TRY(compact_metadata(point->metadata, metadata, err));
    vdb_batch_upsert(&draft->payload, &point->id, vector, schema->dimension,
                     (struct vdb_str){(const char *)metadata->data, metadata->bytes});
    return VDB_OK;
}

static vdb_status put_points(struct draft *draft, const struct vdb_point *points, size_t count,
                             struct vdb_err *err)
{
    vdb_batch_begin(&draft->payload, draft->schema->dimension);
    for (size_t i = 0; i < count; i++) {
        vdb_status status = put_point(draft, &points[i], err);
        if (status != VDB_OK) {
            return place_error(err, status, "points", i);
        }
        if (draft->payload.failed || draft->metadata.failed) {
            return vdb_err_no_memory(err, "a batch");
        }
        if (draft->payload.bytes > VDB_LIMIT_BATCH_BYTES_MAX) {
            return vdb_err_set(err, VDB_LIMIT,
                               "points[%zu]: with it the batch is over %u bytes; send it in parts", i,
                               VDB_LIMIT_BATCH_BYTES_MAX);
        }
    }
    return VDB_OK;
}

vdb_status vdb_collection_write(struct vdb_collection *collection, const void *payload, size_t bytes,
                                struct vdb_write_result *result, struct vdb_err *err)
{
    vdb_status status;
    pthread_rwlock_rdlock(&collection->life);
    if (collection->dropped || collection->closed) {
        status = vdb_err_set(err, VDB_NOT_FOUND, "collection \"%s\" was %s",
                             vdb_collection_schema(collection)->name,
                             collection->dropped ? "dropped" : "closed with its database");
    } else {
        status = vdb_store_write(collection->store, payload, bytes, &result->seq, &result->changed, err);
    }
    if (status == VDB_OK) {
        vdb_collection_note_unsaved(collection, bytes);
        vdb_graph_memory_written(collection, result->changed);
    }
    pthread_rwlock_unlock(&collection->life);
    return status;
}

vdb_status vdb_collection_apply(struct vdb_collection *collection, const struct vdb_wal_record *records,
                                size_t count, struct vdb_err *err)
{
    uint64_t bytes = 0;
    vdb_status status;
    pthread_rwlock_rdlock(&collection->life);
    if (collection->dropped || collection->closed) {
        status = vdb_err_set(err, VDB_NOT_FOUND, "collection \"%s\" is gone",
                             vdb_collection_schema(collection)->name);
    } else {
        status = vdb_store_apply(collection->store, records, count, err);
    }
    for (size_t i = 0; i < count && status == VDB_OK; i++) {
        bytes += records[i].payload_bytes;
    }
    vdb_collection_note_unsaved(collection, bytes);
    if (status == VDB_OK) {
        vdb_graph_memory_written(collection, count);
    }
    pthread_rwlock_unlock(&collection->life);
    return status;
}

vdb_status vdb_collection_upsert(struct vdb_collection *collection, const struct vdb_point *points, size_t count,
                                 struct vdb_write_result *result, struct vdb_err *err)
{
    struct draft draft = {.schema = vdb_collection_schema(collection)};
    vdb_status status;
    VDB_TRY(check_count(count, "points", err));
    take_spare(collection, &draft);
    if (draft.schema->element != VDB_ELEMENT_F32) {
        draft.room = vdb_calloc(draft.schema->dimension, sizeof *draft.room);
        if (draft.room == NULL) {
            status = vdb_err_no_memory(err, "a batch");
            goto cleanup;
        }
    }
    VDB_CHECK(put_points(&draft, points, count, err));
    status = vdb_collection_write(collection, draft.payload.data, draft.payload.bytes, result, err);

cleanup:
    free(draft.room);
    vdb_buf_fini(&draft.metadata);
    give_spare_back(collection, &draft);
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
        status = vdb_check_id(&ids[i], err);
        if (status != VDB_OK) {
            status = place_error(err, status, "ids", i);
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
