/* qgraph_compact.c: a graph without codes: a third of the memory, at some of the speed.
 *
 * The full graph's edges over vectors of 8 bits, for those who have more rows than memory. Two arrays: vectors,
 * and behind them one record a node of its row (or where its rows are) and its neighbours, three bytes each while nodes are
 * few enough. A search measures every neighbour it meets, as HNSW does, but on a quarter of the bytes, from lines
 * asked for ahead of their turn.
 *
 * 28 neighbours a node where vectors are short, 32 else: at 128 dimensions 28 are what a third of hnswlib's f32
 * index leaves room for.
 *
 * Threads: as qgraph.h says.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "qgraph_internal.h"

enum {
    DEGREE_SHORT = 28,
    SHORT_DIMENSIONS = 160,
    ALIGNED_DIMENSIONS = 256, /* from here on vectors begin on lines of their own */
    PLACE_BYTES = 4,          /* of a record: vdb_qgraph_compact_place */
    SPARE_BYTES = 8,          /* behind the last record: numbers are read four bytes at a time */
    AHEAD = 6,                /* vectors asked for before they are measured */
    TOUCHED_MIN = 4096,
};

#define DONE        UINT64_C(0x80000000) /* in a key: expanded already */
#define NODE_OF_KEY UINT64_C(0x7FFFFFFF)

uint32_t vdb_qgraph_compact_degree(uint32_t dimension)
{
    return dimension < SHORT_DIMENSIONS ? DEGREE_SHORT : VDB_QGRAPH_DEGREE;
}

void vdb_qgraph_compact_shape(struct vdb_qgraph *graph)
{
    struct qgraph_compact *compact = &graph->compact;
    const uint32_t dimension = graph->space.dimension;
    vdb_qgraph_block_shape(dimension, 64, graph->node_count,
                           &graph->shape); /* what searches' memory is measured by */
    compact->degree = vdb_qgraph_compact_degree(dimension);
    compact->id_bytes = graph->shape.node_bytes;
    compact->vector_bytes = (uint32_t)vdb_round_up(dimension, dimension < ALIGNED_DIMENSIONS ? 16 : 64);
    compact->link_bytes = (uint32_t)vdb_round_up(PLACE_BYTES + compact->degree * compact->id_bytes, 4);
    compact->links_at = vdb_round_up(graph->node_count * compact->vector_bytes, 64);
    compact->bytes = compact->links_at + graph->node_count * compact->link_bytes + SPARE_BYTES;
    graph->shape.block_bytes = compact->vector_bytes + compact->link_bytes;
}

static inline uint8_t *vector_at(const struct vdb_qgraph *graph, size_t node)
{
    return graph->blocks + node * graph->compact.vector_bytes;
}

static inline uint8_t *links_at(const struct vdb_qgraph *graph, size_t node)
{
    return graph->blocks + graph->compact.links_at + node * graph->compact.link_bytes;
}

const uint8_t *vdb_qgraph_compact_vector(const struct vdb_qgraph *graph, size_t node)
{
    return vector_at(graph, node);
}

const uint8_t *vdb_qgraph_compact_links(const struct vdb_qgraph *graph, size_t node)
{
    return links_at(graph, node);
}

uint32_t vdb_qgraph_compact_place(const struct vdb_qgraph *graph, size_t node)
{
    return vdb_load_u32(links_at(graph, node));
}

static inline uint32_t neighbour_at(const uint8_t *links, size_t id_bytes, size_t i)
{
    return vdb_load_u32(links + PLACE_BYTES + i * id_bytes) & (id_bytes == 3 ? 0xFFFFFFu : UINT32_MAX);
}

void vdb_qgraph_compact_nodes(const struct vdb_qgraph *graph, size_t node, uint32_t *out)
{
    const struct qgraph_compact *compact = &graph->compact;
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        out[i] = i < compact->degree ? neighbour_at(links_at(graph, node), compact->id_bytes, i) : (uint32_t)node;
    }
}

