/* test_segment_damage.c: a segment's files that are not as they were left. Never a wrong answer, a crash or a hang:
 * reads say what was written or refuse by file and byte, and verify finds every changed byte. Then the same with
 * checksums set right, for what stands behind them. */
#include "support.h"

#include "block_image.h"
#include "segment_world.h"

static const struct shape small = {.rows = 40, .dimension = 5, .ids = IDS_MIXED, .metadata = META_SHORT};
static const vdb_block_file_kind kinds[2] = {VDB_BLOCK_FILE_VECTORS, VDB_BLOCK_FILE_META};

/* The text names the file and a byte up to which nothing may have been wrong. */
static void expect_place(struct world *w, vdb_block_file_kind kind, uint64_t byte)
{
    char begin[VDB_ERR_TEXT_BYTES];
    snprintf(begin, sizeof begin, "\"%s\" at byte ", at(w, segment_file(kind, 0)));
    if (strncmp(w->err.text, begin, strlen(begin)) != 0 ||
        strtoull(w->err.text + strlen(begin), NULL, 10) > byte) {
        fail_msg("byte %llu: \"%s\"", (unsigned long long)byte, w->err.text);
    }
}

static struct vdb_stamp *stamp_of(struct vdb_segment_info *info, vdb_block_file_kind kind)
{
    return kind == VDB_BLOCK_FILE_VECTORS ? &info->vectors : &info->meta;
}

static void test_every_flip(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    assert_ok(write_segment(w, &small, &info), &w->err);
    for (int f = 0; f < 2; f++) {
        uint64_t bytes = stamp_of(&info, kinds[f])->bytes;
        uint64_t data_bytes = bytes / 4096 * 4096;
        for (uint64_t i = 0; i < bytes; i++) {
            struct vdb_segment *segment;
            uint64_t read = 0;
            uint8_t mask = (uint8_t)(1u << (i * 3 % 8));
            assert_true(vdb_env_memory_flip(w->env, at(w, segment_file(kinds[f], 0)), i, mask));
            vdb_status status = open_segment(w, &small, &info, &segment);
            if (status == VDB_OK) {
                assert_in_range(i, 4096, data_bytes - 1);
                status = compare_segment(segment, &small, &w->err);
                assert_int_equal(status, VDB_CORRUPT); /* here all sections share one block */
                expect_place(w, kinds[f], i);
                status = vdb_segment_verify(segment, &read, &w->err);
            }
            assert_int_equal(status, VDB_CORRUPT);
            expect_place(w, kinds[f], i);
            vdb_segment_unref(segment);
            assert_true(vdb_env_memory_flip(w->env, at(w, segment_file(kinds[f], 0)), i, mask));
        }
    }
}

/* In a larger one some reads stay good: each either says what was written or refuses. */
static void test_flips_leave_other_rows_readable(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 6000, .dimension = 30, .ids = IDS_MIXED, .metadata = META_VARIED};
    struct vdb_segment_info info;
    struct vdb_rng rng;
    struct row row = make_scratch(&shape);
    assert_ok(write_segment(w, &shape, &info), &w->err);
    vdb_rng_init(&rng, 5);
    for (int round = 0; round < 40; round++) {
        vdb_block_file_kind kind = kinds[round % 2];
        uint64_t i = 65536 + vdb_rng_below(&rng, stamp_of(&info, kind)->bytes / 4096 * 4096 - 2 * 65536);
        struct vdb_segment *segment;
        struct vdb_segment_meta reader;
        uint64_t read = 0;
        uint32_t good = 0;
        assert_true(vdb_env_memory_flip(w->env, at(w, segment_file(kind, 0)), i, 0x10));
        assert_ok(open_segment(w, &shape, &info, &segment), &w->err); /* the heads are in the last blocks */
        vdb_segment_meta_init(&reader, segment);
        for (uint32_t r = 0; r < shape.rows; r += 7) {
            vdb_status status = compare_row(segment, &reader, &shape, r, &row, &w->err);
            if (status != VDB_OK) {
                assert_int_equal(status, VDB_CORRUPT);
                expect_place(w, kind, i);
            }
            good += status == VDB_OK;
        }
        assert_true(good > 0 || kind == VDB_BLOCK_FILE_META);
        assert_int_equal(vdb_segment_verify(segment, &read, &w->err), VDB_CORRUPT);
        expect_place(w, kind, i);
        vdb_segment_meta_fini(&reader);
        vdb_segment_unref(segment);
        assert_true(vdb_env_memory_flip(w->env, at(w, segment_file(kind, 0)), i, 0x10));
    }
    free_scratch(&row);
}

