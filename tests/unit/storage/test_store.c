/* test_store.c: a store against a naive model: batches, checkpoints, compactions, snapshots and reopens in random
 * order, with views that were pinned long before; then the same from several threads at once. */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "env/env_memory.h"
#include "storage/batch.h"
#include "storage/store.h"

enum { DIMENSION = 5, IDS = 60, OPS_MAX = 12, VIEWS = 6 };

static const struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = VDB_METRIC_L2};

/* Which write wrote each id last; 0: not there. */
struct model {
    uint32_t by_id[IDS];
};

static struct vdb_id id_of(unsigned n, char text[16])
{
    snprintf(text, 16, "id-%u", n);
    return n % 2 == 0 ? (struct vdb_id){.number = n} : (struct vdb_id){text, (uint32_t)strlen(text), 0};
}

static void vector_of(unsigned n, uint32_t stamp, float out[DIMENSION])
{
    for (unsigned i = 0; i < DIMENSION; i++) {
        out[i] = (float)(stamp * 8 + n * i + i);
    }
}

static int metadata_of(unsigned n, uint32_t stamp, char out[64])
{
    return snprintf(out, 64, n % 5 == 0 ? "{}" : "{\"n\":%u,\"stamp\":%u}", n, stamp);
}

/* A batch of random writes and deletes, in the model too. */
static void make_batch(struct vdb_rng *rng, struct model *model, uint32_t stamp, struct vdb_buf *payload)
{
    char text[16];
    vdb_buf_clear(payload);
    vdb_batch_begin(payload, DIMENSION);
    for (uint64_t left = 1 + vdb_rng_below(rng, OPS_MAX); left > 0; left--) {
        unsigned n = (unsigned)vdb_rng_below(rng, IDS);
        struct vdb_id id = id_of(n, text);
        if (vdb_rng_below(rng, 3) == 0) {
            vdb_batch_delete(payload, &id);
            model->by_id[n] = 0;
        } else {
            float vector[DIMENSION];
            char metadata[64];
            vector_of(n, stamp, vector);
            int bytes = metadata_of(n, stamp, metadata);
            vdb_batch_upsert(payload, &id, vector, DIMENSION, (struct vdb_str){metadata, (size_t)bytes});
            model->by_id[n] = stamp;
        }
    }
}

/* What the view shows, source by source, must be the model, each id once. */
static void check_view(const struct vdb_view *view, const struct model *model)
{
    struct vdb_err err = {0};
    struct model seen = {0};
    unsigned points = 0;
    for (uint32_t source = 0; source < vdb_view_sources(view); source++) {
        struct vdb_bitset visible = {0};
        struct vdb_view_meta reader;
        uint32_t rows = vdb_view_source_rows(view, source);
        uint32_t counted = 0;
        assert_true(vdb_bitset_init(&visible, rows));
        uint32_t filled = vdb_view_fill_visible(view, source, &visible);
        vdb_view_meta_init(&reader, view, source);
        for (uint32_t row = 0; row < rows; row++) {
            struct vdb_id id;
            const float *vector;
            struct vdb_str metadata;
            float expected[DIMENSION];
            char text[64];
            if (!vdb_bitset_test(&visible, row)) {
                continue;
            }
            counted++;
            assert_ok(vdb_view_id(view, source, row, &id, &err), &err);
            unsigned n = id.text != NULL ? (unsigned)strtoul(id.text + 3, NULL, 10) : (unsigned)id.number;
            assert_in_range(n, 0, IDS - 1);
            assert_int_equal(seen.by_id[n], 0); /* V1 */
            uint32_t stamp = model->by_id[n];
            assert_int_not_equal(stamp, 0);
            seen.by_id[n] = stamp;
            points++;
            vector_of(n, stamp, expected);
            assert_ok(vdb_view_vector(view, source, row, NULL, &vector, &err), &err);
            assert_memory_equal(vector, expected, sizeof expected);
            metadata_of(n, stamp, text);
            assert_ok(vdb_view_meta_read(&reader, row, &metadata, &err), &err);
            assert_true(vdb_str_is(metadata, text));
        }
        assert_int_equal(filled, counted);
        vdb_view_meta_fini(&reader);
        vdb_bitset_fini(&visible);
    }
    assert_memory_equal(&seen, model, sizeof seen);
    assert_int_equal(view->points, points);
}

