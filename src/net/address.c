/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses to and from text; the system's resolver does the work. */
#include "net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

static const char PATH_PREFIX[] = "unix:";

static int path_parse(const char *path, struct address *out)
{
    size_t size = strlen(path);
    if (size == 0)
        return diag_set(ERROR_INVALID, "'unix:' needs the path of a socket behind it");
    if (size >= sizeof out->path.sun_path)
        return diag_set(ERROR_INVALID, "the path of a unix socket has at most %zu bytes, not %zu",
                        sizeof out->path.sun_path - 1, size);
    out->path.sun_family = AF_UNIX;
    memcpy(out->path.sun_path, path, size + 1);
    out->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
    return 0;
}

/* Splits host:port or [host]:port; the host goes to `host`. Returns the port's text or NULL. */
static const char *host_split(const char *text, char *host, size_t room)
{
    const char *start = text, *end = strrchr(text, ':');
    if (!end)
        return NULL;
    const char *port = end + 1;
    if (*start == '[') {
        start++;
        if (end == start || *--end != ']')
            return NULL;
    } else if (memchr(start, ':', (size_t)(end - start))) {
        return NULL;
    }
    if (end <= start || (size_t)(end - start) >= room)
        return NULL;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = 0;
    return port;
}

static bool port_valid(const char *port)
{
    size_t size = strlen(port);
    return size > 0 && size <= 5 && strspn(port, "0123456789") == size && atoi(port) <= 65535;
}

int address_parse(const char *text, struct address *out)
{
    memset(out, 0, sizeof *out);
    if (strncmp(text, PATH_PREFIX, sizeof PATH_PREFIX - 1) == 0)
        return path_parse(text + sizeof PATH_PREFIX - 1, out);
    char host[256];
    const char *port = host_split(text, host, sizeof host);
    if (!port)
        return diag_set(ERROR_INVALID,
                        "'%s' is no address: write host:port, [IPv6 address]:port or unix:path",
                        text);
    if (!port_valid(port))
        return diag_set(ERROR_INVALID, "'%s' is no port: write a number from 0 to 65535", port);
    bool every = strcmp(host, "*") == 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    if (every)
        hints.ai_family = AF_INET;
    int rc = getaddrinfo(every ? NULL : host, port, &hints, &found);
    if (rc)
        return diag_set(ERROR_INVALID, "'%s' is no host: %s", host, gai_strerror(rc));
    memcpy(&out->storage, found->ai_addr, found->ai_addrlen);
    out->size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

void address_format(const struct address *address, char out[ADDRESS_TEXT_MAX + 1])
{
    char host[64], port[8];
    if (address->any.sa_family == AF_UNIX) {
        /* Clients do not bind their end: it has no path. */
        bool named = address->size > offsetof(struct sockaddr_un, sun_path);
        snprintf(out, ADDRESS_TEXT_MAX + 1, "unix:%s", named ? address->path.sun_path : "");
    } else if (getnameinfo(&address->any, address->size, host, sizeof host, port, sizeof port,
                           NI_NUMERICHOST | NI_NUMERICSERV)) {
        snprintf(out, ADDRESS_TEXT_MAX + 1, "?:0");
    } else {
        const char *format = address->any.sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s";
        snprintf(out, ADDRESS_TEXT_MAX + 1, format, host, port);
    }
}

static bool ipv4_is_loopback(uint32_t big_endian)
{
    return ntohl(big_endian) >> 24 == 127;
}

bool address_is_local(const struct address *address)
{
    if (address->any.sa_family == AF_UNIX)
        return true;
    if (address->any.sa_family == AF_INET)
        return ipv4_is_loopback(
            ((const struct sockaddr_in *)(const void *)&address->storage)->sin_addr.s_addr);
    if (address->any.sa_family != AF_INET6)
        return false;
    const struct in6_addr *ipv6 =
        &((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_addr;
    if (!IN6_IS_ADDR_V4MAPPED(ipv6))
        return IN6_IS_ADDR_LOOPBACK(ipv6);
    uint32_t ipv4;
    memcpy(&ipv4, ipv6->s6_addr + 12, sizeof ipv4);
    return ipv4_is_loopback(ipv4);
}

bool address_is_path(const struct address *address)
{
    return address->any.sa_family == AF_UNIX;
}

unsigned address_port(const struct address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)&address->storage)->sin_port);
    if (address->any.sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_port);
    return 0;
}

void address_reachable(struct address *address)
{
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)(void *)&address->storage;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)(void *)&address->storage;
    if (address->any.sa_family == AF_INET && ipv4->sin_addr.s_addr == htonl(INADDR_ANY))
        ipv4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr))
        ipv6->sin6_addr = in6addr_loopback;
}
