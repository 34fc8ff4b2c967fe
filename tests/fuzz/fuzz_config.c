/* fuzz_config.c: any bytes as a configuration file: refused with a reason, or within the limits. */
// floor: server
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct vdb_config config;
    struct vdb_err err = {VDB_OK, ""};
    vdb_config_init(&config);
    vdb_status status = vdb_config_parse(&config, "fuzz.yaml", (const char *)data, bytes, &err);
    if (status != VDB_OK) {
        if (status != VDB_INVALID || strncmp(err.text, "fuzz.yaml:", 10) != 0) {
            abort();
        }
        return 0;
    }
    if (config.port > 65535 || config.metrics_port > 65535 || config.threads > 1024 ||
        config.connections_max == 0 || config.idle_seconds == 0 || config.body_memory_mib < 64 ||
        config.data[0] == '\0' || config.host[0] == '\0' ||
        memchr(config.data, '\0', sizeof config.data) == NULL ||
        memchr(config.host, '\0', sizeof config.host) == NULL) {
        abort();
    }
    return 0;
}
