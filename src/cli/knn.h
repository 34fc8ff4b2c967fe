/* knn.h: the parts of `vecdb knn`: options (knn_options.c), input (knn_input.c), the searches one by one and
 * their check (knn_run.c), or all at once (knn_batch.c), files of answers (knn_out.c), report (knn_report.c);
 * knn.c is the command that strings them together.
 *
 * Threads: confined.
 */
#ifndef VDB_CLI_KNN_H
#define VDB_CLI_KNN_H

#include "base/limits.h"
#include "data/stream.h"
#include "data/vectors.h"
#include "index/exact.h"
#include "index/index.h"

enum { VDB_KNN_NAIVE_QUERIES_MAX = 10 };          /* queries that the naive loop answers too */
#define VDB_KNN_NAIVE_NS_MAX UINT64_C(2000000000) /* no further one is begun after this long */

struct vdb_knn_options {
    const char *dataset_path;
    const char *query_path;
    const char *queries_path;
    const char *out_path;
    const char *range_text; /* as given; the number is in radius */
    const char *memory_text;
    uint64_t k;
    uint64_t bits; /* with bits_given: values of the u8 files are this many packed bits a vector */
    uint64_t threads;
    uint64_t memory_bytes_max; /* 0: no limit */
    double radius;             /* as users see it: a distance, or for dot the least product */
    unsigned metric;           /* a vdb_metric */
    uint64_t row;
    bool k_given;
    bool metric_given;
    bool bits_given;
    bool threads_given;
    bool row_given;
    bool json;
    bool no_naive;
    /* What follows from them, by vdb_knn_options_resolve. */
    const char *query_option; /* "--query", "--queries", or "--dataset (its test)" */
    const char *query_from;   /* path */
    char test_path[VDB_LIMIT_PATH_BYTES_MAX + 8];
    bool batch; /* all queries at once */
};

/* Completes parsed options: which file has the queries, which metric rules, what the numbers mean. */
vdb_status vdb_knn_options_resolve(struct vdb_knn_options *options, struct vdb_err *err) VDB_MUST_CHECK;

/* The radius in the inside form of base/element.h. */
double vdb_knn_radius_inside(const struct vdb_knn_options *options);

/* Both files, ready to be compared: the same dimension, the same element, finite. */
struct vdb_knn_input {
    struct vdb_vectors dataset; /* empty when it is streamed */
    struct vdb_vectors query;
    struct vdb_vector_stream stream; /* of the dataset, while open */
    bool streamed;
    bool stream_open;
    size_t block_rows; /* of a streamed dataset */
    size_t count;      /* of the dataset */
    size_t dimension;
    vdb_vectors_type dataset_type; /* as read */
    vdb_vectors_type query_type;
    const char *dataset_type_name; /* as in the file: HDF5's f16 and f64 are read as f32 */
    const char *query_type_name;
    uint64_t query_load_bytes;  /* memory that reading the queries took beside them */
    vdb_vectors_type work_type; /* as computed with */
    vdb_element element;
    double load_seconds;
};

/* One list of results per query, best first, distances in the inside form. */
struct vdb_knn_results {
    size_t first_row; /* of the query file */
    size_t query_count;
    size_t k; /* results per query: the k asked for, or the whole set when that is smaller; not with a radius */
    struct vdb_candidate *candidates; /* query_count * k, or NULL: */
    struct vdb_exact *exact;          /* of a batch */
    char plan[48];                    /* of a batch */
    unsigned threads;
};

/* The answer to query number `query`. */
static inline const struct vdb_candidate *vdb_knn_hits(const struct vdb_knn_results *results, size_t query,
                                                       size_t *count)
{
    *count = results->exact != NULL ? vdb_exact_count(results->exact, query) : results->k;
    return results->exact != NULL ? vdb_exact_hits(results->exact, query)
                                  : results->candidates + query * results->k;
}

