/* test_json.c: the JSON reader and writer: what they accept, refuse, and say. Differences against a second parser
 * are fuzz_json's business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/decimal.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/rng.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { RANDOM_ROUNDS = 20000 };

static struct vdb_json reader_of(const char *text)
{
    struct vdb_json json;
    vdb_json_init(&json, text, strlen(text), VDB_LIMIT_JSON_DEPTH_MAX);
    return json;
}

/* The status of reading the whole text as one value of any type. */
static vdb_status check_text(const char *text, size_t bytes, struct vdb_err *err)
{
    /* On the heap in exact size, so that the address sanitizer sees a read past the end. */
    char *exact = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(exact);
    memcpy(exact, text, bytes);
    struct vdb_json json;
    vdb_json_init(&json, exact, bytes, VDB_LIMIT_JSON_DEPTH_MAX);
    vdb_status status = vdb_json_skip(&json, NULL, err);
    if (status == VDB_OK) {
        status = vdb_json_end(&json, err);
    }
    free(exact);
    return status;
}

static void assert_refused(const char *text, const char *error)
{
    struct vdb_err err;
    assert_int_equal(check_text(text, strlen(text), &err), VDB_INVALID);
    assert_string_equal(err.text, error);
}

static void test_accepts_every_value(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "12",
        "-1.5",
        "1e5",
        "1E+5",
        "0.25e-3",
        "\"\"",
        "\"a\"",
        "[]",
        "{}",
        " \t\r\n[ 1 , [ ] , { \"a\" : { } } ] \n",
        "{\"a\":1,\"a\":2}",
        "\"\\u0000\"",
        "\"\\ud83d\\ude00\"",
        "\"\x7f\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct vdb_err err;
        if (check_text(texts[i], strlen(texts[i]), &err) != VDB_OK) {
            fail_msg("%s: %s", texts[i], err.text);
        }
    }
}

static void test_refusals_name_the_byte(void **state)
{
    (void)state;
    assert_refused("", "byte 0: expected a value, found the end of the text");
    assert_refused("  x", "byte 2: expected a value, found 'x'");
    assert_refused("\xef\xbb\xbf{}", "byte 0: expected a value, found byte 0xef");
    assert_refused("{\"a\": 1 x", "byte 8: expected ',' or '}', found 'x'");
    assert_refused("{\"a\" 1}", "byte 5: expected ':', found '1'");
    assert_refused("{a: 1}", "byte 1: expected a key or '}', found 'a'");
    assert_refused("{\"a\":1,}", "byte 7: expected a key, found '}'");
    assert_refused("[1,]", "byte 3: expected a value, found ']'");
    assert_refused("[1 2]", "byte 3: expected ',' or ']', found '2'");
    assert_refused("[1}", "byte 2: expected ',' or ']', found '}'");
    assert_refused("[,1]", "byte 1: expected a value, found ','");
    assert_refused("[", "byte 1: expected a value, found the end of the text");
    assert_refused("1 2", "byte 2: expected the end of the text, found '2'");
    assert_refused("tru", "byte 3: expected true, found the end of the text");
    assert_refused("nuLl", "byte 2: expected null, found 'L'");
    assert_refused("01", "byte 1: a number must not begin with 0");
    assert_refused("-01", "byte 2: a number must not begin with 0");
    assert_refused("-", "byte 1: expected a digit, found the end of the text");
    assert_refused("1.", "byte 2: expected a digit, found the end of the text");
    assert_refused("1.e5", "byte 2: expected a digit, found 'e'");
    assert_refused("1e+", "byte 3: expected a digit, found the end of the text");
    assert_refused("+1", "byte 0: expected a value, found '+'");
    assert_refused(".5", "byte 0: expected a value, found '.'");
    assert_refused("NaN", "byte 0: expected a value, found 'N'");
    assert_refused("\"abc", "byte 4: expected '\"' to end the string, found the end of the text");
    assert_refused("\"a\nb\"", "byte 2: control character 0x0a in a string must be escaped");
    assert_refused("\"\\q\"", "byte 2: expected an escape (one of \" \\ / b f n r t u), found 'q'");
    assert_refused("\"\\", "byte 2: expected an escape (one of \" \\ / b f n r t u), found the end of the text");
    assert_refused("\"\\u12g4\"", "byte 5: expected a hexadecimal digit, found 'g'");
    assert_refused("\"\\u12", "byte 5: expected a hexadecimal digit, found the end of the text");
    assert_refused("\"\\ud83d\"", "byte 1: lone surrogate \\ud83d");
    assert_refused("\"\\ud83d\\u0041\"", "byte 1: lone surrogate \\ud83d");
    assert_refused("\"\\ud83d\\ud83d\"", "byte 1: lone surrogate \\ud83d");
    assert_refused("\"\\ude00\\ud83d\"", "byte 1: lone surrogate \\ude00");
}

