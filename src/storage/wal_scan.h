/* wal_scan.h: reading a log segment's records in order: through a window over its file, or over an image in memory.
 *
 * Recovery, the follower's reader (log_reader.h) and the fuzzer walk segments with the same code. A file is read in
 * pieces of half a MiB (and one record, when that is larger), so that a segment of any size costs little memory, every
 * byte is hashed once while it is in the cache, and a read error is a status. The invariants W1 to W4 stand in
 * wal_format.h. Threads: confined.
 */
#ifndef VDB_STORAGE_WAL_SCAN_H
#define VDB_STORAGE_WAL_SCAN_H

#include "env/env.h"
#include "wal_format.h"

/* Where the bytes come from. Zero-initialise or init; fini frees. */
struct vdb_wal_source {
    uint64_t bytes; /* of the file or image: nothing past it is looked at */

    const uint8_t *data; /* its bytes [at, at + got) */
    uint64_t at;
    size_t got;
    struct vdb_env *env; /* NULL: an image, all of it in data */
    struct vdb_file *file;
    uint8_t *buffer; /* owned */
    size_t capacity;
};

void vdb_wal_source_of_image(struct vdb_wal_source *source, const uint8_t *image, size_t bytes);
/* file is borrowed. */
void vdb_wal_source_of_file(struct vdb_wal_source *source, struct vdb_env *env, struct vdb_file *file,
                            uint64_t bytes);
void vdb_wal_source_fini(struct vdb_wal_source *source);

/* Forgets what was read of the file, which may have changed; it has so many bytes now. */
void vdb_wal_source_reset(struct vdb_wal_source *source, uint64_t bytes);

/* *out: the bytes [offset, offset + bytes), until the next call; NULL when they do not all exist. */
vdb_status vdb_wal_source_need(struct vdb_wal_source *source, uint64_t offset, size_t bytes, const uint8_t **out,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* The record at offset. *reason is NULL when an intact one stands there (W1 and its checksum; not its chain), else why
 * not, static text. out->payload is valid until the next call for this source. The status is the disk's. */
vdb_status vdb_wal_source_record(struct vdb_wal_source *source, uint64_t offset, uint32_t key,
                                 struct vdb_wal_record *out, const char **reason,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* W4: is there an intact record past `bad` that says that bytes past `bad` were durable? *proof is its place, or 0. */
vdb_status vdb_wal_source_proof(struct vdb_wal_source *source, uint32_t key, uint64_t bad, uint64_t *proof,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* *end: behind the last byte that is not zero, or `from` when all from there on are. */
vdb_status vdb_wal_source_content_end(struct vdb_wal_source *source, uint64_t from, uint64_t *end,
                                      struct vdb_err *err) VDB_MUST_CHECK;

/* A place between two records, and what the next one must be like. */
struct vdb_wal_place {
    uint32_t key; /* the header's checksum */
    uint32_t last_crc;
    uint64_t next_seq;
    uint64_t offset;
    uint64_t durable_bytes; /* the greatest that a record vouched for (W4) */
};

/* The place behind the header. */
struct vdb_wal_place vdb_wal_place_first(const struct vdb_wal_header *header, uint32_t header_crc);

/* Why the intact record at that place is not the one that must stand there (W2, W3, W4); NULL: it is. */
const char *vdb_wal_place_refuses(const struct vdb_wal_place *place, const struct vdb_wal_record *record);

/* Steps over a record that is not refused. */
void vdb_wal_place_advance(struct vdb_wal_place *place, const struct vdb_wal_record *record);

/* Walks all records of a segment whose header has been decoded (W1..W4). fn may be NULL. The status is fn's or the
 * disk's. */
vdb_status vdb_wal_scan(struct vdb_wal_source *source, const struct vdb_wal_header *header, uint32_t header_crc,
                        vdb_wal_record_fn *fn, void *ctx, struct vdb_wal_scan *out,
                        struct vdb_err *err) VDB_MUST_CHECK;

#endif