struct vdb_knn_performance {
    uint64_t distances;
    double seconds; /* all searches */
    double query_seconds_median;
    size_t naive_count; /* queries that the naive loop answered; 0: not run */
    double naive_seconds_median;
    size_t naive_equal; /* of naive_count: the same ids in the same order; the others differ by rounding only */
};

/* Loads, checks and converts. Errors name the option and the file. Released by vdb_knn_input_fini. */
vdb_status vdb_knn_input_load(struct vdb_env *env, const struct vdb_knn_options *options,
                              struct vdb_knn_input *out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_knn_input_fini(struct vdb_knn_input *input);

/* Answers every query that the options ask for and, unless no_naive is set, holds a sample against the naive
 * loop; an answer that rounding does not explain is VDB_CORRUPT. Released by vdb_knn_results_fini. */
vdb_status vdb_knn_run(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                       struct vdb_knn_results *results, struct vdb_knn_performance *performance,
                       struct vdb_err *err) VDB_MUST_CHECK;
void vdb_knn_results_fini(struct vdb_knn_results *results);

/* The same for all queries at once (options->batch), feeding the dataset in blocks; writes options->out_path. */
vdb_status vdb_knn_batch(const struct vdb_knn_options *options, struct vdb_knn_input *input,
                         struct vdb_knn_results *results, struct vdb_knn_performance *performance,
                         struct vdb_err *err) VDB_MUST_CHECK;

/* The naive loop on a sample of the queries, each answer checked; the dataset must be in memory. */
vdb_status vdb_knn_run_naive(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                             const struct vdb_knn_results *results, struct vdb_knn_performance *performance,
                             struct vdb_err *err) VDB_MUST_CHECK;

/* With --memory-limit: sets input->block_rows, how many rows of the dataset are in memory at a time, so that all
 * stays below the limit; exact is the search that they are for. VDB_INVALID names the smallest limit that works. */
vdb_status vdb_knn_input_plan(const struct vdb_knn_options *options, struct vdb_knn_input *input,
                              const struct vdb_exact *exact, struct vdb_err *err) VDB_MUST_CHECK;

/* Checks and converts a block of the dataset as knn_input.c says. */
vdb_status vdb_knn_input_prepare(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                                 struct vdb_vectors *block, struct vdb_err *err) VDB_MUST_CHECK;

/* The files that --out names. Opened before the search, so that a wrong path costs nothing; HDF5 gets the dataset
 * as it goes by; finish writes the answers and gives the files their names. Zero-initialise. */
struct vdb_knn_out {
    struct vdb_hdf5_writer *hdf5; /* NULL: npy */
};

vdb_status vdb_knn_out_open(const struct vdb_knn_options *options, struct vdb_knn_out *out,
                            struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_knn_out_block(struct vdb_knn_out *out, const struct vdb_vectors *block, size_t count,
                             struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_knn_out_finish(const struct vdb_knn_options *options, struct vdb_knn_out *out,
                              const struct vdb_knn_input *input, const struct vdb_knn_results *results,
                              struct vdb_err *err) VDB_MUST_CHECK;
void vdb_knn_out_close(struct vdb_knn_out *out);
/* "gt_dist.npy" for "gt.npy". */
void vdb_knn_out_distances_path(const char *path, char *out, size_t out_bytes);

/* Holds one answer of k results against the naive order of all rows; *equal when all ids are the same. What
 * rounding (naive.h) does not explain is VDB_CORRUPT. query_row is for the message. */
vdb_status vdb_knn_check(const struct vdb_rows *rows, const void *query, size_t query_row,
                         const struct vdb_candidate *answer, const struct vdb_candidate *naive, size_t k,
                         bool *equal, struct vdb_err *err) VDB_MUST_CHECK;

/* Writes everything to stdout: tables, or one JSON object. */
vdb_status vdb_knn_report(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                          const struct vdb_knn_results *results, const struct vdb_knn_performance *performance,
                          struct vdb_err *err) VDB_MUST_CHECK;

#endif
