/* memtable_world.h: what the memtable's tests share: ids and rows that tell what they are, batches, the check of a view's
 * bitmap.
 *
 * Include after "support.h".
 */
#ifndef VDB_TESTS_UNIT_STORAGE_MEMTABLE_WORLD_H
#define VDB_TESTS_UNIT_STORAGE_MEMTABLE_WORLD_H

#include <stdlib.h>

#include "base/limits.h"
#include "storage/batch.h"
#include "storage/idmap.h"
#include "storage/memtable.h"

enum { IDS = 40, METADATA_BYTES = 48 };

/* Id n: thirds are numbers, short texts, and long texts with a NUL in them. */
static inline struct vdb_id make_id(unsigned n, char text[VDB_LIMIT_ID_BYTES_MAX])
{
    if (n % 3 == 0) {
        return (struct vdb_id){.number = n};
    }
    memset(text, 0, VDB_LIMIT_ID_BYTES_MAX);
    int bytes = snprintf(text, VDB_LIMIT_ID_BYTES_MAX, "%u", n);
    return (struct vdb_id){text, n % 3 == 1 ? (uint32_t)bytes : VDB_LIMIT_ID_BYTES_MAX, 0};
}

/* Value v of id n, as vector and metadata; both tell n and v. */
static inline void make_row(unsigned n, unsigned v, uint32_t dimension, float *vector,
                            char metadata[METADATA_BYTES])
{
    for (uint32_t d = 0; d < dimension; d++) {
        vector[d] = d % 2 == 0 ? (float)(n * 1000 + d) : (float)(v * 16 + d % 16);
    }
    snprintf(metadata, METADATA_BYTES, "{\"n\":%u,\"v\":%u}", n, v);
}

static inline void put_upsert(struct vdb_buf *batch, unsigned n, unsigned v, uint32_t dimension)
{
    char text[VDB_LIMIT_ID_BYTES_MAX];
    char metadata[METADATA_BYTES];
    float *vector = malloc(dimension * sizeof *vector);
    struct vdb_id id = make_id(n, text);
    make_row(n, v, dimension, vector, metadata);
    vdb_batch_upsert(batch, &id, vector, dimension, vdb_str_of(metadata));
    free(vector);
}

static inline void put_delete(struct vdb_buf *batch, unsigned n)
{
    char text[VDB_LIMIT_ID_BYTES_MAX];
    struct vdb_id id = make_id(n, text);
    vdb_batch_delete(batch, &id);
}

/* Stages and publishes; returns how many points it changed. */
static inline uint64_t write_batch(struct vdb_memtable *memtable, const struct vdb_buf *batch, uint64_t seq)
{
    struct vdb_err err = {0};
    struct vdb_staged *staged;
    /* From a copy that is gone afterwards: publication must have taken all it needs. */
    uint8_t *copy = malloc(batch->bytes);
    memcpy(copy, batch->data, batch->bytes);
    if (seq % 3 == 0 && vdb_memtable_wants_memory(memtable)) { /* some chunks are made ahead, some on demand */
        vdb_memtable_make_memory(memtable);
        assert_false(vdb_memtable_wants_memory(memtable));
    }
    assert_ok(vdb_memtable_stage(memtable, copy, batch->bytes, &staged, &err), &err);
    uint64_t changed = vdb_memtable_publish(memtable, staged, seq, NULL, NULL);
    memset(copy, 0xee, batch->bytes);
    free(copy);
    return changed;
}

/* The bitmap of the view's visible slots says of each what the row itself says. `words` has room for all of them. */
static inline bool bitmap_is_right(const struct vdb_memtable_view *view, uint64_t *words)
{
    struct vdb_bitset allow = {words, view->slot_count};
    uint32_t count = 0;
    memset(words, 0, vdb_bitset_words(view->slot_count) * sizeof *words);
    uint32_t filled = vdb_memtable_fill_visible(view, &allow);
    for (uint32_t slot = 0; slot < view->slot_count; slot++) {
        if (vdb_bitset_test(&allow, slot) != vdb_slot_visible(view, slot)) {
            return false;
        }
        count += vdb_bitset_test(&allow, slot);
    }
    const uint64_t last = view->slot_count % 64 != 0 ? words[view->slot_count / 64] >> (view->slot_count % 64)
                                                     : 0;
    return filled == count && last == 0;
}

static inline void check_bitmap(const struct vdb_memtable_view *view)
{
    uint64_t *words = calloc(vdb_bitset_words(view->slot_count) + 1, sizeof *words);
    assert_true(bitmap_is_right(view, words));
    free(words);
}

/* Pins a view and looks; false: something was published in between, and nothing was found out. */
static inline bool find(struct vdb_memtable *memtable, const struct vdb_id *ids, size_t count,
                        struct vdb_memtable_view *view, uint32_t *slots)
{
    struct vdb_memtable_view after;
    vdb_memtable_pin(memtable, view);
    vdb_memtable_look(memtable, view, ids, count, slots);
    vdb_memtable_pin(memtable, &after);
    return after.seq == view->seq;
}

#endif