static void test_every_length(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    assert_ok(write_segment(w, &small, &info), &w->err);
    for (int f = 0; f < 2; f++) {
        size_t bytes;
        uint8_t *image = get_image(w, segment_file(kinds[f], 0), &bytes);
        for (size_t length = 0; length<bytes; length += length + 300> bytes || length % 4096 < 2 ? 1 : 41) {
            struct vdb_segment *segment;
            struct vdb_segment_info wrong = info;
            put_image(w, segment_file(kinds[f], 0), image, length);
            assert_int_equal(open_segment(w, &small, &info, &segment), VDB_CORRUPT);
            expect_place(w, kinds[f], length);
            stamp_of(&wrong, kinds[f])->bytes = length;
            assert_int_equal(open_segment(w, &small, &wrong, &segment), VDB_CORRUPT);
            expect_place(w, kinds[f], length);
        }
        put_image(w, segment_file(kinds[f], 0), image, bytes);
        free(image);
    }
    struct vdb_segment *segment = open_segment_ok(w, &small, &info);
    assert_ok(compare_segment(segment, &small, &w->err), &w->err);
    vdb_segment_unref(segment);
}

/* Intact files that are not this segment's. */
static void test_other_segments(void **state)
{
    struct world *w = *state;
    struct vdb_segment *segment;
    struct vdb_segment_info info;
    struct vdb_segment_info wrong;
    struct vdb_schema schema = schema_of(&small);
    const uint8_t other_uuid[VDB_UUID_BYTES] = "another";
    size_t bytes;
    assert_ok(write_segment(w, &small, &info), &w->err);
    vdb_status status = vdb_segment_open(w->env, w->root, other_uuid, &schema, &info, &segment, &w->err);
    assert_fails(status, VDB_CORRUPT, &w->err, "another collection");
    struct shape wider = small;
    wider.dimension = 6;
    assert_fails(open_segment(w, &wider, &info, &segment), VDB_CORRUPT, &w->err,
                 "the dimension is 5, expected 6");
    wrong = info;
    wrong.rows = 41;
    assert_fails(open_segment(w, &small, &wrong, &segment), VDB_CORRUPT, &w->err, "rows is 40, expected 41");
    wrong.rows = 0;
    assert_fails(open_segment(w, &small, &wrong, &segment), VDB_CORRUPT, &w->err, "segment 12 has 0 rows");
    wrong.rows = (1u << 30) + 1;
    assert_fails(open_segment(w, &small, &wrong, &segment), VDB_CORRUPT, &w->err, "1 to 1073741824");
    wrong = info;
    wrong.number = 13;
    assert_fails(open_segment(w, &small, &wrong, &segment), VDB_CORRUPT, &w->err, "vectors_000013.bin");
    /* Under another number's name, and one kind for the other. */
    uint8_t *vectors = get_image(w, segment_file(VDB_BLOCK_FILE_VECTORS, 0), &bytes);
    put_image(w, "vectors/vectors_000013.bin", vectors, bytes);
    assert_fails(open_segment(w, &small, &wrong, &segment), VDB_CORRUPT, &w->err, "segment 12, expected 13");
    put_image(w, segment_file(VDB_BLOCK_FILE_META, 0), vectors, bytes);
    wrong = info;
    wrong.meta = info.vectors;
    assert_fails(open_segment(w, &small, &wrong, &segment), VDB_CORRUPT, &w->err, "kind 1, expected 2");
    free(vectors);
    /* The same segment written again is another file: the hash seed differs. */
    struct vdb_segment_info again;
    assert_ok(write_segment(w, &small, &again), &w->err);
    assert_int_equal(again.vectors.crc, info.vectors.crc);
    assert_int_not_equal(again.meta.crc, info.meta.crc);
    assert_fails(open_segment(w, &small, &info, &segment), VDB_CORRUPT, &w->err, "not the file");
    /* A newer format and unknown features are told by name. */
    for (int f = 0; f < 2; f++) {
        uint8_t *image = get_image(w, segment_file(kinds[f], 0), &bytes);
        for (size_t field = IMAGE_MIN_READER; field <= IMAGE_FEATURES; field += 4) {
            wrong = again;
            image[field] ^= 2;
            *stamp_of(&wrong, kinds[f]) = image_seal(image, bytes);
            put_image(w, segment_file(kinds[f], 0), image, bytes);
            assert_fails(open_segment(w, &small, &wrong, &segment), VDB_VERSION, &w->err,
                         "this build reads up to 1");
            assert_non_null(strstr(w->err.text, segment_file(kinds[f], 0)));
            image[field] ^= 2;
        }
        image_seal(image, bytes);
        put_image(w, segment_file(kinds[f], 0), image, bytes);
        free(image);
    }
    assert_ok(open_segment(w, &small, &again, &segment), &w->err);
    vdb_segment_unref(segment);
}

