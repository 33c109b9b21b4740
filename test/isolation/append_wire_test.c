/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients append to lists and read them over the wire, and what they saw is checked for anomalies
 * (history/append.h): by single commands, MULTI, EVAL, CALL of a stored procedure, and interactive
 * transactions of every level, all beside each other, with durability commit, while the server is
 * killed and started again. A list is a Redis string, or a tuple of a space; the text "3,7," is the
 * list [3 7]. Procedures also read ranges of lists, in which some are absent. All of it once for each
 * engine that the space can have; where rows leave memory behind checkpoints, another client asks for
 * one after the other.
 *
 * Whoever had an answer before another began came before it, also across a kill. What has no answer
 * because the server died may have been committed or not; an interactive transaction that had not
 * said COMMIT has not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "history/append.h"
#include "server/resp_client.h"
#include "storage/engines.h"

enum {
    CLIENTS = 8,
    ACTIVE = 6,      /* lists in use */
    LIST_MAX = 14,   /* numbers, after which a list is given up */
    ROW_MAX = 3,     /* the same in a space, where it is absent ones that count */
    LIST_ROOM = 64,  /* who has one in hand may still append to it */
    OPS_MAX = 5,     /* of a transaction */
    LIVES = 3,       /* of the server */
    TXNS_MAX = 8000, /* of a client in one life */
    RANGE = 4        /* lists read by one range */
};

static _Atomic uint64_t stop_ns;
static _Atomic unsigned at_once_count,
    at_once_min; /* that came to their end, and must before a kill */
static _Atomic uint32_t active[ACTIVE], list_next, value_next;

struct client {
    const struct server_process *server;
    struct server_client *to;
    struct random random;
    uint32_t session;
    unsigned done, lost; /* transactions; those that lost a conflict or a deadlock */
    struct append_history history;
    struct append_history undone; /* by savepoints */
    struct resp_reply reply;
    char wrong[160]; /* a reply that nobody expects */
};

/* How a transaction comes to the server. */
enum way { SINGLE, MULTI, SCRIPT, PROCEDURE, INTERACTIVE, WAYS };

struct plan {
    enum way way;
    enum append_level level;
    bool readonly, roll_back;
    unsigned count;
    struct step {
        bool append, undo, range;
        uint32_t list, value;
    } steps[OPS_MAX];
};

static uint64_t now(void)
{
    return clock_monotonic_ns(clock_system());
}

/* Lists with an odd number are in a space, the others are Redis strings. */
static bool in_space(uint32_t list)
{
    return list % 2;
}

static const char PROCEDURE_MAKE[] =
    "box.schema.space.create('lists', {engine = ENGINE, format = {{'id', 'unsigned'}, "
    "{'text', 'string'}}}):create_index('pk') "
    "box.schema.func.create('lists', {body = [[function(...) "
    "  local out, steps = {}, {...} "
    "  for i = 1, #steps, 3 do "
    "    local what, list, text = steps[i], tonumber(steps[i + 1]), steps[i + 2] "
    "    out[#out + 1] = '' "
    "    if what == 's' then "
    "      for _, tuple in box.space.lists:pairs({list}, {iterator = 'GE'}) do "
    "        if tuple[1] > list + 6 then break end "
    "        out[#out] = out[#out] .. tuple[1] .. '=' .. tuple[2] .. ';' "
    "      end "
    "    elseif list % 2 == 0 then "
    "      if what == 'a' then redis.call('append', 'list:' .. list, text) "
    "      else out[#out] = redis.call('get', 'list:' .. list) or '' end "
    "    else "
    "      local tuple = box.space.lists:get(list) "
    "      local old = tuple and tuple[2] or '' "
    "      if what == 'a' then box.space.lists:replace({list, old .. text}) "
    "      else out[#out] = old end "
    "    end "
    "  end "
    "  return out "
    "end]]})";

static const char SCRIPT_TEXT[] =
    "local out = {} "
    "for i = 1, #ARGV, 3 do "
    "  if ARGV[i] == 'a' then redis.call('append', 'list:' .. ARGV[i + 1], ARGV[i + 2]) "
    "    out[#out + 1] = '' "
    "  else out[#out + 1] = redis.call('get', 'list:' .. ARGV[i + 1]) or '' end "
    "end "
    "return out";

