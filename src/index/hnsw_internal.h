/* hnsw_internal.h: the graph's memory and what its files share: hnsw.c (memory, life), hnsw_walk.c (search of a
 * layer), hnsw_inside.c, hnsw_search.c, hnsw_insert.c, hnsw_remove.c, hnsw_check.c, hnsw_file.c. Nobody else
 * includes it.
 *
 * Memory that never moves. Nodes, lists of layer 0 and copies of vectors lie in arrays of chunks, each as large
 * as all before it, so that a reader's address stays good while the graph grows. A list is a run of slots, each
 * one 32-bit word that is stored and loaded whole; the first empty slot ends it. So a reader beside a writer
 * sees a mixture of two lists' ids, each of which is a row that was published before it was stored (release,
 * acquire).
 *
 * G1 The tree. Each node but the root has one parent, a near node: the parent's list of layer 0 names it with
 *    CHILD, its own names the parent with PARENT. No pruning drops these two links. So the links of layer 0 hold
 *    a spanning tree both ways, and every node can be reached from every other.
 * G2 A node is complete before it is seen: all its lists are written before its parent's link to it, which is
 *    the first link to it that there is; upper layers name it last.
 * G3 Rows whose vectors are equal (distance 0) share a node: the head is in the graph, the others (twins) hang
 *    on its group's list. A group of twins without a head does not exist.
 * G4 A removed row's node (DEAD) stays linked, and readers go through it, until a sweep over all lists that
 *    began after its removal has repaired them; the lists of nodes that died meanwhile just drop it. No list is
 *    given a link to a dead node. So no list names a row that is absent, which a later insert may take.
 *
 * Locks, in their order: writers (inserts share it, everything else that changes has it alone), entry_lock, a
 * node's spin lock, grow_lock, a group's spin lock. Nobody holds two nodes' locks.
 */
#ifndef VDB_INDEX_HNSW_INTERNAL_H
#define VDB_INDEX_HNSW_INTERNAL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/bytes.h"
#include "base/lock.h"
#include "base/mem.h"
#include "distance/cpu.h"
#include "hnsw.h"

enum {
    HNSW_CHUNKS = 26,
    HNSW_FIRST_SHIFT_MIN = 6, /* a graph that begins empty begins small */
    HNSW_SPINS = 64,          /* before a thread that waits for another lets it run */
    HNSW_SCRATCHES_IDLE = 64,
    HNSW_LINKS_MAX = 2 * VDB_HNSW_M_MAX + VDB_HNSW_M_MAX / 4,
    HNSW_POOL_MAX = 4096, /* width up to which a sorted array beats two heaps */
};

#define HNSW_NONE   UINT32_MAX
#define HNSW_CHILD  (UINT32_C(1) << 31)
#define HNSW_PARENT (UINT32_C(1) << 30)
#define HNSW_ROW    (HNSW_PARENT - 1)
#define HNSW_TREE   (HNSW_CHILD | HNSW_PARENT)

typedef _Atomic uint32_t hnsw_slot;

enum hnsw_state {
    HNSW_ABSENT = 0,
    HNSW_INSERTING = 1,
    HNSW_NODE = 2,
    HNSW_TWIN = 3,
    HNSW_DEAD = 4,  /* removed, still linked */
    HNSW_DYING = 5, /* dead, and the sweep under way unlinks it */
};

/* Equal vectors. `head` is a node, the others a list in the order of their insertion. */
struct hnsw_group {
    _Atomic uint32_t head;
    _Atomic uint32_t first;
    uint32_t last;
    _Atomic uint32_t count; /* of twins, without the head */
    atomic_uchar lock;
    struct hnsw_group *older; /* all groups, to free them */
};

struct hnsw_node {
    _Atomic(hnsw_slot *) upper; /* level * m slots: layer 1 first */
    _Atomic(struct hnsw_group *) group;
    _Atomic uint32_t next; /* of twins */
    uint32_t previous;
    atomic_uchar state;
    atomic_uchar level;
    atomic_uchar lock;
};

/* Items by row number. Chunk 0 has 2^shift, chunk i > 0 has 2^(shift + i - 1). */
struct hnsw_array {
    size_t item_bytes;
    unsigned shift;
    bool zeroed;
    _Atomic(char *) chunks[HNSW_CHUNKS];
};

struct hnsw_entry {
    float distance;
    uint32_t row; /* in a pool: the highest bit says that it was expanded */
};

