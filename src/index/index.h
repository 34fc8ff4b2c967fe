/* index.h: the contract every index fills: one static const table per kind.
 *
 * An index sees neither files nor collections: it reads rows from an array view, gets a filter as a dense bitset,
 * and is saved as bytes. NULL in a table means unsupported. `flat` is everybody's oracle; it holds nothing, so its
 * `index` is NULL. Operations that no index here has yet (range) join the table with the first that needs them.
 *
 * Threads: built objects are shared-read in search; each search brings its own scratch (none for flat). Whether inserts
 * and removals may run beside searches, a kind's header says.
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
    size_t ef;                            /* width of a graph's search; 0: the index's own */
    /* The vector is of f32, which rows->element (not bits) may not be able to hold: the answer is that of the same rows
     * as f32, to the last bit. Slower, and takes memory for it (VDB_NO_MEMORY). VDB_UNSUPPORTED without VDB_INDEX_WIDE. */
    bool wide;
};

/* A kind's caps. */
enum {
    VDB_INDEX_EXACT = 1,   /* results are the true nearest */
    VDB_INDEX_BUILT = 2,   /* an object that `build` or `load` makes; without it there is no search */
    VDB_INDEX_UPDATED = 4, /* insert and remove change a built object */
    VDB_INDEX_WIDE = 8     /* takes wide queries */
};

/* Reports how far a long call is; false asks it to stop, and it returns VDB_CANCELLED. Called from one thread at a
 * time, not necessarily the caller's. */
typedef bool vdb_index_progress_fn(void *ctx, uint64_t done, uint64_t total);

struct vdb_index_ops;

/* A graph over part of the rows that a build may take neighbours from: what a segment had before it was merged. It
 * says where to look and nothing else; answers are right whatever it holds. */
struct vdb_index_seeds {
    const struct vdb_index_ops *ops; /* of `index`; a kind takes what it can read and passes over the rest */
    const void *index;               /* borrowed until the build returns; nothing may change it meanwhile */
    const struct vdb_rows *rows;     /* it was built over, or NULL if they are gone */
    const uint32_t *row_of;          /* of each of its rows: the row of the build's, UINT32_MAX if it is gone */
    size_t row_count;                /* of row_of; rows of `index` from there on count as gone */
};

/* What a build takes besides the rows. All zero: the kind's defaults, a thread per core. */
struct vdb_index_settings {
    const void *params;              /* of the kind: struct vdb_hnsw_params, ...; NULL: its defaults */
    unsigned threads;                /* 0: one per core */
    const struct vdb_bitset *only;   /* rows to take in; NULL: all. only->count >= rows->count */
    vdb_index_progress_fn *progress; /* or NULL */
    void *progress_ctx;
    const struct vdb_index_seeds *seeds; /* seed_count of them, over different rows; kinds may ignore them */
    size_t seed_count;
};

/* Takes the next bytes of a saved index. */
typedef vdb_status vdb_index_write_fn(void *ctx, const void *data, size_t bytes, struct vdb_err *err);

struct vdb_index_stats {
    uint64_t memory_bytes; /* beyond the rows */
};

struct vdb_index_ops {
    const char *name;
    unsigned caps;
    /* Fills topk (initialised by the caller with k and its tie rule; not finished). */
    vdb_status (*search)(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                         struct vdb_topk *topk, struct vdb_err *err) VDB_MUST_CHECK;
    /* The same for `count` queries, each into its topk: where a kind can do better than one after the other. NULL: it
     * cannot; vdb_index_search_many takes either. */
    vdb_status (*search_many)(const void *index, const struct vdb_rows *rows, const struct vdb_query *queries,
                              struct vdb_topk *topks, size_t count, struct vdb_err *err) VDB_MUST_CHECK;
    /* Estimated distances computed for a search that must pass a filter keeping `allowed` of the rows. */
    double (*cost)(const void *index, const struct vdb_rows *rows, size_t allowed);
    /* Walks the structure; VDB_CORRUPT names the first broken invariant. */
    vdb_status (*check)(const void *index, const struct vdb_rows *rows, struct vdb_err *err) VDB_MUST_CHECK;
    void (*stats)(const void *index, struct vdb_index_stats *out);

    /* Makes an index over all rows. */
    vdb_status (*build)(const struct vdb_rows *rows, const struct vdb_index_settings *settings, void **out,
                        struct vdb_err *err) VDB_MUST_CHECK;
    void (*destroy)(void *index); /* NULL is allowed */
    /* Adds row `row` of rows. VDB_EXISTS when it is in. */
    vdb_status (*insert)(void *index, const struct vdb_rows *rows, uint32_t row,
                         struct vdb_err *err) VDB_MUST_CHECK;
    /* Takes it out: no search that begins afterwards returns it. VDB_NOT_FOUND when it is not in. */
    vdb_status (*remove)(void *index, const struct vdb_rows *rows, uint32_t row,
                         struct vdb_err *err) VDB_MUST_CHECK;
    /* stamp: what the caller knows the rows by (a segment's identity); load refuses any other. Beside no change. */
    vdb_status (*save)(void *index, const struct vdb_rows *rows, uint64_t stamp, vdb_index_write_fn *write,
                       void *ctx, struct vdb_err *err) VDB_MUST_CHECK;
    /* data is what save wrote, over the same rows; it is not needed afterwards. VDB_CORRUPT, VDB_VERSION, or
     * VDB_INVALID (of other rows) say what is wrong with it. */
    vdb_status (*load)(const struct vdb_rows *rows, uint64_t stamp, const void *data, size_t bytes, void **out,
                       struct vdb_err *err) VDB_MUST_CHECK;
};

/* Exact search over all rows. Its `index` argument is NULL: it holds nothing beyond the rows. */
extern const struct vdb_index_ops vdb_index_flat;

/* All kinds, NULL-terminated: the conformance suite runs over it. */
extern const struct vdb_index_ops *const vdb_index_all[];

/* ops->search_many, or ops->search for each. On an error some of the answers may be there. */
vdb_status vdb_index_search_many(const struct vdb_index_ops *ops, const void *index, const struct vdb_rows *rows,
                                 const struct vdb_query *queries, struct vdb_topk *topks, size_t count,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* The kind of that name, or NULL. */
const struct vdb_index_ops *vdb_index_find(struct vdb_str name);

#endif
