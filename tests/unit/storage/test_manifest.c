/* test_manifest.c: metadata.json: F1 and F2 of manifest.c, refusals by name, and replacement under faults. */
#include "support.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "env/env_memory.h"
#include "storage/manifest.h"

static const struct vdb_manifest database = {
    .kind = VDB_MANIFEST_DATABASE,
    .uuid = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
    .created_us = 1700000000123456,
};

static const struct vdb_manifest collection = {
    .kind = VDB_MANIFEST_COLLECTION,
    .uuid = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78},
    .created_us = 5,
    .schema = {.name = "docs", .dimension = 384, .metric = VDB_METRIC_COSINE, .index = "flat"},
    .wal_first = 17,
};

static void encode(const struct vdb_manifest *manifest, struct vdb_buf *out)
{
    vdb_buf_clear(out);
    vdb_manifest_encode(manifest, out);
    assert_false(out->failed);
}

static vdb_status decode(const struct vdb_buf *text, vdb_manifest_kind kind, struct vdb_manifest *out,
                         struct vdb_err *err)
{
    return vdb_manifest_decode((const char *)text->data, text->bytes, kind, out, err);
}

static void assert_same(const struct vdb_manifest *a, const struct vdb_manifest *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_memory_equal(a->uuid, b->uuid, VDB_UUID_BYTES);
    assert_true(a->created_us == b->created_us);
    assert_true(a->wal_first == b->wal_first);
    assert_string_equal(a->schema.name, b->schema.name);
    assert_string_equal(a->schema.index, b->schema.index);
    assert_int_equal(a->schema.dimension, b->schema.dimension);
    assert_int_equal(a->schema.metric, b->schema.metric);
}

/* `head` (all up to the checksum's member) with its right checksum behind it. */
static void seal(struct vdb_buf *text, const char *head)
{
    vdb_buf_clear(text);
    vdb_buf_put_text(text, head);
    uint32_t crc = vdb_crc32c(0, text->data, text->bytes);
    vdb_buf_printf(text, ",\n \"crc32c\": \"%08x\"}\n", crc);
}

/* The collection's manifest with the first `from` replaced by `to`, and a right checksum. */
static void edit(struct vdb_buf *text, const struct vdb_manifest *manifest, const char *from, const char *to)
{
    char head[2048];
    struct vdb_buf whole = {0};
    encode(manifest, &whole);
    vdb_buf_put_u8(&whole, 0);
    char *end = strstr((char *)whole.data, ",\n \"crc32c\"");
    assert_non_null(end);
    *end = '\0';
    char *at = strstr((char *)whole.data, from);
    assert_non_null(at);
    snprintf(head, sizeof head, "%.*s%s%s", (int)(at - (char *)whole.data), (char *)whole.data, to,
             at + strlen(from));
    seal(text, head);
    vdb_buf_fini(&whole);
}