/* -------------------------------------------------------------------------------- recording */

/* A text "3,7,", at the end of it or before a ';'. */
static void note_read(struct client *client, uint32_t list, const char *text, bool range)
{
    uint32_t values[LIST_ROOM] = {0}, count = 0;
    while (*text != '\0' && *text != ';' && count < LIST_ROOM) {
        char *end;
        values[count++] = (uint32_t)strtoul(text, &end, 10);
        text = end + (*end == ',');
    }
    append_read(&client->history, list, values, count, range);
    uint32_t most = in_space(list) ? ROW_MAX : LIST_MAX;
    for (unsigned i = 0; count >= most && i < ACTIVE; i++) {
        uint32_t old = list;
        if (load_relaxed(&active[i]) == list) /* the new one is where the old one was */
            atomic_compare_exchange_strong(&active[i], &old,
                                           atomic_fetch_add(&list_next, 2) + list % 2);
    }
}

/* A text "1=3,7,;5=9,;": what is not in it is absent. */
static void note_range(struct client *client, uint32_t first, const char *text)
{
    for (uint32_t list = first; list < first + 2 * RANGE; list += 2) {
        char *end;
        bool there = *text != '\0' && strtoul(text, &end, 10) == list;
        note_read(client, list, there ? end + 1 : "", true);
        if (there)
            text = strchr(end, ';') + 1;
    }
}

static void note_step(struct client *client, const struct step *step, const struct resp_item *item)
{
    if (step->append)
        append_value(&client->history, step->list, step->value);
    else if (step->range)
        note_range(client, step->list, item->text);
    else
        note_read(client, step->list, item->nil ? "" : item->text, false);
}

/* An array with one part for each step. */
static void note_steps(struct client *client, const struct plan *plan,
                       const struct resp_item *items)
{
    for (unsigned i = 0; i < plan->count; i++)
        note_step(client, &plan->steps[i], &items[i]);
}

/* The appends of a transaction whose outcome nobody told. */
static void note_appends(struct append_history *history, const struct plan *plan)
{
    for (unsigned i = 0; i < plan->count; i++)
        if (plan->steps[i].append)
            append_value(history, plan->steps[i].list, plan->steps[i].value);
}

static void wrong(struct client *client, const char *what)
{
    if (client->wrong[0] == '\0')
        snprintf(client->wrong, sizeof client->wrong, "%s: %.120s", what,
                 client->reply.items[0].text);
}

/* ---------------------------------------------------------------------- at once: all but BEGIN */

/* What the procedure is to do. */
static const char *word_of(const struct step *step)
{
    return step->append ? "a" : step->range ? "s" : "r";
}

static bool step_send(struct client *client, const struct step *step)
{
    if (in_space(step->list))
        return resp_sendf(client->to, "CALL lists %s %u %u,", word_of(step), step->list,
                          step->value);
    return step->append ? resp_sendf(client->to, "APPEND list:%u %u,", step->list, step->value)
                        : resp_sendf(client->to, "GET list:%u", step->list);
}

static bool multi_send(struct client *client, const struct plan *plan)
{
    bool sent = resp_sendf(client->to, "MULTI");
    for (unsigned i = 0; i < plan->count; i++)
        sent = sent && step_send(client, &plan->steps[i]);
    return sent && resp_sendf(client->to, "EXEC");
}

/* EVAL and CALL: what, list and text of each step. */
static bool script_send(struct client *client, const struct plan *plan)
{
    char texts[2 * OPS_MAX][16];
    const char *arguments[RESP_ARGUMENTS_MAX] = {"CALL", "lists"};
    unsigned count = 2;
    if (plan->way == SCRIPT) {
        arguments[0] = plan->readonly ? "EVAL_RO" : "EVAL";
        arguments[1] = SCRIPT_TEXT;
        arguments[count++] = "0";
    }
    for (unsigned i = 0; i < plan->count; i++) {
        snprintf(texts[2 * i], sizeof *texts, "%u", plan->steps[i].list);
        snprintf(texts[2 * i + 1], sizeof *texts, "%u,", plan->steps[i].value);
        arguments[count++] = word_of(&plan->steps[i]);
        arguments[count++] = texts[2 * i];
        arguments[count++] = texts[2 * i + 1];
    }
    return resp_send(client->to, count, arguments);
}

