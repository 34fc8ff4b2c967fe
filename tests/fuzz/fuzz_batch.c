// floor: storage
/* fuzz_batch.c: any bytes as a write batch. What is read to its end must encode to the very same bytes (so no
 * byte is without meaning), and the memtable must agree: it stages exactly the batches that read, and shows what
 * they say. */
#include "require.h"

#include "base/limits.h"
#include "storage/batch.h"
#include "storage/idmap.h"
#include "storage/memtable.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { DIMENSION_MAX = 64 };

static void put_again(struct vdb_buf *again, const struct vdb_op *op, uint32_t dimension)
{
    float vector[DIMENSION_MAX];
    if (op->kind == VDB_OP_DELETE) {
        vdb_batch_delete(again, &op->id);
        return;
    }
    memcpy(vector, op->vector, dimension * sizeof *vector); /* the batch's need not be aligned */
    vdb_batch_upsert(again, &op->id, vector, dimension, op->metadata);
}

/* Every operation within the limits and its pieces within the input. */
static void check_op(const struct vdb_op *op, const uint8_t *data, size_t bytes, uint32_t dimension)
{
    REQUIRE(op->kind == VDB_OP_UPSERT || op->kind == VDB_OP_DELETE);
    if (op->id.text != NULL) {
        const uint8_t *text = (const uint8_t *)op->id.text;
        REQUIRE(op->id.text_bytes >= 1 && op->id.text_bytes <= VDB_LIMIT_ID_BYTES_MAX);
        REQUIRE(text >= data && text + op->id.text_bytes <= data + bytes);
    }
    if (op->kind == VDB_OP_UPSERT) {
        const uint8_t *metadata = (const uint8_t *)op->metadata.data;
        REQUIRE(op->vector >= data && op->vector + dimension * sizeof(float) <= data + bytes);
        REQUIRE(op->metadata.bytes <= VDB_LIMIT_METADATA_BYTES_MAX);
        REQUIRE(metadata >= data && metadata + op->metadata.bytes <= data + bytes);
    }
}

/* Reads the batch to its end; what it holds goes to `again`. */
static vdb_status read_all(const uint8_t *data, size_t bytes, uint32_t dimension, struct vdb_buf *again,
                           struct vdb_op *last, struct vdb_err *err)
{
    struct vdb_batch batch;
    bool more;
    struct vdb_op op;
    VDB_TRY(vdb_batch_open(&batch, data, bytes, dimension, err));
    vdb_batch_begin(again, dimension);
    for (;;) {
        VDB_TRY(vdb_batch_next(&batch, &op, &more, err));
        if (!more) {
            return VDB_OK;
        }
        check_op(&op, data, bytes, dimension);
        put_again(again, &op, dimension);
        *last = op;
    }
}

/* Publishes the batch and looks for its last operation, which nothing in it can have overruled. */
static void check_memtable(const uint8_t *data, size_t bytes, uint32_t dimension, vdb_status expected,
                           const struct vdb_op *last)
{
    struct vdb_err err = {0};
    struct vdb_staged *staged = NULL;
    struct vdb_memtable *memtable = vdb_memtable_create(dimension);
    REQUIRE(memtable != NULL);
    REQUIRE(vdb_memtable_stage(memtable, data, bytes, &staged, &err) == expected);
    if (expected == VDB_OK) {
        struct vdb_memtable_view view;
        uint32_t slot;
        vdb_memtable_publish(memtable, staged, 1, NULL, NULL);
        vdb_memtable_pin(memtable, &view);
        vdb_memtable_look(memtable, &view, &last->id, 1, &slot);
        REQUIRE((slot != VDB_SLOT_NONE) == (last->kind == VDB_OP_UPSERT));
        if (slot != VDB_SLOT_NONE) {
            REQUIRE(vdb_id_equal(&vdb_slot_row(&view, slot)->id, &last->id));
            REQUIRE(vdb_str_eq(vdb_slot_row(&view, slot)->metadata, last->metadata));
            REQUIRE(memcmp(vdb_slot_vector(&view, slot), last->vector, dimension * sizeof(float)) == 0);
        }
    }
    vdb_memtable_unref(memtable);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    /* The dimension that the input claims, so that it can be right; small, so that a batch fits in few bytes. */
    uint32_t dimension = bytes >= 4 ? vdb_load_u32(data) % (DIMENSION_MAX + 1) : 0;
    dimension = dimension > 0 ? dimension : 1;
    struct vdb_buf again = {0};
    struct vdb_op last = {0};
    struct vdb_err err = {0};
    vdb_status status = read_all(data, bytes, dimension, &again, &last, &err);
    if (status == VDB_OK) {
        REQUIRE(!again.failed && again.bytes == bytes && memcmp(again.data, data, bytes) == 0);
    } else {
        REQUIRE(status == VDB_CORRUPT && err.status == status && err.text[0] != '\0');
    }
    check_memtable(data, bytes, dimension, status, &last);
    vdb_buf_fini(&again);
    return 0;
}
