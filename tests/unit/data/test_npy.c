/* test_npy.c: .npy files: what is read, and what is refused with which words. Inputs are built here byte by byte,
 * or written as NumPy writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file in memory: magic, version, header (padded to 64 bytes as NumPy does), then the values. */
static void build(struct vdb_buf *file, unsigned major, const char *header, const void *values, size_t bytes)
{
    vdb_buf_clear(file);
    vdb_buf_put(file, "\x93NUMPY", 6);
    vdb_buf_put_u8(file, (uint8_t)major);
    vdb_buf_put_u8(file, 0);
    size_t start = major == 1 ? 10 : 12;
    size_t padded = vdb_round_up(start + strlen(header) + 1, 64) - start;
    if (major == 1) {
        vdb_buf_put_u16(file, (uint16_t)padded);
    } else {
        vdb_buf_put_u32(file, (uint32_t)padded);
    }
    vdb_buf_put_text(file, header);
    while (file->bytes < start + padded - 1) {
        vdb_buf_put_u8(file, ' ');
    }
    vdb_buf_put_u8(file, '\n');
    vdb_buf_put(file, values, bytes);
    assert_false(file->failed);
}

static vdb_status read_buf(const struct vdb_buf *file, struct vdb_vectors *out, struct vdb_err *err)
{
    /* An exact copy, so that the address sanitizer sees a read past the end. */
    uint8_t *exact = malloc(file->bytes > 0 ? file->bytes : 1);
    assert_non_null(exact);
    if (file->bytes > 0) {
        memcpy(exact, file->data, file->bytes);
    }
    struct vdb_source source;
    vdb_source_of_memory(&source, exact, file->bytes);
    vdb_status status = vdb_npy_read(&source, out, err);
    vdb_source_close(&source);
    free(exact);
    return status;
}

static void refuse_file(const struct vdb_buf *file, vdb_status wanted, const char *words)
{
    struct vdb_vectors vectors;
    struct vdb_err err = {0};
    vdb_status status = read_buf(file, &vectors, &err);
    if (status != wanted || strstr(err.text, words) == NULL) {
        fail_msg("status %d, text \"%s\"; wanted %d and \"%s\"", status, err.text, wanted, words);
    }
    assert_null(vectors.data);
}

/* A header over `bytes` zero bytes of data is refused with these words in the text. */
static void refuse(const char *header, size_t bytes, vdb_status wanted, const char *words)
{
    struct vdb_buf file = {0};
    void *values = calloc(1, bytes + 1);
    for (unsigned major = 1; major <= 3; major++) {
        build(&file, major, header, values, bytes);
        refuse_file(&file, wanted, words);
    }
    free(values);
    vdb_buf_fini(&file);
}

static void accept(unsigned major, const char *header, vdb_vectors_type type, size_t count, size_t dimension)
{
    struct vdb_buf file = {0};
    size_t bytes = count * dimension * vdb_vectors_type_bytes(type);
    uint8_t *values = malloc(bytes + 1);
    struct vdb_rng rng;
    vdb_rng_init(&rng, 7);
    for (size_t i = 0; i < bytes; i++) {
        values[i] = (uint8_t)vdb_rng_u64(&rng);
    }
    build(&file, major, header, values, bytes);
    struct vdb_vectors vectors;
    struct vdb_err err = {0};
    if (read_buf(&file, &vectors, &err) != VDB_OK) {
        fail_msg("%s: %s", header, err.text);
    }
    assert_int_equal(vectors.type, type);
    assert_int_equal(vectors.count, count);
    assert_int_equal(vectors.dimension, dimension);
    assert_int_equal((uintptr_t)vectors.data % 64, 0);
    assert_memory_equal(vectors.data, values, bytes);
    vdb_vectors_fini(&vectors);
    assert_null(vectors.data);
    free(values);
    vdb_buf_fini(&file);
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *descr;
        vdb_vectors_type type;
    } cases[] = {{"<f4", VDB_VECTORS_F32}, {"<f2", VDB_VECTORS_F16}, {"|u1", VDB_VECTORS_U8},
                 {"<u1", VDB_VECTORS_U8},  {"|i1", VDB_VECTORS_I8},  {"<i1", VDB_VECTORS_I8},
                 {"<i4", VDB_VECTORS_I32}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (unsigned major = 1; major <= 3; major++) {
            char header[128];
            snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (3, 5), }",
                     cases[i].descr);
            accept(major, header, cases[i].type, 3, 5);
        }
    }
}

