/* roofs_avx2.c: the loops of roofs.h in AVX2. */
#include "roofs.h"

#if defined(__AVX2__)

unsigned roof_loop_avx2(enum roof roof, uint64_t steps)
{
    switch (roof) {
    case ROOF_AVX2_FMA:
        ROOF_RUN("vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r", "vfmadd231ps %%ymm12, %%ymm12, %%ymm\\r");
        return 8;
    case ROOF_AVX2_MADD:
        ROOF_RUN("vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r",
                 "vpmaddwd %%ymm12, %%ymm12, %%ymm13\n\tvpaddd %%ymm13, %%ymm\\r, %%ymm\\r");
        return 16;
    case ROOF_AVX2_SHUFFLE:
        ROOF_RUN("vpxor %%ymm\\r, %%ymm\\r, %%ymm\\r",
                 "vpshufb %%ymm12, %%ymm12, %%ymm13\n\tvpaddb %%ymm13, %%ymm\\r, %%ymm\\r");
        return 32 * 4;
    default:
        return 0;
    }
}

#endif
