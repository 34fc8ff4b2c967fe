/* hdf5_write.c: the writing half of hdf5.h. Data sets stay open until the file is finished, so that rows can come
 * block by block; a data set is contiguous, since its shape is known when it is made. */
#include "hdf5.h"

#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATASETS_MAX = 8, NAME_BYTES = 32, BOOL_BLOCK_BYTES = 1 << 20 };

struct written {
    char name[NAME_BYTES];
    hid_t dataset;
    hid_t type; /* of the memory; ours to close when owned */
    bool owned;
};

struct vdb_hdf5_writer {
    hid_t file;
    struct written sets[DATASETS_MAX];
    size_t set_count;
    bool made; /* the temporary file is there */
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char temporary[VDB_LIMIT_PATH_BYTES_MAX];
};

static const char *word_of(vdb_metric metric)
{
    switch (metric) {
    case VDB_METRIC_COSINE:
        return "angular";
    case VDB_METRIC_DOT:
        return "ip";
    case VDB_METRIC_HAMMING:
        return "hamming";
    case VDB_METRIC_JACCARD:
        return "jaccard";
    case VDB_METRIC_L2:
        return "euclidean";
    default:
        return NULL;
    }
}

static vdb_status refuse(const struct vdb_hdf5_writer *writer, const char *what, struct vdb_err *err)
{
    return vdb_err_set(err, VDB_IO, "write \"%s\": %s", writer->temporary, what);
}

static bool put_word(hid_t file, const char *name, const char *word)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = -1;
    bool done = type >= 0 && space >= 0 && H5Tset_size(type, H5T_VARIABLE) >= 0 &&
                H5Tset_cset(type, H5T_CSET_UTF8) >= 0;
    if (done) {
        attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        done = attribute >= 0 && H5Awrite(attribute, type, (const void *)&word) >= 0;
    }
    (void)(attribute >= 0 && H5Aclose(attribute));
    (void)(space >= 0 && H5Sclose(space));
    (void)(type >= 0 && H5Tclose(type));
    return done;
}

static bool put_number(hid_t file, const char *name, int64_t number)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = space >= 0 ? H5Acreate2(file, name, H5T_NATIVE_INT64, space, H5P_DEFAULT, H5P_DEFAULT) : -1;
    bool done = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &number) >= 0;
    (void)(attribute >= 0 && H5Aclose(attribute));
    (void)(space >= 0 && H5Sclose(space));
    return done;
}

/* What the file says of its vectors beside the distance. */
static bool describe_train(hid_t file, vdb_vectors_type type, size_t dimension)
{
    return put_word(file, "type", "dense") && put_number(file, "dimension", (int64_t)dimension) &&
           put_word(file, "point_type", type == VDB_VECTORS_BIT ? "bit" : "float");
}

vdb_status vdb_hdf5_create(const char *path, vdb_metric metric, struct vdb_hdf5_writer **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = NULL;
    if (strlen(path) + sizeof ".tmp" > VDB_LIMIT_PATH_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "\"%.60s...\": the path has %zu bytes, at most %zu are allowed",
                           path, strlen(path), VDB_LIMIT_PATH_BYTES_MAX - sizeof ".tmp");
    }
    if (word_of(metric) == NULL) {
        return vdb_err_set(err, VDB_INVALID, "the layout has no word for the metric %s; write .npy instead",
                           vdb_metric_name(metric));
    }
    struct vdb_hdf5_writer *writer = vdb_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return vdb_err_no_memory(err, "an HDF5 file");
    }
    snprintf(writer->path, sizeof writer->path, "%s", path);
    snprintf(writer->temporary, sizeof writer->temporary, "%s.tmp", path);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    errno = 0;
    writer->file = H5Fcreate(writer->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (writer->file < 0) {
        status = refuse(writer, errno != 0 ? strerror(errno) : "libhdf5 cannot create it", err);
        goto cleanup;
    }
    writer->made = true;
    if (!put_word(writer->file, "distance", word_of(metric))) {
        status = refuse(writer, "libhdf5 cannot write the attribute", err);
    }

cleanup:
    if (status != VDB_OK) {
        vdb_hdf5_writer_close(writer);
    } else {
        *out = writer;
    }
    return status;
}

/* h5py's boolean: an enumeration over an 8-bit integer. */
static hid_t make_bool(void)
{
    static const signed char values[] = {0, 1};
    hid_t type = H5Tenum_create(H5T_NATIVE_SCHAR);
    if (type >= 0 &&
        (H5Tenum_insert(type, "FALSE", &values[0]) < 0 || H5Tenum_insert(type, "TRUE", &values[1]) < 0)) {
        (void)H5Tclose(type);
        return -1;
    }
    return type;
}

static hid_t type_for(vdb_vectors_type type)
{
    switch (type) {
    case VDB_VECTORS_F32:
        return H5T_NATIVE_FLOAT;
    case VDB_VECTORS_U8:
        return H5T_NATIVE_UCHAR;
    case VDB_VECTORS_I8:
        return H5T_NATIVE_SCHAR;
    case VDB_VECTORS_I32:
        return H5T_NATIVE_INT32;
    case VDB_VECTORS_BIT:
        return make_bool();
    default:
        return -1; /* f16 is computed and written as f32 */
    }
}

