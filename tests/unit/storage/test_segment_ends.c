/* test_segment_ends.c: which rows a view sees, against a naive model; the bitmap of dead rows through save and open;
 * its damage; readers beside the writer (run it with the thread sanitizer too). */
#include "support.h"

#include <pthread.h>

#include "block_image.h"
#include "segment_world.h"

static const struct shape plain = {.rows = 1000, .dimension = 1, .ids = IDS_NUMBERS, .metadata = META_EMPTY};

static struct vdb_segment *fresh_segment(struct world *w, const struct shape *shape,
                                         struct vdb_segment_info *info)
{
    assert_ok(write_segment(w, shape, info), &w->err);
    return open_segment_ok(w, shape, info);
}

/* Bits past the rows must stay as they are. */
static void expect_visible(const struct vdb_segment *segment, const uint64_t *ends, uint64_t seq)
{
    struct vdb_bitset allow;
    uint32_t rows = vdb_segment_rows(segment);
    uint32_t expected = 0;
    assert_true(vdb_bitset_init(&allow, rows + 100));
    uint32_t count = vdb_segment_fill_visible(segment, seq, &allow);
    for (uint32_t i = 0; i < rows; i++) {
        bool visible = ends[i] == 0 || seq < ends[i];
        expected += visible;
        if (vdb_bitset_test(&allow, i) != visible || vdb_segment_sees(segment, i, seq) != visible) {
            fail_msg("row %u, ended at %llu, seen at %llu wrongly", i, (unsigned long long)ends[i],
                     (unsigned long long)seq);
        }
        assert_int_equal(vdb_segment_end_of(segment, i), ends[i]);
    }
    for (size_t i = rows; i < allow.count; i++) {
        assert_false(vdb_bitset_test(&allow, i));
    }
    assert_int_equal(count, expected);
    vdb_bitset_fini(&allow);
}

static void test_model(void **state)
{
    struct world *w = *state;
    static const uint32_t counts[] = {1, 63, 64, 65, 128, 1000};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct shape shape = plain;
        struct vdb_segment_info info;
        struct vdb_rng rng;
        uint64_t ends[1000] = {0};
        uint32_t dead = 0;
        shape.rows = counts[c];
        struct vdb_segment *segment = fresh_segment(w, &shape, &info);
        vdb_rng_init(&rng, c + 1);
        expect_visible(segment, ends, 0);
        for (uint64_t seq = 2000; seq < 2000 + 2 * counts[c]; seq++) {
            uint32_t row = (uint32_t)vdb_rng_below(&rng, counts[c]);
            bool live = ends[row] == 0;
            assert_int_equal(vdb_segment_end(segment, row, seq), live); /* S2: once */
            ends[row] = live ? seq : ends[row];
            dead += live;
            assert_int_equal(vdb_segment_dead(segment), dead);
            if (seq % 7 == 0) {
                expect_visible(segment, ends, seq);
                expect_visible(segment, ends, seq - 1);
                expect_visible(segment, ends, 1500 + vdb_rng_below(&rng, seq + 1 - 1500));
                expect_visible(segment, ends, UINT64_MAX);
            }
        }
        vdb_segment_unref(segment);
    }
}

/* Ends may come out of order (a compaction carries them over from older segments). */
static void test_ends_out_of_order(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    uint64_t ends[1000] = {0};
    struct vdb_segment *segment = fresh_segment(w, &plain, &info);
    for (uint32_t i = 0; i < 500; i++) {
        ends[i] = 9000 - i * 7;
        assert_true(vdb_segment_end(segment, i, ends[i]));
    }
    for (uint64_t seq = 5000; seq < 9100; seq += 111) {
        expect_visible(segment, ends, seq);
    }
    vdb_segment_unref(segment);
}

