/* hnsw_insert.c: algorithm 1 (insert) and algorithm 4 (choice of neighbours), and building with several threads.
 *
 * Different from the paper: all lists of a new node are found and written before anything links to it (G2). A
 * row that equals one that is in hangs itself on that one's group (G3), which an insert notices on its way. The
 * choice follows hnswlib in taking m for a new node's list in layer 0 and up to 2 m when others link back; a
 * candidate falls when it is strictly nearer to a chosen one than to the base.
 *
 * Threads: inserts run beside each other. See hnsw_internal.h for the locks.
 */
#include "hnsw_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/pool.h"

enum { PROGRESS_ROWS = 64 };

/* ---- Lists ---- */

void vdb_hnsw_write_list(hnsw_slot *slots, uint32_t slot_count, const uint32_t *links, uint32_t count)
{
    for (uint32_t i = 0; i < slot_count; i++) {
        uint32_t link = i < count ? links[i] : HNSW_NONE;
        if (i >= count && hnsw_link_get(&slots[i]) == HNSW_NONE) {
            break; /* what follows is empty already */
        }
        hnsw_link_set(&slots[i], link);
    }
}

static uint32_t read_list(const hnsw_slot *slots, uint32_t slot_count, uint32_t *out)
{
    uint32_t count = 0;
    while (count < slot_count && (out[count] = hnsw_link_get(&slots[count])) != HNSW_NONE) {
        count++;
    }
    return count;
}

/* A fresh node's list: what it held means nothing. */
static void init_list(hnsw_slot *slots, uint32_t slot_count, const uint32_t *links, uint32_t count)
{
    for (uint32_t i = 0; i < slot_count; i++) {
        hnsw_link_set(&slots[i], i < count ? links[i] : HNSW_NONE);
    }
}

void vdb_hnsw_set_tree_link(struct vdb_hnsw *hnsw, uint32_t row, uint32_t link)
{
    hnsw_slot *slots = hnsw_list_at(hnsw, row, 0);
    uint32_t victim = 0;
    for (uint32_t i = 0; i < hnsw->links0; i++) {
        uint32_t there = hnsw_link_get(&slots[i]);
        if (there == HNSW_NONE || (there & HNSW_ROW) == (link & HNSW_ROW)) {
            hnsw_link_set(&slots[i], link);
            return;
        }
        if ((there & HNSW_TREE) == 0) {
            victim = i;
        }
    }
    assert((hnsw_link_get(&slots[victim]) & HNSW_TREE) == 0); /* children_max leaves room */
    hnsw_link_set(&slots[victim], link);
}

/* Links parent to child unless the parent has its fill of children, or of links: of those it gives one up for
 * its first child at most, and if may_lose. Otherwise *below is one of its children, where it has any. */
static bool take_child(struct vdb_hnsw *hnsw, uint32_t parent, uint32_t child, bool may_lose, uint32_t turn,
                       uint32_t *below)
{
    struct hnsw_node *node = hnsw_node_at(hnsw, parent);
    const hnsw_slot *slots = hnsw_list_at(hnsw, parent, 0);
    uint32_t children[VDB_HNSW_M_MAX];
    uint32_t count = 0;
    hnsw_lock(&node->lock);
    for (uint32_t i = 0; i < hnsw->links0 && count < hnsw->children_max; i++) {
        uint32_t link = hnsw_link_get(&slots[i]);
        if (link == HNSW_NONE) {
            break;
        }
        if ((link & HNSW_CHILD) != 0) {
            children[count++] = link & HNSW_ROW;
        }
    }
    bool room = count < hnsw->children_max &&
                ((may_lose && count == 0) || hnsw_link_get(&slots[hnsw->links0 - 1]) == HNSW_NONE);
    if (room) {
        vdb_hnsw_set_tree_link(hnsw, parent, child | HNSW_CHILD);
    } else if (count > 0) {
        *below = children[turn % count];
    }
    hnsw_unlock(&node->lock);
    return room;
}

static void set_parent(struct vdb_hnsw *hnsw, uint32_t child, uint32_t parent)
{
    struct hnsw_node *node = hnsw_node_at(hnsw, child);
    hnsw_lock(&node->lock);
    vdb_hnsw_set_tree_link(hnsw, child, parent | HNSW_PARENT);
    hnsw_unlock(&node->lock);
}

