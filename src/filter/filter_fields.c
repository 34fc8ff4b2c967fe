/* filter_fields.c: finds all fields of a filter in one walk over a metadata text.
 *
 * Rules (docs/filters.md): a dotted name walks into nested objects, but at each object a key that equals all of
 * the rest of the name is preferred; of equal keys in one object the last one counts.
 *
 * The fields are kept in byte order, so those that go through one key ("a.b", "a.c.d" through "a") stand side by
 * side. For each object that some field enters there is a level: the keys wanted there, each with the field it
 * completes, or the level inside, or both. While walking, a slot remembers the depth at which its field was
 * completed:
 *
 *   F1  A completion replaces one of the same depth (the last of equal keys) or of a greater one (the longer key
 *       wins).
 *   F2  When a key with a level inside comes again, what its earlier object completed is forgotten first.
 *
 * The text is trusted to be canonical, as vdb_json_compact writes it, but every read is bounded: damage can give
 * a wrong answer, never a read past the end. Nesting is followed only as deep as levels go, which is the JSON
 * limit.
 */
#include "filter_tree.h"

#include <assert.h>
#include <stdlib.h>

/* ---- Planning ---- */

static int compare_bytes(struct vdb_str a, struct vdb_str b)
{
    size_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int compare_names(const void *a, const void *b)
{
    return compare_bytes(*(const struct vdb_str *)a, *(const struct vdb_str *)b);
}

/* The order of keys within a level: a length differs sooner than bytes do. */
static int compare_key_names(struct vdb_str a, struct vdb_str b)
{
    if (a.bytes != b.bytes) {
        return a.bytes < b.bytes ? -1 : 1;
    }
    return a.bytes > 0 ? memcmp(a.data, b.data, a.bytes) : 0;
}

static int compare_keys(const void *a, const void *b)
{
    return compare_key_names(((const struct filter_key *)a)->name, ((const struct filter_key *)b)->name);
}

static vdb_status add_key(struct filter_fields *fields, struct filter_key key, struct vdb_err *err)
{
    if (fields->key_count == fields->key_capacity) {
        uint32_t capacity = fields->key_capacity > 0 ? fields->key_capacity * 2 : 16;
        void *keys = fields->keys;
        if (!vdb_realloc_array(&keys, capacity, sizeof *fields->keys)) {
            return vdb_err_no_memory(err, "filter fields");
        }
        fields->keys = keys;
        fields->key_capacity = capacity;
    }
    fields->keys[fields->key_count++] = key;
    return VDB_OK;
}

static vdb_status add_level(struct filter_fields *fields, struct vdb_err *err)
{
    if (fields->level_count == fields->level_capacity) {
        uint32_t capacity = fields->level_capacity > 0 ? fields->level_capacity * 2 : 4;
        void *levels = fields->levels;
        if (!vdb_realloc_array(&levels, capacity, sizeof *fields->levels)) {
            return vdb_err_no_memory(err, "filter fields");
        }
        fields->levels = levels;
        fields->level_capacity = capacity;
    }
    fields->levels[fields->level_count++] = (struct filter_level){fields->key_count, 0};
    return VDB_OK;
}

/* What is left of a name behind its first `offset` bytes. */
static struct vdb_str rest_of(const struct filter_fields *fields, uint32_t field, size_t offset)
{
    struct vdb_str name = fields->names[field];
    return (struct vdb_str){name.data + offset, name.bytes - offset};
}

/* The first field behind `first` whose rest does not begin with head and a dot. */
static uint32_t group_end(const struct filter_fields *fields, uint32_t first, uint32_t end, size_t offset,
                          struct vdb_str head)
{
    uint32_t i = first + 1;
    while (i < end) {
        struct vdb_str rest = rest_of(fields, i, offset);
        if (rest.bytes <= head.bytes || memcmp(rest.data, head.data, head.bytes + 1) != 0) {
            break;
        }
        i++;
    }
    return i;
}

/* Adds the keys of one level: for each field the whole rest of its name, for each group its common head. */
static vdb_status add_level_keys(struct filter_fields *fields, uint32_t first, uint32_t end, size_t offset,
                                 unsigned depth, struct vdb_err *err)
{
    uint32_t grouped = first; /* fields before this one have their head already */
    for (uint32_t i = first; i < end; i++) {
        struct vdb_str rest = rest_of(fields, i, offset);
        VDB_TRY(add_key(fields, (struct filter_key){.name = rest, .field = (int32_t)i, .child = -1}, err));
        const char *dot = rest.bytes > 0 ? memchr(rest.data, '.', rest.bytes) : NULL;
        if (dot == NULL || i < grouped || depth + 1 == VDB_LIMIT_JSON_DEPTH_MAX) {
            continue;
        }
        struct vdb_str head = {rest.data, (size_t)(dot - rest.data)};
        grouped = group_end(fields, i, end, offset, head);
        VDB_TRY(add_key(
            fields,
            (struct filter_key){.name = head, .field = -1, .child = -1, .group_first = i, .group_end = grouped},
            err));
    }
    return VDB_OK;
}

/* Sorts the keys from `first` on and joins those with one name: a whole rest and a head. */
static void join_keys(struct filter_fields *fields, uint32_t first)
{
    struct filter_key *keys = fields->keys + first;
    uint32_t count = fields->key_count - first;
    qsort(keys, count, sizeof *keys, compare_keys);
    uint32_t kept = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (compare_keys(&keys[kept], &keys[i]) != 0) {
            keys[++kept] = keys[i];
            continue;
        }
        struct filter_key *key = &keys[kept];
        key->field = key->field >= 0 ? key->field : keys[i].field;
        if (keys[i].group_end > 0) {
            key->group_first = keys[i].group_first;
            key->group_end = keys[i].group_end;
        }
    }
    fields->key_count = first + kept + 1;
}

