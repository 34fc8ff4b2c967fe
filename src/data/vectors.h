/* vectors.h: a matrix of vectors in memory, and the one call that loads it from a file of the field.
 *
 * Files, told apart by the end of their names:
 *
 *     .npy     NumPy's array format, versions 1, 2 and 3: f32, f16, u8, i8, i32; C order; one or two axes
 *     .fvecs   rows of a 32-bit dimension and that many f32
 *     .bvecs   the same with u8
 *     .ivecs   the same with i32 (ids, as in ground truth files)
 *     .hdf5, .h5   a data set of an HDF5 file in the layout of ann-benchmarks: F.hdf5 is its "train",
 *                  F.hdf5:NAME names another; f32, f64 and f16 (as f32), u8, i8, bool (as bits), i32
 *
 * A header is believed only after the size of the real file has borne it out, so a lying one cannot make us
 * allocate. Malformed files are VDB_INVALID; the text names file, place, what was found and what is allowed.
 * Values are loaded as they are: call vdb_vectors_check_finite before computing with floats.
 *
 * Threads: confined while it is loaded or converted, shared-read after.
 */
#ifndef VDB_DATA_VECTORS_H
#define VDB_DATA_VECTORS_H

#include "base/element.h"
#include "env/env.h"

typedef enum vdb_vectors_type {
    VDB_VECTORS_F32,
    VDB_VECTORS_F16, /* IEEE 754 binary16, as bits */
    VDB_VECTORS_U8,
    VDB_VECTORS_I8,
    VDB_VECTORS_I32, /* ids; not a type to compute distances with */
    VDB_VECTORS_BIT, /* packed as base/element.h says; the dimension counts bits */
    VDB_VECTORS_TYPE_COUNT,
} vdb_vectors_type;

const char *vdb_vectors_type_name(vdb_vectors_type type); /* "f32", "f16", "u8", "i8", "i32", "bit" */
/* Bytes of one value; 0 for bits, of which eight share one. */
size_t vdb_vectors_type_bytes(vdb_vectors_type type);
/* Bytes of a row of that many values. */
size_t vdb_vectors_type_row_bytes(vdb_vectors_type type, size_t dimension);
/* The element type that the kernels take; false for f16 (convert first) and i32. */
bool vdb_vectors_type_element(vdb_vectors_type type, vdb_element *out);

/* Rows lie packed one after the other. Zero-initialise; released by vdb_vectors_fini. */
struct vdb_vectors {
    void *data;       /* count * dimension values, aligned to 64 bytes; never NULL once loaded */
    size_t count;     /* may be 0; at most VDB_LIMIT_COLLECTION_POINTS_MAX */
    size_t dimension; /* 1..VDB_LIMIT_DIMENSION_MAX */
    vdb_vectors_type type;
    size_t first_row; /* number of row 0 in its file, for messages; 0 but for blocks of a stream */
};

/* Loads a whole file (a stream in one block, see stream.h). Nothing is left in out on failure. */
vdb_status vdb_vectors_load(struct vdb_env *env, const char *path, struct vdb_vectors *out,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* Zeroed memory for count vectors, sizes checked (for the readers). */
vdb_status vdb_vectors_init(struct vdb_vectors *vectors, vdb_vectors_type type, size_t count, size_t dimension,
                            struct vdb_err *err) VDB_MUST_CHECK;
void vdb_vectors_fini(struct vdb_vectors *vectors);

size_t vdb_vectors_row_bytes(const struct vdb_vectors *vectors);
const void *vdb_vectors_row(const struct vdb_vectors *vectors, size_t row);

/* Takes u8 rows, eight packed bits each, as vectors of `bits` bits: VDB_INVALID when that is no u8 matrix, or its
 * rows are not exactly as long as so many bits need. */
vdb_status vdb_vectors_as_bits(struct vdb_vectors *vectors, size_t bits, struct vdb_err *err) VDB_MUST_CHECK;

/* Converts in place (new memory, the old is freed). f16, u8 and i8 convert exactly; f32 is left alone. i32
 * (beyond 2^24 not exact) and bits are VDB_UNSUPPORTED. */
vdb_status vdb_vectors_to_f32(struct vdb_vectors *vectors, struct vdb_err *err) VDB_MUST_CHECK;

/* VDB_INVALID names row, column and value of the first NaN or infinity in f32 or f16 data. */
vdb_status vdb_vectors_check_finite(const struct vdb_vectors *vectors, struct vdb_err *err) VDB_MUST_CHECK;

/* VDB_INVALID names the first row whose values are all zero, which has no direction: cosine needs one. */
vdb_status vdb_vectors_check_nonzero(const struct vdb_vectors *vectors, struct vdb_err *err) VDB_MUST_CHECK;

#endif
