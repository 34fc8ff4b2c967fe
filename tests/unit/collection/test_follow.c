/* test_follow.c: a second directory is kept equal to the first, whatever either side goes through: checkpoints and
 * pruning on the one, kills and power cuts on both. */
#include "support.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "collection/database.h"
#include "collection/follow.h"
#include "env/env_memory.h"

enum { IDS = 40, DIMENSION = 4 };

static const struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = VDB_METRIC_L2};

struct world {
    struct vdb_env *env;
    struct vdb_database *primary;
    struct vdb_collection *docs;
    struct vdb_follower *follower;
    struct vdb_rng rng;
    float stamp;
};

static void open_primary(struct world *w)
{
    struct vdb_err err = {0};
    assert_ok(vdb_database_open(w->env, "a", false, &w->primary, &err), &err);
    vdb_status status = vdb_database_get(w->primary, "docs", &w->docs, &err);
    if (status == VDB_NOT_FOUND) {
        assert_ok(vdb_database_create(w->primary, &schema, &(struct vdb_index_config){.type = "flat"}, &err),
                  &err);
        status = vdb_database_get(w->primary, "docs", &w->docs, &err);
    }
    assert_ok(status, &err);
}

static void close_primary(struct world *w)
{
    vdb_collection_unref(w->docs);
    vdb_database_close(w->primary);
    w->docs = NULL;
    w->primary = NULL;
}

static void write_once(struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_write_result result;
    float vector[DIMENSION] = {w->stamp += 1, 2, 3, 4};
    struct vdb_point point = {.id.number = vdb_rng_below(&w->rng, IDS), .vector = vector, .dimension = DIMENSION};
    if (vdb_rng_below(&w->rng, 4) == 0) {
        assert_ok(vdb_collection_delete(w->docs, &point.id, 1, &result, &err), &err);
    } else {
        assert_ok(vdb_collection_upsert(w->docs, &point, 1, &result, &err), &err);
    }
}

/* Ids and first elements, as text. */
static void dump(struct vdb_collection *collection, char *out, size_t bytes)
{
    struct vdb_err err = {0};
    struct vdb_id ids[IDS];
    struct vdb_hits hits;
    size_t used = 0;
    for (uint64_t i = 0; i < IDS; i++) {
        ids[i] = (struct vdb_id){.number = i};
    }
    assert_ok(vdb_collection_get(collection, ids, IDS, &hits, &err), &err);
    out[0] = '\0';
    for (size_t i = 0; i < hits.count; i++) {
        used += (size_t)snprintf(out + used, bytes - used, "%llu=%.0f ",
                                 (unsigned long long)hits.hits[i].id.number, (double)hits.hits[i].vector[0]);
    }
    vdb_hits_fini(&hits);
}

static void follow_to_the_end(struct world *w)
{
    struct vdb_err err = {0};
    bool more = true;
    while (more) {
        assert_ok(vdb_follower_step(w->follower, &more, &err), &err);
    }
}

static void check_equal(struct world *w)
{
    static char a[4096];
    static char b[4096];
    struct vdb_err err = {0};
    struct vdb_database *copy;
    struct vdb_collection *docs;
    follow_to_the_end(w);
    vdb_follower_close(w->follower);
    w->follower = NULL;
    assert_ok(vdb_database_open(w->env, "b", true, &copy, &err), &err);
    assert_ok(vdb_database_get(copy, "docs", &docs, &err), &err);
    dump(w->docs, a, sizeof a);
    dump(docs, b, sizeof b);
    assert_string_equal(a, b);
    vdb_collection_unref(docs);
    vdb_database_close(copy);
}

static void open_follower(struct world *w)
{
    struct vdb_err err = {0};
    assert_ok(vdb_follower_open(w->env, "a", "b", "docs", &w->follower, &err), &err);
}

