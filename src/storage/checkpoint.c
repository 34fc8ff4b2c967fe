/* checkpoint.c: from the memtable to a segment, and the log shortened by it.
 *
 *   1 exchange   writers out; the log begins a new segment; a fresh memtable in front; writers in again
 *   2 write      the rows visible at the exchange become a segment; ends of rows in older segments become bitmaps
 *   3 commit     the manifest names them, the checkpoint's sequence number, and the first log segment still needed
 *   4 install    views pinned from now on see the segment instead of the memtable; ends that came since go along
 *   5 tidy       older log segments and bitmaps are unlinked
 *
 * A failure in 2 leaves the frozen memtable in place, readable, and the next checkpoint goes on from there. Whatever
 * a crash leaves of 2 the next open removes (vdb_store_sweep); whatever it leaves of 5, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/convert.h"
#include "base/log.h"
#include "base/mem.h"
#include "store_internal.h"

vdb_status vdb_store_may_commit(const struct vdb_store *store, struct vdb_err *err)
{
    if (store->wal == NULL) {
        return vdb_err_set(err, VDB_READ_ONLY, "a snapshot, or a closed collection, is not written to");
    }
    if (store->commit_failed) {
        return vdb_err_set(err, VDB_READ_ONLY,
                           "the manifest could not be saved earlier: reopen to checkpoint, compact or snapshot");
    }
    return VDB_OK;
}

vdb_status vdb_store_manifest_copy(const struct vdb_manifest *from, struct vdb_manifest *to, struct vdb_err *err)
{
    *to = *from;
    to->segments = vdb_calloc((size_t)from->segment_count + 1, sizeof *to->segments);
    if (to->segments == NULL) {
        return vdb_err_no_memory(err, "a manifest");
    }
    if (from->segment_count > 0) {
        memcpy(to->segments, from->segments, from->segment_count * sizeof *to->segments);
    }
    return VDB_OK;
}

vdb_status vdb_store_commit(struct vdb_store *store, struct vdb_manifest *manifest, struct vdb_err *err)
{
    vdb_status status = vdb_manifest_save(store->env, store->dir, manifest, err);
    if (status != VDB_OK) {
        store->commit_failed = true; /* D4 */
        return status;
    }
    free(store->manifest.segments);
    store->manifest.segments = manifest->segments;
    store->manifest.segment_count = manifest->segment_count;
    store->manifest.checkpoint_seq = manifest->checkpoint_seq;
    store->manifest.next_number = manifest->next_number;
    store->manifest.wal_first = manifest->wal_first;
    store->manifest.format = VDB_FORMAT_VERSION;
    store->manifest.follower = manifest->follower;
    store->manifest.index_config = manifest->index_config;
    manifest->segments = NULL;
    manifest->segment_count = 0;
    vdb_store_publish_manifest(store);
    return VDB_OK;
}

void vdb_store_publish_manifest(struct vdb_store *store)
{
    const struct vdb_manifest *manifest = &store->manifest;
    uint64_t files = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        files += manifest->segments[i].index_edition != 0;
        bytes += manifest->segments[i].index.bytes;
    }
    atomic_store_explicit(&store->index_files, files, memory_order_relaxed);
    atomic_store_explicit(&store->index_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&store->checkpoint_seq, manifest->checkpoint_seq, memory_order_relaxed);
    atomic_store_explicit(&store->follower, manifest->follower, memory_order_relaxed);
    pthread_rwlock_wrlock(&store->lock);
    store->index_config = manifest->index_config;
    pthread_rwlock_unlock(&store->lock);
}

void vdb_store_install(struct vdb_store *store, struct vdb_version *version, void (*before)(void *ctx), void *ctx)
{
    pthread_rwlock_wrlock(&store->lock);
    if (before != NULL) {
        before(ctx);
    }
    struct vdb_version *old = store->version;
    store->version = version;
    pthread_rwlock_unlock(&store->lock);
    vdb_version_unref(old);
}

