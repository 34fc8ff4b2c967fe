/* segment.c: opening a segment, and reading its ids, sequence numbers and vectors. See segment.h for S1..S4.
 *
 * Open reads tables and heads only; what a call touches is checked by vdb_block_file_need just before (S4). A slot of
 * the hash table holds row + 1 and, above, a tag from the hash, so that a search for an id that is not here (every
 * insert of a new point makes one per segment) mostly ends in the table's one cache line.
 */
#include "segment_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Names ---- */

void vdb_segment_file_name(char out[VDB_SEGMENT_NAME_BYTES], vdb_block_file_kind kind, uint32_t number,
                           uint32_t edition)
{
    switch (kind) {
    case VDB_BLOCK_FILE_VECTORS:
        snprintf(out, VDB_SEGMENT_NAME_BYTES, "vectors/vectors_%06u.bin", number);
        break;
    case VDB_BLOCK_FILE_META:
        snprintf(out, VDB_SEGMENT_NAME_BYTES, "meta/meta_%06u.bin", number);
        break;
    case VDB_BLOCK_FILE_DEAD:
        assert(edition > 0);
        snprintf(out, VDB_SEGMENT_NAME_BYTES, "meta/dead_%06u_%06u.bin", number, edition);
        break;
    case VDB_BLOCK_FILE_INDEX:
        assert(edition > 0);
        snprintf(out, VDB_SEGMENT_NAME_BYTES, "index/index_%06u_%06u.bin", number, edition);
        break;
    }
}

bool vdb_segment_has_editions(vdb_block_file_kind kind)
{
    return kind == VDB_BLOCK_FILE_DEAD || kind == VDB_BLOCK_FILE_INDEX;
}

/* "_" and digits as "%06u" prints them; steps over them. */
static bool parse_number(const char **text, uint32_t *out)
{
    const char *p = *text;
    uint64_t value = 0;
    if (*p++ != '_') {
        return false;
    }
    for (; *p >= '0' && *p <= '9' && value <= UINT32_MAX; p++) {
        value = value * 10 + (uint64_t)(*p - '0');
    }
    *text = p;
    *out = (uint32_t)value;
    return value <= UINT32_MAX;
}

bool vdb_segment_parse_name(const char *name, vdb_block_file_kind *kind, uint32_t *number, uint32_t *edition)
{
    static const struct {
        const char *word;
        vdb_block_file_kind kind;
    } words[] = {
        {"vectors", VDB_BLOCK_FILE_VECTORS},
        {"meta", VDB_BLOCK_FILE_META},
        {"dead", VDB_BLOCK_FILE_DEAD},
        {"index", VDB_BLOCK_FILE_INDEX},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t bytes = strlen(words[i].word);
        if (strncmp(name, words[i].word, bytes) != 0) {
            continue;
        }
        const char *rest = name + bytes;
        *kind = words[i].kind;
        *edition = 0;
        if (!parse_number(&rest, number) ||
            (vdb_segment_has_editions(*kind) && (!parse_number(&rest, edition) || *edition == 0))) {
            return false;
        }
        /* One spelling per name: what is accepted is what would be written. */
        char path[VDB_SEGMENT_NAME_BYTES];
        vdb_segment_file_name(path, *kind, *number, *edition);
        return strcmp(strchr(path, '/') + 1, name) == 0;
    }
    return false;
}

/* ---- Opening ---- */

vdb_status vdb_segment_find_part(const struct vdb_block_file *file, uint32_t id, uint64_t bytes,
                                 struct vdb_segment_part *out, struct vdb_err *err)
{
    VDB_TRY(vdb_block_file_section(file, id, &out->data, &out->bytes, err));
    if (out->bytes != bytes) {
        return vdb_block_file_damaged(file, err, out->data, "section %u has %" PRIu64 " bytes, expected %" PRIu64,
                                      id, out->bytes, bytes);
    }
    return VDB_OK;
}

static vdb_status open_file(const struct vdb_segment *segment, vdb_block_file_kind kind,
                            const struct vdb_stamp *stamp, struct vdb_block_file **out, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_block_file_name name = {.kind = kind, .number = segment->info.number};
    memcpy(name.uuid, segment->uuid, VDB_UUID_BYTES);
    VDB_TRY(vdb_segment_path(path, segment->dir, kind, segment->info.number, 0, err));
    return vdb_block_file_open(segment->env, path, &name, stamp, out, err);
}

