/* test_handlers.c: every route's answers and refusals (handlers_world.h); those about indexes are in
 * test_handlers_index.c. */
#include "handlers_world.h"

static void test_collections(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, "GET", "/v1/collections", NULL), 200);
    assert_body(f, "{\"collections\":[]}");
    create_docs(f);
    assert_string_equal(f->response.content_type, "application/json; charset=utf-8");
    assert_string_equal(json_string_value(json_object_get(f->json, "name")), "docs");
    assert_int_equal(json_integer_value(json_object_get(f->json, "dimension")), 2);
    assert_string_equal(json_string_value(json_object_get(f->json, "metric")), "l2");
    assert_string_equal(json_string_value(json_object_get(f->json, "element")), "f32");
    assert_string_equal(json_string_value(json_object_get(json_object_get(f->json, "index_config"), "type")),
                        "qgraph");
    static const char *const numbers[] = {"count",
                                          "last_seq",
                                          "memory_bytes",
                                          "log_bytes",
                                          "segments",
                                          "segment_rows",
                                          "segment_dead",
                                          "segment_bytes",
                                          "segment_live_bytes",
                                          "checkpoint_seq",
                                          "compaction_debt_bytes"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_true(json_is_integer(json_object_get(f->json, numbers[i])));
    }
    ask(f, "POST", "/v1/collections", "{\"name\":\"docs\",\"dimension\":3}");
    assert_problem(f, 409, "exists", "docs");
    ask(f, "POST", "/v1/collections", "{\"name\":\"../x\",\"dimension\":3}");
    assert_problem(f, 400, "invalid", "../x");
    assert_int_equal(ask(f, "POST", "/v1/collections", "{\"name\":\"a\",\"dimension\":1}"), 201);
    assert_int_equal(ask(f, "GET", "/v1/collections", NULL), 200);
    json_t *list = json_object_get(f->json, "collections");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")), "a");
    assert_int_equal(ask(f, "GET", "/v1/collections/%64ocs", NULL), 200);
    assert_int_equal(ask(f, "DELETE", "/v1/collections/docs", NULL), 200);
    assert_body(f, "{\"deleted\":true}");
    ask(f, "GET", "/v1/collections/docs", NULL);
    assert_problem(f, 404, "not_found", "docs");
    ask(f, "DELETE", "/v1/collections/docs", NULL);
    assert_problem(f, 404, "not_found", "docs");
}

static void test_points(void **state)
{
    struct fixture *f = *state;
    create_docs(f);
    assert_int_equal(
        ask(f, "POST", "/v1/collections/docs/points",
            "{\"points\":[{\"id\":1,\"vector\":[0.1,0.2],\"metadata\":{ \"lang\" : \"en\" }},"
            "{\"id\":\"a/\\u00e9\\\"\",\"vector\":\"zczMPc3MTD4=\"},{\"id\":\"7\",\"vector\":[3,4]}]}"),
        200);
    assert_int_equal(json_integer_value(json_object_get(f->json, "upserted")), 3);
    assert_true(json_integer_value(json_object_get(f->json, "seq")) > 0);
    assert_int_equal(ask(f, "GET", "/v1/collections/docs/points/1", NULL), 200);
    assert_body(f, "{\"id\":1,\"metadata\":{\"lang\":\"en\"},\"vector\":[0.1,0.2]}");
    assert_int_equal(ask(f, "GET", "/v1/collections/docs/points/a%2F%c3%a9%22", NULL), 200);
    assert_body(f, "{\"id\":\"a/\xc3\xa9\\\"\",\"metadata\":{},\"vector\":[0.1,0.2]}");
    /* Digits in a path are the integer; the string "7" is reached by POST. */
    ask(f, "GET", "/v1/collections/docs/points/7", NULL);
    assert_problem(f, 404, "not_found", "collection \"docs\" has no point 7");
    ask(f, "GET", "/v1/collections/docs/points/x%22", NULL);
    assert_problem(f, 404, "not_found", "collection \"docs\" has no point \"x\"\"");
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/points/get", "{\"ids\":[\"7\",99,1]}"), 200);
    assert_body(f, "{\"points\":[{\"id\":\"7\",\"metadata\":{}},{\"id\":1,\"metadata\":{\"lang\":\"en\"}}]}");
    assert_int_equal(
        ask(f, "POST", "/v1/collections/docs/points/get",
            "{\"ids\":[1],\"with_vector\":true,\"with_metadata\":false,\"vector_encoding\":\"base64\"}"),
        200);
    assert_body(f, "{\"points\":[{\"id\":1,\"vector\":\"zczMPc3MTD4=\"}]}");
    assert_int_equal(ask(f, "DELETE", "/v1/collections/docs/points/1", NULL), 200);
    assert_int_equal(json_integer_value(json_object_get(f->json, "deleted")), 1);
    assert_int_equal(ask(f, "DELETE", "/v1/collections/docs/points/1", NULL), 200);
    assert_int_equal(json_integer_value(json_object_get(f->json, "deleted")), 0);
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/points/delete", "{\"ids\":[\"7\",1,\"none\"]}"), 200);
    assert_int_equal(json_integer_value(json_object_get(f->json, "deleted")), 1);
    assert_int_equal(ask(f, "GET", "/v1/collections/docs/count", NULL), 200);
    assert_body(f, "{\"count\":1}");
}

