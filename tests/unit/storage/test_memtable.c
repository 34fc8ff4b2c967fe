/* test_memtable.c: M1..M5 of memtable.h against a naive multi-version model. With threads: test_memtable_threads.c.
 *
 * The model keeps the whole state after every batch. A view pinned then must show exactly that state for ever
 * after, while writes go on: at the end all views of the run are read once more.
 */
#include "support.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/rng.h"
#include "memtable_world.h"

/* What a view shows: by_id[n] is the value of id n, or 0. Checks rows, vectors, M4 and the counts on the way. */
static void read_view(const struct vdb_memtable_view *view, uint32_t dimension, unsigned by_id[IDS])
{
    uint32_t seen = 0;
    float *expected = malloc(dimension * sizeof *expected);
    memset(by_id, 0, IDS * sizeof *by_id);
    for (uint32_t slot = 0; slot < view->slot_count; slot++) {
        if (!vdb_slot_visible(view, slot)) {
            continue;
        }
        const struct vdb_row *row = vdb_slot_row(view, slot);
        unsigned n;
        unsigned v;
        char metadata[METADATA_BYTES];
        char text[VDB_LIMIT_ID_BYTES_MAX];
        assert_true(row->metadata.bytes < METADATA_BYTES);
        memcpy(metadata, row->metadata.data, row->metadata.bytes);
        metadata[row->metadata.bytes] = '\0';
        assert_int_equal(sscanf(metadata, "{\"n\":%u,\"v\":%u}", &n, &v), 2);
        assert_true(n < IDS);
        struct vdb_id id = make_id(n, text);
        assert_true(vdb_id_equal(&row->id, &id));
        assert_int_equal(by_id[n], 0); /* M4 */
        by_id[n] = v;
        make_row(n, v, dimension, expected, metadata);
        assert_memory_equal(vdb_slot_vector(view, slot), expected, dimension * sizeof *expected);
        assert_int_equal((uintptr_t)vdb_slot_vector(view, slot) % 64, 0);
        seen++;
    }
    assert_int_equal(seen + view->dead_count, view->slot_count);
    check_bitmap(view);
    free(expected);
}

static unsigned count_of(const unsigned by_id[IDS])
{
    unsigned count = 0;
    for (unsigned n = 0; n < IDS; n++) {
        count += by_id[n] != 0 ? 1 : 0;
    }
    return count;
}

/* The padding behind each vector is zero: kernels may read whole registers. */
static void check_padding(const struct vdb_memtable_view *view, uint32_t dimension)
{
    for (uint32_t slot = 0; slot < view->slot_count; slot++) {
        const unsigned char *vector = (const unsigned char *)vdb_slot_vector(view, slot);
        for (size_t at = dimension * sizeof(float); at < view->stride_bytes; at++) {
            assert_int_equal(vector[at], 0);
        }
    }
}

/* Checks what is found for every id and one that is never there, against the model's state. */
static void check_find(struct vdb_memtable *memtable, const unsigned by_id[IDS], uint32_t dimension)
{
    char texts[IDS + 1][VDB_LIMIT_ID_BYTES_MAX];
    struct vdb_id ids[IDS + 1];
    uint32_t slots[IDS + 1];
    struct vdb_memtable_view view;
    float *expected = malloc(dimension * sizeof *expected);
    for (unsigned n = 0; n <= IDS; n++) {
        ids[n] = make_id(n, texts[n]);
    }
    ids[IDS] = (struct vdb_id){.number = UINT64_MAX};
    assert_true(find(memtable, ids, IDS + 1, &view, slots));
    for (unsigned n = 0; n < IDS; n++) {
        assert_int_equal(slots[n] != VDB_SLOT_NONE, by_id[n] != 0);
        if (by_id[n] != 0) {
            char metadata[METADATA_BYTES];
            make_row(n, by_id[n], dimension, expected, metadata);
            assert_true(vdb_str_is(vdb_slot_row(&view, slots[n])->metadata, metadata));
            assert_memory_equal(vdb_slot_vector(&view, slots[n]), expected, dimension * sizeof *expected);
        }
    }
    assert_int_equal(slots[IDS], VDB_SLOT_NONE);
    free(expected);
}