static vdb_status open_vectors(struct vdb_segment *segment, struct vdb_err *err)
{
    struct vdb_segment_part head;
    VDB_TRY(open_file(segment, VDB_BLOCK_FILE_VECTORS, &segment->info.vectors, &segment->vectors, err));
    VDB_TRY(vdb_segment_find_part(segment->vectors, VDB_VECTORS_HEAD, VDB_SEGMENT_HEAD_BYTES, &head, err));
    VDB_TRY(vdb_block_file_need(segment->vectors, head.data, head.bytes, err));
    const struct {
        const char *what;
        uint32_t at;
        uint32_t expected;
    } fields[] = {
        {"the dimension", VDB_VH_DIMENSION, segment->dimension},
        {"the element", VDB_VH_ELEMENT, (uint32_t)segment->element},
        {"the stride", VDB_VH_STRIDE, (uint32_t)segment->stride},
        {"the number of rows", VDB_VH_ROWS, segment->rows},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        uint32_t value = vdb_load_u32(head.data + fields[i].at);
        if (value != fields[i].expected) {
            return vdb_block_file_damaged(segment->vectors, err, head.data + fields[i].at,
                                          "%s is %u, expected %u", fields[i].what, value, fields[i].expected);
        }
    }
    if (!vdb_segment_all_zero(head.data + VDB_VH_ZERO, VDB_SEGMENT_HEAD_BYTES - VDB_VH_ZERO)) {
        return vdb_block_file_damaged(segment->vectors, err, head.data + VDB_VH_ZERO,
                                      "reserved bytes are not zero");
    }
    VDB_TRY(vdb_segment_find_part(segment->vectors, VDB_VECTORS_ROWS, (uint64_t)segment->rows * segment->stride,
                                  &segment->vector_rows, err));
    /* Until someone asks for all of them. */
    vdb_block_file_advise(segment->vectors, segment->vector_rows.data, segment->vector_rows.bytes,
                          VDB_ACCESS_RANDOM);
    return VDB_OK;
}

static vdb_status open_meta(struct vdb_segment *segment, struct vdb_err *err)
{
    struct vdb_segment_part head;
    const uint64_t rows = segment->rows;
    VDB_TRY(open_file(segment, VDB_BLOCK_FILE_META, &segment->info.meta, &segment->meta, err));
    struct vdb_block_file *file = segment->meta;
    VDB_TRY(vdb_segment_find_part(file, VDB_META_HEAD, VDB_SEGMENT_HEAD_BYTES, &head, err));
    VDB_TRY(vdb_block_file_need(file, head.data, head.bytes, err));
    segment->meta_head = head;
    if (vdb_load_u32(head.data + VDB_MH_ROWS) != segment->rows) {
        return vdb_block_file_damaged(file, err, head.data + VDB_MH_ROWS, "the number of rows is %u, expected %u",
                                      vdb_load_u32(head.data + VDB_MH_ROWS), segment->rows);
    }
    segment->text_ids = vdb_load_u32(head.data + VDB_MH_TEXT_IDS);
    if (segment->text_ids > segment->rows) {
        return vdb_block_file_damaged(file, err, head.data + VDB_MH_TEXT_IDS, "%u text ids in %u rows",
                                      segment->text_ids, segment->rows);
    }
    segment->blocks = vdb_load_u32(head.data + VDB_MH_BLOCKS);
    if (segment->blocks < 1 || segment->blocks > segment->rows) {
        return vdb_block_file_damaged(file, err, head.data + VDB_MH_BLOCKS, "%u blocks of metadata for %u rows",
                                      segment->blocks, segment->rows);
    }
    if (!vdb_segment_all_zero(head.data + VDB_MH_ZERO, VDB_SEGMENT_HEAD_BYTES - VDB_MH_ZERO)) {
        return vdb_block_file_damaged(file, err, head.data + VDB_MH_ZERO, "reserved bytes are not zero");
    }
    segment->hash_seed = vdb_load_u64(head.data + VDB_MH_HASH_SEED);
    segment->hash_capacity = vdb_segment_hash_capacity(segment->rows);
    segment->row_mask = vdb_segment_row_mask(segment->rows);
    VDB_TRY(vdb_block_file_section(file, VDB_META_TEXT, &segment->text.data, &segment->text.bytes, err));
    VDB_TRY(vdb_segment_find_part(file, VDB_META_TABLE, ((uint64_t)segment->blocks + 1) * VDB_MT_ENTRY_BYTES,
                                  &segment->table, err));
    VDB_TRY(vdb_segment_find_part(file, VDB_META_IDS, rows * 8, &segment->ids, err));
    VDB_TRY(vdb_segment_find_part(file, VDB_META_ID_BYTES, segment->text_ids > 0 ? rows : 0, &segment->id_bytes,
                                  err));
    VDB_TRY(vdb_segment_find_part(file, VDB_META_ID_TEXT, vdb_load_u64(head.data + VDB_MH_ID_TEXT_BYTES),
                                  &segment->id_text, err));
    VDB_TRY(vdb_segment_find_part(file, VDB_META_SEQ, rows * 8, &segment->seqs, err));
    VDB_TRY(
        vdb_segment_find_part(file, VDB_META_HASH, (uint64_t)segment->hash_capacity * 4, &segment->hash, err));
    /* Ids, sequence numbers and the hash table lie side by side, and are looked up one at a time. */
    vdb_block_file_advise(file, segment->ids.data, (size_t)(head.data - segment->ids.data), VDB_ACCESS_RANDOM);
    return VDB_OK;
}

