/* npy.h: NumPy's .npy files, format versions 1.0, 2.0 and 3.0.
 *
 * The format is described in NumPy's documentation (numpy.lib.format): six magic bytes, a version, the length of
 * a header, the header as the text of a Python dictionary with exactly the keys descr, fortran_order and shape,
 * and then the values. Threads: safe from all threads.
 */
#ifndef VDB_DATA_NPY_H
#define VDB_DATA_NPY_H

#include "source.h"
#include "vectors.h"

struct vdb_npy_header {
    vdb_vectors_type type;
    size_t count;
    size_t dimension;
    uint64_t data_offset; /* of the first value in the file */
};

/* Reads and checks the header, and that the file is exactly as long as it says. */
vdb_status vdb_npy_read_header(const struct vdb_source *source, struct vdb_npy_header *out,
                               struct vdb_err *err) VDB_MUST_CHECK;

vdb_status vdb_npy_read(const struct vdb_source *source, struct vdb_vectors *out,
                        struct vdb_err *err) VDB_MUST_CHECK;

#endif
