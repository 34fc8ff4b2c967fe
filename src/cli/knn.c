/* knn.c: `vecdb knn`: exact search over a file of vectors. Parts: see knn.h. */
#include "knn.h"

#include "args.h"
#include "base/limits.h"
#include "cli.h"
#include "distance/cpu.h"

#include <string.h>

enum { OPTION_COUNT = 13, K_DEFAULT = 10, THREADS_MAX = 1024 };

static const char *const metric_names[] = {"l2", "cosine", "dot", "l1", "hamming", "jaccard", NULL};
_Static_assert(VDB_METRIC_L2 == 0 && VDB_METRIC_COSINE == 1 && VDB_METRIC_DOT == 2 && VDB_METRIC_L1 == 3 &&
                   VDB_METRIC_HAMMING == 4 && VDB_METRIC_JACCARD == 5 && VDB_METRIC_COUNT == 6,
               "metric_names is in the order of vdb_metric");

static void describe(struct vdb_knn_options *options, struct vdb_args_option out[OPTION_COUNT])
{
    const struct vdb_args_option all[OPTION_COUNT] = {
        {"--dataset", VDB_ARGS_TEXT, &options->dataset_path, "FILE",
         .help = "vectors to search in (.npy, .fvecs, .bvecs, .hdf5)", .required = true},
        {"--query", VDB_ARGS_TEXT, &options->query_path, "FILE",
         .help = "vectors to search for, one search after the other"},
        {"--queries", VDB_ARGS_TEXT, &options->queries_path, "FILE",
         .help = "vectors to search for, all at once on all cores"},
        {"--k", VDB_ARGS_NUMBER, &options->k, "NUMBER",
         .help = "how many nearest vectors, 1 to 16,384 (default 10)", .min = 1, .max = VDB_LIMIT_K_MAX,
         .given = &options->k_given},
        {"--range", VDB_ARGS_TEXT, &options->range_text, "DISTANCE",
         .help = "instead of the k nearest: all within this distance"},
        {"--metric", VDB_ARGS_CHOICE, &options->metric, "METRIC",
         .help = "l2 (default), cosine, dot, l1, hamming or jaccard", .choices = metric_names,
         .given = &options->metric_given},
        {"--bits", VDB_ARGS_NUMBER, &options->bits, "NUMBER",
         .help = "u8 rows are vectors of this many packed bits", .min = 1, .max = VDB_LIMIT_DIMENSION_MAX,
         .given = &options->bits_given},
        {"--row", VDB_ARGS_NUMBER, &options->row, "NUMBER",
         .help = "only this row of the query file, counted from 0 (default: all)",
         .max = VDB_LIMIT_COLLECTION_POINTS_MAX - 1, .given = &options->row_given},
        {"--threads", VDB_ARGS_NUMBER, &options->threads, "NUMBER",
         .help = "how many threads, 1 to 1,024 (default: one per core; --query: 1)", .min = 1, .max = THREADS_MAX,
         .given = &options->threads_given},
        {"--memory-limit", VDB_ARGS_TEXT, &options->memory_text, "BYTES",
         .help = "read the dataset in blocks to stay below this (512M, 4G)"},
        {"--out", VDB_ARGS_TEXT, &options->out_path, "FILE",
         .help = "write the answers to gt.npy (and gt_dist.npy) or gt.hdf5"},
        {"--json", VDB_ARGS_FLAG, &options->json, NULL, .help = "print one JSON object instead of tables"},
        {"--no-naive", VDB_ARGS_FLAG, &options->no_naive, NULL,
         .help = "leave out the naive loop that is timed and compared"},
    };
    memcpy(out, all, sizeof all);
}

