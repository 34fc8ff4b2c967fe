/* storage_search.c: `vecdb storage search`: queries of a file in a collection, and how right the answers are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/timer.h"
#include "cli.h"
#include "data/vectors.h"
#include "storage.h"

enum { K_DEFAULT = 10, NAME_BYTES = 2 * VDB_LIMIT_NAME_BYTES_MAX + 2 };

static size_t describe_search(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    options->k = K_DEFAULT;
    table[i++] = (struct vdb_args_option){.name = "--query",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->query,
                                          .value_name = "FILE",
                                          .help = "vectors to search with (.npy, .fvecs, .bvecs, .hdf5)",
                                          .required = true};
    table[i++] = (struct vdb_args_option){.name = "--k",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->k,
                                          .value_name = "N",
                                          .help = "how many nearest, 1 to 16,384 (default 10)",
                                          .min = 1,
                                          .max = VDB_LIMIT_K_MAX};
    table[i++] = (struct vdb_args_option){.name = "--count",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->count,
                                          .value_name = "N",
                                          .help = "only the first queries of the file",
                                          .min = 1,
                                          .max = VDB_LIMIT_COLLECTION_POINTS_MAX,
                                          .given = &options->count_given};
    table[i++] = (struct vdb_args_option){.name = "--ef",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->ef,
                                          .value_name = "N",
                                          .help = "width of the search, 1 to 65,536",
                                          .min = 1,
                                          .max = 65536};
    table[i++] = (struct vdb_args_option){.name = "--target-recall",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->target_recall,
                                          .value_name = "R",
                                          .help = "or the recall to reach, between 0 and 1"};
    table[i++] = (struct vdb_args_option){
        .name = "--exact", .kind = VDB_ARGS_FLAG, .out = &options->exact, .help = "measure every row"};
    table[i++] = (struct vdb_args_option){.name = "--filter",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->filter,
                                          .value_name = "JSON",
                                          .help = "only points whose metadata matches"};
    table[i++] = (struct vdb_args_option){.name = "--at",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->at,
                                          .value_name = "SNAPSHOT",
                                          .help = "as of a snapshot"};
    table[i++] = (struct vdb_args_option){.name = "--check",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->check,
                                          .help = "search exactly, too, and tell the recall"};
    return i;
}

struct run {
    const struct vdb_storage_options *options;
    vecdb *db;
    vecdb_collection_info info;
    char name[NAME_BYTES]; /* of the collection, or of its snapshot */
    struct vdb_vectors queries;
    size_t count;
    vecdb_search_request request;
    vecdb_explain explain; /* of the last */
    uint64_t search_ns;
    uint64_t exact_ns;
    uint64_t found; /* of `wanted`: hits as near as the exact answer's last */
    uint64_t wanted;
    struct vdb_buf lists; /* what is printed of the hits */
    struct vdb_table table;
};

static vdb_status load(struct run *run, struct vdb_err *err)
{
    const struct vdb_storage_options *options = run->options;
    VDB_TRY(vdb_vectors_load(vdb_env_posix(), options->query, &run->queries, err));
    VDB_TRY(vdb_vectors_to_f32(&run->queries, err));
    VDB_TRY(vdb_vectors_check_finite(&run->queries, err));
    run->count = run->queries.count;
    if (run->count == 0) {
        return vdb_err_set(err, VDB_INVALID, "--query: %.200s has no vectors", options->query);
    }
    if (options->count_given && options->count > run->count) {
        return vdb_err_set(err, VDB_INVALID, "--count is %" PRIu64 ", %.200s has %zu vectors", options->count,
                           options->query, run->count);
    }
    run->count = options->count_given ? options->count : run->count;
    if (run->queries.dimension != run->info.dimension) {
        return vdb_err_set(err, VDB_INVALID, "--query: %.200s has dimension %zu, the collection \"%s\" has %u",
                           options->query, run->queries.dimension, run->info.name, run->info.dimension);
    }
    return VDB_OK;
}

