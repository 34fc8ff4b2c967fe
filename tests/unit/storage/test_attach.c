/* test_attach.c: what lies beside a segment: index files, companions, the index's configuration; what they are to checkpoints
 * and compactions, one after the other and at once. That nothing of it is lost or left behind in a crash is tested by
 * test_store_kill, _power and _faults; what becomes of the files elsewhere by test_attach_files. */
#include "support.h"

#include <pthread.h>
#include <sched.h>

#include "attach_world.h"
#include "base/log.h"
#include "base/rng.h"

static void test_attach_and_detach(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_view before;
    struct vdb_view first;
    struct vdb_store_stats stats;
    struct vdb_verify_result without;
    struct vdb_verify_result with;
    assert_false(exists(w, "c/index")); /* made when first needed */
    assert_ok(vdb_store_verify(w->store, &without, &err), &err);
    assert_fails(open_attached(w->store, 0, &err), VDB_NOT_FOUND, &err, "segment 000000 has no index file");
    struct vdb_segment *segment = pin_segment(w, &before, 0);
    struct vdb_companion *one = counted_create(0);
    attach(w, 0, 5, one);
    vdb_store_pin(w->store, &first);
    assert_null(companion_of(&before, 0)); /* V2 */
    assert_ptr_equal(companion_of(&first, 0), one);
    assert_null(companion_of(&first, 1));
    assert_null(vdb_view_companion(&first, 0)); /* the memtable's */
    assert_int_equal(edition_in(w, "c", 0), 1);
    assert_true(exists(w, "c/index/index_000000_000001.bin"));
    expect_content(w->store, 0, 5);
    assert_ok(vdb_store_verify(w->store, &with, &err), &err);
    vdb_store_get_stats(w->store, &stats);
    assert_int_equal(stats.index_files, 1);
    assert_int_equal(with.files, without.files + 1);
    assert_true(stats.index_bytes > CONTENT_BYTES);

    struct vdb_companion *two = counted_create(0);
    attach(w, 0, 6, two);
    assert_int_equal(edition_in(w, "c", 0), 2);
    assert_false(exists(w, "c/index/index_000000_000001.bin"));
    expect_content(w->store, 0, 6);
    assert_int_equal(atomic_load(&counted_live), 2); /* the view `first` has the one before */
    assert_ptr_equal(companion_of(&first, 0), one);
    vdb_view_release(&first);
    assert_int_equal(atomic_load(&counted_live), 1);

    /* Checkpoints carry it along. */
    assert_ok(write_ids(w->store, 0, 3, true, &err), &err);
    add_segment(w, 40, 45);
    vdb_store_pin(w->store, &first);
    assert_ptr_equal(companion_of(&first, 0), two);
    vdb_view_release(&first);
    assert_int_equal(edition_in(w, "c", 0), 2);
    expect_content(w->store, 0, 6);

    assert_ok(vdb_store_detach(w->store, segment, &err), &err);
    assert_int_equal(atomic_load(&counted_live), 0);
    assert_int_equal(edition_in(w, "c", 0), 0);
    assert_false(exists(w, "c/index/index_000000_000002.bin"));
    assert_fails(open_attached(w->store, 0, &err), VDB_NOT_FOUND, &err, "no index file");
    assert_ok(vdb_store_detach(w->store, segment, &err), &err); /* nothing to do */
    vdb_store_get_stats(w->store, &stats);
    assert_int_equal(stats.index_files, 0);
    assert_int_equal(stats.index_bytes, 0);
    vdb_view_release(&before);
}

static void test_survives_reopening(void **state)
{
    struct world *w = *state;
    struct vdb_view view;
    attach(w, 1, 7, NULL);
    attach(w, 1, 8, counted_create(1));
    reopen(w);
    assert_int_equal(atomic_load(&counted_live), 0); /* memory is memory */
    expect_content(w->store, 1, 8);
    struct vdb_store_stats stats;
    vdb_store_get_stats(w->store, &stats);
    assert_int_equal(stats.index_files, 1);
    assert_true(stats.index_bytes > CONTENT_BYTES);
    struct vdb_segment *segment = pin_segment(w, &view, 1);
    assert_int_equal(vdb_segment_info(segment)->index_edition, 2);
    vdb_view_release(&view);
    attach(w, 1, 9, NULL);
    assert_int_equal(edition_in(w, "c", 1), 3);
    expect_content(w->store, 1, 9);
}

