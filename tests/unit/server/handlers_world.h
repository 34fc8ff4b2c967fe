/* handlers_world.h: whole requests without a socket: a real database under a service table that can be told to fail. */
#ifndef VDB_TEST_HANDLERS_WORLD_H
#define VDB_TEST_HANDLERS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "server/handlers.h"

/* Passes calls on to a local service, unless `fail_with` is set; `before_write` runs once, before the next
 * upsert. */
struct spy {
    struct vdb_service base;
    struct vdb_service *inner;
    vecdb_status fail_with;
    void (*before_write)(struct spy *spy);
    bool build_cancels;
};

static inline struct vdb_service *inner(struct vdb_service *service)
{
    return ((struct spy *)service)->inner;
}

static inline vecdb_status failing(struct vdb_service *service, vecdb_error *err)
{
    vecdb_status status = ((struct spy *)service)->fail_with;
    if (status != VECDB_OK) {
        err->status = status;
        snprintf(err->message, sizeof err->message, "told to fail with %d", (int)status);
    }
    return status;
}

#define FAIL_OR(call) (failing(service, err) != VECDB_OK ? ((struct spy *)service)->fail_with : (call))

static inline vecdb_status spy_create(struct vdb_service *service, const vecdb_collection_config *config,
                                      vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->create_collection(inner(service), config, err));
}

static inline vecdb_status spy_drop(struct vdb_service *service, const char *name, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->drop_collection(inner(service), name, err));
}

static inline vecdb_status spy_look(struct vdb_service *service, const char *name, vecdb_collection_info *out,
                                    vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->get_collection(inner(service), name, out, err));
}

static inline vecdb_status spy_list(struct vdb_service *service, vecdb_collection_info **out, size_t *count,
                                    vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->list_collections(inner(service), out, count, err));
}

static inline vecdb_status spy_upsert(struct vdb_service *service, const char *collection,
                                      const vecdb_point *points, size_t count, vecdb_write_result *result,
                                      vecdb_error *err)
{
    struct spy *spy = (struct spy *)service;
    if (spy->before_write != NULL) {
        spy->before_write(spy);
    }
    return FAIL_OR(inner(service)->ops->upsert(inner(service), collection, points, count, result, err));
}

static inline vecdb_status spy_remove(struct vdb_service *service, const char *collection, const vecdb_id *ids,
                                      size_t count, vecdb_write_result *result, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->remove(inner(service), collection, ids, count, result, err));
}

static inline vecdb_status spy_get(struct vdb_service *service, const char *collection, const vecdb_id *ids,
                                   size_t count, vecdb_result **out, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->get(inner(service), collection, ids, count, out, err));
}

static inline vecdb_status spy_count(struct vdb_service *service, const char *collection, const char *filter,
                                     size_t filter_bytes, uint64_t *out, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->count(inner(service), collection, filter, filter_bytes, out, err));
}

static inline vecdb_status spy_search(struct vdb_service *service, const char *collection,
                                      const vecdb_search_request *request, vecdb_result **out, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->search(inner(service), collection, request, out, err));
}

static inline vecdb_status spy_set_index(struct vdb_service *service, const char *collection,
                                         const vecdb_index_config *config, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->set_index(inner(service), collection, config, err));
}

/* Records whether the progress that the handler gives would cancel. */
static inline vecdb_status spy_build_index(struct vdb_service *service, const char *collection,
                                           const vecdb_build_options *options, vecdb_error *err)
{
    ((struct spy *)service)->build_cancels = options->progress(options->ctx, collection, 0, 1) != 0;
    return FAIL_OR(inner(service)->ops->build_index(inner(service), collection, options, err));
}

static inline vecdb_status spy_create_snapshot(struct vdb_service *service, const char *collection,
                                               const char *name, vecdb_snapshot_info *out, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->create_snapshot(inner(service), collection, name, out, err));
}

static inline vecdb_status spy_list_snapshots(struct vdb_service *service, const char *collection,
                                              vecdb_snapshot_info **out, size_t *count, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->list_snapshots(inner(service), collection, out, count, err));
}

static inline vecdb_status spy_delete_snapshot(struct vdb_service *service, const char *collection,
                                               const char *name, vecdb_error *err)
{
    return FAIL_OR(inner(service)->ops->delete_snapshot(inner(service), collection, name, err));
}

