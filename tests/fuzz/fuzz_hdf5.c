/* fuzz_hdf5.c: any bytes as an HDF5 file, read as `vecdb knn` reads one: its metric, and the rows of its train.
 *
 * libhdf5 runs in a child process (data/hdf5.c), so what this target demands is that a crash or a loop in there comes
 * back as an error with a text, and that a shape is believed only when the bytes can bear it out. Address sanitizer
 * reports of the child are printed, and end up as such an error too: read them before calling them libhdf5's. */
// floor: data
// mutations: 400
#include "data/hdf5.h"
#include "require.h"

#include "base/limits.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { READ_BYTES_MAX = 1 << 22, FIRST_ROWS = 3, UNPACKED_MAX = 1032 /* times the file, by gzip */ };

static vdb_status read_block(struct vdb_hdf5 *hdf5, const struct vdb_hdf5_shape *shape, size_t first,
                             size_t count, struct vdb_err *out)
{
    struct vdb_err err = {0};
    struct vdb_vectors block;
    REQUIRE(vdb_vectors_init(&block, shape->type, count, shape->dimension, &err) == VDB_OK);
    block.first_row = first;
    vdb_status status = vdb_hdf5_read_rows(hdf5, &block, &err);
    REQUIRE(status == VDB_OK || (err.status == status && err.text[0] != '\0'));
    vdb_vectors_fini(&block);
    *out = err;
    return status;
}

static void read_metric(const char *path)
{
    struct vdb_err err = {0};
    vdb_metric metric = VDB_METRIC_COUNT;
    vdb_status status = vdb_hdf5_metric(path, &metric, &err);
    REQUIRE(status == VDB_OK ? metric < VDB_METRIC_COUNT : err.status == status && err.text[0] != '\0');
}

static void read_rows(const char *path, size_t bytes)
{
    struct vdb_err err = {0};
    struct vdb_hdf5 *hdf5 = NULL;
    struct vdb_hdf5_shape shape;
    vdb_status status = vdb_hdf5_open(path, "train", &hdf5, &shape, &err);
    if (status != VDB_OK) {
        REQUIRE(hdf5 == NULL && err.status == status && err.text[0] != '\0');
        return;
    }
    REQUIRE(shape.dimension >= 1 && shape.dimension <= VDB_LIMIT_DIMENSION_MAX);
    REQUIRE(shape.count * shape.dimension <= bytes * UNPACKED_MAX);
    size_t rows_max = READ_BYTES_MAX / vdb_vectors_type_row_bytes(shape.type, shape.dimension);
    size_t count = shape.count < rows_max ? shape.count : rows_max;
    size_t first = count < FIRST_ROWS ? count : FIRST_ROWS;
    REQUIRE(shape.value_bytes >= 1 && shape.value_bytes <= 8);
    struct vdb_err again;
    status = read_block(hdf5, &shape, 0, first, &err);
    vdb_status later = read_block(hdf5, &shape, first, count - first, &again);
    /* After a failure it fails again in the same words, and does not hang. */
    REQUIRE(status == VDB_OK || (later == status && strcmp(err.text, again.text) == 0));
    vdb_hdf5_close(hdf5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char path[64];
    int file = memfd_create("fuzz_hdf5", MFD_CLOEXEC);
    REQUIRE(file >= 0 && write(file, data, bytes) == (ssize_t)bytes);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), file);
    read_metric(path);
    read_rows(path, bytes);
    close(file);
    return 0;
}
