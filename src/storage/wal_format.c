/* wal_format.c: encoding and checking a log segment's bytes (the walk over them is in wal_scan.c). See wal_format.h for W1..W4. */
#include "wal_format.h"

#include <inttypes.h>

#include "base/crc32c.h"
#include "base/mem.h"

/* Offsets in the segment header. */
enum {
    H_MAGIC = 0,
    H_FORMAT = 8,
    H_MIN_READER = 12,
    H_FEATURES = 16,
    H_UUID = 24,
    H_NUMBER = 40,
    H_CHAIN = 44,
    H_FIRST_SEQ = 48,
    H_CRC = 60,
};

/* Offsets in a record's header. */
enum {
    R_LENGTH = 0,
    R_LENGTH_CHECK = 4,
    R_CRC = 8,
    R_PREV = 12,
    R_SEQ = 16,
    R_TIMESTAMP = 24,
    R_DURABLE = 32,
    R_TYPE = 40,
    R_ZERO = 41,
};

/* The carriage return and line feed catch a transfer that rewrites line ends. */
static const uint8_t magic[8] = {'V', 'D', 'B', 'W', 'A', 'L', '\r', '\n'};

uint32_t vdb_wal_header_encode(const struct vdb_wal_header *header, uint8_t out[VDB_WAL_HEADER_BYTES])
{
    memset(out, 0, VDB_WAL_HEADER_BYTES);
    memcpy(out + H_MAGIC, magic, sizeof magic);
    vdb_store_u32(out + H_FORMAT, VDB_WAL_FORMAT_VERSION);
    vdb_store_u32(out + H_MIN_READER, VDB_WAL_FORMAT_VERSION);
    memcpy(out + H_UUID, header->uuid, VDB_UUID_BYTES);
    vdb_store_u32(out + H_NUMBER, header->number);
    vdb_store_u32(out + H_CHAIN, header->chain);
    vdb_store_u64(out + H_FIRST_SEQ, header->first_seq);
    uint32_t crc = vdb_crc32c(0, out, H_CRC);
    vdb_store_u32(out + H_CRC, crc);
    return crc;
}

vdb_status vdb_wal_header_decode(const uint8_t *data, size_t bytes, struct vdb_wal_header *out, uint32_t *crc,
                                 struct vdb_err *err)
{
    if (bytes < VDB_WAL_HEADER_BYTES) {
        return vdb_err_set(err, VDB_CORRUPT, "header at byte 0: %zu bytes, a log segment's header has %d", bytes,
                           VDB_WAL_HEADER_BYTES);
    }
    if (memcmp(data + H_MAGIC, magic, sizeof magic) != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "header at byte 0: magic number mismatch, not a log segment");
    }
    *crc = vdb_crc32c(0, data, H_CRC);
    if (*crc != vdb_load_u32(data + H_CRC)) {
        return vdb_err_set(err, VDB_CORRUPT, "header at byte 0: checksum mismatch");
    }
    uint32_t min_reader = vdb_load_u32(data + H_MIN_READER);
    uint64_t features = vdb_load_u64(data + H_FEATURES);
    if (min_reader > VDB_WAL_FORMAT_VERSION || features != 0) {
        return vdb_err_set(err, VDB_VERSION,
                           "header at byte 0: format %u for readers of %u or later, feature bits 0x%" PRIx64
                           "; this build reads up to %d without features",
                           vdb_load_u32(data + H_FORMAT), min_reader, features, VDB_WAL_FORMAT_VERSION);
    }
    memcpy(out->uuid, data + H_UUID, VDB_UUID_BYTES);
    out->number = vdb_load_u32(data + H_NUMBER);
    out->chain = vdb_load_u32(data + H_CHAIN);
    out->first_seq = vdb_load_u64(data + H_FIRST_SEQ);
    return VDB_OK;
}

/* W1 */
static uint32_t length_check(uint32_t length, uint32_t key, uint64_t offset)
{
    uint8_t bound[16];
    vdb_store_u32(bound, length);
    vdb_store_u32(bound + 4, key);
    vdb_store_u64(bound + 8, offset);
    return vdb_crc32c(0, bound, sizeof bound);
}

static size_t record_bytes(uint32_t payload_bytes)
{
    return vdb_round_up((size_t)VDB_WAL_RECORD_HEADER_BYTES + payload_bytes, VDB_WAL_ALIGN);
}

