/* test_body.c: request bodies into the types of vecdb.h, and what is said about those that are not right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/limits.h"
#include "index/hnsw.h"
#include "server/body.h"

struct fixture {
    struct vdb_arena arena;
    struct vdb_err err;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    vdb_arena_init(&fixture->arena, 4096);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    vdb_arena_fini(&fixture->arena);
    free(fixture);
    return 0;
}

static struct vdb_body body(struct fixture *fixture, const char *text, uint32_t dimension)
{
    fixture->err = (struct vdb_err){VDB_OK, ""};
    return (struct vdb_body){text, strlen(text), "docs", dimension, &fixture->arena};
}

static void assert_says(const struct fixture *fixture, const char *text)
{
    assert_string_equal(fixture->err.text, text);
}

static void assert_has(const struct fixture *fixture, const char *part)
{
    if (strstr(fixture->err.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", fixture->err.text, part);
    }
}

/* ---- Create ---- */

static vdb_status create(struct fixture *fixture, const char *text, vecdb_collection_config *out)
{
    struct vdb_body b = body(fixture, text, 0);
    return vdb_body_parse_create(&b, out, &fixture->err);
}

static void test_create(void **state)
{
    struct fixture *f = *state;
    vecdb_collection_config c;
    assert_int_equal(create(f, "{\"name\": \"docs\", \"dimension\": 256}", &c), VDB_OK);
    assert_string_equal(c.name, "docs");
    assert_int_equal(c.dimension, 256);
    assert_int_equal(c.metric, VECDB_COSINE);
    assert_null(c.index);
    assert_null(c.index_config);
    assert_int_equal(create(f,
                            " {\"index_config\":{\"type\":\"flat\"},\"metric\":\"l1\",\"dimension\":65536,"
                            "\"n\\u0061me\":\"\\u0061b\"} ",
                            &c),
                     VDB_OK);
    assert_string_equal(c.name, "ab");
    assert_int_equal(c.dimension, 65536);
    assert_int_equal(c.metric, VECDB_L1);
    assert_null(c.index);
    assert_string_equal(c.index_config->type, "flat");
    assert_true(c.index_config->m == 0 && c.index_config->target_recall == 0);
    static const struct {
        const char *name;
        vecdb_metric metric;
    } metrics[] = {{"l2", VECDB_L2}, {"cosine", VECDB_COSINE}, {"dot", VECDB_DOT}, {"l1", VECDB_L1}};
    for (size_t i = 0; i < 4; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"name\":\"a\",\"dimension\":1,\"metric\":\"%s\"}", metrics[i].name);
        assert_int_equal(create(f, text, &c), VDB_OK);
        assert_int_equal(c.metric, metrics[i].metric);
        assert_int_equal(c.element, VECDB_F32);
    }
    static const struct {
        const char *name;
        vecdb_element element;
    } elements[] = {{"f32", VECDB_F32}, {"f16", VECDB_F16}, {"u8", VECDB_U8}, {"i8", VECDB_I8}};
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++) {
        char text[80];
        snprintf(text, sizeof text, "{\"name\":\"a\",\"dimension\":1,\"element\":\"%s\"}", elements[i].name);
        assert_int_equal(create(f, text, &c), VDB_OK);
        assert_int_equal(c.element, elements[i].element);
    }
    assert_int_equal(create(f, "{\"name\":\"a\",\"dimension\":1,\"index_config\":{}}", &c), VDB_OK);
    assert_null(c.index_config->type);
}

