/* vecdb.h: VecDB embedded in your process. The only installed header; C99; reads top to bottom as a manual.
 *
 *     vecdb_error err;
 *     vecdb *db;
 *     if (vecdb_open("./data", NULL, &db, &err) != VECDB_OK) { puts(err.message); return 1; }
 *
 * 1 Basics   2 Open and close   3 Collections   4 Points   5 Search   6 Storage   7 Snapshots and backup
 * 8 Statistics
 *
 * The directory you open here is the same one that `vecdb-server` serves and the `vecdb` command reads. One
 * process has it open at a time; any number of threads of that process may use the handle at once.
 */
#ifndef VECDB_H
#define VECDB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VECDB_API __attribute__((visibility("default")))
#else
#define VECDB_API
#endif

/* ---- 1 Basics ------------------------------------------------------------------------------------------------
 */

#define VECDB_VERSION_MAJOR 0
#define VECDB_VERSION_MINOR 2
#define VECDB_VERSION_PATCH 0

/* "0.2.0": of the library that is linked, not of this header. */
VECDB_API const char *vecdb_version(void);

/* Every call that can fail returns one of these and, on failure, fills the vecdb_error you passed (or NULL).
 * Numbers are pinned; new ones are added at the end. */
typedef enum vecdb_status {
    VECDB_OK = 0,
    VECDB_INVALID = 1,   /* your input breaks a rule; the message names field, value and limit */
    VECDB_NOT_FOUND = 2, /* no such collection or snapshot */
    VECDB_EXISTS = 3,    /* a collection or snapshot of that name is there */
    VECDB_LIMIT = 4,     /* past a documented limit */
    VECDB_BUSY = 5,      /* the directory is open in another process or handle */
    VECDB_IO = 6,        /* the disk or system failed */
    VECDB_CORRUPT = 7,   /* stored bytes fail their checksum; the message names file and offset */
    VECDB_NO_SPACE = 8,  /* the disk is full */
    VECDB_NO_MEMORY = 9,
    VECDB_UNSUPPORTED = 10, /* a valid request that this version does not do */
    VECDB_READ_ONLY = 11,   /* a write or sync failed earlier: reads go on, writes stopped until reopened */
    VECDB_VERSION = 12,     /* written by a newer version of VecDB */
    VECDB_CANCELLED = 13
} vecdb_status;

typedef struct vecdb_error {
    vecdb_status status;
    char message[512]; /* one line, NUL-terminated */
} vecdb_error;

/* "invalid argument", ...; never NULL. */
VECDB_API const char *vecdb_status_text(vecdb_status status);

/* ---- 2 Open and close ----------------------------------------------------------------------------------------
 */

typedef struct vecdb vecdb;

/* Zero-initialise; 0 means the default. */
typedef struct vecdb_options {
    int must_exist;            /* 1: VECDB_NOT_FOUND instead of creating the directory */
    int no_maintenance;        /* 1: no thread of the library's own; see sections 3 and 6 */
    uint64_t checkpoint_bytes; /* written since the last checkpoint, that ask for the next; default 64 MiB */
    uint64_t compact_bytes_per_second; /* of background compactions; default 200,000,000 */
} vecdb_options;

/* Opens the data directory at `path`, creating it when missing, and recovers what an earlier process
 * acknowledged. options may be NULL. Threads of the library's own then checkpoint and compact (section 6) and build
 * graphs (section 3), unless no_maintenance says not to. Errors: BUSY (in use), CORRUPT (names file and offset), VERSION, IO, INVALID
 * (VECDB_CPU). */
VECDB_API vecdb_status vecdb_open(const char *path, const vecdb_options *options, vecdb **out, vecdb_error *err);

/* Closes the handle; call it when no other thread uses it any more. Results stay usable until they are freed.
 * Everything acknowledged is already on disk, so this may also never be called (a killed process loses nothing).
 * NULL is allowed. */
VECDB_API void vecdb_close(vecdb *db);

/* ---- 3 Collections -------------------------------------------------------------------------------------------
 */

typedef enum vecdb_metric {
    VECDB_L2 = 0,     /* Euclidean distance; lower is nearer */
    VECDB_COSINE = 1, /* 1 - cosine; lower is nearer; the zero vector is refused */
    VECDB_DOT = 2,    /* inner product; HIGHER is nearer */
    VECDB_L1 = 3      /* sum of absolute differences; lower is nearer */
} vecdb_metric;