static void test_refuses_ill_formed_utf8(void **state)
{
    (void)state;
    static const char *const sequences[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xc3(",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe2\x82",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf0\x9f\x98",
        "\xff",
    };
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
        for (int in_word = 0; in_word < 2; in_word++) {
            char text[64];
            struct vdb_err err;
            snprintf(text, sizeof text, "\"%s%s%s\"", in_word ? "0123456789" : "", sequences[i],
                     in_word ? "0123456789" : "");
            assert_int_equal(check_text(text, strlen(text), &err), VDB_INVALID);
            assert_non_null(strstr(err.text, "is not well-formed UTF-8"));
        }
    }
}

static void test_depth_limit(void **state)
{
    (void)state;
    char text[4 * VDB_LIMIT_JSON_DEPTH_MAX + 16];
    for (unsigned over = 0; over < 2; over++) {
        unsigned depth = VDB_LIMIT_JSON_DEPTH_MAX + over;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct vdb_err err;
        assert_int_equal(check_text(text, 2 * depth, &err), over ? VDB_LIMIT : VDB_OK);
        if (over) {
            assert_string_equal(err.text, "byte 64: nested deeper than 64");
        }
    }
    struct vdb_json json = reader_of("[[1]]");
    json.depth_max = 1;
    bool more;
    assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_OK);
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_OK);
    assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_LIMIT);
}

/* The walk a caller writes: objects in arrays in objects, empty ones too, so that a wrong `fresh` would show. */
static void test_streaming_walk(void **state)
{
    (void)state;
    struct vdb_json json = reader_of(
        "{\"points\": [{\"id\": 1, \"v\": [0.5, -2]}, {\"v\": [], \"id\": 2}], \"e\": {}, \"k\": 10}");
    struct vdb_str key;
    bool more;
    double sum = 0;
    uint64_t ids = 0;
    unsigned keys = 0;
    assert_int_equal(vdb_json_enter_object(&json, NULL), VDB_OK);
    while (vdb_json_next_key(&json, &key, &more, NULL) == VDB_OK && more) {
        keys++;
        if (vdb_json_raw_is(key, "k")) {
            uint64_t k;
            assert_int_equal(vdb_json_u64(&json, &k, NULL), VDB_OK);
            assert_int_equal(k, 10);
            continue;
        }
        if (vdb_json_raw_is(key, "e")) {
            assert_int_equal(vdb_json_enter_object(&json, NULL), VDB_OK);
            assert_int_equal(vdb_json_next_key(&json, &key, &more, NULL), VDB_OK);
            assert_false(more);
            continue;
        }
        assert_true(vdb_json_raw_is(key, "points"));
        assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_OK);
        while (vdb_json_next_item(&json, &more, NULL) == VDB_OK && more) {
            assert_int_equal(vdb_json_enter_object(&json, NULL), VDB_OK);
            while (vdb_json_next_key(&json, &key, &more, NULL) == VDB_OK && more) {
                if (vdb_json_raw_is(key, "id")) {
                    uint64_t id;
                    assert_int_equal(vdb_json_u64(&json, &id, NULL), VDB_OK);
                    ids = ids * 10 + id;
                } else {
                    assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_OK);
                    while (vdb_json_next_item(&json, &more, NULL) == VDB_OK && more) {
                        float value;
                        assert_int_equal(vdb_json_float(&json, &value, NULL), VDB_OK);
                        sum += (double)value;
                    }
                }
            }
        }
    }
    assert_int_equal(vdb_json_end(&json, NULL), VDB_OK);
    assert_int_equal(keys, 3);
    assert_int_equal(ids, 12);
    assert_true(sum == -1.5);
}