static struct written *find_set(struct vdb_hdf5_writer *writer, const char *name)
{
    for (size_t i = 0; i < writer->set_count; i++) {
        if (strcmp(writer->sets[i].name, name) == 0) {
            return &writer->sets[i];
        }
    }
    return NULL;
}

static vdb_status make_set(struct vdb_hdf5_writer *writer, const char *name, vdb_vectors_type type, size_t count,
                           size_t dimension, struct written **out, struct vdb_err *err)
{
    if (writer->set_count == DATASETS_MAX) {
        return refuse(writer, "too many data sets", err);
    }
    struct written *set = &writer->sets[writer->set_count];
    hsize_t extent[2] = {count, dimension};
    *set = (struct written){.dataset = -1, .type = type_for(type), .owned = type == VDB_VECTORS_BIT};
    snprintf(set->name, sizeof set->name, "%s", name);
    hid_t space = H5Screate_simple(2, extent, NULL);
    if (set->type >= 0 && space >= 0) {
        set->dataset = H5Dcreate2(writer->file, name, set->type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    }
    (void)(space >= 0 && H5Sclose(space));
    writer->set_count++;
    *out = set;
    if (strcmp(name, "train") == 0 && !describe_train(writer->file, type, dimension)) {
        return refuse(writer, "libhdf5 cannot write the attributes", err);
    }
    return set->dataset >= 0 ? VDB_OK : refuse(writer, "libhdf5 cannot create a data set", err);
}

static bool write_slab(const struct written *set, size_t first, size_t rows, size_t dimension, const void *values)
{
    hsize_t start[2] = {first, 0};
    hsize_t extent[2] = {rows, dimension};
    hid_t memory = H5Screate_simple(2, extent, NULL);
    hid_t space = H5Dget_space(set->dataset);
    bool done = memory >= 0 && space >= 0 &&
                H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0 &&
                H5Dwrite(set->dataset, set->type, memory, space, H5P_DEFAULT, values) >= 0;
    (void)(memory >= 0 && H5Sclose(memory));
    (void)(space >= 0 && H5Sclose(space));
    return done;
}

static vdb_status write_bits(const struct vdb_hdf5_writer *writer, const struct written *set,
                             const struct vdb_vectors *rows, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    size_t dimension = rows->dimension;
    size_t block_rows = BOOL_BLOCK_BYTES / dimension > 0 ? BOOL_BLOCK_BYTES / dimension : 1;
    uint8_t *block = malloc(block_rows * dimension);
    if (block == NULL) {
        return vdb_err_no_memory(err, "a block of rows");
    }
    for (size_t first = 0; first < rows->count; first += block_rows) {
        size_t count = rows->count - first < block_rows ? rows->count - first : block_rows;
        for (size_t i = 0; i < count * dimension; i++) {
            const uint8_t *row = vdb_vectors_row(rows, first + i / dimension);
            block[i] = row[i % dimension / 8] >> (7 - i % dimension % 8) & 1;
        }
        if (!write_slab(set, rows->first_row + first, count, dimension, block)) {
            status = refuse(writer, "libhdf5 cannot write rows (disk full?)", err);
            goto cleanup;
        }
    }

cleanup:
    free(block);
    return status;
}

vdb_status vdb_hdf5_write_rows(struct vdb_hdf5_writer *writer, const char *name, const struct vdb_vectors *rows,
                               size_t count, struct vdb_err *err)
{
    struct written *set = find_set(writer, name);
    if (set == NULL) {
        VDB_TRY(make_set(writer, name, rows->type, count, rows->dimension, &set, err));
    }
    if (rows->count == 0) {
        return VDB_OK;
    }
    if (rows->type == VDB_VECTORS_BIT) {
        return write_bits(writer, set, rows, err);
    }
    return write_slab(set, rows->first_row, rows->count, rows->dimension, rows->data)
               ? VDB_OK
               : refuse(writer, "libhdf5 cannot write rows (disk full?)", err);
}

/* Closes data sets and file; false when libhdf5 could not write all of it out. */
static bool close_all(struct vdb_hdf5_writer *writer)
{
    bool done = true;
    for (size_t i = 0; i < writer->set_count; i++) {
        struct written *set = &writer->sets[i];
        done = (set->dataset < 0 || H5Dclose(set->dataset) >= 0) && done;
        (void)(set->owned && set->type >= 0 && H5Tclose(set->type));
    }
    writer->set_count = 0;
    done = (writer->file < 0 || H5Fclose(writer->file) >= 0) && done;
    writer->file = -1;
    return done;
}

static bool sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

vdb_status vdb_hdf5_finish(struct vdb_hdf5_writer *writer, struct vdb_err *err)
{
    if (!close_all(writer)) {
        return refuse(writer, "libhdf5 cannot write all of it (disk full?)", err);
    }
    if (!sync_path(writer->temporary) || rename(writer->temporary, writer->path) != 0) {
        return refuse(writer, strerror(errno), err);
    }
    writer->made = false;
    return VDB_OK;
}

void vdb_hdf5_writer_close(struct vdb_hdf5_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    (void)close_all(writer);
    if (writer->made) {
        (void)unlink(writer->temporary);
    }
    free(writer);
}
