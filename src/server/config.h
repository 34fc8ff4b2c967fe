/* config.h: what the server is told: defaults, then a YAML file, then the command line.
 *
 * One table of keys (config.c) serves both: an option `--metrics-port 0` sets the key `metrics_port`. Unknown and
 * repeated keys are refused with file and line; a value out of range names key, value and limit.
 * Threads: confined while read, immutable after.
 */
#ifndef VDB_SERVER_CONFIG_H
#define VDB_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"

enum {
    VDB_CONFIG_HOST_BYTES = 256,      /* a DNS name has at most 253 characters */
    VDB_CONFIG_FILE_BYTES_MAX = 65536 /* the sample file with all its comments has under 4 KiB */
};

struct vdb_config {
    char data[VDB_LIMIT_PATH_BYTES_MAX];
    char host[VDB_CONFIG_HOST_BYTES];
    uint64_t port;         /* 0: the system chooses */
    uint64_t metrics_port; /* 0: no metrics port */
    bool metrics;          /* false: no metrics port */
    bool allow_unauthenticated;
    uint64_t threads; /* 0: one per core, at least 4 */
    uint64_t connections_max;
    uint64_t idle_seconds;
    uint64_t drain_seconds;
    uint64_t body_memory_mib; /* all request bodies in flight together */
    vdb_log_level log_level;
    bool maintenance;                /* checkpoints, compactions and graphs by themselves */
    uint64_t checkpoint_mib;         /* written to a collection since its last checkpoint that ask for the next */
    uint64_t compact_mib_per_second; /* of compactions in the background */
};

typedef enum vdb_config_action { VDB_CONFIG_RUN, VDB_CONFIG_HELP, VDB_CONFIG_VERSION } vdb_config_action;

void vdb_config_init(struct vdb_config *config);

/* Applies YAML text; `name` stands before the line number in errors. On an error the config is half applied. */
vdb_status vdb_config_parse(struct vdb_config *config, const char *name, const char *text, size_t bytes,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* Applies the file at path. */
vdb_status vdb_config_load(struct vdb_config *config, const char *path, struct vdb_err *err) VDB_MUST_CHECK;

/* Defaults, then the file that --config names, then the other options, wherever --config stands among them. */
vdb_status vdb_config_from_args(struct vdb_config *config, int argc, char *const *argv, vdb_config_action *action,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* The text of --help. */
const char *vdb_config_usage(void);

#endif
