/* listen.h: opens listening sockets, and knows which addresses only this machine reaches. */
#ifndef VDB_SERVER_LISTEN_H
#define VDB_SERVER_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum { VDB_LISTEN_TEXT_BYTES = 320 };

struct vdb_listen_address {
    struct sockaddr_storage address; /* port 0 */
    socklen_t bytes;
    bool loopback;
};

/* A numeric address or a name (its first address). VDB_INVALID when it has none. */
vdb_status vdb_listen_resolve(const char *host, struct vdb_listen_address *out,
                              struct vdb_err *err) VDB_MUST_CHECK;

/* *fd is the caller's to close. `text` (VDB_LISTEN_TEXT_BYTES) gets "127.0.0.1:6334" or "[::1]:6334" with the
 * real port. VDB_BUSY when the port is in use; the error names host, port and the `option` that chooses another.
 */
vdb_status vdb_listen_open(const struct vdb_listen_address *address, const char *host, uint16_t port,
                           const char *option, int *fd, char *text, struct vdb_err *err) VDB_MUST_CHECK;

#endif
