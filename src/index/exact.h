/* exact.h: a batch of queries answered exactly over rows that come block by block.
 *
 *     vdb_exact_create(queries...); vdb_exact_feed(rows...) as often as there are blocks; vdb_exact_finish();
 *     for each query: vdb_exact_count, vdb_exact_hits; vdb_exact_destroy.
 *
 * Exactly means: the ids, their order and the ties (to the lower row) are those of distances computed in double
 * precision in the order that distance/wide.h fixes; integers and bits have no rounding to begin with, up to the
 * last steps of cosine and jaccard. f16 and bf16 count as the f32 numbers they are. Neither the number of threads
 * nor the cut into blocks nor the processor changes a bit of the answer
 * (docs/decisions/0007-exact-search-in-two-passes.md).
 *
 * Distances are in the inside form of base/element.h. A distance that is NaN counts as +infinity.
 *
 * Threads: confined; each object brings threads of its own and uses them inside the calls.
 */
#ifndef VDB_INDEX_EXACT_H
#define VDB_INDEX_EXACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/element.h"
#include "base/err.h"
#include "base/topk.h"

struct vdb_exact;

/* How the first pass on f32 (f16, bf16) goes under l2, cosine and dot. No plan changes a bit of the answer. */
typedef enum vdb_exact_plan {
    VDB_EXACT_PLAN_AUTO, /* whichever is faster here: measured */
    VDB_EXACT_PLAN_F32,
    VDB_EXACT_PLAN_INT8, /* 8-bit codes, wherever the metric has them */
    VDB_EXACT_PLAN_AMX,  /* the same by AMX, where the processor has it */
} vdb_exact_plan;

struct vdb_exact_options {
    size_t k; /* hits per query, 1 or more; more than the rows there are gives them all. Not with by_radius */
    double radius; /* with by_radius: every row at this distance or nearer, in the inside form */
    bool by_radius;
    unsigned threads; /* 0: one per core */
    vdb_exact_plan plan;
};

struct vdb_exact_stats {
    const char *plan;   /* "gemm f32", "gemm int8", "gemm int8+f32" (both), "gemm int" (u8, i8), "scan" */
    const char *kernel; /* "avx512-vnni" */
    unsigned threads;
    size_t query_count;
    size_t slice_count;      /* lists of hits that each query has until vdb_exact_finish */
    uint64_t row_count;      /* fed so far */
    double rerank_per_query; /* pairs whose distance was taken after the first pass let them through */
    uint64_t tiles;          /* of the first pass by products: 12 rows and up to 32 queries each... */
    uint64_t passed_tiles;   /* ...and those of them that some pair passed */
};

/* queries: query_count (0 is allowed) vectors of `dimension` elements, query_stride_bytes apart; copied.
 * VDB_INVALID names a metric that does not fit the element, a dimension, stride or k of 0 or too small, a radius
 * that is NaN. */
vdb_status vdb_exact_create(const void *queries, size_t query_stride_bytes, size_t query_count, size_t dimension,
                            vdb_element element, vdb_metric metric, const struct vdb_exact_options *options,
                            struct vdb_exact **out, struct vdb_err *err) VDB_MUST_CHECK;

/* Row i of these has the number first_row + i; no number comes twice. Blocks may come in any order and size; rows
 * need not outlive the call. VDB_LIMIT when a row's number is not below VDB_LIMIT_COLLECTION_POINTS_MAX. After
 * VDB_NO_MEMORY the object can only be destroyed. */
vdb_status vdb_exact_feed(struct vdb_exact *exact, const void *rows, size_t stride_bytes, size_t row_count,
                          uint32_t first_row, struct vdb_err *err) VDB_MUST_CHECK;

/* Sorts the hits. No feeding after it. */
vdb_status vdb_exact_finish(struct vdb_exact *exact, struct vdb_err *err) VDB_MUST_CHECK;

/* After vdb_exact_finish: the hits of a query, best first, ties to the lower row. Borrowed. */
size_t vdb_exact_count(const struct vdb_exact *exact, size_t query);
const struct vdb_candidate *vdb_exact_hits(const struct vdb_exact *exact, size_t query);

void vdb_exact_get_stats(const struct vdb_exact *exact, struct vdb_exact_stats *out);

void vdb_exact_destroy(struct vdb_exact *exact); /* NULL is allowed */

#endif