/* The bytes are the format's: this text may never change for these values. */
static void test_golden_text(void **state)
{
    (void)state;
    struct vdb_buf text = {0};
    struct vdb_buf expected = {0};
    encode(&collection, &text);
    seal(&expected, "{\"magic\": \"vecdb-collection\",\n \"format\": 1,\n \"min_reader\": 1,\n \"features\": 0,\n"
                    " \"uuid\": \"fedcba98765432100f1e2d3c4b5a6978\",\n \"created_us\": 5,\n"
                    " \"schema\": {\"name\": \"docs\", \"dimension\": 384, \"element\": \"f32\", \"metric\": "
                    "\"cosine\", \"index\": \"flat\"},\n \"wal_first\": 17");
    assert_int_equal(text.bytes, expected.bytes);
    assert_memory_equal(text.data, expected.data, text.bytes);
    encode(&database, &text);
    seal(&expected, "{\"magic\": \"vecdb-database\",\n \"format\": 1,\n \"min_reader\": 1,\n \"features\": 0,\n"
                    " \"uuid\": \"00112233445566778899aabbccddeeff\",\n \"created_us\": 1700000000123456");
    assert_int_equal(text.bytes, expected.bytes);
    assert_memory_equal(text.data, expected.data, text.bytes);
    vdb_buf_fini(&text);
    vdb_buf_fini(&expected);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct vdb_rng rng;
    struct vdb_err err = {0};
    struct vdb_buf text = {0};
    struct vdb_manifest got;
    vdb_rng_init(&rng, 11);
    encode(&database, &text);
    assert_ok(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), &err);
    assert_same(&got, &database);
    for (int round = 0; round < 500; round++) {
        struct vdb_manifest manifest = collection;
        static const uint32_t dimensions[] = {1, 2, 768, VDB_LIMIT_DIMENSION_MAX};
        static const uint64_t numbers[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 53};
        for (int i = 0; i < VDB_UUID_BYTES; i++) {
            manifest.uuid[i] = (uint8_t)vdb_rng_u64(&rng);
        }
        manifest.created_us = numbers[vdb_rng_below(&rng, 5)];
        manifest.wal_first = numbers[vdb_rng_below(&rng, 2)];
        manifest.schema.dimension = dimensions[vdb_rng_below(&rng, 4)];
        manifest.schema.metric = (vdb_metric)vdb_rng_below(&rng, VDB_METRIC_L1 + 1);
        size_t bytes = 1 + vdb_rng_below(&rng, VDB_LIMIT_NAME_BYTES_MAX);
        memset(manifest.schema.name, 0, sizeof manifest.schema.name);
        for (size_t i = 0; i < bytes; i++) {
            static const char allowed[] = "AZaz09_.-";
            manifest.schema.name[i] = allowed[vdb_rng_below(&rng, i > 0 ? 9 : 6)];
        }
        encode(&manifest, &text);
        assert_ok(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), &err);
        assert_same(&got, &manifest);
    }
    vdb_buf_fini(&text);
}

/* F1: any byte changed in any way, anything cut off or added: refused. */
static void test_every_flip(void **state)
{
    (void)state;
    const struct vdb_manifest *const manifests[] = {&database, &collection};
    for (int m = 0; m < 2; m++) {
        struct vdb_buf text = {0};
        encode(manifests[m], &text);
        for (size_t at = 0; at < text.bytes; at++) {
            uint8_t kept = text.data[at];
            for (int value = 0; value < 256; value++) {
                struct vdb_manifest got;
                struct vdb_err err = {0};
                text.data[at] = (uint8_t)value;
                vdb_status status = decode(&text, manifests[m]->kind, &got, &err);
                if (value == kept) {
                    assert_ok(status, &err);
                } else if (status != VDB_CORRUPT || err.text[0] == '\0') {
                    fail_msg("byte %zu as %d: %s \"%s\"", at, value, vdb_status_name(status), err.text);
                }
            }
            text.data[at] = kept;
        }
        vdb_buf_fini(&text);
    }
}

static void test_every_truncation_and_extension(void **state)
{
    (void)state;
    const struct vdb_manifest *const manifests[] = {&database, &collection};
    for (int m = 0; m < 2; m++) {
        struct vdb_buf text = {0};
        struct vdb_manifest got;
        struct vdb_err err = {0};
        encode(manifests[m], &text);
        for (size_t bytes = 0; bytes < text.bytes; bytes++) {
            char *exact = malloc(bytes > 0 ? bytes : 1); /* so that the address sanitizer sees a read past it */
            memcpy(exact, text.data, bytes);
            assert_fails(vdb_manifest_decode(exact, bytes, manifests[m]->kind, &got, &err), VDB_CORRUPT, &err,
                         "");
            free(exact);
        }
        static const char *const tails[] = {"\n", " ", "x", "}", "{}"};
        for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
            encode(manifests[m], &text);
            vdb_buf_put_text(&text, tails[i]);
            assert_fails(decode(&text, manifests[m]->kind, &got, &err), VDB_CORRUPT, &err, "checksum");
        }
        vdb_buf_fini(&text);
    }
}

