/* attach.c: what lies beside a segment: an index file that the manifest names, a companion in memory, and the configuration
 * that both were made by. To storage the file is bytes and the companion a counted pointer.
 *
 *   1 reserve    maintain is held: the segment is of the collection; the next edition is this call's
 *   2 write      no lock: the file is written and synced, and its name
 *   3 commit     maintain is held: the segment is still there and no later call was made for it; the manifest names the file
 *   4 install    views pinned from now on see the companion
 *   5 tidy       the edition before is unlinked
 *
 * A file that is being written has an edition that no manifest names and no other call uses, so nobody meets it; what a
 * crash leaves of 2 or 5 the next open removes (vdb_store_sweep), and should it stay, the writer unlinks what it finds.
 * A failure in 2 or 3 unlinks the file, unless the save failed: then the manifest on the disk may be the one that names
 * it (D4).
 */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "store_internal.h"

enum { SECTION_CONTENT = 1 }; /* the file's one section */

/* ---- The configuration ---- */

vdb_status vdb_store_set_index_config(struct vdb_store *store, const struct vdb_index_config *config,
                                      struct vdb_err *err)
{
    struct vdb_manifest next = {0};
    vdb_status status;
    VDB_TRY(vdb_schema_check_index(config, err));
    pthread_mutex_lock(&store->maintain);
    VDB_CHECK(vdb_store_may_commit(store, err));
    VDB_CHECK(vdb_store_manifest_copy(&store->manifest, &next, err));
    next.index_config = *config;
    status = vdb_store_commit(store, &next, err);

cleanup:
    vdb_manifest_fini(&next);
    pthread_mutex_unlock(&store->maintain);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "index configuration");
}

/* ---- With maintain held ---- */

/* Where the segment stands in the version and the manifest. */
static vdb_status find_locked(const struct vdb_store *store, const struct vdb_segment *segment, uint32_t *place,
                              struct vdb_err *err)
{
    const struct vdb_version *version = store->version;
    for (*place = 0; *place < version->segment_count; ++*place) {
        if (version->segments[*place] == segment) {
            return VDB_OK;
        }
    }
    return vdb_err_set(err, VDB_NOT_FOUND, "segment %06" PRIu32 " is no longer of the collection",
                       vdb_segment_info(segment)->number);
}

/* Puts the companion beside the segment and a version with it in place, after committing `next` (NULL: nothing changes on
 * the disk). What was there before goes to *before, for the caller to unref once it has let go of maintain. */
static vdb_status put_locked(struct vdb_store *store, struct vdb_segment *segment, struct vdb_manifest *next,
                             struct vdb_companion *companion, struct vdb_companion **before, struct vdb_err *err)
{
    const struct vdb_version *now = store->version;
    vdb_status status = VDB_OK;
    vdb_companion_ref(companion);
    *before = vdb_segment_swap_companion(segment, companion);
    struct vdb_version *version = vdb_version_create(now->memtables, now->memtable_count, now->segments,
                                                     now->segment_count);
    if (version == NULL) {
        status = vdb_err_no_memory(err, "a version");
    } else if (next != NULL) {
        status = vdb_store_commit(store, next, err);
    }
    if (status != VDB_OK) {
        vdb_version_unref(version);
        vdb_companion_unref(vdb_segment_swap_companion(segment, *before));
        *before = NULL;
        return status;
    }
    vdb_store_install(store, version, NULL, NULL);
    return VDB_OK;
}

static vdb_status reserve_locked(struct vdb_store *store, struct vdb_segment *segment, uint32_t *edition,
                                 struct vdb_err *err)
{
    uint32_t place;
    VDB_TRY(vdb_store_may_commit(store, err));
    VDB_TRY(find_locked(store, segment, &place, err));
    *edition = vdb_segment_reserve_index(segment);
    return *edition != 0
               ? VDB_OK
               : vdb_err_set(err, VDB_LIMIT, "index files: the segment had %" PRIu32 ", no more fit", UINT32_MAX);
}

/* The manifest with another index file for the segment (edition 0: none), committed, with the companion. *old is what it
 * named before. */
