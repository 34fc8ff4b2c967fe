/* test_env_conformance.c: one suite for what every env promises, run over the posix env and the in-memory one.
 *
 * Each test gets a fresh empty directory (posix: made with mkdtemp). What only the posix env has (links,
 * processes, descriptors) is in test_env_posix.c; power loss and faults are in test_env_memory.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "unit/env/env_world.h"

static void test_open(void **state)
{
    struct world *w = *state;
    assert_int_equal(open_status(w, "f", VDB_OPEN_READ), VDB_NOT_FOUND);
    expect_text(w, "open", at(w, "f"), "No such file or directory");
    assert_int_equal(open_status(w, "f", VDB_OPEN_WRITE), VDB_NOT_FOUND);
    assert_int_equal(kind_at(w, "f"), '-');
    assert_int_equal(open_status(w, "f", CREATE | VDB_OPEN_EXCLUSIVE), VDB_OK);
    assert_int_equal(open_status(w, "f", CREATE | VDB_OPEN_EXCLUSIVE), VDB_EXISTS);
    assert_int_equal(open_status(w, "f", CREATE), VDB_OK);
    assert_int_equal(open_status(w, "f", VDB_OPEN_READ), VDB_OK);

    put_file(w, "f", "content");
    assert_int_equal(open_status(w, "f", CREATE), VDB_OK);
    expect_file(w, "f", "content");
    assert_int_equal(open_status(w, "f", VDB_OPEN_WRITE | VDB_OPEN_TRUNCATE), VDB_OK);
    expect_file(w, "f", "");

    struct vdb_file *file;
    assert_int_equal(w->env->ops->open(w->env, at(w, "g"), VDB_OPEN_READ, &file, NULL), VDB_NOT_FOUND);
    assert_int_equal(w->env->ops->open(w->env, "", VDB_OPEN_READ, &file, &w->err), VDB_NOT_FOUND);
    w->env->ops->close(w->env, NULL);
}

static void test_open_what_is_no_file(void **state)
{
    struct world *w = *state;
    assert_int_equal(make_dir(w, "d"), VDB_OK);
    put_file(w, "f", "x");
    assert_int_equal(open_status(w, "d", VDB_OPEN_READ), VDB_IO);
    expect_text(w, "open", at(w, "d"), "Is a directory");
    assert_int_equal(open_status(w, "d", VDB_OPEN_WRITE), VDB_IO);
    assert_int_equal(open_status(w, "d", CREATE), VDB_IO);
    assert_int_equal(open_status(w, "d", CREATE | VDB_OPEN_EXCLUSIVE), VDB_EXISTS);
    assert_int_equal(open_status(w, "f/g", VDB_OPEN_READ), VDB_IO);
    expect_text(w, "open", at(w, "f/g"), "Not a directory");
    assert_int_equal(open_status(w, "f/", VDB_OPEN_READ), VDB_IO);
    assert_int_equal(open_status(w, "n/", CREATE), VDB_IO);
    assert_int_equal(open_status(w, "none/g", CREATE), VDB_NOT_FOUND);
    assert_int_equal(open_status(w, "d/../f", VDB_OPEN_READ), VDB_OK);
    assert_int_equal(open_status(w, ".//d/./../f", VDB_OPEN_READ), VDB_OK);
}

static void test_name_lengths(void **state)
{
    struct world *w = *state;
    char name[VDB_LIMIT_PATH_BYTES_MAX + 8];
    memset(name, 'n', 256);
    name[255] = '\0';
    assert_int_equal(open_status(w, name, CREATE), VDB_OK);
    name[255] = 'n';
    name[256] = '\0';
    assert_int_equal(open_status(w, name, CREATE), VDB_IO);
    assert_non_null(strstr(w->err.text, ": File name too long")); /* the reason is there though the path is cut */
    assert_non_null(strstr(w->err.text, "\"...nnn"));

    /* A path one byte too long; one that just fits leads nowhere but is a path. */
    for (size_t i = 0; i < VDB_LIMIT_PATH_BYTES_MAX; i++) {
        name[i] = i % 2 == 0 ? 'x' : '/';
    }
    struct vdb_file *file;
    name[VDB_LIMIT_PATH_BYTES_MAX - 1] = '\0';
    assert_int_equal(w->env->ops->open(w->env, name, VDB_OPEN_READ, &file, &w->err), VDB_NOT_FOUND);
    name[VDB_LIMIT_PATH_BYTES_MAX - 1] = 'y';
    name[VDB_LIMIT_PATH_BYTES_MAX] = '\0';
    assert_int_equal(w->env->ops->open(w->env, name, VDB_OPEN_READ, &file, &w->err), VDB_IO);
}