/* The level for fields [first, end), which share their first `offset` bytes. */
static vdb_status build_level(struct filter_fields *fields, uint32_t first, uint32_t end, size_t offset,
                              unsigned depth, struct vdb_err *err)
{
    uint32_t level = fields->level_count;
    uint32_t key_first = fields->key_count;
    VDB_TRY(add_level(fields, err));
    VDB_TRY(add_level_keys(fields, first, end, offset, depth, err));
    join_keys(fields, key_first);
    uint32_t key_end = fields->key_count;
    fields->levels[level].key_count = key_end - key_first;
    for (uint32_t i = key_first; i < key_end; i++) {
        struct filter_key key = fields->keys[i]; /* a copy: building moves the array */
        if (key.group_end > 0) {
            fields->keys[i].child = (int32_t)fields->level_count;
            VDB_TRY(
                build_level(fields, key.group_first, key.group_end, offset + key.name.bytes + 1, depth + 1, err));
        }
    }
    return VDB_OK;
}

vdb_status vdb_filter_fields_init(struct filter_fields *fields, struct vdb_str *names, uint32_t count,
                                  struct vdb_err *err)
{
    *fields = (struct filter_fields){.names = names};
    if (count == 0) {
        return VDB_OK;
    }
    qsort(names, count, sizeof *names, compare_names);
    fields->count = 1;
    for (uint32_t i = 1; i < count; i++) {
        if (!vdb_str_eq(names[fields->count - 1], names[i])) {
            names[fields->count++] = names[i];
        }
    }
    return build_level(fields, 0, fields->count, 0, 0, err);
}

void vdb_filter_fields_fini(struct filter_fields *fields)
{
    free(fields->names);
    free(fields->keys);
    free(fields->levels);
    *fields = (struct filter_fields){0};
}

uint32_t vdb_filter_fields_find(const struct filter_fields *fields, struct vdb_str name)
{
    const struct vdb_str *found = bsearch(&name, fields->names, fields->count, sizeof name, compare_names);
    assert(found != NULL);
    return (uint32_t)(found - fields->names);
}

/* ---- Walking ---- */

struct walk {
    const struct filter_fields *fields;
    struct filter_slot *slots;
    const char *end;
};

