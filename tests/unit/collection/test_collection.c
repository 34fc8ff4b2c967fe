/* test_collection.c: writes and searches of one collection against a naive model: results, ties, filters, views
 * under concurrent writes, and every kind of bad input. */
#include "support.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "collection/database.h"
#include "env/env_memory.h"

enum { DIMENSION = 5, IDS = 300 };

struct fixture {
    struct vdb_env *env;
    struct vdb_database *database;
    struct vdb_collection *collection;
};

static void open_fixture(struct fixture *f, vdb_metric metric)
{
    struct vdb_err err = {0};
    struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = metric};
    f->env = vdb_env_memory_create();
    assert_ok(vdb_database_open(f->env, "data", false, &f->database, &err), &err);
    assert_ok(vdb_database_create(f->database, &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    assert_ok(vdb_database_get(f->database, "docs", &f->collection, &err), &err);
}

static void close_fixture(struct fixture *f)
{
    vdb_collection_unref(f->collection);
    vdb_database_close(f->database);
    vdb_env_memory_destroy(f->env);
}

/* ---- A naive model: an array of points ---- */

struct model_point {
    bool live;
    float vector[DIMENSION];
    int group;
};

static double naive_distance(vdb_metric metric, const float *a, const float *b)
{
    double l2 = 0;
    double dot = 0;
    double aa = 0;
    double bb = 0;
    double l1 = 0;
    for (int i = 0; i < DIMENSION; i++) {
        double d = (double)a[i] - (double)b[i];
        l2 += d * d;
        l1 += fabs(d);
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    switch (metric) {
    case VDB_METRIC_L2:
        return sqrt(l2);
    case VDB_METRIC_COSINE:
        return 1 - dot / sqrt(aa * bb);
    case VDB_METRIC_DOT:
        return -dot;
    default:
        return l1;
    }
}

/* Small integers: every metric but cosine is exact, so ids must match to the last one, ties included. */
static void random_vector(struct vdb_rng *rng, float vector[DIMENSION])
{
    for (int i = 0; i < DIMENSION; i++) {
        vector[i] = (float)vdb_rng_below(rng, 4) + (i == 0 ? 1.0f : 0.0f);
    }
}

/* Id n is a number when even, a string when odd. */
static struct vdb_id id_of(unsigned n, char text[16])
{
    snprintf(text, 16, "s%05u", n);
    return n % 2 == 0 ? (struct vdb_id){.number = n} : (struct vdb_id){text, (uint32_t)strlen(text), 0};
}

struct ranked {
    unsigned n;
    double distance;
};

static bool ranks_before(struct ranked a, struct ranked b)
{
    if (a.distance != b.distance) {
        return a.distance < b.distance;
    }
    char at[16];
    char bt[16];
    struct vdb_id ai = id_of(a.n, at);
    struct vdb_id bi = id_of(b.n, bt);
    return vdb_id_before(&ai, &bi);
}

static size_t naive_search(const struct model_point *points, vdb_metric metric, const float *query, int group,
                           struct ranked out[IDS])
{
    size_t count = 0;
    for (unsigned n = 0; n < IDS; n++) {
        if (points[n].live && (group < 0 || points[n].group == group)) {
            struct ranked entry = {n, naive_distance(metric, query, points[n].vector)};
            size_t at = count++;
            for (; at > 0 && ranks_before(entry, out[at - 1]); at--) {
                out[at] = out[at - 1];
            }
            out[at] = entry;
        }
    }
    return count;
}

static void write_round(struct fixture *f, struct model_point *points, struct vdb_rng *rng)
{
    struct vdb_err err = {0};
    struct vdb_write_result result;
    unsigned n = (unsigned)vdb_rng_below(rng, IDS);
    char text[16];
    struct vdb_id id = id_of(n, text);
    if (vdb_rng_below(rng, 4) == 0) {
        assert_ok(vdb_collection_delete(f->collection, &id, 1, &result, &err), &err);
        assert_int_equal(result.changed, points[n].live ? 1 : 0);
        points[n].live = false;
        return;
    }
    char metadata[64];
    points[n].live = true;
    points[n].group = (int)vdb_rng_below(rng, 5);
    random_vector(rng, points[n].vector);
    snprintf(metadata, sizeof metadata, " { \"group\" : %d } ", points[n].group);
    struct vdb_point point = {id, points[n].vector, DIMENSION, vdb_str_of(metadata)};
    assert_ok(vdb_collection_upsert(f->collection, &point, 1, &result, &err), &err);
}

static void compare_search(struct fixture *f, const struct model_point *points, vdb_metric metric,
                           struct vdb_rng *rng)
{
    struct vdb_err err = {0};
    struct vdb_hits hits;
    struct ranked expected[IDS];
    float query[DIMENSION];
    char filter[96];
    int group = (int)vdb_rng_below(rng, 7) - 1; /* -1: no filter; 5: matches nothing */
    random_vector(rng, query);
    snprintf(filter, sizeof filter, "{\"field\":\"group\",\"op\":\"==\",\"value\":%d}", group);
    struct vdb_search search = {
        .vector = query, .dimension = DIMENSION, .k = 1 + (uint32_t)vdb_rng_below(rng, 40)};
    if (group >= 0) {
        search.filter = vdb_str_of(filter);
    }
    size_t count = naive_search(points, metric, query, group, expected);
    size_t wanted = count < search.k ? count : search.k;
    assert_ok(vdb_collection_search(f->collection, &search, &hits, &err), &err);
    assert_int_equal(hits.count, wanted);
    assert_int_equal(hits.explain.rows_allowed, count);
    uint64_t counted;
    assert_ok(vdb_collection_count(f->collection, search.filter, &counted, &err), &err);
    assert_int_equal(counted, count);
    for (size_t i = 0; i < wanted; i++) {
        double expected_score = metric == VDB_METRIC_DOT ? -expected[i].distance : expected[i].distance;
        assert_true(fabs(hits.hits[i].score - expected_score) < 1e-5);
        char text[16];
        struct vdb_id id = id_of(expected[i].n, text);
        if (metric != VDB_METRIC_COSINE) {
            assert_true(vdb_id_equal(&hits.hits[i].id, &id));
            assert_memory_equal(hits.hits[i].vector, points[expected[i].n].vector, DIMENSION * sizeof(float));
        }
    }
    vdb_hits_fini(&hits);
}

static void test_model_all_metrics(void **state)
{
    (void)state;
    for (int metric = 0; metric <= VDB_METRIC_L1; metric++) {
        struct fixture f;
        struct vdb_rng rng;
        struct model_point *points = calloc(IDS, sizeof *points);
        uint64_t seed = 100 + (uint64_t)metric;
        vdb_rng_init(&rng, seed);
        open_fixture(&f, (vdb_metric)metric);
        for (int round = 0; round < 1500; round++) {
            write_round(&f, points, &rng);
            if (round % 5 == 0) {
                compare_search(&f, points, (vdb_metric)metric, &rng);
            }
        }
        close_fixture(&f);
        free(points);
    }
}

static void test_get_in_order_asked(void **state)
{
    (void)state;
    struct fixture f;
    struct vdb_err err = {0};
    struct vdb_write_result result;
    struct vdb_hits hits;
    open_fixture(&f, VDB_METRIC_L2);
    float vectors[2][DIMENSION] = {{1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}};
    /* 42 and "42" are two points; the metadata comes back in canonical form, numbers as written. */
    struct vdb_point points[2] = {
        {{.number = 42}, vectors[0], DIMENSION, vdb_str_of("{ \"a\" : 1.10, \"\\u0062\":[ ] }")},
        {{"42", 2, 0}, vectors[1], DIMENSION, {NULL, 0}},
    };
    assert_ok(vdb_collection_upsert(f.collection, points, 2, &result, &err), &err);
    assert_int_equal(result.changed, 2);
    assert_int_equal(result.seq, 1);
    struct vdb_id ids[4] = {{"42", 2, 0}, {.number = 7}, {.number = 42}, {"42", 2, 0}};
    assert_ok(vdb_collection_get(f.collection, ids, 4, &hits, &err), &err);
    assert_int_equal(hits.count, 3);
    assert_true(vdb_str_is(hits.hits[0].metadata, "{}"));
    assert_true(vdb_str_is(hits.hits[1].metadata, "{\"a\":1.10,\"b\":[]}"));
    assert_memory_equal(hits.hits[1].vector, vectors[0], sizeof vectors[0]);
    assert_memory_equal(hits.hits[2].vector, vectors[1], sizeof vectors[1]);
    vdb_hits_fini(&hits);
    close_fixture(&f);
}

/* ---- Bad input: refused by name, and nothing of the batch is visible ---- */

static void refuse(struct fixture *f, struct vdb_point bad, vdb_status status, const char *part)
{
    struct vdb_err err = {0};
    struct vdb_write_result result;
    uint64_t count;
    float good_vector[DIMENSION] = {1, 1, 1, 1, 1};
    struct vdb_point batch[2] = {{{.number = 1}, good_vector, DIMENSION, {NULL, 0}}, bad};
    assert_fails(vdb_collection_upsert(f->collection, batch, 2, &result, &err), status, &err, part);
    assert_non_null(strstr(err.text, "points[1]."));
    assert_ok(vdb_collection_count(f->collection, (struct vdb_str){NULL, 0}, &count, &err), &err);
    assert_int_equal(count, 0);
}

static void test_bad_points(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, VDB_METRIC_COSINE);
    float good[DIMENSION] = {1, 2, 3, 4, 5};
    float nan_vector[DIMENSION] = {1, 2, NAN, 4, 5};
    float inf_vector[DIMENSION] = {1, 2, 3, 4, -INFINITY};
    float zero[DIMENSION] = {0};
    refuse(&f, (struct vdb_point){{.number = 2}, nan_vector, DIMENSION, {NULL, 0}}, VDB_INVALID,
           "vector[2]: NaN");
    refuse(&f, (struct vdb_point){{.number = 2}, inf_vector, DIMENSION, {NULL, 0}}, VDB_INVALID,
           "vector[4]: infinity");
    refuse(&f, (struct vdb_point){{.number = 2}, zero, DIMENSION, {NULL, 0}}, VDB_INVALID, "zero vector");
    refuse(&f, (struct vdb_point){{.number = 2}, NULL, DIMENSION, {NULL, 0}}, VDB_INVALID, "vector: missing");
    refuse(&f, (struct vdb_point){{.number = 2}, good, DIMENSION - 1, {NULL, 0}}, VDB_INVALID,
           "vector: 4 numbers given, the collection \"docs\" has dimension 5");
    refuse(&f, (struct vdb_point){{.number = 2}, good, DIMENSION, vdb_str_of("[1]")}, VDB_INVALID,
           "expected an object");
    refuse(&f, (struct vdb_point){{.number = 2}, good, DIMENSION, vdb_str_of("{\"a\":}")}, VDB_INVALID,
           "metadata: byte 5");
    refuse(&f, (struct vdb_point){{.number = 2}, good, DIMENSION, vdb_str_of("{} x")}, VDB_INVALID, "metadata");
    refuse(&f, (struct vdb_point){{.number = 2}, good, DIMENSION, vdb_str_of("")}, VDB_INVALID, "metadata");
    refuse(&f, (struct vdb_point){{"", 0, 0}, good, DIMENSION, {NULL, 0}}, VDB_INVALID,
           "id: a string of 0 bytes");
    char long_id[256];
    memset(long_id, 'i', sizeof long_id);
    refuse(&f, (struct vdb_point){{long_id, 256, 0}, good, DIMENSION, {NULL, 0}}, VDB_INVALID,
           "256 bytes; allowed are 1..255");
    refuse(&f, (struct vdb_point){{"\xff", 1, 0}, good, DIMENSION, {NULL, 0}}, VDB_INVALID, "UTF-8");

    size_t bytes = VDB_LIMIT_METADATA_BYTES_MAX;
    char *large = malloc(bytes + 8);
    int head = snprintf(large, bytes, "{\"a\":\"");
    memset(large + head, 'x', bytes);
    memcpy(large + bytes - 1, "\"}", 2); /* one byte past the limit */
    refuse(&f, (struct vdb_point){{.number = 2}, good, DIMENSION, {large, bytes + 1}}, VDB_LIMIT,
           "1048577 bytes");
    memcpy(large + bytes - 2, "\"}", 2); /* at the limit */
    struct vdb_err err = {0};
    struct vdb_write_result result;
    struct vdb_point fits = {{.number = 3}, good, DIMENSION, {large, bytes}};
    assert_ok(vdb_collection_upsert(f.collection, &fits, 1, &result, &err), &err);
    free(large);
    close_fixture(&f);
}

static void test_bad_batches(void **state)
{
    (void)state;
    struct fixture f;
    struct vdb_err err = {0};
    struct vdb_write_result result;
    struct vdb_hits hits;
    open_fixture(&f, VDB_METRIC_L2);
    float vector[DIMENSION] = {0};
    size_t count = VDB_LIMIT_BATCH_POINTS_MAX;
    struct vdb_point *points = calloc(count + 1, sizeof *points);
    struct vdb_id *ids = calloc(count + 1, sizeof *ids);
    for (size_t i = 0; i <= count; i++) {
        points[i] = (struct vdb_point){{.number = i}, vector, DIMENSION, {NULL, 0}};
        ids[i].number = i;
    }
    assert_fails(vdb_collection_upsert(f.collection, points, 0, &result, &err), VDB_INVALID, &err, "1 to 10000");
    assert_fails(vdb_collection_upsert(f.collection, points, count + 1, &result, &err), VDB_LIMIT, &err, "10001");
    assert_ok(vdb_collection_upsert(f.collection, points, count, &result, &err), &err);
    assert_fails(vdb_collection_delete(f.collection, ids, 0, &result, &err), VDB_INVALID, &err, "ids: empty");
    assert_fails(vdb_collection_delete(f.collection, ids, count + 1, &result, &err), VDB_LIMIT, &err, "10001");
    assert_fails(vdb_collection_get(f.collection, ids, count + 1, &hits, &err), VDB_LIMIT, &err, "10001");
    assert_fails(vdb_collection_get(f.collection, ids, 0, &hits, &err), VDB_INVALID, &err, "ids: 0");
    assert_ok(vdb_collection_delete(f.collection, ids, count, &result, &err), &err);
    assert_int_equal(result.changed, count);

    /* 64 MiB in all: 66 points of nearly 1 MiB of metadata each. */
    size_t bytes = VDB_LIMIT_METADATA_BYTES_MAX - 100;
    char *large = malloc(bytes + 1);
    int head = snprintf(large, bytes, "{\"a\":\"");
    memset(large + head, 'x', bytes - (size_t)head);
    memcpy(large + bytes - 2, "\"}", 2);
    for (size_t i = 0; i < 66; i++) {
        points[i].metadata = (struct vdb_str){large, bytes};
    }
    assert_fails(vdb_collection_upsert(f.collection, points, 66, &result, &err), VDB_LIMIT, &err,
                 "67108864 bytes");
    free(large);
    free(points);
    free(ids);
    close_fixture(&f);
}

static void test_bad_searches(void **state)
{
    (void)state;
    struct fixture f;
    struct vdb_err err = {0};
    struct vdb_hits hits;
    open_fixture(&f, VDB_METRIC_COSINE);
    float good[DIMENSION] = {1, 2, 3, 4, 5};
    float nan_vector[DIMENSION] = {NAN};
    float zero[DIMENSION] = {0};
    struct vdb_search search = {.vector = good, .dimension = DIMENSION, .k = 0};
    assert_fails(vdb_collection_search(f.collection, &search, &hits, &err), VDB_INVALID, &err, "k: 0");
    search.k = VDB_LIMIT_K_MAX + 1;
    assert_fails(vdb_collection_search(f.collection, &search, &hits, &err), VDB_LIMIT, &err, "16385");
    search.k = VDB_LIMIT_K_MAX;
    assert_ok(vdb_collection_search(f.collection, &search, &hits, &err), &err);
    assert_int_equal(hits.count, 0);
    vdb_hits_fini(&hits);
    search.dimension = DIMENSION + 1;
    assert_fails(vdb_collection_search(f.collection, &search, &hits, &err), VDB_INVALID, &err,
                 "6 numbers given, the collection \"docs\" has dimension 5");
    search.dimension = DIMENSION;
    search.vector = NULL;
    assert_fails(vdb_collection_search(f.collection, &search, &hits, &err), VDB_INVALID, &err, "vector: missing");
    search.vector = nan_vector;
    assert_fails(vdb_collection_search(f.collection, &search, &hits, &err), VDB_INVALID, &err, "vector[0]: NaN");
    search.vector = zero;
    assert_fails(vdb_collection_search(f.collection, &search, &hits, &err), VDB_INVALID, &err, "zero vector");
    search.vector = good;
    search.filter = vdb_str_of("{\"field\":\"a\",\"op\":\"=>\",\"value\":1}");
    assert_fails(vdb_collection_search(f.collection, &search, &hits, &err), VDB_INVALID, &err, "=>");
    assert_null(hits.hits);
    close_fixture(&f);
}

/* ---- P3: one consistent view per search while writes go on ---- */

struct race {
    struct fixture *f;
    _Atomic bool stop;
};

/* Each batch moves both points of a pair to the batch's number, and deletes and restores a third. */
static void *write_pairs(void *arg)
{
    struct race *race = arg;
    struct vdb_err err = {0};
    struct vdb_write_result result;
    for (unsigned n = 1; n <= 400; n++) {
        float vector[DIMENSION] = {(float)n, 0, 0, 0, 0};
        struct vdb_point pair[2] = {{{.number = 1}, vector, DIMENSION, {NULL, 0}},
                                    {{.number = 2}, vector, DIMENSION, {NULL, 0}}};
        assert_ok(vdb_collection_upsert(race->f->collection, pair, 2, &result, &err), &err);
    }
    atomic_store(&race->stop, true);
    return NULL;
}

static void *read_pairs(void *arg)
{
    struct race *race = arg;
    struct vdb_err err = {0};
    float query[DIMENSION] = {0};
    struct vdb_search search = {.vector = query, .dimension = DIMENSION, .k = 10};
    float last = 0;
    while (!atomic_load(&race->stop)) {
        struct vdb_hits hits;
        assert_ok(vdb_collection_search(race->f->collection, &search, &hits, &err), &err);
        assert_true(hits.count == 0 || hits.count == 2);
        if (hits.count == 2) {
            assert_int_equal(hits.hits[0].id.number + hits.hits[1].id.number, 3);
            assert_true(hits.hits[0].vector[0] == hits.hits[1].vector[0]);
            assert_true(hits.hits[0].vector[0] >= last); /* time does not run backwards */
            last = hits.hits[0].vector[0];
        }
        vdb_hits_fini(&hits);
    }
    return NULL;
}

static void test_searches_see_whole_batches(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t threads[4];
    open_fixture(&f, VDB_METRIC_L2);
    struct race race = {.f = &f};
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, i == 0 ? write_pairs : read_pairs, &race);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    close_fixture(&f);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_all_metrics), cmocka_unit_test(test_get_in_order_asked),
        cmocka_unit_test(test_bad_points),        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_bad_searches),      cmocka_unit_test(test_searches_see_whole_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
