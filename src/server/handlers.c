/* handlers.c: each route's work: decode the path, parse the body, ask the service, write the answer. */
#include "server/handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "server/answers.h"
#include "server/body.h"

static const char json_type[] = "application/json; charset=utf-8";
static const char problem_type[] = "application/problem+json; charset=utf-8";
static const char metrics_type[] = "text/plain; version=0.0.4; charset=utf-8";

enum { ARENA_BLOCK_BYTES = 64 << 10 }; /* one search of 16k dimensions; larger bodies take more blocks */

/* Vectors (as floats), and metadata, in one answer: what the longest batch has at 6,700 dimensions. A request for
 * more is refused, since one answer of k 16,384 at dimension 65,536 would take 12 GiB of text. */
#define ANSWER_BYTES_MAX (256u << 20)

/* One request under way: what its handler works with. */
struct call {
    struct vdb_server *server;
    struct vdb_service *service;
    const struct vdb_request *request;
    struct vdb_response *response;
    struct vdb_buf *out; /* the response's body */
    struct vdb_arena arena;
    char name[VDB_LIMIT_NAME_BYTES_MAX + 1]; /* {name}, decoded */
    char id_text[VDB_LIMIT_ID_BYTES_MAX + 1];
    char snapshot[VDB_LIMIT_NAME_BYTES_MAX + 1]; /* {snapshot}, decoded */
    vecdb_id id;                                 /* {id}, decoded; borrows from id_text */
    vecdb_collection_info info;                  /* of {name}, after look_up */
};

typedef vdb_status handler_fn(struct call *call, struct vdb_err *err);

/* ---- Helpers ---- */

/* The service's verdict as ours. */
static vdb_status verdict(vecdb_status status, const vecdb_error *from, struct vdb_err *err)
{
    if (status == VECDB_OK) {
        return VDB_OK;
    }
    return vdb_err_set(err, (vdb_status)status, "%s", from->message);
}

static vdb_status look_up(struct call *call, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    return verdict(call->service->ops->get_collection(call->service, call->name, &call->info, &error), &error,
                   err);
}

static struct vdb_body body_of(struct call *call)
{
    return (struct vdb_body){call->request->body, call->request->body_bytes, call->name, call->info.dimension,
                             &call->arena};
}

/* Refuses what would make too large an answer, before the service gathers it. */
static vdb_status check_vectors(const struct call *call, const char *field, size_t count, struct vdb_err *err)
{
    uint64_t bytes = (uint64_t)count * call->info.dimension * sizeof(float);
    if (bytes > ANSWER_BYTES_MAX) {
        return vdb_err_set(
            err, VDB_LIMIT,
            "with_vector: %zu vectors (%s) of dimension %u are %llu bytes, one answer has at most %u", count,
            field, call->info.dimension, (unsigned long long)bytes, ANSWER_BYTES_MAX);
    }
    return VDB_OK;
}

static vdb_status check_metadata(const vecdb_result *result, struct vdb_err *err)
{
    const vecdb_hit *hits = vecdb_result_hits(result);
    uint64_t bytes = 0;
    for (size_t i = 0; i < vecdb_result_count(result); i++) {
        bytes += hits[i].metadata_bytes;
    }
    if (bytes > ANSWER_BYTES_MAX) {
        return vdb_err_set(
            err, VDB_LIMIT,
            "with_metadata: the metadata found is %llu bytes, one answer has at most %u; ask for fewer "
            "points or without metadata",
            (unsigned long long)bytes, ANSWER_BYTES_MAX);
    }
    return VDB_OK;
}

static vdb_status decode_name(struct vdb_str part, const char *what, char out[VDB_LIMIT_NAME_BYTES_MAX + 1],
                              struct vdb_err *err)
{
    size_t bytes;
    VDB_TRY(vdb_routes_decode(part, what, out, VDB_LIMIT_NAME_BYTES_MAX, &bytes, err));
    if (strlen(out) != bytes) {
        return vdb_err_set(err, VDB_INVALID, "%s: holds a NUL byte", what);
    }
    return VDB_OK;
}

