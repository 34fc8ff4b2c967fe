/* graph.h: what the parts of `vecdb hnsw` and `vecdb qgraph` share. One code serves both: what differs is a row of
 * graph_kind.c.
 *
 *     graph.c         finds the verb, reads its options, help
 *     graph_kind.c    the two kinds: their options, building, searching, what they say of themselves
 *     graph_input.c   datasets and queries, the stamp of a dataset
 *     graph_file.c    index files
 *     graph_run.c     an index opened with its dataset and queries; searches, timed; recall
 *     graph_build.c   build
 *     graph_search.c  search
 *     graph_sweep.c   sweep
 *
 * Threads: confined to the main thread; building and exact scans bring their own.
 */
#ifndef VDB_CLI_GRAPH_H
#define VDB_CLI_GRAPH_H

#include "args.h"
#include "base/limits.h"
#include "data/vectors.h"
#include "index/hnsw.h"
#include "index/index.h"
#include "table.h"

enum { VDB_GRAPH_OPTIONS_MAX = 20, VDB_GRAPH_FACTS_MAX = 6, VDB_GRAPH_KIND_BYTES = 16 };

struct vdb_graph_kind;

/* Of all verbs; each describes those that it has. */
struct vdb_graph_options {
    const struct vdb_graph_kind *kind;
    const char *dataset; /* build: required; else in place of the path that the index file knows */
    const char *index;
    const char *out;
    const char *query;
    const char *query_option; /* "--query" or "--queries" */
    const char *truth;
    const char *ef_list;
    const char *plot;
    unsigned metric; /* a vdb_metric */
    bool metric_given;
    uint64_t bits;
    bool bits_given;
    uint64_t threads;
    uint64_t seed;
    uint64_t m;
    uint64_t ef_construction;
    bool extend;
    bool keep_pruned;
    unsigned inside; /* graph_kind.c */
    uint64_t refinements;
    uint64_t code_bits;
    bool compact;
    uint64_t k;
    uint64_t ef;
    uint64_t row;
    bool row_given;
    bool no_recall;
    bool json;
};

/* ---- graph_kind.c ---- */

/* One more thing that a kind knows of a graph. */
struct vdb_graph_fact {
    const char *label; /* "Code bits" */
    const char *key;   /* "code_bits" */
    double value;
    unsigned decimals;
};

/* A graph as it was built. */
struct vdb_graph_shape {
    uint64_t nodes;
    uint64_t duplicates; /* rows that share another's node */
    uint64_t layer_nodes[VDB_HNSW_LAYERS_MAX];
    uint64_t layer_links[VDB_HNSW_LAYERS_MAX];
    uint32_t layer_count; /* 1: the kind has no layers, and layer_links means nothing */
    double average_links; /* of a node, in the lowest layer */
    uint64_t graph_bytes;
    uint64_t copy_bytes; /* of vectors in it, beside graph_bytes */
    bool holds_rows;     /* these are all it needs: searches do not read the dataset's */
    uint32_t diameter;   /* estimated */
    bool has_diameter;
    struct vdb_graph_fact facts[VDB_GRAPH_FACTS_MAX];
    size_t fact_count;
};

/* What one search did. */
struct vdb_graph_trace {
    uint64_t expanded;
    uint64_t visited;
    uint64_t distances;
    uint64_t estimates; /* distances estimated from codes */
    uint64_t hops[VDB_HNSW_LAYERS_MAX];
    uint32_t layer_count; /* of hops; 0: the kind does not say */
};

