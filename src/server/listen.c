/* listen.c: sockets are opened here and handed to libmicrohttpd, so that a failure keeps its errno. */
#include "server/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    return address->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

vdb_status vdb_listen_resolve(const char *host, struct vdb_listen_address *out, struct vdb_err *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc != 0 || found == NULL) {
        return vdb_err_set(err, VDB_INVALID, "host: \"%s\": %s", host, rc != 0 ? gai_strerror(rc) : "no address");
    }
    /* IPv4 first where a name has both, so that "localhost" is what the default 127.0.0.1 is. */
    const struct addrinfo *chosen = found;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        if (at->ai_family == AF_INET) {
            chosen = at;
            break;
        }
    }
    *out = (struct vdb_listen_address){.bytes = chosen->ai_addrlen};
    memcpy(&out->address, chosen->ai_addr, chosen->ai_addrlen);
    out->loopback = is_loopback(&out->address);
    freeaddrinfo(found);
    return VDB_OK;
}

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET) {
        ((struct sockaddr_in *)address)->sin_port = htons(port);
    } else {
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    }
}

/* What the socket is really bound to. */
static void write_text(int fd, char *text)
{
    struct sockaddr_storage bound = {0};
    socklen_t bytes = sizeof bound;
    char host[NI_MAXHOST] = "?";
    char port[NI_MAXSERV] = "?";
    if (getsockname(fd, (struct sockaddr *)&bound, &bytes) == 0) {
        (void)getnameinfo((struct sockaddr *)&bound, bytes, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    }
    bool v6 = bound.ss_family == AF_INET6;
    snprintf(text, VDB_LISTEN_TEXT_BYTES, "%s%.250s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static vdb_status listen_error(const char *host, uint16_t port, const char *option, struct vdb_err *err)
{
    int code = errno;
    bool in_use = code == EADDRINUSE;
    bool v6 = strchr(host, ':') != NULL;
    return vdb_err_set(err, in_use ? VDB_BUSY : VDB_INVALID, "listen %s%s%s:%u: %s%s%s", v6 ? "[" : "", host,
                       v6 ? "]" : "", port, strerror(code),
                       in_use ? "; another server runs there, or choose " : "", in_use ? option : "");
}

vdb_status vdb_listen_open(const struct vdb_listen_address *address, const char *host, uint16_t port,
                           const char *option, int *fd, char *text, struct vdb_err *err)
{
    struct sockaddr_storage bound = address->address;
    int on = 1;
    set_port(&bound, port);
    int opened = socket(bound.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (opened < 0) {
        return listen_error(host, port, option, err);
    }
    setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bound.ss_family == AF_INET6) {
        setsockopt(opened, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(opened, (struct sockaddr *)&bound, address->bytes) != 0 || listen(opened, BACKLOG) != 0) {
        vdb_status status = listen_error(host, port, option, err);
        close(opened);
        return status;
    }
    write_text(opened, text);
    *fd = opened;
    return VDB_OK;
}
