/* answers.c: JSON out. Metadata goes out as the canonical text in which it is stored: nothing is parsed again. */
#include "server/answers.h"

#include "base/base64.h"
#include "base/json.h"

void vdb_answers_put_info(struct vdb_buf *out, const vecdb_collection_info *info)
{
    vdb_buf_put_text(out, "{\"name\":");
    vdb_json_put_string(out, vdb_str_of(info->name));
    vdb_buf_printf(out, ",\"dimension\":%u,\"metric\":\"%s\",\"element\":\"%s\",\"index_config\":{\"type\":",
                   info->dimension, vecdb_metric_name(info->metric), vecdb_element_name(info->element));
    vdb_json_put_string(out, vdb_str_of(info->index));
    vdb_buf_printf(out, "},\"count\":%llu,\"last_seq\":%llu,\"memory_bytes\":%llu,\"log_bytes\":%llu",
                   (unsigned long long)info->count, (unsigned long long)info->last_seq,
                   (unsigned long long)info->memory_bytes, (unsigned long long)info->log_bytes);
    vdb_buf_printf(out, ",\"segments\":%llu,\"segment_rows\":%llu,\"segment_dead\":%llu,\"segment_bytes\":%llu",
                   (unsigned long long)info->segments, (unsigned long long)info->segment_rows,
                   (unsigned long long)info->segment_dead, (unsigned long long)info->segment_bytes);
    vdb_buf_printf(out, ",\"segment_live_bytes\":%llu,\"compaction_debt_bytes\":%llu,\"checkpoint_seq\":%llu}",
                   (unsigned long long)info->segment_live_bytes, (unsigned long long)info->compaction_debt_bytes,
                   (unsigned long long)info->checkpoint_seq);
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
    vdb_buf_printf(out, ",\"rows\":%llu,\"rows_allowed\":%llu,\"distances_computed\":%llu",
                   (unsigned long long)explain->rows, (unsigned long long)explain->rows_allowed,
                   (unsigned long long)explain->distances_computed);
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
