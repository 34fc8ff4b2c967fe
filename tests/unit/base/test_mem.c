/* test_mem.c: sizes that cannot wrap, aligned memory, and the arena. */
#include "support.h"

#include <stdbool.h>
#include <stdlib.h>

#include "huge_allocations.h"

#include "base/mem.h"
#include "base/rng.h"

/* A size that no allocator grants. In a volatile, so that no compiler judges the call. */
static volatile size_t huge = SIZE_MAX / 2;

static void test_checked_sizes(void **state)
{
    (void)state;
    size_t out = 7;
    assert_true(vdb_size_mul(3, 5, &out));
    assert_int_equal(out, 15);
    assert_true(vdb_size_mul(SIZE_MAX, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_true(vdb_size_mul(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
    assert_false(vdb_size_mul(SIZE_MAX, 2, &out));
    assert_false(vdb_size_mul((size_t)1 << 32, (size_t)1 << 32, &out));
    assert_true(vdb_size_mul(((size_t)1 << 32) - 1, ((size_t)1 << 32) + 1, &out)); /* 2^64 - 1, just in */
    assert_true(out == SIZE_MAX);
    assert_true(vdb_size_add(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_false(vdb_size_add(SIZE_MAX, 1, &out));
    assert_false(vdb_size_add(SIZE_MAX, SIZE_MAX, &out));
}

static void test_round_up(void **state)
{
    (void)state;
    for (size_t align = 1; align <= 4096; align *= 2) {
        for (size_t value = 0; value < 300; value++) {
            size_t rounded = vdb_round_up(value, align);
            assert_true(rounded >= value && rounded - value < align);
            assert_int_equal(rounded % align, 0);
        }
    }
}

static void test_zeroed(void **state)
{
    (void)state;
    unsigned char *bytes = vdb_calloc(10, 10);
    assert_non_null(bytes);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(bytes[i], 0);
    }
    free(bytes);
    void *empty = vdb_calloc(0, 8); /* nothing is still something to free */
    assert_non_null(empty);
    free(empty);
    empty = vdb_calloc(8, 0);
    assert_non_null(empty);
    free(empty);
    assert_null(vdb_calloc(huge, 4)); /* the product overflows */
    assert_null(vdb_calloc((size_t)1 << 32, huge));
}

static void test_realloc_array(void **state)
{
    (void)state;
    void *p = NULL;
    assert_true(vdb_realloc_array(&p, 4, sizeof(uint32_t)));
    uint32_t *values = p;
    for (uint32_t i = 0; i < 4; i++) {
        values[i] = i;
    }
    assert_true(vdb_realloc_array(&p, 1000, sizeof(uint32_t)));
    values = p;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(values[i], i);
    }
    /* A failure leaves the pointer and what it holds as they were. */
    void *before = p;
    assert_false(vdb_realloc_array(&p, huge, 4));
    assert_ptr_equal(p, before);
    assert_int_equal(((uint32_t *)p)[3], 3);
    assert_true(vdb_realloc_array(&p, 0, sizeof(uint32_t)));
    assert_non_null(p);
    free(p);
}

static void test_alloc_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 127, 128, 4096, 100001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *memory = vdb_alloc_aligned(sizes[i]);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % VDB_CACHE_LINE_BYTES, 0);
        /* Zeroed to the end of the last cache line, which is ours to read. */
        size_t padded = vdb_round_up(sizes[i] > 0 ? sizes[i] : 1, VDB_CACHE_LINE_BYTES);
        for (size_t at = 0; at < padded; at++) {
            assert_int_equal(memory[at], 0);
        }
        free(memory);
    }
    assert_null(vdb_alloc_aligned(huge * 2 + 1)); /* SIZE_MAX: the padding would wrap */
    assert_null(vdb_alloc_aligned(huge * 2 - 30));
}

static void test_strndup(void **state)
{
    (void)state;
    char *copy = vdb_strndup("hello", 3);
    assert_string_equal(copy, "hel");
    free(copy);
    copy = vdb_strndup(NULL, 0);
    assert_string_equal(copy, "");
    free(copy);
    copy = vdb_strndup("a\0b", 3);
    assert_memory_equal(copy, "a\0b", 4);
    free(copy);
    assert_null(vdb_strndup("x", huge * 2 + 1));
}

/* Many sizes against a list of what was handed out: aligned, disjoint (each keeps its pattern), kept until fini.
 */
static void check_arena(size_t block_bytes)
{
    enum { PIECES = 2000 };
    static unsigned char *pieces[PIECES];
    static size_t sizes[PIECES];
    struct vdb_arena arena;
    struct vdb_rng rng;
    vdb_rng_init(&rng, block_bytes);
    vdb_arena_init(&arena, block_bytes);
    assert_int_equal(arena.total_bytes, 0);
    size_t asked = 0;
    for (size_t i = 0; i < PIECES; i++) {
        bool oversized = vdb_rng_below(&rng, 10) == 0;
        sizes[i] = vdb_rng_below(&rng, oversized ? 3 * block_bytes + 50 : 100);
        pieces[i] = vdb_arena_alloc(&arena, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 255), sizes[i]);
        asked += sizes[i];
    }
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t at = 0; at < sizes[i]; at++) {
            if (pieces[i][at] != (unsigned char)i) {
                fail_msg("block of %zu bytes: piece %zu was overwritten at byte %zu", block_bytes, i, at);
            }
        }
    }
    assert_true(arena.total_bytes >= asked);
    vdb_arena_fini(&arena);
    assert_int_equal(arena.total_bytes, 0);
    assert_null(arena.head);
}

