/* args.h: the option parser that all commands share: a table in, filled variables out.
 *
 * Forms: `--name value`, `--name=value`, and `--name` for flags. Anything else is refused by name, with the
 * nearest known spelling when one is near; a value that is missing, out of range or not in the list is refused
 * with the limits; an option given twice is refused. Every text fits one line. Threads: confined.
 */
#ifndef VDB_CLI_ARGS_H
#define VDB_CLI_ARGS_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum vdb_args_kind {
    VDB_ARGS_FLAG,   /* bool: true when given */
    VDB_ARGS_TEXT,   /* const char *: borrowed from argv, not empty */
    VDB_ARGS_NUMBER, /* uint64_t in [min, max] */
    VDB_ARGS_CHOICE, /* unsigned: the position in choices */
} vdb_args_kind;

/* One option; `out` points to a variable of the kind's type, whose value before the call is the default. */
struct vdb_args_option {
    const char *name; /* with its dashes: "--k" */
    vdb_args_kind kind;
    void *out;
    const char *value_name; /* for the help: "FILE"; NULL for flags */
    const char *help;       /* one line */
    uint64_t min;           /* numbers only */
    uint64_t max;
    const char *const *choices; /* NULL-terminated */
    bool required;
    bool *given; /* set when the option came; may be NULL */
};

enum { VDB_ARGS_OPTIONS_MAX = 64 };

/* argv[0..argc) are the words after the command. */
vdb_status vdb_args_parse(const struct vdb_args_option *options, size_t count, int argc, char *const *argv,
                          struct vdb_err *err) VDB_MUST_CHECK;

/* The options' part of a help page: one line each, aligned. */
void vdb_args_help(const struct vdb_args_option *options, size_t count, struct vdb_buf *out);

/* The word of names (NULL-terminated) that is spelt nearest to text, or NULL when none is near. */
const char *vdb_args_nearest(const char *text, const char *const *names);

#endif
