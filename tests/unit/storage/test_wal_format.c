/* test_wal_format.c: the log's bytes: W1..W4 of wal_format.h, with every byte flipped and every length cut. */
#include "support.h"

#include <stdlib.h>

#include "storage/wal_format.h"

enum { NUMBER = 7 };

static const struct vdb_wal_header header = {
    .uuid = "0123456789abcdef", .number = NUMBER, .chain = 99, .first_seq = 40};

struct image {
    struct vdb_buf buf;
    uint64_t ends[16]; /* where record i ends */
    size_t count;
    uint32_t key;
};

/* Builds a segment in groups: every record of group g says that all groups before g are durable (W4). */
static void build(struct image *image, const size_t *group_sizes, size_t groups)
{
    uint8_t bytes[VDB_WAL_HEADER_BYTES];
    uint32_t crc = vdb_wal_header_encode(&header, bytes);
    memset(image, 0, sizeof *image);
    image->key = crc;
    vdb_buf_put(&image->buf, bytes, sizeof bytes);
    uint64_t seq = header.first_seq;
    for (size_t g = 0; g < groups; g++) {
        uint64_t durable = image->buf.bytes;
        for (size_t i = 0; i < group_sizes[g]; i++) {
            char payload[64];
            int length = snprintf(payload, sizeof payload, "payload of record %d", (int)seq);
            size_t at = image->buf.bytes;
            vdb_wal_record_put(&image->buf, seq, 1000 + seq, VDB_WAL_BATCH, payload,
                               (uint32_t)length - (uint32_t)i);
            crc = vdb_wal_record_seal(image->buf.data + at, image->key, at, crc, durable);
            image->ends[image->count++] = image->buf.bytes;
            seq++;
        }
    }
}

static vdb_status scan(const uint8_t *data, size_t bytes, struct vdb_wal_scan *out, struct vdb_err *err)
{
    struct vdb_wal_header got;
    uint32_t crc;
    VDB_TRY(vdb_wal_header_decode(data, bytes, &got, &crc, err));
    return vdb_wal_scan_image(data, bytes, &got, crc, NULL, NULL, out, err);
}

static void test_clean_image_reads_back(void **state)
{
    (void)state;
    struct image image;
    struct vdb_wal_scan out;
    struct vdb_err err = {0};
    build(&image, (size_t[]){1, 3, 2}, 3);
    assert_ok(scan(image.buf.data, image.buf.bytes, &out, &err), &err);
    assert_int_equal(out.end, VDB_WAL_END_CLEAN);
    assert_int_equal(out.records, 6);
    assert_int_equal(out.next_seq, 46);
    assert_int_equal(out.valid_bytes, image.buf.bytes);
    vdb_buf_fini(&image.buf);
}

/* A cut at any length: what is whole stays, and no cut of the end is taken for damage unless a record proves it.
 */
static void test_every_truncation(void **state)
{
    (void)state;
    struct image image;
    struct vdb_err err = {0};
    build(&image, (size_t[]){2, 2, 1}, 3);
    for (size_t cut = 0; cut < image.buf.bytes; cut++) {
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, image.buf.data, cut);
        struct vdb_wal_scan out;
        vdb_status status = scan(copy, cut, &out, &err);
        if (cut < VDB_WAL_HEADER_BYTES) {
            assert_int_equal(status, VDB_CORRUPT);
        } else {
            size_t whole = 0;
            while (whole < image.count && image.ends[whole] <= cut) {
                whole++;
            }
            size_t valid = whole > 0 ? image.ends[whole - 1] : VDB_WAL_HEADER_BYTES;
            assert_int_equal(status, VDB_OK);
            assert_int_equal(out.records, whole);
            assert_int_equal(out.valid_bytes, valid);
            assert_int_equal(out.end, cut == valid ? VDB_WAL_END_CLEAN : VDB_WAL_END_TORN);
        }
        free(copy);
    }
    vdb_buf_fini(&image.buf);
}

/* W4: a flip below the last known durable byte is damage, above it a torn tail; never unseen, never past the
 * flip. */
static void test_every_flip(void **state)
{
    (void)state;
    struct image image;
    struct vdb_err err = {0};
    build(&image, (size_t[]){2, 2, 1}, 3);
    uint64_t durable = image.ends[3]; /* what the last record vouches for */
    for (size_t at = 0; at < image.buf.bytes; at++) {
        for (int bit = 0; bit < 8; bit++) {
            image.buf.data[at] ^= (uint8_t)(1 << bit);
            struct vdb_wal_scan out;
            vdb_status status = scan(image.buf.data, image.buf.bytes, &out, &err);
            if (at < VDB_WAL_HEADER_BYTES) {
                assert_true(status == VDB_CORRUPT || status == VDB_VERSION);
            } else {
                assert_int_equal(status, VDB_OK);
                assert_int_equal(out.end, at < durable ? VDB_WAL_END_DAMAGED : VDB_WAL_END_TORN);
                assert_true(out.valid_bytes <= at);
            }
            image.buf.data[at] ^= (uint8_t)(1 << bit);
        }
    }
    vdb_buf_fini(&image.buf);
}

