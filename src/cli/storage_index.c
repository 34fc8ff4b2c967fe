/* storage_index.c: `vecdb storage index`, and the options of an index that other verbs take. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/progress.h"
#include "base/timer.h"
#include "cli.h"
#include "storage.h"

static const char *const kinds[] = {"flat", "hnsw", "qgraph", NULL};

/* ---- Options ---- */

size_t vdb_storage_index_describe_type(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    table[0] = (struct vdb_args_option){.name = "--index",
                                        .kind = VDB_ARGS_CHOICE,
                                        .out = &options->index.type,
                                        .value_name = "TYPE",
                                        .help = "qgraph (default, l1: hnsw), hnsw, or flat, which is exact",
                                        .choices = kinds,
                                        .given = &options->index.type_given};
    return 1;
}

static struct vdb_args_option number(const char *name, uint64_t *out, uint64_t min, uint64_t max,
                                     const char *help)
{
    return (struct vdb_args_option){.name = name,
                                    .kind = VDB_ARGS_NUMBER,
                                    .out = out,
                                    .value_name = "N",
                                    .help = help,
                                    .min = min,
                                    .max = max};
}

size_t vdb_storage_index_describe(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    struct vdb_storage_index_options *index = &options->index;
    size_t i = vdb_storage_index_describe_type(options, table);
    table[i++] = number("--m", &index->m, 4, 256, "links of a node of an HNSW, 4 to 256 (default 16)");
    table[i++] = number("--ef-construction", &index->ef_construction, 1, 65536,
                        "width of the searches of building (hnsw: default 200)");
    table[i++] = number("--code-bits", &index->code_bits, 64, 1024,
                        "qgraph: bits of a code, a multiple of 64 (default: by variance)");
    table[i++] = (struct vdb_args_option){.name = "--compact",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &index->compact,
                                          .help = "qgraph: without codes; a third of the memory, slower"};
    table[i++] = number("--scan-below", &index->scan_below, 1, VDB_LIMIT_COLLECTION_POINTS_MAX,
                        "memory and segments of fewer rows are scanned (default 4,096)");
    table[i++] = number("--ef-search", &index->ef_search, 1, 65536, "width of a search that does not say");
    table[i++] = (struct vdb_args_option){.name = "--target-recall",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &index->target_recall,
                                          .value_name = "R",
                                          .help = "its recall instead, between 0 and 1 (default 0.98)"};
    return i;
}

vdb_status vdb_storage_index_parse_recall(const char *option, const char *text, double *out, struct vdb_err *err)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (*end != '\0' || !(value > 0 && value < 1)) {
        return vdb_err_set(err, VDB_INVALID, "%s is \"%.60s\"; a number over 0 and under 1 is needed (0.95)",
                           option, text);
    }
    *out = value;
    return VDB_OK;
}

/* Puts what was given in place of what is there. */
static vdb_status override(const struct vdb_storage_index_options *given, vecdb_index_config *config,
                           struct vdb_err *err)
{
    const struct {
        uint64_t given;
        uint32_t *to;
    } numbers[] = {{given->m, &config->m},
                   {given->ef_construction, &config->ef_construction},
                   {given->ef_search, &config->ef_search},
                   {given->code_bits, &config->code_bits},
                   {given->scan_below, &config->scan_below}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].given != 0) {
            *numbers[i].to = (uint32_t)numbers[i].given;
        }
    }
    if (given->type_given) {
        config->type = kinds[given->type];
    }
    if (given->compact) {
        config->compact = 1;
    }
    return given->target_recall == NULL ? VDB_OK
                                        : vdb_storage_index_parse_recall("--target-recall", given->target_recall,
                                                                         &config->target_recall, err);
}

vdb_status vdb_storage_index_config(const struct vdb_storage_options *options, vecdb_index_config *out,
                                    struct vdb_err *err)
{
    *out = (vecdb_index_config){0};
    return override(&options->index, out, err);
}

/* ---- What is there ---- */

