/* test_wal_damage.c: a log that is not as it was left (P4 of the design): every byte flipped, every length cut,
 * segments missing, swapped or foreign. Damage is refused by file and byte and nothing on the disk changes; only
 * a torn tail is cut. Over the in-memory file system, but for one walk over the operating system's.
 */
#include "support.h"

#include "base/log.h"
#include "wal_world.h"

/* Opening is refused with VDB_CORRUPT, the text has `part`, and no file has changed. */
static void assert_refused(struct world *w, const char *part)
{
    struct reopened r;
    struct snapshot before = take_snapshot(w);
    vdb_status status = reopen(w, 0, &r);
    if (status != VDB_CORRUPT || strstr(w->err.text, part) == NULL) {
        fail_msg("%s \"%s\", expected corrupt and \"%s\"", vdb_status_name(status),
                 status != VDB_OK ? w->err.text : "", part);
    }
    assert_null(r.wal);
    assert_ptr_equal(strstr(w->err.text, "log: "), w->err.text);
    assert_unchanged(w, &before);
    free_snapshot(&before);
}

static vdb_status ignore_record(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    (void)ctx;
    (void)record;
    (void)err;
    return VDB_OK;
}

static void flip(struct world *w, uint32_t number, uint64_t offset, uint8_t mask)
{
    uint8_t *image;
    size_t bytes;
    read_segment(w, number, &image, &bytes);
    assert_true(offset < bytes);
    image[offset] ^= mask;
    write_whole(w, segment_name(number), image, bytes);
    free(image);
}

/* After a clean close every byte of every segment counts: a flip anywhere is refused, but for the mark itself,
 * which is cut with nothing lost. */
static void test_every_flip_after_a_clean_close(void **state)
{
    struct world *w = *state;
    enum { SEGMENTS = 3, MARK_BYTES = VDB_WAL_RECORD_HEADER_BYTES };
    uint64_t count = fill_segments(w, SEGMENTS, true);
    struct snapshot good = take_snapshot(w);
    for (uint32_t s = 0; s < SEGMENTS; s++) {
        uint64_t bytes = size_of(w, s);
        uint64_t mark_at = s == SEGMENTS - 1 ? bytes - MARK_BYTES : bytes;
        for (uint64_t at_byte = 0; at_byte < bytes; at_byte++) {
            uint8_t mask = (uint8_t)(1u << (at_byte % 8));
            flip(w, s, at_byte, mask);
            if (at_byte < mark_at) {
                char part[64];
                snprintf(part, sizeof part, "segment_%06u.wal", s);
                assert_refused(w, part);
                assert_non_null(strstr(w->err.text, " at byte "));
                flip(w, s, at_byte, mask);
                continue;
            }
            struct reopened r;
            uint8_t *image;
            size_t image_bytes;
            read_segment(w, s, &image, &image_bytes);
            image[at_byte] ^= mask; /* good again, to be put back below */
            reopen_ok(w, 0, &r);
            assert_seen(&r.seen, 1, count);
            assert_int_equal(r.recovery.torn_bytes_cut, MARK_BYTES);
            vdb_wal_close(r.wal, false);
            write_whole(w, segment_name(s), image, image_bytes);
            free(image);
        }
    }
    assert_unchanged(w, &good);
    struct reopened r;
    reopen_ok(w, 0, &r);
    assert_seen(&r.seen, 1, count);
    vdb_wal_close(r.wal, false);
    free_snapshot(&good);
}

/* The text of a refusal names the record's byte and the proof. */
static void test_text_of_a_refusal(void **state)
{
    struct world *w = *state;
    struct reopened r;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 3);
    vdb_wal_close(r.wal, false);
    uint64_t first_bytes = 48 + 16; /* "record 1 .", padded */
    flip(w, 0, VDB_WAL_HEADER_BYTES + first_bytes + 50, 4);
    char part[128];
    snprintf(part, sizeof part,
             "replay segment_000000.wal: record at byte %d: checksum mismatch; an intact record at "
             "byte %d proves that it was durable",
             (int)(VDB_WAL_HEADER_BYTES + first_bytes), (int)(VDB_WAL_HEADER_BYTES + 2 * first_bytes));
    assert_refused(w, part);
}

