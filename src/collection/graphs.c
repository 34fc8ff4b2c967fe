/* graphs.c: the settings of a collection's graphs, what is due by them, and how things stand.
 *
 * A pass looks at the segments of the present version and does one thing after the other until nothing is due: loads files
 * that are there (they were paid for), takes away what is not wanted any more, builds what lacks, the largest first. After
 * each thing it looks anew, so that it goes by the segments and settings that are there then. What has failed in a pass is
 * not tried again in it.
 */
#include "graphs.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "collection_internal.h"
#include "indexer.h"

enum { WAIT_NS = 20 * 1000000, LOOK_NS = 100 * 1000000, CHECK_TRIES = 1000 };

/* ---- Settings ---- */

/* Whether the two want the same graphs; they may differ in how these are searched. */
static bool same_graphs(const struct vdb_index_config *a, const struct vdb_index_config *b)
{
    const struct vdb_index_build build_a = vdb_index_config_build(a);
    const struct vdb_index_build build_b = vdb_index_config_build(b);
    return memcmp(&build_a, &build_b, sizeof build_a) == 0 &&
           vdb_index_config_scan_below(a) == vdb_index_config_scan_below(b);
}

static void take_config(struct vdb_graphs *graphs, const struct vdb_index_config *config)
{
    pthread_mutex_lock(&graphs->lock);
    const bool same = same_graphs(&graphs->config, config);
    graphs->config = *config;
    pthread_mutex_unlock(&graphs->lock);
    atomic_store_explicit(&graphs->flat, vdb_index_config_is(config, "flat"), memory_order_relaxed);
    atomic_store_explicit(&graphs->ef_search, config->ef_search, memory_order_relaxed);
    atomic_store_explicit(&graphs->scan_below, vdb_index_config_scan_below(config), memory_order_relaxed);
    atomic_store_explicit(&graphs->target_recall, vdb_index_config_target_recall(config), memory_order_relaxed);
    if (!same) {
        atomic_fetch_add_explicit(&graphs->epoch, 1, memory_order_release);
    }
}

vdb_status vdb_graphs_init(struct vdb_graphs *graphs, struct vdb_store *store, struct vdb_err *err)
{
    struct vdb_index_config config;
    vdb_store_get_index_config(store, &config);
    vdb_status status = vdb_index_config_check(&config, vdb_store_schema(store), err);
    if (status != VDB_OK) {
        (void)vdb_err_wrap(err, status, "not known to this version");
        return VDB_VERSION;
    }
    take_config(graphs, &config);
    atomic_store_explicit(&graphs->segments_due, true, memory_order_relaxed);
    return VDB_OK;
}

void vdb_graphs_get_config(struct vdb_graphs *graphs, struct vdb_index_config *out)
{
    pthread_mutex_lock(&graphs->lock);
    *out = graphs->config;
    pthread_mutex_unlock(&graphs->lock);
}

void vdb_graphs_segments_changed(struct vdb_collection *collection)
{
    atomic_store_explicit(&collection->graphs.segments_due, true, memory_order_release);
    vdb_indexer_note_segments(vdb_collection_indexer(collection));
    vdb_indexer_note_memory(vdb_collection_indexer(collection));
}

/* ---- What is due ---- */

enum action { NOTHING, LOAD, TAKE_AWAY, BUILD };

struct task {
    enum action action;
    struct vdb_segment *segment; /* one reference */
    struct vdb_index_build build;
    uint64_t waiting; /* rows of all that are to be built */
};

struct pass {
    struct vdb_collection *collection;
    const struct vdb_index_build_options *options;
    struct vdb_buf tried;   /* u32 numbers of segments whose file was tried to be loaded, */
    struct vdb_buf refused; /* and of those that could not be built or cleared */
    uint64_t done;          /* rows built */
    uint64_t waiting;       /* rows to build, this one's included */
    uint64_t epoch;         /* of the build under way */
    struct vdb_segment *segment;
    uint64_t looked_ns; /* whether it is still there */
    vdb_status status;  /* the first failure */
    struct vdb_err err;
};

static bool is_in(const struct vdb_buf *numbers, uint32_t number)
{
    for (size_t at = 0; at < numbers->bytes; at += sizeof number) {
        if (vdb_load_u32(numbers->data + at) == number) {
            return true;
        }
    }
    return false;
}

