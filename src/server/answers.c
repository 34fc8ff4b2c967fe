/* answers.c: JSON out. Metadata goes out as the canonical text in which it is stored: nothing is parsed again. */
#include "server/answers.h"

#include "base/base64.h"
#include "base/json.h"

static void put_setting(struct vdb_buf *out, const char *name, uint32_t value)
{
    if (value != 0) {
        vdb_buf_printf(out, ",\"%s\":%u", name, value);
    }
}

/* As it was given: members that were left out stay out. */
static void put_index_config(struct vdb_buf *out, const vecdb_collection_info *info)
{
    vdb_buf_put_text(out, "{\"type\":");
    vdb_json_put_string(out, vdb_str_of(info->index));
    put_setting(out, "m", info->index_m);
    put_setting(out, "ef_construction", info->index_ef_construction);
    put_setting(out, "ef_search", info->index_ef_search);
    put_setting(out, "code_bits", info->index_code_bits);
    if (info->index_compact != 0) {
        vdb_buf_put_text(out, ",\"compact\":true");
    }
    put_setting(out, "scan_below", info->index_scan_below);
    if (info->index_target_recall > 0) {
        vdb_buf_put_text(out, ",\"target_recall\":");
        vdb_json_put_double(out, info->index_target_recall);
    }
    vdb_buf_put_u8(out, '}');
}

static void put_index_status(struct vdb_buf *out, const vecdb_collection_info *info)
{
    vdb_buf_printf(out, "{\"rows\":%llu,\"rows_waiting\":%llu,\"memory_bytes\":%llu,\"file_bytes\":%llu",
                   (unsigned long long)info->index_rows, (unsigned long long)info->index_rows_waiting,
                   (unsigned long long)info->index_memory_bytes, (unsigned long long)info->index_file_bytes);
    vdb_buf_printf(out, ",\"ef_default\":%u,\"building\":%.4f,\"builds\":%llu,\"loads\":%llu",
                   info->index_ef_default, info->index_building, (unsigned long long)info->index_builds,
                   (unsigned long long)info->index_loads);
    vdb_buf_printf(out, ",\"build_failures\":%llu,\"build_seconds\":%.6f,\"shadow_queries\":%llu",
                   (unsigned long long)info->index_build_failures, (double)info->index_build_ns / 1e9,
                   (unsigned long long)info->index_shadow_queries);
    vdb_buf_put_text(out, ",\"shadow_recall\":");
    if (info->index_shadow_queries > 0) {
        vdb_buf_printf(out, "%.6f}", info->index_shadow_recall);
    } else {
        vdb_buf_put_text(out, "null}");
    }
}

void vdb_answers_put_info(struct vdb_buf *out, const vecdb_collection_info *info)
{
    vdb_buf_put_text(out, "{\"name\":");
    vdb_json_put_string(out, vdb_str_of(info->name));
    vdb_buf_printf(out,
                   ",\"dimension\":%u,\"metric\":\"%s\",\"element\":\"%s\",\"index_config\":", info->dimension,
                   vecdb_metric_name(info->metric), vecdb_element_name(info->element));
    put_index_config(out, info);
    vdb_buf_printf(out, ",\"count\":%llu,\"last_seq\":%llu,\"memory_bytes\":%llu,\"log_bytes\":%llu",
                   (unsigned long long)info->count, (unsigned long long)info->last_seq,
                   (unsigned long long)info->memory_bytes, (unsigned long long)info->log_bytes);
    vdb_buf_printf(out, ",\"segments\":%llu,\"segment_rows\":%llu,\"segment_dead\":%llu,\"segment_bytes\":%llu",
                   (unsigned long long)info->segments, (unsigned long long)info->segment_rows,
                   (unsigned long long)info->segment_dead, (unsigned long long)info->segment_bytes);
    vdb_buf_printf(out, ",\"segment_live_bytes\":%llu,\"compaction_debt_bytes\":%llu,\"checkpoint_seq\":%llu",
                   (unsigned long long)info->segment_live_bytes, (unsigned long long)info->compaction_debt_bytes,
                   (unsigned long long)info->checkpoint_seq);
    vdb_buf_put_text(out, ",\"index\":");
    put_index_status(out, info);
    vdb_buf_put_u8(out, '}');
}

void vdb_answers_put_collections(struct vdb_buf *out, const vecdb_collection_info *infos, size_t count)
{
    vdb_buf_put_text(out, "{\"collections\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            vdb_buf_put_u8(out, ',');
        }
        vdb_answers_put_info(out, &infos[i]);
    }
    vdb_buf_put_text(out, "]}");
}

void vdb_answers_put_snapshot(struct vdb_buf *out, const vecdb_snapshot_info *info)
{
    vdb_buf_put_text(out, "{\"name\":");
    vdb_json_put_string(out, vdb_str_of(info->name));
    vdb_buf_printf(out, ",\"seq\":%llu,\"created_us\":%llu,\"points\":%llu,\"bytes\":%llu}",
                   (unsigned long long)info->seq, (unsigned long long)info->created_us,
                   (unsigned long long)info->points, (unsigned long long)info->bytes);
}

void vdb_answers_put_snapshots(struct vdb_buf *out, const vecdb_snapshot_info *infos, size_t count)
{
    vdb_buf_put_text(out, "{\"snapshots\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            vdb_buf_put_u8(out, ',');
        }
        vdb_answers_put_snapshot(out, &infos[i]);
    }
    vdb_buf_put_text(out, "]}");
}

