/* test_snapshot_read.c: reading at snapshots through the public header, on a real directory: against a naive model,
 * beside writers and deletions, with damage, and what is refused. */
#include "support.h"

#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "vecdb.h"

enum { IDS = 40, DIMENSION = 3, MODEL_SNAPSHOTS = 12, BATCH = 8 };

#define assert_vecdb_ok(call, err)                                                                               \
    do {                                                                                                         \
        if ((call) != VECDB_OK) {                                                                                \
            fail_msg("%s: %s", #call, (err)->message);                                                           \
        }                                                                                                        \
    } while (0)

/* ---- A directory ---- */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int make_dir(void **state)
{
    char *path = strdup("/tmp/vecdb-test-XXXXXX");
    *state = mkdtemp(path);
    return *state == NULL;
}

static int remove_dir(void **state)
{
    nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

static vecdb *open_docs(const char *dir, int create)
{
    vecdb_error err;
    vecdb *db;
    const vecdb_options options = {.no_maintenance = 1};
    assert_vecdb_ok(vecdb_open(dir, &options, &db, &err), &err);
    if (create) {
        vecdb_collection_config config = {.name = "docs", .dimension = DIMENSION, .metric = VECDB_L2};
        assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
    }
    return db;
}

/* ---- The model: the stamp of each id, 0 when it is not there ---- */

struct model {
    unsigned stamp[IDS];
};

static vecdb_status put(vecdb *db, const unsigned *ids, unsigned count, unsigned stamp, vecdb_error *err)
{
    vecdb_point points[IDS];
    float vectors[IDS][DIMENSION];
    char metadata[IDS][40];
    for (unsigned i = 0; i < count; i++) {
        vectors[i][0] = (float)ids[i];
        vectors[i][1] = (float)stamp;
        vectors[i][2] = 1;
        int bytes = snprintf(metadata[i], sizeof metadata[i], "{\"stamp\":%u,\"odd\":%s}", stamp,
                             ids[i] % 2 == 1 ? "true" : "false");
        points[i] = (vecdb_point){vecdb_id_number(ids[i]), vectors[i], DIMENSION, metadata[i], (size_t)bytes};
    }
    return vecdb_upsert(db, "docs", points, count, NULL, err);
}

static vecdb_status put_all(vecdb *db, unsigned stamp, vecdb_error *err)
{
    unsigned ids[IDS];
    for (unsigned i = 0; i < IDS; i++) {
        ids[i] = i;
    }
    return put(db, ids, IDS, stamp, err);
}

/* A hit is what the model says of its id, which is marked as seen. */
static void expect_hit(const vecdb_hit *hit, const struct model *model, bool seen[IDS])
{
    char metadata[40];
    assert_null(hit->id.text);
    assert_true(hit->id.number < IDS);
    unsigned id = (unsigned)hit->id.number;
    unsigned stamp = model->stamp[id];
    int bytes = snprintf(metadata, sizeof metadata, "{\"stamp\":%u,\"odd\":%s}", stamp,
                         id % 2 == 1 ? "true" : "false");
    assert_true(stamp != 0);
    assert_false(seen[id]);
    seen[id] = true;
    assert_int_equal(hit->dimension, DIMENSION);
    assert_true(hit->vector[0] == (float)id && hit->vector[1] == (float)stamp && hit->vector[2] == 1);
    assert_int_equal(hit->metadata_bytes, bytes);
    assert_memory_equal(hit->metadata, metadata, (size_t)bytes);
}

struct scan {
    const struct model *model;
    bool seen[IDS];
    unsigned count;
};

static int scan_point(void *ctx, const vecdb_hit *point)
{
    struct scan *scan = ctx;
    expect_hit(point, scan->model, scan->seen);
    scan->count++;
    return 0;
}

/* All four kinds of reads give what the model has. */
static void expect_model(vecdb *db, const char *name, const struct model *model)
{
    static const char filter[] = "{\"field\": \"odd\", \"op\": \"==\", \"value\": true}";
    vecdb_error err;
    vecdb_result *result;
    vecdb_id ids[IDS];
    unsigned live = 0;
    unsigned odd = 0;
    uint64_t count;
    for (unsigned i = 0; i < IDS; i++) {
        ids[i] = vecdb_id_number(i);
        live += model->stamp[i] != 0;
        odd += model->stamp[i] != 0 && i % 2 == 1;
    }
    assert_vecdb_ok(vecdb_count(db, name, NULL, 0, &count, &err), &err);
    assert_int_equal(count, live);
    assert_vecdb_ok(vecdb_count(db, name, filter, sizeof filter - 1, &count, &err), &err);
    assert_int_equal(count, odd);

    bool seen[IDS] = {false};
    assert_vecdb_ok(vecdb_get(db, name, ids, IDS, &result, &err), &err);
    assert_int_equal(vecdb_result_count(result), live);
    for (unsigned i = 0; i < live; i++) {
        expect_hit(&vecdb_result_hits(result)[i], model, seen);
    }
    vecdb_result_free(result);

    struct scan scan = {.model = model};
    const vecdb_scan_options options = {.visit = scan_point, .ctx = &scan};
    assert_vecdb_ok(vecdb_scan(db, name, &options, &err), &err);
    assert_int_equal(scan.count, live);

    /* Nearest first: distances to a query are those of a naive loop over the model, in order. */
    float query[DIMENSION] = {7.25f, 0, 1};
    vecdb_search_request request = {.vector = query,
                                    .dimension = DIMENSION,
                                    .k = IDS,
                                    .filter = filter,
                                    .filter_bytes = sizeof filter - 1,
                                    .with_vector = 1};
    bool found[IDS] = {false};
    assert_vecdb_ok(vecdb_search(db, name, &request, &result, &err), &err);
    assert_int_equal(vecdb_result_count(result), odd);
    for (unsigned i = 0; i < odd; i++) {
        const vecdb_hit *hit = &vecdb_result_hits(result)[i];
        expect_hit(hit, model, found);
        double x = (double)hit->id.number - 7.25;
        double y = model->stamp[hit->id.number];
        double squared = x * x + y * y;
        assert_true(fabs(hit->score * hit->score - squared) <= 1e-5 * squared);
        assert_true(i == 0 || hit->score >= hit[-1].score);
    }
    vecdb_result_free(result);
}

/* ---- Against a model ---- */

struct world {
    const char *dir;
    vecdb *db;
    struct vdb_rng rng;
    struct model model;
    unsigned stamp;
    struct model kept[MODEL_SNAPSHOTS];
    bool there[MODEL_SNAPSHOTS];
};

static void change(struct world *w)
{
    vecdb_error err;
    unsigned ids[BATCH];
    vecdb_id gone[BATCH];
    unsigned count = 1 + (unsigned)vdb_rng_below(&w->rng, BATCH);
    bool removes = vdb_rng_below(&w->rng, 3) == 0;
    w->stamp++;
    for (unsigned i = 0; i < count; i++) {
        ids[i] = (unsigned)vdb_rng_below(&w->rng, IDS);
        gone[i] = vecdb_id_number(ids[i]);
        w->model.stamp[ids[i]] = removes ? 0 : w->stamp;
    }
    if (removes) {
        assert_vecdb_ok(vecdb_delete(w->db, "docs", gone, count, NULL, &err), &err);
    } else {
        assert_vecdb_ok(put(w->db, ids, count, w->stamp, &err), &err);
    }
}

static void step(struct world *w)
{
    vecdb_error err;
    char name[40];
    uint64_t count;
    uint64_t dice = vdb_rng_below(&w->rng, 100);
    unsigned n = (unsigned)vdb_rng_below(&w->rng, MODEL_SNAPSHOTS);
    const vecdb_compact_options full = {.full = 1};
    snprintf(name, sizeof name, "docs@s-%u", n);
    if (dice < 45) {
        change(w);
    } else if (dice < 52) {
        assert_vecdb_ok(vecdb_checkpoint(w->db, "docs", &err), &err);
    } else if (dice < 58) {
        assert_vecdb_ok(vecdb_compact(w->db, "docs", dice < 55 ? &full : NULL, NULL, &err), &err);
    } else if (dice < 60) {
        vecdb_close(w->db);
        w->db = open_docs(w->dir, 0);
    } else if (dice < 75 && !w->there[n]) {
        vecdb_snapshot_info info;
        assert_vecdb_ok(vecdb_snapshot_create(w->db, "docs", name + 5, &info, &err), &err);
        w->there[n] = true;
        w->kept[n] = w->model;
        assert_vecdb_ok(vecdb_count(w->db, name, NULL, 0, &count, &err), &err);
        assert_int_equal(count, info.points);
    } else if (dice < 80 && w->there[n]) {
        assert_vecdb_ok(vecdb_snapshot_delete(w->db, "docs", name + 5, &err), &err);
        w->there[n] = false;
    } else if (w->there[n]) {
        expect_model(w->db, name, &w->kept[n]);
    } else {
        assert_int_equal(vecdb_count(w->db, name, NULL, 0, &count, &err), VECDB_NOT_FOUND);
        assert_non_null(strstr(err.message, name + 5));
    }
}

static void test_against_a_model(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world w = {.dir = *state};
        vecdb_error err;
        print_message("seed %llu\n", (unsigned long long)seed);
        vdb_rng_init(&w.rng, seed);
        w.db = open_docs(w.dir, 1);
        for (unsigned i = 0; i < 400; i++) {
            step(&w);
        }
        expect_model(w.db, "docs", &w.model);
        for (unsigned n = 0; n < MODEL_SNAPSHOTS; n++) { /* more than stay open, twice around */
            char name[40];
            snprintf(name, sizeof name, "docs@s-%u", n % MODEL_SNAPSHOTS);
            if (w.there[n]) {
                expect_model(w.db, name, &w.kept[n]);
            }
        }
        assert_vecdb_ok(vecdb_drop_collection(w.db, "docs", &err), &err);
        vecdb_close(w.db);
    }
}

/* ---- What reading leaves alone ---- */

static char tree_text[20000];

static int note_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    size_t used = strlen(tree_text);
    (void)kind;
    (void)walk;
    snprintf(tree_text + used, sizeof tree_text - used, "%s %lld %lld.%09ld\n", path, (long long)status->st_size,
             (long long)status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
    return 0;
}

static void note_tree(const char *path, char out[sizeof tree_text])
{
    tree_text[0] = '\0';
    assert_int_equal(nftw(path, note_entry, 16, FTW_PHYS), 0);
    memcpy(out, tree_text, sizeof tree_text);
}

static void test_reading_writes_nothing(void **state)
{
    static char before[sizeof tree_text];
    static char after[sizeof tree_text];
    char path[300];
    struct model model;
    vecdb_error err;
    vecdb_stats stats;
    vecdb *db = open_docs(*state, 1);
    for (unsigned i = 0; i < IDS; i++) {
        model.stamp[i] = 1;
    }
    assert_vecdb_ok(put_all(db, 1, &err), &err);
    assert_vecdb_ok(vecdb_snapshot_create(db, "docs", "before", NULL, &err), &err);
    assert_vecdb_ok(put_all(db, 2, &err), &err);
    snprintf(path, sizeof path, "%s/collections/docs/snapshots", (const char *)*state);
    note_tree(path, before);
    vecdb_get_stats(db, &stats);
    uint64_t searches = stats.searches;
    expect_model(db, "docs@before", &model);
    vecdb_get_stats(db, &stats);
    assert_int_equal(stats.searches, searches + 1); /* one that is in expect_model */
    vecdb_close(db);
    note_tree(path, after);
    assert_string_equal(before, after);
}

/* What a read gave outlives the snapshot, the collection and the handle. */
static void test_results_outlive_all(void **state)
{
    vecdb_error err;
    vecdb_result *result;
    vecdb_result *second;
    vecdb_stats stats;
    uint64_t count;
    vecdb *db = open_docs(*state, 1);
    vecdb_id ids[2] = {vecdb_id_number(3), vecdb_id_number(4)};
    float query[DIMENSION] = {3, 1, 1};
    const vecdb_search_request request = {.vector = query, .dimension = DIMENSION, .k = 3, .with_vector = 1};
    assert_vecdb_ok(put_all(db, 1, &err), &err);
    assert_vecdb_ok(vecdb_snapshot_create(db, "docs", "before", NULL, &err), &err);
    assert_vecdb_ok(put_all(db, 2, &err), &err);
    const vecdb_compact_options full = {.full = 1};
    assert_vecdb_ok(vecdb_checkpoint(db, "docs", &err), &err);
    assert_vecdb_ok(vecdb_compact(db, "docs", &full, NULL, &err), &err); /* its files are the snapshot's alone */
    assert_vecdb_ok(vecdb_get(db, "docs@before", ids, 2, &result, &err), &err);
    assert_vecdb_ok(vecdb_search(db, "docs@before", &request, &second, &err), &err);
    assert_vecdb_ok(vecdb_snapshot_delete(db, "docs", "before", &err), &err);
    assert_int_equal(vecdb_count(db, "docs@before", NULL, 0, &count, &err), VECDB_NOT_FOUND);
    assert_true(vecdb_result_hits(result)[1].vector[1] == 1.0f);
    vecdb_get_stats(db, &stats);
    assert_int_equal(stats.searches, 1); /* counted on after the snapshot is gone */
    assert_vecdb_ok(vecdb_drop_collection(db, "docs", &err), &err);
    assert_int_equal(vecdb_count(db, "docs@before", NULL, 0, &count, &err), VECDB_NOT_FOUND);
    vecdb_get_stats(db, &stats);
    assert_int_equal(stats.searches, 1);
    vecdb_close(db);
    assert_true(vecdb_result_hits(result)[0].vector[0] == 3.0f);
    assert_true(vecdb_result_hits(second)[0].score == 0.0);
    assert_true(vecdb_result_hits(second)[0].vector[1] == 1.0f);
    assert_memory_equal(vecdb_result_hits(second)[0].metadata, "{\"stamp\":1,", 11);
    vecdb_result_free(result);
    vecdb_result_free(second);
}

/* ---- What is refused ---- */

static void test_refused(void **state)
{
    static const struct {
        const char *name;
        vecdb_status status;
        const char *text;
    } reads[] = {
        {"docs@after", VECDB_NOT_FOUND, "collection \"docs\": snapshot \"after\": there is none of that name"},
        {"cats@before", VECDB_NOT_FOUND, "\"cats\""},
        {"@before", VECDB_NOT_FOUND, "\"\""},
        {"docs@", VECDB_INVALID, "empty"},
        {"docs@before@before", VECDB_INVALID, "illegal character"},
        {"docs@../docs", VECDB_INVALID, "illegal character"},
        {"docs@.", VECDB_INVALID, "illegal character"},
        {"docs@.new-before", VECDB_INVALID, "illegal character"},
        {"docs@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", VECDB_INVALID,
         "at most 64"},
        /* 64 and 65 characters: the second is not the first with one cut off. */
        {"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc@before", VECDB_NOT_FOUND, "before"},
        {"ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc@before", VECDB_NOT_FOUND,
         "does not exist"},
    };
    vecdb_error err;
    vecdb_collection_info info;
    vecdb_segment_info *segments;
    size_t segment_count;
    uint64_t count;
    vecdb_id id = vecdb_id_number(1);
    float vector[DIMENSION] = {1, 1, 1};
    vecdb_point point = {id, vector, DIMENSION, NULL, 0};
    vecdb *db = open_docs(*state, 1);
    vecdb_collection_config longest = {.name = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
                                       .dimension = DIMENSION,
                                       .metric = VECDB_L2};
    assert_vecdb_ok(vecdb_create_collection(db, &longest, &err), &err);
    assert_vecdb_ok(put_all(db, 1, &err), &err);
    assert_vecdb_ok(vecdb_snapshot_create(db, "docs", "before", NULL, &err), &err);
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        vecdb_result *result;
        vecdb_search_request request = {.vector = vector, .dimension = DIMENSION, .k = 1};
        struct scan scan = {.model = NULL};
        const vecdb_scan_options options = {.visit = scan_point, .ctx = &scan};
        assert_int_equal(vecdb_count(db, reads[i].name, NULL, 0, &count, &err), reads[i].status);
        if (strstr(err.message, reads[i].text) == NULL) {
            fail_msg("%s: %s", reads[i].name, err.message);
        }
        assert_int_equal(vecdb_get(db, reads[i].name, &id, 1, &result, &err), reads[i].status);
        assert_int_equal(vecdb_search(db, reads[i].name, &request, &result, &err), reads[i].status);
        assert_int_equal(vecdb_scan(db, reads[i].name, &options, &err), reads[i].status);
    }
    const char *snapshot = "docs@before";
    assert_vecdb_ok(vecdb_count(db, snapshot, NULL, 0, &count, &err), &err);
    assert_int_equal(vecdb_upsert(db, snapshot, &point, 1, NULL, &err), VECDB_INVALID);
    assert_non_null(strstr(err.message, "docs@before"));
    assert_int_equal(vecdb_delete(db, snapshot, &id, 1, NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_checkpoint(db, snapshot, &err), VECDB_INVALID);
    assert_int_equal(vecdb_compact(db, snapshot, NULL, NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_verify(db, snapshot, NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_get_collection(db, snapshot, &info, &err), VECDB_INVALID);
    assert_int_equal(vecdb_list_segments(db, snapshot, &segments, &segment_count, &err), VECDB_INVALID);
    assert_int_equal(vecdb_snapshot_create(db, snapshot, "again", NULL, &err), VECDB_INVALID);
    assert_int_equal(vecdb_snapshot_delete(db, snapshot, "before", &err), VECDB_INVALID);
    assert_int_equal(vecdb_promote(db, snapshot, &err), VECDB_INVALID);
    assert_int_equal(vecdb_drop_collection(db, snapshot, &err), VECDB_INVALID);
    assert_int_equal(vecdb_restore_snapshot(db, snapshot, "before", "nowhere", &err), VECDB_INVALID);
    vecdb_collection_config config = {.name = snapshot, .dimension = DIMENSION, .metric = VECDB_L2};
    assert_int_equal(vecdb_create_collection(db, &config, &err), VECDB_INVALID);
    assert_vecdb_ok(vecdb_count(db, snapshot, NULL, 0, &count, &err), &err);
    assert_int_equal(count, IDS);
    vecdb_close(db);
}

/* ---- Damage ---- */

static void flip_byte(const char *path, off_t at)
{
    unsigned char byte;
    int file = open(path, O_RDWR);
    assert_true(file >= 0);
    assert_int_equal(pread(file, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    close(file);
}

/* The only file in DIR/collections/docs/snapshots/before/FOLDER. */
static void find_file(const char *dir, const char *folder, const char *name, char out[400])
{
    snprintf(out, 400, "%s/collections/docs/snapshots/before/%s%s", dir, folder, name);
    assert_int_equal(access(out, R_OK), 0);
}

static void test_damage_is_named(void **state)
{
    static const struct {
        const char *folder;
        const char *file;
        off_t at;
    } places[] = {
        {"", "metadata.json", 20}, {"vectors/", "vectors_000000.bin", 4200}, {"meta/", "meta_000000.bin", 4200}};
    vecdb_error err;
    char path[400];
    char gone[410];
    struct model model;
    uint64_t count;
    struct scan scan = {.model = &model};
    const vecdb_scan_options options = {.visit = scan_point, .ctx = &scan};
    vecdb *db = open_docs(*state, 1);
    assert_vecdb_ok(put_all(db, 1, &err), &err);
    assert_vecdb_ok(vecdb_snapshot_create(db, "docs", "before", NULL, &err), &err);
    assert_vecdb_ok(put_all(db, 2, &err), &err);
    const vecdb_compact_options full = {.full = 1};
    assert_vecdb_ok(vecdb_checkpoint(db, "docs", &err), &err);
    assert_vecdb_ok(vecdb_compact(db, "docs", &full, NULL, &err), &err); /* its files are the snapshot's alone */
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        find_file(*state, places[i].folder, places[i].file, path);
        vecdb_close(db); /* what was checked once is not checked again while it is open */
        db = open_docs(*state, 0);
        flip_byte(path, places[i].at);
        for (unsigned n = 0; n < IDS; n++) {
            model.stamp[n] = 1;
        }
        scan = (struct scan){.model = &model};
        assert_int_equal(vecdb_scan(db, "docs@before", &options, &err), VECDB_CORRUPT);
        if (strstr(err.message, places[i].file) == NULL || strstr(err.message, "before") == NULL) {
            fail_msg("%s is not named: %s", places[i].file, err.message);
        }
        assert_int_equal(vecdb_verify(db, "docs", NULL, &err), VECDB_CORRUPT);
        for (unsigned n = 0; n < IDS; n++) {
            model.stamp[n] = 2;
        }
        expect_model(db, "docs", &model); /* the collection is none the worse */
        flip_byte(path, places[i].at);

        vecdb_close(db);
        db = open_docs(*state, 0);
        snprintf(gone, sizeof gone, "%s-gone", path);
        assert_int_equal(rename(path, gone), 0);
        assert_int_equal(vecdb_count(db, "docs@before", NULL, 0, &count, &err), VECDB_CORRUPT);
        if (strstr(err.message, places[i].file) == NULL || strstr(err.message, "before") == NULL) {
            fail_msg("%s is not named: %s", places[i].file, err.message);
        }
        assert_int_equal(rename(gone, path), 0);
        assert_vecdb_ok(vecdb_count(db, "docs@before", NULL, 0, &count, &err), &err); /* a failure is not kept */
    }
    vecdb_close(db);
}

/* ---- Threads ---- */

struct race {
    vecdb *db;
    atomic_bool stop;
    atomic_uint reads;
    atomic_uint absent;
    char failure[600]; /* of the one thread that sets `failed` first */
    atomic_bool failed;
};

static void fail_race(struct race *race, const char *text)
{
    if (!atomic_exchange(&race->failed, true)) {
        snprintf(race->failure, sizeof race->failure, "%s", text);
    }
    atomic_store(&race->stop, true);
}

/* A snapshot is made when all points have one stamp, so a read sees all of them with one, or that there is none. */
static void *read_at_snapshot(void *arg)
{
    struct race *race = arg;
    vecdb_id ids[IDS];
    for (unsigned i = 0; i < IDS; i++) {
        ids[i] = vecdb_id_number(i);
    }
    while (!atomic_load(&race->stop)) {
        vecdb_error err;
        vecdb_result *result;
        float query[DIMENSION] = {1, 2, 3};
        const vecdb_search_request request = {
            .vector = query, .dimension = DIMENSION, .k = IDS, .with_vector = 1};
        vecdb_status status = atomic_fetch_add(&race->reads, 1) % 2 == 0
                                  ? vecdb_get(race->db, "docs@s", ids, IDS, &result, &err)
                                  : vecdb_search(race->db, "docs@s", &request, &result, &err);
        if (status == VECDB_NOT_FOUND) {
            atomic_fetch_add(&race->absent, 1);
            continue;
        }
        if (status != VECDB_OK) {
            fail_race(race, err.message);
            break;
        }
        const vecdb_hit *hits = vecdb_result_hits(result);
        bool whole = vecdb_result_count(result) == IDS;
        for (unsigned i = 0; i < IDS && whole; i++) {
            whole = hits[i].vector[1] == hits[0].vector[1] && hits[i].metadata_bytes > 10;
        }
        vecdb_result_free(result);
        if (!whole) {
            fail_race(race, "a read saw two states");
        }
    }
    return NULL;
}

static void *write_on(void *arg)
{
    struct race *race = arg;
    vecdb_error err;
    const vecdb_compact_options full = {.full = 1};
    while (!atomic_load(&race->stop)) {
        if (vecdb_checkpoint(race->db, "docs", &err) != VECDB_OK ||
            vecdb_compact(race->db, "docs", &full, NULL, &err) != VECDB_OK) {
            fail_race(race, err.message);
        }
    }
    return NULL;
}

/* A snapshot that is deleted meanwhile is no damage. */
static void *verify_on(void *arg)
{
    struct race *race = arg;
    vecdb_error err;
    while (!atomic_load(&race->stop)) {
        if (vecdb_verify(race->db, NULL, NULL, &err) != VECDB_OK) {
            fail_race(race, err.message);
        }
    }
    return NULL;
}

/* One thread makes and deletes a snapshot of one name again and again, and sees what it just made; two read at it
 * meanwhile, one checkpoints and compacts, one verifies. */
static void test_threads(void **state)
{
    struct race race = {.db = open_docs(*state, 1)};
    pthread_t readers[2];
    pthread_t writer;
    pthread_t verifier;
    unsigned some[5] = {1, 2, 3, 5, 8};
    vecdb_error err;
    assert_vecdb_ok(put_all(race.db, 1, &err), &err);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_at_snapshot, &race), 0);
    }
    assert_int_equal(pthread_create(&writer, NULL, write_on, &race), 0);
    assert_int_equal(pthread_create(&verifier, NULL, verify_on, &race), 0);
    for (unsigned round = 2; round <= 120 && !atomic_load(&race.stop); round++) {
        vecdb_result *result;
        uint64_t count;
        vecdb_id id = vecdb_id_number(round % IDS);
        assert_vecdb_ok(put_all(race.db, round, &err), &err);
        assert_vecdb_ok(vecdb_checkpoint(race.db, "docs", &err), &err);
        assert_vecdb_ok(put(race.db, some, 5, round, &err),
                        &err); /* so that the snapshot has a bitmap of dead rows */
        assert_vecdb_ok(vecdb_snapshot_create(race.db, "docs", "s", NULL, &err), &err);
        assert_vecdb_ok(put_all(race.db, 1000 + round, &err), &err);
        assert_vecdb_ok(vecdb_get(race.db, "docs@s", &id, 1, &result, &err), &err);
        assert_true(vecdb_result_hits(result)[0].vector[1] == (float)round);
        assert_vecdb_ok(vecdb_snapshot_delete(race.db, "docs", "s", &err), &err);
        assert_true(vecdb_result_hits(result)[0].vector[1] == (float)round);
        vecdb_result_free(result);
        assert_int_equal(vecdb_count(race.db, "docs@s", NULL, 0, &count, &err), VECDB_NOT_FOUND);
    }
    atomic_store(&race.stop, true);
    pthread_join(readers[0], NULL);
    pthread_join(readers[1], NULL);
    pthread_join(writer, NULL);
    pthread_join(verifier, NULL);
    print_message("%u reads, %u found none\n", atomic_load(&race.reads), atomic_load(&race.absent));
    if (atomic_load(&race.failed)) {
        fail_msg("%s", race.failure);
    }
    assert_true(atomic_load(&race.absent) < atomic_load(&race.reads));
    vecdb_close(race.db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against_a_model, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_reading_writes_nothing, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_results_outlive_all, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_damage_is_named, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_threads, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