/* Without the mark nothing vouches for the last group: a flip there looks like the tail of a write that was cut
 * short, and is cut; the groups before stay guarded. */
static void test_every_flip_without_a_mark(void **state)
{
    struct world *w = *state;
    struct reopened r;
    struct vdb_err err = {0};
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 4);
    uint64_t guarded = size_of(w, 0);
    append(r.wal, 5); /* the last group has three records */
    append(r.wal, 6);
    append(r.wal, 7);
    assert_ok(vdb_wal_wait(r.wal, 7, &err), &err);
    vdb_wal_close(r.wal, false);
    uint8_t *good;
    size_t bytes;
    read_segment(w, 0, &good, &bytes);
    for (uint64_t at_byte = 0; at_byte < bytes; at_byte++) {
        flip(w, 0, at_byte, 0x10);
        if (at_byte < guarded) {
            assert_refused(w, "segment_000000.wal");
        } else {
            reopen_ok(w, 0, &r);
            assert_true(r.seen.count >= 4 && r.seen.count < 7);
            assert_true(r.seen.last_seq == r.seen.count);
            assert_true(r.recovery.torn_bytes_cut > 0);
            assert_int_equal(size_of(w, 0) + r.recovery.torn_bytes_cut, bytes);
            append_and_wait(r.wal, r.seen.count + 1, 2); /* and it goes on from there */
            uint64_t count = r.seen.count + 2;
            vdb_wal_close(r.wal, false);
            reopen_ok(w, 0, &r);
            assert_seen(&r.seen, 1, count);
            assert_int_equal(r.recovery.torn_bytes_cut, 0);
            vdb_wal_close(r.wal, false);
        }
        write_whole(w, segment_name(0), good, bytes);
    }
    free(good);
}

/* The last segment cut at every length: what is whole stays, the rest is cut, and writing goes on. */
static void test_every_truncation_of_the_last_segment(void **state)
{
    struct world *w = *state;
    uint64_t count = fill_segments(w, 2, false);
    uint8_t *good;
    size_t bytes;
    read_segment(w, 1, &good, &bytes);
    struct vdb_wal_header header;
    uint32_t crc;
    assert_ok(vdb_wal_header_decode(good, bytes, &header, &crc, &w->err), &w->err);
    for (size_t cut = 0; cut <= bytes; cut++) {
        struct reopened r;
        write_whole(w, segment_name(1), good, cut);
        reopen_ok(w, 0, &r);
        uint64_t expected = cut == bytes ? count : r.seen.count;
        assert_seen(&r.seen, 1, expected);
        assert_true(expected >= header.first_seq - 1); /* the first segment's are all there */
        uint64_t kept = size_of(w, 1);
        assert_true(cut < VDB_WAL_HEADER_BYTES ? kept == VDB_WAL_HEADER_BYTES : kept <= cut);
        if (cut >= VDB_WAL_HEADER_BYTES) {
            assert_int_equal(r.recovery.torn_bytes_cut, cut - kept);
        }
        append_and_wait(r.wal, expected + 1, 3);
        vdb_wal_close(r.wal, true);
        reopen_ok(w, 0, &r);
        assert_seen(&r.seen, 1, expected + 3);
        vdb_wal_close(r.wal, false);
    }
    free(good);
}

/* Segments before the last may not be cut at all, not even between two records. Nor may the first one's header.
 */