vdb_status vdb_segment_open(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                            const struct vdb_schema *schema, const struct vdb_segment_info *info,
                            struct vdb_segment **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = NULL;
    if (info->rows < 1 || info->rows > VDB_LIMIT_COLLECTION_POINTS_MAX || info->dead_rows > info->rows) {
        return vdb_err_set(err, VDB_CORRUPT, "segment %u has %u rows, %u of them dead; 1 to %u are allowed",
                           info->number, info->rows, info->dead_rows, VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    struct vdb_segment *segment = vdb_calloc(1, sizeof *segment);
    if (segment == NULL) {
        return vdb_err_no_memory(err, "a segment");
    }
    atomic_init(&segment->refs, 1);
    segment->env = env;
    segment->info = *info;
    segment->index_reserved = info->index_edition;
    segment->rows = info->rows;
    segment->dimension = schema->dimension;
    segment->element = schema->element;
    segment->stride = vdb_segment_stride_of(schema->element, schema->dimension);
    memcpy(segment->uuid, uuid, VDB_UUID_BYTES);
    segment->dir = vdb_strndup(dir, strlen(dir));
    if (segment->dir == NULL) {
        status = vdb_err_no_memory(err, "a segment's directory");
        goto cleanup;
    }
    VDB_CHECK(open_vectors(segment, err));
    VDB_CHECK(open_meta(segment, err));
    VDB_CHECK(vdb_segment_open_ends(segment, err));
    *out = segment;
    segment = NULL;
cleanup:
    vdb_segment_unref(segment);
    return status;
}

void vdb_segment_ref(struct vdb_segment *segment)
{
    uint32_t before = atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
}

void vdb_segment_unref(struct vdb_segment *segment)
{
    if (segment == NULL) {
        return;
    }
    uint32_t before = atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1) {
        vdb_companion_unref(segment->companion);
        vdb_block_file_close(segment->vectors);
        vdb_block_file_close(segment->meta);
        vdb_segment_close_ends(segment);
        free(segment->dir);
        free(segment);
    }
}

uint32_t vdb_segment_reserve_index(struct vdb_segment *segment)
{
    return segment->index_reserved < UINT32_MAX ? ++segment->index_reserved : 0;
}

uint32_t vdb_segment_reserved_index(const struct vdb_segment *segment)
{
    return segment->index_reserved;
}

struct vdb_companion *vdb_segment_companion(const struct vdb_segment *segment)
{
    return segment->companion;
}

struct vdb_companion *vdb_segment_swap_companion(struct vdb_segment *segment, struct vdb_companion *companion)
{
    struct vdb_companion *before = segment->companion;
    segment->companion = companion;
    return before;
}

const struct vdb_segment_info *vdb_segment_info(const struct vdb_segment *segment)
{
    return &segment->info;
}

uint32_t vdb_segment_rows(const struct vdb_segment *segment)
{
    return segment->rows;
}

size_t vdb_segment_stride(const struct vdb_segment *segment)
{
    return segment->stride;
}

vdb_element vdb_segment_element(const struct vdb_segment *segment)
{
    return segment->element;
}

uint32_t vdb_segment_dimension(const struct vdb_segment *segment)
{
    return segment->dimension;
}

/* ---- Ids ---- */

vdb_status vdb_segment_id(struct vdb_segment *segment, uint32_t row, struct vdb_id *out, struct vdb_err *err)
{
    assert(row < segment->rows);
    struct vdb_block_file *file = segment->meta;
    const uint8_t *value_at = segment->ids.data + (size_t)row * 8;
    VDB_TRY(vdb_block_file_need(file, value_at, 8, err));
    uint64_t value = vdb_load_u64(value_at);
    uint32_t bytes = 0;
    if (segment->text_ids > 0) {
        VDB_TRY(vdb_block_file_need(file, segment->id_bytes.data + row, 1, err));
        bytes = segment->id_bytes.data[row];
    }
    if (bytes == 0) {
        *out = (struct vdb_id){.number = value};
        return VDB_OK;
    }
    if (value > segment->id_text.bytes || bytes > segment->id_text.bytes - value) {
        return vdb_block_file_damaged(
            file, err, value_at, "the id of row %u begins at %" PRIu64 " and has %u bytes; there are %" PRIu64,
            row, value, bytes, segment->id_text.bytes);
    }
    const uint8_t *text = segment->id_text.data + value;
    VDB_TRY(vdb_block_file_need(file, text, bytes, err));
    *out = (struct vdb_id){.text = (const char *)text, .text_bytes = bytes};
    return VDB_OK;
}

vdb_status vdb_segment_find(struct vdb_segment *segment, const struct vdb_id *id, uint32_t *row,
                            struct vdb_err *err)
{
    const uint64_t hash = vdb_segment_hash(segment->hash_seed, id);
    const uint32_t row_mask = segment->row_mask;
    const uint32_t tag = (uint32_t)(hash >> 32) & ~row_mask;
    *row = VDB_SLOT_NONE;
    /* The bound holds against a table without an empty slot, which no writer makes. */
    for (uint32_t probe = 0; probe < segment->hash_capacity; probe++) {
        size_t slot = ((uint32_t)hash + probe) & (segment->hash_capacity - 1);
        const uint8_t *at = segment->hash.data + slot * 4;
        VDB_TRY(vdb_block_file_need(segment->meta, at, 4, err));
        uint32_t entry = vdb_load_u32(at);
        if (entry == 0) {
            return VDB_OK;
        }
        if ((entry & ~row_mask) != tag) {
            continue;
        }
        uint32_t candidate = (entry & row_mask) - 1;
        if (candidate >= segment->rows) {
            return vdb_block_file_damaged(segment->meta, err, at, "slot %zu of the table of ids is for no row",
                                          slot);
        }
        struct vdb_id found;
        VDB_TRY(vdb_segment_id(segment, candidate, &found, err));
        if (vdb_id_equal(id, &found)) {
            *row = candidate;
            return VDB_OK;
        }
    }
    return vdb_block_file_damaged(segment->meta, err, segment->hash.data, "the table of ids has no empty slot");
}

vdb_status vdb_segment_seq_from(struct vdb_segment *segment, uint32_t row, uint64_t *out, struct vdb_err *err)
{
    assert(row < segment->rows);
    const uint8_t *at = segment->seqs.data + (size_t)row * 8;
    VDB_TRY(vdb_block_file_need(segment->meta, at, 8, err));
    *out = vdb_load_u64(at);
    return VDB_OK;
}

/* ---- Vectors ---- */

vdb_status vdb_segment_vectors(struct vdb_segment *segment, const void **out, struct vdb_err *err)
{
    *out = NULL;
    if (!atomic_load_explicit(&segment->vectors_good, memory_order_relaxed)) {
        const struct vdb_segment_part *rows = &segment->vector_rows;
        vdb_block_file_advise(segment->vectors, rows->data, rows->bytes, VDB_ACCESS_SEQUENTIAL);
        vdb_status status = vdb_block_file_need(segment->vectors, rows->data, rows->bytes, err);
        vdb_block_file_advise(segment->vectors, rows->data, rows->bytes, VDB_ACCESS_NORMAL);
        VDB_TRY(status);
        atomic_store_explicit(&segment->vectors_good, true, memory_order_relaxed);
    }
    *out = segment->vector_rows.data;
    return VDB_OK;
}

vdb_status vdb_segment_vector(struct vdb_segment *segment, uint32_t row, const void **out, struct vdb_err *err)
{
    assert(row < segment->rows);
    const uint8_t *at = segment->vector_rows.data + (size_t)row * segment->stride;
    *out = NULL;
    VDB_TRY(vdb_block_file_need(segment->vectors, at, segment->stride, err));
    *out = at;
    return VDB_OK;
}

void vdb_segment_advise(const struct vdb_segment *segment, vdb_access access)
{
    vdb_block_file_advise(segment->vectors, segment->vector_rows.data, segment->vector_rows.bytes, access);
    vdb_block_file_advise(segment->meta, segment->text.data, segment->text.bytes, access);
}
