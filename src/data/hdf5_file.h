/* hdf5_file.h: one data set of an HDF5 file, read by libhdf5 in this very process: the inside of hdf5.h, which runs
 * it in a child. libhdf5 may crash, loop or eat memory on a damaged file, so nobody but that child (and the tests of
 * this file) calls it.
 *
 * What is checked before a value is read: the name leads nowhere else; layout, filters, type and shape are ones that
 * we know; and the bytes stored bear out the shape, so that a header cannot claim more values than the file can hold.
 *
 * Threads: as libhdf5, one thread at a time in the whole process.
 */
#ifndef VDB_DATA_HDF5_FILE_H
#define VDB_DATA_HDF5_FILE_H

#include "hdf5.h"

struct vdb_hdf5_file;

/* As vdb_hdf5_open, vdb_hdf5_read_rows, vdb_hdf5_close and vdb_hdf5_metric. */
vdb_status vdb_hdf5_file_open(const char *path, const char *name, struct vdb_hdf5_file **out,
                              struct vdb_hdf5_shape *shape, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_hdf5_file_read_rows(struct vdb_hdf5_file *file, struct vdb_vectors *out,
                                   struct vdb_err *err) VDB_MUST_CHECK;
void vdb_hdf5_file_close(struct vdb_hdf5_file *file); /* NULL is allowed */
vdb_status vdb_hdf5_file_metric(const char *path, vdb_metric *out, struct vdb_err *err) VDB_MUST_CHECK;

#endif
