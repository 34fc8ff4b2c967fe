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
    QGRAPH_SPREAD_WIDTH = 256, /* places of a pool whose distances are known of the data... */
    QGRAPH_SPREAD_K = 128,     /* ...and of the nearest; a walk for more does not end early */
    QGRAPH_DOT_SPREAD = 32,    /* extra dimensions of dot */
    QGRAPH_SCRATCH_SLOTS = 64,
    QGRAPH_ENTRIES_MAX = 8,
    QGRAPH_CANDIDATES_MAX = 1024, /* of one node; more incoming ones are left out */
    QGRAPH_PIECE_NODES = 128,     /* of a pass over all nodes, for one thread at a time */
    QGRAPH_SEEDS_MAX = 128,       /* more are passed over */
    QGRAPH_SMALL_NODES = 1 << 24, /* from so many nodes on a number takes four bytes */
    QGRAPH_SEED_CANDIDATES = 64,  /* of one node */
    QGRAPH_AHEAD_ALONE = 4,       /* blocks that a walk asks for before it visits them: measured */
    QGRAPH_AHEAD_MAX = 4,
};

#define QGRAPH_SHARED                                                                                            \
    UINT32_C(0x80000000) /* vdb_qgraph_compact_place; rows are below 2^30, places 1.5 times that */

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
    uint32_t nearest[QGRAPH_SPREAD_K];
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
    uint64_t *keys; /* compact: the pool... */
    size_t keys_capacity;
    uint32_t *touched; /* ...and nodes that are marked */
    size_t touched_count;
    size_t touched_capacity;
};

/* Where a graph without codes has what: qgraph_compact.c. */
struct qgraph_compact {
    uint32_t degree; /* 0: there are blocks with codes */
    uint32_t id_bytes;
    uint32_t vector_bytes;
    uint32_t link_bytes;
    size_t links_at; /* behind the vectors */
    size_t bytes;
};

