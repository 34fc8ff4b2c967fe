/* roofs.h: what the processor can compute at most: the rates of the instructions that the distance kernels are built
 * on, by loops that run nothing else. The loops know nothing of the kernels: that makes them roofs.
 *
 * Threads: pure functions, on the caller's thread.
 */
#ifndef VECDB_MICRO_ROOFS_H
#define VECDB_MICRO_ROOFS_H

#include <stdbool.h>
#include <stdint.h>

enum roof {
    ROOF_SSE_MULADD,
    ROOF_AVX2_FMA,
    ROOF_AVX2_MADD,
    ROOF_AVX2_SHUFFLE,
    ROOF_AVX512_FMA,
    ROOF_AVX512_MADD,
    ROOF_AVX512_VNNI,
    ROOF_AVX512_BF16,
    ROOF_AVX512_POPCNT,
    ROOF_COUNT,
    ROOF_NONE = ROOF_COUNT
};

const char *roof_name(enum roof roof);

/* Whether this processor has the instruction. */
bool roof_exists(enum roof roof);

/* Operations per second: multiply-adds of two elements, for ROOF_AVX2_SHUFFLE and ROOF_AVX512_POPCNT counted bits. */
double roof_measure(enum roof roof);

/* Seconds of processor time of this thread: a core that others use too distorts it less than the clock on the wall. */
double roof_cpu_seconds(void);

/* ---- Between the files ---- */

/* Independent instructions in flight: more than the longest latency times the widest issue of today's processors. */
enum { ROOF_CHAINS = 12 };

/* Runs `steps` times ROOF_CHAINS instructions; the operations of one instruction. */
typedef unsigned roof_loop(enum roof roof, uint64_t steps);
roof_loop roof_loop_sse, roof_loop_avx2, roof_loop_avx512;

/* Runs INSTRUCTION on every chain's register in turn: \\r is its number; register 12 is an operand, 13 to spare, all
 * zero at first. In assembly with registers by name, so that no compiler shortens or spills what is measured. */
#define ROOF_RUN(ZERO, INSTRUCTION)                                                                              \
    do {                                                                                                         \
        __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n\t" ZERO "\n\t.endr" ::: ROOF_REGISTERS);      \
        for (uint64_t step = 0; step < steps; step++) {                                                          \
            __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n\t" INSTRUCTION "\n\t.endr" ::: ROOF_REGISTERS); \
        }                                                                                                        \
    } while (0)
#define ROOF_REGISTERS                                                                                           \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",   \
        "xmm13"

#endif