static void test_create_refused(void **state)
{
    struct fixture *f = *state;
    vecdb_collection_config c;
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"", "body: empty, expected a JSON object"},
        {"{}", "name: missing"},
        {"{\"name\":\"a\"}", "dimension: missing"},
        {"{\"name\":\"a\",\"dimension\":0}", "dimension: 0 is out of range, 1 to 65536"},
        {"{\"name\":\"a\",\"dimension\":65537}", "dimension: 65537 is out of range, 1 to 65536"},
        {"{\"name\":\"a\",\"dimension\":4294967297}", "dimension: 4294967297 is out of range, 1 to 65536"},
        {"{\"name\":\"a\",\"dimension\":1,\"metric\":\"euclid\"}",
         "metric: \"euclid\" is none of l2, cosine, dot, l1"},
        {"{\"name\":\"a\",\"dimension\":1,\"metric\":\"L2\"}", "metric: \"L2\" is none of l2, cosine, dot, l1"},
        {"{\"name\":\"a\",\"dimension\":1,\"metric\":\"hamming\"}",
         "metric: \"hamming\" is none of l2, cosine, dot, l1"},
        {"{\"name\":\"a\",\"dimension\":1,\"element\":\"bit\"}", "element: \"bit\" is none of f32, f16, u8, i8"},
        {"{\"name\":\"a\",\"dimension\":1,\"element\":\"bf16\"}",
         "element: \"bf16\" is none of f32, f16, u8, i8"},
        {"{\"name\":\"a\",\"dimension\":1,\"element\":\"F16\"}", "element: \"F16\" is none of f32, f16, u8, i8"},
        {"{\"name\":\"a\",\"dimension\":1,\"element\":\"\"}", "element: \"\" is none of f32, f16, u8, i8"},
        {"{\"name\":\"a\",\"dimension\":1,\"metric\":\"jaccard\"}",
         "metric: \"jaccard\" is none of l2, cosine, dot, l1"},
        {"{\"name\":\"a\",\"dimension\":1,\"dimension\":1}", "dimension: given twice"},
        {"{\"name\":\"a\",\"dimension\":1,\"dim\\u0065nsion\":1}", "dimension: given twice"},
        {"{\"name\":\"a\",\"dimention\":1}",
         "body: unknown field \"dimention\"; known fields: name, dimension, metric, element, index_config"},
        {"{\"name\":\"a\\u0000b\",\"dimension\":1}", "name: holds a NUL byte"},
        {"{\"name\":\"a\",\"dimension\":1,\"index_config\":{\"typ\":\"flat\"}}",
         "index_config: unknown field \"typ\"; known fields: type, m, ef_construction, ef_search, code_bits, "
         "compact, scan_below, target_recall"},
        {"{\"name\":\"a\",\"dimension\":1,\"index_config\":{\"type\":\"hnsw2\"}}",
         "index_config.type: \"hnsw2\" is none of flat, hnsw, qgraph"},
        {"{\"index_config\":{\"type\":\"qgraph\"},\"name\":\"a\",\"dimension\":1,\"metric\":\"l1\"}",
         "index_config.type: \"qgraph\" does not go with the metric l1; flat and hnsw do"},
        {"{\"name\":\"a\",\"dimension\":1,\"index_config\":{\"m\":0}}",
         "index_config.m: 0 is out of range, 4 to 256"},
        {"{\"name\":\"a\",\"dimension\":1,\"index_config\":{\"type\":\"flat\",\"type\":\"flat\"}}",
         "index_config.type: given twice"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(create(f, rows[i].text, &c), VDB_INVALID);
        assert_says(f, rows[i].says);
    }
    static const char *const malformed[] = {
        "[]",
        "null",
        "\"x\"",
        "{",
        "{\"name\"",
        "{\"name\":\"a\",}",
        "{\"name\":\"a\",\"dimension\":1} x",
        "{\"name\":\"a\",\"dimension\":1}{}",
        "{\"name\":\"a\",\"dimension\":-1}",
        "{\"name\":\"a\",\"dimension\":1.0}",
        "{\"name\":\"a\",\"dimension\":1e2}",
        "{\"name\":\"a\",\"dimension\":\"1\"}",
        "{\"name\":\"a\",\"dimension\":null}",
        "{\"name\":\"a\",\"dimension\":99999999999999999999}",
        "{\"name\":1,\"dimension\":1}",
        "{\"name\":\"\xff\",\"dimension\":1}",
        "{\"name\":\"\\ud800\",\"dimension\":1}",
        "{\"name\":\"a\",\"dimension\":1,\"metric\":1}",
        "{\"name\":\"a\",\"dimension\":1,\"index_config\":\"flat\"}",
        "{\"name\":\"a\",\"dimension\":1,\"index_config\":{\"type\":7}}",
    };
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        if (create(f, malformed[i], &c) != VDB_INVALID) {
            fail_msg("accepted: %s", malformed[i]);
        }
        assert_has(f, "byte ");
    }
}

/* ---- Index ---- */

static vdb_status index_of(struct fixture *fixture, const char *text, vecdb_metric metric,
                           vecdb_index_config *out)
{
    struct vdb_body b = body(fixture, text, 0);
    return vdb_body_parse_index(&b, metric, out, &fixture->err);
}

