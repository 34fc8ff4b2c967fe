/* search.c: what a collection answers: search, get, count.
 *
 * A search pins a view, works out which rows it may return (visible in the view, past the filter) as a dense
 * bitset, makes one indirect call into the index, and names the winners. From the pin on it takes no lock; what
 * the index needs is allocated before its call.
 */
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/timer.h"
#include "check.h"
#include "collection_internal.h"
#include "filter/filter.h"
#include "storage/idmap.h"

static vdb_status check_search(const struct vdb_search *search, const struct vdb_schema *schema,
                               struct vdb_err *err)
{
    if (search->k < 1) {
        return vdb_err_set(err, VDB_INVALID, "k: 0; allowed are 1..%u", VDB_LIMIT_K_MAX);
    }
    if (search->k > VDB_LIMIT_K_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "k: %u is over the limit of %u", search->k, VDB_LIMIT_K_MAX);
    }
    return vdb_check_vector(search->vector, search->dimension, schema, err);
}

/* Sets the bit of each row that the view sees and the filter (may be NULL) lets through; returns how many. */
static uint64_t fill_allow(const struct vdb_memtable_view *view, const struct vdb_filter *filter,
                           struct vdb_bitset *allow)
{
    uint64_t allowed = 0;
    for (uint32_t slot = 0; slot < view->slot_count; slot++) {
        if (vdb_view_sees(view, slot) &&
            (filter == NULL || vdb_filter_match(filter, vdb_view_row(view, slot)->metadata))) {
            vdb_bitset_set(allow, slot);
            allowed++;
        }
    }
    return allowed;
}

/* Equal distances go in id order. */
static bool tie_by_id(void *ctx, uint32_t a, uint32_t b)
{
    const struct vdb_memtable_view *view = ctx;
    return vdb_id_before(&vdb_view_row(view, a)->id, &vdb_view_row(view, b)->id);
}

static struct vdb_hit hit_of(const struct vdb_memtable_view *view, uint32_t slot, double score)
{
    const struct vdb_row *row = vdb_view_row(view, slot);
    return (struct vdb_hit){&row->id, vdb_view_vector(view, slot), row->metadata, score};
}

static vdb_status run_index(struct vdb_collection *collection, const struct vdb_search *search,
                            struct vdb_memtable_view *view, const struct vdb_bitset *allow, struct vdb_topk *topk,
                            struct vdb_explain *explain, struct vdb_err *err)
{
    const struct vdb_schema *schema = vdb_collection_schema(collection);
    struct vdb_rows rows = {
        .chunks = view->vector_chunks,
        .chunk_shift = view->chunk_shift,
        .stride_bytes = view->stride_bytes,
        .dimension = schema->dimension,
        .element = VDB_ELEMENT_F32,
        .metric = schema->metric,
        .count = view->slot_count,
    };
    struct vdb_search_counters counters = {0};
    struct vdb_query query = {.vector = search->vector, .allow = allow, .counters = &counters};
    VDB_TRY(collection->index->search(NULL, &rows, &query, topk, err));
    vdb_topk_finish(topk);
    explain->distances_computed = counters.distances_computed;
    atomic_fetch_add_explicit(&collection->distances_computed, counters.distances_computed, memory_order_relaxed);
    return VDB_OK;
}

vdb_status vdb_collection_search(struct vdb_collection *collection, const struct vdb_search *search,
                                 struct vdb_hits *out, struct vdb_err *err)
{
    uint64_t started = vdb_now_ns();
    struct vdb_filter *filter = NULL;
    struct vdb_bitset allow = {0};
    struct vdb_candidate *candidates = NULL;
    struct vdb_memtable_view view;
    struct vdb_topk topk;
    vdb_status status;
    *out = (struct vdb_hits){0};
    VDB_CHECK(check_search(search, vdb_collection_schema(collection), err));
    if (search->filter.data != NULL) {
        VDB_CHECK(vdb_filter_parse(search->filter.data, search->filter.bytes, &filter, err));
    }
    vdb_memtable_pin(vdb_store_memtable(collection->store), &view);
    bool restricted = filter != NULL || view.dead_count > 0;
    out->explain.plan = filter != NULL ? "flat scan, filtered" : "flat scan";
    out->explain.rows = view.slot_count;
    out->explain.rows_allowed = view.slot_count;
    if (restricted) {
        if (!vdb_bitset_init(&allow, view.slot_count)) {
            status = vdb_err_no_memory(err, "a filter's bitset");
            goto cleanup;
        }
        out->explain.rows_allowed = fill_allow(&view, filter, &allow);
    }
    uint64_t filtered = vdb_now_ns();
    out->explain.filter_ns = filtered - started;

