/* idmap.h: from a point's id to the slot of its newest version.
 *
 * Open addressing with linear probing over (hash, slot) pairs; ids themselves stay with the rows, which the
 * caller compares through a callback. Entries are never removed: a deleted id keeps pointing at its dead slot
 * until it is written again, so probing needs no tombstones. Threads: confined; the memtable's lock guards it.
 */
#ifndef VDB_STORAGE_IDMAP_H
#define VDB_STORAGE_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "id.h"

#define VDB_SLOT_NONE UINT32_MAX

struct vdb_idmap {
    struct vdb_idmap_entry *entries;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* The id that the row in that slot has. */
typedef const struct vdb_id *vdb_idmap_id_fn(const void *ctx, uint32_t slot);

void vdb_idmap_fini(struct vdb_idmap *map);

/* Makes room for `more` new ids, so that as many vdb_idmap_put cannot fail. False when memory is short. */
bool vdb_idmap_reserve(struct vdb_idmap *map, size_t more);

/* Asks for the memory where the id's entry is looked up first, a few ids ahead of a find or put: a large table is
 * not in the caches. */
void vdb_idmap_prefetch(const struct vdb_idmap *map, const struct vdb_id *id);

/* The slot stored for the id, or VDB_SLOT_NONE. */
uint32_t vdb_idmap_find(const struct vdb_idmap *map, const struct vdb_id *id, vdb_idmap_id_fn *id_of,
                        const void *ctx);

/* Stores slot for id; returns the slot that stood there, or VDB_SLOT_NONE. Room was reserved. The row in `slot`
 * must already carry the id. */
uint32_t vdb_idmap_put(struct vdb_idmap *map, const struct vdb_id *id, uint32_t slot, vdb_idmap_id_fn *id_of,
                       const void *ctx);

#endif
