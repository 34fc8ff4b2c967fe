/* index_config.c: defaults, checks, and what the kinds make of it. */
#include "index_config.h"

#include <stdio.h>
#include <string.h>

enum {
    MEMORY_EF_CONSTRUCTION_MAX = 200, /* writers wait for these inserts */
    MEMORY_EF_CONSTRUCTION = 100,
    MEMORY_M = 16,
};

void vdb_index_config_default(const struct vdb_schema *schema, struct vdb_index_config *out)
{
    bool fits = schema->metric != VDB_METRIC_L1 && schema->dimension <= VDB_QGRAPH_DIMENSION_MAX;
    *out = (struct vdb_index_config){0};
    snprintf(out->type, sizeof out->type, "%s", fits ? "qgraph" : "hnsw");
}

static vdb_status check_number(const char *field, uint32_t value, uint32_t least, uint32_t greatest,
                               struct vdb_err *err)
{
    if (value != 0 && (value < least || value > greatest)) {
        return vdb_err_set(err, VDB_INVALID, "index_config.%s: %u; allowed are %u..%u", field, value, least,
                           greatest);
    }
    return VDB_OK;
}

/* A number that the kind does not have. */
static vdb_status refuse_number(const struct vdb_index_config *config, const char *field, uint32_t value,
                                struct vdb_err *err)
{
    if (value != 0) {
        return vdb_err_set(err, VDB_INVALID, "index_config.%s: %u; type %s has none", field, value, config->type);
    }
    return VDB_OK;
}

static vdb_status check_hnsw(const struct vdb_index_config *config, struct vdb_err *err)
{
    VDB_TRY(check_number("m", config->m, VDB_HNSW_M_MIN, VDB_HNSW_M_MAX, err));
    uint32_t m = config->m != 0 ? config->m : vdb_hnsw_params_default().m;
    VDB_TRY(check_number("ef_construction", config->ef_construction, m, VDB_HNSW_EF_MAX, err));
    VDB_TRY(refuse_number(config, "code_bits", config->code_bits, err));
    return refuse_number(config, "compact", config->compact, err);
}

static vdb_status check_qgraph(const struct vdb_index_config *config, const struct vdb_schema *schema,
                               struct vdb_err *err)
{
    if (schema->metric == VDB_METRIC_L1) {
        return vdb_err_set(err, VDB_UNSUPPORTED,
                           "index_config.type: qgraph has no metric %s; it has l2, cosine and dot; hnsw and flat "
                           "have it",
                           vdb_metric_name(schema->metric));
    }
    if (schema->dimension > VDB_QGRAPH_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_UNSUPPORTED,
                           "index_config.type: qgraph has at most %d dimensions, the collection has %u; hnsw and "
                           "flat have them",
                           VDB_QGRAPH_DIMENSION_MAX, schema->dimension);
    }
    VDB_TRY(check_number("m", config->m, VDB_HNSW_M_MIN, VDB_HNSW_M_MAX, err)); /* of memtables */
    VDB_TRY(check_number("ef_construction", config->ef_construction, 16, 4096, err));
    VDB_TRY(check_number("code_bits", config->code_bits, 64, 1024, err));
    if (config->code_bits % 64 != 0) {
        return vdb_err_set(err, VDB_INVALID, "index_config.code_bits: %u; allowed are multiples of 64 up to 1024",
                           config->code_bits);
    }
    VDB_TRY(check_number("compact", config->compact, 0, 1, err));
    if (config->compact != 0 && config->code_bits != 0) {
        return vdb_err_set(err, VDB_INVALID, "index_config.code_bits: %u; a compact graph has no codes",
                           config->code_bits);
    }
    struct vdb_index_build build = vdb_index_config_build(config);
    struct vdb_qgraph_params params = vdb_index_config_qgraph(&build);
    vdb_status status = vdb_qgraph_params_check(&params, err);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "index_config");
}

vdb_status vdb_index_config_check(const struct vdb_index_config *config, const struct vdb_schema *schema,
                                  struct vdb_err *err)
{
    VDB_TRY(check_number("ef_search", config->ef_search, 1, VDB_INDEX_CONFIG_EF_MAX, err));
    VDB_TRY(check_number("scan_below", config->scan_below, 1, VDB_LIMIT_COLLECTION_POINTS_MAX, err));
    if (!(config->target_recall >= 0 && config->target_recall < 1)) { /* a NaN too */
        return vdb_err_set(err, VDB_INVALID, "index_config.target_recall: %g; allowed is between 0 and 1",
                           config->target_recall);
    }
    if (vdb_index_config_is(config, "hnsw")) {
        return check_hnsw(config, err);
    }
    if (vdb_index_config_is(config, "qgraph")) {
        return check_qgraph(config, schema, err);
    }
    if (!vdb_index_config_is(config, "flat")) {
        return vdb_err_set(err, VDB_UNSUPPORTED,
                           "index_config.type: \"%.*s\" is not in this version; it has flat, hnsw and qgraph",
                           VDB_INDEX_NAME_BYTES, config->type);
    }
    VDB_TRY(refuse_number(config, "m", config->m, err));
    VDB_TRY(refuse_number(config, "ef_construction", config->ef_construction, err));
    VDB_TRY(refuse_number(config, "code_bits", config->code_bits, err));
    return refuse_number(config, "compact", config->compact, err);
}

struct vdb_index_build vdb_index_config_build(const struct vdb_index_config *config)
{
    struct vdb_index_build build = {
        .ef_construction = config->ef_construction, .code_bits = config->code_bits, .compact = config->compact};
    memcpy(build.type, config->type, strnlen(config->type, sizeof build.type - 1));
    if (vdb_index_config_is(config, "hnsw")) {
        const struct vdb_hnsw_params defaults = vdb_hnsw_params_default();
        build.m = config->m != 0 ? config->m : defaults.m;
        build.ef_construction = config->ef_construction != 0 ? config->ef_construction : defaults.ef_construction;
        build.ef_construction = build.ef_construction > build.m ? build.ef_construction : build.m;
    } else if (vdb_index_config_is(config, "qgraph") && config->ef_construction == 0) {
        build.ef_construction = vdb_qgraph_params_default().ef_construction;
    }
    return build;
}

struct vdb_hnsw_params vdb_index_config_hnsw(const struct vdb_index_build *build)
{
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = build->m;
    params.ef_construction = build->ef_construction;
    return params;
}

struct vdb_qgraph_params vdb_index_config_qgraph(const struct vdb_index_build *build)
{
    struct vdb_qgraph_params params = vdb_qgraph_params_default();
    params.ef_construction = build->ef_construction;
    params.code_bits = build->code_bits;
    params.compact = build->compact != 0;
    return params;
}

struct vdb_hnsw_params vdb_index_config_memory(const struct vdb_index_config *config)
{
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    uint32_t ef = config->ef_construction != 0 ? config->ef_construction : MEMORY_EF_CONSTRUCTION;
    params.m = config->m != 0 ? config->m : MEMORY_M;
    ef = ef < MEMORY_EF_CONSTRUCTION_MAX ? ef : MEMORY_EF_CONSTRUCTION_MAX;
    params.ef_construction = ef > params.m ? ef : params.m;
    return params;
}

uint32_t vdb_index_config_scan_below(const struct vdb_index_config *config)
{
    return config->scan_below != 0 ? config->scan_below : VDB_INDEX_CONFIG_SCAN_BELOW;
}

double vdb_index_config_target_recall(const struct vdb_index_config *config)
{
    return config->target_recall > 0 ? config->target_recall : VDB_INDEX_CONFIG_TARGET_RECALL;
}
