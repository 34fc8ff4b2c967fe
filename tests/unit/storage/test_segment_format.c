/* test_segment_format.c: a segment's bytes read by docs/format.md, sections 5 and 6, alone: nothing of src/storage's
 * readers is used, and every number here is the document's. */
#include "support.h"

#include "block_image.h"
#include "segment_world.h"

#include <lz4.h>
#include <math.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct file {
    uint8_t *image;
    size_t bytes;
};

static const uint8_t *section(struct file *file, uint32_t id, size_t expected_bytes)
{
    size_t bytes = 0;
    const uint8_t *data = image_find(file->image, file->bytes, id, &bytes);
    assert_non_null(data);
    if (expected_bytes != SIZE_MAX) {
        assert_int_equal(bytes, expected_bytes);
    }
    return data;
}

/* The number that the bytes stand for. */
static double number_at(const uint8_t *at, uint32_t element)
{
    float value;
    unsigned half = at[0] + 256u * at[1];
    double magnitude = half >> 10 & 31 ? ldexp(1024 + (half & 1023), (int)(half >> 10 & 31) - 25)
                                       : ldexp(half & 1023, -24);
    switch (element) {
    case 0:
        memcpy(&value, at, 4);
        return (double)value;
    case 1:
        return at[0];
    case 2:
        return at[0] < 128 ? at[0] : at[0] - 256;
    default:
        return half >= 0x8000 ? -magnitude : magnitude;
    }
}

static void check_vectors(struct file *file, const struct shape *shape)
{
    static const uint32_t codes[] = {
        [VDB_ELEMENT_F32] = 0, [VDB_ELEMENT_U8] = 1, [VDB_ELEMENT_I8] = 2, [VDB_ELEMENT_F16] = 3};
    static const size_t bytes_of_code[] = {4, 1, 1, 2};
    const uint32_t code = codes[shape->element];
    const size_t width = bytes_of_code[code];
    size_t stride = (shape->dimension * width + 63) / 64 * 64;
    const uint8_t *rows = section(file, 1, shape->rows * stride);
    const uint8_t *head = section(file, 2, 64);
    assert_int_equal(vdb_load_u32(head), shape->dimension);
    assert_int_equal(vdb_load_u32(head + 4), code);
    assert_int_equal(vdb_load_u32(head + 8), stride);
    assert_int_equal(vdb_load_u32(head + 12), shape->rows);
    assert_int_equal((rows - file->image) % 4096, 0);
    for (uint32_t i = 0; i < shape->rows; i++) {
        for (uint32_t d = 0; d < shape->dimension; d++) {
            assert_true(number_at(rows + i * stride + d * width, code) == (double)number_of(shape, i, d));
        }
        for (size_t b = shape->dimension * width; b < stride; b++) {
            assert_int_equal(rows[i * stride + b], 0);
        }
    }
}

/* Walks the blocks from front to back. */
static void check_metadata(struct file *file, const struct shape *shape, const uint8_t *head)
{
    uint32_t blocks = vdb_load_u32(head + 48);
    const uint8_t *table = section(file, 2, (blocks + 1) * 16);
    uint64_t text_bytes = vdb_load_u64(table + blocks * 16);
    const uint8_t *text = section(file, 1, (size_t)text_bytes);
    struct row row = make_scratch(shape);
    uint32_t row_count = 0;
    uint32_t as_is = 0;
    uint64_t metadata_bytes = 0;
    uint64_t place = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        const uint8_t *entry = table + b * 16;
        uint32_t rows = vdb_load_u32(entry + 16 + 8) - row_count;
        uint32_t raw_bytes = vdb_load_u32(entry + 12);
        uint64_t stored = vdb_load_u64(entry + 16) - place;
        assert_int_equal(vdb_load_u64(entry), place);
        assert_int_equal(vdb_load_u32(entry + 8), row_count);
        assert_true(rows == 1 || raw_bytes <= 32768);
        uint8_t *raw = malloc(raw_bytes);
        assert_non_null(raw);
        if (stored == raw_bytes) {
            memcpy(raw, text + place, raw_bytes);
            as_is++;
        } else {
            assert_int_equal(
                LZ4_decompress_safe((const char *)text + place, (char *)raw, (int)stored, (int)raw_bytes),
                raw_bytes);
        }
        size_t at_text = rows * 4;
        for (uint32_t i = 0; i < rows; i++) {
            make_row(shape, row_count++, &row);
            uint32_t length = vdb_load_u32(raw + i * 4);
            assert_int_equal(length, row.metadata_bytes == 2 ? 0 : row.metadata_bytes);
            assert_memory_equal(raw + at_text, row.metadata, length);
            at_text += length;
        }
        assert_int_equal(at_text, raw_bytes);
        metadata_bytes += raw_bytes - rows * 4;
        place += stored;
        free(raw);
    }
    assert_int_equal(row_count, shape->rows);
    assert_int_equal(vdb_load_u64(head + 40), metadata_bytes);
    assert_true(blocks > 3 && as_is < blocks);
    free_scratch(&row);
}

