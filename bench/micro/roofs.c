/* roofs.c: which roofs there are here, their timing, and the loop of the baseline. */
#include "roofs.h"

#include <time.h>

static const char *const names[ROOF_COUNT] = {
    [ROOF_SSE_MULADD] = "mulps+addps",
    [ROOF_AVX2_FMA] = "vfmadd ymm",
    [ROOF_AVX2_MADD] = "vpmaddwd+vpaddd ymm",
    [ROOF_AVX2_SHUFFLE] = "vpshufb+vpaddb ymm",
    [ROOF_AVX512_FMA] = "vfmadd zmm",
    [ROOF_AVX512_MADD] = "vpmaddwd+vpaddd zmm",
    [ROOF_AVX512_VNNI] = "vpdpbusd zmm",
    [ROOF_AVX512_BF16] = "vdpbf16ps zmm",
    [ROOF_AVX512_POPCNT] = "vpopcntq+vpaddq zmm",
};

const char *roof_name(enum roof roof)
{
    return roof < ROOF_COUNT ? names[roof] : "-";
}

bool roof_exists(enum roof roof)
{
#if defined(__x86_64__)
    switch (roof) {
    case ROOF_SSE_MULADD:
        return true;
    case ROOF_AVX2_FMA:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case ROOF_AVX2_MADD:
    case ROOF_AVX2_SHUFFLE:
        return __builtin_cpu_supports("avx2");
    case ROOF_AVX512_FMA:
        return __builtin_cpu_supports("avx512f");
    case ROOF_AVX512_MADD:
        return __builtin_cpu_supports("avx512bw");
    case ROOF_AVX512_VNNI:
        return __builtin_cpu_supports("avx512vnni");
    case ROOF_AVX512_BF16:
        return __builtin_cpu_supports("avx512bf16");
    case ROOF_AVX512_POPCNT:
        return __builtin_cpu_supports("avx512vpopcntdq");
    case ROOF_COUNT:
        break;
    }
#endif
    (void)roof;
    return false;
}

double roof_cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#if defined(__x86_64__)

unsigned roof_loop_sse(enum roof roof, uint64_t steps)
{
    (void)roof;
    ROOF_RUN("xorps %%xmm\\r, %%xmm\\r",
             "movaps %%xmm12, %%xmm13\n\tmulps %%xmm12, %%xmm13\n\taddps %%xmm13, %%xmm\\r");
    return 4;
}

double roof_measure(enum roof roof)
{
    enum { STEPS = 400000 }; /* about a millisecond */
    roof_loop *loop = roof == ROOF_SSE_MULADD  ? roof_loop_sse
                      : roof < ROOF_AVX512_FMA ? roof_loop_avx2
                                               : roof_loop_avx512;
    (void)loop(roof, STEPS / 8); /* wide registers take a while to wake */
    double start = roof_cpu_seconds();
    double operations = (double)loop(roof, STEPS) * STEPS * ROOF_CHAINS;
    return operations / (roof_cpu_seconds() - start);
}
#else
double roof_measure(enum roof roof)
{
    (void)roof;
    return 0;
}
#endif
