/* segment_write.c: makes the two files of a segment in one pass over its rows.
 *
 * Vectors and metadata go to the disk as they come; ids, lengths and sequence numbers (17 bytes a row and the text
 * ids) are kept until the end, as their sections and the hash table come after the metadata. Every byte is copied
 * once into a writer's buffer and summed there.
 */
#include "segment_internal.h"

#include <assert.h>
#include <stdlib.h>

#include <lz4.h>

struct vdb_segment_writer {
    struct vdb_env *env;
    char *dir;
    struct vdb_block_writer *vectors;
    struct vdb_block_writer *meta;
    bool vectors_begun; /* the file may be there */
    bool meta_begun;
    bool finished;
    uint32_t number;
    uint32_t dimension;
    vdb_element element;
    size_t stride;
    uint64_t hash_seed;

    uint32_t rows;
    uint32_t capacity; /* of the arrays */
    uint64_t *ids;
    uint8_t *id_bytes;
    uint64_t *seqs;
    struct vdb_buf id_text;
    uint32_t text_ids;
    uint64_t seq_min;
    uint64_t seq_max;

    /* The metadata block being filled, and what is known of those before. */
    struct vdb_buf lengths;
    struct vdb_buf text;
    struct vdb_buf raw;    /* lengths and text together */
    struct vdb_buf packed; /* raw, compressed */
    struct vdb_buf table;
    uint32_t block_first_row;
    uint32_t blocks;
    uint64_t stored_bytes;   /* of the blocks before */
    uint64_t metadata_bytes; /* of all rows, as given */
};

static vdb_status begin_file(struct vdb_segment_writer *writer, const uint8_t uuid[VDB_UUID_BYTES],
                             vdb_block_file_kind kind, uint32_t section, struct vdb_block_writer **out,
                             bool *begun, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_block_file_name name = {.kind = kind, .number = writer->number};
    memcpy(name.uuid, uuid, VDB_UUID_BYTES);
    VDB_TRY(vdb_segment_path(path, writer->dir, kind, writer->number, 0, err));
    *begun = true;
    VDB_TRY(vdb_block_writer_create(writer->env, path, &name, out, err));
    return vdb_block_writer_section(*out, section, err);
}

vdb_status vdb_segment_writer_create(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                                     uint32_t number, const struct vdb_schema *schema,
                                     struct vdb_segment_writer **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = NULL;
    struct vdb_segment_writer *writer = vdb_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return vdb_err_no_memory(err, "a segment's writer");
    }
    writer->env = env;
    writer->number = number;
    writer->dimension = schema->dimension;
    writer->element = schema->element;
    writer->stride = vdb_segment_stride_of(schema->element, schema->dimension);
    writer->seq_min = UINT64_MAX;
    writer->dir = vdb_strndup(dir, strlen(dir));
    if (writer->dir == NULL) {
        status = vdb_err_no_memory(err, "a segment's directory");
        goto cleanup;
    }
    VDB_CHECK(env->ops->entropy(env, &writer->hash_seed, sizeof writer->hash_seed, err));
    VDB_CHECK(begin_file(writer, uuid, VDB_BLOCK_FILE_VECTORS, VDB_VECTORS_ROWS, &writer->vectors,
                         &writer->vectors_begun, err));
    VDB_CHECK(
        begin_file(writer, uuid, VDB_BLOCK_FILE_META, VDB_META_TEXT, &writer->meta, &writer->meta_begun, err));
    *out = writer;
    writer = NULL;
cleanup:
    vdb_segment_writer_destroy(writer);
    return status;
}

static vdb_status grow_arrays(struct vdb_segment_writer *writer, struct vdb_err *err)
{
    enum { FIRST_ROWS = 1024 };
    uint32_t capacity = writer->capacity > 0 ? writer->capacity * 2 : FIRST_ROWS;
    void *ids = writer->ids;
    void *id_bytes = writer->id_bytes;
    void *seqs = writer->seqs;
    bool grown = vdb_realloc_array(&ids, capacity, sizeof *writer->ids);
    writer->ids = ids;
    grown = grown && vdb_realloc_array(&id_bytes, capacity, sizeof *writer->id_bytes);
    writer->id_bytes = id_bytes;
    grown = grown && vdb_realloc_array(&seqs, capacity, sizeof *writer->seqs);
    writer->seqs = seqs;
    if (!grown) {
        return vdb_err_no_memory(err, "a segment's ids");
    }
    writer->capacity = capacity;
    return VDB_OK;
}

