/* fields.h: what all bodies are made of: objects with known fields, arrays, ids, vectors, switches.
 *
 * An object is described by a table of fields; vdb_fields_read refuses unknown, repeated and missing ones by name
 * and calls the reader of each. The reader keeps the place where it is as a short stack of steps, and leaves it
 * alone when it fails, so that vdb_fields_read_body can put it in front of the error: `points[3].vector[7]: ...`.
 * Threads: confined.
 */
#ifndef VDB_SERVER_FIELDS_H
#define VDB_SERVER_FIELDS_H

#include "base/json.h"
#include "server/body.h"

enum {
    VDB_FIELDS_STEPS_MAX = 8, /* the deepest place: points, [3], vector, [7] */
    VDB_FIELDS_COUNT_MAX = 32 /* fields of one object */
};

struct vdb_fields_step {
    const char *name; /* NULL: an item of an array, `index` */
    size_t index;
};

struct vdb_fields_reader {
    struct vdb_json json;
    const struct vdb_body *body;
    struct vdb_fields_step steps[VDB_FIELDS_STEPS_MAX];
    unsigned depth;
};

/* Consumes one value. Its error says what is wrong; where is known from the steps. */
typedef vdb_status vdb_fields_fn(struct vdb_fields_reader *reader, void *out, struct vdb_err *err);

struct vdb_fields_field {
    const char *name;
    bool required;
    vdb_fields_fn *read;
    size_t offset; /* of the member of `out` that read gets */
};

/* Reads one object. */
vdb_status vdb_fields_read(struct vdb_fields_reader *reader, const struct vdb_fields_field *fields, size_t count,
                           void *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Reads a whole body that is one such object; its errors name the place. */
vdb_status vdb_fields_read_body(const struct vdb_body *body, const struct vdb_fields_field *fields, size_t count,
                                void *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Reads an array of 1 to count_max items, each by `read` into its own item_bytes of the arena (zeroed before). */
vdb_status vdb_fields_read_array(struct vdb_fields_reader *reader, size_t item_bytes, size_t count_max,
                                 vdb_fields_fn *read, void **items, size_t *count,
                                 struct vdb_err *err) VDB_MUST_CHECK;

vdb_fields_fn vdb_fields_id;       /* vecdb_id */
vdb_fields_fn vdb_fields_vector;   /* const float *: of the body's dimension, all finite */
vdb_fields_fn vdb_fields_metadata; /* struct vdb_str: the raw text of an object; null leaves it empty */
vdb_fields_fn vdb_fields_filter;   /* struct vdb_str: the raw text of any value; null leaves it empty */
vdb_fields_fn vdb_fields_switch;   /* bool */
vdb_fields_fn vdb_fields_encoding; /* bool: true for "base64", false for "array" */
vdb_fields_fn vdb_fields_text;     /* const char *: NUL-terminated, without NUL bytes in it */

/* A string as plain UTF-8: borrowed from the body when it has no escapes, else in the arena. */
vdb_status vdb_fields_string(struct vdb_fields_reader *reader, struct vdb_str *out,
                             struct vdb_err *err) VDB_MUST_CHECK;

#endif
