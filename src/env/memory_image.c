/* memory_image.c: two images of a file and the writes between them. */
#include "memory_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct vdb_memory_write {
    struct vdb_memory_write *next;
    size_t offset; /* of a truncation: the new size */
    size_t bytes;
    bool truncates;
    bool lost; /* its sync failed: no later sync carries it over */
    uint8_t data[];
};

enum { CAPACITY_BYTES_MIN = 256 };

static void free_writes(struct vdb_memory_image *image)
{
    struct vdb_memory_write *write = image->first;
    while (write != NULL) {
        struct vdb_memory_write *next = write->next;
        free(write);
        write = next;
    }
    image->first = NULL;
    image->last = NULL;
}

void vdb_memory_image_fini(struct vdb_memory_image *image)
{
    free_writes(image);
    free(image->seen);
    free(image->durable);
    *image = (struct vdb_memory_image){0};
}

size_t vdb_memory_image_read(const struct vdb_memory_image *image, void *out, size_t bytes, uint64_t offset)
{
    if (offset >= image->seen_bytes || bytes == 0) {
        return 0;
    }
    size_t left = image->seen_bytes - (size_t)offset;
    size_t got = bytes < left ? bytes : left;
    memcpy(out, image->seen + offset, got);
    return got;
}

/* Makes room for bytes in both images, zeroed. */
static int reserve(struct vdb_memory_image *image, uint64_t bytes)
{
    if (bytes <= image->capacity) {
        return 0;
    }
    if (bytes > VDB_MEMORY_FILE_BYTES_MAX) {
        return ENOSPC;
    }
    size_t capacity = image->capacity < CAPACITY_BYTES_MIN ? CAPACITY_BYTES_MIN : image->capacity;
    while (capacity < bytes) {
        capacity *= 2;
    }
    uint8_t *seen = realloc(image->seen, capacity);
    if (seen == NULL) {
        return ENOMEM;
    }
    image->seen = seen;
    uint8_t *durable = realloc(image->durable, capacity);
    if (durable == NULL) {
        return ENOMEM; /* seen is larger than capacity says: harmless */
    }
    image->durable = durable;
    memset(seen + image->capacity, 0, capacity - image->capacity);
    memset(durable + image->capacity, 0, capacity - image->capacity);
    image->capacity = capacity;
    return 0;
}

static void put(uint8_t *to, size_t *size, const uint8_t *data, size_t bytes, size_t offset)
{
    memcpy(to + offset, data, bytes);
    if (offset + bytes > *size) {
        *size = offset + bytes;
    }
}

static void resize(uint8_t *to, size_t *size, size_t bytes)
{
    if (bytes < *size) {
        memset(to + bytes, 0, *size - bytes); /* what comes to light when it grows again */
    }
    *size = bytes;
}

static void apply_to_durable(struct vdb_memory_image *image, const struct vdb_memory_write *write)
{
    if (write->truncates) {
        resize(image->durable, &image->durable_bytes, write->offset);
    } else {
        put(image->durable, &image->durable_bytes, write->data, write->bytes, write->offset);
    }
}

static struct vdb_memory_write *append_write(struct vdb_memory_image *image, size_t bytes, size_t offset)
{
    struct vdb_memory_write *write = calloc(1, sizeof *write + bytes);
    if (write == NULL) {
        return NULL;
    }
    write->offset = offset;
    write->bytes = bytes;
    if (image->last != NULL) {
        image->last->next = write;
    } else {
        image->first = write;
    }
    image->last = write;
    return write;
}

int vdb_memory_image_write(struct vdb_memory_image *image, const void *data, size_t bytes, uint64_t offset)
{
    if (bytes == 0) {
        return 0;
    }
    if (offset > VDB_MEMORY_FILE_BYTES_MAX || bytes > VDB_MEMORY_FILE_BYTES_MAX) {
        return ENOSPC;
    }
    int code = reserve(image, offset + bytes);
    if (code != 0) {
        return code;
    }
    struct vdb_memory_write *write = append_write(image, bytes, (size_t)offset);
    if (write == NULL) {
        return ENOMEM;
    }
    memcpy(write->data, data, bytes);
    put(image->seen, &image->seen_bytes, data, bytes, (size_t)offset);
    return 0;
}