static void test_read_write(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_file *file = open_ok(w, "f", CREATE);
    uint8_t out[64];
    size_t got = 99;
    uint64_t size = 99;

    assert_int_equal(ops->read_at(w->env, file, out, sizeof out, 0, &got, &w->err), VDB_OK);
    assert_int_equal(got, 0);
    assert_int_equal(ops->write_at(w->env, file, "hello", 5, 0, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, file, "J", 1, 0, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, file, "end", 3, 20, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, file, "x", 0, 1000, &w->err), VDB_OK); /* nothing, so no growth */
    assert_int_equal(ops->size(w->env, file, &size, &w->err), VDB_OK);
    assert_int_equal(size, 23);
    memset(out, 0xEE, sizeof out);
    assert_int_equal(ops->read_at(w->env, file, out, sizeof out, 0, &got, &w->err), VDB_OK);
    assert_int_equal(got, 23);
    assert_memory_equal(out, "Jello\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0end", 23);
    assert_int_equal(out[23], 0xEE);

    assert_int_equal(ops->read_at(w->env, file, out, 2, 21, &got, &w->err), VDB_OK);
    assert_int_equal(got, 2);
    assert_int_equal(ops->read_at(w->env, file, out, 8, 22, &got, &w->err), VDB_OK);
    assert_int_equal(got, 1);
    assert_int_equal(ops->read_at(w->env, file, out, 8, 23, &got, &w->err), VDB_OK);
    assert_int_equal(got, 0);
    uint64_t beyond[] = {24, INT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
        got = 99;
        assert_int_equal(ops->read_at(w->env, file, out, 8, beyond[i], &got, &w->err), VDB_OK);
        assert_int_equal(got, 0);
    }
    assert_int_equal(ops->write_at(w->env, file, "x", 1, INT64_MAX, &w->err), VDB_IO);
    assert_int_equal(ops->write_at(w->env, file, "x", 1, UINT64_MAX, &w->err), VDB_IO);
    assert_non_null(strstr(w->err.text, "f\" at byte 18446744073709551615: File too large"));

    struct vdb_file *reader = open_ok(w, "f", VDB_OPEN_READ);
    assert_int_equal(ops->write_at(w->env, reader, "x", 1, 0, &w->err), VDB_IO);
    assert_int_equal(ops->truncate(w->env, reader, 0, &w->err), VDB_IO);
    assert_int_equal(ops->write_at(w->env, file, "C", 1, 0, &w->err), VDB_OK);
    assert_int_equal(ops->read_at(w->env, reader, out, 5, 0, &got, &w->err), VDB_OK);
    assert_memory_equal(out, "Cello", 5); /* two handles, one file */
    assert_int_equal(ops->sync(w->env, reader, &w->err), VDB_OK);
    ops->close(w->env, reader);
    ops->close(w->env, file);
}

static void test_truncate(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_file *file = open_ok(w, "f", CREATE);
    uint8_t out[16];
    size_t got;
    uint64_t size;
    assert_int_equal(ops->write_at(w->env, file, "abcdefgh", 8, 0, &w->err), VDB_OK);
    assert_int_equal(ops->truncate(w->env, file, 3, &w->err), VDB_OK);
    assert_int_equal(ops->size(w->env, file, &size, &w->err), VDB_OK);
    assert_int_equal(size, 3);
    assert_int_equal(ops->truncate(w->env, file, 6, &w->err), VDB_OK);
    assert_int_equal(ops->sync(w->env, file, &w->err), VDB_OK);
    assert_int_equal(ops->read_at(w->env, file, out, sizeof out, 0, &got, &w->err), VDB_OK);
    assert_int_equal(got, 6);
    assert_memory_equal(out, "abc\0\0\0", 6);
    assert_int_equal(ops->truncate(w->env, file, 6, &w->err), VDB_OK);
    assert_int_equal(ops->truncate(w->env, file, 0, &w->err), VDB_OK);
    assert_int_equal(ops->write_at(w->env, file, "z", 1, 4, &w->err), VDB_OK);
    assert_int_equal(ops->read_at(w->env, file, out, sizeof out, 0, &got, &w->err), VDB_OK);
    assert_int_equal(got, 5);
    assert_memory_equal(out, "\0\0\0\0z", 5);
    assert_int_equal(ops->truncate(w->env, file, (uint64_t)INT64_MAX + 1, &w->err), VDB_IO);
    ops->close(w->env, file);
}