static void test_index(void **state)
{
    struct fixture *f = *state;
    vecdb_index_config c;
    assert_int_equal(index_of(f, "{}", VECDB_L1, &c), VDB_OK);
    assert_null(c.type);
    assert_true(c.m == 0 && c.ef_construction == 0 && c.ef_search == 0 && c.code_bits == 0 && c.compact == 0 &&
                c.scan_below == 0 && c.target_recall == 0);
    assert_int_equal(index_of(f,
                              "{\"type\":\"h\\u006esw\",\"m\":256,\"ef_construction\":65536,\"ef_search\":1,"
                              "\"code_bits\":1024,\"compact\":true,\"scan_below\":1073741824,"
                              "\"target_recall\":0.999}",
                              VECDB_L1, &c),
                     VDB_OK);
    assert_string_equal(c.type, "hnsw");
    assert_true(c.m == 256 && c.ef_construction == 65536 && c.ef_search == 1 && c.code_bits == 1024 &&
                c.compact == 1 && c.scan_below == 1u << 30 && c.target_recall == 0.999);
    assert_int_equal(index_of(f,
                              "{\"type\":\"qgraph\",\"m\":4,\"code_bits\":64,\"scan_below\":1,\"compact\":false}",
                              VECDB_DOT, &c),
                     VDB_OK);
    assert_true(c.m == 4 && c.code_bits == 64 && c.scan_below == 1 && c.compact == 0);
}

/* Zero is the default in vecdb.h, and no value here: who writes it down means something. */
static void test_index_refused(void **state)
{
    struct fixture *f = *state;
    vecdb_index_config c;
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"{\"type\":\"\"}", "type: \"\" is none of flat, hnsw, qgraph"},
        {"{\"type\":\"HNSW\"}", "type: \"HNSW\" is none of flat, hnsw, qgraph"},
        {"{\"type\":\"qgraph\"}", "type: \"qgraph\" does not go with the metric l1; flat and hnsw do"},
        {"{\"m\":0}", "m: 0 is out of range, 4 to 256"},
        {"{\"m\":3}", "m: 3 is out of range, 4 to 256"},
        {"{\"m\":257}", "m: 257 is out of range, 4 to 256"},
        {"{\"ef_construction\":0}", "ef_construction: 0 is out of range, 1 to 65536"},
        {"{\"ef_construction\":65537}", "ef_construction: 65537 is out of range, 1 to 65536"},
        {"{\"ef_search\":0}", "ef_search: 0 is out of range, 1 to 65536"},
        {"{\"ef_search\":4294967297}", "ef_search: 4294967297 is out of range, 1 to 65536"},
        {"{\"code_bits\":0}", "code_bits: 0 is out of range, 64 to 1024"},
        {"{\"code_bits\":1025}", "code_bits: 1025 is out of range, 64 to 1024"},
        {"{\"scan_below\":0}", "scan_below: 0 is out of range, 1 to 1073741824"},
        {"{\"target_recall\":0}", "target_recall: 0 is out of range, more than 0 and less than 1"},
        {"{\"target_recall\":1}", "target_recall: 1 is out of range, more than 0 and less than 1"},
        {"{\"target_recall\":-0.5}", "target_recall: -0.5 is out of range, more than 0 and less than 1"},
        {"{\"m\":16,\"m\":16}", "m: given twice"},
        {"{\"M\":16}", "body: unknown field \"M\"; known fields: type, m, ef_construction, ef_search, code_bits, "
                       "compact, scan_below, target_recall"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(index_of(f, rows[i].text, VECDB_L1, &c), VDB_INVALID);
        assert_says(f, rows[i].says);
    }
    static const char *const malformed[] = {"{\"m\":16.5}",        "{\"m\":\"16\"}",
                                            "{\"m\":-16}",         "{\"compact\":1}",
                                            "{\"type\":null}",     "{\"target_recall\":\"0.9\"}",
                                            "{\"target_recall\":}"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        assert_int_equal(index_of(f, malformed[i], VECDB_L2, &c), VDB_INVALID);
        assert_has(f, "byte ");
    }
}

/* The ranges above are those of the kinds themselves. */
static void test_index_limits(void **state)
{
    (void)state;
    assert_int_equal(VDB_HNSW_M_MIN, 4);
    assert_int_equal(VDB_HNSW_M_MAX, 256);
    assert_int_equal(VDB_HNSW_EF_MAX, 65536);
    assert_int_equal(VDB_LIMIT_COLLECTION_POINTS_MAX, 1073741824);
}

/* ---- Upsert ---- */

static vdb_status upsert(struct fixture *fixture, const char *text, uint32_t dimension,
                         struct vdb_body_points *out)
{
    struct vdb_body b = body(fixture, text, dimension);
    return vdb_body_parse_upsert(&b, out, &fixture->err);
}