static void test_comma_after_nested_container(void **state)
{
    (void)state;
    assert_refused("[[] []]", "byte 4: expected ',' or ']', found '['");
    assert_refused("[[1] 2]", "byte 5: expected ',' or ']', found '2'");
    assert_refused("{\"a\":{} \"b\":1}", "byte 8: expected ',' or '}', found '\"'");
    struct vdb_json json = reader_of("[[] 1]");
    bool more;
    assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_OK);
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_OK);
    assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_OK);
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_OK);
    assert_false(more);
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_INVALID);
}

static void test_wrong_type_is_named(void **state)
{
    (void)state;
    struct vdb_err err;
    float value;
    bool flag;
    struct vdb_str raw;
    struct vdb_json json = reader_of(" \"x\"");
    assert_int_equal(vdb_json_float(&json, &value, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 1: expected a number, found a string");
    json = reader_of("7");
    assert_int_equal(vdb_json_string_raw(&json, &raw, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 0: expected a string, found a number");
    json = reader_of("null");
    assert_int_equal(vdb_json_bool(&json, &flag, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 0: expected a boolean, found null");
    json = reader_of("[]");
    assert_int_equal(vdb_json_enter_object(&json, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 0: expected an object, found an array");
    json = reader_of("false");
    assert_int_equal(vdb_json_enter_array(&json, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 0: expected an array, found a boolean");
    json = reader_of("{}");
    assert_int_equal(vdb_json_null(&json, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 0: expected null, found an object");
}

static void test_dead_reader_stays_dead(void **state)
{
    (void)state;
    struct vdb_json json = reader_of("\"text\" 5");
    double value;
    vdb_json_type type;
    struct vdb_str raw;
    bool more;
    struct vdb_err err;
    assert_int_equal(vdb_json_double(&json, &value, &err), VDB_INVALID);
    /* The string is there for the taking, but not any more. */
    assert_int_equal(vdb_json_string_raw(&json, &raw, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 0: reading has failed here before");
    assert_int_equal(vdb_json_peek(&json, &type, NULL), VDB_INVALID);
    assert_int_equal(vdb_json_skip(&json, NULL, NULL), VDB_INVALID);
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_INVALID);
    assert_int_equal(vdb_json_next_key(&json, &raw, &more, NULL), VDB_INVALID);
    assert_int_equal(vdb_json_end(&json, NULL), VDB_INVALID);
}

static void test_u64_bounds(void **state)
{
    (void)state;
    static const char *const good[] = {"0", "1", "4294967296", "18446744073709551615"};
    static const uint64_t values[] = {0, 1, 4294967296u, UINT64_MAX};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t value;
        struct vdb_json json = reader_of(good[i]);
        assert_int_equal(vdb_json_u64(&json, &value, NULL), VDB_OK);
        assert_true(value == values[i]);
    }
    static const char *const bad[] = {
        "18446744073709551616", "99999999999999999999999", "-1", "-0", "1.0", "1e2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t value;
        struct vdb_err err;
        struct vdb_json json = reader_of(bad[i]);
        char expected[128];
        snprintf(expected, sizeof expected,
                 "byte 0: expected an integer from 0 to 18446744073709551615, found %s", bad[i]);
        assert_int_equal(vdb_json_u64(&json, &value, &err), VDB_INVALID);
        assert_string_equal(err.text, expected);
    }
}

static void assert_reads_like_the_library(const char *text)
{
    struct vdb_decimal decimal;
    assert_true(vdb_decimal_scan(text, strlen(text), &decimal));
    assert_int_equal(decimal.bytes, strlen(text));
    double expected = strtod(text, NULL);
    double value = vdb_decimal_to_double(&decimal);
    float expected_float = strtof(text, NULL);
    float value_float = vdb_decimal_to_float(&decimal);
    if (memcmp(&expected, &value, sizeof value) != 0) {
        fail_msg("%s: double %a, not %a", text, value, expected);
    }
    if (memcmp(&expected_float, &value_float, sizeof value_float) != 0) {
        fail_msg("%s: float %a, not %a", text, (double)value_float, (double)expected_float);
    }
}

static void test_numbers_are_correctly_rounded(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "0e999999999999999999999",
        "-0.0e-5",
        "1",
        "9007199254740992",
        "9007199254740993",
        "9007199254740995",
        "1e22",
        "1e23",
        "123456789012345678",
        "1e27",
        "1e28",
        "1e-27",
        "1e-28",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e308",
        "4.9406564584124654e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1e-400",
        "2.2250738585072011e-308",
        /* halves of the last place of a float: exact ties and their neighbours, of which some lie so near to the
         * tie that a double of them is the tie itself */
        "16777217",
        "16777219",
        "16777217.0000001",
        "16777216.9999999",
        "1.00000005960464477539062500",
        "1.00000005960464477539062501",
        "1.00000005960464477539062499",
        "1.000000178813934326171875",
        "3.4028235677973366e38",
        "3.4028235677973365e38",
        "3.4028234663852886e38",
        "1.1754943508222875e-38",
        "7.006492321624085e-46",
        "7.006492321624086e-46",
        "1.401298464324817e-45",
        "0.1000000014901161193847656250000000000000000000000000000000000000000000000000000000000000001",
        "123456789012345678901234567890",
        "0.00000000000000000000000000000000000000000000000000123456789",
        "10000000000000000000000000000000000000000000000000000000000",
        "18446744073709551616",
        "9999999999999999999",
        "99999999999999999999.9",
        "1e00000000000000000000000000000001",
        "1e-00022",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_reads_like_the_library(texts[i]);
    }
}

/* The midpoint of two neighbouring doubles in full, then a hair above: more digits than the bounded copy holds.
 */
static void test_very_long_numbers(void **state)
{
    (void)state;
    enum { ZEROS = 4000 };
    char *text = malloc(ZEROS + 2000);
    assert_non_null(text);
    double low = 0x1.0000000000002p-1022; /* even: the tie itself goes down to it */
    int bytes = sprintf(text, "%.1075Lf", (long double)low + 0x1p-1075L);
    assert_reads_like_the_library(text);
    struct vdb_decimal decimal;
    assert_true(vdb_decimal_scan(text, strlen(text), &decimal));
    assert_true(vdb_decimal_to_double(&decimal) == low);
    memset(text + bytes, '0', ZEROS);
    strcpy(text + bytes + ZEROS, "1");
    assert_reads_like_the_library(text);
    assert_true(vdb_decimal_scan(text, strlen(text), &decimal));
    assert_true(vdb_decimal_to_double(&decimal) > low);

    text[0] = '1';
    memset(text + 1, '0', ZEROS);
    strcpy(text + 1 + ZEROS, "e-4000");
    assert_true(vdb_decimal_scan(text, strlen(text), &decimal));
    assert_true(vdb_decimal_to_double(&decimal) == 1.0);
    assert_true(vdb_decimal_to_float(&decimal) == 1.0f);
    free(text);
}

static void test_random_numbers(void **state)
{
    (void)state;
    uint64_t seed = 20240611;
    struct vdb_rng rng;
    print_message("seed %llu\n", (unsigned long long)seed);
    vdb_rng_init(&rng, seed);
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        char text[512];
        uint64_t bits = vdb_rng_u64(&rng);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) {
            snprintf(text, sizeof text, "%.*e", (int)vdb_rng_below(&rng, 22), value);
            assert_reads_like_the_library(text);
        }
        snprintf(text, sizeof text, "%llue%d", (unsigned long long)(bits >> vdb_rng_below(&rng, 64)),
                 (int)vdb_rng_below(&rng, 90) - 45);
        assert_reads_like_the_library(text);
        /* Between two floats: an exact tie, and a hair above it. */
        float low = ldexpf((float)vdb_rng_double(&rng) + 0.5f, (int)vdb_rng_below(&rng, 40) - 20);
        double tie = ((double)low + (double)nextafterf(low, INFINITY)) / 2;
        snprintf(text, sizeof text, "%.*f", 50 + (int)vdb_rng_below(&rng, 60), tie);
        assert_reads_like_the_library(text);
        strcat(text, "1");
        assert_reads_like_the_library(text);
        /* Beside the tie of two floats, but so near that the nearest double is the tie: rounding twice goes
         * wrong. */
        low = 0.25f + 0.25f * (float)vdb_rng_double(&rng);
        tie = ((double)low + (double)nextafterf(low, INFINITY)) / 2;
        snprintf(text, sizeof text, "%.16f", tie);
        assert_reads_like_the_library(text);
    }
}

static void test_overflow_is_refused(void **state)
{
    (void)state;
    struct vdb_err err;
    double wide;
    float narrow;
    struct vdb_json json = reader_of("[1e309]");
    bool more;
    assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_OK);
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_OK);
    assert_int_equal(vdb_json_double(&json, &wide, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 1: 1e309 is out of the range of a double");
    json = reader_of("-3.5e38");
    assert_int_equal(vdb_json_float(&json, &narrow, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 0: -3.5e38 is out of the range of a 32-bit float");
    json = reader_of("3.4028235e38");
    assert_int_equal(vdb_json_float(&json, &narrow, &err), VDB_OK);
    assert_true(narrow == FLT_MAX);
    json = reader_of("99999999999999999999e20"); /* decided by integers, not by the C library */
    assert_int_equal(vdb_json_float(&json, &narrow, &err), VDB_INVALID);
    json = reader_of("1e-50");
    assert_int_equal(vdb_json_float(&json, &narrow, &err), VDB_OK);
    assert_true(narrow == 0.0f);
}

/* A locale with a decimal comma must change neither reading nor writing. The sandbox of a build may have none:
 * then this test can only say so. */
static void test_locale_does_not_matter(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !found; i++) {
        found = setlocale(LC_NUMERIC, names[i]) != NULL;
    }
    if (!found) {
        print_message("no locale with a decimal comma is installed\n");
        skip();
    }
    double value;
    struct vdb_buf out = {0};
    struct vdb_json json = reader_of("1.25e-40"); /* the slow way */
    vdb_status status = vdb_json_double(&json, &value, NULL);
    vdb_json_put_double(&out, 1.25e-40);
    vdb_buf_put_u8(&out, 0);
    setlocale(LC_NUMERIC, "C");
    assert_int_equal(status, VDB_OK);
    assert_true(value == 1.25e-40);
    assert_string_equal((char *)out.data, "1.25e-40");
    vdb_buf_fini(&out);
}

static void assert_unescaped(const char *text, const char *expected, size_t bytes)
{
    struct vdb_buf out = {0};
    struct vdb_str raw;
    struct vdb_json json = reader_of(text);
    assert_int_equal(vdb_json_string_raw(&json, &raw, NULL), VDB_OK);
    vdb_json_unescape(raw, &out);
    assert_false(out.failed);
    assert_int_equal(vdb_json_end(&json, NULL), VDB_OK);
    assert_int_equal(out.bytes, bytes);
    assert_memory_equal(out.data != NULL ? (const char *)out.data : "", expected, bytes);
    vdb_buf_fini(&out);
}

static void test_strings_are_unescaped(void **state)
{
    (void)state;
    assert_unescaped("\"\"", "", 0);
    assert_unescaped("\"plain, longer than a word\"", "plain, longer than a word", 25);
    assert_unescaped("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
    assert_unescaped("\"a\\u0041\\u00e9\\u20AC\\uD83D\\ude00z\"", "aA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 12);
    assert_unescaped("\"x\\u0000y\"", "x\0y", 3);
    assert_unescaped("\"\\ud800\\udc00\\udbff\\udfff\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8);
}

static void test_raw_is(void **state)
{
    (void)state;
    assert_true(vdb_json_raw_is(vdb_str_of("vector"), "vector"));
    assert_true(vdb_json_raw_is(vdb_str_of("v\\u0065ctor"), "vector"));
    assert_true(vdb_json_raw_is(vdb_str_of("\\u00e9\\n"), "\xc3\xa9\n"));
    assert_true(vdb_json_raw_is(vdb_str_of(""), ""));
    assert_false(vdb_json_raw_is(vdb_str_of("vecto"), "vector"));
    assert_false(vdb_json_raw_is(vdb_str_of("vectors"), "vector"));
    assert_false(vdb_json_raw_is(vdb_str_of("Vector"), "vector"));
    assert_false(vdb_json_raw_is(vdb_str_of("vector\\u0000"), "vector"));
    assert_false(vdb_json_raw_is((struct vdb_str){"vector\0x", 8}, "vector"));
    assert_false(vdb_json_raw_is(vdb_str_of("\\u00e9"), "\xc3"));
}

static void test_skip_gives_the_raw_text(void **state)
{
    (void)state;
    struct vdb_json json = reader_of(" [ {\"a\": [1, 2]} , -1.50e3 ]");
    bool more;
    struct vdb_str raw;
    assert_int_equal(vdb_json_enter_array(&json, NULL), VDB_OK);
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_OK);
    assert_int_equal(vdb_json_skip(&json, &raw, NULL), VDB_OK);
    assert_true(vdb_str_is(raw, "{\"a\": [1, 2]}"));
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_OK);
    assert_int_equal(vdb_json_skip(&json, &raw, NULL), VDB_OK);
    assert_true(vdb_str_is(raw, "-1.50e3"));
    assert_int_equal(vdb_json_next_item(&json, &more, NULL), VDB_OK);
    assert_false(more);
    assert_int_equal(vdb_json_end(&json, NULL), VDB_OK);
}

static void assert_compact(const char *text, const char *expected)
{
    struct vdb_buf out = {0};
    struct vdb_json json = reader_of(text);
    assert_int_equal(vdb_json_compact(&json, &out, NULL), VDB_OK);
    assert_int_equal(vdb_json_end(&json, NULL), VDB_OK);
    vdb_buf_put_u8(&out, 0);
    assert_string_equal((char *)out.data, expected);
    vdb_buf_fini(&out);
}

static void test_compact_is_canonical(void **state)
{
    (void)state;
    assert_compact(" { } ", "{}");
    assert_compact("[ [ ] , { } , [ 1 ] ]", "[[],{},[1]]");
    assert_compact("{ \"b\" : 1.50e+3 , \"a\" : [ true , false , null ] , \"b\" : -0 }",
                   "{\"b\":1.50e+3,\"a\":[true,false,null],\"b\":-0}");
    assert_compact("\"\\u0041\\/\\u000a\\u001f\\u0022\\u00e9\\ud83d\\ude00\"",
                   "\"A/\\n\\u001f\\\"\xc3\xa9\xf0\x9f\x98\x80\"");
    assert_compact("{\"\\u006bey\": \"\\u007f\"}", "{\"key\":\"\x7f\"}");
    struct vdb_buf out = {0};
    struct vdb_err err;
    struct vdb_json json = reader_of("[1, 2");
    assert_int_equal(vdb_json_compact(&json, &out, &err), VDB_INVALID);
    assert_string_equal(err.text, "byte 5: expected ',' or ']', found the end of the text");
    vdb_buf_fini(&out);
}

static void test_put_string(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t bytes;
        const char *expected;
    } cases[] = {
        {"", 0, "\"\""},
        {"a/b\x7f", 4, "\"a/b\x7f\""},
        {"\"\\\b\f\n\r\t\0\x1f", 9, "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\""},
        {"\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         3,
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vdb_buf out = {0};
        vdb_json_put_string(&out, (struct vdb_str){cases[i].text, cases[i].bytes});
        assert_int_equal(out.bytes, strlen(cases[i].expected));
        assert_memory_equal(out.data, cases[i].expected, out.bytes);
        assert_int_equal(check_text((const char *)out.data, out.bytes, NULL), VDB_OK);
        vdb_buf_fini(&out);
    }
}

static void assert_put(bool is_float, double value, const char *expected)
{
    struct vdb_buf out = {0};
    if (is_float) {
        vdb_json_put_float(&out, (float)value);
    } else {
        vdb_json_put_double(&out, value);
    }
    vdb_buf_put_u8(&out, 0);
    assert_string_equal((char *)out.data, expected);
    vdb_buf_fini(&out);
}

static void test_put_numbers(void **state)
{
    (void)state;
    assert_put(false, 0.0, "0");
    assert_put(false, -0.0, "-0");
    assert_put(false, 3.0, "3");
    assert_put(false, -12345678.0, "-12345678");
    assert_put(false, 9007199254740991.0, "9007199254740991");
    assert_put(false, 9007199254740993.0, "9007199254740992");
    assert_put(false, 1e22, "1e22");
    assert_put(false, 0.1, "0.1");
    assert_put(false, 0.1 + 0.2, "0.30000000000000004");
    assert_put(false, 1.0 / 3.0, "0.3333333333333333");
    assert_put(false, 100.25, "100.25");
    assert_put(false, 0.00012, "0.00012");
    assert_put(false, 0.000012, "1.2e-5");
    assert_put(false, 1.5e-7, "1.5e-7");
    assert_put(false, DBL_MAX, "1.7976931348623157e308");
    assert_put(false, 0x1p-1074, "5e-324");
    assert_put(false, DBL_MIN, "2.2250738585072014e-308");
    assert_put(true, 0.1, "0.1");
    assert_put(true, -2.5, "-2.5");
    assert_put(true, 16777216.0, "16777216");
    assert_put(true, 1.0 / 3.0, "0.33333334");
    assert_put(true, (double)FLT_MAX, "3.4028235e38");
    assert_put(true, 0x1p-149, "1e-45");
    assert_put(true, (double)FLT_MIN, "1.1754944e-38");
    assert_put(true, 1e10, "10000000000");
}

/* Digits without the zeros at both ends. */
static size_t significant_digits(const char *text)
{
    size_t count = 0;
    size_t last = 0;
    for (const char *p = text; *p != '\0' && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9' && (count > 0 || *p != '0')) {
            count++;
            last = *p != '0' ? count : last;
        }
    }
    return last;
}

static void test_put_numbers_random(void **state)
{
    (void)state;
    uint64_t seed = 77;
    struct vdb_rng rng;
    print_message("seed %llu\n", (unsigned long long)seed);
    vdb_rng_init(&rng, seed);
    struct vdb_buf out = {0};
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        char shortest[64];
        uint64_t bits = vdb_rng_u64(&rng);
        uint32_t half = (uint32_t)bits;
        double wide = vdb_rng_double(&rng);
        float narrow;
        memcpy(&narrow, &half, sizeof narrow);
        if (i % 2 == 0) {
            memcpy(&wide, &bits, sizeof wide);
            narrow = vdb_rng_normal(&rng);
        }
        if (isfinite(wide)) {
            int length = 1;
            do {
                snprintf(shortest, sizeof shortest, "%.*e", length - 1, wide);
            } while (strtod(shortest, NULL) != wide && length++ < 17);
            vdb_buf_clear(&out);
            vdb_json_put_double(&out, wide);
            vdb_buf_put_u8(&out, 0);
            double back = strtod((char *)out.data, NULL);
            assert_memory_equal(&back, &wide, sizeof wide);
            assert_int_equal(significant_digits((char *)out.data), significant_digits(shortest));
            assert_int_equal(check_text((char *)out.data, out.bytes - 1, NULL), VDB_OK);
        }
        if (isfinite(narrow)) {
            int length = 1;
            do {
                snprintf(shortest, sizeof shortest, "%.*e", length - 1, (double)narrow);
            } while (strtof(shortest, NULL) != narrow && length++ < 9);
            vdb_buf_clear(&out);
            vdb_json_put_float(&out, narrow);
            vdb_buf_put_u8(&out, 0);
            float back = strtof((char *)out.data, NULL);
            assert_memory_equal(&back, &narrow, sizeof narrow);
            assert_int_equal(significant_digits((char *)out.data), significant_digits(shortest));
        }
    }
    vdb_buf_fini(&out);
}

static void test_type_names(void **state)
{
    (void)state;
    assert_string_equal(vdb_json_type_name(VDB_JSON_NULL), "null");
    assert_string_equal(vdb_json_type_name(VDB_JSON_BOOL), "boolean");
    assert_string_equal(vdb_json_type_name(VDB_JSON_NUMBER), "number");
    assert_string_equal(vdb_json_type_name(VDB_JSON_STRING), "string");
    assert_string_equal(vdb_json_type_name(VDB_JSON_ARRAY), "array");
    assert_string_equal(vdb_json_type_name(VDB_JSON_OBJECT), "object");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_every_value),
        cmocka_unit_test(test_refusals_name_the_byte),
        cmocka_unit_test(test_refuses_ill_formed_utf8),
        cmocka_unit_test(test_depth_limit),
        cmocka_unit_test(test_streaming_walk),
        cmocka_unit_test(test_comma_after_nested_container),
        cmocka_unit_test(test_wrong_type_is_named),
        cmocka_unit_test(test_dead_reader_stays_dead),
        cmocka_unit_test(test_u64_bounds),
        cmocka_unit_test(test_numbers_are_correctly_rounded),
        cmocka_unit_test(test_very_long_numbers),
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_overflow_is_refused),
        cmocka_unit_test(test_locale_does_not_matter),
        cmocka_unit_test(test_strings_are_unescaped),
        cmocka_unit_test(test_raw_is),
        cmocka_unit_test(test_skip_gives_the_raw_text),
        cmocka_unit_test(test_compact_is_canonical),
        cmocka_unit_test(test_put_string),
        cmocka_unit_test(test_put_numbers),
        cmocka_unit_test(test_put_numbers_random),
        cmocka_unit_test(test_type_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