struct moment {
    struct vdb_memtable_view view;
    unsigned by_id[IDS];
};

/* One random batch of batch number b; applies it to by_id and counts what changes. */
static uint64_t make_batch(struct vdb_rng *rng, struct vdb_buf *batch, unsigned *value, uint32_t dimension,
                           unsigned by_id[IDS])
{
    uint64_t changed = 0;
    unsigned ops = 1 + (unsigned)vdb_rng_below(rng, 12);
    vdb_buf_clear(batch);
    vdb_batch_begin(batch, dimension);
    for (unsigned i = 0; i < ops; i++) {
        unsigned n = (unsigned)vdb_rng_below(rng, IDS);
        if (vdb_rng_below(rng, 3) == 0) {
            put_delete(batch, n);
            changed += by_id[n] != 0 ? 1 : 0;
            by_id[n] = 0;
        } else {
            put_upsert(batch, n, ++*value, dimension);
            by_id[n] = *value;
            changed++;
        }
    }
    return changed;
}

static void run_model(uint64_t seed, uint32_t dimension, unsigned batches)
{
    struct vdb_rng rng;
    struct vdb_buf batch = {0};
    struct vdb_memtable *memtable = vdb_memtable_create(dimension);
    struct moment *moments = calloc(batches + 1, sizeof *moments);
    unsigned value = 0;
    uint64_t seq = 0;
    uint64_t upserted = 0;
    vdb_rng_init(&rng, seed);
    vdb_memtable_pin(memtable, &moments[0].view);
    for (unsigned b = 1; b <= batches; b++) {
        struct moment *now = &moments[b];
        memcpy(now->by_id, moments[b - 1].by_id, sizeof now->by_id);
        unsigned before = value;
        uint64_t changed = make_batch(&rng, &batch, &value, dimension, now->by_id);
        upserted += value - before;
        seq += 1 + vdb_rng_below(&rng, 3); /* marks in the log use numbers too */
        assert_int_equal(write_batch(memtable, &batch, seq), changed);
        vdb_memtable_pin(memtable, &now->view);
        assert_true(now->view.seq == seq);
        unsigned by_id[IDS];
        read_view(&now->view, dimension, by_id);
        if (memcmp(by_id, now->by_id, sizeof by_id) != 0) {
            fail_msg("seed %llu: wrong state after batch %u", (unsigned long long)seed, b);
        }
        /* An old view stays what it was. */
        const struct moment *old = &moments[vdb_rng_below(&rng, b)];
        read_view(&old->view, dimension, by_id);
        assert_memory_equal(by_id, old->by_id, sizeof by_id);
        if (b % 10 == 0) {
            struct vdb_memtable_stats stats;
            check_find(memtable, now->by_id, dimension);
            vdb_memtable_get_stats(memtable, &stats);
            assert_int_equal(stats.live, count_of(now->by_id));
            assert_int_equal(stats.live + stats.dead, upserted);
            assert_true(stats.last_seq == seq);
            assert_true(stats.memory_bytes >= upserted * dimension * sizeof(float));
        }
    }
    for (unsigned b = 0; b <= batches; b++) {
        unsigned by_id[IDS];
        read_view(&moments[b].view, dimension, by_id);
        assert_memory_equal(by_id, moments[b].by_id, sizeof by_id);
    }
    check_padding(&moments[batches].view, dimension);
    vdb_memtable_unref(memtable);
    vdb_buf_fini(&batch);
    free(moments);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        run_model(seed, 1 + (uint32_t)(seed % 20), 120);
    }
    run_model(100, 5, 800);
}

/* Wide rows make small chunks, so that the arrays of chunks grow many times under pinned views (M5). */
static void test_model_over_many_chunks(void **state)
{
    (void)state;
    run_model(7, 65536, 30);
    run_model(8, 8191, 150);
}

