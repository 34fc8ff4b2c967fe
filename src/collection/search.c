/* search.c: what a collection answers: search, get, count.
 *
 * A search pins a view and goes through its sources (memtables and segments) one after the other: which of a source's
 * rows it may return (visible in the view, past the filter) as a dense bitset, its k best, by its graph or a scan
 * (search_source.h), and those offered to the answer's k best, in which equal distances go in id order whatever source they
 * come from. From the pin on it takes no lock.
 *
 * Memtables hold floats, segments the collection's element. Every source gives the distances in double of the numbers
 * that are kept (distance/wide.h; whole numbers exactly), so that distances of different sources compare: a query that the
 * element can hold is measured as it, any other is a wide one (index.h); no distance is ever one of a rounded query.
 */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/timer.h"
#include "check.h"
#include "collection_internal.h"
#include "filter/filter.h"
#include "search_source.h"
#include "shadow.h"
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
    if (search->ef > VDB_INDEX_CONFIG_EF_MAX) {
        return vdb_err_set(err, VDB_INVALID, "ef: %u; allowed are 1..%d", search->ef, VDB_INDEX_CONFIG_EF_MAX);
    }
    if (!(search->target_recall >= 0 && search->target_recall < 1)) { /* a NaN too */
        return vdb_err_set(err, VDB_INVALID, "target_recall: %g; allowed is between 0 and 1",
                           search->target_recall);
    }
    if (search->ef != 0 && search->target_recall > 0) {
        return vdb_err_set(err, VDB_INVALID, "ef: %u, and target_recall: %g; a search has one of them",
                           search->ef, search->target_recall);
    }
    return vdb_check_vector(search->vector, search->dimension, schema, err);
}

/* Bits of the rows of a source that the view sees and the filter (may be NULL) lets through; *allowed of them. */
static vdb_status fill_allow(const struct vdb_view *view, uint32_t source, const struct vdb_filter *filter,
                             struct vdb_bitset *allow, uint64_t *allowed, struct vdb_err *err)
{
    uint32_t rows = vdb_view_source_rows(view, source);
    struct vdb_view_meta reader;
    vdb_status status = VDB_OK;
    if (!vdb_bitset_init(allow, rows)) {
        return vdb_err_no_memory(err, "a filter's bitset");
    }
    *allowed = vdb_view_fill_visible(view, source, allow);
    if (filter == NULL) {
        return VDB_OK;
    }
    vdb_view_meta_init(&reader, view, source);
    for (uint32_t row = 0; row < rows; row++) {
        struct vdb_str metadata;
        if (!vdb_bitset_test(allow, row)) {
            continue;
        }
        VDB_CHECK(vdb_view_meta_read(&reader, row, &metadata, err));
        if (!vdb_filter_match(filter, metadata)) {
            vdb_bitset_clear(allow, row);
            --*allowed;
        }
    }

cleanup:
    vdb_view_meta_fini(&reader);
    return status;
}

/* Rows of all sources in one numbering: those of source s begin at first[s]. */
struct numbering {
    const struct vdb_view *view;
    uint32_t *first; /* one more than there are sources */
    uint32_t sources;
};

static struct vdb_place place_of(const struct numbering *numbering, uint32_t number)
{
    uint32_t source = 0;
    while (source + 1 < numbering->sources && number >= numbering->first[source + 1]) {
        source++;
    }
    return (struct vdb_place){source, number - numbering->first[source]};
}

static vdb_status number_rows(const struct vdb_view *view, struct numbering *out, struct vdb_err *err)
{
    uint64_t next = 0;
    out->view = view;
    out->sources = vdb_view_sources(view);
    out->first = vdb_calloc((size_t)out->sources + 1, sizeof *out->first);
    if (out->first == NULL) {
        return vdb_err_no_memory(err, "a search");
    }
    for (uint32_t s = 0; s < out->sources; s++) {
        out->first[s] = (uint32_t)next;
        next += vdb_view_source_rows(view, s);
        if (next > UINT32_MAX) {
            return vdb_err_set(err, VDB_LIMIT, "rows: over %u versions of points; compact the collection",
                               UINT32_MAX);
        }
    }
    out->first[out->sources] = (uint32_t)next;
    return VDB_OK;
}

/* What the tie rules below need; an id that cannot be read shows after the search. */
struct tie {
    const struct numbering *numbering; /* of the merged answer */
    const struct vdb_view *view;       /* of one source */
    uint32_t source;
    struct vdb_err err;
    bool failed;
};

static bool id_before(struct tie *tie, struct vdb_place a, struct vdb_place b)
{
    struct vdb_id id_a;
    struct vdb_id id_b;
    struct vdb_err *err = tie->failed ? NULL : &tie->err;
    if (vdb_view_id(tie->view, a.source, a.row, &id_a, err) != VDB_OK ||
        vdb_view_id(tie->view, b.source, b.row, &id_b, err) != VDB_OK) {
        tie->failed = true;
        return false;
    }
    return vdb_id_before(&id_a, &id_b);
}

