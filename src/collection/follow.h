/* follow.h: keeps a second data directory equal to a collection that another process writes to.
 *
 * The follower reads the other directory's log (storage/log_reader.h) and writes each record to its own, with the same
 * sequence number and time. It begins with a copy of the other's segments, checked block by block; and again whenever
 * the log it needs has been pruned. It needs nothing of the other process, locks nothing of it, and may be killed at
 * any moment: what it has is always a state that the other one had.
 *
 * Threads: confined.
 */
#ifndef VDB_COLLECTION_FOLLOW_H
#define VDB_COLLECTION_FOLLOW_H

#include "env/env.h"

struct vdb_follower;

/* Follows the collection `name` of the data directory `from` into the data directory `to` (made when missing; a
 * collection of that name in it must be one that followed the same: VDB_EXISTS otherwise). */
vdb_status vdb_follower_open(struct vdb_env *env, const char *from, const char *to, const char *name,
                             struct vdb_follower **out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_follower_close(struct vdb_follower *follower); /* NULL allowed */

/* Applies what there is, up to some megabytes; *more is false when the end was reached. VDB_CORRUPT when the two sides
 * have different pasts or the other side's files are damaged. */
vdb_status vdb_follower_step(struct vdb_follower *follower, bool *more, struct vdb_err *err) VDB_MUST_CHECK;

struct vdb_follower_stats {
    uint64_t seq;     /* of the last record applied */
    uint64_t records; /* since open */
    uint64_t bytes;   /* of their payloads */
    uint64_t copies;  /* of the segments, made because the log did not reach back far enough */
    uint64_t points;
};

void vdb_follower_get_stats(const struct vdb_follower *follower, struct vdb_follower_stats *out);

#endif