/* A newer writer's file is refused as such, not as damage; whatever else it holds. */
static void test_future_formats(void **state)
{
    (void)state;
    struct vdb_buf text = {0};
    struct vdb_manifest got;
    struct vdb_err err = {0};
    edit(&text, &collection, "\"format\": 1,\n \"min_reader\": 1", "\"format\": 3,\n \"min_reader\": 2");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err,
                 "format 3 needs a reader of format 2 or later; this build reads up to 1");
    edit(&text, &collection, "\"min_reader\": 1", "\"min_reader\": 2,\n \"shape\": \"new\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "format 2 or later");
    edit(&text, &collection, "\"features\": 0", "\"features\": 5");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "feature bits 0x5");
    edit(&text, &database, "\"features\": 0", "\"features\": 18446744073709551615");
    assert_fails(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), VDB_VERSION, &err, "0xffffffffffffffff");
    edit(&text, &collection, "\"features\": 0", "\"features\": 5,\n \"shape\": \"new\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "feature bits 0x5");
    edit(&text, &collection, "\"min_reader\": 1", "\"min_reader\": 2,\n \"schema\": \"elsewhere\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "format 2 or later");
    /* A newer writer that says we can read it is read; what it added is skipped. */
    edit(&text, &collection, "\"format\": 1,\n \"min_reader\": 1,",
         "\"format\": 2,\n \"min_reader\": 1,\n \"shape\": [{\"new\": 1}],");
    assert_ok(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_int_equal(got.format, 2);
    assert_string_equal(got.schema.name, collection.schema.name);
    edit(&text, &collection, "\"cosine\"", "\"hamming\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err,
                 "schema.metric: \"hamming\"");
    edit(&text, &collection, "\"f32\"", "\"f16\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err,
                 "schema.element: \"f16\"");
    vdb_buf_fini(&text);
}

static void test_wrong_kind(void **state)
{
    (void)state;
    struct vdb_buf text = {0};
    struct vdb_manifest got;
    struct vdb_err err = {0};
    encode(&database, &text);
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err,
                 "magic is \"vecdb-database\", expected \"vecdb-collection\"");
    encode(&collection, &text);
    assert_fails(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), VDB_CORRUPT, &err, "vecdb-collection");
    edit(&text, &database, "vecdb-database", "otherdb-database");
    assert_fails(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), VDB_CORRUPT, &err, "otherdb-database");
    vdb_buf_fini(&text);
}