static vdb_status decode_path(struct call *call, struct vdb_err *err)
{
    const struct vdb_match *match = &call->request->match;
    size_t bytes;
    if (match->name.bytes > 0) {
        VDB_TRY(decode_name(match->name, "collection name", call->name, err));
        if (strchr(call->name, '@') != NULL) {
            return vdb_err_set(
                err, VDB_INVALID,
                "collection name: \"%s\" contains '@'; a snapshot is named by \"snapshot\" in the body "
                "of search, points/get and count",
                call->name);
        }
    }
    if (match->snapshot.bytes > 0) {
        VDB_TRY(decode_name(match->snapshot, "snapshot", call->snapshot, err));
    }
    if (match->id.bytes > 0) {
        VDB_TRY(vdb_routes_decode(match->id, "id", call->id_text, VDB_LIMIT_ID_BYTES_MAX, &bytes, err));
        VDB_TRY(vdb_routes_id((struct vdb_str){call->id_text, bytes}, &call->id, err));
    }
    return VDB_OK;
}

/* What the service calls the collection as of a snapshot; NULL: as it is. */
static vdb_status name_to_read(struct call *call, const char *snapshot, const char **out, struct vdb_err *err)
{
    *out = call->name;
    if (snapshot == NULL) {
        return VDB_OK;
    }
    size_t bytes = strlen(call->name) + strlen(snapshot) + 2;
    char *name = vdb_arena_alloc(&call->arena, bytes);
    if (name == NULL) {
        return vdb_err_no_memory(err, "a name");
    }
    snprintf(name, bytes, "%s@%s", call->name, snapshot);
    *out = name;
    return VDB_OK;
}

/* ---- Collections ---- */

static vdb_status list_collections(struct call *call, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    vecdb_collection_info *infos = NULL;
    size_t count = 0;
    VDB_TRY(verdict(call->service->ops->list_collections(call->service, &infos, &count, &error), &error, err));
    vdb_answers_put_collections(call->out, infos, count);
    vecdb_free(infos);
    return VDB_OK;
}

static void describe_index(const vecdb_index_config *config, vecdb_collection_info *info)
{
    if (config != NULL) {
        snprintf(info->index, sizeof info->index, "%s", config->type != NULL ? config->type : "");
        info->index_m = config->m;
        info->index_ef_construction = config->ef_construction;
        info->index_ef_search = config->ef_search;
        info->index_code_bits = config->code_bits;
        info->index_compact = config->compact;
        info->index_scan_below = config->scan_below;
        info->index_target_recall = config->target_recall;
    }
}

static vdb_status create_collection(struct call *call, struct vdb_err *err)
{
    struct vdb_body body = body_of(call);
    vecdb_collection_config config;
    vecdb_error error = {VECDB_OK, ""};
    VDB_TRY(vdb_body_parse_create(&body, &config, err));
    VDB_TRY(verdict(call->service->ops->create_collection(call->service, &config, &error), &error, err));
    if (call->service->ops->get_collection(call->service, config.name, &call->info, &error) != VECDB_OK) {
        /* Created and dropped again by somebody else meanwhile: the answer tells what was made. */
        call->info = (vecdb_collection_info){
            .dimension = config.dimension, .metric = config.metric, .element = config.element};
        snprintf(call->info.name, sizeof call->info.name, "%s", config.name);
        describe_index(config.index_config, &call->info);
    }
    call->response->status = 201;
    vdb_answers_put_info(call->out, &call->info);
    return VDB_OK;
}

static vdb_status get_collection(struct call *call, struct vdb_err *err)
{
    VDB_TRY(look_up(call, err));
    vdb_answers_put_info(call->out, &call->info);
    return VDB_OK;
}

static vdb_status drop_collection(struct call *call, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    VDB_TRY(verdict(call->service->ops->drop_collection(call->service, call->name, &error), &error, err));
    vdb_buf_put_text(call->out, "{\"deleted\":true}");
    return VDB_OK;
}

/* ---- The index ---- */

static vdb_status set_index(struct call *call, struct vdb_err *err)
{
    struct vdb_body body = body_of(call);
    vecdb_index_config config;
    vecdb_error error = {VECDB_OK, ""};
    VDB_TRY(look_up(call, err));
    VDB_TRY(vdb_body_parse_index(&body, call->info.metric, &config, err));
    VDB_TRY(verdict(call->service->ops->set_index(call->service, call->name, &config, &error), &error, err));
    VDB_TRY(look_up(call, err));
    vdb_answers_put_info(call->out, &call->info);
    return VDB_OK;
}

