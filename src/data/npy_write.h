/* npy_write.h: writing matrices of results as NumPy's .npy, format version 1.0. Threads: safe from all threads.
 */
#ifndef VDB_DATA_NPY_WRITE_H
#define VDB_DATA_NPY_WRITE_H

#include "env/env.h"

typedef enum vdb_npy_type { VDB_NPY_I32, VDB_NPY_U32, VDB_NPY_F32, VDB_NPY_F64, VDB_NPY_TYPE_COUNT } vdb_npy_type;

/* count x dimension values, row after row. Replaces the file whole or not at all: PATH.tmp, sync, rename; a
 * failure leaves no PATH.tmp behind where it can be removed. */
vdb_status vdb_npy_write(struct vdb_env *env, const char *path, vdb_npy_type type, const void *values,
                         size_t count, size_t dimension, struct vdb_err *err) VDB_MUST_CHECK;

#endif
