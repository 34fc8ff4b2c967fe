/* vecs.h: .fvecs, .bvecs and .ivecs files: rows of a 32-bit little-endian dimension followed by that many values.
 *
 * The format comes from the TEXMEX corpus (SIFT1M, GIST1M). It has no header: the first row's dimension rules,
 * and every later row must repeat it. Threads: safe from all threads.
 */
#ifndef VDB_DATA_VECS_H
#define VDB_DATA_VECS_H

#include "source.h"
#include "vectors.h"

/* type: VDB_VECTORS_F32 (.fvecs), VDB_VECTORS_U8 (.bvecs) or VDB_VECTORS_I32 (.ivecs). */
vdb_status vdb_vecs_read(const struct vdb_source *source, vdb_vectors_type type, struct vdb_vectors *out,
                         struct vdb_err *err) VDB_MUST_CHECK;

/* The same by parts, for streams: what the first row and the file's size say; then any rows, each with its
 * dimension checked (out: of that type and dimension; its first_row says which rows, its count how many); at last
 * what follows the last whole row. */
vdb_status vdb_vecs_read_shape(const struct vdb_source *source, vdb_vectors_type type, size_t *count,
                               size_t *dimension, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_vecs_read_rows(const struct vdb_source *source, struct vdb_vectors *out,
                              struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_vecs_check_end(const struct vdb_source *source, vdb_vectors_type type, size_t count,
                              size_t dimension, struct vdb_err *err) VDB_MUST_CHECK;

#endif
