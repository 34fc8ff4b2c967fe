/* metrics.c: counters, histograms, and the Prometheus text format (version 0.0.4).
 *
 * A request counts in one bucket only; the sums that the format wants are made when it is written, so that `+Inf`
 * and
 * `_count` agree in every reading. Routes that nobody asked for are left out of the text.
 */
#include "server/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* From the cost of a lookup (0.1 ms) to far beyond a client's patience. */
static const double bounds_seconds[VDB_METRICS_BUCKETS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0};

static const unsigned statuses[VDB_METRICS_STATUSES] = {200, 201, 400, 403, 404, 405, 409,
                                                        413, 414, 431, 500, 501, 503, 0};

void vdb_metrics_observe(struct vdb_metrics *metrics, vdb_route route, unsigned status, uint64_t duration_ns)
{
    size_t s = 0;
    while (s < VDB_METRICS_STATUSES - 1 && statuses[s] != status) {
        s++;
    }
    size_t b = 0;
    double seconds = (double)duration_ns / 1e9;
    while (b < VDB_METRICS_BUCKETS && seconds > bounds_seconds[b]) {
        b++;
    }
    atomic_fetch_add_explicit(&metrics->requests[route][s], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metrics->buckets[route][b], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metrics->duration_ns[route], duration_ns, memory_order_relaxed);
}

/* ---- The process ---- */