void vdb_store_unlink(struct vdb_env *env, const char *dir, vdb_block_file_kind kind, uint32_t number,
                      uint32_t edition)
{
    char name[VDB_SEGMENT_NAME_BYTES];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_err err = {0};
    vdb_segment_file_name(name, kind, number, edition);
    vdb_status status = vdb_path_join(path, sizeof path, dir, name, &err);
    if (status == VDB_OK) {
        status = env->ops->unlink(env, path, &err);
    }
    if (status != VDB_OK && status != VDB_NOT_FOUND) {
        vdb_log(VDB_LOG_WARN, "store", "%s: left for the next open to remove: %s", dir, err.text);
    }
}

/* ---- 1: the exchange ---- */

static vdb_status exchange_behind_gate(struct vdb_store *store, struct vdb_memtable *fresh, struct vdb_err *err)
{
    struct vdb_version *now = store->version; /* only maintenance and, behind the gate, nobody else changes it */
    struct vdb_memtable *memtables[] = {fresh, now->memtables[0]};
    struct vdb_version *version = vdb_version_create(memtables, 2, now->segments, now->segment_count);
    if (version == NULL) {
        return vdb_err_no_memory(err, "a version");
    }
    vdb_status status = vdb_wal_rotate(store->wal, err);
    if (status != VDB_OK) {
        vdb_version_unref(version);
        return status;
    }
    store->frozen_seq = vdb_wal_durable_seq(store->wal); /* with the marks after the last batch */
    store->frozen_wal_first = vdb_wal_segment_of(store->wal, store->frozen_seq + 1);
    store->unsaved = 0;
    vdb_store_install(store, version, NULL, NULL);
    return VDB_OK;
}

/* Freezes the memtable, unless one is frozen already or nothing was written. */
static vdb_status exchange(struct vdb_store *store, struct vdb_err *err)
{
    if (store->version->memtable_count == 2) {
        return VDB_OK;
    }
    struct vdb_memtable *fresh = vdb_memtable_create(store->manifest.schema.dimension);
    if (fresh == NULL) {
        return vdb_err_no_memory(err, "a memtable");
    }
    pthread_rwlock_wrlock(&store->gate);
    vdb_status status = store->unsaved > 0 ? exchange_behind_gate(store, fresh, err) : VDB_OK;
    pthread_rwlock_unlock(&store->gate);
    vdb_memtable_unref(fresh);
    return status;
}

/* ---- 2 to 5 ---- */

struct flush {
    struct vdb_store *store;
    struct vdb_memtable_view view; /* of the frozen memtable at frozen_seq */
    struct vdb_manifest manifest;  /* the next one */
    struct vdb_segment_writer *writer;
    struct vdb_segment *segment; /* of the rows; NULL: none were left */
    uint32_t *slots;             /* of the segment's row i in the memtable */
    void *vector;                /* one row's, as segments keep it; NULL when that is f32 */
    uint32_t rows;
    uint32_t number;
    uint32_t editions_saved; /* segments [0, this) have been looked at for new bitmaps */
    bool committed;
};

