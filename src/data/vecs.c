/* vecs.c: see vecs.h. Rows are read in blocks and each row's dimension is compared before its values are taken.
 * Memory is asked for only as much as the file itself is long. */
#include "vecs.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DIMENSION_BYTES = 4, BLOCK_BYTES = 1 << 20 };

static vdb_status check_dimension(uint32_t raw, struct vdb_err *err)
{
    int32_t dimension = (int32_t)raw;
    if (dimension < 1 || raw > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "row 0 at byte 0: dimension is %" PRId32 ", 1 to %u is allowed",
                           dimension, VDB_LIMIT_DIMENSION_MAX);
    }
    return VDB_OK;
}

/* What is left after the last whole row: nothing, or a row cut short (or of another dimension). */
static vdb_status check_tail(const struct vdb_source *source, size_t rows, size_t row_bytes, size_t dimension,
                             struct vdb_err *err)
{
    uint64_t offset = (uint64_t)rows * row_bytes;
    uint64_t left = source->bytes - offset;
    if (left == 0) {
        return VDB_OK;
    }
    if (left >= DIMENSION_BYTES) {
        uint8_t raw[DIMENSION_BYTES];
        VDB_TRY(vdb_source_read(source, raw, sizeof raw, offset, err));
        if (vdb_load_u32(raw) != dimension) {
            return vdb_err_set(err, VDB_INVALID,
                               "row %zu at byte %" PRIu64 ": dimension is %" PRId32
                               ", row 0 has %zu: all must be equal",
                               rows, offset, (int32_t)vdb_load_u32(raw), dimension);
        }
    }
    return vdb_err_set(err, VDB_INVALID,
                       "row %zu at byte %" PRIu64 ": cut short: a row of dimension %zu takes %zu bytes, %" PRIu64
                       " are left",
                       rows, offset, dimension, row_bytes, left);
}

/* Checks and copies the rows of one block; `first` is the row number of its first. */
static vdb_status take_rows(const uint8_t *block, size_t rows, size_t first, const struct vdb_vectors *out,
                            struct vdb_err *err)
{
    size_t value_bytes = vdb_vectors_row_bytes(out);
    size_t row_bytes = DIMENSION_BYTES + value_bytes;
    for (size_t i = 0; i < rows; i++) {
        const uint8_t *row = block + i * row_bytes;
        if (vdb_load_u32(row) != out->dimension) {
            return vdb_err_set(
                err, VDB_INVALID,
                "row %zu at byte %" PRIu64 ": dimension is %" PRId32 ", row 0 has %zu: all must be equal",
                first + i, (uint64_t)(first + i) * row_bytes, (int32_t)vdb_load_u32(row), out->dimension);
        }
        memcpy((uint8_t *)out->data + (first - out->first_row + i) * value_bytes, row + DIMENSION_BYTES,
               value_bytes);
    }
    return VDB_OK;
}

vdb_status vdb_vecs_read_shape(const struct vdb_source *source, vdb_vectors_type type, size_t *count,
                               size_t *dimension, struct vdb_err *err)
{
    if (source->bytes < DIMENSION_BYTES) {
        return vdb_err_set(err, VDB_INVALID,
                           "row 0 at byte 0: cut short: the file has %" PRIu64 " bytes, a row starts with %d",
                           source->bytes, DIMENSION_BYTES);
    }
    uint8_t raw[DIMENSION_BYTES];
    VDB_TRY(vdb_source_read(source, raw, sizeof raw, 0, err));
    VDB_TRY(check_dimension(vdb_load_u32(raw), err));
    *dimension = vdb_load_u32(raw);
    size_t row_bytes = DIMENSION_BYTES + *dimension * vdb_vectors_type_bytes(type);
    uint64_t rows = source->bytes / row_bytes;
    if (rows > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "the file holds %" PRIu64 " rows, at most %u are allowed", rows,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    *count = (size_t)rows;
    return rows > 0 ? VDB_OK : check_tail(source, 0, row_bytes, *dimension, err);
}

vdb_status vdb_vecs_read_rows(const struct vdb_source *source, struct vdb_vectors *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    size_t row_bytes = DIMENSION_BYTES + vdb_vectors_row_bytes(out);
    size_t block_rows = row_bytes < BLOCK_BYTES ? BLOCK_BYTES / row_bytes : 1;
    size_t end = out->first_row + out->count;
    block_rows = block_rows < out->count ? block_rows : out->count;
    uint8_t *block = malloc(block_rows * row_bytes);
    if (block == NULL) {
        return vdb_err_no_memory(err, "a block of rows");
    }
    for (size_t first = out->first_row; first < end; first += block_rows) {
        size_t rows = end - first < block_rows ? end - first : block_rows;
        VDB_CHECK(vdb_source_read(source, block, rows * row_bytes, (uint64_t)first * row_bytes, err));
        VDB_CHECK(take_rows(block, rows, first, out, err));
    }

cleanup:
    free(block);
    return status;
}

vdb_status vdb_vecs_check_end(const struct vdb_source *source, vdb_vectors_type type, size_t count,
                              size_t dimension, struct vdb_err *err)
{
    return check_tail(source, count, DIMENSION_BYTES + dimension * vdb_vectors_type_bytes(type), dimension, err);
}

vdb_status vdb_vecs_read(const struct vdb_source *source, vdb_vectors_type type, struct vdb_vectors *out,
                         struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    size_t count = 0;
    size_t dimension = 0;
    *out = (struct vdb_vectors){0};
    VDB_TRY(vdb_vecs_read_shape(source, type, &count, &dimension, err));
    VDB_CHECK(vdb_vectors_init(out, type, count, dimension, err));
    VDB_CHECK(vdb_vecs_read_rows(source, out, err));
    VDB_CHECK(vdb_vecs_check_end(source, type, count, dimension, err));

cleanup:
    if (status != VDB_OK) {
        vdb_vectors_fini(out);
    }
    return status;
}
