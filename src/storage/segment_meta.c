/* segment_meta.c: reads rows' metadata out of compressed blocks.
 *
 * The block last read stays decompressed in the reader, its lengths turned into ends in place, so that the next row
 * of the same block costs two loads.
 */
#include "segment_internal.h"

#include <assert.h>
#include <inttypes.h>

#include <lz4.h>

void vdb_segment_meta_init(struct vdb_segment_meta *reader, struct vdb_segment *segment)
{
    *reader = (struct vdb_segment_meta){.segment = segment, .block = UINT64_MAX};
}

void vdb_segment_meta_fini(struct vdb_segment_meta *reader)
{
    vdb_buf_fini(&reader->text);
    reader->block = UINT64_MAX;
}

static const uint8_t *entry_of(const struct vdb_segment *segment, uint64_t block)
{
    return segment->table.data + block * VDB_MT_ENTRY_BYTES;
}

static uint32_t first_row_of(const struct vdb_segment *segment, uint64_t block)
{
    return vdb_load_u32(entry_of(segment, block) + VDB_MT_FIRST_ROW);
}

static bool block_has(const struct vdb_segment *segment, uint64_t block, uint32_t row)
{
    return block < segment->blocks && first_row_of(segment, block) <= row &&
           row < first_row_of(segment, block + 1);
}

/* The block whose rows include `row`, or in a table that lies, some block. */
static uint64_t search_block(const struct vdb_segment *segment, uint32_t row)
{
    uint64_t low = 0;
    uint64_t high = segment->blocks;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (first_row_of(segment, middle) <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Turns the lengths at the block's begin into ends, counted from its first text. */
static vdb_status end_lengths(const struct vdb_segment *segment, const uint8_t *entry, uint8_t *raw,
                              uint32_t rows, uint32_t raw_bytes, struct vdb_err *err)
{
    const uint32_t text_bytes = raw_bytes - rows * VDB_META_BLOCK_LENGTH_BYTES;
    uint64_t end = 0;
    for (uint32_t i = 0; i < rows; i++) {
        uint8_t *at = raw + (size_t)i * VDB_META_BLOCK_LENGTH_BYTES;
        end += vdb_load_u32(at);
        vdb_store_u32(at, (uint32_t)end);
    }
    /* The sum is below 2^32 * rows: it cannot have wrapped, and ends are right when the last one is. */
    if (end != text_bytes) {
        return vdb_block_file_damaged(segment->meta, err, entry,
                                      "the lengths of %u rows' metadata add up to %" PRIu64
                                      ", their block has %u "
                                      "bytes",
                                      rows, end, text_bytes);
    }
    return VDB_OK;
}

/* Decompresses block `block` into the reader. On failure the reader has none. */
static vdb_status load_block(struct vdb_segment_meta *reader, uint64_t block, struct vdb_err *err)
{
    struct vdb_segment *segment = reader->segment;
    const uint8_t *entry = entry_of(segment, block);
    const uint8_t *next = entry + VDB_MT_ENTRY_BYTES;
    reader->block = UINT64_MAX;
    uint64_t begin = vdb_load_u64(entry + VDB_MT_OFFSET);
    uint64_t end = vdb_load_u64(next + VDB_MT_OFFSET);
    uint32_t first = vdb_load_u32(entry + VDB_MT_FIRST_ROW);
    uint32_t last = vdb_load_u32(next + VDB_MT_FIRST_ROW);
    uint32_t raw_bytes = vdb_load_u32(entry + VDB_MT_RAW_BYTES);
    if (first >= last || last > segment->rows || begin >= end || end > segment->text.bytes) {
        return vdb_block_file_damaged(segment->meta, err, entry,
                                      "metadata block %" PRIu64 " claims rows %u to %u and bytes %" PRIu64
                                      " to %" PRIu64,
                                      block, first, last, begin, end);
    }
    uint32_t rows = last - first;
    uint32_t raw_max = rows == 1 ? VDB_META_BLOCK_RAW_BYTES_MAX : VDB_META_BLOCK_RAW_BYTES;
    if (raw_bytes > raw_max || raw_bytes / VDB_META_BLOCK_LENGTH_BYTES < rows || end - begin > raw_bytes) {
        return vdb_block_file_damaged(segment->meta, err, entry,
                                      "metadata block %" PRIu64 " claims %u bytes for %u rows, from %" PRIu64
                                      " stored",
                                      block, raw_bytes, rows, end - begin);
    }
    const uint8_t *stored = segment->text.data + begin;
    VDB_TRY(vdb_block_file_need(segment->meta, stored, (size_t)(end - begin), err));
    vdb_buf_clear(&reader->text);
    if (!vdb_buf_reserve(&reader->text, raw_bytes)) {
        return vdb_err_no_memory(err, "a block of metadata");
    }
    uint8_t *raw = reader->text.data;
    if (end - begin == raw_bytes) {
        memcpy(raw, stored, raw_bytes);
    } else if (LZ4_decompress_safe((const char *)stored, (char *)raw, (int)(end - begin), (int)raw_bytes) !=
               (int)raw_bytes) {
        return vdb_block_file_damaged(segment->meta, err, stored,
                                      "metadata block %" PRIu64 " does not decompress to %u bytes", block,
                                      raw_bytes);
    }
    VDB_TRY(end_lengths(segment, entry, raw, rows, raw_bytes, err));
    reader->text.bytes = raw_bytes;
    reader->block = block;
    return VDB_OK;
}

vdb_status vdb_segment_meta_read(struct vdb_segment_meta *reader, uint32_t row, struct vdb_str *out,
                                 struct vdb_err *err)
{
    struct vdb_segment *segment = reader->segment;
    assert(row < segment->rows);
    *out = (struct vdb_str){0};
    if (reader->block == UINT64_MAX || !block_has(segment, reader->block, row)) {
        VDB_TRY(vdb_block_file_need(segment->meta, segment->table.data, (size_t)segment->table.bytes, err));
        uint64_t block = reader->block != UINT64_MAX && block_has(segment, reader->block + 1, row)
                             ? reader->block + 1
                             : search_block(segment, row);
        if (!block_has(segment, block, row)) {
            return vdb_block_file_damaged(segment->meta, err, entry_of(segment, block),
                                          "no metadata block claims row %u", row);
        }
        VDB_TRY(load_block(reader, block, err));
    }
    const uint8_t *raw = reader->text.data;
    uint32_t first = first_row_of(segment, reader->block);
    size_t rows = first_row_of(segment, reader->block + 1) - first;
    size_t i = row - first;
    uint32_t begin = i > 0 ? vdb_load_u32(raw + (i - 1) * VDB_META_BLOCK_LENGTH_BYTES) : 0;
    uint32_t end = vdb_load_u32(raw + i * VDB_META_BLOCK_LENGTH_BYTES);
    *out = end > begin
               ? (struct vdb_str){(const char *)raw + rows * VDB_META_BLOCK_LENGTH_BYTES + begin, end - begin}
               : vdb_str_of("{}");
    return VDB_OK;
}