static void test_upsert(void **state)
{
    struct fixture *f = *state;
    struct vdb_body_points p;
    assert_int_equal(
        upsert(f,
               "{\"points\": [{\"id\": 1, \"vector\": [0.1, -2e1], \"metadata\": {\"lang\": \"en\"}},\n"
               "{\"vector\": \"zczMPc3MTD4=\", \"id\": \"b\"},"
               "{\"id\":18446744073709551615,\"vector\":[1,2],\"metadata\":null},"
               "{\"id\":\"1\",\"vector\":\"zczMPc3MTD4\\u003d\",\"metadata\":{}}]}",
               2, &p),
        VDB_OK);
    assert_int_equal(p.count, 4);
    assert_null(p.points[0].id.text);
    assert_int_equal(p.points[0].id.number, 1);
    assert_true(p.points[0].vector[0] == 0.1f && p.points[0].vector[1] == -20.0f);
    assert_int_equal(p.points[0].metadata_bytes, strlen("{\"lang\": \"en\"}"));
    assert_memory_equal(p.points[0].metadata, "{\"lang\": \"en\"}", p.points[0].metadata_bytes);
    assert_int_equal(p.points[1].id.text_bytes, 1);
    assert_memory_equal(p.points[1].id.text, "b", 1);
    assert_true(p.points[1].vector[0] == 0.1f && p.points[1].vector[1] == 0.2f);
    assert_null(p.points[1].metadata);
    assert_true(p.points[2].id.number == UINT64_MAX && p.points[2].id.text == NULL);
    assert_null(p.points[2].metadata);
    assert_memory_equal(p.points[3].id.text, "1", 1);
    assert_true(p.points[3].vector[1] == 0.2f);
    assert_memory_equal(p.points[3].metadata, "{}", 2);
    /* An id with escapes is the text it stands for. */
    assert_int_equal(upsert(f, "{\"points\":[{\"id\":\"\\u00e9\\n\",\"vector\":[1]}]}", 1, &p), VDB_OK);
    assert_int_equal(p.points[0].id.text_bytes, 3);
    assert_memory_equal(p.points[0].id.text, "\xc3\xa9\n", 3);
}

