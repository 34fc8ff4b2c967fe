/* batch.h: a write batch as bytes: the payload of a log record (docs/format.md, section 4).
 *
 * The same bytes are what a live write logs, what recovery replays and what a follower will be sent, and all
 * three read them through the iterator here. Bytes may come from a disk or a network: every length is checked.
 * Threads: confined.
 */
#ifndef VDB_STORAGE_BATCH_H
#define VDB_STORAGE_BATCH_H

#include "base/bytes.h"
#include "base/err.h"
#include "id.h"

typedef enum vdb_op_kind { VDB_OP_UPSERT = 1, VDB_OP_DELETE = 2 } vdb_op_kind;

/* One operation; all pointers borrow from the batch. The vector's bytes need not be aligned. */
struct vdb_op {
    vdb_op_kind kind;
    struct vdb_id id;
    const uint8_t *vector;   /* upsert: dimension little-endian floats */
    struct vdb_str metadata; /* upsert: canonical compact JSON object */
};

/* Starts a batch in an empty buffer. */
void vdb_batch_begin(struct vdb_buf *out, uint32_t dimension);
void vdb_batch_upsert(struct vdb_buf *out, const struct vdb_id *id, const float *vector, uint32_t dimension,
                      struct vdb_str metadata);
void vdb_batch_delete(struct vdb_buf *out, const struct vdb_id *id);

struct vdb_batch {
    struct vdb_cursor cursor;
    uint32_t dimension;
    uint32_t count; /* operations in the batch */
    uint32_t done;
};

/* Reads the head. VDB_CORRUPT when the bytes are no batch for this dimension. */
vdb_status vdb_batch_open(struct vdb_batch *batch, const void *data, size_t bytes, uint32_t dimension,
                          struct vdb_err *err) VDB_MUST_CHECK;

/* The next operation; *more is false after the last (and the bytes must end there). */
vdb_status vdb_batch_next(struct vdb_batch *batch, struct vdb_op *op, bool *more,
                          struct vdb_err *err) VDB_MUST_CHECK;

#endif