static void test_search_and_count(void **state)
{
    struct fixture *f = *state;
    create_docs(f);
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/points",
                         "{\"points\":[{\"id\":1,\"vector\":[0,0],\"metadata\":{\"n\":1}},"
                         "{\"id\":2,\"vector\":[3,4],\"metadata\":{\"n\":2}},{\"id\":3,\"vector\":[6,8]}]}"),
                     200);
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/search", "{\"vector\":[0,0],\"k\":2}"), 200);
    assert_body(f, "{\"results\":[{\"id\":1,\"score\":0,\"metadata\":{\"n\":1}},"
                   "{\"id\":2,\"score\":5,\"metadata\":{\"n\":2}}]}");
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/search",
                         "{\"vector\":[6,8],\"k\":1,\"with_vector\":true,\"with_metadata\":false}"),
                     200);
    assert_body(f, "{\"results\":[{\"id\":3,\"score\":0,\"vector\":[6,8]}]}");
    assert_int_equal(
        ask(f, "POST", "/v1/collections/docs/search",
            "{\"vector\":[6,8],\"explain\":true,\"filter\":{\"field\":\"n\",\"op\":\"<\",\"value\":2}}"),
        200);
    assert_int_equal(json_array_size(json_object_get(f->json, "results")), 1);
    json_t *explain = json_object_get(f->json, "explain");
    assert_true(json_is_string(json_object_get(explain, "plan")));
    assert_int_equal(json_integer_value(json_object_get(explain, "rows")), 3);
    assert_int_equal(json_integer_value(json_object_get(explain, "rows_allowed")), 1);
    assert_true(json_is_real(json_object_get(explain, "total_us")));
    assert_int_equal(
        ask(f, "POST", "/v1/collections/docs/count", "{\"filter\":{\"field\":\"n\",\"op\":\"exists\"}}"), 200);
    assert_body(f, "{\"count\":2}");
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/count", "{}"), 200);
    assert_body(f, "{\"count\":3}");
    ask(f, "POST", "/v1/collections/docs/search",
        "{\"vector\":[6,8],\"filter\":{\"field\":\"n\",\"op\":\"=>\"}}");
    assert_problem(f, 400, "invalid", "=>");
    ask(f, "POST", "/v1/collections/docs/count", "{\"filter\":7}");
    assert_problem(f, 400, "invalid", "");
    ask(f, "POST", "/v1/collections/docs/search", "{\"vector\":[6,8],\"k\":16385}");
    assert_problem(f, 413, "limit", "k: 16385 is out of range, 1 to 16384");
    ask(f, "POST", "/v1/collections/none/search", "this is not even read");
    assert_problem(f, 404, "not_found", "none");
}

