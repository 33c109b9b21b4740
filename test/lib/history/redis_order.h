/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_HISTORY_REDIS_ORDER_H
#define TEST_HISTORY_REDIS_ORDER_H

/*
 * Whether what several connections were told is what some order of their requests gives, one after
 * the other, in which nobody comes before who was answered before he asked, and each connection's
 * requests keep their order: strict serializability (Papadimitriou 1979; Herlihy and Wing 1990).
 *
 * The search is that of Wing and Gong (1993), with the states that led nowhere remembered (Lowe
 * 2017): over all keys at once, so a history is cut into pieces with nobody at work between them.
 * A request is a command, or several in MULTI or a script; of a transaction on what is watched the
 * null reply is taken as it comes, and any other says that nothing was changed.
 */
#include "history/redis_model.h"

enum { REDIS_ORDER_COMMANDS = 4, REDIS_ORDER_REPLY_MAX = 2048 };

enum redis_order_way {
    REDIS_ORDER_SINGLE,
    REDIS_ORDER_MULTI,
    REDIS_ORDER_SCRIPT,
    REDIS_ORDER_WATCH, /* of the first command's first key, until the session's next MULTI */
    REDIS_ORDER_WAYS
};

struct redis_order_op {
    enum redis_order_way way;
    unsigned count; /* of commands */
    struct redis_model_command commands[REDIS_ORDER_COMMANDS];
    uint64_t begin, end;
    /* Replies of the commands, a ';' behind each; "refused" for EXEC's null. */
    char reply[REDIS_ORDER_REPLY_MAX];
    bool harmless; /* it can't have changed anything; set by the search */
};

/* The requests of one connection in their order. */
struct redis_order_session {
    struct redis_order_op *ops;
    size_t count, room;
};

/* Adds a request, all zero; valid until the next one is added. */
struct redis_order_op *redis_order_add(struct redis_order_session *session);

enum redis_order_verdict {
    REDIS_ORDER_FOUND,
    REDIS_ORDER_NONE,
    REDIS_ORDER_UNDECIDED /* it takes too long, or a list has become too long for the model */
};

struct redis_order_report {
    uint64_t steps;
    size_t text_size;
    char text[8192]; /* when there is no order: the end of the longest, and what would come next */
};

/* Looks for an order that begins at *model and leaves there what it ends with. */
enum redis_order_verdict redis_order_check(
    struct redis_model *model, struct redis_order_session sessions[REDIS_MODEL_SESSIONS],
    struct redis_order_report *report);

/* Runs one request on the model as a server would, with its reply; false as redis_model_apply. */
bool redis_order_run(struct redis_model *model, unsigned session, struct redis_order_op *op);

#endif
