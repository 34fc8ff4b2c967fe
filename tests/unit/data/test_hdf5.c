/* test_hdf5.c: what is written reads back, in any blocks; what is not there or not allowed is named. Files that
 * other programs made are read in tests/e2e/test_knn_batch.py. */
#include "support.h"

#include "data/hdf5.h"
#include "data/stream.h"

#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/vecdb-test-hdf5-XXXXXX";
static char path[256];

static void fill(struct vdb_vectors *v, vdb_vectors_type type, size_t rows, size_t dimension)
{
    struct vdb_err err = {0};
    assert_ok(vdb_vectors_init(v, type, rows, dimension, &err), &err);
    uint8_t *bytes = v->data;
    for (size_t i = 0; i < rows * vdb_vectors_row_bytes(v); i++) {
        bytes[i] = type == VDB_VECTORS_F32 ? (uint8_t)(i % 4 == 3 ? 64 : i * 31) : (uint8_t)(i * 37);
    }
    for (size_t r = 0; type == VDB_VECTORS_BIT && dimension % 8 != 0 && r < rows; r++) {
        bytes[(r + 1) * vdb_vectors_row_bytes(v) - 1] &= (uint8_t)(0xff << (8 - dimension % 8));
    }
}

static void round_trip(vdb_vectors_type type, size_t dimension)
{
    enum { ROWS = 41 };
    struct vdb_vectors all;
    struct vdb_vectors back;
    struct vdb_err err = {0};
    struct vdb_hdf5_writer *writer;
    fill(&all, type, ROWS, dimension);
    size_t row_bytes = vdb_vectors_row_bytes(&all);
    assert_ok(vdb_hdf5_create(path, VDB_METRIC_DOT, &writer, &err), &err);
    for (size_t first = 0; first < ROWS; first += 20) {
        struct vdb_vectors part = all;
        part.first_row = first;
        part.count = ROWS - first < 20 ? ROWS - first : 20;
        part.data = (char *)all.data + first * row_bytes;
        assert_ok(vdb_hdf5_write_rows(writer, "train", &part, ROWS, &err), &err);
    }
    assert_ok(vdb_hdf5_finish(writer, &err), &err);
    vdb_hdf5_writer_close(writer);
    vdb_metric metric;
    assert_ok(vdb_hdf5_metric(path, &metric, &err), &err);
    assert_int_equal(metric, VDB_METRIC_DOT);
    struct vdb_vector_stream stream;
    assert_ok(vdb_vector_stream_open(&stream, vdb_env_posix(), path, NULL, &err), &err);
    assert_int_equal(stream.type, type);
    for (size_t first = 0; first < ROWS; first += back.count) {
        assert_ok(vdb_vector_stream_next(&stream, 16, &back, &err), &err);
        assert_memory_equal(back.data, (char *)all.data + first * row_bytes, back.count * row_bytes);
        free(back.data);
    }
    vdb_vector_stream_close(&stream);
    vdb_vectors_fini(&all);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 8, 61};
    for (size_t i = 0; i < 3; i++) {
        round_trip(VDB_VECTORS_F32, dimensions[i]);
        round_trip(VDB_VECTORS_U8, dimensions[i]);
        round_trip(VDB_VECTORS_I8, dimensions[i]);
        round_trip(VDB_VECTORS_I32, dimensions[i]);
        round_trip(VDB_VECTORS_BIT, dimensions[i]);
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct vdb_hdf5 *hdf5;
    struct vdb_hdf5_shape shape;
    struct vdb_err err = {0};
    round_trip(VDB_VECTORS_U8, 4);
    assert_fails(vdb_hdf5_open(path, "test", &hdf5, &shape, &err), VDB_NOT_FOUND, &err,
                 "data set \"test\": the file has no such data set");
    assert_fails(vdb_hdf5_open(path, "", &hdf5, &shape, &err), VDB_INVALID, &err, "is not empty");
    assert_fails(vdb_hdf5_open(path, "a/b", &hdf5, &shape, &err), VDB_INVALID, &err, "no '/'");
    assert_fails(vdb_hdf5_open("/nowhere/x.h5", "train", &hdf5, &shape, &err), VDB_INVALID, &err, "cannot open");
    assert_null(hdf5);
    struct vdb_hdf5_writer *writer;
    assert_fails(vdb_hdf5_create("/nowhere/x.h5", VDB_METRIC_L2, &writer, &err), VDB_IO, &err, "x.h5.tmp");
    assert_fails(vdb_hdf5_create(path, VDB_METRIC_L1, &writer, &err), VDB_INVALID, &err, "no word for");
    assert_null(writer);
}

/* Closing without finish leaves the old file and no temporary one. */
static void test_abandoned(void **state)
{
    (void)state;
    struct vdb_hdf5_writer *writer;
    struct vdb_err err = {0};
    char temporary[300];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    assert_ok(vdb_hdf5_create(path, VDB_METRIC_L2, &writer, &err), &err);
    assert_int_equal(access(temporary, F_OK), 0);
    vdb_hdf5_writer_close(writer);
    assert_int_not_equal(access(temporary, F_OK), 0);
    assert_int_equal(access(path, F_OK), 0);
    vdb_hdf5_writer_close(NULL);
    vdb_hdf5_close(NULL);
}

int main(void)
{
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/a.hdf5", folder);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_abandoned)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    struct vdb_err err;
    return vdb_env_remove_tree(vdb_env_posix(), folder, &err) != VDB_OK || failed;
}