/* What was there when the snapshot was made, through the three routes that take its name. */
static void test_snapshots(void **state)
{
    struct fixture *f = *state;
    create_docs(f);
    ask(f, "POST", "/v1/collections/docs/points",
        "{\"points\":[{\"id\":1,\"vector\":[1,2]},{\"id\":2,\"vector\":[5,6]}]}");
    assert_int_equal(ask(f, "GET", "/v1/collections/docs/snapshots", NULL), 200);
    assert_body(f, "{\"snapshots\":[]}");
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/snapshots", "{\"name\":\"before\"}"), 201);
    assert_string_equal(json_string_value(json_object_get(f->json, "name")), "before");
    assert_int_equal(json_integer_value(json_object_get(f->json, "points")), 2);
    assert_int_equal(json_integer_value(json_object_get(f->json, "seq")), 1);
    assert_true(json_integer_value(json_object_get(f->json, "created_us")) > 0);
    assert_true(json_integer_value(json_object_get(f->json, "bytes")) > 0);
    ask(f, "POST", "/v1/collections/docs/snapshots", "{\"name\":\"before\"}");
    assert_problem(f, 409, "exists", "snapshot \"before\": there is one already");
    ask(f, "POST", "/v1/collections/docs/points", "{\"points\":[{\"id\":2,\"vector\":[7,8]}]}");
    ask(f, "DELETE", "/v1/collections/docs/points/1", NULL);

    ask(f, "POST", "/v1/collections/docs/search",
        "{\"vector\":[1,2],\"with_metadata\":false,\"with_vector\":true,\"k\":1,\"snapshot\":\"before\"}");
    assert_body(f, "{\"results\":[{\"id\":1,\"score\":0,\"vector\":[1,2]}]}");
    ask(f, "POST", "/v1/collections/docs/points/get",
        "{\"ids\":[2,1],\"with_metadata\":false,\"with_vector\":true,\"snapshot\":\"before\"}");
    assert_body(f, "{\"points\":[{\"id\":2,\"vector\":[5,6]},{\"id\":1,\"vector\":[1,2]}]}");
    ask(f, "POST", "/v1/collections/docs/count", "{\"snapshot\":\"before\"}");
    assert_body(f, "{\"count\":2}");
    ask(f, "GET", "/v1/collections/docs/count", NULL);
    assert_body(f, "{\"count\":1}");

    ask(f, "POST", "/v1/collections/docs/count", "{\"snapshot\":\"after\"}");
    assert_problem(f, 404, "not_found", "collection \"docs\": snapshot \"after\": there is none of that name");
    ask(f, "POST", "/v1/collections/docs/count", "{\"snapshot\":\"\"}");
    assert_problem(f, 400, "invalid", "snapshot \"\": name: empty");
    ask(f, "POST", "/v1/collections/docs/count", "{\"snapshot\":\"a@b\"}");
    assert_problem(f, 400, "invalid", "illegal character");
    ask(f, "POST", "/v1/collections/docs/points/delete", "{\"ids\":[2],\"snapshot\":\"before\"}");
    assert_problem(f, 400, "invalid", "unknown field \"snapshot\"");
    ask(f, "GET", "/v1/collections/docs@before/points/1", NULL);
    assert_problem(f, 400, "invalid", "collection name: \"docs@before\" contains '@'");
    ask(f, "DELETE", "/v1/collections/docs/snapshots/be%00", NULL);
    assert_problem(f, 400, "invalid", "snapshot: holds a NUL byte");
    assert_int_equal(ask(f, "DELETE", "/v1/collections/docs/snapshots/be%66ore", NULL), 200);
    assert_body(f, "{\"deleted\":true}");
    ask(f, "DELETE", "/v1/collections/docs/snapshots/before", NULL);
    assert_problem(f, 404, "not_found", "snapshot \"before\": there is none of that name");
    ask(f, "POST", "/v1/collections/docs/search", "{\"vector\":[1,2],\"snapshot\":\"before\"}");
    assert_problem(f, 404, "not_found", "before");
}

