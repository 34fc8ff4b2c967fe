/* test_manifest.c: metadata.json: F1 to F3 of manifest.c, and refusals by name. On the disk: test_manifest_save.c. */
#include "support.h"

#include <math.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/rng.h"
#include "env/env_memory.h"
#include "manifest_world.h"

static const struct vdb_manifest database = {
    .kind = VDB_MANIFEST_DATABASE,
    .uuid = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
    .created_us = 1700000000123456,
};

static struct vdb_segment_info two_segments[] = {
    {.number = 3,
     .rows = 1000,
     .vectors = {520192, 0x00c0ffee},
     .meta = {16384, 0xffffffff},
     .dead_edition = 2,
     .dead_rows = 7,
     .dead = {8192, 0x0000000a}},
    {.number = 1, .rows = 1, .vectors = {8192, 0}, .meta = {8193, 0x12345678}},
};

/* With a checkpoint and segments. */
static const struct vdb_manifest checkpointed = {
    .kind = VDB_MANIFEST_COLLECTION,
    .uuid = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78},
    .created_us = 5,
    .schema = {.name = "docs", .dimension = 384, .metric = VDB_METRIC_COSINE},
    .index_config = {.type = "flat"},
    .wal_first = 17,
    .checkpoint_seq = 4711,
    .next_number = 4,
    .segment_count = 2,
    .segments = two_segments,
};

static struct vdb_segment_info indexed_segments[] = {
    {.number = 3,
     .rows = 1000,
     .vectors = {520192, 0x00c0ffee},
     .meta = {16384, 0xffffffff},
     .dead_edition = 2,
     .dead_rows = 7,
     .dead = {8192, 0x0000000a},
     .index_edition = 12,
     .index = {1048576, 0x0badcafe}},
    {.number = 1,
     .rows = 1,
     .vectors = {8192, 0},
     .meta = {8193, 0x12345678},
     .index_edition = 1,
     .index = {4160, 0}},
};

/* With index files, and a configuration of which all is said. */
static const struct vdb_manifest indexed = {
    .kind = VDB_MANIFEST_COLLECTION,
    .uuid = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78},
    .created_us = 5,
    .schema = {.name = "docs", .dimension = 384, .metric = VDB_METRIC_COSINE},
    .index_config = {.type = "qgraph",
                     .m = 16,
                     .ef_construction = 200,
                     .ef_search = 64,
                     .code_bits = 256,
                     .compact = 1,
                     .scan_below = UINT32_MAX,
                     .target_recall = 0.95},
    .wal_first = 17,
    .checkpoint_seq = 4711,
    .next_number = 4,
    .segment_count = 2,
    .segments = indexed_segments,
};

