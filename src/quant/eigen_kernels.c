/* eigen_kernels.c: the loops for the baseline's registers, and the choice among levels. */
#include "eigen_kernels.h"

#include "eigen_loops.h"
#include "levels.h"

void vdb_eigen_kernels_scalar(struct vdb_eigen_kernels *table)
{
    *table = (struct vdb_eigen_kernels){loop_dot, loop_add, loop_update, loop_sweep, "scalar"};
}

void vdb_eigen_kernels_fill(struct vdb_eigen_kernels *table, vdb_cpu_level level)
{
    VDB_QUANT_LEVELS_ENTER(eigen_kernels, table, level);
}

VDB_QUANT_LEVELS_GET(eigen_kernels, kernels->level)
