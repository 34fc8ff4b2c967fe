/* levels.h: the choice among the CPU levels of a table of kernels, which all tables here make alike.
 *
 * A table NAME has vdb_NAME_scalar, vdb_NAME_avx2 and vdb_NAME_avx512, which set the entries that their level has, and
 * vdb_NAME_fill, which calls those up to a level, lowest first.
 *
 * Threads: the process's table is filled once, by whoever asks first.
 */
#ifndef VDB_QUANT_LEVELS_H
#define VDB_QUANT_LEVELS_H

#include <assert.h>
#include <pthread.h>

#include "distance/cpu.h"

/* Statements of a vdb_NAME_fill(table, level). */
#if defined(__x86_64__)
#define VDB_QUANT_LEVELS_ENTER(NAME, table, level)                                                               \
    do {                                                                                                         \
        assert(vdb_cpu_runs(vdb_cpu_detect(), (level)));                                                         \
        vdb_##NAME##_scalar(table);                                                                              \
        if ((level) >= VDB_CPU_AVX2) {                                                                           \
            vdb_##NAME##_avx2(table);                                                                            \
        }                                                                                                        \
        if ((level) >= VDB_CPU_AVX512) {                                                                         \
            vdb_##NAME##_avx512(table);                                                                          \
        }                                                                                                        \
    } while (0)
#else
#define VDB_QUANT_LEVELS_ENTER(NAME, table, level)                                                               \
    do {                                                                                                         \
        assert(vdb_cpu_runs(vdb_cpu_detect(), (level)));                                                         \
        (void)(level);                                                                                           \
        vdb_##NAME##_scalar(table);                                                                              \
    } while (0)
#endif

/* Defines vdb_NAME_get, which returns the table of this process. `...` are vdb_NAME_fill's arguments after the table,
 * of `kernels`, which has read VECDB_CPU. */
#define VDB_QUANT_LEVELS_GET(NAME, ...)                                                                          \
    static struct vdb_##NAME process_table;                                                                      \
    static pthread_once_t process_table_once = PTHREAD_ONCE_INIT;                                                \
    static void fill_process_table(void)                                                                         \
    {                                                                                                            \
        const struct vdb_kernels *kernels = vdb_kernels_get();                                                   \
        vdb_##NAME##_fill(&process_table, __VA_ARGS__);                                                          \
    }                                                                                                            \
    const struct vdb_##NAME *vdb_##NAME##_get(void)                                                              \
    {                                                                                                            \
        pthread_once(&process_table_once, fill_process_table);                                                   \
        return &process_table;                                                                                   \
    }

#endif
