/* test_convert.c: narrowing and widening, against the definition of binary16 and over all 8-bit values. */
#include "support.h"

#include <math.h>

#include "base/convert.h"
#include "base/rng.h"

/* The value of a half by the format's definition. */
static double value_of(uint16_t half)
{
    const int exponent = half >> 10 & 31;
    const double fraction = half & 1023;
    double value = exponent > 0 ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    value = exponent < 31 ? value : fraction > 0 ? (double)NAN : (double)INFINITY;
    return (half & 0x8000) != 0 ? -value : value;
}

static float widen_one(vdb_element element, const void *vector)
{
    float value;
    vdb_convert_widen(element, vector, 1, &value);
    return value;
}

static uint16_t to_half(float value)
{
    uint16_t half;
    vdb_convert_narrow(VDB_ELEMENT_F16, &value, 1, &half);
    return half;
}

/* All 65,536 of them, together (the compilers' vector code) and alone. */
static void test_every_half(void **state)
{
    (void)state;
    static uint16_t halves[65536];
    static float floats[65536];
    static uint16_t again[65536];
    for (uint32_t bits = 0; bits < 65536; bits++) {
        halves[bits] = (uint16_t)bits;
    }
    vdb_convert_widen(VDB_ELEMENT_F16, halves, 65536, floats);
    vdb_convert_narrow(VDB_ELEMENT_F16, floats, 65536, again);
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const double wanted = value_of((uint16_t)bits);
        float alone = widen_one(VDB_ELEMENT_F16, &halves[bits]);
        assert_int_equal(signbit(floats[bits]) != 0, bits >> 15);
        assert_memory_equal(&alone, &floats[bits], sizeof alone);
        if (isnan(wanted)) {
            assert_true(isnan(floats[bits]));
            assert_true(isnan(value_of(again[bits])));
            assert_int_equal(again[bits] >> 15, bits >> 15);
            continue;
        }
        assert_true((double)floats[bits] == wanted);
        assert_int_equal(again[bits], bits);
        assert_int_equal(to_half(floats[bits]), bits);
        assert_true(vdb_convert_is_exact(VDB_ELEMENT_F16, &floats[bits], 1));
    }
}

/* Between every two neighbours: below the middle, on it (to the even one), above it. */
static void test_halves_round_to_nearest(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7BFF; bits++) {
        float below = (float)value_of((uint16_t)bits);
        float above = (float)value_of((uint16_t)(bits + 1));
        float middle = (below + above) / 2; /* exact: a float has 13 more digits */
        uint32_t even = bits % 2 == 0 ? bits : bits + 1;
        for (int sign = 0; sign < 2; sign++) {
            uint32_t add = sign != 0 ? 0x8000 : 0;
            float by = sign != 0 ? -1.0f : 1.0f;
            assert_int_equal(to_half(by * middle), even + add);
            assert_int_equal(to_half(by * nextafterf(middle, 0)), bits + add);
            assert_int_equal(to_half(by * nextafterf(middle, INFINITY)), bits + 1 + add);
            float odd = by * middle;
            assert_false(vdb_convert_is_exact(VDB_ELEMENT_F16, &odd, 1));
        }
    }
    assert_int_equal(to_half(VDB_CONVERT_F16_MAX), 0x7BFF);
    assert_int_equal(to_half(nextafterf(65520, 0)), 0x7BFF);
    assert_int_equal(to_half(65520), 0x7C00);
    assert_int_equal(to_half(-65520), 0xFC00);
    assert_int_equal(to_half(65536), 0x7C00);
    assert_int_equal(to_half(0x1p127f), 0x7C00);
    assert_int_equal(to_half(-INFINITY), 0xFC00);
    assert_true(isnan(value_of(to_half(NAN))));
    assert_int_equal(to_half(0x1p-25f), 0);
    assert_int_equal(to_half(nextafterf(0x1p-25f, 1)), 1);
    assert_int_equal(to_half(0x1p-140f), 0);
    assert_int_equal(to_half(-0x1p-140f), 0x8000);
}

static void test_every_byte(void **state)
{
    (void)state;
    for (int value = -400; value <= 400; value++) {
        for (int e = 0; e < 2; e++) {
            vdb_element element = e == 0 ? VDB_ELEMENT_U8 : VDB_ELEMENT_I8;
            int least = vdb_convert_least(element);
            int greatest = vdb_convert_greatest(element);
            int wanted = value < least ? least : value > greatest ? greatest : value;
            float whole = (float)value;
            float more = whole + (value < 0 ? -0.5f : 0.5f);
            uint8_t byte;
            vdb_convert_narrow(element, &whole, 1, &byte);
            assert_true(widen_one(element, &byte) == (float)wanted);
            assert_int_equal(vdb_convert_is_exact(element, &whole, 1), value == wanted);
            vdb_convert_narrow(element, &more, 1, &byte);
            assert_true(widen_one(element, &byte) == (float)wanted);
            assert_false(vdb_convert_is_exact(element, &more, 1));
        }
    }
    assert_int_equal(vdb_convert_least(VDB_ELEMENT_U8), 0);
    assert_int_equal(vdb_convert_greatest(VDB_ELEMENT_U8), 255);
    assert_int_equal(vdb_convert_least(VDB_ELEMENT_I8), -128);
    assert_int_equal(vdb_convert_greatest(VDB_ELEMENT_I8), 127);
    const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f, 0x1p100f};
    uint8_t u8[5];
    int8_t i8[5];
    vdb_convert_narrow(VDB_ELEMENT_U8, odd, 5, u8);
    vdb_convert_narrow(VDB_ELEMENT_I8, odd, 5, i8);
    assert_memory_equal(u8, ((const uint8_t[]){0, 255, 0, 0, 255}), 5);
    assert_memory_equal(i8, ((const int8_t[]){0, 127, -128, 0, 127}), 5);
    assert_true(vdb_convert_is_exact(VDB_ELEMENT_U8, &odd[3], 1));
    assert_false(vdb_convert_is_exact(VDB_ELEMENT_U8, &odd[0], 1));
}

/* Of any length, at any address; the last element decides as the first does. */
static void test_lengths(void **state)
{
    (void)state;
    static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_F16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};
    struct vdb_rng rng;
    float in[200];
    float out[200];
    uint8_t room[200 * sizeof(float) + 4];
    vdb_rng_init(&rng, 7);
    for (size_t count = 1; count <= 200; count++) {
        for (size_t e = 0; e < 4; e++) {
            for (size_t i = 0; i < count; i++) {
                in[i] = (float)vdb_rng_below(&rng, 100);
            }
            size_t bytes = vdb_vector_bytes(elements[e], count);
            uint8_t *at = room + count % 4;
            memset(room, 0xEE, sizeof room);
            vdb_convert_narrow(elements[e], in, count, at);
            assert_int_equal(at[bytes], 0xEE);
            vdb_convert_widen(elements[e], at, count, out);
            assert_memory_equal(in, out, count * sizeof *in);
            assert_true(vdb_convert_is_exact(elements[e], in, count));
            in[count - 1] += 0x1p-12f;
            assert_int_equal(vdb_convert_is_exact(elements[e], in, count),
                             elements[e] == VDB_ELEMENT_F32 ||
                                 (elements[e] == VDB_ELEMENT_F16 && in[count - 1] < 0.5f));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_halves_round_to_nearest),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
