/* test_block_file.c: what was written is read, lazily; and no change to a file goes unnoticed. */
#include "support.h"

#include <stdlib.h>

#include "base/rng.h"
#include "block_image.h"
#include "storage/block_file.h"
#include "unit/env/env_world.h"

enum { FILE_MAX = 1 << 26, NUMBER = 7 };

static const struct vdb_block_file_name name = {
    .kind = VDB_BLOCK_FILE_META, .uuid = "0123456789abcde", .number = NUMBER};

/* Byte i of section id. */
static uint8_t content(uint32_t id, size_t i)
{
    return (uint8_t)(id * 31 + i * 7 + i / 251);
}

struct plan {
    uint32_t id;
    size_t bytes;
};

static const struct plan small[] = {{5, 100}, {2, 0}, {9, 4096}, {65535, 1}};
static const struct plan large[] = {{1, 3 * 65536 + 5},        {2, 1}, {3, 65536 - 4096}, {4, 0}, {6, 70 * 65536},
                                    {7, (1 << 20) - 2 * 4096}, {8, 64}};

static vdb_status write_plan(struct world *w, const char *path, const struct plan *plan, size_t count,
                             uint64_t seed, struct vdb_stamp *stamp)
{
    struct vdb_block_writer *writer = NULL;
    struct vdb_rng rng;
    uint8_t part[10000];
    vdb_status status = VDB_OK;
    vdb_rng_init(&rng, seed);
    VDB_CHECK(vdb_block_writer_create(w->env, at(w, path), &name, &writer, &w->err));
    for (size_t s = 0; s < count; s++) {
        VDB_CHECK(vdb_block_writer_section(writer, plan[s].id, &w->err));
        for (size_t done = 0; done < plan[s].bytes;) {
            size_t bytes = (size_t)vdb_rng_below(&rng, sizeof part) + 1;
            bytes = bytes < plan[s].bytes - done ? bytes : plan[s].bytes - done;
            for (size_t i = 0; i < bytes; i++) {
                part[i] = content(plan[s].id, done + i);
            }
            VDB_CHECK(vdb_block_writer_append(writer, part, bytes, &w->err));
            done += bytes;
        }
    }
    VDB_CHECK(vdb_block_writer_finish(writer, stamp, &w->err));
    assert_int_equal(vdb_block_writer_bytes(writer), stamp->bytes);
cleanup:
    vdb_block_writer_destroy(writer);
    return status;
}

#define WRITE(w, path, plan, stamp)                                                                              \
    assert_ok(write_plan(w, path, plan, sizeof(plan) / sizeof((plan)[0]), 1, stamp), &(w)->err)

static vdb_status open_named(struct world *w, const char *path, const struct vdb_block_file_name *expected,
                             const struct vdb_stamp *stamp, struct vdb_block_file **out)
{
    *out = (struct vdb_block_file *)w; /* must be overwritten */
    vdb_status status = vdb_block_file_open(w->env, at(w, path), expected, stamp, out, &w->err);
    assert_true((status == VDB_OK) == (*out != NULL));
    return status;
}

static struct vdb_block_file *open_file(struct world *w, const char *path, const struct vdb_stamp *stamp)
{
    struct vdb_block_file *file;
    assert_ok(open_named(w, path, &name, stamp, &file), &w->err);
    return file;
}

static void expect_sections(struct world *w, struct vdb_block_file *file, const struct plan *plan, size_t count)
{
    for (size_t s = 0; s < count; s++) {
        const uint8_t *data;
        uint64_t bytes;
        assert_ok(vdb_block_file_section(file, plan[s].id, &data, &bytes, &w->err), &w->err);
        assert_int_equal(bytes, plan[s].bytes);
        assert_ok(vdb_block_file_need(file, data, (size_t)bytes, &w->err), &w->err);
        for (size_t i = 0; i < bytes; i++) {
            if (data[i] != content(plan[s].id, i)) {
                fail_msg("section %u byte %zu is %u", plan[s].id, i, data[i]);
            }
        }
    }
}

