/* test_memtable.c: M1..M5 of memtable.h against a naive multi-version model, and with views in other threads.
 *
 * The model keeps the whole state after every batch. A view pinned then must show exactly that state for ever
 * after, while writes go on: at the end all views of the run are read once more.
 */
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/rng.h"
#include "base/timer.h"
#include "storage/batch.h"
#include "storage/idmap.h"
#include "storage/memtable.h"

enum { IDS = 40, METADATA_BYTES = 48 };

/* Id n: thirds are numbers, short texts, and long texts with a NUL in them. */
static struct vdb_id make_id(unsigned n, char text[VDB_LIMIT_ID_BYTES_MAX])
{
    if (n % 3 == 0) {
        return (struct vdb_id){.number = n};
    }
    memset(text, 0, VDB_LIMIT_ID_BYTES_MAX);
    int bytes = snprintf(text, VDB_LIMIT_ID_BYTES_MAX, "%u", n);
    return (struct vdb_id){text, n % 3 == 1 ? (uint32_t)bytes : VDB_LIMIT_ID_BYTES_MAX, 0};
}

/* Value v of id n, as vector and metadata; both tell n and v. */
static void make_row(unsigned n, unsigned v, uint32_t dimension, float *vector, char metadata[METADATA_BYTES])
{
    for (uint32_t d = 0; d < dimension; d++) {
        vector[d] = d % 2 == 0 ? (float)(n * 1000 + d) : (float)(v * 16 + d % 16);
    }
    snprintf(metadata, METADATA_BYTES, "{\"n\":%u,\"v\":%u}", n, v);
}

static void put_upsert(struct vdb_buf *batch, unsigned n, unsigned v, uint32_t dimension)
{
    char text[VDB_LIMIT_ID_BYTES_MAX];
    char metadata[METADATA_BYTES];
    float *vector = malloc(dimension * sizeof *vector);
    struct vdb_id id = make_id(n, text);
    make_row(n, v, dimension, vector, metadata);
    vdb_batch_upsert(batch, &id, vector, dimension, vdb_str_of(metadata));
    free(vector);
}

static void put_delete(struct vdb_buf *batch, unsigned n)
{
    char text[VDB_LIMIT_ID_BYTES_MAX];
    struct vdb_id id = make_id(n, text);
    vdb_batch_delete(batch, &id);
}

/* Stages and publishes; returns how many points it changed. */
static uint64_t write_batch(struct vdb_memtable *memtable, const struct vdb_buf *batch, uint64_t seq)
{
    struct vdb_err err = {0};
    struct vdb_staged *staged;
    /* From a copy that is gone afterwards: publication must have taken all it needs. */
    uint8_t *copy = malloc(batch->bytes);
    memcpy(copy, batch->data, batch->bytes);
    if (seq % 3 == 0 && vdb_memtable_wants_memory(memtable)) { /* some chunks are made ahead, some on demand */
        vdb_memtable_make_memory(memtable);
        assert_false(vdb_memtable_wants_memory(memtable));
    }
    assert_ok(vdb_memtable_stage(memtable, copy, batch->bytes, &staged, &err), &err);
    uint64_t changed = vdb_memtable_publish(memtable, staged, seq, NULL, NULL);
    memset(copy, 0xee, batch->bytes);
    free(copy);
    return changed;
}

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

