/* eigen_avx2.c: the loops of eigen_loops.h for this level's registers. */
#include "quant/eigen_kernels.h"

#if defined(__x86_64__)
#include "quant/eigen_loops.h"

void vdb_eigen_kernels_avx2(struct vdb_eigen_kernels *table)
{
    *table = (struct vdb_eigen_kernels){loop_dot, loop_add, loop_update, loop_sweep, "avx2"};
}
#endif
