/* snapshots.c: finding a snapshot that is open, opening one that is not. */
#include "snapshots.h"

#include <stdio.h>
#include <string.h>

#include "collection_internal.h"
#include "indexer.h"

void vdb_snapshots_init(struct vdb_snapshots *snapshots)
{
    *snapshots = (struct vdb_snapshots){.closed = {0, 0}};
    pthread_mutex_init(&snapshots->mutex, NULL);
}

void vdb_snapshots_fini(struct vdb_snapshots *snapshots)
{
    vdb_snapshots_forget(snapshots, NULL);
    pthread_mutex_destroy(&snapshots->mutex);
}

static void add_totals(struct vdb_collection *collection, struct vdb_search_totals *sum)
{
    struct vdb_search_totals own;
    vdb_collection_get_totals(collection, &own);
    sum->searches += own.searches;
    sum->distances_computed += own.distances_computed;
}

static void close_locked(struct vdb_snapshots *snapshots, size_t at)
{
    size_t behind = VDB_SNAPSHOTS_OPEN_MAX - 1 - at;
    add_totals(snapshots->open[at].collection, &snapshots->closed);
    vdb_collection_unref(snapshots->open[at].collection);
    memmove(&snapshots->open[at], &snapshots->open[at + 1], behind * sizeof snapshots->open[0]);
    snapshots->open[VDB_SNAPSHOTS_OPEN_MAX - 1].collection = NULL;
}

/* Opens and puts it first; the one read longest ago makes room. */
static vdb_status open_locked(struct vdb_collection *of, const char *name, struct vdb_err *err)
{
    struct vdb_snapshots *snapshots = &of->snapshots;
    struct vdb_collection *opened;
    VDB_TRY(vdb_collection_open_snapshot(of, name, &opened, err));
    if (snapshots->open[VDB_SNAPSHOTS_OPEN_MAX - 1].collection != NULL) {
        close_locked(snapshots, VDB_SNAPSHOTS_OPEN_MAX - 1);
    }
    memmove(&snapshots->open[1], &snapshots->open[0], (VDB_SNAPSHOTS_OPEN_MAX - 1) * sizeof snapshots->open[0]);
    snprintf(snapshots->open[0].name, sizeof snapshots->open[0].name, "%s", name);
    snapshots->open[0].collection = opened;
    return VDB_OK;
}

/* The place of the name in the list, or VDB_SNAPSHOTS_OPEN_MAX. */
static size_t find_locked(const struct vdb_snapshots *snapshots, const char *name)
{
    size_t at = 0;
    while (at < VDB_SNAPSHOTS_OPEN_MAX && snapshots->open[at].collection != NULL &&
           strcmp(snapshots->open[at].name, name) != 0) {
        at++;
    }
    return at < VDB_SNAPSHOTS_OPEN_MAX && snapshots->open[at].collection != NULL ? at : VDB_SNAPSHOTS_OPEN_MAX;
}

static void put_first_locked(struct vdb_snapshots *snapshots, size_t at)
{
    struct vdb_snapshots_entry found = snapshots->open[at];
    memmove(&snapshots->open[1], &snapshots->open[0], at * sizeof snapshots->open[0]);
    snapshots->open[0] = found;
}

vdb_status vdb_collection_get_snapshot(struct vdb_collection *collection, const char *name,
                                       struct vdb_collection **out, struct vdb_err *err)
{
    struct vdb_snapshots *snapshots = &collection->snapshots;
    vdb_status status = VDB_OK;
    pthread_mutex_lock(&snapshots->mutex);
    size_t at = find_locked(snapshots, name);
    if (at < VDB_SNAPSHOTS_OPEN_MAX) {
        put_first_locked(snapshots, at);
    } else {
        status = open_locked(collection, name, err);
        vdb_indexer_note_segments(vdb_collection_indexer(collection)); /* its graphs are to be loaded */
    }
    if (status == VDB_OK) {
        *out = snapshots->open[0].collection;
        vdb_collection_ref(*out);
    }
    pthread_mutex_unlock(&snapshots->mutex);
    return status;
}

void vdb_snapshots_forget(struct vdb_snapshots *snapshots, const char *name)
{
    pthread_mutex_lock(&snapshots->mutex);
    size_t at = name != NULL ? find_locked(snapshots, name) : 0;
    if (name != NULL && at < VDB_SNAPSHOTS_OPEN_MAX) {
        close_locked(snapshots, at);
    }
    while (name == NULL && snapshots->open[0].collection != NULL) {
        close_locked(snapshots, 0);
    }
    pthread_mutex_unlock(&snapshots->mutex);
}

size_t vdb_snapshots_get_open(struct vdb_snapshots *snapshots, struct vdb_collection *out[VDB_SNAPSHOTS_OPEN_MAX])
{
    size_t count = 0;
    pthread_mutex_lock(&snapshots->mutex);
    for (; count < VDB_SNAPSHOTS_OPEN_MAX && snapshots->open[count].collection != NULL; count++) {
        out[count] = snapshots->open[count].collection;
        vdb_collection_ref(out[count]);
    }
    pthread_mutex_unlock(&snapshots->mutex);
    return count;
}

void vdb_snapshots_add_totals(struct vdb_snapshots *snapshots, struct vdb_search_totals *sum)
{
    pthread_mutex_lock(&snapshots->mutex);
    sum->searches += snapshots->closed.searches;
    sum->distances_computed += snapshots->closed.distances_computed;
    for (size_t i = 0; i < VDB_SNAPSHOTS_OPEN_MAX && snapshots->open[i].collection != NULL; i++) {
        add_totals(snapshots->open[i].collection, sum);
    }
    pthread_mutex_unlock(&snapshots->mutex);
}