static void test_every_truncation_of_an_earlier_segment(void **state)
{
    struct world *w = *state;
    uint64_t count = fill_segments(w, 3, true);
    for (uint32_t s = 0; s < 2; s++) {
        uint8_t *good;
        size_t bytes;
        read_segment(w, s, &good, &bytes);
        for (size_t cut = 0; cut < bytes; cut++) {
            write_whole(w, segment_name(s), good, cut);
            assert_refused(w, "segment_00000");
        }
        struct vdb_buf longer = {0};
        vdb_buf_put(&longer, good, bytes);
        vdb_buf_put_zeros(&longer, 64); /* zeros behind the last record were written ahead; bytes are damage */
        write_whole(w, segment_name(s), longer.data, longer.bytes);
        struct reopened r;
        reopen_ok(w, 300, &r);
        assert_seen(&r.seen, 1, count);
        assert_int_equal(r.recovery.torn_bytes_cut, 0);
        vdb_wal_close(r.wal, false);
        longer.data[bytes + 20] = 1;
        write_whole(w, segment_name(s), longer.data, longer.bytes);
        assert_refused(w, "the log goes on in segment_");
        vdb_buf_fini(&longer);
        write_whole(w, segment_name(s), good, bytes);
        free(good);
    }
}

static void test_only_segment_without_a_header(void **state)
{
    struct world *w = *state;
    struct reopened r;
    reopen_ok(w, 0, &r);
    append_and_wait(r.wal, 1, 1);
    vdb_wal_close(r.wal, true);
    uint8_t *good;
    size_t bytes;
    read_segment(w, 0, &good, &bytes);
    for (size_t cut = 0; cut < VDB_WAL_HEADER_BYTES; cut++) {
        write_whole(w, segment_name(0), good, cut);
        assert_refused(w, "header at byte 0");
    }
    free(good);
}

static void test_missing_segments(void **state)
{
    struct world *w = *state;
    fill_segments(w, 4, true);
    uint8_t *image;
    size_t bytes;
    for (uint32_t s = 0; s < 3; s++) {
        char part[64];
        read_segment(w, s, &image, &bytes);
        remove_segment(w, s);
        snprintf(part, sizeof part, "segment_%06u.wal\"", s);
        assert_refused(w, part);
        assert_non_null(strstr(w->err.text, "missing"));
        write_whole(w, segment_name(s), image, bytes);
        free(image);
    }
    for (uint32_t s = 0; s < 4; s++) {
        remove_segment(w, s);
    }
    assert_refused(w, "segment_000000.wal is missing");
}

static void test_foreign_names(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {
        "notes.txt",
        "segment_1.wal",
        "segment_0000001.wal",
        "segment_000001.wal.tmp",
        "segment_000001.wa",
        "segment_-00001.wal",
        "segment_4294967296.wal",
        "Segment_000001.wal",
        "segment_+00001.wal",
        "segment_ 00001.wal",
        "segment_000001.wal ",
        ".hidden",
        "segment_.wal",
        "segment_18446744073709551617.wal",
    };
    fill_segments(w, 2, true);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[128];
        char part[128];
        snprintf(name, sizeof name, "wal/%s", names[i]);
        write_whole(w, name, "", 0);
        snprintf(part, sizeof part, "\"%s\" is no log segment", names[i]);
        assert_refused(w, part);
        assert_ok(w->env->ops->unlink(w->env, at(w, name), &w->err), &w->err);
    }
    /* A directory is none either, whatever its name. */
    assert_ok(make_dir(w, "wal/segment_000002.wal"), &w->err);
    assert_refused(w, "\"segment_000002.wal\" is no log segment");
    assert_ok(w->env->ops->rmdir(w->env, at(w, "wal/segment_000002.wal"), &w->err), &w->err);
    struct reopened r;
    reopen_ok(w, 0, &r);
    vdb_wal_close(r.wal, false);
}

/* The largest number that a segment can have: all before it are missing. */
static void test_a_far_segment(void **state)
{
    struct world *w = *state;
    write_whole(w, "wal/segment_4294967295.wal", "", 0);
    assert_refused(w, "segment_000001.wal");
}

