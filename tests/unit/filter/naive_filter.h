/* naive_filter.h: docs/filters.md written down a second time, as plainly as possible, over jansson trees.
 *
 * The oracle of test_filter.c and fuzz_filter.c: naive_valid says whether an expression is well-formed,
 * naive_match whether a point's metadata matches a well-formed one. Shares no code with src/filter.
 */
#ifndef TESTS_UNIT_FILTER_NAIVE_FILTER_H
#define TESTS_UNIT_FILTER_NAIVE_FILTER_H

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

enum { NAIVE_DEPTH_MAX = 32, NAIVE_TERMS_MAX = 1024 };

static bool naive_is_scalar(const json_t *value)
{
    return json_is_boolean(value) || json_is_number(value) || json_is_string(value);
}

/* -1, 0 or 1, or 2 when the two cannot be compared. */
static int naive_compare(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a);
        double y = json_number_value(b);
        return x < y ? -1 : x > y;
    }
    if (json_is_string(a) && json_is_string(b)) {
        size_t a_bytes = json_string_length(a);
        size_t b_bytes = json_string_length(b);
        int order = memcmp(json_string_value(a), json_string_value(b), a_bytes < b_bytes ? a_bytes : b_bytes);
        if (order == 0) {
            return a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
        }
        return order < 0 ? -1 : 1;
    }
    return 2;
}

static bool naive_equal(const json_t *a, const json_t *b)
{
    if (json_is_boolean(a) && json_is_boolean(b)) {
        return json_is_true(a) == json_is_true(b);
    }
    return naive_compare(a, b) == 0;
}

static const json_t *naive_resolve(const json_t *object, const char *path, size_t bytes)
{
    const json_t *whole = json_object_getn(object, path, bytes);
    if (whole != NULL) {
        return whole;
    }
    const char *dot = memchr(path, '.', bytes);
    if (dot == NULL) {
        return NULL;
    }
    const json_t *inner = json_object_getn(object, path, (size_t)(dot - path));
    return json_is_object(inner) ? naive_resolve(inner, dot + 1, bytes - (size_t)(dot + 1 - path)) : NULL;
}

static bool naive_compares(const json_t *found, const char *op, const json_t *value)
{
    const json_t *item;
    size_t i;
    if (strcmp(op, "exists") == 0) {
        return true;
    }
    if (strcmp(op, "==") == 0) {
        return naive_equal(found, value);
    }
    if (strcmp(op, "!=") == 0) {
        return !naive_equal(found, value);
    }
    if (strcmp(op, "in") == 0) {
        json_array_foreach(value, i, item)
        {
            if (naive_equal(found, item)) {
                return true;
            }
        }
        return false;
    }
    if (strcmp(op, "contains") == 0) {
        json_array_foreach(found, i, item)
        {
            if (naive_equal(item, value)) {
                return true;
            }
        }
        return false;
    }
    int order = naive_compare(found, value);
    if (order == 2) {
        return false;
    }
    if (op[0] == '<') {
        return order < 0 || (op[1] == '=' && order == 0);
    }
    return order > 0 || (op[1] == '=' && order == 0);
}

static bool naive_match(const json_t *expression, const json_t *metadata)
{
    const json_t *parts = json_object_get(expression, "and");
    const json_t *part;
    size_t i;
    if (parts != NULL) {
        json_array_foreach(parts, i, part)
        {
            if (!naive_match(part, metadata)) {
                return false;
            }
        }
        return true;
    }
    parts = json_object_get(expression, "or");
    if (parts != NULL) {
        json_array_foreach(parts, i, part)
        {
            if (naive_match(part, metadata)) {
                return true;
            }
        }
        return false;
    }
    part = json_object_get(expression, "not");
    if (part != NULL) {
        return !naive_match(part, metadata);
    }
    const json_t *field = json_object_get(expression, "field");
    const json_t *found = naive_resolve(metadata, json_string_value(field), json_string_length(field));
    if (found == NULL || json_is_null(found)) {
        return false;
    }
    return naive_compares(found, json_string_value(json_object_get(expression, "op")),
                          json_object_get(expression, "value"));
}

struct naive_counts {
    unsigned terms;
    unsigned combiners;
};

static bool naive_valid_comparison(const json_t *expression, struct naive_counts *counts)
{
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">=", "in", "contains", "exists"};
    const json_t *field = json_object_get(expression, "field");
    const json_t *op = json_object_get(expression, "op");
    const json_t *value = json_object_get(expression, "value");
    if (!json_is_string(field) || !json_is_string(op) ||
        json_object_size(expression) != (value != NULL ? 3u : 2u)) {
        return false;
    }
    size_t which = 0;
    while (which < 9 &&
           (strcmp(ops[which], json_string_value(op)) != 0 || json_string_length(op) != strlen(ops[which]))) {
        which++;
    }
    if (which == 9) {
        return false;
    }
    counts->terms++;
    if (which == 8) {
        return value == NULL || json_is_null(value);
    }
    if (which == 6) {
        const json_t *item;
        size_t i;
        json_array_foreach(value, i, item)
        {
            if (!naive_is_scalar(item)) {
                return false;
            }
        }
        counts->terms += json_array_size(value) > 0 ? (unsigned)json_array_size(value) - 1 : 0;
        return json_is_array(value);
    }
    return naive_is_scalar(value) && !(which >= 2 && which <= 5 && json_is_boolean(value));
}

static bool naive_valid_at(const json_t *expression, unsigned depth, struct naive_counts *counts)
{
    if (!json_is_object(expression)) {
        return false;
    }
    const json_t *list = json_object_get(expression, "and");
    const json_t *single = json_object_get(expression, "not");
    if (list == NULL) {
        list = json_object_get(expression, "or");
    }
    if (list == NULL && single == NULL) {
        return naive_valid_comparison(expression, counts);
    }
    if (json_object_size(expression) != 1 || depth == NAIVE_DEPTH_MAX) {
        return false;
    }
    counts->combiners++;
    if (single != NULL) {
        return naive_valid_at(single, depth + 1, counts);
    }
    const json_t *part;
    size_t i;
    json_array_foreach(list, i, part)
    {
        if (!naive_valid_at(part, depth + 1, counts)) {
            return false;
        }
    }
    return json_is_array(list);
}

static bool naive_valid(const json_t *expression)
{
    struct naive_counts counts = {0, 0};
    return naive_valid_at(expression, 0, &counts) && counts.terms <= NAIVE_TERMS_MAX &&
           counts.combiners <= NAIVE_TERMS_MAX;
}

#endif