static void test_arena(void **state)
{
    (void)state;
    static const size_t blocks[] = {0, 16, 100, 1000, 65536};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        check_arena(blocks[i]);
    }
}

/* An oversized request gets a block of its own and the half-empty block goes on being filled. */
static void test_arena_oversized_keeps_the_block(void **state)
{
    (void)state;
    struct vdb_arena arena;
    vdb_arena_init(&arena, 1024);
    char *first = vdb_arena_alloc(&arena, 10);
    size_t one_block = arena.total_bytes;
    char *big = vdb_arena_alloc(&arena, 5000);
    char *second = vdb_arena_alloc(&arena, 10);
    assert_non_null(big);
    assert_ptr_equal(second, first + 16);
    size_t with_big = arena.total_bytes;
    assert_true(with_big >= one_block + 5000);
    /* 992 bytes are left in the first block: exactly that still fits, one byte more does not. */
    char *rest = vdb_arena_alloc(&arena, 992);
    assert_ptr_equal(rest, second + 16);
    assert_int_equal(arena.total_bytes, with_big);
    assert_non_null(vdb_arena_alloc(&arena, 1));
    assert_true(arena.total_bytes > with_big);
    vdb_arena_fini(&arena);
}

/* The first request oversized, and requests that no machine can serve: NULL, and the arena still works. */
static void test_arena_limits(void **state)
{
    (void)state;
    struct vdb_arena arena;
    vdb_arena_init(&arena, 64);
    assert_non_null(vdb_arena_alloc(&arena, 1000));
    size_t before = arena.total_bytes;
    assert_null(vdb_arena_alloc(&arena, huge));
    assert_null(vdb_arena_alloc(&arena, huge * 2 + 1));
    assert_null(vdb_arena_alloc(&arena, huge * 2 - 20));
    assert_int_equal(arena.total_bytes, before);
    assert_non_null(vdb_arena_alloc(&arena, 0)); /* nothing has an address too */
    vdb_arena_fini(&arena);
    vdb_arena_fini(&arena); /* an empty arena may be finished again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checked_sizes), cmocka_unit_test(test_round_up),
        cmocka_unit_test(test_zeroed),        cmocka_unit_test(test_realloc_array),
        cmocka_unit_test(test_alloc_aligned), cmocka_unit_test(test_strndup),
        cmocka_unit_test(test_arena),         cmocka_unit_test(test_arena_oversized_keeps_the_block),
        cmocka_unit_test(test_arena_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
