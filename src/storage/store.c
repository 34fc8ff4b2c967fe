/* store.c: making, opening and closing a store, and looking at what it holds. Its writes are in store_write.c. */
#include "store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "store_internal.h"

vdb_status vdb_store_make_dirs(struct vdb_env *env, const char *dir, bool index, struct vdb_err *err)
{
    static const char *const names[] = {VDB_STORE_VECTORS_DIR, VDB_STORE_META_DIR, VDB_STORE_INDEX_DIR};
    const size_t count = index ? 3 : 2;
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    bool made[3] = {false};
    vdb_status status = VDB_OK;
    for (size_t i = 0; i < count && status == VDB_OK; i++) {
        vdb_file_kind kind;
        uint64_t bytes;
        VDB_CHECK(vdb_path_join(path, sizeof path, dir, names[i], err));
        status = env->ops->stat(env, path, &kind, &bytes, err);
        if (status == VDB_NOT_FOUND) {
            status = env->ops->mkdir(env, path, err);
            made[i] = status == VDB_OK;
        }
    }
    if (status == VDB_OK && (made[0] || made[1] || made[2])) {
        status = env->ops->sync_dir(env, dir, err);
    }

cleanup:
    for (size_t i = 0; i < count && status != VDB_OK; i++) {
        /* What is there the next call takes as durable, so it must not stay. */
        if (made[i] && vdb_path_join(path, sizeof path, dir, names[i], NULL) == VDB_OK) {
            (void)!env->ops->rmdir(env, path, NULL);
        }
    }
    return status;
}

