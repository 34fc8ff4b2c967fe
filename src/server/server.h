/* server.h: the state that all requests share, and the whole program as one call.
 *
 * Threads: `service` answers all threads at once, `metrics` and `closing` are atomic, `schema` is a lock (see
 * below).
 */
#ifndef VDB_SERVER_SERVER_H
#define VDB_SERVER_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "api/service.h"
#include "server/metrics.h"

struct vdb_server {
    struct vdb_service *service;
    struct vdb_metrics metrics;
    atomic_bool closing; /* set once: readyz answers 503, new work is refused */
    /* Who relies on a collection's dimension across two calls of the service (upsert: look, then write; get:
     * look, then write the vectors out) holds it shared; dropping holds it alone. So a collection cannot be
     * replaced by one of another dimension in between. */
    pthread_rwlock_t schema;
};

vdb_status vdb_server_init(struct vdb_server *server, struct vdb_service *service,
                           struct vdb_err *err) VDB_MUST_CHECK;
void vdb_server_fini(struct vdb_server *server); /* leaves the service alone */

/* The program: returns its exit code. */
int vdb_server_run(int argc, char **argv);

#endif
