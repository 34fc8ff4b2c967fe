/* shadow.c: see shadow.h. */
#include "shadow.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "collection_internal.h"
#include "indexer.h"
#include "search_source.h"

struct vdb_shadow_query {
    struct vdb_collection *collection; /* one reference */
    struct vdb_view view;              /* as the search had it */
    double target;
    float *vector;
    struct vdb_candidate *room; /* of the exact answer: k */
    double *found;              /* distances, ascending */
    size_t found_count;
    size_t k;
    bool reported;
};

void vdb_shadow_query_destroy(struct vdb_shadow_query *query)
{
    if (query != NULL) {
        if (!query->reported) {
            vdb_shadow_cancel(&query->collection->graphs.shadow); /* so that another may come before long */
        }
        vdb_view_release(&query->view);
        free(query->vector);
        free(query->room);
        free(query->found);
        vdb_collection_unref(query->collection);
        free(query);
    }
}

void vdb_shadow_query_offer(struct vdb_collection *collection, const struct vdb_search *search, double target,
                            const struct vdb_view *view, const struct vdb_candidate *found, size_t count)
{
    bool taken = false;
    if (collection->maintainer == NULL || count == 0 ||
        !vdb_shadow_due(&collection->graphs.shadow, vdb_now_ns())) {
        return;
    }
    struct vdb_shadow_query *query = vdb_calloc(1, sizeof *query);
    if (query == NULL) {
        vdb_shadow_cancel(&collection->graphs.shadow);
        return;
    }
    vdb_collection_ref(collection);
    query->collection = collection;
    query->view = *view;
    vdb_version_ref(view->version);
    query->target = target;
    query->k = search->k < view->points ? search->k : (size_t)view->points;
    query->vector = vdb_calloc(search->dimension, sizeof *query->vector);
    query->room = vdb_calloc(query->k, sizeof *query->room);
    query->found = vdb_calloc(count, sizeof *query->found);
    if (query->vector == NULL || query->room == NULL || query->found == NULL) {
        vdb_shadow_query_destroy(query);
        return;
    }
    memcpy(query->vector, search->vector, search->dimension * sizeof *query->vector);
    for (size_t i = 0; i < count; i++) {
        query->found[query->found_count++] = found[i].distance;
    }
    /* A collection whose database is closed may still be searched; then there is no indexer any more. */
    if (vdb_collection_enter(collection, NULL) == VDB_OK) {
        taken = vdb_indexer_note_shadow(vdb_collection_indexer(collection), query);
        (void)vdb_collection_leave(collection, VDB_OK);
    }
    if (!taken) {
        vdb_shadow_query_destroy(query);
    }
}

void vdb_shadow_query_run(struct vdb_shadow_query *query)
{
    const uint64_t started = vdb_now_ns();
    struct vdb_err err = {0};
    size_t count = 0;
    vdb_status status = vdb_search_exactly(vdb_collection_schema(query->collection), &query->view, query->vector,
                                           query->k, query->room, &count, &err);
    if (status != VDB_OK) {
        vdb_log(VDB_LOG_WARN, "shadow", "collection \"%s\": %s", vdb_collection_schema(query->collection)->name,
                err.text);
    } else if (count > 0) {
        size_t right = 0;
        for (size_t i = 0; i < query->found_count; i++) {
            right += query->found[i] <= query->room[count - 1].distance;
        }
        vdb_shadow_report(&query->collection->graphs.shadow, query->target, (double)right / (double)count,
                          vdb_now_ns() - started);
        query->reported = true;
    }
    vdb_shadow_query_destroy(query);
}