static struct vdb_row *row_of(struct vdb_memtable *memtable, unsigned n, struct vdb_memtable_view *view)
{
    char text[VDB_LIMIT_ID_BYTES_MAX];
    struct vdb_id id = make_id(n, text);
    uint32_t slot;
    assert_true(find(memtable, &id, 1, view, &slot));
    return slot != VDB_SLOT_NONE ? vdb_slot_row(view, slot) : NULL;
}

/* One id several times in a batch: the last stands, and no view ever sees the others. */
static void test_one_id_twice_in_a_batch(void **state)
{
    (void)state;
    enum { UPSERT, DELETE };
    static const struct {
        int ops[4];
        int count;
        bool there_before;
        unsigned value; /* that stands after; the i-th operation writes value i + 1 */
        uint64_t changed;
    } cases[] = {
        {{UPSERT, UPSERT}, 2, false, 2, 2},
        {{UPSERT, UPSERT}, 2, true, 2, 2},
        {{UPSERT, DELETE}, 2, false, 0, 2},
        {{UPSERT, DELETE}, 2, true, 0, 2},
        {{DELETE, UPSERT}, 2, false, 2, 1},
        {{DELETE, UPSERT}, 2, true, 2, 2},
        {{DELETE, DELETE}, 2, false, 0, 0},
        {{DELETE, DELETE}, 2, true, 0, 1},
        {{UPSERT, DELETE, UPSERT, UPSERT}, 4, true, 4, 4},
        {{UPSERT, DELETE, UPSERT, DELETE}, 4, true, 0, 4},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct vdb_buf batch = {0};
        struct vdb_memtable *memtable = vdb_memtable_create(4);
        struct moment before = {0};
        struct moment after = {0};
        if (cases[c].there_before) {
            vdb_batch_begin(&batch, 4);
            put_upsert(&batch, 1, 99, 4);
            assert_int_equal(write_batch(memtable, &batch, 1), 1);
            vdb_buf_clear(&batch);
        }
        vdb_memtable_pin(memtable, &before.view);
        vdb_batch_begin(&batch, 4);
        for (int i = 0; i < cases[c].count; i++) {
            if (cases[c].ops[i] == UPSERT) {
                put_upsert(&batch, 1, (unsigned)i + 1, 4);
            } else {
                put_delete(&batch, 1);
            }
        }
        assert_int_equal(write_batch(memtable, &batch, 2), cases[c].changed);
        vdb_memtable_pin(memtable, &after.view);
        read_view(&after.view, 4, after.by_id);
        assert_int_equal(after.by_id[1], cases[c].value);
        assert_int_equal(count_of(after.by_id), cases[c].value != 0 ? 1 : 0);
        read_view(&before.view, 4, before.by_id);
        assert_int_equal(before.by_id[1], cases[c].there_before ? 99 : 0);
        check_find(memtable, after.by_id, 4);
        vdb_memtable_unref(memtable);
        vdb_buf_fini(&batch);
    }
}

/* M1 and M2: what happens to a row, seen at the row. */
static void test_life_of_a_row(void **state)
{
    (void)state;
    struct vdb_buf batch = {0};
    struct vdb_memtable_view view;
    struct vdb_memtable *memtable = vdb_memtable_create(2);
    vdb_batch_begin(&batch, 2);
    put_upsert(&batch, 4, 1, 2);
    write_batch(memtable, &batch, 10);
    struct vdb_row *row = row_of(memtable, 4, &view);
    assert_int_equal(row->seq_from, 10);
    assert_true(atomic_load(&row->seq_to) == VDB_SEQ_LIVE);
    struct vdb_id id = row->id;
    struct vdb_str metadata = row->metadata;
    vdb_buf_clear(&batch);
    vdb_batch_begin(&batch, 2);
    put_upsert(&batch, 4, 2, 2);
    write_batch(memtable, &batch, 12);
    assert_int_equal(atomic_load(&row->seq_to), 12);
    assert_ptr_equal(row->id.text, id.text); /* M1: the rest is as it was */
    assert_ptr_equal(row->metadata.data, metadata.data);
    assert_int_equal(row->seq_from, 10);
    vdb_buf_clear(&batch);
    vdb_batch_begin(&batch, 2);
    put_delete(&batch, 4);
    write_batch(memtable, &batch, 13);
    assert_int_equal(atomic_load(&row->seq_to), 12); /* set once */
    assert_null(row_of(memtable, 4, &view));
    for (uint64_t seq = 9; seq < 16; seq++) { /* M2 at each number */
        view.seq = seq;
        assert_int_equal(vdb_slot_visible(&view, 0), seq >= 10 && seq < 12);
        assert_int_equal(vdb_slot_visible(&view, 1), seq == 12);
    }
    vdb_memtable_unref(memtable);
    vdb_buf_fini(&batch);
}

