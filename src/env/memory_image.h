/* memory_image.h: the content of one file in memory, as it is seen and as a power cut would leave it.
 *
 *     durable  --pending writes, in their order-->  seen
 *
 * Readers see `seen`. A write or truncation changes it at once and is remembered as pending; sync carries the
 * pending ones over to `durable` and forgets them. A power cut starts from `durable` and keeps, of what is
 * pending, whatever a disk might have got: by a seed (vdb_memory_image_crash) or as told (vdb_memory_image_cut).
 *
 * The bytes are counted and shared: between the two sides after a power cut, and with the copies of an image
 * (vdb_memory_image_clone), until one of them writes. Two rules keep this simple:
 *
 *   M1  Shared bytes are never changed; who wants to change them takes a copy first.
 *   M2  While writes are pending, `durable` is unshared and has room for all of them, so that neither sync nor a
 *       power cut can fail.
 *
 * Threads: an image is confined (the env's mutex); shared bytes are atomic, so that copies may go to other threads.
 */
#ifndef VDB_ENV_MEMORY_IMAGE_H
#define VDB_ENV_MEMORY_IMAGE_H

#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VDB_MEMORY_SECTOR_BYTES = 512,           /* a disk writes this much whole or not at all */
    VDB_MEMORY_PAGE_BYTES = 4096,            /* some disks, this much */
    VDB_MEMORY_FILE_BYTES_MAX = 1024u << 20, /* the "disk" is full beyond: both sides are held without holes */
};

struct vdb_memory_bytes; /* counted bytes; zero past the size in use */
struct vdb_memory_write; /* a pending write or truncation */

/* Zero-initialise to start. */
struct vdb_memory_image {
    struct vdb_memory_bytes *seen; /* NULL: none yet */
    struct vdb_memory_bytes *durable;
    size_t seen_bytes;
    size_t durable_bytes;
    struct vdb_memory_write *first;
    struct vdb_memory_write *last;
};

void vdb_memory_image_fini(struct vdb_memory_image *image);

/* Makes *to, which is zero-initialised, the same as from; false when memory is short (*to is to be finished). What
 * has nothing pending is shared, not copied. */
bool vdb_memory_image_clone(const struct vdb_memory_image *from, struct vdb_memory_image *to);

/* Bytes copied to out; less than asked at the end of the file. */
size_t vdb_memory_image_read(const struct vdb_memory_image *image, void *out, size_t bytes, uint64_t offset);

/* 0, ENOSPC past VDB_MEMORY_FILE_BYTES_MAX, or ENOMEM; nothing is changed then. */
int vdb_memory_image_write(struct vdb_memory_image *image, const void *data, size_t bytes, uint64_t offset);
int vdb_memory_image_truncate(struct vdb_memory_image *image, uint64_t bytes);

void vdb_memory_image_sync(struct vdb_memory_image *image);

/* A sync that failed (E3). What was pending stays in sight and may or may not survive a power cut, as before; but
 * a later sync will not carry it over: a kernel marks the pages clean when their write-back fails. Code that
 * retries a sync and trusts the second answer loses data here as it does there. */
void vdb_memory_image_fail_sync(struct vdb_memory_image *image);

/* A power cut. rng NULL drops all that is pending. Else the seed picks for the file sectors of 512 or 4096 bytes,
 * and one of: all dropped, all kept, the first n kept, or every one by itself; and for one that is neither dropped
 * nor kept whole, sector by sector. Of a write past the end the size may survive without the data: those bytes are
 * zero. */
void vdb_memory_image_crash(struct vdb_memory_image *image, struct vdb_rng *rng);

/* What the walk over all outcomes needs (memory_choice.h): pending writes are numbered from 0 in their order, and
 * each can be torn in so many ways:
 *   - at each sector boundary inside it, the part before it kept or the part behind it. Of a write of more than
 *     16 sectors these are the boundaries at multiples of 4096 and those inside its first and last page;
 *   - when it may make the file longer, also each first part with the size of the whole (zeros behind it), and the
 *     size alone.
 * A truncation is never torn. */
size_t vdb_memory_image_pending_count(const struct vdb_memory_image *image);
size_t vdb_memory_image_tear_count(const struct vdb_memory_image *image, size_t number);

/* A power cut that keeps pending write i when bit i of kept is set (at most 64 are pending), and tears the one with
 * the number torn (SIZE_MAX: none) in its way `tear`. */
void vdb_memory_image_cut(struct vdb_memory_image *image, uint64_t kept, size_t torn, size_t tear);

/* XORs one byte in both sides and in what is pending; false when offset is past the end of what is seen, or memory
 * is short. */
bool vdb_memory_image_flip(struct vdb_memory_image *image, uint64_t offset, uint8_t xor_mask);

#endif
