/* index.h: the contract every index fills: one static const table per kind.
 *
 * An index sees neither files nor collections: it reads rows from an array view and gets a filter as a dense
 * bitset. NULL in a table means unsupported. `flat` is everybody's oracle. Operations that no index here has yet
 * (build, insert, remove, range, save, load) join the table with the first index that needs them.
 *
 * Threads: `create`d objects are shared-read in search; each search brings its own scratch (none for flat).
 */
#ifndef VDB_INDEX_INDEX_H
#define VDB_INDEX_INDEX_H

#include "base/bitset.h"
#include "base/element.h"
#include "base/err.h"
#include "base/topk.h"

/* Rows as the index sees them: chunks of 2^chunk_shift rows, each row stride_bytes after the last. A plain array
 * is one chunk with a chunk_shift that covers it (vdb_rows_of_array). Immutable while a search runs. */
struct vdb_rows {
    const void *const *chunks;
    unsigned chunk_shift;
    size_t stride_bytes;
    size_t dimension;
    vdb_element element;
    vdb_metric metric;
    size_t count;
};

static inline const void *vdb_rows_at(const struct vdb_rows *rows, size_t row)
{
    size_t in_chunk = row & (((size_t)1 << rows->chunk_shift) - 1);
    return (const char *)rows->chunks[row >> rows->chunk_shift] + in_chunk * rows->stride_bytes;
}

/* array: *array_pointer holds count rows; array_pointer must outlive the view. */
static inline struct vdb_rows vdb_rows_of_array(const void *const *array_pointer, size_t count, size_t dimension,
                                                vdb_element element, vdb_metric metric)
{
    return (struct vdb_rows){array_pointer, 40,   vdb_vector_bytes(element, dimension), dimension, element,
                             metric,        count};
}

/* What a search did; added to, never reset, by the index. */
struct vdb_search_counters {
    uint64_t rows_visited;       /* rows the filter allows that were looked at */
    uint64_t distances_computed; /* may exceed it: computing a refused row can be cheaper than skipping it */
};

struct vdb_query {
    const void *vector;                   /* dimension elements of rows->element, or, if wide, of f32 */
    const struct vdb_bitset *allow;       /* rows that may be returned; NULL: all. allow->count >= rows->count */
    struct vdb_search_counters *counters; /* or NULL */
    /* The vector is of f32, which rows->element (not bits) may not be able to hold: the answer is that of the same rows
     * as f32, to the last bit. Slower, and takes memory for it (VDB_NO_MEMORY). */
    bool wide;
};

enum { VDB_INDEX_EXACT = 1 /* results are the true nearest */ };

struct vdb_index_stats {
    uint64_t memory_bytes; /* beyond the rows */
};

struct vdb_index_ops {
    const char *name;
    unsigned caps;
    /* Fills topk (initialised by the caller with k and its tie rule; not finished). */
    vdb_status (*search)(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                         struct vdb_topk *topk, struct vdb_err *err) VDB_MUST_CHECK;
    /* Estimated distances computed for a search that must pass a filter keeping `allowed` of the rows. */
    double (*cost)(const void *index, const struct vdb_rows *rows, size_t allowed);
    /* Walks the structure; VDB_CORRUPT names the first broken invariant. */
    vdb_status (*check)(const void *index, const struct vdb_rows *rows, struct vdb_err *err) VDB_MUST_CHECK;
    void (*stats)(const void *index, struct vdb_index_stats *out);
};

/* Exact search over all rows. Its `index` argument is NULL: it holds nothing beyond the rows. */
extern const struct vdb_index_ops vdb_index_flat;

/* All kinds, NULL-terminated: the conformance suite runs over it. */
extern const struct vdb_index_ops *const vdb_index_all[];

/* The kind of that name, or NULL. */
const struct vdb_index_ops *vdb_index_find(struct vdb_str name);

#endif