void vdb_answers_put_write(struct vdb_buf *out, const vecdb_write_result *result, const char *verb)
{
    vdb_buf_printf(out, "{\"seq\":%llu,\"%s\":%llu}", (unsigned long long)result->seq, verb,
                   (unsigned long long)result->changed);
}

static void put_id(struct vdb_buf *out, const vecdb_id *id)
{
    vdb_buf_put_text(out, "\"id\":");
    if (id->text != NULL) {
        vdb_json_put_string(out, (struct vdb_str){id->text, id->text_bytes});
    } else {
        vdb_buf_printf(out, "%llu", (unsigned long long)id->number);
    }
}

/* What the shape asks for, each with a comma in front. */
static void put_parts(struct vdb_buf *out, const vecdb_hit *hit, const struct vdb_body_shape *shape)
{
    if (shape->with_metadata && hit->metadata != NULL) {
        vdb_buf_put_text(out, ",\"metadata\":");
        vdb_buf_put(out, hit->metadata, hit->metadata_bytes);
    }
    if (!shape->with_vector || hit->vector == NULL) {
        return;
    }
    vdb_buf_put_text(out, ",\"vector\":");
    if (shape->base64) {
        vdb_buf_put_u8(out, '"');
        vdb_base64_encode(out, hit->vector, hit->dimension * sizeof *hit->vector);
        vdb_buf_put_u8(out, '"');
        return;
    }
    vdb_buf_put_u8(out, '[');
    for (uint32_t i = 0; i < hit->dimension; i++) {
        if (i > 0) {
            vdb_buf_put_u8(out, ',');
        }
        vdb_json_put_float(out, hit->vector[i]);
    }
    vdb_buf_put_u8(out, ']');
}

void vdb_answers_put_point(struct vdb_buf *out, const vecdb_hit *hit, const struct vdb_body_shape *shape)
{
    vdb_buf_put_u8(out, '{');
    put_id(out, &hit->id);
    put_parts(out, hit, shape);
    vdb_buf_put_u8(out, '}');
}

void vdb_answers_put_points(struct vdb_buf *out, const vecdb_hit *hits, size_t count,
                            const struct vdb_body_shape *shape)
{
    vdb_buf_put_text(out, "{\"points\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            vdb_buf_put_u8(out, ',');
        }
        vdb_answers_put_point(out, &hits[i], shape);
    }
    vdb_buf_put_text(out, "]}");
}

static void put_explain(struct vdb_buf *out, const vecdb_explain *explain)
{
    vdb_buf_put_text(out, ",\"explain\":{\"plan\":");
    vdb_json_put_string(out, vdb_str_of(explain->plan));
    vdb_buf_printf(out, ",\"rows\":%llu,\"rows_indexed\":%llu,\"rows_allowed\":%llu,\"ef\":%u",
                   (unsigned long long)explain->rows, (unsigned long long)explain->rows_indexed,
                   (unsigned long long)explain->rows_allowed, explain->ef);
    vdb_buf_printf(out, ",\"distances_computed\":%llu", (unsigned long long)explain->distances_computed);
    vdb_buf_printf(out, ",\"filter_us\":%.1f,\"search_us\":%.1f,\"total_us\":%.1f}",
                   (double)explain->filter_ns / 1e3, (double)explain->search_ns / 1e3,
                   (double)explain->total_ns / 1e3);
}

void vdb_answers_put_results(struct vdb_buf *out, const vecdb_hit *hits, size_t count,
                             const struct vdb_body_shape *shape, const vecdb_explain *explain)
{
    vdb_buf_put_text(out, "{\"results\":[");
    for (size_t i = 0; i < count; i++) {
        vdb_buf_put_text(out, i > 0 ? ",{" : "{");
        put_id(out, &hits[i].id);
        vdb_buf_put_text(out, ",\"score\":");
        vdb_json_put_double(out, hits[i].score); /* finite: distance/kernels.h */
        put_parts(out, &hits[i], shape);
        vdb_buf_put_u8(out, '}');
    }
    vdb_buf_put_u8(out, ']');
    if (explain != NULL) {
        put_explain(out, explain);
    }
    vdb_buf_put_u8(out, '}');
}

unsigned vdb_answers_http_status(vdb_status status)
{
    switch (status) {
    case VDB_OK:
        return 200;
    case VDB_INVALID:
        return 400;
    case VDB_NOT_FOUND:
        return 404;
    case VDB_EXISTS:
        return 409;
    case VDB_LIMIT:
        return 413;
    case VDB_UNSUPPORTED:
        return 501;
    case VDB_BUSY:
    case VDB_NO_SPACE:
    case VDB_NO_MEMORY:
    case VDB_READ_ONLY:
    case VDB_CANCELLED:
        return 503;
    default:
        return 500;
    }
}

void vdb_answers_put_problem(struct vdb_buf *out, unsigned http_status, const struct vdb_err *err)
{
    vdb_buf_put_text(out, "{\"type\":\"about:blank\",\"title\":");
    vdb_json_put_string(out, vdb_str_of(vdb_status_text(err->status)));
    vdb_buf_printf(out, ",\"status\":%u,\"code\":\"%s\",\"detail\":", http_status, vdb_status_name(err->status));
    vdb_json_put_string(out, vdb_str_of(err->text));
    vdb_buf_put_u8(out, '}');
}
