/* metrics.h: what the server counts about itself, and the Prometheus text of it and of the database.
 *
 * Threads: atomic; counting is wait-free, the text is a reading that may be a request apart between its lines.
 */
#ifndef VDB_SERVER_METRICS_H
#define VDB_SERVER_METRICS_H

#include <stdatomic.h>

#include "base/bytes.h"
#include "server/routes.h"

enum {
    VDB_METRICS_BUCKETS = 16, /* the bounds stand in metrics.c */
    VDB_METRICS_STATUSES = 14 /* those the server answers with, and "other" */
};

struct vdb_metrics {
    _Atomic uint64_t requests[VDB_ROUTE_COUNT_ALL_ROUTES][VDB_METRICS_STATUSES];
    _Atomic uint64_t buckets[VDB_ROUTE_COUNT_ALL_ROUTES][VDB_METRICS_BUCKETS + 1]; /* the last: over all bounds */
    _Atomic uint64_t duration_ns[VDB_ROUTE_COUNT_ALL_ROUTES];
    _Atomic uint64_t body_bytes;  /* received, since start */
    _Atomic uint64_t in_flight;   /* requests begun and not yet answered in full */
    _Atomic uint64_t body_memory; /* bytes held for request bodies now */
    _Atomic uint64_t connections; /* open now */
};

/* Zero-initialise. One answered request. */
void vdb_metrics_observe(struct vdb_metrics *metrics, vdb_route route, unsigned status, uint64_t duration_ns);

/* What the text tells beside the server's own counts. */
struct vdb_metrics_facts {
    const vecdb_stats *stats;
    const vecdb_io_stats *io; /* of the process */
    bool ready;
};

/* Appends the text. */
void vdb_metrics_write(struct vdb_metrics *metrics, const struct vdb_metrics_facts *facts, struct vdb_buf *out);

#endif
