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

enum {
    VALUE_SHOWN_BYTES = 40, /* of a wrong VECDB_CPU in an error */
    /* Bits of CPUID's leaf 7: of ecx and, in subleaf 1, of eax. Not every compiler has names for them. */
    LEAF7_C_VNNI = 11,
    LEAF7_C_VPOPCNTDQ = 14,
    LEAF7_1_A_BF16 = 5,
};

static const char *const level_names[VDB_CPU_LEVEL_COUNT] = {"scalar", "neon", "avx2", "avx512"};

/* The levels a machine of each level may be told to use. */
static const char *const allowed_names[VDB_CPU_LEVEL_COUNT] = {"scalar", "scalar, neon", "scalar, avx2",
                                                               "scalar, avx2, avx512"};

const char *vdb_cpu_level_name(vdb_cpu_level level)
{
    assert((unsigned)level < VDB_CPU_LEVEL_COUNT);
    return level_names[level];
}

const char *vdb_cpu_extension_name(unsigned extension)
{
    switch (extension) {
    case VDB_CPU_AVX512VNNI:
        return "avx512vnni";
    case VDB_CPU_AVX512BF16:
        return "avx512bf16";
    case VDB_CPU_AVX512VPOPCNTDQ:
        return "avx512vpopcntdq";
    default:
        return NULL;
    }
}

bool vdb_cpu_runs(vdb_cpu_level machine, vdb_cpu_level level)
{
    return level == VDB_CPU_SCALAR || level == machine || (level == VDB_CPU_AVX2 && machine == VDB_CPU_AVX512);
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

unsigned vdb_cpu_detect_extensions(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    unsigned extensions = 0;
    if (vdb_cpu_detect() != VDB_CPU_AVX512) {
        return 0;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
        extensions |= (c >> LEAF7_C_VNNI & 1) != 0 ? VDB_CPU_AVX512VNNI : 0;
        extensions |= (c >> LEAF7_C_VPOPCNTDQ & 1) != 0 ? VDB_CPU_AVX512VPOPCNTDQ : 0;
    }
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
        extensions |= (a >> LEAF7_1_A_BF16 & 1) != 0 ? VDB_CPU_AVX512BF16 : 0;
    }
    return extensions;
}
#elif defined(__aarch64__)
vdb_cpu_level vdb_cpu_detect(void)
{
    return VDB_CPU_NEON; /* part of the baseline of 64-bit ARM */
}

unsigned vdb_cpu_detect_extensions(void)
{
    return 0;
}
#else
vdb_cpu_level vdb_cpu_detect(void)
{
    return VDB_CPU_SCALAR;
}

unsigned vdb_cpu_detect_extensions(void)
{
    return 0;
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
        if (!vdb_cpu_runs(machine, (vdb_cpu_level)level)) {
            return vdb_err_set(err, VDB_INVALID,
                               "VECDB_CPU: \"%s\" is more than this machine has (%s); allowed here: %s", value,
                               level_names[machine], allowed_names[machine]);
        }
        *out = (vdb_cpu_level)level;
        return VDB_OK;
    }
    return vdb_err_set(err, VDB_INVALID, "VECDB_CPU: \"%.*s\" is no level; allowed: %s; this machine has %s",
                       VALUE_SHOWN_BYTES, value, allowed_names[machine], level_names[machine]);
}

vdb_status vdb_cpu_check(struct vdb_err *err)
{
    vdb_cpu_level level;
    return vdb_cpu_choose(getenv("VECDB_CPU"), vdb_cpu_detect(), &level, err);
}

void vdb_kernels_fill_with(struct vdb_kernels *table, vdb_cpu_level level, unsigned extensions)
{
    assert(vdb_cpu_runs(vdb_cpu_detect(), level));
    assert((extensions & ~vdb_cpu_detect_extensions()) == 0);
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
    table->extensions = extensions;
    if ((extensions & VDB_CPU_AVX512VNNI) != 0) {
        vdb_kernels_avx512vnni(table);
    }
    if ((extensions & VDB_CPU_AVX512BF16) != 0) {
        vdb_kernels_avx512bf16(table);
    }
    if ((extensions & VDB_CPU_AVX512VPOPCNTDQ) != 0) {
        vdb_kernels_avx512vpopcntdq(table);
    }
#elif defined(__aarch64__)
    if (level == VDB_CPU_NEON) {
        vdb_kernels_neon(table);
    }
#else
    (void)level;
    (void)extensions;
#endif
}

void vdb_kernels_fill(struct vdb_kernels *table, vdb_cpu_level level)
{
    vdb_kernels_fill_with(table, level, vdb_cpu_detect_extensions());
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
