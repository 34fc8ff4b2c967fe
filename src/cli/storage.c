/* storage.c: `vecdb storage`: finds the verb, reads its options, runs it; and what the verbs share. */
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "env/env.h"

static const struct vdb_storage_verb *const verbs[] = {
    &vdb_storage_insert_init,          &vdb_storage_insert_insert,         &vdb_storage_insert_delete,
    &vdb_storage_report_recover,       &vdb_storage_report_verify,         &vdb_storage_report_stats,
    &vdb_storage_keep_compact,         &vdb_storage_keep_snapshot_create,  &vdb_storage_keep_snapshot_list,
    &vdb_storage_keep_snapshot_delete, &vdb_storage_keep_snapshot_restore, &vdb_storage_keep_backup,
    &vdb_storage_follow_checkpoint,    &vdb_storage_follow_follow,         &vdb_storage_follow_promote,
    &vdb_storage_index_index,          &vdb_storage_search_search,         &vdb_storage_bench_bench,
};

enum {
    VERB_COUNT = sizeof verbs / sizeof verbs[0],
    VERB_BYTES_MAX = 64,
    DEPTH_MAX = 8,
    USAGE_WORD_BYTES = 64,
    USAGE_LINE_BYTES = 100
};

#define COLLECTION_DEFAULT "default"

/* ---- Shared with the verbs ---- */

vdb_status vdb_storage_outcome(vecdb_status status, const vecdb_error *from, struct vdb_err *err)
{
    return status == VECDB_OK ? VDB_OK : vdb_err_set(err, (vdb_status)status, "%s", from->message);
}

vdb_status vdb_storage_open(const struct vdb_storage_options *options, bool maintenance, vecdb **out,
                            struct vdb_err *err)
{
    vecdb_error error;
    const vecdb_options how = {.must_exist = 1, .no_maintenance = !maintenance};
    vdb_status status = vdb_storage_outcome(vecdb_open(options->path, &how, out, &error), &error, err);
    if (status == VDB_NOT_FOUND) {
        return vdb_err_wrap(err, status, "--path: `vecdb storage init` makes a data directory");
    }
    return status;
}

vdb_status vdb_storage_get_info(vecdb *db, const char *collection, vecdb_collection_info *info,
                                struct vdb_err *err)
{
    vecdb_error error;
    return vdb_storage_outcome(vecdb_get_collection(db, collection, info, &error), &error, err);
}

vdb_status vdb_storage_open_collection(const struct vdb_storage_options *options, vecdb **out,
                                       vecdb_collection_info *info, struct vdb_err *err)
{
    VDB_TRY(vdb_storage_open(options, false, out, err));
    vdb_status status = vdb_storage_get_info(*out, options->collection, info, err);
    if (status != VDB_OK) {
        vecdb_close(*out);
        *out = NULL;
        return vdb_err_wrap(err, status, "--collection");
    }
    return VDB_OK;
}

vdb_status vdb_storage_parse_bytes(const char *option, const char *text, uint64_t *out, struct vdb_err *err)
{
    static const char suffixes[] = "KMGT";
    char *end = NULL;
    errno = 0;
    uint64_t value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    const char *suffix = value > 0 && *end != '\0' ? strchr(suffixes, *end & ~0x20) : NULL;
    unsigned shift = suffix != NULL ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    bool ends = value > 0 && errno == 0 && (*end == '\0' || (suffix != NULL && end[1] == '\0'));
    if (!ends || value > UINT64_MAX >> 1 >> shift) {
        return vdb_err_set(err, VDB_INVALID,
                           "%s is \"%.60s\"; a number of bytes of 1 or more is needed, K, M, G or T may follow "
                           "(200M)",
                           option, text);
    }
    *out = value << shift;
    return VDB_OK;
}

double vdb_storage_amplification(const vecdb_collection_info *info)
{
    return info->segment_live_bytes > 0 ? (double)info->segment_bytes / (double)info->segment_live_bytes : 1.0;
}

