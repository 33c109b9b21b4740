/* SPDX-License-Identifier: Apache-2.0 */

/*
 * COMMAND: what the table says of commands, in Redis's shapes: ten elements for COMMAND and COMMAND
 * INFO, a map for COMMAND DOCS.
 */
#include "session/session_internal.h"

#include "redis/redis_glob.h"
#include "redis/redis_value.h"

static void put_text(struct session *session, const char *text)
{
    resp_put_bulk(&session->out, text, strlen(text));
}

/* A list of which most members are absent: writes those whose condition holds. */
struct word {
    bool holds;
    const char *text;
};

static void put_words(struct session *session, const struct word *words, size_t count)
{
    size_t held = 0;
    for (size_t n = 0; n < count; n++)
        held += words[n].holds;
    resp_put_set(&session->out, session->protocol, held);
    for (size_t n = 0; n < count; n++)
        if (words[n].holds)
            resp_put_status(&session->out, words[n].text);
}

static void put_flags(struct session *session, const struct session_command *command)
{
    unsigned own = command->flags, redis = command->redis ? command->redis->flags : 0;
    const struct word words[] = {
        {redis & REDIS_WRITE, "write"},
        {redis & REDIS_READONLY || own & SESSION_READS, "readonly"},
        {redis & REDIS_DENY_OOM, "denyoom"},
        {own & SESSION_ADMIN, "admin"},
        {own & SESSION_NOSCRIPT, "noscript"},
        {redis & REDIS_FAST || own & SESSION_FAST, "fast"},
        {own & SESSION_NO_AUTH, "no_auth"},
        {own & SESSION_NO_MULTI, "no_multi"},
        {own & SESSION_NUMKEYS, "movablekeys"},
    };
    put_words(session, words, sizeof words / sizeof *words);
}

static void put_categories(struct session *session, const struct session_command *command)
{
    unsigned redis = command->redis ? command->redis->flags : 0;
    bool fast = redis & REDIS_FAST || command->flags & SESSION_FAST;
    const struct word words[] = {
        {redis & REDIS_WRITE, "@write"},
        {redis & REDIS_READONLY, "@read"},
        {strcmp(command->group, "generic") == 0, "@keyspace"},
        {strcmp(command->group, "string") == 0, "@string"},
        {strcmp(command->group, "connection") == 0, "@connection"},
        {strcmp(command->group, "transactions") == 0, "@transaction"},
        {strcmp(command->group, "scripting") == 0, "@scripting"},
        {command->flags & SESSION_ADMIN, "@admin"},
        {fast, "@fast"},
        {!fast, "@slow"},
    };
    put_words(session, words, sizeof words / sizeof *words);
}

static void put_info(struct session *session, const struct session_command *command)
{
    struct mp_buffer *out = &session->out;
    resp_put_array(out, 10);
    put_text(session, command->name);
    resp_put_integer(out, command->arity);
    put_flags(session, command);
    resp_put_integer(out, command->first_key);
    resp_put_integer(out, command->last_key);
    resp_put_integer(out, command->key_step);
    put_categories(session, command);
    resp_put_array(out, 0); /* tips */
    resp_put_array(out, 0); /* key specifications */
    size_t count = 0;
    while (command->subcommands && command->subcommands[count].name)
        count++;
    resp_put_array(out, count);
    for (size_t n = 0; n < count; n++)
        put_info(session, &command->subcommands[n]);
}

int session__command(struct session *session, struct session_request *request)
{
    (void)request;
    const struct service *service = session->service;
    const struct session_command *command = NULL;
    resp_put_array(&session->out, service->command_count + session__module_count(session->worker));
    for (unsigned n = 0; n < service->command_count; n++)
        put_info(session, &service->commands[n]);
    while ((command = session__module_next(session->worker, command)))
        put_info(session, command);
    return 0;
}

static int command_count(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_integer(&session->out,
                     session->service->command_count + session__module_count(session->worker));
    return 0;
}

/* A command, or "parent|sub". */
static const struct session_command *find_full(struct session *session,
                                               const struct redis_slice *name)
{
    const char *bar = memchr(name->data, '|', name->size);
    const struct session_command *command = service__command_find(
        session->service, name->data, bar ? (size_t)(bar - name->data) : name->size);
    if (!command)
        command = session__module_command(session->worker, name->data, name->size);
    if (!bar || !command || !command->subcommands)
        return bar ? NULL : command;
    for (const struct session_command *sub = command->subcommands; sub->name; sub++)
        if (strlen(sub->name) == name->size && strncasecmp(sub->name, name->data, name->size) == 0)
            return sub;
    return NULL;
}

static int command_info(struct session *session, struct session_request *request)
{
    if (request->argc == 2)
        return session__command(session, request);
    resp_put_array(&session->out, request->argc - 2);
    for (unsigned n = 2; n < request->argc; n++) {
        const struct session_command *command = find_full(session, &request->argv[n]);
        if (command)
            put_info(session, command);
        else
            resp_put_null_array(&session->out, session->protocol);
    }
    return 0;
}

static void put_docs(struct session *session, const struct session_command *command)
{
    struct mp_buffer *out = &session->out;
    size_t count = 0;
    while (command->subcommands && command->subcommands[count].name)
        count++;
    put_text(session, command->name);
    const char *module = session__module_of(command);
    resp_put_map(out, session->protocol, 3 + (count > 0) + (module != NULL));
    put_text(session, "summary");
    put_text(session, command->summary);
    put_text(session, "since");
    put_text(session, command->since);
    put_text(session, "group");
    put_text(session, command->group);
    if (module) {
        put_text(session, "module");
        put_text(session, module);
    }
    if (!count)
        return;
    put_text(session, "subcommands");
    resp_put_map(out, session->protocol, count);
    for (size_t n = 0; n < count; n++)
        put_docs(session, &command->subcommands[n]);
}