static bool at_once_send(struct client *client, const struct plan *plan)
{
    if (plan->way == SINGLE)
        return step_send(client, &plan->steps[0]);
    return plan->way == MULTI ? multi_send(client, plan) : script_send(client, plan);
}

/* Reads up to the reply that tells of the outcome. */
static bool at_once_read(struct client *client, const struct plan *plan)
{
    unsigned before = plan->way == MULTI ? 1 + plan->count : 0; /* OK, and QUEUED for each */
    for (unsigned i = 0; i <= before; i++)
        if (!resp_read(client->to, &client->reply))
            return false;
    return true;
}

static bool at_once_run(struct client *client, const struct plan *plan)
{
    const struct resp_item *items = client->reply.items;
    append_begin(&client->history, client->session, plan->level, now());
    if (!at_once_send(client, plan) || !at_once_read(client, plan)) {
        note_appends(&client->history, plan);
        append_end(&client->history, APPEND_UNKNOWN, now());
        return false;
    }
    uint64_t time = now();
    if (items[0].type == '-') {
        wrong(client, "at once");
        return false;
    }
    if (items[0].type == '*')
        note_steps(client, plan, items + 1);
    else
        note_step(client, &plan->steps[0], items);
    append_end(&client->history, APPEND_COMMITTED, time);
    return true;
}

/* ------------------------------------------------------------------------------- interactive */

static const char *const BEGINS[APPEND_LEVELS] = {"READ UNCOMMITTED", "READ COMMITTED", "SNAPSHOT",
                                                  "SERIALIZABLE"};

static bool ask(struct client *client, const char *command)
{
    return resp_sendf(client->to, "%s", command) && resp_read(client->to, &client->reply);
}

/* Whether the transaction lost, as one may; the connection is then free of it. */
static bool lost(struct client *client)
{
    if (!resp_is_error(&client->reply, "CONFLICT") && !resp_is_error(&client->reply, "DEADLOCK") &&
        !strstr(client->reply.items[0].text, "to let one pass")) {
        wrong(client, "interactive");
        return false;
    }
    client->lost++;
    return ask(client, "ROLLBACK");
}

/* One statement. What a savepoint takes back belongs to a transaction of its own. */
static bool statement(struct client *client, const struct step *step, enum append_level level)
{
    if (step->undo && !ask(client, "SAVEPOINT here"))
        return false;
    if (!step_send(client, step) || !resp_read(client->to, &client->reply))
        return false;
    if (client->reply.items[0].type == '-')
        return true;
    const struct resp_item *items = client->reply.items;
    if (!step->undo) {
        note_step(client, step, items[0].type == '*' ? items + 1 : items);
        return true;
    }
    append_begin(&client->undone, client->session, level, now());
    append_value(&client->undone, step->list, step->value);
    append_end(&client->undone, APPEND_ABORTED, now());
    return ask(client, "ROLLBACK TO here");
}

/* All statements; false when the connection is gone. The last reply tells whether it lost. */
static bool statements(struct client *client, const struct plan *plan)
{
    char begin[64];
    snprintf(begin, sizeof begin, "BEGIN %s%s", BEGINS[plan->level],
             plan->readonly ? " READ ONLY" : "");
    if (!ask(client, begin))
        return false;
    for (unsigned i = 0; i < plan->count && client->reply.items[0].type != '-'; i++)
        if (!statement(client, &plan->steps[i], plan->level))
            return false;
    return true;
}

static bool interactive_run(struct client *client, const struct plan *plan)
{
    append_begin(&client->history, client->session, plan->level, now());
    if (!statements(client, plan)) {
        append_end(&client->history, APPEND_ABORTED, now()); /* nobody said COMMIT */
        return false;
    }
    if (client->reply.items[0].type == '-') {
        append_end(&client->history, APPEND_ABORTED, now());
        return lost(client);
    }
    if (!ask(client, plan->roll_back ? "ROLLBACK" : "COMMIT")) {
        append_end(&client->history, plan->roll_back ? APPEND_ABORTED : APPEND_UNKNOWN, now());
        return false;
    }
    bool refused = client->reply.items[0].type == '-';
    append_end(&client->history, refused || plan->roll_back ? APPEND_ABORTED : APPEND_COMMITTED,
               now());
    return !refused || lost(client);
}

/* ------------------------------------------------------------------------------------- plans */

