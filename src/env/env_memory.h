/* env_memory.h: a whole file system in memory, with power loss and faults on demand.
 *
 * Each file keeps two images: what a reader sees (volatile) and what would be on the disk after a power cut
 * (durable), with the list of writes between them; each directory likewise keeps its durable names and the
 * pending changes. sync and sync_dir make the volatile image durable (E1, E2). What a power cut may leave of the
 * pending rest is written down in memory_image.h (contents) and memory_tree.h (names).
 *
 * A map is a copy of the file, with nothing readable behind its last byte; writing to or truncating a file that is
 * mapped is asserted against (E5). Damage (vdb_env_memory_flip) shows in maps made before, too.
 *
 * Absolute and relative paths both start at the root; there are no symbolic links. The clock starts at 2024-01-01 UTC and
 * goes on by one millisecond per look; entropy is the same stream in every env. A file may have
 * VDB_MEMORY_FILE_BYTES_MAX (1 GiB) bytes, beyond is VDB_NO_SPACE.
 *
 * Threads: locked (one mutex inside; all operations are safe from all threads).
 */
#ifndef VDB_ENV_ENV_MEMORY_H
#define VDB_ENV_ENV_MEMORY_H

#include "env.h"

struct vdb_env *vdb_env_memory_create(void); /* NULL when memory is short */

/* Frees all, handles and locks that were left open too. env may be NULL. */
void vdb_env_memory_destroy(struct vdb_env *env);

/* Counts every operation that can fail (open, read, write, size, truncate, sync, sync_dir, rename, unlink, link, mkdir,
 * rmdir, list, stat, lock, map, touch, entropy) since creation or the last vdb_env_memory_fail_at. */
uint64_t vdb_env_memory_operations(struct vdb_env *env);

/* Makes the n-th operation from now (1 = the next) fail with status (VDB_IO or VDB_NO_SPACE); a failing write may
 * have written a part, by the seed. n = 0 clears. With `forever`, every operation from the n-th on fails: the
 * process is as good as dead from there (then only the n-th write may have written a part). After a sync that
 * failed so, what was unsynced stays in sight, but a later sync does not make it durable either (E3). */
void vdb_env_memory_fail_at(struct vdb_env *env, uint64_t n, vdb_status status, bool forever, uint64_t seed);

/* The same for operations of these kinds only: they are counted from here on, and the n-th of them fails; the others
 * pass. So a disk is full for writers (VDB_MEMORY_WRITES, forever), or a sector cannot be read (VDB_MEMORY_READS).
 * A part of a failing write is written as above. The next vdb_env_memory_fail_at sets all kinds again. */
typedef enum vdb_memory_kind {
    VDB_MEMORY_READS = 1, /* open (but to create or truncate), read, size, list, stat, map, touch, entropy */
    VDB_MEMORY_WRITES =
        2, /* open to create or truncate, write, truncate, names (mkdir, rename, link, ...), lock */
    VDB_MEMORY_SYNCS = 4, /* sync, sync_dir */
    VDB_MEMORY_ALL = 7,
} vdb_memory_kind;
void vdb_env_memory_fail_kinds_at(struct vdb_env *env, unsigned kinds, uint64_t n, vdb_status status,
                                  bool forever, uint64_t seed);

/* A power cut: closes every handle, lock and map, then leaves of each file its durable image plus a choice, made by
 * the seed, of the pending writes since, each kept, dropped or torn at sectors of 512 or 4096 bytes, independently and
 * in any order; of each directory's pending changes likewise a choice. Seed 0 drops everything unsynced; UINT64_MAX
 * keeps everything (a killed process: the kernel's cache survives; what was unsynced still is, and a later power
 * cut may take it). The same seed after the same operations leaves the same bytes. The env is usable again after.
 * Handles, locks and maps from before the cut must not be used, except that close, unlock and unmap on them free
 * their memory.
 */
void vdb_env_memory_crash(struct vdb_env *env, uint64_t seed);

/* How many outcomes a power cut can have now, for a walk over all of them: every legal set of the pending changes of
 * names, times every set of the pending writes in files that have a name then, times one torn write at most, at any
 * of its sector boundaries (memory_choice.h). One when nothing is pending. UINT64_MAX: too many to number (more than
 * 40 pending writes, 4096 sets of names, or 2^64 - 2 outcomes). */
uint64_t vdb_env_memory_crash_choices(struct vdb_env *env);

/* A power cut, as vdb_env_memory_crash, with that outcome, 0 <= choice < vdb_env_memory_crash_choices; 0 drops
 * everything unsynced. Where these are too many to number it is the cut by the seed `choice`. */
void vdb_env_memory_crash_choice(struct vdb_env *env, uint64_t choice);

/* A second env with the same files, names, durable and pending state, clock and entropy to come; without handles,
 * locks, maps and faults, its operations and what they moved counted from 0. NULL when memory is short. Cheap: the
 * files' bytes are shared until one of the two changes them, so that a sweep can try each outcome on a copy of its own
 * (also in several threads) instead of running the workload again:
 *
 *     uint64_t choices = vdb_env_memory_crash_choices(env);
 *     for (uint64_t i = 0; i < choices; i++) {
 *         struct vdb_env *copy = vdb_env_memory_clone(env);
 *         vdb_env_memory_crash_choice(copy, i);
 *         ... recover from copy, compare ...
 *         vdb_env_memory_destroy(copy);
 *     }
 */
struct vdb_env *vdb_env_memory_clone(struct vdb_env *env);

/* Overwrites one byte of a file's both images (damage), and of every map of it; false when the file or offset is not
 * there. Who reads a map in another thread meanwhile has a race. */
bool vdb_env_memory_flip(struct vdb_env *env, const char *path, uint64_t offset, uint8_t xor_mask);

#endif
