/* test_idmap.c: ids (equality, order, hash, print) and the id map against a sorted array. */
#include "support.h"

#include <stdlib.h>

#include "base/rng.h"
#include "storage/id.h"
#include "storage/idmap.h"

static struct vdb_id number_id(uint64_t number)
{
    return (struct vdb_id){.number = number};
}

static struct vdb_id text_id(const char *text, size_t bytes)
{
    return (struct vdb_id){text, (uint32_t)bytes, 0};
}

#define TEXT(literal) text_id(literal, sizeof(literal) - 1)

/* In the order that breaks ties: numbers by value, then texts by their bytes. */
static void test_order(void **state)
{
    (void)state;
    const struct vdb_id ordered[] = {
        number_id(0),  number_id(1),     number_id(42), number_id(UINT64_MAX),
        TEXT("\0"),    TEXT("\0\0"),     TEXT("\0a"),   TEXT("0"),
        TEXT("42"),    TEXT("a"),        TEXT("a\0"),   TEXT("a\0b"),
        TEXT("a\x01"), TEXT("aa"),       TEXT("b"),     TEXT("\x7f"),
        TEXT("\x80"),  TEXT("\xc3\xa4"), TEXT("\xff"),
    };
    size_t count = sizeof ordered / sizeof *ordered;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            assert_int_equal(vdb_id_before(&ordered[i], &ordered[j]), i < j);
            assert_int_equal(vdb_id_equal(&ordered[i], &ordered[j]), i == j);
            if (i != j) {
                assert_true(vdb_id_hash(&ordered[i]) != vdb_id_hash(&ordered[j]));
            }
        }
    }
    /* A copy elsewhere is the same id; a text id's number means nothing. */
    char copy[] = "a\0b";
    struct vdb_id other = {copy, 3, 99};
    assert_true(vdb_id_equal(&other, &ordered[11]));
    assert_true(vdb_id_hash(&other) == vdb_id_hash(&ordered[11]));
    /* 8 bytes of text that spell a number's bytes are not that number. */
    uint64_t number = UINT64_C(0x6162636465666768);
    struct vdb_id as_text = text_id((const char *)&number, sizeof number);
    struct vdb_id as_number = number_id(number);
    assert_false(vdb_id_equal(&as_text, &as_number));
    assert_true(vdb_id_hash(&as_text) != vdb_id_hash(&as_number));
}

/* The rows that carry the ids: slot s has ids[s]. */
static const struct vdb_id *id_of(const void *ctx, uint32_t slot)
{
    return (const struct vdb_id *)ctx + slot;
}

static void test_empty_map(void **state)
{
    (void)state;
    struct vdb_idmap map = {0};
    struct vdb_id id = number_id(0);
    assert_int_equal(vdb_idmap_find(&map, &id, id_of, NULL), VDB_SLOT_NONE);
    assert_true(vdb_idmap_reserve(&map, 0));
    assert_int_equal(vdb_idmap_find(&map, &id, id_of, NULL), VDB_SLOT_NONE);
    vdb_idmap_fini(&map);
    vdb_idmap_fini(&map);
}

static void test_put_replaces(void **state)
{
    (void)state;
    struct vdb_idmap map = {0};
    const struct vdb_id rows[] = {number_id(7), TEXT("7"), number_id(7), TEXT("7"), TEXT("7\0"), TEXT("7\0\0")};
    assert_true(vdb_idmap_reserve(&map, 4));
    assert_int_equal(vdb_idmap_put(&map, &rows[0], 0, id_of, rows), VDB_SLOT_NONE);
    assert_int_equal(vdb_idmap_put(&map, &rows[1], 1, id_of, rows), VDB_SLOT_NONE);
    assert_int_equal(vdb_idmap_put(&map, &rows[2], 2, id_of, rows), 0);
    assert_int_equal(vdb_idmap_put(&map, &rows[3], 3, id_of, rows), 1);
    assert_int_equal(vdb_idmap_put(&map, &rows[4], 4, id_of, rows), VDB_SLOT_NONE);
    assert_int_equal(vdb_idmap_put(&map, &rows[5], 5, id_of, rows), VDB_SLOT_NONE);
    assert_int_equal(map.count, 4);
    static const uint32_t expected[] = {2, 3, 2, 3, 4, 5};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(vdb_idmap_find(&map, &rows[i], id_of, rows), expected[i]);
    }
    vdb_idmap_fini(&map);
}

/* What was reserved needs no more memory: the table neither moves nor fills beyond 7/8 (so that every probe
 * ends).
 */