static void test_upsert_refused(void **state)
{
    struct fixture *f = *state;
    struct vdb_body_points p;
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"{}", "points: missing"},
        {"{\"points\":[]}", "points: 0 given, a batch has 1 to 10000"},
        {"{\"points\":[{}]}", "points[0].id: missing"},
        {"{\"points\":[{\"id\":1}]}", "points[0].vector: missing"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2]},{\"id\":2,\"vector\":[1]}]}",
         "points[1].vector: 1 numbers given, the collection \"docs\" has dimension 2"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2,3]}]}",
         "points[0].vector: 3 numbers given, the collection \"docs\" has dimension 2"},
        {"{\"points\":[{\"id\":1,\"vector\":[]}]}",
         "points[0].vector: 0 numbers given, the collection \"docs\" has dimension 2"},
        {"{\"points\":[{\"id\":1,\"vector\":\"\"}]}",
         "points[0].vector: base64 of 0 bytes given, the collection \"docs\" has dimension 2, which is 8 bytes"},
        {"{\"points\":[{\"id\":1,\"vector\":\"zczMPc3M\"}]}",
         "points[0].vector: base64 of 6 bytes given, the collection \"docs\" has dimension 2, which is 8 bytes"},
        {"{\"points\":[{\"id\":1,\"vector\":\"zczMPc3MTD4=zczM\"}]}",
         "points[0].vector: base64 of 12 bytes given, the collection \"docs\" has dimension 2, which is 8 bytes"},
        {"{\"points\":[{\"id\":1,\"vector\":\"zczMPc3MTD4\"}]}",
         "points[0].vector: the string is not base64 (standard alphabet, padded to a multiple of 4, no white "
         "space)"},
        {"{\"points\":[{\"id\":1,\"vector\":\"zczMPc3MT!4=\"}]}",
         "points[0].vector: the string is not base64 (standard alphabet, padded to a multiple of 4, no white "
         "space)"},
        {"{\"points\":[{\"id\":1,\"vector\":\"AADAfwAAgD8=\"}]}",
         "points[0].vector[0]: NaN is not a finite number"},
        {"{\"points\":[{\"id\":1,\"vector\":\"AACAPwAAgH8=\"}]}",
         "points[0].vector[1]: infinity is not a finite number"},
        {"{\"points\":[{\"id\":1,\"vector\":\"AACAPwAAgP8=\"}]}",
         "points[0].vector[1]: -infinity is not a finite number"},
        {"{\"points\":[{\"id\":1,\"vector\":null}]}",
         "points[0].vector: expected an array of numbers or a base64 string, found null"},
        {"{\"points\":[{\"id\":\"\",\"vector\":[1,2]}]}",
         "points[0].id: 0 bytes given, a string id has 1 to 255"},
        {"{\"points\":[{\"id\":true,\"vector\":[1,2]}]}",
         "points[0].id: expected an unsigned 64-bit integer or a string, found boolean"},
        {"{\"points\":[{\"id\":1,\"id\":1,\"vector\":[1,2]}]}", "points[0].id: given twice"},
        {"{\"points\":[{\"id\":1,\"vectr\":[1,2]}]}",
         "points[0]: unknown field \"vectr\"; known fields: id, vector, metadata"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2],\"metadata\":[]}]}",
         "points[0].metadata: expected an object, found array"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2],\"metadata\":\"x\"}]}",
         "points[0].metadata: expected an object, found string"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2]}],\"more\":1}",
         "body: unknown field \"more\"; known fields: points"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(upsert(f, rows[i].text, 2, &p), VDB_INVALID);
        assert_says(f, rows[i].says);
    }
    static const struct {
        const char *text;
        const char *place;
    } malformed[] = {
        {"{\"points\":{}}", "points: byte 10"},
        {"{\"points\":[1]}", "points[0]: byte 11"},
        {"{\"points\":[{\"id\":-1,\"vector\":[1,2]}]}", "points[0].id: byte 17"},
        {"{\"points\":[{\"id\":1.5,\"vector\":[1,2]}]}", "points[0].id: byte 17"},
        {"{\"points\":[{\"id\":18446744073709551616,\"vector\":[1,2]}]}", "points[0].id: byte 17"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,NaN]}]}", "points[0].vector[1]: byte 31"},
        {"{\"points\":[{\"id\":1,\"vector\":[Infinity,1]}]}", "points[0].vector[0]: byte 29"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,1e39]}]}", "points[0].vector[1]: byte 31"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,\"2\"]}]}", "points[0].vector[1]: byte 31"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,null]}]}", "points[0].vector[1]: byte 31"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2", "points[0].vector"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2],\"metadata\":{\"a\":}}]}", "points[0].metadata: byte"},
        {"{\"points\":[{\"id\":1,\"vector\":[1,2]},]}", "points"},
    };
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        if (upsert(f, malformed[i].text, 2, &p) != VDB_INVALID) {
            fail_msg("accepted: %s", malformed[i].text);
        }
        assert_has(f, malformed[i].place);
    }
}

/* The limits, at and one past them. */
static void test_upsert_limits(void **state)
{
    struct fixture *f = *state;
    struct vdb_body_points p;
    struct vdb_buf text = {0};
    for (unsigned more = 0; more < 3; more++) {
        vdb_buf_clear(&text);
        vdb_buf_put_text(&text, "{\"points\":[");
        for (unsigned i = 0; i < VDB_LIMIT_BATCH_POINTS_MAX + more; i++) {
            vdb_buf_printf(&text, "%s{\"id\":%u,\"vector\":[%u]}", i > 0 ? "," : "", i, i);
        }
        vdb_buf_put_text(&text, "]}");
        vdb_buf_put_u8(&text, 0);
        vdb_status status = upsert(f, (const char *)text.data, 1, &p);
        if (more == 0) {
            assert_int_equal(status, VDB_OK);
            assert_int_equal(p.count, VDB_LIMIT_BATCH_POINTS_MAX);
            for (unsigned i = 0; i < p.count; i++) { /* the array was grown many times: nothing was lost */
                assert_true(p.points[i].id.number == i && p.points[i].vector[0] == (float)i);
            }
        } else {
            assert_int_equal(status, VDB_LIMIT);
            assert_says(f, more == 1 ? "points: 10001 given, a batch has 1 to 10000"
                                     : "points: 10002 given, a batch has 1 to 10000");
        }
    }
    for (unsigned more = 0; more < 2; more++) {
        vdb_buf_clear(&text);
        vdb_buf_put_text(&text, "{\"points\":[{\"id\":\"");
        for (unsigned i = 0; i < VDB_LIMIT_ID_BYTES_MAX + more; i++) {
            vdb_buf_put_u8(&text, 'i');
        }
        vdb_buf_put_text(&text, "\",\"vector\":[1]}]}");
        vdb_buf_put_u8(&text, 0);
        assert_int_equal(upsert(f, (const char *)text.data, 1, &p), more == 0 ? VDB_OK : VDB_INVALID);
    }
    assert_says(f, "points[0].id: 256 bytes given, a string id has 1 to 255");
    /* A metadata of the whole depth comes through the envelope; far beyond, the reader itself stops. */
    for (unsigned depth = VDB_LIMIT_JSON_DEPTH_MAX; depth <= 100000; depth += 99936) {
        vdb_buf_clear(&text);
        vdb_buf_put_text(&text, "{\"points\":[{\"id\":1,\"vector\":[1],\"metadata\":{\"a\":");
        for (unsigned i = 1; i < depth; i++) {
            vdb_buf_put_u8(&text, '[');
        }
        for (unsigned i = 1; i < depth; i++) {
            vdb_buf_put_u8(&text, ']');
        }
        vdb_buf_put_text(&text, "}}]}");
        vdb_buf_put_u8(&text, 0);
        assert_int_equal(upsert(f, (const char *)text.data, 1, &p), depth == 64 ? VDB_OK : VDB_LIMIT);
    }
    assert_has(f, "points[0].metadata: byte");
    vdb_buf_fini(&text);
}

