/* filter_parse.c: JSON text to a filter's tree (the language: docs/filters.md).
 *
 * Everything is refused that the language does not name: unknown and repeated keys, a key beside `and`, values of
 * the wrong type. An error carries the path of the part and the byte in the filter's text. Limits: and/or/not
 * nest 32 deep; 1,024 comparisons, where each value of an `in` counts as one and a comparison without a value
 * counts too; and as many and/or/not, so that a text of empty ones cannot make a match slow.
 */
#include "filter_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    /* A level of and/or is an object and an array; below the last stands a comparison with the list of an `in`.
     */
    JSON_DEPTH_MAX = 2 * VDB_LIMIT_FILTER_DEPTH_MAX + 2,
    PATH_BYTES = 240,    /* of a path in an error text */
    SHOWN_BYTES_MAX = 40 /* of a word in an error text */
};

static const char *const op_names[] = {
    [FILTER_AND] = "and",
    [FILTER_OR] = "or",
    [FILTER_NOT] = "not",
    [FILTER_EQ] = "==",
    [FILTER_NE] = "!=",
    [FILTER_LT] = "<",
    [FILTER_LE] = "<=",
    [FILTER_GT] = ">",
    [FILTER_GE] = ">=",
    [FILTER_IN] = "in",
    [FILTER_CONTAINS] = "contains",
    [FILTER_EXISTS] = "exists",
};

/* Where in the expression we are, for error texts: `key`, or `[index]` when key is NULL. */
struct place {
    const struct place *up;
    const char *key;
    size_t index;
};

struct parser {
    struct vdb_json json;
    struct vdb_filter *filter;
    struct vdb_str *names; /* of the comparisons' fields, in the order of the text */
    uint32_t name_count;
    uint32_t terms;
    uint32_t combiners;
    struct vdb_buf scratch;
    struct vdb_err *err;
};

/* ---- Errors ---- */

/* "filter.and[1].op"; the front of a very long path becomes "...". */
static const char *write_path(const struct place *place, char out[PATH_BYTES])
{
    char *p = out + PATH_BYTES - 1;
    *p = '\0';
    for (; place != NULL; place = place->up) {
        char part[32];
        int bytes = place->key == NULL
                        ? snprintf(part, sizeof part, "[%zu]", place->index)
                        : snprintf(part, sizeof part, "%s%s", place->up != NULL ? "." : "", place->key);
        if (p - out < bytes + 3) {
            p -= 3;
            memcpy(p, "...", 3);
            break;
        }
        p -= bytes;
        memcpy(p, part, (size_t)bytes);
    }
    return p;
}

