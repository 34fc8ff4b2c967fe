/* store_write.c: a batch's way: staged, logged, published in order.
 *
 * The log makes many batches durable with one sync and wakes their writers in no order, but a view at sequence number S
 * must see every batch up to S (M3). So each batch is put on a list at the moment it gets its number, and whoever is
 * awake first publishes all that are durable, in the list's order, also for the others: they find their batch done.
 * Nobody waits for a thread that has not been scheduled yet. A failed log fails every batch from the first lost one on;
 * their writers take them off the list.
 *
 * Publication ends older versions wherever they lie: in the memtable itself, in the one before it, in a segment. The
 * probe of a segment reads its file, which may be found damaged; so the ids of a batch are probed once before it is
 * logged, where an error can still be returned. Damage that shows only in between stops all writes.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "batch.h"
#include "store_internal.h"

/* A staged batch on its way. On its writer's stack; of the order lock while it is on the list, `changed` and `done`
 * written under the publishing lock. */
struct vdb_publication {
    struct vdb_publication *next;
    struct vdb_staged *staged;
    uint64_t seq;
    uint64_t changed;
    bool done;
};

/* vdb_memtable_older_fn, under the lock's write side. */
static bool end_older(void *ctx, const struct vdb_id *id, uint64_t seq)
{
    struct vdb_store *store = ctx;
    const struct vdb_version *version = store->version;
    for (uint32_t i = 1; i < version->memtable_count; i++) {
        if (vdb_memtable_end(version->memtables[i], id, seq)) {
            return true;
        }
    }
    for (uint32_t i = version->segment_count; i-- > 0;) { /* newest first: most likely there */
        struct vdb_err err = {0};
        uint32_t row;
        if (vdb_segment_find(version->segments[i], id, &row, &err) != VDB_OK) {
            if (!atomic_load_explicit(&store->damaged, memory_order_relaxed)) {
                store->damage = err;
                atomic_store_explicit(&store->damaged, true, memory_order_release);
                vdb_log(VDB_LOG_ERROR, "store", "%s: writes stopped: %s", store->dir, err.text);
            }
        } else if (row != VDB_SLOT_NONE && vdb_segment_end(version->segments[i], row, seq)) {
            return true;
        }
    }
    return false;
}

uint64_t vdb_store_publish(struct vdb_store *store, struct vdb_memtable *memtable, struct vdb_staged *staged,
                           uint64_t seq)
{
    pthread_rwlock_wrlock(&store->lock);
    uint64_t changed = vdb_memtable_publish(memtable, staged, seq, end_older, store);
    store->seq = seq;
    store->unsaved++;
    pthread_rwlock_unlock(&store->lock);
    return changed;
}

vdb_status vdb_store_check_damage(struct vdb_store *store, struct vdb_err *err)
{
    if (!atomic_load_explicit(&store->damaged, memory_order_acquire)) {
        return VDB_OK;
    }
    return vdb_err_set(err, VDB_CORRUPT, "%s", store->damage.text);
}

/* Probes the segments for all ids of a batch, so that their blocks are known good before anything is logged. */
static vdb_status probe_segments(struct vdb_store *store, const void *payload, size_t bytes, struct vdb_err *err)
{
    pthread_rwlock_rdlock(&store->lock);
    struct vdb_version *version = store->version;
    vdb_version_ref(version);
    pthread_rwlock_unlock(&store->lock);
    struct vdb_batch batch;
    struct vdb_op op;
    bool more;
    vdb_status status = version->segment_count == 0
                            ? VDB_OK
                            : vdb_batch_open(&batch, payload, bytes, store->manifest.schema.dimension, err);
    while (status == VDB_OK && version->segment_count > 0) {
        status = vdb_batch_next(&batch, &op, &more, err);
        if (status != VDB_OK || !more) {
            break;
        }
        for (uint32_t i = 0; i < version->segment_count && status == VDB_OK; i++) {
            uint32_t row;
            status = vdb_segment_find(version->segments[i], &op.id, &row, err);
        }
    }
    vdb_version_unref(version);
    return status;
}

