/* hnsw_check.c: what a graph looks like, and whether it is sound.
 *
 * Threads: takes `writers` alone; readers go on. vdb_hnsw_count_layers only reads counters.
 */
#include "hnsw_internal.h"

#include <stdlib.h>

#include "base/rng.h"

void vdb_hnsw_count_layers(const struct vdb_hnsw *hnsw, uint64_t layer_nodes[VDB_HNSW_LAYERS_MAX])
{
    for (unsigned layer = 0; layer < VDB_HNSW_LAYERS_MAX; layer++) {
        layer_nodes[layer] = atomic_load_explicit(&hnsw->layer_nodes[layer], memory_order_relaxed);
    }
}

static uint32_t list_length(const struct vdb_hnsw *hnsw, uint32_t row, unsigned layer)
{
    const hnsw_slot *slots = hnsw_list_at(hnsw, row, layer);
    const uint32_t slot_count = hnsw_list_slots(hnsw, layer);
    uint32_t count = 0;
    while (count < slot_count && hnsw_link_get(&slots[count]) != HNSW_NONE) {
        count++;
    }
    return count;
}

static unsigned level_of(const struct vdb_hnsw *hnsw, uint32_t row)
{
    return atomic_load_explicit(&hnsw_node_at(hnsw, row)->level, memory_order_relaxed);
}

void vdb_hnsw_get_stats(struct vdb_hnsw *hnsw, struct vdb_hnsw_stats *out)
{
    memset(out, 0, sizeof *out);
    pthread_rwlock_wrlock(&hnsw->writers);
    const uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    const uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_relaxed);
    out->rows = atomic_load_explicit(&hnsw->rows, memory_order_relaxed);
    out->duplicates = atomic_load_explicit(&hnsw->twins, memory_order_relaxed);
    out->nodes = out->rows - out->duplicates;
    out->removed = hnsw->dead_count;
    out->distances = atomic_load_explicit(&hnsw->distances, memory_order_relaxed);
    out->layer_count = (uint32_t)(entry >> 32);
    out->entry = entry == 0 ? UINT32_MAX : (uint32_t)entry;
    vdb_hnsw_count_layers(hnsw, out->layer_nodes);
    for (uint32_t row = 0; row < row_end; row++) {
        if (hnsw_state_of(hnsw, row) == HNSW_NODE) {
            for (unsigned layer = 0; layer <= level_of(hnsw, row); layer++) {
                out->layer_links[layer] += list_length(hnsw, row, layer);
            }
        }
    }
    out->graph_bytes = vdb_hnsw_graph_bytes(hnsw, &out->vector_bytes);
    pthread_rwlock_unlock(&hnsw->writers);
}

/* ---- Breadth first over layer 0 ---- */

/* Fills depth (of row_end rows; UINT32_MAX: not reached) from `start`; returns how many nodes were reached,
 * *last the farthest. `queue` has room for all rows. Dead nodes are not gone through. */
static uint32_t spread(const struct vdb_hnsw *hnsw, uint32_t start, uint32_t row_end, uint32_t *depth,
                       uint32_t *queue, uint32_t *last)
{
    uint32_t count = 1;
    for (uint32_t row = 0; row < row_end; row++) {
        depth[row] = UINT32_MAX;
    }
    depth[start] = 0;
    queue[0] = start;
    for (uint32_t i = 0; i < count; i++) {
        const hnsw_slot *slots = hnsw_list_at(hnsw, queue[i], 0);
        for (uint32_t j = 0; j < hnsw->links0; j++) {
            uint32_t link = hnsw_link_get(&slots[j]);
            if (link == HNSW_NONE) {
                break;
            }
            link &= HNSW_ROW;
            if (depth[link] == UINT32_MAX && hnsw_state_of(hnsw, link) == HNSW_NODE) {
                depth[link] = depth[queue[i]] + 1;
                queue[count++] = link;
            }
        }
    }
    *last = queue[count - 1];
    return count;
}

