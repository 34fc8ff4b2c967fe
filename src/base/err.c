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
    memcpy(inner, err->text, sizeof inner);
    err->status = status;
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    /* A chain longer than the text loses its end; the outermost context always stays. */
    size_t at = used < 0 ? 0 : (size_t)used;
    for (const char *p = ": "; *p != '\0' && at + 1 < sizeof err->text; p++) {
        err->text[at++] = *p;
    }
    for (const char *p = inner; *p != '\0' && at + 1 < sizeof err->text; p++) {
        err->text[at++] = *p;
    }
    err->text[at < sizeof err->text ? at : sizeof err->text - 1] = '\0';
}