static vdb_status write_rows(struct flush *flush, struct vdb_err *err)
{
    struct vdb_store *store = flush->store;
    const struct vdb_schema *schema = &store->manifest.schema;
    const struct vdb_memtable_view *view = &flush->view;
    const bool narrow = schema->element != VDB_ELEMENT_F32;
    flush->slots = vdb_calloc((size_t)view->slot_count + 1, sizeof *flush->slots);
    flush->vector = narrow ? vdb_calloc(vdb_vector_bytes(schema->element, schema->dimension), 1) : NULL;
    if (flush->slots == NULL || (narrow && flush->vector == NULL)) {
        return vdb_err_no_memory(err, "a checkpoint's rows");
    }
    for (uint32_t slot = 0; slot < view->slot_count; slot++) {
        if (vdb_slot_visible(view, slot)) {
            flush->slots[flush->rows++] = slot;
        }
    }
    if (flush->rows == 0) {
        return VDB_OK;
    }
    if (flush->manifest.segment_count >= VDB_SEGMENTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "segments: %u, at most %d fit; compact first",
                           flush->manifest.segment_count, VDB_SEGMENTS_MAX);
    }
    VDB_TRY(vdb_segment_writer_create(store->env, store->dir, store->manifest.uuid, flush->number, schema,
                                      &flush->writer, err));
    for (uint32_t i = 0; i < flush->rows; i++) {
        const struct vdb_row *row = vdb_slot_row(view, flush->slots[i]);
        const void *vector = vdb_slot_vector(view, flush->slots[i]);
        if (flush->vector != NULL) { /* was rounded where it came in: nothing is lost */
            vdb_convert_narrow(schema->element, vector, schema->dimension, flush->vector);
            vector = flush->vector;
        }
        VDB_TRY(vdb_segment_writer_add(flush->writer, &row->id, row->seq_from, vector, row->metadata, err));
    }
    struct vdb_segment_info *info = &flush->manifest.segments[flush->manifest.segment_count];
    VDB_TRY(vdb_segment_writer_finish(flush->writer, info, err));
    flush->manifest.segment_count++;
    return vdb_segment_open(store->env, store->dir, store->manifest.uuid, &store->manifest.schema, info,
                            &flush->segment, err);
}

/* Ends of rows in the older segments, which were in the log only. */
static vdb_status write_bitmaps(struct flush *flush, struct vdb_err *err)
{
    struct vdb_store *store = flush->store;
    for (; flush->editions_saved < store->version->segment_count; flush->editions_saved++) {
        struct vdb_segment *segment = store->version->segments[flush->editions_saved];
        struct vdb_segment_info *info = &flush->manifest.segments[flush->editions_saved];
        if (vdb_segment_dead(segment) != info->dead_rows) {
            VDB_TRY(vdb_segment_save_dead(segment, store->frozen_seq, info->dead_edition + 1, info, err));
        }
    }
    return VDB_OK;
}

/* Under the lock: what ended in the memtable since the exchange ends in the segment. */
static void carry_ends(void *ctx)
{
    struct flush *flush = ctx;
    for (uint32_t i = 0; i < flush->rows; i++) {
        const struct vdb_row *row = vdb_slot_row(&flush->view, flush->slots[i]);
        uint64_t end = atomic_load_explicit(&row->seq_to, memory_order_relaxed);
        if (end != VDB_SEQ_LIVE) {
            (void)vdb_segment_end(flush->segment, i, end);
        }
    }
}

static vdb_status commit_and_install(struct flush *flush, struct vdb_err *err)
{
    struct vdb_store *store = flush->store;
    struct vdb_version *now = store->version;
    struct vdb_segment **segments = vdb_calloc((size_t)now->segment_count + 1, sizeof *segments);
    if (segments == NULL) {
        return vdb_err_no_memory(err, "a version");
    }
    uint32_t count = 0;
    for (; count < now->segment_count; count++) {
        segments[count] = now->segments[count];
    }
    if (flush->segment != NULL) {
        segments[count++] = flush->segment;
    }
    struct vdb_version *version = vdb_version_create(now->memtables, 1, segments, count);
    free(segments);
    if (version == NULL) {
        return vdb_err_no_memory(err, "a version");
    }
    flush->manifest.checkpoint_seq = store->frozen_seq;
    flush->manifest.wal_first = store->frozen_wal_first;
    flush->manifest.next_number = flush->number + 1;
    vdb_status status = vdb_store_commit(store, &flush->manifest, err);
    flush->committed = status == VDB_OK;
    if (status != VDB_OK) {
        vdb_version_unref(version);
        return status;
    }
    vdb_store_install(store, version, carry_ends, flush);
    atomic_fetch_add_explicit(&store->checkpoints, 1, memory_order_relaxed);
    return VDB_OK;
}