/* Random writes, truncations, syncs and reads against a plain array. */
static void test_file_against_array(void **state)
{
    enum { BYTES_MAX = 5000, ROUNDS = 2000 };
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    uint64_t seed = 20240607;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct vdb_rng rng;
    vdb_rng_init(&rng, seed);
    static uint8_t want[BYTES_MAX], have[BYTES_MAX], data[BYTES_MAX];
    size_t size = 0;
    memset(want, 0, sizeof want);
    struct vdb_file *file = open_ok(w, "f", CREATE);
    for (int round = 0; round < ROUNDS; round++) {
        size_t offset = (size_t)vdb_rng_below(&rng, BYTES_MAX);
        size_t bytes = (size_t)vdb_rng_below(&rng, BYTES_MAX - offset + 1);
        size_t got;
        uint64_t size_seen;
        switch (vdb_rng_below(&rng, 8)) {
        case 0:
            assert_int_equal(ops->truncate(w->env, file, offset, &w->err), VDB_OK);
            if (offset < size) {
                memset(want + offset, 0, size - offset);
            }
            size = offset;
            break;
        case 1:
            assert_int_equal(ops->sync(w->env, file, &w->err), VDB_OK);
            break;
        case 2:
            ops->close(w->env, file);
            file = open_ok(w, "f", VDB_OPEN_WRITE);
            break;
        case 3:
        case 4:
            assert_int_equal(ops->read_at(w->env, file, have, bytes, offset, &got, &w->err), VDB_OK);
            assert_int_equal(got, offset >= size ? 0 : bytes < size - offset ? bytes : size - offset);
            assert_memory_equal(have, want + offset, got);
            break;
        default:
            for (size_t i = 0; i < bytes; i++) {
                data[i] = (uint8_t)vdb_rng_below(&rng, 256);
            }
            assert_int_equal(ops->write_at(w->env, file, data, bytes, offset, &w->err), VDB_OK);
            memcpy(want + offset, data, bytes);
            size = bytes > 0 && offset + bytes > size ? offset + bytes : size;
            break;
        }
        assert_int_equal(ops->size(w->env, file, &size_seen, &w->err), VDB_OK);
        assert_int_equal(size_seen, size);
    }
    ops->close(w->env, file);
}

static void test_sync_dir(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    put_file(w, "f", "x");
    assert_int_equal(ops->sync_dir(w->env, w->root, &w->err), VDB_OK);
    assert_int_equal(ops->sync_dir(w->env, at(w, "none"), &w->err), VDB_NOT_FOUND);
    expect_text(w, "sync directory", at(w, "none"), "No such file or directory");
    assert_int_equal(ops->sync_dir(w->env, at(w, "f"), &w->err), VDB_IO);
    assert_int_equal(ops->sync_dir(w->env, ".", &w->err), VDB_OK);
}

static void test_rename(void **state)
{
    struct world *w = *state;
    put_file(w, "a", "A");
    put_file(w, "b", "B");
    assert_int_equal(rename_status(w, "none", "x"), VDB_NOT_FOUND);
    char text[VDB_ERR_TEXT_BYTES];
    snprintf(text, sizeof text, "rename \"%s\" to \"%s\": No such file or directory", at(w, "none"), at(w, "x"));
    assert_string_equal(w->err.text, text);
    assert_int_equal(rename_status(w, "a", "c"), VDB_OK);
    assert_int_equal(kind_at(w, "a"), '-');
    assert_int_equal(rename_status(w, "c", "b"), VDB_OK); /* over another */
    expect_file(w, "b", "A");
    assert_int_equal(kind_at(w, "c"), '-');
    assert_int_equal(rename_status(w, "b", "b"), VDB_OK);
    expect_file(w, "b", "A");

    assert_int_equal(make_dir(w, "d"), VDB_OK);
    assert_int_equal(make_dir(w, "d/e"), VDB_OK);
    assert_int_equal(make_dir(w, "empty"), VDB_OK);
    assert_int_equal(rename_status(w, "b", "none/b"), VDB_NOT_FOUND);
    assert_int_equal(rename_status(w, "b", "d"), VDB_IO);  /* a file over a directory */
    assert_int_equal(rename_status(w, "d", "b"), VDB_IO);  /* a directory over a file */
    assert_int_equal(rename_status(w, "b", "x/"), VDB_IO); /* a file to what must be a directory */
    assert_int_equal(rename_status(w, "b/", "x"), VDB_IO);
    assert_int_equal(rename_status(w, "b", "b/x"), VDB_IO);   /* a file is no directory */
    assert_int_equal(rename_status(w, "d", "d/x"), VDB_IO);   /* into itself */
    assert_int_equal(rename_status(w, "d", "d/e/x"), VDB_IO); /* and deeper */
    assert_int_equal(rename_status(w, "empty", "d"), VDB_IO); /* over a full one */
    assert_non_null(strstr(w->err.text, "Directory not empty"));
    assert_int_equal(rename_status(w, "d/e", "d"), VDB_IO); /* over its own parent */
    assert_int_equal(rename_status(w, "b", "d/e/b"), VDB_OK);
    assert_int_equal(rename_status(w, "d", "empty"), VDB_OK); /* over an empty one, with all that is in it */
    expect_file(w, "empty/e/b", "A");
    assert_int_equal(kind_at(w, "d"), '-');
    assert_int_equal(rename_status(w, "empty/e", "e"), VDB_OK); /* a directory to another place */
    expect_file(w, "e/b", "A");
    expect_file(w, "e/../e/b", "A");
    assert_int_equal(rename_status(w, "e/.", "x"), VDB_IO);
    assert_int_equal(rename_status(w, "e", "empty/.."), VDB_IO);
}