/* ---- Files ---- */

typedef void file_fn(void *ctx, const char *name, uint64_t bytes);

/* Every file under `dir`; `name` is its path from the start of the walk. */
struct walk {
    file_fn *fn;
    void *ctx;
    const char *dir;  /* of this folder */
    const char *name; /* of this folder; "" at the start */
    unsigned depth;
};

static vdb_status visit_entry(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    const struct walk *walk = ctx;
    struct vdb_env *env = vdb_env_posix();
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char full[VDB_LIMIT_PATH_BYTES_MAX];
    uint64_t bytes;
    VDB_TRY(vdb_path_join(path, sizeof path, walk->dir, name, err));
    if (walk->name[0] == '\0') {
        snprintf(full, sizeof full, "%s", name);
    } else {
        VDB_TRY(vdb_path_join(full, sizeof full, walk->name, name, err));
    }
    if (kind == VDB_KIND_DIR && walk->depth < DEPTH_MAX) {
        struct walk below = {walk->fn, walk->ctx, path, full, walk->depth + 1};
        return env->ops->list(env, path, visit_entry, &below, err);
    }
    VDB_TRY(env->ops->stat(env, path, &kind, &bytes, err));
    walk->fn(walk->ctx, full, bytes);
    return VDB_OK;
}

static vdb_status walk_tree(const char *dir, file_fn *fn, void *ctx, struct vdb_err *err)
{
    struct vdb_env *env = vdb_env_posix();
    struct walk walk = {fn, ctx, dir, "", 0};
    return env->ops->list(env, dir, visit_entry, &walk, err);
}

static void sort_file(void *ctx, const char *name, uint64_t bytes)
{
    struct vdb_storage_files *files = ctx;
    struct vdb_storage_kind *kind = &files->manifest;
    if (strncmp(name, "wal/", 4) == 0) {
        kind = &files->log;
    } else if (strncmp(name, "vectors/", 8) == 0) {
        kind = &files->vectors;
    } else if (strncmp(name, "meta/dead_", 10) == 0) {
        kind = &files->bitmaps;
    } else if (strncmp(name, "meta/", 5) == 0) {
        kind = &files->metadata;
    } else if (strncmp(name, "index/", 6) == 0) {
        kind = &files->index;
    } else if (strncmp(name, "snapshots/", 10) == 0) {
        kind = &files->snapshots;
    }
    kind->files++;
    kind->bytes += bytes;
}

vdb_status vdb_storage_measure_files(const struct vdb_storage_options *options, struct vdb_storage_files *out,
                                     struct vdb_err *err)
{
    char parent[VDB_LIMIT_PATH_BYTES_MAX];
    char dir[VDB_LIMIT_PATH_BYTES_MAX];
    *out = (struct vdb_storage_files){0};
    VDB_TRY(vdb_path_join(parent, sizeof parent, options->path, "collections", err));
    VDB_TRY(vdb_path_join(dir, sizeof dir, parent, options->collection, err));
    return walk_tree(dir, sort_file, out, err);
}

struct vdb_storage_kind vdb_storage_total_files(const struct vdb_storage_files *files)
{
    const struct vdb_storage_kind *kinds[] = {&files->log,     &files->vectors, &files->metadata,
                                              &files->bitmaps, &files->index,   &files->manifest};
    struct vdb_storage_kind sum = {0};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        sum.files += kinds[i]->files;
        sum.bytes += kinds[i]->bytes;
    }
    return sum;
}

static void count_file(void *ctx, const char *name, uint64_t bytes)
{
    struct vdb_storage_kind *sum = ctx;
    (void)name;
    sum->files++;
    sum->bytes += bytes;
}

vdb_status vdb_storage_measure_tree(const char *path, struct vdb_storage_kind *out, struct vdb_err *err)
{
    *out = (struct vdb_storage_kind){0};
    return walk_tree(path, count_file, out, err);
}

