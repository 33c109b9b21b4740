/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hiredis, one connection at a time: replies of each kind, a pipeline, a transaction and channels with
 * its blocking interface; then the same with the asynchronous one on libuv's loop.
 *
 * `hiredis PORT` prints a line `ok NAME` for each part; at the first surprise it says where, and ends
 * with status 1.
 */
#include <hiredis/adapters/libuv.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                       \
        }                                                                  \
    } while (0)

enum { PIPELINE = 10000, ASYNC = 2000 };

static bool text_is(const redisReply *reply, int type, const char *text)
{
    return reply && reply->type == type && reply->len == strlen(text) &&
           memcmp(reply->str, text, reply->len) == 0;
}

/* --------------------------------------------------------------------------------- blocking */

static redisContext *open_connection(int port)
{
    struct timeval timeout = {.tv_sec = 200};
    redisContext *context = redisConnectWithTimeout("127.0.0.1", port, timeout);
    CHECK(context && !context->err);
    CHECK(redisSetTimeout(context, timeout) == REDIS_OK);
    return context;
}

static void expect_text(redisContext *context, int type, const char *text, const char *command)
{
    redisReply *reply = redisCommand(context, command);
    CHECK(text_is(reply, type, text));
    freeReplyObject(reply);
}

static void expect_integer(redisContext *context, long long integer, const char *command)
{
    redisReply *reply = redisCommand(context, command);
    CHECK(reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == integer);
    freeReplyObject(reply);
}

static void replies_of_each_kind(redisContext *context)
{
    expect_text(context, REDIS_REPLY_STATUS, "PONG", "PING");
    expect_text(context, REDIS_REPLY_STATUS, "OK", "FLUSHALL");
    expect_text(context, REDIS_REPLY_STATUS, "OK", "SET foo hello");
    expect_text(context, REDIS_REPLY_STRING, "hello", "GET foo");
    expect_integer(context, 1, "INCR counter");
    expect_text(context, REDIS_REPLY_ERROR, "ERR value is not an integer or out of range",
                "INCR foo");
    redisReply *reply = redisCommand(context, "GET none");
    CHECK(reply && reply->type == REDIS_REPLY_NIL);
    freeReplyObject(reply);
    reply = redisCommand(context, "SET %b %b", "a\0b", (size_t)3, "\r\n\0$", (size_t)4);
    CHECK(text_is(reply, REDIS_REPLY_STATUS, "OK"));
    freeReplyObject(reply);
    const char *words[] = {"MGET", "a\0b", "none", "foo"};
    size_t sizes[] = {4, 3, 4, 3};
    reply = redisCommandArgv(context, 4, words, sizes);
    CHECK(reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3);
    CHECK(reply->element[0]->len == 4 && memcmp(reply->element[0]->str, "\r\n\0$", 4) == 0);
    CHECK(reply->element[1]->type == REDIS_REPLY_NIL);
    CHECK(text_is(reply->element[2], REDIS_REPLY_STRING, "hello"));
    freeReplyObject(reply);
    puts("ok replies");
}

static void a_pipeline_and_a_transaction(redisContext *context)
{
    for (int n = 0; n < PIPELINE; n++)
        CHECK(redisAppendCommand(context, "RPUSH list element-%d", n) == REDIS_OK);
    for (int n = 0; n < PIPELINE; n++) {
        redisReply *reply;
        CHECK(redisGetReply(context, (void **)&reply) == REDIS_OK);
        CHECK(reply->type == REDIS_REPLY_INTEGER && reply->integer == n + 1);
        freeReplyObject(reply);
    }
    redisReply *all = redisCommand(context, "LRANGE list 0 -1");
    CHECK(all && all->type == REDIS_REPLY_ARRAY && all->elements == PIPELINE);
    CHECK(text_is(all->element[PIPELINE - 1], REDIS_REPLY_STRING, "element-9999"));
    freeReplyObject(all);

    expect_text(context, REDIS_REPLY_STATUS, "OK", "MULTI");
    expect_text(context, REDIS_REPLY_STATUS, "QUEUED", "HSET hash field value");
    expect_text(context, REDIS_REPLY_STATUS, "QUEUED", "HGETALL hash");
    redisReply *exec = redisCommand(context, "EXEC");
    CHECK(exec && exec->type == REDIS_REPLY_ARRAY && exec->elements == 2);
    CHECK(exec->element[0]->integer == 1 && exec->element[1]->elements == 2);
    CHECK(text_is(exec->element[1]->element[1], REDIS_REPLY_STRING, "value"));
    freeReplyObject(exec);
    puts("ok pipeline");
}

