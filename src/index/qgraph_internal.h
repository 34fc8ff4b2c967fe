/* qgraph_internal.h: what the files of the quantised graph share.
 *
 * Three spaces: rows as the user gave them; *inner vectors*, u8 with squared l2, in which graph and visits live
 * (qgraph_space.c); and *projections* of inner vectors on `bits` orthonormal directions, of which neighbours'
 * codes hold the signs (qgraph_project.c).
 *
 * Private to src/index/qgraph*.c. Threads: as qgraph.h says.
 */
#ifndef VDB_INDEX_QGRAPH_INTERNAL_H
#define VDB_INDEX_QGRAPH_INTERNAL_H

#include <stdatomic.h>

#include "base/pool.h"
#include "distance/kernels.h"
#include "qgraph.h"
#include "qgraph_kernels.h"

enum {
    QGRAPH_DOT_SPREAD = 32, /* extra dimensions of dot */
    QGRAPH_SCRATCH_SLOTS = 64,
    QGRAPH_ENTRIES_MAX = 8,
    QGRAPH_CANDIDATES_MAX = 1024, /* of one node; more incoming ones are left out */
    QGRAPH_PIECE_NODES = 128,     /* of a pass over all nodes, for one thread at a time */
};

/* Rows to inner vectors. */
struct qgraph_space {
    vdb_element element;
    vdb_metric metric;
    uint32_t row_dimension;
    uint32_t dimension; /* inner */
    bool exact;         /* an inner distance is the row's distance */
    float step;         /* of a code, in the row's units */
    float longest;      /* dot: the longest row */
    float *centre;      /* row_dimension of them, NULL if exact */
};

/* Inner vectors to projections. */
struct qgraph_projection {
    uint32_t inputs;
    uint32_t bits;
    int8_t *matrix;  /* as vdb_qgraph_project_fn wants it */
    int32_t *offset; /* per output: the mean's projection */
    float *mean;     /* inputs of them */
    float scale;     /* codes at build time = (projection - offset) * scale */
    float unit;      /* a code's step, in inner units */
    double explained;
};

struct qgraph_scratch {
    struct vdb_qgraph_pool pool;
    size_t capacity; /* entries the pool's arrays can hold */
    uint32_t *marks; /* of vdb_qgraph_pool; clear between searches */
    uint32_t met[VDB_QGRAPH_MET_WORDS];
    struct vdb_candidate *visited; /* nodes in the order of expansion: their inner distances */
    size_t visited_capacity;
    size_t visited_count;
    uint8_t *inner; /* query */
    int8_t *vector;
    int32_t *projected;
    float *values;
    uint8_t *tables;
    float *floats; /* row_dimension of them */
    struct vdb_candidate *heap;
    size_t heap_capacity;
};

struct vdb_qgraph {
    struct qgraph_space space;
    struct qgraph_projection projection;
    struct vdb_qgraph_shape shape;
    const struct vdb_qgraph_kernels *kernels;
    uint8_t *blocks;
    size_t blocks_bytes;     /* as mapped */
    uint32_t *rows;          /* by node, then ascending */
    size_t row_count;        /* of them */
    size_t row_end;          /* rows there were at the time of building */
    struct vdb_bitset taken; /* rows that are in */
    size_t node_count;
    uint32_t entry_count; /* blocks behind those of the nodes, around the middle of all: where walks begin */
    float unit;           /* inner distances to those of the pool: A power of two */
    float slope_unit;     /* what factors' slopes are multiplied by */
    uint32_t ef_search;
    double average_degree;
    size_t linked;
    _Atomic(struct qgraph_scratch *) scratch[QGRAPH_SCRATCH_SLOTS];
};

static inline uint8_t *qgraph_block(const struct vdb_qgraph *graph, size_t node)
{
    return graph->blocks + node * graph->shape.block_bytes;
}

static inline struct vdb_qgraph_head *qgraph_head(const struct vdb_qgraph *graph, size_t node)
{
    return (struct vdb_qgraph_head *)(void *)(qgraph_block(graph, node) + graph->shape.head_at);
}

static inline uint32_t *qgraph_nodes(const struct vdb_qgraph *graph, size_t node)
{
    return (uint32_t *)(void *)(qgraph_block(graph, node) + graph->shape.nodes_at);
}

/* ---- qgraph_space.c ---- */
/* What follows from the rows' kind alone. */
void vdb_qgraph_space_set(struct qgraph_space *space, const struct vdb_rows *rows);
vdb_status vdb_qgraph_space_init(struct qgraph_space *space, const struct vdb_rows *rows,
                                 struct vdb_err *err) VDB_MUST_CHECK;
void vdb_qgraph_space_fini(struct qgraph_space *space);
/* out: space->dimension bytes. floats: room for row_dimension of them. */
void vdb_qgraph_space_row(const struct qgraph_space *space, const void *row, float *floats, uint8_t *out);
/* False: the query lies so far outside of the rows' range that codes do not describe it. */
bool vdb_qgraph_space_query(const struct qgraph_space *space, const void *query, float *floats, uint8_t *out);

/* ---- qgraph_project.c ---- */
/* vectors: count inner vectors, stride_bytes (a multiple of 64) apart, zero past `dimension`. bits: 0 to choose.
 */
