/* test_store_faults.c: one file operation fails, or one allocation, and the world is well again: the store says what
 * failed and where, shows nothing that was not acknowledged, acknowledges nothing more once its log is in doubt,
 * does on the second try what it could not do on the first, and reopens clean. */
#include "support.h"

#include "base/log.h"
#include "store_world.h"
#include "unit/env/alloc_fail.h"

static bool says(const struct vdb_err *err, const char *part)
{
    return strstr(err->text, part) != NULL;
}

/* The text has the operation and its path: `sync "c/wal/segment_000001.wal": ...`. */
static void expect_operation(const struct vdb_err *err)
{
    static const char *const names[] = {"open \"",   "read \"",   "write \"", "size \"",  "truncate \"",
                                        "sync \"",   "rename \"", "link \"",  "mkdir \"", "sync directory \"",
                                        "unlink \"", "rmdir \"",  "list \"",  "stat \"",  "map \"",
                                        "touch \"",  "entropy"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *at = strstr(err->text, names[i]);
        if (at != NULL && (at[strlen(names[i])] == 'c' || names[i][0] == 'e')) {
            return;
        }
    }
    fail_msg("the text names no operation and path: \"%s\"", err->text);
}

/* ---- One fault at every operation of the script ---- */

struct counts {
    uint64_t faults;
    uint64_t reported;
    uint64_t retried;
    uint64_t log_stopped;
    uint64_t commit_stopped;
    uint64_t cuts;
};

/* Whatever a power cut leaves now is good. */
static void cut_copies(const struct world *w, uint64_t seeds, struct counts *counts)
{
    for (uint64_t seed = 0; seed < seeds; seed++) {
        struct vdb_env *copy = clone_env(w->env);
        where.seed = seed == 1 ? UINT64_MAX : seed * 977 * where.n;
        vdb_env_memory_crash(copy, where.seed);
        (void)check_recovered(copy, w);
        vdb_env_memory_destroy(copy);
        counts->cuts++;
    }
}

/* Closes, and sees that what is on the disk is good as it is, and whatever a power cut leaves of it. */
static void reopen_clean(struct world *w, struct counts *counts)
{
    world_close(w, true);
    cut_copies(w, 4, counts);
    unsigned batch = check_recovered(w->env, w);
    w->step += batch > w->acked ? 1 : 0;
    w->acked = batch;
}

/* The log is in doubt: no more acknowledgements from this handle, no checkpoint, but every answer. */
static void expect_log_stopped(struct world *w)
{
    struct vdb_err err = {0};
    uint64_t seq;
    struct model scratch;
    for (int i = 0; i < 2; i++) {
        make_batch(1, &w->payload, &scratch);
        assert_int_equal(vdb_store_write(w->store, w->payload.data, w->payload.bytes, &seq, NULL, &err),
                         VDB_READ_ONLY);
    }
    vdb_status status = vdb_store_checkpoint(w->store, &err);
    assert_true(status == VDB_READ_ONLY || status == VDB_OK); /* nothing new: nothing to do */
    (void)check_state(w->store, w, false);
}

/* No file is begun, and the companion stays what it is. */
static void expect_no_attach(struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_view view;
    uint32_t number = 0;
    vdb_store_pin(w->store, &view);
    if (view.version->segment_count > 0) {
        struct vdb_segment *segment = view.version->segments[0];
        struct vdb_companion *before = vdb_view_companion(&view, view.version->memtable_count);
        assert_fails(vdb_store_attach(w->store, segment, fill_index, &number, NULL, &err), VDB_READ_ONLY, &err,
                     "reopen");
        assert_fails(vdb_store_detach(w->store, segment, &err), VDB_READ_ONLY, &err, "reopen");
        assert_ptr_equal(vdb_segment_companion(segment), before);
    }
    vdb_view_release(&view);
}

/* The manifest is in doubt (D4): no more commits from this handle, but writes go on; and nothing that either
 * manifest names has gone. */