static vdb_status decode(const struct vdb_buf *text, vdb_manifest_kind kind, struct vdb_manifest *out,
                         struct vdb_err *err)
{
    return vdb_manifest_decode((const char *)text->data, text->bytes, kind, out, err);
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
    char head[4096];
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

#define COLLECTION_HEAD                                                                                          \
    " \"uuid\": \"fedcba98765432100f1e2d3c4b5a6978\",\n \"created_us\": 5,\n"                                    \
    " \"schema\": {\"name\": \"docs\", \"dimension\": 384, \"element\": \"f32\", \"metric\": "                   \
    "\"cosine\", \"index\": \"flat\"},\n \"wal_first\": 17"

static void assert_text(const struct vdb_manifest *manifest, const char *head)
{
    struct vdb_buf text = {0};
    struct vdb_buf expected = {0};
    encode(manifest, &text);
    seal(&expected, head);
    assert_int_equal(text.bytes, expected.bytes);
    assert_memory_equal(text.data, expected.data, text.bytes);
    vdb_buf_fini(&text);
    vdb_buf_fini(&expected);
}

/* The bytes are the format's: these texts may never change for these values. */
static void test_golden_text(void **state)
{
    (void)state;
    assert_text(&database,
                "{\"magic\": \"vecdb-database\",\n \"format\": 2,\n \"min_reader\": 1,\n \"features\": 0,\n"
                " \"uuid\": \"00112233445566778899aabbccddeeff\",\n \"created_us\": 1700000000123456");
    assert_text(&collection,
                "{\"magic\": \"vecdb-collection\",\n \"format\": 2,\n \"min_reader\": 1,\n \"features\": "
                "0,\n" COLLECTION_HEAD
                ",\n \"role\": \"primary\",\n \"checkpoint_seq\": 0,\n \"next_number\": 0,\n \"segments\": []");
    assert_text(&checkpointed,
                "{\"magic\": \"vecdb-collection\",\n \"format\": 2,\n \"min_reader\": 2,\n \"features\": "
                "0,\n" COLLECTION_HEAD
                ",\n \"role\": \"primary\",\n \"checkpoint_seq\": 4711,\n \"next_number\": 4,\n \"segments\": [\n"
                "  {\"number\": 3, \"rows\": 1000, \"vectors\": {\"bytes\": 520192, \"crc32c\": \"00c0ffee\"}, "
                "\"meta\": {\"bytes\": 16384, \"crc32c\": \"ffffffff\"}, "
                "\"dead\": {\"edition\": 2, \"rows\": 7, \"bytes\": 8192, \"crc32c\": \"0000000a\"}},\n"
                "  {\"number\": 1, \"rows\": 1, \"vectors\": {\"bytes\": 8192, \"crc32c\": \"00000000\"}, "
                "\"meta\": {\"bytes\": 8193, \"crc32c\": \"12345678\"}}]");
    struct vdb_manifest little = collection;
    little.index_config.target_recall = 0.5;
    assert_text(&little,
                "{\"magic\": \"vecdb-collection\",\n \"format\": 2,\n \"min_reader\": 1,\n \"features\": "
                "0,\n" COLLECTION_HEAD
                ",\n \"role\": \"primary\",\n \"checkpoint_seq\": 0,\n \"next_number\": 0,\n"
                " \"index_config\": {\"target_recall\": 0.5},\n \"segments\": []");
    assert_text(&indexed,
                "{\"magic\": \"vecdb-collection\",\n \"format\": 2,\n \"min_reader\": 2,\n \"features\": 0,\n"
                " \"uuid\": \"fedcba98765432100f1e2d3c4b5a6978\",\n \"created_us\": 5,\n"
                " \"schema\": {\"name\": \"docs\", \"dimension\": 384, \"element\": \"f32\", \"metric\": "
                "\"cosine\", \"index\": \"qgraph\"},\n \"wal_first\": 17,\n"
                " \"role\": \"primary\",\n \"checkpoint_seq\": 4711,\n \"next_number\": 4,\n"
                " \"index_config\": {\"m\": 16, \"ef_construction\": 200, \"ef_search\": 64, \"code_bits\": 256, "
                "\"compact\": 1, \"scan_below\": 4294967295, \"target_recall\": 0.95},\n \"segments\": [\n"
                "  {\"number\": 3, \"rows\": 1000, \"vectors\": {\"bytes\": 520192, \"crc32c\": \"00c0ffee\"}, "
                "\"meta\": {\"bytes\": 16384, \"crc32c\": \"ffffffff\"}, "
                "\"dead\": {\"edition\": 2, \"rows\": 7, \"bytes\": 8192, \"crc32c\": \"0000000a\"}, "
                "\"index\": {\"edition\": 12, \"bytes\": 1048576, \"crc32c\": \"0badcafe\"}},\n"
                "  {\"number\": 1, \"rows\": 1, \"vectors\": {\"bytes\": 8192, \"crc32c\": \"00000000\"}, "
                "\"meta\": {\"bytes\": 8193, \"crc32c\": \"12345678\"}, "
                "\"index\": {\"edition\": 1, \"bytes\": 4160, \"crc32c\": \"00000000\"}}]");
}

/* Format 1, as 0.1.0 wrote it, is read for good; the next save writes format 2. */
static void test_format_1(void **state)
{
    (void)state;
    struct vdb_buf text = {0};
    struct vdb_manifest got;
    struct vdb_err err = {0};
    seal(&text, "{\"magic\": \"vecdb-collection\",\n \"format\": 1,\n \"min_reader\": 1,\n \"features\": "
                "0,\n" COLLECTION_HEAD);
    assert_ok(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_int_equal(got.format, 1);
    assert_same(&got, &collection);
    assert_null(got.segments);
    assert_text(&got,
                "{\"magic\": \"vecdb-collection\",\n \"format\": 2,\n \"min_reader\": 1,\n"
                " \"features\": 0,\n" COLLECTION_HEAD
                ",\n \"role\": \"primary\",\n \"checkpoint_seq\": 0,\n \"next_number\": 0,\n \"segments\": []");
    vdb_manifest_fini(&got);
    seal(&text, "{\"magic\": \"vecdb-database\",\n \"format\": 1,\n \"min_reader\": 1,\n \"features\": 0,\n"
                " \"uuid\": \"00112233445566778899aabbccddeeff\",\n \"created_us\": 1700000000123456");
    assert_ok(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), &err);
    assert_same(&got, &database);
    vdb_manifest_fini(&got);
    /* Each format has its members, no more and no less. */
    static const struct {
        const char *head;
        const char *part;
    } mixed[] = {
        {"{\"magic\": \"vecdb-collection\",\n \"format\": 1,\n \"min_reader\": 1,\n \"features\": "
         "0,\n" COLLECTION_HEAD
         ",\n \"role\": \"primary\",\n \"checkpoint_seq\": 0,\n \"next_number\": 0,\n \"segments\": []",
         "unknown member \"role\""},
        {"{\"magic\": \"vecdb-collection\",\n \"format\": 2,\n \"min_reader\": 1,\n \"features\": "
         "0,\n" COLLECTION_HEAD,
         "canonical"},
        {"{\"magic\": \"vecdb-collection\",\n \"format\": 1,\n \"min_reader\": 2,\n \"features\": "
         "0,\n" COLLECTION_HEAD,
         "canonical"},
        {"{\"magic\": \"vecdb-collection\",\n \"format\": 0,\n \"min_reader\": 1,\n \"features\": "
         "0,\n" COLLECTION_HEAD,
         "format is 0"},
    };
    for (size_t i = 0; i < sizeof mixed / sizeof *mixed; i++) {
        seal(&text, mixed[i].head);
        assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err, mixed[i].part);
        assert_null(got.segments);
    }
    vdb_buf_fini(&text);
}

