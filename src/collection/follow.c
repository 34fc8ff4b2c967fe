/* follow.c: copy what the log no longer has, then apply the log.
 *
 * The copy is a restore (storage/snapshot.c) straight from the living collection's directory: its manifest names
 * immutable files, of which one may be unlinked by a compaction while they are being copied; then the manifest has
 * changed, too, and the copy begins anew. Its sequence number is the manifest's checkpoint, from where the log goes on.
 *
 * A follower's own checkpoints and compactions are its own business: only rows, sequence numbers and times are equal.
 */
#include "follow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "collection_internal.h"
#include "database.h"
#include "database_internal.h"
#include "storage/log_reader.h"

enum {
    STEP_BYTES_MAX = 4 << 20, /* of payloads applied with one sync */
    STEP_RECORDS_MAX = 1024,
    COPY_TRIES = 8, /* a compaction may overtake a copy; not eight times in a row */
};

struct vdb_follower {
    struct vdb_env *env;
    char name[VDB_LIMIT_NAME_BYTES_MAX + 1];
    char from_dir[VDB_LIMIT_PATH_BYTES_MAX]; /* the collection's */
    char from_wal[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_database *database; /* of the follower's side */
    struct vdb_collection *collection;
    struct vdb_log_reader *reader;
    struct vdb_wal_record records[STEP_RECORDS_MAX];
    struct vdb_follower_stats stats;
};

void vdb_follower_close(struct vdb_follower *follower)
{
    if (follower != NULL) {
        vdb_log_reader_close(follower->reader);
        vdb_collection_unref(follower->collection);
        vdb_database_close(follower->database);
        free(follower);
    }
}

/* The next record to ask for: one more than the follower has. */
static uint64_t next_seq(const struct vdb_follower *follower)
{
    return vdb_store_durable_seq(vdb_collection_store(follower->collection)) + 1;
}

static vdb_status open_reader(struct vdb_follower *follower, struct vdb_err *err)
{
    const struct vdb_log_from from = {
        .seq = next_seq(follower),
        .uuid = vdb_store_uuid(vdb_collection_store(follower->collection)),
    };
    vdb_log_reader_close(follower->reader);
    follower->reader = NULL;
    return vdb_log_reader_open(follower->env, follower->from_wal, &from, &follower->reader, err);
}

/* Puts a copy of the other side's segments in place of what the follower has. */
static vdb_status copy_collection(struct vdb_follower *follower, struct vdb_err *err)
{
    vdb_log_reader_close(follower->reader);
    follower->reader = NULL;
    if (follower->collection != NULL) {
        VDB_TRY(vdb_database_drop(follower->database, follower->name, err));
        vdb_collection_unref(follower->collection);
        follower->collection = NULL;
    }
    vdb_status status = VDB_OK;
    for (int i = 0; i < COPY_TRIES; i++) {
        status = vdb_database_import(follower->database, follower->from_dir, follower->name, err);
        if (status != VDB_NOT_FOUND && status != VDB_CORRUPT) {
            break; /* done, or not for a file that a compaction took away */
        }
    }
    VDB_TRY(status);
    follower->stats.copies++;
    return vdb_database_get(follower->database, follower->name, &follower->collection, err);
}

/* A collection that is there already must have the same past. */
static vdb_status check_same(struct vdb_follower *follower, struct vdb_err *err)
{
    struct vdb_manifest manifest;
    vdb_status status = vdb_manifest_load(follower->env, follower->from_dir, VDB_MANIFEST_COLLECTION, &manifest,
                                          err);
    if (status != VDB_OK) {
        return status;
    }
    if (memcmp(manifest.uuid, vdb_store_uuid(vdb_collection_store(follower->collection)), VDB_UUID_BYTES) != 0) {
        status = vdb_err_set(err, VDB_EXISTS, "there is another collection \"%s\" already", follower->name);
    } else if (!vdb_store_is_follower(vdb_collection_store(follower->collection))) {
        status = vdb_err_set(err, VDB_EXISTS, "collection \"%s\" was promoted and follows nobody any more",
                             follower->name);
    }
    vdb_manifest_fini(&manifest);
    return status;
}

vdb_status vdb_follower_open(struct vdb_env *env, const char *from, const char *to, const char *name,
                             struct vdb_follower **out, struct vdb_err *err)
{
    char collections[VDB_LIMIT_PATH_BYTES_MAX];
    vdb_status status;
    struct vdb_follower *follower = vdb_calloc(1, sizeof *follower);
    if (follower == NULL) {
        return vdb_err_no_memory(err, "a follower");
    }
    follower->env = env;
    VDB_CHECK(vdb_schema_check_name(name, err));
    snprintf(follower->name, sizeof follower->name, "%s", name);
    VDB_CHECK(vdb_path_join(collections, sizeof collections, from, VDB_COLLECTIONS_DIR, err));
    VDB_CHECK(vdb_path_join(follower->from_dir, sizeof follower->from_dir, collections, name, err));
    VDB_CHECK(vdb_path_join(follower->from_wal, sizeof follower->from_wal, follower->from_dir, "wal", err));
    VDB_CHECK(vdb_database_open(env, to, false, &follower->database, err));
    VDB_CHECK(vdb_database_maintain(follower->database, NULL, err));
    status = vdb_database_get(follower->database, name, &follower->collection, err);
    if (status == VDB_NOT_FOUND) {
        status = copy_collection(follower, err);
    } else if (status == VDB_OK) {
        status = check_same(follower, err);
    }

cleanup:
    if (status != VDB_OK) {
        vdb_follower_close(follower);
        return vdb_err_wrap(err, status, "follow \"%s\"", from);
    }
    *out = follower;
    return VDB_OK;
}

/* Takes records until there are none, or enough. Their payloads are the caller's to free. */
static vdb_status gather(struct vdb_follower *follower, size_t *count, bool *more, struct vdb_err *err)
{
    size_t bytes = 0;
    *more = true;
    for (*count = 0; *count < STEP_RECORDS_MAX && bytes < STEP_BYTES_MAX;) {
        struct vdb_wal_record *record = &follower->records[*count];
        VDB_TRY(vdb_log_reader_next(follower->reader, record, more, err));
        if (!*more) {
            return VDB_OK;
        }
        uint8_t *copy = malloc(record->payload_bytes + 1);
        if (copy == NULL) {
            return vdb_err_no_memory(err, "a record");
        }
        memcpy(copy, record->payload, record->payload_bytes);
        record->payload = copy;
        bytes += record->payload_bytes;
        ++*count;
    }
    return VDB_OK;
}

vdb_status vdb_follower_step(struct vdb_follower *follower, bool *more, struct vdb_err *err)
{
    size_t count = 0;
    vdb_status status = VDB_OK;
    *more = true;
    if (follower->reader == NULL) {
        status = open_reader(follower, err);
    }
    if (status == VDB_OK) {
        status = gather(follower, &count, more, err);
    }
    if (count > 0) { /* what was read before an error is as good as ever */
        struct vdb_err late = {0};
        vdb_status applied = vdb_collection_apply(follower->collection, follower->records, count, &late);
        for (size_t i = 0; i < count; i++) {
            follower->stats.bytes += follower->records[i].payload_bytes;
            free((void *)(uintptr_t)follower->records[i].payload);
        }
        follower->stats.records += count;
        if (applied != VDB_OK) {
            return vdb_err_set(err, applied, "%s", late.text);
        }
    }
    if (status == VDB_NOT_FOUND) {
        *more = true; /* the log goes on after the copy */
        vdb_log(VDB_LOG_INFO, "follow", "copying anew: %s", err != NULL ? err->text : "the log was pruned");
        return copy_collection(follower, err);
    }
    return status;
}

void vdb_follower_get_stats(const struct vdb_follower *follower, struct vdb_follower_stats *out)
{
    *out = follower->stats;
    if (follower->collection != NULL) {
        struct vdb_store_stats stats;
        vdb_store_get_stats(vdb_collection_store(follower->collection), &stats);
        out->points = stats.points;
        out->seq = next_seq(follower) - 1;
    }
}