static void test_wrong_uuid(void **state)
{
    struct world *w = *state;
    struct vdb_wal *wal = NULL;
    struct vdb_wal_recovery recovery;
    struct seen seen = {0};
    uint8_t other[VDB_UUID_BYTES];
    fill_segments(w, 2, true);
    memcpy(other, uuid, sizeof other);
    other[15] ^= 1;
    assert_fails(
        vdb_wal_open(w->env, at(w, "wal"), other, 0, 0, NULL, note_record, &seen, &wal, &recovery, &w->err),
        VDB_CORRUPT, &w->err, "segment_000000.wal: header at byte 0: belongs to another collection");
    assert_null(wal);
    assert_int_equal(seen.count, 0); /* nothing of it was shown */
}

static void test_swapped_segments(void **state)
{
    struct world *w = *state;
    uint8_t *one;
    uint8_t *two;
    size_t one_bytes;
    size_t two_bytes;
    fill_segments(w, 4, true);
    read_segment(w, 1, &one, &one_bytes);
    read_segment(w, 2, &two, &two_bytes);
    write_whole(w, segment_name(1), two, two_bytes);
    assert_refused(w, "replay segment_000001.wal: header at byte 0: says it is segment 2");
    write_whole(w, segment_name(1), one, one_bytes);
    write_whole(w, segment_name(2), one, one_bytes);
    assert_refused(w, "replay segment_000002.wal: header at byte 0: says it is segment 1");
    free(one);
    free(two);
}

/* A segment of the right number and UUID, but of another history: an old copy put back. */
static void test_segment_of_another_history(void **state)
{
    struct world *w = *state;
    uint8_t *old;
    size_t old_bytes;
    fill_segments(w, 3, true);
    read_segment(w, 1, &old, &old_bytes);
    fresh_log(w);
    struct reopened r;
    reopen_ok(w, 300, &r);
    struct vdb_err err = {0};
    for (int i = 0; i < 20; i++) {
        uint64_t seq;
        assert_ok(vdb_wal_append(r.wal, "other words", 11, &seq, &err), &err);
        assert_ok(vdb_wal_wait(r.wal, seq, &err), &err);
    }
    vdb_wal_close(r.wal, true);
    write_whole(w, segment_name(1), old, old_bytes);
    free(old);
    struct vdb_wal_recovery recovery;
    struct vdb_wal *wal = NULL;
    struct snapshot before = take_snapshot(w);
    struct vdb_wal_options options = {0};
    assert_fails(
        vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, &options, ignore_record, NULL, &wal, &recovery, &w->err),
        VDB_CORRUPT, &w->err, "segment_000001.wal: header at byte 0: does not follow the segment before");
    assert_unchanged(w, &before);
    free_snapshot(&before);
}

/* ---- Records that this version did not write, under right checksums ---- */

struct forged {
    vdb_wal_type type;
    const char *payload;
    uint64_t durable_bytes; /* 0: what is right */
    uint64_t seq_step;      /* added to the sequence number */
};

/* Replaces segment 0 by a header and these records. */
static void forge(struct world *w, const struct forged *records, size_t count)
{
    struct vdb_wal_header header = {.first_seq = 1};
    struct vdb_buf image = {0};
    uint8_t bytes[VDB_WAL_HEADER_BYTES];
    memcpy(header.uuid, uuid, sizeof header.uuid);
    uint32_t key = vdb_wal_header_encode(&header, bytes);
    uint32_t crc = key;
    vdb_buf_put(&image, bytes, sizeof bytes);
    for (size_t i = 0; i < count; i++) {
        size_t at_byte = image.bytes;
        vdb_wal_record_put(&image, i + 1 + records[i].seq_step, 5, records[i].type, records[i].payload,
                           (uint32_t)strlen(records[i].payload));
        crc = vdb_wal_record_seal(image.data + at_byte, key, at_byte, crc,
                                  records[i].durable_bytes != 0 ? records[i].durable_bytes : at_byte);
    }
    write_whole(w, segment_name(0), image.data, image.bytes);
    vdb_buf_fini(&image);
}