    /* k is capped by what can come back, so that a large k costs a small collection nothing. */
    size_t k = search->k < out->explain.rows_allowed ? search->k : (size_t)out->explain.rows_allowed;
    candidates = vdb_calloc(k, sizeof *candidates);
    out->hits = vdb_calloc(k, sizeof *out->hits);
    if (candidates == NULL || out->hits == NULL) {
        status = vdb_err_no_memory(err, "search results");
        goto cleanup;
    }
    vdb_topk_init(&topk, candidates, k);
    topk.tie = tie_by_id;
    topk.tie_ctx = &view;
    atomic_fetch_add_explicit(&collection->searches, 1, memory_order_relaxed);
    if (k > 0) {
        VDB_CHECK(run_index(collection, search, &view, restricted ? &allow : NULL, &topk, &out->explain, err));
    }
    out->count = topk.count;
    for (size_t i = 0; i < topk.count; i++) {
        double score = vdb_metric_score(vdb_collection_schema(collection)->metric, candidates[i].distance);
        out->hits[i] = hit_of(&view, candidates[i].row, score);
    }
    uint64_t finished = vdb_now_ns();
    out->explain.search_ns = finished - filtered;
    out->explain.total_ns = finished - started;

cleanup:
    vdb_filter_destroy(filter);
    vdb_bitset_fini(&allow);
    free(candidates);
    if (status != VDB_OK) {
        free(out->hits);
        *out = (struct vdb_hits){0};
    }
    return status;
}

vdb_status vdb_collection_get(struct vdb_collection *collection, const struct vdb_id *ids, size_t count,
                              struct vdb_hits *out, struct vdb_err *err)
{
    *out = (struct vdb_hits){0};
    if (count < 1 || count > VDB_LIMIT_BATCH_POINTS_MAX) {
        return vdb_err_set(err, count < 1 ? VDB_INVALID : VDB_LIMIT, "ids: %zu given; allowed are 1..%u", count,
                           VDB_LIMIT_BATCH_POINTS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        VDB_TRY(vdb_check_id(&ids[i], err));
    }
    struct vdb_memtable_view view;
    uint32_t *slots = vdb_calloc(count, sizeof *slots);
    out->hits = vdb_calloc(count, sizeof *out->hits);
    if (slots == NULL || out->hits == NULL) {
        free(slots);
        free(out->hits);
        out->hits = NULL;
        return vdb_err_no_memory(err, "points");
    }
    vdb_memtable_find(vdb_store_memtable(collection->store), ids, count, &view, slots);
    for (size_t i = 0; i < count; i++) {
        if (slots[i] != VDB_SLOT_NONE) {
            out->hits[out->count++] = hit_of(&view, slots[i], 0);
        }
    }
    free(slots);
    return VDB_OK;
}

vdb_status vdb_collection_count(struct vdb_collection *collection, struct vdb_str filter_text, uint64_t *out,
                                struct vdb_err *err)
{
    struct vdb_memtable_view view;
    struct vdb_filter *filter = NULL;
    if (filter_text.data != NULL) {
        VDB_TRY(vdb_filter_parse(filter_text.data, filter_text.bytes, &filter, err));
    }
    vdb_memtable_pin(vdb_store_memtable(collection->store), &view);
    *out = view.slot_count - view.dead_count;
    if (filter != NULL) {
        *out = 0;
        for (uint32_t slot = 0; slot < view.slot_count; slot++) {
            *out += vdb_view_sees(&view, slot) && vdb_filter_match(filter, vdb_view_row(&view, slot)->metadata);
        }
        vdb_filter_destroy(filter);
    }
    return VDB_OK;
}
