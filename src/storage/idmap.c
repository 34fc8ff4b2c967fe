/* idmap.c: the open-addressing table. Invariant: at most 7/8 of the entries are used, so every probe ends. */
#include "idmap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

_Static_assert(VDB_SLOT_NONE == UINT32_MAX, "a free entry is all ones");

enum {
    CAPACITY_FIRST = 16,
    HUGE_PAGE_BYTES = 2 << 20,
};

struct vdb_idmap_entry {
    uint64_t
        hash; /* kept whole: settles nearly every mismatch without touching the row, and growing needs no ids */
    uint32_t slot; /* VDB_SLOT_NONE: free */
};

void vdb_idmap_fini(struct vdb_idmap *map)
{
    free(map->entries);
    *map = (struct vdb_idmap){0};
}

/* Free entries, or NULL. A large table asks for huge pages: it is read all over, a page of its own for each id. */
static struct vdb_idmap_entry *make_entries(size_t capacity)
{
    size_t bytes = capacity * sizeof(struct vdb_idmap_entry); /* vdb_idmap_reserve keeps it in range */
    struct vdb_idmap_entry *entries = bytes >= HUGE_PAGE_BYTES ? aligned_alloc(HUGE_PAGE_BYTES, bytes)
                                                               : malloc(bytes);
    if (entries != NULL) {
        if (bytes >= HUGE_PAGE_BYTES) {
            (void)madvise(entries, bytes, MADV_HUGEPAGE); /* a hint: its failure is nothing */
        }
        memset(entries, 0xff, bytes); /* every slot VDB_SLOT_NONE */
    }
    return entries;
}

static bool grow(struct vdb_idmap *map, size_t capacity)
{
    struct vdb_idmap_entry *entries = make_entries(capacity);
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->entries[i].slot != VDB_SLOT_NONE) {
            size_t at = map->entries[i].hash & (capacity - 1);
            while (entries[at].slot != VDB_SLOT_NONE) {
                at = (at + 1) & (capacity - 1);
            }
            entries[at] = map->entries[i];
        }
    }
    free(map->entries);
    map->entries = entries;
    map->capacity = capacity;
    return true;
}

bool vdb_idmap_reserve(struct vdb_idmap *map, size_t more)
{
    size_t needed;
    if (!vdb_size_add(map->count, more, &needed) || needed > SIZE_MAX / 64) {
        return false;
    }
    size_t capacity = map->capacity > 0 ? map->capacity : CAPACITY_FIRST;
    while (needed > capacity / 8 * 7) {
        capacity *= 2;
    }
    return capacity == map->capacity || grow(map, capacity);
}

/* The entry that holds the id, or the free one where it belongs. */
static struct vdb_idmap_entry *probe(const struct vdb_idmap *map, const struct vdb_id *id, uint64_t hash,
                                     vdb_idmap_id_fn *id_of, const void *ctx)
{
    size_t at = hash & (map->capacity - 1);
    for (;;) {
        struct vdb_idmap_entry *entry = &map->entries[at];
        if (entry->slot == VDB_SLOT_NONE || (entry->hash == hash && vdb_id_equal(id_of(ctx, entry->slot), id))) {
            return entry;
        }
        at = (at + 1) & (map->capacity - 1);
    }
}

void vdb_idmap_prefetch(const struct vdb_idmap *map, const struct vdb_id *id)
{
    if (map->capacity > 0) {
        __builtin_prefetch(&map->entries[vdb_id_hash(id) & (map->capacity - 1)], 1);
    }
}

uint32_t vdb_idmap_find(const struct vdb_idmap *map, const struct vdb_id *id, vdb_idmap_id_fn *id_of,
                        const void *ctx)
{
    if (map->capacity == 0) {
        return VDB_SLOT_NONE;
    }
    return probe(map, id, vdb_id_hash(id), id_of, ctx)->slot;
}

uint32_t vdb_idmap_put(struct vdb_idmap *map, const struct vdb_id *id, uint32_t slot, vdb_idmap_id_fn *id_of,
                       const void *ctx)
{
    assert(map->capacity > 0 && map->count < map->capacity);
    uint64_t hash = vdb_id_hash(id);
    struct vdb_idmap_entry *entry = probe(map, id, hash, id_of, ctx);
    uint32_t before = entry->slot;
    map->count += before == VDB_SLOT_NONE ? 1 : 0;
    entry->hash = hash;
    entry->slot = slot;
    return before;
}