static void expect_commits_stopped(struct world *w, struct counts *counts)
{
    struct vdb_err err = {0};
    struct vdb_snapshot_info info;
    assert_fails(vdb_store_checkpoint(w->store, &err), VDB_READ_ONLY, &err, "reopen");
    assert_fails(vdb_store_snapshot_create(w->store, "other", &info, &err), VDB_READ_ONLY, &err, "reopen");
    assert_fails(vdb_store_set_index_config(w->store, &world_index, &err), VDB_READ_ONLY, &err, "reopen");
    expect_no_attach(w);
    if (script[w->failed_step].kind == KEEP) {
        return; /* to be done again after the reopening */
    }
    w->step += w->step == w->failed_step ? 1 : 0;
    w->status = VDB_OK;
    while (is_batch(w->step)) {
        assert_true(run_step(w));
        (void)check_state(w->store, w, false);
    }
    cut_copies(w, 12, counts);
}

/* Whether it was the manifest's name that could not be synced: those of snapshots/ and index/ are no more than the
 * step's own. */
static bool commits_stopped(struct world *w)
{
    struct vdb_err err = {0};
    vdb_status status = vdb_store_checkpoint(w->store, &err);
    const enum step_kind kind = script[w->failed_step].kind;
    assert_true(status == VDB_READ_ONLY || (status == VDB_OK && (kind == KEEP || kind == ATTACH)));
    return status == VDB_READ_ONLY;
}

/* After the failure of a step, or of an opening. */
static void after_failure(struct world *w, vdb_status fault, struct counts *counts)
{
    counts->reported++;
    assert_int_equal(w->status, fault);
    expect_operation(&w->failure);
    where.step = w->step;
    where.acked = w->acked;
    w->resumed = true;
    if (w->store == NULL) {
        reopen_clean(w, counts); /* an opening that failed has harmed nothing */
    } else if (says(&w->failure, "\"c/wal")) {
        counts->log_stopped++;
        (void)check_state(w->store, w, false);
        expect_log_stopped(w);
        reopen_clean(w, counts);
    } else if (says(&w->failure, "\"c/metadata.json") || (says(&w->failure, "\"c\"") && commits_stopped(w))) {
        counts->commit_stopped++;
        (void)check_state(w->store, w, false);
        expect_commits_stopped(w, counts);
        reopen_clean(w, counts);
    } else {
        /* There is space again: the same step succeeds. */
        counts->retried++;
        (void)check_state(w->store, w, false);
        check_indexes(w->store, w);
        if (script[w->failed_step].kind == ATTACH) {
            struct vdb_store_stats stats;
            struct listing listing;
            vdb_store_get_stats(w->store, &stats);
            list_dir(w->env, "c/index", &listing);
            assert_int_equal(listing.count, stats.index_files); /* what was begun is gone */
        }
        vdb_status status = perform(w, &script[w->failed_step]);
        if (status != VDB_OK) {
            fail_msg("step %u, %s, fails again: %s", w->failed_step, step_text(w->failed_step), w->err.text);
        }
        w->step += w->step == w->failed_step ? 1 : 0;
        if (w->store != NULL) {
            (void)check_state(w->store, w, false);
        }
        cut_copies(w, 4, counts);
    }
    w->status = VDB_OK;
}

static bool run_with_fault(struct vdb_env *fresh, uint64_t n, vdb_status fault, struct counts *counts)
{
    struct vdb_env *env = clone_env(fresh);
    struct world w = {.env = env};
    hook_env(env);
    where.n = n;
    vdb_env_memory_fail_at(env, n, fault, false, n);
    bool ended = run_script(&w);
    bool reached = vdb_env_memory_operations(env) >= n;
    vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
    if (!ended) {
        hooked_world = &w;
        after_failure(&w, fault, counts);
        hooked_world = NULL;
        if (!run_script(&w)) {
            fail_msg("goes on and fails at step %u, %s: %s", w.failed_step, step_text(w.failed_step),
                     w.failure.text);
        }
    }
    assert_int_equal(w.acked, history.batches);
    assert_int_equal(check_recovered(env, &w), history.batches);
    world_fini(&w);
    vdb_env_memory_destroy(env);
    counts->faults += reached;
    return reached;
}

