/* http.c: libmicrohttpd glue.
 *
 * libmicrohttpd calls `access_request` first when the headers are there, then with each piece of the body, then
 * once with no bytes: only then is the request worked on. A body that will not be used (no such route, too large,
 * no memory for it) is read and thrown away, up to a bound, since a client that still sends would see a reset
 * connection instead of the answer.
 *
 * Long work (vdb_routes_is_long) gets a thread of its own: libmicrohttpd's would let its other connections wait. The
 * connection is suspended meanwhile; when it is resumed, `access_request` is called once more and sends what came of it.
 *
 * Limits: headers over 64 KiB get our 431; the connection's memory is twice that, so that they are read at all,
 * and past it libmicrohttpd itself answers 431. Bodies over 64 MiB get 413, and all bodies in flight share
 * body_memory_mib, past which a request gets 503.
 */
#include "server/http.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/timer.h"
#include "server/handlers.h"

enum {
    CONNECTION_MEMORY_BYTES = 2 * VDB_LIMIT_HTTP_HEADER_BYTES_MAX,
    BODY_RESERVE_BYTES =
        1 << 20,         /* taken at once; more as it arrives, so that a lying Content-Length costs nothing */
    LONG_CALLS_MAX = 16, /* threads for long work; more of it at once is refused */
};

/* A body up to this size is read to its end and thrown away when it is refused; a larger one ends the connection.
 */
#define DISCARD_BYTES_MAX (4ull * VDB_LIMIT_HTTP_BODY_BYTES_MAX)

struct vdb_http {
    struct MHD_Daemon *daemon;
    struct vdb_server *server;
    bool monitoring_only;
    uint64_t body_memory_max;
    _Atomic uint64_t in_flight;
    _Atomic uint64_t working;
    _Atomic uint64_t long_calls;
};

/* One request, from its headers to the end of its answer. */
struct exchange {
    struct vdb_http *http;
    uint64_t started_ns;
    char *method; /* copies: they are wanted after libmicrohttpd let go of them */
    char *path;
    struct vdb_match match;
    bool has_query;
    bool late;
    struct vdb_buf body;
    uint64_t received;  /* bytes of the body so far, thrown away ones included */
    uint64_t accounted; /* of metrics.body_memory */
    unsigned refusal;   /* HTTP status of a refusal found before the body was read; 0: none */
    struct vdb_err err; /* of the refusal */
    unsigned status;    /* of the answer; 0: none was queued */
    char detail[VDB_ERR_TEXT_BYTES];
    /* Of long work; the flags are of libmicrohttpd's thread. */
    struct MHD_Connection *connection;
    pthread_t thread;
    bool suspended;  /* once; when the connection is resumed, `response` is ready */
    bool has_thread; /* that makes it, to be joined */
    struct vdb_response response;
};

/* ---- The log ---- */

static void log_exchange(const struct exchange *exchange, uint64_t duration_ns)
{
    unsigned status = exchange->status;
    vdb_log_level level = status >= 500 || status == 0 ? VDB_LOG_ERROR
                          : status >= 400              ? VDB_LOG_WARN
                                                       : VDB_LOG_DEBUG;
    if (status == 0) {
        level = VDB_LOG_WARN; /* the client went away */
    } else if (status == 503 && atomic_load(&exchange->http->server->closing)) {
        level = VDB_LOG_DEBUG; /* as it must be */
    }
    const char *detail = status == 0 ? "the client went away" : exchange->detail;
    vdb_log(level, "http", "%.16s %.255s %u %.3f ms%s%s", exchange->method, exchange->path, status,
            (double)duration_ns / 1e6, detail[0] != '\0' ? ": " : "", detail);
}

