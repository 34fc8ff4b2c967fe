/* result.c: the list of points that get and search hand out. Its pointers reach into the view that answered, whose rows
 * never change or move; the result holds it, also past a drop of the collection. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "database_handle.h"

struct vecdb_result {
    struct vdb_collection *collection;
    struct vdb_hits from; /* what the pointers in `hits` reach into */
    vecdb_hit *hits;
    size_t count;
    vecdb_explain explain;
};

static void fill_explain(vecdb_explain *to, const struct vdb_explain *from)
{
    _Static_assert(sizeof to->plan >= VDB_PLAN_BYTES, "every plan fits");
    snprintf(to->plan, sizeof to->plan, "%s", from->plan != NULL ? from->plan : "");
    to->rows = from->rows;
    to->rows_indexed = from->rows_indexed;
    to->ef = from->ef;
    to->rows_allowed = from->rows_allowed;
    to->distances_computed = from->distances_computed;
    to->filter_ns = from->filter_ns;
    to->search_ns = from->search_ns;
    to->total_ns = from->total_ns;
}

vdb_status vdb_result_create(struct vdb_collection *collection, struct vdb_hits *hits, bool with_vector,
                             bool with_metadata, vecdb_result **out, struct vdb_err *err)
{
    vecdb_result *result = vdb_calloc(1, sizeof *result);
    vecdb_hit *list = vdb_calloc(hits->count, sizeof *list);
    if (result == NULL || list == NULL) {
        free(result);
        free(list);
        vdb_hits_fini(hits);
        vdb_collection_unref(collection);
        return vdb_err_no_memory(err, "a result");
    }
    for (size_t i = 0; i < hits->count; i++) {
        const struct vdb_hit *hit = &hits->hits[i];
        list[i] = (vecdb_hit){
            .id = {hit->id.text, hit->id.text_bytes, hit->id.number},
            .score = hit->score,
            .vector = with_vector ? hit->vector : NULL,
            .dimension = vdb_collection_schema(collection)->dimension,
            .metadata = with_metadata ? hit->metadata.data : NULL,
            .metadata_bytes = with_metadata ? hit->metadata.bytes : 0,
        };
    }
    *result = (vecdb_result){.collection = collection, .from = *hits, .hits = list, .count = hits->count};
    fill_explain(&result->explain, &hits->explain);
    *out = result;
    return VDB_OK;
}

size_t vecdb_result_count(const vecdb_result *result)
{
    return result != NULL ? result->count : 0;
}

const vecdb_hit *vecdb_result_hits(const vecdb_result *result)
{
    return result != NULL ? result->hits : NULL;
}

const vecdb_explain *vecdb_result_explain(const vecdb_result *result)
{
    return result != NULL ? &result->explain : NULL;
}

void vecdb_result_free(vecdb_result *result)
{
    if (result != NULL) {
        vdb_hits_fini(&result->from);
        vdb_collection_unref(result->collection);
        free(result->hits);
        free(result);
    }
}
