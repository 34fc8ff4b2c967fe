/* test_store_kill.c: promises P1, P2 and P4 of the design when the process dies: at every file operation of a workload,
 * and again at every operation of the recovery; also when the power goes after that.
 *
 * After a kill the kernel's cache survives: what was written is there, synced or not. So recovery sees what a power
 * cut can still take away, and must make it durable before it acts on it. VECDB_CRASH_STATES in the environment asks
 * for the long form. */
#include "support.h"

#include "base/log.h"
#include "store_world.h"

/* The kinds of death that follow a death: the process again, and the power. */
static const uint64_t cuts[] = {UINT64_MAX, 0, 3};
enum { CUTS = sizeof cuts / sizeof cuts[0] };

#ifdef VDB_SANITIZED
enum { STRIDE = 17 }; /* a sanitizer looks for other things than losses */
#else
enum { STRIDE = 1 };
#endif

struct counts {
    uint64_t kills;
    uint64_t recoveries; /* that died, too */
};

/* Recovers from a copy of `dead`, checks, and takes the power away: what was seen stays. */
static unsigned recover_and_cut(struct vdb_env *dead, const struct world *w)
{
    struct vdb_env *env = clone_env(dead);
    unsigned batch = check_recovered(env, w);
    struct world seen = {.step = w->step, .acked = batch};
    struct vdb_manifest manifest;
    assert_ok(vdb_manifest_load(env, "c", VDB_MANIFEST_COLLECTION, &manifest, &seen.err), &seen.err);
    seen.config = seen.config_next = manifest.index_config.m;
    for (uint32_t i = 0; i < manifest.segment_count; i++) {
        seen.index[manifest.segments[i].number] = manifest.segments[i].index_edition != 0 ? INDEX_THERE
                                                                                          : INDEX_NONE;
    }
    vdb_manifest_fini(&manifest);
    for (int c = 1; c < CUTS; c++) {
        struct vdb_env *copy = clone_env(env);
        where.seed = cuts[c] * where.n;
        vdb_env_memory_crash(copy, cuts[c] * where.n);
        struct vdb_err err = {0};
        struct vdb_store *store = NULL;
        if (vdb_store_open(copy, "c", &world_log, &store, &err) != VDB_OK) {
            fail_msg("recovered, cut, does not open: %s", err.text);
        }
        (void)check_state(store, &seen, false);
        check_indexes(store, &seen);
        check_snapshots(copy, store, &seen);
        check_files(copy);
        vdb_store_close(store, false);
        vdb_env_memory_destroy(copy);
    }
    vdb_env_memory_destroy(env);
    return batch;
}

/* The recovered store does the rest of the workload. */
static void finish_script(struct vdb_env *dead, const struct world *w)
{
    struct vdb_env *env = clone_env(dead);
    struct world rest = resume_world(env, w, check_recovered(env, w));
    if (!run_script(&rest)) {
        fail_msg("the recovered store fails at step %u, %s: %s", rest.failed_step, step_text(rest.failed_step),
                 rest.failure.text);
    }
    assert_int_equal(rest.acked, history.batches);
    vdb_env_memory_crash(env, 0);
    assert_int_equal(check_recovered(env, &rest), history.batches);
    world_fini(&rest);
    vdb_env_memory_destroy(env);
}

/* Dies at each operation of the recovery, in each way. */
static void die_in_recovery(struct vdb_env *dead, const struct world *w, struct counts *counts)
{
    for (uint64_t m = 1;; m++) {
        struct vdb_env *env = clone_env(dead);
        struct vdb_store *store = NULL;
        struct vdb_err err = {0};
        where.m = m;
        vdb_env_memory_fail_at(env, m, VDB_IO, true, m);
        (void)!vdb_store_open(env, "c", &world_log, &store, &err);
        vdb_store_close(store, false);
        bool passed = vdb_env_memory_operations(env) < m;
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        for (int c = 0; c < CUTS && !passed; c++) {
            struct vdb_env *copy = clone_env(env);
            where.seed = cuts[c] != 0 && cuts[c] != UINT64_MAX ? where.n * 1000 + m : cuts[c];
            vdb_env_memory_crash(copy, where.seed);
            (void)check_recovered(copy, w);
            vdb_env_memory_destroy(copy);
            counts->recoveries++;
        }
        vdb_env_memory_destroy(env);
        if (passed) {
            break;
        }
    }
    where.m = 0;
}