struct vdb_qgraph {
    struct qgraph_space space;
    struct qgraph_projection projection;
    struct vdb_qgraph_shape shape;
    struct qgraph_compact compact;
    const struct vdb_qgraph_kernels *kernels;
    uint8_t *blocks;         /* or, compact, vectors and links */
    size_t blocks_bytes;     /* as mapped */
    uint32_t *rows;          /* of each node that several rows share, by node: how many, then they, ascending */
    size_t shared_count;     /* numbers in that table */
    size_t row_count;        /* rows that are in */
    size_t row_end;          /* rows there were at the time of building */
    struct vdb_bitset taken; /* rows that are in */
    size_t node_count;
    uint32_t entry_count; /* blocks behind those of the nodes, around the middle of all: where walks begin */
    float unit;           /* inner distances to those of the pool: A power of two */
    float slope_unit;     /* what factors' slopes are multiplied by */
    uint32_t ef_search;
    double average_degree;
    size_t linked;
    float alpha; /* of pruning, as the build chose it; 0: not known */
    /* qgraph_stop.c: mean distances of a pool's places, estimated, and of the nearest measured, in one unit. */
    bool spread_known;
    float spread_pool[QGRAPH_SPREAD_WIDTH];
    float spread_exact[QGRAPH_SPREAD_K];
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

/* The i-th neighbour in a block. */
static inline uint32_t qgraph_node(const struct vdb_qgraph *graph, size_t node, size_t i)
{
    return vdb_qgraph_kernels_node(&graph->shape, qgraph_block(graph, node), i);
}

/* ---- qgraph_compact.c ---- */
uint32_t vdb_qgraph_compact_degree(uint32_t dimension);
/* Fills graph->compact and shape, from space and node_count, of which no product wraps. */
void vdb_qgraph_compact_shape(struct vdb_qgraph *graph);
/* Makes a built graph compact. */
vdb_status vdb_qgraph_compact_from(struct vdb_qgraph *graph, struct vdb_err *err) VDB_MUST_CHECK;
const uint8_t *vdb_qgraph_compact_vector(const struct vdb_qgraph *graph, size_t node);
const uint8_t *vdb_qgraph_compact_links(const struct vdb_qgraph *graph, size_t node);
/* A node's row; or QGRAPH_SHARED and where in vdb_qgraph.rows the number of its rows stands. */
uint32_t vdb_qgraph_compact_place(const struct vdb_qgraph *graph, size_t node);
/* VDB_QGRAPH_DEGREE of them; places nobody has hold the node itself. */
void vdb_qgraph_compact_nodes(const struct vdb_qgraph *graph, size_t node, uint32_t *out);
/* Nodes that walks begin from: the i-th of n is node_count * i / n. */
size_t vdb_qgraph_compact_entries(const struct vdb_qgraph *graph);
bool vdb_qgraph_compact_walk(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef);

/* A node's rows. */
static inline struct vdb_qgraph_head qgraph_rows_of(const struct vdb_qgraph *graph, size_t node)
{
    if (graph->compact.degree == 0) {
        return *qgraph_head(graph, node);
    }
    const uint32_t place = vdb_qgraph_compact_place(graph, node);
    const uint32_t at = place & ~QGRAPH_SHARED;
    if (at == place) {
        return (struct vdb_qgraph_head){.row_count = 1, .row = place};
    }
    return (struct vdb_qgraph_head){.row_at = at + 1, .row_count = graph->rows[at], .row = graph->rows[at + 1]};
}

static inline uint32_t qgraph_row(const struct vdb_qgraph *graph, const struct vdb_qgraph_head *head, uint32_t i)
{
    return i == 0 ? head->row : graph->rows[head->row_at + i];
}

/* A node's neighbours: VDB_QGRAPH_DEGREE, written to `room`. */
static inline const uint32_t *qgraph_neighbours(const struct vdb_qgraph *graph, size_t node, uint32_t *room)
{
    if (graph->compact.degree == 0) {
        vdb_qgraph_kernels_nodes(&graph->shape, qgraph_block(graph, node), room);
        return room;
    }
    vdb_qgraph_compact_nodes(graph, node, room);
    return room;
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

/* What neighbours' estimates are multiplied by: qgraph_fit.c. */
struct qgraph_fit {
    float along;
    float outside;
    float length;
};

/* All nodes as encoding wants them, and behind them the middle, which is 0. */
struct qgraph_projected {
    const int16_t *codes; /* `bits` each */
    const float *rest;    /* of each: the squared length, from the mean, that the projection leaves out */
    struct qgraph_fit fit;
};

void vdb_qgraph_block_shape(uint32_t dimension, uint32_t bits, size_t node_count, struct vdb_qgraph_shape *out);
/* Memory for blocks on huge pages where there are any; zeroed; NULL when short. */
void *vdb_qgraph_block_alloc(size_t bytes, size_t *mapped_bytes);
void vdb_qgraph_block_free(void *blocks, size_t mapped_bytes);
/* Writes codes, factors and numbers of neighbours. node: or an entry, node_count and on. count up to
 * VDB_QGRAPH_DEGREE; the rest of the block points to the node itself at infinity. */
void vdb_qgraph_block_encode(const struct vdb_qgraph *graph, const struct qgraph_projected *nodes, uint32_t node,
                             const uint32_t *neighbours, const uint32_t *distances, size_t count);
/* Raises *offset_max and *slope_max to the greatest magnitudes that encoding these would store, before units. */
void vdb_qgraph_block_measure(const struct vdb_qgraph *graph, const struct qgraph_projected *nodes, uint32_t node,
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

/* balls: how many a node goes to. */
vdb_status vdb_qgraph_near_find(const struct qgraph_cloud *cloud, size_t width, size_t balls, uint64_t seed,
                                struct vdb_pool *pool, struct qgraph_near *out,
                                struct vdb_err *err) VDB_MUST_CHECK;
void vdb_qgraph_near_fini(struct qgraph_near *near);
/* An order of nodes in which near ones lie near: out[i] is the node that comes i-th. */
vdb_status vdb_qgraph_near_order(const struct qgraph_cloud *cloud, uint64_t seed, struct vdb_pool *pool,
                                 uint32_t *out, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- qgraph_walk.c ---- */
/* Memory for one walk at a time of up to `ef` places; NULL when short. */
struct qgraph_scratch *vdb_qgraph_walk_scratch(const struct vdb_qgraph *graph, size_t ef);
/* Makes room for more places; false when memory is short. */
bool vdb_qgraph_walk_widen(struct qgraph_scratch *scratch, size_t ef);
void vdb_qgraph_walk_release(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch);
void vdb_qgraph_walk_free(struct qgraph_scratch *scratch);
/* From scratch->inner: fills scratch->visited, nodes expanded and their distances. False when memory is short. */
bool vdb_qgraph_walk(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef);
/* Keeps the `width` least of the distances offered, ascending. */
void vdb_qgraph_walk_keep(uint32_t *nearest, size_t *count, size_t width, uint32_t distance);

/* When a walk ends before its pool does: beyond `factor` times the k-th distance. */
struct qgraph_stop {
    size_t k;
    float factor;
    uint32_t places; /* of the pool, once k are known; it begins with `ef` */
};

/* A walk under way, of a graph with codes. */
struct qgraph_walk {
    struct qgraph_scratch *scratch;
    struct vdb_qgraph_query query;
    struct qgraph_stop stop;
    bool stops;     /* there is a stop */
    bool complete;  /* false: memory ran short, and the walk ended */
    uint32_t limit; /* places of the pool that count */
    unsigned ahead; /* blocks to have under way from memory */
    unsigned coming_count;
    uint32_t coming[QGRAPH_AHEAD_MAX]; /* asked for, in the order in which they will be visited */
    size_t known;                      /* distances in scratch->nearest */
};

/* The same in steps of one visit each, so that several can take turns. stop may be NULL. Both return whether there
 * is a visit to come; once there is none, scratch->visited holds what the walk found. */
bool vdb_qgraph_walk_begin(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t ef,
                           const struct qgraph_stop *stop, unsigned ahead, struct qgraph_walk *walk);
bool vdb_qgraph_walk_step(const struct vdb_qgraph *graph, struct qgraph_walk *walk);

/* ---- qgraph_stop.c ---- */
/* Of a graph with all its edges; false when memory is short. */
bool vdb_qgraph_stop_set(struct vdb_qgraph *graph);
/* A walk that keeps k ends beyond this many times the k-th distance; INFINITY: it does not. */
float vdb_qgraph_stop_factor(const struct vdb_qgraph *graph, size_t ef, size_t k);

/* ---- Building: qgraph_build.c and qgraph_weave.c ---- */

/* Read as one number of 64 bits, candidates order by (distance, node). */
struct qgraph_candidate {
    uint32_t node;
    uint32_t distance;
};

/* Graphs that the build takes neighbours from. */
struct qgraph_seed {
    const struct vdb_qgraph *graph;
    uint32_t *new_of; /* of each of its nodes: the node it became, UINT32_MAX for none */
    size_t given;     /* nodes that come from it */
};

struct qgraph_seeding {
    struct qgraph_seed seeds[QGRAPH_SEEDS_MAX];
    size_t count;
    size_t largest;   /* the seed that gave most */
    size_t given;     /* by all */
    bool most;        /* they gave more than half */
    size_t unsettled; /* nodes that need a walk */
    uint8_t *seed_of; /* of each node: where it comes from, UINT8_MAX for nowhere... */
    uint32_t *old_of; /* ...and as which node of that seed */
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
    size_t degree;    /* neighbours of a node */
    uint8_t *vectors; /* inner vectors of all rows, then of nodes: codes_at bytes each, zero past dimension */
    size_t vector_bytes;
    size_t vectors_mapped;
    uint32_t *firsts; /* of each node: its first row, as a place in `taken`... */
    uint32_t *next;   /* ...and of each place: the next of the same node, UINT32_MAX at the end */
    uint32_t *order;
    uint32_t *places; /* of each node in that order: where in graph->rows it begins; and where all end */
    int16_t *codes;   /* projections of nodes */
    float *rest;      /* as struct qgraph_projected has it */
    struct qgraph_fit fit;
    struct qgraph_cloud cloud;
    struct qgraph_near near;
    struct qgraph_seeding seeding;
    bool fill_first; /* the first graph gets no reverse edges: what pruning leaves free is filled up at once */
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

/* ---- qgraph_seeds.c ---- */
/* Once nodes have their places. Without usable seeds nothing happens. */
vdb_status vdb_qgraph_seeds_init(struct qgraph_builder *builder, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_qgraph_seeds_fini(struct qgraph_seeding *seeding);
/* Neighbours that the node's seed knows of, at most QGRAPH_SEED_CANDIDATES, perhaps some of them twice. */
size_t vdb_qgraph_seeds_near(const struct qgraph_seeding *seeding, uint32_t node, uint32_t *out);
/* True: the node needs no walk. */
bool vdb_qgraph_seeds_settled(const struct qgraph_seeding *seeding, uint32_t node);

static inline struct qgraph_projected qgraph_projected(const struct qgraph_builder *builder)
{
    return (struct qgraph_projected){builder->codes, builder->rest, builder->fit};
}

/* ---- qgraph_fit.c ---- */
/* Sets builder->fit, from builder->now and builder->near. */
void vdb_qgraph_fit_set(struct qgraph_builder *builder);

/* ---- qgraph_weave.c ---- */
/* Edges of all nodes, written into their blocks. */
vdb_status vdb_qgraph_weave(struct qgraph_builder *builder, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_qgraph_weave_lists_fini(struct qgraph_lists *lists);

#endif
