/* snapshot.c: a checkpoint's files under a name, and collections made from them.
 *
 * A snapshot is a directory of hard links and a manifest of its own: it costs the space only of what compactions drop
 * later, and nothing that happens to the collection can touch it. It is built as snapshots/.new-NAME and renamed when
 * complete; deleted by renaming it to snapshots/.trash-NAME first. Names never begin with a dot, so both leftovers of
 * a crash are told apart, and removed at the next open.
 *
 * Where the file system has no hard links the files are copied.
 *
 * An index file is not data: it can be made again from the rows. One that is missing is left out of a snapshot, and one
 * that is missing, damaged or cannot be read is left out of a copy, with a warning in the log; the manifest of the
 * snapshot or copy does not name it then. A copy of a good one that turns out bad is an error like any other.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "store_internal.h"

#define NEW_PREFIX   ".new-"
#define TRASH_PREFIX ".trash-"

enum { COPY_BYTES = 1 << 20 };

/* ---- Files ---- */

/* Copies a file's bytes as they are; durable but for its name. */
static vdb_status copy_file(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    struct vdb_map map = {0};
    struct vdb_file *file = NULL;
    vdb_status status;
    VDB_CHECK(env->ops->map(env, from, &map, err));
    VDB_CHECK(env->ops->open(env, to, VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE, &file, err));
    for (uint64_t at = 0; at < map.bytes;) {
        size_t bytes = map.bytes - at < COPY_BYTES ? (size_t)(map.bytes - at) : COPY_BYTES;
        VDB_CHECK(env->ops->touch(env, &map, at, bytes, err));
        VDB_CHECK(env->ops->write_at(env, file, map.data + at, bytes, at, err));
        at += bytes;
    }
    status = env->ops->sync(env, file, err);

cleanup:
    env->ops->close(env, file);
    env->ops->unmap(env, &map);
    return status;
}

typedef vdb_status file_fn(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err);

static vdb_status link_file(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    struct vdb_err why = {0};
    vdb_status status = env->ops->link(env, from, to, &why);
    if (status != VDB_IO) {
        return status == VDB_OK ? VDB_OK : vdb_err_set(err, status, "%s", why.text);
    }
    return copy_file(env, from, to, err); /* no hard links here, or a disk that fails: then this fails, too */
}

/* Links or copies the files of one segment. */
static vdb_status place_segment(struct vdb_env *env, const char *from, const char *to,
                                const struct vdb_segment_info *info, file_fn *place, struct vdb_err *err)
{
    static const vdb_block_file_kind kinds[] = {VDB_BLOCK_FILE_VECTORS, VDB_BLOCK_FILE_META, VDB_BLOCK_FILE_DEAD};
    char name[VDB_SEGMENT_NAME_BYTES];
    char from_path[VDB_LIMIT_PATH_BYTES_MAX];
    char to_path[VDB_LIMIT_PATH_BYTES_MAX];
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        uint32_t edition = kinds[i] == VDB_BLOCK_FILE_DEAD ? info->dead_edition : 0;
        if (kinds[i] == VDB_BLOCK_FILE_DEAD && edition == 0) {
            continue;
        }
        vdb_segment_file_name(name, kinds[i], info->number, edition);
        VDB_TRY(vdb_path_join(from_path, sizeof from_path, from, name, err));
        VDB_TRY(vdb_path_join(to_path, sizeof to_path, to, name, err));
        VDB_TRY(place(env, from_path, to_path, err));
    }
    return VDB_OK;
}

/* Reads all of the index file that *info names. */
static vdb_status check_index(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                              const struct vdb_segment_info *info, struct vdb_err *err)
{
    struct vdb_block_file *file = NULL;
    vdb_status status = vdb_store_open_index(env, dir, uuid, info, &file, err);
    if (status == VDB_OK) {
        status = vdb_block_file_verify(file, err);
    }
    vdb_block_file_close(file);
    return status;
}