static vdb_status fill_nothing(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    (void)ctx;
    return put(put_ctx, NULL, 0, err);
}

static void test_empty_file(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_segment *segment = pin_segment(w, &view, 0);
    assert_ok(vdb_store_attach(w->store, segment, fill_nothing, NULL, NULL, &err), &err);
    struct vdb_block_file *file;
    const uint8_t *data;
    uint64_t bytes = 1;
    assert_ok(vdb_store_attached_open(w->store, segment, &file, &data, &bytes, &err), &err);
    assert_int_equal(bytes, 0);
    vdb_block_file_close(file);
    vdb_view_release(&view);
}

/* ---- Failures, and what comes in between ---- */

static vdb_status fill_half(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    VDB_TRY(put(put_ctx, "half", 4, err));
    (void)ctx;
    return vdb_err_set(err, VDB_CANCELLED, "no more");
}

static void test_fill_fails(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_companion *old = counted_create(0);
    attach(w, 0, 5, old);
    struct vdb_segment *segment = pin_segment(w, &view, 0);
    struct vdb_companion *refused = counted_create(0);
    assert_fails(vdb_store_attach(w->store, segment, fill_half, NULL, refused, &err), VDB_CANCELLED, &err,
                 "index file of segment 000000: no more");
    assert_int_equal(atomic_load(&refused->refs), 1);
    vdb_companion_unref(refused);
    assert_ptr_equal(vdb_segment_companion(segment), old);
    assert_int_equal(edition_in(w, "c", 0), 1);
    assert_false(exists(w, "c/index/index_000000_000002.bin"));
    expect_content(w->store, 0, 5);
    vdb_view_release(&view);
    attach(w, 0, 6, NULL);
    expect_content(w->store, 0, 6);
}

/* Something that happens while the file is written. */
struct meanwhile {
    struct world *w;
    struct vdb_segment *segment;
    enum { CHECKPOINTS, COMPACTS, KEEPS, BACKS_UP, DETACHES, ATTACHES, CONFIGURES, MEANWHILES } what;
};

static vdb_status fill_meanwhile(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    static const uint32_t inner = 77;
    uint32_t salt = 5;
    uint32_t other = inner;
    struct meanwhile *m = ctx;
    struct vdb_compact_result result;
    struct vdb_snapshot_info info;
    struct vdb_index_config next = {.type = "hnsw", .ef_search = 3};
    struct vdb_store *store = m->w->store;
    VDB_TRY(fill(&salt, put, put_ctx, err));
    switch (m->what) {
    case CHECKPOINTS:
        VDB_TRY(write_ids(store, 50, 55, false, err));
        return vdb_store_checkpoint(store, err);
    case COMPACTS:
        return vdb_store_compact(store, &(struct vdb_compact_options){.full = true}, &result, err);
    case KEEPS:
        return vdb_store_snapshot_create(store, "kept", &info, err);
    case BACKS_UP:
        return vdb_store_backup(store, "b", err);
    case DETACHES:
        return vdb_store_detach(store, m->segment, err);
    case ATTACHES:
        return vdb_store_attach(store, m->segment, fill, &other, NULL, err);
    case CONFIGURES:
        return vdb_store_set_index_config(store, &next, err);
    case MEANWHILES:
        break;
    }
    return VDB_OK;
}