static void test_round_trip(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    for (uint64_t seed = 1; seed < 6; seed++) {
        assert_ok(write_plan(w, "x.bin", large, sizeof large / sizeof large[0], seed, &stamp), &w->err);
        struct vdb_block_file *file = open_file(w, "x.bin", &stamp);
        assert_int_equal(vdb_block_file_bytes(file), stamp.bytes);
        expect_sections(w, file, large, sizeof large / sizeof large[0]);
        assert_ok(vdb_block_file_verify(file, &w->err), &w->err);
        const uint8_t *data;
        uint64_t bytes;
        assert_fails(vdb_block_file_section(file, 5, &data, &bytes, &w->err), VDB_CORRUPT, &w->err,
                     "no section 5");
        assert_null(data);
        vdb_block_file_close(file);
    }
    WRITE(w, "x.bin", small, &stamp); /* a shorter one over it leaves nothing of the longer */
    struct vdb_block_file *file = open_file(w, "x.bin", &stamp);
    expect_sections(w, file, small, sizeof small / sizeof small[0]);
    vdb_block_file_close(file);
    vdb_block_file_close(NULL);
    vdb_block_writer_destroy(NULL);
}

/* A file without sections is one, too. */
static void test_empty(void **state)
{
    struct world *w = *state;
    struct vdb_block_writer *writer;
    struct vdb_stamp stamp;
    assert_ok(vdb_block_writer_create(w->env, at(w, "x.bin"), &name, &writer, &w->err), &w->err);
    assert_ok(vdb_block_writer_finish(writer, &stamp, &w->err), &w->err);
    vdb_block_writer_destroy(writer);
    assert_int_equal(stamp.bytes, IMAGE_HEADER_BYTES + 4 + IMAGE_FOOTER_BYTES);
    struct vdb_block_file *file = open_file(w, "x.bin", &stamp);
    assert_ok(vdb_block_file_verify(file, &w->err), &w->err);
    vdb_block_file_close(file);
}

/* Where things lie is what docs/format.md says. */
static void test_layout(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    uint8_t *image;
    size_t bytes;
    WRITE(w, "x.bin", small, &stamp);
    assert_ok(vdb_env_read_file(w->env, at(w, "x.bin"), FILE_MAX, &image, &bytes, &w->err), &w->err);
    assert_int_equal(bytes, stamp.bytes);
    assert_memory_equal(image, "VDBBLK\r\n\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_memory_equal(image + IMAGE_UUID, name.uuid, VDB_UUID_BYTES);
    assert_int_equal(vdb_load_u32(image + IMAGE_KIND), VDB_BLOCK_FILE_META);
    assert_int_equal(vdb_load_u32(image + IMAGE_NUMBER), NUMBER);
    const uint64_t offsets[] = {4096, 8192, 8192, 12288};
    for (uint32_t i = 0; i < 4; i++) {
        const uint8_t *entry = image_section(image, bytes, i);
        assert_int_equal(vdb_load_u32(entry), small[i].id);
        assert_int_equal(vdb_load_u64(entry + 8), offsets[i]);
        assert_int_equal(vdb_load_u64(entry + 16), small[i].bytes);
    }
    assert_int_equal(bytes, 16384 + 4 + 4 * IMAGE_SECTION_BYTES + IMAGE_FOOTER_BYTES);
    uint8_t *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, image, bytes);
    struct vdb_stamp sealed = image_seal(copy, bytes); /* an independent look at all checksums */
    assert_memory_equal(copy, image, bytes);
    assert_int_equal(sealed.crc, stamp.crc);
    free(copy);
    free(image);
}

/* The text names the file and a byte. */
static uint64_t damaged_byte(struct world *w, const char *path)
{
    char begin[VDB_ERR_TEXT_BYTES];
    snprintf(begin, sizeof begin, "\"%s\" at byte ", at(w, path));
    if (strncmp(w->err.text, begin, strlen(begin)) != 0) {
        fail_msg("\"%s\" does not begin with '%s'", w->err.text, begin);
    }
    return strtoull(w->err.text + strlen(begin), NULL, 10);
}