/* A number of a list that this way can reach: MULTI and EVAL only Redis strings. */
static uint32_t list_choose(struct random *random, bool redis_only)
{
    uint32_t list;
    do
        list = load_relaxed(&active[random_below(random, ACTIVE)]);
    while (redis_only && in_space(list));
    return list;
}

static void plan_make(struct client *client, struct plan *plan)
{
    struct random *random = &client->random;
    *plan = (struct plan){.way = (enum way)random_below(random, WAYS),
                          .level = APPEND_SERIALIZABLE,
                          .readonly = random_below(random, 6) == 0,
                          .roll_back = random_below(random, 12) == 0,
                          .count = 1 + (unsigned)random_below(random, OPS_MAX)};
    if (plan->way == SINGLE)
        plan->count = 1;
    if (plan->way == INTERACTIVE && !plan->readonly)
        plan->level = (enum append_level)random_below(random, APPEND_LEVELS);
    for (unsigned i = 0; i < plan->count; i++) {
        struct step *step = &plan->steps[i];
        step->list = list_choose(random, plan->way == MULTI || plan->way == SCRIPT);
        step->append = !plan->readonly && random_below(random, 2);
        /* A procedure's read and write are two statements to those who see the latest. */
        if (in_space(step->list) && plan->level < APPEND_SNAPSHOT)
            step->append = false;
        step->range = in_space(step->list) && !step->append && random_below(random, 2);
        step->value = step->append ? atomic_fetch_add(&value_next, 1) + 1 : 0;
        step->undo = step->append && plan->way == INTERACTIVE && random_below(random, 8) == 0;
    }
}

static void *client_run(void *arg)
{
    struct client *client = arg;
    struct plan plan;
    if (!server_client_open(client->to, client->server))
        return NULL; /* another has ended the server already */
    for (unsigned i = 0; i < TXNS_MAX && client->wrong[0] == '\0'; i++) {
        if (now() > load_relaxed(&stop_ns) &&
            load_relaxed(&at_once_count) >= load_relaxed(&at_once_min))
            server_process_signal(client->server, SIGKILL);
        plan_make(client, &plan);
        client->done++;
        if (!(plan.way == INTERACTIVE ? interactive_run(client, &plan)
                                      : at_once_run(client, &plan)))
            break;
        if (plan.way != INTERACTIVE)
            atomic_fetch_add(&at_once_count, 1);
    }
    server_client_close(client->to);
    return NULL;
}

/* ------------------------------------------------------------------------------------- lives */

/* Asks for checkpoints until the server is gone. */
struct keeper {
    const struct server_process *server;
    unsigned saved;
    char wrong[128];
};

static void *keeper_run(void *arg)
{
    struct keeper *keeper = arg;
    struct server_client to;
    char line[128] = "";
    if (!server_client_open(&to, keeper->server))
        return NULL;
    while (server_client_send(&to, "SAVE\r\n", 6) && server_client_line(&to, line, sizeof line) &&
           strcmp(line, "+OK") == 0) {
        keeper->saved++;
        line[0] = '\0';
    }
    if (line[0] == '-')
        snprintf(keeper->wrong, sizeof keeper->wrong, "%s", line);
    server_client_close(&to);
    return NULL;
}

/* The rounds of engines that are not the first are shorter. */
static uint64_t life_ns_max(const char *engine)
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t seconds = text == NULL ? 5 : strtoull(text, NULL, 10);
    return seconds * UINT64_C(400000000) / (engines_resident(engine) ? 1 : 2);
}

static void life_run(struct client *clients, struct server_process *server, const char *engine,
                     struct keeper *keeper)
{
    pthread_t threads[CLIENTS], keeper_thread;
    keeper->server = server;
    store_relaxed(&stop_ns, now() + random_below(&clients[0].random, life_ns_max(engine)));
    if (!engines_resident(engine))
        assert_int_equal(pthread_create(&keeper_thread, NULL, keeper_run, keeper), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].server = server;
        assert_int_equal(pthread_create(&threads[i], NULL, client_run, &clients[i]), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    server_process_signal(server, SIGKILL);
    assert_int_equal(server_process_wait(server), -SIGKILL);
    if (!engines_resident(engine))
        pthread_join(keeper_thread, NULL);
    if (keeper->wrong[0] != '\0')
        fail_msg("SAVE was told: %s", keeper->wrong);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (clients[i].wrong[0] != '\0')
            fail_msg("a client was told: %s", clients[i].wrong);
}

static void clients_start(struct client *clients, struct random *random)
{
    memset(clients, 0, CLIENTS * sizeof *clients);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].session = i;
        clients[i].to = malloc(sizeof *clients[i].to);
        assert_non_null(clients[i].to);
        random_create(&clients[i].random, random_next(random));
        append_history_create(&clients[i].history);
        append_history_create(&clients[i].undone);
    }
}

