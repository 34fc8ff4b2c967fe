/* cpu.c: finds what the processor can do, lets VECDB_CPU lower it, and fills the process's table once.
 *
 * An instruction set is usable only when the operating system also saves its registers across a context switch.
 * __builtin_cpu_supports answers both: it looks at CPUID and, for AVX2 and AVX-512, at the state that XGETBV
 * reports as enabled. F16C has no word there in every compiler; it is read from CPUID and needs no state beyond
 * AVX2's.
 */
#include "cpu.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { VALUE_SHOWN_BYTES = 40 }; /* of a wrong VECDB_CPU in an error */

static const char *const level_names[VDB_CPU_LEVEL_COUNT] = {"scalar", "avx2", "avx512"};

/* The levels a machine of each level may be told to use. */
static const char *const allowed_names[VDB_CPU_LEVEL_COUNT] = {"scalar", "scalar, avx2", "scalar, avx2, avx512"};

const char *vdb_cpu_level_name(vdb_cpu_level level)
{
    assert((unsigned)level < VDB_CPU_LEVEL_COUNT);
    return level_names[level];
}

#if defined(__x86_64__)
static bool has_f16c(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

vdb_cpu_level vdb_cpu_detect(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) {
        return VDB_CPU_SCALAR;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
        return VDB_CPU_AVX2;
    }
    return VDB_CPU_AVX512;
}
#else
vdb_cpu_level vdb_cpu_detect(void)
{
    return VDB_CPU_SCALAR;
}
#endif

vdb_status vdb_cpu_choose(const char *value, vdb_cpu_level machine, vdb_cpu_level *out, struct vdb_err *err)
{
    *out = machine;
    if (value == NULL || value[0] == '\0') {
        return VDB_OK;
    }
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        if (strcmp(value, level_names[level]) != 0) {
            continue;
        }
        if (level > machine) {
            return vdb_err_set(err, VDB_INVALID,
                               "VECDB_CPU: \"%s\" is more than this machine has (%s); allowed here: %s", value,
                               level_names[machine], allowed_names[machine]);
        }
        *out = (vdb_cpu_level)level;
        return VDB_OK;
    }
    return vdb_err_set(err, VDB_INVALID, "VECDB_CPU: \"%.*s\" is no level; allowed: %s; this machine has %s",
                       VALUE_SHOWN_BYTES, value, allowed_names[VDB_CPU_LEVEL_COUNT - 1], level_names[machine]);
}

vdb_status vdb_cpu_check(struct vdb_err *err)
{
    vdb_cpu_level level;
    return vdb_cpu_choose(getenv("VECDB_CPU"), vdb_cpu_detect(), &level, err);
}

void vdb_kernels_fill(struct vdb_kernels *table, vdb_cpu_level level)
{
    assert(level <= vdb_cpu_detect());
    vdb_kernels_scalar(table);
#if defined(__x86_64__)
    if (level < VDB_CPU_AVX2) {
        return;
    }
    vdb_kernels_avx2(table);
    if (level < VDB_CPU_AVX512) {
        return;
    }
    vdb_kernels_avx512(table);
#else
    (void)level;
#endif
}

static struct vdb_kernels process_table;
static pthread_once_t process_table_once = PTHREAD_ONCE_INIT;

static void fill_process_table(void)
{
    vdb_cpu_level level;
    if (vdb_cpu_choose(getenv("VECDB_CPU"), vdb_cpu_detect(), &level, NULL) != VDB_OK) {
        level = vdb_cpu_detect(); /* the user hears of it from vdb_cpu_check */
    }
    vdb_kernels_fill(&process_table, level);
}

const struct vdb_kernels *vdb_kernels_get(void)
{
    pthread_once(&process_table_once, fill_process_table);
    return &process_table;
}