static vdb_status prepare(struct run *run, struct vdb_err *err)
{
    const struct vdb_storage_options *options = run->options;
    vecdb_error error;
    if (options->ef > 0 && options->target_recall != NULL) {
        return vdb_err_set(err, VDB_INVALID, "--ef and --target-recall exclude each other");
    }
    run->request = (vecdb_search_request){.k = (uint32_t)options->k,
                                          .filter = options->filter,
                                          .filter_bytes = options->filter != NULL ? strlen(options->filter) : 0,
                                          .without_metadata = 1,
                                          .ef = (uint32_t)options->ef,
                                          .exact = options->exact};
    if (options->target_recall != NULL) {
        VDB_TRY(vdb_storage_index_parse_recall("--target-recall", options->target_recall,
                                               &run->request.target_recall, err));
    }
    VDB_TRY(vdb_storage_open_collection(options, &run->db, &run->info, err));
    VDB_TRY(load(run, err));
    run->request.dimension = run->info.dimension;
    snprintf(run->name, sizeof run->name, "%s%s%s", run->info.name, options->at != NULL ? "@" : "",
             options->at != NULL ? options->at : "");
    if (options->exact) {
        return VDB_OK;
    }
    const vecdb_build_options how = {0}; /* reads what is on disk; what is missing is built */
    return vdb_storage_outcome(vecdb_build_index(run->db, run->info.name, &how, &error), &error, err);
}

static const char *id_text(char text[VDB_TABLE_CELL_BYTES], const vecdb_id *id)
{
    if (id->text != NULL) {
        snprintf(text, VDB_TABLE_CELL_BYTES, "%.*s", (int)id->text_bytes, id->text);
    } else {
        snprintf(text, VDB_TABLE_CELL_BYTES, "%" PRIu64, id->number);
    }
    return text;
}

static void keep_json(struct run *run, size_t query, const vecdb_result *result)
{
    const vecdb_hit *hits = vecdb_result_hits(result);
    vdb_buf_put_text(&run->lists, query > 0 ? ",[" : "[");
    for (size_t i = 0; i < vecdb_result_count(result); i++) {
        vdb_buf_put_text(&run->lists, i > 0 ? ",{\"id\":" : "{\"id\":");
        if (hits[i].id.text != NULL) {
            vdb_json_put_string(&run->lists, (struct vdb_str){hits[i].id.text, hits[i].id.text_bytes});
        } else {
            vdb_buf_printf(&run->lists, "%" PRIu64, hits[i].id.number);
        }
        vdb_buf_put_text(&run->lists, ",\"score\":");
        vdb_json_put_double(&run->lists, hits[i].score);
        vdb_buf_put_u8(&run->lists, '}');
    }
    vdb_buf_put_u8(&run->lists, ']');
}

static void keep_rows(struct run *run, size_t query, const vecdb_result *result)
{
    const vecdb_hit *hits = vecdb_result_hits(result);
    char cell[VDB_TABLE_CELL_BYTES];
    char number[VDB_TABLE_TEXT_BYTES];
    for (size_t i = 0; i < vecdb_result_count(result); i++) {
        vdb_table_put(&run->table, i == 0 ? vdb_table_count(number, query) : "");
        vdb_table_put(&run->table, vdb_table_count(number, i + 1));
        vdb_table_put(&run->table, id_text(cell, &hits[i].id));
        snprintf(cell, sizeof cell, "%.6g", hits[i].score);
        vdb_table_put(&run->table, cell);
    }
}

/* Counts the hits that are as near as the last of the exact answer: among equal ones any is right. */
static vdb_status compare(struct run *run, const vecdb_result *result, struct vdb_err *err)
{
    vecdb_search_request request = run->request;
    vecdb_result *exact;
    vecdb_error error;
    request.ef = 0;
    request.target_recall = 0;
    request.exact = 1;
    uint64_t started = vdb_now_ns();
    VDB_TRY(vdb_storage_outcome(vecdb_search(run->db, run->name, &request, &exact, &error), &error, err));
    run->exact_ns += vdb_now_ns() - started;
    size_t count = vecdb_result_count(exact);
    const vecdb_hit *hits = vecdb_result_hits(result);
    double last = count > 0 ? vecdb_result_hits(exact)[count - 1].score : 0;
    for (size_t i = 0; i < vecdb_result_count(result) && i < count; i++) {
        run->found += run->info.metric == VECDB_DOT ? hits[i].score >= last : hits[i].score <= last;
    }
    run->wanted += count;
    vecdb_result_free(exact);
    return VDB_OK;
}

static vdb_status search_one(struct run *run, size_t query, struct vdb_err *err)
{
    vecdb_result *result;
    vecdb_error error;
    vdb_status status = VDB_OK;
    run->request.vector = vdb_vectors_row(&run->queries, query);
    uint64_t started = vdb_now_ns();
    VDB_TRY(vdb_storage_outcome(vecdb_search(run->db, run->name, &run->request, &result, &error), &error, err));
    run->search_ns += vdb_now_ns() - started;
    run->explain = *vecdb_result_explain(result);
    if (run->options->json) {
        keep_json(run, query, result);
    } else {
        keep_rows(run, query, result);
    }
    if (run->options->check) {
        status = compare(run, result, err);
    }
    vecdb_result_free(result);
    return status;
}

