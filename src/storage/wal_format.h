/* wal_format.h: the bytes of a log segment: its header, its records, and the walk over an image of one.
 *
 * docs/format.md, section 3, is normative; this is its code. Everything here works on memory, so that the fuzzer
 * and the recovery share it. Invariants (code and tests cite them):
 *
 *   W1  A record's length has a check of its own, bound to the record's offset and to the segment's key (its
 *       header's checksum, which covers the collection's random UUID): a length is never believed on the word of
 *       bytes that may be torn, and nobody who only chooses payloads can forge a record inside one.
 *   W2  Every record stores the checksum of the record before it (the first: of the segment's header), under its
 *       own checksum: records form a chain from the header, which holds the collection's UUID.
 *   W3  Sequence numbers in a segment rise by exactly one.
 *   W4  A record stores `durable_bytes`: how much of the segment was known to be on the disk when it was written.
 *       So a bad record below the greatest durable_bytes of any intact record is damage; above it, a torn tail
 *       that nobody was told of.
 *
 * Threads: pure functions over the caller's memory.
 */
#ifndef VDB_STORAGE_WAL_FORMAT_H
#define VDB_STORAGE_WAL_FORMAT_H

#include "base/bytes.h"
#include "base/err.h"
#include "manifest.h"

enum {
    VDB_WAL_FORMAT_VERSION = 1, /* of a segment's bytes; the directory's format (manifest.h) counts by itself */
    VDB_WAL_HEADER_BYTES = 64,
    VDB_WAL_RECORD_HEADER_BYTES = 48,
    VDB_WAL_ALIGN = 8,
};

/* No payload is longer: a batch's limit plus the ids and operation heads that go with it. */
#define VDB_WAL_PAYLOAD_BYTES_MAX (128u << 20)

typedef enum vdb_wal_type {
    VDB_WAL_BATCH = 1, /* payload: a write batch (batch.h) */
    VDB_WAL_MARK = 2,  /* no payload: says that all before it is durable; written at a clean close */
} vdb_wal_type;

struct vdb_wal_header {
    uint8_t uuid[VDB_UUID_BYTES]; /* the collection's */
    uint32_t number;              /* of this segment; they count up from 0 */
    uint32_t chain;               /* checksum of the last record of the segment before; 0 for segment 0 */
    uint64_t first_seq;           /* of the first record here */
};

struct vdb_wal_record {
    uint64_t seq;
    uint64_t timestamp_us;
    uint64_t durable_bytes;
    vdb_wal_type type;
    const uint8_t *payload;
    uint32_t payload_bytes;
    uint32_t crc;
    uint32_t prev;
    size_t total_bytes; /* header, payload and padding */
    bool zeros_kept;    /* reserved bytes and padding are zero, as they must be */
};

/* Writes the 64 bytes; returns the header's checksum, which the first record's chain starts from. */
uint32_t vdb_wal_header_encode(const struct vdb_wal_header *header, uint8_t out[VDB_WAL_HEADER_BYTES]);

/* VDB_CORRUPT, or VDB_VERSION for a newer format or unknown feature bits. *crc gets the header's checksum. */
vdb_status vdb_wal_header_decode(const uint8_t *data, size_t bytes, struct vdb_wal_header *out, uint32_t *crc,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* Appends a record to buf with its place in the file still open: seq, time, type and payload are in, the rest is
 * filled by vdb_wal_record_seal when the record's offset is known. */
void vdb_wal_record_put(struct vdb_buf *buf, uint64_t seq, uint64_t timestamp_us, vdb_wal_type type,
                        const void *payload, uint32_t payload_bytes);

/* key is the header's checksum. Completes the record at `record` (total bytes known from its length) for its place;
 * returns its checksum. */
uint32_t vdb_wal_record_seal(uint8_t *record, uint32_t key, uint64_t offset, uint32_t prev,
                             uint64_t durable_bytes);

/* The whole size of a record put by vdb_wal_record_put. */
size_t vdb_wal_record_bytes(const uint8_t *record);

/* What a record's header (48 bytes, from that offset of the file) says of its whole size, payload and padding with it
 * (W1). NULL, or why it is none, static text. */
const char *vdb_wal_record_size(const uint8_t *header, uint64_t offset, uint32_t key, size_t *total);

/* A whole record of that size. NULL, or why it is not intact, static text. */
const char *vdb_wal_record_decode(const uint8_t *record, size_t total, struct vdb_wal_record *out);

/* Whether an intact record stands at offset of the segment image (W1 and checksum; not its chain).
 * *reason gets why not, static text. */
bool vdb_wal_record_at(const uint8_t *image, size_t bytes, uint64_t offset, uint32_t key,
                       struct vdb_wal_record *out, const char **reason);

typedef enum vdb_wal_end {
    VDB_WAL_END_CLEAN,  /* nothing but zeros follows the last whole record */
    VDB_WAL_END_TORN,   /* bytes past valid_bytes were never acknowledged (W4) */
    VDB_WAL_END_DAMAGED /* acknowledged bytes are bad */
} vdb_wal_end;

struct vdb_wal_scan {
    vdb_wal_end end;
    size_t valid_bytes; /* the image is good up to here */
    uint64_t next_seq;  /* of the record that would follow */
    uint32_t last_crc;  /* what the next record must name as its prev */
    uint64_t records;
    uint64_t durable_bytes; /* the greatest that an intact record vouches for (W4) */
    uint64_t tail_bytes;    /* torn: from valid_bytes up to the last word that is not zero */
    const char *reason;     /* torn, damaged: what is wrong at valid_bytes */
    uint64_t proof_offset;  /* damaged: the later intact record that proves it */
};

/* Called per record in order; a status other than VDB_OK ends the walk. */
typedef vdb_status vdb_wal_record_fn(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err);

/* wal_scan.c: walks the records of an image whose header has been decoded (W1..W4). fn may be NULL. The status is fn's. */
vdb_status vdb_wal_scan_image(const uint8_t *image, size_t bytes, const struct vdb_wal_header *header,
                              uint32_t header_crc, vdb_wal_record_fn *fn, void *ctx, struct vdb_wal_scan *out,
                              struct vdb_err *err) VDB_MUST_CHECK;

#endif
