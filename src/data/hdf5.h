/* hdf5.h: HDF5 files in the layout of ann-benchmarks, by libhdf5.
 *
 *     train, test    rows of vectors       f32, f64, f16, u8, i8, bool
 *     neighbors      rows of ids           i32
 *     distances      rows of distances     f32
 *     /distance      attribute of the file: euclidean, angular, hamming, jaccard, ip
 *     /type, /dimension, /point_type   attributes that are written (dense; float or bit) and not read
 *
 * Floats are read as f32 (an f64 is rounded; one beyond f32 becomes infinity, which the value checks refuse),
 * bool as packed bits. Whatever would lead a reader elsewhere (links, external storage, virtual data sets) is
 * refused, and so are filters other than gzip, shuffle and fletcher32. libhdf5's own messages are silenced; ours name
 * the data set, what is there and what is allowed.
 *
 * Reading happens in a child process for each open data set (hdf5.c says why): a damaged file that crashes libhdf5,
 * or keeps it busy, is VDB_INVALID; one that stands still (a disk that hangs) is VDB_IO. Open before starting threads.
 * A program that ignores SIGCHLD gets its default back, or nobody could say how a child ended.
 *
 * Threads: confined; libhdf5 is not thread-safe here, so writing is for one thread at a time in the whole process.
 */
#ifndef VDB_DATA_HDF5_H
#define VDB_DATA_HDF5_H

#include "vectors.h"

struct vdb_hdf5; /* one data set, open for reading */

struct vdb_hdf5_shape {
    vdb_vectors_type type; /* as it is read */
    size_t count;
    size_t dimension;
    size_t value_bytes;    /* of one value in the file: f16, f32 and f64 are all read as f32 */
    uint64_t memory_bytes; /* what the child needs at most, to read it; a damaged file may take it to its limit */
};

/* Messages name the data set, not the file: callers put that in front. VDB_NOT_FOUND when there is no data set of
 * that name. */
vdb_status vdb_hdf5_open(const char *path, const char *name, struct vdb_hdf5 **out, struct vdb_hdf5_shape *shape,
                         struct vdb_err *err) VDB_MUST_CHECK;
/* Fills out (of the data set's type and dimension): its count rows from its first_row on. After a failure other than
 * rows that do not exist, every further call fails the same way. */
vdb_status vdb_hdf5_read_rows(struct vdb_hdf5 *hdf5, struct vdb_vectors *out, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_hdf5_close(struct vdb_hdf5 *hdf5); /* NULL is allowed */

/* For tests: how long the child may be silent before it counts as hanging; 0 for the usual time. */
void vdb_hdf5_set_silence_ms_max(unsigned silence_ms_max);

/* What the file's attribute `distance` says: VDB_NOT_FOUND without one, VDB_INVALID names an unknown one. */
vdb_status vdb_hdf5_metric(const char *path, vdb_metric *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Writing: data sets are created with their full shape and filled by row ranges. The file appears under its name
 * at finish (PATH.tmp, sync, rename); close without finish leaves nothing. */
struct vdb_hdf5_writer;

vdb_status vdb_hdf5_create(const char *path, vdb_metric metric, struct vdb_hdf5_writer **out,
                           struct vdb_err *err) VDB_MUST_CHECK;
/* Writes rows (from rows->first_row on) of a data set of `count` rows, which the first call for it creates. Bits
 * are written as bool. */
vdb_status vdb_hdf5_write_rows(struct vdb_hdf5_writer *writer, const char *name, const struct vdb_vectors *rows,
                               size_t count, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_hdf5_finish(struct vdb_hdf5_writer *writer, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_hdf5_writer_close(struct vdb_hdf5_writer *writer); /* NULL is allowed */

#endif
