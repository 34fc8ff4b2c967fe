/* memory_image.h: the content of one file in memory, as it is seen and as a power cut would leave it.
 *
 *     durable  --pending writes, in their order-->  seen
 *
 * Readers see `seen`. A write or truncation changes it at once and is remembered as pending; sync carries the
 * pending ones over to `durable` and forgets them. A power cut starts from `durable` and lets the seed choose, of
 * what is pending, whatever a disk might have got: see vdb_memory_image_crash.
 *
 * Room for both images is reserved when a write comes in, so that sync and crash cannot fail.
 * Threads: confined (the env's mutex).
 */
#ifndef VDB_ENV_MEMORY_IMAGE_H
#define VDB_ENV_MEMORY_IMAGE_H

#include "base/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VDB_MEMORY_SECTOR_BYTES = 512,           /* a disk writes this much whole or not at all */
    VDB_MEMORY_FILE_BYTES_MAX = 1024u << 20, /* the "disk" is full beyond: both images are held without holes */
};

struct vdb_memory_write; /* a pending write or truncation */

/* Zero-initialise to start. Bytes past an image's size are zero, up to capacity. */
struct vdb_memory_image {
    uint8_t *seen;
    uint8_t *durable;
    size_t seen_bytes;
    size_t durable_bytes;
    size_t capacity; /* of each of the two */
    struct vdb_memory_write *first;
    struct vdb_memory_write *last;
};

void vdb_memory_image_fini(struct vdb_memory_image *image);

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

/* A power cut. rng NULL drops all that is pending. Else the seed picks for the file one of: all dropped, all
 * kept, the first n kept, or every one by itself; and for one that is neither dropped nor kept whole, sector by
 * sector. Of a write past the end the size may survive without the data: those bytes are zero. */
void vdb_memory_image_crash(struct vdb_memory_image *image, struct vdb_rng *rng);

/* XORs one byte in both images and in what is pending; false when offset is past the end of what is seen. */
bool vdb_memory_image_flip(struct vdb_memory_image *image, uint64_t offset, uint8_t xor_mask);

#endif
