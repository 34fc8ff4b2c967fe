/* search_source.h: the k nearest in one source of a view, by its graph or by a scan.
 *
 * All distances that come out are those of a scan (doubles of the numbers that are kept, to the last bit), whoever
 * found the rows: what a graph finds is measured again where the graph's own distances are not these. So
 * distances of all sources compare.
 *
 * Threads: a run is confined.
 */
#ifndef VDB_COLLECTION_SEARCH_SOURCE_H
#define VDB_COLLECTION_SEARCH_SOURCE_H

#include "base/mem.h"
#include "index/index.h"
#include "storage/view.h"

/* How a source was searched: bits. */
enum { VDB_PLAN_QGRAPH = 1, VDB_PLAN_HNSW = 2, VDB_PLAN_FLAT = 4, VDB_PLAN_ALL = 7 };

struct vdb_search_run {
    /* The caller's. */
    const struct vdb_view *view;
    const struct vdb_schema *schema;
    const float *vector;
    size_t k;    /* over 0 */
    bool exact;  /* no graphs */
    uint32_t ef; /* 0: by recall */
    double target_recall;
    double boost; /* of the shadow queries; 1: none */
    /* Made by begin. */
    struct vdb_arena arena;
    const void
        *narrow; /* the vector in the schema's element, where that loses nothing and is not f32; else NULL */
    const void
        *rounded; /* the nearest that the element has, where that is near enough to walk a graph by; else NULL */
    size_t found_max;            /* that a graph is asked for: k, or more for a rounded query */
    size_t room;                 /* likewise, of a source of which rows have ended */
    struct vdb_candidate *found; /* by a graph: room */
    struct vdb_candidate *again; /* measured again: k */
    const void **gathered;       /* vectors of found */
    /* Added to. */
    unsigned plans;
    uint64_t rows_indexed;
    uint32_t ef_widest;
    uint64_t distances;
};

/* The caller has filled its part of a zeroed run. */
vdb_status vdb_search_begin(struct vdb_search_run *run, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_search_end(struct vdb_search_run *run);

/* Fills topk (initialised with run->k and the tie rule, empty; not finished) from the rows of the source that allow has (NULL: all). */
vdb_status vdb_search_source(struct vdb_search_run *run, uint32_t source, const struct vdb_bitset *allow,
                             struct vdb_topk *topk, struct vdb_err *err) VDB_MUST_CHECK;

/* The same for all rows that the view sees, of a source with a graph of which not too many have ended: without a bitset,
 * whose making can cost more than the search. The graph is asked for some more, and ended rows are left out of what it
 * finds. *answered: false when there is no such graph or too few were left; the topk is empty then. *allowed: about how
 * many rows it sees. */
vdb_status vdb_search_lively(struct vdb_search_run *run, uint32_t source, struct vdb_topk *topk,
                             uint64_t *allowed, bool *answered, struct vdb_err *err) VDB_MUST_CHECK;

/* The k (over 0) nearest of all visible rows by scans, distances only, ascending; ties in any order. */
vdb_status vdb_search_exactly(const struct vdb_schema *schema, const struct vdb_view *view, const float *vector,
                              size_t k, struct vdb_candidate *out, size_t *count,
                              struct vdb_err *err) VDB_MUST_CHECK;

#endif
