/* database.c: opening a data directory and keeping its collections. The commit points stand in database.h. */
#include "database.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "database_internal.h"
#include "index_config.h"
#include "maintain.h"

#define NEW_PREFIX   ".new-"
#define TRASH_PREFIX ".trash-"

struct vdb_database {
    struct vdb_env *env;
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char collections_path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_lock *lock;
    pthread_mutex_t change;              /* one create or drop at a time; taken before `names` */
    pthread_rwlock_t names;              /* guards the array */
    struct vdb_collection **collections; /* in name order */
    size_t count;
    size_t capacity;
    struct vdb_maintainer maintainer;
    struct vdb_database_stats retired; /* what dropped collections had done; of the names lock */
};

static const char *name_of(const struct vdb_collection *collection)
{
    return vdb_collection_schema(collection)->name;
}

/* The place of the name in the array, or where it would go. */
static size_t find_place(const struct vdb_database *database, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = database->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name_of(database->collections[middle]), name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = false;
    return low;
}

/* Takes ownership of the reference. Room was reserved. */
static void insert_at(struct vdb_database *database, size_t place, struct vdb_collection *collection)
{
    struct vdb_collection **at = database->collections + place;
    memmove(at + 1, at, (database->count - place) * sizeof(struct vdb_collection *));
    *at = collection;
    database->count++;
}

static vdb_status reserve_one(struct vdb_database *database, struct vdb_err *err)
{
    if (database->count < database->capacity) {
        return VDB_OK;
    }
    size_t capacity = database->capacity > 0 ? database->capacity * 2 : 16;
    void *grown = database->collections;
    if (!vdb_realloc_array(&grown, capacity, sizeof(struct vdb_collection *))) {
        return vdb_err_no_memory(err, "the list of collections");
    }
    database->collections = grown;
    database->capacity = capacity;
    return VDB_OK;
}

/* Opens collections/NAME without showing it. */
static vdb_status open_collection(struct vdb_database *database, const char *name, struct vdb_collection **out,
                                  struct vdb_err *err)
{
    char dir[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_collection *collection;
    VDB_TRY(vdb_path_join(dir, sizeof dir, database->collections_path, name, err));
    vdb_status status = vdb_collection_open(database->env, dir, &database->maintainer, &collection, err);
    if (status == VDB_NOT_FOUND) {
        status = VDB_CORRUPT; /* a collection's directory without its files is damage, not absence */
    }
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "open \"%s\"", name);
    }
    if (strcmp(name_of(collection), name) != 0) {
        status = vdb_err_set(err, VDB_CORRUPT, "open \"%s\": its manifest says it is \"%s\"", name,
                             name_of(collection));
        vdb_collection_unref(collection);
        return status;
    }
    *out = collection;
    return VDB_OK;
}

/* Shows it. Takes ownership of the reference, also on failure. */
static vdb_status add_collection(struct vdb_database *database, struct vdb_collection *collection,
                                 struct vdb_err *err)
{
    bool found;
    pthread_rwlock_wrlock(&database->names);
    vdb_status status = reserve_one(database, err);
    if (status == VDB_OK) {
        insert_at(database, find_place(database, name_of(collection), &found), collection);
    }
    pthread_rwlock_unlock(&database->names);
    if (status != VDB_OK) {
        vdb_collection_unref(collection);
    }
    return status;
}

/* The directory listing must not change under the listing, so names are collected first. */
struct listing {
    struct vdb_buf names; /* NUL-separated */
};

static vdb_status note_name(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct listing *listing = ctx;
    bool leftover = strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0 ||
                    strncmp(name, TRASH_PREFIX, strlen(TRASH_PREFIX)) == 0;
    if (kind != VDB_KIND_DIR || (!leftover && vdb_schema_check_name(name, NULL) != VDB_OK)) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "\"%s\" in " VDB_COLLECTIONS_DIR " is no collection; move it elsewhere", name);
    }
    vdb_buf_put(&listing->names, name, strlen(name) + 1);
    return listing->names.failed ? vdb_err_no_memory(err, "a listing") : VDB_OK;
}