/* What a search or an insert works in. */
struct hnsw_scratch {
    uint8_t *marks; /* of rows: == epoch when visited */
    size_t mark_count;
    uint8_t epoch;
    struct hnsw_entry *pool; /* the results of a walk, nearest first */
    size_t pool_capacity;
    struct hnsw_entry *heap; /* candidates of a wide walk */
    size_t heap_capacity;
    struct hnsw_entry *spare; /* candidates of a list that is chosen anew */
    size_t spare_capacity;
    uint32_t *chosen; /* of each layer: m */
    void *query;      /* converted; of a lossy graph */
    struct hnsw_scratch *next;
};

struct hnsw_block {
    struct hnsw_block *older;
    _Alignas(64) char data[];
};

struct vdb_hnsw {
    struct vdb_hnsw_params params;
    vdb_element element;
    vdb_metric metric;
    size_t dimension;
    size_t vector_bytes;        /* of a row */
    vdb_element inside_element; /* of the copies inside; the rows' without */
    bool lossy;                 /* it is not the rows' */
    bool coded;                 /* it is 8-bit codes */
    atomic_bool codes_ready;    /* the next two are known; they do not change again */
    float code_low;
    float code_step;
    size_t inside_bytes;  /* of one vector of it */
    vdb_distance_fn *one; /* of inside_element */
    vdb_distance_few_fn *few;
    vdb_distance_fn *exact; /* of the rows */
    double level_scale;
    uint32_t links0; /* slots of a list of layer 0: 2 * m, or (dot) children_max more */
    uint32_t children_max;
    struct hnsw_array nodes;   /* struct hnsw_node */
    struct hnsw_array lists;   /* links0 slots */
    struct hnsw_array vectors; /* with vectors_inside */
    _Atomic uint64_t entry;    /* (layer + 1) << 32 | row; 0: empty */
    /* The last entry point of each height, entry among them, in the same form: for those whose view is older. Any of
     * them may have been removed since. */
    _Atomic uint64_t entries[VDB_HNSW_LAYERS_MAX];
    uint32_t root;            /* of the tree; HNSW_NONE */
    _Atomic uint32_t row_end; /* no row from here on was ever in */
    _Atomic uint64_t rows;    /* that are in: nodes and twins */
    _Atomic uint64_t twins;
    _Atomic uint64_t distances; /* of inserts and removals */
    _Atomic uint64_t layer_nodes[VDB_HNSW_LAYERS_MAX];
    pthread_rwlock_t writers;
    pthread_mutex_t entry_lock;
    pthread_mutex_t grow_lock;
    struct hnsw_block *blocks; /* of upper lists */
    size_t block_used;
    size_t block_bytes;
    uint64_t upper_bytes; /* in use */
    struct hnsw_group *groups;
    uint64_t group_count;
    _Atomic(struct hnsw_scratch *) idle[HNSW_SCRATCHES_IDLE];
    /* G4 */
    uint32_t *dead;
    size_t dead_count;
    size_t dead_capacity;
    size_t dying_count; /* the first of dead: the sweep under way is theirs */
    uint32_t sweep_at;
};

/* ---- Addresses ---- */

static inline unsigned hnsw_chunk_of(const struct hnsw_array *array, uint32_t row)
{
    return 31u - (unsigned)__builtin_clz(((row >> array->shift) << 1) | 1);
}

static inline uint32_t hnsw_chunk_begin(const struct hnsw_array *array, unsigned chunk)
{
    return chunk == 0 ? 0 : UINT32_C(1) << (array->shift + chunk - 1);
}

static inline void *hnsw_at(const struct hnsw_array *array, uint32_t row)
{
    unsigned chunk = hnsw_chunk_of(array, row);
    char *items = atomic_load_explicit(&array->chunks[chunk], memory_order_relaxed);
    return items + (size_t)(row - hnsw_chunk_begin(array, chunk)) * array->item_bytes;
}

static inline struct hnsw_node *hnsw_node_at(const struct vdb_hnsw *hnsw, uint32_t row)
{
    return hnsw_at(&hnsw->nodes, row);
}

static inline unsigned hnsw_state_of(const struct vdb_hnsw *hnsw, uint32_t row)
{
    return atomic_load_explicit(&hnsw_node_at(hnsw, row)->state, memory_order_acquire);
}

static inline bool hnsw_is_dead(unsigned state)
{
    return state >= HNSW_DEAD;
}

static inline uint32_t hnsw_list_slots(const struct vdb_hnsw *hnsw, unsigned layer)
{
    return layer == 0 ? hnsw->links0 : hnsw->params.m;
}