/* Pins a view and looks; false: something was published in between, and nothing was found out. */
static bool find(struct vdb_memtable *memtable, const struct vdb_id *ids, size_t count,
                 struct vdb_memtable_view *view, uint32_t *slots)
{
    struct vdb_memtable_view after;
    vdb_memtable_pin(memtable, view);
    vdb_memtable_look(memtable, view, ids, count, slots);
    vdb_memtable_pin(memtable, &after);
    return after.seq == view->seq;
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

/* ---- M3 and M4 with threads: one publisher, several viewers. ----
 *
 * Batch b upserts every id with value b, then deletes the ids n with n % 5 == b % 5, some of them twice. So a
 * view of batch b shows, of every id, value b or nothing, and that by n alone. */
enum { VIEWERS = 3, THREAD_BATCHES = 600, THREAD_DIMENSION = 6 };

struct race {
    struct vdb_memtable *memtable;
    _Atomic bool stop;
    _Atomic unsigned wrong; /* assertions are the main thread's */
    _Atomic uint64_t views;
};

static bool view_is_of_one_batch(const struct vdb_memtable_view *view)
{
    unsigned b = (unsigned)view->seq;
    unsigned seen = 0;
    unsigned by_id[IDS] = {0};
    for (uint32_t slot = 0; slot < view->slot_count; slot++) {
        if (!vdb_slot_visible(view, slot)) {
            continue;
        }
        const float *vector = vdb_slot_vector(view, slot);
        unsigned n = (unsigned)vector[0] / 1000;
        float expected[THREAD_DIMENSION];
        char metadata[METADATA_BYTES];
        make_row(n, b, THREAD_DIMENSION, expected, metadata);
        if (n >= IDS || by_id[n]++ != 0 || n % 5 == b % 5 || memcmp(vector, expected, sizeof expected) != 0 ||
            !vdb_str_is(vdb_slot_row(view, slot)->metadata, metadata)) {
            return false;
        }
        seen++;
    }
    return seen == (b > 0 ? IDS - IDS / 5 : 0) && seen + view->dead_count == view->slot_count;
}

static void *look(void *arg)
{
    struct race *race = arg;
    char texts[IDS][VDB_LIMIT_ID_BYTES_MAX];
    struct vdb_id ids[IDS];
    uint32_t slots[IDS];
    uint64_t last_seq = 0;
    struct vdb_memtable_view kept = {0};
    for (unsigned n = 0; n < IDS; n++) {
        ids[n] = make_id(n, texts[n]);
    }
    while (!atomic_load(&race->stop)) {
        struct vdb_memtable_view view;
        vdb_memtable_pin(race->memtable, &view);
        bool right = view.seq >= last_seq && view_is_of_one_batch(&view);
        last_seq = view.seq;
        if (view.seq % 50 == 7) {
            kept = view; /* an older view, read again below while writes go on */
        }
        if (kept.row_chunks != NULL) {
            right = right && view_is_of_one_batch(&kept);
        }
        while (!find(race->memtable, ids, IDS, &view, slots)) {
        }
        for (unsigned n = 0; n < IDS; n++) {
            bool there = view.seq > 0 && n % 5 != view.seq % 5;
            right = right && (slots[n] != VDB_SLOT_NONE) == there;
        }
        if (!right) {
            atomic_fetch_add(&race->wrong, 1);
        }
        atomic_fetch_add(&race->views, 1);
        sched_yield(); /* the lock may prefer readers */
    }
    return NULL;
}

static void test_views_while_publishing(void **state)
{
    (void)state;
    struct race race = {.memtable = vdb_memtable_create(THREAD_DIMENSION)};
    pthread_t threads[VIEWERS];
    struct vdb_buf batch = {0};
    for (int i = 0; i < VIEWERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, look, &race), 0);
    }
    for (unsigned b = 1; b <= THREAD_BATCHES; b++) {
        vdb_buf_clear(&batch);
        vdb_batch_begin(&batch, THREAD_DIMENSION);
        for (unsigned n = 0; n < IDS; n++) {
            if (n % 7 == 0) {
                put_upsert(&batch, n, b + 1, THREAD_DIMENSION); /* never to be seen: replaced at once */
            }
            put_upsert(&batch, n, b, THREAD_DIMENSION);
        }
        for (unsigned n = b % 5; n < IDS; n += 5) {
            put_delete(&batch, n);
        }
        write_batch(race.memtable, &batch, b);
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < VIEWERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&race.wrong), 0);
    print_message("%llu views beside %d batches\n", (unsigned long long)atomic_load(&race.views), THREAD_BATCHES);
    vdb_memtable_unref(race.memtable);
    vdb_buf_fini(&batch);
}

/* Readers that come and go without a pause, so that there is always one, must not keep the writer out. Each gives
 * up at a deadline, which a writer that waits for its turn only never needs. */