static void log_library(void *cls, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void log_library(void *cls, const char *format, va_list args)
{
    (void)cls;
    char line[512];
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    vdb_log(VDB_LOG_DEBUG, "http", "libmicrohttpd: %s", line);
}

/* ---- Bodies ---- */

static void refuse(struct exchange *exchange, unsigned http_status)
{
    exchange->refusal = http_status;
    struct vdb_metrics *metrics = &exchange->http->server->metrics;
    atomic_fetch_sub_explicit(&metrics->body_memory, exchange->accounted, memory_order_relaxed);
    exchange->accounted = 0;
    vdb_buf_fini(&exchange->body);
}

static void refuse_size(struct exchange *exchange)
{
    (void)vdb_err_set(&exchange->err, VDB_LIMIT, "body: over %u bytes", VDB_LIMIT_HTTP_BODY_BYTES_MAX);
    refuse(exchange, 413);
}

/* Takes `bytes` more of the memory that all bodies share. */
static bool account(struct exchange *exchange, uint64_t bytes)
{
    struct vdb_metrics *metrics = &exchange->http->server->metrics;
    uint64_t held = atomic_fetch_add_explicit(&metrics->body_memory, bytes, memory_order_relaxed) + bytes;
    exchange->accounted += bytes;
    return held <= exchange->http->body_memory_max;
}

/* One piece of the body. False: the connection must end. */
static bool take_piece(struct exchange *exchange, const char *data, size_t bytes)
{
    exchange->received += bytes;
    atomic_fetch_add_explicit(&exchange->http->server->metrics.body_bytes, bytes, memory_order_relaxed);
    if (exchange->refusal == 0 && exchange->received > VDB_LIMIT_HTTP_BODY_BYTES_MAX) {
        refuse_size(exchange);
    }
    if (exchange->refusal != 0 || !vdb_routes_has_body(exchange->match.route)) {
        return exchange->received <= DISCARD_BYTES_MAX;
    }
    if (!account(exchange, bytes)) {
        (void)vdb_err_set(&exchange->err, VDB_BUSY,
                          "the request bodies now in flight fill body_memory_mib; try later");
        refuse(exchange, 503);
        return true;
    }
    vdb_buf_put(&exchange->body, data, bytes);
    if (exchange->body.failed) {
        (void)vdb_err_no_memory(&exchange->err, "the request body");
        refuse(exchange, 503);
    }
    return true;
}

/* ---- One request ---- */

static enum MHD_Result queue(struct MHD_Connection *connection, struct exchange *exchange,
                             struct vdb_response *response)
{
    struct MHD_Response *reply = NULL;
    exchange->status = response->status;
    snprintf(exchange->detail, sizeof exchange->detail, "%s", response->detail);
    if (response->body.failed) { /* not even the problem document could be written */
        static char last_words[] = "{\"type\":\"about:blank\",\"title\":\"out of memory\",\"status\":503,"
                                   "\"code\":\"no_memory\",\"detail\":\"out of memory\"}";
        exchange->status = 503;
        vdb_buf_fini(&response->body);
        reply = MHD_create_response_from_buffer(sizeof last_words - 1, last_words, MHD_RESPMEM_PERSISTENT);
    } else {
        reply = MHD_create_response_from_buffer_with_free_callback(response->body.bytes, response->body.data,
                                                                   free);
        if (reply == NULL) {
            vdb_buf_fini(&response->body);
        }
    }
    if (reply == NULL) {
        return MHD_NO;
    }
    enum MHD_Result rc = MHD_add_response_header(reply, MHD_HTTP_HEADER_CONTENT_TYPE, response->content_type);
    if (rc == MHD_YES && response->allow != NULL) {
        rc = MHD_add_response_header(reply, MHD_HTTP_HEADER_ALLOW, response->allow);
    }
    if (rc == MHD_YES && atomic_load(&exchange->http->server->closing)) {
        rc = MHD_add_response_header(reply, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    if (rc == MHD_YES) {
        rc = MHD_queue_response(connection, exchange->status, reply);
    }
    MHD_destroy_response(reply);
    return rc;
}

static void make_response(struct exchange *exchange, struct vdb_response *response)
{
    struct vdb_request request = {.method = exchange->method,
                                  .path = exchange->path,
                                  .has_query = exchange->has_query,
                                  .late = exchange->late,
                                  .match = exchange->match,
                                  .body = (const char *)exchange->body.data,
                                  .body_bytes = exchange->body.bytes};
    if (exchange->refusal != 0) {
        vdb_handlers_problem(response, exchange->refusal, &exchange->err);
    } else {
        vdb_handlers_answer(exchange->http->server, &request, response);
    }
    response->allow = response->allow != NULL ? exchange->match.allow
                                              : NULL; /* not of `request`, which ends here */
}

static void *work_long(void *ctx)
{
    struct exchange *exchange = ctx;
    struct vdb_http *http = exchange->http;
    make_response(exchange, &exchange->response);
    MHD_resume_connection(exchange->connection); /* from here on the exchange is libmicrohttpd's thread's */
    atomic_fetch_sub(&http->long_calls, 1);
    atomic_fetch_sub(&http->working, 1);
    return NULL;
}

/* Suspends the connection and gives the request a thread, which resumes it. */
static void begin_long(struct MHD_Connection *connection, struct exchange *exchange)
{
    struct vdb_http *http = exchange->http;
    bool has_room = atomic_fetch_add(&http->long_calls, 1) < LONG_CALLS_MAX;
    atomic_fetch_add(&http->working, 1);
    exchange->connection = connection;
    exchange->suspended = true;
    MHD_suspend_connection(connection);
    exchange->has_thread = has_room && pthread_create(&exchange->thread, NULL, work_long, exchange) == 0;
    if (!exchange->has_thread) {
        (void)vdb_err_set(&exchange->err, VDB_BUSY, "%d calls as long as this one are running; try later",
                          LONG_CALLS_MAX);
        refuse(exchange, 503);
        (void)work_long(exchange);
    }
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct exchange *exchange)
{
    struct vdb_http *http = exchange->http;
    struct vdb_response response = {0};
    if (exchange->refusal == 0 && vdb_routes_is_long(exchange->match.route)) {
        begin_long(connection, exchange);
        return MHD_YES; /* access_request is called again */
    }
    atomic_fetch_add(&http->working, 1);
    make_response(exchange, &response);
    enum MHD_Result rc = queue(connection, exchange, &response);
    atomic_fetch_sub(&http->working, 1);
    return rc;
}

/* The connection was resumed. */
static enum MHD_Result finish_long(struct MHD_Connection *connection, struct exchange *exchange)
{
    if (exchange->has_thread) {
        pthread_join(exchange->thread, NULL);
        exchange->has_thread = false;
    }
    struct vdb_response response = exchange->response;
    exchange->response = (struct vdb_response){0};
    return queue(connection, exchange, &response);
}

/* The monitoring port has its three routes only. */
static bool is_served(const struct vdb_http *http, vdb_route route)
{
    return !http->monitoring_only || route == VDB_ROUTE_METRICS || route == VDB_ROUTE_HEALTHZ ||
           route == VDB_ROUTE_READYZ;
}

static void free_exchange(struct exchange *exchange)
{
    if (exchange->has_thread) { /* the connection ended first */
        pthread_join(exchange->thread, NULL);
    }
    vdb_buf_fini(&exchange->response.body);
    vdb_buf_fini(&exchange->body);
    free(exchange->method);
    free(exchange->path);
    free(exchange);
}

static struct exchange *begin(struct vdb_http *http, struct MHD_Connection *connection, const char *path,
                              const char *method)
{
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) {
        return NULL;
    }
    exchange->http = http;
    exchange->started_ns = vdb_now_ns();
    exchange->method = strdup(method);
    exchange->path = strdup(path);
    if (exchange->method == NULL || exchange->path == NULL) {
        free_exchange(exchange);
        return NULL;
    }
    vdb_routes_find(exchange->method, exchange->path, &exchange->match);
    if (!is_served(http, exchange->match.route)) {
        exchange->match = (struct vdb_match){.route = VDB_ROUTE_NONE};
    }
    exchange->late = atomic_load(&http->server->closing);
    exchange->has_query = MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, NULL, NULL) > 0;
    atomic_fetch_add(&http->in_flight, 1);
    atomic_fetch_add_explicit(&http->server->metrics.in_flight, 1, memory_order_relaxed);
    return exchange;
}

/* Browsers let any page send requests to a server on loopback, and name that page's origin. There are no keys yet
 * that would stop it, so only a page that this server itself delivered is answered. */
static bool is_own_origin(struct MHD_Connection *connection)
{
    const char *origin = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    if (origin == NULL) {
        return true;
    }
    const char *authority = strstr(origin, "://");
    return authority != NULL && host != NULL && strcasecmp(authority + 3, host) == 0;
}

static enum MHD_Result count_lengths(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    unsigned *lengths = cls;
    (void)kind;
    (void)value;
    *lengths += strcasecmp(key, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
    return MHD_YES;
}

/* A body with two lengths ends at one place for a proxy and at another here: what lies between would be taken for
 * the next request of somebody else (RFC 9112, section 6.3). */
static bool has_one_length(struct MHD_Connection *connection)
{
    unsigned lengths = 0;
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, count_lengths, &lengths);
    bool chunked = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING) !=
                   NULL;
    return lengths + (chunked ? 1 : 0) <= 1;
}

