/* vecdb_bench_graph.h: VecDB's graphs for the benchmark harness, through ctypes: built once over an array, then asked
 * in batches. Part of the library of vecdb_bench.h, whose words on results and texts hold here, too.
 *
 * The rows of the job that built or loaded a graph must stay where they are as long as it lives.
 *
 * Threads: a graph is confined: one call at a time.
 */
#ifndef VECDB_BENCH_GRAPH_H
#define VECDB_BENCH_GRAPH_H

#include "vecdb_bench.h"

struct vecdb_bench_graph;

enum vecdb_bench_kind { VECDB_BENCH_HNSW = 0, VECDB_BENCH_QGRAPH = 1 };

/* All zero but kind: the kind's own defaults. */
struct vecdb_bench_graph_options {
    uint32_t kind;            /* enum vecdb_bench_kind */
    uint32_t m;               /* hnsw */
    uint32_t ef_construction; /* both */
    uint32_t inside;          /* hnsw over f32: vdb_element of the copies inside */
    uint32_t compact;         /* qgraph: without the neighbours' codes in each block */
};

struct vecdb_bench_graph_stats {
    uint64_t index_bytes;  /* without the rows that were handed in */
    uint64_t vector_bytes; /* of those: copies of vectors */
    uint32_t code_bits;    /* qgraph: of a neighbour's code */
};

/* Builds over all rows with job->threads threads. The job's queries, query_count and k are not read. */
VECDB_BENCH_API int vecdb_bench_graph_build(const struct vecdb_bench_job *job,
                                            const struct vecdb_bench_graph_options *options,
                                            struct vecdb_bench_graph **out, struct vecdb_bench_text text);
VECDB_BENCH_API void vecdb_bench_graph_destroy(struct vecdb_bench_graph *graph); /* NULL is allowed */

/* All queries of the job, dealt out over job->threads threads, which are kept for the next batch of as many: some at
 * a time, of which the index may answer several together, or one by one. The job's rows are not read: they are those
 * of the graph. */
VECDB_BENCH_API int vecdb_bench_graph_search(struct vecdb_bench_graph *graph, const struct vecdb_bench_job *job,
                                             uint64_t ef, uint32_t one_by_one, uint32_t *ids,
                                             struct vecdb_bench_text text);

VECDB_BENCH_API void vecdb_bench_graph_get_stats(const struct vecdb_bench_graph *graph,
                                                 struct vecdb_bench_graph_stats *out);

VECDB_BENCH_API int vecdb_bench_graph_save(struct vecdb_bench_graph *graph, const char *path,
                                           struct vecdb_bench_text text);
/* path holds what save wrote of a graph of that kind over the same rows. */
VECDB_BENCH_API int vecdb_bench_graph_load(const struct vecdb_bench_job *job,
                                           const struct vecdb_bench_graph_options *options, const char *path,
                                           struct vecdb_bench_graph **out, struct vecdb_bench_text text);

#endif
