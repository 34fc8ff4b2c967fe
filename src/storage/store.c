/* store.c: manifest + log + memtable, and the turnstile that publishes in order.
 *
 * Why a turnstile: the log makes many batches durable with one sync and wakes their writers in no order, but a
 * view at sequence number S must see every batch up to S (M3). So each writer waits until the batch before its
 * own is published. It waits for threads that are already past the disk, never for the disk. A failed log fails
 * every batch from the first lost one on, so no writer waits for a batch that will not come.
 */
#include "store.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/timer.h"

#define WAL_DIR "wal"

struct vdb_store {
    struct vdb_env *env;
    struct vdb_manifest manifest;
    struct vdb_memtable *memtable;
    struct vdb_wal *wal;
    struct vdb_wal_recovery recovery;
    uint64_t recovery_ns;

    pthread_mutex_t mutex; /* guards the turnstile */
    pthread_cond_t published_more;
    uint64_t published_seq;
    uint64_t writes;
};

vdb_status vdb_store_create(struct vdb_env *env, const char *dir, const struct vdb_schema *schema,
                            struct vdb_err *err)
{
    char wal_dir[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_manifest manifest = {
        .kind = VDB_MANIFEST_COLLECTION,
        .created_us = env->ops->now_us(env),
        .schema = *schema,
    };
    VDB_TRY(vdb_path_join(wal_dir, sizeof wal_dir, dir, WAL_DIR, err));
    VDB_TRY(env->ops->entropy(env, manifest.uuid, sizeof manifest.uuid, err));
    VDB_TRY(env->ops->mkdir(env, dir, err));
    VDB_TRY(vdb_wal_create(env, wal_dir, manifest.uuid, err));
    return vdb_manifest_save(env, dir, &manifest, err); /* syncs dir, and with it the name of wal/ */
}

static vdb_status replay_batch(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    struct vdb_store *store = ctx;
    struct vdb_staged *staged;
    VDB_TRY(vdb_memtable_stage(store->memtable, record->payload, record->payload_bytes, &staged, err));
    vdb_memtable_publish(store->memtable, staged, record->seq);
    return VDB_OK;
}

vdb_status vdb_store_open(struct vdb_env *env, const char *dir, const struct vdb_wal_options *options,
                          struct vdb_store **out, struct vdb_err *err)
{
    char wal_dir[VDB_LIMIT_PATH_BYTES_MAX];
    uint64_t started = vdb_now_ns();
    struct vdb_store *store = vdb_calloc(1, sizeof *store);
    if (store == NULL) {
        return vdb_err_no_memory(err, "a store");
    }
    store->env = env;
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->published_more, NULL);
    vdb_status status;
    VDB_CHECK(vdb_path_join(wal_dir, sizeof wal_dir, dir, WAL_DIR, err));
    VDB_CHECK(vdb_manifest_load(env, dir, VDB_MANIFEST_COLLECTION, &store->manifest, err));
    store->memtable = vdb_memtable_create(store->manifest.schema.dimension);
    if (store->memtable == NULL) {
        status = vdb_err_no_memory(err, "a memtable");
        goto cleanup;
    }
    VDB_CHECK(vdb_wal_open(env, wal_dir, store->manifest.uuid, store->manifest.wal_first, options, replay_batch,
                           store, &store->wal, &store->recovery, err));
    store->published_seq = vdb_wal_durable_seq(store->wal);
    store->recovery_ns = vdb_now_ns() - started;

cleanup:
    if (status != VDB_OK) {
        vdb_store_close(store, false);
        return status;
    }
    *out = store;
    return VDB_OK;
}

void vdb_store_seal(struct vdb_store *store)
{
    vdb_wal_close(store->wal, true);
    store->wal = NULL;
}

void vdb_store_close(struct vdb_store *store, bool mark)
{
    if (store != NULL) {
        vdb_wal_close(store->wal, mark);
        vdb_memtable_destroy(store->memtable);
        pthread_cond_destroy(&store->published_more);
        pthread_mutex_destroy(&store->mutex);
        free(store);
    }
}

/* The turnstile: publishes when all before it are published. */
static uint64_t publish_in_order(struct vdb_store *store, struct vdb_staged *staged, uint64_t seq)
{
    pthread_mutex_lock(&store->mutex);
    while (store->published_seq + 1 != seq) {
        pthread_cond_wait(&store->published_more, &store->mutex);
    }
    pthread_mutex_unlock(&store->mutex);

    uint64_t changed = vdb_memtable_publish(store->memtable, staged, seq);

    pthread_mutex_lock(&store->mutex);
    store->published_seq = seq;
    store->writes++;
    pthread_cond_broadcast(&store->published_more);
    pthread_mutex_unlock(&store->mutex);
    return changed;
}

vdb_status vdb_store_write(struct vdb_store *store, const void *payload, size_t bytes, uint64_t *seq,
                           uint64_t *changed, struct vdb_err *err)
{
    struct vdb_staged *staged = NULL;
    VDB_TRY(vdb_memtable_stage(store->memtable, payload, bytes, &staged, err));
    vdb_status status = vdb_wal_append(store->wal, payload, bytes, seq, err);
    if (status == VDB_OK) {
        status = vdb_wal_wait(store->wal, *seq, err);
    }
    if (status != VDB_OK) {
        vdb_memtable_discard(store->memtable, staged);
        return status;
    }
    uint64_t count = publish_in_order(store, staged, *seq);
    if (changed != NULL) {
        *changed = count;
    }
    return VDB_OK;
}

const struct vdb_schema *vdb_store_schema(const struct vdb_store *store)
{
    return &store->manifest.schema;
}

struct vdb_memtable *vdb_store_memtable(struct vdb_store *store)
{
    return store->memtable;
}

void vdb_store_get_stats(struct vdb_store *store, struct vdb_store_stats *out)
{
    vdb_wal_get_stats(store->wal, &out->wal);
    out->recovery = store->recovery;
    out->recovery_ns = store->recovery_ns;
    pthread_mutex_lock(&store->mutex);
    out->writes = store->writes;
    pthread_mutex_unlock(&store->mutex);
}
