/* hnsw.h: the hierarchical graph of Malkov and Yashunin (2016), over rows that come and go.
 *
 *     vdb_hnsw_create; vdb_hnsw_build or vdb_hnsw_insert row by row; vdb_hnsw_search; vdb_hnsw_destroy
 *
 * All elements and metrics. Rows stay the caller's (`vectors_inside` keeps a copy, laid out for the search). A
 * row's number is its name in the graph; rows of equal vectors share a node, so a million duplicates are one
 * node and a list. Every row that is in can be reached from every other over the links of layer 0 at any moment
 * (vdb_hnsw_check walks it).
 *
 * The rows given to a call are those the index was created for, of the same dimension, element and metric, and
 * may have grown, and their array of chunks may be another. A call reads no row that is not in, so rows->count may
 * be all there is memory for: an insert should see as many as it can, for it chooses neighbours among what it sees.
 * A search over a view that is older than the graph does not get through the newer rows, and is wider for it;
 * better give it the newest view and the older one's `allow`: rows from allow->count on are refused, not unseen.
 * The vector of a removed row must stay readable until the graph is settled (vdb_hnsw_settle),
 * and its number may be used again when, besides, no search that began before its removal still runs.
 *
 * Threads: searches take no lock and run beside any number of inserts, and beside a removal. Inserts run beside
 * each other; remove, settle, check, save and get_stats wait for the inserts under way and keep others out.
 * build brings threads of its own. create and destroy are confined.
 */
#ifndef VDB_INDEX_HNSW_H
#define VDB_INDEX_HNSW_H

#include "index.h"

enum {
    VDB_HNSW_M_MIN = 4,
    VDB_HNSW_M_MAX = 256,
    VDB_HNSW_EF_MAX = 65536,
    VDB_HNSW_LAYERS_MAX = 16,
    VDB_HNSW_TRACE_STEPS_MAX = 256,
};

struct vdb_hnsw;

struct vdb_hnsw_params {
    uint32_t m; /* links of a node in the upper layers, twice as many in layer 0 (dot: and a quarter) */
    uint32_t ef_construction; /* width of an insert's search, at least m */
    uint32_t ef_search;       /* width of a search that does not say */
    bool extend_candidates;   /* algorithm 4: candidates' neighbours are candidates too */
    bool keep_pruned;         /* algorithm 4: fill up with the nearest that diversity refused */
    bool vectors_inside;      /* keep a copy of the vectors in huge pages */
    vdb_element inside_as; /* of f32 rows, with vectors_inside: F32, or F16, BF16, or U8 (8-bit codes), which are
                                 smaller and, of long vectors, faster; answers are measured again on the rows. Of all
                                 other rows F32, which is 0: as they are */
    uint64_t seed;         /* of the layers; one thread and one seed give one graph */
};

struct vdb_hnsw_params vdb_hnsw_params_default(void); /* 16, 200, 64, no, no, no, as they are, 1 */
/* VDB_INVALID names the field, its value and what is allowed. */
vdb_status vdb_hnsw_params_check(const struct vdb_hnsw_params *params, struct vdb_err *err) VDB_MUST_CHECK;

/* An empty graph for rows of this kind; of *rows only dimension, element and metric are read. params: NULL for
 * the defaults. capacity: rows that are expected (0: unknown); more may come. */
