/* filter_match.c: evaluates a parsed filter over one metadata text, without allocating.
 *
 * All fields are found in one walk first (filter_fields.c); then the expression is evaluated, left to right,
 * stopping as soon as an `and` or `or` is decided. Numbers are converted where they stand, strings compared where
 * they stand.
 */
#include "filter_tree.h"

#include "base/decimal.h"

/* ---- Values ---- */

/* A canonical scalar as an operand; false for null, arrays, objects and damaged text. `plain` stays unset. */
static bool read_scalar(struct vdb_str value, struct filter_operand *out)
{
    if (value.bytes == 0) {
        return false;
    }
    switch (value.data[0]) {
    case 't':
    case 'f':
        out->type = VDB_JSON_BOOL;
        out->boolean = value.data[0] == 't';
        return true;
    case '"':
        out->type = VDB_JSON_STRING;
        out->canonical = (struct vdb_str){value.data + 1, value.bytes - 2};
        return value.bytes >= 2;
    case 'n':
    case '[':
    case '{':
        return false;
    default: {
        struct vdb_decimal decimal;
        out->type = VDB_JSON_NUMBER;
        if (!vdb_decimal_scan(value.data, value.bytes, &decimal)) {
            return false;
        }
        out->number = vdb_decimal_to_double(&decimal);
        return true;
    }
    }
}

int vdb_filter_match_compare(const struct filter_operand *a, const struct filter_operand *b)
{
    if (a->type != b->type) {
        return a->type < b->type ? -1 : 1;
    }
    switch (a->type) {
    case VDB_JSON_BOOL:
        return a->boolean - b->boolean;
    case VDB_JSON_NUMBER:
        return (a->number > b->number) - (a->number < b->number);
    default:
        if (a->canonical.bytes != b->canonical.bytes) {
            return a->canonical.bytes < b->canonical.bytes ? -1 : 1;
        }
        return a->canonical.bytes > 0 ? memcmp(a->canonical.data, b->canonical.data, a->canonical.bytes) : 0;
    }
}

/* The next byte of a canonical string, unescaped: canonical escapes stand for one byte each, since only '"', '\\'
 * and control characters are escaped. */
static unsigned char next_byte(const char **p, const char *end)
{
    static const char from[] = "bfnrt";
    static const char to[] = "\b\f\n\r\t";
    const char *at = *p;
    if (*at != '\\' || end - at < 2) {
        *p = at + 1;
        return (unsigned char)*at;
    }
    if (at[1] == 'u' && end - at >= 6) {
        unsigned char low = (unsigned char)at[5];
        *p = at + 6;
        return (unsigned char)((at[4] - '0') << 4 | (low <= '9' ? low - '0' : low - 'a' + 10));
    }
    const char *found = memchr(from, at[1], sizeof from - 1);
    *p = at + 2;
    return (unsigned char)(found != NULL ? to[found - from] : at[1]);
}

/* The order of a canonical string and a plain one by their UTF-8 bytes. */
static int compare_text(struct vdb_str canonical, struct vdb_str plain)
{
    if (canonical.bytes == 0 || memchr(canonical.data, '\\', canonical.bytes) == NULL) {
        size_t common = canonical.bytes < plain.bytes ? canonical.bytes : plain.bytes;
        int order = common > 0 ? memcmp(canonical.data, plain.data, common) : 0;
        return order != 0 ? order : (canonical.bytes > plain.bytes) - (canonical.bytes < plain.bytes);
    }
    const char *p = canonical.data;
    const char *end = p + canonical.bytes;
    for (size_t i = 0; i < plain.bytes; i++) {
        if (p >= end) {
            return -1;
        }
        unsigned char a = next_byte(&p, end);
        unsigned char b = (unsigned char)plain.data[i];
        if (a != b) {
            return a < b ? -1 : 1;
        }
    }
    return p < end;
}

/* ---- Comparisons ---- */

static bool equals(struct vdb_str value, const struct filter_operand *operand)
{
    struct filter_operand found;
    return read_scalar(value, &found) && vdb_filter_match_compare(&found, operand) == 0;
}

static bool is_in_order(struct vdb_str value, filter_op op, const struct filter_operand *operand)
{
    struct filter_operand found;
    if (!read_scalar(value, &found) || found.type != operand->type) {
        return false;
    }
    int order = found.type == VDB_JSON_STRING ? compare_text(found.canonical, operand->plain)
                                              : vdb_filter_match_compare(&found, operand);
    switch (op) {
    case FILTER_LT:
        return order < 0;
    case FILTER_LE:
        return order <= 0;
    case FILTER_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

/* operands[0..count) are in the order of vdb_filter_match_compare. */
static bool is_among(struct vdb_str value, const struct filter_operand *operands, uint32_t count)
{
    struct filter_operand found;
    if (!read_scalar(value, &found)) {
        return false;
    }
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = vdb_filter_match_compare(&found, &operands[middle]);
        if (order == 0) {
            return true;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return false;
}

static bool contains(struct vdb_str value, const struct filter_operand *operand)
{
    const char *end = value.data + value.bytes;
    const char *p = value.data;
    if (*p != '[') {
        return false;
    }
    do {
        p++; /* over '[' or ',' */
        const char *item_end = vdb_filter_fields_skip(p, end);
        if (item_end == NULL) {
            return false;
        }
        if (equals((struct vdb_str){p, (size_t)(item_end - p)}, operand)) {
            return true;
        }
        p = item_end;
    } while (p < end && *p == ',');
    return false;
}

static bool compare(const struct vdb_filter *filter, const struct filter_node *node,
                    const struct filter_slot *slots)
{
    struct vdb_str value = slots[node->field].value;
    if (value.data == NULL || value.bytes == 0 || value.data[0] == 'n') {
        return false; /* missing or null */
    }
    if (node->op == FILTER_EXISTS) {
        return true;
    }
    if (node->operand_count == 0) {
        return false; /* `in` with an empty list: every other comparison has its operand */
    }
    const struct filter_operand *operands = filter->operands + node->operand_first;
    switch (node->op) {
    case FILTER_EQ:
        return equals(value, operands);
    case FILTER_NE:
        return !equals(value, operands);
    case FILTER_IN:
        return is_among(value, operands, node->operand_count);
    case FILTER_CONTAINS:
        return contains(value, operands);
    default:
        return is_in_order(value, node->op, operands);
    }
}

/* Recursion is bounded: the parser lets and, or and not nest VDB_LIMIT_FILTER_DEPTH_MAX deep. */
static bool evaluate(const struct vdb_filter *filter, uint32_t index, const struct filter_slot *slots)
{
    const struct filter_node *node = &filter->nodes[index];
    uint32_t part = index + 1;
    switch (node->op) {
    case FILTER_AND:
        while (part < node->end) {
            if (!evaluate(filter, part, slots)) {
                return false;
            }
            part = filter->nodes[part].end;
        }
        return true;
    case FILTER_OR:
        while (part < node->end) {
            if (evaluate(filter, part, slots)) {
                return true;
            }
            part = filter->nodes[part].end;
        }
        return false;
    case FILTER_NOT:
        return !evaluate(filter, part, slots);
    default:
        return compare(filter, node, slots);
    }
}

bool vdb_filter_match(const struct vdb_filter *filter, struct vdb_str metadata)
{
    struct filter_slot
        slots[VDB_LIMIT_FILTER_TERMS_MAX]; /* each field has a comparison, each comparison is a term */
    vdb_filter_fields_resolve(&filter->fields, metadata, slots);
    return evaluate(filter, 0, slots);
}
