// floor: filter
/* fuzz_filter.c: filter texts against the naive filter over jansson trees: both must accept the same expressions,
 * and those that are accepted must match the same of a few metadata documents. The input behind the first
 * newline, if there is one and it is a JSON object, is one more document. */
#include "require.h"

#include "base/json.h"
#include "base/limits.h"
#include "filter/filter.h"
#include "unit/filter/naive_filter.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *const documents[] = {
    "{}",
    "{\"a\": 1, \"b\": \"x\", \"c\": true, \"d\": null, \"e\": [1, \"x\", true, null, [1], {\"a\": 1}], \"f\": "
    "{\"a\": 2}}",
    "{\"a\": {\"b\": {\"c\": 3}, \"b.c\": 4}, \"a.b\": \"literal\", \"a.b.c\": null}",
    "{\"a\": 2.5, \"a\": -1e3, \"b\": \"\", \"c\": false, \"e\": []}",
    "{\"b\": \"line\\nquote\\\"slash\\\\\\u0001\", \"a\": \"\\u00e9\\ud83d\\ude00\"}",
    "{\"year\": 1984, \"genres\": [\"Western\", \"Silent\"], \"main_genre\": \"Western\", \"author\": {\"name\": "
    "\"O. Henry\"}}",
};

/* One document: matched as stored (canonical) and as a tree. */
static void check_document(const struct vdb_filter *filter, const json_t *expression, const char *text,
                           size_t bytes)
{
    struct vdb_json json;
    struct vdb_buf canonical = {0};
    vdb_json_init(&json, text, bytes, VDB_LIMIT_JSON_DEPTH_MAX);
    json_error_t error;
    json_t *tree = json_loadb(text, bytes, JSON_ALLOW_NUL, &error);
    if (vdb_json_compact(&json, &canonical, NULL) == VDB_OK && vdb_json_end(&json, NULL) == VDB_OK &&
        json_is_object(tree)) {
        bool found = vdb_filter_match(filter, (struct vdb_str){(const char *)canonical.data, canonical.bytes});
        REQUIRE(expression == NULL || found == naive_match(expression, tree));
    }
    /* Text that is not canonical, or cut, may match or not, but is never read past its end. */
    for (size_t cut = 0; cut <= bytes && cut < 64; cut++) {
        char *exact = malloc(cut > 0 ? cut : 1);
        REQUIRE(exact != NULL);
        memcpy(exact, text, cut);
        (void)vdb_filter_match(filter, (struct vdb_str){exact, cut});
        free(exact);
    }
    json_decref(tree);
    vdb_buf_fini(&canonical);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    const char *newline = bytes > 0 ? memchr(text, '\n', bytes) : NULL;
    size_t filter_bytes = newline != NULL ? (size_t)(newline - text) : bytes;

    struct vdb_filter *filter;
    struct vdb_err err;
    vdb_status status = vdb_filter_parse(text, filter_bytes, &filter, &err);
    REQUIRE((status == VDB_OK) == (filter != NULL));
    REQUIRE(status == VDB_OK || status == VDB_INVALID || status == VDB_LIMIT);
    REQUIRE(status == VDB_OK || (strncmp(err.text, "filter", 6) == 0 && strstr(err.text, "byte ") != NULL) ||
            strncmp(err.text, "...", 3) == 0);

    json_error_t error;
    json_t *expression = json_loadb(text, filter_bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES,
                                    &error);
    bool their_limit = expression == NULL && json_error_code(&error) == json_error_numeric_overflow;
    bool raw_nul = bytes > 0 && memchr(data, 0, bytes) != NULL; /* see fuzz_json.c */
    if (!their_limit && !raw_nul) {
        REQUIRE((status == VDB_OK) == (expression != NULL && naive_valid(expression)));
    }
    if (status == VDB_OK) {
        const json_t *trusted = expression != NULL && naive_valid(expression) ? expression : NULL;
        for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
            check_document(filter, trusted, documents[i], strlen(documents[i]));
        }
        if (newline != NULL) {
            check_document(filter, trusted, newline + 1, bytes - filter_bytes - 1);
        }
    }
    vdb_filter_destroy(filter);
    json_decref(expression);
    return 0;
}
