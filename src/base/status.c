/* status.c: the names and texts of the status list. */
#include "status.h"

const char *vdb_status_text(vdb_status status)
{
    switch (status) {
#define VDB_STATUS_CASE(name, number, text)                                                                      \
    case VDB_##name:                                                                                             \
        return text;
        VDB_STATUS_LIST(VDB_STATUS_CASE)
#undef VDB_STATUS_CASE
    }
    return "unknown status";
}

const char *vdb_status_name(vdb_status status)
{
    switch (status) {
    case VDB_OK:
        return "ok";
    case VDB_INVALID:
        return "invalid";
    case VDB_NOT_FOUND:
        return "not_found";
    case VDB_EXISTS:
        return "exists";
    case VDB_LIMIT:
        return "limit";
    case VDB_BUSY:
        return "busy";
    case VDB_IO:
        return "io";
    case VDB_CORRUPT:
        return "corrupt";
    case VDB_NO_SPACE:
        return "no_space";
    case VDB_NO_MEMORY:
        return "no_memory";
    case VDB_UNSUPPORTED:
        return "unsupported";
    case VDB_READ_ONLY:
        return "read_only";
    case VDB_VERSION:
        return "version";
    case VDB_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}