static void test_meanwhile(void **state)
{
    for (int what = 0; what < MEANWHILES; what++) {
        struct vdb_err err = {0};
        struct vdb_view view;
        if (what > 0) {
            assert_int_equal(setup(state), 0);
        }
        struct world *w = *state;
        struct meanwhile m = {.w = w, .segment = pin_segment(w, &view, 0)};
        m.what = what;
        struct vdb_companion *companion = counted_create(0);
        vdb_status status = vdb_store_attach(w->store, m.segment, fill_meanwhile, &m, companion, &err);
        const bool taken = what != COMPACTS && what != DETACHES && what != ATTACHES;
        assert_int_equal(status, taken ? VDB_OK : what == COMPACTS ? VDB_NOT_FOUND : VDB_BUSY);
        assert_int_equal(atomic_load(&companion->refs), taken ? 3 : 1); /* ours; segment and version */
        assert_int_equal(exists(w, "c/index/index_000000_000001.bin"), taken);
        vdb_view_release(&view);
        if (taken || what == ATTACHES) {
            expect_content(w->store, 0, taken ? 5 : 77);
        } else {
            assert_fails(open_attached(w->store, 0, &err), VDB_NOT_FOUND, &err, "no index file");
        }
        if (what == KEEPS || what == BACKS_UP) { /* as of its own moment */
            assert_int_equal(edition_in(w, what == KEEPS ? "c/snapshots/kept" : "b", 0), 0);
        }
        struct vdb_index_config now;
        vdb_store_get_index_config(w->store, &now);
        assert_string_equal(now.type, what == CONFIGURES ? "hnsw" : "qgraph");
        vdb_companion_unref(companion);
        reopen(w);
        struct vdb_verify_result verified;
        assert_ok(vdb_store_verify(w->store, &verified, &err), &err);
        vdb_store_get_index_config(w->store, &now);
        assert_string_equal(now.type, what == CONFIGURES ? "hnsw" : "qgraph");
        if (what + 1 < MEANWHILES) {
            assert_int_equal(teardown(state), 0);
        }
    }
}

static void test_segment_that_is_gone(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_compact_result result;
    uint32_t salt = 1;
    attach(w, 0, 5, counted_create(0));
    struct vdb_segment *segment = pin_segment(w, &view, 0);
    assert_ok(vdb_store_compact(w->store, &(struct vdb_compact_options){.full = true}, &result, &err), &err);
    assert_false(exists(w, "c/index/index_000000_000001.bin")); /* the inputs' go with them */
    struct vdb_companion *companion = counted_create(0);
    assert_fails(vdb_store_attach(w->store, segment, fill, &salt, companion, &err), VDB_NOT_FOUND, &err,
                 "segment 000000 is no longer of the collection");
    assert_fails(vdb_store_detach(w->store, segment, &err), VDB_NOT_FOUND, &err, "no longer");
    assert_fails(vdb_store_set_companion(w->store, segment, companion, &err), VDB_NOT_FOUND, &err, "no longer");
    struct vdb_block_file *file;
    const uint8_t *data;
    uint64_t bytes;
    assert_fails(vdb_store_attached_open(w->store, segment, &file, &data, &bytes, &err), VDB_NOT_FOUND, &err,
                 "no longer");
    assert_int_equal(atomic_load(&companion->refs), 1);
    vdb_companion_unref(companion);
    assert_int_equal(atomic_load(&counted_live), 1); /* the view still has it */
    assert_non_null(companion_of(&view, 0));
    vdb_view_release(&view);
    assert_int_equal(atomic_load(&counted_live), 0);
    assert_fails(open_attached(w->store, 0, &err), VDB_NOT_FOUND, &err, "no index file"); /* the output's */
}

/* ---- The configuration ---- */