/* A segment with the longest numbers. */
static struct vdb_segment_info widest_segment(uint32_t number)
{
    const struct vdb_stamp stamp = {UINT64_MAX, UINT32_MAX};
    return (struct vdb_segment_info){.number = number,
                                     .rows = UINT32_MAX,
                                     .vectors = stamp,
                                     .meta = stamp,
                                     .dead_edition = UINT32_MAX,
                                     .dead_rows = UINT32_MAX,
                                     .dead = stamp,
                                     .index_edition = UINT32_MAX,
                                     .index = stamp};
}

/* As many segments as there may be, written as long as can be, are saved and loaded; one more is refused. */
static void test_most_segments(void **state)
{
    (void)state;
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_err err = {0};
    struct vdb_manifest got;
    struct vdb_manifest many = checkpointed;
    many.next_number = UINT32_MAX;
    many.segments = calloc(VDB_SEGMENTS_MAX + 1, sizeof *many.segments);
    for (uint32_t i = 0; i <= VDB_SEGMENTS_MAX; i++) {
        many.segments[i] = widest_segment(UINT32_MAX - 1 - i);
    }
    many.segment_count = VDB_SEGMENTS_MAX;
    assert_ok(env->ops->mkdir(env, "d", &err), &err);
    assert_ok(vdb_manifest_save(env, "d", &many, &err), &err);
    assert_ok(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_same(&got, &many);
    vdb_manifest_fini(&got);
    assert_null(got.segments);
    many.segment_count++;
    assert_fails(vdb_manifest_save(env, "d", &many, &err), VDB_INVALID, &err, "4097 segments, at most 4096");
    struct vdb_buf text = {0};
    encode(&many, &text);
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err,
                 "more than 4096 segments");
    assert_null(got.segments);
    /* What the room for a segment's line in MANIFEST_BYTES_MAX is taken from. */
    many.segment_count = 1;
    encode(&many, &text);
    size_t one = text.bytes;
    many.segment_count = 2;
    encode(&many, &text);
    assert_true(text.bytes - one <= 400);
    vdb_buf_fini(&text);
    free(many.segments);
    vdb_env_memory_destroy(env);
}

