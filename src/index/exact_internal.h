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
#include "exact_low.h"

enum {
    EXACT_SCAN_ROWS = 4 * VDB_GEMM_ROWS, /* rows per turn of the plan "scan" */
    EXACT_PASS_ROWS_MAX = 1 << 18,       /* rows whose numbers are held at a time: 5 MiB */
};

/* EXACT_GEMM_F32 may go by low precision: struct exact_low. */
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

/* The low-precision first pass (exact_low.h, exact_low.c). Off: never. Waiting: until a feed has rows enough to
 * choose a centre and to compare the plans; f32 meanwhile. On: used, as long as it pays (struct exact_turn). */
typedef enum exact_low_state { EXACT_LOW_OFF, EXACT_LOW_WAITING, EXACT_LOW_ON } exact_low_state;

/* Whether the low-precision pass pays in one block of queries and slice of rows: after a window of rows in which it
 * lost, `skip` windows go by f32, each time four times as many. */
struct exact_turn {
    uint32_t skip;
    uint32_t penalty;
};

/* What the plans cost here, in nanoseconds (exact_plan.c). */
struct exact_costs {
    double f32_pair, low_pair; /* a pair of query and row in the first pass */
    double amx_pair;           /* the same by AMX; infinity where there is none */
    double rerank;             /* a distance in double */
    double codes_row;          /* the codes of one row */
};

struct exact_low {
    exact_low_state state;
    struct vdb_gemm_kernel gemm;
    struct vdb_gemm_kernel amx; /* run is NULL, or it is to be compared with gemm; its panels serve both */
    vdb_gemm_quantise_fn *quantise;
    struct exact_low_bound bound;
    struct exact_costs costs;
    double *centre;
    bool forced;       /* by the options, whether it pays or not */
    float step;        /* 1 for whole numbers that fit 8 bits, which lose nothing; else 0: a scale for each row */
    size_t code_bytes; /* the dimension, padded; rows' codes lie so far apart */
    int8_t *codes;
    size_t row_capacity;                   /* of codes and the five below */
    float *scale, *norm, *residual, *bias; /* gemm.h, per row */
    int32_t *correction;
    void *panels;
    size_t panel_bytes;
    struct exact_low_query *queries;
    float *lane_scale, *gain, *lane_length; /* gemm.h, per lane */
    float *limit;             /* [slice][panel_count * VDB_GEMM_LANES]; -infinity past the last query */
    struct exact_turn *turns; /* [slice][block] */
};

struct exact_worker {
    void *rows; /* a turn's rows, converted or gathered; aligned to 64 bytes */
    double *distances;
    struct vdb_gemm_out *out;
    uint64_t rerank_count;
    uint64_t useless_count; /* of those, the ones that were no hit at their time */
    uint64_t low_tiles;     /* tiles by plan */
    uint64_t f32_tiles;
    uint64_t passed_tiles; /* of which a pair passed, or a lane of padding */
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
    size_t f32_panels; /* as many fit the cache as f32, when block_panels is cut for low precision */
    size_t block_count;
    size_t slice_count;
    struct exact_list *lists; /* [slice][query] */
    float *gain;              /* [slice][panel_count * VDB_GEMM_LANES] */
    float *limit;             /* +infinity in the lanes past the last query: these never pass */

    struct exact_low low;

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

/* Memory, aligned and zeroed, for count items; NULL when there is none. One byte more than nothing. */
void *vdb_exact_alloc(size_t count, size_t size);

/* exact_low.c: prepares the low-precision pass from the rows about to be searched, when it may pay or is asked for;
 * then state is no longer WAITING. VDB_NO_MEMORY. */
vdb_status vdb_exact_low_start(struct vdb_exact *exact, struct vdb_err *err);
vdb_status vdb_exact_low_reserve(struct vdb_exact *exact, size_t row_count, struct vdb_err *err);
void vdb_exact_low_row_codes(struct vdb_exact *exact, const float *vector, size_t row);
void vdb_exact_low_set_limit(struct vdb_exact *exact, size_t slice, size_t query);
void vdb_exact_low_fini(struct exact_low *low);
size_t vdb_exact_low_code_bytes(size_t dimension);
size_t vdb_exact_low_rows(size_t dimension); /* whose codes are held at a time */

/* exact_plan.c: what the plans cost at this shape on this machine: measured on the first rows of the first few searches
 * of that shape in a process, and remembered. The codes and numbers of the first `row_count` rows are there. */
struct exact_costs vdb_exact_plan_costs(struct vdb_exact *exact, size_t row_count);
bool vdb_exact_plan_low_pays(const struct exact_costs *costs, size_t query_count);

enum { EXACT_NUMBERS_ROWS = 64 * VDB_GEMM_ROWS }; /* rows of one index of vdb_exact_scan_numbers */

/* Points a tile to the rows from `row` on, as f32 (or integers) and as codes. A tile of codes needs no worker. */
void vdb_exact_scan_tile(const struct vdb_exact *exact, struct exact_worker *worker, size_t row, size_t count,
                         struct vdb_gemm_tile *tile);
void vdb_exact_scan_low_tile(const struct vdb_exact *exact, size_t row, struct vdb_gemm_tile *tile);

/* Brings a query's gain and limit up to its list's bound. */
void vdb_exact_scan_set_limit(struct vdb_exact *exact, size_t slice, size_t query);

/* Offers a hit to a list; false when memory ran out. */
bool vdb_exact_scan_push(const struct vdb_exact_options *options, struct exact_list *list, double distance,
                         uint32_t row);

#endif
