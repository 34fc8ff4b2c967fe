/* wal.c: appending and group commit. Recovery is in wal_recover.c; the bytes are in wal_format.c. */
#include "wal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "wal_internal.h"

enum {
    SEGMENT_BYTES_DEFAULT = 64 << 20,
    SPARE_BYTES_MAX = 4 << 20, /* of a buffer kept for reuse: tens of usual groups */
    AHEAD_BYTES_MIN =
        64 << 10, /* of zeros: as much as the file holds, within these bounds. A mebibyte serves some */
    AHEAD_BYTES_MAX =
        1 << 20, /* twenty batches of a hundred vectors, and costs the disk a third of a millisecond */
    AHEAD_SEGMENT_PARTS = 8,     /* nor more than this part of a segment */
    QUEUE_BYTES_MAX = 128 << 20, /* appenders wait while the queue holds more: two of the largest batches */
};

vdb_status vdb_wal_segment_path(char out[VDB_LIMIT_PATH_BYTES_MAX], const char *dir, uint32_t number,
                                struct vdb_err *err)
{
    char name[64];
    snprintf(name, sizeof name, "segment_%06u.wal", number);
    return vdb_path_join(out, VDB_LIMIT_PATH_BYTES_MAX, dir, name, err);
}

bool vdb_wal_parse_segment_name(const char *name, uint32_t *number)
{
    static const char prefix[] = "segment_";
    char again[64];
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) {
        return false;
    }
    /* Whatever strtoul makes of the rest: only the one spelling of a number is a segment's name. */
    *number = (uint32_t)strtoul(name + sizeof prefix - 1, NULL, 10);
    snprintf(again, sizeof again, "segment_%06u.wal", *number);
    return strcmp(again, name) == 0;
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
                          uint64_t first_seq, struct vdb_err *err)
{
    struct vdb_wal_header header = {.first_seq = first_seq};
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
    wal->ahead_bytes = options == NULL || options->ahead_bytes == 0    ? wal->segment_bytes / AHEAD_SEGMENT_PARTS
                       : options->ahead_bytes == VDB_WAL_NOTHING_AHEAD ? 0
                                                                       : options->ahead_bytes;
    pthread_mutex_init(&wal->mutex, NULL);
    pthread_cond_init(&wal->room, NULL);
    wal->waiters_end = &wal->waiters;
    if (wal->dir == NULL) {
        vdb_wal_close(wal, false);
        return NULL;
    }
    return wal;
}

