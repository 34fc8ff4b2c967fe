/* http.h: libmicrohttpd around the handlers: sockets, threads, bodies, limits, and a stop that finishes what
 * runs.
 *
 * Threads: a pool of threads, each with its own epoll set and its own connections; a request is worked on by the
 * thread of its connection. vdb_http_* themselves are called by one thread.
 */
#ifndef VDB_SERVER_HTTP_H
#define VDB_SERVER_HTTP_H

#include "server/config.h"
#include "server/server.h"

struct vdb_http;

struct vdb_http_options {
    int fd;               /* a listening socket; vdb_http_start takes ownership, also when it fails */
    bool monitoring_only; /* serve /metrics, /healthz and /readyz alone */
    unsigned threads;
    const struct vdb_config *config;
};

vdb_status vdb_http_start(struct vdb_server *server, const struct vdb_http_options *options,
                          struct vdb_http **out, struct vdb_err *err) VDB_MUST_CHECK;

/* Requests of which some part was received and whose answer is not yet sent in full. */
uint64_t vdb_http_in_flight(const struct vdb_http *http);

/* Requests that a thread works on right now: vdb_http_stop would wait for them. */
uint64_t vdb_http_working(const struct vdb_http *http);

/* Closes all connections. NULL is allowed. */
void vdb_http_stop(struct vdb_http *http);

#endif