/* ---- Printing ---- */

void vdb_storage_line(struct vdb_buf *out, const char *key, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    vdb_buf_printf(out, "  %-22s%s\n", key, text);
}

const char *vdb_storage_bytes(char text[VDB_TABLE_TEXT_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t u = 0;
    while (u < 4 && value >= 999.5) {
        value /= 1000;
        u++;
    }
    snprintf(text, VDB_TABLE_TEXT_BYTES, "%.*f %s",
             u == 0 || value >= 100 ? 0
             : value >= 10          ? 1
                                    : 2,
             value, units[u]);
    return text;
}

const char *vdb_storage_speed(char text[VDB_TABLE_TEXT_BYTES], uint64_t bytes, double seconds)
{
    char number[VDB_TABLE_TEXT_BYTES];
    double rate = seconds > 0 ? (double)bytes / seconds : 0;
    snprintf(text, VDB_TABLE_TEXT_BYTES, "%.40s/s", vdb_storage_bytes(number, (uint64_t)rate));
    return text;
}

/* ---- Options and help ---- */

static size_t describe(const struct vdb_storage_verb *verb, struct vdb_storage_options *options,
                       struct vdb_args_option table[VDB_STORAGE_OPTIONS_MAX])
{
    size_t count = 0;
    table[count++] = (struct vdb_args_option){.name = "--path",
                                              .kind = VDB_ARGS_TEXT,
                                              .out = &options->path,
                                              .value_name = "DIR",
                                              .help = "the data directory",
                                              .required = true};
    if (!verb->whole) {
        table[count++] = (struct vdb_args_option){.name = "--collection",
                                                  .kind = VDB_ARGS_TEXT,
                                                  .out = &options->collection,
                                                  .value_name = "NAME",
                                                  .help = "the collection (default \"default\")"};
    }
    if (verb->describe != NULL) {
        count += verb->describe(options, table + count);
    }
    table[count++] = (struct vdb_args_option){.name = "--json",
                                              .kind = VDB_ARGS_FLAG,
                                              .out = &options->json,
                                              .help = "print one JSON object instead of text"};
    return count;
}

static void help_verb(const struct vdb_storage_verb *verb, struct vdb_buf *out)
{
    struct vdb_storage_options options;
    struct vdb_args_option table[VDB_STORAGE_OPTIONS_MAX];
    size_t count = describe(verb, &options, table);
    vdb_buf_printf(out, "vecdb storage %s: %s\n\n", verb->name, verb->summary);
    size_t line = out->bytes;
    vdb_buf_printf(out, "Usage: vecdb storage %s", verb->name);
    size_t indent = out->bytes - line;
    for (size_t i = 0; i < count; i++) {
        const struct vdb_args_option *option = &table[i];
        char word[USAGE_WORD_BYTES];
        bool flag = option->value_name == NULL;
        int bytes = snprintf(word, sizeof word, " %s%s%s%s%s", option->required ? "" : "[", option->name,
                             flag ? "" : " ", flag ? "" : option->value_name, option->required ? "" : "]");
        if (out->bytes - line + (size_t)bytes > USAGE_LINE_BYTES) {
            vdb_buf_put_text(out, "\n");
            line = out->bytes;
            vdb_buf_printf(out, "%*s", (int)indent, "");
        }
        vdb_buf_put_text(out, word);
    }
    vdb_buf_printf(out, "\n\n%s\nOptions:\n", verb->about);
    vdb_args_help(table, count, out);
    vdb_buf_printf(out, "\nExamples:\n%s", verb->examples);
}

static void help_all(struct vdb_buf *out)
{
    vdb_buf_put_text(out, "vecdb storage: make, fill, check and keep a data directory\n"
                          "\n"
                          "Usage: vecdb storage VERB --path DIR [--collection NAME] [OPTIONS] [--json]\n"
                          "\n"
                          "Verbs:\n");
    for (size_t i = 0; i < VERB_COUNT; i++) {
        vdb_buf_printf(out, "  %-18s%s\n", verbs[i]->name, verbs[i]->summary);
    }
    vdb_buf_put_text(out,
                     "\n"
                     "One process has a data directory open at a time: stop a server on it first.\n"
                     "vecdb storage VERB --help explains a verb and its options.\n"
                     "\n"
                     "Examples:\n"
                     "  vecdb storage init --path ./data --dim 128\n"
                     "  vecdb storage insert --path ./data --count 100000\n"
                     "  vecdb storage recover --path ./data\n"
                     "  vecdb storage delete --path ./data --fraction 0.33\n"
                     "  vecdb storage compact --path ./data\n"
                     "\n"
                     "Exit codes: 0 fine, 2 wrong input, 1 a failure of the system or damage in the data.\n");
}

/* ---- The command ---- */

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static vdb_status refuse(const char *words, struct vdb_err *err)
{
    const char *names[VERB_COUNT + 1];
    for (size_t i = 0; i < VERB_COUNT; i++) {
        names[i] = verbs[i]->name;
    }
    names[VERB_COUNT] = NULL;
    const char *near = vdb_args_nearest(words, names);
    if (near != NULL) {
        return vdb_err_set(err, VDB_INVALID, "unknown verb \"%.60s\"; did you mean \"%s\"?", words, near);
    }
    if (strncmp(words, "snapshot", 8) == 0 && (words[8] == '\0' || words[8] == ' ')) {
        return vdb_err_set(err, VDB_INVALID, "snapshot needs one of create, list, delete, restore after it");
    }
    return vdb_err_set(err, VDB_INVALID, "unknown verb \"%.60s\"; vecdb storage --help lists them", words);
}

/* The verb of one or two words at argv; *words says how many. */
static const struct vdb_storage_verb *find_verb(int argc, char *const *argv, char name[VERB_BYTES_MAX],
                                                int *words)
{
    *words = strcmp(argv[0], "snapshot") == 0 && argc > 1 && argv[1][0] != '-' ? 2 : 1;
    snprintf(name, VERB_BYTES_MAX, "%s%s%s", argv[0], *words == 2 ? " " : "", *words == 2 ? argv[1] : "");
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return verbs[i];
        }
    }
    return NULL;
}