/* Queues a record; with `seq` not 0 it must be the one that comes next. */
static vdb_status append(struct vdb_wal *wal, const struct vdb_wal_record *record, uint64_t *seq,
                         struct vdb_err *err)
{
    assert(record->payload_bytes <= VDB_WAL_PAYLOAD_BYTES_MAX);
    vdb_status status = VDB_OK;
    pthread_mutex_lock(&wal->mutex);
    while (wal->failed == VDB_OK && wal->queue.bytes > QUEUE_BYTES_MAX) {
        pthread_cond_wait(&wal->room, &wal->mutex);
    }
    if (wal->failed != VDB_OK) {
        status = vdb_err_set(err, VDB_READ_ONLY, "writes stopped after an earlier failure (%s); reopen to resume",
                             wal->failure.text);
    } else if (*seq != 0 && *seq != wal->next_seq) {
        status = vdb_err_set(err, VDB_INVALID,
                             "record %" PRIu64 " does not follow the log's end, which is %" PRIu64, *seq,
                             wal->next_seq - 1);
    } else {
        vdb_wal_record_put(&wal->queue, wal->next_seq, record->timestamp_us, record->type, record->payload,
                           record->payload_bytes);
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

vdb_status vdb_wal_append(struct vdb_wal *wal, const void *payload, size_t bytes, uint64_t *seq,
                          struct vdb_err *err)
{
    const struct vdb_wal_record record = {.timestamp_us = wal->env->ops->now_us(wal->env),
                                          .type = VDB_WAL_BATCH,
                                          .payload = payload,
                                          .payload_bytes = (uint32_t)bytes};
    *seq = 0;
    return append(wal, &record, seq, err);
}

vdb_status vdb_wal_append_record(struct vdb_wal *wal, const struct vdb_wal_record *record, struct vdb_err *err)
{
    uint64_t seq = record->seq;
    return append(wal, record, &seq, err);
}

bool vdb_wal_reserve_segment(struct vdb_wal *wal)
{
    if (wal->segment_count == wal->segment_capacity) {
        size_t capacity = wal->segment_capacity > 0 ? 2 * wal->segment_capacity : 8;
        void *grown = wal->segments;
        if (!vdb_realloc_array(&grown, capacity, sizeof *wal->segments)) {
            return false;
        }
        wal->segments = grown;
        wal->segment_capacity = capacity;
    }
    return true;
}

/* The leader's, without the mutex: gives the zeros that were written ahead back to the disk, once the segment grows no
 * more. Where they stay they cost room and nothing else. */
static void cut_zeros(struct vdb_wal *wal)
{
    struct vdb_err err;
    if (wal->filled_bytes > wal->file_bytes &&
        wal->env->ops->truncate(wal->env, wal->file, wal->file_bytes, &err) != VDB_OK) {
        vdb_log(VDB_LOG_WARN, "wal", "%s: zeros past the last record stay: %s", wal->dir, err.text);
    }
    wal->filled_bytes = wal->file_bytes;
}

/* The leader's, without the mutex: ends the current segment and begins the next. The old one is durable to its end:
 * every group was synced before the next began. */
static vdb_status begin_segment(struct vdb_wal *wal, uint64_t first_seq, struct vdb_err *err)
{
    struct vdb_wal_header header = {.number = wal->number + 1, .chain = wal->last_crc, .first_seq = first_seq};
    struct vdb_file *file;
    uint32_t crc;
    memcpy(header.uuid, wal->uuid, VDB_UUID_BYTES);
    VDB_TRY(vdb_wal_segment_create(wal->env, wal->dir, &header, &file, &crc, err));
    cut_zeros(wal);
    wal->env->ops->close(wal->env, wal->file);
    wal->file = file;
    wal->number = header.number;
    wal->key = crc;
    wal->last_crc = crc;
    wal->file_bytes = VDB_WAL_HEADER_BYTES;
    wal->filled_bytes = VDB_WAL_HEADER_BYTES;
    vdb_log(VDB_LOG_DEBUG, "wal", "rotated to %s/segment_%06u.wal", wal->dir, wal->number);
    return VDB_OK;
}

/* After begin_segment, which vdb_wal_reserve_segment came before. */
static void note_segment_locked(struct vdb_wal *wal, uint64_t first_seq)
{
    wal->segments[wal->segment_count++] = (struct vdb_wal_segment){
        .number = wal->number, .first_seq = first_seq, .bytes = VDB_WAL_HEADER_BYTES};
    wal->bytes_written += VDB_WAL_HEADER_BYTES;
}

/* Zeros behind a group that has made the file longer, under the same sync as the group. A help to later syncs only: when
 * the disk has no room for them, the log goes on as far as records fit. */
static void write_ahead(struct vdb_wal *wal, uint64_t end)
{
    static const uint8_t zeros[64 << 10];
    uint64_t ahead = end < AHEAD_BYTES_MIN ? AHEAD_BYTES_MIN : end > AHEAD_BYTES_MAX ? AHEAD_BYTES_MAX : end;
    ahead = ahead > wal->ahead_bytes ? wal->ahead_bytes : ahead;
    wal->filled_bytes = end;
    for (uint64_t target = end + ahead; wal->filled_bytes < target;) {
        uint64_t left = target - wal->filled_bytes;
        size_t piece = left < sizeof zeros ? (size_t)left : sizeof zeros;
        struct vdb_err err;
        uint64_t at = wal->filled_bytes;
        wal->filled_bytes += piece; /* also when it fails: some of it may be there */
        if (wal->env->ops->write_at(wal->env, wal->file, zeros, piece, at, &err) != VDB_OK) {
            break;
        }
    }
}

/* The leader's work, without the mutex: only the leader touches the file and its position. */
static vdb_status write_group(struct vdb_wal *wal, struct vdb_buf *group, uint64_t first_seq, bool may_rotate,
                              struct vdb_err *err)
{
    struct vdb_env *env = wal->env;
    if (wal->file_bytes >= wal->segment_bytes && may_rotate) {
        VDB_TRY(begin_segment(wal, first_seq, err));
    }
    uint64_t durable_bytes = wal->file_bytes;
    uint64_t offset = wal->file_bytes;
    for (size_t at = 0; at < group->bytes;) {
        uint8_t *record = group->data + at;
        wal->last_crc = vdb_wal_record_seal(record, wal->key, offset + at, wal->last_crc, durable_bytes);
        at += vdb_wal_record_bytes(record);
    }
    uint64_t end = offset + group->bytes;
    VDB_TRY(env->ops->write_at(env, wal->file, group->data, group->bytes, offset, err));
    if (end > wal->filled_bytes) {
        write_ahead(wal, end);
    }
    VDB_TRY(env->ops->sync(env, wal->file, err));
    wal->file_bytes = end;
    return VDB_OK;
}

/* Writes stop for good. A missing directory or an exhausted memory is the world's failure here, not the caller's. */
static void stop_locked(struct vdb_wal *wal, vdb_status status, const struct vdb_err *err)
{
    wal->failed = status == VDB_NO_SPACE ? VDB_NO_SPACE : VDB_IO;
    wal->failure = *err;
    vdb_log(VDB_LOG_ERROR, "wal", "%s: writes stopped: %s", wal->dir, err->text);
}

/* ---- Leaders and those who wait ---- */

static void wake(struct vdb_wal_waiter *waiter)
{
    while (waiter != NULL) {
        struct vdb_wal_waiter *next = waiter->next; /* its thread may be gone once it is posted */
        sem_post(&waiter->wake);
        waiter = next;
    }
}

/* Ends the caller's lead: takes those who are done off the list, makes the first of the others the leader. Returns the
 * former, with the new leader before them: to be woken without the mutex. */
static struct vdb_wal_waiter *resign_locked(struct vdb_wal *wal)
{
    struct vdb_wal_waiter *done = NULL;
    struct vdb_wal_waiter **done_end = &done;
    struct vdb_wal_waiter **at = &wal->waiters;
    while (*at != NULL) {
        struct vdb_wal_waiter *waiter = *at;
        if (waiter->seq <= wal->durable_seq || wal->failed != VDB_OK) {
            *at = waiter->next;
            *done_end = waiter;
            done_end = &waiter->next;
        } else {
            at = &waiter->next;
        }
    }
    *done_end = NULL;
    wal->waiters_end = at;
    struct vdb_wal_waiter *leader = wal->waiters;
    wal->leading = leader != NULL;
    if (leader == NULL) {
        return done;
    }
    wal->waiters = leader->next;
    if (wal->waiters == NULL) {
        wal->waiters_end = &wal->waiters;
    }
    leader->leads = true;
    leader->next = done; /* its sync is what the next ones wait for: it goes first */
    return leader;
}

/* Waits until the record `seq` is durable or writes have failed (false), or the caller has become the leader (true). */
static bool wait_locked(struct vdb_wal *wal, uint64_t seq)
{
    struct vdb_wal_waiter waiter = {.seq = seq};
    if (!wal->leading) {
        wal->leading = true;
        return true;
    }
    sem_init(&waiter.wake, 0, 0);
    *wal->waiters_end = &waiter;
    wal->waiters_end = &waiter.next;
    pthread_mutex_unlock(&wal->mutex);
    while (sem_wait(&waiter.wake) != 0 && errno == EINTR) {
    }
    sem_destroy(&waiter.wake);
    pthread_mutex_lock(&wal->mutex);
    return waiter.leads;
}

/* The leader's: writes and syncs what is queued. Called and returns with the mutex held; releases it while the disk
 * works. The lead goes on to the next. */
static void lead_group_locked(struct vdb_wal *wal)
{
    struct vdb_buf group = wal->queue;
    wal->queue = wal->spare;
    vdb_buf_clear(&wal->queue);
    wal->spare = (struct vdb_buf){0};
    uint64_t first_seq = wal->durable_seq + 1;
    uint64_t last_seq = wal->next_seq - 1;
    uint32_t number_before = wal->number;
    bool may_rotate = vdb_wal_reserve_segment(wal); /* without the memory for it the segment grows on */
    pthread_cond_broadcast(&wal->room);
    pthread_mutex_unlock(&wal->mutex);

    struct vdb_err err = {0};
    vdb_status status = write_group(wal, &group, first_seq, may_rotate, &err);

    pthread_mutex_lock(&wal->mutex);
    uint64_t group_bytes = group.bytes;
    if (group.capacity > SPARE_BYTES_MAX) {
        vdb_buf_fini(&group); /* one large batch must not keep its memory for good */
    }
    wal->spare = group; /* its memory serves the group after next */
    if (wal->number != number_before) {
        note_segment_locked(wal, first_seq);
    }
    if (status == VDB_OK) {
        wal->durable_seq = last_seq;
        wal->syncs++;
        wal->bytes_written += group_bytes;
        wal->segments[wal->segment_count - 1].bytes += group_bytes;
        wal->unmarked = true;
    } else {
        stop_locked(wal, status, &err);
        pthread_cond_broadcast(&wal->room);
    }
    struct vdb_wal_waiter *woken = resign_locked(wal);
    pthread_mutex_unlock(&wal->mutex);
    wake(woken);
    pthread_mutex_lock(&wal->mutex);
}

vdb_status vdb_wal_wait(struct vdb_wal *wal, uint64_t seq, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    pthread_mutex_lock(&wal->mutex);
    while (wal->durable_seq < seq && wal->failed == VDB_OK) {
        if (wait_locked(wal, seq)) {
            lead_group_locked(wal);
        }
    }
    if (wal->durable_seq < seq) {
        status = vdb_err_set(err, wal->failed, "%s", wal->failure.text);
    }
    pthread_mutex_unlock(&wal->mutex);
    return status;
}

/* The leader's, with nothing queued that is not durable: begins the next segment. */
static vdb_status rotate_locked(struct vdb_wal *wal, struct vdb_err *err)
{
    if (!vdb_wal_reserve_segment(wal)) {
        return vdb_err_no_memory(err, "a log segment");
    }
    uint64_t first_seq = wal->durable_seq + 1;
    pthread_mutex_unlock(&wal->mutex);
    vdb_status status = begin_segment(wal, first_seq, err);
    pthread_mutex_lock(&wal->mutex);
    if (status == VDB_OK) {
        note_segment_locked(wal, first_seq);
        wal->unmarked = false; /* the new segment vouches for all before it, as a mark would */
    } else {
        /* A part of the new segment may be there, so the old one must not grow any more. */
        stop_locked(wal, status, err);
        pthread_cond_broadcast(&wal->room);
    }
    return status;
}

vdb_status vdb_wal_rotate(struct vdb_wal *wal, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    bool done = false;
    pthread_mutex_lock(&wal->mutex);
    uint64_t target = wal->next_seq - 1;
    while (!done && wal->failed == VDB_OK) {
        if (!wait_locked(wal, UINT64_MAX)) {
            continue; /* woken by a failure */
        }
        if (wal->durable_seq < target) {
            lead_group_locked(wal);
            continue;
        }
        /* What came since then is for the new segment. An empty segment serves as the next one. */
        if (wal->file_bytes > VDB_WAL_HEADER_BYTES) {
            status = rotate_locked(wal, err);
        }
        done = true;
        struct vdb_wal_waiter *woken = resign_locked(wal);
        pthread_mutex_unlock(&wal->mutex);
        wake(woken);
        pthread_mutex_lock(&wal->mutex);
    }
    if (!done) {
        status = vdb_err_set(err, VDB_READ_ONLY, "writes stopped after an earlier failure (%s); reopen to resume",
                             wal->failure.text);
    }
    pthread_mutex_unlock(&wal->mutex);
    return status;
}

uint32_t vdb_wal_segment_of(struct vdb_wal *wal, uint64_t seq)
{
    pthread_mutex_lock(&wal->mutex);
    size_t i = wal->segment_count - 1;
    while (i > 0 && wal->segments[i].first_seq > seq) {
        i--;
    }
    uint32_t number = wal->segments[i].number;
    pthread_mutex_unlock(&wal->mutex);
    return number;
}

vdb_status vdb_wal_prune(struct vdb_wal *wal, uint32_t first, struct vdb_err *err)
{
    bool removed = false;
    for (;;) {
        char path[VDB_LIMIT_PATH_BYTES_MAX];
        pthread_mutex_lock(&wal->mutex);
        bool more = wal->segment_count > 1 && wal->segments[0].number < first;
        uint32_t number = wal->segments[0].number;
        pthread_mutex_unlock(&wal->mutex);
        if (!more) {
            break;
        }
        VDB_TRY(vdb_wal_segment_path(path, wal->dir, number, err));
        vdb_status status = wal->env->ops->unlink(wal->env, path, err);
        if (status != VDB_OK && status != VDB_NOT_FOUND) {
            return status;
        }
        removed = true;
        pthread_mutex_lock(&wal->mutex);
        wal->segment_count--;
        memmove(wal->segments, wal->segments + 1, wal->segment_count * sizeof *wal->segments);
        pthread_mutex_unlock(&wal->mutex);
    }
    return removed ? wal->env->ops->sync_dir(wal->env, wal->dir, err) : VDB_OK;
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
    out->log_bytes = 0;
    for (size_t i = 0; i < wal->segment_count; i++) {
        out->log_bytes += wal->segments[i].bytes;
    }
    pthread_mutex_unlock(&wal->mutex);
}

void vdb_wal_close(struct vdb_wal *wal, bool mark)
{
    if (wal == NULL) {
        return;
    }
    if (mark && wal->failed == VDB_OK && wal->file != NULL) {
        if (wal->unmarked) {
            vdb_wal_record_put(&wal->queue, wal->next_seq, wal->env->ops->now_us(wal->env), VDB_WAL_MARK, "", 0);
        }
        if (wal->unmarked && !wal->queue.failed) {
            wal->next_seq++;
            pthread_mutex_lock(&wal->mutex);
            wal->leading = true;
            lead_group_locked(wal);
            pthread_mutex_unlock(&wal->mutex);
        }
        if (wal->failed == VDB_OK) {
            cut_zeros(wal);
        }
    }
    wal->env->ops->close(wal->env, wal->file);
    vdb_buf_fini(&wal->queue);
    vdb_buf_fini(&wal->spare);
    free(wal->segments);
    pthread_cond_destroy(&wal->room);
    pthread_mutex_destroy(&wal->mutex);
    free(wal->dir);
    free(wal);
}
