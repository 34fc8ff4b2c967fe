/* cpu.h: which kernels this process uses, and why.
 *
 * The level is what the processor has, unless the environment variable VECDB_CPU names a lower one
 * (scalar | neon | avx2 | avx512), which is how one binary tests every path. At level avx512 the extensions that
 * the processor has are used as well. Threads: safe from all threads.
 */
#ifndef VDB_DISTANCE_CPU_H
#define VDB_DISTANCE_CPU_H

#include "base/err.h"
#include "kernels.h"

const char *vdb_cpu_level_name(vdb_cpu_level level); /* "scalar", "neon", "avx2", "avx512" */

/* "avx512vnni", ... of one bit of the set; NULL of none and of several. */
const char *vdb_cpu_extension_name(unsigned extension);

/* The highest level this processor and its operating system allow. */
vdb_cpu_level vdb_cpu_detect(void);

/* The extensions beyond avx512 that this processor has: a set of vdb_cpu_extension; empty below avx512. */
unsigned vdb_cpu_detect_extensions(void);

/* Whether a machine whose best is `machine` can run the kernels of `level`. */
bool vdb_cpu_runs(vdb_cpu_level machine, vdb_cpu_level level);

/* The level that `value` (what VECDB_CPU holds; NULL or empty: not set) gives on a machine that has `machine`.
 * VDB_INVALID names the value and what is allowed; *out is then `machine`. */
vdb_status vdb_cpu_choose(const char *value, vdb_cpu_level machine, vdb_cpu_level *out,
                          struct vdb_err *err) VDB_MUST_CHECK;

/* VDB_INVALID when VECDB_CPU holds an unknown word or a level this machine lacks. Programs call it first, so that
 * the user is told; vdb_kernels_get would fall back to what the processor has. */
vdb_status vdb_cpu_check(struct vdb_err *err) VDB_MUST_CHECK;

/* The process's table, filled on the first call. Never NULL. */
const struct vdb_kernels *vdb_kernels_get(void);

/* Fills a table of the caller's at one level that this machine runs, with the extensions it has. */
void vdb_kernels_fill(struct vdb_kernels *table, vdb_cpu_level level);

/* The same with some of the extensions this machine has (tests, benchmarks). */
void vdb_kernels_fill_with(struct vdb_kernels *table, vdb_cpu_level level, unsigned extensions);

#endif