static vdb_status name_locked(struct vdb_store *store, struct vdb_segment *segment, uint32_t edition,
                              struct vdb_stamp stamp, struct vdb_companion *companion, uint32_t *old,
                              struct vdb_companion **before, struct vdb_err *err)
{
    struct vdb_manifest next = {0};
    uint32_t place;
    vdb_status status;
    VDB_CHECK(vdb_store_may_commit(store, err));
    VDB_CHECK(find_locked(store, segment, &place, err));
    VDB_CHECK(vdb_store_manifest_copy(&store->manifest, &next, err));
    *old = next.segments[place].index_edition;
    next.segments[place].index_edition = edition;
    next.segments[place].index = stamp;
    status = put_locked(store, segment, &next, companion, before, err);

cleanup:
    vdb_manifest_fini(&next);
    return status;
}

static void unlink_index(struct vdb_store *store, const struct vdb_segment *segment, uint32_t edition)
{
    if (edition != 0) {
        vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_INDEX, vdb_segment_info(segment)->number,
                         edition);
    }
}

/* ---- Attach and detach ---- */

static vdb_status put_bytes(void *put_ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    return vdb_block_writer_append(put_ctx, data, bytes, err);
}

/* Writes and syncs the file, and its name. */
static vdb_status write_file(struct vdb_store *store, const struct vdb_segment *segment, uint32_t edition,
                             vdb_attach_fill_fn *fill, void *ctx, struct vdb_stamp *stamp, struct vdb_err *err)
{
    struct vdb_env *env = store->env;
    struct vdb_block_writer *writer = NULL;
    struct vdb_block_file_name name = {.kind = VDB_BLOCK_FILE_INDEX, .number = vdb_segment_info(segment)->number};
    char file[VDB_SEGMENT_NAME_BYTES];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char folder[VDB_LIMIT_PATH_BYTES_MAX];
    vdb_status status;
    memcpy(name.uuid, store->manifest.uuid, VDB_UUID_BYTES);
    vdb_segment_file_name(file, name.kind, name.number, edition);
    VDB_CHECK(vdb_path_join(path, sizeof path, store->dir, file, err));
    VDB_CHECK(vdb_path_join(folder, sizeof folder, store->dir, VDB_STORE_INDEX_DIR, err));
    VDB_CHECK(vdb_block_writer_create(env, path, &name, &writer, err));
    VDB_CHECK(vdb_block_writer_section(writer, SECTION_CONTENT, err));
    VDB_CHECK(fill(ctx, put_bytes, writer, err));
    VDB_CHECK(vdb_block_writer_finish(writer, stamp, err));
    status = env->ops->sync_dir(env, folder, err);

cleanup:
    vdb_block_writer_destroy(writer);
    return status;
}

static vdb_status superseded(const struct vdb_segment *segment, uint32_t edition, struct vdb_err *err)
{
    uint32_t last = vdb_segment_reserved_index(segment);
    return last == edition
               ? VDB_OK
               : vdb_err_set(err, VDB_BUSY, "edition %" PRIu32 " was overtaken by a later change, %" PRIu32,
                             edition, last);
}

vdb_status vdb_store_attach(struct vdb_store *store, struct vdb_segment *segment, vdb_attach_fill_fn *fill,
                            void *ctx, struct vdb_companion *companion, struct vdb_err *err)
{
    struct vdb_companion *before = NULL;
    struct vdb_stamp stamp = {0};
    uint32_t edition = 0;
    uint32_t old = 0;
    pthread_mutex_lock(&store->maintain);
    vdb_status status = reserve_locked(store, segment, &edition, err);
    if (status == VDB_OK) {
        status = vdb_store_make_dirs(store->env, store->dir, true, err);
    }
    pthread_mutex_unlock(&store->maintain);
    if (status != VDB_OK) {
        goto cleanup;
    }
    status = write_file(store, segment, edition, fill, ctx, &stamp, err);
    pthread_mutex_lock(&store->maintain);
    if (status == VDB_OK) {
        status = superseded(segment, edition, err);
    }
    if (status == VDB_OK) {
        status = name_locked(store, segment, edition, stamp, companion, &old, &before, err);
    }
    if (status == VDB_OK) {
        unlink_index(store, segment, old);
    } else if (!store->commit_failed) {
        unlink_index(store, segment, edition);
    }
    pthread_mutex_unlock(&store->maintain);

cleanup:
    vdb_companion_unref(before);
    return status == VDB_OK
               ? VDB_OK
               : vdb_err_wrap(err, status, "index file of segment %06" PRIu32, vdb_segment_info(segment)->number);
}

