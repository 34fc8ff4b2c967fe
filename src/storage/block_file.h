/* block_file.h: the container of every immutable file: named sections of bytes under one checksum per block.
 *
 *     header (4096 bytes) | sections, each from a multiple of 4096 | block checksums | section table | footer
 *
 * A file is written once from front to back, synced, and from then on only mapped. The footer says where all the
 * rest lies, so that opening reads the header and the tables (4 bytes per 64 KiB) and nothing else; a block's
 * checksum is looked at when the block is first needed (vdb_block_file_need), and once. The stamp (length and the
 * footer's checksum, which covers the tables and the header's checksum) binds the file to the manifest that names
 * it.
 *
 *   B1 Every byte of the file is under a checksum: blocks [0, end of sections) by the block table; the tables and
 *      the footer by the footer.
 *   B2 No byte of a section is handed out before its block was found good, except by vdb_block_file_section,
 *      whose caller then asks for what it touches with vdb_block_file_need.
 *   B3 Lengths and places read from a file are checked against its real size before use.
 *   B4 There is one layout for the same sections: places follow from lengths, gaps and reserved bytes are zero.
 *
 * Bytes: docs/format.md, section 5. Threads: a writer is confined; an open file is shared-read (the set of good
 * blocks is atomic).
 */
#ifndef VDB_STORAGE_BLOCK_FILE_H
#define VDB_STORAGE_BLOCK_FILE_H

#include "env/env.h"
#include "manifest.h"

enum {
    VDB_BLOCK_FILE_BLOCK_BYTES = 64 << 10,
    VDB_BLOCK_FILE_ALIGN_BYTES = 4096,
    VDB_BLOCK_FILE_SECTIONS_MAX = 32,
};

/* What a file is for: part of its header, so that one kind is never taken for another. */
typedef enum vdb_block_file_kind {
    VDB_BLOCK_FILE_VECTORS = 1,
    VDB_BLOCK_FILE_META = 2,
    VDB_BLOCK_FILE_DEAD = 3,
    VDB_BLOCK_FILE_INDEX = 4, /* beside a segment's rows; what is in it is not storage's business */
} vdb_block_file_kind;

/* Whose file it is; all of it stands in the header and must match at open. */
struct vdb_block_file_name {
    vdb_block_file_kind kind;
    uint8_t uuid[VDB_UUID_BYTES]; /* the collection's */
    uint32_t number;              /* the segment's */
};

/* struct vdb_stamp {bytes, crc} stands in manifest.h. */

struct vdb_block_writer;

/* Creates PATH; what is there is unlinked first, so that its maps and other names keep it. On failure PATH may be
 * there, for the caller to unlink. */
vdb_status vdb_block_writer_create(struct vdb_env *env, const char *path, const struct vdb_block_file_name *name,
                                   struct vdb_block_writer **out, struct vdb_err *err) VDB_MUST_CHECK;
/* Ends the section before, begins section `id` (1..65535, each once; at most VDB_BLOCK_FILE_SECTIONS_MAX). */
vdb_status vdb_block_writer_section(struct vdb_block_writer *writer, uint32_t id,
                                    struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_block_writer_append(struct vdb_block_writer *writer, const void *data, size_t bytes,
                                   struct vdb_err *err) VDB_MUST_CHECK;
/* So many zeros. */
vdb_status vdb_block_writer_append_zeros(struct vdb_block_writer *writer, size_t bytes,
                                         struct vdb_err *err) VDB_MUST_CHECK;
/* Given to the disk so far; what is appended waits in a buffer of 1 MiB first. */
uint64_t vdb_block_writer_bytes(const struct vdb_block_writer *writer);
/* Writes the tables, syncs the file (its name is the caller's to sync), fills *stamp. */
vdb_status vdb_block_writer_finish(struct vdb_block_writer *writer, struct vdb_stamp *stamp,
                                   struct vdb_err *err) VDB_MUST_CHECK;
/* Frees the writer; the file of an unfinished one stays for the caller to unlink. NULL allowed. */
void vdb_block_writer_destroy(struct vdb_block_writer *writer);

struct vdb_block_file;

/* Maps PATH and checks header, footer and tables. VDB_CORRUPT names path and byte; also when the name or the stamp
 * (NULL: any) is another. VDB_VERSION for a newer format or unknown feature bits. A missing file is VDB_CORRUPT. */
vdb_status vdb_block_file_open(struct vdb_env *env, const char *path, const struct vdb_block_file_name *name,
                               const struct vdb_stamp *stamp, struct vdb_block_file **out,
                               struct vdb_err *err) VDB_MUST_CHECK;
void vdb_block_file_close(struct vdb_block_file *file); /* NULL allowed */

/* Where section `id` lies in the map; VDB_CORRUPT when the file has none. */
vdb_status vdb_block_file_section(const struct vdb_block_file *file, uint32_t id, const uint8_t **data,
                                  uint64_t *bytes, struct vdb_err *err) VDB_MUST_CHECK;

/* Makes sure that the blocks under data[0..bytes), which lies in a section, are good. Cheap when they are known to
 * be. */
vdb_status vdb_block_file_need(struct vdb_block_file *file, const void *data, size_t bytes,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* Reads and checks all of the file, known good blocks too (the disk may have changed), and that gaps are zero. */
vdb_status vdb_block_file_verify(struct vdb_block_file *file, struct vdb_err *err) VDB_MUST_CHECK;

/* How data[0..bytes) will be read. */
void vdb_block_file_advise(const struct vdb_block_file *file, const void *data, size_t bytes, vdb_access access);

/* Sets VDB_CORRUPT with the file's path, the byte in it where `at` (in the map) lies, and the formatted text. Every
 * reader of a section reports with it. */
#define vdb_block_file_damaged(file, err, at, ...)                                                               \
    (vdb_block_file_write_damage((file), (err), (at), __VA_ARGS__), VDB_CORRUPT)
void vdb_block_file_write_damage(const struct vdb_block_file *file, struct vdb_err *err, const void *at,
                                 const char *format, ...) __attribute__((format(printf, 4, 5)));

uint64_t vdb_block_file_bytes(const struct vdb_block_file *file);

#endif
