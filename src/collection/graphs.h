/* graphs.h: the graphs of a collection: which of its sources has one, and who makes them.
 *
 * A graph is the companion (storage/companion.h) of the source it is over, so whoever holds a view may search it
 * without a lock. A source without one, and a memtable's rows that are not in its graph yet, are scanned: what was
 * acknowledged is found at once, whatever the background does.
 *
 *   A1 Every row that a view sees is below a memtable's watermark and in its graph, or in a segment's graph, or
 *      scanned; never two of these.
 *   A2 A segment's graph leaves out only rows that had ended by the checkpoint before its build began: no view, no
 *      snapshot and no copy that has the file sees them.
 *   A3 A graph that is there stays in use until another takes its place, its segment goes, or the collection's type
 *      becomes flat.
 *
 * Files: graphs.c (settings, what is due, status), graph_memory.c, graph_segment.c, graph_head.c; indexer.c has the
 * threads. Threads: locked and atomic; locks in collection_internal.h.
 */
#ifndef VDB_COLLECTION_GRAPHS_H
#define VDB_COLLECTION_GRAPHS_H

#include <pthread.h>
#include <stdatomic.h>

#include "collection.h"
#include "graph_head.h"
#include "index_config.h"
#include "recall.h"

/* What was measured on a memtable's graph; the older ones stay, as searches may read them. */
struct vdb_graph_measure {
    struct vdb_recall_table table;
    struct vdb_graph_measure *older;
};

/* A graph beside a source. */
struct vdb_graph {
    struct vdb_companion companion; /* first */
    const struct vdb_index_ops *ops;
    void *index;
    struct vdb_recall_table recall; /* a segment's; empty: not known */
    struct vdb_index_build build;   /* a segment's: what it was built with */
    uint64_t memory_bytes;          /* a segment's */
    /* A memtable's: */
    _Atomic uint32_t next;                       /* slots from here on nobody has begun to insert */
    _Atomic uint32_t watermark;                  /* slots below are in */
    _Atomic uint32_t finished;                   /* counts those who have put slots in */
    _Atomic(struct vdb_graph_measure *) measure; /* the newest; NULL: none yet */
    uint32_t measured_rows;                      /* of the background: rows that it was taken of */
    _Atomic uint32_t measured_at;                /* watermark when `measured` was taken */
    _Atomic uint64_t measured;                   /* bytes of memory */
};

/* An empty one with one reference; NULL when memory is short. */
struct vdb_graph *vdb_graph_create(const struct vdb_index_ops *ops);

static inline const struct vdb_recall_table *vdb_graph_recall(const struct vdb_graph *graph)
{
    const struct vdb_graph_measure *measure = atomic_load_explicit(&graph->measure, memory_order_acquire);
    return measure != NULL ? &measure->table : &graph->recall;
}

static inline struct vdb_graph *vdb_graph_of(const struct vdb_view *view, uint32_t source)
{
    return (struct vdb_graph *)(void *)vdb_view_companion(view, source);
}

/* A source of a view as an index sees it. *chunk must live as long as *rows. */
vdb_status vdb_graph_source_rows(const struct vdb_view *view, uint32_t source, const struct vdb_schema *schema,
                                 const void **chunk, struct vdb_rows *rows, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_graph_segment_rows(struct vdb_segment *segment, const struct vdb_schema *schema,
                                  const void **chunk, struct vdb_rows *rows, struct vdb_err *err) VDB_MUST_CHECK;

struct vdb_lineage; /* where a merged segment's rows were before (graph_segment.c) */

struct vdb_graphs {
    pthread_mutex_t pass;      /* one at a time makes segments' graphs */
    pthread_mutex_t change;    /* one set_index at a time */
    pthread_mutex_t measuring; /* one at a time calibrates a memtable's graph */
    pthread_mutex_t lock;      /* of config, lineages */
    struct vdb_index_config config;
    struct vdb_lineage *lineages;

    /* The config's, for searches and writers. */
    atomic_bool flat;
    _Atomic uint32_t ef_search;
    _Atomic uint32_t scan_below;
    _Atomic double target_recall;

    _Atomic uint64_t epoch; /* of the config: what is built for another is cancelled */
    bool read_only;         /* a snapshot: graphs that it has files of are loaded, nothing is built or changed */
    atomic_bool segments_due;     /* somebody should look whether graphs of segments are to be made */
    _Atomic uint32_t memory_seen; /* slots of the memtable when the background last looked */
    struct vdb_shadow shadow;

    _Atomic uint64_t builds;
    _Atomic uint64_t loads;
    _Atomic uint64_t build_failures;
    _Atomic uint64_t build_ns;
    _Atomic double building;
};

/* Takes over the store's config; the locks are there already. VDB_VERSION when this build does not know it. */
vdb_status vdb_graphs_init(struct vdb_graphs *graphs, struct vdb_store *store,
                           struct vdb_err *err) VDB_MUST_CHECK;

void vdb_graphs_get_config(struct vdb_graphs *graphs, struct vdb_index_config *out);

/* Segments came or went: the background looks what is due. */
void vdb_graphs_segments_changed(struct vdb_collection *collection);

/* Does all that is due for segments' graphs (vdb_collection_build_index). */
vdb_status vdb_graphs_run(struct vdb_collection *collection, const struct vdb_index_build_options *options,
                          struct vdb_err *err) VDB_MUST_CHECK;

/* ops->check of all graphs in memory. */
vdb_status vdb_graphs_check(struct vdb_collection *collection, struct vdb_err *err) VDB_MUST_CHECK;

/* ---- graph_memory.c ---- */

/* A batch with this many upserts was acknowledged. */
void vdb_graph_memory_written(struct vdb_collection *collection, uint64_t rows);

/* Inserts what writers left into the memtable's graph. `patient`: until nothing is left, also of what comes meanwhile, or it
 * grows too fast to keep up with (*again: look again soon). Else: all that is there at the call, and what comes meanwhile is
 * somebody else's. VDB_CANCELLED when go_on says false. */
vdb_status vdb_graph_memory_catch_up(struct vdb_collection *collection, bool patient, bool (*go_on)(void *ctx),
                                     void *ctx, bool *again, struct vdb_err *err) VDB_MUST_CHECK;

uint64_t vdb_graph_memory_bytes(struct vdb_graph *graph);

/* ---- graph_segment.c ---- */

/* A compaction's result (struct vdb_compact_options.merged); keeps what the output's graph can be built from. */
void vdb_graph_segment_merged(struct vdb_collection *collection, const struct vdb_view *before,
                              const uint32_t *first, const uint32_t *rows, struct vdb_segment *output);
void vdb_graph_segment_forget(struct vdb_lineage *lineages); /* frees the list */
/* Frees those whose output is gone, or has its graph. */
void vdb_graph_segment_prune(struct vdb_collection *collection);

/* Loads the file of a segment and shows its graph. VDB_NOT_FOUND: it has none. */
vdb_status vdb_graph_segment_load(struct vdb_collection *collection, struct vdb_segment *segment,
                                  struct vdb_err *err) VDB_MUST_CHECK;

/* Builds the segment's graph, saves it, shows it. VDB_NOT_FOUND: the segment has left the collection. */
vdb_status vdb_graph_segment_build(struct vdb_collection *collection, struct vdb_segment *segment,
                                   const struct vdb_index_build *build, unsigned threads,
                                   vdb_index_progress_fn *progress, void *progress_ctx,
                                   struct vdb_err *err) VDB_MUST_CHECK;

#endif
