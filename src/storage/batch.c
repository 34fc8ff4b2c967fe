/* batch.c: encoding and decoding of write batches. */
#include "batch.h"

#include "base/limits.h"

enum {
    HEAD_BYTES = 8, /* u32 dimension, u32 operation count */
    OP_BYTES = 8,   /* u8 kind, u8 id kind, u16 id text bytes, u32 metadata bytes */
    ID_NUMBER = 0,
    ID_TEXT = 1,
};

void vdb_batch_begin(struct vdb_buf *out, uint32_t dimension)
{
    vdb_buf_put_u32(out, dimension);
    vdb_buf_put_u32(out, 0);
}

static void put_op(struct vdb_buf *out, vdb_op_kind kind, const struct vdb_id *id, size_t metadata_bytes)
{
    vdb_buf_put_u8(out, (uint8_t)kind);
    vdb_buf_put_u8(out, id->text != NULL ? ID_TEXT : ID_NUMBER);
    vdb_buf_put_u16(out, id->text != NULL ? (uint16_t)id->text_bytes : 0);
    vdb_buf_put_u32(out, (uint32_t)metadata_bytes);
    if (id->text != NULL) {
        vdb_buf_put(out, id->text, id->text_bytes);
    } else {
        vdb_buf_put_u64(out, id->number);
    }
    if (!out->failed) {
        vdb_store_u32(out->data + 4, vdb_load_u32(out->data + 4) + 1);
    }
}

void vdb_batch_upsert(struct vdb_buf *out, const struct vdb_id *id, const float *vector, uint32_t dimension,
                      struct vdb_str metadata)
{
    put_op(out, VDB_OP_UPSERT, id, metadata.bytes);
    vdb_buf_put(out, vector, (size_t)dimension * sizeof(float));
    vdb_buf_put_str(out, metadata);
}

void vdb_batch_delete(struct vdb_buf *out, const struct vdb_id *id)
{
    put_op(out, VDB_OP_DELETE, id, 0);
}

vdb_status vdb_batch_open(struct vdb_batch *batch, const void *data, size_t bytes, uint32_t dimension,
                          struct vdb_err *err)
{
    *batch = (struct vdb_batch){0};
    vdb_cursor_init(&batch->cursor, data, bytes);
    batch->dimension = vdb_cursor_u32(&batch->cursor);
    batch->count = vdb_cursor_u32(&batch->cursor);
    if (batch->cursor.failed) {
        return vdb_err_set(err, VDB_CORRUPT, "batch: %zu bytes, its head alone has %d", bytes, HEAD_BYTES);
    }
    if (batch->dimension != dimension) {
        return vdb_err_set(err, VDB_CORRUPT, "batch: dimension %u, the collection has %u", batch->dimension,
                           dimension);
    }
    if (batch->count < 1 || batch->count > VDB_LIMIT_BATCH_POINTS_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "batch: %u operations, allowed are 1..%u", batch->count,
                           VDB_LIMIT_BATCH_POINTS_MAX);
    }
    return VDB_OK;
}

vdb_status vdb_batch_next(struct vdb_batch *batch, struct vdb_op *op, bool *more, struct vdb_err *err)
{
    struct vdb_cursor *cursor = &batch->cursor;
    *more = batch->done < batch->count;
    if (!*more) {
        return vdb_cursor_left(cursor) == 0 ? VDB_OK
                                            : vdb_err_set(err, VDB_CORRUPT, "batch: %zu bytes after operation %u",
                                                          vdb_cursor_left(cursor), batch->count);
    }
    uint8_t kind = vdb_cursor_u8(cursor);
    uint8_t id_kind = vdb_cursor_u8(cursor);
    uint16_t text_bytes = vdb_cursor_u16(cursor);
    uint32_t metadata_bytes = vdb_cursor_u32(cursor);
    *op = (struct vdb_op){.kind = (vdb_op_kind)kind};
    if (id_kind == ID_TEXT) {
        op->id.text = (const char *)vdb_cursor_take(cursor, text_bytes);
        op->id.text_bytes = text_bytes;
    } else {
        op->id.number = vdb_cursor_u64(cursor);
    }
    if (kind == VDB_OP_UPSERT) {
        op->vector = vdb_cursor_take(cursor, (size_t)batch->dimension * sizeof(float));
        op->metadata = (struct vdb_str){(const char *)vdb_cursor_take(cursor, metadata_bytes), metadata_bytes};
    }
    bool shape_ok = (kind == VDB_OP_UPSERT || (kind == VDB_OP_DELETE && metadata_bytes == 0)) &&
                    (id_kind == ID_NUMBER
                         ? text_bytes == 0
                         : id_kind == ID_TEXT && text_bytes >= 1 && text_bytes <= VDB_LIMIT_ID_BYTES_MAX) &&
                    metadata_bytes <= VDB_LIMIT_METADATA_BYTES_MAX;
    if (!shape_ok || cursor->failed) {
        return vdb_err_set(err, VDB_CORRUPT, "batch: operation %u of %u is malformed", batch->done + 1,
                           batch->count);
    }
    batch->done++;
    return VDB_OK;
}
