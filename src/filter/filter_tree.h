/* filter_tree.h: the parsed form of a filter, shared by the files of this folder and by nobody else.
 *
 * Expressions stand in one array in reading order: a node is followed by its parts, and `end` is the index behind
 * the last of them, so a part that need not be evaluated is stepped over. Comparisons name their field by its
 * number in `fields`, and their values by a range of `operands`. Threads: immutable once vdb_filter_parse has
 * returned it.
 */
#ifndef VDB_FILTER_FILTER_TREE_H
#define VDB_FILTER_FILTER_TREE_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "filter.h"

typedef enum filter_op {
    FILTER_AND,
    FILTER_OR,
    FILTER_NOT,
    FILTER_EQ,
    FILTER_NE,
    FILTER_LT,
    FILTER_LE,
    FILTER_GT,
    FILTER_GE,
    FILTER_IN,
    FILTER_CONTAINS,
    FILTER_EXISTS,
} filter_op;

struct filter_node {
    filter_op op;
    uint32_t end; /* index of the node behind this one and all its parts */
    uint32_t field;
    uint32_t operand_first;
    uint32_t operand_count;
};

/* A value of one kind; of the rest only the fields of that kind count. Strings are kept twice: as the bytes
 * between the quotes of canonical JSON, for equality, and unescaped, for order. */
struct filter_operand {
    vdb_json_type type; /* VDB_JSON_BOOL, VDB_JSON_NUMBER or VDB_JSON_STRING */
    bool boolean;
    double number;
    struct vdb_str canonical;
    struct vdb_str plain;
};

/* The order of the values of an `in`: by kind, then by value; strings by length first. 0 means equal in the sense
 * of the operator ==. */
int vdb_filter_match_compare(const struct filter_operand *a, const struct filter_operand *b);

/* ---- Fields ---- */

/* One key that a level waits for. */
struct filter_key {
    struct vdb_str name;  /* canonical */
    int32_t field;        /* the field that this key completes, or -1 */
    int32_t child;        /* the level inside this key's object, or -1 */
    uint32_t group_first; /* with a child: the fields that go through it, [group_first, group_end) */
    uint32_t group_end;
};

/* The keys wanted in one object, ordered by length, then bytes. */
struct filter_level {
    uint32_t key_first;
    uint32_t key_count;
};

struct filter_fields {
    struct vdb_str *names; /* canonical, distinct, in byte order */
    uint32_t count;
    struct filter_key *keys;
    uint32_t key_count, key_capacity;
    struct filter_level *levels; /* [0] is the metadata object itself */
    uint32_t level_count, level_capacity;
};

/* Where a field's value stands in one metadata text; value.data is NULL when the field is missing. */
struct filter_slot {
    struct vdb_str value;
    unsigned rank; /* the depth at which the last key was found: a lower one wins */
};

/* Sorts names[0..count), drops repetitions, and plans the levels. Takes ownership of names, also on failure. */
vdb_status vdb_filter_fields_init(struct filter_fields *fields, struct vdb_str *names, uint32_t count,
                                  struct vdb_err *err) VDB_MUST_CHECK;
void vdb_filter_fields_fini(struct filter_fields *fields);

/* The number of a field that init was given. */
uint32_t vdb_filter_fields_find(const struct filter_fields *fields, struct vdb_str name);

/* Fills slots[0..fields->count) from one walk over the metadata. */
void vdb_filter_fields_resolve(const struct filter_fields *fields, struct vdb_str metadata,
                               struct filter_slot *slots);

/* The end of the canonical value that starts at p, or NULL when it does not end before `end`. */
const char *vdb_filter_fields_skip(const char *p, const char *end);

/* ---- The whole ---- */

struct vdb_filter {
    struct filter_node *nodes;
    uint32_t node_count, node_capacity;
    struct filter_operand *operands;
    uint32_t operand_count, operand_capacity;
    struct filter_fields fields;
    struct vdb_arena strings; /* all names and string values */
};

#endif
