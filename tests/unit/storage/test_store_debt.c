/* test_store_debt.c: the compaction debt is what compactions then read: compared with merges that are really made. */
#include "support.h"

#include <stdlib.h>

#include "base/log.h"
#include "env/env_memory.h"
#include "storage/batch.h"
#include "storage/store.h"

enum { DIMENSION = 4, ROWS = 30, SEGMENTS_MAX = 40 };

static const struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = VDB_METRIC_L2};

static const struct vdb_compact_options due = {0};

struct world {
    struct vdb_env *env;
    struct vdb_store *store;
    struct vdb_buf payload;
    struct vdb_err err;
    uint64_t next_id;
};

static void begin(struct world *w)
{
    *w = (struct world){.env = vdb_env_memory_create()};
    assert_non_null(w->env);
    assert_ok(vdb_store_create(w->env, "c", &schema, &(struct vdb_index_config){.type = "flat"}, &w->err),
              &w->err);
    assert_ok(vdb_store_open(w->env, "c", NULL, &w->store, &w->err), &w->err);
}

static void finish(struct world *w)
{
    vdb_store_close(w->store, true);
    vdb_buf_fini(&w->payload);
    vdb_env_memory_destroy(w->env);
}

static void write_payload(struct world *w)
{
    uint64_t seq;
    assert_false(w->payload.failed);
    assert_ok(vdb_store_write(w->store, w->payload.data, w->payload.bytes, &seq, NULL, &w->err), &w->err);
}

/* A segment of `rows` new points; returns the first one's id. */
static uint64_t add_segment(struct world *w, unsigned rows)
{
    const float vector[DIMENSION] = {1, 2, 3, 4};
    uint64_t first = w->next_id;
    vdb_buf_clear(&w->payload);
    vdb_batch_begin(&w->payload, DIMENSION);
    for (unsigned i = 0; i < rows; i++) {
        struct vdb_id id = {.number = w->next_id++};
        vdb_batch_upsert(&w->payload, &id, vector, DIMENSION, vdb_str_of("{\"a\":1}"));
    }
    write_payload(w);
    assert_ok(vdb_store_checkpoint(w->store, &w->err), &w->err);
    return first;
}

static void delete_points(struct world *w, uint64_t first, unsigned count)
{
    vdb_buf_clear(&w->payload);
    vdb_batch_begin(&w->payload, DIMENSION);
    for (unsigned i = 0; i < count; i++) {
        struct vdb_id id = {.number = first + i};
        vdb_batch_delete(&w->payload, &id);
    }
    write_payload(w);
}

/* Fills bytes with the sizes of the segments, in order; returns how many there are. */
static uint32_t sizes_of(struct world *w, uint64_t bytes[SEGMENTS_MAX])
{
    struct vdb_view view;
    vdb_store_pin(w->store, &view);
    uint32_t count = view.version->segment_count;
    assert_in_range(count, 0, SEGMENTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const struct vdb_segment_info *info = vdb_segment_info(view.version->segments[i]);
        bytes[i] = info->vectors.bytes + info->meta.bytes;
    }
    vdb_view_release(&view);
    return count;
}

static uint64_t debt_of(struct world *w)
{
    uint64_t debt = vdb_store_compaction_debt(w->store);
    assert_int_equal(vdb_store_wants_compaction(w->store), debt > 0);
    return debt;
}

/* One merge; returns the bytes that it read. */
static uint64_t compact(struct world *w)
{
    struct vdb_compact_result result;
    assert_ok(vdb_store_compact(w->store, &due, &result, &w->err), &w->err);
    return result.merged > 0 ? result.bytes_before : 0;
}

static void test_one_tier(void **state)
{
    (void)state;
    struct world w;
    uint64_t bytes[SEGMENTS_MAX];
    begin(&w);
    assert_int_equal(debt_of(&w), 0); /* empty */
    for (int i = 0; i < 3; i++) {
        add_segment(&w, ROWS);
        assert_int_equal(debt_of(&w), 0); /* not yet four */
    }
    add_segment(&w, ROWS * 3);
    assert_int_equal(sizes_of(&w, bytes), 4);
    uint64_t debt = debt_of(&w);
    assert_int_equal(debt, bytes[0] + bytes[1] + bytes[2] + bytes[3]);
    assert_int_equal(compact(&w), debt);
    assert_int_equal(sizes_of(&w, bytes), 1);
    assert_int_equal(debt_of(&w), 0);
    assert_int_equal(compact(&w), 0);
    finish(&w);
}

