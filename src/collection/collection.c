/* collection.c: the life of a collection: open, counted use, drop. */
#include "collection.h"

#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "collection_internal.h"
#include "maintain.h"

static struct vdb_collection *collection_new(struct vdb_env *env, const char *dir,
                                             struct vdb_maintainer *maintainer)
{
    struct vdb_collection *collection = vdb_calloc(1, sizeof *collection);
    char *copy = vdb_strndup(dir, strlen(dir));
    if (collection == NULL || copy == NULL) {
        free(collection);
        free(copy);
        return NULL;
    }
    collection->env = env;
    collection->dir = copy;
    collection->maintainer = maintainer;
    atomic_init(&collection->refs, 1);
    vdb_rwlock_init(&collection->life);
    vdb_snapshots_init(&collection->snapshots);
    pthread_mutex_init(&collection->graphs.pass, NULL);
    pthread_mutex_init(&collection->graphs.change, NULL);
    pthread_mutex_init(&collection->graphs.lock, NULL);
    pthread_mutex_init(&collection->graphs.measuring, NULL);
    vdb_shadow_init(&collection->graphs.shadow);
    return collection;
}

vdb_status vdb_collection_open(struct vdb_env *env, const char *dir, struct vdb_maintainer *maintainer,
                               struct vdb_collection **out, struct vdb_err *err)
{
    struct vdb_collection *collection = collection_new(env, dir, maintainer);
    if (collection == NULL) {
        return vdb_err_no_memory(err, "a collection");
    }
    vdb_status status;
    VDB_CHECK(vdb_store_open(env, dir, NULL, &collection->store, err));
    struct vdb_store_stats stats;
    vdb_store_get_stats(collection->store, &stats);
    vdb_collection_note_unsaved(collection, stats.memory_bytes);
    status = vdb_graphs_init(&collection->graphs, collection->store, err);

cleanup:
    if (status != VDB_OK) {
        vdb_collection_unref(collection);
        return status;
    }
    *out = collection;
    return VDB_OK;
}

vdb_status vdb_collection_open_snapshot(struct vdb_collection *of, const char *name, struct vdb_collection **out,
                                        struct vdb_err *err)
{
    struct vdb_collection *collection = collection_new(of->env, "", NULL);
    if (collection == NULL) {
        return vdb_err_no_memory(err, "a snapshot");
    }
    vdb_status status;
    VDB_CHECK(vdb_collection_snapshot_read(of, name, &collection->store, err));
    collection->graphs.read_only = true;
    status = vdb_graphs_init(&collection->graphs, collection->store, err);

cleanup:
    if (status != VDB_OK) {
        vdb_collection_unref(collection);
        return status;
    }
    *out = collection;
    return VDB_OK;
}

void vdb_collection_ref(struct vdb_collection *collection)
{
    atomic_fetch_add_explicit(&collection->refs, 1, memory_order_relaxed);
}

void vdb_collection_unref(struct vdb_collection *collection)
{
    if (collection == NULL || atomic_fetch_sub_explicit(&collection->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    vdb_snapshots_fini(&collection->snapshots);
    vdb_graph_segment_forget(collection->graphs.lineages); /* its segments go before their store */
    vdb_store_close(collection->store, !collection->dropped);
    vdb_shadow_fini(&collection->graphs.shadow);
    pthread_mutex_destroy(&collection->graphs.measuring);
    pthread_mutex_destroy(&collection->graphs.lock);
    pthread_mutex_destroy(&collection->graphs.change);
    pthread_mutex_destroy(&collection->graphs.pass);
    if (collection->removable) {
        struct vdb_err err = {0};
        /* What a crash or an error leaves behind here, the next open of the database removes. */
        if (vdb_env_remove_tree(collection->env, collection->dir, &err) != VDB_OK) {
            vdb_log(VDB_LOG_WARN, "collection", "%s: left for the next open to remove: %s", collection->dir,
                    err.text);
        }
    }
    vdb_buf_fini(&collection->spare);
    pthread_rwlock_destroy(&collection->life);
    free(collection->dir);
    free(collection);
}

void vdb_collection_cancel(struct vdb_collection *collection)
{
    atomic_store_explicit(&collection->closing, true, memory_order_relaxed);
}

void vdb_collection_close(struct vdb_collection *collection)
{
    vdb_collection_cancel(collection);
    pthread_rwlock_wrlock(&collection->life);
    if (!collection->closed) {
        collection->closed = true;
        vdb_store_seal(collection->store);
    }
    pthread_rwlock_unlock(&collection->life);
    vdb_snapshots_forget(&collection->snapshots, NULL);
}

void vdb_collection_settle_drop(struct vdb_collection *collection)
{
    collection->removable = true;
}

vdb_status vdb_collection_drop(struct vdb_collection *collection, const char *trash_dir, struct vdb_err *err)
{
    char *dir = vdb_strndup(trash_dir, strlen(trash_dir));
    if (dir == NULL) {
        return vdb_err_no_memory(err, "a path");
    }
    atomic_store_explicit(&collection->closing, true, memory_order_relaxed);
    pthread_rwlock_wrlock(&collection->life);
    vdb_status status = collection->env->ops->rename(collection->env, collection->dir, dir, err);
    if (status == VDB_OK) {
        collection->dropped = true;
        free(collection->dir);
        collection->dir = dir;
    } else {
        atomic_store_explicit(&collection->closing, false, memory_order_relaxed);
        free(dir);
    }
    pthread_rwlock_unlock(&collection->life);
    if (status == VDB_OK) {
        vdb_snapshots_forget(&collection->snapshots, NULL);
    } else {
        vdb_graphs_segments_changed(collection); /* what was cancelled is due again */
    }
    return status;
}

const struct vdb_schema *vdb_collection_schema(const struct vdb_collection *collection)
{
    return vdb_store_schema(collection->store);
}

struct vdb_indexer *vdb_collection_indexer(const struct vdb_collection *collection)
{
    return collection->maintainer != NULL ? &collection->maintainer->indexer : NULL;
}

struct vdb_store *vdb_collection_store(struct vdb_collection *collection)
{
    return collection->store;
}

void vdb_collection_get_totals(struct vdb_collection *collection, struct vdb_search_totals *out)
{
    out->searches = atomic_load_explicit(&collection->searches, memory_order_relaxed);
    out->distances_computed = atomic_load_explicit(&collection->distances_computed, memory_order_relaxed);
    vdb_snapshots_add_totals(&collection->snapshots, out);
}