static void test_shapes(void **state)
{
    (void)state;
    accept(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (5,), }", VDB_VECTORS_U8, 1, 5);
    accept(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 5), }", VDB_VECTORS_U8, 0, 5);
    accept(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }", VDB_VECTORS_U8, 2, 1);
    accept(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 65536), }", VDB_VECTORS_U8, 2, 65536);
    accept(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }", VDB_VECTORS_F32, 2, 3);
    accept(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,)}", VDB_VECTORS_F32, 2, 3);
}

static void test_spellings(void **state)
{
    (void)state;
    accept(1, "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}", VDB_VECTORS_F32, 2, 3);
    accept(1, "  {\n'shape' :\t( 2 , 3 ) , 'descr': '<f4', 'fortran_order' : False }  \n ", VDB_VECTORS_F32, 2,
           3);
}

static void test_refused_types(void **state)
{
    (void)state;
    static const char *const descrs[] = {"<f8", "<i8", "<u4", "<i2", "<u2", "|b1",
                                         "|S4", "<c8", "=f4", "f4",  "",    "|O"};
    for (size_t i = 0; i < sizeof descrs / sizeof descrs[0]; i++) {
        char header[128];
        char words[64];
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }", descrs[i]);
        snprintf(words, sizeof words, "descr is '%s'; allowed: '<f4'", descrs[i]);
        refuse(header, 24, VDB_INVALID, words);
    }
    refuse("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 24, VDB_INVALID,
           "descr is '>f4' (big-endian); allowed");
    refuse("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", 24, VDB_INVALID,
           "structured type");
    refuse("{'descr': '<f4567890123456789', 'fortran_order': False, 'shape': (2, 3), }", 24, VDB_INVALID,
           "descr has 18 characters, at most 16");
    refuse("{'descr': 4, 'fortran_order': False, 'shape': (2, 3), }", 24, VDB_INVALID,
           "expected a quoted string");
}

static void test_refused_order(void **state)
{
    (void)state;
    refuse("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, VDB_INVALID,
           "fortran_order is True");
    refuse("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3), }", 24, VDB_INVALID,
           "fortran_order must be True or False");
}

static void test_refused_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *shape;
        vdb_status status;
        const char *words;
    } cases[] = {
        {"()", VDB_INVALID, "shape has 0 axes"},
        {"(1, 2, 3)", VDB_INVALID, "shape has 3 axes"},
        {"(6)", VDB_INVALID, "expected ',' in shape"},
        {"(2 3)", VDB_INVALID, "expected ',' in shape"},
        {"(2,,3)", VDB_INVALID, "shape needs integers"},
        {"(-2, 3)", VDB_INVALID, "shape needs integers"},
        {"(2.0, 3)", VDB_INVALID, "expected ',' in shape"},
        {"[2, 3]", VDB_INVALID, "expected '('"},
        {"(2, 3", VDB_INVALID, "shape needs integers"},
        {"(2, 0)", VDB_INVALID, "dimension 0, 1 to 65536 is allowed"},
        {"(0,)", VDB_INVALID, "dimension 0, 1 to 65536 is allowed"},
        {"(1, 65537)", VDB_INVALID, "dimension 65537, 1 to 65536 is allowed"},
        {"(1073741825, 1)", VDB_LIMIT, "gives 1073741825 vectors, at most 1073741824"},
        {"(18446744073709551615, 1)", VDB_LIMIT, "gives 18446744073709551615 vectors"},
        {"(18446744073709551616, 1)", VDB_INVALID, "2^64 or more"},
        {"(99999999999999999999999, 1)", VDB_INVALID, "2^64 or more"},
        {"(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", VDB_INVALID, "shape has 32 axes"},
        {"(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", VDB_INVALID, "more than 32 axes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char header[256];
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }",
                 cases[i].shape);
        refuse(header, 24, cases[i].status, cases[i].words);
    }
}