/* One bit of every byte: an open refuses, or the first look at the byte's block does; verify always does. */
static void test_every_flip(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    WRITE(w, "x.bin", small, &stamp);
    for (uint64_t i = 0; i < stamp.bytes; i++) {
        struct vdb_block_file *file;
        uint8_t mask = (uint8_t)(1u << (i * 5 % 8));
        assert_true(vdb_env_memory_flip(w->env, at(w, "x.bin"), i, mask));
        for (int stamped = 0; stamped < 2; stamped++) {
            vdb_status status = open_named(w, "x.bin", &name, stamped ? &stamp : NULL, &file);
            if (status == VDB_OK) {
                assert_true(i >= IMAGE_HEADER_BYTES && i < 16384); /* a section or a gap */
                assert_int_equal(vdb_block_file_verify(file, &w->err), VDB_CORRUPT);
                assert_int_equal(damaged_byte(w, "x.bin"), 0); /* its block's first */
                vdb_block_file_close(file);
            } else {
                assert_int_equal(status, VDB_CORRUPT);
                assert_true(damaged_byte(w, "x.bin") <= i);
            }
        }
        assert_true(vdb_env_memory_flip(w->env, at(w, "x.bin"), i, mask));
    }
}

/* In a file of many blocks only the damaged one is refused, by its place. */
static void test_flips_are_found_by_block(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    struct vdb_rng rng;
    vdb_rng_init(&rng, 2);
    WRITE(w, "x.bin", large, &stamp);
    for (int round = 0; round < 60; round++) {
        const uint8_t *data;
        uint64_t bytes;
        struct vdb_block_file *file = open_file(w, "x.bin", &stamp);
        assert_ok(vdb_block_file_section(file, 6, &data, &bytes, &w->err), &w->err);
        uint8_t *image;
        size_t image_bytes;
        assert_ok(vdb_env_read_file(w->env, at(w, "x.bin"), FILE_MAX, &image, &image_bytes, &w->err), &w->err);
        size_t length;
        uint64_t begin = (uint64_t)(image_find(image, image_bytes, 6, &length) - image);
        free(image);
        uint64_t hit = begin + vdb_rng_below(&rng, bytes);
        assert_true(vdb_env_memory_flip(w->env, at(w, "x.bin"), hit, 0x40));
        for (uint64_t o = begin; o < begin + bytes; o += 4096) {
            vdb_status status = vdb_block_file_need(file, data + (o - begin), 1, &w->err);
            assert_int_equal(status, o / IMAGE_BLOCK_BYTES == hit / IMAGE_BLOCK_BYTES ? VDB_CORRUPT : VDB_OK);
        }
        assert_int_equal(vdb_block_file_need(file, data, (size_t)bytes, &w->err), VDB_CORRUPT);
        assert_int_equal(damaged_byte(w, "x.bin"), hit / IMAGE_BLOCK_BYTES * IMAGE_BLOCK_BYTES);
        assert_int_equal(vdb_block_file_verify(file, &w->err), VDB_CORRUPT);
        assert_int_equal(damaged_byte(w, "x.bin"), hit / IMAGE_BLOCK_BYTES * IMAGE_BLOCK_BYTES);
        assert_true(vdb_env_memory_flip(w->env, at(w, "x.bin"), hit, 0x40));
        assert_ok(vdb_block_file_verify(file, &w->err), &w->err);
        /* A block once good is not read again by need; verify does. */
        assert_true(vdb_env_memory_flip(w->env, at(w, "x.bin"), hit, 0x40));
        assert_ok(vdb_block_file_need(file, data, (size_t)bytes, &w->err), &w->err);
        assert_int_equal(vdb_block_file_verify(file, &w->err), VDB_CORRUPT);
        assert_true(vdb_env_memory_flip(w->env, at(w, "x.bin"), hit, 0x40));
        vdb_block_file_close(file);
    }
}

static void put_image(struct world *w, const char *path, const uint8_t *image, size_t bytes)
{
    struct vdb_file *file = open_ok(w, path, CREATE | VDB_OPEN_TRUNCATE);
    assert_ok(w->env->ops->write_at(w->env, file, image, bytes, 0, &w->err), &w->err);
    w->env->ops->close(w->env, file);
}

static void test_every_length(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    struct vdb_block_file *file;
    uint8_t *image;
    size_t bytes;
    WRITE(w, "x.bin", small, &stamp);
    assert_ok(vdb_env_read_file(w->env, at(w, "x.bin"), FILE_MAX, &image, &bytes, &w->err), &w->err);
    uint8_t *longer = calloc(1, bytes + 64);
    assert_non_null(longer);
    memcpy(longer, image, bytes);
    for (size_t length = 0; length <= bytes + 64; length += length < 200 || length + 300 > bytes ? 1 : 17) {
        if (length == bytes) {
            continue;
        }
        put_image(w, "y.bin", longer, length);
        assert_int_equal(open_named(w, "y.bin", &name, &stamp, &file), VDB_CORRUPT);
        assert_int_equal(damaged_byte(w, "y.bin"), length < bytes ? length : bytes);
        assert_int_equal(open_named(w, "y.bin", &name, NULL, &file), VDB_CORRUPT);
        assert_true(damaged_byte(w, "y.bin") <= length);
    }
    free(longer);
    free(image);
}

