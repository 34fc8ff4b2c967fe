/* hnsw_remove.c: true deletion.
 *
 * Links are not mutual, so a node's in-neighbours are not known from it. A removed node therefore stays linked
 * as a mere waypoint (G4) while a sweep goes over all lists, a stretch with every removal, and repairs those
 * that name a dead node: they choose anew (algorithm 4) among what they have and the dead neighbours'
 * neighbours. Where the sweep comes to its end, nothing names the nodes that were dead when it began, and they
 * are absent. What died meanwhile is the next sweep's. So at most some 2 / SWEEP_ROWS of the graph are
 * waypoints, and a removal costs about as much as an insert.
 *
 * The tree (G1) is mended at once: the first child takes the removed node's place under its parent, and the
 * others are adopted below that child, which none of them is above of.
 *
 * Threads: all here runs with `writers` held alone; readers go on.
 */
#include "hnsw_internal.h"

#include <assert.h>
#include <math.h>

enum {
    SWEEP_ROWS = 64,     /* rows looked at with each removal */
    OF_DEAD_MAX = 16,    /* neighbours taken over from one dead neighbour */
    CANDIDATES_MAX = 512 /* of one list's repair */
};

/* ---- The tree ---- */

/* Puts `link` in the place of the slot that names `row`, and takes out any other slot of the same row. */
static void replace_link(struct vdb_hnsw *hnsw, uint32_t of, uint32_t row, uint32_t link)
{
    hnsw_slot *slots = hnsw_list_at(hnsw, of, 0);
    uint32_t links[HNSW_LINKS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < hnsw->links0; i++) {
        uint32_t there = hnsw_link_get(&slots[i]);
        if (there == HNSW_NONE) {
            break;
        }
        if ((there & HNSW_ROW) == row) {
            links[count++] = link;
        } else if ((there & HNSW_ROW) != (link & HNSW_ROW)) {
            links[count++] = there;
        }
    }
    vdb_hnsw_write_list(slots, hnsw->links0, links, count);
}

static void mend_tree(struct vdb_hnsw *hnsw, uint32_t row)
{
    hnsw_slot *slots = hnsw_list_at(hnsw, row, 0);
    uint32_t children[VDB_HNSW_M_MAX];
    uint32_t child_count = 0;
    uint32_t parent = HNSW_NONE;
    for (uint32_t i = 0; i < hnsw->links0; i++) {
        uint32_t link = hnsw_link_get(&slots[i]);
        if (link == HNSW_NONE) {
            break;
        }
        if ((link & HNSW_CHILD) != 0) {
            children[child_count++] = link & HNSW_ROW;
        } else if ((link & HNSW_PARENT) != 0) {
            parent = link & HNSW_ROW;
        }
        hnsw_link_set(&slots[i], link & HNSW_ROW); /* a dead node is in no tree */
    }
    if (child_count == 0) {
        if (parent == HNSW_NONE) {
            hnsw->root = HNSW_NONE; /* it was the last */
        } else {
            replace_link(hnsw, parent, row, row);
        }
        return;
    }
    if (parent == HNSW_NONE) {
        hnsw->root = children[0];
        replace_link(hnsw, children[0], row, row);
    } else {
        replace_link(hnsw, parent, row, children[0] | HNSW_CHILD);
        replace_link(hnsw, children[0], row, parent | HNSW_PARENT);
    }
    for (uint32_t i = 1; i < child_count; i++) {
        replace_link(hnsw, children[i], row, row);
        vdb_hnsw_adopt(hnsw, children[i], children[0]);
    }
}

/* ---- The sweep ---- */

static bool names_dead(const struct vdb_hnsw *hnsw, const hnsw_slot *slots, uint32_t slot_count)
{
    for (uint32_t i = 0; i < slot_count; i++) {
        uint32_t link = hnsw_link_get(&slots[i]);
        if (link == HNSW_NONE) {
            return false;
        }
        if (hnsw_is_dead(hnsw_state_of(hnsw, link & HNSW_ROW))) {
            return true;
        }
    }
    return false;
}

