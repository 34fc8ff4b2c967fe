/* test_graph_random.c: collections with graphs against an exact oracle, by random operations through the public API.
 *
 * Inserts, updates, deletes, gets, searches (default, by width, by recall, filtered, exact, at snapshots),
 * checkpoints, compactions, builds, changes of the index's kind and parameters, verification, closing and reopening, with the
 * library's own threads and without. Never a deleted point or a stale version, every score right, exact answers exact, and
 * recall@10 at default settings at least 0.95 in every window of searches.
 *
 * VECDB_RANDOM_OPS is the number of operations (a point written or deleted, a search, a point read, a call of maintenance);
 * VECDB_SEED chooses them. `make soak` runs 1,000,000.
 */
#include "graph_oracle.h"

enum {
    IDS = 8000,
    WINDOW = 200, /* searches whose recall is averaged */
    K_MAX = 50,
};

/* ---- The model ---- */

struct model {
    uint32_t live;
    uint64_t version[IDS]; /* 0: not there */
    float (*vectors)[DIMENSION_MAX];
};

struct window {
    double sum;
    unsigned count;
    double least; /* of whole windows */
    unsigned windows;
};

struct collection {
    const struct kind *kind;
    struct model now;
    struct model then; /* at the snapshot */
    bool has_snapshot;
    bool flat;         /* since the last set_index */
    uint64_t versions; /* given so far */
    struct window by_default;
    struct window filtered;
    uint64_t rows;         /* that searches which might use graphs looked at */
    uint64_t rows_indexed; /* of them in graphs */
};

struct world {
    const char *dir;
    vecdb *db;
    struct vdb_rng rng;
    struct collection collections[KINDS];
    uint64_t ops;
    uint64_t searches;
    uint64_t reopened;
    uint64_t verified;
    uint64_t reconfigured;
};

static void model_init(struct model *model)
{
    model->vectors = calloc(IDS, sizeof *model->vectors);
    assert_non_null(model->vectors);
}

static void model_copy(struct model *to, const struct model *from)
{
    float(*vectors)[DIMENSION_MAX] = to->vectors;
    memcpy(vectors, from->vectors, IDS * sizeof *vectors);
    *to = *from;
    to->vectors = vectors;
}

static bool chance(struct world *world, unsigned in_thousand)
{
    return vdb_rng_below(&world->rng, 1000) < in_thousand;
}

static void open_world(struct world *world)
{
    vecdb_error err;
    const vecdb_options options = {.no_maintenance = chance(world, 500)};
    assert_vecdb_ok(vecdb_open(world->dir, &options, &world->db, &err), &err);
}

/* ---- Searches ---- */

struct truth {
    double scores[K_MAX]; /* ascending */
    uint64_t ids[K_MAX];
    size_t count;
};

/* The k nearest of a model, equal scores in id order. group: only that one's, GROUPS for all. */
static void find_truth(const struct kind *kind, const struct model *model, const float *query, size_t k,
                       unsigned group, struct truth *out)
{
    out->count = 0;
    for (uint64_t id = 0; id < IDS; id++) {
        if (model->version[id] == 0 || (group < GROUPS && group_of(id) != group)) {
            continue;
        }
        const double score = score_of(kind, query, model->vectors[id]);
        if (out->count == k && score >= out->scores[k - 1]) {
            continue;
        }
        size_t at = out->count < k ? out->count++ : k - 1;
        for (; at > 0 && out->scores[at - 1] > score; at--) {
            out->scores[at] = out->scores[at - 1];
            out->ids[at] = out->ids[at - 1];
        }
        out->scores[at] = score;
        out->ids[at] = id;
    }
}

/* Near some point, or a vector that was some point's, or is. */
static void make_query(struct world *world, const struct collection *collection, float *out)
{
    const struct kind *kind = collection->kind;
    const uint64_t id = vdb_rng_below(&world->rng, IDS);
    if (chance(world, 100)) {
        memcpy(out, collection->now.vectors[id], kind->dimension * sizeof *out); /* the last that the id had */
    } else {
        make_vector(kind, vdb_rng_u64(&world->rng), 0, out);
    }
    if (kind->metric == VECDB_COSINE) { /* an id that never was has a vector of zeros */
        out[0] += out[0] == 0 ? 1 : 0;
    }
    if (kind->element == VECDB_U8 && chance(world, 100)) { /* one that the element cannot hold */
        out[vdb_rng_below(&world->rng, kind->dimension)] += 0.25F;
    }
}

