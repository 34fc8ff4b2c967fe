/* test_base64.c: the vectors of RFC 4648 section 10, and everything that strict decoding refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/rng.h"

#include <stdlib.h>

static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
static const char *const encoded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

static bool decodes(const char *text, size_t bytes)
{
    uint8_t out[64];
    size_t written = 99;
    bool ok = vdb_base64_decode(text, bytes, out, sizeof out, &written);
    assert_true(ok || written == 0);
    return ok;
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        struct vdb_buf out = {0};
        uint8_t back[8];
        size_t written;
        vdb_base64_encode(&out, plain[i], strlen(plain[i]));
        assert_false(out.failed);
        assert_int_equal(out.bytes, strlen(encoded[i]));
        assert_memory_equal(out.data != NULL ? (const char *)out.data : "", encoded[i], out.bytes);
        assert_true(vdb_base64_decode(encoded[i], strlen(encoded[i]), back, sizeof back, &written));
        assert_int_equal(written, strlen(plain[i]));
        assert_memory_equal(back, plain[i], written);
        vdb_buf_fini(&out);
    }
}

static void test_encode_appends(void **state)
{
    (void)state;
    struct vdb_buf out = {0};
    vdb_buf_put_text(&out, "x=");
    vdb_base64_encode(&out, "fo", 2);
    assert_int_equal(out.bytes, 6);
    assert_memory_equal(out.data, "x=Zm8=", 6);
    vdb_buf_fini(&out);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",    "Zg",     "Zg=",   "Zg===", "=",        "==",       "===",      "====",
        "Z===", "=Zg=",   "Zg=v",  /* length and padding */
        "Zh==", "Zm9=",   "Zm8/=", /* unused bits */
        "Zm 9", "Zm9v\n", "\nZm9", "Zm-_",  "Zm9v,A==", "Zg==Zm9v", "Zm8=Zm8=", "Z\xc3\xa9g",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (decodes(bad[i], strlen(bad[i]))) {
            fail_msg("decoded: %s", bad[i]);
        }
    }
    assert_false(decodes("Zm9\0", 4));
}

/* Every byte value in every position of a group: exactly the 64 of the alphabet are taken. */
static void test_alphabet(void **state)
{
    (void)state;
    for (size_t position = 0; position < 4; position++) {
        unsigned accepted = 0;
        for (unsigned c = 0; c < 256; c++) {
            char text[8] = "AAAABBBB";
            text[position] = (char)c;
            accepted += decodes(text, sizeof text);
        }
        assert_int_equal(accepted, 64);
    }
    assert_true(decodes("+/+/", 4));
}

static void test_capacity(void **state)
{
    (void)state;
    uint8_t out[4] = {0, 0, 0, 0xaa};
    size_t written;
    assert_true(vdb_base64_decode("Zm9v", 4, out, 3, &written));
    assert_int_equal(out[3], 0xaa);
    assert_false(vdb_base64_decode("Zm9v", 4, out, 2, &written));
    assert_int_equal(written, 0);
    assert_true(vdb_base64_decode("Zg==", 4, out, 1, &written));
    assert_false(vdb_base64_decode("Zg==", 4, out, 0, &written));
    assert_true(vdb_base64_decode("", 0, NULL, 0, &written));
    assert_int_equal(written, 0);
}

static void test_random_round_trip(void **state)
{
    (void)state;
    uint64_t seed = 4648;
    struct vdb_rng rng;
    print_message("seed %llu\n", (unsigned long long)seed);
    vdb_rng_init(&rng, seed);
    for (int round = 0; round < 500; round++) {
        size_t bytes = (size_t)vdb_rng_below(&rng, 300);
        uint8_t *data = malloc(bytes + 1);
        uint8_t *back = malloc(bytes + 1);
        struct vdb_buf out = {0};
        size_t written;
        assert_non_null(data);
        assert_non_null(back);
        for (size_t i = 0; i < bytes; i++) {
            data[i] = (uint8_t)vdb_rng_u64(&rng);
        }
        vdb_base64_encode(&out, data, bytes);
        assert_int_equal(out.bytes, (bytes + 2) / 3 * 4);
        assert_true(vdb_base64_decode((const char *)out.data, out.bytes, back, bytes, &written));
        assert_int_equal(written, bytes);
        assert_memory_equal(back, data, bytes);
        vdb_buf_fini(&out);
        free(data);
        free(back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),  cmocka_unit_test(test_encode_appends),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_alphabet),
        cmocka_unit_test(test_capacity), cmocka_unit_test(test_random_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
