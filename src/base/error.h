/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/*
 * The error codes of the whole project: one list, from which the enum, the names and the RESP
 * prefixes are made. Functions return 0 or one of these; the message is in the diagnostics area
 * (base/diag.h).
 *
 * X(name, code, resp prefix, text when nothing better was said)
 */
#define ERROR_LIST(X)                                                                          \
    X(ERROR_MEMORY, -1, "OOM", "out of memory")                                                \
    X(ERROR_IO, -2, "ERR", "input/output error")                                               \
    X(ERROR_CORRUPT, -3, "ERR", "data is damaged")                                             \
    X(ERROR_INVALID, -4, "ERR", "invalid argument")                                            \
    X(ERROR_NOT_FOUND, -5, "ERR", "not found")                                                 \
    X(ERROR_EXISTS, -6, "ERR", "already exists")                                               \
    X(ERROR_DUPLICATE, -7, "ERR", "duplicate key")                                             \
    X(ERROR_CONFLICT, -8, "CONFLICT", "transaction lost a conflict with another")              \
    X(ERROR_AGAIN, -9, "ERR", "must wait")                                                     \
    X(ERROR_TIMEOUT, -10, "ERR", "time limit exceeded")                                        \
    X(ERROR_READONLY, -11, "READONLY", "read-only")                                            \
    X(ERROR_LOG_FAILED, -12, "MISCONF",                                                        \
      "the write-ahead log failed; writes are refused until restart")                          \
    X(ERROR_UNKNOWN_OUTCOME, -13, "UNKNOWN",                                                   \
      "outcome unknown: the log failed before this was durable")                               \
    X(ERROR_TOO_LARGE, -14, "ERR", "too large")                                                \
    X(ERROR_PROTOCOL, -15, "ERR", "protocol error")                                            \
    X(ERROR_TYPE, -16, "WRONGTYPE", "operation against a key holding the wrong kind of value") \
    X(ERROR_ACCESS, -17, "NOPERM", "not permitted")                                            \
    X(ERROR_AUTH, -18, "NOAUTH", "authentication required")                                    \
    X(ERROR_LUA, -19, "ERR", "error in Lua code")                                              \
    X(ERROR_BUSY, -20, "BUSY", "busy")                                                         \
    X(ERROR_VERSION, -21, "ERR", "made by a newer version")                                    \
    X(ERROR_LOCKED, -22, "ERR", "in use by another process")                                   \
    X(ERROR_CANCELLED, -23, "ERR", "cancelled")                                                \
    X(ERROR_UNSUPPORTED, -24, "ERR", "not supported")                                          \
    X(ERROR_SCHEMA, -25, "ERR", "schema error")                                                \
    X(ERROR_END, -26, "ERR", "no more")                                                        \
    X(ERROR_WAIT, -27, "ERR", "must wait for a lock")                                          \
    X(ERROR_DEADLOCK, -28, "DEADLOCK", "deadlock: this transaction was chosen to end")         \
    X(ERROR_LOCK_TIMEOUT, -29, "LOCKTIMEOUT", "lock timeout exceeded")                         \
    X(ERROR_CONSTRAINT, -30, "ERR", "a constraint does not hold")                              \
    X(ERROR_LIMIT, -31, "ERR", "limit exceeded")                                               \
    X(ERROR_SCRIPT, -32, "", "ERR error in a script")                                          \
    X(ERROR_UNBLOCKED, -33, "UNBLOCKED", "client unblocked via CLIENT UNBLOCK")                \
    X(ERROR_INVALID_OBJECT, -34, "INVALIDOBJ", "a string is not what it begins as")            \
    X(ERROR_NO_GROUP, -35, "NOGROUP", "no such consumer group")                                \
    X(ERROR_GROUP_EXISTS, -36, "BUSYGROUP", "the consumer group exists already")               \
    X(ERROR_KEY_EXISTS, -37, "BUSYKEY", "the key exists already")

#define ERROR_ENUM(name, code, prefix, text) name = (code),
enum error_code { ERROR_LIST(ERROR_ENUM) };
#undef ERROR_ENUM

/* The name of a code ("ERROR_IO"), "OK" for 0, "ERROR_?" for one that is not in the list. Static
 * string. */
const char *error_name(int code);

/* The text and the RESP prefix that belong to a code; "success" and "OK" for 0, "unknown error" and
 * "ERR" for one that is not in the list. Static strings. */
const char *error_text(int code);
const char *error_prefix(int code);

/* The code that says best what errno value `error` says; ERROR_IO when none does, 0 for 0. */
int error_from_errno(int error);

#endif