void vdb_hnsw_adopt(struct vdb_hnsw *hnsw, uint32_t child, uint32_t start)
{
    uint32_t turn = child * UINT32_C(2654435761);
    uint32_t parent = start;
    for (uint32_t below = start; !take_child(hnsw, parent, child, true, turn >> 8, &below); parent = below) {
        turn = turn * UINT32_C(1664525) + UINT32_C(1013904223);
    }
    set_parent(hnsw, child, parent);
}

/* ---- Choice of neighbours ---- */

static int compare_entries(const void *a, const void *b)
{
    const struct hnsw_entry *left = a;
    const struct hnsw_entry *right = b;
    if (left->distance != right->distance) {
        return left->distance < right->distance ? -1 : 1;
    }
    uint32_t left_row = left->row & HNSW_ROW;
    uint32_t right_row = right->row & HNSW_ROW;
    return left_row < right_row ? -1 : left_row > right_row;
}

void vdb_hnsw_sort(struct hnsw_entry *entries, size_t count)
{
    if (count > 64) {
        qsort(entries, count, sizeof *entries, compare_entries);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct hnsw_entry moved = entries[i];
        size_t hole = i;
        for (; hole > 0 && compare_entries(&moved, &entries[hole - 1]) < 0; hole--) {
            entries[hole] = entries[hole - 1];
        }
        entries[hole] = moved;
    }
}

/* Whether some chosen one is nearer to the candidate than the base is. Of a row out of view nothing is known. */
static bool is_covered(struct hnsw_walk *walk, struct hnsw_entry candidate, const uint32_t *chosen,
                       uint32_t count)
{
    if ((candidate.row & HNSW_ROW) >= walk->limit) {
        return true;
    }
    const void *vector = hnsw_vector(walk, candidate.row & HNSW_ROW);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = chosen[i] & HNSW_ROW;
        walk->distances++;
        if (hnsw_distance(walk, vector, hnsw_vector(walk, row)) < candidate.distance) {
            return true;
        }
    }
    return false;
}

/* The tree's links (G1), and those to rows newer than this caller's view, which another caller just made: whoever
 * sees them chooses among them. */
static inline bool must_keep(const struct hnsw_walk *walk, uint32_t link)
{
    return (link & HNSW_TREE) != 0 || (link & HNSW_ROW) >= walk->limit;
}

uint32_t vdb_hnsw_choose(struct hnsw_walk *walk, const struct hnsw_entry *sorted, size_t count, uint32_t slots,
                         uint32_t *out)
{
    uint32_t covering[HNSW_LINKS_MAX]; /* chosen for their own sake */
    uint32_t pruned[HNSW_LINKS_MAX];
    uint32_t covering_count = 0;
    uint32_t pruned_count = 0;
    uint32_t kept = 0;
    uint32_t tree_left = 0; /* links that must be kept and are still to come */
    if (count < slots) {    /* as in hnswlib: where there are few, all; upper layers depend on it */
        for (size_t i = 0; i < count; i++) {
            out[i] = sorted[i].row;
        }
        return (uint32_t)count;
    }
    for (size_t i = 0; i < count; i++) {
        tree_left += must_keep(walk, sorted[i].row);
    }
    for (size_t i = 0; i < count && kept < slots; i++) {
        const bool of_tree = must_keep(walk, sorted[i].row);
        if (!of_tree && kept + tree_left == slots) {
            continue;
        }
        const bool covered = is_covered(walk, sorted[i], covering, covering_count);
        tree_left -= of_tree;
        if (!covered) {
            covering[covering_count++] = sorted[i].row;
        }
        if (!covered || of_tree) {
            out[kept++] = sorted[i].row;
        } else if (pruned_count < slots) {
            pruned[pruned_count++] = sorted[i].row;
        }
    }
    if (walk->hnsw->params.keep_pruned) {
        for (uint32_t i = 0; i < pruned_count && kept < slots; i++) {
            out[kept++] = pruned[i];
        }
    }
    return kept;
}

/* ---- Insert ---- */