/* Equal distances go in id order: among the rows of a source... */
static bool tie_in_source(void *ctx, uint32_t a, uint32_t b)
{
    struct tie *tie = ctx;
    return id_before(tie, (struct vdb_place){tie->source, a}, (struct vdb_place){tie->source, b});
}

/* ...and in the answer. */
static bool tie_in_answer(void *ctx, uint32_t a, uint32_t b)
{
    struct tie *tie = ctx;
    return id_before(tie, place_of(tie->numbering, a), place_of(tie->numbering, b));
}

struct run {
    struct vdb_collection *collection;
    const struct vdb_search *search;
    const struct vdb_filter *filter;
    struct vdb_hits *out;
    struct numbering numbering;
    struct vdb_candidate *candidates; /* of the answer, then of one source: k each */
    struct vdb_search_run sources;
    bool begun; /* sources */
    struct vdb_topk answer;
    struct tie tie; /* of the answer */
    uint64_t filter_ns;
};

/* Fills topk from the source, by whichever way is quickest. */
static vdb_status fill_topk(struct run *run, uint32_t source, struct vdb_topk *topk, struct vdb_err *err)
{
    const struct vdb_view *view = &run->out->view;
    struct vdb_bitset allow = {0};
    uint64_t allowed = vdb_view_source_rows(view, source);
    const bool sees_all = vdb_view_sees_all(view, source);
    const bool restricted = run->filter != NULL || !sees_all;
    const uint64_t started = vdb_now_ns();
    bool answered = false;
    vdb_status status = VDB_OK;
    if (run->filter == NULL && !sees_all) {
        VDB_CHECK(vdb_search_lively(&run->sources, source, topk, &allowed, &answered, err));
    }
    if (restricted && !answered) {
        VDB_CHECK(fill_allow(view, source, run->filter, &allow, &allowed, err));
        run->filter_ns += vdb_now_ns() - started;
    }
    run->out->explain.rows_allowed += allowed;
    if (allowed > 0 && !answered) {
        status = vdb_search_source(&run->sources, source, restricted ? &allow : NULL, topk, err);
    }

cleanup:
    vdb_bitset_fini(&allow);
    return status;
}

/* Offers a source's k best to the answer. */
static vdb_status search_source(struct run *run, uint32_t source, struct vdb_err *err)
{
    struct tie tie = {.view = &run->out->view, .source = source};
    struct vdb_topk topk;
    vdb_topk_init(&topk, run->candidates + run->sources.k, run->sources.k);
    topk.tie = tie_in_source;
    topk.tie_ctx = &tie;
    VDB_TRY(fill_topk(run, source, &topk, err));
    for (size_t i = 0; i < topk.count; i++) {
        (void)vdb_topk_push(&run->answer, topk.heap[i].distance, run->numbering.first[source] + topk.heap[i].row);
    }
    return tie.failed ? vdb_err_set(err, VDB_CORRUPT, "%s", tie.err.text) : VDB_OK;
}

/* ---- Answers ---- */

enum { HITS_BLOCK_BYTES = 16 << 10 };

void vdb_hits_fini(struct vdb_hits *hits)
{
    free(hits->hits);
    vdb_view_release(&hits->view);
    vdb_arena_fini(&hits->arena);
    *hits = (struct vdb_hits){0};
}

/* Fills the hit's vector, which is copied where it is not kept as floats. */
static vdb_status fill_vector(struct vdb_hits *out, const struct vdb_schema *schema, struct vdb_place place,
                              struct vdb_hit *hit, struct vdb_err *err)
{
    float *room = NULL;
    if (schema->element != VDB_ELEMENT_F32 && vdb_view_memtable(&out->view, place.source) == NULL) {
        room = vdb_arena_alloc(&out->arena, schema->dimension * sizeof *room);
        if (room == NULL) {
            return vdb_err_no_memory(err, "a vector");
        }
    }
    return vdb_view_vector(&out->view, place.source, place.row, room, &hit->vector, err);
}