static void test_config(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_snapshot_info info;
    struct vdb_store *snapshot;
    const struct vdb_index_config next = {.type = "hnsw",
                                          .m = 1,
                                          .ef_construction = 2,
                                          .ef_search = 3,
                                          .code_bits = 4,
                                          .compact = 5,
                                          .scan_below = 6};
    expect_config(w->store, &config);
    assert_ok(vdb_store_snapshot_create(w->store, "old", &info, &err), &err);
    attach(w, 0, 5, NULL);
    assert_ok(vdb_store_set_index_config(w->store, &next, &err), &err);
    expect_config(w->store, &next);
    expect_content(w->store, 0, 5); /* files stay */
    struct vdb_index_config bad = next;
    bad.type[0] = '/';
    assert_fails(vdb_store_set_index_config(w->store, &bad, &err), VDB_INVALID, &err, "index type");
    bad = next;
    bad.target_recall = 1.5;
    assert_fails(vdb_store_set_index_config(w->store, &bad, &err), VDB_INVALID, &err, "target_recall: 1.5");
    expect_config(w->store, &next);
    vdb_env_memory_crash(w->env, UINT64_MAX); /* the handle is dead with it */
    vdb_store_close(w->store, false);
    assert_ok(vdb_store_open(w->env, "c", NULL, &w->store, &err), &err);
    expect_config(w->store, &next);
    add_segment(w, 60, 61); /* commits after it keep it */
    reopen(w);
    expect_config(w->store, &next);
    assert_ok(vdb_store_snapshot_read(w->store, "old", &snapshot, &err), &err);
    expect_config(snapshot, &config);
    assert_fails(vdb_store_set_index_config(snapshot, &next, &err), VDB_READ_ONLY, &err, "snapshot");
    vdb_store_close(snapshot, false);
    assert_fails(vdb_store_create(w->env, "d", &schema, &(struct vdb_index_config){.type = ""}, &err),
                 VDB_INVALID, &err, "index type");
}

/* In memory only: no file, and gone when it is taken away. */
static void test_set_companion(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_segment *segment = pin_segment(w, &view, 1);
    struct vdb_companion *one = counted_create(1);
    struct vdb_companion *two = counted_create(1);
    assert_ok(vdb_store_set_companion(w->store, segment, one, &err), &err);
    vdb_companion_unref(one);
    assert_false(exists(w, "c/index"));
    add_segment(w, 40, 41);
    vdb_view_release(&view);
    segment = pin_segment(w, &view, 1);
    assert_ptr_equal(companion_of(&view, 1), one);
    assert_ok(vdb_store_set_companion(w->store, segment, one, &err), &err); /* the same again */
    assert_ok(vdb_store_set_companion(w->store, segment, two, &err), &err);
    vdb_companion_unref(two);
    assert_int_equal(atomic_load(&counted_live), 2);
    vdb_view_release(&view);
    assert_int_equal(atomic_load(&counted_live), 1);
    assert_ok(vdb_store_set_companion(w->store, segment, NULL, &err), &err);
    assert_int_equal(atomic_load(&counted_live), 0);
}

/* ---- Compaction tells where rows went ---- */

struct told {
    struct world *w;
    unsigned calls;
    bool attaches;
};

static void told_merged(void *ctx, const struct vdb_view *before, const uint32_t *first, const uint32_t *rows,
                        struct vdb_segment *output)
{
    struct told *told = ctx;
    struct vdb_err err = {0};
    const struct vdb_version *version = before->version;
    uint32_t salt = 123;
    told->calls++;
    assert_int_equal(first[0], 0);
    assert_int_equal(first[version->segment_count], vdb_segment_rows(output));
    for (uint32_t s = 0; s < version->segment_count; s++) {
        for (uint32_t i = first[s]; i < first[s + 1]; i++) {
            struct vdb_id id;
            struct vdb_id was;
            assert_true(i == first[s] || rows[i] > rows[i - 1]);
            assert_ok(vdb_segment_id(output, i, &id, &err), &err);
            assert_ok(vdb_segment_id(version->segments[s], rows[i], &was, &err), &err);
            assert_int_equal(id.number, was.number);
        }
        if (companion_of(before, s) != NULL) {
            assert_int_equal(counted_number(companion_of(before, s)),
                             vdb_segment_info(version->segments[s])->number);
        }
    }
    if (told->attaches) {
        struct vdb_companion *companion = counted_create(vdb_segment_info(output)->number);
        assert_ok(vdb_store_attach(told->w->store, output, fill, &salt, companion, &err), &err);
        vdb_companion_unref(companion);
    }
}