static void test_refused_requests(void **state)
{
    struct fixture *f = *state;
    create_docs(f);
    ask(f, "GET", "/nothing?x", NULL);
    assert_problem(f, 404, "not_found", "no route GET /nothing");
    ask(f, "PUT", "/v1/collections", NULL);
    assert_problem(f, 405, "invalid", "method PUT: this path has GET, HEAD, POST");
    ask(f, "GET", "/v1/collections?limit=3", NULL);
    assert_problem(f, 400, "invalid", "query: the routes of /v1 take no query parameters");
    assert_int_equal(ask(f, "GET", "/healthz?x=1", NULL), 200);
    ask(f, "GET", "/v1/collections/%zz", NULL);
    assert_problem(f, 400, "invalid", "collection name: byte 0");
    ask(f, "GET", "/v1/collections/a%00b", NULL);
    assert_problem(f, 400, "invalid", "collection name: holds a NUL byte");
    char path[256] = "/v1/collections/";
    memset(path + strlen(path), 'n', 65);
    ask(f, "GET", path, NULL);
    assert_problem(f, 400, "invalid", "collection name: longer than 64 bytes");
    ask(f, "GET", "/v1/collections/docs/points/18446744073709551616", NULL);
    assert_problem(f, 400, "invalid", "id: 18446744073709551616 is over");
    ask(f, "POST", "/v1/collections/docs/points", NULL);
    assert_problem(f, 400, "invalid", "body: empty");
    ask(f, "POST", "/v1/collections/docs/points",
        "{\"points\":[{\"id\":1,\"vector\":[1,2]},{\"id\":2,\"vector\":[1]}]}");
    assert_problem(f, 400, "invalid",
                   "points[1].vector: 1 numbers given, the collection \"docs\" has dimension 2");
    assert_int_equal(ask(f, "GET", "/v1/collections/docs/count", NULL), 200);
    assert_body(f, "{\"count\":0}"); /* nothing of the refused batch */
}

/* Answers that would not fit in memory are refused before they are gathered. */
static void test_answer_limit(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(
        ask(f, "POST", "/v1/collections", "{\"name\":\"wide\",\"dimension\":4097,\"metric\":\"l2\"}"), 201);
    struct vdb_buf body = {0};
    vdb_buf_put_text(&body, "{\"k\":16381,\"with_vector\":true,\"vector\":[0");
    for (int i = 1; i < 4097; i++) {
        vdb_buf_put_text(&body, ",0");
    }
    vdb_buf_put_text(&body, "]}");
    vdb_buf_put_u8(&body, 0);
    ask(f, "POST", "/v1/collections/wide/search", (const char *)body.data);
    assert_problem(f, 413, "limit",
                   "with_vector: 16381 vectors (k) of dimension 4097 are 268451828 bytes, one answer has at most "
                   "268435456");
    memcpy(body.data, "{\"k\":16380,", 11); /* one less fits */
    assert_int_equal(ask(f, "POST", "/v1/collections/wide/search", (const char *)body.data), 200);
    vdb_buf_fini(&body);
}

