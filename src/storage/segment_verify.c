/* segment_verify.c: reads all of a segment, and checks what no single read can see: that the parts agree. */
#include "segment_internal.h"

#include <inttypes.h>

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

/* No infinity and no NaN among the elements at `at`: their exponents are all ones. Eight bytes at a time: adding one to
 * an exponent of all ones carries into the sign's place, which was masked out, and no further. */
static bool is_finite(vdb_element element, const uint8_t *at, size_t bytes)
{
    const bool half = element == VDB_ELEMENT_F16;
    const uint64_t exponents = half ? UINT64_C(0x7c007c007c007c00) : UINT64_C(0x7f8000007f800000);
    const uint64_t ones = half ? UINT64_C(0x0400040004000400) : UINT64_C(0x0080000000800000);
    const uint64_t signs = half ? UINT64_C(0x8000800080008000) : UINT64_C(0x8000000080000000);
    uint64_t carried = 0;
    size_t i = 0;
    if (element != VDB_ELEMENT_F32 && !half) {
        return true; /* every byte is a whole number */
    }
    for (; i + 8 <= bytes; i += 8) {
        carried |= (vdb_load_u64(at + i) & exponents) + ones;
    }
    if (i < bytes) {
        uint64_t rest = 0;
        memcpy(&rest, at + i, bytes - i);
        carried |= (rest & exponents) + ones;
    }
    return (carried & signs) == 0;
}

static vdb_status verify_vectors(struct vdb_segment *segment, struct vdb_err *err)
{
    const size_t vector_bytes = vdb_vector_bytes(segment->element, segment->dimension);
    for (uint32_t row = 0; row < segment->rows; row++) {
        const uint8_t *at = segment->vector_rows.data + (size_t)row * segment->stride;
        if (!is_finite(segment->element, at, vector_bytes)) {
            return vdb_block_file_damaged(segment->vectors, err, at, "the vector of row %u is not finite", row);
        }
        if (!vdb_segment_all_zero(at + vector_bytes, segment->stride - vector_bytes)) {
            return vdb_block_file_damaged(segment->vectors, err, at + vector_bytes,
                                          "the padding of row %u is not zero", row);
        }
    }
    return VDB_OK;
}

/* Every slot that is taken is for a row, and there are as many as rows. With every id found at its own row (below),
 * S1 follows. */
static vdb_status verify_hash(struct vdb_segment *segment, struct vdb_err *err)
{
    uint32_t taken = 0;
    for (size_t slot = 0; slot < segment->hash_capacity; slot++) {
        const uint8_t *at = segment->hash.data + slot * 4;
        uint32_t entry = vdb_load_u32(at);
        uint32_t row = entry & segment->row_mask;
        if (entry != 0 && (row < 1 || row > segment->rows)) {
            return vdb_block_file_damaged(segment->meta, err, at, "slot %zu of the table of ids is for no row",
                                          slot);
        }
        taken += entry != 0;
    }
    if (taken != segment->rows) {
        return vdb_block_file_damaged(segment->meta, err, segment->hash.data,
                                      "the table of ids has %u entries for %u rows", taken, segment->rows);
    }
    return VDB_OK;
}

static vdb_status verify_ids(struct vdb_segment *segment, struct vdb_err *err)
{
    struct vdb_block_file *file = segment->meta;
    uint64_t text_end = 0;
    uint32_t text_ids = 0;
    VDB_TRY(verify_hash(segment, err));
    for (uint32_t row = 0; row < segment->rows; row++) {
        const uint8_t *at = segment->ids.data + (size_t)row * 8;
        struct vdb_id id;
        uint32_t found;
        VDB_TRY(vdb_segment_id(segment, row, &id, err));
        if (id.text != NULL) {
            if (vdb_load_u64(at) != text_end) {
                return vdb_block_file_damaged(
                    file, err, at, "the id of row %u begins at %" PRIu64 ", the one before ends at %" PRIu64, row,
                    vdb_load_u64(at), text_end);
            }
            if (!is_utf8(id.text, id.text_bytes)) {
                return vdb_block_file_damaged(file, err, id.text, "the id of row %u is not UTF-8", row);
            }
            text_end += id.text_bytes;
            text_ids++;
        }
        VDB_TRY(vdb_segment_find(segment, &id, &found, err));
        if (found == VDB_SLOT_NONE) {
            return vdb_block_file_damaged(file, err, at, "the id of row %u is not in the table of ids", row);
        }
        if (found != row) {
            return vdb_block_file_damaged(file, err, at, "the id of row %u is that of row %u, too", row, found);
        }
    }
    if (text_end != segment->id_text.bytes || text_ids != segment->text_ids) {
        return vdb_block_file_damaged(file, err, segment->meta_head.data,
                                      "%u text ids of %" PRIu64 " bytes, the head says %u of %" PRIu64, text_ids,
                                      text_end, segment->text_ids, segment->id_text.bytes);
    }
    return VDB_OK;
}