static void test_reserve(void **state)
{
    (void)state;
    for (size_t reserve = 1; reserve < 300; reserve++) {
        struct vdb_idmap map = {0};
        struct vdb_id ids[300];
        assert_true(vdb_idmap_reserve(&map, reserve));
        const void *entries = map.entries;
        size_t capacity = map.capacity;
        assert_int_equal(capacity & (capacity - 1), 0);
        assert_true(reserve <= capacity / 8 * 7);
        for (size_t i = 0; i < reserve; i++) {
            ids[i] = number_id(i * 64); /* plain multiples must not pile up */
            assert_int_equal(vdb_idmap_put(&map, &ids[i], (uint32_t)i, id_of, ids), VDB_SLOT_NONE);
        }
        assert_ptr_equal(map.entries, entries);
        assert_int_equal(map.capacity, capacity);
        assert_int_equal(map.count, reserve);
        vdb_idmap_fini(&map);
    }
    struct vdb_idmap map = {0};
    volatile size_t huge = SIZE_MAX;
    assert_false(vdb_idmap_reserve(&map, huge));
    assert_false(vdb_idmap_reserve(&map, huge / 8));
    assert_int_equal(map.capacity, 0);
    assert_true(vdb_idmap_reserve(&map, 1));
    struct vdb_id one = number_id(1);
    assert_int_equal(vdb_idmap_put(&map, &one, 0, id_of, &one), VDB_SLOT_NONE);
    assert_false(vdb_idmap_reserve(&map, huge)); /* count + more wraps */
    assert_int_equal(vdb_idmap_find(&map, &one, id_of, &one), 0);
    vdb_idmap_fini(&map);
}

/* Random writes of mixed ids against a plain array: universe[u] is an id, model[u] its slot. */
static void run_model(uint64_t seed, size_t universe, size_t writes)
{
    struct vdb_rng rng;
    struct vdb_idmap map = {0};
    struct vdb_id *ids = calloc(universe, sizeof *ids);
    char(*texts)[24] = calloc(universe, sizeof *texts);
    uint32_t *model = malloc(universe * sizeof *model);
    struct vdb_id *rows = calloc(writes, sizeof *rows);
    uint32_t slots = 0;
    size_t distinct = 0;
    vdb_rng_init(&rng, seed);
    for (size_t u = 0; u < universe; u++) {
        model[u] = VDB_SLOT_NONE;
        if (u % 3 == 0) {
            ids[u] = number_id(u);
        } else if (u % 3 == 1) { /* four bytes of text with NULs in it */
            uint32_t bytes = (uint32_t)u;
            memcpy(texts[u], &bytes, sizeof bytes);
            ids[u] = text_id(texts[u], sizeof bytes);
        } else { /* texts that differ in their length only */
            snprintf(texts[u], sizeof texts[u], "%zu", u);
            ids[u] = text_id(texts[u], strlen(texts[u]));
        }
    }
    while (slots < writes) {
        size_t group = 1 + vdb_rng_below(&rng, 20);
        group = group < writes - slots ? group : writes - slots;
        assert_true(vdb_idmap_reserve(&map, group));
        for (size_t i = 0; i < group; i++) {
            size_t u = vdb_rng_below(&rng, universe);
            rows[slots] = ids[u];
            uint32_t before = vdb_idmap_put(&map, &rows[slots], slots, id_of, rows);
            if (before != model[u]) {
                fail_msg("seed %llu: id %zu stood at slot %u, expected %u", (unsigned long long)seed, u, before,
                         model[u]);
            }
            distinct += before == VDB_SLOT_NONE ? 1 : 0;
            model[u] = slots++;
        }
        size_t u = vdb_rng_below(&rng, universe);
        assert_int_equal(vdb_idmap_find(&map, &ids[u], id_of, rows), model[u]);
    }
    assert_int_equal(map.count, distinct);
    for (size_t u = 0; u < universe; u++) {
        assert_int_equal(vdb_idmap_find(&map, &ids[u], id_of, rows), model[u]);
    }
    vdb_idmap_fini(&map);
    free(rows);
    free(model);
    free(texts);
    free(ids);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        run_model(seed, 1 + seed, 300);
    }
    run_model(1000, 3000, 20000);
    run_model(1001, 200000, 150000); /* many ids: many probes past others */
}

/* Past the size from which the table asks for huge pages; a prefetch changes no answer. */
static void test_large(void **state)
{
    (void)state;
    enum { COUNT = 150000 };
    struct vdb_idmap map = {0};
    struct vdb_id absent = number_id(COUNT);
    struct vdb_id *ids = malloc(COUNT * sizeof *ids);
    assert_non_null(ids);
    vdb_idmap_prefetch(&map, &absent); /* an empty map */
    for (uint32_t i = 0; i < COUNT; i++) {
        ids[i] = number_id(i);
        assert_true(vdb_idmap_reserve(&map, 1));
        vdb_idmap_prefetch(&map, &ids[i]);
        assert_int_equal(vdb_idmap_put(&map, &ids[i], i, id_of, ids), VDB_SLOT_NONE);
    }
    assert_int_equal(map.count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        vdb_idmap_prefetch(&map, &ids[i]);
        assert_int_equal(vdb_idmap_find(&map, &ids[i], id_of, ids), i);
    }
    vdb_idmap_prefetch(&map, &absent);
    assert_int_equal(vdb_idmap_find(&map, &absent, id_of, ids), VDB_SLOT_NONE);
    vdb_idmap_fini(&map);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),   cmocka_unit_test(test_empty_map), cmocka_unit_test(test_put_replaces),
        cmocka_unit_test(test_reserve), cmocka_unit_test(test_large),     cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
