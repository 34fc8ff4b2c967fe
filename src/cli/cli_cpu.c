/* cli_cpu.c: `vecdb cpu`: which distance kernel this process uses for each element and metric, and why. */
#include "cli.h"

#include "args.h"
#include "base/json.h"
#include "distance/cpu.h"
#include "distance/gemm.h"
#include "table.h"

#include <stdlib.h>

struct options {
    bool json;
};

enum { OPTION_COUNT = 1 };

/* What is printed: the choice and its reasons. */
struct choice {
    const struct vdb_kernels *kernels;
    vdb_cpu_level best;
    unsigned found;          /* extensions that the processor has */
    const char *asked;       /* VECDB_CPU, or NULL */
    const char *amx_missing; /* why there is none, or NULL */
};

static void describe(struct options *options, struct vdb_args_option out[OPTION_COUNT])
{
    out[0] = (struct vdb_args_option){
        .name = "--json", .kind = VDB_ARGS_FLAG, .out = &options->json, .help = "print one JSON object instead"};
}

/* The extensions of a set as JSON strings, or as words. */
static void put_extensions(struct vdb_buf *out, unsigned extensions, bool json)
{
    bool first = true;
    for (unsigned bit = 1; bit < VDB_CPU_EXTENSIONS_ALL; bit <<= 1) {
        if ((extensions & bit) != 0) {
            vdb_buf_put_text(out, first ? "" : json ? "," : ", ");
            vdb_buf_printf(out, json ? "\"%s\"" : "%s", vdb_cpu_extension_name(bit));
            first = false;
        }
    }
    if (first && !json) {
        vdb_buf_put_text(out, "none");
    }
}

static void put_json(struct vdb_buf *out, const struct choice *choice)
{
    vdb_buf_printf(out, "{\"kernels\":\"%s\",\"processor_best\":\"%s\",\"vecdb_cpu\":",
                   vdb_cpu_level_name(choice->kernels->level), vdb_cpu_level_name(choice->best));
    if (choice->asked != NULL) {
        vdb_json_put_string(out, vdb_str_of(choice->asked));
    } else {
        vdb_buf_put_text(out, "null");
    }
    vdb_buf_put_text(out, ",\"extensions_found\":[");
    put_extensions(out, choice->found, true);
    vdb_buf_put_text(out, "],\"extensions_used\":[");
    put_extensions(out, choice->kernels->extensions, true);
    vdb_buf_put_text(out, "],\"amx\":");
    if (choice->amx_missing == NULL) {
        vdb_buf_put_text(out, "\"usable\"");
    } else {
        vdb_json_put_string(out, vdb_str_of(choice->amx_missing));
    }
    vdb_buf_put_text(out, ",\"chosen\":{");
    for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
        vdb_buf_printf(out, "%s\"%s\":{", element > 0 ? "," : "", vdb_element_name((vdb_element)element));
        bool first = true;
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            const char *from = choice->kernels->from[element][metric];
            if (from != NULL) {
                vdb_buf_printf(out, "%s\"%s\":\"%s\"", first ? "" : ",", vdb_metric_name((vdb_metric)metric),
                               from);
                first = false;
            }
        }
        vdb_buf_put_text(out, "}");
    }
    vdb_buf_put_text(out, "}}\n");
}

static void put_chosen(struct vdb_buf *out, const struct vdb_kernels *kernels)
{
    struct vdb_table_column columns[1 + VDB_METRIC_COUNT] = {{"element", false}};
    for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
        columns[1 + metric] = (struct vdb_table_column){vdb_metric_name((vdb_metric)metric), false};
    }
    struct vdb_table table;
    vdb_table_init(&table, columns, 1 + VDB_METRIC_COUNT);
    for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
        vdb_table_put(&table, vdb_element_name((vdb_element)element));
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            const char *from = kernels->from[element][metric];
            vdb_table_put(&table, from != NULL ? from : "-");
        }
    }
    vdb_table_print(&table, 0, out);
    vdb_table_fini(&table);
}