static void test_another_file(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    struct vdb_block_file *file;
    WRITE(w, "x.bin", small, &stamp);
    struct vdb_block_file_name other = name;
    other.kind = VDB_BLOCK_FILE_VECTORS;
    assert_fails(open_named(w, "x.bin", &other, &stamp, &file), VDB_CORRUPT, &w->err, "kind 2, expected 1");
    other = name;
    other.uuid[15] ^= 1;
    assert_fails(open_named(w, "x.bin", &other, &stamp, &file), VDB_CORRUPT, &w->err, "another collection");
    other = name;
    other.number++;
    assert_fails(open_named(w, "x.bin", &other, &stamp, &file), VDB_CORRUPT, &w->err, "segment 7, expected 8");
    struct vdb_stamp wrong = stamp;
    wrong.crc ^= 1;
    assert_fails(open_named(w, "x.bin", &name, &wrong, &file), VDB_CORRUPT, &w->err, "not the file");
    wrong = stamp;
    wrong.bytes++;
    assert_fails(open_named(w, "x.bin", &name, &wrong, &file), VDB_CORRUPT, &w->err, "manifest says");
    assert_fails(open_named(w, "none.bin", &name, &stamp, &file), VDB_CORRUPT, &w->err, "none.bin");
    assert_int_equal(make_dir(w, "dir"), VDB_OK);
    assert_true(open_named(w, "dir", &name, &stamp, &file) != VDB_OK);
    /* The same content under another stamp: the checksum of the footer covers the data's. */
    struct vdb_stamp again;
    WRITE(w, "y.bin", small, &again);
    assert_int_equal(again.crc, stamp.crc);
    struct plan changed[4];
    memcpy(changed, small, sizeof small);
    changed[0].bytes--;
    WRITE(w, "y.bin", changed, &again);
    assert_int_equal(again.bytes, stamp.bytes);
    assert_int_not_equal(again.crc, stamp.crc);
    assert_fails(open_named(w, "y.bin", &name, &stamp, &file), VDB_CORRUPT, &w->err, "not the file");
}

/* Opens small with `field` (4 bytes; place counted from the end when negative) changed and all checksums right. */
static vdb_status open_changed(struct world *w, long place, uint32_t value, bool verify)
{
    struct vdb_stamp stamp;
    struct vdb_block_file *file;
    uint8_t *image;
    size_t bytes;
    WRITE(w, "x.bin", small, &stamp);
    assert_ok(vdb_env_read_file(w->env, at(w, "x.bin"), FILE_MAX, &image, &bytes, &w->err), &w->err);
    uint8_t *field = place >= 0 ? image + place : image + bytes + place;
    assert_int_not_equal(vdb_load_u32(field), value);
    vdb_store_u32(field, value);
    stamp = image_seal(image, bytes);
    put_image(w, "x.bin", image, bytes);
    free(image);
    vdb_status status = open_named(w, "x.bin", &name, &stamp, &file);
    if (status == VDB_OK && verify) {
        status = vdb_block_file_verify(file, &w->err);
    }
    vdb_block_file_close(file);
    return status;
}

