/* block_file.c: writing, opening and checking a block file. docs/format.md, section 5, is normative; this is its
 * code. See block_file.h for B1..B4.
 */
#include "block_file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bitset.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"

enum {
    BLOCK_FORMAT = 1, /* of these files: what this build writes, and the newest it reads */
    HEADER_BYTES = VDB_BLOCK_FILE_ALIGN_BYTES,
    BLOCK_BYTES = VDB_BLOCK_FILE_BLOCK_BYTES,
    BLOCK_SUM_BYTES = 4,
    SECTION_BYTES = 24,
    FOOTER_BYTES = 64,
    SECTION_ID_MAX = 65535,
    WRITE_BYTES = 1 << 20, /* per write; a whole number of blocks */
    RUN_BLOCKS_MAX = 16,   /* per touch: one request of 1 MiB to the disk */
};

/* Offsets in the header. */
enum {
    H_MAGIC = 0,
    H_FORMAT = 8,
    H_MIN_READER = 12,
    H_FEATURES = 16,
    H_UUID = 24,
    H_KIND = 40,
    H_NUMBER = 44,
    H_ZERO = 48,
    H_CRC = HEADER_BYTES - 4,
};

/* Offsets in the section table's entries. */
enum { S_ID = 0, S_ZERO = 4, S_OFFSET = 8, S_BYTES = 16 };

/* Offsets in the footer. */
enum {
    F_MAGIC = 0,
    F_DATA_BYTES = 8,
    F_BLOCKS = 16,
    F_SECTIONS = 20,
    F_HEADER_CRC = 24,
    F_ZERO = 28,
    F_CRC = FOOTER_BYTES - 4,
};

static const uint8_t header_magic[8] = {'V', 'D', 'B', 'B', 'L', 'K', '\r', '\n'};
static const uint8_t footer_magic[8] = {'V', 'D', 'B', 'E', 'N', 'D', '\r', '\n'};

struct section {
    uint32_t id;
    uint64_t offset;
    uint64_t bytes;
};

static uint64_t align(uint64_t offset)
{
    return (offset + VDB_BLOCK_FILE_ALIGN_BYTES - 1) & ~(uint64_t)(VDB_BLOCK_FILE_ALIGN_BYTES - 1);
}

static bool all_zero(const uint8_t *p, size_t bytes)
{
    return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

/* ---- Writing ---- */

struct vdb_block_writer {
    struct vdb_env *env;
    struct vdb_file *file;
    uint8_t *buffer;  /* WRITE_BYTES, for the file's bytes from `written` on */
    size_t buffered;  /* bytes in it */
    uint64_t written; /* a multiple of WRITE_BYTES until the end */
    uint32_t *sums;   /* of the blocks written */
    size_t sum_count;
    size_t sum_capacity;
    struct section sections[VDB_BLOCK_FILE_SECTIONS_MAX];
    uint32_t section_count;
    uint32_t header_crc;
};

static uint64_t position(const struct vdb_block_writer *writer)
{
    return writer->written + writer->buffered;
}

static void encode_header(const struct vdb_block_file_name *name, uint8_t out[HEADER_BYTES])
{
    memset(out, 0, HEADER_BYTES);
    memcpy(out + H_MAGIC, header_magic, sizeof header_magic);
    vdb_store_u32(out + H_FORMAT, BLOCK_FORMAT);
    vdb_store_u32(out + H_MIN_READER, BLOCK_FORMAT);
    memcpy(out + H_UUID, name->uuid, VDB_UUID_BYTES);
    vdb_store_u32(out + H_KIND, name->kind);
    vdb_store_u32(out + H_NUMBER, name->number);
    vdb_store_u32(out + H_CRC, vdb_crc32c(0, out, H_CRC));
}

/* What is there is unlinked, not emptied: it may be mapped (E5), or have another name that still counts (E6). */
static vdb_status create_file(struct vdb_env *env, const char *path, struct vdb_file **out, struct vdb_err *err)
{
    const unsigned flags = VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_EXCLUSIVE;
    vdb_status status = env->ops->open(env, path, flags, out, err);
    if (status == VDB_EXISTS) {
        VDB_TRY(env->ops->unlink(env, path, err));
        status = env->ops->open(env, path, flags, out, err);
    }
    return status;
}

vdb_status vdb_block_writer_create(struct vdb_env *env, const char *path, const struct vdb_block_file_name *name,
                                   struct vdb_block_writer **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = NULL;
    struct vdb_block_writer *writer = vdb_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return vdb_err_no_memory(err, "a file's writer");
    }
    writer->env = env;
    writer->buffer = malloc(WRITE_BYTES);
    if (writer->buffer == NULL) {
        status = vdb_err_no_memory(err, "a file's write buffer");
        goto cleanup;
    }
    encode_header(name, writer->buffer);
    writer->buffered = HEADER_BYTES;
    writer->header_crc = vdb_load_u32(writer->buffer + H_CRC);
    VDB_CHECK(create_file(env, path, &writer->file, err));
    *out = writer;
    writer = NULL;
cleanup:
    vdb_block_writer_destroy(writer);
    return status;
}

