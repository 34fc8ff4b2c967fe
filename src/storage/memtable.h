/* memtable.h: the rows of a collection in memory, every version of them: multi-version, append-only.
 *
 * A write goes in two steps, in Redis vector sets' manner: `stage` may fail and shows nothing; `publish` cannot
 * fail. Live writes stage, log, publish; recovery stages and publishes what the log holds: the same two
 * functions.
 *
 *   M1  A row never changes once published, but for seq_to, which goes from "live" to a number once.
 *   M2  A version is visible to a view of sequence number S when seq_from <= S < seq_to.
 *   M3  Batches are published in the order of their sequence numbers, each at once: a view pinned at S sees all
 *       of the batches up to S and nothing of later ones.
 *   M4  For each id at most one version is visible in any view.
 *   M5  Chunks never move: rows [0, slot_count) of a view stay readable, without a lock, while the memtable
 *       lives.
 *
 * Which versions have ended is kept a second time as bits, so that a search need not look at every row: see N1 and N2 in
 * memtable.c.
 *
 * One memtable takes the writes; before it there may be one that is being written to a segment (store.h).
 *
 * Threads: locked. stage from many threads; publish one at a time (the store's turnstile); views from any thread.
 */
#ifndef VDB_STORAGE_MEMTABLE_H
#define VDB_STORAGE_MEMTABLE_H

#include <stdatomic.h>

#include "base/bitset.h"
#include "base/bytes.h"
#include "base/err.h"
#include "companion.h"
#include "id.h"

#define VDB_SEQ_LIVE UINT64_MAX

struct vdb_memtable;
struct vdb_staged; /* a checked batch with its memory reserved */

/* One version of one point. Immutable but for seq_to. */
struct vdb_row {
    uint64_t seq_from;
    _Atomic uint64_t seq_to; /* VDB_SEQ_LIVE while it is the newest */
    struct vdb_id id;
    struct vdb_str metadata; /* canonical compact JSON object */
};

/* A pinned state: plain data, nothing to release (who pins keeps a reference to the memtable). */
struct vdb_memtable_view {
    uint64_t seq;
    uint32_t slot_count; /* versions that may be visible are among slots [0, slot_count) */
    uint32_t dead_count; /* of them, not visible at seq */
    unsigned chunk_shift;
    size_t stride_bytes;              /* between vectors, a multiple of 64 */
    const void *const *vector_chunks; /* slot s: chunk s >> chunk_shift */
    struct vdb_row *const *row_chunks;
    _Atomic uint64_t *const *dead_chunks; /* bits of slots that have ended: vdb_memtable_fill_visible */
    const _Atomic uint64_t *end_max;
};

/* NULL when memory is short. One reference. */
struct vdb_memtable *vdb_memtable_create(uint32_t dimension);
void vdb_memtable_ref(struct vdb_memtable *memtable);
void vdb_memtable_unref(struct vdb_memtable *memtable); /* the last frees it; NULL allowed */

/* Decodes a batch and takes all the memory its publication needs. payload is borrowed until publish or discard.
 * VDB_CORRUPT for malformed bytes, VDB_NO_MEMORY, VDB_LIMIT when the collection is full. */
vdb_status vdb_memtable_stage(struct vdb_memtable *memtable, const void *payload, size_t bytes,
                              struct vdb_staged **out, struct vdb_err *err) VDB_MUST_CHECK;

/* The memory that the rows to come need next can be made ready beside the writers (any thread that holds a reference):
 * a system that clears pages, or a host that has to find them, takes long over it, and a publication that waits for that
 * holds up readers. wants: nobody has begun to. */
bool vdb_memtable_wants_memory(const struct vdb_memtable *memtable);
void vdb_memtable_make_memory(struct vdb_memtable *memtable);

/* Ends, as of seq, the live version of an id that is kept elsewhere (in a memtable before this one, in a segment).
 * True when there was one. */
typedef bool vdb_memtable_older_fn(void *ctx, const struct vdb_id *id, uint64_t seq);

/* Makes the batch visible as of seq (M3) and frees `staged`. `older` (NULL: there is nothing elsewhere) is asked
 * for each id that this memtable has no version of. Returns how many points it changed: upserts, and deletes of
 * points that were there. */
uint64_t vdb_memtable_publish(struct vdb_memtable *memtable, struct vdb_staged *staged, uint64_t seq,
                              vdb_memtable_older_fn *older, void *ctx);

/* Ends the live version of the id as of seq: a batch that went to a later memtable wrote or deleted it. True when
 * there was one. */
bool vdb_memtable_end(struct vdb_memtable *memtable, const struct vdb_id *id, uint64_t seq);

/* Frees a batch that will not be published. NULL allowed. */
void vdb_memtable_discard(struct vdb_memtable *memtable, struct vdb_staged *staged);

void vdb_memtable_pin(struct vdb_memtable *memtable, struct vdb_memtable_view *view);

static inline struct vdb_row *vdb_slot_row(const struct vdb_memtable_view *view, uint32_t slot)
{
    return &view->row_chunks[slot >> view->chunk_shift][slot & ((1u << view->chunk_shift) - 1)];
}

static inline const float *vdb_slot_vector(const struct vdb_memtable_view *view, uint32_t slot)
{
    const char *chunk = view->vector_chunks[slot >> view->chunk_shift];
    return (const float *)(const void *)(chunk + (slot & ((1u << view->chunk_shift) - 1)) * view->stride_bytes);
}

/* M2 */
static inline bool vdb_slot_visible(const struct vdb_memtable_view *view, uint32_t slot)
{
    const struct vdb_row *row = vdb_slot_row(view, slot);
    return row->seq_from <= view->seq && view->seq < atomic_load_explicit(&row->seq_to, memory_order_relaxed);
}

/* Sets the bits of the view's visible slots in `allow` (of at least slot_count bits, all clear); returns how many. Quick
 * when none ended after the view's seq. As vdb_segment_fill_visible: what ended at or before seq must have been ended
 * before this call (the pin of a view at seq sees to it); slots may go on ending after seq beside it. */
uint32_t vdb_memtable_fill_visible(const struct vdb_memtable_view *view, struct vdb_bitset *allow);

/* Finds, as of a view, the slots of ids[0..count): slots[i] is VDB_SLOT_NONE (idmap.h) for absent ones. Nothing may
 * have been published since the view was pinned. */
void vdb_memtable_look(struct vdb_memtable *memtable, const struct vdb_memtable_view *view,
                       const struct vdb_id *ids, size_t count, uint32_t *slots);

/* Puts a companion beside the rows, once: true, and the reference is the memtable's, to be given up with it. False,
 * and nothing else, when it has one. Any thread. */
bool vdb_memtable_set_companion(struct vdb_memtable *memtable, struct vdb_companion *companion);
struct vdb_companion *vdb_memtable_companion(const struct vdb_memtable *memtable); /* borrowed; NULL: none yet */

struct vdb_memtable_stats {
    uint64_t live; /* points */
    uint64_t dead; /* versions that no new view sees */
    uint64_t memory_bytes;
    uint64_t last_seq;
};

void vdb_memtable_get_stats(struct vdb_memtable *memtable, struct vdb_memtable_stats *out);

#endif
