/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DIAG_H
#define BASE_DIAG_H

/*
 * The thread's diagnostics area: code, message and cause of the last error on this thread.
 *
 * Whoever detects an error calls diag_set and returns its result; whoever can add context calls
 * diag_add. The edges (RESP, Lua, log) read it and turn it into their own form. Nothing here
 * allocates; a message longer than DIAG_MESSAGE_MAX bytes is cut. Arguments may point into the
 * present message. Leaf modules (trees, rings, codecs) return codes only; the area then holds an
 * older message, so an edge uses diag_message_for.
 */
enum { DIAG_MESSAGE_MAX = 512 };

/* Sets code and message (printf format) and forgets the previous ones. Returns code, so that
 * `return diag_set(ERROR_INVALID, "...")` is the usual form. */
int diag_set(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a failed system call: appends ": " and the text of errno value `error`. */
int diag_set_errno(int code, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts context in front of the message that is there: "context: message" ("context" when there is
 * none). Keeps and returns the code. */
int diag_add(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What was set last on this thread; "" and 0 after diag_clear. Valid until the thread's next diag
 * call. */
const char *diag_message(void);
int diag_code(void);

/* The message when the area holds one for `code`, else the code's own text. */
const char *diag_message_for(int code);

void diag_clear(void);

#endif