/* Removes what a flush that was not committed has written. After a failed save nothing may go (D4). */
static void undo(struct flush *flush)
{
    struct vdb_store *store = flush->store;
    if (flush->committed || store->commit_failed) {
        return;
    }
    if (flush->manifest.segment_count > store->manifest.segment_count) {
        vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_VECTORS, flush->number, 0);
        vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_META, flush->number, 0);
    }
    for (uint32_t i = 0; i < flush->editions_saved; i++) {
        const struct vdb_segment_info *before = &store->manifest.segments[i];
        const struct vdb_segment_info *after = &flush->manifest.segments[i];
        if (after->dead_edition != before->dead_edition) {
            vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_DEAD, after->number, after->dead_edition);
        }
    }
}

static vdb_status flush_frozen(struct vdb_store *store, struct vdb_err *err)
{
    struct flush flush = {.store = store, .number = store->manifest.next_number};
    uint32_t old_count = store->manifest.segment_count;
    struct vdb_segment_info *old = NULL; /* whose bitmaps may have newer editions after the commit */
    vdb_status status;
    vdb_memtable_pin(store->version->memtables[1], &flush.view);
    flush.view.seq = store->frozen_seq;
    VDB_CHECK(vdb_store_make_dirs(store->env, store->dir, false, err));
    VDB_CHECK(vdb_store_manifest_copy(&store->manifest, &flush.manifest, err));
    old = vdb_calloc((size_t)old_count + 1, sizeof *old);
    if (old == NULL) {
        status = vdb_err_no_memory(err, "a checkpoint");
        goto cleanup;
    }
    for (uint32_t i = 0; i < old_count; i++) {
        old[i] = store->manifest.segments[i];
    }
    VDB_CHECK(write_rows(&flush, err));
    VDB_CHECK(write_bitmaps(&flush, err));
    VDB_CHECK(commit_and_install(&flush, err));
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i].dead_edition != 0 && old[i].dead_edition != store->manifest.segments[i].dead_edition) {
            vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_DEAD, old[i].number, old[i].dead_edition);
        }
    }
    struct vdb_err prune = {0};
    if (vdb_wal_prune(store->wal, (uint32_t)store->manifest.wal_first, &prune) != VDB_OK) {
        vdb_log(VDB_LOG_WARN, "store", "%s: old log segments are left for the next open to remove: %s",
                store->dir, prune.text);
    }

cleanup:
    if (status != VDB_OK) {
        undo(&flush);
        (void)vdb_err_wrap(err, status, "checkpoint");
    }
    vdb_segment_writer_destroy(flush.writer);
    vdb_segment_unref(flush.segment);
    vdb_manifest_fini(&flush.manifest);
    free(flush.slots);
    free(flush.vector);
    free(old);
    return status;
}

vdb_status vdb_store_checkpoint_locked(struct vdb_store *store, struct vdb_err *err)
{
    VDB_TRY(vdb_store_may_commit(store, err));
    VDB_TRY(exchange(store, err));
    return store->version->memtable_count == 2 ? flush_frozen(store, err) : VDB_OK;
}

vdb_status vdb_store_checkpoint(struct vdb_store *store, struct vdb_err *err)
{
    pthread_mutex_lock(&store->maintain);
    vdb_status status = vdb_store_checkpoint_locked(store, err);
    pthread_mutex_unlock(&store->maintain);
    return status;
}

vdb_status vdb_store_promote(struct vdb_store *store, struct vdb_err *err)
{
    struct vdb_manifest next = {0};
    vdb_status status = VDB_OK;
    pthread_mutex_lock(&store->maintain);
    if (vdb_store_is_follower(store)) {
        VDB_CHECK(vdb_store_may_commit(store, err));
        VDB_CHECK(vdb_store_manifest_copy(&store->manifest, &next, err));
        next.follower = false;
        VDB_CHECK(vdb_store_commit(store, &next, err));
    }

cleanup:
    vdb_manifest_fini(&next);
    pthread_mutex_unlock(&store->maintain);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "promote");
}