vdb_status vdb_hnsw_create(const struct vdb_hnsw_params *params, const struct vdb_rows *rows, size_t capacity,
                           struct vdb_hnsw **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_hnsw_destroy(struct vdb_hnsw *hnsw); /* NULL is allowed */
const struct vdb_hnsw_params *vdb_hnsw_get_params(const struct vdb_hnsw *hnsw);

/* Inserts the rows that are not in: all, or those of settings->only. settings: NULL for all, a thread per core
 * and no report; params is not read. After VDB_CANCELLED the graph holds what was inserted until then, and
 * another build goes on from there. */
vdb_status vdb_hnsw_build(struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                          const struct vdb_index_settings *settings, struct vdb_err *err) VDB_MUST_CHECK;
/* VDB_EXISTS: the row is in, or its removal is not settled. VDB_INVALID: no such row, or rows of another kind. */
vdb_status vdb_hnsw_insert(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row,
                           struct vdb_err *err) VDB_MUST_CHECK;
/* No search that begins afterwards returns the row. Its in-neighbours are found and linked anew by and by: each
 * removal repairs a stretch of the graph. */
vdb_status vdb_hnsw_remove(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint32_t row,
                           struct vdb_err *err) VDB_MUST_CHECK;
/* Finishes the repair: afterwards no list names a removed row. */
vdb_status vdb_hnsw_settle(struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                           struct vdb_err *err) VDB_MUST_CHECK;
bool vdb_hnsw_has(const struct vdb_hnsw *hnsw, uint32_t row);

/* One step of a search's way: from layer to layer down, the nodes it stood on; in layer 0 those it expanded. */
struct vdb_hnsw_step {
    uint32_t layer;
    uint32_t row;
    double distance;
};

/* What one search did. Steps past the array's end are counted in step_count and not kept. */
struct vdb_hnsw_trace {
    struct vdb_hnsw_step steps[VDB_HNSW_TRACE_STEPS_MAX];
    size_t step_count;
    uint64_t expanded;  /* nodes whose lists were read, all layers */
    uint64_t visited;   /* nodes whose distance was computed */
    uint64_t distances; /* distances computed; a few more than visited: the answers are measured again */
    uint64_t hops[VDB_HNSW_LAYERS_MAX]; /* moves (layer 0: expansions) of each layer */
    bool scanned; /* the filter left so few rows, or ef is so wide, that all were computed directly */
};

/* As vdb_index_ops.search, width query->ef (0: the index's; never under topk->k). trace: NULL, or filled anew.
 * When all rows are cheaper to compute than the graph to walk, they are; VDB_HNSW_ALWAYS_WALK in flags says not
 * to. */
enum { VDB_HNSW_ALWAYS_WALK = 1 };
vdb_status vdb_hnsw_search(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                           const struct vdb_query *query, unsigned flags, struct vdb_topk *topk,
                           struct vdb_hnsw_trace *trace, struct vdb_err *err) VDB_MUST_CHECK;

struct vdb_hnsw_stats {
    uint64_t rows;       /* that are in */
    uint64_t nodes;      /* rows that have a node of their own */
    uint64_t duplicates; /* rows that share another's */
    uint64_t removed;    /* not settled yet */
    uint64_t layer_nodes[VDB_HNSW_LAYERS_MAX];
    uint64_t layer_links[VDB_HNSW_LAYERS_MAX]; /* layer_links[i] / layer_nodes[i] is the average degree */
    uint32_t layer_count;
    uint32_t entry; /* row of the entry point; UINT32_MAX: the graph is empty */
    uint64_t graph_bytes;
    uint64_t vector_bytes; /* of the copies inside; 0 without */
    uint64_t distances;    /* that inserts and removals have computed since it was created or loaded */
};

void vdb_hnsw_get_stats(struct vdb_hnsw *hnsw, struct vdb_hnsw_stats *out);

/* While a build runs: rows that are in so far, per layer, without waiting. */
void vdb_hnsw_count_layers(const struct vdb_hnsw *hnsw, uint64_t layer_nodes[VDB_HNSW_LAYERS_MAX]);

/* Estimates the diameter of layer 0 in links: the longest shortest way found from a few nodes, `samples` times,
 * each time on from the farthest node found. A lower bound. Reads every list once or twice per sample. */
vdb_status vdb_hnsw_estimate_diameter(struct vdb_hnsw *hnsw, unsigned samples, uint32_t *out,
                                      struct vdb_err *err) VDB_MUST_CHECK;

/* Walks everything; VDB_CORRUPT names the first thing that is wrong. */
vdb_status vdb_hnsw_check(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct vdb_err *err) VDB_MUST_CHECK;

/* Settles, then writes. stamp: what the caller knows the rows by. */
vdb_status vdb_hnsw_save(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint64_t stamp,
                         vdb_index_write_fn *write, void *ctx, struct vdb_err *err) VDB_MUST_CHECK;
/* data: all that save wrote, `bytes` of it; not needed afterwards. Everything is checked, so that no bytes
 * whatsoever give a graph that is not sound. VDB_CORRUPT: damaged. VDB_VERSION: written by a later version.
 * VDB_INVALID: of other rows (stamp, dimension, element, metric, or more rows than there are). */
vdb_status vdb_hnsw_load(const struct vdb_rows *rows, uint64_t stamp, const void *data, size_t bytes,
                         struct vdb_hnsw **out, struct vdb_err *err) VDB_MUST_CHECK;

extern const struct vdb_index_ops vdb_index_hnsw; /* params: struct vdb_hnsw_params */

#endif