/* Every hit is there, in its present version, in its place, at its score. */
static void check_hits(const struct collection *collection, const struct model *model,
                       const vecdb_search_request *request, unsigned group, const vecdb_result *result)
{
    const struct kind *kind = collection->kind;
    const vecdb_hit *hits = vecdb_result_hits(result);
    const size_t count = vecdb_result_count(result);
    for (size_t i = 0; i < count; i++) {
        assert_null(hits[i].id.text);
        const uint64_t id = hits[i].id.number;
        assert_true(id < IDS);
        if (model->version[id] == 0) {
            fail_msg("%s: point %llu is returned and was deleted", kind->name, (unsigned long long)id);
        }
        if (version_of(&hits[i]) != model->version[id]) {
            fail_msg("%s: point %llu is returned as version %llu and is %llu", kind->name, (unsigned long long)id,
                     (unsigned long long)version_of(&hits[i]), (unsigned long long)model->version[id]);
        }
        assert_true(group == GROUPS || group_of(id) == group);
        const double score = score_of(kind, request->vector, model->vectors[id]);
        if (!same_score(hit_score(kind, &hits[i]), score)) {
            fail_msg("%s: point %llu has score %.17g and is at %.17g", kind->name, (unsigned long long)id,
                     hits[i].score, score);
        }
        if (request->with_vector) {
            assert_memory_equal(hits[i].vector, model->vectors[id], kind->dimension * sizeof(float));
        }
        if (i > 0) {
            const double before = hit_score(kind, &hits[i - 1]);
            const double here = hit_score(kind, &hits[i]);
            assert_true(before < here || (before == here && hits[i - 1].id.number < id));
        }
    }
}

static double recall_of(const struct kind *kind, const struct truth *truth, const vecdb_result *result)
{
    size_t hits = 0;
    for (size_t i = 0; i < vecdb_result_count(result); i++) {
        const double score = hit_score(kind, &vecdb_result_hits(result)[i]);
        hits += score <= truth->scores[truth->count - 1] + 1e-9 * (1 + fabs(score));
    }
    assert_true(hits <= truth->count);
    return truth->count == 0 ? 1 : (double)hits / (double)truth->count;
}

static void add_to_window(struct window *window, const char *what, const struct kind *kind, double recall)
{
    window->sum += recall;
    if (++window->count < WINDOW) {
        return;
    }
    const double mean = window->sum / WINDOW;
    window->least = window->windows == 0 ? mean : fmin(window->least, mean);
    window->windows++;
    window->sum = 0;
    window->count = 0;
    if (mean < RECALL_MIN) {
        fail_msg("%s, %s: recall@10 of %d searches is %.4f", kind->name, what, WINDOW, mean);
    }
}

