/* test_bytes.c: the growable buffer and the bounded cursor, up to and past their ends. */
#include "support.h"

#include <stdlib.h>

#include "huge_allocations.h"

#include "base/bytes.h"
#include "base/rng.h"

static volatile size_t huge = SIZE_MAX / 2;

static void test_str(void **state)
{
    (void)state;
    struct vdb_str none = {NULL, 0};
    struct vdb_str abc = {"abcd", 3};
    assert_true(vdb_str_eq(none, vdb_str_of("")));
    assert_true(vdb_str_is(none, ""));
    assert_true(vdb_str_is(abc, "abc"));
    assert_false(vdb_str_is(abc, "abcd"));
    assert_false(vdb_str_is(abc, "ab"));
    assert_false(vdb_str_is(abc, "abd"));
    assert_false(vdb_str_is((struct vdb_str){"a\0b", 3}, "a")); /* a NUL does not end it */
}

static void test_buf_layout_is_little_endian(void **state)
{
    (void)state;
    static const uint8_t expected[] = {1,    0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b,
                                       0x0a, 0x09, 0x08, 'a',  'b',  'x',  'y',  0,    0,    0,    '4',  '2'};
    struct vdb_buf buf = {0};
    vdb_buf_put_u8(&buf, 1);
    vdb_buf_put_u16(&buf, 0x0203);
    vdb_buf_put_u32(&buf, 0x04050607);
    vdb_buf_put_u64(&buf, UINT64_C(0x08090a0b0c0d0e0f));
    vdb_buf_put_text(&buf, "ab");
    vdb_buf_put_str(&buf, (struct vdb_str){"xyz", 2});
    vdb_buf_put_zeros(&buf, 3);
    vdb_buf_printf(&buf, "%d", 42);
    assert_false(buf.failed);
    assert_int_equal(buf.bytes, sizeof expected);
    assert_memory_equal(buf.data, expected, sizeof expected);
    vdb_buf_fini(&buf);
    assert_null(buf.data);
    vdb_buf_fini(&buf);
}

static void test_buf_nothing_put_is_nothing(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    vdb_buf_put(&buf, NULL, 0);
    vdb_buf_put_zeros(&buf, 0);
    vdb_buf_put_text(&buf, "");
    vdb_buf_put_str(&buf, (struct vdb_str){NULL, 0});
    vdb_buf_printf(&buf, "%s", "");
    assert_int_equal(buf.bytes, 0);
    assert_false(buf.failed);
    vdb_buf_fini(&buf);
}

/* Random appends against a plain array. */
static void test_buf_grows(void **state)
{
    (void)state;
    enum { TOTAL_MAX = 1 << 20 };
    uint8_t *model = malloc(TOTAL_MAX);
    size_t model_bytes = 0;
    struct vdb_buf buf = {0};
    struct vdb_rng rng;
    vdb_rng_init(&rng, 1);
    for (;;) {
        uint8_t piece[700];
        size_t bytes = vdb_rng_below(&rng, sizeof piece);
        if (model_bytes + bytes > TOTAL_MAX) {
            break;
        }
        for (size_t i = 0; i < bytes; i++) {
            piece[i] = (uint8_t)vdb_rng_u64(&rng);
        }
        vdb_buf_put(&buf, piece, bytes);
        memcpy(model + model_bytes, piece, bytes);
        model_bytes += bytes;
    }
    assert_int_equal(buf.bytes, model_bytes);
    assert_memory_equal(buf.data, model, model_bytes);
    /* clear keeps the memory */
    size_t capacity = buf.capacity;
    uint8_t *data = buf.data;
    vdb_buf_clear(&buf);
    assert_int_equal(buf.bytes, 0);
    vdb_buf_put_u8(&buf, 9);
    assert_ptr_equal(buf.data, data);
    assert_int_equal(buf.capacity, capacity);
    vdb_buf_fini(&buf);
    free(model);
}

static void test_buf_printf_longer_than_the_first_block(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    char text[1000];
    memset(text, 'z', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 20; i++) {
        vdb_buf_printf(&buf, "%s|%d;", text, i);
    }
    assert_false(buf.failed);
    assert_int_equal(buf.bytes, 20 * (999 + 2) + 10 + 2 * 10);
    assert_memory_equal(buf.data + buf.bytes - 5, "z|19;", 5);
    vdb_buf_fini(&buf);
}

/* A failure sticks and changes nothing else; clear takes it away. */
static void test_buf_failure_sticks(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    vdb_buf_put_text(&buf, "kept");
    assert_false(vdb_buf_reserve(&buf, huge * 2 + 1)); /* SIZE_MAX: the sum wraps */
    assert_true(buf.failed);
    assert_false(vdb_buf_reserve(&buf, 1));
    vdb_buf_put_u32(&buf, 1);
    vdb_buf_printf(&buf, "%d", 1);
    vdb_buf_put_zeros(&buf, 1);
    assert_int_equal(buf.bytes, 4);
    assert_memory_equal(buf.data, "kept", 4);
    vdb_buf_clear(&buf);
    assert_false(vdb_buf_reserve(&buf, huge)); /* does not wrap, but nobody has that much */
    assert_true(buf.failed);
    vdb_buf_clear(&buf);
    vdb_buf_put_u8(&buf, 1);
    assert_false(buf.failed);
    vdb_buf_fini(&buf);
}

