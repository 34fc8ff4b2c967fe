/* memory_image.c: two sides of a file, the writes between them, and the bytes that images share. */
#include "memory_image.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    CAPACITY_BYTES_MIN = 256,
    ALL_BOUNDARIES_BYTES_MAX = 16 * VDB_MEMORY_SECTOR_BYTES, /* longer writes are torn at fewer places */
    TEARS_PER_BOUNDARY = 2,                                  /* the part before it, the part behind it */
    TEARS_PER_BOUNDARY_GROWING = 3                           /* and the part before it with the whole size */
};

struct vdb_memory_bytes {
    atomic_size_t refs;
    size_t capacity;
    uint8_t data[]; /* zero past the size in use */
};

struct vdb_memory_write {
    struct vdb_memory_write *next;
    size_t offset; /* of a truncation: the new size */
    size_t bytes;
    bool truncates;
    bool lost; /* its sync failed: no later sync carries it over */
    uint8_t data[];
};

static struct vdb_memory_bytes *share(struct vdb_memory_bytes *bytes)
{
    if (bytes != NULL) {
        atomic_fetch_add_explicit(&bytes->refs, 1, memory_order_relaxed);
    }
    return bytes;
}

static void release(struct vdb_memory_bytes *bytes)
{
    if (bytes != NULL && atomic_fetch_sub_explicit(&bytes->refs, 1, memory_order_acq_rel) == 1) {
        free(bytes);
    }
}

static bool is_shared(const struct vdb_memory_bytes *bytes)
{
    return atomic_load_explicit(&bytes->refs, memory_order_acquire) > 1;
}

/* A copy of data[0..used) with that capacity, or NULL. */
static struct vdb_memory_bytes *copy_bytes(const uint8_t *data, size_t used, size_t capacity)
{
    struct vdb_memory_bytes *copy = malloc(sizeof *copy + capacity);
    if (copy == NULL) {
        return NULL;
    }
    atomic_init(&copy->refs, 1);
    copy->capacity = capacity;
    if (used > 0) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): where bytes are used there are data */
        memcpy(copy->data, data, used);
    }
    memset(copy->data + used, 0, capacity - used);
    return copy;
}

/* Makes *bytes, of which `used` are in use, unshared and with room for `wanted` (M1). */
static int own(struct vdb_memory_bytes **bytes, size_t used, uint64_t wanted)
{
    struct vdb_memory_bytes *old = *bytes;
    if (wanted > VDB_MEMORY_FILE_BYTES_MAX) {
        return ENOSPC;
    }
    size_t capacity = old != NULL ? old->capacity : CAPACITY_BYTES_MIN;
    while (capacity < wanted) {
        capacity *= 2;
    }
    if (old == NULL || is_shared(old)) {
        struct vdb_memory_bytes *copy = copy_bytes(old != NULL ? old->data : NULL, used, capacity);
        if (copy == NULL) {
            return ENOMEM;
        }
        release(old);
        *bytes = copy;
        return 0;
    }
    if (capacity == old->capacity) {
        return 0;
    }
    struct vdb_memory_bytes *grown = realloc(old, sizeof *grown + capacity);
    if (grown == NULL) {
        return ENOMEM;
    }
    memset(grown->data + grown->capacity, 0, capacity - grown->capacity);
    grown->capacity = capacity;
    *bytes = grown;
    return 0;
}

/* M1 and M2 for a file of `wanted` bytes. */
static int reserve(struct vdb_memory_image *image, uint64_t wanted)
{
    int code = own(&image->seen, image->seen_bytes, wanted);
    return code == 0 ? own(&image->durable, image->durable_bytes, wanted) : code;
}

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
    release(image->seen);
    release(image->durable);
    *image = (struct vdb_memory_image){0};
}

static struct vdb_memory_write *append_write(struct vdb_memory_image *image, size_t bytes, size_t offset)
{
    struct vdb_memory_write *write = malloc(sizeof *write + bytes);
    if (write == NULL) {
        return NULL;
    }
    *write = (struct vdb_memory_write){.offset = offset, .bytes = bytes};
    if (image->last != NULL) {
        image->last->next = write;
    } else {
        image->first = write;
    }
    image->last = write;
    return write;
}