static void put_settings(const vecdb_collection_info *info, struct vdb_buf *out)
{
    struct vdb_buf text = {0};
    const struct {
        const char *name;
        uint32_t value;
    } settings[] = {{"m", info->index_m},
                    {"ef_construction", info->index_ef_construction},
                    {"code_bits", info->index_code_bits},
                    {"scan_below", info->index_scan_below},
                    {"ef_search", info->index_ef_search}};
    vdb_buf_put_text(&text, info->index);
    if (info->index_compact != 0) {
        vdb_buf_put_text(&text, ", compact");
    }
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (settings[i].value != 0) {
            vdb_buf_printf(&text, ", %s %" PRIu32, settings[i].name, settings[i].value);
        }
    }
    if (info->index_target_recall > 0) {
        vdb_buf_printf(&text, ", target_recall %g", info->index_target_recall);
    }
    vdb_buf_put_u8(&text, '\0');
    vdb_storage_line(out, "index", "%s", text.failed ? info->index : (const char *)text.data);
    vdb_buf_fini(&text);
}

void vdb_storage_index_put(const vecdb_collection_info *info, struct vdb_buf *out)
{
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    put_settings(info, out);
    if (strcmp(info->index, "flat") == 0) {
        return;
    }
    vdb_storage_line(out, "rows in graphs", "%s (%s neither read from disk nor built yet)",
                     vdb_table_count(a, info->index_rows), vdb_table_count(b, info->index_rows_waiting));
    vdb_storage_line(out, "graphs", "%s in memory, %s on disk", vdb_storage_bytes(a, info->index_memory_bytes),
                     vdb_storage_bytes(b, info->index_file_bytes));
    if (info->index_ef_default > 0) {
        vdb_storage_line(out, "width of a search", "%s unless it says",
                         vdb_table_count(a, info->index_ef_default));
    }
}

static void put_setting_json(struct vdb_buf *out, const char *name, uint32_t value)
{
    if (value != 0) {
        vdb_buf_printf(out, ",\"%s\":%" PRIu32, name, value);
    }
}

void vdb_storage_index_put_json(const vecdb_collection_info *info, struct vdb_buf *out)
{
    vdb_buf_put_text(out, "\"index_config\":{\"type\":");
    vdb_json_put_string(out, vdb_str_of(info->index));
    put_setting_json(out, "m", info->index_m);
    put_setting_json(out, "ef_construction", info->index_ef_construction);
    put_setting_json(out, "code_bits", info->index_code_bits);
    if (info->index_compact != 0) {
        vdb_buf_put_text(out, ",\"compact\":true");
    }
    put_setting_json(out, "scan_below", info->index_scan_below);
    put_setting_json(out, "ef_search", info->index_ef_search);
    if (info->index_target_recall > 0) {
        vdb_buf_put_text(out, ",\"target_recall\":");
        vdb_json_put_double(out, info->index_target_recall);
    }
    vdb_buf_printf(out,
                   "},\"index_status\":{\"rows\":%" PRIu64 ",\"rows_waiting\":%" PRIu64
                   ",\"memory_bytes\":%" PRIu64 ",\"file_bytes\":%" PRIu64 ",\"ef_default\":%" PRIu32,
                   info->index_rows, info->index_rows_waiting, info->index_memory_bytes, info->index_file_bytes,
                   info->index_ef_default);
    vdb_buf_printf(
        out,
        ",\"builds\":%" PRIu64 ",\"loads\":%" PRIu64 ",\"build_failures\":%" PRIu64 ",\"build_seconds\":%.6f}",
        info->index_builds, info->index_loads, info->index_build_failures, (double)info->index_build_ns * 1e-9);
}

/* ---- index ---- */

static size_t describe_index(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    size_t i = vdb_storage_index_describe(options, table);
    table[i++] = (struct vdb_args_option){.name = "--no-compact",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->index.not_compact,
                                          .help = "qgraph: with codes again"};
    table[i++] = (struct vdb_args_option){.name = "--build",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->build,
                                          .help = "build all graphs that are due, and wait for them"};
    table[i++] = number("--threads", &options->threads, 1, 1024, "for --build (default: one for each core)");
    return i;
}