static void test_empty_memtable(void **state)
{
    (void)state;
    struct vdb_memtable *memtable = vdb_memtable_create(3);
    struct vdb_memtable_view view;
    struct vdb_memtable_stats stats;
    struct vdb_id id = {.number = 1};
    uint32_t slot = 5;
    vdb_memtable_pin(memtable, &view);
    assert_int_equal(view.slot_count, 0);
    assert_int_equal(view.seq, 0);
    assert_int_equal(view.stride_bytes, 64);
    assert_true(find(memtable, &id, 1, &view, &slot));
    assert_int_equal(slot, VDB_SLOT_NONE);
    vdb_memtable_get_stats(memtable, &stats);
    assert_int_equal(stats.live + stats.dead + stats.memory_bytes, 0);
    vdb_memtable_discard(memtable, NULL);
    vdb_memtable_unref(memtable);
    vdb_memtable_unref(NULL);
}

/* A batch that cannot be staged leaves nothing behind, wherever in it the fault is. */
static void test_failed_stage_leaves_nothing(void **state)
{
    (void)state;
    struct vdb_buf batch = {0};
    struct vdb_err err = {0};
    struct vdb_staged *staged = NULL;
    struct vdb_memtable_view before;
    struct vdb_memtable_view after;
    struct vdb_memtable_stats stats_before;
    struct vdb_memtable_stats stats_after;
    struct vdb_memtable *memtable = vdb_memtable_create(2);
    vdb_batch_begin(&batch, 2);
    put_upsert(&batch, 1, 1, 2);
    write_batch(memtable, &batch, 1);
    vdb_memtable_pin(memtable, &before);
    vdb_memtable_get_stats(memtable, &stats_before);
    vdb_buf_clear(&batch);
    vdb_batch_begin(&batch, 2);
    for (unsigned n = 0; n < 30; n++) {
        put_upsert(&batch, n, 2, 2);
    }
    put_delete(&batch, 3);
    for (size_t bytes = 0; bytes < batch.bytes; bytes++) {
        assert_fails(vdb_memtable_stage(memtable, batch.data, bytes, &staged, &err), VDB_CORRUPT, &err,
                     "batch: ");
        assert_null(staged);
    }
    struct vdb_memtable *other = vdb_memtable_create(3);
    assert_fails(vdb_memtable_stage(other, batch.data, batch.bytes, &staged, &err), VDB_CORRUPT, &err,
                 "dimension 2, the collection has 3");
    vdb_memtable_unref(other);
    vdb_memtable_pin(memtable, &after);
    vdb_memtable_get_stats(memtable, &stats_after);
    assert_memory_equal(&stats_before, &stats_after, sizeof stats_after);
    assert_int_equal(after.slot_count, before.slot_count);
    vdb_memtable_unref(memtable);
    vdb_buf_fini(&batch);
}

/* Staged batches show nothing; discarded ones take nothing with them; several may be staged at once and be
 * published in another order than they were staged in. */