size_t vdb_qgraph_compact_entries(const struct vdb_qgraph *graph)
{
    const size_t wanted = (size_t)graph->entry_count * VDB_QGRAPH_DEGREE;
    return graph->node_count < wanted ? graph->node_count : wanted;
}

/* ---- Making one ---- */

vdb_status vdb_qgraph_compact_from(struct vdb_qgraph *graph, struct vdb_err *err)
{
    struct vdb_qgraph full = *graph; /* whose blocks are read, then let go */
    size_t mapped;
    vdb_qgraph_compact_shape(graph);
    uint8_t *blocks = vdb_qgraph_block_alloc(graph->compact.bytes, &mapped);
    if (blocks == NULL) {
        graph->shape = full.shape;
        graph->compact = full.compact;
        return vdb_err_no_memory(err, "the graph's vectors");
    }
    graph->blocks = blocks;
    graph->blocks_bytes = mapped;
    for (size_t node = 0; node < graph->node_count; node++) {
        const struct vdb_qgraph_head *head = qgraph_head(&full, node);
        uint8_t *links = links_at(graph, node);
        memcpy(vector_at(graph, node), qgraph_block(&full, node), full.shape.dimension);
        vdb_store_u32(links, head->row_count > 1 ? QGRAPH_SHARED | (head->row_at - 1) : head->row);
        for (size_t i = 0; i < graph->compact.degree; i++) {
            uint8_t number[4];
            vdb_store_u32(number, qgraph_node(&full, node, i));
            memcpy(links + PLACE_BYTES + i * graph->compact.id_bytes, number, graph->compact.id_bytes);
        }
    }
    vdb_qgraph_block_free(full.blocks, full.blocks_bytes);
    for (size_t i = 0; i < QGRAPH_SCRATCH_SLOTS; i++) { /* made for the full graph */
        vdb_qgraph_walk_free(atomic_exchange(&graph->scratch[i], NULL));
    }
    vdb_qgraph_project_fini(&graph->projection);
    graph->projection.inputs = 0;
    graph->projection.bits = 0;
    return VDB_OK;
}

/* ---- The walk ---- */

/* A pool of keys, distance over node, ascending. */
struct pool {
    uint64_t *keys;
    size_t count;
    size_t capacity;
    size_t next; /* the first that is not done */
};

static inline void offer(struct pool *pool, uint32_t distance, uint32_t node)
{
    const uint64_t key = (uint64_t)distance << 32 | node;
    size_t at = pool->count;
    if (at == pool->capacity) {
        if (key >= pool->keys[at - 1]) {
            return;
        }
        at--;
    } else {
        pool->count++;
    }
    size_t low = 0;
    for (size_t left = at; left > 0;) { /* keys before `low` are smaller */
        const size_t half = left / 2;
        const bool right = pool->keys[low + half] < key;
        low = right ? low + half + 1 : low;
        left = right ? left - half - 1 : half;
    }
    memmove(pool->keys + low + 1, pool->keys + low, (at - low) * sizeof *pool->keys);
    pool->keys[low] = key;
    pool->next = low < pool->next ? low : pool->next;
}

static inline void ask_for(const struct vdb_qgraph *graph, uint32_t node)
{
    const uint8_t *vector = vector_at(graph, node);
    for (size_t at = 0; at < graph->shape.dimension; at += VDB_CACHE_LINE_BYTES) {
        __builtin_prefetch(vector + at);
    }
}

static void measure(const struct vdb_qgraph *graph, const uint8_t *query, const uint32_t *nodes, size_t count,
                    struct pool *pool)
{
    const size_t dimension = graph->shape.dimension;
    vdb_qgraph_distance_fn *distance = graph->kernels->distance;
    for (size_t i = 0; i < count && i < AHEAD; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): count of them are set */
        ask_for(graph, nodes[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            ask_for(graph, nodes[i + AHEAD]);
        }
        offer(pool, distance(query, vector_at(graph, nodes[i]), dimension), nodes[i]);
    }
}