static void put_table(struct vdb_buf *out, const struct choice *choice)
{
    static const struct vdb_table_column columns[] = {{NULL, false}, {NULL, false}, {NULL, false}};
    struct vdb_buf found = {0};
    struct vdb_buf used = {0};
    put_extensions(&found, choice->found, false);
    put_extensions(&used, choice->kernels->extensions, false);
    vdb_buf_put(&found, "", 1);
    vdb_buf_put(&used, "", 1);
    const bool asked = choice->asked != NULL;
    struct vdb_table table;
    vdb_table_init(&table, columns, 3);
    vdb_table_put(&table, "Kernels in use");
    vdb_table_put(&table, vdb_cpu_level_name(choice->kernels->level));
    vdb_table_put(&table, asked ? "as VECDB_CPU says" : "the best that this processor has");
    vdb_table_put(&table, "  with");
    vdb_table_put(&table, used.failed ? "" : (const char *)used.data);
    vdb_table_put(&table, "extensions are used with avx512 only");
    vdb_table_put(&table, "Processor's best");
    vdb_table_put(&table, vdb_cpu_level_name(choice->best));
    vdb_table_put(&table, "of scalar, neon, avx2, avx512");
    vdb_table_put(&table, "  with");
    vdb_table_put(&table, found.failed ? "" : (const char *)found.data);
    vdb_table_put(&table, "");
    vdb_table_put(&table, "AMX");
    vdb_table_put(&table, choice->amx_missing == NULL ? "usable" : "not usable");
    vdb_table_put(&table, choice->amx_missing == NULL ? "for batches of f32 queries, where it proves faster"
                                                      : choice->amx_missing);
    vdb_table_put(&table, "VECDB_CPU");
    vdb_table_put(&table, asked ? choice->asked : "not set");
    vdb_table_put(&table, asked ? "" : "set it to use a lower level");
    vdb_table_print(&table, 0, out);
    vdb_table_fini(&table);
    vdb_buf_put_text(out, "\nThe kernel of each element and metric (- where the metric does not compare it):\n");
    put_chosen(out, choice->kernels);
    out->failed = out->failed || found.failed || used.failed;
    vdb_buf_fini(&found);
    vdb_buf_fini(&used);
}

static vdb_status run(int argc, char *const *argv, struct vdb_err *err)
{
    struct options options = {0};
    struct vdb_args_option table[OPTION_COUNT];
    describe(&options, table);
    VDB_TRY(vdb_args_parse(table, OPTION_COUNT, argc, argv, err));
    VDB_TRY(vdb_cpu_check(err));
    const char *asked = getenv("VECDB_CPU");
    struct choice choice = {
        .kernels = vdb_kernels_get(),
        .best = vdb_cpu_detect(),
        .found = vdb_cpu_detect_extensions(),
        .asked = asked != NULL && asked[0] != '\0' ? asked : NULL,
        .amx_missing = vdb_gemm_amx_missing(),
    };
    struct vdb_buf out = {0};
    (options.json ? put_json : put_table)(&out, &choice);
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
             "VecDB has its inner loops in several forms: scalar (every machine), neon (64-bit ARM), avx2 and\n"
             "avx512 (x86-64), and some more for extensions of avx512. It takes the best that the processor\n"
             "has for each type of element and each metric. The environment variable VECDB_CPU names a lower\n"
             "level, to compare speeds or to look for a fault.\n"
             "\n"
             "Options:\n");
    vdb_args_help(table, OPTION_COUNT, out);
    vdb_buf_put_text(out, "\nExample:\n  VECDB_CPU=avx2 vecdb cpu\n");
}

const struct vdb_cli_command vdb_cli_cpu_command = {"cpu", "Show which distance kernels are used, and why", run,
                                                    help};
