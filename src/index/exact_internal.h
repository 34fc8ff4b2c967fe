/* exact_internal.h: what exact.c (the object, its memory, the order of work) and exact_scan.c (the passes) share.
 */
#ifndef VDB_INDEX_EXACT_INTERNAL_H
#define VDB_INDEX_EXACT_INTERNAL_H

#include <stdatomic.h>

#include "base/pool.h"
#include "distance/cpu.h"
#include "distance/gemm.h"
#include "exact.h"
#include "exact_bound.h"

enum {
    EXACT_SCAN_ROWS = 4 * VDB_GEMM_ROWS, /* rows per turn of the plan "scan" */
    EXACT_PASS_ROWS_MAX = 1 << 18,       /* rows whose numbers are held at a time: 5 MiB */
};

typedef enum exact_plan { EXACT_GEMM_F32, EXACT_GEMM_INT, EXACT_SCAN } exact_plan;

/* The hits of one query in one slice. With by_radius it is a plain growing array, not a heap. */
struct exact_list {
    struct vdb_topk topk; /* heap: `capacity` entries, grown up to k */
    size_t capacity;
};

/* What the passes know of a row before they meet a query. */
struct exact_row_numbers {
    double *square;      /* |r|^2 in double; integers: exact */
    float *norm;         /* gemm.h */
    float *bias;         /* gemm.h */
    int32_t *correction; /* gemm.h */
};

struct exact_worker {
    void *rows; /* a turn's rows, converted or gathered; aligned to 64 bytes */
    double *distances;
    struct vdb_gemm_out *out;
    uint64_t rerank_count;
};

struct vdb_exact {
    struct vdb_exact_options options;
    vdb_element element; /* as fed */
    vdb_element work;    /* as compared: f32 for f16 and bf16 */
    vdb_metric metric;
    size_t dimension;
    size_t query_count;
    exact_plan plan;

    void *queries; /* of `work` elements, query_bytes apart */
    size_t query_bytes;
    double *query_square;
    void *panels;
    size_t panel_bytes;
    size_t panel_count;

    const struct vdb_kernels *kernels;
    struct vdb_gemm_kernel gemm;
    struct vdb_wide wide;
    struct vdb_exact_bound bound;
    double scan_relative; /* the plan "scan" on f32: error of the kernel's distance, as a part of the distance */
    double scan_absolute;
    void *ones; /* integers: `dimension` ones, to sum a row by a kernel */

    /* Work is cut into block_count blocks of panels times slice_count slices of rows; one thread at a time works
     * on a (block, slice), and no other touches its lists, gains and limits. */
    size_t block_panels;
    size_t block_count;
    size_t slice_count;
    struct exact_list *lists; /* [slice][query] */
    float *gain;              /* [slice][panel_count * VDB_GEMM_LANES] */
    float *limit;

    struct vdb_pool *pool;
    struct exact_worker *workers;
    atomic_bool failed; /* a list could not grow */
    bool finished;
    uint64_t row_count;

    /* The rows of this pass. */
    struct exact_row_numbers numbers;
    size_t numbers_capacity;
    const char *rows;
    size_t stride_bytes;
    size_t pass_rows;
    uint32_t first_row;
};

/* Rows [begin, begin + count) of the pass as `work` elements; their stride goes to *stride_bytes. When `padded`,
 * there are VDB_GEMM_ROWS rows to read, whatever count is. */
const void *vdb_exact_scan_rows(const struct vdb_exact *exact, struct exact_worker *worker, size_t begin,
                                size_t count, bool padded, size_t *stride_bytes);

/* Work for the pool: the numbers of a stretch of rows; one block of queries over one slice of rows. */
void vdb_exact_scan_numbers(void *ctx, unsigned worker, size_t index);
void vdb_exact_scan_block(void *ctx, unsigned worker, size_t index);

enum { EXACT_NUMBERS_ROWS = 64 * VDB_GEMM_ROWS }; /* rows of one index of vdb_exact_scan_numbers */

/* Copies a vector of `element` to f32 (f16, bf16; f32 as it is). */
void vdb_exact_scan_to_f32(vdb_element element, const void *vector, size_t dimension, float *out);

/* Brings a query's gain and limit up to its list's bound. */
void vdb_exact_scan_set_limit(struct vdb_exact *exact, size_t slice, size_t query);

/* Offers a hit to a list; false when memory ran out. */
bool vdb_exact_scan_push(const struct vdb_exact_options *options, struct exact_list *list, double distance,
                         uint32_t row);

#endif