static void test_one_fault_everywhere(void **state)
{
    (void)state;
    struct counts counts = {0};
    struct vdb_env *fresh = fresh_env();
    where.active = true;
    where.what = "fault sweep";
    for (uint64_t n = 1;; n++) {
        bool reached = run_with_fault(fresh, n, VDB_IO, &counts);
        if (!reached || !run_with_fault(fresh, n, VDB_NO_SPACE, &counts)) {
            break;
        }
    }
    where.active = false;
    vdb_env_memory_destroy(fresh);
    print_message(
        "%llu faults: %llu reported, of them %llu done at the second try, %llu stopped the log, %llu the "
        "commits; %llu power cuts after them; 0 losses\n",
        (unsigned long long)counts.faults, (unsigned long long)counts.reported,
        (unsigned long long)counts.retried, (unsigned long long)counts.log_stopped,
        (unsigned long long)counts.commit_stopped, (unsigned long long)counts.cuts);
    assert_true(counts.retried > 100 && counts.log_stopped > 50 && counts.commit_stopped > 50);
}

/* The disk is full for a while: writes may stop, nothing else is lost, and a checkpoint that found no space finds it
 * later. */
static void test_checkpoint_waits_for_space(void **state)
{
    (void)state;
    struct vdb_env *fresh = fresh_env();
    struct vdb_err err = {0};
    unsigned tried = 0;
    where.active = true;
    where.what = "full disk";
    for (uint64_t n = 1; n < 60; n++) {
        struct vdb_env *env = clone_env(fresh);
        struct world w = {.env = env};
        where.n = n;
        hook_env(env);
        assert_ok(world_open(&w), &w.err);
        for (int i = 0; i < 3; i++) {
            assert_true(run_step(&w));
        }
        vdb_env_memory_fail_at(env, n, VDB_NO_SPACE, true, n);
        vdb_status status = vdb_store_checkpoint(w.store, &err);
        vdb_status again = vdb_store_checkpoint(w.store, &err);
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        (void)check_state(w.store, &w, false);
        if (status == VDB_NO_SPACE && again == VDB_NO_SPACE) { /* neither the log nor the manifest is in doubt */
            struct vdb_store_stats stats;
            tried++;
            w.step = 4;
            assert_true(run_step(&w)); /* the frozen rows are not the last ones */
            assert_ok(vdb_store_checkpoint(w.store, &err), &err);
            assert_ok(vdb_store_checkpoint(w.store, &err), &err);
            vdb_store_get_stats(w.store, &stats);
            assert_int_equal(stats.segments, 2);
            assert_int_equal(stats.checkpoint_seq, 4);
        }
        reopen_clean(&w, &(struct counts){0});
        world_fini(&w);
        vdb_env_memory_destroy(env);
    }
    where.active = false;
    vdb_env_memory_destroy(fresh);
    assert_true(tried > 20);
}

/* A directory of format 1 has no folders for segments: the first checkpoint makes them, and a manifest that names files
 * in them is never there without them, though an earlier attempt failed to make their names durable. */