static void lists_make(struct client *client, const struct server_process *server,
                       const char *engine)
{
    char text[sizeof PROCEDURE_MAKE + 64];
    snprintf(text, sizeof text, "local ENGINE = '%s' %s", engine, PROCEDURE_MAKE);
    server_client_open(client->to, server);
    assert_non_null(resp_lua(client->to, text));
    server_client_close(client->to);
    at_once_count = 0;
    list_next = ACTIVE + ACTIVE % 2; /* even */
    value_next = 0;
    for (unsigned i = 0; i < ACTIVE; i++)
        active[i] = i;
}

/* What is there in the end, by one transaction after all others. */
static void read_all(struct client *client, const struct server_process *server)
{
    server_client_open(client->to, server);
    append_begin(&client->history, client->session, APPEND_SERIALIZABLE, now());
    assert_true(ask(client, "BEGIN SERIALIZABLE READ ONLY"));
    for (uint32_t list = 0; list < list_next; list++) {
        struct step step = {.list = list};
        assert_true(step_send(client, &step) && resp_read(client->to, &client->reply));
        const struct resp_item *items = client->reply.items;
        assert_int_not_equal(items[0].type, '-');
        note_step(client, &step, items[0].type == '*' ? items + 1 : items);
    }
    assert_true(ask(client, "COMMIT"));
    append_end(&client->history, APPEND_COMMITTED, now());
    server_client_close(client->to);
}

static void histories_check(struct client *clients)
{
    struct append_history history;
    static struct append_report report;
    unsigned lost_count = 0;
    append_history_create(&history);
    for (unsigned i = 0; i < CLIENTS; i++) {
        append_history_join(&history, &clients[i].history);
        append_history_join(&history, &clients[i].undone);
        append_history_destroy(&clients[i].history);
        append_history_destroy(&clients[i].undone);
        lost_count += clients[i].lost;
        free(clients[i].to);
    }
    bool clean = append_check(&history, &(struct append_options){.real_time = true}, &report);
    printf("%zu transactions, %u committed, %u lost, %zu edges\n", history.txn_count,
           report.committed, lost_count, report.edges);
    if (!clean)
        fail_msg("%s", report.text);
    assert_true(report.committed > CLIENTS);
    append_history_destroy(&history);
}

static void what_clients_see_is_what_their_levels_promise_also_across_kills(void **state)
{
    const char *engine = *state;
    static struct client clients[CLIENTS];
    struct keeper keeper = {.saved = 0};
    static const char *const options[] = {"--durability", "commit", "--workers", "2",
                                          "--log_level",  "warn",   NULL};
    struct server_process server;
    struct random random;
    char folder[256];
    random_create(&random, test_seed());
    clients_start(clients, &random);
    server_folder_make(folder);
    for (unsigned life = 0; life < LIVES; life++) {
        server_process_start(&server, folder, options);
        if (life == 0)
            lists_make(&clients[0], &server, engine);
        store_relaxed(&at_once_min, life == LIVES - 1 ? 2 * CLIENTS : 0);
        life_run(clients, &server, engine, &keeper);
    }
    server_process_start(&server, folder, options);
    read_all(&clients[0], &server);
    server_process_signal(&server, SIGTERM);
    assert_int_equal(server_process_wait(&server), 0);
    server_folder_remove(folder);
    printf("%s: %u checkpoints on request\n", engine, keeper.saved);
    histories_check(clients);
}

int main(void)
{
    struct CMUnitTest tests[ENGINES_MAX];
    unsigned count =
        engines_tests(tests, "what_clients_see_is_what_their_levels_promise_also_across_kills",
                      what_clients_see_is_what_their_levels_promise_also_across_kills, NULL, NULL);
    return engines_run("lists over the wire", tests, count);
}