static vdb_status open_collections(struct vdb_database *database, struct vdb_err *err)
{
    struct vdb_env *env = database->env;
    struct listing listing = {0};
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_collection *collection;
    vdb_status status;
    /* A process that was killed may have left its last renames unsynced. What this one goes by must not change
     * back: a collection would take its writes along, a dropped one come back without its files. */
    VDB_CHECK(env->ops->sync_dir(env, database->path, err));
    VDB_CHECK(env->ops->sync_dir(env, database->collections_path, err));
    VDB_CHECK(env->ops->list(env, database->collections_path, note_name, &listing, err));
    for (size_t at = 0; at < listing.names.bytes;) {
        const char *name = (const char *)listing.names.data + at;
        at += strlen(name) + 1;
        if (name[0] == '.') {
            VDB_CHECK(vdb_path_join(path, sizeof path, database->collections_path, name, err));
            status = vdb_env_remove_tree(env, path, err);
            if (status != VDB_OK &&
                status != VDB_NOT_FOUND) { /* a result of another handle may have just freed it */
                goto cleanup;
            }
            status = VDB_OK;
        } else {
            VDB_CHECK(open_collection(database, name, &collection, err));
            VDB_CHECK(add_collection(database, collection, err));
        }
    }

cleanup:
    vdb_buf_fini(&listing.names);
    return status;
}

/* A first open: an empty or missing directory becomes a database. Anything else in it is somebody else's. */
static vdb_status refuse_entry(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    (void)ctx;
    bool ours = (kind == VDB_KIND_FILE &&
                 (strcmp(name, "LOCK") == 0 || strcmp(name, VDB_MANIFEST_NAME ".tmp") == 0)) ||
                (kind == VDB_KIND_DIR && strcmp(name, VDB_COLLECTIONS_DIR) == 0);
    /* A crash before the manifest was published leaves these; a mount point brings its own. */
    if (ours || strcmp(name, "lost+found") == 0) {
        return VDB_OK;
    }
    return vdb_err_set(err, VDB_INVALID,
                       "holds \"%s\" but no " VDB_MANIFEST_NAME "; a data directory must be empty at first",
                       name);
}

static vdb_status refuse_collection(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    (void)ctx;
    (void)kind;
    return vdb_err_set(err, VDB_CORRUPT, "holds " VDB_COLLECTIONS_DIR "/%s but no " VDB_MANIFEST_NAME, name);
}

struct vdb_env *vdb_database_env(const struct vdb_database *database)
{
    return database->env;
}

vdb_status vdb_database_refuse_any(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    (void)ctx;
    (void)kind;
    if (strcmp(name, "lost+found") == 0) {
        return VDB_OK;
    }
    return vdb_err_set(err, VDB_EXISTS, "holds \"%s\"; a new data directory needs an empty place", name);
}

static vdb_status initialise(struct vdb_database *database, struct vdb_err *err)
{
    struct vdb_env *env = database->env;
    struct vdb_manifest manifest = {.kind = VDB_MANIFEST_DATABASE, .created_us = env->ops->now_us(env)};
    vdb_file_kind kind;
    uint64_t bytes;
    VDB_TRY(env->ops->list(env, database->path, refuse_entry, NULL, err));
    vdb_status status = env->ops->stat(env, database->collections_path, &kind, &bytes, err);
    if (status == VDB_NOT_FOUND) {
        VDB_TRY(env->ops->mkdir(env, database->collections_path, err));
    } else {
        VDB_TRY(status);
        VDB_TRY(env->ops->list(env, database->collections_path, refuse_collection, NULL, err));
    }
    VDB_TRY(env->ops->entropy(env, manifest.uuid, sizeof manifest.uuid, err));
    return vdb_manifest_save(env, database->path, &manifest, err); /* syncs the directory, collections/ with it */
}