/* ---- What a crash cut short ---- */

struct sweep {
    const struct vdb_manifest *manifest;
    const char *folder;
    struct vdb_buf doomed; /* NUL-separated: a directory must not change under its listing */
};

static bool is_named(const struct vdb_manifest *manifest, vdb_block_file_kind kind, uint32_t number,
                     uint32_t edition)
{
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        const struct vdb_segment_info *info = &manifest->segments[i];
        if (info->number == number) {
            return !vdb_segment_has_editions(kind) ||
                   edition == (kind == VDB_BLOCK_FILE_DEAD ? info->dead_edition : info->index_edition);
        }
    }
    return false;
}

/* Whether a file of that kind belongs in the folder. */
static bool belongs(vdb_block_file_kind kind, uint32_t number, uint32_t edition, const char *folder)
{
    char name[VDB_SEGMENT_NAME_BYTES];
    vdb_segment_file_name(name, kind, number, edition);
    return strncmp(name, folder, strlen(folder)) == 0 && name[strlen(folder)] == '/';
}

static vdb_status note_file(void *ctx, const char *name, vdb_file_kind file_kind, struct vdb_err *err)
{
    struct sweep *sweep = ctx;
    vdb_block_file_kind kind;
    uint32_t number;
    uint32_t edition;
    if (file_kind != VDB_KIND_FILE || !vdb_segment_parse_name(name, &kind, &number, &edition) ||
        !belongs(kind, number, edition, sweep->folder)) {
        return vdb_err_set(err, VDB_CORRUPT, "\"%s\" is no file of a segment; nothing else belongs in %s/", name,
                           sweep->folder);
    }
    if (!is_named(sweep->manifest, kind, number, edition)) {
        vdb_buf_put(&sweep->doomed, name, strlen(name) + 1);
    }
    return sweep->doomed.failed ? vdb_err_no_memory(err, "a listing") : VDB_OK;
}

vdb_status vdb_store_sweep(struct vdb_env *env, const char *dir, const struct vdb_manifest *manifest,
                           struct vdb_err *err)
{
    static const char *const folders[] = {VDB_STORE_VECTORS_DIR, VDB_STORE_META_DIR, VDB_STORE_INDEX_DIR};
    struct sweep sweep = {.manifest = manifest};
    char folder[VDB_LIMIT_PATH_BYTES_MAX];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    vdb_status status = VDB_OK;
    for (size_t f = 0; f < sizeof folders / sizeof folders[0]; f++) {
        const bool index = strcmp(folders[f], VDB_STORE_INDEX_DIR) == 0;
        sweep.folder = folders[f];
        vdb_buf_clear(&sweep.doomed);
        VDB_CHECK(vdb_path_join(folder, sizeof folder, dir, folders[f], err));
        status = env->ops->list(env, folder, note_file, &sweep, err);
        if (status == VDB_NOT_FOUND && (manifest->segment_count == 0 || index)) {
            status = VDB_OK; /* format 1 had no segments; without index files all works */
            continue;
        }
        VDB_CHECK(status);
        for (size_t at = 0; at < sweep.doomed.bytes;) {
            const char *name = (const char *)sweep.doomed.data + at;
            at += strlen(name) + 1;
            vdb_log(VDB_LOG_INFO, "store", "%s/%s: removed: the manifest does not name it", folder, name);
            VDB_CHECK(vdb_path_join(path, sizeof path, folder, name, err));
            VDB_CHECK(env->ops->unlink(env, path, err));
        }
    }

cleanup:
    vdb_buf_fini(&sweep.doomed);
    return status;
}