/* Every read of a segment whose bytes may say anything: good or refused. */
static void read_whatever(struct world *w, struct vdb_segment *segment, const struct shape *shape)
{
    struct row row = make_scratch(shape);
    struct vdb_segment_meta reader;
    vdb_segment_meta_init(&reader, segment);
    for (uint32_t i = 0; i < shape->rows; i++) {
        struct vdb_id id;
        struct vdb_str text;
        uint32_t found;
        uint64_t seq;
        make_row(shape, i, &row);
        vdb_status statuses[4] = {
            vdb_segment_find(segment, &row.id, &found, &w->err),
            vdb_segment_id(segment, i, &id, &w->err),
            vdb_segment_seq_from(segment, i, &seq, &w->err),
            vdb_segment_meta_read(&reader, i, &text, &w->err),
        };
        for (int s = 0; s < 4; s++) {
            assert_true(statuses[s] == VDB_OK || statuses[s] == VDB_CORRUPT);
        }
        assert_true(statuses[0] != VDB_OK || found == VDB_SLOT_NONE || found < shape->rows);
    }
    vdb_segment_meta_fini(&reader);
    free_scratch(&row);
}

/* One bit of every byte of every section, checksums right: verify finds it wherever another byte depends on it. What
 * only a checksum guards: floats, texts of metadata, and sequence numbers between the least and the greatest. */
static void test_every_flip_behind_the_checksums(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    assert_ok(write_segment(w, &small, &info), &w->err);
    for (int f = 0; f < 2; f++) {
        size_t bytes;
        uint8_t *image = get_image(w, segment_file(kinds[f], 0), &bytes);
        uint32_t found = 0;
        for (uint32_t s = 0; image_section(image, bytes, s) != NULL; s++) {
            const uint8_t *entry = image_section(image, bytes, s);
            const uint32_t id = vdb_load_u32(entry);
            const size_t begin = (size_t)vdb_load_u64(entry + 8);
            const size_t length = (size_t)vdb_load_u64(entry + 16);
            const bool free_bytes = f == 0 ? id == 1 : id == 1 || id == 6;
            for (size_t i = begin; i < begin + length; i++) {
                struct vdb_segment *segment;
                struct vdb_segment_info wrong = info;
                uint64_t read = 0;
                uint8_t mask = (uint8_t)(1u << (i * 5 % 8));
                image[i] ^= mask;
                *stamp_of(&wrong, kinds[f]) = image_seal(image, bytes);
                put_image(w, segment_file(kinds[f], 0), image, bytes);
                vdb_status status = open_segment(w, &small, &wrong, &segment);
                if (status == VDB_OK) {
                    read_whatever(w, segment, &small);
                    status = vdb_segment_verify(segment, &read, &w->err);
                }
                if (status != VDB_CORRUPT && !(free_bytes && status == VDB_OK)) {
                    fail_msg("section %u byte %zu of %zu: %s", id, i - begin, length, vdb_status_name(status));
                }
                if (status == VDB_CORRUPT) {
                    assert_non_null(strstr(w->err.text, segment_file(kinds[f], 0)));
                    found++;
                }
                vdb_segment_unref(segment);
                image[i] ^= mask;
            }
        }
        assert_true(found > 60);
        image_seal(image, bytes);
        put_image(w, segment_file(kinds[f], 0), image, bytes);
        free(image);
    }
}

