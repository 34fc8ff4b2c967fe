/* test_hdf5.c: what is written reads back, in any blocks; what is not there or not allowed is named. Files that
 * other programs made are read in tests/e2e/test_knn_batch.py. The reader's child is killed in every way that a
 * crash, a loop or a stranger would. */
#include "support.h"

#include "data/hdf5.h"
#include "data/hdf5_file.h"
#include "data/stream.h"

#include <hdf5.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

/* The same in this process, where coverage and sanitizers see it. */
static void test_without_child(void **state)
{
    (void)state;
    static const vdb_vectors_type types[] = {VDB_VECTORS_F32, VDB_VECTORS_U8, VDB_VECTORS_I8, VDB_VECTORS_I32,
                                             VDB_VECTORS_BIT};
    struct vdb_hdf5_file *file;
    struct vdb_hdf5_shape shape;
    struct vdb_vectors all;
    struct vdb_vectors back;
    vdb_metric metric;
    struct vdb_err err = {0};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        round_trip(types[i], 13);
        fill(&all, types[i], 41, 13);
        assert_ok(vdb_hdf5_file_open(path, "train", &file, &shape, &err), &err);
        assert_ok(vdb_vectors_init(&back, shape.type, shape.count, shape.dimension, &err), &err);
        assert_ok(vdb_hdf5_file_read_rows(file, &back, &err), &err);
        assert_memory_equal(back.data, all.data, 41 * vdb_vectors_row_bytes(&all));
        vdb_hdf5_file_close(file);
        vdb_vectors_fini(&back);
        vdb_vectors_fini(&all);
    }
    assert_ok(vdb_hdf5_file_metric(path, &metric, &err), &err);
    assert_int_equal(metric, VDB_METRIC_DOT);
    assert_fails(vdb_hdf5_file_open(path, "test", &file, &shape, &err), VDB_NOT_FOUND, &err, "no such data set");
    assert_null(file);
    vdb_hdf5_file_close(NULL);
}

/* The only child that this process has. */
static pid_t find_child(void)
{
    char name[64];
    int child = 0;
    snprintf(name, sizeof name, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &child), 1);
    assert_int_equal(fclose(file), 0);
    return child;
}

static void check_killed(int number, vdb_status wanted, const char *text)
{
    struct vdb_hdf5 *hdf5;
    struct vdb_hdf5_shape shape;
    struct vdb_vectors rows;
    struct vdb_err err = {0};
    assert_ok(vdb_hdf5_open(path, "train", &hdf5, &shape, &err), &err);
    assert_ok(vdb_vectors_init(&rows, shape.type, shape.count, shape.dimension, &err), &err);
    assert_int_equal(kill(find_child(), number), 0);
    assert_fails(vdb_hdf5_read_rows(hdf5, &rows, &err), wanted, &err, text);
    /* And again: nobody is there to ask, and the answer stays. */
    memset(&err, 0, sizeof err);
    assert_fails(vdb_hdf5_read_rows(hdf5, &rows, &err), wanted, &err, text);
    vdb_hdf5_close(hdf5);
    vdb_vectors_fini(&rows);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left behind */
}