bool vdb_memory_image_clone(const struct vdb_memory_image *from, struct vdb_memory_image *to)
{
    to->seen = share(from->seen);
    to->seen_bytes = from->seen_bytes;
    to->durable_bytes = from->durable_bytes;
    if (from->first == NULL) {
        to->durable = share(from->durable);
        return true;
    }
    to->durable = copy_bytes(from->durable->data, from->durable_bytes, from->durable->capacity); /* M2 */
    if (to->durable == NULL) {
        return false;
    }
    for (const struct vdb_memory_write *write = from->first; write != NULL; write = write->next) {
        struct vdb_memory_write *copy = append_write(to, write->bytes, write->offset);
        if (copy == NULL) {
            return false;
        }
        copy->truncates = write->truncates;
        copy->lost = write->lost;
        if (write->bytes > 0) {
            memcpy(copy->data, write->data, write->bytes);
        }
    }
    return true;
}

size_t vdb_memory_image_read(const struct vdb_memory_image *image, void *out, size_t bytes, uint64_t offset)
{
    if (offset >= image->seen_bytes || bytes == 0) {
        return 0;
    }
    size_t left = image->seen_bytes - (size_t)offset;
    size_t got = bytes < left ? bytes : left;
    memcpy(out, image->seen->data + offset, got);
    return got;
}

static void put(struct vdb_memory_bytes *to, size_t *size, const uint8_t *data, size_t bytes, size_t offset)
{
    memcpy(to->data + offset, data, bytes);
    if (offset + bytes > *size) {
        *size = offset + bytes;
    }
}

static void resize(struct vdb_memory_bytes *to, size_t *size, size_t bytes)
{
    if (bytes < *size) {
        memset(to->data + bytes, 0, *size - bytes); /* what comes to light when it grows again */
    }
    *size = bytes;
}

static void keep(struct vdb_memory_image *image, const struct vdb_memory_write *write)
{
    if (write->truncates) {
        resize(image->durable, &image->durable_bytes, write->offset);
    } else {
        put(image->durable, &image->durable_bytes, write->data, write->bytes, write->offset);
    }
}

static void keep_part(struct vdb_memory_image *image, const struct vdb_memory_write *write, size_t from,
                      size_t to)
{
    if (from < to) {
        put(image->durable, &image->durable_bytes, write->data + (from - write->offset), to - from, from);
    }
}