/* Segments that contradict each other or the rest: load refuses them as damage, save does not write them (F3). */
static void test_inconsistent_segments(void **state)
{
    (void)state;
    enum { CASES = 23 };
    static const char *const parts[CASES] = {
        "comes twice",
        "next_number is 4",
        "next_number is 3",
        "no rows",
        "a file without bytes",
        "a file without bytes",
        "1001 dead of 1000 rows",
        "0 dead of 1000 rows",
        "edition 0",
        "edition 0",
        "edition 0",
        "edition 2 of 0 bytes",
        "without a checkpoint",
        "dimension",
        "edition 12 of its index file, of 0 bytes",
        "edition 0 of its index file, of 1 bytes",
        "edition 0 of its index file",
        "index type: \"\"",
        "index type: \"a b\"",
        "target_recall: 1 is not",
        "target_recall: -0.5",
        "nan is not between",
        "index type: \"sixteen-letters!\"",
    };
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_err err = {0};
    assert_ok(env->ops->mkdir(env, "d", &err), &err);
    for (int i = 0; i < CASES; i++) {
        struct vdb_segment_info segments[2] = {two_segments[0], two_segments[1]};
        struct vdb_manifest bad = checkpointed;
        struct vdb_manifest got;
        struct vdb_buf text = {0};
        bad.segments = segments;
        switch (i) {
        case 0:
            segments[1].number = 3;
            break;
        case 1:
            segments[1].number = 4;
            break;
        case 2:
            bad.next_number = 3;
            break;
        case 3:
            segments[1].rows = 0;
            break;
        case 4:
            segments[1].vectors.bytes = 0;
            break;
        case 5:
            segments[0].meta.bytes = 0;
            break;
        case 6:
            segments[0].dead_rows = 1001;
            break;
        case 7:
            segments[0].dead_rows = 0;
            break;
        case 8:
            segments[1].dead_rows = 1;
            break;
        case 9:
            segments[1].dead.bytes = 1;
            break;
        case 10:
            segments[1].dead.crc = 1;
            break;
        case 11:
            segments[0].dead.bytes = 0;
            break;
        case 12:
            bad.checkpoint_seq = 0;
            break;
        case 13:
            bad.schema.dimension = 0;
            break;
        case 14:
            segments[0].index_edition = 12;
            break;
        case 15:
            segments[0].index.bytes = 1;
            break;
        case 16:
            segments[0].index.crc = 1;
            break;
        case 17:
            bad.index_config.type[0] = '\0';
            break;
        case 18:
            memcpy(bad.index_config.type, "a b", 4);
            break;
        case 19:
            bad.index_config.target_recall = 1;
            break;
        case 20:
            bad.index_config.target_recall = -0.5;
            break;
        case 21:
            bad.index_config.target_recall = (double)NAN;
            break;
        default:
            memcpy(bad.index_config.type, "sixteen-letters!", VDB_INDEX_NAME_BYTES); /* no end */
            break;
        }
        assert_fails(vdb_manifest_save(env, "d", &bad, &err), VDB_INVALID, &err, parts[i]);
        if (i >= 21) {
            continue; /* there is no text of it */
        }
        encode(&bad, &text);
        vdb_status status = decode(&text, VDB_MANIFEST_COLLECTION, &got, &err);
        /* Without an edition its members are not written at all: nothing of them is left to refuse. */
        bool unwritten = (i >= 8 && i <= 10) || i == 15 || i == 16;
        if (unwritten) {
            assert_ok(status, &err);
            vdb_manifest_fini(&got);
        } else {
            assert_fails(status, VDB_CORRUPT, &err, parts[i]);
            assert_null(got.segments);
        }
        vdb_buf_fini(&text);
    }
    struct vdb_manifest got;
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), VDB_NOT_FOUND, &err, "");
    vdb_env_memory_destroy(env);
}