/* F2: a right checksum over a text that encode would not have written. */
static void test_other_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        const char *to;
        const char *part;
    } edits[] = {
        {"\"created_us\": 5", "\"created_us\":  5", "canonical"},
        {"\"created_us\": 5", "\"created_us\": 5 ", "canonical"},
        {"\"created_us\": 5", "\"created_us\": 6,\n \"created_us\": 5", "canonical"},
        {"\"created_us\": 5", "\"created_us\": 05", "not a manifest"},
        {"\"created_us\": 5", "\"created_us\": 5.0", "not a manifest"},
        {"\"created_us\": 5", "\"created_us\": -5", "not a manifest"},
        {"\"created_us\": 5", "\"created_us\": 18446744073709551616", "not a manifest"},
        {"\"created_us\": 5", "\"created_us\": \"5\"", "not a manifest"},
        {"\"wal_first\": 17", "\"wal_first\": null", "not a manifest"},
        {",\n \"wal_first\": 17", "", "canonical"},
        {"\"wal_first\": 17", "\"wal_first\": 17,\n \"color\": 1", "unknown member \"color\""},
        {"\"dimension\": 384", "\"dimension\": 384, \"depth\": 2", "unknown member \"schema.depth\""},
        {"\"dimension\": 384", "\"dimension\": 0", "dimension"},
        {"\"dimension\": 384", "\"dimension\": 65537", "dimension"},
        {"\"dimension\": 384", "\"dimension\": 4294967680", "dimension"}, /* 2^32 + 384 */
        {"\"name\": \"docs\"", "\"name\": \"\"", "name"},
        {"\"name\": \"docs\"", "\"name\": \"../docs\"", "illegal character"},
        {"\"name\": \"docs\"", "\"name\": \"d\\u006fcs\"", "illegal character"},
        {"\"name\": \"docs\"", "\"name\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
         "65 bytes, at most 64"},
        {"\"index\": \"flat\"", "\"index\": \"sixteen-letters!\"", "16 bytes, at most 15"},
        {"fedcba98", "FEDCBA98", "uuid"},
        {"fedcba98", "fedcba9", "uuid"},
        {"fedcba98", "fedcbag8", "uuid"},
        {"\"schema\": {", "\"schema\": [", "not a manifest"},
        {" \"schema\"", " \"Schema\"", "unknown member"},
        {"{\"magic\"", "{\"magic2\"", "unknown member"},
        {"{\"magic\": \"vecdb-collection\"", "{\"magic\": 7", "not a manifest"},
        {"{", "[", "not a manifest"},
    };
    struct vdb_buf text = {0};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        struct vdb_manifest got;
        struct vdb_err err = {0};
        edit(&text, &collection, edits[i].from, edits[i].to);
        vdb_status status = decode(&text, VDB_MANIFEST_COLLECTION, &got, &err);
        if (status != VDB_CORRUPT || strstr(err.text, edits[i].part) == NULL) {
            fail_msg("%s -> %s: %s \"%s\", expected corrupt and \"%s\"", edits[i].from, edits[i].to,
                     vdb_status_name(status), err.text, edits[i].part);
        }
    }
    struct vdb_manifest got;
    struct vdb_err err = {0};
    /* A database has no schema. */
    edit(&text, &database, "\"created_us\"", "\"wal_first\": 0,\n \"created_us\"");
    assert_fails(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), VDB_CORRUPT, &err, "canonical");
    seal(&text, "");
    assert_fails(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), VDB_CORRUPT, &err, "");
    seal(&text, "{");
    assert_fails(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), VDB_CORRUPT, &err, "");
    vdb_buf_fini(&text);
}

static void test_uuid_print(void **state)
{
    (void)state;
    char text[2 * VDB_UUID_BYTES + 1];
    vdb_uuid_print(database.uuid, text);
    assert_string_equal(text, "00112233445566778899aabbccddeeff");
}

static struct vdb_env *fresh_env(void)
{
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    assert_ok(env->ops->mkdir(env, "d", &err), &err);
    assert_ok(env->ops->sync_dir(env, ".", &err), &err);
    return env;
}

static void test_save_and_load(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_manifest got;
    struct vdb_env *env = fresh_env();
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), VDB_NOT_FOUND, &err,
                 "metadata.json");
    assert_ok(vdb_manifest_save(env, "d", &collection, &err), &err);
    vdb_env_memory_crash(env, 0); /* durable when it returned */
    assert_ok(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_same(&got, &collection);
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_DATABASE, &got, &err), VDB_CORRUPT, &err,
                 "\"d/metadata.json\": magic");
    assert_true(vdb_env_memory_flip(env, "d/metadata.json", 40, 1));
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err,
                 "\"d/metadata.json\": checksum mismatch");
    vdb_env_memory_destroy(env);
}

/* A file that no manifest can be is refused before it fills the memory. */
static void test_too_large_a_file(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_manifest got;
    struct vdb_env *env = fresh_env();
    char *blanks = malloc((1 << 20) + 1);
    memset(blanks, ' ', (1 << 20) + 1);
    assert_ok(vdb_env_replace_file(env, "d/metadata.json", blanks, (1 << 20) + 1, &err), &err);
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err,
                 "not a manifest");
    free(blanks);
    vdb_env_memory_destroy(env);
}

/* Replaces a manifest with the n-th operation failing (for good or once), then perhaps a power cut: what is there
 * is the old one or the new one; the new one if save said so, and never nothing. True when the fault was reached.
 */