vdb_status vdb_store_detach(struct vdb_store *store, struct vdb_segment *segment, struct vdb_err *err)
{
    struct vdb_companion *before = NULL;
    uint32_t edition;
    uint32_t old = 0;
    pthread_mutex_lock(&store->maintain);
    vdb_status status = reserve_locked(store, segment, &edition, err); /* overtakes what is being written */
    if (status == VDB_OK) {
        status = name_locked(store, segment, 0, (struct vdb_stamp){0}, NULL, &old, &before, err);
    }
    if (status == VDB_OK) {
        unlink_index(store, segment, old);
    }
    pthread_mutex_unlock(&store->maintain);
    vdb_companion_unref(before);
    return status == VDB_OK
               ? VDB_OK
               : vdb_err_wrap(err, status, "index file of segment %06" PRIu32, vdb_segment_info(segment)->number);
}

vdb_status vdb_store_set_companion(struct vdb_store *store, struct vdb_segment *segment,
                                   struct vdb_companion *companion, struct vdb_err *err)
{
    struct vdb_companion *before = NULL;
    uint32_t place;
    pthread_mutex_lock(&store->maintain);
    vdb_status status = find_locked(store, segment, &place, err);
    if (status == VDB_OK) {
        status = put_locked(store, segment, NULL, companion, &before, err);
    }
    pthread_mutex_unlock(&store->maintain);
    vdb_companion_unref(before);
    return status;
}

/* ---- Reading ---- */

/* Under maintain only the opening: a later attach may unlink the file then, the map keeps it. */
static vdb_status open_locked(struct vdb_store *store, const struct vdb_segment *segment,
                              struct vdb_block_file **file, struct vdb_err *err)
{
    uint32_t place;
    VDB_TRY(find_locked(store, segment, &place, err));
    const struct vdb_segment_info *info = &store->manifest.segments[place];
    return info->index_edition != 0
               ? vdb_store_open_index(store->env, store->dir, store->manifest.uuid, info, file, err)
               : vdb_err_set(err, VDB_NOT_FOUND, "segment %06" PRIu32 " has no index file", info->number);
}

vdb_status vdb_store_open_index(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                                const struct vdb_segment_info *info, struct vdb_block_file **file,
                                struct vdb_err *err)
{
    struct vdb_block_file_name name = {.kind = VDB_BLOCK_FILE_INDEX, .number = info->number};
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char text[VDB_SEGMENT_NAME_BYTES];
    memcpy(name.uuid, uuid, VDB_UUID_BYTES);
    vdb_segment_file_name(text, name.kind, name.number, info->index_edition);
    VDB_TRY(vdb_path_join(path, sizeof path, dir, text, err));
    return vdb_block_file_open(env, path, &name, &info->index, file, err);
}

vdb_status vdb_store_attached_open(struct vdb_store *store, struct vdb_segment *segment,
                                   struct vdb_block_file **file, const uint8_t **data, uint64_t *bytes,
                                   struct vdb_err *err)
{
    *file = NULL;
    pthread_mutex_lock(&store->maintain);
    vdb_status status = open_locked(store, segment, file, err);
    pthread_mutex_unlock(&store->maintain);
    if (status == VDB_OK) {
        status = vdb_block_file_section(*file, SECTION_CONTENT, data, bytes, err);
    }
    if (status == VDB_OK) {
        status = vdb_block_file_verify(*file, err);
    }
    if (status != VDB_OK) {
        vdb_block_file_close(*file);
        *file = NULL;
    }
    return status;
}
