/* knn.h: the parts of `vecdb knn`: input (knn_input.c), the searches and their check (knn_run.c), report
 * (knn_report.c); knn.c is the command that strings them together.
 *
 * Threads: confined.
 */
#ifndef VDB_CLI_KNN_H
#define VDB_CLI_KNN_H

#include "data/vectors.h"
#include "index/index.h"

enum { VDB_KNN_NAIVE_QUERIES_MAX = 10 };          /* queries that the naive loop answers too */
#define VDB_KNN_NAIVE_NS_MAX UINT64_C(2000000000) /* no further one is begun after this long */

struct vdb_knn_options {
    const char *dataset_path;
    const char *query_path;
    uint64_t k;
    unsigned metric; /* a vdb_metric */
    uint64_t row;
    bool row_given;
    bool json;
    bool no_naive;
};

/* Both files, ready to be compared: the same dimension, the same element, finite. */
struct vdb_knn_input {
    struct vdb_vectors dataset;
    struct vdb_vectors query;
    vdb_vectors_type dataset_type; /* as in the file */
    vdb_vectors_type query_type;
    vdb_element element; /* as computed with */
    double load_seconds;
};

/* One list of results per query, best first, distances in the inside form. */
struct vdb_knn_results {
    size_t first_row; /* of the query file */
    size_t query_count;
    size_t k; /* results per query: the k asked for, or the whole set when that is smaller */
    struct vdb_candidate *candidates; /* query_count * k */
};

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