static vdb_status show_help(const struct vdb_storage_verb *verb, struct vdb_err *err)
{
    struct vdb_buf out = {0};
    if (verb != NULL) {
        help_verb(verb, &out);
    } else {
        help_all(&out);
    }
    vdb_status status = vdb_cli_write(&out, err);
    vdb_buf_fini(&out);
    return status;
}

static vdb_status run(int argc, char *const *argv, struct vdb_err *err)
{
    struct vdb_storage_options options = {.collection = COLLECTION_DEFAULT};
    struct vdb_args_option table[VDB_STORAGE_OPTIONS_MAX];
    char name[VERB_BYTES_MAX];
    int words;
    if (argc == 0) {
        return vdb_err_set(err, VDB_INVALID, "a verb is missing; vecdb storage --help lists them");
    }
    if (is_help(argv[0])) {
        return show_help(NULL, err);
    }
    const struct vdb_storage_verb *verb = find_verb(argc, argv, name, &words);
    for (int i = 1; i < argc; i++) {
        if (is_help(argv[i])) {
            return show_help(verb, err);
        }
    }
    if (verb == NULL) {
        return refuse(name, err);
    }
    size_t count = describe(verb, &options, table);
    vdb_status status = vdb_args_parse(table, count, argc - words, argv + words, err);
    if (status == VDB_OK) {
        status = verb->run(&options, err);
    }
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "%s", verb->name);
}

const struct vdb_cli_command vdb_storage_command = {"storage", "Make, fill, check and keep a data directory", run,
                                                    NULL};