/* Compresses the block that was filled and gives it to the file, as it is when that is no longer. */
static vdb_status end_block(struct vdb_segment_writer *writer, struct vdb_err *err)
{
    if (writer->lengths.bytes == 0) {
        return VDB_OK;
    }
    size_t raw_bytes = writer->lengths.bytes + writer->text.bytes;
    vdb_buf_clear(&writer->raw);
    vdb_buf_clear(&writer->packed);
    vdb_buf_put(&writer->raw, writer->lengths.data, writer->lengths.bytes);
    vdb_buf_put(&writer->raw, writer->text.data, writer->text.bytes);
    vdb_buf_put_u64(&writer->table, writer->stored_bytes);
    vdb_buf_put_u32(&writer->table, writer->block_first_row);
    vdb_buf_put_u32(&writer->table, (uint32_t)raw_bytes);
    if (writer->raw.failed || writer->table.failed || !vdb_buf_reserve(&writer->packed, raw_bytes)) {
        return vdb_err_no_memory(err, "a block of metadata");
    }
    int packed = LZ4_compress_default((const char *)writer->raw.data, (char *)writer->packed.data, (int)raw_bytes,
                                      (int)raw_bytes - 1);
    const void *stored = packed > 0 ? writer->packed.data : writer->raw.data;
    size_t stored_bytes = packed > 0 ? (size_t)packed : raw_bytes;
    VDB_TRY(vdb_block_writer_append(writer->meta, stored, stored_bytes, err));
    writer->stored_bytes += stored_bytes;
    writer->blocks++;
    writer->block_first_row = writer->rows;
    vdb_buf_clear(&writer->lengths);
    vdb_buf_clear(&writer->text);
    return VDB_OK;
}

static vdb_status add_metadata(struct vdb_segment_writer *writer, struct vdb_str metadata, struct vdb_err *err)
{
    size_t bytes = vdb_str_is(metadata, "{}") ? 0 : metadata.bytes;
    size_t filled = writer->lengths.bytes + writer->text.bytes;
    if (filled + VDB_META_BLOCK_LENGTH_BYTES + bytes > VDB_META_BLOCK_RAW_BYTES) {
        VDB_TRY(end_block(writer, err));
    }
    vdb_buf_put_u32(&writer->lengths, (uint32_t)bytes);
    vdb_buf_put(&writer->text, metadata.data, bytes);
    if (writer->lengths.failed || writer->text.failed) {
        return vdb_err_no_memory(err, "a block of metadata");
    }
    writer->metadata_bytes += bytes;
    return VDB_OK;
}

vdb_status vdb_segment_writer_add(struct vdb_segment_writer *writer, const struct vdb_id *id, uint64_t seq_from,
                                  const void *vector, struct vdb_str metadata, struct vdb_err *err)
{
    assert(!writer->finished && seq_from > 0);
    if (writer->rows >= VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "a segment has at most %u rows", VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    if (metadata.bytes > VDB_LIMIT_METADATA_BYTES_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "metadata has %zu bytes, at most %u are allowed", metadata.bytes,
                           VDB_LIMIT_METADATA_BYTES_MAX);
    }
    if (id->text != NULL && (id->text_bytes < 1 || id->text_bytes > VDB_LIMIT_ID_BYTES_MAX)) {
        return vdb_err_set(err, VDB_INVALID, "id has %u bytes, 1 to %u are allowed", id->text_bytes,
                           VDB_LIMIT_ID_BYTES_MAX);
    }
    if (writer->rows == writer->capacity) {
        VDB_TRY(grow_arrays(writer, err));
    }
    size_t vector_bytes = vdb_vector_bytes(writer->element, writer->dimension);
    VDB_TRY(vdb_block_writer_append(writer->vectors, vector, vector_bytes, err));
    VDB_TRY(vdb_block_writer_append_zeros(writer->vectors, writer->stride - vector_bytes, err));
    VDB_TRY(add_metadata(writer, metadata, err));
    uint32_t row = writer->rows;
    writer->ids[row] = id->text != NULL ? writer->id_text.bytes : id->number;
    writer->id_bytes[row] = id->text != NULL ? (uint8_t)id->text_bytes : 0;
    if (id->text != NULL) {
        vdb_buf_put(&writer->id_text, id->text, id->text_bytes);
        if (writer->id_text.failed) {
            return vdb_err_no_memory(err, "a segment's ids");
        }
        writer->text_ids++;
    }
    writer->seqs[row] = seq_from;
    writer->seq_min = seq_from < writer->seq_min ? seq_from : writer->seq_min;
    writer->seq_max = seq_from > writer->seq_max ? seq_from : writer->seq_max;
    writer->rows++;
    return VDB_OK;
}