static vdb_status run(int argc, char *const *argv, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_knn_options options = {.k = K_DEFAULT, .metric = VDB_METRIC_L2};
    struct vdb_knn_input input = {0};
    struct vdb_knn_results results = {0};
    struct vdb_knn_performance performance;
    struct vdb_args_option table[OPTION_COUNT];
    describe(&options, table);
    VDB_CHECK(vdb_args_parse(table, OPTION_COUNT, argc, argv, err));
    VDB_CHECK(vdb_cpu_check(err));
    VDB_CHECK(vdb_knn_options_resolve(&options, err));
    VDB_CHECK(vdb_knn_input_load(vdb_env_posix(), &options, &input, err));
    VDB_CHECK(options.batch ? vdb_knn_batch(&options, &input, &results, &performance, err)
                            : vdb_knn_run(&options, &input, &results, &performance, err));
    VDB_CHECK(vdb_knn_report(&options, &input, &results, &performance, err));

cleanup:
    vdb_knn_results_fini(&results);
    vdb_knn_input_fini(&input);
    return status;
}

static void help(struct vdb_buf *out)
{
    struct vdb_knn_options options;
    struct vdb_args_option table[OPTION_COUNT];
    describe(&options, table);
    vdb_buf_put_text(
        out,
        "vecdb knn: find the exact nearest vectors of a file\n"
        "\n"
        "Usage: vecdb knn --dataset FILE [--query FILE | --queries FILE] [--k NUMBER | --range DISTANCE]\n"
        "                 [--metric METRIC] [--bits NUMBER] [--row NUMBER] [--threads NUMBER]\n"
        "                 [--memory-limit BYTES] [--out FILE] [--json] [--no-naive]\n"
        "\n"
        "Compares each query with every vector of the dataset and prints the k nearest, nearest first, equal\n"
        "distances by id. An id is the row number in the dataset file, counted from 0.\n"
        "\n"
        "Options:\n");
    vdb_args_help(table, OPTION_COUNT, out);
    vdb_buf_put_text(
        out,
        "\n"
        "Metrics:\n"
        "  l2      Euclidean distance, lower is nearer\n"
        "  cosine  1 - cosine of the angle, lower is nearer; vectors of zeros only are refused\n"
        "  dot     inner product, HIGHER is nearer\n"
        "  l1      sum of absolute differences, lower is nearer\n"
        "  hamming, jaccard   of packed bits: how many differ; 1 - common / all that are set\n"
        "\n"
        "Files: .npy (f32, f16, u8, i8; one vector or rows of vectors), .fvecs (f32), .bvecs (u8). u8 and i8 "
        "are\n"
        "computed in integers, exactly; f16 is computed in f32, and so are integers compared with floats.\n"
        "HDF5 files as of ann-benchmarks bring vectors (train), queries (test) and their metric; F.hdf5:NAME is\n"
        "another data set of F.hdf5. f64 is rounded to f32, bool is bits. Distances in a gt.hdf5 are those of\n"
        "ann-benchmarks: for hamming the share of the bits that differ, for ip the product negated.\n"
        "\n"
        "--query searches for one vector after the other, on one thread or, with --threads, each on several;\n"
        "--queries, --range, --out and --memory-limit answer all queries in one batch, on all cores. The order "
        "is\n"
        "that of distances in double precision, whatever the number of threads or blocks.\n"
        "\n"
        "--memory-limit counts the program, the queries, their answers, a block of the dataset, and the process\n"
        "that unpacks an HDF5 file; a limit too small for that is refused with the smallest that works. The\n"
        "answers of --range, of which nobody knows the number, come on top.\n"
        "\n"
        "The naive loop is the plain way: every value in double precision, one after the other, then a full "
        "sort.\n"
        "It answers up to 10 of the queries, as a measure of the speed and a check of the answers.\n"
        "\n"
        "Examples:\n"
        "  vecdb knn --dataset base.npy --query queries.npy --row 0\n"
        "  vecdb knn --dataset base.fvecs --query queries.fvecs --k 100 --metric cosine --json > answers.json\n"
        "  vecdb knn --dataset base.npy --queries queries.npy --k 100 --out gt.npy\n"
        "  vecdb knn --dataset glove-100-angular.hdf5 --memory-limit 2G --out gt.hdf5\n");
}

const struct vdb_cli_command vdb_knn_command = {"knn", "Find the exact nearest vectors of a file", run, help};