/* What the headers alone decide. True: answer now, without reading the body. */
static bool check_headers(struct exchange *exchange, struct MHD_Connection *connection, const char *version)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection,
                                                                   MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info != NULL && info->header_size > VDB_LIMIT_HTTP_HEADER_BYTES_MAX) {
        (void)vdb_err_set(&exchange->err, VDB_LIMIT, "headers: %zu bytes, at most %u are read", info->header_size,
                          VDB_LIMIT_HTTP_HEADER_BYTES_MAX);
        refuse(exchange, 431);
        return true;
    }
    if (!has_one_length(connection)) {
        (void)vdb_err_set(&exchange->err, VDB_INVALID,
                          "headers: Content-Length is given twice, or beside Transfer-Encoding");
        refuse(exchange, 400);
        return true;
    }
    if (strcmp(version, MHD_HTTP_VERSION_1_1) == 0 &&
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST) == NULL) {
        (void)vdb_err_set(&exchange->err, VDB_INVALID, "headers: an HTTP/1.1 request must have Host");
        refuse(exchange, 400);
    }
    if (exchange->refusal == 0 && !is_own_origin(connection)) {
        (void)vdb_err_set(&exchange->err, VDB_INVALID,
                          "headers: Origin names another host than Host; pages of other origins are not served");
        refuse(exchange, 403);
    }
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t bytes = length != NULL ? strtoull(length, NULL, 10) : 0;
    if (bytes > VDB_LIMIT_HTTP_BODY_BYTES_MAX) {
        refuse_size(exchange);
        const char *expect = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
        return expect != NULL || bytes > DISCARD_BYTES_MAX;
    }
    if (vdb_routes_has_body(exchange->match.route) && bytes > 0) {
        (void)vdb_buf_reserve(&exchange->body, bytes < BODY_RESERVE_BYTES ? bytes : BODY_RESERVE_BYTES);
    }
    return false;
}