static void keep_size(struct vdb_memory_image *image, const struct vdb_memory_write *write)
{
    if (write->offset + write->bytes > image->durable_bytes) {
        image->durable_bytes = write->offset + write->bytes;
    }
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
            keep(image, write);
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

/* After a power cut: what is durable is all there is. */
static void show_durable(struct vdb_memory_image *image)
{
    free_writes(image);
    release(image->seen);
    image->seen = share(image->durable);
    image->seen_bytes = image->durable_bytes;
}

/* Keeps of one write some sectors. A size past the last of them may survive too. */
static void tear_by_sector(struct vdb_memory_image *image, const struct vdb_memory_write *write,
                           size_t sector_bytes, struct vdb_rng *rng)
{
    if (write->truncates) {
        if (vdb_rng_below(rng, 2) != 0) {
            keep(image, write);
        }
        return;
    }
    size_t end = write->offset + write->bytes;
    for (size_t at = write->offset; at < end;) {
        size_t next = at - at % sector_bytes + sector_bytes;
        if (vdb_rng_below(rng, 2) != 0) {
            keep_part(image, write, at, next < end ? next : end);
        }
        at = next;
    }
    if (vdb_rng_below(rng, 2) != 0) {
        keep_size(image, write);
    }
}

static void crash_by_seed(struct vdb_memory_image *image, struct vdb_rng *rng)
{
    enum { DROP_ALL, KEEP_ALL, KEEP_FIRST, EACH_ALONE, CHOICES };
    size_t sector_bytes = vdb_rng_below(rng, 2) != 0 ? VDB_MEMORY_SECTOR_BYTES : VDB_MEMORY_PAGE_BYTES;
    uint64_t choice = vdb_rng_below(rng, CHOICES);
    /* KEEP_FIRST: the one under the head when the power went */
    uint64_t torn_at = vdb_rng_below(rng, vdb_memory_image_pending_count(image));
    uint64_t i = 0;
    for (const struct vdb_memory_write *write = image->first; write != NULL; write = write->next, i++) {
        uint64_t fate = choice == DROP_ALL                     ? 0
                        : choice == KEEP_ALL                   ? 1
                        : choice == EACH_ALONE || i == torn_at ? vdb_rng_below(rng, 4)
                                                               : (uint64_t)(i < torn_at);
        if (fate == 1) {
            keep(image, write);
        } else if (fate >= 2) {
            tear_by_sector(image, write, sector_bytes, rng);
        }
    }
}

void vdb_memory_image_crash(struct vdb_memory_image *image, struct vdb_rng *rng)
{
    if (rng != NULL && image->first != NULL) {
        crash_by_seed(image, rng);
    }
    show_durable(image);
}

size_t vdb_memory_image_pending_count(const struct vdb_memory_image *image)
{
    size_t count = 0;
    for (const struct vdb_memory_write *write = image->first; write != NULL; write = write->next) {
        count++;
    }
    return count;
}

/* The first boundary past `at` at which the write is torn; its end when there is none. */
static size_t next_boundary(const struct vdb_memory_write *write, size_t at)
{
    size_t end = write->offset + write->bytes;
    size_t next = at - at % VDB_MEMORY_SECTOR_BYTES + VDB_MEMORY_SECTOR_BYTES;
    if (write->bytes > ALL_BOUNDARIES_BYTES_MAX) {
        size_t first_page_end = write->offset - write->offset % VDB_MEMORY_PAGE_BYTES + VDB_MEMORY_PAGE_BYTES;
        size_t last_page = end - 1 - (end - 1) % VDB_MEMORY_PAGE_BYTES;
        if (next > first_page_end && next < last_page) {
            next = (next + VDB_MEMORY_PAGE_BYTES - 1) / VDB_MEMORY_PAGE_BYTES * VDB_MEMORY_PAGE_BYTES;
        }
    }
    return next < end ? next : end;
}

static size_t boundary_count(const struct vdb_memory_write *write)
{
    size_t count = 0;
    size_t end = write->offset + write->bytes;
    for (size_t at = next_boundary(write, write->offset); at < end; at = next_boundary(write, at)) {
        count++;
    }
    return count;
}

/* The least size that the durable side can have when one of the pending writes comes to it. */
static size_t least_size(const struct vdb_memory_image *image)
{
    size_t least = image->durable_bytes;
    for (const struct vdb_memory_write *write = image->first; write != NULL; write = write->next) {
        if (write->truncates && write->offset < least) {
            least = write->offset;
        }
    }
    return least;
}

static bool may_grow(const struct vdb_memory_write *write, size_t least)
{
    return write->offset + write->bytes > least;
}

size_t vdb_memory_image_tear_count(const struct vdb_memory_image *image, size_t number)
{
    const struct vdb_memory_write *write = image->first;
    while (number-- > 0) {
        write = write->next;
    }
    if (write->truncates) {
        return 0;
    }
    return may_grow(write, least_size(image)) ? boundary_count(write) * TEARS_PER_BOUNDARY_GROWING + 1
                                              : boundary_count(write) * TEARS_PER_BOUNDARY;
}

static void tear_as_told(struct vdb_memory_image *image, const struct vdb_memory_write *write, size_t tear,
                         bool grows)
{
    if (grows && tear == 0) {
        keep_size(image, write);
        return;
    }
    size_t number = grows ? (tear - 1) / TEARS_PER_BOUNDARY_GROWING : tear / TEARS_PER_BOUNDARY;
    size_t way = grows ? (tear - 1) % TEARS_PER_BOUNDARY_GROWING : tear % TEARS_PER_BOUNDARY;
    size_t boundary = next_boundary(write, write->offset);
    while (number-- > 0) {
        boundary = next_boundary(write, boundary);
    }
    if (way == 1) {
        keep_part(image, write, boundary, write->offset + write->bytes);
        return;
    }
    keep_part(image, write, write->offset, boundary);
    if (way == 2) {
        keep_size(image, write);
    }
}

void vdb_memory_image_cut(struct vdb_memory_image *image, uint64_t kept, size_t torn, size_t tear)
{
    size_t least = least_size(image);
    size_t i = 0;
    for (const struct vdb_memory_write *write = image->first; write != NULL; write = write->next, i++) {
        assert(i < 64);
        if (i == torn) {
            tear_as_told(image, write, tear, may_grow(write, least));
        } else if ((kept >> i & 1) != 0) {
            keep(image, write);
        }
    }
    show_durable(image);
}

bool vdb_memory_image_flip(struct vdb_memory_image *image, uint64_t offset, uint8_t xor_mask)
{
    if (offset >= image->seen_bytes || reserve(image, image->seen_bytes) != 0) {
        return false;
    }
    image->seen->data[offset] ^= xor_mask;
    if (offset < image->durable_bytes) {
        image->durable->data[offset] ^= xor_mask;
    }
    for (struct vdb_memory_write *write = image->first; write != NULL; write = write->next) {
        if (!write->truncates && offset >= write->offset && offset - write->offset < write->bytes) {
            write->data[offset - write->offset] ^= xor_mask;
        }
    }
    return true;
}