static void test_save_and_open(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    uint64_t ends[1000] = {0};
    uint64_t bytes = 0;
    struct vdb_segment *segment = fresh_segment(w, &plain, &info);
    struct vdb_segment_info saved = info;
    saved.dead_edition = 99;
    saved.dead_rows = 99;
    assert_ok(vdb_segment_save_dead(segment, 5000, 1, &saved, &w->err), &w->err);
    assert_memory_equal(&saved, &info, sizeof info); /* nothing dead: as the writer left it */
    assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_DEAD, 1)), '-');
    for (uint32_t i = 0; i < 1000; i += 3) {
        assert_true(vdb_segment_end(segment, i, 2000 + i));
        ends[i] = 2000 + i <= 2500 ? 1 : 0; /* what the file will say */
    }
    assert_ok(vdb_segment_save_dead(segment, 2500, 3, &saved, &w->err), &w->err);
    assert_int_equal(saved.dead_edition, 3);
    assert_int_equal(saved.dead_rows, 167);
    assert_int_equal(saved.number, info.number);
    assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_DEAD, 3)), 'f');
    assert_ok(vdb_segment_verify_dead(segment, &saved, &bytes, &w->err), &w->err);
    assert_int_equal(bytes, saved.dead.bytes);
    assert_ok(vdb_segment_verify_dead(segment, &info, &bytes, &w->err), &w->err); /* no bitmap, no bytes */
    assert_int_equal(bytes, saved.dead.bytes);
    vdb_segment_unref(segment);
    if (!w->is_posix) {
        vdb_env_memory_crash(w->env, 0); /* saved is durable */
    }
    segment = open_segment_ok(w, &plain, &saved);
    assert_int_equal(vdb_segment_dead(segment), 167);
    expect_visible(segment, ends, 1);
    expect_visible(segment, ends, 10000);
    assert_false(vdb_segment_end(segment, 0, 3000));
    assert_true(vdb_segment_end(segment, 1, 3000));
    ends[1] = 3000;
    expect_visible(segment, ends, 2999);
    expect_visible(segment, ends, 3000);
    assert_ok(compare_segment(segment, &plain, &w->err), &w->err); /* dead rows stay readable */
    /* The next edition has those of this one. */
    assert_ok(vdb_segment_save_dead(segment, 3000, 4, &saved, &w->err), &w->err);
    assert_int_equal(saved.dead_rows, 168);
    vdb_segment_unref(segment);
    segment = open_segment_ok(w, &plain, &info); /* an older manifest's segment: all live */
    assert_int_equal(vdb_segment_dead(segment), 0);
    assert_fails(vdb_segment_verify_dead(segment, &saved, &bytes, &w->err), VDB_CORRUPT, &w->err,
                 "lives in memory");
    vdb_segment_unref(segment);
}

static void test_save_with_every_fault(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    struct vdb_segment *segment = fresh_segment(w, &plain, &info);
    assert_true(vdb_segment_end(segment, 5, 2000));
    uint64_t n = 1;
    for (;; n++) {
        struct vdb_segment_info saved = info;
        vdb_env_memory_fail_at(w->env, n, VDB_NO_SPACE, false, n);
        vdb_status status = vdb_segment_save_dead(segment, 2000, 2, &saved, &w->err);
        vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
        if (status == VDB_OK) {
            break;
        }
        assert_int_equal(status, VDB_NO_SPACE);
        assert_memory_equal(&saved, &info, sizeof info);
        assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_DEAD, 2)), '-');
    }
    assert_int_equal(n, 6); /* create, data, tables, sync, folder */
    vdb_segment_unref(segment);
}