/* Adds `row` to the list of `to`, which chooses anew when it is full. */
static void link_back(struct hnsw_walk *walk, uint32_t to, uint32_t row, unsigned layer)
{
    struct vdb_hnsw *hnsw = (struct vdb_hnsw *)walk->hnsw;
    const uint32_t slot_count = hnsw_list_slots(hnsw, layer);
    hnsw_slot *slots = hnsw_list_at(hnsw, to, layer);
    struct hnsw_node *node = hnsw_node_at(hnsw, to);
    struct hnsw_entry entries[HNSW_LINKS_MAX + 1];
    uint32_t links[HNSW_LINKS_MAX];
    hnsw_lock(&node->lock);
    uint32_t count = read_list(slots, slot_count, links);
    for (uint32_t i = 0; i < count; i++) {
        if ((links[i] & HNSW_ROW) == row) {
            hnsw_unlock(&node->lock);
            return;
        }
    }
    if (count < slot_count) {
        hnsw_link_set(&slots[count], row);
    } else {
        const void *base = hnsw_vector(walk, to);
        entries[0] = (struct hnsw_entry){hnsw_distance(walk, base, walk->query), row};
        size_t entry_count = 1;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t there = links[i] & HNSW_ROW;
            bool in_view = there < walk->limit;
            if ((links[i] & HNSW_TREE) == 0 && hnsw_is_dead(hnsw_state_of(hnsw, there))) {
                continue;
            }
            entries[entry_count++] = (struct hnsw_entry){
                in_view ? hnsw_distance(walk, base, hnsw_vector(walk, there)) : -INFINITY, links[i]};
        }
        walk->distances += entry_count;
        vdb_hnsw_sort(entries, entry_count);
        count = vdb_hnsw_choose(walk, entries, entry_count, slot_count, links);
        vdb_hnsw_write_list(slots, slot_count, links, count);
    }
    hnsw_unlock(&node->lock);
}

/* The option extend_candidates: neighbours of what the pool holds join it. */
static bool extend(struct hnsw_walk *walk, unsigned layer)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    struct hnsw_scratch *scratch = walk->scratch;
    const size_t first_count = walk->pool_count;
    const uint32_t slot_count = hnsw_list_slots(hnsw, layer);
    if (!vdb_hnsw_entries_reserve(&scratch->pool, &scratch->pool_capacity, first_count * (slot_count + 1) + 1)) {
        return false;
    }
    vdb_hnsw_new_epoch(scratch);
    for (size_t i = 0; i < first_count; i++) {
        scratch->marks[scratch->pool[i].row] = scratch->epoch;
    }
    for (size_t i = 0; i < first_count; i++) {
        const hnsw_slot *slots = hnsw_list_at(hnsw, scratch->pool[i].row, layer);
        for (uint32_t j = 0; j < slot_count; j++) {
            uint32_t link = hnsw_link_get(&slots[j]);
            if (link == HNSW_NONE) {
                break;
            }
            link &= HNSW_ROW;
            if (link < walk->limit && scratch->marks[link] != scratch->epoch) {
                scratch->marks[link] = scratch->epoch;
                walk->distances++;
                scratch->pool[walk->pool_count++] = (struct hnsw_entry){
                    hnsw_distance(walk, walk->query, hnsw_vector(walk, link)), link};
            }
        }
    }
    vdb_hnsw_sort(scratch->pool, walk->pool_count);
    return true;
}

/* Takes out of the pool what a new list must not name: dead nodes, and the row itself. */
static size_t selectable(const struct hnsw_walk *walk, uint32_t row, struct hnsw_entry *out)
{
    size_t count = 0;
    for (size_t i = 0; i < walk->pool_count; i++) {
        struct hnsw_entry entry = walk->scratch->pool[i];
        if (entry.row != row && !hnsw_is_dead(hnsw_state_of(walk->hnsw, entry.row))) {
            out[count++] = entry;
        }
    }
    return count;
}

vdb_status vdb_hnsw_join_group(struct vdb_hnsw *hnsw, uint32_t head, uint32_t row, struct vdb_err *err)
{
    struct hnsw_node *head_node = hnsw_node_at(hnsw, head);
    struct hnsw_node *node = hnsw_node_at(hnsw, row);
    hnsw_lock(&head_node->lock);
    struct hnsw_group *group = atomic_load_explicit(&head_node->group, memory_order_acquire);
    if (group == NULL) {
        group = vdb_hnsw_make_group(hnsw, head);
        if (group != NULL) {
            atomic_store_explicit(&head_node->group, group, memory_order_release);
        }
    }
    hnsw_unlock(&head_node->lock);
    if (group == NULL) {
        return vdb_err_no_memory(err, "a group of equal vectors");
    }
    atomic_store_explicit(&node->next, HNSW_NONE, memory_order_relaxed);
    atomic_store_explicit(&node->group, group, memory_order_relaxed);
    atomic_store_explicit(&node->state, HNSW_TWIN, memory_order_release);
    hnsw_lock(&group->lock);
    node->previous = group->last;
    if (group->last == HNSW_NONE) {
        atomic_store_explicit(&group->first, row, memory_order_release);
    } else {
        atomic_store_explicit(&hnsw_node_at(hnsw, group->last)->next, row, memory_order_release);
    }
    group->last = row;
    atomic_fetch_add_explicit(&group->count, 1, memory_order_relaxed);
    hnsw_unlock(&group->lock);
    atomic_fetch_add_explicit(&hnsw->twins, 1, memory_order_relaxed);
    return VDB_OK;
}

