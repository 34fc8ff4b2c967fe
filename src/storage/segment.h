/* segment.h: rows that no longer change, as two mapped files: vectors/vectors_NNNNNN.bin and meta/meta_NNNNNN.bin.
 *
 * A segment holds the versions that were live when it was written, one per id. What happens to them later is kept
 * beside it in memory, as the sequence number that ended each, and is durable through the log, or, from the next
 * checkpoint on, through a file of its own, meta/dead_NNNNNN_GGGGGG.bin (a bitmap; G counts its editions).
 *
 *   S1 Ids in a segment are distinct. vdb_segment_find is a probe of the hash table in the file: no index of ids
 *      is built at open.
 *   S2 Rows never move and never change; a row's end goes from 0 (live) to a number once.
 *   S3 A row is visible at S unless its end is set and <= S. (Whoever sees the segment is past all its seq_from.)
 *   S4 Nothing read from the files is handed out unchecked: each call checks the blocks it touches.
 *
 * Bytes: docs/format.md, section 6. Threads: shared-read; vdb_segment_end by one writer at a time (the store's),
 * beside any number of readers. Counted references.
 */
#ifndef VDB_STORAGE_SEGMENT_H
#define VDB_STORAGE_SEGMENT_H

#include <stdatomic.h>

#include "base/bitset.h"
#include "base/bytes.h"
#include "block_file.h"
#include "companion.h"
#include "id.h"
#include "idmap.h"
#include "manifest.h"
#include "schema.h"

/* ---- Writing ---- */

struct vdb_segment_writer;

/* Begins the files of segment `number` of the collection in `dir` (its folders vectors/ and meta/ exist). */
vdb_status vdb_segment_writer_create(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                                     uint32_t number, const struct vdb_schema *schema,
                                     struct vdb_segment_writer **out, struct vdb_err *err) VDB_MUST_CHECK;

/* Adds the next row; everything is copied. vector: as segments keep it, schema->dimension elements of schema->element
 * (f16: finite); seq_from > 0; metadata: a JSON object in
 * canonical compact form. Ids must be distinct: finish refuses (VDB_INVALID) when they are not. After any failure the
 * writer is good for nothing but destroy. */
vdb_status vdb_segment_writer_add(struct vdb_segment_writer *writer, const struct vdb_id *id, uint64_t seq_from,
                                  const void *vector, struct vdb_str metadata,
                                  struct vdb_err *err) VDB_MUST_CHECK;

uint32_t vdb_segment_writer_rows(const struct vdb_segment_writer *writer);
uint64_t vdb_segment_writer_bytes(const struct vdb_segment_writer *writer); /* given to the disk so far */

/* Writes the rest, syncs both files and both folders. *info describes the segment for the manifest (no dead).
 * VDB_INVALID without a row. */
vdb_status vdb_segment_writer_finish(struct vdb_segment_writer *writer, struct vdb_segment_info *info,
                                     struct vdb_err *err) VDB_MUST_CHECK;

/* Frees it; the files of an unfinished one are unlinked (what cannot be stays for the next open). NULL allowed. */
void vdb_segment_writer_destroy(struct vdb_segment_writer *writer);

/* ---- Reading ---- */

struct vdb_segment;

/* Opens the segment that the manifest describes (struct vdb_segment_info, manifest.h), dead rows included: they
 * get the end 1, which is before every view. One reference. Reads the files' tables and heads and the dead bitmap
 * (whole); no row. env must outlive the segment. */
