/* test_env_helpers.c: whole files, whole trees, paths and error texts, over both envs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/env_error.h"
#include "unit/env/env_world.h"

#include <errno.h>

static void test_path_join(void **state)
{
    (void)state;
    char out[8];
    struct vdb_err err;
    assert_int_equal(vdb_path_join(out, sizeof out, "a", "b", &err), VDB_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(vdb_path_join(out, sizeof out, "a/", "b", &err), VDB_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(vdb_path_join(out, sizeof out, "/", "b", &err), VDB_OK);
    assert_string_equal(out, "/b");
    assert_int_equal(vdb_path_join(out, sizeof out, "", "b", &err), VDB_OK);
    assert_string_equal(out, "b");
    assert_int_equal(vdb_path_join(out, sizeof out, "abc", "def", &err), VDB_OK);
    assert_string_equal(out, "abc/def");
    assert_int_equal(vdb_path_join(out, sizeof out, "abc", "defg", &err), VDB_LIMIT);
    assert_string_equal(err.text, "path of 8 bytes: limit is 8 with its end");
    assert_int_equal(vdb_path_join(out, sizeof out, "abc", "defg", NULL), VDB_LIMIT);
}

static void test_read_file(void **state)
{
    struct world *w = *state;
    uint8_t *data = (uint8_t *)w;
    size_t bytes = 99;
    assert_int_equal(vdb_env_read_file(w->env, at(w, "f"), 10, &data, &bytes, &w->err), VDB_NOT_FOUND);
    assert_null(data);
    assert_int_equal(bytes, 0);
    put_file(w, "f", "0123456789");
    assert_int_equal(vdb_env_read_file(w->env, at(w, "f"), 10, &data, &bytes, &w->err), VDB_OK);
    assert_int_equal(bytes, 10);
    assert_memory_equal(data, "0123456789", 11); /* with the NUL past its end */
    free(data);
    assert_int_equal(vdb_env_read_file(w->env, at(w, "f"), 9, &data, &bytes, &w->err), VDB_LIMIT);
    expect_text(w, "read", at(w, "f"), "10 bytes, limit is 9");
    assert_null(data);
    put_file(w, "f", "");
    assert_int_equal(vdb_env_read_file(w->env, at(w, "f"), 0, &data, &bytes, &w->err), VDB_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(data[0], 0);
    free(data);
    assert_int_equal(vdb_env_read_file(w->env, w->root, 10, &data, &bytes, &w->err), VDB_IO);
}

static void test_replace_file(void **state)
{
    struct world *w = *state;
    assert_int_equal(vdb_env_replace_file(w->env, at(w, "f"), "one", 3, &w->err), VDB_OK);
    expect_file(w, "f", "one");
    put_file(w, "f.tmp", "left by a crash, and longer than what comes");
    assert_int_equal(vdb_env_replace_file(w->env, at(w, "f"), "two", 3, &w->err), VDB_OK);
    expect_file(w, "f", "two");
    assert_int_equal(kind_at(w, "f.tmp"), '-');
    assert_int_equal(vdb_env_replace_file(w->env, at(w, "f"), "", 0, &w->err), VDB_OK);
    expect_file(w, "f", "");

    assert_int_equal(vdb_env_replace_file(w->env, at(w, "none/f"), "x", 1, &w->err), VDB_NOT_FOUND);
    assert_int_equal(make_dir(w, "d"), VDB_OK);
    assert_int_equal(vdb_env_replace_file(w->env, at(w, "d"), "x", 1, &w->err), VDB_IO);
    assert_int_equal(kind_at(w, "d.tmp"), '-'); /* nothing is left of a failure */

    char path[VDB_LIMIT_PATH_BYTES_MAX + 1];
    memset(path, 'p', sizeof path);
    path[VDB_LIMIT_PATH_BYTES_MAX - 4] = '\0'; /* with ".tmp" and its end one too many */
    assert_int_equal(vdb_env_replace_file(w->env, path, "x", 1, &w->err), VDB_LIMIT);
}

