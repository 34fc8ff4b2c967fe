/* err.c: error texts, written by the deepest and prefixed by its callers. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void vdb_err_write(struct vdb_err *err, vdb_status status, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
}

void vdb_err_prefix(struct vdb_err *err, vdb_status status, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    char inner[VDB_ERR_TEXT_BYTES];
    char prefix[VDB_ERR_TEXT_BYTES];
    memcpy(inner, err->text, sizeof inner);
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    /* The fact at the end of the chain is what the reader needs most: when the text is full, context gives way. */
    static const char cut[] = "...";
    size_t inner_bytes = strlen(inner);
    size_t prefix_bytes = strlen(prefix);
    size_t room = sizeof err->text - 1 - inner_bytes;
    if (prefix_bytes + 2 > room) { /* ": " stands between them */
        if (room < sizeof cut - 1 + 2) {
            return;
        }
        prefix_bytes = room - 2;
        memcpy(prefix + prefix_bytes - (sizeof cut - 1), cut, sizeof cut - 1);
    }
    memcpy(err->text, prefix, prefix_bytes);
    memcpy(err->text + prefix_bytes, ": ", 2);
    memcpy(err->text + prefix_bytes + 2, inner, inner_bytes + 1);
}