size_t vdb_wal_record_bytes(const uint8_t *record)
{
    return record_bytes(vdb_load_u32(record + R_LENGTH));
}

void vdb_wal_record_put(struct vdb_buf *buf, uint64_t seq, uint64_t timestamp_us, vdb_wal_type type,
                        const void *payload, uint32_t payload_bytes)
{
    uint8_t header[VDB_WAL_RECORD_HEADER_BYTES] = {0};
    vdb_store_u32(header + R_LENGTH, payload_bytes);
    vdb_store_u64(header + R_SEQ, seq);
    vdb_store_u64(header + R_TIMESTAMP, timestamp_us);
    header[R_TYPE] = (uint8_t)type;
    size_t total = record_bytes(payload_bytes);
    /* All or nothing: a record must not be half in the buffer when memory runs out. */
    if (vdb_buf_reserve(buf, total)) {
        vdb_buf_put(buf, header, sizeof header);
        vdb_buf_put(buf, payload, payload_bytes);
        vdb_buf_put_zeros(buf, total - sizeof header - payload_bytes);
    }
}

uint32_t vdb_wal_record_seal(uint8_t *record, uint32_t key, uint64_t offset, uint32_t prev,
                             uint64_t durable_bytes)
{
    uint32_t length = vdb_load_u32(record + R_LENGTH);
    vdb_store_u32(record + R_LENGTH_CHECK, length_check(length, key, offset));
    vdb_store_u32(record + R_PREV, prev);
    vdb_store_u64(record + R_DURABLE, durable_bytes);
    uint32_t crc = vdb_crc32c(0, record + R_PREV, record_bytes(length) - R_PREV);
    vdb_store_u32(record + R_CRC, crc);
    return crc;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

const char *vdb_wal_record_size(const uint8_t *header, uint64_t offset, uint32_t key, size_t *total)
{
    uint32_t length = vdb_load_u32(header + R_LENGTH);
    if (vdb_load_u32(header + R_LENGTH_CHECK) != length_check(length, key, offset)) {
        return "length check mismatch";
    }
    if (length > VDB_WAL_PAYLOAD_BYTES_MAX) {
        return "length over the limit";
    }
    *total = record_bytes(length);
    return NULL;
}

const char *vdb_wal_record_decode(const uint8_t *record, size_t total, struct vdb_wal_record *out)
{
    uint32_t length = vdb_load_u32(record + R_LENGTH);
    if (record_bytes(length) != total) {
        return "length check mismatch"; /* it was another when its size was asked: the file is being written */
    }
    uint32_t crc = vdb_crc32c(0, record + R_PREV, total - R_PREV);
    if (crc != vdb_load_u32(record + R_CRC)) {
        return "checksum mismatch";
    }
    *out = (struct vdb_wal_record){
        .seq = vdb_load_u64(record + R_SEQ),
        .timestamp_us = vdb_load_u64(record + R_TIMESTAMP),
        .durable_bytes = vdb_load_u64(record + R_DURABLE),
        .type = (vdb_wal_type)record[R_TYPE],
        .payload = record + VDB_WAL_RECORD_HEADER_BYTES,
        .payload_bytes = length,
        .crc = crc,
        .prev = vdb_load_u32(record + R_PREV),
        .total_bytes = total,
        .zeros_kept = all_zero(record + R_ZERO, VDB_WAL_RECORD_HEADER_BYTES - R_ZERO) &&
                      all_zero(record + VDB_WAL_RECORD_HEADER_BYTES + length,
                               total - VDB_WAL_RECORD_HEADER_BYTES - length),
    };
    return NULL;
}

bool vdb_wal_record_at(const uint8_t *image, size_t bytes, uint64_t offset, uint32_t key,
                       struct vdb_wal_record *out, const char **reason)
{
    size_t total;
    if (offset > bytes || bytes - offset < VDB_WAL_RECORD_HEADER_BYTES) {
        *reason = "cut short in its header";
        return false;
    }
    *reason = vdb_wal_record_size(image + offset, offset, key, &total);
    if (*reason == NULL && total > bytes - offset) {
        *reason = "cut short in its payload";
    }
    if (*reason == NULL) {
        *reason = vdb_wal_record_decode(image + offset, total, out);
    }
    return *reason == NULL;
}