/* "l2", "cosine", "dot", "l1" */
VECDB_API const char *vecdb_metric_name(vecdb_metric metric);

/* What a collection keeps of each number of a vector. Vectors go in and come out as floats. What the element cannot hold is
 * refused (INVALID), but for f16's rounding, which happens when a point comes in; so what comes out never changes later.
 * A search's vector is never rounded, and scores are those of the numbers that are kept. */
typedef enum vecdb_element {
    VECDB_F32 = 0, /* 4 bytes */
    VECDB_U8 = 1,  /* 1 byte: whole numbers from 0 to 255 */
    VECDB_I8 = 2,  /* 1 byte: whole numbers from -128 to 127 */
    VECDB_F16 = 3  /* 2 bytes: numbers from -65504 to 65504, rounded to the nearest of 11 binary digits */
} vecdb_element;

/* "f32", "u8", "i8", "f16" */
VECDB_API const char *vecdb_element_name(vecdb_element element);

/* How a collection finds neighbours. Three kinds:
 *
 *     "flat"    Measures every row: exact, and the time grows with the rows.
 *     "hnsw"    A graph of Malkov and Yashunin (2016). All metrics.
 *     "qgraph"  A graph with quantised codes of the neighbours beside each node: several times as fast as hnsw, in
 *               more memory (compact takes a third of it). The metrics l2, cosine and dot, up to 8,192 dimensions.
 *               Rows in memory have an HNSW.
 *
 * A graph's answer is approximate: most of the k nearest (section 5 says how to ask for how many), and of those that it
 * gives every score is exact. What is in no graph is measured row by row, exactly: rows that were written just now, rows
 * whose graph the background has not built yet, and memory or segments (section 6) of fewer rows than scan_below. So every
 * acknowledged point is found at once, a deleted one never again, and a small collection's answers are exact whatever its
 * kind.
 *
 * Zero-initialise; a member that is 0 or NULL is the default, also of one that the kind does not use. */
typedef struct vecdb_index_config {
    const char *type; /* "flat", "hnsw", "qgraph"; NULL: qgraph, or hnsw where qgraph cannot be */
    /* Of building. flat takes none of them, hnsw the first two. */
    uint32_t m;               /* links of a node of an HNSW, twice as many in layer 0; 4..256, default 16 */
    uint32_t ef_construction; /* width of its searches; hnsw: m..65536, default 200; qgraph: 16..4096 */
    uint32_t code_bits;       /* of a neighbour's code, a multiple of 64, 64..1024; default: by variance */
    uint32_t compact;         /* 1: without codes in the nodes; a third of the memory */
    /* Of searching. */
    uint32_t ef_search;   /* width of a search that names neither width nor recall: 1..65536; 0: by recall */
    uint32_t scan_below;  /* memory and segments of fewer rows are scanned; default 4096; 1: none is */
    double target_recall; /* such a search's recall (section 5): in (0, 1), default 0.98 */
} vecdb_index_config;

typedef struct vecdb_collection_config {
    const char *name;   /* [A-Za-z0-9][A-Za-z0-9_.-]{0,63} */
    uint32_t dimension; /* 1..65536 */
    vecdb_metric metric;
    const char *index;     /* short for an index_config of that type with all defaults; NULL: see index_config */
    vecdb_element element; /* of vectors on disk; 0: f32 */
    const vecdb_index_config *index_config; /* NULL: by `index`. Both: they must name the same type */
} vecdb_collection_config;