static vdb_status verify_seqs(struct vdb_segment *segment, struct vdb_err *err)
{
    uint64_t seq_min = UINT64_MAX;
    uint64_t seq_max = 0;
    for (uint32_t row = 0; row < segment->rows; row++) {
        uint64_t seq = vdb_load_u64(segment->seqs.data + (size_t)row * 8);
        if (seq == 0) {
            return vdb_block_file_damaged(segment->meta, err, segment->seqs.data + (size_t)row * 8,
                                          "row %u has the sequence number 0", row);
        }
        seq_min = seq < seq_min ? seq : seq_min;
        seq_max = seq > seq_max ? seq : seq_max;
    }
    const uint8_t *head = segment->meta_head.data;
    if (seq_min != vdb_load_u64(head + VDB_MH_SEQ_MIN) || seq_max != vdb_load_u64(head + VDB_MH_SEQ_MAX)) {
        return vdb_block_file_damaged(
            segment->meta, err, head + VDB_MH_SEQ_MIN,
            "rows have sequence numbers %" PRIu64 " to %" PRIu64 ", the head says %" PRIu64 " to %" PRIu64,
            seq_min, seq_max, vdb_load_u64(head + VDB_MH_SEQ_MIN), vdb_load_u64(head + VDB_MH_SEQ_MAX));
    }
    return VDB_OK;
}

/* The table's first and last entries; what lies between is checked as its blocks are read: rising rows and places,
 * so that blocks neither overlap nor leave a gap. */
static vdb_status verify_table(struct vdb_segment *segment, struct vdb_err *err)
{
    const uint8_t *first = segment->table.data;
    const uint8_t *last = first + (size_t)segment->blocks * VDB_MT_ENTRY_BYTES;
    if (vdb_load_u64(first + VDB_MT_OFFSET) != 0 || vdb_load_u32(first + VDB_MT_FIRST_ROW) != 0) {
        return vdb_block_file_damaged(segment->meta, err, first,
                                      "the first metadata block does not begin with row 0");
    }
    if (vdb_load_u64(last + VDB_MT_OFFSET) != segment->text.bytes ||
        vdb_load_u32(last + VDB_MT_FIRST_ROW) != segment->rows || vdb_load_u32(last + VDB_MT_RAW_BYTES) != 0) {
        return vdb_block_file_damaged(segment->meta, err, last,
                                      "the metadata blocks do not end with the last row");
    }
    return VDB_OK;
}

static vdb_status verify_metadata(struct vdb_segment *segment, struct vdb_err *err)
{
    struct vdb_segment_meta reader;
    struct vdb_str text;
    uint64_t bytes = 0;
    vdb_status status = VDB_OK;
    vdb_segment_meta_init(&reader, segment);
    VDB_CHECK(verify_table(segment, err));
    for (uint32_t row = 0; row < segment->rows; row++) {
        VDB_CHECK(vdb_segment_meta_read(&reader, row, &text, err));
        bytes += vdb_str_is(text, "{}") ? 0 : text.bytes;
    }
    const uint8_t *head = segment->meta_head.data;
    if (bytes != vdb_load_u64(head + VDB_MH_METADATA_BYTES)) {
        status = vdb_block_file_damaged(segment->meta, err, head + VDB_MH_METADATA_BYTES,
                                        "rows have %" PRIu64 " bytes of metadata, the head says %" PRIu64, bytes,
                                        vdb_load_u64(head + VDB_MH_METADATA_BYTES));
    }
cleanup:
    vdb_segment_meta_fini(&reader);
    return status;
}

vdb_status vdb_segment_verify(struct vdb_segment *segment, uint64_t *bytes, struct vdb_err *err)
{
    const struct vdb_segment_part *rows = &segment->vector_rows;
    vdb_block_file_advise(segment->vectors, rows->data, rows->bytes, VDB_ACCESS_SEQUENTIAL);
    vdb_status status = vdb_block_file_verify(segment->vectors, err);
    vdb_block_file_advise(segment->vectors, rows->data, rows->bytes, VDB_ACCESS_NORMAL);
    VDB_TRY(status);
    VDB_TRY(vdb_block_file_verify(segment->meta, err));
    VDB_TRY(verify_vectors(segment, err));
    VDB_TRY(verify_ids(segment, err));
    VDB_TRY(verify_seqs(segment, err));
    VDB_TRY(verify_metadata(segment, err));
    *bytes += vdb_block_file_bytes(segment->vectors) + vdb_block_file_bytes(segment->meta);
    return VDB_OK;
}