/* The candidates of a list that is repaired: what it names that lives, and some of what its dead name. */
static size_t repair_candidates(struct hnsw_walk *walk, uint32_t row, unsigned layer, struct hnsw_entry *out)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    const uint32_t slot_count = hnsw_list_slots(hnsw, layer);
    const hnsw_slot *slots = hnsw_list_at(hnsw, row, layer);
    uint8_t *marks = walk->scratch->marks;
    size_t count = 0;
    vdb_hnsw_new_epoch(walk->scratch);
    const uint8_t epoch = walk->scratch->epoch;
    marks[row] = epoch;
    for (uint32_t i = 0; i < slot_count; i++) {
        uint32_t link = hnsw_link_get(&slots[i]);
        if (link == HNSW_NONE) {
            break;
        }
        marks[link & HNSW_ROW] = epoch;
        if (!hnsw_is_dead(hnsw_state_of(hnsw, link & HNSW_ROW))) {
            out[count++] = (struct hnsw_entry){0, link};
        }
    }
    for (uint32_t i = 0; i < slot_count; i++) {
        uint32_t dead = hnsw_link_get(&slots[i]);
        if (dead == HNSW_NONE) {
            break;
        }
        if (!hnsw_is_dead(hnsw_state_of(hnsw, dead & HNSW_ROW))) {
            continue;
        }
        const hnsw_slot *of_dead = hnsw_list_at(hnsw, dead & HNSW_ROW, layer);
        uint32_t taken = 0;
        for (uint32_t j = 0; j < slot_count && taken < OF_DEAD_MAX && count < CANDIDATES_MAX; j++) {
            uint32_t link = hnsw_link_get(&of_dead[j]);
            if (link == HNSW_NONE) {
                break;
            }
            link &= HNSW_ROW;
            if (marks[link] != epoch && hnsw_state_of(hnsw, link) == HNSW_NODE) {
                marks[link] = epoch;
                out[count++] = (struct hnsw_entry){0, link};
                taken++;
            }
        }
    }
    return count;
}

static void repair_list(struct hnsw_walk *walk, uint32_t row, unsigned layer)
{
    struct vdb_hnsw *hnsw = (struct vdb_hnsw *)walk->hnsw;
    struct hnsw_entry entries[CANDIDATES_MAX + HNSW_LINKS_MAX];
    uint32_t links[HNSW_LINKS_MAX];
    size_t count = repair_candidates(walk, row, layer, entries);
    const void *base = hnsw_vector(walk, row);
    for (size_t i = 0; i < count; i++) {
        entries[i].distance = hnsw_distance(walk, base, hnsw_vector(walk, entries[i].row & HNSW_ROW));
    }
    walk->distances += count;
    vdb_hnsw_sort(entries, count);
    uint32_t kept = vdb_hnsw_choose(walk, entries, count, hnsw_list_slots(hnsw, layer), links);
    vdb_hnsw_write_list(hnsw_list_at(hnsw, row, layer), hnsw_list_slots(hnsw, layer), links, kept);
}

/* A waypoint of the next sweep: it must not lead to what will be absent. */
static void drop_dying(struct vdb_hnsw *hnsw, uint32_t row, unsigned layer)
{
    hnsw_slot *slots = hnsw_list_at(hnsw, row, layer);
    const uint32_t slot_count = hnsw_list_slots(hnsw, layer);
    uint32_t links[HNSW_LINKS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < slot_count; i++) {
        uint32_t link = hnsw_link_get(&slots[i]);
        if (link == HNSW_NONE) {
            break;
        }
        if (hnsw_state_of(hnsw, link) != HNSW_DYING) {
            links[count++] = link;
        }
    }
    vdb_hnsw_write_list(slots, slot_count, links, count);
}

static void sweep_end(struct vdb_hnsw *hnsw)
{
    for (size_t i = 0; i < hnsw->dying_count; i++) {
        atomic_store_explicit(&hnsw_node_at(hnsw, hnsw->dead[i])->state, HNSW_ABSENT, memory_order_release);
    }
    hnsw->dead_count -= hnsw->dying_count;
    if (hnsw->dead_count > 0) {
        memmove(hnsw->dead, hnsw->dead + hnsw->dying_count, hnsw->dead_count * sizeof *hnsw->dead);
    }
    hnsw->dying_count = 0;
}