static void check_find(struct vdb_store *store, const struct model *model)
{
    struct vdb_err err = {0};
    struct vdb_id ids[IDS];
    char texts[IDS][16];
    struct vdb_place places[IDS];
    struct vdb_view view;
    for (unsigned n = 0; n < IDS; n++) {
        ids[n] = id_of(n, texts[n]);
    }
    assert_ok(vdb_store_find(store, ids, IDS, &view, places, &err), &err);
    for (unsigned n = 0; n < IDS; n++) {
        assert_int_equal(places[n].source != VDB_SLOT_NONE, model->by_id[n] != 0);
        if (places[n].source != VDB_SLOT_NONE) {
            struct vdb_id id;
            assert_ok(vdb_view_id(&view, places[n].source, places[n].row, &id, &err), &err);
            assert_true(vdb_id_equal(&id, &ids[n]));
        }
    }
    vdb_view_release(&view);
}

/* ---- One thread, everything against the model ---- */

struct pinned {
    struct vdb_view view;
    struct model model;
};

struct world {
    struct vdb_env *env;
    struct vdb_store *store;
    struct vdb_rng rng;
    struct model model;
    struct model snapshot; /* of the one named "keep" */
    bool has_snapshot;
    struct pinned pinned[VIEWS];
    uint32_t stamp;
    struct vdb_buf payload;
};

static void release_views(struct world *w)
{
    for (int i = 0; i < VIEWS; i++) {
        if (w->pinned[i].view.version != NULL) {
            check_view(&w->pinned[i].view, &w->pinned[i].model); /* V2 */
            vdb_view_release(&w->pinned[i].view);
        }
    }
}

static void open_store(struct world *w)
{
    struct vdb_wal_options options = {.segment_bytes = 2000};
    struct vdb_err err = {0};
    assert_ok(vdb_store_open(w->env, "c", &options, &w->store, &err), &err);
}

static void write_once(struct world *w)
{
    struct vdb_err err = {0};
    uint64_t seq;
    make_batch(&w->rng, &w->model, ++w->stamp, &w->payload);
    assert_ok(vdb_store_write(w->store, w->payload.data, w->payload.bytes, &seq, NULL, &err), &err);
}

static void compact(struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_compact_result result;
    struct vdb_compact_options options = {.full = vdb_rng_below(&w->rng, 2) == 0};
    assert_ok(vdb_store_compact(w->store, &options, &result, &err), &err);
    if (options.full) {
        struct vdb_store_stats stats;
        vdb_store_get_stats(w->store, &stats);
        assert_true(stats.segments <= 1);
    }
}

static void check_snapshot(struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_store *store;
    struct vdb_view view;
    uint64_t seq;
    assert_ok(vdb_store_snapshot_open(w->env, "c", "keep", &store, &err), &err);
    vdb_store_pin(store, &view);
    check_view(&view, &w->snapshot);
    vdb_view_release(&view);
    check_find(store, &w->snapshot);
    assert_fails(vdb_store_write(store, w->payload.data, w->payload.bytes, &seq, NULL, &err), VDB_READ_ONLY, &err,
                 "snapshot");
    assert_fails(vdb_store_checkpoint(store, &err), VDB_READ_ONLY, &err, "snapshot");
    vdb_store_close(store, false);
}