/* Every float comes back bit for bit through base64, and near misses of the length are told apart. */
static void test_base64_exact(void **state)
{
    struct fixture *f = *state;
    static const float values[] = {0.0f, -0.0f, 1e-45f, 1.17549435e-38f, 3.4028235e38f, 0.1f, -1.0f};
    struct vdb_buf text = {0};
    vdb_buf_put_text(&text, "{\"points\":[{\"id\":1,\"vector\":\"");
    vdb_base64_encode(&text, values, sizeof values);
    vdb_buf_put_text(&text, "\"}]}");
    vdb_buf_put_u8(&text, 0);
    struct vdb_body_points p;
    assert_int_equal(upsert(f, (const char *)text.data, 7, &p), VDB_OK);
    assert_memory_equal(p.points[0].vector, values, sizeof values);
    for (uint32_t dimension = 1; dimension < 20; dimension++) {
        assert_int_equal(upsert(f, (const char *)text.data, dimension, &p),
                         dimension == 7 ? VDB_OK : VDB_INVALID);
    }
    vdb_buf_fini(&text);
}

/* ---- Ids, search, count ---- */

static void test_ids(void **state)
{
    struct fixture *f = *state;
    struct vdb_body_ids ids;
    struct vdb_body b = body(f, "{\"ids\":[1,\"b\",1]}", 0);
    assert_int_equal(vdb_body_parse_ids(&b, true, &ids, &f->err), VDB_OK);
    assert_int_equal(ids.count, 3);
    assert_true(ids.ids[0].number == 1 && ids.ids[1].text[0] == 'b' && ids.ids[2].text == NULL);
    assert_true(!ids.shape.with_vector && ids.shape.with_metadata && !ids.shape.base64);
    assert_null(ids.snapshot);
    b = body(f,
             "{\"ids\":[1],\"with_vector\":true,\"with_metadata\":false,"
             "\"vector_encoding\":\"base64\",\"snapshot\":\"before\"}",
             0);
    assert_int_equal(vdb_body_parse_ids(&b, true, &ids, &f->err), VDB_OK);
    assert_true(ids.shape.with_vector && !ids.shape.with_metadata && ids.shape.base64);
    assert_string_equal(ids.snapshot, "before");
    /* points/delete has no shape. */
    assert_int_equal(vdb_body_parse_ids(&b, false, &ids, &f->err), VDB_INVALID);
    assert_says(f, "body: unknown field \"with_vector\"; known fields: ids");
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"{}", "ids: missing"},
        {"{\"ids\":[]}", "ids: 0 given, a batch has 1 to 10000"},
        {"{\"ids\":[1,[]]}", "ids[1]: expected an unsigned 64-bit integer or a string, found array"},
        {"{\"ids\":[1,\"\"]}", "ids[1]: 0 bytes given, a string id has 1 to 255"},
        {"{\"ids\":[1],\"vector_encoding\":\"hex\"}", "vector_encoding: \"hex\" is none of array, base64"},
        {"{\"ids\":[1],\"limit\":3}",
         "body: unknown field \"limit\"; known fields: ids, with_vector, with_metadata, vector_encoding, "
         "snapshot"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        b = body(f, rows[i].text, 0);
        assert_int_equal(vdb_body_parse_ids(&b, true, &ids, &f->err), VDB_INVALID);
        assert_says(f, rows[i].says);
    }
    b = body(f, "{\"ids\":[1],\"with_vector\":1}", 0);
    assert_int_equal(vdb_body_parse_ids(&b, true, &ids, &f->err), VDB_INVALID);
    assert_has(f, "with_vector: byte 25");
    struct vdb_buf text = {0};
    vdb_buf_put_text(&text, "{\"ids\":[0");
    for (unsigned i = 0; i < VDB_LIMIT_BATCH_POINTS_MAX; i++) {
        vdb_buf_put_text(&text, ",0");
    }
    vdb_buf_put_text(&text, "]}");
    vdb_buf_put_u8(&text, 0);
    b = body(f, (const char *)text.data, 0);
    assert_int_equal(vdb_body_parse_ids(&b, false, &ids, &f->err), VDB_LIMIT);
    assert_says(f, "ids: 10001 given, a batch has 1 to 10000");
    vdb_buf_fini(&text);
}

