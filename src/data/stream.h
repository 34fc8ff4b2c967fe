/* stream.h: a file of vectors, block by block, so that files larger than memory can be searched.
 *
 *     vdb_vector_stream_open(...); vdb_vector_stream_next(...) until it gives no block;
 * vdb_vector_stream_close();
 *
 * Formats as in vectors.h. A file that changes between opening and the last block is an error (size and time of
 * writing are compared after every block), and so is what a whole load would refuse; but errors in later rows
 * come only when those rows are reached. Threads: confined.
 */
#ifndef VDB_DATA_STREAM_H
#define VDB_DATA_STREAM_H

#include "base/limits.h"
#include "source.h"
#include "vectors.h"

struct vdb_hdf5;

struct vdb_vector_stream {
    vdb_vectors_type type; /* of the values, from here on set by open */
    const char *type_name; /* as it is in the file: f16 and f64 of HDF5 are read as f32 */
    size_t count;
    size_t dimension;
    size_t next_row;       /* of the next block */
    uint64_t reader_bytes; /* memory of the process that reads HDF5, while the stream is open; else 0 */
    /* private */
    char path[VDB_LIMIT_PATH_BYTES_MAX]; /* of the file, without the data set's name */
    struct vdb_source source;
    struct vdb_hdf5 *hdf5; /* or NULL */
    uint64_t data_offset;  /* npy */
    bool vecs;
};

/* part: the data set of an HDF5 file whose path names none; NULL: "train". Other formats ignore it. */
vdb_status vdb_vector_stream_open(struct vdb_vector_stream *stream, struct vdb_env *env, const char *path,
                                  const char *part, struct vdb_err *err) VDB_MUST_CHECK;

/* The next rows, at most rows_max, in fresh memory that the caller releases with vdb_vectors_fini. After the last
 * row: VDB_OK and block->data NULL. Nothing is left in block on failure. */
vdb_status vdb_vector_stream_next(struct vdb_vector_stream *stream, size_t rows_max, struct vdb_vectors *block,
                                  struct vdb_err *err) VDB_MUST_CHECK;

void vdb_vector_stream_close(struct vdb_vector_stream *stream);

/* Whether path is an HDF5 file by its name, with or without a data set's name behind a colon; *path_bytes is the
 * length of the file's own path, *part the name or NULL. */
bool vdb_vector_stream_is_hdf5(const char *path, size_t *path_bytes, const char **part);

#endif
