/* test_stream.c: files block by block, and files that change while they are read. */
#include "support.h"

#include "data/hdf5.h"
#include "data/npy_write.h"
#include "data/stream.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 100, DIMENSION = 3 };

static char folder[] = "/tmp/vecdb-test-stream-XXXXXX";

static void make_path(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", folder, name);
}

static void write_files(void)
{
    char path[256];
    float values[ROWS * DIMENSION];
    struct vdb_err err = {0};
    for (size_t i = 0; i < ROWS * DIMENSION; i++) {
        values[i] = (float)i;
    }
    make_path(path, "a.npy");
    assert_ok(vdb_npy_write(vdb_env_posix(), path, VDB_NPY_F32, values, ROWS, DIMENSION, &err), &err);
    make_path(path, "a.fvecs");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < ROWS; i++) {
        static const int32_t dimension = DIMENSION;
        assert_int_equal(fwrite(&dimension, 4, 1, file), 1);
        assert_int_equal(fwrite(values + i * DIMENSION, 4, DIMENSION, file), DIMENSION);
    }
    assert_int_equal(fclose(file), 0);
    struct vdb_hdf5_writer *writer;
    struct vdb_vectors rows = {values, ROWS, DIMENSION, VDB_VECTORS_F32, 0};
    make_path(path, "a.h5");
    assert_ok(vdb_hdf5_create(path, VDB_METRIC_L2, &writer, &err), &err);
    assert_ok(vdb_hdf5_write_rows(writer, "train", &rows, ROWS, &err), &err);
    assert_ok(vdb_hdf5_finish(writer, &err), &err);
    vdb_hdf5_writer_close(writer);
}

static void read_in_blocks(const char *name, size_t rows_max)
{
    char path[256];
    struct vdb_vector_stream stream;
    struct vdb_vectors block;
    struct vdb_err err = {0};
    size_t seen = 0;
    make_path(path, name);
    assert_ok(vdb_vector_stream_open(&stream, vdb_env_posix(), path, NULL, &err), &err);
    assert_int_equal(stream.count, ROWS);
    assert_int_equal(stream.dimension, DIMENSION);
    for (;;) {
        assert_ok(vdb_vector_stream_next(&stream, rows_max, &block, &err), &err);
        if (block.data == NULL) {
            break;
        }
        assert_int_equal(block.first_row, seen);
        assert_true(block.count <= rows_max);
        for (size_t i = 0; i < block.count * DIMENSION; i++) {
            assert_true(((const float *)block.data)[i] == (float)(seen * DIMENSION + i));
        }
        seen += block.count;
        vdb_vectors_fini(&block);
    }
    assert_int_equal(seen, ROWS);
    vdb_vector_stream_close(&stream);
}

static void test_blocks(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 7, 99, 100, 101, SIZE_MAX};
    write_files();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        read_in_blocks("a.npy", sizes[i]);
        read_in_blocks("a.fvecs", sizes[i]);
        read_in_blocks("a.h5", sizes[i]);
    }
}