typedef struct vecdb_collection_info {
    char name[65];
    uint32_t dimension;
    vecdb_metric metric;
    vecdb_element element;
    char index[16];
    uint64_t count;        /* live points */
    uint64_t last_seq;     /* sequence number of the newest visible write */
    uint64_t memory_bytes; /* held for rows, ids and metadata */
    uint64_t log_bytes;    /* write-ahead log on disk */
    uint64_t dead;         /* rows in memory and segments that were deleted or replaced */
    /* Segments: rows that checkpoints have written (section 6). */
    uint64_t segments;
    uint64_t segment_rows;  /* live and dead */
    uint64_t segment_dead;  /* deleted or replaced since, not compacted away yet */
    uint64_t segment_bytes; /* on disk */
    uint64_t
        segment_live_bytes;  /* the share of live rows in it: segment_bytes / this is the space amplification */
    uint64_t checkpoint_seq; /* the segments hold all writes up to it, the log those after */
    int compaction_due;      /* 1: the background would compact */
    uint64_t compaction_debt_bytes; /* that it would read until it has nothing to do; see vecdb_stats */
    /* Since this handle was opened. */
    uint64_t checkpoints;
    uint64_t compactions;
    uint64_t bytes_compacted; /* written by them */
    /* What opening found in the log. */
    uint64_t recovered_files;   /* log files read */
    uint64_t recovered_batches; /* replayed */
    uint64_t recovered_bytes;   /* read */
    uint64_t torn_bytes_cut;    /* of a write that was never acknowledged */
    uint64_t recovery_ns;       /* of the whole opening */
    /* The index's configuration beside its type, which is `index`: as it was given, 0 for a default. */
    uint32_t index_m;
    uint32_t index_ef_construction;
    uint32_t index_ef_search;
    uint32_t index_code_bits;
    uint32_t index_compact;
    uint32_t index_scan_below;
    double index_target_recall;
    /* Its state. */
    uint64_t index_rows;         /* in graphs */
    uint64_t index_rows_waiting; /* whose graph is due and not there yet: they are scanned */
    uint64_t index_memory_bytes; /* of graphs in memory, beyond the rows */
    uint64_t index_file_bytes;   /* of graphs on disk */
    uint32_t index_ef_default;   /* width of a search that names neither width nor recall; 0: no graph yet */
    double index_building;       /* how far the build under way is, in (0, 1]; 0: none is */
    /* Since this handle was opened. */
    uint64_t index_builds;         /* of segments' graphs */
    uint64_t index_loads;          /* of them, from disk instead */
    uint64_t index_build_failures; /* the rows stay scanned, and it is tried again */
    uint64_t index_build_ns;
    uint64_t index_shadow_queries; /* searches that were measured a second time, exactly */
    double index_shadow_recall;    /* their share of the true nearest; 0 before the first */
} vecdb_collection_info;

/* Durable when it returns. Errors: EXISTS, INVALID, LIMIT, UNSUPPORTED (an index's type that is not known, or does not go
 * with the metric or dimension). What is wrong with an index_config is told by member, value and range. */
VECDB_API vecdb_status vecdb_create_collection(vecdb *db, const vecdb_collection_config *config,
                                               vecdb_error *err);

/* Replaces the index's configuration (a type of NULL keeps the type); durable when it returns. Searches and writes go on:
 * what the change makes due is built in the background, and the graphs that there are answer until then. A change of
 * searching alone (ef_search, target_recall) builds nothing; flat drops the graphs at once. INVALID and UNSUPPORTED name
 * the member; NOT_FOUND. */
VECDB_API vecdb_status vecdb_set_index(vecdb *db, const char *name, const vecdb_index_config *config,
                                       vecdb_error *err);

/* Removes the collection and its data; searches that run finish first on what they pinned. NOT_FOUND when absent.
 */
VECDB_API vecdb_status vecdb_drop_collection(vecdb *db, const char *name, vecdb_error *err);

VECDB_API vecdb_status vecdb_get_collection(vecdb *db, const char *name, vecdb_collection_info *out,
                                            vecdb_error *err);

/* *out is an array of *count entries in name order, yours to free with vecdb_free. */
VECDB_API vecdb_status vecdb_list_collections(vecdb *db, vecdb_collection_info **out, size_t *count,
                                              vecdb_error *err);

VECDB_API void vecdb_free(void *memory);

/* Told how far long work is; nonzero cancels it (VECDB_CANCELLED; nothing is lost). `collection` is the one that is
 * worked on; done and total count rows (builds, compactions) or collections (backup). Called from one thread at a time, not
 * necessarily the caller's. */
typedef int vecdb_progress_fn(void *ctx, const char *collection, uint64_t done, uint64_t total);

/* Zero-initialise. */
typedef struct vecdb_build_options {
    unsigned threads;            /* 0: one for each core */
    vecdb_progress_fn *progress; /* NULL: none */
    void *ctx;
} vecdb_build_options;

/* Builds all graphs that are due, on the calling thread and `threads` in all, and returns when there is none left: what the
 * background would do by and by. It can take minutes; searches and writes go on. Rows that are in memory get their graph as
 * they come in, and another one when a checkpoint (section 6) has written them to a segment. options may be NULL.
 * CANCELLED: by progress, or since the collection was dropped or closed; what was finished stays. */
