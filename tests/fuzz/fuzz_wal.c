// floor: storage
/* fuzz_wal.c: any bytes as a log segment. Checksums stop nearly every mutation, so each input is walked twice: as
 * it is, and with its checksums set right (lengths cut to what is there), which lets mutated fields through to
 * the walk. Payloads are read as batches. What the walk says must hold: the good part, taken alone, walks clean
 * to the same end; a record that it accepts vouches for nothing past itself; damage comes with its proof. */
#include "require.h"

#include "storage/batch.h"
#include "storage/wal_format.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Offsets that docs/format.md fixes. */
enum { HEADER_CRC = 60, RECORD_DURABLE = 32 };

/* Reads a payload as a batch of the dimension that it claims. */
static void read_batch(const uint8_t *payload, size_t bytes)
{
    struct vdb_batch batch;
    struct vdb_op op;
    struct vdb_err err = {0};
    bool more = true;
    uint32_t dimension = bytes >= 4 ? vdb_load_u32(payload) : 1;
    vdb_status status = vdb_batch_open(&batch, payload, bytes, dimension, &err);
    while (status == VDB_OK && more) {
        status = vdb_batch_next(&batch, &op, &more, &err);
    }
    REQUIRE(status == VDB_OK || (status == VDB_CORRUPT && err.text[0] != '\0'));
}

struct walk {
    const uint8_t *image;
    size_t bytes;
    uint64_t next_seq;
    uint64_t records;
    size_t at; /* where the next record must begin */
};

static vdb_status check_record(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    struct walk *walk = ctx;
    (void)err;
    REQUIRE(record->seq == walk->next_seq);
    REQUIRE(record->payload == walk->image + walk->at + VDB_WAL_RECORD_HEADER_BYTES);
    REQUIRE(record->total_bytes % VDB_WAL_ALIGN == 0 && record->total_bytes <= walk->bytes - walk->at);
    REQUIRE(record->payload_bytes <= record->total_bytes - VDB_WAL_RECORD_HEADER_BYTES);
    walk->next_seq++;
    walk->records++;
    walk->at += record->total_bytes;
    read_batch(record->payload, record->payload_bytes);
    return VDB_OK;
}

static void check_image(const uint8_t *image, size_t bytes)
{
    struct vdb_wal_header header;
    struct vdb_wal_scan scan;
    struct vdb_wal_scan again;
    struct vdb_err err = {0};
    uint32_t crc;
    vdb_status status = vdb_wal_header_decode(image, bytes, &header, &crc, &err);
    if (status != VDB_OK) {
        REQUIRE((status == VDB_CORRUPT || status == VDB_VERSION) && err.text[0] != '\0');
        return;
    }
    struct walk walk = {image, bytes, header.first_seq, 0, VDB_WAL_HEADER_BYTES};
    REQUIRE(vdb_wal_scan_image(image, bytes, &header, crc, check_record, &walk, &scan, &err) == VDB_OK);
    REQUIRE(scan.records == walk.records && scan.valid_bytes == walk.at && scan.next_seq == walk.next_seq);
    REQUIRE(scan.valid_bytes <= bytes && scan.durable_bytes <= scan.valid_bytes);
    size_t content_end = bytes;
    while (content_end > scan.valid_bytes && image[content_end - 1] == 0) {
        content_end--;
    }
    REQUIRE((scan.end == VDB_WAL_END_CLEAN) == (scan.valid_bytes == content_end));
    REQUIRE(scan.end != VDB_WAL_END_TORN || scan.valid_bytes + scan.tail_bytes >= content_end);
    REQUIRE(scan.valid_bytes + scan.tail_bytes <= bytes);
    REQUIRE(scan.end == VDB_WAL_END_CLEAN || scan.reason[0] != '\0');
    REQUIRE(scan.end != VDB_WAL_END_DAMAGED || scan.proof_offset >= scan.valid_bytes);
    /* Cut there, it is a clean log that ends in the same record. */
    REQUIRE(vdb_wal_scan_image(image, scan.valid_bytes, &header, crc, NULL, NULL, &again, &err) == VDB_OK);
    REQUIRE(again.end == VDB_WAL_END_CLEAN && again.records == scan.records);
    REQUIRE(again.next_seq == scan.next_seq && again.last_crc == scan.last_crc);
}

/* Sets every checksum and chain right, record after record, as long as there is room for one. A record whose
 * length check fails in the input keeps its length if it fits. Sequence numbers, marks and durable_bytes stay as
 * they are. */
static void repair(uint8_t *image, size_t bytes)
{
    struct vdb_wal_header header;
    struct vdb_err err = {0};
    uint32_t crc = 0;
    if (vdb_wal_header_decode(image, bytes, &header, &crc, &err) != VDB_OK) {
        vdb_store_u32(image + HEADER_CRC, crc); /* decode has computed it, unless the magic was wrong */
        if (vdb_wal_header_decode(image, bytes, &header, &crc, &err) != VDB_OK) {
            return;
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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    check_image(data, bytes);
    read_batch(data, bytes);
    if (bytes >= VDB_WAL_HEADER_BYTES) {
        uint8_t *image = malloc(bytes);
        REQUIRE(image != NULL);
        memcpy(image, data, bytes);
        repair(image, bytes);
        check_image(image, bytes);
        free(image);
    }
    return 0;
}