static void test_mkdirs(void **state)
{
    struct world *w = *state;
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "a/b/c"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "a/b/c"), 'd');
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "a/b/c"), &w->err), VDB_OK);
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "a//b///d//"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "a/b/d"), 'd');
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "a/./e/../g"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "a/g"), 'd');
    assert_int_equal(vdb_env_mkdirs(w->env, "/", &w->err), VDB_OK);
    assert_int_equal(vdb_env_mkdirs(w->env, ".", &w->err), VDB_OK);
    assert_int_equal(vdb_env_mkdirs(w->env, "", &w->err), VDB_NOT_FOUND);

    put_file(w, "f", "x");
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "f"), &w->err), VDB_IO);
    expect_text(w, "mkdir", at(w, "f"), "Not a directory");
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "f/g"), &w->err), VDB_IO);

    char path[VDB_LIMIT_PATH_BYTES_MAX + 1];
    memset(path, 'p', sizeof path);
    path[VDB_LIMIT_PATH_BYTES_MAX] = '\0';
    assert_int_equal(vdb_env_mkdirs(w->env, path, &w->err), VDB_LIMIT);
}

static void test_remove_tree(void **state)
{
    struct world *w = *state;
    assert_int_equal(vdb_env_remove_tree(w->env, at(w, "t"), &w->err), VDB_NOT_FOUND);
    put_file(w, "keep", "x");
    put_file(w, "t", "x");
    assert_int_equal(vdb_env_remove_tree(w->env, at(w, "t"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "t"), '-');

    char path[VDB_LIMIT_PATH_BYTES_MAX] = "t";
    for (int depth = 0; depth < 200; depth++) {
        assert_int_equal(make_dir(w, path), VDB_OK);
        strcat(path, "/t");
    }
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "t/t/file%d", i);
        put_file(w, path, "x");
    }
    assert_int_equal(vdb_env_remove_tree(w->env, at(w, "t//"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "t"), '-');
    assert_int_equal(kind_at(w, "keep"), 'f');
}

static void test_error_statuses(void **state)
{
    (void)state;
    assert_int_equal(vdb_env_error_status(ENOENT), VDB_NOT_FOUND);
    assert_int_equal(vdb_env_error_status(EEXIST), VDB_EXISTS);
    assert_int_equal(vdb_env_error_status(ENOSPC), VDB_NO_SPACE);
    assert_int_equal(vdb_env_error_status(EDQUOT), VDB_NO_SPACE);
    assert_int_equal(vdb_env_error_status(ENOMEM), VDB_NO_MEMORY);
    assert_int_equal(vdb_env_error_status(EIO), VDB_IO);
    assert_int_equal(vdb_env_error_status(EACCES), VDB_IO);
    struct vdb_err err;
    assert_int_equal(vdb_env_error_set_at(&err, ENOSPC, "write", "wal/segment_000000.wal", 4096), VDB_NO_SPACE);
    assert_string_equal(err.text, "write \"wal/segment_000000.wal\" at byte 4096: No space left on device");
    assert_int_equal(vdb_env_error_set_busy(&err, "data/LOCK", 1234), VDB_BUSY);
    assert_string_equal(err.text, "lock \"data/LOCK\": in use by process 1234");
    assert_int_equal(vdb_env_error_set_busy(&err, "data/LOCK", 0), VDB_BUSY);
    assert_string_equal(err.text, "lock \"data/LOCK\": in use by another holder");

    /* Two paths of the longest kind still leave room for the reason; a cut never splits a character. */
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    for (size_t i = 0; i + 2 < sizeof path; i += 2) {
        memcpy(path + i, "\xC3\xA9", 3);
    }
    assert_int_equal(vdb_env_error_set_pair(&err, EXDEV, "link", path, path), VDB_IO);
    assert_non_null(strstr(err.text, "\": Invalid cross-device link"));
    assert_non_null(strstr(err.text, "link \"...\xC3\xA9"));
    strcat(path, "x"); /* moves the cut by one byte */
    assert_int_equal(vdb_env_error_set(&err, EIO, "open", path), VDB_IO);
    assert_non_null(strstr(err.text, "open \"...\xC3\xA9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_read_file),   ON_BOTH(test_replace_file),       ON_BOTH(test_mkdirs),
        ON_BOTH(test_remove_tree), cmocka_unit_test(test_path_join), cmocka_unit_test(test_error_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