static vdb_status open_forged(struct world *w)
{
    struct vdb_wal *wal = NULL;
    struct vdb_wal_recovery recovery;
    struct snapshot before = take_snapshot(w);
    vdb_status status = vdb_wal_open(w->env, at(w, "wal"), uuid, 0, 0, NULL, ignore_record, NULL, &wal, &recovery,
                                     &w->err);
    vdb_wal_close(wal, false);
    assert_unchanged(w, &before);
    free_snapshot(&before);
    return status;
}

static void test_unknown_record_type(void **state)
{
    struct world *w = *state;
    forge(w, (const struct forged[]){{VDB_WAL_BATCH, "a", 0, 0}, {(vdb_wal_type)3, "b", 0, 0}}, 2);
    assert_fails(open_forged(w), VDB_VERSION, &w->err, "segment_000000.wal: record at byte 120: record type 3");
    forge(w, (const struct forged[]){{(vdb_wal_type)0, "", 0, 0}}, 1);
    assert_fails(open_forged(w), VDB_VERSION, &w->err, "record type 0");
}

static void test_mark_with_a_payload(void **state)
{
    struct world *w = *state;
    forge(w, (const struct forged[]){{VDB_WAL_MARK, "a", 0, 0}}, 1);
    assert_fails(open_forged(w), VDB_CORRUPT, &w->err, "record at byte 64: a mark with a payload");
}

/* W3 */
static void test_sequence_gap(void **state)
{
    struct world *w = *state;
    forge(w, (const struct forged[]){{VDB_WAL_BATCH, "a", 0, 0}, {VDB_WAL_BATCH, "b", 0, 1}}, 2);
    assert_fails(open_forged(w), VDB_CORRUPT, &w->err, "record at byte 120: sequence number out of order");
    forge(w, (const struct forged[]){{VDB_WAL_BATCH, "a", 0, 1}}, 1);
    assert_fails(open_forged(w), VDB_CORRUPT, &w->err, "record at byte 64: sequence number out of order");
}

/* W4: a record can vouch only for bytes before itself. */
static void test_durable_bytes_past_the_record(void **state)
{
    struct world *w = *state;
    static const uint64_t lies[] = {65, 72, 120, 121, 4096, UINT64_MAX};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        forge(w, (const struct forged[]){{VDB_WAL_BATCH, "a", lies[i], 0}}, 1);
        assert_fails(open_forged(w), VDB_CORRUPT, &w->err, "record at byte 64");
    }
    forge(w, (const struct forged[]){{VDB_WAL_BATCH, "a", 64, 0}, {VDB_WAL_BATCH, "b", 120, 0}}, 2);
    assert_ok(open_forged(w), &w->err);
}

#define WAL_MEMORY(test)                                                                                         \
    {                                                                                                            \
#test "/memory", test, setup_wal_memory, teardown, NULL                                                  \
    }
#define WAL_BOTH(test) {#test "/posix", test, setup_wal_posix, teardown, NULL}, WAL_MEMORY(test)

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* every case fails on purpose */
    const struct CMUnitTest tests[] = {
        WAL_MEMORY(test_every_flip_after_a_clean_close),
        WAL_BOTH(test_text_of_a_refusal),
        WAL_MEMORY(test_every_flip_without_a_mark),
        WAL_MEMORY(test_every_truncation_of_the_last_segment),
        WAL_MEMORY(test_every_truncation_of_an_earlier_segment),
        WAL_MEMORY(test_only_segment_without_a_header),
        WAL_BOTH(test_missing_segments),
        WAL_BOTH(test_foreign_names),
        WAL_BOTH(test_a_far_segment),
        WAL_BOTH(test_wrong_uuid),
        WAL_BOTH(test_swapped_segments),
        WAL_MEMORY(test_segment_of_another_history),
        WAL_MEMORY(test_unknown_record_type),
        WAL_MEMORY(test_mark_with_a_payload),
        WAL_MEMORY(test_sequence_gap),
        WAL_MEMORY(test_durable_bytes_past_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