/* Sweeps `rows_max` rows on; begins a sweep when none is under way. */
static void sweep(struct hnsw_walk *walk, uint32_t rows_max)
{
    struct vdb_hnsw *hnsw = (struct vdb_hnsw *)walk->hnsw;
    const uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    if (hnsw->dead_count == 0) {
        return;
    }
    if (hnsw->dying_count == 0) {
        hnsw->dying_count = hnsw->dead_count;
        hnsw->sweep_at = 0;
        for (size_t i = 0; i < hnsw->dying_count; i++) {
            atomic_store_explicit(&hnsw_node_at(hnsw, hnsw->dead[i])->state, HNSW_DYING, memory_order_release);
        }
    }
    for (; rows_max > 0 && hnsw->sweep_at < row_end; rows_max--, hnsw->sweep_at++) {
        const uint32_t row = hnsw->sweep_at;
        const unsigned state = hnsw_state_of(hnsw, row);
        if (state != HNSW_NODE && state != HNSW_DEAD) {
            continue;
        }
        unsigned level = atomic_load_explicit(&hnsw_node_at(hnsw, row)->level, memory_order_relaxed);
        for (unsigned layer = 0; layer <= level; layer++) {
            if (state == HNSW_DEAD) {
                drop_dying(hnsw, row, layer);
            } else if (names_dead(hnsw, hnsw_list_at(hnsw, row, layer), hnsw_list_slots(hnsw, layer))) {
                repair_list(walk, row, layer);
            }
        }
    }
    if (hnsw->sweep_at >= row_end) {
        sweep_end(hnsw);
    }
    atomic_fetch_add_explicit(&hnsw->distances, walk->distances, memory_order_relaxed);
    walk->distances = 0;
}

vdb_status vdb_hnsw_sweep_all(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct vdb_err *err)
{
    if (hnsw->dead_count == 0) {
        return VDB_OK;
    }
    struct hnsw_scratch *scratch = vdb_hnsw_scratch_get(hnsw, (uint32_t)rows->count);
    if (scratch == NULL) {
        return vdb_err_no_memory(err, "the repair of a graph");
    }
    struct hnsw_walk walk;
    vdb_hnsw_walk_begin(&walk, hnsw, rows, scratch, NULL);
    while (hnsw->dead_count > 0) {
        sweep(&walk, UINT32_MAX);
    }
    vdb_hnsw_scratch_put(hnsw, scratch);
    return VDB_OK;
}

/* ---- Removal ---- */

static void leave_group(struct vdb_hnsw *hnsw, uint32_t row)
{
    struct hnsw_node *node = hnsw_node_at(hnsw, row);
    struct hnsw_group *group = atomic_load_explicit(&node->group, memory_order_relaxed);
    uint32_t next = atomic_load_explicit(&node->next, memory_order_relaxed);
    if (node->previous == HNSW_NONE) {
        atomic_store_explicit(&group->first, next, memory_order_release);
    } else {
        atomic_store_explicit(&hnsw_node_at(hnsw, node->previous)->next, next, memory_order_release);
    }
    if (next == HNSW_NONE) {
        group->last = node->previous;
    } else {
        hnsw_node_at(hnsw, next)->previous = node->previous;
    }
    atomic_fetch_sub_explicit(&group->count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&hnsw->twins, 1, memory_order_relaxed);
}

/* Another node becomes the entry point: one of the highest that live. */
static void move_entry(struct vdb_hnsw *hnsw)
{
    const uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    uint64_t entry = 0;
    for (uint32_t row = 0; row < row_end; row++) {
        const struct hnsw_node *node = hnsw_node_at(hnsw, row);
        uint64_t layers = (uint64_t)atomic_load_explicit(&node->level, memory_order_relaxed) + 1;
        if (layers > entry >> 32 && hnsw_state_of(hnsw, row) == HNSW_NODE) {
            entry = layers << 32 | row;
        }
    }
    vdb_hnsw_set_entry(hnsw, entry);
}

static bool note_dead(struct vdb_hnsw *hnsw)
{
    if (hnsw->dead_count == hnsw->dead_capacity) {
        size_t capacity = hnsw->dead_capacity > 0 ? hnsw->dead_capacity * 2 : 64;
        if (!vdb_realloc_array((void **)&hnsw->dead, capacity, sizeof *hnsw->dead)) {
            return false;
        }
        hnsw->dead_capacity = capacity;
    }
    return true;
}