static void test_search(void **state)
{
    struct fixture *f = *state;
    struct vdb_body_search s;
    struct vdb_body b = body(f, "{\"vector\":[1,2]}", 2);
    assert_int_equal(vdb_body_parse_search(&b, &s, &f->err), VDB_OK);
    assert_true(s.request.k == 10 && s.request.dimension == 2 && s.request.vector[1] == 2.0f);
    assert_null(s.request.filter);
    assert_true(!s.request.with_vector && !s.request.without_metadata && !s.explain && !s.shape.base64);
    assert_null(s.snapshot);
    b = body(
        f,
        "{\"k\":16384,\"filter\": {\"field\":\"a\",\"op\":\"exists\"} ,\"with_vector\":true,"
        "\"with_metadata\":false,\"vector_encoding\":\"base64\",\"explain\":true,\"vector\":\"AAAAAAAAgD8=\","
        "\"snapshot\":\"before\"}",
        2);
    assert_int_equal(vdb_body_parse_search(&b, &s, &f->err), VDB_OK);
    assert_true(s.request.k == 16384 && s.request.vector[0] == 0.0f && s.request.vector[1] == 1.0f);
    assert_int_equal(s.request.filter_bytes, strlen("{\"field\":\"a\",\"op\":\"exists\"}"));
    assert_memory_equal(s.request.filter, "{\"field\":\"a\",\"op\":\"exists\"}", s.request.filter_bytes);
    assert_true(s.request.with_vector && s.request.without_metadata && s.explain && s.shape.base64);
    assert_string_equal(s.snapshot, "before");
    b = body(f, "{\"vector\":[1,2],\"filter\":null}", 2);
    assert_int_equal(vdb_body_parse_search(&b, &s, &f->err), VDB_OK);
    assert_null(s.request.filter);
    assert_true(s.request.ef == 0 && s.request.target_recall == 0 && s.request.exact == 0);
    b = body(f, "{\"vector\":[1,2],\"ef\":65536,\"exact\":true}", 2);
    assert_int_equal(vdb_body_parse_search(&b, &s, &f->err), VDB_OK);
    assert_true(s.request.ef == 65536 && s.request.target_recall == 0 && s.request.exact == 1);
    b = body(f, "{\"exact\":false,\"target_recall\":1e-3,\"vector\":[1,2]}", 2);
    assert_int_equal(vdb_body_parse_search(&b, &s, &f->err), VDB_OK);
    assert_true(s.request.ef == 0 && s.request.target_recall == 0.001 && s.request.exact == 0);
    static const struct {
        const char *text;
        vdb_status status;
        const char *says;
    } rows[] = {
        {"{}", VDB_INVALID, "vector: missing"},
        {"{\"vector\":[1]}", VDB_INVALID, "vector: 1 numbers given, the collection \"docs\" has dimension 2"},
        {"{\"vector\":[1,2],\"k\":0}", VDB_INVALID, "k: 0 is out of range, 1 to 16384"},
        {"{\"vector\":[1,2],\"k\":16385}", VDB_LIMIT, "k: 16385 is out of range, 1 to 16384"},
        {"{\"vector\":[1,2],\"k\":4294967306}", VDB_LIMIT, "k: 4294967306 is out of range, 1 to 16384"},
        {"{\"vector\":[1,2],\"limit\":3}", VDB_INVALID,
         "body: unknown field \"limit\"; known fields: vector, k, filter, with_vector, with_metadata, "
         "vector_encoding, explain, snapshot, ef, target_recall, exact"},
        {"{\"vector\":[1,2],\"ef\":0}", VDB_INVALID, "ef: 0 is out of range, 1 to 65536"},
        {"{\"vector\":[1,2],\"ef\":65537}", VDB_INVALID, "ef: 65537 is out of range, 1 to 65536"},
        {"{\"vector\":[1,2],\"target_recall\":1.5}", VDB_INVALID,
         "target_recall: 1.5 is out of range, more than 0 and less than 1"},
        {"{\"vector\":[1,2],\"target_recall\":0.0}", VDB_INVALID,
         "target_recall: 0 is out of range, more than 0 and less than 1"},
        {"{\"vector\":[1,2],\"target_recall\":0.5,\"ef\":7}", VDB_INVALID,
         "ef: 7, and target_recall: 0.5; one of the two may be given"},
        {"{\"vector\":[1,2],\"k\":1,\"k\":2}", VDB_INVALID, "k: given twice"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        b = body(f, rows[i].text, 2);
        assert_int_equal(vdb_body_parse_search(&b, &s, &f->err), rows[i].status);
        assert_says(f, rows[i].says);
    }
}

static void test_snapshot(void **state)
{
    struct fixture *f = *state;
    const char *name;
    struct vdb_body b = body(f, "{\"name\":\"before\"}", 0);
    assert_int_equal(vdb_body_parse_snapshot(&b, &name, &f->err), VDB_OK);
    assert_string_equal(name, "before");
    b = body(f, "{}", 0);
    assert_int_equal(vdb_body_parse_snapshot(&b, &name, &f->err), VDB_INVALID);
    assert_says(f, "name: missing");
    b = body(f, "{\"name\":\"a\",\"of\":\"b\"}", 0);
    assert_int_equal(vdb_body_parse_snapshot(&b, &name, &f->err), VDB_INVALID);
    assert_says(f, "body: unknown field \"of\"; known fields: name");
}

static void test_count(void **state)
{
    struct fixture *f = *state;
    struct vdb_body_count count;
    struct vdb_body b = body(f, "{\"filter\":{\"and\":[]}}", 0);
    assert_int_equal(vdb_body_parse_count(&b, &count, &f->err), VDB_OK);
    assert_true(vdb_str_is(count.filter, "{\"and\":[]}"));
    b = body(f, "{}", 0);
    assert_int_equal(vdb_body_parse_count(&b, &count, &f->err), VDB_OK);
    assert_null(count.filter.data);
    assert_null(count.snapshot);
    b = body(f, "{\"snapshot\":\"a\\u0062c\"}", 0);
    assert_int_equal(vdb_body_parse_count(&b, &count, &f->err), VDB_OK);
    assert_string_equal(count.snapshot, "abc");
    b = body(f, "{\"snapshot\":\"a\\u0000c\"}", 0);
    assert_int_equal(vdb_body_parse_count(&b, &count, &f->err), VDB_INVALID);
    assert_says(f, "snapshot: holds a NUL byte");
    b = body(f, "{\"snapshot\":7}", 0);
    assert_int_equal(vdb_body_parse_count(&b, &count, &f->err), VDB_INVALID);
    assert_says(f, "snapshot: byte 12: expected a string, found a number");
    b = body(f, "{\"filtr\":{}}", 0);
    assert_int_equal(vdb_body_parse_count(&b, &count, &f->err), VDB_INVALID);
    assert_says(f, "body: unknown field \"filtr\"; known fields: filter, snapshot");
}

/* No prefix of a good body is a good body, and none is read past its end (the address sanitizer looks on). */
static void test_prefixes(void **state)
{
    struct fixture *f = *state;
    static const char good[] =
        "{\"points\":[{\"id\":\"a\\u00e9\",\"vector\":\"zczMPc3MTD4=\",\"metadata\":{\"a\":[1,{}]}},"
        "{\"id\":2,\"vector\":[1.5,-2e-1]}]}";
    for (size_t bytes = 0; bytes <= sizeof good - 1; bytes++) {
        char *exact = malloc(bytes > 0 ? bytes : 1);
        memcpy(exact, good, bytes);
        struct vdb_body b = {exact, bytes, "docs", 2, &f->arena};
        struct vdb_body_points p;
        assert_int_equal(vdb_body_parse_upsert(&b, &p, &f->err), bytes == sizeof good - 1 ? VDB_OK : VDB_INVALID);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_index, setup, teardown),
        cmocka_unit_test_setup_teardown(test_index_refused, setup, teardown),
        cmocka_unit_test(test_index_limits),
        cmocka_unit_test_setup_teardown(test_upsert, setup, teardown),
        cmocka_unit_test_setup_teardown(test_upsert_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_upsert_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_base64_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefixes, setup, teardown),
    };
    return cmocka_run_group_tests_name("server/body", tests, NULL, NULL);
}
