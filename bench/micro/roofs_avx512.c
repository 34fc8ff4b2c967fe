/* roofs_avx512.c: the loops of roofs.h in AVX-512 and its extensions. */
#include "roofs.h"

#if defined(__AVX512F__)

unsigned roof_loop_avx512(enum roof roof, uint64_t steps)
{
    switch (roof) {
    case ROOF_AVX512_FMA:
        ROOF_RUN("vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r", "vfmadd231ps %%zmm12, %%zmm12, %%zmm\\r");
        return 16;
    case ROOF_AVX512_MADD:
        ROOF_RUN("vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r",
                 "vpmaddwd %%zmm12, %%zmm12, %%zmm13\n\tvpaddd %%zmm13, %%zmm\\r, %%zmm\\r");
        return 32;
    case ROOF_AVX512_VNNI:
        ROOF_RUN("vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r", "vpdpbusd %%zmm12, %%zmm12, %%zmm\\r");
        return 64;
    case ROOF_AVX512_BF16:
        ROOF_RUN("vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r", "vdpbf16ps %%zmm12, %%zmm12, %%zmm\\r");
        return 32;
    case ROOF_AVX512_POPCNT:
        ROOF_RUN("vpxord %%zmm\\r, %%zmm\\r, %%zmm\\r",
                 "vpopcntq %%zmm12, %%zmm13\n\tvpaddq %%zmm13, %%zmm\\r, %%zmm\\r");
        return 512;
    default:
        return 0;
    }
}

#endif
