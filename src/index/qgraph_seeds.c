/* qgraph_seeds.c: what a build takes from graphs over parts of its rows.
 *
 * A node that comes from a seed has neighbours already: those of its old list that are still there, and in the
 * place of each one that is gone, that one's neighbours (as FreshDiskANN repairs a removal, Singh et al. 2021).
 * Distances are taken anew, since inner vectors may have changed with the centre and the step of all.
 *
 * The largest seed's nodes are settled: no walk looks for more neighbours of theirs. They learn of the other
 * parts' nodes by those nodes' own choice, as in an insert. Seeds that gave less than half settle nothing.
 *
 * Threads: filled by one; then shared-read.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "qgraph_internal.h"

enum { SURVIVORS_MIN = VDB_QGRAPH_DEGREE / 4 }; /* of a settled node's neighbours */

static size_t count_usable(const struct vdb_index_settings *settings)
{
    size_t usable = 0;
    for (size_t i = 0; settings != NULL && i < settings->seed_count; i++) {
        usable += settings->seeds[i].ops == &vdb_index_qgraph && settings->seeds[i].index != NULL;
    }
    return usable;
}

/* The node of each row; UINT32_MAX for rows that are not in. */
static uint32_t *nodes_of_rows(const struct qgraph_builder *builder)
{
    const struct vdb_qgraph *graph = builder->graph;
    uint32_t *node_of = vdb_calloc(graph->row_end, sizeof *node_of);
    for (size_t row = 0; node_of != NULL && row < graph->row_end; row++) {
        node_of[row] = UINT32_MAX;
    }
    for (size_t node = 0; node_of != NULL && node < graph->node_count; node++) {
        const struct vdb_qgraph_head *head = qgraph_head(graph, node);
        for (uint32_t i = 0; i < head->row_count; i++) {
            node_of[qgraph_row(graph, head, i)] = (uint32_t)node;
        }
    }
    return node_of;
}

/* Which node a seed's node became, by its first row that is still there; and who came from it. */
static vdb_status take_seed(struct qgraph_builder *builder, const struct vdb_index_seeds *seed,
                            const uint32_t *node_of, struct vdb_err *err)
{
    struct qgraph_seeding *seeding = &builder->seeding;
    const uint32_t number = (uint32_t)seeding->count;
    struct qgraph_seed *out = &seeding->seeds[number];
    out->graph = seed->index;
    out->new_of = vdb_calloc(out->graph->node_count, sizeof *out->new_of);
    if (out->new_of == NULL) {
        return vdb_err_no_memory(err, "the graph's seeds");
    }
    seeding->count++;
    for (size_t old = 0; old < out->graph->node_count; old++) {
        const struct vdb_qgraph_head head = qgraph_rows_of(out->graph, old);
        out->new_of[old] = UINT32_MAX;
        for (uint32_t i = 0; i < head.row_count; i++) {
            const uint32_t row = qgraph_row(out->graph, &head, i);
            const uint32_t to = row < seed->row_count ? seed->row_of[row] : UINT32_MAX;
            if (to != UINT32_MAX && to >= builder->graph->row_end) {
                return vdb_err_set(err, VDB_INVALID, "seeds: row %u is said to be row %u now, and there are %zu",
                                   row, to, builder->graph->row_end);
            }
            const uint32_t node = to == UINT32_MAX ? UINT32_MAX : node_of[to];
            if (node == UINT32_MAX) {
                continue;
            }
            if (out->new_of[old] == UINT32_MAX) {
                out->new_of[old] = node;
            }
            if (seeding->seed_of[node] == UINT8_MAX) {
                seeding->seed_of[node] = (uint8_t)number;
                seeding->old_of[node] = (uint32_t)old;
                out->given++;
            }
        }
    }
    return VDB_OK;
}

