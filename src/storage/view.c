/* view.c: versions and what one view of them sees. V1 and V2 stand in view.h. */
#include "view.h"

#include <assert.h>
#include <stdlib.h>

#include "base/convert.h"
#include "base/mem.h"

struct vdb_version *vdb_version_create(struct vdb_memtable *const *memtables, uint32_t memtable_count,
                                       struct vdb_segment *const *segments, uint32_t segment_count)
{
    assert(memtable_count >= 1 && memtable_count <= VDB_VERSION_MEMTABLES_MAX);
    struct vdb_version *version = vdb_calloc(
        1, sizeof *version + segment_count * (sizeof(struct vdb_segment *) + sizeof(struct vdb_companion *)));
    if (version == NULL) {
        return NULL;
    }
    atomic_init(&version->refs, 1);
    version->memtable_count = memtable_count;
    version->segment_count = segment_count;
    version->companions = (struct vdb_companion **)(void *)(version->segments + segment_count);
    for (uint32_t i = 0; i < memtable_count; i++) {
        version->memtables[i] = memtables[i];
        vdb_memtable_ref(memtables[i]);
    }
    for (uint32_t i = 0; i < segment_count; i++) {
        version->segments[i] = segments[i];
        vdb_segment_ref(segments[i]);
        version->companions[i] = vdb_segment_companion(segments[i]);
        vdb_companion_ref(version->companions[i]);
    }
    return version;
}

void vdb_version_ref(struct vdb_version *version)
{
    atomic_fetch_add_explicit(&version->refs, 1, memory_order_relaxed);
}

void vdb_version_unref(struct vdb_version *version)
{
    if (version == NULL || atomic_fetch_sub_explicit(&version->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < version->memtable_count; i++) {
        vdb_memtable_unref(version->memtables[i]);
    }
    for (uint32_t i = 0; i < version->segment_count; i++) {
        vdb_companion_unref(version->companions[i]); /* before what it lies beside */
        vdb_segment_unref(version->segments[i]);
    }
    free(version);
}

void vdb_view_release(struct vdb_view *view)
{
    vdb_version_unref(view->version);
    view->version = NULL;
}

uint32_t vdb_view_source_rows(const struct vdb_view *view, uint32_t source)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    return memtable != NULL ? memtable->slot_count : vdb_segment_rows(vdb_view_segment(view, source));
}

uint32_t vdb_view_fill_visible(const struct vdb_view *view, uint32_t source, struct vdb_bitset *allow)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    return memtable != NULL ? vdb_memtable_fill_visible(memtable, allow)
                            : vdb_segment_fill_visible(vdb_view_segment(view, source), view->seq, allow);
}

bool vdb_view_sees_all(const struct vdb_view *view, uint32_t source)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    return memtable != NULL ? memtable->dead_count == 0 : vdb_segment_dead(vdb_view_segment(view, source)) == 0;
}

vdb_status vdb_view_id(const struct vdb_view *view, uint32_t source, uint32_t row, struct vdb_id *out,
                       struct vdb_err *err)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    if (memtable == NULL) {
        return vdb_segment_id(vdb_view_segment(view, source), row, out, err);
    }
    *out = vdb_slot_row(memtable, row)->id;
    return VDB_OK;
}

vdb_status vdb_view_vector(const struct vdb_view *view, uint32_t source, uint32_t row, float *room,
                           const float **out, struct vdb_err *err)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(view, source);
    if (memtable == NULL) {
        struct vdb_segment *segment = vdb_view_segment(view, source);
        const vdb_element element = vdb_segment_element(segment);
        const void *vector;
        VDB_TRY(vdb_segment_vector(segment, row, &vector, err));
        *out = vector;
        if (element != VDB_ELEMENT_F32) {
            assert(room != NULL);
            vdb_convert_widen(element, vector, vdb_segment_dimension(segment), room);
            *out = room;
        }
        return VDB_OK;
    }
    *out = vdb_slot_vector(memtable, row);
    return VDB_OK;
}

void vdb_view_meta_init(struct vdb_view_meta *reader, const struct vdb_view *view, uint32_t source)
{
    *reader = (struct vdb_view_meta){.view = view, .source = source};
    if (vdb_view_memtable(view, source) == NULL) {
        vdb_segment_meta_init(&reader->segment, vdb_view_segment(view, source));
    }
}

void vdb_view_meta_fini(struct vdb_view_meta *reader)
{
    if (reader->segment.segment != NULL) {
        vdb_segment_meta_fini(&reader->segment);
    }
}

vdb_status vdb_view_meta_read(struct vdb_view_meta *reader, uint32_t row, struct vdb_str *out,
                              struct vdb_err *err)
{
    const struct vdb_memtable_view *memtable = vdb_view_memtable(reader->view, reader->source);
    if (memtable == NULL) {
        return vdb_segment_meta_read(&reader->segment, row, out, err);
    }
    *out = vdb_slot_row(memtable, row)->metadata;
    return VDB_OK;
}
