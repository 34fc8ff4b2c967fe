/* view.h: which rows a collection consists of, and one consistent look at them.
 *
 * A *version* is a list of sources: the memtable that takes the writes, the one before it while a checkpoint writes
 * it out, and the segments. It never changes; a checkpoint or a compaction puts another in its place. A *view* is a
 * version and a sequence number, pinned together: it sees each point once, as of that number, for as long as it is
 * held, whatever is written, sealed, compacted or unlinked meanwhile.
 *
 *   V1 Each id is visible at most once over all sources of a view.
 *   V2 What a view sees does not change while it is held: later writes end versions at higher numbers, later
 *      sources are not in its version, and its own sources keep their memory and files by its reference.
 *
 * Sources are numbered: memtables first (newest first), then segments. Threads: versions are immutable and counted;
 * a view is confined while it is pinned or released, shared-read between.
 */
#ifndef VDB_STORAGE_VIEW_H
#define VDB_STORAGE_VIEW_H

#include "memtable.h"
#include "segment.h"

enum { VDB_VERSION_MEMTABLES_MAX = 2 };

struct vdb_version {
    _Atomic uint64_t refs;
    uint32_t memtable_count; /* at least 1 */
    uint32_t segment_count;
    struct vdb_memtable *memtables[VDB_VERSION_MEMTABLES_MAX]; /* [0] takes the writes */
    struct vdb_companion **companions; /* of the segments, one reference each; NULL: none */
    struct vdb_segment *segments[];
};

/* A version of these sources, each counted once more, and of the segments' companions as they are now (the maintain lock
 * keeps them). NULL when memory is short. */
struct vdb_version *vdb_version_create(struct vdb_memtable *const *memtables, uint32_t memtable_count,
                                       struct vdb_segment *const *segments, uint32_t segment_count);
void vdb_version_ref(struct vdb_version *version);
void vdb_version_unref(struct vdb_version *version); /* NULL allowed */

struct vdb_view {
    struct vdb_version *version; /* one reference; NULL: released */
    uint64_t seq;
    uint64_t points; /* visible at seq */
    struct vdb_memtable_view memtables[VDB_VERSION_MEMTABLES_MAX];
};

void vdb_view_release(struct vdb_view *view); /* a zeroed or released view is allowed */

static inline uint32_t vdb_view_sources(const struct vdb_view *view)
{
    return view->version->memtable_count + view->version->segment_count;
}

/* The memtable view of a source, or NULL when it is a segment. */
static inline const struct vdb_memtable_view *vdb_view_memtable(const struct vdb_view *view, uint32_t source)
{
    return source < view->version->memtable_count ? &view->memtables[source] : NULL;
}

static inline struct vdb_segment *vdb_view_segment(const struct vdb_view *view, uint32_t source)
{
    return view->version->segments[source - view->version->memtable_count];
}

/* What is kept beside a source (companion.h), borrowed while the view is held; NULL: nothing. A segment's as the view was
 * pinned; a memtable's as it is now, since it gets one once. No lock. */
static inline struct vdb_companion *vdb_view_companion(const struct vdb_view *view, uint32_t source)
{
    const struct vdb_version *version = view->version;
    return source < version->memtable_count ? vdb_memtable_companion(version->memtables[source])
                                            : version->companions[source - version->memtable_count];
}

/* Rows (or slots) of a source, visible or not. */
uint32_t vdb_view_source_rows(const struct vdb_view *view, uint32_t source);

/* Sets the bits of the source's visible rows in `allow` (all clear before); returns how many. */
uint32_t vdb_view_fill_visible(const struct vdb_view *view, uint32_t source, struct vdb_bitset *allow);

/* Whether all rows of the source are visible, so that no bitset is needed. */
bool vdb_view_sees_all(const struct vdb_view *view, uint32_t source);

/* A row's id, its text borrowed from the view; VDB_CORRUPT when the segment's bytes are damaged. */
vdb_status vdb_view_id(const struct vdb_view *view, uint32_t source, uint32_t row, struct vdb_id *out,
                       struct vdb_err *err) VDB_MUST_CHECK;
/* A row's vector as floats: where it lies, or, of a segment of another element than f32, widened into `room` (of
 * dimension floats; NULL is allowed when the schema's element is f32). */
vdb_status vdb_view_vector(const struct vdb_view *view, uint32_t source, uint32_t row, float *room,
                           const float **out, struct vdb_err *err) VDB_MUST_CHECK;

/* Reads metadata of rows of one source, in order at best. What it gives is valid until the next read or fini. */
struct vdb_view_meta {
    const struct vdb_view *view;
    uint32_t source;
    struct vdb_segment_meta segment; /* when it is one */
};

void vdb_view_meta_init(struct vdb_view_meta *reader, const struct vdb_view *view, uint32_t source);
void vdb_view_meta_fini(struct vdb_view_meta *reader);
vdb_status vdb_view_meta_read(struct vdb_view_meta *reader, uint32_t row, struct vdb_str *out,
                              struct vdb_err *err) VDB_MUST_CHECK;

/* Where a point lies. */
struct vdb_place {
    uint32_t source; /* VDB_SLOT_NONE: not there */
    uint32_t row;
};

#endif