/* A random manifest's segments: numbers distinct, with and without dead rows. */
static void random_segments(struct vdb_rng *rng, struct vdb_manifest *manifest, struct vdb_segment_info *segments)
{
    manifest->segment_count = (uint32_t)vdb_rng_below(rng, 20);
    manifest->segments = segments;
    manifest->follower = vdb_rng_below(rng, 2) == 0;
    manifest->checkpoint_seq = manifest->segment_count > 0 ? 1 + vdb_rng_u64(rng) / 2 : vdb_rng_below(rng, 3);
    manifest->next_number = 100 + (uint32_t)vdb_rng_below(rng, 3);
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        struct vdb_segment_info *s = &segments[i];
        *s = (struct vdb_segment_info){.number = (i * 37 + 5) % 100,
                                       .rows = 1 + (uint32_t)vdb_rng_below(rng, 1000)};
        s->vectors = (struct vdb_stamp){1 + vdb_rng_u64(rng) / 2, (uint32_t)vdb_rng_u64(rng)};
        s->meta = (struct vdb_stamp){1 + vdb_rng_below(rng, 99), (uint32_t)vdb_rng_u64(rng)};
        if (vdb_rng_below(rng, 2) == 0) {
            s->dead_edition = 1 + (uint32_t)vdb_rng_below(rng, UINT32_MAX - 1);
            s->dead_rows = 1 + (uint32_t)vdb_rng_below(rng, s->rows);
            s->dead = (struct vdb_stamp){1 + vdb_rng_below(rng, 99), (uint32_t)vdb_rng_u64(rng)};
        }
        if (vdb_rng_below(rng, 2) == 0) {
            s->index_edition = 1 + (uint32_t)vdb_rng_below(rng, UINT32_MAX - 1);
            s->index = (struct vdb_stamp){1 + vdb_rng_u64(rng) / 2, (uint32_t)vdb_rng_u64(rng)};
        }
    }
}

/* Some of the numbers are 0, and so left out. */
static void random_config(struct vdb_rng *rng, struct vdb_index_config *config)
{
    uint32_t *const numbers[] = {&config->m,         &config->ef_construction, &config->ef_search,
                                 &config->code_bits, &config->compact,         &config->scan_below};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        *numbers[i] = vdb_rng_below(rng, 2) == 0 ? (uint32_t)vdb_rng_u64(rng) : 0;
    }
    /* Any bits of a double below 1: its text must give the same ones. */
    config->target_recall = vdb_rng_below(rng, 2) == 0 ? ldexp((double)(vdb_rng_u64(rng) >> 11), -53) : 0;
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
        struct vdb_segment_info segments[20];
        struct vdb_manifest manifest = collection;
        random_segments(&rng, &manifest, segments);
        random_config(&rng, &manifest.index_config);
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
        vdb_manifest_fini(&got);
    }
    vdb_buf_fini(&text);
}