/* The present settings with those that were given in place of theirs; of another type, those alone. */
static vdb_status change(const struct vdb_storage_options *options, vecdb *db, const vecdb_collection_info *info,
                         struct vdb_err *err)
{
    const struct vdb_storage_index_options *given = &options->index;
    vecdb_error error;
    vecdb_index_config config = {.type = info->index};
    if (!given->type_given || strcmp(kinds[given->type], info->index) == 0) {
        config.m = info->index_m;
        config.ef_construction = info->index_ef_construction;
        config.ef_search = info->index_ef_search;
        config.code_bits = info->index_code_bits;
        config.compact = info->index_compact;
        config.scan_below = info->index_scan_below;
        config.target_recall = info->index_target_recall;
    }
    if (given->compact && given->not_compact) {
        return vdb_err_set(err, VDB_INVALID, "--compact and --no-compact exclude each other");
    }
    /* The one in place of the other. */
    if (given->ef_search != 0 || given->target_recall != NULL) {
        config.ef_search = 0;
        config.target_recall = 0;
    }
    if (given->compact) {
        config.code_bits = 0;
    }
    if (given->not_compact || given->code_bits != 0) {
        config.compact = 0;
    }
    VDB_TRY(override(given, &config, err));
    return vdb_storage_outcome(vecdb_set_index(db, options->collection, &config, &error), &error, err);
}

static bool asks_for_change(const struct vdb_storage_index_options *given)
{
    return given->type_given || given->m != 0 || given->ef_construction != 0 || given->ef_search != 0 ||
           given->code_bits != 0 || given->scan_below != 0 || given->target_recall != NULL || given->compact ||
           given->not_compact;
}

static int draw(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    struct vdb_progress *progress = ctx;
    (void)collection;
    if (total > 0) { /* else it is not known yet */
        progress->total = total;
        vdb_progress_update(progress, done);
    }
    return 0;
}

static vdb_status build(const struct vdb_storage_options *options, vecdb *db, double *seconds,
                        struct vdb_err *err)
{
    struct vdb_progress progress;
    vecdb_error error;
    const vecdb_build_options how = {.threads = (unsigned)options->threads, .progress = draw, .ctx = &progress};
    uint64_t started = vdb_now_ns();
    vdb_progress_begin(&progress, "build", "rows", 0);
    vecdb_status status = vecdb_build_index(db, options->collection, &how, &error);
    vdb_progress_end(&progress);
    *seconds = (double)(vdb_now_ns() - started) * 1e-9;
    return vdb_storage_outcome(status, &error, err);
}

static void report_index(const struct vdb_storage_options *options, const vecdb_collection_info *info,
                         double seconds, struct vdb_buf *out)
{
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    char c[VDB_TABLE_TEXT_BYTES];
    vdb_buf_printf(out, "Index of \"%s\" in %s\n\n", info->name, options->path);
    vdb_storage_line(out, "points", "%s", vdb_table_count(a, info->count));
    vdb_storage_index_put(info, out);
    if (options->build) {
        vdb_storage_line(out, "built", "%s graphs, %s read from disk, in %s",
                         vdb_table_count(a, info->index_builds), vdb_table_count(b, info->index_loads),
                         vdb_table_duration(c, seconds));
    } else if (info->index_rows_waiting > 0) {
        vdb_buf_put_text(out, "\nA server reads and builds graphs in the background; --build does it now.\n");
    }
}

static vdb_status run_index(const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb_collection_info info;
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    double seconds = 0;
    vdb_status status;
    VDB_CHECK(vdb_storage_open_collection(options, &db, &info, err));
    if (asks_for_change(&options->index)) {
        VDB_CHECK(change(options, db, &info, err));
    }
    if (options->build) {
        VDB_CHECK(build(options, db, &seconds, err));
    }
    VDB_CHECK(vdb_storage_get_info(db, options->collection, &info, err));
    if (options->json) {
        vdb_buf_put_text(&out, "{\"collection\":");
        vdb_json_put_string(&out, vdb_str_of(info.name));
        vdb_buf_printf(&out, ",\"points\":%" PRIu64 ",", info.count);
        vdb_storage_index_put_json(&info, &out);
        vdb_buf_printf(&out, ",\"seconds\":%.6f}\n", seconds);
    } else {
        report_index(options, &info, seconds, &out);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_index_index = {
    .name = "index",
    .summary = "Show, change and build a collection's index",
    .about =
        "Without options it shows what is there. A setting that is given replaces the one of that name; another\n"
        "type starts from its defaults. Rows without a graph are scanned, exactly: a change is safe at any "
        "time,\n"
        "and only slow until its graphs are built, by --build or by a server in the background.\n",
    .examples = "  vecdb storage index --path ./data\n"
                "  vecdb storage index --path ./data --index hnsw --m 24 --build\n"
                "  vecdb storage index --path ./data --target-recall 0.9\n"
                "  vecdb storage index --path ./data --compact --build\n",
    .describe = describe_index,
    .run = run_index,
};
