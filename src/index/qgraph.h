/* qgraph.h: the quantised graph: an index over rows that do not change, built once and searched in memory.
 *
 *     vdb_qgraph_build; vdb_qgraph_search from any threads; vdb_qgraph_destroy
 *
 * Metrics: l2, cosine, dot. Elements: all but bits. Vectors of u8 and i8 under l2 are kept as they are and
 * answered from the graph alone; all others are kept as 8-bit codes, and the best are measured again on the rows,
 * which must be those that the graph was built over.
 *
 * Threads: shared-read once built.
 */
#ifndef VDB_INDEX_QGRAPH_H
#define VDB_INDEX_QGRAPH_H

#include "base/bytes.h"
#include "index.h"

struct vdb_qgraph;

enum { VDB_QGRAPH_EF_MAX = 16384, VDB_QGRAPH_DIMENSION_MAX = 8192 };

struct vdb_qgraph_params {
    uint32_t ef_construction; /* width of a refinement's searches, 16 to 4096 */
    uint32_t refinements;     /* passes of them, up to 8 */
    uint32_t code_bits;       /* of a neighbour: a multiple of 64 up to 1024; 0: by explained variance */
    uint32_t ef_search;       /* width of a search that does not say */
    float alpha;              /* of pruning, of squared distances: 1 to 2 */
    uint64_t seed;
    bool compact; /* no codes: a third of the memory, a slower search */
};

struct vdb_qgraph_params vdb_qgraph_params_default(void);
/* VDB_INVALID names the field, its value and what is allowed. */
vdb_status vdb_qgraph_params_check(const struct vdb_qgraph_params *params, struct vdb_err *err) VDB_MUST_CHECK;

struct vdb_qgraph_info {
    size_t row_count;
    size_t node_count;    /* rows of equal inner vectors share a node */
    unsigned code_bits;   /* 0: compact */
    unsigned block_bytes; /* of a node, all told */
    unsigned degree;      /* neighbours of a node */
    bool compact;
    double explained;      /* part of the variance that the codes see: 0..1 */
    double average_degree; /* before fill-up */
    size_t linked;         /* nodes that had to be linked to be reachable */
    uint64_t memory_bytes;
};

/* settings: NULL for the default parameters, all rows and a thread per core. The graph is the same whatever the
 * number of threads. VDB_UNSUPPORTED names a metric, VDB_INVALID a parameter, VDB_LIMIT a dimension or too many
 * rows. */
vdb_status vdb_qgraph_build(const struct vdb_rows *rows, const struct vdb_index_settings *settings,
                            struct vdb_qgraph **out, struct vdb_err *err) VDB_MUST_CHECK;

void vdb_qgraph_destroy(struct vdb_qgraph *graph); /* NULL is allowed */

/* query->ef 0: the graph's ef_search. rows: those it was built over; more may have come behind them. */
vdb_status vdb_qgraph_search(const struct vdb_qgraph *graph, const struct vdb_rows *rows,
                             const struct vdb_query *query, struct vdb_topk *topk,
                             struct vdb_err *err) VDB_MUST_CHECK;

/* The same answers for `count` queries, each into its topk, sooner than one after the other: a few take turns, so that
 * they wait for memory together. */
vdb_status vdb_qgraph_search_many(const struct vdb_qgraph *graph, const struct vdb_rows *rows,
                                  const struct vdb_query *queries, struct vdb_topk *topks, size_t count,
                                  struct vdb_err *err) VDB_MUST_CHECK;

/* The first broken rule: VDB_CORRUPT. rows: NULL leaves out that inner vectors are those of the rows. */
vdb_status vdb_qgraph_check(const struct vdb_qgraph *graph, const struct vdb_rows *rows,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* As struct vdb_index_ops has them. */
vdb_status vdb_qgraph_save(const struct vdb_qgraph *graph, uint64_t stamp, vdb_index_write_fn *write, void *ctx,
                           struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_qgraph_load(const struct vdb_rows *rows, uint64_t stamp, const void *data, size_t bytes,
                           struct vdb_qgraph **out, struct vdb_err *err) VDB_MUST_CHECK;

void vdb_qgraph_get_info(const struct vdb_qgraph *graph, struct vdb_qgraph_info *out);

extern const struct vdb_index_ops vdb_index_qgraph;

#endif