static void run_search(struct world *world, struct collection *collection)
{
    const struct kind *kind = collection->kind;
    float query[DIMENSION_MAX] = {0};
    char filter[64];
    char name[32];
    vecdb_error err;
    vecdb_result *result;
    struct truth truth;
    make_query(world, collection, query);
    const bool snapshot = collection->has_snapshot && chance(world, 60);
    const bool filtered = chance(world, 40);
    const unsigned group = filtered ? (unsigned)vdb_rng_below(&world->rng, GROUPS) : GROUPS;
    const struct model *model = snapshot ? &collection->then : &collection->now;
    vecdb_search_request request = {
        .vector = query, .dimension = kind->dimension, .k = 10, .with_vector = chance(world, 50)};
    if (filtered) {
        request.filter_bytes = (size_t)snprintf(filter, sizeof filter,
                                                "{\"field\": \"g\", \"op\": \"==\", \"value\": %u}", group);
        request.filter = filter;
    }
    bool plain = false; /* at default settings */
    switch (vdb_rng_below(&world->rng, 20)) {
    case 0:
        request.exact = 1;
        break;
    case 1:
        request.ef = 1 + (uint32_t)vdb_rng_below(&world->rng, 200);
        break;
    case 2:
        request.target_recall = 0.5 + 0.499 * vdb_rng_double(&world->rng);
        break;
    case 3:
        request.k = 1 + (uint32_t)vdb_rng_below(&world->rng, K_MAX);
        break;
    default:
        plain = true;
        break;
    }
    find_truth(kind, model, query, request.k, group, &truth);
    snprintf(name, sizeof name, "%s%s", kind->name, snapshot ? "@kept" : "");
    assert_vecdb_ok(vecdb_search(world->db, name, &request, &result, &err), &err);
    check_hits(collection, model, &request, group, result);
    const vecdb_explain *explain = vecdb_result_explain(result);
    assert_true(explain->rows_indexed <= explain->rows);
    const double recall = recall_of(kind, &truth, result);
    const bool scanned = request.exact || explain->rows_indexed == 0;
    if (scanned && (recall < 1 || vecdb_result_count(result) != truth.count)) {
        fail_msg("%s: plan \"%s\" found %zu of %zu, recall %.3f", kind->name, explain->plan,
                 vecdb_result_count(result), truth.count, recall);
    }
    if (vecdb_result_count(result) != truth.count) {
        fail_msg("%s: plan \"%s\", k %u, ef %u: %zu hits where there are %zu", kind->name, explain->plan,
                 request.k, explain->ef, vecdb_result_count(result), truth.count);
    }
    if (plain) {
        add_to_window(filtered ? &collection->filtered : &collection->by_default,
                      filtered ? "filtered" : "default settings", kind, recall);
    }
    if (!request.exact && !collection->flat) {
        collection->rows += explain->rows;
        collection->rows_indexed += explain->rows_indexed;
    }
    vecdb_result_free(result);
    world->searches++;
    world->ops++;
}

/* ---- Writes and reads by id ---- */

static void run_upsert(struct world *world, struct collection *collection, size_t count)
{
    enum { COUNT_MAX = 200 };
    static vecdb_point points[COUNT_MAX];
    static char metadata[COUNT_MAX][METADATA_BYTES];
    const struct kind *kind = collection->kind;
    struct model *model = &collection->now;
    vecdb_error err;
    vecdb_write_result written;
    assert_true(count <= COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        const uint64_t id = vdb_rng_below(&world->rng, IDS);
        const uint64_t version = ++collection->versions;
        model->live += model->version[id] == 0;
        model->version[id] = version;
        make_vector(kind, id, version, model->vectors[id]);
        points[i] = (vecdb_point){.id = vecdb_id_number(id),
                                  .vector = model->vectors[id],
                                  .dimension = kind->dimension,
                                  .metadata = metadata[i],
                                  .metadata_bytes = make_metadata(id, version, metadata[i])};
    }
    for (size_t i = 0; i + 1 < count; i++) { /* an id twice in a batch: both say what the later one does */
        const uint64_t id = points[i].id.number;
        points[i].metadata_bytes = make_metadata(id, model->version[id], metadata[i]);
    }
    assert_vecdb_ok(vecdb_upsert(world->db, kind->name, points, count, &written, &err), &err);
    world->ops += count;
}

static void run_delete(struct world *world, struct collection *collection)
{
    vecdb_id ids[20];
    vecdb_error err;
    vecdb_write_result written;
    struct model *model = &collection->now;
    const size_t count = 1 + vdb_rng_below(&world->rng, chance(world, 20) ? 20 : 3);
    uint64_t there = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = vdb_rng_below(&world->rng, IDS);
        for (size_t tries = 0; tries < 5 && model->version[id] == 0; tries++) {
            id = vdb_rng_below(&world->rng, IDS);
        }
        there += model->version[id] != 0;
        model->live -= model->version[id] != 0;
        model->version[id] = 0;
        ids[i] = vecdb_id_number(id);
    }
    assert_vecdb_ok(vecdb_delete(world->db, collection->kind->name, ids, count, &written, &err), &err);
    assert_int_equal(written.changed, there);
    world->ops += count;
}

