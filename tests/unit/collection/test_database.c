/* test_database.c: a data directory: create, open, drop, lock, leftovers, foreign contents, and crashes at every
 * operation of creating and dropping collections. */
#include "support.h"

#include <stdlib.h>

#include "base/log.h"
#include "collection/database.h"
#include "env/env_memory.h"

static struct vdb_schema schema_named(const char *name)
{
    struct vdb_schema schema = {.dimension = 2, .metric = VDB_METRIC_L2};
    snprintf(schema.name, sizeof schema.name, "%s", name);
    return schema;
}

static vdb_status create(struct vdb_database *database, const char *name, struct vdb_err *err)
{
    struct vdb_schema schema = schema_named(name);
    return vdb_database_create(database, &schema, &(struct vdb_index_config){.type = "flat"}, err);
}

/* The names, joined by commas. */
static void names_of(struct vdb_database *database, char *out, size_t out_bytes)
{
    struct vdb_err err = {0};
    struct vdb_collection **list;
    size_t count;
    out[0] = '\0';
    assert_ok(vdb_database_list(database, &list, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(out);
        snprintf(out + used, out_bytes - used, "%s%s", i > 0 ? "," : "", vdb_collection_schema(list[i])->name);
        vdb_collection_unref(list[i]);
    }
    free(list);
}

static vdb_status put_one(struct vdb_database *database, const char *name, uint64_t id, struct vdb_err *err)
{
    struct vdb_collection *collection;
    struct vdb_write_result result;
    float vector[2] = {(float)id, 1};
    struct vdb_point point = {.id = {.number = id}, .vector = vector, .dimension = 2};
    VDB_TRY(vdb_database_get(database, name, &collection, err));
    vdb_status status = vdb_collection_upsert(collection, &point, 1, &result, err);
    vdb_collection_unref(collection);
    return status;
}

static uint64_t count_in(struct vdb_database *database, const char *name)
{
    struct vdb_err err = {0};
    struct vdb_collection *collection;
    uint64_t count = 0;
    assert_ok(vdb_database_get(database, name, &collection, &err), &err);
    assert_ok(vdb_collection_count(collection, (struct vdb_str){NULL, 0}, &count, &err), &err);
    vdb_collection_unref(collection);
    return count;
}

static void test_create_list_drop_reopen(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    char names[256];
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database;
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    assert_ok(create(database, "b", &err), &err);
    assert_ok(create(database, "a", &err), &err);
    assert_ok(create(database, "c.1_x-Y", &err), &err);
    assert_fails(create(database, "a", &err), VDB_EXISTS, &err, "\"a\"");
    assert_ok(put_one(database, "b", 7, &err), &err);
    names_of(database, names, sizeof names);
    assert_string_equal(names, "a,b,c.1_x-Y");
    assert_ok(vdb_database_drop(database, "a", &err), &err);
    assert_fails(vdb_database_drop(database, "a", &err), VDB_NOT_FOUND, &err, "\"a\"");
    assert_fails(put_one(database, "a", 1, &err), VDB_NOT_FOUND, &err, "\"a\"");
    assert_ok(create(database, "a", &err), &err);
    vdb_database_close(database);

    assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
    names_of(database, names, sizeof names);
    assert_string_equal(names, "a,b,c.1_x-Y");
    assert_int_equal(count_in(database, "b"), 1);
    assert_int_equal(count_in(database, "a"), 0);
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

static void test_illegal_names_and_schemas(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database;
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    static const char *const bad[] = {"",    ".",   "..",       ".hidden", "-x",
                                      "a/b", "a b", "\xc3\xa4", "a\n",     "../../etc"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_fails(create(database, bad[i], &err), VDB_INVALID, &err, "name");
    }
    char longest[66];
    memset(longest, 'x', sizeof longest);
    longest[64] = '\0';
    assert_ok(create(database, longest, &err), &err);
    assert_fails(vdb_schema_check_name("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", &err),
                 VDB_INVALID, &err, "at most 64");
    struct vdb_schema schema = schema_named("d");
    schema.dimension = 0;
    assert_fails(vdb_database_create(database, &schema, &(struct vdb_index_config){.type = "flat"}, &err),
                 VDB_INVALID, &err, "dimension: 0 is outside 1..65536");
    schema.dimension = VDB_LIMIT_DIMENSION_MAX + 1;
    assert_fails(vdb_database_create(database, &schema, &(struct vdb_index_config){.type = "flat"}, &err),
                 VDB_INVALID, &err, "dimension: 65537");
    schema.dimension = VDB_LIMIT_DIMENSION_MAX;
    assert_ok(vdb_database_create(database, &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    snprintf(schema.name, sizeof schema.name, "e");
    assert_fails(vdb_database_create(database, &schema, &(struct vdb_index_config){.type = "magic"}, &err),
                 VDB_UNSUPPORTED, &err, "\"magic\"");
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

static void test_second_open_is_refused(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *first;
    struct vdb_database *second;
    assert_ok(vdb_database_open(env, "data", false, &first, &err), &err);
    assert_fails(vdb_database_open(env, "data", false, &second, &err), VDB_BUSY, &err, "data directory \"data\"");
    vdb_database_close(first);
    assert_ok(vdb_database_open(env, "data", false, &second, &err), &err);
    vdb_database_close(second);
    vdb_env_memory_destroy(env);
}

static void write_file(struct vdb_env *env, const char *path, const char *text)
{
    struct vdb_err err = {0};
    assert_ok(vdb_env_replace_file(env, path, text, strlen(text), &err), &err);
}

static void test_foreign_contents_are_refused_and_kept(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    vdb_file_kind kind;
    uint64_t bytes;
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database;
    assert_fails(vdb_database_open(env, "nowhere", true, &database, &err), VDB_NOT_FOUND, &err, "nowhere");
    assert_fails(vdb_database_open(env, "", false, &database, &err), VDB_INVALID, &err, "path");
    assert_ok(vdb_env_mkdirs(env, "home", &err), &err);
    write_file(env, "home/thesis.txt", "words");
    assert_fails(vdb_database_open(env, "home", false, &database, &err), VDB_INVALID, &err, "thesis.txt");
    assert_ok(env->ops->stat(env, "home/thesis.txt", &kind, &bytes, &err), &err);

    /* A database that lost its manifest is damaged, not empty: its collections must not vanish. */
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    assert_ok(create(database, "docs", &err), &err);
    vdb_database_close(database);
    assert_ok(env->ops->unlink(env, "data/metadata.json", &err), &err);
    assert_fails(vdb_database_open(env, "data", false, &database, &err), VDB_CORRUPT, &err, "collections/docs");

    /* And a collection that lost its own names itself. */
    assert_ok(vdb_database_open(env, "data2", false, &database, &err), &err);
    assert_ok(create(database, "docs", &err), &err);
    vdb_database_close(database);
    assert_ok(env->ops->unlink(env, "data2/collections/docs/metadata.json", &err), &err);
    assert_fails(vdb_database_open(env, "data2", false, &database, &err), VDB_CORRUPT, &err, "open \"docs\"");
    vdb_env_memory_destroy(env);
}

/* Under a long path, too, the message still holds its deepest fact: which byte is bad. */
static void test_damage_is_named_under_a_long_path(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    char path[224];
    char segment[512];
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = '\0';
    snprintf(segment, sizeof segment, "%s/collections/docs/wal/segment_000000.wal", path);
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database;
    assert_ok(vdb_database_open(env, path, false, &database, &err), &err);
    assert_ok(create(database, "docs", &err), &err);
    assert_ok(put_one(database, "docs", 1, &err), &err);
    vdb_database_close(database);
    assert_true(vdb_env_memory_flip(env, segment, 80, 1));
    assert_fails(vdb_database_open(env, path, false, &database, &err), VDB_CORRUPT, &err,
                 "replay segment_000000.wal: record at byte 64: checksum mismatch");
    vdb_env_memory_destroy(env);
}

static void test_renamed_collection_is_refused(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database;
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    assert_ok(create(database, "docs", &err), &err);
    vdb_database_close(database);
    assert_ok(env->ops->rename(env, "data/collections/docs", "data/collections/other", &err), &err);
    assert_fails(vdb_database_open(env, "data", false, &database, &err), VDB_CORRUPT, &err,
                 "says it is \"docs\"");
    vdb_env_memory_destroy(env);
}

/* Reads go on after a drop for who holds a reference; the directory goes with the last. */
static void test_drop_while_in_use(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database;
    struct vdb_collection *held;
    struct vdb_hits hits;
    struct vdb_write_result result;
    float vector[2] = {7, 1};
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    assert_ok(create(database, "docs", &err), &err);
    assert_ok(put_one(database, "docs", 7, &err), &err);
    assert_ok(vdb_database_get(database, "docs", &held, &err), &err);
    assert_ok(vdb_database_drop(database, "docs", &err), &err);
    struct vdb_search search = {.vector = vector, .dimension = 2, .k = 3};
    assert_ok(vdb_collection_search(held, &search, &hits, &err), &err);
    assert_int_equal(hits.count, 1);
    assert_int_equal(hits.hits[0].id.number, 7);
    vdb_hits_fini(&hits);
    struct vdb_point point = {.id = {.number = 8}, .vector = vector, .dimension = 2};
    assert_fails(vdb_collection_upsert(held, &point, 1, &result, &err), VDB_NOT_FOUND, &err, "dropped");
    vdb_collection_unref(held);
    vdb_database_close(database);
    assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
    assert_fails(put_one(database, "docs", 1, &err), VDB_NOT_FOUND, &err, "docs");
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

/* Who still holds a collection of a closed database neither writes to it nor touches what others write there. */
static void test_reference_outlives_the_close(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_database *database;
    struct vdb_collection *held;
    struct vdb_hits hits;
    struct vdb_write_result result;
    struct vdb_id id = {.number = 1};
    float vector[2] = {8, 1};
    struct vdb_point point = {.id = {.number = 8}, .vector = vector, .dimension = 2};
    assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
    assert_ok(create(database, "docs", &err), &err);
    assert_ok(put_one(database, "docs", 1, &err), &err);
    assert_ok(vdb_database_get(database, "docs", &held, &err), &err);
    vdb_database_close(database);

    assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
    for (uint64_t n = 2; n <= 5; n++) {
        assert_ok(put_one(database, "docs", n, &err), &err);
    }
    assert_fails(vdb_collection_upsert(held, &point, 1, &result, &err), VDB_NOT_FOUND, &err, "closed");
    assert_ok(vdb_collection_get(held, &id, 1, &hits, &err), &err);
    assert_int_equal(hits.count, 1);
    vdb_hits_fini(&hits);
    vdb_collection_unref(held);
    vdb_env_memory_crash(env, UINT64_MAX);
    vdb_database_close(database);

    assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
    assert_int_equal(count_in(database, "docs"), 5);
    vdb_database_close(database);
    vdb_env_memory_destroy(env);
}

/* A drop that reports a failure must not have removed files of a directory that may get its name back. */
static void test_power_cut_after_a_drop_that_failed(void **state)
{
    (void)state;
    bool dropped = false;
    for (uint64_t n = 1; !dropped; n++) {
        for (uint64_t seed = 1; seed < 64; seed++) {
            struct vdb_err err = {0};
            struct vdb_database *database;
            struct vdb_env *env = vdb_env_memory_create();
            assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
            assert_ok(create(database, "x", &err), &err);
            assert_ok(put_one(database, "x", 1, &err), &err);
            vdb_env_memory_fail_at(env, n, VDB_IO, false, seed);
            dropped = vdb_database_drop(database, "x", &err) == VDB_OK;
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            vdb_database_close(database);
            vdb_env_memory_crash(env, seed);
            if (vdb_database_open(env, "data", true, &database, &err) != VDB_OK) {
                fail_msg("operation %d, seed %d: does not open: %s", (int)n, (int)seed, err.text);
            }
            if (put_one(database, "x", 2, &err) == VDB_OK) {
                assert_false(dropped);
                assert_int_equal(count_in(database, "x"), 2);
            }
            vdb_database_close(database);
            vdb_env_memory_destroy(env);
        }
    }
}

/* What failed once succeeds at the next try, without a new open. */
static void test_create_again_after_a_failure(void **state)
{
    (void)state;
    bool created = false;
    uint64_t n = 1;
    for (; !created; n++) {
        struct vdb_err err = {0};
        char names[64];
        struct vdb_database *database;
        struct vdb_env *env = vdb_env_memory_create();
        assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
        vdb_env_memory_fail_at(env, n, VDB_IO, false, n);
        created = create(database, "x", &err) == VDB_OK;
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        if (!created) {
            assert_ok(create(database, "x", &err), &err);
        }
        assert_ok(put_one(database, "x", 1, &err), &err);
        vdb_database_close(database);
        vdb_env_memory_crash(env, n);
        assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
        names_of(database, names, sizeof names);
        assert_string_equal(names, "x");
        assert_int_equal(count_in(database, "x"), 1);
        vdb_database_close(database);
        vdb_env_memory_destroy(env);
    }
    assert_true(n > 10);
}

/* What the last acknowledged step promised about collection "x". */
struct promise {
    bool exists;   /* after the last acknowledged create or drop */
    bool in_doubt; /* a create or drop was cut short: either is right */
    uint64_t points;
};

static struct promise run_steps(struct vdb_env *env)
{
    struct vdb_err err = {0};
    struct vdb_database *database = NULL;
    struct promise promise = {0};
    vdb_status status = vdb_database_open(env, "data", false, &database, &err);
    for (int round = 0; status == VDB_OK && round < 3; round++) {
        promise.in_doubt = true;
        status = create(database, "x", &err);
        if (status != VDB_OK) {
            break;
        }
        promise = (struct promise){.exists = true};
        status = put_one(database, "x", 1, &err);
        promise.points = status == VDB_OK ? 1 : 0;
        if (status != VDB_OK || round == 2) {
            break;
        }
        promise.in_doubt = true;
        status = vdb_database_drop(database, "x", &err);
        if (status == VDB_OK) {
            promise = (struct promise){0};
        }
    }
    vdb_database_close(database);
    return promise;
}

static void test_crash_at_every_operation(void **state)
{
    (void)state;
    struct vdb_env *env = vdb_env_memory_create();
    (void)run_steps(env);
    uint64_t operations = vdb_env_memory_operations(env);
    vdb_env_memory_destroy(env);
    uint64_t cases = 0;
    for (uint64_t n = 1; n <= operations; n++) {
        for (uint64_t seed = 0; seed < 12; seed++) {
            struct vdb_err err = {0};
            struct vdb_database *database;
            char names[64];
            env = vdb_env_memory_create();
            vdb_env_memory_fail_at(env, n, VDB_IO, true, seed);
            struct promise promise = run_steps(env);
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            vdb_env_memory_crash(env, seed == 11 ? UINT64_MAX : seed * 1000 + n * (seed > 0));
            vdb_status status = vdb_database_open(env, "data", false, &database, &err);
            if (status != VDB_OK) {
                fail_msg("operation %d, seed %d: does not open: %s", (int)n, (int)seed, err.text);
            }
            names_of(database, names, sizeof names);
            bool exists = strcmp(names, "x") == 0;
            if (!promise.in_doubt && exists != promise.exists) {
                fail_msg("operation %d, seed %d: x %s", (int)n, (int)seed, exists ? "came back" : "is lost");
            }
            if (exists && !promise.in_doubt && count_in(database, "x") < promise.points) {
                fail_msg("operation %d, seed %d: the point is lost", (int)n, (int)seed);
            }
            /* It works on, whatever was found. */
            if (!exists) {
                assert_ok(create(database, "x", &err), &err);
            }
            assert_ok(put_one(database, "x", 2, &err), &err);
            vdb_database_close(database);
            vdb_env_memory_destroy(env);
            cases++;
        }
    }
    print_message("%d crashes around create and drop\n", (int)cases);
}

/* A kill leaves renames that nobody synced. The next process shows what they made, so it must also keep it. */
static void test_power_cut_after_a_kill_and_a_reopen(void **state)
{
    (void)state;
    struct vdb_env *env = vdb_env_memory_create();
    (void)run_steps(env);
    uint64_t operations = vdb_env_memory_operations(env);
    vdb_env_memory_destroy(env);
    for (uint64_t n = 1; n <= operations; n++) {
        for (uint64_t seed = 0; seed < 24; seed++) {
            struct vdb_err err = {0};
            struct vdb_database *database;
            char names[64];
            env = vdb_env_memory_create();
            assert_ok(vdb_env_mkdirs(env, "data", &err), &err);
            vdb_env_memory_fail_at(env, n, VDB_IO, true, seed);
            (void)run_steps(env);
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            vdb_env_memory_crash(env, UINT64_MAX);
            assert_ok(vdb_database_open(env, "data", false, &database, &err), &err);
            names_of(database, names, sizeof names);
            bool exists = strcmp(names, "x") == 0;
            if (exists) {
                assert_ok(put_one(database, "x", 9, &err), &err);
            }
            uint64_t points = exists ? count_in(database, "x") : 0;
            vdb_database_close(database);
            vdb_env_memory_crash(env, seed);
            if (vdb_database_open(env, "data", true, &database, &err) != VDB_OK) {
                fail_msg("operation %d, seed %d: does not open: %s", (int)n, (int)seed, err.text);
            }
            names_of(database, names, sizeof names);
            if (exists != (strcmp(names, "x") == 0)) {
                fail_msg("operation %d, seed %d: x %s", (int)n, (int)seed, exists ? "is lost" : "came back");
            }
            assert_true(!exists || count_in(database, "x") == points);
            vdb_database_close(database);
            vdb_env_memory_destroy(env);
        }
    }
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_list_drop_reopen),
        cmocka_unit_test(test_illegal_names_and_schemas),
        cmocka_unit_test(test_second_open_is_refused),
        cmocka_unit_test(test_foreign_contents_are_refused_and_kept),
        cmocka_unit_test(test_damage_is_named_under_a_long_path),
        cmocka_unit_test(test_renamed_collection_is_refused),
        cmocka_unit_test(test_drop_while_in_use),
        cmocka_unit_test(test_reference_outlives_the_close),
        cmocka_unit_test(test_power_cut_after_a_drop_that_failed),
        cmocka_unit_test(test_create_again_after_a_failure),
        cmocka_unit_test(test_crash_at_every_operation),
        cmocka_unit_test(test_power_cut_after_a_kill_and_a_reopen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