static inline void spy_stats(struct vdb_service *service, vecdb_stats *out)
{
    inner(service)->ops->get_stats(inner(service), out);
}

static inline void spy_destroy(struct vdb_service *service)
{
    inner(service)->ops->destroy(inner(service));
}

static const struct vdb_service_ops spy_ops = {
    .name = "spy",
    .create_collection = spy_create,
    .drop_collection = spy_drop,
    .get_collection = spy_look,
    .list_collections = spy_list,
    .upsert = spy_upsert,
    .remove = spy_remove,
    .get = spy_get,
    .count = spy_count,
    .search = spy_search,
    .set_index = spy_set_index,
    .build_index = spy_build_index,
    .create_snapshot = spy_create_snapshot,
    .list_snapshots = spy_list_snapshots,
    .delete_snapshot = spy_delete_snapshot,
    .get_stats = spy_stats,
    .destroy = spy_destroy,
};

struct fixture {
    char dir[64];
    struct spy spy;
    struct vdb_server server;
    struct vdb_response response;
    json_t *json; /* of the last answer */
    bool late;    /* requests begin while the server closes */
};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    vecdb_error error = {VECDB_OK, ""};
    const vecdb_options options = {.no_maintenance = 1}; /* graphs are there when a request has asked for them */
    strcpy(f->dir, "/tmp/test_handlers_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->spy.base.ops = &spy_ops;
    if (vdb_service_local_open(f->dir, &options, &f->spy.inner, &error) != VECDB_OK) {
        fail_msg("%s", error.message);
    }
    f->server.service = &f->spy.base;
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    json_decref(f->json);
    vdb_buf_fini(&f->response.body);
    f->spy.base.ops->destroy(&f->spy.base);
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* Sends one request; the answer's JSON (if it is that) is in f->json. Returns the HTTP status. */
static inline unsigned ask(struct fixture *f, const char *method, const char *path, const char *body)
{
    struct vdb_request request = {.method = method, .body = body, .body_bytes = body != NULL ? strlen(body) : 0};
    char plain[256];
    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(path, "?"), path);
    request.path = plain;
    request.has_query = strchr(path, '?') != NULL;
    request.late = f->late;
    vdb_routes_find(method, plain, &request.match);
    vdb_buf_fini(&f->response.body);
    json_decref(f->json);
    f->json = NULL;
    vdb_handlers_answer(&f->server, &request, &f->response);
    f->response.allow = NULL; /* borrowed from the request */
    if (strstr(f->response.content_type, "json") != NULL) {
        json_error_t error;
        f->json = json_loadb((const char *)f->response.body.data, f->response.body.bytes, 0, &error);
        if (f->json == NULL) {
            fail_msg("%s %s: not JSON: %s: %.*s", method, path, error.text, (int)f->response.body.bytes,
                     (const char *)f->response.body.data);
        }
    }
    return f->response.status;
}

static inline void assert_body(const struct fixture *f, const char *expected)
{
    if (f->response.body.bytes != strlen(expected) ||
        memcmp(f->response.body.data, expected, f->response.body.bytes) != 0) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)f->response.body.bytes, (const char *)f->response.body.data,
                 expected);
    }
}

static inline void assert_problem(const struct fixture *f, unsigned status, const char *code, const char *detail)
{
    assert_int_equal(f->response.status, status);
    assert_string_equal(f->response.content_type, "application/problem+json; charset=utf-8");
    assert_string_equal(json_string_value(json_object_get(f->json, "type")), "about:blank");
    assert_int_equal(json_integer_value(json_object_get(f->json, "status")), status);
    assert_string_equal(json_string_value(json_object_get(f->json, "code")), code);
    assert_true(strlen(json_string_value(json_object_get(f->json, "title"))) > 0);
    const char *said = json_string_value(json_object_get(f->json, "detail"));
    assert_non_null(said);
    assert_string_equal(said, f->response.detail);
    if (said == NULL ||
        strstr(said, detail) == NULL) { /* a compiler does not know that the line above ends the test */
        fail_msg("\"%s\" does not say \"%s\"", said != NULL ? said : "", detail);
    }
}

static inline void create_docs(struct fixture *f)
{
    assert_int_equal(ask(f, "POST", "/v1/collections", "{\"name\":\"docs\",\"dimension\":2,\"metric\":\"l2\"}"),
                     201);
}

#endif