vdb_status vdb_hnsw_estimate_diameter(struct vdb_hnsw *hnsw, unsigned samples, uint32_t *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = 0;
    pthread_rwlock_wrlock(&hnsw->writers);
    const uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    uint32_t *depth = vdb_calloc(row_end, 2 * sizeof *depth);
    if (depth == NULL) {
        status = vdb_err_no_memory(err, "the estimate of a diameter");
        goto cleanup;
    }
    struct vdb_rng rng;
    vdb_rng_init(&rng, hnsw->params.seed);
    for (unsigned i = 0; i < samples && hnsw->root != HNSW_NONE; i++) {
        uint32_t from = (uint32_t)vdb_rng_below(&rng, row_end);
        from = hnsw_state_of(hnsw, from) == HNSW_NODE ? from : hnsw->root;
        for (unsigned again = 0; again < 2; again++) { /* on from the farthest */
            uint32_t last;
            (void)spread(hnsw, from, row_end, depth, depth + row_end, &last);
            *out = depth[last] > *out ? depth[last] : *out;
            from = last;
        }
    }
cleanup:
    free(depth);
    pthread_rwlock_unlock(&hnsw->writers);
    return status;
}

/* ---- Check ---- */

static bool names(const struct vdb_hnsw *hnsw, uint32_t of, uint32_t link)
{
    const hnsw_slot *slots = hnsw_list_at(hnsw, of, 0);
    for (uint32_t i = 0; i < hnsw->links0; i++) {
        uint32_t there = hnsw_link_get(&slots[i]);
        if (there == HNSW_NONE) {
            break;
        }
        if (there == link) {
            return true;
        }
    }
    return false;
}

/* One list: known rows, each once, that have this layer; empty slots at the end. */
static vdb_status check_list(const struct vdb_hnsw *hnsw, uint32_t row, unsigned layer, uint32_t row_end,
                             uint32_t *seen, struct vdb_err *err)
{
    const hnsw_slot *slots = hnsw_list_at(hnsw, row, layer);
    uint32_t parents = 0;
    uint32_t children = 0;
    uint32_t count = list_length(hnsw, row, layer);
    for (uint32_t i = count; i < hnsw_list_slots(hnsw, layer); i++) {
        if (hnsw_link_get(&slots[i]) != HNSW_NONE) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: slot %u follows an empty one", row,
                               layer, i);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t link = hnsw_link_get(&slots[i]);
        uint32_t to = link & HNSW_ROW;
        if (to >= row_end || to == row || (layer > 0 && link != to)) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: link %u to %u of %u rows", row, layer, i,
                               to, row_end);
        }
        if (seen[to] == row) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: link to %u twice", row, layer, to);
        }
        seen[to] = row;
        unsigned state = hnsw_state_of(hnsw, to);
        if ((state != HNSW_NODE && !hnsw_is_dead(state)) || level_of(hnsw, to) < layer) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: link to %u, which is not there", row,
                               layer, to);
        }
        if (hnsw_is_dead(state) && (link != to || hnsw->dead_count == 0)) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: link to %u, which was removed", row,
                               layer, to);
        }
        parents += (link & HNSW_PARENT) != 0;
        children += (link & HNSW_CHILD) != 0;
        if (link != to && !names(hnsw, to, row | ((link & HNSW_CHILD) != 0 ? HNSW_PARENT : HNSW_CHILD))) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: %u does not link back in the tree", row, to);
        }
    }
    for (uint32_t i = 0; i < count; i++) { /* `seen` tells lists apart by their row, which has several */
        seen[hnsw_link_get(&slots[i]) & HNSW_ROW] = HNSW_NONE;
    }
    if (layer == 0 && (parents != (row != hnsw->root) || children > hnsw->children_max)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: %u parents and %u children", row, parents, children);
    }
    return VDB_OK;
}

static vdb_status check_group(const struct vdb_hnsw *hnsw, uint32_t head, uint64_t *twins, struct vdb_err *err)
{
    struct hnsw_group *group = atomic_load_explicit(&hnsw_node_at(hnsw, head)->group, memory_order_relaxed);
    if (group == NULL) {
        return VDB_OK;
    }
    if (atomic_load_explicit(&group->head, memory_order_relaxed) != head) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: another is the head of its equals", head);
    }
    uint32_t count = 0;
    uint32_t previous = HNSW_NONE;
    uint32_t row = atomic_load_explicit(&group->first, memory_order_relaxed);
    while (row != HNSW_NONE) {
        const struct hnsw_node *node = hnsw_node_at(hnsw, row);
        if (hnsw_state_of(hnsw, row) != HNSW_TWIN || node->previous != previous ||
            atomic_load_explicit(&node->group, memory_order_relaxed) != group) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: is not an equal of %u as its list says", row,
                               head);
        }
        count++;
        previous = row;
        row = atomic_load_explicit(&node->next, memory_order_relaxed);
    }
    if (count != atomic_load_explicit(&group->count, memory_order_relaxed) || group->last != previous) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: %u equals, %u were counted", head, count,
                           atomic_load_explicit(&group->count, memory_order_relaxed));
    }
    *twins += count;
    return VDB_OK;
}