struct vdb_graph_kind {
    const char *name;     /* of the command, and in the index file */
    const char *about;    /* lines on its build, for the help */
    const char *examples; /* lines */
    const struct vdb_index_ops *ops;
    const char *const *metrics; /* names, in the order of vdb_metric */
    const char *metrics_text;   /* the same for the help */
    uint32_t ef_max;
    /* Fills table with the kind's own options of build; returns how many. */
    size_t (*describe)(struct vdb_graph_options *options, struct vdb_args_option *table);
    /* Whether the options' numbers can be: before anything is read. */
    vdb_status (*check_options)(const struct vdb_graph_options *options, struct vdb_err *err);
    vdb_status (*build)(const struct vdb_graph_options *options, const struct vdb_rows *rows, void **out,
                        struct vdb_err *err);
    /* steps: NULL, or filled anew with the way of a kind that has layers. */
    vdb_status (*search)(const void *index, const struct vdb_rows *rows, const void *query, size_t ef,
                         struct vdb_topk *topk, struct vdb_graph_trace *trace, struct vdb_hnsw_trace *steps,
                         struct vdb_err *err);
    /* Reads the whole graph some times for its diameter. */
    vdb_status (*shape)(void *index, const struct vdb_rows *rows, struct vdb_graph_shape *out,
                        struct vdb_err *err);
};

extern const struct vdb_graph_kind vdb_graph_kind_hnsw;
extern const struct vdb_graph_kind vdb_graph_kind_qgraph;

/* ---- graph_input.c ---- */

/* Loads and checks; f16 becomes f32, u8 become bits where metric or bits (not 0) say so. option: for messages. */
vdb_status vdb_graph_input_load(const char *option, const char *path, vdb_metric metric, uint64_t bits,
                                struct vdb_vectors *out, vdb_element *element,
                                struct vdb_err *err) VDB_MUST_CHECK;
/* What tells one dataset from another: a checksum of each half of its values. */
uint64_t vdb_graph_input_stamp(const struct vdb_vectors *vectors);

/* ---- graph_file.c ---- */

/* What an index file says of itself and its dataset. */
struct vdb_graph_file {
    char kind[VDB_GRAPH_KIND_BYTES];
    char dataset[VDB_LIMIT_PATH_BYTES_MAX]; /* absolute */
    uint64_t stamp;
    uint64_t rows;
    uint32_t dimension;
    vdb_element element;
    vdb_metric metric;
};

/* VDB_INVALID when a file is there that is no index file, or not a file: it is not written over. And whether its
 * directory takes files: before a long build, not after it. */
vdb_status vdb_graph_file_may_write(const char *path, struct vdb_err *err) VDB_MUST_CHECK;
/* Whether PATH.tmp can be made. option: for messages. */
vdb_status vdb_graph_file_try_directory(const char *option, const char *path, struct vdb_err *err) VDB_MUST_CHECK;
/* Writes PATH.tmp, syncs it, and gives it its name. head->kind and ->dataset are set by it. */
vdb_status vdb_graph_file_save(const char *path, const struct vdb_graph_kind *kind, const char *dataset,
                               struct vdb_graph_file *head, void *index, const struct vdb_rows *rows,
                               uint64_t *bytes, struct vdb_err *err) VDB_MUST_CHECK;
/* The parts of a file in memory: VDB_INVALID: not one of ours, or cut short; VDB_VERSION; VDB_CORRUPT. */
vdb_status vdb_graph_file_parse(const void *data, size_t bytes, struct vdb_graph_file *head,
                                const uint8_t **payload, size_t *payload_bytes,
                                struct vdb_err *err) VDB_MUST_CHECK;