/* Writes value at section + offset of the meta (or vectors) file, sealed, and says what verify says. */
static vdb_status verify_changed(struct world *w, const struct shape *shape, const struct vdb_segment_info *info,
                                 vdb_block_file_kind kind, uint32_t section, size_t offset, uint32_t value)
{
    struct vdb_segment *segment;
    struct vdb_segment_info wrong = *info;
    uint64_t read = 0;
    size_t bytes;
    size_t length = 0;
    uint8_t *good = get_image(w, segment_file(kind, 0), &bytes);
    uint8_t *image = malloc(bytes);
    assert_non_null(image);
    memcpy(image, good, bytes);
    uint8_t *data = image_find(image, bytes, section, &length);
    assert_true(data != NULL && offset + 4 <= length);
    vdb_store_u32(data + offset, value);
    *stamp_of(&wrong, kind) = image_seal(image, bytes);
    put_image(w, segment_file(kind, 0), image, bytes);
    vdb_status status = open_segment(w, shape, &wrong, &segment);
    if (status == VDB_OK) {
        read_whatever(w, segment, shape);
        status = vdb_segment_verify(segment, &read, &w->err);
    }
    vdb_segment_unref(segment);
    put_image(w, segment_file(kind, 0), good, bytes);
    free(image);
    free(good);
    return status;
}