/* A closing server cancels a build: what was finished stays. */
static int stop_when_closing(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    const struct vdb_server *server = ctx;
    (void)collection;
    (void)done;
    (void)total;
    return atomic_load(&server->closing);
}

static vdb_status build_index(struct call *call, struct vdb_err *err)
{
    const vecdb_build_options options = {.progress = stop_when_closing, .ctx = call->server};
    vecdb_error error = {VECDB_OK, ""};
    VDB_TRY(verdict(call->service->ops->build_index(call->service, call->name, &options, &error), &error, err));
    VDB_TRY(look_up(call, err));
    vdb_answers_put_info(call->out, &call->info);
    return VDB_OK;
}

/* ---- Points ---- */

static vdb_status upsert(struct call *call, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    vecdb_write_result result = {0, 0};
    struct vdb_body_points points;
    VDB_TRY(look_up(call, err));
    struct vdb_body body = body_of(call);
    VDB_TRY(vdb_body_parse_upsert(&body, &points, err));
    vecdb_status status = call->service->ops->upsert(call->service, call->name, points.points, points.count,
                                                     &result, &error);
    VDB_TRY(verdict(status, &error, err));
    vdb_answers_put_write(call->out, &result, "upserted");
    return VDB_OK;
}

static vdb_status remove_ids(struct call *call, const vecdb_id *ids, size_t count, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    vecdb_write_result result = {0, 0};
    VDB_TRY(
        verdict(call->service->ops->remove(call->service, call->name, ids, count, &result, &error), &error, err));
    vdb_answers_put_write(call->out, &result, "deleted");
    return VDB_OK;
}

static vdb_status delete_point(struct call *call, struct vdb_err *err)
{
    return remove_ids(call, &call->id, 1, err);
}

static vdb_status delete_points(struct call *call, struct vdb_err *err)
{
    struct vdb_body body = body_of(call);
    struct vdb_body_ids ids;
    VDB_TRY(look_up(call, err));
    VDB_TRY(vdb_body_parse_ids(&body, false, &ids, err));
    return remove_ids(call, ids.ids, ids.count, err);
}

static vdb_status get_ids(struct call *call, const char *snapshot, const vecdb_id *ids, size_t count,
                          vecdb_result **result, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    const char *name;
    VDB_TRY(name_to_read(call, snapshot, &name, err));
    return verdict(call->service->ops->get(call->service, name, ids, count, result, &error), &error, err);
}

static vdb_status get_point(struct call *call, struct vdb_err *err)
{
    static const struct vdb_body_shape shape = {.with_vector = true, .with_metadata = true};
    vecdb_result *result = NULL;
    VDB_TRY(get_ids(call, NULL, &call->id, 1, &result, err));
    vdb_status status = VDB_OK;
    if (vecdb_result_count(result) > 0) {
        vdb_answers_put_point(call->out, vecdb_result_hits(result), &shape);
    } else if (call->id.text != NULL) {
        status = vdb_err_set(err, VDB_NOT_FOUND, "collection \"%s\" has no point \"%s\"", call->name,
                             call->id_text);
    } else {
        status = vdb_err_set(err, VDB_NOT_FOUND, "collection \"%s\" has no point %llu", call->name,
                             (unsigned long long)call->id.number);
    }
    vecdb_result_free(result);
    return status;
}

static vdb_status get_points(struct call *call, struct vdb_err *err)
{
    vecdb_result *result = NULL;
    struct vdb_body_ids ids;
    VDB_TRY(look_up(call, err));
    struct vdb_body body = body_of(call);
    VDB_TRY(vdb_body_parse_ids(&body, true, &ids, err));
    if (ids.shape.with_vector) {
        VDB_TRY(check_vectors(call, "ids", ids.count, err));
    }
    VDB_TRY(get_ids(call, ids.snapshot, ids.ids, ids.count, &result, err));
    vdb_status status = ids.shape.with_metadata ? check_metadata(result, err) : VDB_OK;
    if (status == VDB_OK) {
        vdb_answers_put_points(call->out, vecdb_result_hits(result), vecdb_result_count(result), &ids.shape);
    }
    vecdb_result_free(result);
    return status;
}

/* ---- Search and count ---- */