VECDB_API vecdb_status vecdb_build_index(vecdb *db, const char *name, const vecdb_build_options *options,
                                         vecdb_error *err);

/* ---- 4 Points ------------------------------------------------------------------------------------------------
 */

/* An id is an unsigned 64-bit integer or a UTF-8 string of 1..255 bytes; both kinds may live in one collection
 * and never collide (42 and "42" are two points). Order: integers by value, then strings by their bytes. */
typedef struct vecdb_id {
    const char *text; /* NULL: the id is `number` */
    size_t text_bytes;
    uint64_t number;
} vecdb_id;

static inline vecdb_id vecdb_id_number(uint64_t number)
{
    vecdb_id id = {NULL, 0, 0};
    id.number = number;
    return id;
}

typedef struct vecdb_point {
    vecdb_id id;
    const float *vector;  /* `dimension` floats, all finite and such that the element takes them (section 3) */
    uint32_t dimension;   /* of vector: checked against the collection's */
    const char *metadata; /* a JSON object as UTF-8 text; NULL for none. Up to 1 MiB in compact form */
    size_t metadata_bytes;
} vecdb_point;

typedef struct vecdb_write_result {
    uint64_t seq;     /* the batch's sequence number; 0 when nothing was written */
    uint64_t changed; /* upsert: points written; delete: points that were there */
} vecdb_write_result;

/* Writes a batch: all of it or nothing, on disk (fdatasync) when it returns VECDB_OK. A point whose id is there
 * is replaced whole. When one id comes twice in a batch the later one stands. count 1..10000, 64 MiB together. On
 * any error nothing of the batch is visible; the message names the point by its position. result may be NULL. If
 * the status is IO, NO_SPACE or READ_ONLY the batch was not acknowledged and its fate shows at the next open. */
VECDB_API vecdb_status vecdb_upsert(vecdb *db, const char *collection, const vecdb_point *points, size_t count,
                                    vecdb_write_result *result, vecdb_error *err);

/* Deletes by id, with the same guarantees. Ids that are not there are no error. */
VECDB_API vecdb_status vecdb_delete(vecdb *db, const char *collection, const vecdb_id *ids, size_t count,
                                    vecdb_write_result *result, vecdb_error *err);

/* A list of points, from get or search. Its pointers stay valid until vecdb_result_free. */
typedef struct vecdb_result vecdb_result;

typedef struct vecdb_hit {
    vecdb_id id;
    double score;        /* search only: see vecdb_metric */
    const float *vector; /* `dimension` floats; NULL unless asked for */
    uint32_t dimension;
    const char *metadata; /* compact JSON object, not NUL-terminated; "{}" when none was given */
    size_t metadata_bytes;
} vecdb_hit;

VECDB_API size_t vecdb_result_count(const vecdb_result *result);
VECDB_API const vecdb_hit *vecdb_result_hits(const vecdb_result *result);
VECDB_API void vecdb_result_free(vecdb_result *result);

/* The points of those ids that are there, in the order asked, all as of one moment. count 1..10000. */
VECDB_API vecdb_status vecdb_get(vecdb *db, const char *collection, const vecdb_id *ids, size_t count,
                                 vecdb_result **out, vecdb_error *err);

/* Live points; with a filter (see section 5, NULL for none) those that match. */
VECDB_API vecdb_status vecdb_count(vecdb *db, const char *collection, const char *filter, size_t filter_bytes,
                                   uint64_t *out, vecdb_error *err);

/* ---- 5 Search ------------------------------------------------------------------------------------------------
 */

/* A filter is JSON over metadata (docs/filters.md):
 *     {"field": "section", "op": "==", "value": "graphics"}
 *     {"and": [{"field": "size", "op": "<", "value": 1000}, {"not": {"field": "tags", "op": "contains", "value":
 * "x"}}]} op: == != < <= > >= in contains exists. A field that is missing or null matches no comparison. */
typedef struct vecdb_search_request {
    const float *vector; /* dimension floats, all finite */
    uint32_t dimension;  /* of vector: checked against the collection's */
    uint32_t k;          /* 1..16384; fewer come back when fewer match */
    const char *filter;  /* NULL: none */
    size_t filter_bytes;
    int with_vector;      /* 1: hits carry their vectors */
    int without_metadata; /* 1: hits' metadata is NULL */
    /* How far a search in graphs goes (section 3): at most one of ef and target_recall, else INVALID; neither: the
     * collection's own. A collection without graphs is exact and asks nothing of them. */
    uint32_t ef;          /* width: candidates kept, 1..65536, never under k; wider finds more, slower */
    double target_recall; /* in (0, 1): the width that found this share of the k nearest in trials on the data */
    int exact;            /* 1: no graph is asked, every row is measured */
} vecdb_search_request;