/* Room for what one more expansion meets. */
static bool make_room(struct qgraph_scratch *scratch)
{
    void *touched = scratch->touched;
    void *visited = scratch->visited;
    if (scratch->touched_count + VDB_QGRAPH_DEGREE > scratch->touched_capacity) {
        const size_t capacity = scratch->touched_capacity * 2 + TOUCHED_MIN;
        if (!vdb_realloc_array(&touched, capacity, sizeof *scratch->touched)) {
            return false;
        }
        scratch->touched = touched;
        scratch->touched_capacity = capacity;
    }
    if (scratch->visited_count == scratch->visited_capacity) {
        if (!vdb_realloc_array(&visited, scratch->visited_capacity * 2, sizeof *scratch->visited)) {
            return false;
        }
        scratch->visited = visited;
        scratch->visited_capacity *= 2;
    }
    return true;
}

static bool widen(struct qgraph_scratch *scratch, size_t ef)
{
    void *keys = scratch->keys;
    if (ef <= scratch->keys_capacity) {
        return true;
    }
    if (!vdb_realloc_array(&keys, ef, sizeof *scratch->keys)) {
        return false;
    }
    scratch->keys = keys;
    scratch->keys_capacity = ef;
    return true;
}

/* 1 the first time in this walk, else 0: as good as random, so nothing branches on it. */
static inline size_t touch(struct qgraph_scratch *scratch, uint32_t node)
{
    uint32_t *word = &scratch->marks[node / 32];
    const size_t fresh = ~*word >> (node % 32) & 1;
    *word |= UINT32_C(1) << (node % 32);
    scratch->touched[scratch->touched_count] = node;
    scratch->touched_count += fresh;
    return fresh;
}

bool vdb_qgraph_compact_walk(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef)
{
    const struct qgraph_compact *compact = &graph->compact;
    const size_t entries = vdb_qgraph_compact_entries(graph);
    struct pool pool = {.capacity = ef};
    uint32_t nodes[VDB_QGRAPH_DEGREE];
    bool complete = widen(scratch, ef);
    pool.keys = scratch->keys;
    scratch->visited_count = 0;
    scratch->touched_count = 0;
    for (size_t i = 0; i < entries && complete;) {
        size_t count = 0;
        complete = make_room(scratch);
        for (; complete && i < entries && count < VDB_QGRAPH_DEGREE; i++) {
            nodes[count] = (uint32_t)(graph->node_count * i / entries);
            count += touch(scratch, nodes[count]);
        }
        measure(graph, scratch->inner, nodes, count, &pool);
    }
    while (complete && pool.next < pool.count) {
        const uint64_t key = pool.keys[pool.next];
        const uint32_t node = (uint32_t)(key & NODE_OF_KEY);
        const uint8_t *links = links_at(graph, node);
        size_t count = 0;
        complete = make_room(scratch);
        if (!complete) {
            break;
        }
        scratch->visited[scratch->visited_count++] = (struct vdb_candidate){(double)(key >> 32), node};
        pool.keys[pool.next] |= DONE;
        for (size_t i = 0; i < compact->degree; i++) {
            nodes[count] = neighbour_at(links, compact->id_bytes, i);
            count += touch(scratch, nodes[count]);
        }
        while (pool.next < pool.count && (pool.keys[pool.next] & DONE) != 0) {
            pool.next++;
        }
        if (pool.next < pool.count) { /* perhaps the next one */
            const uint8_t *coming = links_at(graph, pool.keys[pool.next] & NODE_OF_KEY);
            __builtin_prefetch(coming);
            __builtin_prefetch(coming + VDB_CACHE_LINE_BYTES);
        }
        measure(graph, scratch->inner, nodes, count, &pool);
    }
    for (size_t i = 0; i < scratch->touched_count; i++) {
        scratch->marks[scratch->touched[i] / 32] = 0;
    }
    return complete;
}