/* The first line of a file that begins with `prefix`, with the prefix stepped over; NULL when there is none. */
static char *find_line(const char *path, const char *prefix, char *line, int capacity)
{
    char *found = NULL;
    FILE *file = fopen(path, "r");
    while (file != NULL && found == NULL && fgets(line, capacity, file) != NULL) {
        found = strncmp(line, prefix, strlen(prefix)) == 0 ? line + strlen(prefix) : NULL;
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

/* Resident bytes: the second number of statm, in pages; 0 where there is no /proc. */
static uint64_t resident_bytes(void)
{
    char line[256];
    char *field = find_line("/proc/self/statm", "", line, sizeof line);
    field = field != NULL ? strchr(field, ' ') : NULL;
    return field != NULL ? (uint64_t)strtoull(field, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Seconds since the epoch at which the process began: the boot time plus field 22 of its stat line. */
static double start_time(void)
{
    char line[1024];
    char *boot = find_line("/proc/stat", "btime ", line, sizeof line);
    double seconds = boot != NULL ? (double)strtoull(boot, NULL, 10) : 0;
    char *field = find_line("/proc/self/stat", "", line, sizeof line);
    /* The name (field 2) may hold spaces: count fields from its closing parenthesis. */
    field = field != NULL ? strrchr(field, ')') : NULL;
    for (int i = 0; i < 20 && field != NULL; i++) {
        field = strchr(field + 1, ' ');
    }
    return field != NULL ? seconds + (double)strtoull(field, NULL, 10) / (double)sysconf(_SC_CLK_TCK) : seconds;
}

/* ---- The text ---- */

static void put_head(struct vdb_buf *out, const char *name, const char *type, const char *help)
{
    vdb_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(struct vdb_buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    put_head(out, name, type, help);
    vdb_buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void write_database(const vecdb_stats *stats, struct vdb_buf *out)
{
    put_value(out, "vecdb_collections", "gauge", "Collections.", stats->collections);
    put_value(out, "vecdb_points", "gauge", "Live points of all collections.", stats->points);
    put_value(out, "vecdb_memory_bytes", "gauge", "Memory held for rows, ids and metadata.", stats->memory_bytes);
    put_value(out, "vecdb_log_bytes", "gauge", "Write-ahead logs on disk.", stats->log_bytes);
    put_value(out, "vecdb_wal_syncs_total", "counter", "fdatasync calls on write-ahead logs.", stats->syncs);
    put_value(out, "vecdb_wal_written_bytes_total", "counter", "Bytes written to write-ahead logs.",
              stats->log_bytes_written);
    put_value(out, "vecdb_writes_total", "counter", "Acknowledged write batches.", stats->writes);
    put_value(out, "vecdb_searches_total", "counter", "Searches.", stats->searches);
    put_value(out, "vecdb_distances_computed_total", "counter", "Distances computed by searches.",
              stats->distances_computed);
    put_value(out, "vecdb_recovered_batches", "gauge", "Batches replayed from logs at start.",
              stats->recovered_batches);
    put_value(out, "vecdb_torn_bytes_cut", "gauge", "Unacknowledged bytes cut from the ends of logs at start.",
              stats->torn_bytes_cut);
    put_value(out, "vecdb_recovered_log_bytes", "gauge", "Bytes of write-ahead logs read at start.",
              stats->recovered_bytes);
    put_head(out, "vecdb_recovery_seconds", "gauge", "Time that the recovery at start took.");
    vdb_buf_printf(out, "vecdb_recovery_seconds %.6f\n", (double)stats->recovery_ns / 1e9);
}

/* Disk over what of it is live; 1 for an empty disk. */
static double amplification(const vecdb_stats *stats)
{
    return stats->segment_live_bytes > 0 ? (double)stats->segment_bytes / (double)stats->segment_live_bytes : 1.0;
}

static void write_storage(const vecdb_stats *stats, struct vdb_buf *out)
{
    put_value(out, "vecdb_segments", "gauge", "Segments of all collections.", stats->segments);
    put_value(out, "vecdb_segment_bytes", "gauge", "Bytes of segments on disk.", stats->segment_bytes);
    put_value(out, "vecdb_segment_live_bytes", "gauge", "The share of live rows in vecdb_segment_bytes.",
              stats->segment_live_bytes);
    put_value(out, "vecdb_segment_rows", "gauge", "Rows in segments, live and dead.", stats->segment_rows);
    put_value(out, "vecdb_segment_dead_rows", "gauge", "Rows in segments that were deleted or replaced.",
              stats->segment_dead);
    put_head(out, "vecdb_space_amplification", "gauge", "vecdb_segment_bytes over vecdb_segment_live_bytes.");
    vdb_buf_printf(out, "vecdb_space_amplification %.6f\n", amplification(stats));
    put_value(out, "vecdb_compaction_debt_bytes", "gauge",
              "Bytes that compactions would read now until they have nothing to do.",
              stats->compaction_debt_bytes);
    put_value(out, "vecdb_checkpoints_total", "counter", "Checkpoints.", stats->checkpoints);
    put_value(out, "vecdb_compactions_total", "counter", "Compactions.", stats->compactions);
    put_value(out, "vecdb_compaction_written_bytes_total", "counter", "Bytes written by compactions.",
              stats->bytes_compacted);
}

static void write_index(const vecdb_stats *stats, struct vdb_buf *out)
{
    put_value(out, "vecdb_index_rows", "gauge", "Rows in graphs.", stats->index_rows);
    put_value(out, "vecdb_index_waiting_rows", "gauge",
              "Rows whose graph is due and not built yet; searches scan them.", stats->index_rows_waiting);
    put_value(out, "vecdb_index_memory_bytes", "gauge", "Memory held for graphs, beyond the rows.",
              stats->index_memory_bytes);
    put_value(out, "vecdb_index_file_bytes", "gauge", "Graphs on disk.", stats->index_file_bytes);
    put_value(out, "vecdb_index_builds_total", "counter", "Graphs of segments built.", stats->index_builds);
    put_value(out, "vecdb_index_build_failures_total", "counter", "Builds of graphs that failed.",
              stats->index_build_failures);
    put_head(out, "vecdb_index_build_seconds_total", "counter", "Time that builds took.");
    vdb_buf_printf(out, "vecdb_index_build_seconds_total %.6f\n", (double)stats->index_build_ns / 1e9);
    put_value(out, "vecdb_shadow_queries_total", "counter",
              "Searches in graphs that were measured a second time, exactly.", stats->shadow_queries);
    put_head(out, "vecdb_shadow_recall", "gauge",
             "Share of the true nearest that these searches found; NaN before the first.");
    if (stats->shadow_queries > 0) {
        vdb_buf_printf(out, "vecdb_shadow_recall %.6f\n", stats->shadow_recall);
    } else {
        vdb_buf_put_text(out, "vecdb_shadow_recall NaN\n");
    }
}

static const char sync_name[] = "vecdb_sync_seconds";

/* Of the ten bounds in a decade the first, fourth and eighth, which are 1, 2 and 5. */
static bool is_coarse(size_t bound)
{
    return bound % 10 == 0 || bound % 10 == 3 || bound % 10 == 7;
}

static void write_syncs(const char *target, const vecdb_latency *latency, struct vdb_buf *out)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < VECDB_LATENCY_CLASSES - 1; i++) {
        sum += latency->classes[i];
        if (is_coarse(i)) {
            vdb_buf_printf(out, "%s_bucket{target=\"%s\",le=\"%g\"} %llu\n", sync_name, target,
                           (double)vecdb_latency_bound_ns(i) / 1e9, (unsigned long long)sum);
        }
    }
    vdb_buf_printf(out, "%s_bucket{target=\"%s\",le=\"+Inf\"} %llu\n", sync_name, target,
                   (unsigned long long)latency->count);
    vdb_buf_printf(out, "%s_sum{target=\"%s\"} %.9f\n", sync_name, target, (double)latency->sum_ns / 1e9);
    vdb_buf_printf(out, "%s_count{target=\"%s\"} %llu\n", sync_name, target, (unsigned long long)latency->count);
}

static void write_io(const vecdb_io_stats *io, struct vdb_buf *out)
{
    put_value(out, "vecdb_io_reads_total", "counter", "Reads from files.", io->reads);
    put_value(out, "vecdb_io_read_bytes_total", "counter", "Bytes that they read.", io->read_bytes);
    put_value(out, "vecdb_io_mapped_reads_total", "counter",
              "Ranges of mapped segments asked for when their checksums were looked at.", io->mapped_reads);
    put_value(out, "vecdb_io_mapped_read_bytes_total", "counter",
              "Bytes of them, from the disk or the page cache.", io->mapped_read_bytes);
    put_value(out, "vecdb_io_writes_total", "counter", "Writes to files.", io->writes);
    put_value(out, "vecdb_io_write_bytes_total", "counter", "Bytes that they wrote.", io->write_bytes);
    put_value(out, "vecdb_io_synced_bytes_total", "counter", "Bytes written and made durable by a sync since.",
              io->synced_bytes);
    put_value(out, "vecdb_io_failures_total", "counter", "Reads, writes and syncs that failed.", io->failures);
    put_head(out, sync_name, "histogram", "Time that each sync took.");
    write_syncs("file", &io->syncs, out);
    write_syncs("directory", &io->dir_syncs, out);
}

static void write_requests(struct vdb_metrics *metrics, struct vdb_buf *out)
{
    put_head(out, "vecdb_http_requests_total", "counter", "Answered requests by route and status.");
    for (int r = 0; r < VDB_ROUTE_COUNT_ALL_ROUTES; r++) {
        for (int s = 0; s < VDB_METRICS_STATUSES; s++) {
            uint64_t count = atomic_load_explicit(&metrics->requests[r][s], memory_order_relaxed);
            if (count > 0) {
                char status[16];
                snprintf(status, sizeof status, "%u", statuses[s]);
                vdb_buf_printf(out, "vecdb_http_requests_total{method=\"%s\",route=\"%s\",status=\"%s\"} %llu\n",
                               vdb_routes_method((vdb_route)r), vdb_routes_path((vdb_route)r),
                               statuses[s] != 0 ? status : "other", (unsigned long long)count);
            }
        }
    }
}

static void write_durations(struct vdb_metrics *metrics, struct vdb_buf *out)
{
    static const char name[] = "vecdb_http_request_duration_seconds";
    put_head(out, name, "histogram", "Time from the request's first byte handled to its last byte answered.");
    for (int r = 0; r < VDB_ROUTE_COUNT_ALL_ROUTES; r++) {
        uint64_t buckets[VDB_METRICS_BUCKETS + 1];
        uint64_t total = 0;
        for (int b = 0; b <= VDB_METRICS_BUCKETS; b++) {
            buckets[b] = atomic_load_explicit(&metrics->buckets[r][b], memory_order_relaxed);
            total += buckets[b];
        }
        if (total == 0) {
            continue;
        }
        char labels[128];
        snprintf(labels, sizeof labels, "method=\"%s\",route=\"%s\"", vdb_routes_method((vdb_route)r),
                 vdb_routes_path((vdb_route)r));
        uint64_t sum = 0;
        for (int b = 0; b < VDB_METRICS_BUCKETS; b++) {
            sum += buckets[b];
            vdb_buf_printf(out, "%s_bucket{%s,le=\"%g\"} %llu\n", name, labels, bounds_seconds[b],
                           (unsigned long long)sum);
        }
        vdb_buf_printf(out, "%s_bucket{%s,le=\"+Inf\"} %llu\n", name, labels, (unsigned long long)total);
        vdb_buf_printf(out, "%s_sum{%s} %.9f\n", name, labels,
                       (double)atomic_load_explicit(&metrics->duration_ns[r], memory_order_relaxed) / 1e9);
        vdb_buf_printf(out, "%s_count{%s} %llu\n", name, labels, (unsigned long long)total);
    }
}

void vdb_metrics_write(struct vdb_metrics *metrics, const struct vdb_metrics_facts *facts, struct vdb_buf *out)
{
    const vecdb_stats *stats = facts->stats;
    put_head(out, "vecdb_build_info", "gauge", "Always 1; the labels tell version and kernels.");
    vdb_buf_printf(out, "vecdb_build_info{version=\"%s\",cpu=\"%s\"} 1\n", vecdb_version(),
                   stats->cpu != NULL ? stats->cpu : "");
    put_value(out, "vecdb_ready", "gauge", "1 while requests are served, 0 while the server closes.",
              facts->ready);
    write_database(stats, out);
    write_storage(stats, out);
    write_index(stats, out);
    write_io(facts->io, out);
    put_value(out, "vecdb_http_connections", "gauge", "Open connections.", atomic_load(&metrics->connections));
    put_value(out, "vecdb_http_requests_in_flight", "gauge", "Requests begun and not yet answered in full.",
              atomic_load(&metrics->in_flight));
    put_value(out, "vecdb_http_body_memory_bytes", "gauge", "Memory held for request bodies.",
              atomic_load(&metrics->body_memory));
    put_value(out, "vecdb_http_body_received_bytes_total", "counter", "Bytes of request bodies received.",
              atomic_load(&metrics->body_bytes));
    write_requests(metrics, out);
    write_durations(metrics, out);
    put_value(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    put_head(out, "process_start_time_seconds", "gauge", "Start of the process, in seconds since the epoch.");
    vdb_buf_printf(out, "process_start_time_seconds %.2f\n", start_time());
}