static void snapshot(struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_snapshot_info info;
    if (w->has_snapshot) {
        check_snapshot(w);
        assert_fails(vdb_store_snapshot_create(w->store, "keep", &info, &err), VDB_EXISTS, &err, "keep");
        assert_ok(vdb_store_snapshot_delete(w->store, "keep", &err), &err);
        assert_fails(vdb_store_snapshot_delete(w->store, "keep", &err), VDB_NOT_FOUND, &err, "keep");
    } else {
        assert_ok(vdb_store_snapshot_create(w->store, "keep", &info, &err), &err);
        w->snapshot = w->model;
    }
    w->has_snapshot = !w->has_snapshot;
    struct vdb_snapshot_info *list;
    size_t count;
    assert_ok(vdb_store_snapshot_list(w->store, &list, &count, &err), &err);
    assert_int_equal(count, w->has_snapshot);
    free(list);
}

static void step(struct world *w)
{
    struct vdb_err err = {0};
    uint64_t dice = vdb_rng_below(&w->rng, 100);
    struct pinned *pinned = &w->pinned[vdb_rng_below(&w->rng, VIEWS)];
    if (dice < 60) {
        write_once(w);
    } else if (dice < 72) {
        assert_ok(vdb_store_checkpoint(w->store, &err), &err);
    } else if (dice < 80) {
        compact(w);
    } else if (dice < 84) {
        snapshot(w);
    } else if (dice < 87) {
        bool mark = vdb_rng_below(&w->rng, 2) == 0;
        release_views(w);
        vdb_store_close(w->store, mark);
        open_store(w);
    } else if (pinned->view.version != NULL) {
        check_view(&pinned->view, &pinned->model);
        vdb_view_release(&pinned->view);
    } else {
        vdb_store_pin(w->store, &pinned->view);
        pinned->model = w->model;
    }
}

static void test_against_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct vdb_err err = {0};
        struct world w = {.env = vdb_env_memory_create()};
        struct vdb_verify_result verified;
        struct vdb_view view;
        print_message("seed %llu\n", (unsigned long long)seed);
        vdb_rng_init(&w.rng, seed);
        assert_ok(vdb_store_create(w.env, "c", &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
        open_store(&w);
        for (int i = 0; i < 400; i++) {
            step(&w);
            if (i % 20 == 0) {
                check_find(w.store, &w.model);
                vdb_store_pin(w.store, &view);
                check_view(&view, &w.model);
                vdb_view_release(&view);
            }
        }
        assert_ok(vdb_store_verify(w.store, &verified, &err), &err);
        if (w.has_snapshot) {
            check_snapshot(&w);
            assert_ok(vdb_store_restore(w.env, "c/snapshots/keep", "r", false, &err), &err);
            vdb_store_close(w.store, true);
            release_views(&w);
            assert_ok(vdb_store_open(w.env, "r", NULL, &w.store, &err), &err);
            w.model = w.snapshot;
            check_find(w.store, &w.model);
            write_once(&w); /* a restored collection goes on */
            check_find(w.store, &w.model);
        }
        vdb_store_close(w.store, true);
        release_views(&w);
        vdb_buf_fini(&w.payload);
        vdb_env_memory_destroy(w.env);
    }
}

