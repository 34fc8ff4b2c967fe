/* test_store_power.c: promises P1, P2 and P4 of the design when the power goes: at every file operation of a workload,
 * with every outcome that a disk may leave of what was not synced yet, or, where these are too many, a sample.
 *
 * Each state is recovered and held against the model; every eighth recovery loses its power, too, at some operation of
 * its own, and is recovered again (a state of its own). The number of states is set below, or by VECDB_CRASH_STATES in
 * the environment; VECDB_SEED picks the sample. */
#include "support.h"

#include "base/log.h"
#include "store_world.h"

enum { STATES_DEFAULT = 200000, NESTED_ONE_IN = 8 };

struct sweep {
    struct vdb_env *fresh;
    uint64_t operations;
    uint64_t per_cut_max; /* states per operation */
    uint64_t states;
    uint64_t nested;
    uint64_t exhausted; /* operations all of whose outcomes were tried */
    struct vdb_rng rng;
};

/* The recovery of env loses its power at a random operation. */
static void cut_in_recovery(struct sweep *s, struct vdb_env *env, const struct world *w, uint64_t operations)
{
    struct vdb_store *store = NULL;
    struct vdb_err err = {0};
    where.m = 1 + vdb_rng_below(&s->rng, operations);
    vdb_env_memory_fail_at(env, where.m, VDB_IO, true, where.m);
    (void)!vdb_store_open(env, "c", &world_log, &store, &err);
    vdb_store_close(store, false);
    vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
    uint64_t choices = vdb_env_memory_crash_choices(env);
    vdb_env_memory_crash_choice(env,
                                choices == UINT64_MAX ? vdb_rng_u64(&s->rng) : vdb_rng_below(&s->rng, choices));
    (void)check_recovered(env, w);
    s->states++;
    s->nested++;
    where.m = 0;
}

static void try_state(struct sweep *s, struct vdb_env *cut, const struct world *w)
{
    struct vdb_env *again = s->states % NESTED_ONE_IN == 0 ? clone_env(cut) : NULL;
    uint64_t before = vdb_env_memory_operations(cut);
    (void)check_recovered(cut, w);
    s->states++;
    if (again != NULL) {
        /* Opening is somewhat less than all that the check does. */
        cut_in_recovery(s, again, w, (vdb_env_memory_operations(cut) - before) / 2);
        vdb_env_memory_destroy(again);
    }
}

/* All that a power cut may leave after operation n - 1 (and a part of n). */
static void cut_at(struct sweep *s, uint64_t n)
{
    struct world w;
    struct vdb_env *env = clone_env(s->fresh);
    run_to_death(&w, env, n, n);
    uint64_t choices = vdb_env_memory_crash_choices(env);
    bool all = choices <= s->per_cut_max;
    uint64_t count = all ? choices : s->per_cut_max;
    for (uint64_t i = 0; i < count; i++) {
        struct vdb_env *copy = clone_env(env);
        where.choice = all ? i : choices == UINT64_MAX ? UINT64_MAX : vdb_rng_below(&s->rng, choices);
        where.seed = vdb_rng_u64(&s->rng);
        if (choices == UINT64_MAX || (!all && i % 4 == 0)) {
            vdb_env_memory_crash(copy, i < 4 ? 0 : where.seed); /* several torn writes at once, too */
        } else {
            vdb_env_memory_crash_choice(copy, where.choice);
        }
        try_state(s, copy, &w);
        vdb_env_memory_destroy(copy);
    }
    s->exhausted += all;
    vdb_env_memory_destroy(env);
}

/* The largest number of states per operation with which the sum stays within what was asked for. */
static uint64_t plan_states(const struct sweep *s, uint64_t wanted)
{
    uint64_t *choices = calloc(s->operations + 2, sizeof *choices);
    uint64_t low = 1;
    uint64_t high = wanted;
    assert_non_null(choices);
    for (uint64_t n = 1; n <= s->operations + 1; n++) {
        struct world w;
        struct vdb_env *env = clone_env(s->fresh);
        run_to_death(&w, env, n, n);
        choices[n] = vdb_env_memory_crash_choices(env);
        vdb_env_memory_destroy(env);
    }
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        uint64_t sum = 0;
        for (uint64_t n = 1; n <= s->operations + 1; n++) {
            sum += choices[n] < middle ? choices[n] : middle;
        }
        if (sum + sum / NESTED_ONE_IN >= wanted) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    free(choices);
    return low;
}

static void test_power_cuts(void **state)
{
    (void)state;
    const char *seed_text = getenv("VECDB_SEED");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : 1;
    uint64_t wanted = wanted_states() > 0 ? wanted_states() : STATES_DEFAULT;
    struct sweep s = {.fresh = fresh_env()};
#ifdef VDB_SANITIZED
    wanted /= 20;
#endif
    vdb_rng_init(&s.rng, seed);
    s.operations = count_operations(s.fresh);
    s.per_cut_max = plan_states(&s, wanted);
    print_message("VECDB_SEED=%llu, %llu operations, up to %llu states each\n", (unsigned long long)seed,
                  (unsigned long long)s.operations, (unsigned long long)s.per_cut_max);
    where.active = true;
    where.what = "power sweep";
    for (uint64_t n = 1; n <= s.operations + 1; n++) {
        cut_at(&s, n);
    }
    where.active = false;
    vdb_env_memory_destroy(s.fresh);
    assert_true(s.states >= wanted);
    print_message(
        "%llu states tried, of %llu operations every outcome, %llu cut again during recovery; 0 losses\n",
        (unsigned long long)s.states, (unsigned long long)s.exhausted, (unsigned long long)s.nested);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* every case fails on purpose */
    make_history();
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_power_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