static vdb_status open_locked(struct vdb_database *database, bool must_exist, struct vdb_err *err)
{
    struct vdb_manifest manifest;
    vdb_status status = vdb_manifest_load(database->env, database->path, VDB_MANIFEST_DATABASE, &manifest, err);
    if (status == VDB_NOT_FOUND) {
        if (must_exist) {
            return vdb_err_set(err, VDB_NOT_FOUND, "there is no database there");
        }
        return initialise(database, err);
    }
    VDB_TRY(status);
    return open_collections(database, err);
}

vdb_status vdb_database_open(struct vdb_env *env, const char *path, bool must_exist, struct vdb_database **out,
                             struct vdb_err *err)
{
    char lock_path[VDB_LIMIT_PATH_BYTES_MAX];
    vdb_file_kind kind;
    uint64_t bytes;
    struct vdb_database *database = vdb_calloc(1, sizeof *database);
    if (database == NULL) {
        return vdb_err_no_memory(err, "a database");
    }
    database->env = env;
    vdb_maintainer_init(&database->maintainer);
    pthread_mutex_init(&database->change, NULL);
    vdb_rwlock_init(&database->names);
    vdb_status status;
    if (path == NULL || path[0] == '\0') {
        status = vdb_err_set(err, VDB_INVALID, "path: empty");
        goto cleanup;
    }
    VDB_CHECK(vdb_path_join(lock_path, sizeof lock_path, path, "LOCK", err));
    VDB_CHECK(vdb_path_join(database->collections_path, sizeof database->collections_path, path,
                            VDB_COLLECTIONS_DIR, err));
    snprintf(database->path, sizeof database->path, "%s", path);
    if (must_exist) {
        VDB_CHECK(env->ops->stat(env, path, &kind, &bytes, err));
    } else {
        VDB_CHECK(vdb_env_mkdirs(env, path, err));
    }
    VDB_CHECK(env->ops->lock(env, lock_path, &database->lock, err));
    VDB_CHECK(open_locked(database, must_exist, err));

cleanup:
    if (status != VDB_OK) {
        vdb_database_close(database);
        return vdb_err_wrap(err, status, "data directory \"%s\"", path != NULL ? path : "");
    }
    *out = database;
    return VDB_OK;
}

void vdb_database_close(struct vdb_database *database)
{
    if (database == NULL) {
        return;
    }
    for (size_t i = 0; i < database->count; i++) {
        vdb_collection_cancel(database->collections[i]);
    }
    vdb_maintainer_stop(&database->maintainer);
    for (size_t i = 0; i < database->count; i++) {
        vdb_collection_close(database->collections[i]); /* results may hold on to it past the lock's end */
        vdb_collection_unref(database->collections[i]);
    }
    free(database->collections);
    if (database->lock != NULL) {
        database->env->ops->unlock(database->env, database->lock);
    }
    vdb_maintainer_fini(&database->maintainer);
    pthread_rwlock_destroy(&database->names);
    pthread_mutex_destroy(&database->change);
    free(database);
}

vdb_status vdb_database_maintain(struct vdb_database *database, const struct vdb_maintain_options *options,
                                 struct vdb_err *err)
{
    return vdb_maintainer_start(&database->maintainer, database, options, err);
}

/* Adds what the collection has done since open: what only ever grows. */
static void add_done(struct vdb_collection *collection, struct vdb_database_stats *sum)
{
    struct vdb_store_stats store;
    struct vdb_search_totals totals;
    vdb_store_get_stats(vdb_collection_store(collection), &store);
    vdb_collection_get_totals(collection, &totals);
    sum->writes += store.writes;
    sum->syncs += store.wal.syncs;
    sum->log_bytes_written += store.wal.bytes_written;
    sum->searches += totals.searches;
    sum->distances_computed += totals.distances_computed;
    sum->recovered_batches += store.recovery.records;
    sum->recovery_ns += store.recovery_ns;
    sum->torn_bytes_cut += store.recovery.torn_bytes_cut;
    sum->checkpoints += store.checkpoints;
    sum->compactions += store.compactions;
    sum->bytes_compacted += store.bytes_compacted;
}