vdb_status vdb_qgraph_project_init(struct qgraph_projection *projection, const uint8_t *vectors,
                                   size_t stride_bytes, size_t count, uint32_t dimension, unsigned bits,
                                   uint64_t seed, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_qgraph_project_fini(struct qgraph_projection *projection);

/* ---- qgraph_block.c ---- */
void vdb_qgraph_block_shape(uint32_t dimension, uint32_t bits, struct vdb_qgraph_shape *out);
/* Memory for blocks on huge pages where there are any; zeroed; NULL when short. */
void *vdb_qgraph_block_alloc(size_t bytes, size_t *mapped_bytes);
void vdb_qgraph_block_free(void *blocks, size_t mapped_bytes);
/* Writes codes, factors and numbers of neighbours. codes: projections of all nodes, and behind them of the
 * middle, `bits` each. node: or an entry, node_count and on. count up to VDB_QGRAPH_DEGREE; the rest of the block
 * points to the node itself at infinity. */
void vdb_qgraph_block_encode(const struct vdb_qgraph *graph, const int16_t *codes, uint32_t node,
                             const uint32_t *neighbours, const uint32_t *distances, size_t count);
/* Raises *offset_max and *slope_max to the greatest magnitudes that encoding these would store, before units. */
void vdb_qgraph_block_measure(const struct vdb_qgraph *graph, const int16_t *codes, uint32_t node,
                              const uint32_t *neighbours, const uint32_t *distances, size_t count,
                              float *offset_max, float *slope_max);

/* ---- qgraph_near.c ---- */

/* Candidates of every node, ascending by (distance, node), at most `width`; distances in units of the 8-bit
 * codes. */
struct qgraph_near {
    size_t width;
    uint32_t *counts;
    uint32_t *nodes;    /* width for each node */
    int32_t *distances; /* likewise */
};

/* What the first graph is made of: nodes in 8 bits for each projection. */
struct qgraph_cloud {
    size_t count;
    size_t bits;
    int8_t *codes;
    int32_t *norm; /* squared length, with what lies outside of the projection */
    int32_t *sum;  /* of codes */
};

vdb_status vdb_qgraph_near_find(const struct qgraph_cloud *cloud, size_t width, uint64_t seed,
                                struct vdb_pool *pool, struct qgraph_near *out,
                                struct vdb_err *err) VDB_MUST_CHECK;
void vdb_qgraph_near_fini(struct qgraph_near *near);
/* An order of nodes in which near ones lie near: out[i] is the node that comes i-th. */
vdb_status vdb_qgraph_near_order(const struct qgraph_cloud *cloud, uint64_t seed, struct vdb_pool *pool,
                                 uint32_t *out, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- qgraph_search.c ---- */
struct qgraph_scratch *vdb_qgraph_search_scratch(const struct vdb_qgraph *graph, size_t ef);
void vdb_qgraph_search_release(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch);
void vdb_qgraph_search_free(struct qgraph_scratch *scratch);
/* From scratch->inner: fills scratch->visited, nodes expanded and their distances. False when memory is short. */
bool vdb_qgraph_search_walk(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef);

/* ---- Building: qgraph_build.c and qgraph_weave.c ---- */

/* Read as one number of 64 bits, candidates order by (distance, node). */
struct qgraph_candidate {
    uint32_t node;
    uint32_t distance;
};

/* Lists of VDB_QGRAPH_DEGREE places for each node. */
struct qgraph_lists {
    uint32_t *nodes;
    uint32_t *distances;
    uint8_t *counts;
};

struct qgraph_builder_worker {
    struct qgraph_candidate candidates[QGRAPH_CANDIDATES_MAX];
    size_t count;
    struct qgraph_candidate picked[VDB_QGRAPH_DEGREE];
    size_t picked_count;
    float *floats;
    int32_t *projected;
    bool failed;
};

struct qgraph_builder {
    struct vdb_qgraph *graph;
    const struct vdb_rows *rows;
    struct vdb_qgraph_params params;
    const struct vdb_index_settings *settings;
    struct vdb_pool *pool; /* NULL: one thread */
    uint64_t steps;        /* of all nodes, done and to do */
    uint64_t steps_total;
    uint32_t *taken; /* rows that go in, ascending */
    size_t taken_count;
    struct qgraph_builder_worker *workers;
    unsigned worker_count;
    uint8_t *vectors; /* inner vectors of all rows, then of nodes: codes_at bytes each, zero past dimension */
    size_t vector_bytes;
    uint32_t *firsts; /* of each node: its first row, as a place in `taken`... */
    uint32_t *next;   /* ...and of each place: the next of the same node, UINT32_MAX at the end */
    uint32_t *order;
    int16_t *codes; /* projections of nodes */
    struct qgraph_cloud cloud;
    struct qgraph_near near;
    struct qgraph_lists now;
    struct qgraph_lists then;
    size_t *incoming_at; /* node_count + 1 */
    struct qgraph_candidate *incoming;
};

/* Runs `work` (ctx: the builder) for pieces of QGRAPH_PIECE_NODES items. */
void vdb_qgraph_build_run(struct qgraph_builder *builder, size_t items, vdb_pool_work_fn *work);
/* After each pass over the nodes: reports progress; VDB_CANCELLED when asked to stop. */
vdb_status vdb_qgraph_build_report(struct qgraph_builder *builder, struct vdb_err *err) VDB_MUST_CHECK;

static inline size_t qgraph_piece_end(size_t index, size_t items)
{
    size_t end = (index + 1) * QGRAPH_PIECE_NODES;
    return end < items ? end : items;
}

/* ---- qgraph_weave.c ---- */
/* Edges of all nodes, written into their blocks. */
vdb_status vdb_qgraph_weave(struct qgraph_builder *builder, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_qgraph_weave_lists_fini(struct qgraph_lists *lists);

#endif