/* An inner product says nothing of equality: the bytes do. */
static uint32_t find_equal(const struct hnsw_walk *walk)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    for (size_t i = 0; i < walk->pool_count; i++) {
        struct hnsw_entry entry = walk->scratch->pool[i];
        if (hnsw_state_of(hnsw, entry.row) == HNSW_NODE && vdb_hnsw_walk_equals(walk, entry.row)) {
            return entry.row;
        }
    }
    return HNSW_NONE;
}

struct plan {
    unsigned level;
    unsigned top;                         /* the highest layer with a list */
    uint32_t counts[VDB_HNSW_LAYERS_MAX]; /* of scratch->chosen */
};

/* Finds the lists of a new node. walk->equal is set instead when an equal vector is in. */
static vdb_status find_lists(struct hnsw_walk *walk, uint32_t row, bool may_twin, struct plan *plan,
                             struct vdb_err *err)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    struct hnsw_scratch *scratch = walk->scratch;
    const bool by_distance = may_twin && hnsw->metric != VDB_METRIC_DOT;
    struct hnsw_entry at;
    unsigned layer;
    *plan = (struct plan){.level = plan->level};
    if (!vdb_hnsw_walk_entry(walk, &at, &layer)) {
        return VDB_OK;
    }
    for (; layer > plan->level; layer--) {
        at = vdb_hnsw_walk_greedy(walk, at, layer);
    }
    plan->top = layer;
    scratch->pool[0] = at;
    walk->pool_count = 1;
    walk->stop_at_zero = by_distance;
    if (by_distance && at.distance <= 0 && hnsw_state_of(hnsw, at.row) == HNSW_NODE &&
        (!hnsw->lossy || vdb_hnsw_walk_equals(walk, at.row))) {
        walk->equal = at.row;
        return VDB_OK;
    }
    for (layer++; layer-- > 0;) {
        vdb_hnsw_walk_layer(walk, layer, hnsw->params.ef_construction);
        if (layer == 0 && may_twin && hnsw->metric == VDB_METRIC_DOT) {
            walk->equal = find_equal(walk);
        }
        if (walk->equal != HNSW_NONE) {
            return VDB_OK;
        }
        const size_t found = walk->pool_count;
        if (hnsw->params.extend_candidates && !extend(walk, layer)) {
            return vdb_err_no_memory(err, "an insert's candidates");
        }
        if (!vdb_hnsw_entries_reserve(&scratch->spare, &scratch->spare_capacity, walk->pool_count)) {
            return vdb_err_no_memory(err, "an insert's candidates");
        }
        size_t count = selectable(walk, row, scratch->spare);
        plan->counts[layer] = vdb_hnsw_choose(walk, scratch->spare, count, hnsw->params.m,
                                              scratch->chosen + (size_t)layer * hnsw->links0);
        walk->pool_count = found;
    }
    return VDB_OK;
}

/* G2: the tree's link first, the upper layers last. */
static void link_node(struct hnsw_walk *walk, uint32_t row, const struct plan *plan)
{
    struct vdb_hnsw *hnsw = (struct vdb_hnsw *)walk->hnsw;
    const uint32_t *chosen = walk->scratch->chosen;
    uint32_t below;
    bool adopted = false;
    for (uint32_t i = 0; i < plan->counts[0] && !adopted; i++) {
        if (take_child(hnsw, chosen[i], row, false, 0, &below)) {
            set_parent(hnsw, row, chosen[i]);
            adopted = true;
        }
    }
    if (!adopted) {
        vdb_hnsw_adopt(hnsw, row, plan->counts[0] > 0 ? chosen[0] : hnsw->root);
    }
    for (unsigned layer = 0; layer <= plan->top; layer++) {
        for (uint32_t i = 0; i < plan->counts[layer]; i++) {
            link_back(walk, chosen[(size_t)layer * hnsw->links0 + i], row, layer);
        }
    }
}