/* Fills the rest of the hit of a row. Metadata of a segment is copied, as its block is given up again. */
static vdb_status fill_hit(struct vdb_hits *out, struct vdb_place place, double score, bool with_metadata,
                           struct vdb_hit *hit, struct vdb_err *err)
{
    struct vdb_view_meta reader;
    struct vdb_str metadata;
    hit->score = score;
    VDB_TRY(vdb_view_id(&out->view, place.source, place.row, &hit->id, err));
    if (!with_metadata) {
        return VDB_OK;
    }
    vdb_view_meta_init(&reader, &out->view, place.source);
    vdb_status status = vdb_view_meta_read(&reader, place.row, &metadata, err);
    if (status == VDB_OK && vdb_view_memtable(&out->view, place.source) == NULL) {
        char *copy = vdb_arena_alloc(&out->arena, metadata.bytes + 1);
        if (copy == NULL) {
            status = vdb_err_no_memory(err, "metadata");
        } else {
            memcpy(copy, metadata.data, metadata.bytes);
            copy[metadata.bytes] = '\0';
            metadata.data = copy;
        }
    }
    hit->metadata = metadata;
    vdb_view_meta_fini(&reader);
    return status;
}

/* How wide graphs are searched: the search's own word, or the collection's. */
static void choose_width(struct run *run)
{
    struct vdb_graphs *graphs = &run->collection->graphs;
    const struct vdb_search *search = run->search;
    struct vdb_search_run *sources = &run->sources;
    sources->exact = search->exact || atomic_load_explicit(&graphs->flat, memory_order_relaxed);
    sources->ef = search->ef;
    if (search->ef == 0 && search->target_recall == 0) {
        sources->ef = atomic_load_explicit(&graphs->ef_search, memory_order_relaxed);
    }
    sources->target_recall = search->target_recall > 0
                                 ? search->target_recall
                                 : atomic_load_explicit(&graphs->target_recall, memory_order_relaxed);
    sources->boost = vdb_shadow_boost(&graphs->shadow);
}

static const char *plan_of(unsigned plans, bool filtered)
{
    static const char names[VDB_PLAN_ALL + 1][2][VDB_PLAN_BYTES] = {
        {"flat scan", "flat scan, filtered"}, /* of nothing */
        [VDB_PLAN_QGRAPH] = {"qgraph", "qgraph, filtered"},
        [VDB_PLAN_HNSW] = {"hnsw", "hnsw, filtered"},
        [VDB_PLAN_QGRAPH | VDB_PLAN_HNSW] = {"qgraph + hnsw", "qgraph + hnsw, filtered"},
        [VDB_PLAN_FLAT] = {"flat scan", "flat scan, filtered"},
        [VDB_PLAN_FLAT | VDB_PLAN_QGRAPH] = {"qgraph + flat scan", "qgraph + flat scan, filtered"},
        [VDB_PLAN_FLAT | VDB_PLAN_HNSW] = {"hnsw + flat scan", "hnsw + flat scan, filtered"},
        [VDB_PLAN_ALL] = {"qgraph + hnsw + flat scan", "qgraph + hnsw + flat scan, filtered"},
    };
    return names[plans][filtered];
}

static vdb_status search_sources(struct run *run, struct vdb_err *err)
{
    struct vdb_hits *out = run->out;
    struct vdb_search_run *sources = &run->sources;
    VDB_TRY(number_rows(&out->view, &run->numbering, err));
    out->explain.rows = run->numbering.first[run->numbering.sources];
    /* k is capped by what can come back, so that a large k costs a small collection nothing. */
    sources->k = run->search->k < out->view.points ? run->search->k : (size_t)out->view.points;
    sources->view = &out->view;
    sources->schema = vdb_collection_schema(run->collection);
    sources->vector = run->search->vector;
    run->candidates = vdb_calloc(sources->k * 2, sizeof *run->candidates);
    out->hits = vdb_calloc(sources->k, sizeof *out->hits);
    if (run->candidates == NULL || out->hits == NULL) {
        return vdb_err_no_memory(err, "search results");
    }
    choose_width(run);
    run->begun = true;
    VDB_TRY(vdb_search_begin(sources, err));
    vdb_topk_init(&run->answer, run->candidates, sources->k);
    run->tie = (struct tie){.view = &out->view, .numbering = &run->numbering};
    run->answer.tie = tie_in_answer;
    run->answer.tie_ctx = &run->tie;
    for (uint32_t source = 0; sources->k > 0 && source < run->numbering.sources; source++) {
        VDB_TRY(search_source(run, source, err));
    }
    vdb_topk_finish(&run->answer);
    out->explain.plan = plan_of(sources->plans, run->filter != NULL);
    out->explain.rows_indexed = sources->rows_indexed;
    out->explain.ef = sources->ef_widest;
    return run->tie.failed ? vdb_err_set(err, VDB_CORRUPT, "%s", run->tie.err.text) : VDB_OK;
}