static enum action action_of(const struct pass *pass, const struct vdb_index_config *config,
                             const struct vdb_index_build *build, struct vdb_segment *segment,
                             const struct vdb_graph *graph)
{
    const struct vdb_segment_info *info = vdb_segment_info(segment);
    const bool wanted = !vdb_index_config_is(config, "flat") && info->rows >= vdb_index_config_scan_below(config);
    const bool loadable = graph == NULL && !is_in(&pass->tried, info->number);
    if (pass->collection->graphs.read_only) {
        return wanted && loadable ? LOAD : NOTHING;
    }
    if (!wanted) {
        return (graph != NULL || (loadable && info->index_edition != 0)) && !is_in(&pass->refused, info->number)
                   ? TAKE_AWAY
                   : NOTHING;
    }
    if (loadable) {
        return LOAD;
    }
    const bool lacks = graph == NULL || memcmp(&graph->build, build, sizeof *build) != 0;
    return lacks && !is_in(&pass->refused, info->number) ? BUILD : NOTHING;
}

/* Chooses what comes next: loads, then what is to go, then builds. */
static void choose(const struct pass *pass, struct task *task)
{
    struct vdb_view view;
    struct vdb_index_config config;
    *task = (struct task){0};
    vdb_graphs_get_config(&pass->collection->graphs, &config);
    task->build = vdb_index_config_build(&config);
    vdb_store_pin(pass->collection->store, &view);
    const struct vdb_version *version = view.version;
    for (uint32_t i = 0; i < version->segment_count; i++) {
        struct vdb_segment *segment = version->segments[i];
        const enum action action = action_of(pass, &config, &task->build, segment,
                                             vdb_graph_of(&view, version->memtable_count + i));
        const uint32_t rows = vdb_segment_rows(segment);
        task->waiting += action == BUILD ? rows : 0;
        const bool first = task->segment == NULL || action < task->action ||
                           (action == task->action && rows > vdb_segment_rows(task->segment));
        if (action != NOTHING && first) {
            task->action = action;
            task->segment = segment;
        }
    }
    if (task->segment != NULL) {
        vdb_segment_ref(task->segment);
    }
    vdb_view_release(&view);
}

/* ---- A pass ---- */

static bool report(struct pass *pass, uint64_t more)
{
    const struct vdb_index_build_options *options = pass->options;
    return !atomic_load_explicit(&pass->collection->closing, memory_order_relaxed) &&
           (options->progress == NULL ||
            options->progress(options->ctx, pass->done + more, pass->done + pass->waiting));
}

static bool is_there(struct vdb_collection *collection, const struct vdb_segment *segment)
{
    struct vdb_view view;
    bool there = false;
    vdb_store_pin(collection->store, &view);
    for (uint32_t i = 0; i < view.version->segment_count; i++) {
        there = there || view.version->segments[i] == segment;
    }
    vdb_view_release(&view);
    return there;
}

/* Of a build: goes on while the caller wants it, the settings are the same and the segment is there. */
static bool build_goes_on(void *ctx, uint64_t done, uint64_t total)
{
    struct pass *pass = ctx;
    struct vdb_graphs *graphs = &pass->collection->graphs;
    const double part = total > 0 ? (double)(done < total ? done : total) / (double)total : 0;
    atomic_store_explicit(&graphs->building, part, memory_order_relaxed);
    if (atomic_load_explicit(&graphs->epoch, memory_order_relaxed) != pass->epoch) {
        return false;
    }
    const uint64_t now = vdb_now_ns();
    if (now - pass->looked_ns > LOOK_NS) {
        pass->looked_ns = now;
        if (!is_there(pass->collection, pass->segment)) {
            return false;
        }
    }
    return report(pass, (uint64_t)(part * vdb_segment_rows(pass->segment)));
}

static void note_failure(struct pass *pass, struct vdb_segment *segment, const char *what, vdb_status status,
                         const struct vdb_err *err)
{
    struct vdb_collection *collection = pass->collection;
    const uint32_t number = vdb_segment_info(segment)->number;
    vdb_log(VDB_LOG_WARN, "graphs", "collection \"%s\": segment %u: %s: %s",
            vdb_collection_schema(collection)->name, number, what, err->text);
    if (pass->status == VDB_OK) {
        pass->status = vdb_err_set(&pass->err, status, "segment %u: %s: %s", number, what, err->text);
    }
    atomic_fetch_add_explicit(&collection->graphs.build_failures, 1, memory_order_relaxed);
}

