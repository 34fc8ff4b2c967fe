/* handlers.h: one request to one response, without a socket: so tests call it with text and read text.
 *
 * Threads: any number of requests at once.
 */
#ifndef VDB_SERVER_HANDLERS_H
#define VDB_SERVER_HANDLERS_H

#include "base/bytes.h"
#include "server/routes.h"
#include "server/server.h"

struct vdb_request {
    const char *method;
    const char *path; /* raw, without the query */
    bool has_query;
    bool late;              /* it began after the server began to close: work is refused */
    struct vdb_match match; /* vdb_routes_find of method and path */
    const char *body;
    size_t body_bytes;
};

struct vdb_response {
    unsigned status;
    const char *content_type;
    const char *allow; /* NULL, or the value of the Allow header; borrowed from the request */
    struct vdb_buf body;
    char detail[VDB_ERR_TEXT_BYTES]; /* of a problem, for the log; "" otherwise */
};

/* Fills *out (its body is the caller's to free). Never fails: what goes wrong is a problem document. */
void vdb_handlers_answer(struct vdb_server *server, const struct vdb_request *request, struct vdb_response *out);

/* A problem with that HTTP status; `err` says what. */
void vdb_handlers_problem(struct vdb_response *out, unsigned status, const struct vdb_err *err);

#endif
