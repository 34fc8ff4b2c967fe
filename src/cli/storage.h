/* storage.h: what the parts of `vecdb storage` share: options, verbs, and how they print.
 *
 *     storage.c         finds the verb, reads the options, opens the directory, help
 *     storage_insert.c  init, insert, delete
 *     storage_report.c  recover, verify, stats
 *     storage_keep.c    compact, snapshot, backup
 *     storage_follow.c  follow, promote, checkpoint
 *     storage_bench.c   bench
 *     storage_index.c   index, and the options of an index that init and insert take too
 *     storage_search.c  search
 *
 * Everything goes through vecdb.h, as any embedding program would. Threads: confined to the main thread.
 */
#ifndef VDB_CLI_STORAGE_H
#define VDB_CLI_STORAGE_H

#include "args.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "table.h"
#include "vecdb.h"

enum { VDB_STORAGE_OPTIONS_MAX = 24 };

/* An index's configuration as options name it: 0, NULL or not given is left out. */
struct vdb_storage_index_options {
    unsigned type; /* a position in the kinds' names */
    bool type_given;
    uint64_t m;
    uint64_t ef_construction;
    uint64_t ef_search;
    uint64_t code_bits;
    uint64_t scan_below;
    const char *target_recall;
    bool compact;
    bool not_compact;
};

/* Of all verbs; each describes those that it has. */
struct vdb_storage_options {
    const char *path;
    const char *collection;
    bool json;
    uint64_t dimension;
    bool dimension_given;
    unsigned metric;  /* a vecdb_metric */
    unsigned element; /* a vecdb_element */
    const char *dataset;
    uint64_t count;
    bool count_given;
    uint64_t batch;
    uint64_t seed;
    uint64_t first_id;
    bool acks;
    const char *fraction;
    const char *ids;
    const char *rate;
    bool due;
    const char *name;
    const char *to;
    uint64_t singles;
    uint64_t reads;
    const char *plot;
    bool keep;
    bool once;
    struct vdb_storage_index_options index;
    bool build;
    uint64_t threads;
    const char *query;
    uint64_t k;
    uint64_t ef;
    const char *target_recall;
    bool exact;
    bool check;
    const char *filter;
    const char *at;
};

struct vdb_storage_verb {
    const char *name;     /* one word, or two: "snapshot create" */
    const char *summary;  /* one line */
    const char *about;    /* lines for its help page */
    const char *examples; /* lines */
    /* Fills table with options beside --path, --collection and --json; returns how many. */
    size_t (*describe)(struct vdb_storage_options *options, struct vdb_args_option *table);
    vdb_status (*run)(const struct vdb_storage_options *options, struct vdb_err *err);
    bool whole; /* works on the whole directory: has no --collection */
};

/* Of the parts. */
extern const struct vdb_storage_verb vdb_storage_insert_init;
extern const struct vdb_storage_verb vdb_storage_insert_insert;
extern const struct vdb_storage_verb vdb_storage_insert_delete;
extern const struct vdb_storage_verb vdb_storage_report_recover;
extern const struct vdb_storage_verb vdb_storage_report_verify;
extern const struct vdb_storage_verb vdb_storage_report_stats;
extern const struct vdb_storage_verb vdb_storage_keep_compact;
extern const struct vdb_storage_verb vdb_storage_keep_snapshot_create;
extern const struct vdb_storage_verb vdb_storage_keep_snapshot_list;
extern const struct vdb_storage_verb vdb_storage_keep_snapshot_delete;
extern const struct vdb_storage_verb vdb_storage_keep_snapshot_restore;
extern const struct vdb_storage_verb vdb_storage_keep_backup;
extern const struct vdb_storage_verb vdb_storage_follow_follow;
extern const struct vdb_storage_verb vdb_storage_follow_promote;
extern const struct vdb_storage_verb vdb_storage_follow_checkpoint;
extern const struct vdb_storage_verb vdb_storage_bench_bench;
extern const struct vdb_storage_verb vdb_storage_index_index;
extern const struct vdb_storage_verb vdb_storage_search_search;

/* An outcome of vecdb.h as one of ours. */
vdb_status vdb_storage_outcome(vecdb_status status, const vecdb_error *from, struct vdb_err *err) VDB_MUST_CHECK;

/* Opens the directory, which is there, without (or with) its maintenance thread. */
vdb_status vdb_storage_open(const struct vdb_storage_options *options, bool maintenance, vecdb **out,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* The same, and the collection's state. Nothing is open after a failure. */
vdb_status vdb_storage_open_collection(const struct vdb_storage_options *options, vecdb **out,
                                       vecdb_collection_info *info, struct vdb_err *err) VDB_MUST_CHECK;

vdb_status vdb_storage_get_info(vecdb *db, const char *collection, vecdb_collection_info *info,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* A number of bytes, K, M, G or T (powers of 1024) may follow. */
vdb_status vdb_storage_parse_bytes(const char *option, const char *text, uint64_t *out,
                                   struct vdb_err *err) VDB_MUST_CHECK;

/* What the files of a collection's directory take, its snapshots apart. */
struct vdb_storage_files {
    struct vdb_storage_kind {
        uint64_t files;
        uint64_t bytes;
    } log, vectors, metadata, bitmaps, index, manifest, snapshots;
};
vdb_status vdb_storage_measure_files(const struct vdb_storage_options *options, struct vdb_storage_files *out,
                                     struct vdb_err *err) VDB_MUST_CHECK;
/* Without snapshots. */
struct vdb_storage_kind vdb_storage_total_files(const struct vdb_storage_files *files);

/* All files under a directory. */
vdb_status vdb_storage_measure_tree(const char *path, struct vdb_storage_kind *out,
                                    struct vdb_err *err) VDB_MUST_CHECK;

/* "key   value", indented. */
void vdb_storage_line(struct vdb_buf *out, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

const char *vdb_storage_bytes(char text[VDB_TABLE_TEXT_BYTES], uint64_t bytes);                 /* "12.3 MB" */
const char *vdb_storage_speed(char text[VDB_TABLE_TEXT_BYTES], uint64_t bytes, double seconds); /* "310 MB/s" */

/* Disk over the live share of it; 1 without segments. */
double vdb_storage_amplification(const vecdb_collection_info *info);

/* The options of an index (the type alone, or all); returns how many. */
size_t vdb_storage_index_describe_type(struct vdb_storage_options *options, struct vdb_args_option *table);
size_t vdb_storage_index_describe(struct vdb_storage_options *options, struct vdb_args_option *table);
/* What they say. */
vdb_status vdb_storage_index_config(const struct vdb_storage_options *options, vecdb_index_config *out,
                                    struct vdb_err *err) VDB_MUST_CHECK;
/* A share of the nearest, more than 0 and less than 1. */
vdb_status vdb_storage_index_parse_recall(const char *option, const char *text, double *out,
                                          struct vdb_err *err) VDB_MUST_CHECK;
/* The index and its graphs: lines, or members of a JSON object ("index_config", "index_status"). */
void vdb_storage_index_put(const vecdb_collection_info *info, struct vdb_buf *out);
void vdb_storage_index_put_json(const vecdb_collection_info *info, struct vdb_buf *out);

/* Points that depend on nothing but their id and the seed: a vector and some metadata, appended to *metadata. */
void vdb_storage_insert_generate(uint64_t seed, uint64_t id, uint32_t dimension, float *vector,
                                 struct vdb_buf *metadata);

#endif
