/* indexer.h: the threads of a database that make graphs and ask shadow queries.
 *
 * The builder makes and loads segments' graphs, one after the other, collection by collection. The keeper does what must
 * not wait for that: it inserts rows that writers left to it into memtables' graphs, and does searches again exactly whose
 * recall is to be checked (recall.h). Both run at a lower priority (nice +10), which the threads of a build inherit.
 *
 * Failures are logged; a failed build is tried again when segments come, go, or the settings change.
 *
 * Threads: notes from any thread, and they do nothing while the threads do not run; init, start, stop and fini are
 * confined.
 */
#ifndef VDB_COLLECTION_INDEXER_H
#define VDB_COLLECTION_INDEXER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

struct vdb_collection;
struct vdb_database;
struct vdb_shadow_query; /* shadow.h */

struct vdb_indexer {
    struct vdb_database *database;
    pthread_mutex_t mutex;           /* guards segments_due, shadow */
    pthread_cond_t build;            /* segments_due, stop */
    pthread_cond_t keep;             /* memory_due, shadow, stop */
    bool segments_due;               /* some collection's are */
    atomic_bool memory_due;          /* some memtable has rows that are not in its graph */
    struct vdb_shadow_query *shadow; /* owned; NULL: none waits */
    atomic_bool running;
    atomic_bool stop;
    bool builder_started; /* of who starts and stops them */
    bool keeper_started;
    pthread_t builder;
    pthread_t keeper;
};

void vdb_indexer_init(struct vdb_indexer *indexer);
void vdb_indexer_fini(struct vdb_indexer *indexer); /* stopped */

/* A thread that cannot be had is logged, and its work left: searches scan. */
void vdb_indexer_start(struct vdb_indexer *indexer, struct vdb_database *database);
/* Cancels what runs and waits for the threads' end. Not started is fine. */
void vdb_indexer_stop(struct vdb_indexer *indexer);

/* NULL is allowed in all three. A collection's segments or settings have changed. */
void vdb_indexer_note_segments(struct vdb_indexer *indexer);
/* A memtable has rows to insert. Cheap when that is known. */
void vdb_indexer_note_memory(struct vdb_indexer *indexer);
/* Takes the query over and returns true, unless one waits already or nobody would do it. */
bool vdb_indexer_note_shadow(struct vdb_indexer *indexer, struct vdb_shadow_query *query);

#endif
