/* env_memory.h: a whole file system in memory, with power loss and faults on demand.
 *
 * Each file keeps two images: what a reader sees (volatile) and what would be on the disk after a power cut
 * (durable), with the list of writes between them; each directory likewise keeps its durable names and the
 * pending changes. sync and sync_dir make the volatile image durable (E1, E2). What a power cut may leave of the
 * pending rest is written down in memory_image.h (contents) and memory_tree.h (names).
 *
 * Absolute and relative paths both start at the root; there are no links. The clock starts at 2024-01-01 UTC and
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

/* Counts every operation that can fail (open, read, write, size, truncate, sync, sync_dir, rename, unlink, mkdir,
 * rmdir, list, stat, lock, entropy) since creation or the last vdb_env_memory_fail_at. */
uint64_t vdb_env_memory_operations(struct vdb_env *env);

/* Makes the n-th operation from now (1 = the next) fail with status (VDB_IO or VDB_NO_SPACE); a failing write may
 * have written a part, by the seed. n = 0 clears. With `forever`, every operation from the n-th on fails: the
 * process is as good as dead from there (then only the n-th write may have written a part). After a sync that
 * failed so, what was unsynced stays in sight, but a later sync does not make it durable either (E3). */
void vdb_env_memory_fail_at(struct vdb_env *env, uint64_t n, vdb_status status, bool forever, uint64_t seed);

/* A power cut: closes every handle and lock, then leaves of each file its durable image plus a choice, made by
 * the seed, of the pending writes since, each kept, dropped or torn at 512-byte sectors, independently and in any
 * order; of each directory's pending changes likewise a choice. Seed 0 drops everything unsynced; UINT64_MAX
 * keeps everything (a killed process: the kernel's cache survives; what was unsynced still is, and a later power
 * cut may take it). The same seed after the same operations leaves the same bytes. The env is usable again after.
 * Handles and locks from before the cut must not be used, except that close and unlock on them free their memory.
 */
void vdb_env_memory_crash(struct vdb_env *env, uint64_t seed);

/* Overwrites one byte of a file's both images (damage); false when the file or offset is not there. */
bool vdb_env_memory_flip(struct vdb_env *env, const char *path, uint64_t offset, uint8_t xor_mask);

#endif