/* F1: any byte changed in any way, anything cut off or added: refused. */
static void test_every_flip(void **state)
{
    (void)state;
    const struct vdb_manifest *const manifests[] = {&database, &collection, &checkpointed, &indexed};
    for (int m = 0; m < 4; m++) {
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
                    vdb_manifest_fini(&got);
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
    const struct vdb_manifest *const manifests[] = {&database, &collection, &checkpointed, &indexed};
    for (int m = 0; m < 4; m++) {
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
    edit(&text, &collection, "\"format\": 2,\n \"min_reader\": 1", "\"format\": 4,\n \"min_reader\": 3");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err,
                 "format 4 needs a reader of format 3 or later; this build reads up to 2");
    edit(&text, &collection, "\"min_reader\": 1", "\"min_reader\": 3,\n \"shape\": \"new\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "format 3 or later");
    edit(&text, &collection, "\"features\": 0", "\"features\": 5");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "feature bits 0x5");
    edit(&text, &database, "\"features\": 0", "\"features\": 18446744073709551615");
    assert_fails(decode(&text, VDB_MANIFEST_DATABASE, &got, &err), VDB_VERSION, &err, "0xffffffffffffffff");
    edit(&text, &collection, "\"features\": 0", "\"features\": 5,\n \"shape\": \"new\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "feature bits 0x5");
    edit(&text, &collection, "\"min_reader\": 1", "\"min_reader\": 3,\n \"schema\": \"elsewhere\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "format 3 or later");
    /* A newer writer that says we can read it is read; what it added is skipped. */
    edit(&text, &collection, "\"format\": 2,\n \"min_reader\": 1,",
         "\"format\": 3,\n \"min_reader\": 1,\n \"shape\": [{\"new\": 1}],");
    assert_ok(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_int_equal(got.format, 3);
    assert_string_equal(got.schema.name, collection.schema.name);
    vdb_manifest_fini(&got);
    /* Within segments, too. */
    edit(&text, &checkpointed, "\"format\": 2", "\"format\": 3");
    assert_ok(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_same(&got, &checkpointed);
    vdb_manifest_fini(&got);
    static const char *const places[] = {"{\"number\": 3", "{\"bytes\": 520192", "{\"edition\": 2"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char to[96];
        struct vdb_buf newer = {0};
        snprintf(to, sizeof to, "{\"new\": [1], %s", places[i] + 1);
        edit(&text, &checkpointed, places[i], to);
        assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err,
                     "unknown member \"segments.new\"");
        vdb_buf_put(&newer, text.data, text.bytes - 25); /* the checksum's member */
        vdb_buf_put_u8(&newer, 0);
        char *format = strstr((char *)newer.data, "\"format\": 2");
        assert_non_null(format);
        format[10] = '3';
        seal(&text, (char *)newer.data);
        assert_ok(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), &err);
        assert_same(&got, &checkpointed);
        vdb_manifest_fini(&got);
        vdb_buf_fini(&newer);
    }
    edit(&text, &indexed, "\"format\": 2", "\"format\": 3");
    assert_ok(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_same(&got, &indexed);
    vdb_manifest_fini(&got);
    edit(&text, &collection, "\"cosine\"", "\"hamming\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err,
                 "schema.metric: \"hamming\"");
    edit(&text, &collection, "\"f32\"", "\"bf16\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err,
                 "schema.element: \"bf16\"");
    edit(&text, &collection, "\"f32\"", "\"f8\"");
    assert_fails(decode(&text, VDB_MANIFEST_COLLECTION, &got, &err), VDB_VERSION, &err, "schema.element: \"f8\"");
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
struct edit {
    const char *from;
    const char *to;
    const char *part; /* of the error */
};

/* Each edit of the manifest's text is refused as damage, with its reason. */
static void check_edits(const struct vdb_manifest *manifest, const struct edit *edits, size_t count)
{
    struct vdb_buf text = {0};
    for (size_t i = 0; i < count; i++) {
        struct vdb_manifest got;
        struct vdb_err err = {0};
        edit(&text, manifest, edits[i].from, edits[i].to);
        vdb_status status = decode(&text, VDB_MANIFEST_COLLECTION, &got, &err);
        if (status != VDB_CORRUPT || strstr(err.text, edits[i].part) == NULL) {
            fail_msg("%s -> %s: %s \"%s\", expected corrupt and \"%s\"", edits[i].from, edits[i].to,
                     vdb_status_name(status), err.text, edits[i].part);
        }
        assert_null(got.segments); /* a failure leaves nothing owned */
    }
    vdb_buf_fini(&text);
}

static void test_other_spellings(void **state)
{
    (void)state;
    static const struct edit edits[] = {
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
    check_edits(&collection, edits, sizeof edits / sizeof *edits);
    static const struct edit segment_edits[] = {
        {"\"min_reader\": 2", "\"min_reader\": 1", "canonical"},
        {"\"checkpoint_seq\": 4711", "\"checkpoint_seq\": 04711", "not a manifest"},
        {"\"role\": \"primary\"", "\"role\": \"leader\"", "canonical"},
        {"\"next_number\": 4", "\"next_number\": 4294967296", "next_number is 4294967296, at most"},
        {"\"number\": 3", "\"number\": 4294967299", "number is 4294967299"},
        {"\"rows\": 7", "\"rows\": -7", "not a manifest"},
        {"\"00c0ffee\"", "\"00C0FFEE\"", "8 hex digits"},
        {"\"00c0ffee\"", "\"c0ffee\"", "8 hex digits"},
        {"\"00c0ffee\"", "\"0x00c0ff\"", "8 hex digits"},
        {"\"00c0ffee\"", "\" 0c0ffee\"", "8 hex digits"},
        {"\"00c0ffee\"", "12345678", "not a manifest"},
        {"\"segments\": [\n  ", "\"segments\": [\n ", "canonical"},
        {"\"segments\": [\n  ", "\"segments\": [\n  {}, ", "no rows"},
        {"\"segments\": [\n  ", "\"segments\": [\n  7, ", "not a manifest"},
        {"\"segments\": [", "\"segments\": [],\n \"segments\": [", "canonical"},
        {"\"dead\": {\"edition\"", "\"dead\": {\"color\": 1, \"edition\"", "unknown member \"segments.color\""},
        {", \"dead\": {", ", \"dead\": {\"edition\": 2}, \"dead\": {", "canonical"},
        {"\"vectors\": {\"bytes\": 520192, ", "\"vectors\": {", "without bytes"},
        {"\"meta\": {\"bytes\"", "\"meta\": {\"edition\": 1, \"bytes\"", "unknown member \"segments.edition\""},
        {",\n \"checkpoint_seq\": 4711,\n \"next_number\": 4",
         ",\n \"next_number\": 4,\n \"checkpoint_seq\": 4711", "canonical"},
    };
    check_edits(&checkpointed, segment_edits, sizeof segment_edits / sizeof *segment_edits);
    static const struct edit index_edits[] = {
        {"\"m\": 16", "\"m\": 016", "not a manifest"},
        {"\"m\": 16", "\"m\": 4294967296", "m is 4294967296, at most"},
        {"\"m\": 16", "\"m\": 0", "canonical"},
        {"\"m\": 16, ", "\"m\": 16, \"m\": 16, ", "canonical"},
        {"\"m\": 16, \"ef_construction\": 200", "\"ef_construction\": 200, \"m\": 16", "canonical"},
        {"\"m\": 16", "\"m\": 16, \"depth\": 2", "unknown member \"index_config.depth\""},
        {"0.95", "0.950", "canonical"},
        {"0.95", "1", "target_recall: 1 is not"},
        {"0.95", "1e400", "not a manifest"},
        {"0.95", "-0.0", "canonical"},
        {"0.95", "\"0.95\"", "not a manifest"},
        {"\"index_config\": {", "\"index_config\": {}, \"index_config\": {", "canonical"},
        {"\"index\": {\"edition\": 12", "\"index\": {\"edition\": 0", "edition 0 of its index file"},
        {"\"index\": {\"edition\": 12, ", "\"index\": {", "edition 0 of its index file"},
        {"\"bytes\": 1048576", "\"bytes\": 0", "edition 12 of its index file, of 0 bytes"},
        {"\"index\": {\"edition\"", "\"index\": {\"rows\": 1, \"edition\"", "unknown member \"segments.rows\""},
        {"\"index\": \"qgraph\"", "\"index\": \"\"", "index type"},
        {"\"index\": \"qgraph\"", "\"index\": \"q/graph\"", "index type"},
    };
    check_edits(&indexed, index_edits, sizeof index_edits / sizeof *index_edits);
    struct edit empty = {",\n \"segments\"", ",\n \"index_config\": {},\n \"segments\"", "canonical"};
    check_edits(&checkpointed, &empty, 1);
}

static void test_uuid_print(void **state)
{
    (void)state;
    char text[2 * VDB_UUID_BYTES + 1];
    vdb_uuid_print(database.uuid, text);
    assert_string_equal(text, "00112233445566778899aabbccddeeff");
}

/* Collections hold f32: the metrics of bits are refused by name. */
static void test_schema_refuses_metrics_of_bits(void **state)
{
    (void)state;
    struct vdb_schema schema = {.name = "docs", .dimension = 8};
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
        cmocka_unit_test(test_format_1),
        cmocka_unit_test(test_most_segments),
        cmocka_unit_test(test_inconsistent_segments),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_every_truncation_and_extension),
        cmocka_unit_test(test_future_formats),
        cmocka_unit_test(test_wrong_kind),
        cmocka_unit_test(test_other_spellings),
        cmocka_unit_test(test_uuid_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