static void test_folders_of_an_old_directory(void **state)
{
    (void)state;
    struct vdb_env *fresh = fresh_env();
    struct vdb_err err = {0};
    unsigned tried = 0;
    assert_ok(fresh->ops->rmdir(fresh, "c/vectors", &err), &err);
    assert_ok(fresh->ops->rmdir(fresh, "c/meta", &err), &err);
    assert_ok(fresh->ops->sync_dir(fresh, "c", &err), &err);
    where.active = true;
    where.what = "folders of an old directory";
    for (uint64_t n = 1; n < 20; n++) {
        bool passed = false;
        for (uint64_t m = 1; !passed; m++) {
            struct vdb_env *env = clone_env(fresh);
            struct world w = {.env = env};
            hook_env(env);
            assert_ok(world_open(&w), &w.err);
            for (int i = 0; i < 3; i++) {
                assert_true(run_step(&w));
            }
            vdb_env_memory_fail_at(env, n, VDB_IO, false, n);
            vdb_status status = vdb_store_checkpoint(w.store, &err);
            passed = status != VDB_IO || !says(&err, "sync directory \"c\"");
            vdb_env_memory_fail_at(env, m, VDB_IO, true, m);
            (void)!vdb_store_checkpoint(w.store, &err);
            passed = passed || vdb_env_memory_operations(env) < m;
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            where.n = n;
            where.m = m;
            if (!passed) {
                cut_copies(&w, 12, &(struct counts){0});
                tried++;
            }
            world_fini(&w);
            vdb_env_memory_destroy(env);
        }
    }
    where.active = false;
    vdb_env_memory_destroy(fresh);
    assert_true(tried > 20);
}

/* ---- Restore ---- */

/* A closed store with a snapshot: fresh, and the script up to its first snapshot and a batch more. */
static struct vdb_env *env_with_snapshot(struct vdb_env *fresh, unsigned *made_after)
{
    struct vdb_env *env = clone_env(fresh);
    struct world w = {.env = env};
    hook_env(env);
    hooked_world = &w;
    assert_ok(world_open(&w), &w.err);
    for (bool merged = false; !merged;) { /* past the tier's merge */
        merged = script[w.step].kind == COMPACT;
        assert_true(run_step(&w));
    }
    hooked_world = NULL;
    struct vdb_snapshot_info info;
    assert_ok(change_index(&w, true, 0), &w.err);
    assert_ok(vdb_store_snapshot_create(w.store, "source", &info, &w.err), &w.err);
    *made_after = w.acked;
    world_close(&w, true);
    world_fini(&w);
    vdb_env_memory_crash(env, UINT64_MAX);
    return env;
}

static void check_restored(struct vdb_env *env, unsigned made_after)
{
    struct vdb_err err = {0};
    struct vdb_store *store;
    struct vdb_verify_result verified;
    struct model seen;
    assert_ok(vdb_store_open(env, "r", NULL, &store, &err), &err);
    assert_ok(read_store(store, &seen, &err), &err);
    assert_true(is_model(&seen, made_after));
    assert_ok(vdb_store_verify(store, &verified, &err), &err);
    vdb_store_close(store, true);
}

static unsigned restored_indexes(struct vdb_env *env)
{
    struct vdb_manifest manifest;
    struct vdb_err err = {0};
    unsigned count = 0;
    assert_ok(vdb_manifest_load(env, "r", VDB_MANIFEST_COLLECTION, &manifest, &err), &err);
    for (uint32_t i = 0; i < manifest.segment_count; i++) {
        count += manifest.segments[i].index_edition != 0;
    }
    vdb_manifest_fini(&manifest);
    return count;
}