static void test_discard_and_many_staged(void **state)
{
    (void)state;
    enum { STAGED = 60, OPS = 500 };
    struct vdb_memtable *memtable = vdb_memtable_create(2);
    struct vdb_buf batches[STAGED] = {{0}};
    struct vdb_staged *staged[STAGED];
    struct vdb_memtable_stats stats;
    struct vdb_memtable_view view;
    struct vdb_err err = {0};
    for (unsigned b = 0; b < STAGED; b++) {
        vdb_batch_begin(&batches[b], 2);
        for (unsigned i = 0; i < OPS; i++) {
            struct vdb_id id = {.number = b * OPS + i};
            vdb_batch_upsert(&batches[b], &id, (const float[]){(float)b, (float)i}, 2, vdb_str_of("{}"));
        }
        assert_ok(vdb_memtable_stage(memtable, batches[b].data, batches[b].bytes, &staged[b], &err), &err);
    }
    vdb_memtable_pin(memtable, &view);
    assert_int_equal(view.slot_count, 0);
    uint64_t seq = 0;
    for (unsigned i = 0; i < STAGED; i++) {
        unsigned b = STAGED - 1 - i;
        if (b % 3 == 0) {
            vdb_memtable_discard(memtable, staged[b]);
        } else {
            assert_int_equal(vdb_memtable_publish(memtable, staged[b], ++seq, NULL, NULL), OPS);
        }
        vdb_memtable_pin(memtable, &view);
        assert_int_equal(view.slot_count, seq * OPS);
    }
    vdb_memtable_get_stats(memtable, &stats);
    assert_int_equal(stats.live, STAGED / 3 * 2 * OPS);
    assert_int_equal(stats.dead, 0);
    for (unsigned b = 0; b < STAGED; b++) {
        for (unsigned i = 0; i < OPS; i++) {
            struct vdb_id id = {.number = b * OPS + i};
            uint32_t slot;
            assert_true(find(memtable, &id, 1, &view, &slot));
            assert_int_equal(slot != VDB_SLOT_NONE, b % 3 != 0);
            if (slot != VDB_SLOT_NONE) {
                assert_true(vdb_slot_vector(&view, slot)[0] == (float)b);
                assert_true(vdb_slot_vector(&view, slot)[1] == (float)i);
            }
        }
        vdb_buf_fini(&batches[b]);
    }
    vdb_memtable_unref(memtable);
}

/* The bitmap over many of its chunks, quick and slow: views at every stage, and ones whose number lies before what was
 * written since, which a checkpoint has of the memtable that it freezes. */
static void test_bitmap_over_many_chunks(void **state)
{
    (void)state;
    enum { BATCHES = 20, OPS = 5000, KEPT = BATCHES };
    struct vdb_memtable *memtable = vdb_memtable_create(1);
    struct vdb_buf batch = {0};
    struct vdb_memtable_view views[KEPT];
    struct vdb_rng rng;
    vdb_rng_init(&rng, 4);
    for (unsigned b = 0; b < BATCHES; b++) {
        vdb_batch_begin(&batch, 1);
        for (unsigned i = 0; i < OPS; i++) {
            struct vdb_id id = {.number = b * OPS + i};
            if (b > 0 && i % 9 == 4) { /* an older one again, or away with it */
                id.number = vdb_rng_below(&rng, b * OPS);
            }
            if (b > 0 && i % 18 == 4) {
                vdb_batch_delete(&batch, &id);
            } else {
                vdb_batch_upsert(&batch, &id, (const float[]){(float)i}, 1, vdb_str_of("{}"));
            }
        }
        write_batch(memtable, &batch, (b + 1) * 10);
        vdb_buf_clear(&batch);
        vdb_memtable_pin(memtable, &views[b]);
        check_bitmap(&views[b]);
    }
    assert_true(views[KEPT - 1].slot_count > 2 << 15 && views[KEPT - 1].dead_count > 1000);
    for (unsigned b = 0; b < KEPT; b++) {
        check_bitmap(&views[b]); /* what ended since ended after it */
        assert_int_equal(views[b].seq, (b + 1) * 10);
        struct vdb_memtable_view at = views[KEPT - 1];
        for (int off = -1; off <= 1; off++) {
            at.seq = (uint64_t)((int)views[b].seq + off); /* rows that begin later are not there yet */
            check_bitmap(&at);
        }
    }
    vdb_memtable_unref(memtable);
    vdb_buf_fini(&batch);
}