/* How an answer came about. */
typedef struct vecdb_explain {
    char plan[48];         /* "flat scan", "qgraph", "qgraph + hnsw", ...; ", filtered" behind it */
    uint64_t rows;         /* in the view that was searched, dead versions included */
    uint64_t rows_allowed; /* live and past the filter */
    uint64_t distances_computed;
    uint64_t filter_ns;
    uint64_t search_ns;
    uint64_t total_ns;
    uint64_t rows_indexed; /* of `rows`: those that graphs answered for; all others were scanned */
    uint32_t ef;           /* the widest that a graph was searched with; 0: none was */
} vecdb_explain;

/* The k nearest, nearest first, equal distances in id order, all from one consistent view of the collection. Exact unless
 * graphs take part (section 3), and where request->exact says so. */
VECDB_API vecdb_status vecdb_search(vecdb *db, const char *collection, const vecdb_search_request *request,
                                    vecdb_result **out, vecdb_error *err);

/* How a search result came about; zeros for a result of vecdb_get. */
VECDB_API const vecdb_explain *vecdb_result_explain(const vecdb_result *result);

/* Visits every live point once, as of one moment, in no particular order; writes go on. */
typedef struct vecdb_scan_options {
    /* Nonzero ends the scan with VECDB_CANCELLED. What `point` reaches is valid until visit returns. */
    int (*visit)(void *ctx, const vecdb_hit *point);
    void *ctx;
    int without_vector;   /* 1: point->vector is NULL */
    int without_metadata; /* 1: point->metadata is NULL */
} vecdb_scan_options;

VECDB_API vecdb_status vecdb_scan(vecdb *db, const char *collection, const vecdb_scan_options *options,
                                  vecdb_error *err);

/* ---- 6 Storage -----------------------------------------------------------------------------------------------
 */

/* A write goes to the log (on disk) and to memory. A checkpoint writes what memory holds to a segment, which never
 * changes again, and drops the log before it: memory gets free, and the next opening has less to replay. A deleted or
 * replaced row stays in its segment, dead, until a compaction writes the segment's live rows to a new one.
 *
 * Both happen by themselves: a checkpoint when vecdb_options.checkpoint_bytes have been written, compactions when
 * segments of about one size pile up (four of them) or a third of one is dead. The calls here do it now, for those who
 * switched that off or do not want to wait. Reads and writes go on beside all of them. */
VECDB_API vecdb_status vecdb_checkpoint(vecdb *db, const char *collection, vecdb_error *err);

/* Zero-initialise. */
typedef struct vecdb_compact_options {
    int full;                    /* 1: all segments into one; 0: those that the background would take */
    uint64_t bytes_per_second;   /* of writing; 0: as fast as the disk takes it */
    vecdb_progress_fn *progress; /* NULL: none */
    void *ctx;
} vecdb_compact_options;

typedef struct vecdb_compact_result {
    uint64_t segments; /* that went in; 0: there was nothing to do */
    uint64_t rows_before;
    uint64_t rows_after;
    uint64_t bytes_before;
    uint64_t bytes_after;
} vecdb_compact_result;

/* Compacts what is in segments (what is in memory gets there by a checkpoint). options may be NULL, result too. */
VECDB_API vecdb_status vecdb_compact(vecdb *db, const char *collection, const vecdb_compact_options *options,
                                     vecdb_compact_result *result, vecdb_error *err);

typedef struct vecdb_segment_info {
    uint32_t number; /* as in its files' names: vectors/vectors_NNNNNN.bin, meta/meta_NNNNNN.bin */
    uint32_t rows;   /* live and dead */
    uint32_t dead;
    uint64_t vector_bytes;
    uint64_t metadata_bytes; /* ids and metadata */
} vecdb_segment_info;

/* *out is an array of *count segments, oldest first, yours to free with vecdb_free. */
VECDB_API vecdb_status vecdb_list_segments(vecdb *db, const char *collection, vecdb_segment_info **out,
                                           size_t *count, vecdb_error *err);

