/* companion.h: what somebody above keeps beside a source of rows (a graph over a segment's rows, say): to storage a
 * counted pointer and nothing else.
 *
 * It is the first member of its owner's struct. Each version holds one reference to each of its segments' companions, so
 * whoever holds a view may use those of its sources without a lock until it releases the view; a memtable holds one to its
 * own. A companion holds no reference to a view, a segment or a memtable: they would keep each other for ever.
 *
 * Threads: atomic.
 */
#ifndef VDB_STORAGE_COMPANION_H
#define VDB_STORAGE_COMPANION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct vdb_companion {
    _Atomic uint64_t refs;                            /* whoever makes it has the first */
    void (*destroy)(struct vdb_companion *companion); /* called by the last to go, on whichever thread that is */
};

static inline void vdb_companion_ref(struct vdb_companion *companion) /* NULL allowed */
{
    if (companion != NULL) {
        atomic_fetch_add_explicit(&companion->refs, 1, memory_order_relaxed);
    }
}

static inline void vdb_companion_unref(struct vdb_companion *companion) /* NULL allowed */
{
    if (companion != NULL && atomic_fetch_sub_explicit(&companion->refs, 1, memory_order_acq_rel) == 1) {
        companion->destroy(companion);
    }
}

#endif