static vdb_status run_search(struct run *run, struct vdb_err *err)
{
    struct vdb_hits *out = run->out;
    const struct vdb_schema *schema = vdb_collection_schema(run->collection);
    VDB_TRY(search_sources(run, err));
    for (size_t i = 0; i < run->answer.count; i++) {
        double score = vdb_metric_score(schema->metric, run->candidates[i].distance);
        struct vdb_place place = place_of(&run->numbering, run->candidates[i].row);
        VDB_TRY(fill_hit(out, place, score, !run->search->without_metadata, &out->hits[i], err));
        if (!run->search->without_vector) {
            VDB_TRY(fill_vector(out, schema, place, &out->hits[i], err));
        }
    }
    out->count = run->answer.count;
    if (run->filter == NULL && run->sources.ef == 0 && run->sources.rows_indexed > 0) {
        vdb_shadow_query_offer(run->collection, run->search, run->sources.target_recall, &out->view,
                               run->candidates, run->answer.count);
    }
    return VDB_OK;
}

vdb_status vdb_collection_search(struct vdb_collection *collection, const struct vdb_search *search,
                                 struct vdb_hits *out, struct vdb_err *err)
{
    uint64_t started = vdb_now_ns();
    struct vdb_filter *filter = NULL;
    struct run run = {.collection = collection, .search = search, .out = out};
    vdb_status status;
    *out = (struct vdb_hits){0};
    vdb_arena_init(&out->arena, HITS_BLOCK_BYTES);
    VDB_CHECK(check_search(search, vdb_collection_schema(collection), err));
    if (search->filter.data != NULL) {
        VDB_CHECK(vdb_filter_parse(search->filter.data, search->filter.bytes, &filter, err));
    }
    run.filter = filter;
    vdb_store_pin(collection->store, &out->view);
    atomic_fetch_add_explicit(&collection->searches, 1, memory_order_relaxed);
    VDB_CHECK(run_search(&run, err));
    atomic_fetch_add_explicit(&collection->distances_computed, run.sources.distances, memory_order_relaxed);
    out->explain.distances_computed = run.sources.distances;
    out->explain.total_ns = vdb_now_ns() - started;
    out->explain.filter_ns = run.filter_ns;
    out->explain.search_ns = out->explain.total_ns - run.filter_ns;

cleanup:
    if (run.begun) {
        vdb_search_end(&run.sources);
    }
    vdb_filter_destroy(filter);
    free(run.candidates);
    free(run.numbering.first);
    if (status != VDB_OK) {
        vdb_hits_fini(out);
    }
    return status;
}

vdb_status vdb_collection_get(struct vdb_collection *collection, const struct vdb_id *ids, size_t count,
                              struct vdb_hits *out, struct vdb_err *err)
{
    struct vdb_place *places = NULL;
    vdb_status status;
    *out = (struct vdb_hits){0};
    vdb_arena_init(&out->arena, HITS_BLOCK_BYTES);
    if (count < 1 || count > VDB_LIMIT_BATCH_POINTS_MAX) {
        return vdb_err_set(err, count < 1 ? VDB_INVALID : VDB_LIMIT, "ids: %zu given; allowed are 1..%u", count,
                           VDB_LIMIT_BATCH_POINTS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        VDB_CHECK(vdb_check_id(&ids[i], err));
    }
    places = vdb_calloc(count, sizeof *places);
    out->hits = vdb_calloc(count, sizeof *out->hits);
    if (places == NULL || out->hits == NULL) {
        status = vdb_err_no_memory(err, "points");
        goto cleanup;
    }
    VDB_CHECK(vdb_store_find(collection->store, ids, count, &out->view, places, err));
    for (size_t i = 0; i < count; i++) {
        if (places[i].source != VDB_SLOT_NONE) {
            VDB_CHECK(fill_hit(out, places[i], 0, true, &out->hits[out->count], err));
            VDB_CHECK(
                fill_vector(out, vdb_collection_schema(collection), places[i], &out->hits[out->count], err));
            out->count++;
        }
    }

cleanup:
    free(places);
    if (status != VDB_OK) {
        vdb_hits_fini(out);
    }
    return status;
}

vdb_status vdb_collection_count(struct vdb_collection *collection, struct vdb_str filter_text, uint64_t *out,
                                struct vdb_err *err)
{
    struct vdb_view view = {0};
    struct vdb_filter *filter = NULL;
    vdb_status status = VDB_OK;
    if (filter_text.data != NULL) {
        VDB_TRY(vdb_filter_parse(filter_text.data, filter_text.bytes, &filter, err));
    }
    vdb_store_pin(collection->store, &view);
    *out = filter == NULL ? view.points : 0;
    for (uint32_t source = 0; filter != NULL && source < vdb_view_sources(&view); source++) {
        struct vdb_bitset allow = {0};
        uint64_t allowed = 0;
        status = fill_allow(&view, source, filter, &allow, &allowed, err);
        vdb_bitset_fini(&allow);
        if (status != VDB_OK) {
            break;
        }
        *out += allowed;
    }
    vdb_filter_destroy(filter);
    vdb_view_release(&view);
    return status;
}