/* "PATH: text (byte AT)" */
__attribute__((format(printf, 5, 6))) static vdb_status
refuse(struct parser *parser, vdb_status status, const struct place *place, size_t at, const char *format, ...)
{
    char path[PATH_BYTES];
    char text[VDB_ERR_TEXT_BYTES / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return vdb_err_set(parser->err, status, "%s: %s (byte %zu)", write_path(place, path), text, at);
}

/* Puts the path before an error of the reader, which names the byte itself. */
static vdb_status located(struct parser *parser, vdb_status status, const struct place *place)
{
    char path[PATH_BYTES];
    return vdb_err_wrap(parser->err, status, "%s", write_path(place, path));
}

#define READ(place, call)                                                                                        \
    do {                                                                                                         \
        vdb_status read_status = (call);                                                                         \
        if (read_status != VDB_OK) {                                                                             \
            return located(parser, read_status, place);                                                          \
        }                                                                                                        \
    } while (0)

/* How much of a word to show: whole characters, SHOWN_BYTES_MAX at most. */
static int shown_bytes(struct vdb_str word)
{
    if (word.bytes <= SHOWN_BYTES_MAX) {
        return (int)word.bytes;
    }
    int bytes = SHOWN_BYTES_MAX;
    while (bytes > 0 && ((unsigned char)word.data[bytes] & 0xc0) == 0x80) {
        bytes--;
    }
    return bytes;
}

static const char *shown_end(struct vdb_str word)
{
    return word.bytes > SHOWN_BYTES_MAX ? "..." : "";
}

static size_t byte_of(const struct parser *parser, struct vdb_str part)
{
    return (size_t)(part.data - parser->json.text);
}

/* ---- The tree's memory ---- */

static vdb_status add_node(struct parser *parser, struct filter_node node, uint32_t *index)
{
    struct vdb_filter *filter = parser->filter;
    if (filter->node_count == filter->node_capacity) {
        uint32_t capacity = filter->node_capacity > 0 ? filter->node_capacity * 2 : 8;
        void *nodes = filter->nodes;
        if (!vdb_realloc_array(&nodes, capacity, sizeof *filter->nodes)) {
            return vdb_err_no_memory(parser->err, "a filter");
        }
        filter->nodes = nodes;
        filter->node_capacity = capacity;
    }
    *index = filter->node_count++;
    filter->nodes[*index] = node;
    return VDB_OK;
}

static vdb_status add_operand(struct parser *parser, struct filter_operand operand)
{
    struct vdb_filter *filter = parser->filter;
    if (filter->operand_count == filter->operand_capacity) {
        uint32_t capacity = filter->operand_capacity > 0 ? filter->operand_capacity * 2 : 8;
        void *operands = filter->operands;
        if (!vdb_realloc_array(&operands, capacity, sizeof *filter->operands)) {
            return vdb_err_no_memory(parser->err, "a filter");
        }
        filter->operands = operands;
        filter->operand_capacity = capacity;
    }
    filter->operands[filter->operand_count++] = operand;
    return VDB_OK;
}

/* Copies bytes into the filter's arena. */
static vdb_status keep(struct parser *parser, const void *data, size_t bytes, struct vdb_str *out)
{
    char *copy = vdb_arena_alloc(&parser->filter->strings, bytes > 0 ? bytes : 1);
    if (copy == NULL) {
        return vdb_err_no_memory(parser->err, "a filter");
    }
    if (bytes > 0) {
        memcpy(copy, data, bytes);
    }
    *out = (struct vdb_str){copy, bytes};
    return VDB_OK;
}

static vdb_status keep_plain(struct parser *parser, struct vdb_str raw, struct vdb_str *out)
{
    vdb_buf_clear(&parser->scratch);
    vdb_json_unescape(raw, &parser->scratch);
    if (parser->scratch.failed) {
        return vdb_err_no_memory(parser->err, "a filter");
    }
    return keep(parser, parser->scratch.data, parser->scratch.bytes, out);
}

/* The form that the string has in metadata, between the quotes. */
static vdb_status keep_canonical(struct parser *parser, struct vdb_str raw, struct vdb_str *out)
{
    struct vdb_str plain;
    VDB_TRY(keep_plain(parser, raw, &plain));
    vdb_buf_clear(&parser->scratch);
    vdb_json_put_string(&parser->scratch, plain);
    if (parser->scratch.failed) {
        return vdb_err_no_memory(parser->err, "a filter");
    }
    return keep(parser, parser->scratch.data + 1, parser->scratch.bytes - 2, out);
}

/* ---- Comparisons ---- */

/* The members of one comparison as they were found; data is NULL for those that were not. */
struct members {
    struct vdb_str field; /* raw strings */
    struct vdb_str op;
    struct vdb_str value; /* raw JSON of any type */
};

static vdb_status count_term(struct parser *parser, const struct place *place, size_t at)
{
    if (parser->terms == VDB_LIMIT_FILTER_TERMS_MAX) {
        return refuse(parser, VDB_LIMIT, place, at, "more than %u comparisons in one filter",
                      VDB_LIMIT_FILTER_TERMS_MAX);
    }
    parser->terms++;
    return VDB_OK;
}

/* The value at json's position. */
static vdb_status parse_operand(struct parser *parser, struct vdb_json *json, filter_op op,
                                const struct place *place)
{
    struct filter_operand operand = {0};
    READ(place, vdb_json_peek(json, &operand.type, parser->err));
    size_t at = json->pos;
    VDB_TRY(count_term(parser, place, at));
    bool ordered = op >= FILTER_LT && op <= FILTER_GE;
    if (operand.type == VDB_JSON_NUMBER) {
        READ(place, vdb_json_double(json, &operand.number, parser->err));
    } else if (operand.type == VDB_JSON_STRING) {
        struct vdb_str raw;
        READ(place, vdb_json_string_raw(json, &raw, parser->err));
        VDB_TRY(keep_canonical(parser, raw, &operand.canonical));
        VDB_TRY(keep_plain(parser, raw, &operand.plain));
    } else if (operand.type == VDB_JSON_BOOL && !ordered) {
        READ(place, vdb_json_bool(json, &operand.boolean, parser->err));
    } else if (ordered) {
        return refuse(parser, VDB_INVALID, place, at, "%s takes a number or a string, found %s", op_names[op],
                      vdb_json_type_name(operand.type));
    } else {
        return refuse(parser, VDB_INVALID, place, at, "%s takes booleans, numbers and strings, found %s",
                      op_names[op], vdb_json_type_name(operand.type));
    }
    return add_operand(parser, operand);
}

static int compare_operands(const void *a, const void *b)
{
    return vdb_filter_match_compare(a, b);
}

static vdb_status parse_in(struct parser *parser, struct vdb_json *json, struct filter_node *node,
                           const struct place *place)
{
    vdb_json_type type;
    READ(place, vdb_json_peek(json, &type, parser->err));
    if (type != VDB_JSON_ARRAY) {
        return refuse(parser, VDB_INVALID, place, json->pos, "in takes an array of values, found %s",
                      vdb_json_type_name(type));
    }
    size_t at = json->pos;
    READ(place, vdb_json_enter_array(json, parser->err));
    struct place item = {place, NULL, 0};
    for (;; item.index++) {
        bool more;
        READ(place, vdb_json_next_item(json, &more, parser->err));
        if (!more) {
            break;
        }
        VDB_TRY(parse_operand(parser, json, FILTER_IN, &item));
    }
    node->operand_count = parser->filter->operand_count - node->operand_first;
    if (node->operand_count == 0) {
        return count_term(parser, place, at);
    }
    qsort(parser->filter->operands + node->operand_first, node->operand_count, sizeof *parser->filter->operands,
          compare_operands);
    return VDB_OK;
}

static vdb_status parse_value(struct parser *parser, struct vdb_str value, struct filter_node *node,
                              const struct place *up)
{
    struct place place = {up, "value", 0};
    /* The value was stepped over once, when the operator was perhaps not known yet; it is read again in place, so
     * that its errors name the byte in the whole text. */
    struct vdb_json json = parser->json;
    json.pos = byte_of(parser, value);
    if (node->op == FILTER_IN) {
        return parse_in(parser, &json, node, &place);
    }
    node->operand_count = 1;
    return parse_operand(parser, &json, node->op, &place);
}

static vdb_status parse_op(struct parser *parser, struct vdb_str raw, filter_op *op, const struct place *up)
{
    for (filter_op i = FILTER_EQ; i <= FILTER_EXISTS; i++) {
        if (vdb_json_raw_is(raw, op_names[i])) {
            *op = i;
            return VDB_OK;
        }
    }
    struct place place = {up, "op", 0};
    return refuse(parser, VDB_INVALID, &place, byte_of(parser, raw),
                  "\"%.*s%s\" is none of == != < <= > >= in contains exists", shown_bytes(raw), raw.data,
                  shown_end(raw));
}

/* All members have been read; `at` is where the object began. */
static vdb_status finish_comparison(struct parser *parser, const struct members *members, size_t at,
                                    const struct place *place)
{
    struct filter_node node = {.operand_first = parser->filter->operand_count};
    if (members->field.data == NULL) {
        return refuse(parser, VDB_INVALID, place, at, "the key \"field\" is missing");
    }
    if (members->op.data == NULL) {
        return refuse(parser, VDB_INVALID, place, at, "the key \"op\" is missing");
    }
    VDB_TRY(parse_op(parser, members->op, &node.op, place));
    if (node.op == FILTER_EXISTS) {
        /* A null is let through for programs that always write the key. */
        if (members->value.data != NULL && !vdb_str_is(members->value, "null")) {
            struct place value = {place, "value", 0};
            return refuse(parser, VDB_INVALID, &value, byte_of(parser, members->value), "exists takes no value");
        }
        VDB_TRY(count_term(parser, place, at));
    } else if (members->value.data == NULL) {
        return refuse(parser, VDB_INVALID, place, at, "the key \"value\" is missing: %s needs one",
                      op_names[node.op]);
    } else {
        VDB_TRY(parse_value(parser, members->value, &node, place));
    }
    /* The field's number is known only when all names are: till then, the comparison's own number. */
    node.field = parser->name_count;
    VDB_TRY(keep_canonical(parser, members->field, &parser->names[parser->name_count]));
    parser->name_count++;
    uint32_t index;
    VDB_TRY(add_node(parser, node, &index));
    parser->filter->nodes[index].end = index + 1;
    return VDB_OK;
}

static vdb_status read_member(struct parser *parser, struct vdb_str key, struct members *members,
                              const struct place *up)
{
    static const char *const keys[] = {"field", "op", "value"};
    struct vdb_str *const targets[] = {&members->field, &members->op, &members->value};
    for (int i = 0; i < 3; i++) {
        if (!vdb_json_raw_is(key, keys[i])) {
            continue;
        }
        struct place place = {up, keys[i], 0};
        if (targets[i]->data != NULL) {
            return refuse(parser, VDB_INVALID, &place, byte_of(parser, key), "given twice");
        }
        if (i == 2) {
            READ(&place, vdb_json_skip(&parser->json, targets[i], parser->err));
        } else {
            READ(&place, vdb_json_string_raw(&parser->json, targets[i], parser->err));
        }
        return VDB_OK;
    }
    return refuse(parser, VDB_INVALID, up, byte_of(parser, key),
                  "unknown key \"%.*s%s\": an expression has field, op and value, or one of and, or, not",
                  shown_bytes(key), key.data, shown_end(key));
}

/* ---- Expressions ---- */

static vdb_status parse_expression(struct parser *parser, const struct place *place, unsigned depth);

static vdb_status parse_parts(struct parser *parser, const struct place *place, unsigned depth)
{
    READ(place, vdb_json_enter_array(&parser->json, parser->err));
    struct place item = {place, NULL, 0};
    for (;; item.index++) {
        bool more;
        READ(place, vdb_json_next_item(&parser->json, &more, parser->err));
        if (!more) {
            return VDB_OK;
        }
        VDB_TRY(parse_expression(parser, &item, depth));
    }
}

/* Behind the key of an and, or or not, through the end of its object. */
static vdb_status parse_combiner(struct parser *parser, filter_op op, struct vdb_str key, const struct place *up,
                                 unsigned depth)
{
    struct place place = {up, op_names[op], 0};
    size_t at = byte_of(parser, key);
    if (depth == VDB_LIMIT_FILTER_DEPTH_MAX) {
        return refuse(parser, VDB_LIMIT, &place, at, "and, or and not are nested deeper than %u",
                      VDB_LIMIT_FILTER_DEPTH_MAX);
    }
    if (parser->combiners == VDB_LIMIT_FILTER_TERMS_MAX) {
        return refuse(parser, VDB_LIMIT, &place, at, "more than %u and, or and not in one filter",
                      VDB_LIMIT_FILTER_TERMS_MAX);
    }
    parser->combiners++;
    uint32_t index;
    VDB_TRY(add_node(parser, (struct filter_node){.op = op}, &index));
    if (op == FILTER_NOT) {
        VDB_TRY(parse_expression(parser, &place, depth + 1));
    } else {
        VDB_TRY(parse_parts(parser, &place, depth + 1));
    }
    parser->filter->nodes[index].end = parser->filter->node_count;
    bool more;
    READ(up, vdb_json_next_key(&parser->json, &key, &more, parser->err));
    if (more) {
        return refuse(parser, VDB_INVALID, up, byte_of(parser, key),
                      "\"%s\" must stand alone, found \"%.*s%s\" beside it", op_names[op], shown_bytes(key),
                      key.data, shown_end(key));
    }
    return VDB_OK;
}

/* depth: how many and, or and not are open around this expression. */
static vdb_status parse_expression(struct parser *parser, const struct place *place, unsigned depth)
{
    struct members members = {{0}, {0}, {0}};
    READ(place, vdb_json_enter_object(&parser->json, parser->err));
    size_t at = parser->json.pos - 1;
    for (bool first = true;; first = false) {
        struct vdb_str key;
        bool more;
        READ(place, vdb_json_next_key(&parser->json, &key, &more, parser->err));
        if (!more) {
            break;
        }
        for (filter_op op = FILTER_AND; op <= FILTER_NOT; op++) {
            if (!vdb_json_raw_is(key, op_names[op])) {
                continue;
            }
            if (!first) {
                return refuse(parser, VDB_INVALID, place, byte_of(parser, key), "\"%s\" must stand alone",
                              op_names[op]);
            }
            return parse_combiner(parser, op, key, place, depth);
        }
        VDB_TRY(read_member(parser, key, &members, place));
    }
    return finish_comparison(parser, &members, at, place);
}

/* Gives the names to the field plan and each comparison its field's number. */
static vdb_status number_fields(struct parser *parser)
{
    struct vdb_filter *filter = parser->filter;
    size_t count = parser->name_count;
    struct vdb_str *sorted = vdb_calloc(count > 0 ? count : 1, sizeof *sorted);
    if (sorted == NULL) {
        return vdb_err_no_memory(parser->err, "a filter");
    }
    memcpy(sorted, parser->names, count * sizeof *sorted);
    VDB_TRY(vdb_filter_fields_init(&filter->fields, sorted, parser->name_count, parser->err));
    for (uint32_t i = 0; i < filter->node_count; i++) {
        struct filter_node *node = &filter->nodes[i];
        if (node->op >= FILTER_EQ) {
            node->field = vdb_filter_fields_find(&filter->fields, parser->names[node->field]);
        }
    }
    return VDB_OK;
}

vdb_status vdb_filter_parse(const char *text, size_t bytes, struct vdb_filter **out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct parser parser = {.err = err};
    const struct place root = {NULL, "filter", 0};
    *out = NULL;
    vdb_json_init(&parser.json, text, bytes, JSON_DEPTH_MAX);
    parser.filter = vdb_calloc(1, sizeof *parser.filter);
    parser.names = vdb_calloc(VDB_LIMIT_FILTER_TERMS_MAX, sizeof *parser.names);
    if (parser.filter == NULL || parser.names == NULL) {
        free(parser.filter);
        parser.filter = NULL;
        status = vdb_err_no_memory(err, "a filter");
        goto cleanup;
    }
    vdb_arena_init(&parser.filter->strings, 1024);
    VDB_CHECK(parse_expression(&parser, &root, 0));
    status = vdb_json_end(&parser.json, err);
    if (status != VDB_OK) {
        status = located(&parser, status, &root);
        goto cleanup;
    }
    VDB_CHECK(number_fields(&parser));
    *out = parser.filter;
    parser.filter = NULL;
cleanup:
    vdb_filter_destroy(parser.filter);
    free(parser.names);
    vdb_buf_fini(&parser.scratch);
    return status;
}

void vdb_filter_destroy(struct vdb_filter *filter)
{
    if (filter == NULL) {
        return;
    }
    vdb_filter_fields_fini(&filter->fields);
    vdb_arena_fini(&filter->strings);
    free(filter->operands);
    free(filter->nodes);
    free(filter);
}