static enum MHD_Result access_request(void *cls, struct MHD_Connection *connection, const char *url,
                                      const char *method, const char *version, const char *upload_data,
                                      size_t *upload_data_size, void **req_cls)
{
    struct vdb_http *http = cls;
    if (*req_cls == NULL) {
        struct exchange *begun = begin(http, connection, url, method);
        *req_cls = begun;
        if (begun == NULL) {
            return MHD_NO;
        }
        return check_headers(begun, connection, version) ? answer(connection, begun) : MHD_YES;
    }
    struct exchange *exchange = *req_cls;
    if (*upload_data_size > 0) {
        bool more = take_piece(exchange, upload_data, *upload_data_size);
        *upload_data_size = 0;
        return more ? MHD_YES : MHD_NO;
    }
    if (exchange->suspended) {
        return finish_long(connection, exchange);
    }
    return answer(connection, exchange);
}

static void request_completed(void *cls, struct MHD_Connection *connection, void **req_cls,
                              enum MHD_RequestTerminationCode code)
{
    struct vdb_http *http = cls;
    struct exchange *exchange = *req_cls;
    (void)connection;
    (void)code;
    if (exchange == NULL) {
        return;
    }
    struct vdb_metrics *metrics = &http->server->metrics;
    uint64_t duration_ns = vdb_now_ns() - exchange->started_ns;
    vdb_metrics_observe(metrics, exchange->match.route, exchange->status, duration_ns);
    log_exchange(exchange, duration_ns);
    atomic_fetch_sub_explicit(&metrics->body_memory, exchange->accounted, memory_order_relaxed);
    atomic_fetch_sub_explicit(&metrics->in_flight, 1, memory_order_relaxed);
    free_exchange(exchange);
    *req_cls = NULL;
    atomic_fetch_sub(&http->in_flight, 1);
}

