/* wal_internal.h: the log's state, shared by wal.c (append, group commit) and wal_recover.c (open), and the names of its
 * files, which log_reader.c needs, too. Nobody else.
 */
#ifndef VDB_STORAGE_WAL_INTERNAL_H
#define VDB_STORAGE_WAL_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>

#include "base/limits.h"
#include "wal.h"

/* A live segment. */
struct vdb_wal_segment {
    uint32_t number;
    uint64_t first_seq; /* of its first record, which may be yet to come */
    uint64_t bytes;     /* durable ones */
};

/* A thread that waits for its record, or (with seq UINT64_MAX) only to be the leader. On its own stack. */
struct vdb_wal_waiter {
    struct vdb_wal_waiter *next;
    uint64_t seq;
    bool leads; /* woken as the leader */
    sem_t wake; /* posted once it is off the list */
};

struct vdb_wal {
    struct vdb_env *env;
    char *dir;
    uint8_t uuid[VDB_UUID_BYTES];
    uint64_t segment_bytes;
    uint64_t ahead_bytes; /* at most; 0: none */

    pthread_mutex_t mutex; /* guards all below, but for the leader's own fields */
    pthread_cond_t room;   /* the queue has become shorter */
    struct vdb_buf queue;  /* records not yet taken by a leader */
    struct vdb_buf spare;  /* memory kept for the next queue */
    uint64_t next_seq;
    uint64_t durable_seq;
    bool leading;                   /* there is a leader: it writes, or was just woken to */
    struct vdb_wal_waiter *waiters; /* in order of their arrival */
    struct vdb_wal_waiter **waiters_end;
    bool unmarked;     /* something may stand in the log that no mark covers */
    vdb_status failed; /* why writes stopped; VDB_OK while they go on */
    struct vdb_err failure;
    uint64_t syncs;
    uint64_t bytes_written;           /* since open */
    struct vdb_wal_segment *segments; /* the live ones, numbers without gaps; the last is written to */
    size_t segment_count;
    size_t segment_capacity;

    /* The leader's: touched by one thread at a time, the one that set `leading`. */
    struct vdb_file *file;
    uint32_t number;
    uint32_t key; /* the header's checksum (W1) */
    uint32_t last_crc;
    uint64_t file_bytes;
    uint64_t filled_bytes; /* of the file: zeros from file_bytes on */
};

struct vdb_wal *vdb_wal_new(struct vdb_env *env, const char *dir, const struct vdb_wal_options *options);

/* Room for one more live segment; false when memory is short. */
bool vdb_wal_reserve_segment(struct vdb_wal *wal);

/* DIR/segment_000007.wal */
vdb_status vdb_wal_segment_path(char out[VDB_LIMIT_PATH_BYTES_MAX], const char *dir, uint32_t number,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* The inverse, for a name within DIR; false for any other. */
bool vdb_wal_parse_segment_name(const char *name, uint32_t *number);

/* Creates (or replaces) a segment that holds only its header, durable with its name. */
vdb_status vdb_wal_segment_create(struct vdb_env *env, const char *dir, const struct vdb_wal_header *header,
                                  struct vdb_file **out, uint32_t *crc, struct vdb_err *err) VDB_MUST_CHECK;

#endif