static void test_rename_keeps_open_files(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    put_file(w, "old", "old");
    put_file(w, "new", "new");
    struct vdb_file *file = open_ok(w, "old", VDB_OPEN_WRITE);
    assert_int_equal(rename_status(w, "new", "old"), VDB_OK);
    char out[4] = {0};
    size_t got;
    assert_int_equal(ops->read_at(w->env, file, out, 3, 0, &got, &w->err), VDB_OK);
    assert_string_equal(out, "old");
    assert_int_equal(ops->write_at(w->env, file, "odd", 3, 0, &w->err), VDB_OK);
    assert_int_equal(ops->sync(w->env, file, &w->err), VDB_OK);
    ops->close(w->env, file);
    expect_file(w, "old", "new");
}

static void test_unlink(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    assert_int_equal(ops->unlink(w->env, at(w, "f"), &w->err), VDB_NOT_FOUND);
    expect_text(w, "unlink", at(w, "f"), "No such file or directory");
    put_file(w, "f", "text");
    struct vdb_file *file = open_ok(w, "f", VDB_OPEN_READ);
    assert_int_equal(ops->unlink(w->env, at(w, "f/"), &w->err), VDB_IO);
    assert_int_equal(ops->unlink(w->env, at(w, "f"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "f"), '-');
    char out[5] = {0};
    size_t got;
    assert_int_equal(ops->read_at(w->env, file, out, 4, 0, &got, &w->err), VDB_OK);
    assert_string_equal(out, "text"); /* lives on while it is open */
    ops->close(w->env, file);
    assert_int_equal(make_dir(w, "d"), VDB_OK);
    assert_int_equal(ops->unlink(w->env, at(w, "d"), &w->err), VDB_IO);
    assert_int_equal(kind_at(w, "d"), 'd');
}

static void test_mkdir_rmdir(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    assert_int_equal(make_dir(w, "d"), VDB_OK);
    assert_int_equal(make_dir(w, "d"), VDB_EXISTS);
    expect_text(w, "mkdir", at(w, "d"), "File exists");
    assert_int_equal(make_dir(w, "none/d"), VDB_NOT_FOUND);
    assert_int_equal(make_dir(w, "."), VDB_EXISTS);
    put_file(w, "d/f", "x");
    assert_int_equal(make_dir(w, "d/f"), VDB_EXISTS);
    assert_int_equal(make_dir(w, "d/f/g"), VDB_IO);
    assert_int_equal(make_dir(w, "s/"), VDB_OK);
    assert_int_equal(kind_at(w, "s"), 'd');
    assert_int_equal(ops->rmdir(w->env, at(w, "d"), &w->err), VDB_IO);
    expect_text(w, "rmdir", at(w, "d"), "Directory not empty");
    assert_int_equal(ops->rmdir(w->env, at(w, "d/f"), &w->err), VDB_IO);
    assert_int_equal(ops->rmdir(w->env, at(w, "d/."), &w->err), VDB_IO);
    assert_int_equal(ops->unlink(w->env, at(w, "d/f"), &w->err), VDB_OK);
    assert_int_equal(ops->rmdir(w->env, at(w, "d"), &w->err), VDB_OK);
    assert_int_equal(ops->rmdir(w->env, at(w, "d"), &w->err), VDB_NOT_FOUND);
    assert_int_equal(ops->rmdir(w->env, "/", &w->err), VDB_IO);
    assert_int_equal(ops->mkdir(w->env, "/", &w->err), VDB_EXISTS);
}

struct listing {
    struct world *w;
    size_t count;
    size_t stop_after;
    char text[256]; /* one letter per name "0".."9": its kind, or '.' */
};

static vdb_status note_entry(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct listing *listing = ctx;
    assert_int_equal(strlen(name), 1);
    listing->text[name[0] - '0'] = kind == VDB_KIND_FILE ? 'f' : kind == VDB_KIND_DIR ? 'd' : 'o';
    listing->count++;
    assert_int_not_equal(kind_at(listing->w, name), '-'); /* the env may be used from here */
    return listing->count == listing->stop_after ? vdb_err_set(err, VDB_CANCELLED, "enough") : VDB_OK;
}

static void test_list(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct listing listing = {.w = w, .text = ".........."};
    assert_int_equal(ops->list(w->env, w->root, note_entry, &listing, &w->err), VDB_OK);
    assert_int_equal(listing.count, 0);
    put_file(w, "1", "x");
    put_file(w, "2", "x");
    assert_int_equal(make_dir(w, "3"), VDB_OK);
    put_file(w, "3/8", "x");
    put_file(w, "4", "x");
    assert_int_equal(ops->unlink(w->env, at(w, "2"), &w->err), VDB_OK);
    assert_int_equal(rename_status(w, "4", "5"), VDB_OK);
    assert_int_equal(ops->list(w->env, w->root, note_entry, &listing, &w->err), VDB_OK);
    assert_string_equal(listing.text, ".f.d.f....");
    assert_int_equal(listing.count, 3);

    listing = (struct listing){.w = w, .stop_after = 2};
    assert_int_equal(ops->list(w->env, w->root, note_entry, &listing, &w->err), VDB_CANCELLED);
    assert_int_equal(listing.count, 2);
    assert_string_equal(w->err.text, "enough");

    assert_int_equal(ops->list(w->env, at(w, "9"), note_entry, &listing, &w->err), VDB_NOT_FOUND);
    expect_text(w, "list", at(w, "9"), "No such file or directory");
    assert_int_equal(ops->list(w->env, at(w, "1"), note_entry, &listing, &w->err), VDB_IO);
}

static void test_stat(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    vdb_file_kind kind;
    uint64_t bytes = 99;
    assert_int_equal(ops->stat(w->env, w->root, &kind, &bytes, &w->err), VDB_OK);
    assert_int_equal(kind, VDB_KIND_DIR);
    assert_int_equal(bytes, 0);
    put_file(w, "f", "12345");
    assert_int_equal(ops->stat(w->env, at(w, "f"), &kind, &bytes, &w->err), VDB_OK);
    assert_int_equal(kind, VDB_KIND_FILE);
    assert_int_equal(bytes, 5);
    assert_int_equal(ops->stat(w->env, at(w, "none"), &kind, &bytes, &w->err), VDB_NOT_FOUND);
    expect_text(w, "stat", at(w, "none"), "No such file or directory");
    assert_int_equal(ops->stat(w->env, at(w, "f/x"), &kind, &bytes, &w->err), VDB_IO);
    assert_int_equal(ops->stat(w->env, "/", &kind, &bytes, &w->err), VDB_OK);
    assert_int_equal(kind, VDB_KIND_DIR);
}

static void test_lock(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_lock *first = NULL;
    struct vdb_lock *second = NULL;
    struct vdb_lock *other = NULL;
    assert_int_equal(ops->lock(w->env, at(w, "LOCK"), &first, &w->err), VDB_OK);
    assert_non_null(first);
    assert_int_equal(kind_at(w, "LOCK"), 'f');

    second = first;
    assert_int_equal(ops->lock(w->env, at(w, "LOCK"), &second, &w->err), VDB_BUSY);
    assert_null(second);
    char reason[64];
    snprintf(reason, sizeof reason, "in use by process %ld", (long)getpid());
    expect_text(w, "lock", at(w, "LOCK"), reason);

    assert_int_equal(ops->lock(w->env, at(w, "OTHER"), &other, &w->err), VDB_OK);
    ops->unlock(w->env, first);
    assert_int_equal(ops->lock(w->env, at(w, "LOCK"), &second, &w->err), VDB_OK);
    assert_int_equal(ops->lock(w->env, at(w, "LOCK"), &first, NULL), VDB_BUSY);
    ops->unlock(w->env, second);
    ops->unlock(w->env, other);
    ops->unlock(w->env, NULL);

    assert_int_equal(ops->lock(w->env, at(w, "none/LOCK"), &first, &w->err), VDB_NOT_FOUND);
    assert_int_equal(ops->lock(w->env, w->root, &first, &w->err), VDB_IO);
    /* What a file held before does not matter. */
    put_file(w, "LOCK", "not a number");
    assert_int_equal(ops->lock(w->env, at(w, "LOCK"), &first, &w->err), VDB_OK);
    ops->unlock(w->env, first);
}

static void map_ok(struct world *w, const char *name, struct vdb_map *map)
{
    vdb_status status = w->env->ops->map(w->env, at(w, name), map, &w->err);
    if (status != VDB_OK) {
        fail_msg("%s", w->err.text);
    }
    assert_non_null(map->data);
    assert_int_equal((uintptr_t)map->data % 4096, 0);
}

/* What cannot be mapped leaves an empty map behind, which unmap takes. */
static void map_status(struct world *w, const char *name, vdb_status want)
{
    struct vdb_map map = {.data = (const uint8_t *)w, .bytes = 9, .impl = w};
    assert_int_equal(w->env->ops->map(w->env, at(w, name), &map, &w->err), want);
    assert_null(map.data);
    assert_int_equal(map.bytes, 0);
    assert_null(map.impl);
    w->env->ops->unmap(w->env, &map);
}

static void test_map(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_map map, second, empty;
    enum { BYTES = 10000 };
    static char text[BYTES + 1];
    for (size_t i = 0; i < BYTES; i++) {
        text[i] = (char)('a' + i % 23);
    }
    put_file(w, "f", text);
    map_ok(w, "f", &map);
    assert_int_equal(map.bytes, BYTES);
    assert_memory_equal(map.data, text, BYTES);
    map_ok(w, "f", &second);
    assert_memory_equal(second.data, text, BYTES);
    ops->unmap(w->env, &second);
    assert_null(second.data);
    assert_null(second.impl);
    assert_int_equal(second.bytes, 0);
    ops->unmap(w->env, &second); /* nothing, as unmap left it */
    assert_memory_equal(map.data, text, BYTES);

    put_file(w, "e", "");
    map_ok(w, "e", &empty);
    assert_int_equal(empty.bytes, 0);
    assert_int_equal(ops->touch(w->env, &empty, 0, 0, &w->err), VDB_OK);
    for (int access = VDB_ACCESS_NORMAL; access <= VDB_ACCESS_SOON; access++) {
        ops->advise(w->env, &empty, 0, 0, (vdb_access)access);
        ops->advise(w->env, &empty, 0, UINT64_MAX, (vdb_access)access);
        ops->advise(w->env, &map, 0, UINT64_MAX, (vdb_access)access);
        ops->advise(w->env, &map, 5000, 1, (vdb_access)access);
        ops->advise(w->env, &map, BYTES - 1, UINT64_MAX, (vdb_access)access);
        ops->advise(w->env, &map, BYTES, 10, (vdb_access)access);
        ops->advise(w->env, &map, UINT64_MAX, UINT64_MAX, (vdb_access)access);
        assert_int_equal(ops->touch(w->env, &map, 0, BYTES, &w->err), VDB_OK);
        assert_memory_equal(map.data, text, BYTES);
    }
    assert_int_equal(ops->touch(w->env, &map, 4095, 2, &w->err), VDB_OK);
    assert_int_equal(ops->touch(w->env, &map, BYTES - 1, 1, &w->err), VDB_OK);
    assert_int_equal(ops->touch(w->env, &map, BYTES, 0, &w->err), VDB_OK);
    ops->unmap(w->env, &empty);
    ops->unmap(w->env, &map);

    assert_int_equal(make_dir(w, "d"), VDB_OK);
    map_status(w, "none", VDB_NOT_FOUND);
    expect_text(w, "map", at(w, "none"), "No such file or directory");
    map_status(w, "d", VDB_IO);
    expect_text(w, "map", at(w, "d"), "Is a directory");
    map_status(w, "f/x", VDB_IO);
    assert_int_equal(ops->map(w->env, at(w, "none"), &map, NULL), VDB_NOT_FOUND);
}

/* E5: the map is of the file, not of its name. */
static void test_map_outlives_names(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_map unlinked, replaced, renamed, linked;
    put_file(w, "a", "content of a");
    put_file(w, "b", "content of b");
    put_file(w, "c", "content of c");
    put_file(w, "d", "content of d");
    map_ok(w, "a", &unlinked);
    map_ok(w, "b", &replaced);
    map_ok(w, "c", &renamed);
    map_ok(w, "d", &linked);
    assert_int_equal(ops->unlink(w->env, at(w, "a"), &w->err), VDB_OK);
    assert_int_equal(vdb_env_replace_file(w->env, at(w, "b"), "new", 3, &w->err), VDB_OK);
    assert_int_equal(rename_status(w, "c", "x"), VDB_OK);
    assert_int_equal(ops->link(w->env, at(w, "d"), at(w, "y"), &w->err), VDB_OK);
    put_file(w, "a", "another a, longer than the first");
    put_file(w, "c", "another c");
    assert_memory_equal(unlinked.data, "content of a", 12);
    assert_memory_equal(replaced.data, "content of b", 12);
    assert_memory_equal(renamed.data, "content of c", 12);
    assert_memory_equal(linked.data, "content of d", 12);
    assert_int_equal(ops->touch(w->env, &unlinked, 0, 12, &w->err), VDB_OK);
    expect_file(w, "b", "new");
    ops->unmap(w->env, &unlinked);
    ops->unmap(w->env, &replaced);
    ops->unmap(w->env, &renamed);
    ops->unmap(w->env, &linked);
    put_file(w, "x", "a file that is mapped no more may be written");
    expect_file(w, "x", "a file that is mapped no more may be written");
}

static vdb_status link_status(struct world *w, const char *from, const char *to)
{
    return w->env->ops->link(w->env, at(w, from), at(w, to), &w->err);
}

static void test_link(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    put_file(w, "a", "A");
    put_file(w, "other", "O");
    assert_int_equal(make_dir(w, "d"), VDB_OK);
    assert_int_equal(link_status(w, "a", "b"), VDB_OK);
    assert_int_equal(link_status(w, "b", "d/c"), VDB_OK);
    expect_file(w, "b", "A");
    struct vdb_file *file = open_ok(w, "d/c", VDB_OPEN_WRITE);
    assert_int_equal(ops->write_at(w->env, file, "AAA", 3, 0, &w->err), VDB_OK);
    assert_int_equal(ops->sync(w->env, file, &w->err), VDB_OK);
    expect_file(w, "a", "AAA"); /* one file, three names */
    expect_file(w, "b", "AAA");
    vdb_file_kind kind;
    uint64_t bytes;
    assert_int_equal(ops->stat(w->env, at(w, "b"), &kind, &bytes, &w->err), VDB_OK);
    assert_int_equal(kind, VDB_KIND_FILE);
    assert_int_equal(bytes, 3);

    assert_int_equal(link_status(w, "a", "b"), VDB_EXISTS); /* over itself, too */
    char text[VDB_ERR_TEXT_BYTES];
    snprintf(text, sizeof text, "link \"%s\" to \"%s\": File exists", at(w, "a"), at(w, "b"));
    assert_string_equal(w->err.text, text);
    assert_int_equal(link_status(w, "a", "a"), VDB_EXISTS);
    assert_int_equal(link_status(w, "a", "other"), VDB_EXISTS);
    expect_file(w, "other", "O");
    assert_int_equal(link_status(w, "a", "d"), VDB_EXISTS);
    assert_int_equal(link_status(w, "a", "."), VDB_EXISTS);
    assert_int_equal(link_status(w, "none", "x"), VDB_NOT_FOUND);
    snprintf(text, sizeof text, "link \"%s\" to \"%s\": No such file or directory", at(w, "none"), at(w, "x"));
    assert_string_equal(w->err.text, text);
    assert_int_equal(link_status(w, "a", "none/x"), VDB_NOT_FOUND);
    assert_int_equal(link_status(w, "a", "other/x"), VDB_IO);
    assert_int_equal(link_status(w, "a/", "x"), VDB_IO);
    assert_int_equal(link_status(w, "a", "x/"), VDB_NOT_FOUND);
    assert_int_equal(link_status(w, "d", "x"), VDB_IO); /* directories have one name */
    assert_int_equal(kind_at(w, "x"), '-');

    /* Each name goes by itself. A rename of one name to another of the same file does nothing. */
    assert_int_equal(rename_status(w, "a", "b"), VDB_OK);
    assert_int_equal(kind_at(w, "a"), 'f');
    assert_int_equal(ops->unlink(w->env, at(w, "a"), &w->err), VDB_OK);
    assert_int_equal(rename_status(w, "other", "b"), VDB_OK);
    expect_file(w, "b", "O");
    expect_file(w, "d/c", "AAA");
    assert_int_equal(ops->write_at(w->env, file, "B", 1, 1, &w->err), VDB_OK);
    ops->close(w->env, file);
    expect_file(w, "d/c", "ABA");
    assert_int_equal(link_status(w, "d/c", "e"), VDB_OK);
    assert_int_equal(vdb_env_remove_tree(w->env, at(w, "d"), &w->err), VDB_OK);
    expect_file(w, "e", "ABA");
}

static void test_clock_and_entropy(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    uint64_t before = ops->now_us(w->env);
    assert_true(before >= 1700000000000000u); /* a date of this decade, in microseconds */
    assert_true(before < 4000000000000000u);
    assert_true(ops->now_us(w->env) >= before);

    uint8_t a[600], b[600];
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    assert_int_equal(ops->entropy(w->env, a, 0, &w->err), VDB_OK);
    assert_int_equal(a[0], 0);
    assert_int_equal(ops->entropy(w->env, a, 599, &w->err), VDB_OK);
    assert_int_equal(ops->entropy(w->env, b, 599, &w->err), VDB_OK);
    assert_int_equal(a[599], 0);
    assert_memory_not_equal(a, b, 599);
    int seen[256] = {0};
    int different = 0;
    for (size_t i = 0; i < 599; i++) {
        different += seen[a[i]]++ == 0;
    }
    assert_true(different > 150); /* 599 uniform bytes show about 231 values */
}

static void random_path(struct vdb_rng *rng, char out[static 16])
{
    size_t parts = 1 + (size_t)vdb_rng_below(rng, 3);
    for (size_t i = 0; i < parts; i++) {
        *out++ = (char)('a' + vdb_rng_below(rng, 4));
        *out++ = '/';
    }
    out[-1] = '\0';
}

static vdb_status apply(struct world *w, uint64_t what, const char *a, const char *b)
{
    const struct vdb_env_ops *ops = w->env->ops;
    vdb_file_kind kind;
    uint64_t bytes;
    struct vdb_file *file;
    vdb_status status;
    w->err.text[0] = '\0';
    switch (what) {
    case 0:
        return ops->mkdir(w->env, at(w, a), &w->err);
    case 1:
        return ops->rmdir(w->env, at(w, a), &w->err);
    case 2:
        return ops->unlink(w->env, at(w, a), &w->err);
    case 3:
        return ops->stat(w->env, at(w, a), &kind, &bytes, &w->err);
    case 4:
    case 5:
        status = ops->open(w->env, at(w, a), CREATE, &file, &w->err);
        if (status == VDB_OK) {
            ops->close(w->env, file);
        }
        return status;
    case 6:
        return ops->sync_dir(w->env, at(w, a), &w->err);
    case 7:
        return ops->link(w->env, at(w, a), at(w, b), &w->err);
    default:
        return ops->rename(w->env, at(w, a), at(w, b), &w->err);
    }
}

/* The in-memory file system answers as the system's does: the same random operations on names, status by
 * status. */
static void test_names_against_system(void **state)
{
    (void)state;
    void *memory_state;
    void *posix_state;
    assert_int_equal(setup_memory(&memory_state), 0);
    assert_int_equal(setup_posix(&posix_state), 0);
    struct world *memory = memory_state;
    struct world *posix = posix_state;
    uint64_t seed = 7;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct vdb_rng rng;
    vdb_rng_init(&rng, seed);
    unsigned counts[16] = {0};
    for (int round = 0; round < 20000; round++) {
        char a[16], b[16];
        random_path(&rng, a);
        random_path(&rng, b);
        uint64_t what = vdb_rng_below(&rng, 10);
        vdb_status have = apply(memory, what, a, b);
        vdb_status want = apply(posix, what, a, b);
        if (have != want) {
            fail_msg("round %d: %s: system says %s", round, memory->err.text, posix->err.text);
        }
        counts[want]++;
    }
    assert_true(counts[VDB_OK] > 1000 && counts[VDB_NOT_FOUND] > 100 && counts[VDB_EXISTS] > 100 &&
                counts[VDB_IO] > 100);
    teardown(&memory_state);
    teardown(&posix_state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_open),
        ON_BOTH(test_open_what_is_no_file),
        ON_BOTH(test_name_lengths),
        ON_BOTH(test_read_write),
        ON_BOTH(test_truncate),
        ON_BOTH(test_file_against_array),
        ON_BOTH(test_sync_dir),
        ON_BOTH(test_rename),
        ON_BOTH(test_rename_keeps_open_files),
        ON_BOTH(test_unlink),
        ON_BOTH(test_mkdir_rmdir),
        ON_BOTH(test_list),
        ON_BOTH(test_stat),
        ON_BOTH(test_lock),
        ON_BOTH(test_map),
        ON_BOTH(test_map_outlives_names),
        ON_BOTH(test_link),
        ON_BOTH(test_clock_and_entropy),
        cmocka_unit_test(test_names_against_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