/* Links or copies the segment's index file, if it has one that is good; else *info names none any more. */
static vdb_status place_index(struct vdb_env *env, const char *from, const char *to,
                              const uint8_t uuid[VDB_UUID_BYTES], struct vdb_segment_info *info, file_fn *place,
                              struct vdb_err *err)
{
    char name[VDB_SEGMENT_NAME_BYTES];
    char from_path[VDB_LIMIT_PATH_BYTES_MAX];
    char to_path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_err why = {0};
    if (info->index_edition == 0) {
        return VDB_OK;
    }
    vdb_segment_file_name(name, VDB_BLOCK_FILE_INDEX, info->number, info->index_edition);
    VDB_TRY(vdb_path_join(from_path, sizeof from_path, from, name, err));
    VDB_TRY(vdb_path_join(to_path, sizeof to_path, to, name, err));
    vdb_status status = place == copy_file ? check_index(env, from, uuid, info, &why) : VDB_OK;
    bool lost = status == VDB_CORRUPT || status == VDB_VERSION || status == VDB_IO;
    if (status == VDB_OK) {
        status = place(env, from_path, to_path, &why);
        lost = status == VDB_NOT_FOUND; /* its folder is there: it was made here */
    }
    if (lost) {
        vdb_log(VDB_LOG_WARN, "store", "%s: left out, the index is to be built again: %s", from_path, why.text);
        info->index_edition = 0;
        info->index = (struct vdb_stamp){0};
        return VDB_OK;
    }
    return status == VDB_OK ? VDB_OK : vdb_err_set(err, status, "%s", why.text);
}

/* Fills directory `to` (made here) with the segments of `manifest`, from `from`; their names are durable then. Index files
 * that cannot be had are taken out of the manifest. */
static vdb_status place_segments(struct vdb_env *env, const char *from, const char *to,
                                 struct vdb_manifest *manifest, file_fn *place, struct vdb_err *err)
{
    char folder[VDB_LIMIT_PATH_BYTES_MAX];
    bool index = false;
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        index = index || manifest->segments[i].index_edition != 0;
    }
    VDB_TRY(env->ops->mkdir(env, to, err));
    VDB_TRY(vdb_store_make_dirs(env, to, index, err));
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        VDB_TRY(place_segment(env, from, to, &manifest->segments[i], place, err));
        VDB_TRY(place_index(env, from, to, manifest->uuid, &manifest->segments[i], place, err));
    }
    if (index) {
        VDB_TRY(vdb_path_join(folder, sizeof folder, to, VDB_STORE_INDEX_DIR, err));
        VDB_TRY(env->ops->sync_dir(env, folder, err));
    }
    VDB_TRY(vdb_path_join(folder, sizeof folder, to, VDB_STORE_VECTORS_DIR, err));
    VDB_TRY(env->ops->sync_dir(env, folder, err));
    VDB_TRY(vdb_path_join(folder, sizeof folder, to, VDB_STORE_META_DIR, err));
    return env->ops->sync_dir(env, folder, err);
}

/* ---- Names ---- */

/* DIR/snapshots, and PREFIX NAME in it. */
static vdb_status snapshot_paths(const char *dir, const char *prefix, const char *name,
                                 char parent[VDB_LIMIT_PATH_BYTES_MAX], char path[VDB_LIMIT_PATH_BYTES_MAX],
                                 struct vdb_err *err)
{
    char file[VDB_LIMIT_NAME_BYTES_MAX + 16];
    VDB_TRY(vdb_schema_check_name(name, err));
    snprintf(file, sizeof file, "%s%s", prefix, name);
    VDB_TRY(vdb_path_join(parent, VDB_LIMIT_PATH_BYTES_MAX, dir, VDB_STORE_SNAPSHOTS_DIR, err));
    return vdb_path_join(path, VDB_LIMIT_PATH_BYTES_MAX, parent, file, err);
}

/* An error is not an absence. */
static vdb_status look(struct vdb_env *env, const char *path, bool *there, struct vdb_err *err)
{
    vdb_file_kind kind;
    uint64_t bytes;
    struct vdb_err why = {0};
    vdb_status status = env->ops->stat(env, path, &kind, &bytes, &why);
    *there = status == VDB_OK;
    return *there || status == VDB_NOT_FOUND ? VDB_OK : vdb_err_set(err, status, "%s", why.text);
}

static void describe(const char *name, const struct vdb_manifest *manifest, struct vdb_snapshot_info *info)
{
    *info = (struct vdb_snapshot_info){.seq = manifest->checkpoint_seq, .created_us = manifest->created_us};
    snprintf(info->name, sizeof info->name, "%s", name);
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        const struct vdb_segment_info *segment = &manifest->segments[i];
        info->points += segment->rows - segment->dead_rows;
        info->bytes += segment->vectors.bytes + segment->meta.bytes + segment->dead.bytes + segment->index.bytes;
    }
}