static void run_get(struct world *world, struct collection *collection)
{
    vecdb_id ids[8];
    vecdb_error err;
    vecdb_result *result;
    char name[32];
    const size_t count = 1 + vdb_rng_below(&world->rng, 8);
    const bool snapshot = collection->has_snapshot && chance(world, 100);
    const struct model *model = snapshot ? &collection->then : &collection->now;
    for (size_t i = 0; i < count; i++) {
        ids[i] = vecdb_id_number(vdb_rng_below(&world->rng, IDS));
    }
    snprintf(name, sizeof name, "%s%s", collection->kind->name, snapshot ? "@kept" : "");
    assert_vecdb_ok(vecdb_get(world->db, name, ids, count, &result, &err), &err);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t id = ids[i].number;
        if (model->version[id] == 0) {
            continue;
        }
        assert_true(at < vecdb_result_count(result));
        const vecdb_hit *hit = &vecdb_result_hits(result)[at++];
        assert_int_equal(hit->id.number, id);
        assert_int_equal(version_of(hit), model->version[id]);
        assert_memory_equal(hit->vector, model->vectors[id], collection->kind->dimension * sizeof(float));
    }
    assert_int_equal(at, vecdb_result_count(result));
    vecdb_result_free(result);
    world->ops += count;
}

/* ---- Maintenance ---- */

static void check_counts(struct world *world)
{
    for (size_t i = 0; i < KINDS; i++) {
        const struct collection *collection = &world->collections[i];
        uint64_t count;
        vecdb_error err;
        assert_vecdb_ok(vecdb_count(world->db, collection->kind->name, NULL, 0, &count, &err), &err);
        assert_int_equal(count, collection->now.live);
    }
}

static void run_set_index(struct world *world, struct collection *collection)
{
    static const char *const types[] = {"qgraph", "hnsw", "qgraph", "hnsw", "flat"};
    const char *type = types[vdb_rng_below(&world->rng, 5)];
    vecdb_error err;
    if (collection->kind->metric == VECDB_L1 && strcmp(type, "qgraph") == 0) {
        type = "hnsw";
    }
    vecdb_index_config config = {.type = type, .scan_below = SCAN_BELOW};
    if (strcmp(type, "flat") != 0 && chance(world, 300)) { /* of building; searching stays at its defaults */
        config.ef_construction = 100 + (uint32_t)vdb_rng_below(&world->rng, 200);
    }
    if (strcmp(type, "hnsw") == 0 && chance(world, 300)) {
        config.m = 12 + (uint32_t)vdb_rng_below(&world->rng, 20);
    }
    config.compact = strcmp(type, "qgraph") == 0 && chance(world, 400);
    assert_vecdb_ok(vecdb_set_index(world->db, collection->kind->name, &config, &err), &err);
    collection->flat = strcmp(type, "flat") == 0;
    world->reconfigured++;
    if (chance(world, 500)) {
        assert_vecdb_ok(vecdb_build_index(world->db, collection->kind->name, NULL, &err), &err);
    }
}

static void run_snapshot(struct world *world, struct collection *collection)
{
    vecdb_error err;
    if (collection->has_snapshot) {
        assert_vecdb_ok(vecdb_snapshot_delete(world->db, collection->kind->name, "kept", &err), &err);
        collection->has_snapshot = false;
        return;
    }
    assert_vecdb_ok(vecdb_snapshot_create(world->db, collection->kind->name, "kept", NULL, &err), &err);
    model_copy(&collection->then, &collection->now);
    collection->has_snapshot = true;
}

static void run_verify(struct world *world)
{
    vecdb_error err;
    vecdb_verify_result result;
    assert_vecdb_ok(vecdb_verify(world->db, NULL, &result, &err), &err);
    assert_int_equal(result.collections, KINDS);
    check_counts(world);
    world->verified++;
}