static void build(struct pass *pass, const struct task *task)
{
    struct vdb_graphs *graphs = &pass->collection->graphs;
    struct vdb_err err = {0};
    pass->segment = task->segment;
    pass->waiting = task->waiting;
    vdb_status status = vdb_graph_segment_build(pass->collection, task->segment, &task->build,
                                                pass->options->threads, build_goes_on, pass, &err);
    atomic_store_explicit(&graphs->building, 0, memory_order_relaxed);
    if (status == VDB_OK) {
        pass->done += vdb_segment_rows(task->segment);
        return;
    }
    /* Cancelled by a change, gone, overtaken: the next look finds what is due then. */
    if (status != VDB_CANCELLED && status != VDB_NOT_FOUND && status != VDB_BUSY) {
        vdb_buf_put_u32(&pass->refused, vdb_segment_info(task->segment)->number);
        note_failure(pass, task->segment, "build its graph", status, &err);
    }
}

static void do_task(struct pass *pass, const struct task *task)
{
    struct vdb_collection *collection = pass->collection;
    const uint32_t number = vdb_segment_info(task->segment)->number;
    struct vdb_err err = {0};
    vdb_status status;
    switch (task->action) {
    case LOAD:
        vdb_buf_put_u32(&pass->tried, number);
        status = vdb_graph_segment_load(collection, task->segment, &err);
        if (status != VDB_OK && status != VDB_NOT_FOUND) {
            vdb_log(VDB_LOG_WARN, "graphs", "collection \"%s\": segment %u: %s: %s",
                    vdb_collection_schema(collection)->name, number,
                    collection->graphs.read_only ? "its rows are scanned in a snapshot"
                                                 : "its graph is built anew",
                    err.text);
        }
        return;
    case TAKE_AWAY:
        vdb_buf_put_u32(&pass->refused, number);
        vdb_buf_put_u32(&pass->tried, number);
        status = vdb_collection_enter(collection, &err);
        if (status == VDB_OK) {
            status = vdb_collection_leave(collection, vdb_store_detach(collection->store, task->segment, &err));
        }
        if (status != VDB_OK && status != VDB_NOT_FOUND) {
            note_failure(pass, task->segment, "take its graph away", status, &err);
        }
        return;
    case BUILD:
        build(pass, task);
        return;
    default:
        return;
    }
}

static vdb_status run_pass(struct pass *pass, struct vdb_err *err)
{
    struct task task;
    bool goes_on = true;
    for (;;) {
        /* Before the look at the settings: what they are when it is taken, or later ones, is built or cancelled. */
        pass->epoch = atomic_load_explicit(&pass->collection->graphs.epoch, memory_order_acquire);
        choose(pass, &task);
        pass->waiting = task.waiting;
        goes_on = report(pass, 0);
        if (task.segment == NULL || !goes_on) {
            break;
        }
        do_task(pass, &task);
        vdb_segment_unref(task.segment);
        if (pass->tried.failed || pass->refused.failed) {
            return vdb_err_no_memory(err, "a look at the segments");
        }
    }
    const bool cut_short = task.segment != NULL && !goes_on;
    vdb_graph_segment_prune(pass->collection);
    vdb_segment_unref(task.segment);
    if (cut_short) {
        /* What is due still is; who continues notes it. */
        atomic_store_explicit(&pass->collection->graphs.segments_due, true, memory_order_relaxed);
        return vdb_err_set(err, VDB_CANCELLED, "cancelled after %llu rows", (unsigned long long)pass->done);
    }
    return pass->status == VDB_OK ? VDB_OK : vdb_err_set(err, pass->status, "%s", pass->err.text);
}

/* Waits for another pass's end. */
static vdb_status lock_pass(struct pass *pass, struct vdb_err *err)
{
    while (pthread_mutex_trylock(&pass->collection->graphs.pass) != 0) {
        const struct timespec pause = {0, WAIT_NS};
        if (!report(pass, 0)) {
            return vdb_err_set(err, VDB_CANCELLED, "cancelled while another build runs");
        }
        (void)nanosleep(&pause, NULL);
    }
    return VDB_OK;
}