/* ---- Create, list, delete ---- */

/* Checkpoints and fills `scratch` (snapshots/.new-...), durable but for its own name. *manifest is the caller's to fini,
 * also after an error. */
static vdb_status build_locked(struct vdb_store *store, const char *parent, const char *scratch,
                               struct vdb_manifest *manifest, struct vdb_err *err)
{
    struct vdb_env *env = store->env;
    bool there;
    VDB_TRY(vdb_store_checkpoint_locked(store, err));
    VDB_TRY(look(env, parent, &there, err));
    if (!there) {
        VDB_TRY(env->ops->mkdir(env, parent, err));
    }
    VDB_TRY(env->ops->sync_dir(env, store->dir, err)); /* always: an earlier attempt may have failed to */
    vdb_status status = vdb_env_remove_tree(env, scratch, err); /* of an attempt that failed */
    if (status != VDB_OK && status != VDB_NOT_FOUND) {
        return status;
    }
    VDB_TRY(vdb_store_manifest_copy(&store->manifest, manifest, err));
    manifest->created_us = env->ops->now_us(env);
    manifest->wal_first = 0; /* a snapshot has no log */
    VDB_TRY(place_segments(env, store->dir, scratch, manifest, link_file, err));
    return vdb_manifest_save(env, scratch, manifest, err);
}

static vdb_status rename_snapshot(struct vdb_store *store, const char *from, const char *to, struct vdb_err *err)
{
    pthread_mutex_lock(&store->naming);
    vdb_status status = store->env->ops->rename(store->env, from, to, err);
    pthread_mutex_unlock(&store->naming);
    return status;
}

static vdb_status create_locked(struct vdb_store *store, const char *name, struct vdb_snapshot_info *info,
                                struct vdb_err *err)
{
    struct vdb_env *env = store->env;
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char scratch[VDB_LIMIT_PATH_BYTES_MAX];
    bool there;
    VDB_TRY(snapshot_paths(store->dir, "", name, parent, path, err));
    VDB_TRY(snapshot_paths(store->dir, NEW_PREFIX, name, parent, scratch, err));
    VDB_TRY(look(env, path, &there, err));
    if (there) {
        /* Also one whose creation failed at the last step: what is said to be there stays. */
        VDB_TRY(env->ops->sync_dir(env, parent, err));
        return vdb_err_set(err, VDB_EXISTS, "there is one already; delete it first");
    }
    struct vdb_manifest manifest = {0};
    vdb_status status;
    VDB_CHECK(build_locked(store, parent, scratch, &manifest, err));
    VDB_CHECK(rename_snapshot(store, scratch, path, err));
    VDB_CHECK(env->ops->sync_dir(env, parent, err));
    describe(name, &manifest, info);

cleanup:
    vdb_manifest_fini(&manifest);
    return status;
}

vdb_status vdb_store_snapshot_create(struct vdb_store *store, const char *name, struct vdb_snapshot_info *info,
                                     struct vdb_err *err)
{
    pthread_mutex_lock(&store->maintain);
    vdb_status status = create_locked(store, name, info, err);
    pthread_mutex_unlock(&store->maintain);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "snapshot \"%.80s\"", name);
}

vdb_status vdb_store_backup(struct vdb_store *store, const char *to, struct vdb_err *err)
{
    struct vdb_env *env = store->env;
    char name[VDB_LIMIT_NAME_BYTES_MAX + 1];
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char scratch[VDB_LIMIT_PATH_BYTES_MAX];
    uint64_t random;
    struct vdb_manifest manifest = {0};
    struct vdb_err late = {0};
    VDB_TRY(env->ops->entropy(env, &random, sizeof random, err));
    snprintf(name, sizeof name, "backup-%016" PRIx64, random);
    VDB_TRY(snapshot_paths(store->dir, NEW_PREFIX, name, parent, scratch, err));
    pthread_mutex_lock(&store->maintain);
    vdb_status status = build_locked(store, parent, scratch, &manifest, err);
    pthread_mutex_unlock(&store->maintain);
    vdb_manifest_fini(&manifest);
    if (status == VDB_OK) {
        status = vdb_store_restore(env, scratch, to, false, err);
    }
    vdb_status removed = vdb_env_remove_tree(env, scratch, &late);
    if (removed != VDB_OK && removed != VDB_NOT_FOUND) {
        vdb_log(VDB_LOG_WARN, "store", "%s: left for the next open to remove: %s", scratch, late.text);
    }
    return status;
}