static void check_ids(struct file *file, const struct shape *shape, const uint8_t *head)
{
    const uint8_t *ids = section(file, 3, shape->rows * 8);
    const uint8_t *lengths = section(file, 4, shape->ids == IDS_NUMBERS ? 0 : shape->rows);
    const uint8_t *texts = section(file, 5, (size_t)vdb_load_u64(head + 16));
    const uint8_t *seqs = section(file, 6, shape->rows * 8);
    uint64_t seed = vdb_load_u64(head + 8);
    size_t slots = 2;
    unsigned digits = 0;
    struct row row = make_scratch(shape);
    uint64_t place = 0;
    uint32_t text_ids = 0;
    uint64_t least = UINT64_MAX;
    uint64_t greatest = 0;
    while (3 * (size_t)shape->rows > 2 * slots) {
        slots *= 2;
    }
    while (shape->rows >> digits != 0) {
        digits++;
    }
    const uint8_t *table = section(file, 7, slots * 4);
    for (uint32_t i = 0; i < shape->rows; i++) {
        uint64_t hash;
        make_row(shape, i, &row);
        if (row.id.text != NULL) {
            assert_int_equal(lengths[i], row.id.text_bytes);
            assert_int_equal(vdb_load_u64(ids + i * 8), place);
            assert_memory_equal(texts + place, row.id.text, row.id.text_bytes);
            hash = XXH3_64bits_withSeed(row.id.text, row.id.text_bytes, ~seed);
            place += row.id.text_bytes;
            text_ids++;
        } else {
            assert_true(shape->ids == IDS_NUMBERS || lengths[i] == 0);
            assert_int_equal(vdb_load_u64(ids + i * 8), row.id.number);
            hash = XXH3_64bits_withSeed(ids + i * 8, 8, seed);
        }
        assert_int_equal(vdb_load_u64(seqs + i * 8), row.seq);
        least = row.seq < least ? row.seq : least;
        greatest = row.seq > greatest ? row.seq : greatest;
        uint32_t expected = (uint32_t)(((hash >> 32) >> digits << digits) | (i + 1));
        size_t slot = (size_t)(hash % slots);
        while (vdb_load_u32(table + slot * 4) != expected) {
            assert_int_not_equal(vdb_load_u32(table + slot * 4), 0);
            slot = (slot + 1) % slots;
        }
    }
    assert_int_equal(vdb_load_u32(head), shape->rows);
    assert_int_equal(vdb_load_u32(head + 4), text_ids);
    assert_int_equal(vdb_load_u64(head + 16), place);
    assert_int_equal(vdb_load_u64(head + 24), least);
    assert_int_equal(vdb_load_u64(head + 32), greatest);
    free_scratch(&row);
}

static void test_bytes_are_as_documented(void **state)
{
    struct world *w = *state;
    for (int ids = IDS_NUMBERS; ids <= IDS_MIXED; ids++) {
        struct shape shape = {.rows = 1023, .dimension = 19, .ids = (id_shape)ids, .metadata = META_VARIED};
        struct vdb_segment_info info;
        struct file file;
        shape.rows += (uint32_t)ids; /* 1023, 1024, 1025: where the number of digits grows */
        assert_ok(write_segment(w, &shape, &info), &w->err);
        file.image = get_image(w, segment_file(VDB_BLOCK_FILE_VECTORS, 0), &file.bytes);
        check_vectors(&file, &shape);
        free(file.image);
        file.image = get_image(w, segment_file(VDB_BLOCK_FILE_META, 0), &file.bytes);
        const uint8_t *head = section(&file, 8, 64);
        check_metadata(&file, &shape, head);
        check_ids(&file, &shape, head);
        free(file.image);
    }
}

static void test_elements_are_as_documented(void **state)
{
    struct world *w = *state;
    static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_F16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};
    for (size_t e = 0; e < 4; e++) {
        struct shape shape = {.rows = 300, .dimension = 70, .element = elements[e]};
        struct vdb_segment_info info;
        struct file file;
        assert_ok(write_segment(w, &shape, &info), &w->err);
        file.image = get_image(w, segment_file(VDB_BLOCK_FILE_VECTORS, 0), &file.bytes);
        check_vectors(&file, &shape);
        free(file.image);
    }
}

static void test_bitmap_is_as_documented(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 130, .dimension = 1, .ids = IDS_NUMBERS, .metadata = META_EMPTY};
    struct vdb_segment_info info;
    struct file file;
    assert_ok(write_segment(w, &shape, &info), &w->err);
    struct vdb_segment *segment = open_segment_ok(w, &shape, &info);
    vdb_segment_end(segment, 3, 2000);
    vdb_segment_end(segment, 129, 2001);
    vdb_segment_end(segment, 64, 2002);
    assert_ok(vdb_segment_save_dead(segment, 2001, 5, &info, &w->err), &w->err);
    vdb_segment_unref(segment);
    file.image = get_image(w, "meta/dead_000012_000005.bin", &file.bytes);
    const uint8_t *bits = section(&file, 1, 24);
    const uint8_t *head = section(&file, 2, 64);
    assert_int_equal(vdb_load_u64(bits), 8);
    assert_int_equal(vdb_load_u64(bits + 8), 0);
    assert_int_equal(vdb_load_u64(bits + 16), 2);
    assert_int_equal(vdb_load_u32(head), 130);
    assert_int_equal(vdb_load_u32(head + 4), 2);
    assert_int_equal(vdb_load_u32(head + 8), 5);
    assert_int_equal(vdb_load_u64(head + 16), 2001);
    assert_int_equal(file.image[IMAGE_KIND], 3);
    assert_int_equal(file.image[IMAGE_NUMBER], SEGMENT_NUMBER);
    free(file.image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEGMENT_ON_MEMORY(test_bytes_are_as_documented),
        SEGMENT_ON_MEMORY(test_elements_are_as_documented),
        SEGMENT_ON_MEMORY(test_bitmap_is_as_documented),
    };
    return cmocka_run_group_tests_name("segment_format", tests, NULL, NULL);
}
