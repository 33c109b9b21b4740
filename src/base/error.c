/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, texts and RESP prefixes of the error codes, made from the one list in error.h; and the
 * translation of what the system says (errno) into that list.
 */
#include "base/error.h"

#include <errno.h>

const char *error_name(int code)
{
    switch (code) {
    case 0:
        return "OK";
#define ERROR_CASE(name, value, prefix, text) \
    case name:                                \
        return #name;
        ERROR_LIST(ERROR_CASE)
#undef ERROR_CASE
    }
    return "ERROR_?";
}

const char *error_text(int code)
{
    switch (code) {
    case 0:
        return "success";
#define ERROR_CASE(name, value, prefix, text) \
    case name:                                \
        return text;
        ERROR_LIST(ERROR_CASE)
#undef ERROR_CASE
    }
    return "unknown error";
}

const char *error_prefix(int code)
{
    switch (code) {
    case 0:
        return "OK";
#define ERROR_CASE(name, value, prefix, text) \
    case name:                                \
        return prefix;
        ERROR_LIST(ERROR_CASE)
#undef ERROR_CASE
    }
    return "ERR";
}

int error_from_errno(int error)
{
    switch (error) {
    case 0:
        return 0;
    case ENOMEM:
        return ERROR_MEMORY;
    case EINVAL:
        return ERROR_INVALID;
    case ENOENT:
        return ERROR_NOT_FOUND;
    case EEXIST:
        return ERROR_EXISTS;
    case EAGAIN:
        return ERROR_AGAIN;
    case ETIMEDOUT:
        return ERROR_TIMEOUT;
    case EROFS:
        return ERROR_READONLY;
    case EFBIG:
    case E2BIG:
    case ENAMETOOLONG:
        return ERROR_TOO_LARGE;
    case EACCES:
    case EPERM:
        return ERROR_ACCESS;
    case EBUSY:
        return ERROR_BUSY;
    case ECANCELED:
        return ERROR_CANCELLED;
    case ENOSYS:
    case EOPNOTSUPP:
        return ERROR_UNSUPPORTED;
    }
    return ERROR_IO;
}