uint32_t vdb_segment_writer_rows(const struct vdb_segment_writer *writer)
{
    return writer->rows;
}

uint64_t vdb_segment_writer_bytes(const struct vdb_segment_writer *writer)
{
    return vdb_block_writer_bytes(writer->vectors) + vdb_block_writer_bytes(writer->meta);
}

static struct vdb_id id_of(const struct vdb_segment_writer *writer, uint32_t row)
{
    if (writer->id_bytes[row] == 0) {
        return (struct vdb_id){.number = writer->ids[row]};
    }
    return (struct vdb_id){.text = (const char *)writer->id_text.data + writer->ids[row],
                           .text_bytes = writer->id_bytes[row]};
}

/* Fills the table of the ids; S1 is checked on the way, which costs nothing but where tags are equal. */
static vdb_status fill_hash(const struct vdb_segment_writer *writer, uint32_t *slots, uint32_t capacity,
                            struct vdb_err *err)
{
    const uint32_t row_mask = vdb_segment_row_mask(writer->rows);
    for (uint32_t row = 0; row < writer->rows; row++) {
        struct vdb_id id = id_of(writer, row);
        uint64_t hash = vdb_segment_hash(writer->hash_seed, &id);
        uint32_t tag = (uint32_t)(hash >> 32) & ~row_mask;
        uint32_t slot = (uint32_t)hash & (capacity - 1);
        for (; slots[slot] != 0; slot = (slot + 1) & (capacity - 1)) {
            if ((slots[slot] & ~row_mask) == tag) {
                uint32_t other_row = (slots[slot] & row_mask) - 1;
                struct vdb_id other = id_of(writer, other_row);
                if (vdb_id_equal(&id, &other)) {
                    return vdb_err_set(err, VDB_INVALID, "rows %u and %u of a segment have the same id",
                                       other_row, row);
                }
            }
        }
        slots[slot] = tag | (row + 1);
    }
    return VDB_OK;
}

static vdb_status put_hash(struct vdb_segment_writer *writer, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    uint32_t capacity = vdb_segment_hash_capacity(writer->rows);
    uint32_t *slots = vdb_calloc(capacity, sizeof *slots);
    if (slots == NULL) {
        return vdb_err_no_memory(err, "a segment's table of ids");
    }
    VDB_CHECK(fill_hash(writer, slots, capacity, err));
    VDB_CHECK(vdb_block_writer_section(writer->meta, VDB_META_HASH, err));
    VDB_CHECK(vdb_block_writer_append(writer->meta, slots, (size_t)capacity * sizeof *slots, err));
cleanup:
    free(slots);
    return status;
}

static vdb_status put_section(struct vdb_segment_writer *writer, uint32_t id, const void *data, size_t bytes,
                              struct vdb_err *err)
{
    VDB_TRY(vdb_block_writer_section(writer->meta, id, err));
    return vdb_block_writer_append(writer->meta, data, bytes, err);
}