int vdb_memory_image_truncate(struct vdb_memory_image *image, uint64_t bytes)
{
    if (bytes == image->seen_bytes) {
        return 0;
    }
    int code = reserve(image, bytes);
    if (code != 0) {
        return code;
    }
    struct vdb_memory_write *write = append_write(image, 0, (size_t)bytes);
    if (write == NULL) {
        return ENOMEM;
    }
    write->truncates = true;
    resize(image->seen, &image->seen_bytes, (size_t)bytes);
    return 0;
}

void vdb_memory_image_sync(struct vdb_memory_image *image)
{
    for (const struct vdb_memory_write *write = image->first; write != NULL; write = write->next) {
        if (!write->lost) {
            apply_to_durable(image, write);
        }
    }
    free_writes(image);
}

void vdb_memory_image_fail_sync(struct vdb_memory_image *image)
{
    for (struct vdb_memory_write *write = image->first; write != NULL; write = write->next) {
        write->lost = true;
    }
}

/* Keeps of one write some sectors. A size past the last of them may survive too. */
static void tear(struct vdb_memory_image *image, const struct vdb_memory_write *write, struct vdb_rng *rng)
{
    if (write->truncates) {
        if (vdb_rng_below(rng, 2) != 0) {
            apply_to_durable(image, write);
        }
        return;
    }
    size_t at = 0;
    while (at < write->bytes) {
        size_t left_in_sector = VDB_MEMORY_SECTOR_BYTES - (write->offset + at) % (size_t)VDB_MEMORY_SECTOR_BYTES;
        size_t piece = write->bytes - at < left_in_sector ? write->bytes - at : left_in_sector;
        if (vdb_rng_below(rng, 2) != 0) {
            put(image->durable, &image->durable_bytes, write->data + at, piece, write->offset + at);
        }
        at += piece;
    }
    if (vdb_rng_below(rng, 2) != 0 && write->offset + write->bytes > image->durable_bytes) {
        image->durable_bytes = write->offset + write->bytes;
    }
}

static void crash_by_choice(struct vdb_memory_image *image, struct vdb_rng *rng)
{
    enum { DROP_ALL, KEEP_ALL, KEEP_FIRST, EACH_ALONE, CHOICES };
    uint64_t count = 0;
    for (const struct vdb_memory_write *write = image->first; write != NULL; write = write->next) {
        count++;
    }
    uint64_t choice = vdb_rng_below(rng, CHOICES);
    uint64_t torn_at = vdb_rng_below(rng, count); /* KEEP_FIRST: the one under the head when the power went */
    uint64_t i = 0;
    for (const struct vdb_memory_write *write = image->first; write != NULL; write = write->next, i++) {
        uint64_t fate = choice == DROP_ALL                     ? 0
                        : choice == KEEP_ALL                   ? 1
                        : choice == EACH_ALONE || i == torn_at ? vdb_rng_below(rng, 4)
                                                               : (uint64_t)(i < torn_at);
        if (fate == 1) {
            apply_to_durable(image, write);
        } else if (fate >= 2) {
            tear(image, write, rng);
        }
    }
}

void vdb_memory_image_crash(struct vdb_memory_image *image, struct vdb_rng *rng)
{
    if (rng != NULL && image->first != NULL) {
        crash_by_choice(image, rng);
    }
    free_writes(image);
    if (image->capacity > 0) {
        memcpy(image->seen, image->durable, image->capacity);
    }
    image->seen_bytes = image->durable_bytes;
}

bool vdb_memory_image_flip(struct vdb_memory_image *image, uint64_t offset, uint8_t xor_mask)
{
    if (offset >= image->seen_bytes) {
        return false;
    }
    image->seen[offset] ^= xor_mask;
    if (offset < image->durable_bytes) {
        image->durable[offset] ^= xor_mask;
    }
    for (struct vdb_memory_write *write = image->first; write != NULL; write = write->next) {
        if (!write->truncates && offset >= write->offset && offset - write->offset < write->bytes) {
            write->data[offset - write->offset] ^= xor_mask;
        }
    }
    return true;
}
