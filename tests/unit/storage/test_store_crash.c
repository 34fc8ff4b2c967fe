/* test_store_crash.c: promises P1 and P2 of the design, on the in-memory file system: after any crash every
 * acknowledged batch is there, none is there by half, and nothing else is.
 *
 * A workload of batches runs against a model. It is stopped dead at each file operation in turn (kill sweep), and
 * at seeded power cuts that lose, keep or tear unsynced sectors. Every write puts its batch number into each
 * point's metadata, so that a half batch shows.
 */
#include "support.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "env/env_memory.h"
#include "storage/batch.h"
#include "storage/idmap.h"
#include "storage/store.h"

enum { DIMENSION = 3, BATCHES = 24, IDS = 12, BATCH_OPS = 5, SEGMENT_BYTES = 600 };

static const struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = VDB_METRIC_L2};

/* The state after each batch: which batch wrote each id last; 0: not there. */
struct model {
    unsigned by_id[BATCHES + 1][IDS];
};

/* Batch number b, always the same for the same b. */
static void make_batch(unsigned b, struct vdb_buf *payload, unsigned by_id[IDS])
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, b);
    vdb_buf_clear(payload);
    vdb_batch_begin(payload, DIMENSION);
    for (int i = 0; i < BATCH_OPS; i++) {
        unsigned n = (unsigned)vdb_rng_below(&rng, IDS);
        char text[16];
        snprintf(text, sizeof text, "id-%u", n);
        /* Even ids are numbers, odd ones strings. */
        struct vdb_id id = n % 2 == 0 ? (struct vdb_id){.number = n}
                                      : (struct vdb_id){text, (uint32_t)strlen(text), 0};
        if (vdb_rng_below(&rng, 4) == 0) {
            vdb_batch_delete(payload, &id);
            by_id[n] = 0;
        } else {
            float vector[DIMENSION] = {(float)b, (float)n, (float)i};
            char metadata[64];
            int length = snprintf(metadata, sizeof metadata, "{\"batch\":%u}", b);
            vdb_batch_upsert(payload, &id, vector, DIMENSION, (struct vdb_str){metadata, (size_t)length});
            by_id[n] = b;
        }
    }
}

static void make_model(struct model *model)
{
    struct vdb_buf payload = {0};
    memset(model, 0, sizeof *model);
    for (unsigned b = 1; b <= BATCHES; b++) {
        memcpy(model->by_id[b], model->by_id[b - 1], sizeof model->by_id[b]);
        make_batch(b, &payload, model->by_id[b]);
    }
    vdb_buf_fini(&payload);
}

/* What the store holds, in the model's form; checks vectors and metadata on the way. */
static void read_state(struct vdb_store *store, unsigned by_id[IDS])
{
    for (unsigned n = 0; n < IDS; n++) {
        char text[16];
        snprintf(text, sizeof text, "id-%u", n);
        struct vdb_id id = n % 2 == 0 ? (struct vdb_id){.number = n}
                                      : (struct vdb_id){text, (uint32_t)strlen(text), 0};
        struct vdb_view view;
        struct vdb_place place;
        struct vdb_err err = {0};
        assert_ok(vdb_store_find(store, &id, 1, &view, &place, &err), &err);
        by_id[n] = 0;
        if (place.source != VDB_SLOT_NONE) {
            const float *vector;
            struct vdb_str metadata;
            struct vdb_view_meta reader;
            char expected[64];
            assert_ok(vdb_view_vector(&view, place.source, place.row, NULL, &vector, &err), &err);
            vdb_view_meta_init(&reader, &view, place.source);
            assert_ok(vdb_view_meta_read(&reader, place.row, &metadata, &err), &err);
            by_id[n] = (unsigned)vector[0];
            snprintf(expected, sizeof expected, "{\"batch\":%u}", by_id[n]);
            assert_true(vdb_str_is(metadata, expected));
            assert_true(vector[1] == (float)n);
            vdb_view_meta_fini(&reader);
        }
        vdb_view_release(&view);
    }
}