static vdb_status prepare_node(struct vdb_hnsw *hnsw, uint32_t row, unsigned level, const struct plan *plan,
                               const uint32_t *chosen, struct vdb_err *err)
{
    struct hnsw_node *node = hnsw_node_at(hnsw, row);
    if (level > 0 && atomic_load_explicit(&node->upper, memory_order_relaxed) == NULL) {
        hnsw_slot *upper = vdb_hnsw_make_upper(hnsw, level);
        if (upper == NULL) {
            return vdb_err_no_memory(err, "the graph's upper layers");
        }
        atomic_store_explicit(&node->upper, upper, memory_order_release);
    }
    atomic_store_explicit(&node->level, (unsigned char)level, memory_order_release);
    for (unsigned layer = 0; layer <= level; layer++) {
        init_list(hnsw_list_at(hnsw, row, layer), hnsw_list_slots(hnsw, layer),
                  chosen + (size_t)layer * hnsw->links0, layer <= plan->top ? plan->counts[layer] : 0);
    }
    return VDB_OK;
}

vdb_status vdb_hnsw_insert_row(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct hnsw_scratch *scratch,
                               uint32_t row, bool may_twin, struct vdb_err *err)
{
    struct hnsw_walk walk;
    struct plan plan = {.level = vdb_hnsw_level_of(hnsw, row)};
    vdb_status status;
    vdb_hnsw_learn(hnsw, rows, NULL, row);
    if (hnsw->params.vectors_inside && may_twin) { /* a twin's is there, and read */
        vdb_hnsw_convert(hnsw, vdb_rows_at(rows, row), hnsw_at(&hnsw->vectors, row));
    }
    vdb_hnsw_walk_begin(&walk, hnsw, rows, scratch, NULL);
    walk.source = vdb_rows_at(rows, row);
    walk.query = hnsw_vector(&walk, row);
    /* One that becomes the entry point has the layers above to itself, so it goes alone. */
    bool alone = plan.level + 1 > atomic_load_explicit(&hnsw->entry, memory_order_acquire) >> 32;
    if (alone) {
        pthread_mutex_lock(&hnsw->entry_lock);
        if (plan.level + 1 <= atomic_load_explicit(&hnsw->entry, memory_order_acquire) >> 32) {
            pthread_mutex_unlock(&hnsw->entry_lock);
            alone = false;
        }
    }
    VDB_CHECK(find_lists(&walk, row, may_twin, &plan, err));
    if (walk.equal != HNSW_NONE) {
        status = vdb_hnsw_join_group(hnsw, walk.equal, row, err);
        goto cleanup;
    }
    VDB_CHECK(prepare_node(hnsw, row, plan.level, &plan, scratch->chosen, err));
    if (may_twin) { /* else it is a twin, whose group it heads from now on */
        atomic_store_explicit(&hnsw_node_at(hnsw, row)->group, NULL, memory_order_release);
    }
    if (hnsw->root == HNSW_NONE) {
        hnsw->root = row; /* under entry_lock: only the first node finds none */
    } else {
        link_node(&walk, row, &plan);
    }
    atomic_store_explicit(&hnsw_node_at(hnsw, row)->state, HNSW_NODE, memory_order_release);
    for (unsigned layer = 0; layer <= plan.level; layer++) {
        atomic_fetch_add_explicit(&hnsw->layer_nodes[layer], 1, memory_order_relaxed);
    }
    if (alone) {
        vdb_hnsw_set_entry(hnsw, ((uint64_t)plan.level + 1) << 32 | row);
    }
cleanup:
    atomic_fetch_add_explicit(&hnsw->distances, walk.distances, memory_order_relaxed);
    if (alone) {
        pthread_mutex_unlock(&hnsw->entry_lock);
    }
    return status;
}

