/* backup.c: a second data directory, made while this one is in use.
 *
 * Each collection's files are linked under a scratch name, copied, checked, and unlinked again. The new directory
 * is complete before its manifest is written, which is what makes it a database (database.h).
 */
#include <stdlib.h>

#include "base/mem.h"
#include "collection_internal.h"
#include "database.h"
#include "database_internal.h"

/* The new directory, with collections/ in it and nothing else. */
static vdb_status begin(struct vdb_env *env, const char *to, char collections[VDB_LIMIT_PATH_BYTES_MAX],
                        struct vdb_err *err)
{
    VDB_TRY(vdb_path_join(collections, VDB_LIMIT_PATH_BYTES_MAX, to, VDB_COLLECTIONS_DIR, err));
    VDB_TRY(vdb_env_mkdirs(env, to, err));
    VDB_TRY(env->ops->list(env, to, vdb_database_refuse_any, NULL, err));
    return env->ops->mkdir(env, collections, err);
}

static vdb_status finish(struct vdb_env *env, const char *to, const char *collections, struct vdb_err *err)
{
    struct vdb_manifest manifest = {.kind = VDB_MANIFEST_DATABASE, .created_us = env->ops->now_us(env)};
    VDB_TRY(env->ops->sync_dir(env, collections, err));
    VDB_TRY(env->ops->entropy(env, manifest.uuid, sizeof manifest.uuid, err));
    return vdb_manifest_save(env, to, &manifest, err); /* syncs `to` */
}

/* Copies the collection's present state, or a snapshot (not NULL), into collections/NAME. Under the life lock: its
 * directory must stay where it is. */
static vdb_status copy_living(struct vdb_collection *collection, const char *snapshot, const char *collections,
                              struct vdb_err *err)
{
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char from[VDB_LIMIT_PATH_BYTES_MAX];
    char to[VDB_LIMIT_PATH_BYTES_MAX];
    vdb_status status;
    pthread_rwlock_rdlock(&collection->life);
    if (collection->dropped || collection->closed) {
        status = vdb_err_set(err, VDB_NOT_FOUND, "collection \"%s\" is gone",
                             vdb_collection_schema(collection)->name);
        goto cleanup;
    }
    VDB_CHECK(vdb_path_join(to, sizeof to, collections, vdb_collection_schema(collection)->name, err));
    if (snapshot == NULL) {
        status = vdb_store_backup(collection->store, to, err);
        goto cleanup;
    }
    VDB_CHECK(vdb_path_join(parent, sizeof parent, collection->dir, "snapshots", err));
    VDB_CHECK(vdb_path_join(from, sizeof from, parent, snapshot, err));
    status = vdb_store_restore(collection->env, from, to, false, err);

cleanup:
    pthread_rwlock_unlock(&collection->life);
    return status;
}

vdb_status vdb_database_backup(struct vdb_database *database, const char *to, vdb_backup_progress_fn *progress,
                               void *ctx, struct vdb_err *err)
{
    struct vdb_env *env = vdb_database_env(database);
    char collections[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_collection **list = NULL;
    size_t count = 0;
    vdb_status status;
    VDB_CHECK(begin(env, to, collections, err));
    VDB_CHECK(vdb_database_list(database, &list, &count, err));
    for (size_t i = 0; i < count; i++) {
        const char *name = vdb_collection_schema(list[i])->name;
        status = copy_living(list[i], NULL, collections, err);
        if (status == VDB_NOT_FOUND) { /* dropped since the listing */
            continue;
        }
        if (status != VDB_OK) {
            status = vdb_err_wrap(err, status, "collection \"%s\"", name);
            goto cleanup;
        }
        if (progress != NULL && !progress(ctx, name, i + 1, count)) {
            status = vdb_err_set(err, VDB_CANCELLED, "cancelled after %zu of %zu collections", i + 1, count);
            goto cleanup;
        }
    }
    status = finish(env, to, collections, err);

cleanup:
    for (size_t i = 0; i < count; i++) {
        vdb_collection_unref(list[i]);
    }
    free(list);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "backup to \"%s\"", to);
}

vdb_status vdb_database_restore_snapshot(struct vdb_database *database, const char *name, const char *snapshot,
                                         const char *to, struct vdb_err *err)
{
    struct vdb_env *env = vdb_database_env(database);
    char collections[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_collection *collection = NULL;
    vdb_status status;
    VDB_CHECK(vdb_schema_check_name(snapshot, err));
    VDB_CHECK(vdb_database_get(database, name, &collection, err));
    VDB_CHECK(begin(env, to, collections, err));
    VDB_CHECK(copy_living(collection, snapshot, collections, err));
    status = finish(env, to, collections, err);

cleanup:
    vdb_collection_unref(collection);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "restore to \"%s\"", to);
}
