/* vecdb_bench.c: exact search over an array for the benchmark harness, in the three ways that VecDB has: a query
 * at a time on one core, a query at a time on all cores, and many queries as a batch. Nothing here makes the
 * search faster: it deals out work and copies row numbers.
 */
#include "vecdb_bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "distance/cpu.h"
#include "index/exact.h"
#include "index/flat.h"

enum { THREADS_MAX = 256 };

/* A search of one thread. */
struct searcher {
    const struct vecdb_bench_job *job;
    atomic_uint_fast64_t *next_query; /* dealt out one by one */
    uint32_t *ids;                    /* of all queries */
    struct vdb_candidate *memory;     /* k of them */
    vdb_status status;
    struct vdb_err err;
};

static int fail(const struct vdb_err *err, vdb_status status, struct vecdb_bench_text text)
{
    (void)snprintf(text.data, text.bytes, "%s", err->text);
    return (int)status;
}

static vdb_status check(const struct vecdb_bench_job *job, uint32_t *threads, struct vdb_err *err)
{
    VDB_TRY(vdb_cpu_check(err));
    if (job->element >= VDB_ELEMENT_COUNT || job->metric >= VDB_METRIC_COUNT) {
        return vdb_err_set(err, VDB_INVALID, "element: %u, metric: %u: unknown", job->element, job->metric);
    }
    if (job->dimension < 1 || job->dimension > VDB_LIMIT_DIMENSION_MAX || job->k < 1) {
        return vdb_err_set(err, VDB_INVALID, "dimension: %llu is not in 1..%u, or k: %llu is 0",
                           (unsigned long long)job->dimension, VDB_LIMIT_DIMENSION_MAX,
                           (unsigned long long)job->k);
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *threads = job->threads != 0 ? job->threads : cores < 1 ? 1 : (uint32_t)cores;
    if (*threads > THREADS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "threads: %u is over the limit of %d", *threads, THREADS_MAX);
    }
    return VDB_OK;
}

static size_t row_bytes(const struct vecdb_bench_job *job)
{
    return (size_t)job->dimension * vdb_element_bytes((vdb_element)job->element);
}

static void put_ids(const struct vdb_candidate *hits, size_t count, size_t k, uint32_t *ids)
{
    for (size_t i = 0; i < k; i++) {
        ids[i] = i < count ? hits[i].row : UINT32_MAX;
    }
}

/* One query by this thread alone, or by a team when there is one; its ids, best first. */
static vdb_status search_one(const struct vecdb_bench_job *job, struct vdb_flat_team *team, uint64_t query,
                             struct vdb_candidate *memory, uint32_t *ids, struct vdb_err *err)
{
    struct vdb_rows rows = vdb_rows_of_array(&job->rows, (size_t)job->row_count, (size_t)job->dimension,
                                             (vdb_element)job->element, (vdb_metric)job->metric);
    struct vdb_query one = {.vector = (const char *)job->queries + query * row_bytes(job)};
    struct vdb_topk topk;
    vdb_topk_init(&topk, memory, (size_t)job->k);
    VDB_TRY(team != NULL ? vdb_flat_team_search(team, &rows, &one, &topk, err)
                         : vdb_index_flat.search(NULL, &rows, &one, &topk, err));
    vdb_topk_finish(&topk);
    put_ids(memory, topk.count, (size_t)job->k, ids + query * job->k);
    return VDB_OK;
}

static void *search_queries(void *argument)
{
    struct searcher *searcher = argument;
    for (;;) {
        uint64_t query = atomic_fetch_add(searcher->next_query, 1);
        if (query >= searcher->job->query_count) {
            return NULL;
        }
        searcher->status = search_one(searcher->job, NULL, query, searcher->memory, searcher->ids,
                                      &searcher->err);
        if (searcher->status != VDB_OK) {
            return NULL;
        }
    }
}