/* Each byte of the bitmap's file, and each of its fields when the checksums are right. */
static void test_damaged_bitmap(void **state)
{
    struct world *w = *state;
    struct shape shape = plain;
    struct vdb_segment_info info;
    struct vdb_segment *segment;
    shape.rows = 70;
    segment = fresh_segment(w, &shape, &info);
    for (uint32_t i = 0; i < 30; i++) {
        vdb_segment_end(segment, i, 2000);
    }
    assert_ok(vdb_segment_save_dead(segment, 2000, 1, &info, &w->err), &w->err);
    vdb_segment_unref(segment);
    const char *path = segment_file(VDB_BLOCK_FILE_DEAD, 1);
    for (uint64_t i = 0; i < info.dead.bytes; i++) {
        assert_true(vdb_env_memory_flip(w->env, at(w, path), i, (uint8_t)(1u << (i % 8))));
        assert_fails(open_segment(w, &shape, &info, &segment), VDB_CORRUPT, &w->err,
                     "dead_000012_000001.bin\" at byte");
        assert_true(vdb_env_memory_flip(w->env, at(w, path), i, (uint8_t)(1u << (i % 8))));
    }
    struct vdb_segment_info wrong = info;
    wrong.dead_rows++;
    assert_fails(open_segment(w, &shape, &wrong, &segment), VDB_CORRUPT, &w->err, "expected 31 of 70");
    wrong = info;
    wrong.dead_rows = 71;
    assert_fails(open_segment(w, &shape, &wrong, &segment), VDB_CORRUPT, &w->err, "segment 12");
    wrong = info;
    wrong.dead_edition = 0;
    assert_fails(open_segment(w, &shape, &wrong, &segment), VDB_CORRUPT, &w->err, "no bitmap");
    wrong.dead_edition = 2;
    assert_fails(open_segment(w, &shape, &wrong, &segment), VDB_CORRUPT, &w->err, "missing");
    size_t bytes;
    uint8_t *good = get_image(w, path, &bytes);
    for (uint32_t section = 1; section <= 2; section++) {
        size_t length = 0;
        size_t begin = (size_t)(image_find(good, bytes, section, &length) - good);
        /* A bit moved within the rows changes no count: that one is the stamp's to notice, here it is set right. */
        for (size_t i = begin; i < begin + length; i++) {
            bool in_seq = section == 2 && i - begin >= 16 && i - begin < 24;
            uint8_t *image = malloc(bytes);
            assert_non_null(image);
            memcpy(image, good, bytes);
            image[i] ^= 0x80;
            wrong = info;
            wrong.dead = image_seal(image, bytes);
            put_image(w, path, image, bytes);
            vdb_status status = open_segment(w, &shape, &wrong, &segment);
            assert_int_equal(status, in_seq ? VDB_OK : VDB_CORRUPT); /* as of when: nothing depends on it */
            vdb_segment_unref(segment);
            free(image);
        }
    }
    free(good);
}

/* Readers check every view against the plan, which the writer carries out row by row. */
enum { RACE_ROWS = 40000, RACE_READERS = 3, RACE_FIRST = 2000 };

struct race {
    struct vdb_segment *segment;
    uint64_t ends[RACE_ROWS]; /* the plan */
    _Atomic uint64_t published;
    _Atomic uint64_t views;
    _Atomic bool wrong;
};

static void *end_rows(void *arg)
{
    struct race *race = arg;
    uint32_t *rows = malloc(RACE_ROWS * sizeof *rows);
    for (uint32_t i = 0; i < RACE_ROWS && rows != NULL; i++) {
        rows[race->ends[i] - RACE_FIRST] = i;
    }
    if (rows == NULL) {
        race->wrong = true;
    }
    for (uint64_t seq = RACE_FIRST; seq < RACE_FIRST + RACE_ROWS && !race->wrong; seq++) {
        if (!vdb_segment_end(race->segment, rows[seq - RACE_FIRST], seq)) {
            race->wrong = true;
        }
        atomic_store_explicit(&race->published, seq, memory_order_release);
        while (seq % 16 == 0 && atomic_load(&race->views) < (seq - RACE_FIRST) / 16 && !race->wrong) {
            sched_yield(); /* lets the readers in between */
        }
    }
    free(rows);
    return NULL;
}

static uint32_t bits_set(const struct vdb_bitset *set)
{
    uint32_t count = 0;
    for (size_t w = 0; w < vdb_bitset_words(set->count); w++) {
        count += (uint32_t)__builtin_popcountll(set->words[w]);
    }
    return count;
}

