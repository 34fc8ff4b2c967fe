/* test_attach_files.c: index files in snapshots, restores and backups, and what happens when they are missing or damaged, or
 * when a crash left one that nobody names. */
#include "support.h"

#include "attach_world.h"
#include "base/log.h"

/* ---- Snapshots, restore, backup ---- */

static void test_snapshot_has_it(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_snapshot_info with;
    struct vdb_snapshot_info without;
    struct vdb_store *snapshot;
    struct vdb_view view;
    struct vdb_verify_result verified;
    uint32_t salt = 1;
    assert_ok(vdb_store_snapshot_create(w->store, "without", &without, &err), &err);
    assert_false(exists(w, "c/snapshots/without/index"));
    attach(w, 0, 5, NULL);
    assert_ok(vdb_store_snapshot_create(w->store, "with", &with, &err), &err);
    assert_true(with.bytes > without.bytes + CONTENT_BYTES);
    attach(w, 0, 6, NULL); /* the edition before is unlinked here, not there */
    attach(w, 1, 7, NULL);
    assert_ok(vdb_store_snapshot_read(w->store, "with", &snapshot, &err), &err);
    expect_content(snapshot, 0, 5);
    assert_fails(open_attached(snapshot, 1, &err), VDB_NOT_FOUND, &err, "no index file");
    assert_ok(vdb_store_verify(snapshot, &verified, &err), &err);
    vdb_store_pin(snapshot, &view);
    struct vdb_segment *segment = view.version->segments[0];
    struct vdb_companion *companion = counted_create(0);
    assert_fails(vdb_store_attach(snapshot, segment, fill, &salt, companion, &err), VDB_READ_ONLY, &err,
                 "snapshot");
    assert_fails(vdb_store_detach(snapshot, segment, &err), VDB_READ_ONLY, &err, "snapshot");
    assert_ok(vdb_store_set_companion(snapshot, segment, companion, &err), &err);
    vdb_companion_unref(companion);
    vdb_view_release(&view);
    vdb_store_pin(snapshot, &view);
    assert_ptr_equal(vdb_view_companion(&view, view.version->memtable_count), companion);
    vdb_view_release(&view);
    vdb_store_close(snapshot, false);
    assert_int_equal(atomic_load(&counted_live), 0);
    assert_ok(vdb_store_restore(w->env, "c/snapshots/with", "r", true, &err), &err);
    struct vdb_store *restored;
    assert_ok(vdb_store_open(w->env, "r", NULL, &restored, &err), &err);
    expect_content(restored, 0, 5);
    expect_config(restored, &config);
    vdb_store_pin(restored, &view); /* a follower's index files are its own business */
    assert_ok(vdb_store_attach(restored, view.version->segments[1], fill, &salt, NULL, &err), &err);
    vdb_view_release(&view);
    assert_ok(vdb_store_promote(restored, &err), &err);
    expect_content(restored, 1, 1);
    vdb_store_close(restored, true);
}

#define INDEX_FILE "c/index/index_000000_000001.bin"

enum { MISSING, FLIPPED, CUT, OTHER_SEGMENT, OTHER_EDITION, NO_FOLDER, DAMAGES };

/* Segment 0's index file is no good, in one of the ways. */
static void damage(struct world *w, int how)
{
    struct vdb_err err = {0};
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_file *file;
    uint8_t *bytes = NULL;
    size_t count = 0;
    if (how == FLIPPED) {
        assert_true(vdb_env_memory_flip(w->env, INDEX_FILE, 4096 + 100000, 4));
        return;
    }
    if (how == CUT || how == OTHER_SEGMENT) {
        const char *from = how == CUT ? INDEX_FILE : "c/index/index_000001_000001.bin";
        assert_ok(vdb_env_read_file(w->env, from, 1 << 20, &bytes, &count, &err), &err);
    } else if (how == OTHER_EDITION) {
        struct vdb_block_writer *writer;
        struct vdb_block_file_name name = {.kind = VDB_BLOCK_FILE_INDEX};
        struct vdb_stamp stamp;
        memcpy(name.uuid, vdb_store_uuid(w->store), VDB_UUID_BYTES);
        assert_ok(vdb_block_writer_create(w->env, INDEX_FILE, &name, &writer, &err), &err);
        assert_ok(vdb_block_writer_section(writer, 1, &err), &err);
        assert_ok(vdb_block_writer_append(writer, "good bytes, but others", 22, &err), &err);
        assert_ok(vdb_block_writer_finish(writer, &stamp, &err), &err);
        vdb_block_writer_destroy(writer);
        return;
    }
    assert_ok(ops->unlink(w->env, INDEX_FILE, &err), &err);
    if (how == NO_FOLDER) {
        assert_ok(ops->unlink(w->env, "c/index/index_000001_000001.bin", &err), &err);
        assert_ok(ops->rmdir(w->env, "c/index", &err), &err);
    }
    if (bytes != NULL) {
        assert_ok(ops->open(w->env, INDEX_FILE, VDB_OPEN_WRITE | VDB_OPEN_CREATE, &file, &err), &err);
        assert_ok(ops->write_at(w->env, file, bytes, how == CUT ? count - 1 : count, 0, &err), &err);
        ops->close(w->env, file);
        free(bytes);
    }
}