struct counted {
    struct vdb_companion companion;
    unsigned destroyed;
};

static void count_destroyed(struct vdb_companion *companion)
{
    ((struct counted *)(void *)companion)->destroyed++;
}

/* A companion comes once, and goes with the memtable. */
static void test_companion(void **state)
{
    (void)state;
    struct counted first = {.companion = {.refs = 1, .destroy = count_destroyed}};
    struct counted second = {.companion = {.refs = 1, .destroy = count_destroyed}};
    struct vdb_memtable *memtable = vdb_memtable_create(2);
    assert_null(vdb_memtable_companion(memtable));
    assert_true(vdb_memtable_set_companion(memtable, &first.companion));
    assert_false(vdb_memtable_set_companion(memtable, &second.companion));
    assert_int_equal(atomic_load(&second.companion.refs), 1); /* still the caller's */
    assert_ptr_equal(vdb_memtable_companion(memtable), &first.companion);
    vdb_companion_ref(vdb_memtable_companion(memtable));
    vdb_memtable_unref(memtable);
    assert_int_equal(first.destroyed, 0);
    vdb_companion_unref(&first.companion);
    assert_int_equal(first.destroyed, 1);
    vdb_companion_unref(&second.companion);
    assert_int_equal(second.destroyed, 1);
    vdb_companion_ref(NULL);
    vdb_companion_unref(NULL);
}

/* What a discarded batch had reserved is there for the next one: staging it for ever takes no more memory. */
static void test_discard_gives_back(void **state)
{
    (void)state;
    struct vdb_memtable *memtable = vdb_memtable_create(8191); /* chunks of 64 rows */
    struct vdb_buf batch = {0};
    struct vdb_memtable_stats first;
    struct vdb_memtable_stats stats;
    struct vdb_err err = {0};
    vdb_batch_begin(&batch, 8191);
    for (unsigned n = 0; n < 10; n++) {
        put_upsert(&batch, n, 1, 8191);
    }
    for (int round = 0; round < 100; round++) {
        struct vdb_staged *staged;
        assert_ok(vdb_memtable_stage(memtable, batch.data, batch.bytes, &staged, &err), &err);
        vdb_memtable_discard(memtable, staged);
        vdb_memtable_get_stats(memtable, round == 0 ? &first : &stats);
    }
    assert_true(first.memory_bytes > 0);
    assert_int_equal(stats.memory_bytes, first.memory_bytes);
    vdb_memtable_unref(memtable);
    vdb_buf_fini(&batch);
}

/* A batch of deletes only needs no room and no text. */
static void test_deletes_only(void **state)
{
    (void)state;
    struct vdb_buf batch = {0};
    struct vdb_memtable_view view;
    struct vdb_memtable *memtable = vdb_memtable_create(2);
    vdb_batch_begin(&batch, 2);
    for (unsigned n = 0; n < IDS; n++) {
        put_delete(&batch, n);
    }
    assert_int_equal(write_batch(memtable, &batch, 1), 0);
    vdb_memtable_pin(memtable, &view);
    assert_int_equal(view.slot_count, 0);
    assert_int_equal(view.seq, 1);
    vdb_memtable_unref(memtable);
    vdb_buf_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_over_many_chunks),
        cmocka_unit_test(test_one_id_twice_in_a_batch),
        cmocka_unit_test(test_life_of_a_row),
        cmocka_unit_test(test_empty_memtable),
        cmocka_unit_test(test_failed_stage_leaves_nothing),
        cmocka_unit_test(test_discard_and_many_staged),
        cmocka_unit_test(test_bitmap_over_many_chunks),
        cmocka_unit_test(test_companion),
        cmocka_unit_test(test_discard_gives_back),
        cmocka_unit_test(test_deletes_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