static void test_cursor_reads_what_was_put(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    struct vdb_cursor cursor;
    vdb_buf_put_u8(&buf, 0xfe);
    vdb_buf_put_u16(&buf, 0xfedc);
    vdb_buf_put_u32(&buf, 0xfedcba98);
    vdb_buf_put_u64(&buf, UINT64_C(0xfedcba9876543210));
    vdb_buf_put_text(&buf, "rest");
    vdb_cursor_init(&cursor, buf.data, buf.bytes);
    assert_int_equal(vdb_cursor_left(&cursor), 19);
    assert_int_equal(vdb_cursor_u8(&cursor), 0xfe);
    assert_int_equal(vdb_cursor_u16(&cursor), 0xfedc);
    assert_int_equal(vdb_cursor_u32(&cursor), 0xfedcba98);
    assert_true(vdb_cursor_u64(&cursor) == UINT64_C(0xfedcba9876543210));
    assert_memory_equal(vdb_cursor_take(&cursor, 4), "rest", 4);
    assert_int_equal(vdb_cursor_left(&cursor), 0);
    assert_non_null(vdb_cursor_take(&cursor, 0));
    assert_false(cursor.failed);
    vdb_buf_fini(&buf);
}

/* Each read at each length: exactly the reads that fit succeed, and a failure lasts. The input is copied to its
 * exact size, so that the address sanitizer sees a read past it. */
static void test_cursor_ends(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 4, 8, 5};
    for (size_t bytes = 0; bytes <= 9; bytes++) {
        uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
        memset(exact, 0xab, bytes);
        for (size_t kind = 0; kind < 5; kind++) {
            struct vdb_cursor cursor;
            vdb_cursor_init(&cursor, exact, bytes);
            uint64_t value = 0;
            const uint8_t *taken = exact;
            switch (kind) {
            case 0:
                value = vdb_cursor_u8(&cursor);
                break;
            case 1:
                value = vdb_cursor_u16(&cursor);
                break;
            case 2:
                value = vdb_cursor_u32(&cursor);
                break;
            case 3:
                value = vdb_cursor_u64(&cursor);
                break;
            default:
                taken = vdb_cursor_take(&cursor, sizes[kind]);
                break;
            }
            bool fits = sizes[kind] <= bytes;
            assert_int_equal(cursor.failed, !fits);
            assert_int_equal(vdb_cursor_left(&cursor), fits ? bytes - sizes[kind] : 0);
            if (kind < 4) {
                assert_int_equal(value & 0xff, fits ? 0xab : 0);
            } else {
                assert_int_equal(taken != NULL, fits);
            }
            if (!fits) {
                assert_int_equal(vdb_cursor_u8(&cursor), 0); /* although a byte may be left */
                assert_null(vdb_cursor_take(&cursor, 0));
                assert_true(cursor.failed);
            }
        }
        struct vdb_cursor cursor;
        vdb_cursor_init(&cursor, exact, bytes);
        assert_null(vdb_cursor_take(&cursor, SIZE_MAX)); /* the position must not wrap */
        assert_true(cursor.failed);
        vdb_cursor_init(&cursor, exact, bytes);
        if (vdb_cursor_take(&cursor, bytes) != NULL && bytes > 0) {
            assert_null(vdb_cursor_take(&cursor, SIZE_MAX - bytes + 1)); /* would wrap to the start */
            assert_true(cursor.failed);
        }
        free(exact);
    }
}

static void test_cursor_over_nothing(void **state)
{
    (void)state;
    struct vdb_cursor cursor;
    vdb_cursor_init(&cursor, NULL, 0);
    assert_int_equal(vdb_cursor_left(&cursor), 0);
    assert_int_equal(vdb_cursor_u32(&cursor), 0);
    assert_true(cursor.failed);
}

static void test_loads_and_stores_unaligned(void **state)
{
    (void)state;
    uint8_t bytes[24];
    for (size_t at = 0; at < 8; at++) {
        memset(bytes, 0x55, sizeof bytes);
        vdb_store_u16(bytes + at, 0x1234);
        assert_int_equal(bytes[at], 0x34);
        assert_int_equal(vdb_load_u16(bytes + at), 0x1234);
        vdb_store_u32(bytes + at, 0x12345678);
        assert_int_equal(bytes[at], 0x78);
        assert_int_equal(vdb_load_u32(bytes + at), 0x12345678);
        vdb_store_u64(bytes + at, UINT64_C(0x123456789abcdef0));
        assert_int_equal(bytes[at], 0xf0);
        assert_true(vdb_load_u64(bytes + at) == UINT64_C(0x123456789abcdef0));
        assert_int_equal(bytes[at + 8], 0x55);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_str),
        cmocka_unit_test(test_buf_layout_is_little_endian),
        cmocka_unit_test(test_buf_nothing_put_is_nothing),
        cmocka_unit_test(test_buf_grows),
        cmocka_unit_test(test_buf_printf_longer_than_the_first_block),
        cmocka_unit_test(test_buf_failure_sticks),
        cmocka_unit_test(test_cursor_reads_what_was_put),
        cmocka_unit_test(test_cursor_ends),
        cmocka_unit_test(test_cursor_over_nothing),
        cmocka_unit_test(test_loads_and_stores_unaligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