/* It never stops opening, reading, writing, a snapshot, a backup; it is named where it is asked for, and made again. */
static void test_damaged_file(void **state)
{
    for (int how = 0; how < DAMAGES; how++) {
        struct vdb_err err = {0};
        struct vdb_snapshot_info info;
        struct vdb_verify_result verified;
        struct vdb_store *copy;
        struct vdb_view view;
        if (how > 0) {
            assert_int_equal(setup(state), 0);
        }
        struct world *w = *state;
        attach(w, 0, 5, NULL);
        attach(w, 1, 6, NULL);
        vdb_store_close(w->store, true);
        w->store = NULL;
        assert_ok(vdb_store_open(w->env, "c", NULL, &w->store, &err), &err);
        damage(w, how);
        reopen(w);
        assert_fails(open_attached(w->store, 0, &err), VDB_CORRUPT, &err, INDEX_FILE);
        assert_fails(vdb_store_verify(w->store, &verified, &err), VDB_CORRUPT, &err, INDEX_FILE);
        if (how != NO_FOLDER) {
            expect_content(w->store, 1, 6);
        }
        add_segment(w, 70, 75);
        vdb_store_pin(w->store, &view);
        assert_int_equal(view.points, ROWS + 15);
        vdb_view_release(&view);
        assert_int_equal(edition_in(w, "c", 0), 1); /* nobody takes it away behind one's back */
        /* A snapshot links what is there; a copy takes what is good. */
        assert_ok(vdb_store_snapshot_create(w->store, "s", &info, &err), &err);
        assert_int_equal(edition_in(w, "c/snapshots/s", 0), how == MISSING || how == NO_FOLDER ? 0 : 1);
        assert_ok(vdb_store_backup(w->store, "b", &err), &err);
        assert_ok(vdb_store_restore(w->env, "c/snapshots/s", "r", false, &err), &err);
        for (int which = 0; which < 2; which++) {
            assert_int_equal(edition_in(w, which == 0 ? "b" : "r", 0), 0);
            assert_int_equal(edition_in(w, which == 0 ? "b" : "r", 1), how == NO_FOLDER ? 0 : 1);
            assert_ok(vdb_store_open(w->env, which == 0 ? "b" : "r", NULL, &copy, &err), &err);
            assert_ok(vdb_store_verify(copy, &verified, &err), &err);
            assert_int_equal(verified.points, ROWS + 15);
            if (how != NO_FOLDER) {
                expect_content(copy, 1, 6);
            }
            vdb_store_close(copy, true);
        }
        attach(w, 0, 8, NULL);
        attach(w, 1, 9, NULL);
        expect_content(w->store, 0, 8);
        assert_ok(vdb_store_verify(w->store, &verified, &err), &err);
        assert_false(exists(w, INDEX_FILE));
        if (how + 1 < DAMAGES) {
            assert_int_equal(teardown(state), 0);
        }
    }
}

/* Every byte of the file is looked at, whoever opens it. */
static void test_every_block_is_checked(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_store_stats stats;
    attach(w, 0, 5, NULL);
    vdb_store_get_stats(w->store, &stats);
    for (uint64_t at = 0; at < stats.index_bytes; at += 997) {
        assert_true(vdb_env_memory_flip(w->env, INDEX_FILE, at, 0x10));
        assert_fails(open_attached(w->store, 0, &err), VDB_CORRUPT, &err, INDEX_FILE);
        assert_true(vdb_env_memory_flip(w->env, INDEX_FILE, at, 0x10));
    }
    expect_content(w->store, 0, 5);
}

/* What a crash left is removed at open; what nobody of us made is refused. */
static void test_sweep(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_file *file;
    const struct vdb_env_ops *ops = w->env->ops;
    static const char *const leftovers[] = {"c/index/index_000000_000002.bin", "c/index/index_000007_000001.bin"};
    static const char *const strange[] = {"c/index/notes.txt", "c/index/index_000000.bin",
                                          "c/index/index_000000_000000.bin", "c/index/dead_000000_000001.bin",
                                          "c/meta/index_000000_000001.bin"};
    attach(w, 0, 5, NULL);
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++) {
        assert_ok(ops->open(w->env, leftovers[i], VDB_OPEN_WRITE | VDB_OPEN_CREATE, &file, &err), &err);
        ops->close(w->env, file);
    }
    attach(w, 0, 6, NULL); /* over a leftover of that name */
    reopen(w);
    expect_content(w->store, 0, 6);
    assert_true(exists(w, leftovers[0]));
    assert_false(exists(w, leftovers[1]));
    vdb_store_close(w->store, true);
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        assert_ok(ops->open(w->env, strange[i], VDB_OPEN_WRITE | VDB_OPEN_CREATE, &file, &err), &err);
        ops->close(w->env, file);
        w->store = NULL;
        assert_fails(vdb_store_open(w->env, "c", NULL, &w->store, &err), VDB_CORRUPT, &err,
                     strrchr(strange[i], '/') + 1);
        assert_ok(ops->unlink(w->env, strange[i], &err), &err);
    }
    assert_ok(vdb_store_open(w->env, "c", NULL, &w->store, &err), &err);
    expect_content(w->store, 0, 6);
}