typedef struct vecdb_verify_result {
    uint64_t collections;
    uint64_t snapshots;
    uint64_t files;
    uint64_t bytes;
    uint64_t points;
} vecdb_verify_result;

/* Reads again and checks every byte of one collection (NULL: of all): segments, log and manifest, and its snapshots.
 * VECDB_CORRUPT names the first file and byte that is not what was written; *result then says how far it came. result
 * may be NULL. */
VECDB_API vecdb_status vecdb_verify(vecdb *db, const char *collection, vecdb_verify_result *result,
                                    vecdb_error *err);

/* ---- 7 Snapshots and backup ----------------------------------------------------------------------------------
 */

typedef struct vecdb_snapshot_info {
    char name[65];
    uint64_t seq;        /* of the last write in it */
    uint64_t created_us; /* microseconds since 1970 */
    uint64_t points;
    uint64_t bytes; /* of its files; shared with the collection until a compaction drops them there */
} vecdb_snapshot_info;

/* Keeps the collection's present state under a name ([A-Za-z0-9][A-Za-z0-9_.-]{0,63}) in the same data directory.
 * Costs a checkpoint and hard links. out may be NULL. Errors: EXISTS (the name is taken). */
VECDB_API vecdb_status vecdb_snapshot_create(vecdb *db, const char *collection, const char *name,
                                             vecdb_snapshot_info *out, vecdb_error *err);

/* *out is an array of *count entries in name order, yours to free with vecdb_free. */
VECDB_API vecdb_status vecdb_snapshot_list(vecdb *db, const char *collection, vecdb_snapshot_info **out,
                                           size_t *count, vecdb_error *err);
/* Reads that run at it go on; its space comes back when the last of their results is freed. */
VECDB_API vecdb_status vecdb_snapshot_delete(vecdb *db, const char *collection, const char *name,
                                             vecdb_error *err);

/* To read at a snapshot, name it after its collection: vecdb_search, vecdb_get, vecdb_count and vecdb_scan take
 * "docs@before" wherever they take "docs", and answer as of the moment when it was made, whatever is written,
 * compacted or deleted meanwhile. They find NOT_FOUND when there is no such snapshot; all other calls refuse the name
 * (INVALID). The first read opens the snapshot; it then stays open until eight others were read, or it is deleted. */

/* Makes `to`, which is missing or an empty directory, a data directory with one collection as it was when the snapshot
 * was made. Every block is checked on the way; `to` opens only if all of it was written. */
VECDB_API vecdb_status vecdb_restore_snapshot(vecdb *db, const char *collection, const char *snapshot,
                                              const char *to, vecdb_error *err);

/* The same with the present state of all collections, each as of a moment of its own during the call; writes go on.
 * progress may be NULL. */
VECDB_API vecdb_status vecdb_backup(vecdb *db, const char *to, vecdb_progress_fn *progress, void *ctx,
                                    vecdb_error *err);

/* ---- Following: a second directory kept equal to a collection that another process writes to. */

typedef struct vecdb_follower vecdb_follower;

/* Follows `collection` of the data directory `from` into the data directory `to`, which is made when missing. It needs
 * nothing of the process that writes to `from`, and locks nothing there. A collection of that name that is in `to`
 * already must have followed the same one (else VECDB_EXISTS). It can be read, by who opens `to` while nobody follows
 * into it; it takes no writes (VECDB_READ_ONLY) until it is promoted. */
VECDB_API vecdb_status vecdb_follower_open(const char *from, const char *to, const char *collection,
                                           vecdb_follower **out, vecdb_error *err);
VECDB_API void vecdb_follower_close(vecdb_follower *follower); /* NULL allowed */

/* Applies what there is, up to some megabytes; *more is 0 when all of it was: try again after a while. What was applied
 * is durable. A follower may be killed at any moment and opened again. VECDB_CORRUPT: damage in `from`, or the two have
 * different pasts. */
VECDB_API vecdb_status vecdb_follower_step(vecdb_follower *follower, int *more, vecdb_error *err);

typedef struct vecdb_follower_stats {
    uint64_t seq;     /* of the last write applied */
    uint64_t records; /* applied since open */
    uint64_t bytes;   /* of them */
    uint64_t copies;  /* of all segments, made because the log did not reach back far enough */
    uint64_t points;
} vecdb_follower_stats;

VECDB_API void vecdb_follower_get_stats(const vecdb_follower *follower, vecdb_follower_stats *out);