/* Nothing to do is nothing done; what is reclaimed is gone. */
static void test_compaction_reclaims(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct world w = {.env = vdb_env_memory_create()};
    struct vdb_compact_options options = {.full = true};
    struct vdb_compact_result result;
    struct vdb_store_stats before;
    struct vdb_store_stats after;
    char text[16];
    uint64_t seq;
    assert_ok(vdb_store_create(w.env, "c", &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    open_store(&w);
    assert_ok(vdb_store_checkpoint(w.store, &err), &err);
    assert_ok(vdb_store_compact(w.store, &options, &result, &err), &err);
    assert_int_equal(result.merged, 0);
    vdb_store_get_stats(w.store, &before);
    assert_int_equal(before.segments, 0);
    assert_int_equal(before.checkpoints, 0);

    for (unsigned round = 0; round < 3; round++) {
        vdb_buf_clear(&w.payload);
        vdb_batch_begin(&w.payload, DIMENSION);
        for (unsigned n = 0; n < IDS; n++) {
            float vector[DIMENSION];
            struct vdb_id id = id_of(n, text);
            vector_of(n, round + 1, vector);
            vdb_batch_upsert(&w.payload, &id, vector, DIMENSION, vdb_str_of("{}"));
        }
        assert_ok(vdb_store_write(w.store, w.payload.data, w.payload.bytes, &seq, NULL, &err), &err);
        assert_ok(vdb_store_checkpoint(w.store, &err), &err);
    }
    vdb_store_get_stats(w.store, &before);
    assert_int_equal(before.segments, 3);
    assert_int_equal(before.segment_rows, 3 * IDS);
    assert_int_equal(before.segment_dead, 2 * IDS);
    assert_ok(vdb_store_compact(w.store, &options, &result, &err), &err);
    assert_int_equal(result.merged, 3);
    assert_int_equal(result.rows_before, 3 * IDS);
    assert_int_equal(result.rows_after, IDS);
    vdb_store_get_stats(w.store, &after);
    assert_int_equal(after.segments, 1);
    assert_int_equal(after.segment_dead, 0);
    assert_int_equal(after.points, IDS);
    assert_true(after.segment_bytes < before.segment_bytes);

    vdb_buf_clear(&w.payload);
    vdb_batch_begin(&w.payload, DIMENSION);
    for (unsigned n = 0; n < IDS; n++) {
        struct vdb_id id = id_of(n, text);
        vdb_batch_delete(&w.payload, &id);
    }
    uint64_t changed;
    assert_ok(vdb_store_write(w.store, w.payload.data, w.payload.bytes, &seq, &changed, &err), &err);
    assert_int_equal(changed, IDS);
    assert_ok(vdb_store_compact(w.store, &options, &result, &err), &err);
    vdb_store_get_stats(w.store, &after);
    assert_int_equal(after.segments, 0);
    assert_int_equal(after.points, 0);
    vdb_store_close(w.store, true);
    open_store(&w);
    vdb_store_get_stats(w.store, &after);
    assert_int_equal(after.points, 0);
    vdb_store_close(w.store, true);
    vdb_buf_fini(&w.payload);
    vdb_env_memory_destroy(w.env);
}

/* A cancelled compaction leaves everything as it was. */
static void test_compaction_is_cancelled(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct world w = {.env = vdb_env_memory_create()};
    atomic_bool cancel = true;
    struct vdb_compact_options options = {.full = true, .cancel = &cancel};
    struct vdb_compact_result result;
    vdb_rng_init(&w.rng, 5);
    assert_ok(vdb_store_create(w.env, "c", &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    open_store(&w);
    for (int i = 0; i < 3; i++) {
        write_once(&w);
        assert_ok(vdb_store_checkpoint(w.store, &err), &err);
    }
    assert_fails(vdb_store_compact(w.store, &options, &result, &err), VDB_CANCELLED, &err, "compact");
    check_find(w.store, &w.model);
    cancel = false;
    assert_ok(vdb_store_compact(w.store, &options, &result, &err), &err);
    assert_int_equal(result.merged, 3);
    check_find(w.store, &w.model);
    vdb_store_close(w.store, true);
    vdb_buf_fini(&w.payload);
    vdb_env_memory_destroy(w.env);
}

/* ---- Threads ---- */

enum { WRITERS = 3, ROUNDS = 150 };

struct race {
    struct vdb_store *store;
    atomic_bool stop;
    _Atomic unsigned writers_left;
};

/* Each writer owns the ids n % WRITERS == its number and writes all of them, same stamp, in one batch. */
static void *writer(void *arg)
{
    static _Atomic unsigned next;
    struct race *race = arg;
    unsigned number = atomic_fetch_add(&next, 1) % WRITERS;
    struct vdb_buf payload = {0};
    struct vdb_err err = {0};
    char text[16];
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        uint64_t seq;
        vdb_buf_clear(&payload);
        vdb_batch_begin(&payload, DIMENSION);
        for (unsigned n = number; n < IDS; n += WRITERS) {
            struct vdb_id id = id_of(n, text);
            float vector[DIMENSION];
            char metadata[64];
            vector_of(n, round, vector);
            int bytes = metadata_of(n, round, metadata);
            if (round % 7 == 3) {
                vdb_batch_delete(&payload, &id);
            } else {
                vdb_batch_upsert(&payload, &id, vector, DIMENSION, (struct vdb_str){metadata, (size_t)bytes});
            }
        }
        assert_ok(vdb_store_write(race->store, payload.data, payload.bytes, &seq, NULL, &err), &err);
    }
    vdb_buf_fini(&payload);
    atomic_fetch_sub(&race->writers_left, 1);
    return NULL;
}

static void *maintainer(void *arg)
{
    struct race *race = arg;
    struct vdb_err err = {0};
    struct vdb_compact_result result;
    struct vdb_snapshot_info info;
    for (unsigned i = 0; atomic_load(&race->writers_left) > 0; i++) {
        struct vdb_compact_options options = {.full = i % 4 == 0};
        assert_ok(vdb_store_checkpoint(race->store, &err), &err);
        assert_ok(vdb_store_compact(race->store, &options, &result, &err), &err);
        if (i % 3 == 0) {
            assert_ok(vdb_store_snapshot_create(race->store, "s", &info, &err), &err);
            assert_ok(vdb_store_snapshot_delete(race->store, "s", &err), &err);
        }
    }
    return NULL;
}

/* A view shows, of each writer, one round whole: P2 and P3. */
static void *reader(void *arg)
{
    struct race *race = arg;
    while (atomic_load(&race->writers_left) > 0) {
        struct vdb_view view;
        struct model model = {0};
        struct vdb_err err = {0};
        vdb_store_pin(race->store, &view);
        for (uint32_t source = 0; source < vdb_view_sources(&view); source++) {
            struct vdb_bitset visible = {0};
            uint32_t rows = vdb_view_source_rows(&view, source);
            assert_true(vdb_bitset_init(&visible, rows));
            (void)vdb_view_fill_visible(&view, source, &visible);
            for (uint32_t row = 0; row < rows; row++) {
                struct vdb_id id;
                const float *vector;
                if (vdb_bitset_test(&visible, row)) {
                    assert_ok(vdb_view_id(&view, source, row, &id, &err), &err);
                    assert_ok(vdb_view_vector(&view, source, row, NULL, &vector, &err), &err);
                    unsigned n = id.text != NULL ? (unsigned)strtoul(id.text + 3, NULL, 10) : (unsigned)id.number;
                    assert_int_equal(model.by_id[n], 0);
                    model.by_id[n] = (uint32_t)vector[0] / 8;
                }
            }
            vdb_bitset_fini(&visible);
        }
        for (unsigned n = 0; n < IDS; n++) {
            assert_int_equal(model.by_id[n], model.by_id[n % WRITERS]);
        }
        check_view(&view, &model);
        vdb_view_release(&view);
    }
    return NULL;
}

static void test_races(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    struct race race = {.writers_left = WRITERS};
    pthread_t threads[WRITERS + 3];
    struct vdb_wal_options options = {.segment_bytes = 20000};
    assert_ok(vdb_store_create(env, "c", &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    assert_ok(vdb_store_open(env, "c", &options, &race.store, &err), &err);
    for (int i = 0; i < WRITERS + 3; i++) {
        void *(*work)(void *) = i < WRITERS ? writer : i == WRITERS ? maintainer : reader;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &race), 0);
    }
    for (int i = 0; i < WRITERS + 3; i++) {
        pthread_join(threads[i], NULL);
    }
    struct model model;
    for (unsigned n = 0; n < IDS; n++) {
        model.by_id[n] = ROUNDS % 7 == 3 ? 0 : ROUNDS;
    }
    check_find(race.store, &model);
    vdb_store_close(race.store, true);
    assert_ok(vdb_store_open(env, "c", NULL, &race.store, &err), &err);
    check_find(race.store, &model);
    vdb_store_close(race.store, true);
    vdb_env_memory_destroy(env);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_compaction_reclaims),
        cmocka_unit_test(test_compaction_is_cancelled),
        cmocka_unit_test(test_races),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
