/* test_crc32c.c: CRC-32C against published vectors and against a bit-by-bit form; the instruction against the
 * table over every length to 9000, which covers the three-stream loop (3 KiB a turn) thrice, at odd addresses. */
#include "support.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "base/rng.h"

enum { LENGTH_MAX = 9000, OFFSETS = 9 };

/* One bit at a time, straight from the definition: reflected, polynomial 0x1EDC6F41. */
static uint32_t reference(uint32_t crc, const uint8_t *data, size_t bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
        }
    }
    return ~crc;
}

static void check(const void *data, size_t bytes, uint32_t expected)
{
    assert_int_equal(vdb_crc32c(0, data, bytes), expected);
    assert_int_equal(vdb_crc32c_table(0, data, bytes), expected);
    assert_int_equal(reference(0, data, bytes), expected);
}

/* RFC 3720, B.4, and the usual check value of the polynomial. */
static void test_published_vectors(void **state)
{
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    check(bytes, sizeof bytes, 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    check(bytes, sizeof bytes, 0x62a8ab43);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    check(bytes, sizeof bytes, 0x46dd794e);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    check(bytes, sizeof bytes, 0x113fdb5c);
    /* The iSCSI read command of the same appendix. */
    static const uint8_t command[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0,    0, 0, 0, 0,
                                        0x14, 0,    0, 0, 0, 0, 4, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                        0x28, 0,    0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    check(command, sizeof command, 0xd9963a56);
    check("123456789", 9, 0xe3069283);
    check("", 0, 0);
    check(NULL, 0, 0);
}

static void test_instruction_equals_table(void **state)
{
    (void)state;
    struct vdb_rng rng;
    uint8_t *data = malloc(LENGTH_MAX + OFFSETS);
    vdb_rng_init(&rng, 3);
    for (size_t i = 0; i < LENGTH_MAX + OFFSETS; i++) {
        data[i] = (uint8_t)vdb_rng_u64(&rng);
    }
    /* The reference of each prefix at each offset, grown byte by byte. */
    for (size_t offset = 0; offset < OFFSETS; offset++) {
        uint32_t expected = 0;
        for (size_t bytes = 0; bytes <= LENGTH_MAX; bytes++) {
            /* Every length at two offsets, every seventh at the others. */
            if (offset == 1 || offset == 8 || bytes % 7 == offset % 7) {
                uint32_t fast = vdb_crc32c(0, data + offset, bytes);
                uint32_t table = vdb_crc32c_table(0, data + offset, bytes);
                if (fast != expected || table != expected) {
                    fail_msg("%zu bytes at offset %zu: %08x, by table %08x, expected %08x", bytes, offset, fast,
                             table, expected);
                }
            }
            expected = reference(expected, data + offset + bytes, 1);
        }
    }
    free(data);
}

/* Cutting an input anywhere changes nothing. */
static void test_incremental(void **state)
{
    (void)state;
    struct vdb_rng rng;
    enum { BYTES = 7000 };
    uint8_t *data = malloc(BYTES);
    vdb_rng_init(&rng, 4);
    for (size_t i = 0; i < BYTES; i++) {
        data[i] = (uint8_t)vdb_rng_u64(&rng);
    }
    uint32_t whole = vdb_crc32c(0, data, BYTES);
    for (size_t cut = 0; cut <= BYTES; cut++) {
        assert_int_equal(vdb_crc32c(vdb_crc32c(0, data, cut), data + cut, BYTES - cut), whole);
    }
    for (int round = 0; round < 200; round++) {
        uint32_t crc = 0;
        for (size_t at = 0; at < BYTES;) {
            size_t bytes = vdb_rng_below(&rng, 4000) + 1;
            bytes = bytes < BYTES - at ? bytes : BYTES - at;
            crc = round % 2 == 0 ? vdb_crc32c(crc, data + at, bytes) : vdb_crc32c_table(crc, data + at, bytes);
            at += bytes;
        }
        assert_int_equal(crc, whole);
    }
    free(data);
}

/* What the log relies on: any burst of up to 32 flipped bits shows. */
static void test_every_burst_shows(void **state)
{
    (void)state;
    struct vdb_rng rng;
    uint8_t data[256];
    vdb_rng_init(&rng, 5);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)vdb_rng_u64(&rng);
    }
    uint32_t crc = vdb_crc32c(0, data, sizeof data);
    for (size_t at = 0; at + 8 <= sizeof data; at++) {
        for (int i = 0; i < 32; i++) {
            uint64_t burst = (vdb_rng_u64(&rng) & 0xffffffff) << vdb_rng_below(&rng, 32);
            if (burst == 0) {
                continue;
            }
            uint8_t flipped[sizeof data];
            memcpy(flipped, data, sizeof data);
            for (size_t byte = 0; byte < 8; byte++) {
                flipped[at + byte] ^= (uint8_t)(burst >> (8 * byte));
            }
            assert_int_not_equal(vdb_crc32c(0, flipped, sizeof flipped), crc);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_instruction_equals_table),
        cmocka_unit_test(test_incremental),
        cmocka_unit_test(test_every_burst_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