/* Each operation of a restore fails, or is the last before a power cut: what is there is refused or whole. */
static void test_restore_everywhere(void **state)
{
    (void)state;
    unsigned made_after;
    struct vdb_env *fresh = fresh_env();
    struct vdb_env *source = env_with_snapshot(fresh, &made_after);
    uint64_t cuts = 0;
    unsigned left_out = 0;
    bool passed = false;
    where.active = true;
    where.what = "restore";
    for (uint64_t n = 1; !passed; n++) {
        struct vdb_env *env = clone_env(source);
        struct vdb_err err = {0};
        where.n = n;
        vdb_env_memory_fail_at(env, n, n % 2 == 0 ? VDB_IO : VDB_NO_SPACE, n % 3 == 0, n);
        vdb_status status = vdb_store_restore(env, "c/snapshots/source", "r", false, &err);
        passed = vdb_env_memory_operations(env) < n;
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        if (!passed && status == VDB_OK) { /* the index file could not be read: left out */
            assert_int_equal(restored_indexes(env), 0);
            left_out++;
        } else {
            assert_true(passed == (status == VDB_OK));
            assert_true(!passed || restored_indexes(env) == 1);
        }
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct vdb_env *copy = clone_env(env);
            struct vdb_manifest manifest;
            if (passed && seed % 2 == 0) {
                assert_ok(copy->ops->sync_dir(copy, ".", &err), &err);
            }
            vdb_env_memory_crash(copy, seed * 131 + (seed > 0 ? n : 0));
            where.seed = seed;
            vdb_status there = vdb_manifest_load(copy, "r", VDB_MANIFEST_COLLECTION, &manifest, &err);
            assert_true(there == VDB_OK || there == VDB_NOT_FOUND);
            assert_true(there == VDB_OK || !passed || seed % 2 == 1);
            if (there == VDB_OK) {
                vdb_manifest_fini(&manifest);
                check_restored(copy, made_after);
            }
            vdb_env_memory_destroy(copy);
            cuts++;
        }
        if (!passed) {
            vdb_status removed = vdb_env_remove_tree(env, "r", &err);
            assert_true(removed == VDB_OK || removed == VDB_NOT_FOUND);
            assert_ok(vdb_store_restore(env, "c/snapshots/source", "r", false, &err), &err);
        }
        check_restored(env, made_after);
        vdb_env_memory_destroy(env);
    }
    where.active = false;
    vdb_env_memory_destroy(source);
    vdb_env_memory_destroy(fresh);
    print_message("%llu power cuts during a restore; nothing by half\n", (unsigned long long)cuts);
    assert_true(left_out > 0);
}

/* ---- Allocations ---- */

static bool step_with_failing_allocation(struct vdb_env *before, const struct world *at, uint64_t n)
{
    struct vdb_env *env = clone_env(before);
    struct world w = resume_world(env, at, at->acked);
    struct model scratch;
    where.n = n;
    w.resumed = false;
    assert_ok(world_open(&w), &w.err);
    make_batch(w.acked < history.batches ? w.acked + 1 : 1, &w.payload, &scratch); /* its memory is there */
    hooked_world = &w;
    alloc_fail_arm(n, false);
    bool done = run_step(&w);
    bool passed = alloc_fail_disarm() < n;
    hooked_world = NULL;
    where.step = w.step;
    where.acked = w.acked;
    assert_true(done || !passed);
    w.resumed = true;
    if (!done) {
        assert_true(w.status == VDB_NO_MEMORY || says(&w.failure, "memory"));
        if (w.store != NULL) {
            (void)check_state(w.store, &w, false);
        }
    }
    world_close(&w, true);
    unsigned batch = check_recovered(env, &w);
    w.step += batch > w.acked ? 1 : 0;
    w.acked = batch;
    w.status = VDB_OK;
    hooked_world = &w;
    assert_ok(world_open(&w), &w.err);
    if (w.step < STEPS) {
        assert_true(run_step(&w)); /* the same again, or the next */
    }
    hooked_world = NULL;
    world_fini(&w);
    vdb_env_memory_destroy(env);
    return passed;
}

static uint64_t fail_allocations_in_every_step(vdb_element element)
{
    struct vdb_env *env = fresh_env_of(element);
    struct world w = {.env = env};
    uint64_t cases = 0;
    hook_env(env);
    where.active = true;
    where.what = "failed allocation";
    while (w.step < STEPS) {
        for (uint64_t n = 1; !step_with_failing_allocation(env, &w, n); n++) {
            cases++;
        }
        hooked_world = &w;
        assert_ok(world_open(&w), &w.err);
        assert_true(run_step(&w));
        hooked_world = NULL;
        world_close(&w, false);
        vdb_env_memory_crash(env, UINT64_MAX);
    }
    where.active = false;
    world_fini(&w);
    vdb_env_memory_destroy(env);
    return cases;
}