static void test_merged(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_compact_result result;
    struct told told = {.w = w, .attaches = true};
    struct vdb_compact_options options = {.full = true, .merged = told_merged, .ctx = &told};
    attach(w, 0, 5, counted_create(0));
    add_segment(w, 40, 45);
    assert_ok(write_ids(w->store, 3, 7, true, &err), &err);
    assert_ok(write_ids(w->store, 25, 42, false, &err), &err);
    assert_ok(vdb_store_compact(w->store, &options, &result, &err), &err);
    assert_int_equal(result.merged, 3);
    assert_int_equal(told.calls, 1);
    assert_int_equal(atomic_load(&counted_live), 1);
    struct vdb_segment *output = pin_segment(w, &view, 0);
    assert_int_equal(counted_number(companion_of(&view, 0)), vdb_segment_info(output)->number);
    expect_content(w->store, 0, 123);
    vdb_view_release(&view);
    /* Some merged, others not: a tier of four small ones beside one that is large. */
    told.attaches = false;
    add_segment(w, 1000, 30000);
    for (uint64_t i = 0; i < 4; i++) {
        add_segment(w, 30000 + i * 5, 30005 + i * 5);
    }
    options.full = false;
    assert_ok(vdb_store_compact(w->store, &options, &result, &err), &err);
    assert_true(result.merged >= 4);
    vdb_store_pin(w->store, &view);
    assert_int_equal(view.version->segment_count, 2);
    vdb_view_release(&view);
    assert_int_equal(told.calls, 2);
    /* Nothing to do, and nothing left. */
    assert_ok(vdb_store_compact(w->store, &options, &result, &err), &err);
    assert_int_equal(told.calls, 2);
    assert_ok(write_ids(w->store, 0, 30100, true, &err), &err);
    options.full = true;
    assert_ok(vdb_store_compact(w->store, &options, &result, &err), &err);
    assert_int_equal(result.merged, 2);
    assert_int_equal(result.rows_after, 0);
    assert_int_equal(told.calls, 2);
}

/* ---- Threads ---- */

enum { RACE_ROUNDS = 60, RACE_ROUNDS_MAX = 20000, ATTACHERS = 2, READERS = 2 };

struct race {
    struct vdb_store *store;
    atomic_bool stop;
    _Atomic unsigned seen;
    _Atomic unsigned attached;
};

/* Files say which segment they are of. */
static vdb_status fill_number(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    const uint32_t *number = ctx;
    for (int i = 0; i < 500; i++) {
        VDB_TRY(put(put_ctx, number, sizeof *number, err));
    }
    return VDB_OK;
}

static void *race_attach(void *arg)
{
    struct race *race = arg;
    struct vdb_rng rng;
    vdb_rng_init(&rng, atomic_fetch_add(&race->attached, 1) + 1);
    while (!atomic_load(&race->stop)) {
        struct vdb_err err = {0};
        struct vdb_view view;
        vdb_store_pin(race->store, &view);
        if (view.version->segment_count > 0) {
            uint32_t s = (uint32_t)vdb_rng_below(&rng, view.version->segment_count);
            struct vdb_segment *segment = view.version->segments[s];
            uint32_t number = vdb_segment_info(segment)->number;
            struct vdb_companion *companion = counted_create(number);
            uint64_t what = vdb_rng_below(&rng, 8);
            vdb_status status = what == 0   ? vdb_store_detach(race->store, segment, &err)
                                : what == 1 ? vdb_store_set_companion(race->store, segment, companion, &err)
                                            : vdb_store_attach(race->store, segment, fill_number, &number,
                                                               companion, &err);
            assert_true(status == VDB_OK || status == VDB_NOT_FOUND || status == VDB_BUSY);
            atomic_fetch_add(&race->attached, status == VDB_OK);
            vdb_companion_unref(companion);
        }
        vdb_view_release(&view);
    }
    return NULL;
}