static void test_follows(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w = {.env = vdb_env_memory_create()};
        struct vdb_err err = {0};
        vdb_rng_init(&w.rng, seed);
        open_primary(&w);
        for (int i = 0; i < 10; i++) {
            write_once(&w);
        }
        open_follower(&w);
        for (int i = 0; i < 300; i++) {
            uint64_t dice = vdb_rng_below(&w.rng, 100);
            bool more;
            if (dice < 70) {
                write_once(&w);
            } else if (dice < 80) {
                assert_ok(vdb_follower_step(w.follower, &more, &err), &err);
            } else if (dice < 86) {
                assert_ok(vdb_collection_checkpoint(w.docs, &err), &err); /* prunes the log */
            } else if (dice < 88) {
                struct vdb_compact_options options = {.full = true};
                struct vdb_compact_result result;
                assert_ok(vdb_collection_compact(w.docs, &options, &result, &err), &err);
            } else if (dice < 91) {
                check_equal(&w);
                open_follower(&w);
            } else if (dice < 94) {
                close_primary(&w);
                open_primary(&w);
            }
        }
        check_equal(&w);
        close_primary(&w);
        vdb_env_memory_destroy(w.env);
    }
}

/* The follower dies at every operation of its work, by a kill or a power cut, and goes on. */
static void test_killed_anywhere(void **state)
{
    (void)state;
    uint64_t operations = 0;
    for (uint64_t n = 1; n == 1 || n <= operations; n++) {
        struct world w = {.env = vdb_env_memory_create()};
        struct vdb_err err = {0};
        vdb_rng_init(&w.rng, 7);
        open_primary(&w);
        for (int i = 0; i < 12; i++) {
            write_once(&w);
        }
        assert_ok(vdb_collection_checkpoint(w.docs, &err), &err);
        for (int i = 0; i < 6; i++) {
            write_once(&w);
        }
        vdb_env_memory_fail_at(w.env, n, VDB_IO, true, n);
        bool more = true;
        vdb_status status = vdb_follower_open(w.env, "a", "b", "docs", &w.follower, &err);
        while (status == VDB_OK && more) {
            status = vdb_follower_step(w.follower, &more, &err);
        }
        uint64_t used = vdb_env_memory_operations(w.env);
        vdb_follower_close(w.follower);
        w.follower = NULL;
        vdb_env_memory_fail_at(w.env, 0, VDB_OK, false, 0);
        if (status == VDB_OK && n > used) {
            operations = n - 1;
        } else if (n >= operations) {
            operations = n + 1;
        }
        close_primary(&w);
        vdb_env_memory_crash(w.env, n % 3 == 0 ? UINT64_MAX : n);
        open_primary(&w);
        open_follower(&w);
        write_once(&w);
        check_equal(&w);
        close_primary(&w);
        vdb_env_memory_destroy(w.env);
    }
    print_message("killed at %llu operations\n", (unsigned long long)operations);
}

/* Another collection of that name is not written over. */
static void test_foreign_target(void **state)
{
    (void)state;
    struct world w = {.env = vdb_env_memory_create()};
    struct vdb_err err = {0};
    struct vdb_database *other;
    open_primary(&w);
    assert_ok(vdb_database_open(w.env, "b", false, &other, &err), &err);
    assert_ok(vdb_database_create(other, &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    assert_fails(vdb_follower_open(w.env, "a", "b", "docs", &w.follower, &err), VDB_BUSY, &err, "in use");
    vdb_database_close(other);
    assert_fails(vdb_follower_open(w.env, "a", "b", "docs", &w.follower, &err), VDB_EXISTS, &err, "docs");
    assert_fails(vdb_follower_open(w.env, "nowhere", "c", "docs", &w.follower, &err), VDB_NOT_FOUND, &err,
                 "nowhere");
    close_primary(&w);
    vdb_env_memory_destroy(w.env);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows),
        cmocka_unit_test(test_killed_anywhere),
        cmocka_unit_test(test_foreign_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