vdb_status vdb_qgraph_seeds_init(struct qgraph_builder *builder, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct qgraph_seeding *seeding = &builder->seeding;
    const size_t count = builder->graph->node_count;
    size_t usable = count_usable(builder->settings);
    uint32_t *node_of = NULL;
    if (usable == 0) {
        return VDB_OK;
    }
    usable = usable < QGRAPH_SEEDS_MAX ? usable : QGRAPH_SEEDS_MAX;
    seeding->seed_of = vdb_calloc(count, sizeof *seeding->seed_of);
    seeding->old_of = vdb_calloc(count, sizeof *seeding->old_of);
    node_of = nodes_of_rows(builder);
    if (seeding->seed_of == NULL || seeding->old_of == NULL || node_of == NULL) {
        status = vdb_err_no_memory(err, "the graph's seeds");
        goto cleanup;
    }
    for (size_t node = 0; node < count; node++) {
        seeding->seed_of[node] = UINT8_MAX;
    }
    for (size_t i = 0; i < builder->settings->seed_count && seeding->count < usable; i++) {
        const struct vdb_index_seeds *seed = &builder->settings->seeds[i];
        if (seed->ops == &vdb_index_qgraph && seed->index != NULL) {
            VDB_CHECK(take_seed(builder, seed, node_of, err));
        }
    }
    for (size_t i = 0; i < seeding->count; i++) {
        seeding->given += seeding->seeds[i].given;
        if (seeding->seeds[i].given > seeding->seeds[seeding->largest].given) {
            seeding->largest = i;
        }
    }
    seeding->most = seeding->given * 2 > count;
    for (size_t node = 0; node < count; node++) {
        seeding->unsettled += !vdb_qgraph_seeds_settled(seeding, (uint32_t)node);
    }
cleanup:
    free(node_of);
    return status;
}

void vdb_qgraph_seeds_fini(struct qgraph_seeding *seeding)
{
    for (size_t i = 0; i < seeding->count; i++) {
        free(seeding->seeds[i].new_of);
    }
    free(seeding->seed_of);
    free(seeding->old_of);
}

size_t vdb_qgraph_seeds_near(const struct qgraph_seeding *seeding, uint32_t node, uint32_t *out)
{
    if (seeding->count == 0 || seeding->seed_of[node] == UINT8_MAX) {
        return 0;
    }
    const struct qgraph_seed *seed = &seeding->seeds[seeding->seed_of[node]];
    uint32_t room[VDB_QGRAPH_DEGREE];
    const uint32_t *nodes = qgraph_neighbours(seed->graph, seeding->old_of[node], room);
    uint32_t gone[VDB_QGRAPH_DEGREE];
    size_t gone_count = 0;
    size_t count = 0;
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        const uint32_t now = seed->new_of[nodes[i]];
        if (now != UINT32_MAX) {
            out[count++] = now;
        } else {
            gone[gone_count++] = nodes[i];
        }
    }
    for (size_t g = 0; g < gone_count; g++) {
        const uint32_t *next = qgraph_neighbours(seed->graph, gone[g], room);
        size_t most = (QGRAPH_SEED_CANDIDATES - count) / (gone_count - g);
        for (size_t i = 0; i < VDB_QGRAPH_DEGREE && most > 0; i++) {
            const uint32_t now = seed->new_of[next[i]];
            if (now != UINT32_MAX) {
                out[count++] = now;
                most--;
            }
        }
    }
    return count;
}

bool vdb_qgraph_seeds_settled(const struct qgraph_seeding *seeding, uint32_t node)
{
    if (!seeding->most || seeding->seed_of[node] != seeding->largest) {
        return false;
    }
    const struct qgraph_seed *seed = &seeding->seeds[seeding->largest];
    uint32_t room[VDB_QGRAPH_DEGREE];
    const uint32_t *nodes = qgraph_neighbours(seed->graph, seeding->old_of[node], room);
    size_t survivors = 0;
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        survivors += seed->new_of[nodes[i]] != UINT32_MAX;
    }
    return survivors >= SURVIVORS_MIN;
}