vdb_status vdb_graphs_run(struct vdb_collection *collection, const struct vdb_index_build_options *options,
                          struct vdb_err *err)
{
    struct pass pass = {.collection = collection, .options = options};
    VDB_TRY(lock_pass(&pass, err));
    vdb_status status = run_pass(&pass, err);
    pthread_mutex_unlock(&collection->graphs.pass);
    vdb_buf_fini(&pass.tried);
    vdb_buf_fini(&pass.refused);
    return status;
}

/* Of a build's first part, the memtable's graph. */
static bool keep_going(void *ctx)
{
    struct pass *pass = ctx;
    return report(pass, 0);
}

vdb_status vdb_collection_build_index(struct vdb_collection *collection,
                                      const struct vdb_index_build_options *options, struct vdb_err *err)
{
    const struct vdb_index_build_options defaults = {0};
    struct pass pass = {.collection = collection, .options = options != NULL ? options : &defaults};
    bool again;
    VDB_TRY(vdb_collection_enter(collection, err));
    vdb_status status = vdb_collection_leave(collection, VDB_OK);
    VDB_TRY(status);
    status = vdb_graph_memory_catch_up(collection, false, keep_going, &pass, &again, err);
    if (status == VDB_OK) {
        status = vdb_graphs_run(collection, pass.options, err);
    }
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "build index");
}

/* ---- Changes ---- */

/* With "flat", at once; a failure leaves it to the background. */
static void take_all_away(struct vdb_collection *collection)
{
    struct vdb_view view;
    struct vdb_err err = {0};
    vdb_store_pin(collection->store, &view);
    for (uint32_t i = 0; i < view.version->segment_count; i++) {
        vdb_status status = vdb_store_detach(collection->store, view.version->segments[i], &err);
        if (status != VDB_OK && status != VDB_NOT_FOUND) {
            vdb_log(VDB_LOG_WARN, "graphs", "collection \"%s\": a graph stays for now: %s",
                    vdb_collection_schema(collection)->name, err.text);
        }
    }
    vdb_view_release(&view);
}

static bool same_config(const struct vdb_index_config *a, const struct vdb_index_config *b)
{
    return strcmp(a->type, b->type) == 0 && a->m == b->m && a->ef_construction == b->ef_construction &&
           a->ef_search == b->ef_search && a->code_bits == b->code_bits && a->compact == b->compact &&
           a->scan_below == b->scan_below && !(a->target_recall < b->target_recall) &&
           !(a->target_recall > b->target_recall);
}

static vdb_status change(struct vdb_collection *collection, const struct vdb_index_config *config, bool *changed,
                         struct vdb_err *err)
{
    struct vdb_graphs *graphs = &collection->graphs;
    struct vdb_index_config before;
    vdb_graphs_get_config(graphs, &before);
    const struct vdb_index_build build_before = vdb_index_config_build(&before);
    const struct vdb_index_build build_after = vdb_index_config_build(config);
    *changed = !same_config(&before, config);
    if (!*changed) {
        return VDB_OK;
    }
    VDB_TRY(vdb_store_set_index_config(collection->store, config, err));
    take_config(graphs, config);
    if (memcmp(&build_before, &build_after, sizeof build_before) != 0) {
        pthread_mutex_lock(&graphs->lock);
        struct vdb_lineage *doomed = graphs->lineages;
        graphs->lineages = NULL;
        pthread_mutex_unlock(&graphs->lock);
        vdb_graph_segment_forget(doomed);
    }
    if (vdb_index_config_is(config, "flat")) {
        take_all_away(collection);
    }
    return VDB_OK;
}

vdb_status vdb_collection_set_index(struct vdb_collection *collection, const struct vdb_index_config *config,
                                    struct vdb_err *err)
{
    struct vdb_graphs *graphs = &collection->graphs;
    struct vdb_index_config own = {0}; /* no stray bytes behind the name's end or in gaps */
    bool changed = false;
    VDB_TRY(vdb_index_config_check(config, vdb_collection_schema(collection), err));
    memcpy(own.type, config->type, strlen(config->type));
    own.m = config->m;
    own.ef_construction = config->ef_construction;
    own.ef_search = config->ef_search;
    own.code_bits = config->code_bits;
    own.compact = config->compact;
    own.scan_below = config->scan_below;
    own.target_recall = config->target_recall;
    VDB_TRY(vdb_collection_enter(collection, err));
    pthread_mutex_lock(&graphs->change);
    vdb_status status = change(collection, &own, &changed, err);
    pthread_mutex_unlock(&graphs->change);
    if (changed) {
        vdb_graphs_segments_changed(collection);
    }
    return vdb_collection_leave(collection, status);
}