static void run_maintenance(struct world *world, struct collection *collection)
{
    const char *name = collection->kind->name;
    vecdb_error err;
    const unsigned what = (unsigned)vdb_rng_below(&world->rng, 100);
    world->ops++;
    if (what < 35) {
        assert_vecdb_ok(vecdb_checkpoint(world->db, name, &err), &err);
        if (chance(world, 600)) {
            assert_vecdb_ok(vecdb_build_index(world->db, name, NULL, &err), &err);
        }
    } else if (what < 55) {
        const vecdb_compact_options options = {.full = chance(world, 500)};
        assert_vecdb_ok(vecdb_compact(world->db, name, &options, NULL, &err), &err);
    } else if (what < 70) {
        const vecdb_build_options options = {.threads = 1 + (unsigned)vdb_rng_below(&world->rng, 2)};
        assert_vecdb_ok(vecdb_build_index(world->db, name, &options, &err), &err);
    } else if (what < 78) {
        run_set_index(world, collection);
    } else if (what < 86) {
        run_snapshot(world, collection);
    } else if (what < 93) {
        run_verify(world);
    } else {
        vecdb_close(world->db);
        open_world(world);
        check_counts(world);
        world->reopened++;
        for (size_t i = 0; i < KINDS; i++) { /* else scans answer for long where the library has no threads */
            if (chance(world, 800)) {
                assert_vecdb_ok(vecdb_build_index(world->db, kinds[i].name, NULL, &err), &err);
            }
        }
    }
}

/* ---- One thread ---- */

static void step(struct world *world)
{
    struct collection *collection = &world->collections[vdb_rng_below(&world->rng, KINDS)];
    const unsigned what = (unsigned)vdb_rng_below(&world->rng, 1000);
    if (what < 6) {
        run_maintenance(world, collection);
    } else if (what < 186) {
        run_upsert(world, collection, 1 + vdb_rng_below(&world->rng, 6));
    } else if (what < 290) {
        run_delete(world, collection);
    } else if (what < 340) {
        run_get(world, collection);
    } else {
        run_search(world, collection);
    }
}

static void test_against_the_oracle(void **state)
{
    const uint64_t ops = number_of("VECDB_RANDOM_OPS", OPS);
    const uint64_t seed = number_of("VECDB_SEED", 1);
    struct world *world = calloc(1, sizeof *world);
    vecdb_error err;
    assert_non_null(world);
    print_message("VECDB_SEED=%llu VECDB_RANDOM_OPS=%llu\n", (unsigned long long)seed, (unsigned long long)ops);
    world->dir = *state;
    vdb_rng_init(&world->rng, seed);
    open_world(world);
    create_collections(world->db);
    for (size_t i = 0; i < KINDS; i++) {
        world->collections[i].kind = &kinds[i];
        model_init(&world->collections[i].now);
        model_init(&world->collections[i].then);
        const uint64_t first = ops / 20 < 5000 ? ops / 20 : 5000;
        while (world->collections[i].versions < first) {
            run_upsert(world, &world->collections[i], 50);
        }
        assert_vecdb_ok(vecdb_build_index(world->db, kinds[i].name, NULL, &err), &err);
    }
    for (uint64_t told = world->ops; world->ops < ops;) {
        step(world);
        if (world->ops - told >= 100000) {
            told = world->ops;
            print_message("%llu operations\n", (unsigned long long)told);
        }
    }
    run_verify(world);
    print_message("%llu searches, %llu verifications, %llu changes of index, %llu reopened\n",
                  (unsigned long long)world->searches, (unsigned long long)world->verified,
                  (unsigned long long)world->reconfigured, (unsigned long long)world->reopened);
    for (size_t i = 0; i < KINDS; i++) {
        struct collection *collection = &world->collections[i];
        const double share = (double)collection->rows_indexed / (double)collection->rows;
        print_message(
            "%s: %u points; least recall@10 of %d searches %.4f (%u windows), filtered %.4f (%u); %.0f %% "
            "of rows in graphs\n",
            collection->kind->name, collection->now.live, WINDOW, collection->by_default.least,
            collection->by_default.windows, collection->filtered.least, collection->filtered.windows,
            share * 100);
        assert_true(share > 0.3 || ops < OPS); /* so few points as in a shorter run have no graphs */
        free(collection->now.vectors);
        free(collection->then.vectors);
    }
    vecdb_close(world->db);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against_the_oracle, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