/* The lies that one bit does not make. */
static void test_lies(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    assert_ok(write_segment(w, &small, &info), &w->err);
    enum { TABLE = 2, IDS = 3, ID_TEXT = 5, SEQ = 6, HASH = 7, HEAD = 8 };
    static const struct {
        vdb_block_file_kind kind;
        uint32_t section;
        size_t offset;
        uint32_t value;
        const char *text;
    } lies[] = {
        {VDB_BLOCK_FILE_VECTORS, 1, 8, 0x7f800000, "the vector of row 0 is not finite"},
        {VDB_BLOCK_FILE_VECTORS, 1, 64 + 16, 0xffc00000, "the vector of row 1 is not finite"},
        {VDB_BLOCK_FILE_VECTORS, 1, 64 + 20, 1, "the padding of row 1 is not zero"},
        {VDB_BLOCK_FILE_META, TABLE, 0, UINT32_MAX, "does not begin with row 0"},
        {VDB_BLOCK_FILE_META, TABLE, 4, UINT32_MAX, "does not begin with row 0"},
        {VDB_BLOCK_FILE_META, TABLE, 8, 1, "does not begin with row 0"},
        {VDB_BLOCK_FILE_META, TABLE, 8, 40, "does not begin with row 0"},
        {VDB_BLOCK_FILE_META, TABLE, 12, UINT32_MAX, "metadata block 0 claims 4294967295 bytes"},
        {VDB_BLOCK_FILE_META, TABLE, 12, 100, "metadata block 0 claims 100 bytes"},
        {VDB_BLOCK_FILE_META, TABLE, 12, 32768, "metadata block 0 does not decompress to 32768 bytes"},
        {VDB_BLOCK_FILE_META, TABLE, 16, 0, "do not end with the last row"},
        {VDB_BLOCK_FILE_META, TABLE, 24, 41, "do not end with the last row"},
        {VDB_BLOCK_FILE_META, TABLE, 24, 0, "do not end with the last row"},
        {VDB_BLOCK_FILE_META, IDS, 4, UINT32_MAX, "the id of row 0 begins at"},
        {VDB_BLOCK_FILE_META, IDS, 3 * 8, UINT32_MAX, "the id of row 3 begins at 4294967295"},
        {VDB_BLOCK_FILE_META, ID_TEXT, 0, 0x616161ff, "is not UTF-8"},
        {VDB_BLOCK_FILE_META, SEQ, 4, 1, "the head says"},
        {VDB_BLOCK_FILE_META, SEQ, 0, 0, "row 0 has the sequence number 0"},
        {VDB_BLOCK_FILE_META, HASH, 0, UINT32_MAX, "is for no row"},
        {VDB_BLOCK_FILE_META, HEAD, 4, 41, "41 text ids in 40 rows"},
        {VDB_BLOCK_FILE_META, HEAD, 4, 0, "section 4 has 40 bytes, expected 0"},
        {VDB_BLOCK_FILE_META, HEAD, 4, 5, "the head says 5 of"},
        {VDB_BLOCK_FILE_META, HEAD, 48, 0, "0 blocks of metadata for 40 rows"},
        {VDB_BLOCK_FILE_META, HEAD, 48, 41, "41 blocks of metadata for 40 rows"},
        {VDB_BLOCK_FILE_META, HEAD, 52, 1, "reserved bytes"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        vdb_status status = verify_changed(w, &small, &info, lies[i].kind, lies[i].section, lies[i].offset,
                                           lies[i].value);
        if (status != VDB_CORRUPT || strstr(w->err.text, lies[i].text) == NULL) {
            fail_msg("lie %zu: %s \"%s\", expected \"%s\"", i, vdb_status_name(status),
                     status != VDB_OK ? w->err.text : "", lies[i].text);
        }
    }
}

/* What only some elements have: numbers that are none, and other padding. */
static void test_lies_of_elements(void **state)
{
    struct world *w = *state;
    static const struct {
        vdb_element element;
        size_t offset;
        uint32_t value;
        const char *text; /* NULL: nothing is wrong */
    } lies[] = {
        {VDB_ELEMENT_F16, 0, 0x00007c00, "the vector of row 0 is not finite"},
        {VDB_ELEMENT_F16, 0, 0xfc007bff, "the vector of row 0 is not finite"},
        {VDB_ELEMENT_F16, 64 + 2, 0x7e000000, "the vector of row 1 is not finite"},
        {VDB_ELEMENT_F16, 64 + 8, 0x00007c01,
         "the vector of row 1 is not finite"}, /* the last, past the first eight bytes */
        {VDB_ELEMENT_F16, 64 + 8, 0x00010000, "the padding of row 1 is not zero"},
        {VDB_ELEMENT_F16, 64 + 0, 0xfbff7bff, NULL},
        {VDB_ELEMENT_F16, 64 + 8, 0x0000fbff, NULL},
        {VDB_ELEMENT_U8, 0, UINT32_MAX, NULL},
        {VDB_ELEMENT_U8, 64 + 1, 0x7c007f80, NULL},
        {VDB_ELEMENT_U8, 5, 1, "the padding of row 0 is not zero"},
        {VDB_ELEMENT_U8, 60, 0x80000000, "the padding of row 0 is not zero"},
        {VDB_ELEMENT_I8, 64, 0x80808080, NULL},
        {VDB_ELEMENT_I8, 64 + 5, 0x00000100, "the padding of row 1 is not zero"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct vdb_segment_info info;
        struct shape shape = small;
        shape.element = lies[i].element;
        assert_ok(write_segment(w, &shape, &info), &w->err);
        vdb_status status = verify_changed(w, &shape, &info, VDB_BLOCK_FILE_VECTORS, 1, lies[i].offset,
                                           lies[i].value);
        if (lies[i].text == NULL ? status != VDB_OK
                                 : status != VDB_CORRUPT || strstr(w->err.text, lies[i].text) == NULL) {
            fail_msg("lie %zu: %s \"%s\", expected \"%s\"", i, vdb_status_name(status),
                     status != VDB_OK ? w->err.text : "", lies[i].text != NULL ? lies[i].text : "fine");
        }
    }
}

/* A table of ids without an empty slot, and one where a row stands twice: a search ends, verify says so. */
static void test_full_hash_table(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    struct vdb_segment *segment;
    size_t bytes;
    size_t length = 0;
    uint64_t read = 0;
    assert_ok(write_segment(w, &small, &info), &w->err);
    uint8_t *image = get_image(w, segment_file(VDB_BLOCK_FILE_META, 0), &bytes);
    uint8_t *slots = image_find(image, bytes, 7, &length);
    for (size_t i = 0; i < length; i += 4) {
        vdb_store_u32(slots + i, vdb_load_u32(slots + i) == 0 ? 1 : vdb_load_u32(slots + i));
    }
    info.meta = image_seal(image, bytes);
    put_image(w, segment_file(VDB_BLOCK_FILE_META, 0), image, bytes);
    free(image);
    assert_ok(open_segment(w, &small, &info, &segment), &w->err);
    struct vdb_id id = {.number = 4711};
    uint32_t row;
    assert_fails(vdb_segment_find(segment, &id, &row, &w->err), VDB_CORRUPT, &w->err, "no empty slot");
    read_whatever(w, segment, &small);
    assert_fails(vdb_segment_verify(segment, &read, &w->err), VDB_CORRUPT, &w->err, "64 entries for 40 rows");
    assert_int_equal(read, 0);
    vdb_segment_unref(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEGMENT_ON_MEMORY(test_every_flip),
        SEGMENT_ON_MEMORY(test_flips_leave_other_rows_readable),
        SEGMENT_ON_MEMORY(test_every_length),
        SEGMENT_ON_MEMORY(test_other_segments),
        SEGMENT_ON_MEMORY(test_every_flip_behind_the_checksums),
        SEGMENT_ON_MEMORY(test_lies),
        SEGMENT_ON_MEMORY(test_lies_of_elements),
        SEGMENT_ON_MEMORY(test_full_hash_table),
    };
    return cmocka_run_group_tests_name("segment_damage", tests, NULL, NULL);
}
