/* cpu.h: which kernels this process uses, and why.
 *
 * The level is what the processor has, unless the environment variable VECDB_CPU names a lower one
 * (scalar | avx2 | avx512), which is how one binary tests every path. Threads: safe from all threads.
 */
#ifndef VDB_DISTANCE_CPU_H
#define VDB_DISTANCE_CPU_H

#include "base/err.h"
#include "kernels.h"

const char *vdb_cpu_level_name(vdb_cpu_level level); /* "scalar", "avx2", "avx512" */

/* The highest level this processor and its operating system allow. */
vdb_cpu_level vdb_cpu_detect(void);

/* The level that `value` (what VECDB_CPU holds; NULL or empty: not set) gives on a machine that has `machine`.
 * VDB_INVALID names the value and what is allowed; *out is then `machine`. */
vdb_status vdb_cpu_choose(const char *value, vdb_cpu_level machine, vdb_cpu_level *out,
                          struct vdb_err *err) VDB_MUST_CHECK;

/* VDB_INVALID when VECDB_CPU holds an unknown word or a level this machine lacks. Programs call it first, so that
 * the user is told; vdb_kernels_get would fall back to what the processor has. */
vdb_status vdb_cpu_check(struct vdb_err *err) VDB_MUST_CHECK;

/* The process's table, filled on the first call. Never NULL. */
const struct vdb_kernels *vdb_kernels_get(void);

/* Fills a table of the caller's at one level (tests); the level must not be above vdb_cpu_detect(). */
void vdb_kernels_fill(struct vdb_kernels *table, vdb_cpu_level level);

#endif