enum { HUNGRY_READERS = 4, HUNGRY_IDS = 500, HUNGRY_BATCHES = 300 };
static const uint64_t deadline_ns = UINT64_C(10000000000);

static void *read_without_pause(void *arg)
{
    struct race *race = arg;
    static struct vdb_id ids[HUNGRY_IDS]; /* all zero: number 0 */
    uint32_t slots[HUNGRY_IDS];
    uint64_t started = vdb_now_ns();
    while (!atomic_load(&race->stop)) {
        struct vdb_memtable_view view;
        (void)find(race->memtable, ids, HUNGRY_IDS, &view, slots);
        atomic_fetch_add(&race->views, 1);
        if (vdb_now_ns() - started > deadline_ns) {
            atomic_fetch_add(&race->wrong, 1);
            break;
        }
    }
    return NULL;
}

static void test_readers_do_not_starve_the_writer(void **state)
{
    (void)state;
    struct race race = {.memtable = vdb_memtable_create(THREAD_DIMENSION)};
    pthread_t threads[HUNGRY_READERS];
    struct vdb_buf batch = {0};
    for (int i = 0; i < HUNGRY_READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_without_pause, &race), 0);
    }
    while (atomic_load(&race.views) < 2 * HUNGRY_READERS) {
        sched_yield(); /* until they are at it */
    }
    for (unsigned b = 1; b <= HUNGRY_BATCHES; b++) {
        vdb_buf_clear(&batch);
        vdb_batch_begin(&batch, THREAD_DIMENSION);
        put_upsert(&batch, b % IDS, b, THREAD_DIMENSION);
        write_batch(race.memtable, &batch, b);
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < HUNGRY_READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    if (atomic_load(&race.wrong) != 0) {
        fail_msg("%u readers had to give up before %d batches were published", atomic_load(&race.wrong),
                 HUNGRY_BATCHES);
    }
    vdb_memtable_unref(race.memtable);
    vdb_buf_fini(&batch);
}

/* Many threads stage and discard while one publishes: reservations neither collide nor leak. */
static void *stage_and_discard(void *arg)
{
    struct race *race = arg;
    struct vdb_buf batch = {0};
    vdb_batch_begin(&batch, THREAD_DIMENSION);
    for (unsigned n = 0; n < IDS; n++) {
        put_upsert(&batch, n, 1, THREAD_DIMENSION);
    }
    while (!atomic_load(&race->stop)) {
        struct vdb_err err = {0};
        struct vdb_staged *staged;
        if (vdb_memtable_stage(race->memtable, batch.data, batch.bytes, &staged, &err) != VDB_OK) {
            atomic_fetch_add(&race->wrong, 1);
            break;
        }
        sched_yield();
        vdb_memtable_discard(race->memtable, staged);
        atomic_fetch_add(&race->views, 1);
    }
    vdb_buf_fini(&batch);
    return NULL;
}

static void test_staging_while_publishing(void **state)
{
    (void)state;
    struct race race = {.memtable = vdb_memtable_create(THREAD_DIMENSION)};
    pthread_t threads[VIEWERS];
    struct vdb_buf batch = {0};
    struct vdb_memtable_stats stats;
    for (int i = 0; i < VIEWERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, stage_and_discard, &race), 0);
    }
    for (unsigned b = 1; b <= THREAD_BATCHES; b++) {
        vdb_buf_clear(&batch);
        vdb_batch_begin(&batch, THREAD_DIMENSION);
        put_upsert(&batch, b % IDS, b, THREAD_DIMENSION);
        write_batch(race.memtable, &batch, b);
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < VIEWERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&race.wrong), 0);
    vdb_memtable_get_stats(race.memtable, &stats);
    assert_int_equal(stats.live, IDS);
    assert_int_equal(stats.live + stats.dead, THREAD_BATCHES);
    vdb_memtable_unref(race.memtable);
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
        cmocka_unit_test(test_discard_gives_back),
        cmocka_unit_test(test_deletes_only),
        cmocka_unit_test(test_views_while_publishing),
        cmocka_unit_test(test_readers_do_not_starve_the_writer),
        cmocka_unit_test(test_staging_while_publishing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
