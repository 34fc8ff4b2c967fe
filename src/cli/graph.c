/* graph.c: `vecdb hnsw` and `vecdb qgraph`: finds the verb, reads its options, runs it; and what the verbs share. */
#include "graph.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/utf8.h"
#include "cli.h"
#include "distance/cpu.h"

static const struct vdb_graph_verb *const verbs[] = {&vdb_graph_build_verb, &vdb_graph_search_verb,
                                                     &vdb_graph_sweep_verb};

enum {
    VERB_COUNT = sizeof verbs / sizeof verbs[0],
    K_DEFAULT = 10,
    EF_DEFAULT = 50,
    M_DEFAULT = 16,
    EF_CONSTRUCTION_DEFAULT = 200,
    USAGE_WORD_BYTES = 64,
    USAGE_LINE_BYTES = 100
};

/* ---- Printing ---- */

void vdb_graph_put_path(struct vdb_buf *out, const char *path)
{
    char text[VDB_LIMIT_PATH_BYTES_MAX + 512];
    snprintf(text, sizeof text, "%s", path);
    vdb_utf8_make_printable(text);
    vdb_buf_put_text(out, text);
}

void vdb_graph_put_head(const struct vdb_graph_open *open, const struct vdb_graph_options *options,
                        struct vdb_buf *out)
{
    char number[VDB_TABLE_TEXT_BYTES];
    vdb_buf_put_text(out, "Index    ");
    vdb_graph_put_path(out, options->index);
    vdb_buf_printf(out, ": %s, %s\nDataset  ", open->kind->name, vdb_metric_name(open->rows.metric));
    vdb_graph_put_path(out, open->dataset);
    vdb_buf_printf(out, ": %s vectors", vdb_table_count(number, open->rows.count));
    vdb_buf_printf(out, " of dimension %s, %s\nQueries  ", vdb_table_count(number, open->rows.dimension),
                   vdb_element_name(open->rows.element));
    vdb_graph_put_path(out, options->query);
    vdb_buf_printf(out, ": %s vectors", vdb_table_count(number, open->queries.count));
    if (options->row_given) {
        vdb_buf_printf(out, "; row %zu", open->first_query);
    }
    vdb_buf_put_u8(out, '\n');
}

void vdb_graph_put_json_head(const struct vdb_graph_open *open, const struct vdb_graph_options *options,
                             struct vdb_buf *out)
{
    vdb_buf_printf(out, "\"kind\":\"%s\",\"index\":{\"path\":", open->kind->name);
    vdb_json_put_string(out, vdb_str_of(options->index));
    vdb_buf_printf(out, ",\"bytes\":%" PRIu64 "},\"dataset\":{\"path\":", open->file_bytes);
    vdb_json_put_string(out, vdb_str_of(open->dataset));
    vdb_buf_printf(out,
                   ",\"count\":%zu,\"dimension\":%zu,\"element\":\"%s\"},\"query\":{\"path\":", open->rows.count,
                   open->rows.dimension, vdb_element_name(open->rows.element));
    vdb_json_put_string(out, vdb_str_of(options->query));
    vdb_buf_printf(out, ",\"count\":%zu},\"metric\":\"%s\"", open->queries.count,
                   vdb_metric_name(open->rows.metric));
}

void vdb_graph_put_json_number(const char *key, double value, struct vdb_buf *out)
{
    vdb_buf_printf(out, ",\"%s\":", key);
    if (isfinite(value)) {
        vdb_json_put_double(out, value);
    } else {
        vdb_buf_put_text(out, "null");
    }
}

/* ---- Options and help ---- */

static void set_defaults(const struct vdb_graph_kind *kind, struct vdb_graph_options *options)
{
    *options = (struct vdb_graph_options){
        .kind = kind,
        .seed = 1,
        .m = M_DEFAULT,
        .ef_construction = kind == &vdb_graph_kind_hnsw ? EF_CONSTRUCTION_DEFAULT : 0,
        .refinements = UINT64_MAX, /* the kind's default */
        .k = K_DEFAULT,
        .ef = EF_DEFAULT,
    };
}

static size_t describe(const struct vdb_graph_verb *verb, struct vdb_graph_options *options,
                       struct vdb_args_option table[VDB_GRAPH_OPTIONS_MAX])
{
    size_t count = verb->describe(options, table);
    table[count++] = (struct vdb_args_option){.name = "--json",
                                              .kind = VDB_ARGS_FLAG,
                                              .out = &options->json,
                                              .help = "print one JSON object instead of text"};
    return count;
}