/* The plan ends one row per number, so that the count alone shows most errors; every 64th view is compared whole. */
static bool sees_the_plan(struct race *race, struct vdb_bitset *allow, uint64_t view, uint64_t turn)
{
    uint32_t expected = RACE_ROWS - (uint32_t)(view - RACE_FIRST + 1);
    uint32_t count = vdb_segment_fill_visible(race->segment, view, allow);
    bool right = count == expected && bits_set(allow) == expected;
    for (uint32_t i = 0; i < RACE_ROWS && turn % 64 == 0; i++) {
        bool visible = view < race->ends[i];
        right = right && vdb_bitset_test(allow, i) == visible &&
                vdb_segment_sees(race->segment, i, view) == visible;
    }
    memset(allow->words, 0, vdb_bitset_words(RACE_ROWS) * sizeof *allow->words);
    return right;
}

static void *look(void *arg)
{
    struct race *race = arg;
    struct vdb_rng rng;
    struct vdb_bitset allow;
    uint64_t seq = 0;
    vdb_rng_init(&rng, 11);
    if (!vdb_bitset_init(&allow, RACE_ROWS)) {
        race->wrong = true;
        return NULL;
    }
    for (uint64_t turn = 0; seq < RACE_FIRST + RACE_ROWS - 1 && !race->wrong; turn++) {
        seq = atomic_load_explicit(&race->published, memory_order_acquire);
        uint64_t back = vdb_rng_below(&rng, 3) == 0 ? vdb_rng_below(&rng, 50) : 0;
        uint64_t view = seq - back >= RACE_FIRST - 1 ? seq - back : seq;
        if (!sees_the_plan(race, &allow, view, turn)) {
            race->wrong = true;
        }
        atomic_fetch_add(&race->views, 1);
    }
    vdb_bitset_fini(&allow);
    return NULL;
}

/* Meanwhile one reads everything, and so checks blocks that others check, too. */
static void *read_all(void *arg)
{
    struct race *race = arg;
    struct shape shape = plain;
    struct vdb_err err = {0};
    shape.rows = RACE_ROWS;
    if (compare_segment(race->segment, &shape, &err) != VDB_OK) {
        race->wrong = true;
    }
    return NULL;
}

static void test_readers_beside_the_writer(void **state)
{
    struct world *w = *state;
    struct shape shape = plain;
    struct vdb_segment_info info;
    struct vdb_rng rng;
    pthread_t threads[RACE_READERS + 3];
    struct race *race = calloc(1, sizeof *race);
    assert_non_null(race);
    shape.rows = RACE_ROWS;
    race->segment = fresh_segment(w, &shape, &info);
    race->published = RACE_FIRST - 1;
    vdb_rng_init(&rng, 9);
    for (uint32_t i = 0; i < RACE_ROWS; i++) {
        uint32_t j = (uint32_t)vdb_rng_below(&rng, i + 1); /* a random permutation, built up */
        race->ends[i] = race->ends[j];
        race->ends[j] = RACE_FIRST + i;
    }
    for (int i = 0; i < RACE_READERS + 3; i++) {
        void *(*run)(void *) = i < RACE_READERS ? look : i < RACE_READERS + 2 ? read_all : end_rows;
        assert_int_equal(pthread_create(&threads[i], NULL, run, race), 0);
    }
    for (int i = 0; i < RACE_READERS + 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(race->wrong);
    assert_int_equal(vdb_segment_dead(race->segment), RACE_ROWS);
    assert_true(race->views > RACE_ROWS / 16 - 1);
    vdb_segment_unref(race->segment);
    free(race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEGMENT_ON_MEMORY(test_model),
        SEGMENT_ON_MEMORY(test_ends_out_of_order),
        SEGMENT_ON_MEMORY(test_save_and_open),
        SEGMENT_ON_POSIX(test_save_and_open),
        SEGMENT_ON_MEMORY(test_save_with_every_fault),
        SEGMENT_ON_MEMORY(test_damaged_bitmap),
        SEGMENT_ON_MEMORY(test_readers_beside_the_writer),
        SEGMENT_ON_POSIX(test_readers_beside_the_writer),
    };
    return cmocka_run_group_tests_name("segment_ends", tests, NULL, NULL);
}