struct listing {
    struct vdb_buf names;     /* NUL-separated, whole snapshots */
    struct vdb_buf leftovers; /* likewise */
    size_t count;
};

static vdb_status note_name(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct listing *listing = ctx;
    bool leftover = strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0 ||
                    strncmp(name, TRASH_PREFIX, strlen(TRASH_PREFIX)) == 0;
    if (kind != VDB_KIND_DIR || (!leftover && vdb_schema_check_name(name, NULL) != VDB_OK)) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "\"%s\" in " VDB_STORE_SNAPSHOTS_DIR "/ is no snapshot; move it "
                           "elsewhere",
                           name);
    }
    struct vdb_buf *to = leftover ? &listing->leftovers : &listing->names;
    vdb_buf_put(to, name, strlen(name) + 1);
    listing->count += !leftover;
    return to->failed ? vdb_err_no_memory(err, "a listing") : VDB_OK;
}

/* Lists DIR/snapshots, which may be missing. The caller frees both buffers. */
static vdb_status list_names(struct vdb_env *env, const char *parent, struct listing *listing,
                             struct vdb_err *err)
{
    bool there;
    *listing = (struct listing){0};
    VDB_TRY(look(env, parent, &there, err));
    if (!there) {
        return VDB_OK;
    }
    return env->ops->list(env, parent, note_name, listing, err);
}

vdb_status vdb_store_sweep_snapshots(struct vdb_env *env, const char *dir, struct vdb_err *err)
{
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct listing listing = {0};
    vdb_status status;
    VDB_CHECK(vdb_path_join(parent, sizeof parent, dir, VDB_STORE_SNAPSHOTS_DIR, err));
    VDB_CHECK(list_names(env, parent, &listing, err));
    if (listing.names.bytes > 0 || listing.leftovers.bytes > 0) {
        /* A kill between a rename and its sync: a snapshot that is seen stays, and a power cut must not give one that
         * is being deleted its name back without its files. */
        VDB_CHECK(env->ops->sync_dir(env, parent, err));
    }
    for (size_t at = 0; at < listing.leftovers.bytes;) {
        const char *name = (const char *)listing.leftovers.data + at;
        at += strlen(name) + 1;
        VDB_CHECK(vdb_path_join(path, sizeof path, parent, name, err));
        VDB_CHECK(vdb_env_remove_tree(env, path, err));
    }

cleanup:
    vdb_buf_fini(&listing.names);
    vdb_buf_fini(&listing.leftovers);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vdb_snapshot_info *)a)->name, ((const struct vdb_snapshot_info *)b)->name);
}

vdb_status vdb_store_snapshot_list(struct vdb_store *store, struct vdb_snapshot_info **out, size_t *count,
                                   struct vdb_err *err)
{
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct listing listing = {0};
    struct vdb_snapshot_info *infos = NULL;
    vdb_status status;
    *count = 0;
    pthread_mutex_lock(&store->maintain);
    VDB_CHECK(vdb_path_join(parent, sizeof parent, store->dir, VDB_STORE_SNAPSHOTS_DIR, err));
    VDB_CHECK(list_names(store->env, parent, &listing, err));
    infos = vdb_calloc(listing.count + 1, sizeof *infos);
    if (infos == NULL) {
        status = vdb_err_no_memory(err, "a listing");
        goto cleanup;
    }
    for (size_t at = 0; at < listing.names.bytes;) {
        const char *name = (const char *)listing.names.data + at;
        struct vdb_manifest manifest;
        at += strlen(name) + 1;
        VDB_CHECK(vdb_path_join(path, sizeof path, parent, name, err));
        status = vdb_manifest_load(store->env, path, VDB_MANIFEST_COLLECTION, &manifest, err);
        if (status != VDB_OK) {
            status = vdb_err_wrap(err, status, "snapshot \"%s\"", name);
            goto cleanup;
        }
        describe(name, &manifest, &infos[(*count)++]);
        vdb_manifest_fini(&manifest);
    }
    qsort(infos, *count, sizeof *infos, by_name);
    *out = infos;
    infos = NULL;

cleanup:
    pthread_mutex_unlock(&store->maintain);
    free(infos);
    vdb_buf_fini(&listing.names);
    vdb_buf_fini(&listing.leftovers);
    return status;
}