static void check_change(const char *name, bool longer)
{
    char path[256];
    struct vdb_vector_stream stream;
    struct vdb_vectors block;
    struct vdb_err err = {0};
    write_files();
    usleep(20000); /* a clock tick of the file system */
    make_path(path, name);
    assert_ok(vdb_vector_stream_open(&stream, vdb_env_posix(), path, NULL, &err), &err);
    assert_ok(vdb_vector_stream_next(&stream, 10, &block, &err), &err);
    vdb_vectors_fini(&block);
    FILE *file = fopen(path, longer ? "ab" : "r+b");
    assert_non_null(file);
    assert_int_equal(fwrite("\x93", 1, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    assert_fails(vdb_vector_stream_next(&stream, 10, &block, &err), VDB_INVALID, &err,
                 "changed while it was read");
    assert_null(block.data);
    vdb_vector_stream_close(&stream);
}

static void test_changes(void **state)
{
    (void)state;
    check_change("a.npy", true);
    check_change("a.npy", false);
    check_change("a.fvecs", true);
    check_change("a.h5", true);
    check_change("a.h5", false);
}

/* Shorter than the place that is read next: nothing is there any more, and nothing of it is mapped. */
static void check_cut(const char *name, long bytes, size_t rows_before, size_t rows_after)
{
    char path[256];
    struct vdb_vector_stream stream;
    struct vdb_vectors block;
    struct vdb_err err = {0};
    write_files();
    make_path(path, name);
    assert_ok(vdb_vector_stream_open(&stream, vdb_env_posix(), path, NULL, &err), &err);
    assert_ok(vdb_vector_stream_next(&stream, rows_before, &block, &err), &err);
    vdb_vectors_fini(&block);
    assert_int_equal(truncate(path, bytes), 0);
    assert_fails(vdb_vector_stream_next(&stream, rows_after, &block, &err), VDB_INVALID, &err,
                 "changed while it was read: it had");
    assert_non_null(strstr(err.text, name));
    assert_null(block.data);
    vdb_vector_stream_close(&stream);
}

static void test_cuts(void **state)
{
    (void)state;
    static const char *const names[] = {"a.npy", "a.fvecs", "a.h5"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_cut(names[i], 0, 10, 10);    /* all of it */
        check_cut(names[i], 130, 90, 10);  /* below what was read already */
        check_cut(names[i], 1200, 90, 10); /* in the middle of what comes next */
        check_cut(names[i], 0, ROWS,
                  10); /* behind the last row: the answer could still be right, and is not given */
    }
}

/* The file is gone, or another has its name. */
static void test_replaced(void **state)
{
    (void)state;
    char path[256];
    char other[256];
    struct vdb_vector_stream stream;
    struct vdb_vectors block;
    struct vdb_err err = {0};
    write_files();
    make_path(path, "a.npy");
    make_path(other, "a.fvecs");
    assert_ok(vdb_vector_stream_open(&stream, vdb_env_posix(), path, NULL, &err), &err);
    assert_int_equal(rename(other, path), 0);
    assert_fails(vdb_vector_stream_next(&stream, 10, &block, &err), VDB_INVALID, &err, "changed while it was");
    assert_int_equal(unlink(path), 0);
    assert_fails(vdb_vector_stream_next(&stream, 10, &block, &err), VDB_NOT_FOUND, &err, "a.npy");
    vdb_vector_stream_close(&stream);
}

/* Another file of the same size, written at the same time. */
static void check_twin(const char *name)
{
    char path[256];
    char twin[264];
    struct vdb_vector_stream stream;
    struct vdb_vectors block;
    struct vdb_err err = {0};
    struct stat info;
    static char bytes[1 << 16];
    write_files();
    make_path(path, name);
    snprintf(twin, sizeof twin, "%s.twin", path);
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_size <= (off_t)sizeof bytes);
    FILE *file = fopen(twin, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, (size_t)info.st_size, file), info.st_size);
    assert_int_equal(fclose(file), 0);
    struct timespec times[2] = {info.st_atim, info.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, twin, times, 0), 0);
    assert_ok(vdb_vector_stream_open(&stream, vdb_env_posix(), path, NULL, &err), &err);
    assert_ok(vdb_vector_stream_next(&stream, 10, &block, &err), &err);
    vdb_vectors_fini(&block);
    assert_int_equal(rename(twin, path), 0);
    assert_fails(vdb_vector_stream_next(&stream, 10, &block, &err), VDB_INVALID, &err,
                 "changed while it was read: another file has its name now");
    assert_null(block.data);
    vdb_vector_stream_close(&stream);
}

static void test_twins(void **state)
{
    (void)state;
    check_twin("a.npy");
    check_twin("a.h5");
}

static void test_names(void **state)
{
    (void)state;
    size_t bytes;
    const char *part;
    assert_true(vdb_vector_stream_is_hdf5("a/b.hdf5", &bytes, &part));
    assert_int_equal(bytes, 8);
    assert_null(part);
    assert_true(vdb_vector_stream_is_hdf5("b.H5:test", &bytes, &part));
    assert_int_equal(bytes, 4);
    assert_string_equal(part, "test");
    assert_false(vdb_vector_stream_is_hdf5("b.npy:test", &bytes, &part));
    assert_false(vdb_vector_stream_is_hdf5(":h5", &bytes, &part));
    assert_false(vdb_vector_stream_is_hdf5("", &bytes, &part));
}

int main(void)
{
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks), cmocka_unit_test(test_changes),
                                       cmocka_unit_test(test_cuts),   cmocka_unit_test(test_replaced),
                                       cmocka_unit_test(test_twins),  cmocka_unit_test(test_names)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    struct vdb_err err;
    return vdb_env_remove_tree(vdb_env_posix(), folder, &err) != VDB_OK || failed;
}