/* Takes an absent row in; with `writers` shared. */
static vdb_status insert_claimed(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row,
                                 struct vdb_err *err)
{
    struct hnsw_node *node = hnsw_node_at(hnsw, row);
    unsigned char absent = HNSW_ABSENT;
    if (!atomic_compare_exchange_strong_explicit(&node->state, &absent, HNSW_INSERTING, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        return vdb_err_set(err, VDB_EXISTS, "hnsw: row %u is in the graph%s", row,
                           hnsw_is_dead(absent) ? " still: its removal is not settled" : "");
    }
    struct hnsw_scratch *scratch = vdb_hnsw_scratch_get(hnsw, (uint32_t)rows->count);
    vdb_status status = scratch == NULL ? vdb_err_no_memory(err, "an insert")
                                        : vdb_hnsw_insert_row(hnsw, rows, scratch, row, true, err);
    if (scratch != NULL) {
        vdb_hnsw_scratch_put(hnsw, scratch);
    }
    if (status == VDB_OK) {
        atomic_fetch_add_explicit(&hnsw->rows, 1, memory_order_relaxed);
    } else {
        atomic_store_explicit(&node->state, HNSW_ABSENT, memory_order_release);
    }
    return status;
}

vdb_status vdb_hnsw_insert(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row, struct vdb_err *err)
{
    VDB_TRY(vdb_hnsw_rows_fit(hnsw, rows, err));
    if (row >= rows->count) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: row %u is not one of the %zu rows", row, rows->count);
    }
    pthread_rwlock_rdlock(&hnsw->writers);
    vdb_status status = vdb_hnsw_grow(hnsw, row, err);
    if (status == VDB_OK) {
        status = insert_claimed(hnsw, rows, row, err);
    }
    pthread_rwlock_unlock(&hnsw->writers);
    return status;
}

/* ---- Build ---- */

struct build {
    struct vdb_hnsw *hnsw;
    const struct vdb_rows *rows;
    struct vdb_index_settings settings;
    atomic_bool stop;
    _Atomic uint64_t done;
    uint32_t since_report; /* rows of the caller's thread */
    pthread_mutex_t lock;  /* of what follows */
    vdb_status status;
    struct vdb_err err;
};

static void build_stop(struct build *build, vdb_status status, const struct vdb_err *err)
{
    pthread_mutex_lock(&build->lock);
    if (build->status == VDB_OK) {
        build->status = status;
        build->err = *err;
    }
    pthread_mutex_unlock(&build->lock);
    atomic_store_explicit(&build->stop, true, memory_order_relaxed);
}

static void build_row(void *ctx, unsigned worker, size_t row)
{
    struct build *build = ctx;
    struct vdb_hnsw *hnsw = build->hnsw;
    struct vdb_err err = {0};
    const struct vdb_index_settings *settings = &build->settings;
    if (atomic_load_explicit(&build->stop, memory_order_relaxed)) {
        return;
    }
    pthread_rwlock_rdlock(&hnsw->writers);
    if ((settings->only == NULL || vdb_bitset_test(settings->only, row)) &&
        hnsw_state_of(hnsw, (uint32_t)row) == HNSW_ABSENT) {
        vdb_status status = insert_claimed(hnsw, build->rows, (uint32_t)row, &err);
        if (status != VDB_OK && status != VDB_EXISTS) {
            build_stop(build, status, &err);
        }
    }
    pthread_rwlock_unlock(&hnsw->writers);
    atomic_fetch_add_explicit(&build->done, 1, memory_order_relaxed);
    if (worker == 0 && settings->progress != NULL && ++build->since_report % PROGRESS_ROWS == 0 &&
        !settings->progress(settings->progress_ctx, atomic_load_explicit(&build->done, memory_order_relaxed),
                            build->rows->count)) {
        vdb_err_set(&err, VDB_CANCELLED, "hnsw: build cancelled");
        build_stop(build, VDB_CANCELLED, &err);
    }
}

vdb_status vdb_hnsw_build(struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                          const struct vdb_index_settings *settings, struct vdb_err *err)
{
    struct vdb_pool *pool;
    struct build build = {.hnsw = hnsw, .rows = rows};
    if (settings != NULL) {
        build.settings = *settings;
    }
    VDB_TRY(vdb_hnsw_rows_fit(hnsw, rows, err));
    if (rows->count == 0) {
        return VDB_OK;
    }
    VDB_TRY(vdb_hnsw_grow(hnsw, (uint32_t)rows->count - 1, err));
    vdb_hnsw_learn(hnsw, rows, build.settings.only, HNSW_NONE);
    VDB_TRY(vdb_pool_create(build.settings.threads, &pool, err));
    pthread_mutex_init(&build.lock, NULL);
    vdb_pool_run(pool, rows->count, build_row, &build);
    vdb_pool_destroy(pool);
    pthread_mutex_destroy(&build.lock);
    if (build.status != VDB_OK) {
        return vdb_err_set(err, build.status, "%s", build.err.text);
    }
    if (build.settings.progress != NULL) {
        (void)build.settings.progress(build.settings.progress_ctx, rows->count, rows->count);
    }
    return VDB_OK;
}
