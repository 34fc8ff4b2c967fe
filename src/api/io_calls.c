/* io_calls.c: the part of vecdb.h about what the process does with files: counts and times, as the env keeps them. */
#include <assert.h>
#include <string.h>

#include "database_handle.h"
#include "env/env.h"

/* A public latency is an inner reading under another name. */
_Static_assert((int)VECDB_LATENCY_CLASSES == (int)VDB_HISTOGRAM_BUCKETS, "as many classes");
_Static_assert(sizeof(vecdb_latency) == sizeof(struct vdb_histogram_reading) &&
                   offsetof(vecdb_latency, count) == offsetof(struct vdb_histogram_reading, count) &&
                   offsetof(vecdb_latency, sum_ns) == offsetof(struct vdb_histogram_reading, sum_ns) &&
                   offsetof(vecdb_latency, max_ns) == offsetof(struct vdb_histogram_reading, max_ns) &&
                   offsetof(vecdb_latency, classes) == offsetof(struct vdb_histogram_reading, buckets),
               "laid out alike");

static struct vdb_histogram_reading reading_of(const vecdb_latency *latency)
{
    struct vdb_histogram_reading reading;
    memcpy(&reading, latency, sizeof reading);
    return reading;
}

static void subtract(vecdb_latency *from, const vecdb_latency *earlier)
{
    struct vdb_histogram_reading now = reading_of(from);
    struct vdb_histogram_reading then = reading_of(earlier);
    vdb_histogram_subtract(&now, &then);
    memcpy(from, &now, sizeof *from);
}

uint64_t vecdb_latency_bound_ns(size_t i)
{
    return vdb_histogram_bound(i);
}

uint64_t vecdb_latency_quantile_ns(const vecdb_latency *latency, double share)
{
    struct vdb_histogram_reading reading = reading_of(latency);
    return vdb_histogram_quantile(&reading, share);
}

void vecdb_get_io_stats(vecdb_io_stats *out)
{
    struct vdb_env_io_stats io;
    vdb_env_get_io(vdb_env_posix(), &io);
    *out = (vecdb_io_stats){
        .reads = io.reads,
        .read_bytes = io.read_bytes,
        .writes = io.writes,
        .write_bytes = io.write_bytes,
        .synced_bytes = io.synced_bytes,
        .failures = io.failures,
        .mapped_reads = io.touches,
        .mapped_read_bytes = io.touched_bytes,
    };
    memcpy(&out->syncs, &io.syncs, sizeof out->syncs);
    memcpy(&out->dir_syncs, &io.dir_syncs, sizeof out->dir_syncs);
}

void vecdb_io_stats_since(vecdb_io_stats *stats, const vecdb_io_stats *before)
{
    stats->reads -= before->reads;
    stats->read_bytes -= before->read_bytes;
    stats->writes -= before->writes;
    stats->write_bytes -= before->write_bytes;
    stats->synced_bytes -= before->synced_bytes;
    stats->failures -= before->failures;
    stats->mapped_reads -= before->mapped_reads;
    stats->mapped_read_bytes -= before->mapped_read_bytes;
    subtract(&stats->syncs, &before->syncs);
    subtract(&stats->dir_syncs, &before->dir_syncs);
}
