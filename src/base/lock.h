/* lock.h: a read-write lock in which readers, however many, do not keep a writer out.
 *
 * glibc's default lets new readers in while a writer waits, so a steady stream of them starves it for good. The
 * price of the kind used here: a thread must not take the read side twice.
 */
#ifndef VDB_BASE_LOCK_H
#define VDB_BASE_LOCK_H

#include <pthread.h>

static inline void vdb_rwlock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;
    /* With these arguments none of the three can fail on Linux. */
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

#endif