/* Whether rows with this stamp are those of the file; VDB_INVALID says what differs. dataset: for messages. */
vdb_status vdb_graph_file_fits(const struct vdb_graph_file *head, const char *dataset,
                               const struct vdb_rows *rows, uint64_t stamp, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- graph_run.c ---- */

/* --index, --k and --dataset of verbs that open an index. */
struct vdb_args_option vdb_graph_option_index(struct vdb_graph_options *options);
struct vdb_args_option vdb_graph_option_k(struct vdb_graph_options *options);
struct vdb_args_option vdb_graph_option_dataset(struct vdb_graph_options *options);

/* An index with all that searches need. Zero-initialise; released by vdb_graph_run_close. */
struct vdb_graph_open {
    const struct vdb_graph_kind *kind;
    struct vdb_graph_file head;
    uint64_t file_bytes;
    const char *dataset; /* its path, as used: of the options, or of head */
    struct vdb_vectors vectors;
    struct vdb_vectors queries;
    const void *array; /* of vectors, for rows */
    struct vdb_rows rows;
    void *index;
    size_t k;           /* as asked for, or the whole set if that is smaller */
    size_t first_query; /* with --row: only this one */
    size_t query_count;
    double *edge;         /* of each query: the distance that the k nearest are within; NULL: not known */
    double exact_seconds; /* that finding them took, 0 if a file knew */
    double load_seconds;
};

vdb_status vdb_graph_run_open(const struct vdb_graph_options *options, struct vdb_graph_open *out,
                              struct vdb_err *err) VDB_MUST_CHECK;
void vdb_graph_run_close(struct vdb_graph_open *open);
/* Fills open->edge: from the ids of a file, or (path NULL) by an exact scan. */
vdb_status vdb_graph_run_truth(struct vdb_graph_open *open, const char *path, struct vdb_err *err) VDB_MUST_CHECK;

static inline const void *vdb_graph_query(const struct vdb_graph_open *open, size_t query)
{
    return vdb_vectors_row(&open->queries, open->first_query + query);
}

/* All queries at one ef. Zero-initialise; released by vdb_graph_run_fini. */
struct vdb_graph_run {
    size_t ef;
    struct vdb_candidate *hits; /* open->k of each query, best first */
    size_t *hit_counts;         /* of each query */
    size_t *right;              /* of each query: hits that are among the nearest */
    struct vdb_graph_trace *traces;
    struct vdb_hnsw_trace *steps; /* with one query */
    struct vdb_graph_trace sum;
    double recall; /* mean; NAN: not known */
    double recall_min;
    double seconds; /* of all queries, the fastest pass of some */
    double seconds_median;
};

/* The searches once with counters, then again, timed, one after the other on one thread. */
vdb_status vdb_graph_run_all(const struct vdb_graph_open *open, size_t ef, struct vdb_graph_run *run,
                             struct vdb_err *err) VDB_MUST_CHECK;
void vdb_graph_run_fini(struct vdb_graph_run *run);

/* What the kind does with all queries at once, on one thread. */
struct vdb_graph_batch {
    double seconds; /* of all queries */
    double recall;  /* NAN: not known */
};

/* Only of a kind whose ops have search_many. */
vdb_status vdb_graph_run_batch(const struct vdb_graph_open *open, size_t ef, struct vdb_graph_batch *out,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* ---- The verbs ---- */

struct vdb_graph_verb {
    const char *name;
    const char *summary;
    const char *about; /* lines */
    size_t (*describe)(struct vdb_graph_options *options, struct vdb_args_option *table);
    vdb_status (*run)(const struct vdb_graph_options *options, struct vdb_err *err);
};

extern const struct vdb_graph_verb vdb_graph_build_verb;
extern const struct vdb_graph_verb vdb_graph_search_verb;
extern const struct vdb_graph_verb vdb_graph_sweep_verb;

/* "10,20,40": ascending numbers of 1 to ef_max. *out is the caller's, freed with free(). */
vdb_status vdb_graph_sweep_parse(const char *text, uint32_t ef_max, size_t **out, size_t *count,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* ---- graph.c: printing ---- */

/* Without what could steer a terminal. */
void vdb_graph_put_path(struct vdb_buf *out, const char *path);
/* The lines on index and dataset that search and sweep begin with. */
void vdb_graph_put_head(const struct vdb_graph_open *open, const struct vdb_graph_options *options,
                        struct vdb_buf *out);
/* The same as the members of a JSON object, without braces. */
void vdb_graph_put_json_head(const struct vdb_graph_open *open, const struct vdb_graph_options *options,
                             struct vdb_buf *out);
/* ,"key":value; null if it is not finite */
void vdb_graph_put_json_number(const char *key, double value, struct vdb_buf *out);

#endif