static double recall_of(const struct run *run)
{
    return run->wanted > 0 ? (double)run->found / (double)run->wanted : 1.0;
}

static void report(struct run *run, struct vdb_buf *out)
{
    const vecdb_explain *explain = &run->explain;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    double queries = (double)run->count;
    vdb_buf_printf(out, "Searched \"%s\" in %s\n\n", run->name, run->options->path);
    vdb_table_print(&run->table, 2, out);
    vdb_buf_put_text(out, "\n");
    vdb_storage_line(out, "plan", "%s", explain->plan);
    if (explain->ef > 0) {
        vdb_storage_line(out, "width (ef)", "%s", vdb_table_count(a, explain->ef));
    }
    vdb_storage_line(out, "rows", "%s (%s in graphs)", vdb_table_count(a, explain->rows),
                     vdb_table_count(b, explain->rows_indexed));
    vdb_storage_line(out, "distances", "%s for the last query", vdb_table_count(a, explain->distances_computed));
    vdb_storage_line(out, "time for a query", "%s",
                     vdb_table_duration(a, (double)run->search_ns * 1e-9 / queries));
    if (run->options->check) {
        vdb_storage_line(out, "recall", "%.4f (%s of %s)", recall_of(run), vdb_table_count(a, run->found),
                         vdb_table_count(b, run->wanted));
        vdb_storage_line(out, "time exactly", "%s",
                         vdb_table_duration(a, (double)run->exact_ns * 1e-9 / queries));
    }
}

static void report_json(struct run *run, struct vdb_buf *out)
{
    const vecdb_explain *explain = &run->explain;
    double queries = (double)run->count;
    vdb_buf_put_text(out, "{\"collection\":");
    vdb_json_put_string(out, vdb_str_of(run->name));
    vdb_buf_printf(out, ",\"k\":%" PRIu64 ",\"queries\":%zu,\"plan\":", run->options->k, run->count);
    vdb_json_put_string(out, vdb_str_of(explain->plan));
    vdb_buf_printf(out, ",\"ef\":%" PRIu32 ",\"rows\":%" PRIu64 ",\"rows_indexed\":%" PRIu64, explain->ef,
                   explain->rows, explain->rows_indexed);
    vdb_buf_printf(out, ",\"query_seconds\":%.9f", (double)run->search_ns * 1e-9 / queries);
    if (run->options->check) {
        vdb_buf_printf(out, ",\"recall\":%.6f,\"exact_query_seconds\":%.9f", recall_of(run),
                       (double)run->exact_ns * 1e-9 / queries);
    }
    vdb_buf_put_text(out, ",\"results\":[");
    vdb_buf_put(out, run->lists.data, run->lists.bytes);
    vdb_buf_put_text(out, "]}\n");
}

static vdb_status run_search(const struct vdb_storage_options *options, struct vdb_err *err)
{
    static const struct vdb_table_column columns[] = {
        {"query", true}, {"rank", true}, {"id", true}, {"score", true}};
    struct run run = {.options = options};
    struct vdb_buf out = {0};
    vdb_status status;
    vdb_table_init(&run.table, columns, sizeof columns / sizeof columns[0]);
    VDB_CHECK(prepare(&run, err));
    for (size_t i = 0; i < run.count; i++) {
        VDB_CHECK(search_one(&run, i, err));
    }
    if (run.lists.failed) {
        status = vdb_err_no_memory(err, "the answers");
        goto cleanup;
    }
    if (options->json) {
        report_json(&run, &out);
    } else {
        report(&run, &out);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vdb_buf_fini(&run.lists);
    vdb_table_fini(&run.table);
    vdb_vectors_fini(&run.queries);
    vecdb_close(run.db);
    return status;
}

const struct vdb_storage_verb vdb_storage_search_search = {
    .name = "search",
    .summary = "Search a collection with the vectors of a file",
    .about =
        "As a server would answer, after reading the graphs from disk and building those that are missing. With\n"
        "--check every query is also searched exactly: recall is the share of the answers that are as near as "
        "the\n"
        "exact ones. Widths and times are told for choosing --ef or --target-recall. A snapshot is searched row "
        "by\n"
        "row, which a server does only until it has read the snapshot's graphs.\n",
    .examples = "  vecdb storage search --path ./data --query q.npy --k 5\n"
                "  vecdb storage search --path ./data --query q.npy --target-recall 0.95 --check\n"
                "  vecdb storage search --path ./data --query q.npy --exact --at before\n",
    .describe = describe_search,
    .run = run_search,
};