/* ---- How things stand ---- */

/* Adds one source. */
static void add_source(const struct vdb_view *view, uint32_t source, const struct vdb_index_config *config,
                       struct vdb_index_status *out, double boost)
{
    struct vdb_graph *graph = vdb_graph_of(view, source);
    const bool memory = vdb_view_memtable(view, source) != NULL;
    const uint32_t rows = vdb_view_source_rows(view, source);
    const struct vdb_index_build build = vdb_index_config_build(config);
    uint32_t indexed = 0;
    bool stale = false;
    if (graph != NULL) {
        const uint32_t watermark = atomic_load_explicit(&graph->watermark, memory_order_acquire);
        indexed = !memory ? rows : watermark < rows ? watermark : rows;
        stale = !memory && memcmp(&graph->build, &build, sizeof build) != 0;
        out->memory_bytes += memory ? vdb_graph_memory_bytes(graph) : graph->memory_bytes;
    }
    if (vdb_index_config_is(config, "flat")) {
        return;
    }
    if (graph != NULL) {
        const uint32_t ef = config->ef_search != 0
                                ? config->ef_search
                                : vdb_recall_ef(vdb_graph_recall(graph), vdb_index_config_target_recall(config),
                                                VDB_RECALL_K, boost);
        out->ef_default = out->ef_default > ef ? out->ef_default : ef;
    }
    out->rows_indexed += indexed;
    if (rows >= vdb_index_config_scan_below(config)) {
        out->rows_waiting += stale ? rows : rows - indexed;
    }
}

void vdb_collection_get_index_status(struct vdb_collection *collection, struct vdb_index_status *out)
{
    struct vdb_graphs *graphs = &collection->graphs;
    struct vdb_shadow_stats shadow;
    struct vdb_store_stats store;
    struct vdb_view view;
    *out = (struct vdb_index_status){0};
    vdb_graphs_get_config(graphs, &out->config);
    vdb_store_get_stats(collection->store, &store);
    vdb_shadow_get(&graphs->shadow, &shadow);
    out->file_bytes = store.index_bytes;
    out->builds = atomic_load_explicit(&graphs->builds, memory_order_relaxed);
    out->loads = atomic_load_explicit(&graphs->loads, memory_order_relaxed);
    out->build_failures = atomic_load_explicit(&graphs->build_failures, memory_order_relaxed);
    out->build_ns = atomic_load_explicit(&graphs->build_ns, memory_order_relaxed);
    out->building = atomic_load_explicit(&graphs->building, memory_order_relaxed);
    out->shadow_queries = shadow.queries;
    out->shadow_recall = shadow.recall;
    vdb_store_pin(collection->store, &view);
    for (uint32_t source = 0; source < vdb_view_sources(&view); source++) {
        add_source(&view, source, &out->config, out, shadow.boost);
    }
    vdb_view_release(&view);
}

/* VDB_INVALID: of a memtable's graph that has taken in rows behind the view's since it was pinned. */
static vdb_status check_view(struct vdb_collection *collection, const struct vdb_view *view, struct vdb_err *err)
{
    for (uint32_t source = 0; source < vdb_view_sources(view); source++) {
        const struct vdb_graph *graph = vdb_graph_of(view, source);
        const void *chunk;
        struct vdb_rows rows;
        if (graph == NULL) {
            continue;
        }
        VDB_TRY(vdb_graph_source_rows(view, source, vdb_collection_schema(collection), &chunk, &rows, err));
        vdb_status status = graph->ops->check(graph->index, &rows, err);
        if (status != VDB_OK) {
            return vdb_err_wrap(err, status, "the graph of source %u", source);
        }
    }
    return VDB_OK;
}

vdb_status vdb_graphs_check(struct vdb_collection *collection, struct vdb_err *err)
{
    vdb_status status = VDB_INVALID;
    for (int tries = 0; status == VDB_INVALID && tries < CHECK_TRIES; tries++) {
        struct vdb_view view;
        vdb_store_pin(collection->store, &view);
        status = check_view(collection, &view, err);
        vdb_view_release(&view);
    }
    return status;
}
