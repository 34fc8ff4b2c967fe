/* wal.c: appending and group commit. Recovery is in wal_recover.c; the bytes are in wal_format.c. */
#include "wal.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "wal_internal.h"

enum {
    SEGMENT_BYTES_DEFAULT = 64 << 20,
    SPARE_BYTES_MAX = 4 << 20,   /* of a buffer kept for reuse: tens of usual groups */
    QUEUE_BYTES_MAX = 128 << 20, /* appenders wait while the queue holds more: two of the largest batches */
};

vdb_status vdb_wal_segment_path(char out[VDB_LIMIT_PATH_BYTES_MAX], const char *dir, uint32_t number,
                                struct vdb_err *err)
{
    char name[64];
    snprintf(name, sizeof name, "segment_%06u.wal", number);
    return vdb_path_join(out, VDB_LIMIT_PATH_BYTES_MAX, dir, name, err);
}

vdb_status vdb_wal_segment_create(struct vdb_env *env, const char *dir, const struct vdb_wal_header *header,
                                  struct vdb_file **out, uint32_t *crc, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    uint8_t bytes[VDB_WAL_HEADER_BYTES];
    VDB_TRY(vdb_wal_segment_path(path, dir, header->number, err));
    *crc = vdb_wal_header_encode(header, bytes);
    *out = NULL;
    VDB_TRY(env->ops->open(env, path, VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE, out, err));
    vdb_status status = env->ops->write_at(env, *out, bytes, sizeof bytes, 0, err);
    if (status == VDB_OK) {
        status = env->ops->sync(env, *out, err);
    }
    if (status == VDB_OK) {
        status = env->ops->sync_dir(env, dir, err);
    }
    if (status != VDB_OK) {
        env->ops->close(env, *out);
        *out = NULL;
    }
    return status;
}

vdb_status vdb_wal_create(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES],
                          struct vdb_err *err)
{
    struct vdb_wal_header header = {.first_seq = 1};
    memcpy(header.uuid, uuid, VDB_UUID_BYTES);
    struct vdb_file *file;
    uint32_t crc;
    VDB_TRY(env->ops->mkdir(env, dir, err));
    VDB_TRY(vdb_wal_segment_create(env, dir, &header, &file, &crc, err));
    env->ops->close(env, file);
    return VDB_OK;
}

struct vdb_wal *vdb_wal_new(struct vdb_env *env, const char *dir, const struct vdb_wal_options *options)
{
    struct vdb_wal *wal = vdb_calloc(1, sizeof *wal);
    if (wal == NULL) {
        return NULL;
    }
    wal->env = env;
    wal->dir = vdb_strndup(dir, strlen(dir));
    wal->segment_bytes = options != NULL && options->segment_bytes > 0 ? options->segment_bytes
                                                                       : SEGMENT_BYTES_DEFAULT;
    pthread_mutex_init(&wal->mutex, NULL);
    pthread_cond_init(&wal->changed, NULL);
    if (wal->dir == NULL) {
        vdb_wal_close(wal, false);
        return NULL;
    }
    return wal;
}

vdb_status vdb_wal_append(struct vdb_wal *wal, const void *payload, size_t bytes, uint64_t *seq,
                          struct vdb_err *err)
{
    assert(bytes <= VDB_WAL_PAYLOAD_BYTES_MAX);
    uint64_t now_us = wal->env->ops->now_us(wal->env);
    vdb_status status = VDB_OK;
    pthread_mutex_lock(&wal->mutex);
    while (wal->failed == VDB_OK && wal->queue.bytes > QUEUE_BYTES_MAX) {
        pthread_cond_wait(&wal->changed, &wal->mutex);
    }
    if (wal->failed != VDB_OK) {
        status = vdb_err_set(err, VDB_READ_ONLY, "writes stopped after an earlier failure (%s); reopen to resume",
                             wal->failure.text);
    } else {
        vdb_wal_record_put(&wal->queue, wal->next_seq, now_us, VDB_WAL_BATCH, payload, (uint32_t)bytes);
        if (wal->queue.failed) {
            wal->queue.failed = false; /* record_put added nothing */
            status = vdb_err_no_memory(err, "a log record");
        } else {
            *seq = wal->next_seq++;
        }
    }
    pthread_mutex_unlock(&wal->mutex);
    return status;
}

