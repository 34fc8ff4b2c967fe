/* cli.c: see cli.h. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

int vdb_cli_exit_code(vdb_status status)
{
    switch (status) {
    case VDB_OK:
        return VDB_CLI_EXIT_OK;
    case VDB_INVALID:
    case VDB_NOT_FOUND: /* a name that the user gave */
    case VDB_EXISTS:
    case VDB_LIMIT:
    case VDB_UNSUPPORTED:
    case VDB_VERSION:
        return VDB_CLI_EXIT_USAGE;
    default:
        return VDB_CLI_EXIT_FAILED;
    }
}

int vdb_cli_fail(const char *command, const struct vdb_err *err)
{
    char line[VDB_ERR_TEXT_BYTES];
    snprintf(line, sizeof line, "%s", err->text[0] != '\0' ? err->text : vdb_status_text(err->status));
    vdb_utf8_make_printable(line);
    fprintf(stderr, "vecdb%s%s: %s\n", command != NULL ? " " : "", command != NULL ? command : "", line);
    return vdb_cli_exit_code(err->status);
}

vdb_status vdb_cli_write(struct vdb_buf *buf, struct vdb_err *err)
{
    if (buf->failed) {
        return vdb_err_no_memory(err, "output");
    }
    errno = 0;
    if ((buf->bytes > 0 && fwrite(buf->data, 1, buf->bytes, stdout) != buf->bytes) || fflush(stdout) != 0) {
        return vdb_err_set(err, VDB_IO, "write to standard output: %s", strerror(errno));
    }
    vdb_buf_clear(buf);
    return VDB_OK;
}
