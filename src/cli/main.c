/* main.c: the `vecdb` program: finds the command and runs it. The only file of this folder that is not in its
 * library (cmake/programs.cmake), so that tests bring their own main. */
#include "args.h"
#include "cli.h"

#include "vecdb.h"

#include <string.h>

static const struct vdb_cli_command *const commands[] = {&vdb_knn_command, &vdb_graph_hnsw_command,
                                                         &vdb_graph_qgraph_command, &vdb_storage_command,
                                                         &vdb_cli_cpu_command};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0], HELP_WORDS_MAX = 8 };

static void put_overview(struct vdb_buf *out)
{
    vdb_buf_put_text(out, "vecdb: search and store vectors from the command line\n"
                          "\n"
                          "Usage: vecdb COMMAND [OPTIONS]\n"
                          "\n"
                          "Commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        vdb_buf_printf(out, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
    }
    vdb_buf_put_text(
        out, "  help      Explain a command: vecdb help knn\n"
             "  version   Print the version\n"
             "\n"
             "Examples: the ten nearest vectors to the first one of a query file; a graph index; a durable "
             "collection\n"
             "  vecdb knn --dataset base.npy --query queries.npy --row 0\n"
             "  vecdb hnsw build --dataset base.npy --out base.idx\n"
             "  vecdb storage init --path ./data && vecdb storage insert --path ./data --count 100000\n"
             "\n"
             "Exit codes: 0 fine, 2 wrong input (one line on stderr says what), 1 a failure of the system.\n");
}

static const struct vdb_cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static vdb_status refuse_command(const char *name, struct vdb_err *err)
{
    const char *names[COMMAND_COUNT + 3];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i]->name;
    }
    names[COMMAND_COUNT] = "help";
    names[COMMAND_COUNT + 1] = "version";
    names[COMMAND_COUNT + 2] = NULL;
    const char *near = vdb_args_nearest(name, names);
    return near != NULL
               ? vdb_err_set(err, VDB_INVALID, "unknown command \"%.100s\"; did you mean \"%s\"?", name, near)
               : vdb_err_set(err, VDB_INVALID, "unknown command \"%.100s\"; see vecdb --help", name);
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static bool wants_help(int argc, char *const *argv)
{
    for (int i = 0; i < argc; i++) {
        if (is_help(argv[i])) {
            return true;
        }
    }
    return false;
}

static vdb_status help(int argc, char *const *argv, struct vdb_buf *out, struct vdb_err *err)
{
    if (argc == 0) {
        put_overview(out);
        return VDB_OK;
    }
    const struct vdb_cli_command *command = find_command(argv[0]);
    if (command == NULL) {
        return refuse_command(argv[0], err);
    }
    if (command->help != NULL) {
        command->help(out);
        return VDB_OK;
    }
    /* help COMMAND VERB is COMMAND VERB --help. */
    static char word[] = "--help";
    char *words[HELP_WORDS_MAX];
    int count = 0;
    for (int i = 1; i < argc && count < HELP_WORDS_MAX - 1; i++) {
        words[count++] = argv[i];
    }
    words[count++] = word;
    return command->run(count, words, err);
}

/* Everything that is not a command of the table: help and version. */
static vdb_status run_word(const char *word, int argc, char *const *argv, struct vdb_buf *out,
                           struct vdb_err *err)
{
    if (is_help(word) || strcmp(word, "help") == 0) {
        return help(argc, argv, out, err);
    }
    if (strcmp(word, "version") == 0 || strcmp(word, "--version") == 0) {
        if (argc > 0) {
            return vdb_err_set(err, VDB_INVALID, "version takes no options, \"%.100s\" is given", argv[0]);
        }
        vdb_buf_printf(out, "vecdb %s\n", vecdb_version());
        return VDB_OK;
    }
    return refuse_command(word, err);
}

int main(int argc, char **argv)
{
    struct vdb_err err = {0};
    struct vdb_buf out = {0};
    vdb_status status = VDB_OK;
    const struct vdb_cli_command *command = NULL;
    if (argc < 2) {
        status = vdb_err_set(&err, VDB_INVALID, "a command is missing; see vecdb --help");
        goto cleanup;
    }
    command = find_command(argv[1]);
    if (command == NULL) {
        VDB_CHECK(run_word(argv[1], argc - 2, argv + 2, &out, &err));
    } else if (command->help != NULL && wants_help(argc - 2, argv + 2)) {
        command->help(&out);
    } else {
        VDB_CHECK(command->run(argc - 2, argv + 2, &err));
    }
    VDB_CHECK(vdb_cli_write(&out, &err));

cleanup:
    vdb_buf_fini(&out);
    return status == VDB_OK ? VDB_CLI_EXIT_OK : vdb_cli_fail(command != NULL ? command->name : NULL, &err);
}