/* Makes a collection that has followed another one of its own: it takes writes and follows nobody any more. */
VECDB_API vecdb_status vecdb_promote(vecdb *db, const char *collection, vecdb_error *err);

/* ---- 8 Statistics --------------------------------------------------------------------------------------------
 */

typedef struct vecdb_stats {
    uint64_t collections;
    uint64_t points;
    uint64_t memory_bytes;
    uint64_t log_bytes;
    uint64_t writes;             /* acknowledged batches since open */
    uint64_t syncs;              /* fdatasync calls since open; writes / syncs is the group size */
    uint64_t log_bytes_written;  /* since open */
    uint64_t searches;           /* since open */
    uint64_t distances_computed; /* since open */
    uint64_t recovered_batches;  /* replayed at open */
    uint64_t recovered_bytes;    /* of logs, read at open */
    uint64_t recovery_ns;
    uint64_t torn_bytes_cut; /* unacknowledged tail bytes cut at open */
    uint64_t segments;
    uint64_t segment_rows; /* live and dead */
    uint64_t segment_dead;
    uint64_t segment_bytes;
    uint64_t segment_live_bytes; /* the share of live rows: segment_bytes / this is the space amplification */
    /* What background compactions would read, if nothing were written from now on, until they find nothing more to do
     * (0: now). Exact for the merges that come next; the outputs of those that go into further ones count by the share
     * of their inputs' live rows. */
    uint64_t compaction_debt_bytes;
    uint64_t checkpoints;     /* since open */
    uint64_t compactions;     /* since open */
    uint64_t bytes_compacted; /* written by them */
    const char *cpu;          /* "scalar", "avx2" or "avx512": the kernels in use */
    /* Graphs, of all collections: see vecdb_collection_info. */
    uint64_t index_rows;
    uint64_t index_rows_waiting;
    uint64_t index_memory_bytes;
    uint64_t index_file_bytes;
    uint64_t index_builds; /* this and what follows: since open */
    uint64_t index_build_failures;
    uint64_t index_build_ns;
    uint64_t shadow_queries;
    double shadow_recall; /* of all shadow queries together; 0 before the first */
} vecdb_stats;

VECDB_API void vecdb_get_stats(vecdb *db, vecdb_stats *out);

/* How long something took, many times: counts by classes of time. Class i holds what took at most
 * vecdb_latency_bound_ns(i) and longer than the class before it. There are ten bounds in each decade from 1 us (class 0)
 * to 100 s (class 80), 25 to 28% apart: 1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8. The last class has no bound. */
#define VECDB_LATENCY_CLASSES 82

typedef struct vecdb_latency {
    uint64_t count; /* of all classes */
    uint64_t sum_ns;
    uint64_t max_ns; /* since the process began */
    uint64_t classes[VECDB_LATENCY_CLASSES];
} vecdb_latency;

/* UINT64_MAX for the last class. */
VECDB_API uint64_t vecdb_latency_bound_ns(size_t i);

/* The time that a share of all (0.5: the median, 0.99, ...) did not exceed, rounded up to its class's bound, but at most
 * max_ns; 0 when nothing was counted. */
VECDB_API uint64_t vecdb_latency_quantile_ns(const vecdb_latency *latency, double share);

/* What this process has done with files since it began, through all its handles and followers. */
typedef struct vecdb_io_stats {
    uint64_t reads; /* calls */
    uint64_t read_bytes;
    uint64_t writes; /* calls */
    uint64_t write_bytes;
    uint64_t synced_bytes; /* of write_bytes: made durable by a sync since */
    uint64_t failures;     /* calls of all kinds here that failed, which are counted nowhere else */
    /* Segments are read through memory, where no read can be seen or told from one that the page cache answers. Counted
     * is what was asked for when its checksums were looked at: once for each block while a segment is open, and again by
     * vecdb_verify and copies. */
    uint64_t mapped_reads;
    uint64_t mapped_read_bytes;
    vecdb_latency syncs;     /* of files (fdatasync) */
    vecdb_latency dir_syncs; /* of directories: made, renamed and removed names */
} vecdb_io_stats;

VECDB_API void vecdb_get_io_stats(vecdb_io_stats *out);

/* Leaves in *stats what came after *before, an earlier reading (max_ns stays). */
VECDB_API void vecdb_io_stats_since(vecdb_io_stats *stats, const vecdb_io_stats *before);

#ifdef __cplusplus
}
#endif

#endif