/* Opens and writes on from where the store stands until a failure or the end; returns the last acknowledged
 * batch. */
static unsigned run_workload(struct vdb_env *env, unsigned from, bool *opened)
{
    struct vdb_wal_options options = {.segment_bytes = SEGMENT_BYTES};
    struct vdb_err err = {0};
    struct vdb_store *store = NULL;
    struct vdb_buf payload = {0};
    unsigned scratch[IDS];
    unsigned acknowledged = from;
    *opened = vdb_store_open(env, "c", &options, &store, &err) == VDB_OK;
    for (unsigned b = from + 1; *opened && b <= BATCHES; b++) {
        uint64_t seq;
        make_batch(b, &payload, scratch);
        if (vdb_store_write(store, payload.data, payload.bytes, &seq, NULL, &err) != VDB_OK) {
            break;
        }
        assert_int_equal(seq, b);
        acknowledged = b;
    }
    vdb_store_close(store, true);
    vdb_buf_fini(&payload);
    return acknowledged;
}

/* Opens without faults and holds the state against the model: at least `acknowledged`, at most one batch more. */
static unsigned check_recovered(struct vdb_env *env, const struct model *model, unsigned acknowledged,
                                uint64_t where)
{
    struct vdb_err err = {0};
    struct vdb_store *store;
    struct vdb_store_stats stats;
    unsigned by_id[IDS];
    vdb_status status = vdb_store_open(env, "c", NULL, &store, &err);
    if (status != VDB_OK) {
        fail_msg("case %llu: does not open after %u acknowledged batches: %s", (unsigned long long)where,
                 acknowledged, err.text);
    }
    read_state(store, by_id);
    vdb_store_get_stats(store, &stats);
    unsigned seq = (unsigned)stats.seq;
    if (seq < acknowledged || seq > acknowledged + 1 || seq > BATCHES ||
        memcmp(by_id, model->by_id[seq], sizeof by_id) != 0) {
        fail_msg("case %llu: %u batches acknowledged, found the state of %u or none of any batch",
                 (unsigned long long)where, acknowledged, seq);
    }
    vdb_store_close(store, false);
    return seq;
}