static vdb_status check_entry(const struct vdb_hnsw *hnsw, uint32_t row_end, struct vdb_err *err)
{
    const uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_relaxed);
    if ((entry == 0) != (hnsw->root == HNSW_NONE)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: the entry point and the root of the tree disagree");
    }
    if (entry == 0) {
        return VDB_OK;
    }
    uint32_t row = (uint32_t)entry;
    if (row >= row_end || hnsw_state_of(hnsw, row) != HNSW_NODE || level_of(hnsw, row) + 1 != entry >> 32) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: entry point: row %u is no node of layer %u", row,
                           (unsigned)(entry >> 32) - 1);
    }
    if (hnsw->root >= row_end || hnsw_state_of(hnsw, hnsw->root) != HNSW_NODE) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: root: row %u is no node", hnsw->root);
    }
    return VDB_OK;
}

static vdb_status check_row(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row,
                            uint32_t row_end, uint32_t *seen, struct vdb_err *err)
{
    unsigned level = level_of(hnsw, row);
    if (level + 1 > atomic_load_explicit(&hnsw->entry, memory_order_relaxed) >> 32 ||
        level != vdb_hnsw_level_of(hnsw, row)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: level %u", row, level);
    }
    if (hnsw->params.vectors_inside && !vdb_hnsw_is_stored(hnsw, row, vdb_rows_at(rows, row))) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: its vector is not the one inside", row);
    }
    for (unsigned layer = 0; layer <= level; layer++) {
        VDB_TRY(check_list(hnsw, row, layer, row_end, seen, err));
    }
    return VDB_OK;
}

static vdb_status check_all(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row_end,
                            uint32_t *memory, struct vdb_err *err)
{
    uint64_t nodes = 0;
    uint64_t twins = 0;
    uint64_t twins_listed = 0;
    uint64_t dead = 0;
    VDB_TRY(check_entry(hnsw, row_end, err));
    for (uint32_t row = 0; row < row_end; row++) {
        memory[row] = HNSW_NONE;
    }
    for (uint32_t row = 0; row < row_end; row++) {
        unsigned state = hnsw_state_of(hnsw, row);
        twins += state == HNSW_TWIN;
        dead += hnsw_is_dead(state);
        if (state == HNSW_NODE) {
            nodes++;
            VDB_TRY(check_row(hnsw, rows, row, row_end, memory, err));
            VDB_TRY(check_group(hnsw, row, &twins_listed, err));
        }
    }
    if (twins != twins_listed || twins != atomic_load_explicit(&hnsw->twins, memory_order_relaxed) ||
        dead != hnsw->dead_count || nodes + twins != atomic_load_explicit(&hnsw->rows, memory_order_relaxed) ||
        nodes != atomic_load_explicit(&hnsw->layer_nodes[0], memory_order_relaxed)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: the rows that are in are not those that were counted");
    }
    if (nodes > 0) { /* G1: from anywhere, so from the entry point and from the root */
        const uint32_t starts[] = {(uint32_t)atomic_load_explicit(&hnsw->entry, memory_order_relaxed),
                                   hnsw->root};
        for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
            uint32_t last;
            uint32_t reached = spread(hnsw, starts[i], row_end, memory, memory + row_end, &last);
            if (reached != nodes) {
                return vdb_err_set(err, VDB_CORRUPT, "hnsw: from row %u %u of %llu nodes can be reached",
                                   starts[i], reached, (unsigned long long)nodes);
            }
        }
    }
    return VDB_OK;
}

static vdb_status check_alone(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct vdb_err *err)
{
    const uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    if (rows->count < row_end) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: rows: %zu, the graph has seen %u", rows->count, row_end);
    }
    uint32_t *memory = vdb_calloc(row_end, 2 * sizeof *memory);
    if (memory == NULL) {
        return vdb_err_no_memory(err, "the check of a graph");
    }
    vdb_status status = check_all(hnsw, rows, row_end, memory, err);
    free(memory);
    return status;
}

vdb_status vdb_hnsw_check(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct vdb_err *err)
{
    VDB_TRY(vdb_hnsw_rows_fit(hnsw, rows, err));
    pthread_rwlock_wrlock(&hnsw->writers);
    vdb_status status = check_alone(hnsw, rows, err);
    pthread_rwlock_unlock(&hnsw->writers);
    return status;
}