static vdb_status search(struct call *call, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    vecdb_result *result = NULL;
    struct vdb_body_search parsed;
    const char *name;
    VDB_TRY(look_up(call, err));
    struct vdb_body body = body_of(call);
    VDB_TRY(vdb_body_parse_search(&body, &parsed, err));
    if (parsed.shape.with_vector) {
        VDB_TRY(check_vectors(call, "k", parsed.request.k, err));
    }
    VDB_TRY(name_to_read(call, parsed.snapshot, &name, err));
    VDB_TRY(
        verdict(call->service->ops->search(call->service, name, &parsed.request, &result, &error), &error, err));
    vdb_status status = parsed.shape.with_metadata ? check_metadata(result, err) : VDB_OK;
    if (status == VDB_OK) {
        vdb_answers_put_results(call->out, vecdb_result_hits(result), vecdb_result_count(result), &parsed.shape,
                                parsed.explain ? vecdb_result_explain(result) : NULL);
    }
    vecdb_result_free(result);
    return status;
}

static vdb_status put_count(struct call *call, const struct vdb_body_count *body, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    const char *name;
    uint64_t count = 0;
    VDB_TRY(name_to_read(call, body->snapshot, &name, err));
    VDB_TRY(verdict(
        call->service->ops->count(call->service, name, body->filter.data, body->filter.bytes, &count, &error),
        &error, err));
    vdb_buf_printf(call->out, "{\"count\":%llu}", (unsigned long long)count);
    return VDB_OK;
}

static vdb_status count_all(struct call *call, struct vdb_err *err)
{
    const struct vdb_body_count whole = {.filter = {NULL, 0}};
    return put_count(call, &whole, err);
}

static vdb_status count(struct call *call, struct vdb_err *err)
{
    struct vdb_body body = body_of(call);
    struct vdb_body_count parsed;
    VDB_TRY(look_up(call, err));
    VDB_TRY(vdb_body_parse_count(&body, &parsed, err));
    return put_count(call, &parsed, err);
}

/* ---- Snapshots ---- */

static vdb_status list_snapshots(struct call *call, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    vecdb_snapshot_info *infos = NULL;
    size_t count = 0;
    VDB_TRY(verdict(call->service->ops->list_snapshots(call->service, call->name, &infos, &count, &error), &error,
                    err));
    vdb_answers_put_snapshots(call->out, infos, count);
    vecdb_free(infos);
    return VDB_OK;
}

static vdb_status create_snapshot(struct call *call, struct vdb_err *err)
{
    struct vdb_body body = body_of(call);
    vecdb_error error = {VECDB_OK, ""};
    vecdb_snapshot_info info;
    const char *name;
    VDB_TRY(vdb_body_parse_snapshot(&body, &name, err));
    VDB_TRY(verdict(call->service->ops->create_snapshot(call->service, call->name, name, &info, &error), &error,
                    err));
    call->response->status = 201;
    vdb_answers_put_snapshot(call->out, &info);
    return VDB_OK;
}

static vdb_status delete_snapshot(struct call *call, struct vdb_err *err)
{
    vecdb_error error = {VECDB_OK, ""};
    VDB_TRY(verdict(call->service->ops->delete_snapshot(call->service, call->name, call->snapshot, &error),
                    &error, err));
    vdb_buf_put_text(call->out, "{\"deleted\":true}");
    return VDB_OK;
}

/* ---- The process ---- */

static vdb_status healthz(struct call *call, struct vdb_err *err)
{
    (void)err;
    vdb_buf_put_text(call->out, "{\"status\":\"ok\"}");
    return VDB_OK;
}

static vdb_status readyz(struct call *call, struct vdb_err *err)
{
    if (atomic_load(&call->server->closing)) {
        return vdb_err_set(err, VDB_BUSY, "the server is closing");
    }
    vdb_buf_put_text(call->out, "{\"status\":\"ready\"}");
    return VDB_OK;
}

static vdb_status version(struct call *call, struct vdb_err *err)
{
    (void)err;
    vecdb_stats stats = {0};
    call->service->ops->get_stats(call->service, &stats);
    vdb_buf_printf(call->out, "{\"version\":\"%s\",\"cpu\":\"%s\"}", vecdb_version(),
                   stats.cpu != NULL ? stats.cpu : "");
    return VDB_OK;
}

static vdb_status metrics(struct call *call, struct vdb_err *err)
{
    (void)err;
    vecdb_stats stats = {0};
    vecdb_io_stats io;
    call->service->ops->get_stats(call->service, &stats);
    vecdb_get_io_stats(&io);
    const struct vdb_metrics_facts facts = {&stats, &io, !atomic_load(&call->server->closing)};
    vdb_metrics_write(&call->server->metrics, &facts, call->out);
    call->response->content_type = metrics_type;
    return VDB_OK;
}