static void help_verb(const struct vdb_graph_kind *kind, const struct vdb_graph_verb *verb, struct vdb_buf *out)
{
    struct vdb_graph_options options;
    struct vdb_args_option table[VDB_GRAPH_OPTIONS_MAX];
    set_defaults(kind, &options);
    const size_t count = describe(verb, &options, table);
    vdb_buf_printf(out, "vecdb %s %s: %s\n\n", kind->name, verb->name, verb->summary);
    size_t line = out->bytes;
    vdb_buf_printf(out, "Usage: vecdb %s %s", kind->name, verb->name);
    const size_t indent = out->bytes - line;
    for (size_t i = 0; i < count; i++) {
        const struct vdb_args_option *option = &table[i];
        char word[USAGE_WORD_BYTES];
        const bool flag = option->value_name == NULL;
        const int bytes = snprintf(word, sizeof word, " %s%s%s%s%s", option->required ? "" : "[", option->name,
                                   flag ? "" : " ", flag ? "" : option->value_name, option->required ? "" : "]");
        if (out->bytes - line + (size_t)bytes > USAGE_LINE_BYTES) {
            vdb_buf_put_text(out, "\n");
            line = out->bytes;
            vdb_buf_printf(out, "%*s", (int)indent, "");
        }
        vdb_buf_put_text(out, word);
    }
    vdb_buf_printf(out, "\n\n%s\nOptions:\n", verb->about != NULL ? verb->about : kind->about);
    vdb_args_help(table, count, out);
}

static void help_all(const struct vdb_graph_kind *kind, struct vdb_buf *out)
{
    vdb_buf_printf(out, "vecdb %s: build, search and measure a graph index over a file of vectors\n\n",
                   kind->name);
    vdb_buf_printf(out, "Usage: vecdb %s VERB [OPTIONS] [--json]\n\nVerbs:\n", kind->name);
    for (size_t i = 0; i < VERB_COUNT; i++) {
        vdb_buf_printf(out, "  %-10s%s\n", verbs[i]->name, verbs[i]->summary);
    }
    vdb_buf_printf(
        out,
        "\n"
        "The index file has the graph and knows its dataset, which it needs beside it: path, size and a\n"
        "checksum. Another dataset, or a changed one, is refused.\n"
        "vecdb %s VERB --help explains a verb and its options.\n"
        "\n"
        "Examples:\n%s\n"
        "Exit codes: 0 fine, 2 wrong input, 1 a failure of the system or a damaged index file.\n",
        kind->name, kind->examples);
}

/* ---- The commands ---- */

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static const struct vdb_graph_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return verbs[i];
        }
    }
    return NULL;
}

static vdb_status refuse(const struct vdb_graph_kind *kind, const char *word, struct vdb_err *err)
{
    const char *names[VERB_COUNT + 1];
    for (size_t i = 0; i < VERB_COUNT; i++) {
        names[i] = verbs[i]->name;
    }
    names[VERB_COUNT] = NULL;
    const char *near = vdb_args_nearest(word, names);
    return near != NULL
               ? vdb_err_set(err, VDB_INVALID, "unknown verb \"%.60s\"; did you mean \"%s\"?", word, near)
               : vdb_err_set(err, VDB_INVALID, "unknown verb \"%.60s\"; vecdb %s --help lists them", word,
                             kind->name);
}

static vdb_status show_help(const struct vdb_graph_kind *kind, const struct vdb_graph_verb *verb,
                            struct vdb_err *err)
{
    struct vdb_buf out = {0};
    if (verb != NULL) {
        help_verb(kind, verb, &out);
    } else {
        help_all(kind, &out);
    }
    vdb_status status = vdb_cli_write(&out, err);
    vdb_buf_fini(&out);
    return status;
}

static vdb_status run(const struct vdb_graph_kind *kind, int argc, char *const *argv, struct vdb_err *err)
{
    struct vdb_graph_options options;
    struct vdb_args_option table[VDB_GRAPH_OPTIONS_MAX];
    if (argc == 0) {
        return vdb_err_set(err, VDB_INVALID, "a verb is missing; vecdb %s --help lists them", kind->name);
    }
    const struct vdb_graph_verb *verb = find_verb(argv[0]);
    for (int i = 0; i < argc; i++) {
        if (is_help(argv[i])) {
            return show_help(kind, verb, err);
        }
    }
    if (verb == NULL) {
        return refuse(kind, argv[0], err);
    }
    set_defaults(kind, &options);
    const size_t count = describe(verb, &options, table);
    vdb_status status = vdb_args_parse(table, count, argc - 1, argv + 1, err);
    if (status == VDB_OK) {
        status = vdb_cpu_check(err);
    }
    if (status == VDB_OK) {
        status = verb->run(&options, err);
    }
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "%s", verb->name);
}

static vdb_status run_hnsw(int argc, char *const *argv, struct vdb_err *err)
{
    return run(&vdb_graph_kind_hnsw, argc, argv, err);
}

static vdb_status run_qgraph(int argc, char *const *argv, struct vdb_err *err)
{
    return run(&vdb_graph_kind_qgraph, argc, argv, err);
}

const struct vdb_cli_command vdb_graph_hnsw_command = {
    "hnsw", "Build, search and measure an HNSW graph over a file", run_hnsw, NULL};
const struct vdb_cli_command vdb_graph_qgraph_command = {
    "qgraph", "Build, search and measure a quantised graph over a file", run_qgraph, NULL};