/* Each status of the service on each kind of route. */
static void test_service_failures(void **state)
{
    struct fixture *f = *state;
    create_docs(f);
    static const struct {
        vecdb_status status;
        unsigned http;
        const char *code;
    } rows[] = {
        {VECDB_INVALID, 400, "invalid"},     {VECDB_NOT_FOUND, 404, "not_found"},
        {VECDB_EXISTS, 409, "exists"},       {VECDB_LIMIT, 413, "limit"},
        {VECDB_BUSY, 503, "busy"},           {VECDB_IO, 500, "io"},
        {VECDB_CORRUPT, 500, "corrupt"},     {VECDB_NO_SPACE, 503, "no_space"},
        {VECDB_NO_MEMORY, 503, "no_memory"}, {VECDB_UNSUPPORTED, 501, "unsupported"},
        {VECDB_READ_ONLY, 503, "read_only"}, {VECDB_VERSION, 500, "version"},
        {VECDB_CANCELLED, 503, "cancelled"},
    };
    static const struct {
        const char *method;
        const char *path;
        const char *body;
    } requests[] = {
        {"GET", "/v1/collections", NULL},
        {"POST", "/v1/collections", "{\"name\":\"x\",\"dimension\":1}"},
        {"GET", "/v1/collections/docs", NULL},
        {"DELETE", "/v1/collections/docs", NULL},
        {"POST", "/v1/collections/docs/points", "{\"points\":[{\"id\":1,\"vector\":[1,2]}]}"},
        {"GET", "/v1/collections/docs/points/1", NULL},
        {"DELETE", "/v1/collections/docs/points/1", NULL},
        {"POST", "/v1/collections/docs/points/get", "{\"ids\":[1]}"},
        {"POST", "/v1/collections/docs/points/delete", "{\"ids\":[1]}"},
        {"POST", "/v1/collections/docs/search", "{\"vector\":[1,2]}"},
        {"GET", "/v1/collections/docs/count", NULL},
        {"POST", "/v1/collections/docs/count", "{}"},
        {"GET", "/v1/collections/docs/snapshots", NULL},
        {"POST", "/v1/collections/docs/snapshots", "{\"name\":\"x\"}"},
        {"DELETE", "/v1/collections/docs/snapshots/x", NULL},
        {"PUT", "/v1/collections/docs/index", "{}"},
        {"POST", "/v1/collections/docs/index/build", NULL},
    };
    for (size_t r = 0; r < sizeof requests / sizeof requests[0]; r++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            f->spy.fail_with = rows[i].status;
            ask(f, requests[r].method, requests[r].path, requests[r].body);
            assert_problem(f, rows[i].http, rows[i].code, "told to fail with");
        }
    }
    f->spy.fail_with = VECDB_OK;
    assert_int_equal(ask(f, "GET", "/v1/collections/docs", NULL), 200);
}

/* The collection changes its dimension between the look that the parser relies on and the write. */
static void replace_docs(struct spy *spy)
{
    vecdb_collection_config config = {.name = "docs", .dimension = 3, .metric = VECDB_L2};
    assert_int_equal(spy->inner->ops->drop_collection(spy->inner, "docs", NULL), VECDB_OK);
    assert_int_equal(spy->inner->ops->create_collection(spy->inner, &config, NULL), VECDB_OK);
}

static void test_replaced_while_read(void **state)
{
    struct fixture *f = *state;
    create_docs(f);
    f->spy.before_write = replace_docs;
    ask(f, "POST", "/v1/collections/docs/points", "{\"points\":[{\"id\":1,\"vector\":[1,2]}]}");
    assert_problem(f, 400, "invalid",
                   "points[0].vector: 2 numbers given, the collection \"docs\" has dimension 3");
    f->spy.before_write = NULL;
    assert_int_equal(ask(f, "GET", "/v1/collections/docs/count", NULL), 200);
    assert_body(f, "{\"count\":0}");
}

static void test_process_routes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, "GET", "/healthz", NULL), 200);
    assert_body(f, "{\"status\":\"ok\"}");
    assert_int_equal(ask(f, "GET", "/readyz", NULL), 200);
    assert_body(f, "{\"status\":\"ready\"}");
    assert_int_equal(ask(f, "GET", "/version", NULL), 200);
    assert_string_equal(json_string_value(json_object_get(f->json, "version")), vecdb_version());
    assert_true(strlen(json_string_value(json_object_get(f->json, "cpu"))) > 0);
    atomic_store(&f->server.closing, true);
    ask(f, "GET", "/readyz", NULL);
    assert_problem(f, 503, "busy", "the server is closing");
    assert_int_equal(ask(f, "GET", "/v1/collections", NULL), 200); /* began before: finishes */
    f->late = true;
    ask(f, "GET", "/v1/collections", NULL);
    assert_problem(f, 503, "busy", "the server is closing");
    assert_int_equal(ask(f, "GET", "/healthz", NULL), 200);
    assert_int_equal(ask(f, "GET", "/metrics", NULL), 200);
    assert_string_equal(f->response.content_type, "text/plain; version=0.0.4; charset=utf-8");
}