/* Takes a node out; its group's first twin takes its place in the graph. */
static vdb_status remove_node(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct hnsw_scratch *scratch,
                              uint32_t row, struct vdb_err *err)
{
    struct hnsw_node *node = hnsw_node_at(hnsw, row);
    struct hnsw_group *group = atomic_load_explicit(&node->group, memory_order_relaxed);
    uint32_t heir = group == NULL ? HNSW_NONE : atomic_load_explicit(&group->first, memory_order_relaxed);
    if (!note_dead(hnsw)) {
        return vdb_err_no_memory(err, "a removal");
    }
    atomic_store_explicit(&node->state, HNSW_DEAD, memory_order_release);
    if (heir != HNSW_NONE) {
        /* The heir is linked while the node is a waypoint already, so that it gets the links to itself. Readers
         * find it and the other twins through the node, through the heir, or through both (hnsw_search.c): the heir
         * stays a twin until it is linked, and the node keeps its group for as long as a walk may stand on it. */
        vdb_status status = vdb_hnsw_insert_row(hnsw, rows, scratch, heir, false, err);
        if (status != VDB_OK) {
            atomic_store_explicit(&node->state, HNSW_NODE, memory_order_release);
            return status;
        }
        atomic_store_explicit(&group->head, heir, memory_order_release); /* before it leaves the list */
        leave_group(hnsw, heir);
    }
    hnsw->dead[hnsw->dead_count++] = row;
    mend_tree(hnsw, row);
    unsigned level = atomic_load_explicit(&node->level, memory_order_relaxed);
    for (unsigned layer = 0; layer <= level; layer++) {
        atomic_fetch_sub_explicit(&hnsw->layer_nodes[layer], 1, memory_order_relaxed);
    }
    if ((uint32_t)atomic_load_explicit(&hnsw->entry, memory_order_relaxed) == row) {
        move_entry(hnsw);
    }
    return VDB_OK;
}

static vdb_status remove_alone(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row,
                               struct vdb_err *err)
{
    if (row >= rows->count || !vdb_hnsw_has(hnsw, row)) {
        return vdb_err_set(err, VDB_NOT_FOUND, "hnsw: row %u is not in the graph", row);
    }
    struct hnsw_scratch *scratch = vdb_hnsw_scratch_get(hnsw, (uint32_t)rows->count);
    if (scratch == NULL) {
        return vdb_err_no_memory(err, "a removal");
    }
    vdb_status status = VDB_OK;
    if (hnsw_state_of(hnsw, row) == HNSW_TWIN) {
        leave_group(hnsw, row);
        atomic_store_explicit(&hnsw_node_at(hnsw, row)->state, HNSW_ABSENT, memory_order_release);
    } else {
        status = remove_node(hnsw, rows, scratch, row, err);
    }
    if (status == VDB_OK) {
        struct hnsw_walk walk;
        atomic_fetch_sub_explicit(&hnsw->rows, 1, memory_order_relaxed);
        vdb_hnsw_walk_begin(&walk, hnsw, rows, scratch, NULL);
        sweep(&walk, SWEEP_ROWS);
    }
    vdb_hnsw_scratch_put(hnsw, scratch);
    return status;
}

/* A repair reads the vectors of all rows that are in. */
static vdb_status covers_all(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct vdb_err *err)
{
    uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    if (rows->count < row_end) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: rows: %zu, the graph has seen %u", rows->count, row_end);
    }
    return vdb_hnsw_rows_fit(hnsw, rows, err);
}

vdb_status vdb_hnsw_remove(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row, struct vdb_err *err)
{
    pthread_rwlock_wrlock(&hnsw->writers);
    vdb_status status = covers_all(hnsw, rows, err);
    if (status == VDB_OK) {
        status = remove_alone(hnsw, rows, row, err);
    }
    pthread_rwlock_unlock(&hnsw->writers);
    return status;
}

vdb_status vdb_hnsw_settle(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct vdb_err *err)
{
    pthread_rwlock_wrlock(&hnsw->writers);
    vdb_status status = covers_all(hnsw, rows, err);
    if (status == VDB_OK) {
        status = vdb_hnsw_sweep_all(hnsw, rows, err);
    }
    pthread_rwlock_unlock(&hnsw->writers);
    return status;
}