/* ---- As an earlier version wrote them ---- */

/* tests/golden/NAME, found from this file's own path. */
static void golden(const char *name, char out[512])
{
    static const char here[] = "unit/storage/test_attach_files.c";
    const char *file = __FILE__;
    size_t bytes = strlen(file);
    assert_true(bytes > sizeof here && strcmp(file + bytes - (sizeof here - 1), here) == 0);
    snprintf(out, 512, "%.*sgolden/%s", (int)(bytes - (sizeof here - 1)), file, name);
}

struct copying {
    struct vdb_env *to;
    const char *from_dir;
    const char *to_dir;
};

static vdb_status copy_in(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    const struct copying *copying = ctx;
    char from[512];
    char to[512];
    snprintf(from, sizeof from, "%s/%s", copying->from_dir, name);
    snprintf(to, sizeof to, "%s/%s", copying->to_dir, name);
    if (kind == VDB_KIND_DIR) {
        struct copying inner = {copying->to, from, to};
        VDB_TRY(copying->to->ops->mkdir(copying->to, to, err));
        return vdb_env_posix()->ops->list(vdb_env_posix(), from, copy_in, &inner, err);
    }
    uint8_t *bytes;
    size_t count;
    struct vdb_file *file;
    VDB_TRY(vdb_env_read_file(vdb_env_posix(), from, 1 << 20, &bytes, &count, err));
    assert_ok(copying->to->ops->open(copying->to, to, VDB_OPEN_WRITE | VDB_OPEN_CREATE, &file, err), err);
    assert_ok(copying->to->ops->write_at(copying->to, file, bytes, count, 0, err), err);
    copying->to->ops->close(copying->to, file);
    free(bytes);
    return VDB_OK;
}

/* As tests/golden/make_indexed.c put it there. */
static void expect_golden(struct vdb_store *store)
{
    static const struct vdb_index_config golden_config = {
        .type = "flat", .scan_below = 4096, .target_recall = 0.95};
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_block_file *file;
    struct vdb_verify_result verified;
    const uint8_t *data;
    uint64_t bytes;
    expect_config(store, &golden_config);
    vdb_store_pin(store, &view);
    assert_int_equal(view.version->segment_count, 2);
    struct vdb_segment *segment = view.version->segments[0];
    assert_int_equal(vdb_segment_info(segment)->index_edition, 2);
    assert_ok(vdb_store_attached_open(store, segment, &file, &data, &bytes, &err), &err);
    assert_int_equal(bytes, 5000);
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(data[i], (uint8_t)(i * 7 + 2));
    }
    vdb_block_file_close(file);
    vdb_view_release(&view);
    assert_fails(open_attached(store, 1, &err), VDB_NOT_FOUND, &err, "no index file");
    assert_ok(vdb_store_verify(store, &verified, &err), &err);
}

static void test_golden(void **state)
{
    static const char *const names[] = {"format2-indexed/collections/numbers",
                                        "format2-indexed/collections/texts"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct vdb_env *env = vdb_env_memory_create();
        struct vdb_err err = {0};
        struct vdb_store *store;
        struct vdb_store *snapshot;
        char from[512];
        golden(names[i], from);
        assert_ok(env->ops->mkdir(env, "g", &err), &err);
        assert_ok(
            vdb_env_posix()->ops->list(vdb_env_posix(), from, copy_in, &(struct copying){env, from, "g"}, &err),
            &err);
        for (int again = 0; again < 2; again++) {
            assert_ok(vdb_store_open(env, "g", NULL, &store, &err), &err);
            expect_golden(store);
            assert_ok(vdb_store_snapshot_read(store, "kept", &snapshot, &err), &err);
            expect_golden(snapshot);
            vdb_store_close(snapshot, false);
            vdb_store_close(store, true);
        }
        vdb_env_memory_destroy(env);
    }
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        ATTACH_TEST(test_snapshot_has_it),
        ATTACH_TEST(test_damaged_file),
        ATTACH_TEST(test_every_block_is_checked),
        ATTACH_TEST(test_sweep),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
