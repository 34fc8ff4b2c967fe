/* cli.h: what the commands of `vecdb` share: the shape of a command, exit codes, output.
 *
 * Exit codes: 0 fine; 2 the user's input breaks a rule (one line on stderr names field, value and limit); 1 the
 * world failed (disk, memory), or a check on ourselves did. Threads: confined to the main thread.
 */
#ifndef VDB_CLI_CLI_H
#define VDB_CLI_CLI_H

#include "base/bytes.h"
#include "base/err.h"

enum { VDB_CLI_EXIT_OK = 0, VDB_CLI_EXIT_FAILED = 1, VDB_CLI_EXIT_USAGE = 2 };

struct vdb_cli_command {
    const char *name;
    const char *summary; /* one line for `vecdb --help` */
    /* argv[0..argc) are the words after the command's name. */
    vdb_status (*run)(int argc, char *const *argv, struct vdb_err *err);
    /* --help among the words ends here, not in run; NULL: run sees to it (a command whose verbs have pages). */
    void (*help)(struct vdb_buf *out);
};

extern const struct vdb_cli_command vdb_knn_command;
extern const struct vdb_cli_command vdb_cli_cpu_command;
extern const struct vdb_cli_command vdb_storage_command;
extern const struct vdb_cli_command vdb_graph_hnsw_command;
extern const struct vdb_cli_command vdb_graph_qgraph_command;

/* The process's exit code for a status. */
int vdb_cli_exit_code(vdb_status status);

/* Prints `vecdb COMMAND: text` as one line on stderr (control characters become '?'); returns the exit code.
 * command may be NULL. */
int vdb_cli_fail(const char *command, const struct vdb_err *err);

/* Writes the buffer to stdout and empties it; buffers that ran out of memory and failed writes are errors. */
vdb_status vdb_cli_write(struct vdb_buf *buf, struct vdb_err *err) VDB_MUST_CHECK;

#endif