vdb_status vdb_segment_open(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                            const struct vdb_schema *schema, const struct vdb_segment_info *info,
                            struct vdb_segment **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_segment_ref(struct vdb_segment *segment);
void vdb_segment_unref(struct vdb_segment *segment); /* the last closes the files; NULL allowed */

const struct vdb_segment_info *vdb_segment_info(const struct vdb_segment *segment); /* as opened */
uint32_t vdb_segment_rows(const struct vdb_segment *segment);

/* The row of that id, live or dead, or VDB_SLOT_NONE. */
vdb_status vdb_segment_find(struct vdb_segment *segment, const struct vdb_id *id, uint32_t *row,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* row < vdb_segment_rows in all that follows. A row's id; text borrows from the map, valid while the caller holds its
 * reference. */
vdb_status vdb_segment_id(struct vdb_segment *segment, uint32_t row, struct vdb_id *out,
                          struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_segment_seq_from(struct vdb_segment *segment, uint32_t row, uint64_t *out,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* All vectors, in the schema's element, rows vdb_segment_stride apart, each aligned to 64 bytes, padded with zeros. Checks all their blocks
 * at the first call (the checksum's speed, once); afterwards it costs nothing. */
vdb_status vdb_segment_vectors(struct vdb_segment *segment, const void **out, struct vdb_err *err) VDB_MUST_CHECK;
/* One row's vector; checks only its blocks. */
vdb_status vdb_segment_vector(struct vdb_segment *segment, uint32_t row, const void **out,
                              struct vdb_err *err) VDB_MUST_CHECK;
size_t vdb_segment_stride(const struct vdb_segment *segment);
vdb_element vdb_segment_element(const struct vdb_segment *segment);
uint32_t vdb_segment_dimension(const struct vdb_segment *segment);

/* How the rows will be read from now on: VDB_ACCESS_SEQUENTIAL before a pass over all of them (a compaction),
 * VDB_ACCESS_RANDOM as after open. A hint to the disk's cache, nothing more. */
void vdb_segment_advise(const struct vdb_segment *segment, vdb_access access);

/* A reader of metadata keeps the block it decompressed last, so that rows in order cost one decompression per
 * block. Confined. `*out` is valid until the next read or fini. */
struct vdb_segment_meta {
    struct vdb_segment *segment; /* not counted */
    uint64_t block;              /* which is in text; UINT64_MAX: none */
    struct vdb_buf text;
};

void vdb_segment_meta_init(struct vdb_segment_meta *reader, struct vdb_segment *segment);
void vdb_segment_meta_fini(struct vdb_segment_meta *reader);
vdb_status vdb_segment_meta_read(struct vdb_segment_meta *reader, uint32_t row, struct vdb_str *out,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* ---- Ends ---- */

/* Ends a row as of seq. True when it was live. One writer at a time. */
bool vdb_segment_end(struct vdb_segment *segment, uint32_t row, uint64_t seq);
/* A row's end, 0 while it is live. */
uint64_t vdb_segment_end_of(const struct vdb_segment *segment, uint32_t row);
uint32_t vdb_segment_dead(const struct vdb_segment *segment); /* rows that have ended */

static inline bool vdb_segment_sees(const struct vdb_segment *segment, uint32_t row, uint64_t seq)
{
    uint64_t end = vdb_segment_end_of(segment, row);
    return end == 0 || seq < end;
}

/* Sets the bits of the rows visible at seq in `allow` (of at least vdb_segment_rows bits, all clear); returns how
 * many. Quick when no row ended after seq. Whatever ended at or before seq must have been ended before this call
 * (the pin of a view at seq sees to it); rows may go on ending after seq beside it. */
uint32_t vdb_segment_fill_visible(const struct vdb_segment *segment, uint64_t seq, struct vdb_bitset *allow);

/* Writes the rows that ended at or before seq as edition `edition` (> 0) of the bitmap file, synced, folder too;
 * fills info->dead_*. With no such row writes nothing and sets dead_edition to 0. After a failure the file is gone
 * if it could be unlinked. Unlinking the edition before, once the manifest names this one, is the caller's. */
vdb_status vdb_segment_save_dead(struct vdb_segment *segment, uint64_t seq, uint32_t edition,
                                 struct vdb_segment_info *info, struct vdb_err *err) VDB_MUST_CHECK;

/* Reads all of it: every block, every id reachable by its hash, ids distinct and well formed, metadata blocks
 * decompress to what the lengths say, padding zero, floats finite. VDB_CORRUPT names file and byte. What was read is
 * added to *bytes. The dead bitmap has a function of its own, since its file changes with every checkpoint. */
vdb_status vdb_segment_verify(struct vdb_segment *segment, uint64_t *bytes, struct vdb_err *err) VDB_MUST_CHECK;
/* Reads the bitmap file that *info names (with a dead_edition), and that every row in it has ended. */
vdb_status vdb_segment_verify_dead(struct vdb_segment *segment, const struct vdb_segment_info *info,
                                   uint64_t *bytes, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- What lies beside it (attach.c) ---- the store's maintain lock guards it */

/* The edition of the segment's next index file: above those of all files that were begun in this process, and of the one
 * that the manifest had at open. 0: 2^32 - 1 were, no more fit. */
uint32_t vdb_segment_reserve_index(struct vdb_segment *segment);
uint32_t vdb_segment_reserved_index(const struct vdb_segment *segment); /* the last that was given */

/* Versions made from now on take it from here. */

struct vdb_companion *vdb_segment_companion(const struct vdb_segment *segment); /* borrowed; NULL: none */
/* Puts another in its place and hands back the one before: a reference each way. */
struct vdb_companion *vdb_segment_swap_companion(struct vdb_segment *segment, struct vdb_companion *companion);

/* ---- Names ---- */

/* "vectors/vectors_000012.bin", "meta/meta_000012.bin", "meta/dead_000012_000003.bin",
 * "index/index_000012_000001.bin" (edition > 0). */
enum { VDB_SEGMENT_NAME_BYTES = 48 };
void vdb_segment_file_name(char out[VDB_SEGMENT_NAME_BYTES], vdb_block_file_kind kind, uint32_t number,
                           uint32_t edition);
/* Whether the files of that kind count editions. */
bool vdb_segment_has_editions(vdb_block_file_kind kind);
/* The inverse for a name within its folder ("meta_000012.bin"); false for any other. */
bool vdb_segment_parse_name(const char *name, vdb_block_file_kind *kind, uint32_t *number, uint32_t *edition);

#endif
