/* eigen_kernels.c: the loops for the baseline's registers, and the choice among levels. */
#include "eigen_kernels.h"

#include <assert.h>
#include <pthread.h>

#include "distance/cpu.h"
#include "eigen_loops.h"

void vdb_eigen_kernels_scalar(struct vdb_eigen_kernels *table)
{
    *table = (struct vdb_eigen_kernels){loop_dot, loop_add, loop_update, loop_sweep, "scalar"};
}

void vdb_eigen_kernels_fill(struct vdb_eigen_kernels *table, vdb_cpu_level level)
{
    assert(vdb_cpu_runs(vdb_cpu_detect(), level));
    vdb_eigen_kernels_scalar(table);
#if defined(__x86_64__)
    if (level < VDB_CPU_AVX2) {
        return;
    }
    vdb_eigen_kernels_avx2(table);
    if (level < VDB_CPU_AVX512) {
        return;
    }
    vdb_eigen_kernels_avx512(table);
#else
    (void)level;
#endif
}

static struct vdb_eigen_kernels process_table;
static pthread_once_t process_table_once = PTHREAD_ONCE_INIT;

static void fill_process_table(void)
{
    vdb_eigen_kernels_fill(&process_table, vdb_kernels_get()->level); /* which has read VECDB_CPU */
}

const struct vdb_eigen_kernels *vdb_eigen_kernels_get(void)
{
    pthread_once(&process_table_once, fill_process_table);
    return &process_table;
}
