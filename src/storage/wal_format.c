/* wal_format.c: encoding, checking and walking a log segment's bytes. See wal_format.h for W1..W4. */
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
    vdb_store_u32(out + H_FORMAT, VDB_FORMAT_VERSION);
    vdb_store_u32(out + H_MIN_READER, VDB_FORMAT_VERSION);
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
    if (min_reader > VDB_FORMAT_VERSION || features != 0) {
        return vdb_err_set(err, VDB_VERSION,
                           "header at byte 0: format %u for readers of %u or later, feature bits 0x%" PRIx64
                           "; this build reads up to %d without features",
                           vdb_load_u32(data + H_FORMAT), min_reader, features, VDB_FORMAT_VERSION);
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

bool vdb_wal_record_at(const uint8_t *image, size_t bytes, uint64_t offset, uint32_t key,
                       struct vdb_wal_record *out, const char **reason)
{
    if (offset > bytes || bytes - offset < VDB_WAL_RECORD_HEADER_BYTES) {
        *reason = "cut short in its header";
        return false;
    }
    const uint8_t *record = image + offset;
    uint32_t length = vdb_load_u32(record + R_LENGTH);
    if (vdb_load_u32(record + R_LENGTH_CHECK) != length_check(length, key, offset)) {
        *reason = "length check mismatch";
        return false;
    }
    if (length > VDB_WAL_PAYLOAD_BYTES_MAX) {
        *reason = "length over the limit";
        return false;
    }
    size_t total = record_bytes(length);
    if (total > bytes - offset) {
        *reason = "cut short in its payload";
        return false;
    }
    uint32_t crc = vdb_crc32c(0, record + R_PREV, total - R_PREV);
    if (crc != vdb_load_u32(record + R_CRC)) {
        *reason = "checksum mismatch";
        return false;
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
    return true;
}

/* W4: is there an intact record past `bad` that says that bytes past `bad` were durable? */
static bool find_proof(const uint8_t *image, size_t bytes, uint32_t key, uint64_t bad, uint64_t *proof)
{
    struct vdb_wal_record record;
    const char *reason;
    for (uint64_t at = bad + VDB_WAL_ALIGN; at < bytes && bytes - at >= VDB_WAL_RECORD_HEADER_BYTES;
         at += VDB_WAL_ALIGN) {
        /* The length check fails at nearly every offset that is no record, so this costs 16 hashed bytes a step.
         */
        if (vdb_wal_record_at(image, bytes, at, key, &record, &reason) && record.durable_bytes > bad) {
            *proof = at;
            return true;
        }
    }
    return false;
}

vdb_status vdb_wal_scan_image(const uint8_t *image, size_t bytes, const struct vdb_wal_header *header,
                              uint32_t header_crc, vdb_wal_record_fn *fn, void *ctx, struct vdb_wal_scan *out,
                              struct vdb_err *err)
{
    *out = (struct vdb_wal_scan){
        .valid_bytes = VDB_WAL_HEADER_BYTES,
        .next_seq = header->first_seq,
        .last_crc = header_crc,
        .reason = "",
    };
    while (out->valid_bytes < bytes) {
        struct vdb_wal_record record;
        if (!vdb_wal_record_at(image, bytes, out->valid_bytes, header_crc, &record, &out->reason)) {
            bool proven = find_proof(image, bytes, header_crc, out->valid_bytes, &out->proof_offset);
            out->end = proven ? VDB_WAL_END_DAMAGED : VDB_WAL_END_TORN;
            return VDB_OK;
        }
        const char *wrong = record.prev != out->last_crc              ? "does not chain to the record before"
                            : record.seq != out->next_seq             ? "sequence number out of order"
                            : record.durable_bytes > out->valid_bytes ? "vouches for bytes past its own place"
                            : !record.zeros_kept                      ? "has reserved bytes that are not zero"
                                                                      : NULL;
        if (wrong != NULL) {
            /* Intact but not the successor (W2, W3, W4): no crash of ours can leave that. */
            out->reason = wrong;
            out->end = VDB_WAL_END_DAMAGED;
            out->proof_offset = out->valid_bytes;
            return VDB_OK;
        }
        if (fn != NULL) {
            vdb_status status = fn(ctx, &record, err);
            if (status != VDB_OK) {
                return vdb_err_wrap(err, status, "record at byte %zu", out->valid_bytes);
            }
        }
        if (record.durable_bytes > out->durable_bytes) {
            out->durable_bytes = record.durable_bytes;
        }
        out->last_crc = record.crc;
        out->next_seq = record.seq + 1;
        out->valid_bytes += record.total_bytes;
        out->records++;
    }
    out->end = VDB_WAL_END_CLEAN;
    return VDB_OK;
}
