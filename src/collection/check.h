/* check.h: the rules that ids and vectors of requests must keep. Errors begin with the field: `vector[2]: NaN;
 * ...`.
 *
 * Threads: safe from all threads.
 */
#ifndef VDB_COLLECTION_CHECK_H
#define VDB_COLLECTION_CHECK_H

#include "base/err.h"
#include "storage/id.h"
#include "storage/schema.h"

/* A number, or 1..255 bytes of well-formed UTF-8. */
vdb_status vdb_check_id(const struct vdb_id *id, struct vdb_err *err) VDB_MUST_CHECK;

/* As many numbers as the schema has dimensions, all finite, and with a direction where the metric needs one: the rule of
 * a search's vector, which is never rounded. */
vdb_status vdb_check_vector(const float *vector, size_t dimension, const struct vdb_schema *schema,
                            struct vdb_err *err) VDB_MUST_CHECK;

/* The rule of a point's vector: that, and what the schema's element can hold. f16: numbers of at most 65504, which are
 * rounded to the nearest that f16 has; u8 and i8: whole numbers of their range. *out is what is kept, as floats: the
 * vector itself, or `room` (of schema->dimension floats; NULL is allowed when the element is f32). */
vdb_status vdb_check_kept_vector(const float *vector, size_t dimension, const struct vdb_schema *schema,
                                 float *room, const float **out, struct vdb_err *err) VDB_MUST_CHECK;

#endif
