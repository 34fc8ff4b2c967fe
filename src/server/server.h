/* server.h: the state that all requests share, and the whole program as one call.
 *
 * Threads: `service` answers all threads at once; `metrics` and `closing` are atomic.
 */
#ifndef VDB_SERVER_SERVER_H
#define VDB_SERVER_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "api/service.h"
#include "server/metrics.h"

/* Zero-initialise, then set service. */
struct vdb_server {
    struct vdb_service *service;
    struct vdb_metrics metrics;
    atomic_bool closing; /* set once: readyz answers 503, new work is refused */
};

/* The program: returns its exit code. */
int vdb_server_run(int argc, char **argv);

#endif