static bool has_line(const struct fixture *f, const char *line)
{
    char *text = calloc(1, f->response.body.bytes + 2);
    char wanted[256];
    text[0] = '\n';
    memcpy(text + 1, f->response.body.data, f->response.body.bytes);
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    bool found = strstr(text, wanted) != NULL;
    free(text);
    return found;
}

static void test_metrics(void **state)
{
    struct fixture *f = *state;
    create_docs(f);
    assert_int_equal(ask(f, "POST", "/v1/collections/docs/points", "{\"points\":[{\"id\":1,\"vector\":[1,2]}]}"),
                     200);
    vdb_metrics_observe(&f->server.metrics, VDB_ROUTE_SEARCH, 200, 100000); /* at a bound: in that bucket */
    vdb_metrics_observe(&f->server.metrics, VDB_ROUTE_SEARCH, 200, 100001);
    vdb_metrics_observe(&f->server.metrics, VDB_ROUTE_SEARCH, 400, 20000000000u);
    vdb_metrics_observe(&f->server.metrics, VDB_ROUTE_NONE, 418, 1);
    assert_int_equal(ask(f, "GET", "/metrics", NULL), 200);
    static const char *const lines[] = {
        "vecdb_ready 1",
        "vecdb_collections 1",
        "vecdb_points 1",
        "vecdb_writes_total 1",
        "# TYPE vecdb_wal_syncs_total counter",
        "# TYPE vecdb_log_bytes gauge",
        "vecdb_segments 0",
        "vecdb_segment_bytes 0",
        "vecdb_segment_dead_rows 0",
        "vecdb_space_amplification 1.000000",
        "vecdb_compaction_debt_bytes 0",
        "vecdb_index_rows 0",
        "vecdb_index_waiting_rows 0",
        "# TYPE vecdb_index_waiting_rows gauge",
        "# TYPE vecdb_index_memory_bytes gauge",
        "# TYPE vecdb_index_builds_total counter",
        "vecdb_index_build_failures_total 0",
        "# TYPE vecdb_shadow_queries_total counter",
        "vecdb_shadow_queries_total 0",
        "vecdb_shadow_recall NaN",
        "# TYPE vecdb_io_write_bytes_total counter",
        "vecdb_io_failures_total 0",
        "# TYPE vecdb_sync_seconds histogram",
        "# TYPE vecdb_checkpoints_total counter",
        "# TYPE vecdb_compactions_total counter",
        "# TYPE vecdb_compaction_written_bytes_total counter",
        "# TYPE vecdb_recovered_log_bytes gauge",
        "# TYPE process_start_time_seconds gauge",
        "vecdb_http_requests_total{method=\"POST\",route=\"/v1/collections/{name}/search\",status=\"200\"} 2",
        "vecdb_http_requests_total{method=\"POST\",route=\"/v1/collections/{name}/search\",status=\"400\"} 1",
        "vecdb_http_requests_total{method=\"\",route=\"other\",status=\"other\"} 1",
        "vecdb_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/collections/{name}/search\","
        "le=\"0.0001\"} 1",
        "vecdb_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/collections/{name}/search\","
        "le=\"0.00025\"} 2",
        "vecdb_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/collections/{name}/search\","
        "le=\"10\"} 2",
        "vecdb_http_request_duration_seconds_bucket{method=\"POST\",route=\"/v1/collections/{name}/search\","
        "le=\"+Inf\"} 3",
        "vecdb_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/collections/{name}/search\"} 3",
        "vecdb_http_request_duration_seconds_sum{method=\"POST\",route=\"/v1/collections/{name}/search\"} "
        "20.000200001",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!has_line(f, lines[i])) {
            fail_msg("missing: %s", lines[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_collections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_points, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search_and_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_service_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced_while_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_process_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
    };
    return cmocka_run_group_tests_name("server/handlers", tests, NULL, NULL);
}