/* The slots of a node's list. layer is at most the node's. */
static inline hnsw_slot *hnsw_list_at(const struct vdb_hnsw *hnsw, uint32_t row, unsigned layer)
{
    if (layer == 0) {
        return hnsw_at(&hnsw->lists, row);
    }
    hnsw_slot *upper = atomic_load_explicit(&hnsw_node_at(hnsw, row)->upper, memory_order_acquire);
    return upper + (size_t)(layer - 1) * hnsw->params.m;
}

static inline uint32_t hnsw_link_get(const hnsw_slot *slot)
{
    return atomic_load_explicit(slot, memory_order_acquire);
}

static inline void hnsw_link_set(hnsw_slot *slot, uint32_t link)
{
    atomic_store_explicit(slot, link, memory_order_release);
}

static inline void hnsw_lock(atomic_uchar *lock)
{
    while (atomic_exchange_explicit(lock, 1, memory_order_acquire) != 0) {
        for (unsigned spins = 0; atomic_load_explicit(lock, memory_order_relaxed) != 0; spins++) {
            if (spins >= HNSW_SPINS) { /* who holds it was stopped, or chooses a list anew */
                sched_yield();
                continue;
            }
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    }
}

static inline void hnsw_unlock(atomic_uchar *lock)
{
    atomic_store_explicit(lock, 0, memory_order_release);
}

/* ---- A walk: one query (or one row that is inserted) over the graph ---- */

/* hnsw_walk.c: of a distance beyond HNSW_FLOAT_SURE, a float that orders as it does; of a NaN, infinity. And back, about. */
float vdb_hnsw_walk_narrow(double distance);
double vdb_hnsw_walk_widen(float distance);

struct hnsw_walk {
    const struct vdb_hnsw *hnsw;
    const struct vdb_rows *rows;
    struct hnsw_scratch *scratch;
    const void *query;   /* as inside; NULL: nothing is inside yet */
    const void *source;  /* as the rows are */
    const char *vectors; /* NULL, or where row 0's lies, when all lie `stride_bytes` apart */
    size_t stride_bytes;
    uint32_t limit;    /* rows from here on are not in the caller's view */
    bool stop_at_zero; /* an insert looks for an equal vector first */
    uint32_t equal;    /* what it found; HNSW_NONE */
    size_t pool_count;
    uint64_t distances;
    uint64_t expanded;
    struct vdb_hnsw_trace *trace;
};

static inline const void *hnsw_vector(const struct hnsw_walk *walk, uint32_t row)
{
    if (walk->vectors != NULL) {
        return walk->vectors + row * walk->stride_bytes;
    }
    return walk->hnsw->params.vectors_inside ? hnsw_at(&walk->hnsw->vectors, row) : vdb_rows_at(walk->rows, row);
}

/* What a float holds as it is; hnsw_walk.c brings what lies beyond into a float's range, in its order. */
#define HNSW_FLOAT_SURE 0x1p100

static inline float hnsw_narrow(double distance)
{
    return fabs(distance) < HNSW_FLOAT_SURE ? (float)distance : vdb_hnsw_walk_narrow(distance);
}

static inline float hnsw_distance(const struct hnsw_walk *walk, const void *a, const void *b)
{
    return hnsw_narrow(walk->hnsw->one(a, b, walk->hnsw->dimension));
}

/* hnsw.c */
vdb_status vdb_hnsw_grow(struct vdb_hnsw *hnsw, uint32_t row, struct vdb_err *err) VDB_MUST_CHECK;
hnsw_slot *vdb_hnsw_make_upper(struct vdb_hnsw *hnsw, unsigned level);
struct hnsw_group *vdb_hnsw_make_group(struct vdb_hnsw *hnsw, uint32_t head);
unsigned vdb_hnsw_level_of(const struct vdb_hnsw *hnsw, uint32_t row);
/* Makes a row the entry point; entry: as struct vdb_hnsw.entry. */
void vdb_hnsw_set_entry(struct vdb_hnsw *hnsw, uint64_t entry);
/* What stats calls graph_bytes and vector_bytes. */
uint64_t vdb_hnsw_graph_bytes(struct vdb_hnsw *hnsw, uint64_t *vector_bytes);
vdb_status vdb_hnsw_rows_fit(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                             struct vdb_err *err) VDB_MUST_CHECK;
/* A scratch for rows below limit; put it back with vdb_hnsw_scratch_put. NULL when memory is short. */
struct hnsw_scratch *vdb_hnsw_scratch_get(const struct vdb_hnsw *hnsw, uint32_t limit);
void vdb_hnsw_scratch_put(const struct vdb_hnsw *hnsw, struct hnsw_scratch *scratch);
bool vdb_hnsw_entries_reserve(struct hnsw_entry **entries, size_t *capacity, size_t count);

/* hnsw_inside.c */
/* Fixes the bounds of codes, if the graph keeps such and has none yet: of `row`, or if that is HNSW_NONE of all rows
 * (of `only`). Must come before the first conversion. */
void vdb_hnsw_learn(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, const struct vdb_bitset *only,
                    uint32_t row);
/* A row's vector as it is kept inside. */
void vdb_hnsw_convert(const struct vdb_hnsw *hnsw, const void *vector, void *out);
bool vdb_hnsw_is_stored(const struct vdb_hnsw *hnsw, uint32_t row, const void *vector);

/* hnsw_walk.c */
/* Whether the walk's row equals another, as the rows themselves say; called when their distance is 0 or says
 * nothing. */
bool vdb_hnsw_walk_equals(const struct hnsw_walk *walk, uint32_t row);
void vdb_hnsw_walk_begin(struct hnsw_walk *walk, const struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                         struct hnsw_scratch *scratch, const void *source);
/* Where a walk starts: the entry point, or another node when that is not in view. *layer is its layer. */
bool vdb_hnsw_walk_entry(struct hnsw_walk *walk, struct hnsw_entry *out, unsigned *layer);
/* Goes from `at` to the nearest that steps in `layer` lead to. */
struct hnsw_entry vdb_hnsw_walk_greedy(struct hnsw_walk *walk, struct hnsw_entry at, unsigned layer);
/* Fills the pool with the ef nearest found from the pool_count entries that are in it. Room for ef + 1. */
void vdb_hnsw_walk_layer(struct hnsw_walk *walk, unsigned layer, size_t ef);
/* The neighbours in a list that this walk sees for the first time; marks them. Room for a list. */
uint32_t vdb_hnsw_walk_gather(struct hnsw_walk *walk, uint32_t row, unsigned layer, uint32_t *out);
/* Distances of the walk's query to these rows, several in step, each asked for ahead of its turn. */
void vdb_hnsw_walk_measure(struct hnsw_walk *walk, const uint32_t *rows, uint32_t count, float *out);
/* Asks for a row as the caller has it, in view. */
void vdb_hnsw_walk_ask_row(const struct hnsw_walk *walk, uint32_t row);
/* Asks for a node's list of layer 0. */
void vdb_hnsw_walk_ask(const struct hnsw_walk *walk, uint32_t row);
/* Counts the node as expanded, and as a step of the trace. */
void vdb_hnsw_walk_note(struct hnsw_walk *walk, unsigned layer, struct hnsw_entry at);
void vdb_hnsw_new_epoch(struct hnsw_scratch *scratch);

/* hnsw_insert.c */
/* Hangs a row on the group of `head`, at its end. */
vdb_status vdb_hnsw_join_group(struct vdb_hnsw *hnsw, uint32_t head, uint32_t row,
                               struct vdb_err *err) VDB_MUST_CHECK;
/* The insert proper, of a row that is INSERTING: into the graph, or to its equals. may_twin false: of a twin, which goes
 * into the graph and stays on its group's list until the caller takes it off. */
vdb_status vdb_hnsw_insert_row(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct hnsw_scratch *scratch,
                               uint32_t row, bool may_twin, struct vdb_err *err) VDB_MUST_CHECK;
/* Algorithm 4 on entries sorted by their distance to the base; those with tree bits are kept. Returns how many of
 * `out` (room for `slots`) were filled: rows with their tree bits. */
uint32_t vdb_hnsw_choose(struct hnsw_walk *walk, const struct hnsw_entry *sorted, size_t count, uint32_t slots,
                         uint32_t *out);
void vdb_hnsw_sort(struct hnsw_entry *entries, size_t count);
/* Makes `link` (with its tree bit) part of the list of layer 0 of a locked node; may push another out. */
void vdb_hnsw_set_tree_link(struct vdb_hnsw *hnsw, uint32_t row, uint32_t link);
/* Gives a node without a parent one at or below `start`. */
void vdb_hnsw_adopt(struct vdb_hnsw *hnsw, uint32_t child, uint32_t start);
void vdb_hnsw_write_list(hnsw_slot *slots, uint32_t slot_count, const uint32_t *links, uint32_t count);

/* hnsw_remove.c: with `writers` held alone. */
vdb_status vdb_hnsw_sweep_all(struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                              struct vdb_err *err) VDB_MUST_CHECK;

#endif