/* Writes the buffer out. Its blocks are summed first, while they are in the cache; only the file's last may be
 * short. */
static vdb_status flush(struct vdb_block_writer *writer, struct vdb_err *err)
{
    if (writer->buffered == 0) {
        return VDB_OK;
    }
    size_t blocks = (writer->buffered + BLOCK_BYTES - 1) / BLOCK_BYTES;
    if (writer->sum_capacity - writer->sum_count < blocks) {
        size_t capacity = 2 * writer->sum_capacity + WRITE_BYTES / BLOCK_BYTES;
        void *sums = writer->sums;
        if (!vdb_realloc_array(&sums, capacity, sizeof *writer->sums)) {
            return vdb_err_no_memory(err, "a file's block checksums");
        }
        writer->sums = sums;
        writer->sum_capacity = capacity;
    }
    for (size_t at = 0; at < writer->buffered; at += BLOCK_BYTES) {
        size_t bytes = writer->buffered - at < BLOCK_BYTES ? writer->buffered - at : BLOCK_BYTES;
        writer->sums[writer->sum_count++] = vdb_crc32c(0, writer->buffer + at, bytes);
    }
    VDB_TRY(writer->env->ops->write_at(writer->env, writer->file, writer->buffer, writer->buffered,
                                       writer->written, err));
    writer->written += writer->buffered;
    writer->buffered = 0;
    return VDB_OK;
}

/* data NULL: zeros. */
static vdb_status append(struct vdb_block_writer *writer, const uint8_t *data, size_t bytes, struct vdb_err *err)
{
    while (bytes > 0) {
        size_t room = WRITE_BYTES - writer->buffered;
        size_t part = bytes < room ? bytes : room;
        if (data != NULL) {
            memcpy(writer->buffer + writer->buffered, data, part);
            data += part;
        } else {
            memset(writer->buffer + writer->buffered, 0, part);
        }
        writer->buffered += part;
        bytes -= part;
        if (writer->buffered == WRITE_BYTES) {
            VDB_TRY(flush(writer, err));
        }
    }
    return VDB_OK;
}

static vdb_status end_section(struct vdb_block_writer *writer, struct vdb_err *err)
{
    if (writer->section_count > 0) {
        struct section *section = &writer->sections[writer->section_count - 1];
        section->bytes = position(writer) - section->offset;
    }
    return append(writer, NULL, align(position(writer)) - position(writer), err);
}

vdb_status vdb_block_writer_section(struct vdb_block_writer *writer, uint32_t id, struct vdb_err *err)
{
    assert(id >= 1 && id <= SECTION_ID_MAX && writer->section_count < VDB_BLOCK_FILE_SECTIONS_MAX);
    VDB_TRY(end_section(writer, err));
    for (uint32_t i = 0; i < writer->section_count; i++) {
        assert(writer->sections[i].id != id);
    }
    writer->sections[writer->section_count++] = (struct section){.id = id, .offset = position(writer)};
    return VDB_OK;
}

vdb_status vdb_block_writer_append(struct vdb_block_writer *writer, const void *data, size_t bytes,
                                   struct vdb_err *err)
{
    assert(writer->section_count > 0);
    return bytes > 0 ? append(writer, data, bytes, err) : VDB_OK;
}

vdb_status vdb_block_writer_append_zeros(struct vdb_block_writer *writer, size_t bytes, struct vdb_err *err)
{
    assert(writer->section_count > 0);
    return append(writer, NULL, bytes, err);
}

uint64_t vdb_block_writer_bytes(const struct vdb_block_writer *writer)
{
    return writer->written;
}