static void connection_changed(void *cls, struct MHD_Connection *connection, void **socket_cls,
                               enum MHD_ConnectionNotificationCode code)
{
    struct vdb_http *http = cls;
    (void)connection;
    (void)socket_cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        atomic_fetch_add_explicit(&http->server->metrics.connections, 1, memory_order_relaxed);
    } else {
        atomic_fetch_sub_explicit(&http->server->metrics.connections, 1, memory_order_relaxed);
    }
}

/* A closing server takes no new connections; its monitoring port does, so that /readyz can say why. Not by
 * MHD_quiesce_daemon: with epoll it races the threads for the listening socket, and the loser aborts the process. */
static enum MHD_Result accept_connection(void *cls, const struct sockaddr *address, socklen_t address_bytes)
{
    const struct vdb_http *http = cls;
    (void)address;
    (void)address_bytes;
    return !http->monitoring_only && atomic_load(&http->server->closing) ? MHD_NO : MHD_YES;
}

/* Paths stay as they came: routes.c splits them before it decodes the parts. */
static size_t keep_encoded(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

/* ---- Start and stop ---- */

vdb_status vdb_http_start(struct vdb_server *server, const struct vdb_http_options *options,
                          struct vdb_http **out, struct vdb_err *err)
{
    const struct vdb_config *config = options->config;
    struct vdb_http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        close(options->fd);
        return vdb_err_no_memory(err, "the HTTP server");
    }
    http->server = server;
    http->monitoring_only = options->monitoring_only;
    http->body_memory_max = config->body_memory_mib << 20;
    unsigned connections = (unsigned)config->connections_max;
    unsigned threads = options->threads < connections ? options->threads : connections;
    /* A pool of one is spelt by leaving the option out. */
    struct MHD_OptionItem pool[] = {
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    /* The logger comes first: libmicrohttpd uses it from where it stands on. */
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0,
        accept_connection, http, access_request, http, MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL,
        MHD_OPTION_LISTEN_SOCKET, options->fd, MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)config->idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, request_completed, http, MHD_OPTION_NOTIFY_CONNECTION, connection_changed,
        http, MHD_OPTION_ARRAY, pool, MHD_OPTION_END);
    if (http->daemon == NULL) {
        close(options->fd);
        free(http);
        return vdb_err_set(err, VDB_IO, "the HTTP server could not start its %u threads", threads);
    }
    *out = http;
    return VDB_OK;
}

uint64_t vdb_http_in_flight(const struct vdb_http *http)
{
    return atomic_load(&http->in_flight);
}

uint64_t vdb_http_working(const struct vdb_http *http)
{
    return atomic_load(&http->working);
}

void vdb_http_stop(struct vdb_http *http)
{
    if (http != NULL) {
        MHD_stop_daemon(http->daemon);
        free(http);
    }
}
