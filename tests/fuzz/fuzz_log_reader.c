// floor: storage env
/* fuzz_log_reader.c: any bytes as the segments of a log that is followed. The first byte says whether the same
 * bytes come a second time as the next segment (with a header that follows), and how the second byte tells the sequence
 * number to follow from; the rest are the bytes, tried as they are, and with their checksums set right. What is handed out must be what the walk over the first image gives, and every end must be an answer:
 * nothing yet, damage, a version, or a gap; asked again, it is the same. */
#include "env/env_memory.h"
#include "storage/log_reader.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define REQUIRE(condition)                                                                                       \
    do {                                                                                                         \
        if (!(condition)) {                                                                                      \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                                             \
        }                                                                                                        \
    } while (0)

/* Offsets that docs/format.md fixes. */
enum { HEADER_CRC = 60, RECORD_DURABLE = 32, HANDED_MAX = 1 << 16 };

/* Sets the checksums and the chain right, record after record, as in fuzz_wal.c. Returns the last checksum. */
static uint32_t repair(uint8_t *image, size_t bytes)
{
    struct vdb_wal_header header;
    struct vdb_err err = {0};
    uint32_t crc = 0;
    if (vdb_wal_header_decode(image, bytes, &header, &crc, &err) != VDB_OK) {
        vdb_store_u32(image + HEADER_CRC, crc);
        if (vdb_wal_header_decode(image, bytes, &header, &crc, &err) != VDB_OK) {
            return 0;
        }
    }
    const uint32_t key = crc;
    size_t at = VDB_WAL_HEADER_BYTES;
    while (bytes - at >= VDB_WAL_RECORD_HEADER_BYTES) {
        uint8_t *record = image + at;
        size_t room = (bytes - at) / VDB_WAL_ALIGN * VDB_WAL_ALIGN;
        if (vdb_wal_record_bytes(record) > room) {
            vdb_store_u32(record, (uint32_t)(room - VDB_WAL_RECORD_HEADER_BYTES));
        }
        crc = vdb_wal_record_seal(record, key, at, crc, vdb_load_u64(record + RECORD_DURABLE));
        at += vdb_wal_record_bytes(record);
    }
    return crc;
}

static void put_segment(struct vdb_env *env, const char *path, const uint8_t *data, size_t bytes)
{
    struct vdb_err err = {0};
    struct vdb_file *file;
    REQUIRE(env->ops->open(env, path, VDB_OPEN_WRITE | VDB_OPEN_CREATE, &file, &err) == VDB_OK);
    REQUIRE(env->ops->write_at(env, file, data, bytes, 0, &err) == VDB_OK);
    env->ops->close(env, file);
}

/* Records that the walk over the first segment gives from that number on, before the first that next would refuse. */
static vdb_status count_record(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    uint64_t *left = ctx;
    bool known = record->type == VDB_WAL_BATCH || (record->type == VDB_WAL_MARK && record->payload_bytes == 0);
    if (!known) {
        return vdb_err_set(err, VDB_VERSION, "stop");
    }
    (*left)++;
    return VDB_OK;
}

static void follow(struct vdb_env *env, uint64_t from_seq, const uint8_t *first, size_t first_bytes)
{
    struct vdb_log_from from = {.seq = from_seq};
    struct vdb_log_reader *reader;
    struct vdb_err err = {0};
    vdb_status status = vdb_log_reader_open(env, "wal", &from, &reader, &err);
    if (status != VDB_OK) {
        REQUIRE(reader == NULL && err.text[0] != '\0');
        REQUIRE(status == VDB_CORRUPT || status == VDB_VERSION || status == VDB_NOT_FOUND);
        return;
    }
    uint64_t handed = 0;
    uint64_t seq = from_seq;
    bool more = true;
    struct vdb_wal_record record;
    while (status == VDB_OK && more && handed < HANDED_MAX) {
        status = vdb_log_reader_next(reader, &record, &more, &err);
        if (status == VDB_OK && more) {
            REQUIRE(record.seq == seq++);
            REQUIRE(record.type == VDB_WAL_BATCH || record.type == VDB_WAL_MARK);
            uint32_t sum = 0; /* every byte is there to be read */
            for (uint32_t i = 0; i < record.payload_bytes; i++) {
                sum += record.payload[i];
            }
            REQUIRE(sum <= UINT32_C(255) * record.payload_bytes);
            handed++;
        }
    }
    REQUIRE(status == VDB_OK || status == VDB_CORRUPT || status == VDB_VERSION || status == VDB_NOT_FOUND);
    REQUIRE(vdb_log_reader_seq(reader) == seq);
    REQUIRE(vdb_log_reader_next(reader, &record, &more, &err) == status && !more);
    struct vdb_wal_header header;
    struct vdb_wal_scan scan;
    uint32_t crc;
    uint64_t expected = 0;
    struct vdb_log_reader_stats stats;
    vdb_log_reader_get_stats(reader, &stats);
    if (vdb_wal_header_decode(first, first_bytes, &header, &crc, &err) == VDB_OK && stats.segments == 1 &&
        header.first_seq == from_seq) {
        (void)!vdb_wal_scan_image(first, first_bytes, &header, crc, count_record, &expected, &scan, &err);
        REQUIRE(handed == expected);
    }
    vdb_log_reader_close(reader);
}

static void put_numbered(struct vdb_env *env, uint32_t number, const uint8_t *data, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "wal/segment_%06u.wal", number);
    put_segment(env, path, data, bytes);
}

static void try_input(const uint8_t *data, size_t bytes, bool repaired)
{
    bool two = (data[0] & 2) != 0;
    bool anywhere = (data[0] & 4) != 0;
    size_t first_bytes = bytes - 2;
    uint8_t *image = malloc(first_bytes);
    uint8_t *second = malloc(first_bytes);
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_err err = {0};
    REQUIRE(image != NULL && second != NULL && env != NULL);
    memcpy(image, data + 2, first_bytes);
    uint32_t last = repaired ? repair(image, first_bytes) : 0;
    struct vdb_wal_header header = {.first_seq = 1};
    uint32_t crc;
    bool good = vdb_wal_header_decode(image, first_bytes, &header, &crc, &err) == VDB_OK;
    /* From one of the first records, or from anywhere. */
    uint64_t from_seq = anywhere ? data[1] : header.first_seq + data[1] % 4;
    uint32_t number = header.number;
    REQUIRE(env->ops->mkdir(env, "wal", &err) == VDB_OK);
    put_numbered(env, number, image, first_bytes);
    if (two && number < UINT32_MAX) {
        /* The same bytes again as the next segment, with a header that follows, if it can be made to. */
        struct vdb_wal_scan scan;
        memcpy(second, image, first_bytes);
        if (good && vdb_wal_scan_image(image, first_bytes, &header, crc, NULL, NULL, &scan, &err) == VDB_OK) {
            header.number = number + 1;
            header.chain = repaired ? last : scan.last_crc;
            header.first_seq = scan.next_seq;
            vdb_wal_header_encode(&header, second);
            if (repaired) {
                (void)repair(second, first_bytes);
            }
        }
        put_numbered(env, number + 1, second, first_bytes);
    }
    follow(env, from_seq, image, first_bytes);
    vdb_env_memory_destroy(env);
    free(second);
    free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes >= 2 + VDB_WAL_HEADER_BYTES) {
        try_input(data, bytes, false);
        try_input(data, bytes, true);
    }
    return 0;
}