/* ---- From request to response ---- */

static handler_fn *const handlers[] = {
    [VDB_ROUTE_LIST_COLLECTIONS] = list_collections,
    [VDB_ROUTE_CREATE_COLLECTION] = create_collection,
    [VDB_ROUTE_GET_COLLECTION] = get_collection,
    [VDB_ROUTE_DROP_COLLECTION] = drop_collection,
    [VDB_ROUTE_UPSERT] = upsert,
    [VDB_ROUTE_GET_POINTS] = get_points,
    [VDB_ROUTE_DELETE_POINTS] = delete_points,
    [VDB_ROUTE_GET_POINT] = get_point,
    [VDB_ROUTE_DELETE_POINT] = delete_point,
    [VDB_ROUTE_SEARCH] = search,
    [VDB_ROUTE_COUNT_ALL] = count_all,
    [VDB_ROUTE_COUNT] = count,
    [VDB_ROUTE_SET_INDEX] = set_index,
    [VDB_ROUTE_BUILD_INDEX] = build_index,
    [VDB_ROUTE_LIST_SNAPSHOTS] = list_snapshots,
    [VDB_ROUTE_CREATE_SNAPSHOT] = create_snapshot,
    [VDB_ROUTE_DELETE_SNAPSHOT] = delete_snapshot,
    [VDB_ROUTE_HEALTHZ] = healthz,
    [VDB_ROUTE_READYZ] = readyz,
    [VDB_ROUTE_VERSION] = version,
    [VDB_ROUTE_METRICS] = metrics,
};
_Static_assert(sizeof handlers / sizeof handlers[0] == VDB_ROUTE_NONE, "every route has its handler");

void vdb_handlers_problem(struct vdb_response *out, unsigned status, const struct vdb_err *err)
{
    out->status = status;
    out->content_type = problem_type;
    snprintf(out->detail, sizeof out->detail, "%s", err->text);
    vdb_buf_clear(&out->body);
    vdb_answers_put_problem(&out->body, status, err);
}

/* No route for this method and path: 404, or 405 when the path has other methods. */
static void refuse_route(const struct vdb_request *request, struct vdb_response *out)
{
    struct vdb_err err;
    if (request->match.allow[0] != '\0') {
        (void)vdb_err_set(&err, VDB_INVALID, "method %.32s: this path has %s", request->method,
                          request->match.allow);
        vdb_handlers_problem(out, 405, &err);
        out->allow = request->match.allow;
        return;
    }
    (void)vdb_err_set(&err, VDB_NOT_FOUND, "no route %.32s %.200s", request->method, request->path);
    vdb_handlers_problem(out, 404, &err);
}

static bool is_work(vdb_route route)
{
    return route < VDB_ROUTE_HEALTHZ;
}

static vdb_status answer(struct call *call, struct vdb_err *err)
{
    vdb_route route = call->request->match.route;
    if (is_work(route) && call->request->late) {
        return vdb_err_set(err, VDB_BUSY, "the server is closing");
    }
    if (is_work(route) && call->request->has_query) {
        return vdb_err_set(err, VDB_INVALID, "query: the routes of /v1 take no query parameters");
    }
    VDB_TRY(decode_path(call, err));
    return handlers[route](call, err);
}

void vdb_handlers_answer(struct vdb_server *server, const struct vdb_request *request, struct vdb_response *out)
{
    *out = (struct vdb_response){.status = 200, .content_type = json_type};
    if (request->match.route == VDB_ROUTE_NONE) {
        refuse_route(request, out);
        return;
    }
    struct vdb_err err = {VDB_OK, ""};
    struct call call = {.server = server, .service = server->service, .request = request, .response = out};
    call.out = &out->body;
    vdb_arena_init(&call.arena, ARENA_BLOCK_BYTES);
    vdb_status status = answer(&call, &err);
    vdb_arena_fini(&call.arena);
    if (status == VDB_OK && out->body.failed) {
        status = vdb_err_no_memory(&err, "the answer");
    }
    if (status != VDB_OK) {
        vdb_handlers_problem(out, vdb_answers_http_status(status), &err);
    }
}
