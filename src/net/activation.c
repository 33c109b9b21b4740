/* SPDX-License-Identifier: Apache-2.0 */

/* Sockets from the environment: what it says is checked against what the descriptors are. */
#include "net/activation.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"

enum { FIRST_FD = 3, FDS_MAX = 1024 };

static const char WORD[] = "systemd";

bool activation_is_meant(const char *address)
{
    size_t size = sizeof WORD - 1;
    return strncmp(address, WORD, size) == 0 && (!address[size] || address[size] == ':');
}

static unsigned passed(void)
{
    const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    if (!count || !pid || strtoll(pid, NULL, 10) != (long long)getpid())
        return 0;
    unsigned long number = strtoul(count, NULL, 10);
    return number <= FDS_MAX ? (unsigned)number : 0;
}

/* Whether the n-th name of the list, which has colons between them, is this one. */
static bool is_named(unsigned n, const char *name)
{
    const char *at = getenv("LISTEN_FDNAMES");
    for (; at && n > 0; n--) {
        at = strchr(at, ':');
        at = at ? at + 1 : NULL;
    }
    return at && strcspn(at, ":") == strlen(name) && strncmp(at, name, strlen(name)) == 0;
}

static int socket_check(int fd)
{
    int type = 0, listens = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) || !listens)
        return diag_set(ERROR_INVALID,
                        "listen: descriptor %d, which was passed to this process, is no "
                        "socket that listens for streams",
                        fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
        return diag_set(ERROR_INVALID, "listen: descriptor %d cannot be set up", fd);
    return 0;
}

int activation_take(const char *address, int *fds, unsigned max)
{
    const char *name = address[sizeof WORD - 1] ? address + sizeof WORD : NULL;
    unsigned count = passed(), found = 0;
    for (unsigned n = 0; n < count; n++) {
        if (name && !is_named(n, name))
            continue;
        if (found == max)
            return diag_set(ERROR_INVALID, "listen: more than %u sockets were passed", max);
        int rc = socket_check(FIRST_FD + (int)n);
        if (rc)
            return rc;
        fds[found++] = FIRST_FD + (int)n;
    }
    if (found == 0)
        return diag_set(ERROR_NOT_FOUND, "listen: no socket%s%s was passed to this process (%s)",
                        name ? " with the name " : "", name ? name : "",
                        count > 0 ? "LISTEN_FDNAMES" : "LISTEN_FDS, LISTEN_PID");
    return (int)found;
}
