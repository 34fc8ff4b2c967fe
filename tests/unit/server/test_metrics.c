/* test_metrics.c: the Prometheus text of counts that are known: names, types, and that a histogram is one. */
#include "support.h"

#include <stdlib.h>

#include "server/metrics.h"

static const char *const sync_lines[] = {
    "# TYPE vecdb_sync_seconds histogram",
    "vecdb_sync_seconds_bucket{target=\"file\",le=\"1e-06\"} 0",
    "vecdb_sync_seconds_bucket{target=\"file\",le=\"0.0005\"} 0",
    "vecdb_sync_seconds_bucket{target=\"file\",le=\"0.001\"} 2", /* 0.63 ms and 1 ms */
    "vecdb_sync_seconds_bucket{target=\"file\",le=\"0.002\"} 3", /* 1.25 ms */
    "vecdb_sync_seconds_bucket{target=\"file\",le=\"0.005\"} 3",
    "vecdb_sync_seconds_bucket{target=\"file\",le=\"100\"} 3",
    "vecdb_sync_seconds_bucket{target=\"file\",le=\"+Inf\"} 4",
    "vecdb_sync_seconds_sum{target=\"file\"} 150.002880000",
    "vecdb_sync_seconds_count{target=\"file\"} 4",
    "vecdb_sync_seconds_bucket{target=\"directory\",le=\"1e-06\"} 1",
    "vecdb_sync_seconds_bucket{target=\"directory\",le=\"+Inf\"} 1",
    "vecdb_sync_seconds_sum{target=\"directory\"} 0.000000500",
    "vecdb_sync_seconds_count{target=\"directory\"} 1",
};

static const char *const io_lines[] = {
    "# TYPE vecdb_io_reads_total counter",
    "vecdb_io_reads_total 1",
    "vecdb_io_read_bytes_total 2",
    "vecdb_io_writes_total 3",
    "vecdb_io_write_bytes_total 4",
    "# TYPE vecdb_io_write_bytes_total counter",
    "vecdb_io_synced_bytes_total 5",
    "vecdb_io_failures_total 6",
    "vecdb_io_mapped_reads_total 7",
    "vecdb_io_mapped_read_bytes_total 8",
    "vecdb_compaction_debt_bytes 12345",
    "# TYPE vecdb_compaction_debt_bytes gauge",
    "vecdb_space_amplification 2.000000",
    "vecdb_recovery_seconds 0.250000",
    "vecdb_log_bytes 77",
    "vecdb_index_rows 11",
    "vecdb_index_waiting_rows 12",
    "vecdb_index_memory_bytes 13",
    "vecdb_index_file_bytes 14",
    "# TYPE vecdb_index_builds_total counter",
    "vecdb_index_builds_total 15",
    "vecdb_index_build_failures_total 16",
    "vecdb_index_build_seconds_total 1.500000",
    "vecdb_shadow_queries_total 17",
    "# TYPE vecdb_shadow_recall gauge",
    "vecdb_shadow_recall 0.984375",
    "vecdb_ready 0",
};

static void count(vecdb_latency *latency, uint64_t ns)
{
    size_t i = 0;
    while (vecdb_latency_bound_ns(i) < ns) {
        i++;
    }
    latency->classes[i]++;
    latency->count++;
    latency->sum_ns += ns;
}

static void expect_line(const char *text, const char *line)
{
    char wanted[256];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    if (strstr(text, wanted) == NULL) {
        fail_msg("missing: %s", line);
    }
}

static void test_text(void **state)
{
    (void)state;
    static struct vdb_metrics metrics;
    const vecdb_stats stats = {.compaction_debt_bytes = 12345,
                               .segment_bytes = 100,
                               .segment_live_bytes = 50,
                               .recovery_ns = 250000000,
                               .log_bytes = 77,
                               .index_rows = 11,
                               .index_rows_waiting = 12,
                               .index_memory_bytes = 13,
                               .index_file_bytes = 14,
                               .index_builds = 15,
                               .index_build_failures = 16,
                               .index_build_ns = 1500000000,
                               .shadow_queries = 17,
                               .shadow_recall = 0.984375};
    static vecdb_io_stats io;
    io = (vecdb_io_stats){.reads = 1,
                          .read_bytes = 2,
                          .writes = 3,
                          .write_bytes = 4,
                          .synced_bytes = 5,
                          .failures = 6,
                          .mapped_reads = 7,
                          .mapped_read_bytes = 8};
    count(&io.syncs, 630000);
    count(&io.syncs, 1000000); /* at a bound: in that bucket */
    count(&io.syncs, 1250000);
    count(&io.syncs, UINT64_C(150000000000)); /* above all bounds */
    count(&io.dir_syncs, 500);
    const struct vdb_metrics_facts facts = {&stats, &io, false};
    struct vdb_buf out = {0};
    vdb_metrics_write(&metrics, &facts, &out);
    vdb_buf_put_u8(&out, '\0');
    assert_false(out.failed);
    const char *text = (const char *)out.data;
    for (size_t i = 0; i < sizeof sync_lines / sizeof sync_lines[0]; i++) {
        expect_line(text, sync_lines[i]);
    }
    for (size_t i = 0; i < sizeof io_lines / sizeof io_lines[0]; i++) {
        expect_line(text, io_lines[i]);
    }

    /* 1-2-5 over 8 decades, the end of the last, and +Inf; each at least as many as the one before. */
    unsigned buckets = 0;
    unsigned long long before = 0;
    for (const char *at = text; (at = strstr(at, "\nvecdb_sync_seconds_bucket{target=\"file\"")) != NULL; at++) {
        unsigned long long value = strtoull(strchr(at, '}') + 1, NULL, 10);
        assert_true(value >= before);
        before = value;
        buckets++;
    }
    assert_int_equal(buckets, 8 * 3 + 1 + 1);
    vdb_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests_name("server/metrics", tests, NULL, NULL);
}
