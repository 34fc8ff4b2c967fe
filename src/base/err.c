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
    if (used >= 0 && (size_t)used < sizeof err->text) {
        size_t room = sizeof err->text - (size_t)used;
        /* A chain longer than the text loses its end; the outermost context always stays. */
        (void)!snprintf(err->text + used, room, ": %s", inner);
    }
}