static void *race_read(void *arg)
{
    struct race *race = arg;
    while (!atomic_load(&race->stop)) {
        struct vdb_err err = {0};
        struct vdb_view view;
        struct vdb_index_config now;
        vdb_store_get_index_config(race->store, &now);
        assert_int_equal(now.m, now.ef_search); /* one or the other, never by half */
        vdb_store_pin(race->store, &view);
        for (uint32_t s = 0; s < view.version->segment_count; s++) {
            struct vdb_segment *segment = view.version->segments[s];
            const uint32_t number = vdb_segment_info(segment)->number;
            const struct vdb_companion *companion = companion_of(&view, s);
            if (companion != NULL) {
                assert_int_equal(counted_number(companion), number);
                atomic_fetch_add(&race->seen, 1);
            }
            struct vdb_block_file *file;
            const uint8_t *data;
            uint64_t bytes;
            vdb_status status = vdb_store_attached_open(race->store, segment, &file, &data, &bytes, &err);
            assert_true(status == VDB_OK || status == VDB_NOT_FOUND);
            if (status == VDB_OK) {
                assert_int_equal(bytes, 500 * sizeof number);
                assert_memory_equal(data, &number, sizeof number);
                vdb_block_file_close(file);
            }
        }
        vdb_view_release(&view);
    }
    return NULL;
}

static bool had_turns(struct race *race)
{
    return atomic_load(&race->attached) > RACE_ROUNDS / 4 && atomic_load(&race->seen) > 0;
}

static void test_races(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct race race = {.store = w->store};
    pthread_t threads[ATTACHERS + READERS];
    struct vdb_compact_result result;
    struct vdb_snapshot_info info;
    struct vdb_index_config next = {.type = "hnsw"};
    assert_ok(vdb_store_set_index_config(w->store, &next, &err), &err);
    for (int i = 0; i < ATTACHERS + READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, i < ATTACHERS ? race_attach : race_read, &race), 0);
    }
    /* And on until the others have had their turns, however busy the machine is. */
    for (unsigned round = 0; round < RACE_ROUNDS || (round < RACE_ROUNDS_MAX && !had_turns(&race)); round++) {
        struct vdb_compact_options options = {.full = round % 4 == 3};
        sched_yield();
        add_segment(w, round % 7 * 10, round % 7 * 10 + 30);
        assert_ok(vdb_store_compact(w->store, &options, &result, &err), &err);
        next.m = next.ef_search = round;
        assert_ok(vdb_store_set_index_config(w->store, &next, &err), &err);
        if (round % 5 == 0) {
            struct vdb_store *snapshot;
            struct vdb_verify_result verified;
            assert_ok(vdb_store_snapshot_create(w->store, "s", &info, &err), &err);
            assert_ok(vdb_store_snapshot_read(w->store, "s", &snapshot, &err), &err);
            assert_ok(vdb_store_verify(snapshot, &verified, &err), &err);
            vdb_store_close(snapshot, false);
            assert_ok(vdb_store_snapshot_delete(w->store, "s", &err), &err);
            assert_ok(vdb_store_verify(w->store, &verified, &err), &err);
        }
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < ATTACHERS + READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    struct vdb_verify_result verified;
    struct vdb_store_stats before;
    struct vdb_store_stats after;
    vdb_store_get_stats(w->store, &before);
    reopen(w);
    vdb_store_get_stats(w->store, &after);
    assert_ok(vdb_store_verify(w->store, &verified, &err), &err);
    assert_int_equal(before.index_files, after.index_files);
    assert_int_equal(before.index_bytes, after.index_bytes);
    print_message("%u attached, %u companions seen\n", atomic_load(&race.attached), atomic_load(&race.seen));
    assert_true(had_turns(&race));
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        ATTACH_TEST(test_attach_and_detach),
        ATTACH_TEST(test_survives_reopening),
        ATTACH_TEST(test_empty_file),
        ATTACH_TEST(test_fill_fails),
        ATTACH_TEST(test_meanwhile),
        ATTACH_TEST(test_segment_that_is_gone),
        ATTACH_TEST(test_config),
        ATTACH_TEST(test_set_companion),
        ATTACH_TEST(test_merged),
        ATTACH_TEST(test_races),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
