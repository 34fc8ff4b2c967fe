/* args.c: see args.h. */
#include "args.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    NEAR_BYTES_MAX = 32,    /* longer words get no suggestion */
    NEAR_DISTANCE_MAX = 2,  /* edits; a third makes any two short words near */
    SHOWN_BYTES_MAX = 120,  /* of the user's words in a message */
    HELP_COLUMN_BYTES = 24, /* where an option's text starts */
};

/* Levenshtein distance of two short words (Wagner and Fischer 1974), one row of the matrix at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[NEAR_BYTES_MAX + 1];
    size_t b_bytes = strlen(b);
    for (size_t j = 0; j <= b_bytes; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_bytes];
}

const char *vdb_args_nearest(const char *text, const char *const *names)
{
    if (strlen(text) > NEAR_BYTES_MAX) {
        return NULL;
    }
    const char *best = NULL;
    size_t best_distance = NEAR_DISTANCE_MAX + 1;
    for (size_t i = 0; names[i] != NULL; i++) {
        size_t distance = strlen(names[i]) <= NEAR_BYTES_MAX ? edit_distance(text, names[i]) : best_distance;
        /* A word that must change in every letter is not near, however short. */
        if (distance < best_distance && distance < strlen(names[i])) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}

static vdb_status refuse_unknown(const struct vdb_args_option *options, size_t count, struct vdb_str name,
                                 struct vdb_err *err)
{
    const char *names[VDB_ARGS_OPTIONS_MAX + 1];
    for (size_t i = 0; i < count; i++) {
        names[i] = options[i].name;
    }
    names[count] = NULL;
    char text[NEAR_BYTES_MAX + 2];
    snprintf(text, sizeof text, "%.*s", (int)(name.bytes < sizeof text ? name.bytes : sizeof text - 1),
             name.data);
    const char *near = vdb_args_nearest(text, names);
    int shown = name.bytes < SHOWN_BYTES_MAX ? (int)name.bytes : SHOWN_BYTES_MAX;
    return near != NULL
               ? vdb_err_set(err, VDB_INVALID, "unknown option %.*s; did you mean %s?", shown, name.data, near)
               : vdb_err_set(err, VDB_INVALID, "unknown option %.*s; --help lists them", shown, name.data);
}

static vdb_status parse_number(const struct vdb_args_option *option, const char *value, struct vdb_err *err)
{
    uint64_t number = 0;
    bool good = value[0] != '\0';
    for (const char *c = value; good && *c != '\0'; c++) {
        good = *c >= '0' && *c <= '9' && !__builtin_mul_overflow(number, 10, &number) &&
               !__builtin_add_overflow(number, (uint64_t)(*c - '0'), &number);
    }
    if (!good || number < option->min || number > option->max) {
        return vdb_err_set(err, VDB_INVALID, "%s is %.*s, an integer from %" PRIu64 " to %" PRIu64 " is allowed",
                           option->name, SHOWN_BYTES_MAX, value[0] != '\0' ? value : "empty", option->min,
                           option->max);
    }
    *(uint64_t *)option->out = number;
    return VDB_OK;
}

static vdb_status parse_choice(const struct vdb_args_option *option, const char *value, struct vdb_err *err)
{
    char list[128] = "";
    size_t used = 0;
    for (unsigned i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], value) == 0) {
            *(unsigned *)option->out = i;
            return VDB_OK;
        }
        int wrote = snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", option->choices[i]);
        used += (size_t)wrote < sizeof list - used ? (size_t)wrote : sizeof list - used - 1;
    }
    return vdb_err_set(err, VDB_INVALID, "%s is \"%.*s\"; allowed: %s", option->name, SHOWN_BYTES_MAX, value,
                       list);
}

static vdb_status take_value(const struct vdb_args_option *option, const char *value, struct vdb_err *err)
{
    switch (option->kind) {
    case VDB_ARGS_FLAG:
        *(bool *)option->out = true;
        return VDB_OK;
    case VDB_ARGS_TEXT:
        if (value[0] == '\0') {
            return vdb_err_set(err, VDB_INVALID, "%s is empty, it needs a value (%s)", option->name,
                               option->value_name);
        }
        *(const char **)option->out = value;
        return VDB_OK;
    case VDB_ARGS_NUMBER:
        return parse_number(option, value, err);
    default:
        return parse_choice(option, value, err);
    }
}

/* The option of that name, or count. */
static size_t find_option(const struct vdb_args_option *options, size_t count, struct vdb_str name)
{
    size_t i = 0;
    while (i < count && !vdb_str_is(name, options[i].name)) {
        i++;
    }
    return i;
}

/* One option and, where it has one, its value: the words from argv[*at], which moves past them. */
static vdb_status take_option(const struct vdb_args_option *options, size_t count, int argc, char *const *argv,
                              int *at, bool *seen, struct vdb_err *err)
{
    const char *word = argv[*at];
    *at += 1;
    if (word[0] != '-' || word[1] == '\0') {
        return vdb_err_set(err, VDB_INVALID, "unexpected argument \"%.*s\"; options begin with --",
                           SHOWN_BYTES_MAX, word);
    }
    const char *equals = strchr(word, '=');
    struct vdb_str name = {word, equals != NULL ? (size_t)(equals - word) : strlen(word)};
    size_t i = find_option(options, count, name);
    if (i == count) {
        return refuse_unknown(options, count, name, err);
    }
    const struct vdb_args_option *option = &options[i];
    if (seen[i]) {
        return vdb_err_set(err, VDB_INVALID, "%s is given twice", option->name);
    }
    seen[i] = true;
    if (option->given != NULL) {
        *option->given = true;
    }
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (option->kind == VDB_ARGS_FLAG) {
        return value == NULL ? take_value(option, "", err)
                             : vdb_err_set(err, VDB_INVALID, "%s takes no value", option->name);
    }
    if (value == NULL) {
        /* What looks like an option is not taken for a value; `--name=--value` says it in so many words. */
        if (*at == argc || strncmp(argv[*at], "--", 2) == 0) {
            return vdb_err_set(err, VDB_INVALID, "%s needs a value (%s)", option->name, option->value_name);
        }
        value = argv[*at];
        *at += 1;
    }
    return take_value(option, value, err);
}

vdb_status vdb_args_parse(const struct vdb_args_option *options, size_t count, int argc, char *const *argv,
                          struct vdb_err *err)
{
    assert(count <= VDB_ARGS_OPTIONS_MAX);
    bool seen[VDB_ARGS_OPTIONS_MAX] = {false};
    int at = 0;
    while (at < argc) {
        VDB_TRY(take_option(options, count, argc, argv, &at, seen, err));
    }
    for (size_t i = 0; i < count; i++) {
        if (options[i].required && !seen[i]) {
            return vdb_err_set(err, VDB_INVALID, "%s is missing; it needs a value (%s)", options[i].name,
                               options[i].value_name);
        }
    }
    return VDB_OK;
}

void vdb_args_help(const struct vdb_args_option *options, size_t count, struct vdb_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        char left[HELP_COLUMN_BYTES * 2];
        bool flag = options[i].value_name == NULL;
        snprintf(left, sizeof left, "%s%s%s", options[i].name, flag ? "" : " ",
                 flag ? "" : options[i].value_name);
        vdb_buf_printf(out, "  %-*s%s\n", HELP_COLUMN_BYTES - 2, left, options[i].help);
    }
}
