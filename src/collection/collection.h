/* collection.h: one open collection: its store, its index, and the requests it answers.
 *
 * Collections are counted: the database holds one reference, each running request and each result another, so
 * that a drop or close waits for nobody and frees nothing in use. Threads: locked inside; all calls from all
 * threads.
 */
#ifndef VDB_COLLECTION_COLLECTION_H
#define VDB_COLLECTION_COLLECTION_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "env/env.h"
#include "storage/id.h"
#include "storage/store.h"

struct vdb_collection;

/* A point as a request brings it: everything borrowed. */
struct vdb_point {
    struct vdb_id id;
    const float *vector;
    size_t dimension;        /* of vector */
    struct vdb_str metadata; /* a JSON object as the user wrote it; data NULL: none */
};

/* A point as an answer shows it: borrowed from the answer (struct vdb_hits), valid until that is freed. */
struct vdb_hit {
    struct vdb_id id;
    const float *vector;
    struct vdb_str metadata;
    double score;
};

struct vdb_maintainer; /* maintain.h */

/* Opens the collection in `dir`; the caller gets the one reference. maintainer (NULL: none) is told of writes. */
vdb_status vdb_collection_open(struct vdb_env *env, const char *dir, struct vdb_maintainer *maintainer,
                               struct vdb_collection **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_collection_ref(struct vdb_collection *collection);
/* The last reference frees all; if the drop was settled, it also removes the directory. NULL allowed. */
void vdb_collection_unref(struct vdb_collection *collection);

/* The collection as it was when the snapshot was made, for reading; a reference that the caller gives up. The results it
 * gives outlive the snapshot and the collection. VDB_NOT_FOUND when there is none of that name. */
vdb_status vdb_collection_get_snapshot(struct vdb_collection *collection, const char *name,
                                       struct vdb_collection **out, struct vdb_err *err) VDB_MUST_CHECK;

/* Long work on it (compactions, graphs) ends soon with VDB_CANCELLED, and no more begins: what comes next is close. */
void vdb_collection_cancel(struct vdb_collection *collection);

/* Seals and closes the log, so that another handle may open the directory: writes get VDB_NOT_FOUND from then on.
 * What references and results point to stays until they go. */
void vdb_collection_close(struct vdb_collection *collection);

/* Ends its life: running writes finish first, later ones get VDB_NOT_FOUND; then its directory is renamed to
 * `trash_dir`, which is when the drop is done (the caller syncs the parent). Reads in flight go on. */
vdb_status vdb_collection_drop(struct vdb_collection *collection, const char *trash_dir,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* The parent was synced: the last reference may remove the directory. Before that its files must stay, since a
 * power cut could give the directory its name back without them. The caller holds a reference. */
void vdb_collection_settle_drop(struct vdb_collection *collection);

const struct vdb_schema *vdb_collection_schema(const struct vdb_collection *collection);
struct vdb_store *vdb_collection_store(struct vdb_collection *collection);

/* ---- write.c ---- */

struct vdb_write_result {
    uint64_t seq;
    uint64_t changed;
};

/* Checks, encodes, logs and publishes a batch: durable and visible on VDB_OK, nothing of it otherwise. */
vdb_status vdb_collection_upsert(struct vdb_collection *collection, const struct vdb_point *points, size_t count,
                                 struct vdb_write_result *result, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_collection_delete(struct vdb_collection *collection, const struct vdb_id *ids, size_t count,
                                 struct vdb_write_result *result, struct vdb_err *err) VDB_MUST_CHECK;

/* Runs one encoded batch through the store unless the collection was dropped. */
vdb_status vdb_collection_write(struct vdb_collection *collection, const void *payload, size_t bytes,
                                struct vdb_write_result *result, struct vdb_err *err) VDB_MUST_CHECK;

/* Applies records of another collection's log (vdb_store_apply). */
vdb_status vdb_collection_apply(struct vdb_collection *collection, const struct vdb_wal_record *records,
                                size_t count, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- maintain.c ---- each refuses with VDB_NOT_FOUND once the collection was dropped or closed */

vdb_status vdb_collection_checkpoint(struct vdb_collection *collection, struct vdb_err *err) VDB_MUST_CHECK;
/* options->cancel is the collection's own (a drop or close cancels); the caller cancels through progress. */
vdb_status vdb_collection_compact(struct vdb_collection *collection, const struct vdb_compact_options *options,
                                  struct vdb_compact_result *result, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_collection_snapshot_create(struct vdb_collection *collection, const char *name,
                                          struct vdb_snapshot_info *info, struct vdb_err *err) VDB_MUST_CHECK;
/* *out is the caller's to free. */
vdb_status vdb_collection_snapshot_list(struct vdb_collection *collection, struct vdb_snapshot_info **out,
                                        size_t *count, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_collection_snapshot_delete(struct vdb_collection *collection, const char *name,
                                          struct vdb_err *err) VDB_MUST_CHECK;
/* Opens one (vdb_store_snapshot_read), which the caller closes. */
vdb_status vdb_collection_snapshot_read(struct vdb_collection *collection, const char *name,
                                        struct vdb_store **out, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_collection_promote(struct vdb_collection *collection, struct vdb_err *err) VDB_MUST_CHECK;
/* The files, and then the graphs that are in memory. */
vdb_status vdb_collection_verify(struct vdb_collection *collection, struct vdb_verify_result *result,
                                 struct vdb_err *err) VDB_MUST_CHECK;

/* ---- graphs.c ---- How points are found: struct vdb_index_config (storage/schema.h); its rules are index_config.h's */

/* Durable when it returns VDB_OK. Graphs of the settings before stay in use until those of the new ones are there, which
 * the background makes; with "flat" they go at once. A config that changes nothing does nothing. */
vdb_status vdb_collection_set_index(struct vdb_collection *collection, const struct vdb_index_config *config,
                                    struct vdb_err *err) VDB_MUST_CHECK;

struct vdb_index_build_options {
    unsigned threads; /* 0: one per core */
    /* Called every now and then, of rows; false cancels: VDB_CANCELLED, and what is built stays. NULL allowed. */
    bool (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

/* Makes, or loads, on the calling thread all graphs that the background would; returns when none is due, with the first
 * failure if there was one. options: NULL for none. */
vdb_status vdb_collection_build_index(struct vdb_collection *collection,
                                      const struct vdb_index_build_options *options,
                                      struct vdb_err *err) VDB_MUST_CHECK;

struct vdb_index_status {
    struct vdb_index_config config; /* as it was given: 0 is the kind's default */
    uint64_t rows_indexed;          /* versions of points that a search finds through a graph */
    uint64_t rows_waiting;          /* that it scans until their graph of the present settings is there */
    uint64_t memory_bytes;          /* of graphs */
    uint64_t file_bytes;
    uint64_t builds; /* of segments' graphs since open */
    uint64_t loads;  /* likewise, of those that were found on disk */
    uint64_t build_failures;
    uint64_t build_ns;
    double building; /* 0..1 of the build under way, or 0 */
    uint64_t shadow_queries;
    double shadow_recall; /* what they say; 0 without any */
    uint32_t ef_default;  /* width of a search for 10 that names neither width nor recall; 0 without a graph */
};

void vdb_collection_get_index_status(struct vdb_collection *collection, struct vdb_index_status *out);

/* ---- search.c ---- */

enum { VDB_PLAN_BYTES = 48 }; /* the longest plan fits, with its NUL */

struct vdb_explain {
    const char
        *plan; /* static text: "flat scan", "hnsw", "qgraph + hnsw + flat scan", ...; ", filtered" at the end */
    uint64_t rows;
    uint64_t rows_indexed; /* of them: in sources that a graph answered for */
    uint32_t ef;           /* the widest that a graph was searched with; 0: none was */
    uint64_t rows_allowed;
    uint64_t distances_computed;
    uint64_t filter_ns;
    uint64_t search_ns;
    uint64_t total_ns;
};

/* Hits in order, with what they point to: a view of the rows, and copies of what lies compressed. */
struct vdb_hits {
    struct vdb_hit *hits;
    size_t count;
    struct vdb_explain explain;
    struct vdb_view view;
    struct vdb_arena arena;
};

/* Frees what an answer holds; a zeroed one is allowed. Not past the last reference to the collection. */
void vdb_hits_fini(struct vdb_hits *hits);

struct vdb_search {
    const float *vector;
    size_t dimension; /* of vector */
    uint32_t k;
    struct vdb_str filter; /* data NULL: none */
    bool without_vector;   /* hits' vectors are NULL */
    bool without_metadata; /* hits' metadata is NULL: spares decompressing a block for each hit */
    /* Of graphs; all zero: the collection's own. */
    uint32_t ef;          /* width, 1 to 65536; or */
    double target_recall; /* the recall to reach, between 0 and 1 */
    bool exact;           /* no graphs: the true nearest */
};

vdb_status vdb_collection_search(struct vdb_collection *collection, const struct vdb_search *search,
                                 struct vdb_hits *out, struct vdb_err *err) VDB_MUST_CHECK;

/* The points of those ids that are there, in the order asked. */
vdb_status vdb_collection_get(struct vdb_collection *collection, const struct vdb_id *ids, size_t count,
                              struct vdb_hits *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Live points; with a filter (data not NULL) those that match. */
vdb_status vdb_collection_count(struct vdb_collection *collection, struct vdb_str filter, uint64_t *out,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* Since open, searches in snapshots included. */
struct vdb_search_totals {
    uint64_t searches;
    uint64_t distances_computed;
};

void vdb_collection_get_totals(struct vdb_collection *collection, struct vdb_search_totals *out);

#endif