static vdb_status finish_meta(struct vdb_segment_writer *writer, struct vdb_stamp *stamp, struct vdb_err *err)
{
    const size_t rows = writer->rows;
    VDB_TRY(end_block(writer, err));
    vdb_buf_put_u64(&writer->table, writer->stored_bytes);
    vdb_buf_put_u32(&writer->table, writer->rows);
    vdb_buf_put_u32(&writer->table, 0);
    if (writer->table.failed) {
        return vdb_err_no_memory(err, "a segment's table of metadata");
    }
    VDB_TRY(put_section(writer, VDB_META_TABLE, writer->table.data, writer->table.bytes, err));
    VDB_TRY(put_section(writer, VDB_META_IDS, writer->ids, rows * sizeof *writer->ids, err));
    VDB_TRY(put_section(writer, VDB_META_ID_BYTES, writer->id_bytes, writer->text_ids > 0 ? rows : 0, err));
    VDB_TRY(put_section(writer, VDB_META_ID_TEXT, writer->id_text.data, writer->id_text.bytes, err));
    VDB_TRY(put_section(writer, VDB_META_SEQ, writer->seqs, rows * sizeof *writer->seqs, err));
    VDB_TRY(put_hash(writer, err));
    uint8_t head[VDB_SEGMENT_HEAD_BYTES] = {0};
    vdb_store_u32(head + VDB_MH_ROWS, writer->rows);
    vdb_store_u32(head + VDB_MH_TEXT_IDS, writer->text_ids);
    vdb_store_u64(head + VDB_MH_HASH_SEED, writer->hash_seed);
    vdb_store_u64(head + VDB_MH_ID_TEXT_BYTES, writer->id_text.bytes);
    vdb_store_u64(head + VDB_MH_SEQ_MIN, writer->seq_min);
    vdb_store_u64(head + VDB_MH_SEQ_MAX, writer->seq_max);
    vdb_store_u64(head + VDB_MH_METADATA_BYTES, writer->metadata_bytes);
    vdb_store_u32(head + VDB_MH_BLOCKS, writer->blocks);
    VDB_TRY(put_section(writer, VDB_META_HEAD, head, sizeof head, err));
    return vdb_block_writer_finish(writer->meta, stamp, err);
}

static vdb_status finish_vectors(struct vdb_segment_writer *writer, struct vdb_stamp *stamp, struct vdb_err *err)
{
    uint8_t head[VDB_SEGMENT_HEAD_BYTES] = {0};
    vdb_store_u32(head + VDB_VH_DIMENSION, writer->dimension);
    vdb_store_u32(head + VDB_VH_ELEMENT, (uint32_t)writer->element);
    vdb_store_u32(head + VDB_VH_STRIDE, (uint32_t)writer->stride);
    vdb_store_u32(head + VDB_VH_ROWS, writer->rows);
    VDB_TRY(vdb_block_writer_section(writer->vectors, VDB_VECTORS_HEAD, err));
    VDB_TRY(vdb_block_writer_append(writer->vectors, head, sizeof head, err));
    return vdb_block_writer_finish(writer->vectors, stamp, err);
}

vdb_status vdb_segment_writer_finish(struct vdb_segment_writer *writer, struct vdb_segment_info *info,
                                     struct vdb_err *err)
{
    static const char *const folders[] = {"vectors", "meta"};
    struct vdb_segment_info made = {.number = writer->number, .rows = writer->rows};
    assert(!writer->finished);
    if (writer->rows == 0) {
        return vdb_err_set(err, VDB_INVALID, "a segment has at least one row");
    }
    VDB_TRY(finish_vectors(writer, &made.vectors, err));
    VDB_TRY(finish_meta(writer, &made.meta, err));
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char path[VDB_LIMIT_PATH_BYTES_MAX];
        VDB_TRY(vdb_path_join(path, sizeof path, writer->dir, folders[i], err));
        VDB_TRY(writer->env->ops->sync_dir(writer->env, path, err));
    }
    writer->finished = true;
    *info = made;
    return VDB_OK;
}

static void remove_file(struct vdb_segment_writer *writer, vdb_block_file_kind kind)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    if (vdb_segment_path(path, writer->dir, kind, writer->number, 0, NULL) == VDB_OK) {
        /* What stays is removed at the next open, as no manifest names it. */
        vdb_status status = writer->env->ops->unlink(writer->env, path, NULL);
        (void)status;
    }
}

void vdb_segment_writer_destroy(struct vdb_segment_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    vdb_block_writer_destroy(writer->vectors);
    vdb_block_writer_destroy(writer->meta);
    if (!writer->finished && writer->vectors_begun) {
        remove_file(writer, VDB_BLOCK_FILE_VECTORS);
    }
    if (!writer->finished && writer->meta_begun) {
        remove_file(writer, VDB_BLOCK_FILE_META);
    }
    free(writer->dir);
    free(writer->ids);
    free(writer->id_bytes);
    free(writer->seqs);
    vdb_buf_fini(&writer->id_text);
    vdb_buf_fini(&writer->lengths);
    vdb_buf_fini(&writer->text);
    vdb_buf_fini(&writer->raw);
    vdb_buf_fini(&writer->packed);
    vdb_buf_fini(&writer->table);
    free(writer);
}
