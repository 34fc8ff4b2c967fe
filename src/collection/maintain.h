/* maintain.h: the thread of a database that checkpoints what has grown in memory and compacts what has piled up on
 * disk, and the same on demand.
 *
 * Writers count the bytes they add; past a limit the collection is due and the thread is woken. It takes one
 * collection after the other: a checkpoint, then compactions while its tiers ask for them, at a limited rate. A drop,
 * a close or a stop cancels what is running; nothing is lost by that. Failures are logged and tried again when as
 * much has been written again.
 *
 * Graphs are made by threads of their own (indexer.h). A further thread makes memory ready ahead of writers: a page that the system has to clear, or the host of a virtual machine
 * to find, costs more than what is written into it.
 *
 * Threads: note and stop from any thread; init, start and fini are confined.
 */
#ifndef VDB_COLLECTION_MAINTAIN_H
#define VDB_COLLECTION_MAINTAIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "indexer.h"

struct vdb_collection;
struct vdb_database;

struct vdb_maintain_options {
    uint64_t checkpoint_bytes;         /* of batches written since the last checkpoint; 0: the default, 64 MiB */
    uint64_t compact_bytes_per_second; /* 0: the default, 200 MB/s */
};

struct vdb_maintainer {
    struct vdb_database *database;
    struct vdb_maintain_options options;
    pthread_mutex_t mutex;        /* guards `due`, `memory_for` and `memory_taken` */
    pthread_cond_t changed;       /* `due`, `stop` */
    pthread_cond_t memory_wanted; /* `memory_for`, `stop` */
    bool due;
    struct vdb_collection *memory_for; /* a reference; NULL: nothing asked for */
    bool memory_taken;                 /* requests are: the second thread runs */
    atomic_bool stop;
    bool running;        /* of who starts and stops it */
    bool memory_started; /* likewise */
    pthread_t thread;
    pthread_t memory_thread;
    struct vdb_indexer indexer; /* starts and stops with it */
};

void vdb_maintainer_init(struct vdb_maintainer *maintainer);
void vdb_maintainer_fini(struct vdb_maintainer *maintainer); /* stopped */

vdb_status vdb_maintainer_start(struct vdb_maintainer *maintainer, struct vdb_database *database,
                                const struct vdb_maintain_options *options, struct vdb_err *err) VDB_MUST_CHECK;
/* Cancels what runs and waits for the thread's end. Not started is fine. */
void vdb_maintainer_stop(struct vdb_maintainer *maintainer);

/* A collection holds this many bytes of batches in memory. */
void vdb_maintainer_note(struct vdb_maintainer *maintainer, uint64_t unsaved_bytes);
/* A collection's writers will soon need memory. One is served at a time; who comes meanwhile makes its own. */
void vdb_maintainer_note_memory(struct vdb_maintainer *maintainer, struct vdb_collection *collection);

#endif