/* A third dead is a debt of the whole segment; a little less is none. */
static void test_dead_rows(void **state)
{
    (void)state;
    struct world w;
    uint64_t bytes[SEGMENTS_MAX];
    begin(&w);
    uint64_t first = add_segment(&w, ROWS);
    delete_points(&w, first, ROWS / 3);
    assert_int_equal(debt_of(&w), 0);
    delete_points(&w, first + ROWS / 3, 1);
    assert_int_equal(sizes_of(&w, bytes), 1);
    assert_int_equal(debt_of(&w), bytes[0]);
    assert_int_equal(compact(&w), bytes[0]);
    assert_int_equal(debt_of(&w), 0);
    delete_points(&w, first, ROWS); /* nothing is left, and nothing comes out */
    assert_int_equal(sizes_of(&w, bytes), 1);
    assert_int_equal(debt_of(&w), bytes[0]);
    assert_int_equal(compact(&w), bytes[0]);
    assert_int_equal(sizes_of(&w, bytes), 0);
    assert_int_equal(debt_of(&w), 0);
    finish(&w);
}

/* More than one merge takes at a time: what the first makes goes into the second, at the bytes of its live rows. */
static void test_cascade(void **state)
{
    (void)state;
    enum { FIRST = 16, ALL = 20 }; /* TIER_SEGMENTS_MAX of compact.c */
    struct world w;
    uint64_t bytes[SEGMENTS_MAX];
    uint64_t at_first = 0;
    uint64_t left = 0;
    begin(&w);
    uint64_t first = add_segment(&w, ROWS);
    for (int i = 1; i < ALL; i++) {
        add_segment(&w, ROWS);
    }
    delete_points(&w, first, ROWS / 2); /* of the first segment one half */
    assert_int_equal(sizes_of(&w, bytes), ALL);
    for (int i = 0; i < ALL; i++) {
        *(i < FIRST ? &at_first : &left) += bytes[i];
    }
    uint64_t debt = debt_of(&w);
    assert_int_equal(debt, at_first + (at_first - bytes[0] / 2 + left));
    assert_int_equal(compact(&w), at_first); /* exact */
    assert_int_equal(sizes_of(&w, bytes), ALL - FIRST + 1);
    uint64_t rest = debt_of(&w);
    assert_int_equal(rest, left + bytes[ALL - FIRST]); /* the real output in place of the estimate */
    assert_true(rest > 0 && rest < debt);
    assert_int_equal(compact(&w), rest);
    assert_int_equal(debt_of(&w), 0);
    assert_int_equal(compact(&w), 0);
    finish(&w);
}

/* Segments of different tiers: a large one takes no part. */
static void test_tiers(void **state)
{
    (void)state;
    struct world w;
    uint64_t bytes[SEGMENTS_MAX];
    begin(&w);
    uint64_t large = add_segment(&w, 10000);
    add_segment(&w, 10000);
    add_segment(&w, 10000);
    assert_int_equal(sizes_of(&w, bytes), 3);
    struct vdb_compact_options full = {.full = true};
    struct vdb_compact_result result;
    assert_ok(vdb_store_compact(w.store, &full, &result, &w.err), &w.err);
    assert_int_equal(sizes_of(&w, bytes), 1);
    assert_true(bytes[0] > 1 << 20); /* past the first tier */
    uint64_t small = 0;
    for (int i = 0; i < 4; i++) {
        add_segment(&w, ROWS);
        assert_int_equal(sizes_of(&w, bytes), i + 2);
        small += bytes[i + 1];
    }
    assert_int_equal(debt_of(&w), small);
    delete_points(&w, large, 10000);
    delete_points(&w, large + 10000, 1); /* a third, and one */
    assert_int_equal(debt_of(&w), small + bytes[0]);
    assert_int_equal(compact(&w), small);
    assert_int_equal(debt_of(&w), bytes[0]);
    assert_int_equal(compact(&w), bytes[0]);
    assert_int_equal(debt_of(&w), 0);
    finish(&w);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_tier),
        cmocka_unit_test(test_dead_rows),
        cmocka_unit_test(test_cascade),
        cmocka_unit_test(test_tiers),
    };
    return cmocka_run_group_tests_name("storage/store_debt", tests, NULL, NULL);
}