static void test_child_dies(void **state)
{
    (void)state;
    round_trip(VDB_VECTORS_U8, 4);
    check_killed(SIGBUS, VDB_INVALID, "libhdf5 crashed on it");
    check_killed(SIGXCPU, VDB_INVALID, "got nowhere with it in 60 seconds");
    check_killed(SIGKILL, VDB_IO, "ended by signal 9");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* As a parent may leave it: ended children would vanish, and with them what ended them. */
static void test_ignored_children(void **state)
{
    (void)state;
    round_trip(VDB_VECTORS_U8, 4);
    struct sigaction old;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    assert_int_equal(sigaction(SIGCHLD, &ignore, &old), 0);
    check_killed(SIGBUS, VDB_INVALID, "libhdf5 crashed on it (signal 7)");
    struct sigaction no_zombies = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    assert_int_equal(sigaction(SIGCHLD, &no_zombies, NULL), 0);
    check_killed(SIGKILL, VDB_IO, "ended by signal 9");
    assert_int_equal(sigaction(SIGCHLD, &old, NULL), 0);
}

/* H5: a child that is there and says nothing. */
static void test_child_hangs(void **state)
{
    (void)state;
    round_trip(VDB_VECTORS_U8, 4);
    vdb_hdf5_set_silence_ms_max(300);
    check_killed(SIGSTOP, VDB_IO, "got no further in 0.3 seconds");
    vdb_hdf5_set_silence_ms_max(0);
}

/* Rows in one chunk with a checksum, which a byte of theirs then belies. */
static void write_belied(void)
{
    enum { ROWS = 64, DIMENSION = 16 };
    static uint8_t values[ROWS][DIMENSION];
    static char bytes[1 << 16];
    const hsize_t extent[2] = {ROWS, DIMENSION};
    memset(values, 0xa5, sizeof values);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(2, extent, NULL);
    assert_true(H5Pset_chunk(plist, 2, extent) >= 0 && H5Pset_fletcher32(plist) >= 0);
    hid_t dataset = H5Dcreate2(file, "train", H5T_NATIVE_UCHAR, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UCHAR, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    assert_true(H5Dclose(dataset) >= 0 && H5Sclose(space) >= 0 && H5Pclose(plist) >= 0 && H5Fclose(file) >= 0);
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    size_t count = fread(bytes, 1, sizeof bytes, stream);
    const char *at = memmem(bytes, count, values, sizeof values);
    assert_non_null(at);
    assert_int_equal(fseek(stream, at - bytes + 7, SEEK_SET), 0);
    assert_int_equal(fputc(0x5a, stream), 0x5a);
    assert_int_equal(fclose(stream), 0);
}

/* An ordinary error ends the child as well, and is the answer to every later question. */
static void test_errors_stay(void **state)
{
    (void)state;
    struct vdb_hdf5 *hdf5;
    struct vdb_hdf5_shape shape;
    struct vdb_vectors rows;
    struct vdb_err err = {0};
    write_belied();
    assert_ok(vdb_hdf5_open(path, "train", &hdf5, &shape, &err), &err);
    assert_ok(vdb_vectors_init(&rows, shape.type, shape.count, shape.dimension, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        memset(&err, 0, sizeof err);
        assert_fails(vdb_hdf5_read_rows(hdf5, &rows, &err), VDB_INVALID, &err,
                     "libhdf5 cannot read rows 0 to 63: damaged or cut short");
    }
    rows.first_row = 64;
    assert_fails(vdb_hdf5_read_rows(hdf5, &rows, &err), VDB_INVALID, &err, "rows 64 to 127 are asked for");
    vdb_hdf5_close(hdf5);
    vdb_vectors_fini(&rows);
}

static void test_rows_outside(void **state)
{
    (void)state;
    struct vdb_hdf5 *hdf5;
    struct vdb_hdf5_shape shape;
    struct vdb_vectors rows;
    struct vdb_err err = {0};
    round_trip(VDB_VECTORS_U8, 4);
    assert_ok(vdb_hdf5_open(path, "train", &hdf5, &shape, &err), &err);
    assert_ok(vdb_vectors_init(&rows, shape.type, 2, shape.dimension, &err), &err);
    rows.first_row = 40;
    assert_fails(vdb_hdf5_read_rows(hdf5, &rows, &err), VDB_INVALID, &err,
                 "rows 40 to 41 are asked for, it has 41");
    rows.first_row = SIZE_MAX;
    assert_int_equal(vdb_hdf5_read_rows(hdf5, &rows, &err), VDB_INVALID);
    rows.first_row = 39; /* it still answers */
    assert_ok(vdb_hdf5_read_rows(hdf5, &rows, &err), &err);
    vdb_hdf5_close(hdf5);
    vdb_vectors_fini(&rows);
}

int main(void)
{
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/a.hdf5", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_abandoned),        cmocka_unit_test(test_without_child),
        cmocka_unit_test(test_child_dies),       cmocka_unit_test(test_rows_outside),
        cmocka_unit_test(test_ignored_children), cmocka_unit_test(test_child_hangs),
        cmocka_unit_test(test_errors_stay)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    struct vdb_err err;
    return vdb_env_remove_tree(vdb_env_posix(), folder, &err) != VDB_OK || failed;
}