static bool save_with_fault(uint64_t n, bool forever, uint64_t cut)
{
    struct vdb_err err = {0};
    struct vdb_manifest got;
    struct vdb_manifest next = collection;
    struct vdb_env *env = fresh_env();
    assert_ok(vdb_manifest_save(env, "d", &collection, &err), &err);
    next.wal_first = 18;
    vdb_env_memory_fail_at(env, n, n % 2 == 0 ? VDB_IO : VDB_NO_SPACE, forever, n * 7 + cut);
    uint64_t before = vdb_env_memory_operations(env);
    vdb_status status = vdb_manifest_save(env, "d", &next, &err);
    bool reached = vdb_env_memory_operations(env) - before >= n;
    vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
    assert_int_equal(status, reached ? (n % 2 == 0 ? VDB_IO : VDB_NO_SPACE) : VDB_OK);
    if (cut != 1) {
        vdb_env_memory_crash(env, cut);
    }
    vdb_status loaded = vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err);
    if (loaded != VDB_OK || (got.wal_first != 17 && got.wal_first != 18) || (!reached && got.wal_first != 18)) {
        fail_msg("operation %llu fails%s, cut %llu: %s, wal_first %llu", (unsigned long long)n,
                 forever ? " for good" : "", (unsigned long long)cut, loaded == VDB_OK ? "loads" : err.text,
                 (unsigned long long)got.wal_first);
    }
    /* And a second try goes through, whatever the first left lying. */
    next.wal_first = 19;
    assert_ok(vdb_manifest_save(env, "d", &next, &err), &err);
    vdb_env_memory_crash(env, 0);
    assert_ok(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_int_equal(got.wal_first, 19);
    vdb_env_memory_destroy(env);
    return reached;
}

static void test_save_with_every_fault(void **state)
{
    (void)state;
    static const uint64_t cuts[] = {0, UINT64_MAX, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int forever = 0; forever < 2; forever++) {
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            uint64_t n = 1;
            while (save_with_fault(n, forever != 0, cuts[c])) {
                n++;
            }
            assert_true(n > 4); /* open, write, sync, rename, sync_dir at least */
        }
    }
}

/* A load that fails in any step says so and changes nothing. */
static void test_load_with_every_fault(void **state)
{
    (void)state;
    struct vdb_env *env = fresh_env();
    struct vdb_err err = {0};
    struct vdb_manifest got;
    assert_ok(vdb_manifest_save(env, "d", &collection, &err), &err);
    for (uint64_t n = 1;; n++) {
        vdb_env_memory_fail_at(env, n, VDB_IO, false, n);
        vdb_status status = vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err);
        if (vdb_env_memory_operations(env) < n) {
            assert_int_equal(status, VDB_OK);
            assert_true(n > 2);
            break;
        }
        assert_int_equal(status, VDB_IO);
    }
    vdb_env_memory_destroy(env);
}

/* Collections hold f32: the metrics of bits are refused by name. */
static void test_schema_refuses_metrics_of_bits(void **state)
{
    (void)state;
    struct vdb_schema schema = {.name = "docs", .dimension = 8, .index = "flat"};
    struct vdb_err err = {0};
    for (int metric = 0; metric <= VDB_METRIC_L1; metric++) {
        schema.metric = (vdb_metric)metric;
        assert_int_equal(vdb_schema_check(&schema, &err), VDB_OK);
    }
    for (int metric = VDB_METRIC_HAMMING; metric <= VDB_METRIC_JACCARD; metric++) {
        schema.metric = (vdb_metric)metric;
        assert_int_equal(vdb_schema_check(&schema, &err), VDB_INVALID);
        assert_non_null(strstr(err.text, vdb_metric_name(schema.metric)));
        assert_non_null(strstr(err.text, "l2, cosine, dot, l1"));
    }
    schema.metric = VDB_METRIC_COUNT;
    assert_int_equal(vdb_schema_check(&schema, &err), VDB_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_refuses_metrics_of_bits),
        cmocka_unit_test(test_golden_text),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_every_truncation_and_extension),
        cmocka_unit_test(test_future_formats),
        cmocka_unit_test(test_wrong_kind),
        cmocka_unit_test(test_other_spellings),
        cmocka_unit_test(test_uuid_print),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_too_large_a_file),
        cmocka_unit_test(test_save_with_every_fault),
        cmocka_unit_test(test_load_with_every_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