/* The memtable that takes writes; it stays that for who is within the gate. */
static struct vdb_memtable *active_memtable(struct vdb_store *store)
{
    pthread_rwlock_rdlock(&store->lock);
    struct vdb_memtable *memtable = store->version->memtables[0];
    pthread_rwlock_unlock(&store->lock);
    return memtable;
}

/* Logs a record and puts its batch, if it is one, at the end of the list: in one step, so that the list has the log's
 * order. With record->seq 0 it gets the next number, which goes to publication->seq. */
static vdb_status log_and_list(struct vdb_store *store, const struct vdb_wal_record *record,
                               struct vdb_publication *publication, struct vdb_err *err)
{
    vdb_status status;
    pthread_mutex_lock(&store->order);
    if (record->seq == 0) {
        status = vdb_wal_append(store->wal, record->payload, record->payload_bytes, &publication->seq, err);
    } else {
        status = vdb_wal_append_record(store->wal, record, err);
        publication->seq = record->seq;
    }
    if (status == VDB_OK && publication->staged != NULL) {
        *store->list_end = publication;
        store->list_end = &publication->next;
    }
    pthread_mutex_unlock(&store->order);
    return status;
}

/* The first of the list, taken off, if it is durable. */
static struct vdb_publication *take_durable(struct vdb_store *store, uint64_t durable_seq)
{
    pthread_mutex_lock(&store->order);
    struct vdb_publication *first = store->list;
    if (first != NULL && first->seq <= durable_seq) {
        store->list = first->next;
        if (store->list == NULL) {
            store->list_end = &store->list;
        }
    } else {
        first = NULL;
    }
    pthread_mutex_unlock(&store->order);
    return first;
}

/* Takes a batch that will never be durable off the list. */
static void unlist(struct vdb_store *store, struct vdb_publication *publication)
{
    pthread_mutex_lock(&store->order);
    struct vdb_publication **at = &store->list;
    while (*at != NULL && *at != publication) {
        at = &(*at)->next;
    }
    if (*at == publication) {
        *at = publication->next;
        if (store->list_end == &publication->next) {
            store->list_end = at;
        }
    }
    pthread_mutex_unlock(&store->order);
}