/* The size that the header claims is held against the file before memory is asked for. */
static void test_lying_sizes(void **state)
{
    (void)state;
    const char *header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    refuse(header, 23, VDB_INVALID, "shape (2, 3) of f32 takes 24 bytes, but 23 follow from byte 128");
    refuse(header, 25, VDB_INVALID, "takes 24 bytes, but 25 follow");
    refuse(header, 0, VDB_INVALID, "takes 24 bytes, but 0 follow");
    /* 2^30 x 2^16 x 4 bytes = 256 TiB: the largest claim within the limits. */
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (1073741824, 65536), }", 24, VDB_INVALID,
           "takes 281474976710656 bytes, but 24 follow");
}

static void test_refused_dictionaries(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        const char *words;
    } cases[] = {
        {"", "expected '{'"},
        {"{}", "key 'descr' is missing"},
        {"{'descr': '<f4', 'shape': (2, 3)}", "key 'fortran_order' is missing"},
        {"{'descr': '<f4', 'fortran_order': False}", "key 'shape' is missing"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", "unknown key 'x'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'shape': (2, 3)}", "key 'shape' comes twice"},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}", "byte 26: expected '}'"},
        {"{'descr' '<f4'}", "expected ':'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)", "expected '}'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} x", "something stands after the dictionary"},
        {"{'de\\x73cr': '<f4'}", "escape or unprintable"},
        {"{'descr: ", "escape or unprintable character, or no end"},
        {"{'d\xc3\xa9': 1}", "escape or unprintable"},
        {"{descr: '<f4'}", "expected a quoted string"},
        {"{,}", "expected a quoted string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vdb_buf file = {0};
        build(&file, 1, cases[i].header, "012345678901234567890123", 24);
        refuse_file(&file, VDB_INVALID, cases[i].words);
        vdb_buf_fini(&file);
    }
}

static void test_refused_starts(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        const char *words;
    } cases[] = {
        {"", 0, "not a .npy file"},
        {"\x93NUMP", 5, "not a .npy file"},
        {"PK\x03\x04 a zip file", 16, "not a .npy file"},
        {"\x93NUMPY", 6, "cut short"},
        {"\x93NUMPY\x01\x00\x10", 9, "cut short"},
        {"\x93NUMPY\x00\x00\x00\x00", 10, "format version is 0.0"},
        {"\x93NUMPY\x04\x00\x00\x00\x00\x00", 12, "format version is 4.0; 1.0, 2.0 and 3.0 are allowed"},
        {"\x93NUMPY\x01\x01\x00\x00", 10, "format version is 1.1"},
        {"\x93NUMPY\x01\x00\x01\x00", 10, "header length is 1, but the file ends at byte 10"},
        {"\x93NUMPY\x01\x00\x00\x00", 10, "expected '{'"},
        {"\x93NUMPY\x02\x00\x00\x00", 10, "but the file ends at byte 10"},
        {"\x93NUMPY\x02\x00\xff\xff\xff\xff", 12, "header length is 4294967295, at most 65535"},
        {"\x93NUMPY\x02\x00\x00\x00\x01\x00", 12, "header length is 65536, at most 65535"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vdb_buf file = {0};
        vdb_buf_put(&file, cases[i].bytes, cases[i].count);
        refuse_file(&file, VDB_INVALID, cases[i].words);
        vdb_buf_fini(&file);
    }
}

/* A good file cut at every byte is refused at every cut. */
static void test_every_cut(void **state)
{
    (void)state;
    struct vdb_buf file = {0};
    build(&file, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", "abcdef", 6);
    size_t whole = file.bytes;
    for (size_t cut = 0; cut < whole; cut++) {
        file.bytes = cut;
        struct vdb_vectors vectors;
        struct vdb_err err = {0};
        assert_int_equal(read_buf(&file, &vectors, &err), VDB_INVALID);
        assert_true(err.text[0] != '\0');
    }
    vdb_buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),          cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_spellings),      cmocka_unit_test(test_refused_types),
        cmocka_unit_test(test_refused_order),  cmocka_unit_test(test_refused_shapes),
        cmocka_unit_test(test_lying_sizes),    cmocka_unit_test(test_refused_dictionaries),
        cmocka_unit_test(test_refused_starts), cmocka_unit_test(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