/* Marks the bytes of a word that are '"' or '\\' in their high bits; the lowest mark is always right. */
static uint64_t quote_or_backslash(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quote = word ^ ones * '"';
    uint64_t backslash = word ^ ones * '\\';
    return (((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & ones * 0x80;
}

/* p is behind an opening quote: the closing one, or NULL. */
static const char *string_end(const char *p, const char *end)
{
    for (;;) {
        while (end - p >= 8) {
            uint64_t marks = quote_or_backslash(vdb_load_u64(p));
            if (marks != 0) {
                p += __builtin_ctzll(marks) / 8;
                break;
            }
            p += 8;
        }
        if (p >= end) {
            return NULL;
        }
        if (*p == '"') {
            return p;
        }
        if (*p == '\\') {
            if (end - p < 2) {
                return NULL;
            }
            p++;
        }
        p++;
    }
}

static const char *skip_container(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        switch (*p) {
        case '"':
            p = string_end(p + 1, end);
            if (p == NULL) {
                return NULL;
            }
            break;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0) {
                return p + 1;
            }
            break;
        default:
            break;
        }
        p++;
    }
    return NULL;
}

const char *vdb_filter_fields_skip(const char *p, const char *end)
{
    if (p >= end) {
        return NULL;
    }
    if (*p == '"') {
        p = string_end(p + 1, end);
        return p != NULL ? p + 1 : NULL;
    }
    if (*p == '{' || *p == '[') {
        return skip_container(p, end);
    }
    while (p < end && *p != ',' && *p != '}' && *p != ']') {
        p++;
    }
    return p;
}

static const struct filter_key *find_key(const struct walk *walk, uint32_t level, struct vdb_str name)
{
    const struct filter_key *keys = walk->fields->keys + walk->fields->levels[level].key_first;
    uint32_t low = 0;
    uint32_t high = walk->fields->levels[level].key_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = compare_key_names(name, keys[middle].name);
        if (order == 0) {
            return &keys[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* F2 */
static void forget_group(const struct walk *walk, const struct filter_key *key, unsigned rank)
{
    for (uint32_t i = key->group_first; i < key->group_end; i++) {
        if (walk->slots[i].value.data != NULL && walk->slots[i].rank > rank) {
            walk->slots[i].value = (struct vdb_str){NULL, 0};
        }
    }
}

/* F1 */
static void complete(const struct walk *walk, int32_t field, struct vdb_str value, unsigned rank)
{
    struct filter_slot *slot = &walk->slots[field];
    if (slot->value.data == NULL || rank <= slot->rank) {
        *slot = (struct filter_slot){value, rank};
    }
}

/* p is at '{'. Returns the end of the object, or NULL when the text ends before or is not canonical. */
static const char *walk_object(const struct walk *walk, const char *p, uint32_t level, unsigned rank)
{
    const char *end = walk->end;
    p++;
    if (p < end && *p == '}') {
        return p + 1;
    }
    for (;;) {
        if (p >= end || *p != '"') {
            return NULL;
        }
        const char *key_end = string_end(p + 1, end);
        if (key_end == NULL || end - key_end < 3 || key_end[1] != ':') {
            return NULL;
        }
        struct vdb_str name = {p + 1, (size_t)(key_end - p - 1)};
        const struct filter_key *key = find_key(walk, level, name);
        const char *value = key_end + 2;
        if (key != NULL && key->child >= 0) {
            forget_group(walk, key, rank);
        }
        if (key != NULL && key->child >= 0 && *value == '{') {
            p = walk_object(walk, value, (uint32_t)key->child, rank + 1);
        } else {
            p = vdb_filter_fields_skip(value, end);
        }
        if (p == NULL || p == end) {
            return NULL;
        }
        if (key != NULL && key->field >= 0) {
            complete(walk, key->field, (struct vdb_str){value, (size_t)(p - value)}, rank);
        }
        if (*p == '}') {
            return p + 1;
        }
        if (*p != ',') {
            return NULL;
        }
        p++;
    }
}

void vdb_filter_fields_resolve(const struct filter_fields *fields, struct vdb_str metadata,
                               struct filter_slot *slots)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        slots[i].value = (struct vdb_str){NULL, 0};
    }
    if (fields->count == 0 || metadata.bytes < 2 || metadata.data[0] != '{') {
        return;
    }
    struct walk walk = {fields, slots, metadata.data + metadata.bytes};
    (void)walk_object(&walk, metadata.data, 0, 0);
}