static void messages_are_read_as_replies(redisContext *context, redisContext *publisher)
{
    redisReply *reply = redisCommand(context, "SUBSCRIBE news");
    CHECK(reply && reply->elements == 3 && reply->element[2]->integer == 1);
    freeReplyObject(reply);
    expect_integer(publisher, 1, "PUBLISH news first");
    CHECK(redisGetReply(context, (void **)&reply) == REDIS_OK);
    CHECK(reply->elements == 3 && text_is(reply->element[0], REDIS_REPLY_STRING, "message"));
    CHECK(text_is(reply->element[2], REDIS_REPLY_STRING, "first"));
    freeReplyObject(reply);
    reply = redisCommand(context, "UNSUBSCRIBE news");
    CHECK(reply && reply->elements == 3 && reply->element[2]->integer == 0);
    freeReplyObject(reply);
    expect_text(context, REDIS_REPLY_STATUS, "PONG", "PING");
    puts("ok messages");
}

static void a_connection_that_is_closed_says_so(redisContext *context)
{
    expect_text(context, REDIS_REPLY_STATUS, "OK", "QUIT");
    CHECK(!redisCommand(context, "PING"));
    CHECK(context->err == REDIS_ERR_EOF || context->err == REDIS_ERR_IO);
    CHECK(redisReconnect(context) == REDIS_OK);
    expect_text(context, REDIS_REPLY_STATUS, "PONG", "PING");
    puts("ok reconnect");
}

/* ----------------------------------------------------------------------------- asynchronous */

struct work {
    redisAsyncContext *commands, *listener;
    int replies, messages, closed;
};

static void on_disconnect(const redisAsyncContext *context, int status)
{
    struct work *work = context->data;
    CHECK(status == REDIS_OK);
    work->closed++;
}

static void on_increment(redisAsyncContext *context, void *data, void *private)
{
    struct work *work = context->data;
    redisReply *reply = data;
    (void)private;
    CHECK(reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == ++work->replies);
}

static void on_popped(redisAsyncContext *context, void *data, void *private)
{
    struct work *work = context->data;
    redisReply *reply = data;
    (void)private;
    CHECK(work->replies == ASYNC); /* in the order of the requests */
    CHECK(reply && reply->elements == 2 && text_is(reply->element[1], REDIS_REPLY_STRING, "it"));
    redisAsyncDisconnect(context);
}

static void on_message(redisAsyncContext *context, void *data, void *private)
{
    struct work *work = context->data;
    redisReply *reply = data;
    (void)private;
    CHECK(reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3);
    if (text_is(reply->element[0], REDIS_REPLY_STRING, "subscribe")) {
        CHECK(redisAsyncCommand(work->commands, NULL, NULL, "PUBLISH async %s", "hello") ==
              REDIS_OK);
        CHECK(redisAsyncCommand(work->commands, NULL, NULL, "LPUSH waited it") == REDIS_OK);
        CHECK(redisAsyncCommand(work->commands, on_popped, NULL, "BLPOP waited 0") == REDIS_OK);
    } else if (text_is(reply->element[0], REDIS_REPLY_STRING, "message")) {
        CHECK(text_is(reply->element[2], REDIS_REPLY_STRING, "hello"));
        work->messages++;
        CHECK(redisAsyncCommand(context, on_message, NULL, "UNSUBSCRIBE") == REDIS_OK);
        redisAsyncDisconnect(context);
    }
}

static redisAsyncContext *open_async(struct work *work, uv_loop_t *loop, int port)
{
    redisAsyncContext *context = redisAsyncConnect("127.0.0.1", port);
    CHECK(context && !context->err);
    context->data = work;
    CHECK(redisLibuvAttach(context, loop) == REDIS_OK);
    CHECK(redisAsyncSetDisconnectCallback(context, on_disconnect) == REDIS_OK);
    return context;
}

static void callbacks_come_in_order(int port)
{
    uv_loop_t *loop = uv_default_loop();
    struct work work = {.replies = 0};
    work.commands = open_async(&work, loop, port);
    work.listener = open_async(&work, loop, port);
    for (int n = 0; n < ASYNC; n++)
        CHECK(redisAsyncCommand(work.commands, on_increment, NULL, "INCR async") == REDIS_OK);
    CHECK(redisAsyncCommand(work.listener, on_message, NULL, "SUBSCRIBE async") == REDIS_OK);
    uv_run(loop, UV_RUN_DEFAULT);
    CHECK(work.replies == ASYNC && work.messages == 1 && work.closed == 2);
    puts("ok asynchronous");
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    int port = atoi(argv[1]);
    redisContext *context = open_connection(port), *publisher = open_connection(port);
    replies_of_each_kind(context);
    a_pipeline_and_a_transaction(context);
    messages_are_read_as_replies(context, publisher);
    a_connection_that_is_closed_says_so(context);
    redisFree(context);
    redisFree(publisher);
    callbacks_come_in_order(port);
    return 0;
}