/* Runs every searcher, the first on this thread; the first failure of any. */
static vdb_status run_all(struct searcher *searchers, uint32_t count, struct vdb_err *err)
{
    pthread_t ids[THREADS_MAX];
    uint32_t started = 1;
    while (started < count && pthread_create(&ids[started], NULL, search_queries, &searchers[started]) == 0) {
        started++;
    }
    (void)search_queries(&searchers[0]);
    for (uint32_t i = 1; i < started; i++) {
        (void)pthread_join(ids[i], NULL);
    }
    if (started < count) {
        return vdb_err_set(err, VDB_NO_MEMORY, "threads: number %u of %u cannot start", started + 1, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (searchers[i].status != VDB_OK) {
            *err = searchers[i].err;
            return searchers[i].status;
        }
    }
    return VDB_OK;
}

static vdb_status create_searchers(const struct vecdb_bench_job *job, uint32_t threads, struct searcher **out,
                                   struct vdb_candidate **memory, struct vdb_err *err)
{
    *out = calloc(threads, sizeof **out);
    *memory = calloc((size_t)threads * job->k, sizeof **memory);
    if (*out == NULL || *memory == NULL) {
        return vdb_err_no_memory(err, "searchers");
    }
    for (uint32_t i = 0; i < threads; i++) {
        struct searcher *searcher = &(*out)[i];
        searcher->job = job;
        searcher->memory = *memory + i * job->k;
    }
    return VDB_OK;
}

int vecdb_bench_flat(const struct vecdb_bench_job *job, uint32_t *ids, struct vecdb_bench_text text)
{
    struct vdb_err err = {0};
    struct searcher *searchers = NULL;
    struct vdb_candidate *memory = NULL;
    atomic_uint_fast64_t next_query = 0;
    uint32_t threads;
    vdb_status status;
    VDB_CHECK(check(job, &threads, &err));
    VDB_CHECK(create_searchers(job, threads, &searchers, &memory, &err));
    for (uint32_t i = 0; i < threads; i++) {
        searchers[i].next_query = &next_query;
        searchers[i].ids = ids;
    }
    VDB_CHECK(run_all(searchers, threads, &err));
cleanup:
    free(memory);
    free(searchers);
    return status == VDB_OK ? 0 : fail(&err, status, text);
}

int vecdb_bench_split(const struct vecdb_bench_job *job, uint32_t *ids, struct vecdb_bench_text text)
{
    struct vdb_err err = {0};
    struct vdb_flat_team *team = NULL;
    struct vdb_candidate *memory = NULL;
    uint32_t threads;
    vdb_status status;
    VDB_CHECK(check(job, &threads, &err));
    VDB_CHECK(vdb_flat_team_create(threads, (size_t)job->k, &team, &err));
    memory = calloc((size_t)job->k, sizeof *memory);
    if (memory == NULL) {
        status = vdb_err_no_memory(&err, "hits");
        goto cleanup;
    }
    for (uint64_t query = 0; query < job->query_count; query++) {
        VDB_CHECK(search_one(job, team, query, memory, ids, &err));
    }
cleanup:
    free(memory);
    vdb_flat_team_destroy(team);
    return status == VDB_OK ? 0 : fail(&err, status, text);
}

int vecdb_bench_exact(const struct vecdb_bench_job *job, uint32_t *ids, struct vecdb_bench_text text)
{
    struct vdb_err err = {0};
    struct vdb_exact *exact = NULL;
    uint32_t threads;
    vdb_status status;
    VDB_CHECK(check(job, &threads, &err));
    const struct vdb_exact_options options = {.k = (size_t)job->k, .threads = threads};
    VDB_CHECK(vdb_exact_create(job->queries, row_bytes(job), (size_t)job->query_count, (size_t)job->dimension,
                               (vdb_element)job->element, (vdb_metric)job->metric, &options, &exact, &err));
    VDB_CHECK(vdb_exact_feed(exact, job->rows, row_bytes(job), (size_t)job->row_count, 0, &err));
    VDB_CHECK(vdb_exact_finish(exact, &err));
    struct vdb_exact_stats stats;
    vdb_exact_get_stats(exact, &stats);
    (void)snprintf(text.data, text.bytes, "%s, %s, %.1f re-ranked per query", stats.plan, stats.kernel,
                   stats.rerank_per_query);
    for (size_t query = 0; query < job->query_count; query++) {
        put_ids(vdb_exact_hits(exact, query), vdb_exact_count(exact, query), (size_t)job->k,
                ids + query * job->k);
    }
cleanup:
    vdb_exact_destroy(exact);
    return status == VDB_OK ? 0 : fail(&err, status, text);
}

void vecdb_bench_describe(struct vecdb_bench_text out)
{
    (void)snprintf(out.data, out.bytes, "kernels %s", vdb_cpu_level_name(vdb_kernels_get()->level));
}