static struct vdb_env *fresh_env(void)
{
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    assert_ok(vdb_store_create(env, "c", &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    assert_ok(env->ops->sync_dir(env, ".", &err), &err);
    return env;
}

/* Every operation of the workload is the last one in turn: the process dies there, its cache survives
 * (UINT64_MAX) or the power goes (0, or a seed). */
static void sweep(uint64_t seeds[], size_t seed_count, uint64_t *cases)
{
    struct model model;
    bool opened;
    make_model(&model);
    struct vdb_env *env = fresh_env();
    uint64_t before = vdb_env_memory_operations(env);
    assert_int_equal(run_workload(env, 0, &opened), BATCHES);
    uint64_t operations = vdb_env_memory_operations(env) - before;
    vdb_env_memory_destroy(env);
    assert_true(operations > 2 * BATCHES);
    for (uint64_t n = 1; n <= operations; n++) {
        for (size_t s = 0; s < seed_count; s++) {
            env = fresh_env();
            vdb_env_memory_fail_at(env, n, VDB_IO, true, n * 31 + s);
            unsigned acknowledged = run_workload(env, 0, &opened);
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            vdb_env_memory_crash(env, seeds[s] != 0 && seeds[s] != UINT64_MAX ? seeds[s] * 7919 + n : seeds[s]);
            unsigned recovered = check_recovered(env, &model, acknowledged, n);
            /* And the recovered store goes on to the end. */
            assert_int_equal(run_workload(env, recovered, &opened), BATCHES);
            vdb_env_memory_crash(env, 0);
            assert_int_equal(check_recovered(env, &model, BATCHES, n), BATCHES);
            vdb_env_memory_destroy(env);
            ++*cases;
        }
    }
}

static void test_kill_at_every_operation(void **state)
{
    (void)state;
    uint64_t cases = 0;
    sweep((uint64_t[]){UINT64_MAX}, 1, &cases);
    print_message("%llu kill points, nothing lost\n", (unsigned long long)cases);
}

static void test_power_cut_at_every_operation(void **state)
{
    (void)state;
    uint64_t cases = 0;
    sweep((uint64_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 13, &cases);
    print_message("%llu power cuts, nothing lost\n", (unsigned long long)cases);
}

/* A crash during recovery, at each of its operations, then a second recovery. */
static void test_crash_during_recovery(void **state)
{
    (void)state;
    struct model model;
    bool opened = false;
    uint64_t cases = 0;
    make_model(&model);
    for (uint64_t first = 20; first < 110; first += 9) {
        for (uint64_t n = 1;; n++) {
            struct vdb_env *env = fresh_env();
            vdb_env_memory_fail_at(env, first, VDB_IO, true, first);
            unsigned acknowledged = run_workload(env, 0, &opened);
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            vdb_env_memory_crash(env, first + n);
            vdb_env_memory_fail_at(env, n, VDB_IO, true, n);
            struct vdb_err err = {0};
            struct vdb_store *store = NULL;
            bool passed = vdb_store_open(env, "c", NULL, &store, &err) == VDB_OK;
            vdb_store_close(store, false);
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            vdb_env_memory_crash(env, first * n + 1);
            check_recovered(env, &model, acknowledged, first * 1000 + n);
            vdb_env_memory_destroy(env);
            cases++;
            if (passed) {
                break; /* the n-th operation is past the recovery */
            }
        }
    }
    print_message("%llu crashes during recovery, nothing lost\n", (unsigned long long)cases);
}

/* One failing operation, then the world is well again: the store reports, acknowledges nothing more, stays
 * readable. */
static void test_one_fault_at_every_operation(void **state)
{
    (void)state;
    struct model model;
    make_model(&model);
    for (uint64_t n = 1; n < 400; n++) {
        struct vdb_env *env = fresh_env();
        struct vdb_wal_options options = {.segment_bytes = SEGMENT_BYTES};
        struct vdb_err err = {0};
        struct vdb_store *store = NULL;
        struct vdb_buf payload = {0};
        unsigned scratch[IDS];
        unsigned acknowledged = 0;
        bool failed = false;
        vdb_env_memory_fail_at(env, n, n % 2 == 0 ? VDB_IO : VDB_NO_SPACE, false, n);
        vdb_status open_status = vdb_store_open(env, "c", &options, &store, &err);
        for (unsigned b = 1; open_status == VDB_OK && b <= BATCHES; b++) {
            uint64_t seq;
            make_batch(b, &payload, scratch);
            vdb_status status = vdb_store_write(store, payload.data, payload.bytes, &seq, NULL, &err);
            if (status == VDB_OK) {
                assert_false(failed); /* no acknowledgement after a failure */
                acknowledged = b;
            } else {
                assert_int_equal(status, failed ? VDB_READ_ONLY : (n % 2 == 0 ? VDB_IO : VDB_NO_SPACE));
                failed = true;
                unsigned by_id[IDS];
                read_state(store, by_id);
                assert_memory_equal(by_id, model.by_id[acknowledged], sizeof by_id);
            }
        }
        bool reached = vdb_env_memory_operations(env) >= n; /* fail_at began the count anew */
        vdb_store_close(store, true);
        vdb_buf_fini(&payload);
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        vdb_env_memory_crash(env, n);
        check_recovered(env, &model, acknowledged, n);
        vdb_env_memory_destroy(env);
        if (!reached) {
            return;
        }
        assert_true(open_status != VDB_OK || failed || acknowledged == BATCHES);
    }
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* every case fails on purpose */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_at_every_operation),
        cmocka_unit_test(test_power_cut_at_every_operation),
        cmocka_unit_test(test_crash_during_recovery),
        cmocka_unit_test(test_one_fault_at_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