static int command_docs(struct session *session, struct session_request *request)
{
    const struct service *service = session->service;
    if (request->argc == 2) {
        const struct session_command *command = NULL;
        resp_put_map(&session->out, session->protocol,
                     service->command_count + session__module_count(session->worker));
        for (unsigned n = 0; n < service->command_count; n++)
            put_docs(session, &service->commands[n]);
        while ((command = session__module_next(session->worker, command)))
            put_docs(session, command);
        return 0;
    }
    size_t found = 0; /* unknown ones are left out */
    for (unsigned n = 2; n < request->argc; n++)
        found += find_full(session, &request->argv[n]) != NULL;
    resp_put_map(&session->out, session->protocol, found);
    for (unsigned n = 2; n < request->argc; n++) {
        const struct session_command *command = find_full(session, &request->argv[n]);
        if (command)
            put_docs(session, command);
    }
    return 0;
}

enum list_filter { FILTER_NONE, FILTER_MODULE, FILTER_PATTERN };

static bool listed(const struct session_command *command, enum list_filter filter,
                   const struct redis_slice *what)
{
    const char *module = session__module_of(command);
    if (filter == FILTER_PATTERN)
        return redis_glob_match(what->data, what->size, command->name, strlen(command->name));
    return filter == FILTER_NONE || (module && strlen(module) == what->size &&
                                     strncasecmp(module, what->data, what->size) == 0);
}

/* Calls `put` for each command that is listed, if it is given; their number. */
static size_t list_walk(struct session *session, enum list_filter filter,
                        const struct redis_slice *what, void (*put)(struct session *, const char *))
{
    const struct service *service = session->service;
    const struct session_command *command = NULL;
    size_t count = 0;
    for (unsigned n = 0; n < service->command_count; n++)
        if (listed(&service->commands[n], filter, what)) {
            count++;
            if (put)
                put(session, service->commands[n].name);
        }
    while ((command = session__module_next(session->worker, command)))
        if (listed(command, filter, what)) {
            count++;
            if (put)
                put(session, command->name);
        }
    return count;
}

/* COMMAND LIST [FILTERBY MODULE name | PATTERN pattern] */
static int command_list(struct session *session, struct session_request *request)
{
    enum list_filter filter = FILTER_NONE;
    const struct redis_slice *argv = request->argv, *what = &argv[request->argc - 1];
    if (request->argc == 5 && argv[2].size == 8 && strncasecmp(argv[2].data, "filterby", 8) == 0) {
        if (argv[3].size == 6 && strncasecmp(argv[3].data, "module", 6) == 0)
            filter = FILTER_MODULE;
        else if (argv[3].size == 7 && strncasecmp(argv[3].data, "pattern", 7) == 0)
            filter = FILTER_PATTERN;
        else
            return redis_syntax_error();
    } else if (request->argc != 2) {
        return redis_syntax_error();
    }
    resp_put_array(&session->out, list_walk(session, filter, what, NULL));
    list_walk(session, filter, what, put_text);
    return 0;
}

/* Which arguments are keys: [first, last] by `step`. False when there are none. */
static bool keys_find(const struct session_command *command, const struct redis_slice *argv,
                      unsigned argc, unsigned *first, unsigned *last, unsigned *step)
{
    int64_t count;
    if (command->flags & SESSION_NUMKEYS) {
        if (!redis_integer_parse(argv[2].data, argv[2].size, &count) || count < 1 ||
            count > (int64_t)argc - 3)
            return false;
        *first = 3;
        *last = 2 + (unsigned)count;
        *step = 1;
        return true;
    }
    *first = (unsigned)command->first_key;
    *last =
        command->last_key < 0 ? argc - (unsigned)-command->last_key : (unsigned)command->last_key;
    *step = (unsigned)command->key_step;
    return command->first_key > 0;
}

static int command_getkeys(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv + 2;
    unsigned argc = request->argc - 2, first, last, step;
    const struct session_command *command = find_full(session, &argv[0]);
    if (!command)
        return diag_set(ERROR_INVALID, "Invalid command specified");
    if (command->arity > 0 ? argc != (unsigned)command->arity : argc < (unsigned)-command->arity)
        return diag_set(ERROR_INVALID, "Invalid number of arguments specified for command");
    if (!keys_find(command, argv, argc, &first, &last, &step))
        return diag_set(ERROR_INVALID, "The command has no key arguments");
    resp_put_array(&session->out, (last - first) / step + 1);
    for (unsigned n = first; n <= last; n += step)
        resp_put_bulk(&session->out, argv[n].data, argv[n].size);
    return 0;
}

#define ROW(name, arity, summary, since, run)                                 \
    {                                                                         \
        name, arity, 0, 0, 0, 0, summary, since, "server", run, NULL, NULL, 0 \
    }
const struct session_command session__command_commands[] = {
    ROW("command|count", 2, "Returns a count of commands.", "2.8.13", command_count),
    ROW("command|docs", -2, "Returns documentary information about one, multiple or all commands.",
        "7.0.0", command_docs),
    ROW("command|getkeys", -3, "Extracts the key names from an arbitrary command.", "2.8.13",
        command_getkeys),
    ROW("command|info", -2, "Returns information about one, multiple or all commands.", "2.8.13",
        command_info),
    ROW("command|list", -2, "Returns a list of command names.", "7.0.0", command_list),
    {0},
};