/* The leader's work, without the mutex: only the leader touches the file and its position. */
static vdb_status write_group(struct vdb_wal *wal, struct vdb_buf *group, uint64_t first_seq, struct vdb_err *err)
{
    struct vdb_env *env = wal->env;
    if (wal->file_bytes >= wal->segment_bytes) {
        struct vdb_wal_header header = {
            .number = wal->number + 1, .chain = wal->last_crc, .first_seq = first_seq};
        memcpy(header.uuid, wal->uuid, VDB_UUID_BYTES);
        struct vdb_file *file;
        uint32_t crc;
        /* The old segment is durable to its end: every group was synced before the next began. */
        VDB_TRY(vdb_wal_segment_create(env, wal->dir, &header, &file, &crc, err));
        env->ops->close(env, wal->file);
        wal->file = file;
        wal->number = header.number;
        wal->key = crc;
        wal->last_crc = crc;
        wal->file_bytes = VDB_WAL_HEADER_BYTES;
        vdb_log(VDB_LOG_DEBUG, "wal", "rotated to %s/segment_%06u.wal", wal->dir, wal->number);
    }
    uint64_t durable_bytes = wal->file_bytes;
    uint64_t offset = wal->file_bytes;
    for (size_t at = 0; at < group->bytes;) {
        uint8_t *record = group->data + at;
        wal->last_crc = vdb_wal_record_seal(record, wal->key, offset + at, wal->last_crc, durable_bytes);
        at += vdb_wal_record_bytes(record);
    }
    VDB_TRY(env->ops->write_at(env, wal->file, group->data, group->bytes, offset, err));
    VDB_TRY(env->ops->sync(env, wal->file, err));
    wal->file_bytes += group->bytes;
    return VDB_OK;
}

/* Called and returns with the mutex held; releases it while the disk works. */
static void lead_group_locked(struct vdb_wal *wal)
{
    struct vdb_buf group = wal->queue;
    wal->queue = wal->spare;
    vdb_buf_clear(&wal->queue);
    wal->spare = (struct vdb_buf){0};
    wal->leading = true;
    uint64_t first_seq = wal->durable_seq + 1;
    uint64_t last_seq = wal->next_seq - 1;
    uint32_t number_before = wal->number;
    pthread_mutex_unlock(&wal->mutex);

    struct vdb_err err = {0};
    vdb_status status = write_group(wal, &group, first_seq, &err);

    pthread_mutex_lock(&wal->mutex);
    wal->leading = false;
    uint64_t group_bytes = group.bytes;
    if (group.capacity > SPARE_BYTES_MAX) {
        vdb_buf_fini(&group); /* one large batch must not keep its memory for good */
    }
    wal->spare = group; /* its memory serves the group after next */
    if (status == VDB_OK) {
        wal->durable_seq = last_seq;
        wal->syncs++;
        uint64_t added = group_bytes + (wal->number != number_before ? VDB_WAL_HEADER_BYTES : 0);
        wal->bytes_written += added;
        wal->log_bytes += added;
        wal->unmarked = true;
    } else {
        /* A missing directory or an exhausted memory is the world's failure here, not the caller's. */
        wal->failed = status == VDB_NO_SPACE ? VDB_NO_SPACE : VDB_IO;
        wal->failure = err;
        vdb_log(VDB_LOG_ERROR, "wal", "%s: writes stopped: %s", wal->dir, err.text);
    }
    pthread_cond_broadcast(&wal->changed);
}

vdb_status vdb_wal_wait(struct vdb_wal *wal, uint64_t seq, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    pthread_mutex_lock(&wal->mutex);
    while (wal->durable_seq < seq && wal->failed == VDB_OK) {
        if (wal->leading) {
            pthread_cond_wait(&wal->changed, &wal->mutex);
        } else {
            lead_group_locked(wal);
        }
    }
    if (wal->durable_seq < seq) {
        status = vdb_err_set(err, wal->failed, "%s", wal->failure.text);
    }
    pthread_mutex_unlock(&wal->mutex);
    return status;
}

uint64_t vdb_wal_durable_seq(struct vdb_wal *wal)
{
    pthread_mutex_lock(&wal->mutex);
    uint64_t seq = wal->durable_seq;
    pthread_mutex_unlock(&wal->mutex);
    return seq;
}

void vdb_wal_get_stats(struct vdb_wal *wal, struct vdb_wal_stats *out)
{
    pthread_mutex_lock(&wal->mutex);
    out->syncs = wal->syncs;
    out->bytes_written = wal->bytes_written;
    out->log_bytes = wal->log_bytes;
    pthread_mutex_unlock(&wal->mutex);
}

void vdb_wal_close(struct vdb_wal *wal, bool mark)
{
    if (wal == NULL) {
        return;
    }
    if (mark && wal->failed == VDB_OK && wal->file != NULL && wal->unmarked) {
        vdb_wal_record_put(&wal->queue, wal->next_seq, wal->env->ops->now_us(wal->env), VDB_WAL_MARK, "", 0);
        if (!wal->queue.failed) {
            wal->next_seq++;
            pthread_mutex_lock(&wal->mutex);
            lead_group_locked(wal);
            pthread_mutex_unlock(&wal->mutex);
        }
    }
    wal->env->ops->close(wal->env, wal->file);
    vdb_buf_fini(&wal->queue);
    vdb_buf_fini(&wal->spare);
    pthread_cond_destroy(&wal->changed);
    pthread_mutex_destroy(&wal->mutex);
    free(wal->dir);
    free(wal);
}