/* W2: records of another segment, or in another order, are not taken even though each is intact. */
static void test_chain_refuses_foreign_records(void **state)
{
    (void)state;
    struct image image;
    struct vdb_wal_scan out;
    struct vdb_err err = {0};
    build(&image, (size_t[]){1, 1}, 2);
    size_t first = image.ends[0] - VDB_WAL_HEADER_BYTES;
    uint8_t *second = image.buf.data + image.ends[0];
    /* Re-seal the second record in its place with a wrong predecessor. */
    vdb_wal_record_seal(second, image.key, VDB_WAL_HEADER_BYTES + first, 12345, image.ends[0]);
    assert_ok(scan(image.buf.data, image.buf.bytes, &out, &err), &err);
    assert_int_equal(out.end, VDB_WAL_END_DAMAGED);
    assert_string_equal(out.reason, "does not chain to the record before");
    assert_int_equal(out.records, 1);
    vdb_buf_fini(&image.buf);
}

/* W1: a record moved to another offset or segment fails its length check. */
static void test_length_is_bound_to_its_place(void **state)
{
    (void)state;
    struct image image;
    struct vdb_wal_record record;
    const char *reason = NULL;
    build(&image, (size_t[]){2}, 1);
    assert_true(
        vdb_wal_record_at(image.buf.data, image.buf.bytes, VDB_WAL_HEADER_BYTES, image.key, &record, &reason));
    assert_false(vdb_wal_record_at(image.buf.data, image.buf.bytes, VDB_WAL_HEADER_BYTES, image.key + 1, &record,
                                   &reason));
    assert_string_equal(reason, "length check mismatch");
    size_t total = image.ends[0] - VDB_WAL_HEADER_BYTES;
    memmove(image.buf.data + VDB_WAL_HEADER_BYTES + 8, image.buf.data + VDB_WAL_HEADER_BYTES, total);
    assert_false(vdb_wal_record_at(image.buf.data, image.buf.bytes, VDB_WAL_HEADER_BYTES + 8, image.key, &record,
                                   &reason));
    vdb_buf_fini(&image.buf);
}

/* Space that was written ahead reads as zeros: the end of the log, not a record. Anything else behind it is a tail. */
static void test_zeros_are_no_records(void **state)
{
    (void)state;
    struct image image;
    struct vdb_wal_scan out;
    struct vdb_err err = {0};
    build(&image, (size_t[]){1}, 1);
    vdb_buf_put_zeros(&image.buf, 4096);
    assert_ok(scan(image.buf.data, image.buf.bytes, &out, &err), &err);
    assert_int_equal(out.end, VDB_WAL_END_CLEAN);
    assert_int_equal(out.valid_bytes, image.ends[0]);
    assert_int_equal(out.tail_bytes, 0);
    for (size_t at = image.ends[0]; at < image.buf.bytes; at += 37) {
        image.buf.data[at] = 1;
        assert_ok(scan(image.buf.data, image.buf.bytes, &out, &err), &err);
        assert_int_equal(out.end, VDB_WAL_END_TORN);
        assert_int_equal(out.valid_bytes, image.ends[0]);
        assert_int_equal(out.tail_bytes, (at - image.ends[0]) / VDB_WAL_ALIGN * VDB_WAL_ALIGN + VDB_WAL_ALIGN);
        image.buf.data[at] = 0;
    }
    vdb_buf_fini(&image.buf);
}

static void test_newer_format_is_refused_by_name(void **state)
{
    (void)state;
    uint8_t bytes[VDB_WAL_HEADER_BYTES];
    struct vdb_wal_header got;
    struct vdb_err err = {0};
    uint32_t crc;
    vdb_wal_header_encode(&header, bytes);
    vdb_store_u32(bytes + 12, 2); /* min_reader */
    vdb_store_u32(bytes + 60, 0); /* and its checksum */
    assert_fails(vdb_wal_header_decode(bytes, sizeof bytes, &got, &crc, &err), VDB_CORRUPT, &err, "checksum");
    vdb_store_u32(bytes + 60, crc); /* decode computed it */
    assert_fails(vdb_wal_header_decode(bytes, sizeof bytes, &got, &crc, &err), VDB_VERSION, &err, "readers of 2");
    vdb_wal_header_encode(&header, bytes);
    vdb_store_u64(bytes + 16, 4); /* a feature bit */
    (void)!vdb_wal_header_decode(bytes, sizeof bytes, &got, &crc, &err);
    vdb_store_u32(bytes + 60, crc);
    assert_fails(vdb_wal_header_decode(bytes, sizeof bytes, &got, &crc, &err), VDB_VERSION, &err,
                 "feature bits 0x4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_image_reads_back),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_chain_refuses_foreign_records),
        cmocka_unit_test(test_length_is_bound_to_its_place),
        cmocka_unit_test(test_zeros_are_no_records),
        cmocka_unit_test(test_newer_format_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
