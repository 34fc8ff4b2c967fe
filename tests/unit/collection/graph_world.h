/* graph_world.h: a collection with a graph over clustered random points, and its recall against the exact answer. */
#ifndef VDB_TESTS_COLLECTION_GRAPH_WORLD_H
#define VDB_TESTS_COLLECTION_GRAPH_WORLD_H

#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/rng.h"
#include "collection/database.h"
#include "collection/maintain.h"
#include "env/env_memory.h"

enum { DIMENSION = 12, CLUSTERS = 24, SCAN_BELOW = 200, BATCH = 100, K = 10 };

struct world {
    struct vdb_env *env;
    struct vdb_database *database;
    struct vdb_collection *collection;
    struct vdb_rng rng;
    vdb_metric metric;
    float centres[CLUSTERS][DIMENSION];
};

static inline struct vdb_index_config config_of(const char *type)
{
    struct vdb_index_config config = {.scan_below = SCAN_BELOW};
    snprintf(config.type, sizeof config.type, "%s", type);
    return config;
}

/* Whole numbers of 0..127, as every element holds them. */
static inline void point_of(struct world *w, float out[DIMENSION])
{
    const float *centre = w->centres[vdb_rng_below(&w->rng, CLUSTERS)];
    for (int i = 0; i < DIMENSION; i++) {
        out[i] = centre[i] + (float)vdb_rng_below(&w->rng, 24);
    }
}

static inline void open_world(struct world *w, vdb_metric metric, vdb_element element, const char *type,
                              bool maintained)
{
    struct vdb_err err = {0};
    struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = metric, .element = element};
    const struct vdb_index_config config = config_of(type);
    w->metric = metric;
    vdb_rng_init(&w->rng, 7);
    for (int c = 0; c < CLUSTERS; c++) {
        for (int i = 0; i < DIMENSION; i++) {
            w->centres[c][i] = (float)vdb_rng_below(&w->rng, 100);
        }
    }
    w->env = vdb_env_memory_create();
    assert_ok(vdb_database_open(w->env, "data", false, &w->database, &err), &err);
    if (maintained) {
        assert_ok(vdb_database_maintain(w->database, NULL, &err), &err);
    }
    assert_ok(vdb_database_create(w->database, &schema, &config, &err), &err);
    assert_ok(vdb_database_get(w->database, "docs", &w->collection, &err), &err);
}

static inline void shut_world(struct world *w)
{
    vdb_collection_unref(w->collection);
    vdb_database_close(w->database);
}

static inline void close_world(struct world *w)
{
    shut_world(w);
    vdb_env_memory_destroy(w->env);
}

static inline void reopen_world(struct world *w)
{
    struct vdb_err err = {0};
    shut_world(w);
    assert_ok(vdb_database_open(w->env, "data", true, &w->database, &err), &err);
    assert_ok(vdb_database_get(w->database, "docs", &w->collection, &err), &err);
}

/* Points from..to-1 with metadata {"n": id}, in batches of `batch`. */
static inline void put(struct world *w, unsigned from, unsigned to, unsigned batch)
{
    struct vdb_err err = {0};
    while (from < to) {
        float vectors[BATCH][DIMENSION];
        struct vdb_point points[BATCH];
        char texts[BATCH][32];
        struct vdb_write_result result;
        unsigned count = to - from < batch ? to - from : batch;
        for (unsigned i = 0; i < count; i++) {
            point_of(w, vectors[i]);
            int bytes = snprintf(texts[i], sizeof texts[i], "{\"n\": %u}", from + i);
            points[i] = (struct vdb_point){
                {.number = from + i}, vectors[i], DIMENSION, {texts[i], (size_t)bytes}};
        }
        assert_ok(vdb_collection_upsert(w->collection, points, count, &result, &err), &err);
        from += count;
    }
}

static inline void delete_point(struct world *w, unsigned id)
{
    struct vdb_err err = {0};
    struct vdb_write_result result;
    assert_ok(vdb_collection_delete(w->collection, &(struct vdb_id){.number = id}, 1, &result, &err), &err);
}

static inline void checkpoint(struct world *w)
{
    struct vdb_err err = {0};
    assert_ok(vdb_collection_checkpoint(w->collection, &err), &err);
}

static inline void build(struct world *w)
{
    struct vdb_err err = {0};
    assert_ok(vdb_collection_build_index(w->collection, NULL, &err), &err);
}

static inline struct vdb_index_status status_of(struct world *w)
{
    struct vdb_index_status status;
    vdb_collection_get_index_status(w->collection, &status);
    return status;
}

/* Whether the first is as good a score as the second, or better. */
static inline bool as_good(const struct world *w, double a, double b)
{
    return w->metric == VDB_METRIC_DOT ? a >= b : a <= b;
}

/* Searches, and adds to *right and *all. The answer is the caller's. */
static inline void search_both(struct world *w, const struct vdb_search *search, struct vdb_hits *hits,
                               double *right, double *all)
{
    struct vdb_err err = {0};
    struct vdb_search exactly = *search;
    struct vdb_hits exact;
    exactly.exact = true;
    exactly.ef = 0;
    exactly.target_recall = 0;
    assert_ok(vdb_collection_search(w->collection, search, hits, &err), &err);
    assert_ok(vdb_collection_search(w->collection, &exactly, &exact, &err), &err);
    assert_int_equal(hits->count, exact.count);
    assert_null(strstr(exact.explain.plan, "graph"));
    for (size_t i = 0; i < hits->count; i++) {
        *right += as_good(w, hits->hits[i].score, exact.hits[exact.count - 1].score);
        if (i > 0) {
            assert_true(as_good(w, hits->hits[i - 1].score, hits->hits[i].score));
        }
    }
    *all += (double)exact.count;
    vdb_hits_fini(&exact);
}

/* Recall@10 of `queries` searches; their plan and explain's figures of the last. */
static inline double recall_of(struct world *w, const struct vdb_search *like, int queries, float offset,
                               struct vdb_explain *explain)
{
    double right = 0;
    double all = 0;
    for (int q = 0; q < queries; q++) {
        float vector[DIMENSION];
        struct vdb_search search = *like;
        struct vdb_hits hits;
        point_of(w, vector);
        for (int i = 0; i < DIMENSION; i++) {
            vector[i] += offset;
        }
        search.vector = vector;
        search.dimension = DIMENSION;
        search.k = search.k != 0 ? search.k : K;
        search_both(w, &search, &hits, &right, &all);
        *explain = hits.explain;
        vdb_hits_fini(&hits);
    }
    return all > 0 ? right / all : 1;
}

#endif
