/* filter.h: a filter expression over metadata: parsed and checked once, then matched against many points.
 *
 * The language is docs/filters.md. Metadata arrives as the canonical compact JSON that vdb_json_compact wrote
 * (equal strings are equal bytes), so a match walks the text once, compares bytes and allocates nothing. Threads:
 * a parsed filter is immutable.
 */
#ifndef VDB_FILTER_FILTER_H
#define VDB_FILTER_FILTER_H

#include "base/bytes.h"
#include "base/err.h"

struct vdb_filter;

/* text[0..bytes) is one JSON expression; errors are VDB_INVALID, or VDB_LIMIT past depth 32 or 1,024 terms, and
 * name the part: `filter.and[1].op: "=>" is none of == != < <= > >= in contains exists`. */
vdb_status vdb_filter_parse(const char *text, size_t bytes, struct vdb_filter **out,
                            struct vdb_err *err) VDB_MUST_CHECK;
void vdb_filter_destroy(struct vdb_filter *filter);

/* metadata: a canonical compact JSON object. */
bool vdb_filter_match(const struct vdb_filter *filter, struct vdb_str metadata);

#endif
