/* snapshots.h: snapshots of a collection, open for reading.
 *
 * A snapshot opens as a collection of its own, without a log, over files that never change; so every read works on it
 * as it does on the collection. Those that were read last stay open, so that blocks once checked are not checked again
 * by every request. One that is deleted leaves the list; whoever reads it goes on with the files it has mapped.
 *
 * Threads: locked; the lock is taken before the collection's life lock and held while one is opened.
 */
#ifndef VDB_COLLECTION_SNAPSHOTS_H
#define VDB_COLLECTION_SNAPSHOTS_H

#include <pthread.h>

#include "base/limits.h"
#include "collection.h"

/* As many as a few readers at different times use; each costs some mappings and the bitmaps of its segments. */
enum { VDB_SNAPSHOTS_OPEN_MAX = 8 };

struct vdb_snapshots_entry {
    char name[VDB_LIMIT_NAME_BYTES_MAX + 1];
    struct vdb_collection *collection; /* one reference; NULL after the last */
};

struct vdb_snapshots {
    pthread_mutex_t mutex;
    struct vdb_snapshots_entry open[VDB_SNAPSHOTS_OPEN_MAX]; /* read last comes first */
    struct vdb_search_totals closed;                         /* of those that left the list */
};

void vdb_snapshots_init(struct vdb_snapshots *snapshots);
void vdb_snapshots_fini(struct vdb_snapshots *snapshots);

/* The name stands for another snapshot from now on, or for none; NULL: all names. What is held stays good. */
void vdb_snapshots_forget(struct vdb_snapshots *snapshots, const char *name);

/* References to those that are open, for the caller to unref; returns how many. */
size_t vdb_snapshots_get_open(struct vdb_snapshots *snapshots,
                              struct vdb_collection *out[VDB_SNAPSHOTS_OPEN_MAX]);

/* Adds what was searched in snapshots. */
void vdb_snapshots_add_totals(struct vdb_snapshots *snapshots, struct vdb_search_totals *sum);

#endif