void vdb_database_get_stats(struct vdb_database *database, struct vdb_database_stats *out)
{
    pthread_rwlock_rdlock(&database->names);
    *out = database->retired;
    out->collections = database->count;
    for (size_t i = 0; i < database->count; i++) {
        struct vdb_store_stats store;
        vdb_store_get_stats(vdb_collection_store(database->collections[i]), &store);
        out->points += store.points;
        out->memory_bytes += store.memory_bytes;
        out->log_bytes += store.wal.log_bytes;
        out->segments += store.segments;
        out->segment_bytes += store.segment_bytes;
        out->segment_rows += store.segment_rows;
        out->segment_dead += store.segment_dead;
        add_done(database->collections[i], out);
    }
    pthread_rwlock_unlock(&database->names);
}

/* collections/PREFIX<random hex> */
static vdb_status scratch_path(struct vdb_database *database, const char *prefix,
                               char out[VDB_LIMIT_PATH_BYTES_MAX], struct vdb_err *err)
{
    uint8_t uuid[VDB_UUID_BYTES];
    char hex[2 * VDB_UUID_BYTES + 1];
    char name[64];
    VDB_TRY(database->env->ops->entropy(database->env, uuid, sizeof uuid, err));
    vdb_uuid_print(uuid, hex);
    snprintf(name, sizeof name, "%s%s", prefix, hex);
    return vdb_path_join(out, VDB_LIMIT_PATH_BYTES_MAX, database->collections_path, name, err);
}

/* Fills directory `aside`, which is not there: with an empty collection of that schema, or a follower of another. */
struct source {
    const char *name;
    const struct vdb_schema *schema;       /* with */
    const struct vdb_index_config *config; /* or */
    const char *from;                      /* a snapshot's or a collection's directory */
};

static vdb_status fill_aside(struct vdb_env *env, const char *aside, const struct source *source,
                             struct vdb_err *err)
{
    return source->schema != NULL ? vdb_store_create(env, aside, source->schema, source->config, err)
                                  : vdb_store_restore(env, source->from, aside, true, err);
}

/* With `change` held: builds it aside, publishes it by the rename, opens it. */
static vdb_status create_changing(struct vdb_database *database, const struct source *source, struct vdb_err *err)
{
    struct vdb_env *env = database->env;
    char aside[VDB_LIMIT_PATH_BYTES_MAX];
    char dir[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_collection *collection;
    bool found;
    (void)find_place(database, source->name, &found);
    if (found) {
        return vdb_err_set(err, VDB_EXISTS, "name: a collection \"%s\" is there already", source->name);
    }
    if (database->count >= VDB_LIMIT_COLLECTIONS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "there are %zu collections, at most %u are allowed", database->count,
                           VDB_LIMIT_COLLECTIONS_MAX);
    }
    VDB_TRY(scratch_path(database, NEW_PREFIX, aside, err));
    VDB_TRY(vdb_path_join(dir, sizeof dir, database->collections_path, source->name, err));
    vdb_status status = fill_aside(env, aside, source, err);
    if (status == VDB_OK) {
        status = env->ops->rename(env, aside, dir, err);
    }
    if (status != VDB_OK) {
        (void)!vdb_env_remove_tree(env, aside, NULL); /* or the next open does */
        return status;
    }
    status = env->ops->sync_dir(env, database->collections_path, err);
    if (status == VDB_OK) {
        status = open_collection(database, source->name, &collection, err);
    }
    if (status == VDB_OK) {
        status = add_collection(database, collection, err);
    }
    if (status != VDB_OK) {
        /* Out of the way of the next try. Not removed: that could outlive a power cut which undoes the rename. */
        (void)!env->ops->rename(env, dir, aside, NULL);
    }
    return status;
}