/* Waits until the record `seq` is durable; then it, and all before it, are published. */
static vdb_status wait_and_publish(struct vdb_store *store, struct vdb_memtable *memtable, uint64_t seq,
                                   struct vdb_err *err)
{
    VDB_TRY(vdb_wal_wait(store->wal, seq, err));
    pthread_mutex_lock(&store->publishing);
    struct vdb_publication *publication;
    while ((publication = take_durable(store, seq)) != NULL) {
        publication->changed = vdb_store_publish(store, memtable, publication->staged, publication->seq);
        publication->done = true; /* from here on it is its writer's again, once that has had the lock */
        atomic_fetch_add_explicit(&store->writes, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&store->publishing);
    return VDB_OK;
}

static vdb_status write_through_gate(struct vdb_store *store, const void *payload, size_t bytes, uint64_t *seq,
                                     uint64_t *changed, struct vdb_err *err)
{
    struct vdb_memtable *memtable = active_memtable(store);
    const struct vdb_wal_record record = {.payload = payload, .payload_bytes = (uint32_t)bytes};
    struct vdb_publication publication = {0};
    VDB_TRY(vdb_memtable_stage(memtable, payload, bytes, &publication.staged, err));
    vdb_status status = probe_segments(store, payload, bytes, err);
    if (status == VDB_OK) {
        status = log_and_list(store, &record, &publication, err);
    }
    if (status != VDB_OK) {
        vdb_memtable_discard(memtable, publication.staged);
        return status;
    }
    if (vdb_memtable_wants_memory(memtable)) {
        atomic_store_explicit(&store->wants_memory, true, memory_order_relaxed);
    }
    status = wait_and_publish(store, memtable, publication.seq, err);
    if (status != VDB_OK) {
        unlist(store, &publication);
        vdb_memtable_discard(memtable, publication.staged);
        return status;
    }
    *seq = publication.seq;
    if (changed != NULL) {
        *changed = publication.changed;
    }
    return vdb_store_check_damage(store, err);
}

bool vdb_store_wants_memory(const struct vdb_store *store)
{
    return atomic_load_explicit(&store->wants_memory, memory_order_relaxed);
}

void vdb_store_make_memory(struct vdb_store *store)
{
    atomic_store_explicit(&store->wants_memory, false, memory_order_relaxed);
    pthread_rwlock_rdlock(&store->lock);
    struct vdb_memtable *memtable = store->version->memtables[0];
    vdb_memtable_ref(memtable);
    pthread_rwlock_unlock(&store->lock);
    vdb_memtable_make_memory(memtable);
    vdb_memtable_unref(memtable);
}

vdb_status vdb_store_write(struct vdb_store *store, const void *payload, size_t bytes, uint64_t *seq,
                           uint64_t *changed, struct vdb_err *err)
{
    if (store->wal == NULL) {
        return vdb_err_set(err, VDB_READ_ONLY, "a snapshot takes no writes");
    }
    if (vdb_store_is_follower(store)) {
        return vdb_err_set(err, VDB_READ_ONLY, "a follower takes no writes; promote it first");
    }
    VDB_TRY(vdb_store_check_damage(store, err));
    pthread_rwlock_rdlock(&store->gate);
    vdb_status status = write_through_gate(store, payload, bytes, seq, changed, err);
    pthread_rwlock_unlock(&store->gate);
    return status;
}

static vdb_status apply_through_gate(struct vdb_store *store, const struct vdb_wal_record *records, size_t count,
                                     struct vdb_publication *publications, struct vdb_err *err)
{
    struct vdb_memtable *memtable = active_memtable(store);
    vdb_status status = VDB_OK;
    size_t logged = 0;
    for (; logged < count; logged++) {
        const struct vdb_wal_record *record = &records[logged];
        if (record->type == VDB_WAL_BATCH) {
            VDB_CHECK(vdb_memtable_stage(memtable, record->payload, record->payload_bytes,
                                         &publications[logged].staged, err));
            VDB_CHECK(probe_segments(store, record->payload, record->payload_bytes, err));
        }
        VDB_CHECK(log_and_list(store, record, &publications[logged], err));
    }

cleanup:
    if (logged > 0) { /* what was logged before an error is as good as ever */
        struct vdb_err lost = {0};
        vdb_status waited = wait_and_publish(store, memtable, records[logged - 1].seq, &lost);
        if (waited != VDB_OK) {
            status = vdb_err_set(err, waited, "%s", lost.text);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (publications[i].staged != NULL && !publications[i].done) {
            unlist(store, &publications[i]);
            vdb_memtable_discard(memtable, publications[i].staged);
        }
    }
    return status;
}

vdb_status vdb_store_apply(struct vdb_store *store, const struct vdb_wal_record *records, size_t count,
                           struct vdb_err *err)
{
    if (store->wal == NULL) {
        return vdb_err_set(err, VDB_READ_ONLY, "a snapshot takes no writes");
    }
    if (!vdb_store_is_follower(store)) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "the collection follows no other");
    }
    VDB_TRY(vdb_store_check_damage(store, err));
    struct vdb_publication *publications = vdb_calloc(count, sizeof *publications);
    if (publications == NULL) {
        return vdb_err_no_memory(err, "records to apply");
    }
    pthread_rwlock_rdlock(&store->gate);
    vdb_status status = apply_through_gate(store, records, count, publications, err);
    pthread_rwlock_unlock(&store->gate);
    free(publications);
    return status == VDB_OK ? vdb_store_check_damage(store, err) : status;
}