vdb_status vdb_block_writer_finish(struct vdb_block_writer *writer, struct vdb_stamp *stamp, struct vdb_err *err)
{
    struct vdb_buf tables = {0};
    vdb_status status = VDB_OK;
    VDB_CHECK(end_section(writer, err));
    VDB_CHECK(flush(writer, err));
    uint64_t data_bytes = writer->written;
    vdb_buf_put(&tables, writer->sums, writer->sum_count * BLOCK_SUM_BYTES);
    for (uint32_t i = 0; i < writer->section_count; i++) {
        vdb_buf_put_u32(&tables, writer->sections[i].id);
        vdb_buf_put_u32(&tables, 0);
        vdb_buf_put_u64(&tables, writer->sections[i].offset);
        vdb_buf_put_u64(&tables, writer->sections[i].bytes);
    }
    vdb_buf_put(&tables, footer_magic, sizeof footer_magic);
    vdb_buf_put_u64(&tables, data_bytes);
    vdb_buf_put_u32(&tables, (uint32_t)writer->sum_count);
    vdb_buf_put_u32(&tables, writer->section_count);
    vdb_buf_put_u32(&tables, writer->header_crc);
    vdb_buf_put_zeros(&tables, F_CRC - F_ZERO);
    uint32_t crc = vdb_crc32c(0, tables.data, tables.bytes);
    vdb_buf_put_u32(&tables, crc);
    if (tables.failed) {
        status = vdb_err_no_memory(err, "a file's tables");
        goto cleanup;
    }
    VDB_CHECK(writer->env->ops->write_at(writer->env, writer->file, tables.data, tables.bytes, data_bytes, err));
    VDB_CHECK(writer->env->ops->sync(writer->env, writer->file, err));
    writer->written += tables.bytes;
    *stamp = (struct vdb_stamp){.bytes = writer->written, .crc = crc};
cleanup:
    vdb_buf_fini(&tables);
    return status;
}

void vdb_block_writer_destroy(struct vdb_block_writer *writer)
{
    if (writer != NULL) {
        writer->env->ops->close(writer->env, writer->file);
        free(writer->buffer);
        free(writer->sums);
        free(writer);
    }
}

/* ---- Opening ---- */

struct vdb_block_file {
    struct vdb_env *env;
    char *path;
    struct vdb_map map;
    uint64_t data_bytes; /* header and sections: what is under block checksums */
    uint32_t block_count;
    uint32_t section_count;
    uint32_t header_crc; /* as the footer has it */
    struct section sections[VDB_BLOCK_FILE_SECTIONS_MAX];
    const uint8_t *sums;    /* in the map */
    _Atomic uint64_t *good; /* a bit per block that was found good */
};