static void test_failed_allocations_in_every_step(void **state)
{
    (void)state;
    if (!alloc_fail_works()) {
        skip();
    }
    uint64_t cases = fail_allocations_in_every_step(VDB_ELEMENT_F32);
    uint64_t halves = fail_allocations_in_every_step(VDB_ELEMENT_F16);
    print_message("%llu failed allocations in the steps of the script\n", (unsigned long long)cases);
    assert_true(cases > 1000);
    assert_true(halves > cases); /* checkpoints take a vector's room more */
}

/* Opening, reading, verifying, snapshots and restore. */
static vdb_status read_everything(struct vdb_env *env, struct vdb_err *err)
{
    struct vdb_store *store = NULL;
    struct vdb_store *snapshot = NULL;
    struct vdb_snapshot_info *list = NULL;
    struct vdb_verify_result verified;
    struct vdb_id ids[IDS];
    char texts[IDS][16];
    struct vdb_place places[IDS];
    struct vdb_view view = {0};
    size_t count;
    vdb_status status;
    for (unsigned n = 0; n < IDS; n++) {
        ids[n] = id_of(n, texts[n]);
    }
    VDB_CHECK(vdb_store_open(env, "c", &world_log, &store, err));
    VDB_CHECK(vdb_store_find(store, ids, IDS, &view, places, err));
    VDB_CHECK(vdb_store_verify(store, &verified, err));
    VDB_CHECK(vdb_store_snapshot_list(store, &list, &count, err));
    VDB_CHECK(vdb_store_snapshot_open(env, "c", "source", &snapshot, err));
    VDB_CHECK(vdb_store_verify(snapshot, &verified, err));
    status = vdb_store_restore(env, "c/snapshots/source", "r", false, err);

cleanup:
    free(list);
    vdb_view_release(&view);
    vdb_store_close(snapshot, false);
    vdb_store_close(store, false);
    return status;
}

static void test_failed_allocations_in_reads(void **state)
{
    (void)state;
    if (!alloc_fail_works()) {
        skip();
    }
    unsigned made_after;
    struct vdb_env *fresh = fresh_env();
    struct vdb_env *source = env_with_snapshot(fresh, &made_after);
    uint64_t n = 1;
    for (bool passed = false; !passed; n++) {
        struct vdb_env *env = clone_env(source);
        struct vdb_err err = {0};
        where.n = n;
        alloc_fail_arm(n, false);
        vdb_status status = read_everything(env, &err);
        passed = alloc_fail_disarm() < n;
        assert_true(status == VDB_NO_MEMORY || status == VDB_OK);
        assert_true(status == VDB_OK || says(&err, "memory"));
        assert_true(status == VDB_OK || !passed);
        vdb_status removed = vdb_env_remove_tree(env, "r", &err);
        assert_true(removed == VDB_OK || removed == VDB_NOT_FOUND);
        assert_ok(read_everything(env, &err), &err);
        check_restored(env, made_after);
        vdb_env_memory_destroy(env);
    }
    vdb_env_memory_destroy(source);
    vdb_env_memory_destroy(fresh);
    print_message("%llu failed allocations in reads\n", (unsigned long long)n);
    assert_true(n > 50);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* every case fails on purpose */
    make_history();
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_one_fault_everywhere),
        WORLD_TEST(test_checkpoint_waits_for_space),
        WORLD_TEST(test_folders_of_an_old_directory),
        WORLD_TEST(test_restore_everywhere),
        WORLD_TEST(test_failed_allocations_in_every_step),
        WORLD_TEST(test_failed_allocations_in_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
