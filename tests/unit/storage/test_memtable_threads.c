/* test_memtable_threads.c: M3 and M4 of memtable.h, and its bitmap (N1, N2), with a publisher and viewers at once; readers and
 * writers that would keep each other out. Run it with the thread sanitizer, too. */
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/timer.h"
#include "memtable_world.h"

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
    uint64_t words[THREAD_BATCHES * (IDS + IDS / 7 + 1) / 64 + 1];
    if (!bitmap_is_right(view, words)) {
        return false;
    }
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
        while (atomic_load(&race.views) < b / 2) { /* on a busy machine, too */
            sched_yield();
        }
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
        cmocka_unit_test(test_views_while_publishing),
        cmocka_unit_test(test_readers_do_not_starve_the_writer),
        cmocka_unit_test(test_staging_while_publishing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