void vdb_block_file_write_damage(const struct vdb_block_file *file, struct vdb_err *err, const void *at,
                                 const char *format, ...)
{
    char text[VDB_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    uint64_t offset = (uint64_t)((const uint8_t *)at - file->map.data);
    vdb_err_write(err, VDB_CORRUPT, "\"%s\" at byte %" PRIu64 ": %s", file->path, offset, text);
}

static vdb_status touch(const struct vdb_block_file *file, uint64_t offset, uint64_t bytes, struct vdb_err *err)
{
    return file->env->ops->touch(file->env, &file->map, offset, bytes, err);
}

/* A format that readers of this one may read keeps all that is checked here. */
static vdb_status check_header(const struct vdb_block_file *file, const struct vdb_block_file_name *name,
                               struct vdb_err *err)
{
    const uint8_t *h = file->map.data;
    if (memcmp(h + H_MAGIC, header_magic, sizeof header_magic) != 0) {
        return vdb_block_file_damaged(file, err, h, "magic number mismatch, not a block file");
    }
    if (vdb_crc32c(0, h, H_CRC) != vdb_load_u32(h + H_CRC)) {
        return vdb_block_file_damaged(file, err, h, "header: checksum mismatch");
    }
    uint32_t format = vdb_load_u32(h + H_FORMAT);
    uint32_t min_reader = vdb_load_u32(h + H_MIN_READER);
    uint64_t features = vdb_load_u64(h + H_FEATURES);
    if (min_reader > BLOCK_FORMAT || features != 0) {
        return vdb_err_set(err, VDB_VERSION,
                           "\"%s\" at byte 0: block file format %u for readers of %u or later, feature bits "
                           "0x%" PRIx64 "; this build reads up to %d without features",
                           file->path, format, min_reader, features, BLOCK_FORMAT);
    }
    if (format == 0 || min_reader == 0 || min_reader > format) {
        return vdb_block_file_damaged(file, err, h + H_FORMAT, "format %u for readers of %u or later", format,
                                      min_reader);
    }
    if (vdb_load_u32(h + H_KIND) != (uint32_t)name->kind) {
        return vdb_block_file_damaged(file, err, h + H_KIND, "a file of kind %u, expected %d",
                                      vdb_load_u32(h + H_KIND), (int)name->kind);
    }
    if (memcmp(h + H_UUID, name->uuid, VDB_UUID_BYTES) != 0) {
        return vdb_block_file_damaged(file, err, h + H_UUID, "a file of another collection");
    }
    if (vdb_load_u32(h + H_NUMBER) != name->number) {
        return vdb_block_file_damaged(file, err, h + H_NUMBER, "a file of segment %u, expected %u",
                                      vdb_load_u32(h + H_NUMBER), name->number);
    }
    if (!all_zero(h + H_ZERO, H_CRC - H_ZERO)) {
        return vdb_block_file_damaged(file, err, h + H_ZERO, "header: reserved bytes are not zero");
    }
    return VDB_OK;
}

/* B4: each section begins where the one before ends, rounded up, and the last one's end is the end of the data. */
static vdb_status read_sections(struct vdb_block_file *file, const uint8_t *table, struct vdb_err *err)
{
    uint64_t next = HEADER_BYTES;
    for (uint32_t i = 0; i < file->section_count; i++) {
        const uint8_t *entry = table + (size_t)i * SECTION_BYTES;
        struct section section = {
            .id = vdb_load_u32(entry + S_ID),
            .offset = vdb_load_u64(entry + S_OFFSET),
            .bytes = vdb_load_u64(entry + S_BYTES),
        };
        bool fits = section.offset == next && next <= file->data_bytes &&
                    section.bytes <= file->data_bytes - section.offset;
        if (!fits || section.id < 1 || section.id > SECTION_ID_MAX || vdb_load_u32(entry + S_ZERO) != 0) {
            return vdb_block_file_damaged(file, err, entry,
                                          "section %u of %" PRIu64 " bytes at %" PRIu64 ", expected at %" PRIu64
                                          " and within %" PRIu64,
                                          section.id, section.bytes, section.offset, next, file->data_bytes);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (file->sections[j].id == section.id) {
                return vdb_block_file_damaged(file, err, entry, "section %u is listed twice", section.id);
            }
        }
        file->sections[i] = section;
        next = align(section.offset + section.bytes);
    }
    if (next != file->data_bytes) {
        return vdb_block_file_damaged(file, err, table,
                                      "sections end at byte %" PRIu64 ", the footer says %" PRIu64, next,
                                      file->data_bytes);
    }
    return VDB_OK;
}

/* B3 */
static vdb_status check_tables(struct vdb_block_file *file, struct vdb_err *err)
{
    const uint64_t file_bytes = file->map.bytes;
    const uint8_t *f = file->map.data + file_bytes - FOOTER_BYTES;
    if (memcmp(f + F_MAGIC, footer_magic, sizeof footer_magic) != 0) {
        return vdb_block_file_damaged(file, err, f, "footer: magic number mismatch");
    }
    uint64_t data_bytes = vdb_load_u64(f + F_DATA_BYTES);
    uint64_t blocks = vdb_load_u32(f + F_BLOCKS);
    uint64_t sections = vdb_load_u32(f + F_SECTIONS);
    uint64_t tables_bytes = blocks * BLOCK_SUM_BYTES + sections * SECTION_BYTES + FOOTER_BYTES;
    if (data_bytes < HEADER_BYTES || data_bytes % VDB_BLOCK_FILE_ALIGN_BYTES != 0 || data_bytes > file_bytes ||
        tables_bytes != file_bytes - data_bytes || blocks != (data_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES ||
        sections > VDB_BLOCK_FILE_SECTIONS_MAX) {
        return vdb_block_file_damaged(file, err, f,
                                      "footer: %" PRIu64 " bytes of data, %" PRIu64 " blocks and %" PRIu64
                                      " sections do not make a file of %" PRIu64 " bytes",
                                      data_bytes, blocks, sections, file_bytes);
    }
    const uint8_t *tables = file->map.data + data_bytes;
    VDB_TRY(touch(file, data_bytes, tables_bytes, err));
    if (vdb_crc32c(0, tables, tables_bytes - 4) != vdb_load_u32(f + F_CRC)) {
        return vdb_block_file_damaged(file, err, tables, "tables and footer: checksum mismatch");
    }
    if (!all_zero(f + F_ZERO, F_CRC - F_ZERO)) {
        return vdb_block_file_damaged(file, err, f + F_ZERO, "footer: reserved bytes are not zero");
    }
    file->data_bytes = data_bytes;
    file->block_count = (uint32_t)blocks;
    file->section_count = (uint32_t)sections;
    file->header_crc = vdb_load_u32(f + F_HEADER_CRC);
    file->sums = tables;
    return read_sections(file, tables + blocks * BLOCK_SUM_BYTES, err);
}

static vdb_status check_stamp(const struct vdb_block_file *file, const struct vdb_stamp *stamp,
                              struct vdb_err *err)
{
    const uint8_t *data = file->map.data;
    uint64_t bytes = file->map.bytes;
    if (stamp != NULL && bytes != stamp->bytes) {
        return vdb_block_file_damaged(file, err, data + (bytes < stamp->bytes ? bytes : stamp->bytes),
                                      "the file has %" PRIu64 " bytes, its manifest says %" PRIu64, bytes,
                                      stamp->bytes);
    }
    if (bytes < HEADER_BYTES + FOOTER_BYTES) {
        return vdb_block_file_damaged(file, err, data + bytes,
                                      "the file has %" PRIu64 " bytes, the shortest has %d", bytes,
                                      HEADER_BYTES + FOOTER_BYTES);
    }
    VDB_TRY(touch(file, 0, HEADER_BYTES, err));
    VDB_TRY(touch(file, bytes - FOOTER_BYTES, FOOTER_BYTES, err));
    return VDB_OK;
}

static vdb_status check_file(struct vdb_block_file *file, const struct vdb_block_file_name *name,
                             const struct vdb_stamp *stamp, struct vdb_err *err)
{
    VDB_TRY(check_stamp(file, stamp, err));
    VDB_TRY(check_header(file, name, err));
    VDB_TRY(check_tables(file, err));
    if (file->header_crc != vdb_load_u32(file->map.data + H_CRC)) {
        return vdb_block_file_damaged(file, err, file->map.data,
                                      "the header is not the one that the footer is for");
    }
    const uint8_t *crc = file->map.data + file->map.bytes - FOOTER_BYTES + F_CRC;
    if (stamp != NULL && vdb_load_u32(crc) != stamp->crc) {
        return vdb_block_file_damaged(file, err, crc, "intact, but not the file that the manifest names");
    }
    return VDB_OK;
}

vdb_status vdb_block_file_open(struct vdb_env *env, const char *path, const struct vdb_block_file_name *name,
                               const struct vdb_stamp *stamp, struct vdb_block_file **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = NULL;
    struct vdb_block_file *file = vdb_calloc(1, sizeof *file);
    if (file == NULL) {
        return vdb_err_no_memory(err, "a block file");
    }
    file->env = env;
    file->path = vdb_strndup(path, strlen(path));
    if (file->path == NULL) {
        status = vdb_err_no_memory(err, "a block file's path");
        goto cleanup;
    }
    status = env->ops->map(env, path, &file->map, err);
    if (status == VDB_NOT_FOUND) {
        status = vdb_err_wrap(err, VDB_CORRUPT, "a file that must be there is missing");
    }
    VDB_CHECK(status);
    VDB_CHECK(check_file(file, name, stamp, err));
    file->good = vdb_calloc(vdb_bitset_words(file->block_count), sizeof *file->good);
    if (file->good == NULL) {
        status = vdb_err_no_memory(err, "a block file's set of good blocks");
        goto cleanup;
    }
    *out = file;
    file = NULL;
cleanup:
    vdb_block_file_close(file);
    return status;
}

void vdb_block_file_close(struct vdb_block_file *file)
{
    if (file != NULL) {
        file->env->ops->unmap(file->env, &file->map);
        free(file->path);
        free(file->good);
        free(file);
    }
}

/* ---- Reading ---- */

vdb_status vdb_block_file_section(const struct vdb_block_file *file, uint32_t id, const uint8_t **data,
                                  uint64_t *bytes, struct vdb_err *err)
{
    for (uint32_t i = 0; i < file->section_count; i++) {
        if (file->sections[i].id == id) {
            *data = file->map.data + file->sections[i].offset;
            *bytes = file->sections[i].bytes;
            return VDB_OK;
        }
    }
    *data = NULL;
    *bytes = 0;
    return vdb_block_file_damaged(file, err, file->map.data + file->data_bytes, "the file has no section %u", id);
}

/* Reads blocks first..first+count-1 (count <= RUN_BLOCKS_MAX) and notes the good ones. */
static vdb_status check_run(struct vdb_block_file *file, uint64_t first, uint64_t count, struct vdb_err *err)
{
    uint64_t offset = first * BLOCK_BYTES;
    uint64_t end = (first + count) * BLOCK_BYTES;
    end = end < file->data_bytes ? end : file->data_bytes;
    VDB_TRY(touch(file, offset, end - offset, err));
    for (uint64_t b = first; b < first + count; b++, offset += BLOCK_BYTES) {
        size_t bytes = end - offset < BLOCK_BYTES ? (size_t)(end - offset) : BLOCK_BYTES;
        if (vdb_crc32c(0, file->map.data + offset, bytes) != vdb_load_u32(file->sums + b * BLOCK_SUM_BYTES)) {
            return vdb_block_file_damaged(file, err, file->map.data + offset,
                                          "checksum mismatch in the block of %zu bytes", bytes);
        }
        atomic_fetch_or_explicit(&file->good[b / 64], UINT64_C(1) << (b % 64), memory_order_relaxed);
    }
    return VDB_OK;
}

/* The content never changes, so that the bits order nothing: relaxed. */
static bool is_good(const struct vdb_block_file *file, uint64_t block)
{
    return (atomic_load_explicit(&file->good[block / 64], memory_order_relaxed) >> (block % 64)) & 1;
}

vdb_status vdb_block_file_need(struct vdb_block_file *file, const void *data, size_t bytes, struct vdb_err *err)
{
    if (bytes == 0) {
        return VDB_OK;
    }
    uint64_t offset = (uint64_t)((const uint8_t *)data - file->map.data);
    assert(offset < file->data_bytes && bytes <= file->data_bytes - offset);
    uint64_t last = (offset + bytes - 1) / BLOCK_BYTES;
    for (uint64_t b = offset / BLOCK_BYTES; b <= last;) {
        if (b % 64 == 0 && last - b >= 63 &&
            atomic_load_explicit(&file->good[b / 64], memory_order_relaxed) == UINT64_MAX) {
            b += 64;
        } else if (is_good(file, b)) {
            b++;
        } else {
            uint64_t run = 1;
            while (run < RUN_BLOCKS_MAX && b + run <= last && !is_good(file, b + run)) {
                run++;
            }
            VDB_TRY(check_run(file, b, run, err));
            b += run;
        }
    }
    return VDB_OK;
}

vdb_status vdb_block_file_verify(struct vdb_block_file *file, struct vdb_err *err)
{
    for (uint64_t b = 0; b < file->block_count; b += RUN_BLOCKS_MAX) {
        uint64_t left = file->block_count - b;
        VDB_TRY(check_run(file, b, left < RUN_BLOCKS_MAX ? left : RUN_BLOCKS_MAX, err));
    }
    for (uint32_t i = 0; i < file->section_count; i++) {
        uint64_t end = file->sections[i].offset + file->sections[i].bytes;
        if (!all_zero(file->map.data + end, (size_t)(align(end) - end))) {
            return vdb_block_file_damaged(file, err, file->map.data + end,
                                          "the bytes between this and the next section are not zero");
        }
    }
    const uint8_t *tables = file->map.data + file->data_bytes;
    const uint8_t *crc = file->map.data + file->map.bytes - FOOTER_BYTES + F_CRC;
    VDB_TRY(touch(file, file->data_bytes, file->map.bytes - file->data_bytes, err));
    if (vdb_crc32c(0, tables, (size_t)(crc - tables)) != vdb_load_u32(crc)) {
        return vdb_block_file_damaged(file, err, tables, "tables and footer: checksum mismatch");
    }
    return VDB_OK;
}

void vdb_block_file_advise(const struct vdb_block_file *file, const void *data, size_t bytes, vdb_access access)
{
    file->env->ops->advise(file->env, &file->map, (uint64_t)((const uint8_t *)data - file->map.data), bytes,
                           access);
}

uint64_t vdb_block_file_bytes(const struct vdb_block_file *file)
{
    return file->map.bytes;
}
