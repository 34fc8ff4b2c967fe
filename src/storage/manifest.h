/* manifest.h: metadata.json, the sole commit point of a directory: of the database, and of each collection.
 *
 * A manifest is one JSON object with a checksum of its own as the last member (docs/format.md, section 2). It is
 * only ever replaced whole (vdb_env_replace_file). A reader refuses by name: damage (VDB_CORRUPT), a newer format
 * or an unknown feature bit (VDB_VERSION). Threads: the functions are thread-safe; a manifest value is confined.
 */
#ifndef VDB_STORAGE_MANIFEST_H
#define VDB_STORAGE_MANIFEST_H

#include "base/bytes.h"
#include "env/env.h"
#include "schema.h"

enum {
    VDB_FORMAT_VERSION = 2, /* what this build writes, and the newest it reads */
    VDB_UUID_BYTES = 16,
    VDB_SEGMENTS_MAX = 4096, /* of one collection: tiered compaction keeps them near a dozen */
};

/* Binds a file to who names it: its length and its footer's checksum (block_file.h). */
struct vdb_stamp {
    uint64_t bytes;
    uint32_t crc;
};

/* One segment of rows on disk (segment.h), as the manifest tells it. */
struct vdb_segment_info {
    uint32_t number; /* of its files; never used twice in a collection */
    uint32_t rows;
    struct vdb_stamp vectors;
    struct vdb_stamp meta;
    uint32_t dead_edition; /* of its bitmap of dead rows; 0: none are dead */
    uint32_t dead_rows;
    struct vdb_stamp dead;  /* with an edition */
    uint32_t index_edition; /* of its index file; 0: it has none */
    struct vdb_stamp index; /* with an edition */
};

#define VDB_MANIFEST_NAME "metadata.json"

typedef enum vdb_manifest_kind { VDB_MANIFEST_DATABASE, VDB_MANIFEST_COLLECTION } vdb_manifest_kind;

struct vdb_manifest {
    vdb_manifest_kind kind;
    uint64_t format; /* that its writer used; encode writes VDB_FORMAT_VERSION */
    uint8_t uuid[VDB_UUID_BYTES];
    uint64_t created_us;                  /* microseconds since 1970 */
    struct vdb_schema schema;             /* collection only */
    uint64_t wal_first;                   /* collection only: number of the first live log segment */
    struct vdb_index_config index_config; /* collection only; format 1 has its type and nothing else */
    /* Collection only, from format 2 on; a format-1 manifest has none of it (all zero). */
    bool follower;           /* a copy that follows another collection's log: takes no other writes */
    uint64_t checkpoint_seq; /* the segments hold all batches up to it; the log is replayed from the next on */
    uint32_t next_number;    /* for the next segment's files: above every number ever used */
    uint32_t segment_count;
    struct vdb_segment_info *segments; /* owned; oldest first */
};

/* Frees what a manifest owns and zeroes it. */
void vdb_manifest_fini(struct vdb_manifest *manifest);

void vdb_manifest_encode(const struct vdb_manifest *manifest, struct vdb_buf *out);

/* text[0..bytes) must be a manifest of that kind. */
vdb_status vdb_manifest_decode(const char *text, size_t bytes, vdb_manifest_kind kind, struct vdb_manifest *out,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* Reads DIR/metadata.json; VDB_NOT_FOUND when it is not there. */
vdb_status vdb_manifest_load(struct vdb_env *env, const char *dir, vdb_manifest_kind kind,
                             struct vdb_manifest *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Replaces DIR/metadata.json, durably. */
vdb_status vdb_manifest_save(struct vdb_env *env, const char *dir, const struct vdb_manifest *manifest,
                             struct vdb_err *err) VDB_MUST_CHECK;

/* Sixteen bytes as 32 hexadecimal digits and a NUL. */
void vdb_uuid_print(const uint8_t uuid[VDB_UUID_BYTES], char out[2 * VDB_UUID_BYTES + 1]);

#endif
