/* cli_cpu.c: `vecdb cpu`: which distance kernels this process uses, and why. */
#include "cli.h"

#include "args.h"
#include "base/json.h"
#include "distance/cpu.h"
#include "table.h"

#include <stdlib.h>

struct options {
    bool json;
};

enum { OPTION_COUNT = 1 };

static void describe(struct options *options, struct vdb_args_option out[OPTION_COUNT])
{
    out[0] = (struct vdb_args_option){
        .name = "--json", .kind = VDB_ARGS_FLAG, .out = &options->json, .help = "print one JSON object instead"};
}

static void put_json(struct vdb_buf *out, const char *used, const char *best, const char *asked)
{
    vdb_buf_put_text(out, "{\"kernels\":");
    vdb_json_put_string(out, vdb_str_of(used));
    vdb_buf_put_text(out, ",\"processor_best\":");
    vdb_json_put_string(out, vdb_str_of(best));
    vdb_buf_put_text(out, ",\"vecdb_cpu\":");
    if (asked != NULL) {
        vdb_json_put_string(out, vdb_str_of(asked));
    } else {
        vdb_buf_put_text(out, "null");
    }
    vdb_buf_put_text(out, "}\n");
}

static void put_table(struct vdb_buf *out, const char *used, const char *best, const char *asked)
{
    static const struct vdb_table_column columns[] = {{NULL, false}, {NULL, false}, {NULL, false}};
    struct vdb_table table;
    vdb_table_init(&table, columns, 3);
    vdb_table_put(&table, "Kernels in use");
    vdb_table_put(&table, used);
    vdb_table_put(&table, asked != NULL ? "as VECDB_CPU says" : "the best that this processor has");
    vdb_table_put(&table, "Processor's best");
    vdb_table_put(&table, best);
    vdb_table_put(&table, "of scalar, avx2, avx512");
    vdb_table_put(&table, "VECDB_CPU");
    vdb_table_put(&table, asked != NULL ? asked : "not set");
    vdb_table_put(&table, asked != NULL ? "" : "set it to use a lower level");
    vdb_table_print(&table, 0, out);
    vdb_table_fini(&table);
}

static vdb_status run(int argc, char *const *argv, struct vdb_err *err)
{
    struct options options = {0};
    struct vdb_args_option table[OPTION_COUNT];
    describe(&options, table);
    VDB_TRY(vdb_args_parse(table, OPTION_COUNT, argc, argv, err));
    VDB_TRY(vdb_cpu_check(err));
    const char *asked = getenv("VECDB_CPU");
    if (asked != NULL && asked[0] == '\0') {
        asked = NULL;
    }
    const char *used = vdb_cpu_level_name(vdb_kernels_get()->level);
    const char *best = vdb_cpu_level_name(vdb_cpu_detect());
    struct vdb_buf out = {0};
    (options.json ? put_json : put_table)(&out, used, best, asked);
    vdb_status status = vdb_cli_write(&out, err);
    vdb_buf_fini(&out);
    return status;
}

static void help(struct vdb_buf *out)
{
    struct options options;
    struct vdb_args_option table[OPTION_COUNT];
    describe(&options, table);
    vdb_buf_put_text(
        out, "vecdb cpu: show which distance kernels are used, and why\n"
             "\n"
             "Usage: vecdb cpu [--json]\n"
             "\n"
             "VecDB has its inner loops in up to three forms: scalar (every machine), avx2 and avx512.\n"
             "It takes the best that the processor has. The environment variable VECDB_CPU names a lower\n"
             "one, to compare speeds or to look for a fault.\n"
             "\n"
             "Options:\n");
    vdb_args_help(table, OPTION_COUNT, out);
    vdb_buf_put_text(out, "\nExample:\n  VECDB_CPU=avx2 vecdb cpu\n");
}

const struct vdb_cli_command vdb_cli_cpu_command = {"cpu", "Show which distance kernels are used, and why", run,
                                                    help};