static void test_kill_everywhere(void **state)
{
    (void)state;
    struct counts counts = {0};
    bool thorough = wanted_states() > 0;
    static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_F16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};
    struct vdb_env *fresh[4];
    uint64_t operations = 0;
    for (int e = 0; e < 4; e++) {
        fresh[e] = fresh_env_of(elements[e]);
        uint64_t count = count_operations(fresh[e]);
        assert_true(e == 0 || count == operations);
        operations = count;
    }
    where.active = true;
    where.what = "kill sweep";
    for (uint64_t n = 1; n <= operations; n += STRIDE) {
        for (uint64_t seed = 1; seed <= (thorough ? 4 : 2); seed++) {
            struct world w;
            struct vdb_env *env = clone_env(fresh[seed == 1 ? 0 : (n + seed) % 4]);
            run_to_death(&w, env, n, n * 31 + seed);
            assert_true(w.status != VDB_OK || w.step == STEPS); /* closing does not tell */
            vdb_env_memory_crash(env, UINT64_MAX);
            (void)recover_and_cut(env, &w);
            finish_script(env, &w);
            if (seed == 1 || thorough) {
                die_in_recovery(env, &w, &counts);
            }
            vdb_env_memory_destroy(env);
            counts.kills++;
        }
    }
    where.active = false;
    for (int e = 0; e < 4; e++) {
        vdb_env_memory_destroy(fresh[e]);
    }
    assert_true(operations > 400);
    print_message("%llu operations: %llu kills, %llu deaths during recovery; 0 losses\n",
                  (unsigned long long)operations, (unsigned long long)counts.kills,
                  (unsigned long long)counts.recoveries);
}

/* The workload does what it is for: else the sweeps prove less than they say. */
static void test_workload_covers_everything(void **state)
{
    (void)state;
    struct vdb_env *env = fresh_env();
    struct world w = {.env = env};
    struct vdb_store_stats stats;
    unsigned segments_max = 0;
    unsigned dead_max = 0;
    unsigned compactions = 0;
    unsigned emptied = 0;
    hook_env(env);
    hooked_world = &w;
    assert_ok(world_open(&w), &w.err);
    while (w.step < STEPS - 1) {
        unsigned at = w.step;
        vdb_store_get_stats(w.store, &stats);
        uint64_t compactions_before = stats.compactions;
        assert_true(run_step(&w));
        assert_int_equal(w.step, at + 1 + script[at].around); /* what was to run inside did */
        vdb_store_get_stats(w.store, &stats);
        bool merged = script[at].kind != REOPEN && stats.compactions > compactions_before;
        compactions += merged;
        emptied += merged && stats.segments == 0;
        segments_max = stats.segments > segments_max ? (unsigned)stats.segments : segments_max;
        dead_max = stats.segment_dead > dead_max ? (unsigned)stats.segment_dead : dead_max;
    }
    assert_true(run_step(&w));
    hooked_world = NULL;
    assert_true(segments_max >= 4);
    assert_true(dead_max >= 5);
    assert_true(compactions >= 3);
    assert_int_equal(emptied, 1);
    assert_true(index_met.named >= 6);
    assert_int_equal(index_met.overtaken, 1);
    assert_int_equal(index_met.gone, 1);
    expect_no_companions();
    world_fini(&w);
    vdb_env_memory_destroy(env);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* every case fails on purpose */
    make_history();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workload_covers_everything),
        WORLD_TEST(test_kill_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