vdb_status vdb_store_create(struct vdb_env *env, const char *dir, const struct vdb_schema *schema,
                            const struct vdb_index_config *index_config, struct vdb_err *err)
{
    char wal_dir[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_manifest manifest = {
        .kind = VDB_MANIFEST_COLLECTION,
        .created_us = env->ops->now_us(env),
        .schema = *schema,
        .index_config = *index_config,
    };
    VDB_TRY(vdb_path_join(wal_dir, sizeof wal_dir, dir, VDB_STORE_WAL_DIR, err));
    VDB_TRY(env->ops->entropy(env, manifest.uuid, sizeof manifest.uuid, err));
    VDB_TRY(env->ops->mkdir(env, dir, err));
    VDB_TRY(vdb_store_make_dirs(env, dir, false, err));
    VDB_TRY(vdb_wal_create(env, wal_dir, manifest.uuid, 1, err));
    return vdb_manifest_save(env, dir, &manifest, err); /* syncs dir, and with it the name of wal/ */
}

/* ---- Opening ---- */

static vdb_status replay_batch(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    struct vdb_store *store = ctx;
    struct vdb_memtable *memtable = store->version->memtables[0];
    struct vdb_staged *staged;
    VDB_TRY(vdb_memtable_stage(memtable, record->payload, record->payload_bytes, &staged, err));
    (void)vdb_store_publish(store, memtable, staged, record->seq);
    return vdb_store_check_damage(store, err);
}

static struct vdb_store *store_new(struct vdb_env *env, const char *dir)
{
    struct vdb_store *store = vdb_calloc(1, sizeof *store);
    if (store == NULL) {
        return NULL;
    }
    store->env = env;
    store->dir = vdb_strndup(dir, strlen(dir));
    pthread_mutex_init(&store->compacting, NULL);
    pthread_mutex_init(&store->maintain, NULL);
    vdb_rwlock_init(&store->gate);
    vdb_rwlock_init(&store->lock);
    pthread_mutex_init(&store->order, NULL);
    pthread_mutex_init(&store->publishing, NULL);
    pthread_mutex_init(&store->naming, NULL);
    store->list_end = &store->list;
    if (store->dir == NULL) {
        vdb_store_close(store, false);
        return NULL;
    }
    return store;
}

/* The first version: an empty memtable, and the segments of the manifest. */
static vdb_status open_version(struct vdb_store *store, struct vdb_err *err)
{
    const struct vdb_manifest *manifest = &store->manifest;
    uint32_t opened = 0;
    struct vdb_memtable *memtable = vdb_memtable_create(manifest->schema.dimension);
    struct vdb_segment **segments = vdb_calloc(manifest->segment_count + 1, sizeof *segments);
    vdb_status status = VDB_OK;
    if (memtable == NULL || segments == NULL) {
        status = vdb_err_no_memory(err, "a memtable");
        goto cleanup;
    }
    for (; opened < manifest->segment_count; opened++) {
        VDB_CHECK(vdb_segment_open(store->env, store->dir, manifest->uuid, &manifest->schema,
                                   &manifest->segments[opened], &segments[opened], err));
    }
    store->version = vdb_version_create(&memtable, 1, segments, opened);
    if (store->version == NULL) {
        status = vdb_err_no_memory(err, "a version");
    }

cleanup:
    for (uint32_t i = 0; i < opened; i++) {
        vdb_segment_unref(segments[i]);
    }
    free(segments);
    vdb_memtable_unref(memtable);
    return status;
}

vdb_status vdb_store_open(struct vdb_env *env, const char *dir, const struct vdb_wal_options *options,
                          struct vdb_store **out, struct vdb_err *err)
{
    char wal_dir[VDB_LIMIT_PATH_BYTES_MAX];
    uint64_t started = vdb_now_ns();
    struct vdb_store *store = store_new(env, dir);
    if (store == NULL) {
        return vdb_err_no_memory(err, "a store");
    }
    vdb_status status;
    VDB_CHECK(vdb_path_join(wal_dir, sizeof wal_dir, dir, VDB_STORE_WAL_DIR, err));
    VDB_CHECK(vdb_manifest_load(env, dir, VDB_MANIFEST_COLLECTION, &store->manifest, err));
    VDB_CHECK(open_version(store, err));
    store->seq = store->manifest.checkpoint_seq;
    vdb_store_publish_manifest(store);
    /* A kill between the manifest's rename and the sync of its name: it is seen, and a power cut could still bring
     * the one before it back. So it is made durable before what that one names is removed (D1, D2). */
    VDB_CHECK(env->ops->sync_dir(env, dir, err));
    VDB_CHECK(vdb_wal_open(env, wal_dir, store->manifest.uuid, store->manifest.wal_first,
                           store->manifest.checkpoint_seq, options, replay_batch, store, &store->wal,
                           &store->recovery, err));
    VDB_CHECK(vdb_store_sweep(env, dir, &store->manifest, err)); /* all was found good: now files may go */
    VDB_CHECK(vdb_store_sweep_snapshots(env, dir, err));
    store->recovery_ns = vdb_now_ns() - started;

cleanup:
    if (status != VDB_OK) {
        vdb_store_close(store, false);
        return status;
    }
    *out = store;
    return VDB_OK;
}

vdb_status vdb_store_snapshot_open(struct vdb_env *env, const char *dir, const char *name, struct vdb_store **out,
                                   struct vdb_err *err)
{
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    VDB_TRY(vdb_schema_check_name(name, err));
    VDB_TRY(vdb_path_join(parent, sizeof parent, dir, VDB_STORE_SNAPSHOTS_DIR, err));
    VDB_TRY(vdb_path_join(path, sizeof path, parent, name, err));
    struct vdb_store *store = store_new(env, path);
    if (store == NULL) {
        return vdb_err_no_memory(err, "a store");
    }
    vdb_status status;
    VDB_CHECK(vdb_manifest_load(env, path, VDB_MANIFEST_COLLECTION, &store->manifest, err));
    VDB_CHECK(open_version(store, err));
    store->seq = store->manifest.checkpoint_seq;
    vdb_store_publish_manifest(store);

cleanup:
    if (status != VDB_OK) {
        vdb_store_close(store, false);
        return vdb_err_wrap(err, status, "snapshot \"%s\"", name);
    }
    *out = store;
    return VDB_OK;
}

bool vdb_store_is_follower(struct vdb_store *store)
{
    return atomic_load_explicit(&store->follower, memory_order_relaxed);
}

void vdb_store_seal(struct vdb_store *store)
{
    vdb_wal_close(store->wal, !vdb_store_is_follower(store));
    store->wal = NULL;
}

void vdb_store_close(struct vdb_store *store, bool mark)
{
    if (store == NULL) {
        return;
    }
    vdb_wal_close(store->wal, mark && !vdb_store_is_follower(store));
    vdb_version_unref(store->version);
    vdb_manifest_fini(&store->manifest);
    pthread_mutex_destroy(&store->naming);
    pthread_mutex_destroy(&store->publishing);
    pthread_mutex_destroy(&store->order);
    pthread_rwlock_destroy(&store->lock);
    pthread_rwlock_destroy(&store->gate);
    pthread_mutex_destroy(&store->maintain);
    pthread_mutex_destroy(&store->compacting);
    free(store->dir);
    free(store);
}

/* ---- Reading ---- */

static void pin_locked(struct vdb_store *store, struct vdb_view *view)
{
    struct vdb_version *version = store->version;
    *view = (struct vdb_view){.version = version, .seq = store->seq};
    vdb_version_ref(version);
    for (uint32_t i = 0; i < version->memtable_count; i++) {
        vdb_memtable_pin(version->memtables[i], &view->memtables[i]);
        view->memtables[i].seq = store->seq;
        view->points += view->memtables[i].slot_count - view->memtables[i].dead_count;
    }
    for (uint32_t i = 0; i < version->segment_count; i++) {
        view->points += vdb_segment_rows(version->segments[i]) - vdb_segment_dead(version->segments[i]);
    }
}

void vdb_store_pin(struct vdb_store *store, struct vdb_view *view)
{
    pthread_rwlock_rdlock(&store->lock);
    pin_locked(store, view);
    pthread_rwlock_unlock(&store->lock);
}

vdb_status vdb_store_find(struct vdb_store *store, const struct vdb_id *ids, size_t count, struct vdb_view *view,
                          struct vdb_place *places, struct vdb_err *err)
{
    *view = (struct vdb_view){0};
    uint32_t *slots = vdb_calloc(count, sizeof *slots);
    if (slots == NULL) {
        return vdb_err_no_memory(err, "places of points");
    }
    for (size_t i = 0; i < count; i++) {
        places[i] = (struct vdb_place){VDB_SLOT_NONE, 0};
    }
    /* A memtable's map knows an id's newest version only: nothing may be published between pin and look. What a
     * segment says stays true as of the view. */
    pthread_rwlock_rdlock(&store->lock);
    pin_locked(store, view);
    for (uint32_t m = 0; m < view->version->memtable_count; m++) {
        vdb_memtable_look(view->version->memtables[m], &view->memtables[m], ids, count, slots);
        for (size_t i = 0; i < count; i++) {
            if (slots[i] != VDB_SLOT_NONE) {
                places[i] = (struct vdb_place){m, slots[i]};
            }
        }
    }
    pthread_rwlock_unlock(&store->lock);
    vdb_status status = VDB_OK;
    for (size_t i = 0; i < count && status == VDB_OK; i++) {
        for (uint32_t s = view->version->segment_count; places[i].source == VDB_SLOT_NONE && s-- > 0;) {
            struct vdb_segment *segment = view->version->segments[s];
            uint32_t row;
            status = vdb_segment_find(segment, &ids[i], &row, err);
            if (status != VDB_OK) {
                break;
            }
            if (row != VDB_SLOT_NONE && vdb_segment_sees(segment, row, view->seq)) {
                places[i] = (struct vdb_place){view->version->memtable_count + s, row};
            }
        }
    }
    free(slots);
    return status;
}

const struct vdb_schema *vdb_store_schema(const struct vdb_store *store)
{
    return &store->manifest.schema;
}

const uint8_t *vdb_store_uuid(const struct vdb_store *store)
{
    return store->manifest.uuid;
}

void vdb_store_get_index_config(struct vdb_store *store, struct vdb_index_config *out)
{
    pthread_rwlock_rdlock(&store->lock);
    *out = store->index_config;
    pthread_rwlock_unlock(&store->lock);
}

uint64_t vdb_store_durable_seq(struct vdb_store *store)
{
    return store->wal != NULL ? vdb_wal_durable_seq(store->wal) : store->seq;
}

void vdb_store_get_stats(struct vdb_store *store, struct vdb_store_stats *out)
{
    struct vdb_view view;
    *out = (struct vdb_store_stats){0};
    if (store->wal != NULL) {
        vdb_wal_get_stats(store->wal, &out->wal);
    }
    out->recovery = store->recovery;
    out->recovery_ns = store->recovery_ns;
    out->writes = atomic_load_explicit(&store->writes, memory_order_relaxed);
    vdb_store_pin(store, &view);
    out->seq = view.seq;
    out->points = view.points;
    for (uint32_t i = 0; i < view.version->memtable_count; i++) {
        struct vdb_memtable_stats rows;
        vdb_memtable_get_stats(view.version->memtables[i], &rows);
        out->dead += rows.dead;
        out->memory_bytes += rows.memory_bytes;
    }
    out->segments = view.version->segment_count;
    for (uint32_t i = 0; i < view.version->segment_count; i++) {
        const struct vdb_segment_info *info = vdb_segment_info(view.version->segments[i]);
        out->segment_rows += info->rows;
        out->segment_dead += vdb_segment_dead(view.version->segments[i]);
        out->segment_bytes += info->vectors.bytes + info->meta.bytes + info->dead.bytes;
    }
    out->dead += out->segment_dead;
    vdb_view_release(&view);
    out->checkpoint_seq = atomic_load_explicit(&store->checkpoint_seq, memory_order_relaxed);
    out->checkpoints = atomic_load_explicit(&store->checkpoints, memory_order_relaxed);
    out->compactions = atomic_load_explicit(&store->compactions, memory_order_relaxed);
    out->bytes_compacted = atomic_load_explicit(&store->bytes_compacted, memory_order_relaxed);
    out->index_files = atomic_load_explicit(&store->index_files, memory_order_relaxed);
    out->index_bytes = atomic_load_explicit(&store->index_bytes, memory_order_relaxed);
}