vdb_status vdb_store_snapshot_delete(struct vdb_store *store, const char *name, struct vdb_err *err)
{
    struct vdb_env *env = store->env;
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char scratch[VDB_LIMIT_PATH_BYTES_MAX];
    bool there;
    vdb_status status;
    pthread_mutex_lock(&store->maintain);
    VDB_CHECK(snapshot_paths(store->dir, "", name, parent, path, err));
    VDB_CHECK(snapshot_paths(store->dir, TRASH_PREFIX, name, parent, scratch, err));
    VDB_CHECK(look(env, path, &there, err));
    if (!there) {
        VDB_CHECK(look(env, parent, &there, err));
        if (there) { /* also one whose deletion failed half-way: what is said to be gone stays so */
            VDB_CHECK(env->ops->sync_dir(env, parent, err));
        }
        status = vdb_err_set(err, VDB_NOT_FOUND, "there is none of that name");
        goto cleanup;
    }
    status = vdb_env_remove_tree(env, scratch, err); /* of a deletion that failed half-way */
    if (status != VDB_OK && status != VDB_NOT_FOUND) {
        goto cleanup;
    }
    VDB_CHECK(rename_snapshot(store, path, scratch, err));
    VDB_CHECK(env->ops->sync_dir(env, parent, err));
    status = vdb_env_remove_tree(env, scratch, err);

cleanup:
    pthread_mutex_unlock(&store->maintain);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "snapshot \"%.80s\"", name);
}

/* Whether there is one of that name: VDB_NOT_FOUND. */
static vdb_status find_snapshot(struct vdb_store *store, const char *name, struct vdb_err *err)
{
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    bool there = false;
    vdb_status status = snapshot_paths(store->dir, "", name, parent, path, err);
    if (status == VDB_OK) {
        status = look(store->env, path, &there, err);
    }
    if (status == VDB_OK && !there) {
        status = vdb_err_set(err, VDB_NOT_FOUND, "there is none of that name");
    }
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "snapshot \"%.80s\"", name);
}

vdb_status vdb_store_snapshot_read(struct vdb_store *store, const char *name, struct vdb_store **out,
                                   struct vdb_err *err)
{
    pthread_mutex_lock(&store->naming);
    vdb_status status = find_snapshot(store, name, err);
    if (status == VDB_OK) {
        status = vdb_store_snapshot_open(store->env, store->dir, name, out, err);
        if (status == VDB_NOT_FOUND) { /* not deleted meanwhile: naming is held */
            status = vdb_err_wrap(err, VDB_CORRUPT, "a file is missing");
        }
    }
    pthread_mutex_unlock(&store->naming);
    return status;
}

/* ---- Restore ---- */

vdb_status vdb_store_restore(struct vdb_env *env, const char *from, const char *to, bool follower,
                             struct vdb_err *err)
{
    char wal_dir[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_manifest manifest;
    vdb_status status;
    VDB_TRY(vdb_manifest_load(env, from, VDB_MANIFEST_COLLECTION, &manifest, err));
    VDB_CHECK(vdb_path_join(wal_dir, sizeof wal_dir, to, VDB_STORE_WAL_DIR, err));
    VDB_CHECK(place_segments(env, from, to, &manifest, copy_file, err));
    for (uint32_t i = 0; i < manifest.segment_count; i++) {
        struct vdb_segment *segment;
        uint64_t bytes = 0;
        VDB_CHECK(
            vdb_segment_open(env, to, manifest.uuid, &manifest.schema, &manifest.segments[i], &segment, err));
        status = vdb_segment_verify(segment, &bytes, err);
        if (status == VDB_OK && manifest.segments[i].dead_edition != 0) {
            status = vdb_segment_verify_dead(segment, &manifest.segments[i], &bytes, err);
        }
        vdb_segment_unref(segment);
        if (status == VDB_OK && manifest.segments[i].index_edition != 0) {
            status = check_index(env, to, manifest.uuid, &manifest.segments[i], err);
        }
        if (status != VDB_OK) {
            goto cleanup;
        }
    }
    manifest.wal_first = 0;
    manifest.follower = follower;
    VDB_CHECK(vdb_wal_create(env, wal_dir, manifest.uuid, manifest.checkpoint_seq + 1, err));
    VDB_CHECK(
        env->ops->sync_dir(env, to, err)); /* the log's folder has its name before the manifest asks for it */
    status = vdb_manifest_save(env, to, &manifest, err);

cleanup:
    vdb_manifest_fini(&manifest);
    return status;
}