/* What lies although its checksums are right: versions by name, the rest as damage. */
static void test_changed_fields(void **state)
{
    struct world *w = *state;
    const long footer = -IMAGE_FOOTER_BYTES;
    const long table = footer - 4 * IMAGE_SECTION_BYTES;
    assert_fails(open_changed(w, IMAGE_MIN_READER, 2, false), VDB_VERSION, &w->err, "readers of 2 or later");
    assert_fails(open_changed(w, IMAGE_FEATURES, 8, false), VDB_VERSION, &w->err, "feature bits 0x8");
    assert_fails(open_changed(w, IMAGE_FEATURES + 4, 1, false), VDB_VERSION, &w->err, "feature bits 0x100000000");
    assert_ok(open_changed(w, IMAGE_FORMAT, 2, true), &w->err); /* newer, but made for us too */
    assert_int_equal(open_changed(w, IMAGE_FORMAT, 0, false), VDB_CORRUPT);
    assert_int_equal(open_changed(w, IMAGE_MIN_READER, 0, false), VDB_CORRUPT);
    assert_fails(open_changed(w, 0, 0x42444256, false), VDB_CORRUPT, &w->err, "magic number");
    for (long place = IMAGE_HEADER_ZERO; place < IMAGE_HEADER_CRC; place += 4) {
        assert_int_equal(open_changed(w, place, 1u << (place / 4 % 32), false), VDB_CORRUPT);
    }
    for (long place = IMAGE_FOOTER_ZERO; place < IMAGE_FOOTER_CRC; place += 4) {
        assert_int_equal(open_changed(w, footer + place, 1, false), VDB_CORRUPT);
    }
    assert_int_equal(open_changed(w, footer + IMAGE_DATA_BYTES, 16384 - 4096, false), VDB_CORRUPT);
    assert_int_equal(open_changed(w, footer + IMAGE_DATA_BYTES, 16384 + 4, false), VDB_CORRUPT);
    assert_int_equal(open_changed(w, footer + IMAGE_DATA_BYTES + 4, UINT32_MAX, false), VDB_CORRUPT);
    assert_int_equal(open_changed(w, footer + IMAGE_BLOCKS, 7, false), VDB_CORRUPT);
    assert_int_equal(open_changed(w, footer + IMAGE_BLOCKS, UINT32_MAX, false), VDB_CORRUPT);
    assert_int_equal(open_changed(w, footer + IMAGE_SECTIONS, 3, false), VDB_CORRUPT);
    assert_int_equal(open_changed(w, footer + IMAGE_SECTIONS, UINT32_MAX, false), VDB_CORRUPT);
    for (uint32_t entry = 0; entry < 4; entry++) {
        const long place = table + (long)entry * IMAGE_SECTION_BYTES;
        assert_int_equal(open_changed(w, place, 0, false), VDB_CORRUPT);
        assert_int_equal(open_changed(w, place, 65536, false), VDB_CORRUPT);
        assert_fails(open_changed(w, place, small[(entry + 1) % 4].id, false), VDB_CORRUPT, &w->err,
                     "listed twice");
        assert_ok(open_changed(w, place, 77, true), &w->err); /* an id of a later format */
        assert_int_equal(open_changed(w, place + 4, 1, false), VDB_CORRUPT);
        assert_int_equal(open_changed(w, place + 8, 4, false), VDB_CORRUPT);
        assert_int_equal(open_changed(w, place + 12, 1, false), VDB_CORRUPT);
        assert_int_equal(open_changed(w, place + 16, 20000, false), VDB_CORRUPT);
        assert_int_equal(open_changed(w, place + 20, UINT32_MAX, false), VDB_CORRUPT);
    }
    /* A gap that is not zero is found by verify. */
    assert_ok(open_changed(w, 4096 + 100, 1, false), &w->err);
    assert_fails(open_changed(w, 4096 + 100, 1, true), VDB_CORRUPT, &w->err, "are not zero");
    assert_int_equal(damaged_byte(w, "x.bin"), 4096 + 100);
    assert_int_equal(open_changed(w, 16380, 1, true), VDB_CORRUPT);
}