vdb_status vdb_database_create(struct vdb_database *database, const struct vdb_schema *schema,
                               const struct vdb_index_config *config, struct vdb_err *err)
{
    struct vdb_index_config by_default;
    VDB_TRY(vdb_schema_check(schema, err));
    if (config == NULL) {
        vdb_index_config_default(schema, &by_default);
        config = &by_default;
    }
    VDB_TRY(vdb_index_config_check(config, schema, err));
    pthread_mutex_lock(&database->change);
    vdb_status status = create_changing(
        database, &(struct source){.name = schema->name, .schema = schema, .config = config}, err);
    pthread_mutex_unlock(&database->change);
    return status;
}

vdb_status vdb_database_import(struct vdb_database *database, const char *from, const char *name,
                               struct vdb_err *err)
{
    pthread_mutex_lock(&database->change);
    vdb_status status = create_changing(database, &(struct source){.name = name, .from = from}, err);
    pthread_mutex_unlock(&database->change);
    return status;
}

static vdb_status not_found(const char *name, struct vdb_err *err)
{
    return vdb_err_set(err, VDB_NOT_FOUND, "collection \"%.80s\" does not exist", name);
}

static vdb_status drop_changing(struct vdb_database *database, const char *name, struct vdb_err *err)
{
    char trash[VDB_LIMIT_PATH_BYTES_MAX];
    bool found;
    size_t place = find_place(database, name, &found);
    if (!found) {
        return not_found(name, err);
    }
    struct vdb_collection *collection = database->collections[place];
    VDB_TRY(scratch_path(database, TRASH_PREFIX, trash, err));
    VDB_TRY(vdb_collection_drop(collection, trash, err));
    pthread_rwlock_wrlock(&database->names);
    add_done(collection, &database->retired);
    database->count--;
    memmove(database->collections + place, database->collections + place + 1,
            (database->count - place) * sizeof(struct vdb_collection *));
    pthread_rwlock_unlock(&database->names);
    vdb_status status = database->env->ops->sync_dir(database->env, database->collections_path, err);
    if (status == VDB_OK) {
        vdb_collection_settle_drop(collection);
    }
    vdb_collection_unref(collection);
    return status;
}

vdb_status vdb_database_drop(struct vdb_database *database, const char *name, struct vdb_err *err)
{
    pthread_mutex_lock(&database->change);
    vdb_status status = drop_changing(database, name, err);
    pthread_mutex_unlock(&database->change);
    return status;
}

vdb_status vdb_database_get(struct vdb_database *database, const char *name, struct vdb_collection **out,
                            struct vdb_err *err)
{
    if (name == NULL) {
        return vdb_err_set(err, VDB_INVALID, "collection: no name given");
    }
    bool found;
    pthread_rwlock_rdlock(&database->names);
    size_t place = find_place(database, name, &found);
    if (found) {
        *out = database->collections[place];
        vdb_collection_ref(*out);
    }
    pthread_rwlock_unlock(&database->names);
    return found ? VDB_OK : not_found(name, err);
}

vdb_status vdb_database_list(struct vdb_database *database, struct vdb_collection ***out, size_t *count,
                             struct vdb_err *err)
{
    pthread_rwlock_rdlock(&database->names);
    struct vdb_collection **list = vdb_calloc(database->count, sizeof(struct vdb_collection *));
    if (list != NULL) {
        *count = database->count;
        for (size_t i = 0; i < database->count; i++) {
            list[i] = database->collections[i];
            vdb_collection_ref(list[i]);
        }
    }
    pthread_rwlock_unlock(&database->names);
    *out = list;
    return list != NULL ? VDB_OK : vdb_err_no_memory(err, "a listing");
}