/* Open reads as much of a large file as of a small one; need reads a block once; both say what could not be read. */
static void test_reads_are_lazy(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    struct vdb_block_file *file;
    const uint8_t *data;
    uint64_t bytes;
    uint64_t operations[2];
    for (int i = 0; i < 2; i++) {
        assert_ok(write_plan(w, "x.bin", i == 0 ? small : large, i == 0 ? 4 : 7, 1, &stamp), &w->err);
        vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
        file = open_file(w, "x.bin", &stamp);
        operations[i] = vdb_env_memory_operations(w->env);
        if (i == 0) {
            vdb_block_file_close(file);
        }
    }
    assert_int_equal(operations[0], operations[1]);
    assert_ok(vdb_block_file_section(file, 6, &data, &bytes, &w->err), &w->err);
    vdb_env_memory_fail_at(w->env, 1, VDB_IO, false, 0);
    assert_int_equal(vdb_block_file_need(file, data + 200000, 10, &w->err), VDB_IO);
    vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
    assert_ok(vdb_block_file_need(file, data + 200000, 10, &w->err), &w->err);
    assert_int_equal(vdb_env_memory_operations(w->env), 1);
    assert_ok(vdb_block_file_need(file, data + 200000, 10, &w->err), &w->err);
    assert_int_equal(vdb_env_memory_operations(w->env), 1);
    assert_ok(vdb_block_file_need(file, data, 0, &w->err), &w->err);
    assert_int_equal(vdb_env_memory_operations(w->env), 1);
    assert_ok(vdb_block_file_need(file, data, (size_t)bytes, &w->err), &w->err);
    uint64_t after = vdb_env_memory_operations(w->env);
    assert_true(after <= 1 + 2 * (70 / 16 + 2)); /* whole runs of blocks at a time */
    assert_ok(vdb_block_file_need(file, data, (size_t)bytes, &w->err), &w->err);
    assert_int_equal(vdb_env_memory_operations(w->env), after);
    vdb_block_file_close(file);
    for (uint64_t n = 1; n <= operations[1]; n++) {
        vdb_env_memory_fail_at(w->env, n, VDB_IO, false, 0);
        assert_int_equal(open_named(w, "x.bin", &name, &stamp, &file), VDB_IO);
        assert_non_null(strstr(w->err.text, "x.bin"));
    }
    vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
}

static void test_every_fault_while_writing(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    uint64_t n = 1;
    for (;; n++) {
        vdb_env_memory_fail_at(w->env, n, n % 2 ? VDB_NO_SPACE : VDB_IO, n % 3 == 0, n);
        vdb_status status = write_plan(w, "x.bin", large, sizeof large / sizeof large[0], 1, &stamp);
        if (status == VDB_OK) {
            break;
        }
        assert_int_equal(status, n % 2 ? VDB_NO_SPACE : VDB_IO);
        assert_non_null(strstr(w->err.text, "x.bin"));
    }
    assert_true(n > 6); /* create, a write per MiB, the tables, sync */
    vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
    struct vdb_block_file *file = open_file(w, "x.bin", &stamp);
    expect_sections(w, file, large, sizeof large / sizeof large[0]);
    vdb_block_file_close(file);
    /* Finished is synced: with its name durable, a power cut leaves it whole. */
    assert_ok(w->env->ops->sync_dir(w->env, w->root, &w->err), &w->err);
    assert_ok(w->env->ops->sync_dir(w->env, ".", &w->err), &w->err);
    vdb_env_memory_crash(w->env, 0);
    file = open_file(w, "x.bin", &stamp);
    assert_ok(vdb_block_file_verify(file, &w->err), &w->err);
    vdb_block_file_close(file);
}

/* Another name of a file, and a map of it, keep it when one of the same name is written. */
static void test_replacing_leaves_other_names(void **state)
{
    struct world *w = *state;
    struct vdb_stamp stamp;
    struct vdb_stamp again;
    WRITE(w, "x.bin", large, &stamp);
    assert_ok(w->env->ops->link(w->env, at(w, "x.bin"), at(w, "snapshot.bin"), &w->err), &w->err);
    struct vdb_block_file *mapped = open_file(w, "x.bin", &stamp);
    WRITE(w, "x.bin", small, &again);
    struct vdb_block_file *linked = open_file(w, "snapshot.bin", &stamp);
    struct vdb_block_file *written = open_file(w, "x.bin", &again);
    assert_ok(vdb_block_file_verify(mapped, &w->err), &w->err);
    assert_ok(vdb_block_file_verify(linked, &w->err), &w->err);
    assert_ok(vdb_block_file_verify(written, &w->err), &w->err);
    vdb_block_file_close(mapped);
    vdb_block_file_close(linked);
    vdb_block_file_close(written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_round_trip),
        ON_BOTH(test_empty),
        ON_BOTH(test_layout),
        ON_MEMORY(test_every_flip),
        ON_MEMORY(test_flips_are_found_by_block),
        ON_MEMORY(test_every_length),
        ON_BOTH(test_another_file),
        ON_MEMORY(test_changed_fields),
        ON_MEMORY(test_reads_are_lazy),
        ON_MEMORY(test_every_fault_while_writing),
        ON_BOTH(test_replacing_leaves_other_names),
    };
    return cmocka_run_group_tests_name("block_file", tests, NULL, NULL);
}
