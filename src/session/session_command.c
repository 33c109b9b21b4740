/* SPDX-License-Identifier: Apache-2.0 */

/*
 * COMMAND: what the table says of commands, in Redis's shapes: ten elements for COMMAND and COMMAND
 * INFO, a map for COMMAND DOCS, in which arguments are read from their text (redis/redis_spec.h).
 */
#include "session/session_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "redis/redis_glob.h"
#include "redis/redis_value.h"

static void put_text(struct session *session, const char *text)
{
    resp_put_bulk(&session->out, text, strlen(text));
}

const struct redis_spec *session__spec(const struct session *session,
                                       const struct session_command *command)
{
    return session__module_of(command) ? NULL : session->service->specs[command->number];
}

void session__put_help(struct session *session, const char *name, const char *const *lines,
                       size_t count)
{
    char head[128];
    snprintf(head, sizeof head,
             "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    resp_put_array(&session->out, count + 3);
    resp_put_status(&session->out, head);
    for (size_t n = 0; n < count; n++)
        resp_put_status(&session->out, lines[n]);
    resp_put_status(&session->out, "HELP");
    resp_put_status(&session->out, "    Prints this help.");
}

/* ------------------------------------------------------------------------------------------ INFO */

/* A set of the words of the bits that are set. */
static void put_words(struct session *session, uint32_t bits, const char *(*name)(unsigned n),
                      const char *before)
{
    char text[64];
    resp_put_set(&session->out, session->protocol, (size_t)__builtin_popcount(bits));
    for (unsigned n = 0; name(n); n++)
        if (bits & 1u << n) {
            snprintf(text, sizeof text, "%s%s", before, name(n));
            resp_put_status(&session->out, text);
        }
}

/* What a command of a module does: its procedure is not known to be anything else. */
static struct redis_spec module_spec(const struct session_command *command)
{
    return (struct redis_spec){.name = command->name,
                               .arity = command->arity,
                               .flags = SPEC_NOSCRIPT | SPEC_NO_MULTI,
                               .categories = CATEGORY_SCRIPTING};
}

static void put_tips(struct session *session, const char *tips)
{
    size_t count = tips ? 1 : 0;
    for (const char *at = tips; at && (at = strchr(at, ' ')) != NULL; at++)
        count++;
    resp_put_set(&session->out, session->protocol, count);
    for (size_t n = 0; n < count; n++) {
        size_t size = strcspn(tips, " ");
        resp_put_bulk(&session->out, tips, size);
        tips += size + 1;
    }
}

static void put_begin(struct session *session, const struct redis_key_spec *key)
{
    static const char *const TYPES[] = {"index", "keyword", "unknown"};
    struct mp_buffer *out = &session->out;
    resp_put_map(out, session->protocol, 2);
    put_text(session, "type");
    put_text(session, TYPES[key->begin]);
    put_text(session, "spec");
    resp_put_map(out, session->protocol,
                 key->begin == BEGIN_KEYWORD ? 2 : key->begin == BEGIN_INDEX);
    if (key->begin == BEGIN_KEYWORD) {
        put_text(session, "keyword");
        put_text(session, key->keyword);
        put_text(session, "startfrom");
        resp_put_integer(out, key->index);
    } else if (key->begin == BEGIN_INDEX) {
        put_text(session, "index");
        resp_put_integer(out, key->index);
    }
}

static void put_follow(struct session *session, const struct redis_key_spec *key)
{
    static const char *const TYPES[] = {"range", "keynum", "unknown"};
    static const char *const FIELDS[][3] = {{"lastkey", "keystep", "limit"},
                                            {"keynumidx", "firstkey", "keystep"}};
    bool known = key->follow != FOLLOW_UNKNOWN;
    resp_put_map(&session->out, session->protocol, 2);
    put_text(session, "type");
    put_text(session, TYPES[key->follow]);
    put_text(session, "spec");
    resp_put_map(&session->out, session->protocol, known ? 3 : 0);
    for (unsigned n = 0; known && n < 3; n++) {
        put_text(session, FIELDS[key->follow][n]);
        resp_put_integer(&session->out, key->follows[n]);
    }
}

static void put_keys(struct session *session, const struct redis_spec *spec)
{
    struct redis_key_spec key;
    size_t count = 0;
    for (const char *at = spec->keys; redis_key_spec_next(&at, &key);)
        count++;
    resp_put_set(&session->out, session->protocol, count);
    for (const char *at = spec->keys; redis_key_spec_next(&at, &key);) {
        resp_put_map(&session->out, session->protocol, 3);
        put_text(session, "flags");
        put_words(session, key.flags, redis_key_flag_name, "");
        put_text(session, "begin_search");
        put_begin(session, &key);
        put_text(session, "find_keys");
        put_follow(session, &key);
    }
}

/* Its keys as three numbers: the first specification, and those that go on where the one before
 * ended. */
static void put_positions(struct session *session, const struct redis_spec *spec)
{
    const char *at = spec->keys;
    struct redis_key_spec key;
    int first = 0, last = 0, step = 0;
    while (redis_key_spec_next(&at, &key)) {
        bool range = key.begin == BEGIN_INDEX && key.follow == FOLLOW_RANGE;
        bool goes_on = first && step == 1 && key.follows[1] == 1 && last == key.index - 1;
        if (!range || (first && !goes_on))
            continue;
        first = first ? first : key.index;
        last = key.follows[0] < 0 ? key.follows[0] : key.index + key.follows[0];
        step = key.follows[1];
    }
    resp_put_integer(&session->out, first);
    resp_put_integer(&session->out, last);
    resp_put_integer(&session->out, step);
}

/* Whether `sub` is "name|..". */
static bool is_part_of(const struct redis_spec *sub, const char *name)
{
    size_t size = strlen(name);
    return strncmp(sub->name, name, size) == 0 && sub->name[size] == '|';
}

static void put_spec(struct session *session, const struct redis_spec *spec)
{
    put_text(session, spec->name);
    resp_put_integer(&session->out, spec->arity);
    put_words(session, spec->flags, redis_spec_flag_name, "");
    put_positions(session, spec);
    put_words(session, redis_spec_categories(spec), redis_category_name, "@");
    put_tips(session, spec->tips);
    put_keys(session, spec);
}

/* Data commands look at their subcommands themselves: these stand in the published table alone. */
static void put_spec_parts(struct session *session, const char *name)
{
    const struct redis_spec *spec;
    size_t count = 0;
    for (unsigned n = 0; (spec = redis_spec_at(n)) != NULL; n++)
        count += is_part_of(spec, name);
    resp_put_array(&session->out, count);
    for (unsigned n = 0; (spec = redis_spec_at(n)) != NULL; n++) {
        if (!is_part_of(spec, name))
            continue;
        resp_put_array(&session->out, 10);
        put_spec(session, spec);
        resp_put_array(&session->out, 0);
    }
}

static void put_info(struct session *session, const struct session_command *command)
{
    const struct redis_spec module = module_spec(command), *spec = session__spec(session, command);
    size_t count = 0;
    while (command->subcommands && command->subcommands[count].name)
        count++;
    resp_put_array(&session->out, 10);
    put_spec(session, spec ? spec : &module);
    if (command->redis) {
        put_spec_parts(session, command->name);
        return;
    }
    resp_put_array(&session->out, count);
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
const struct session_command *session__command_named(struct session *session,
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

/* "parent|sub" of a data command, which has its subcommands in the published table alone; NULL. */
static const struct redis_spec *part_named(struct session *session, const struct redis_slice *name)
{
    const char *bar = memchr(name->data, '|', name->size);
    const struct session_command *parent =
        bar ? service__command_find(session->service, name->data, (size_t)(bar - name->data))
            : NULL;
    const struct redis_spec *spec;
    for (unsigned n = 0; parent && parent->redis && (spec = redis_spec_at(n)) != NULL; n++)
        if (strlen(spec->name) == name->size &&
            strncasecmp(spec->name, name->data, name->size) == 0)
            return spec;
    return NULL;
}

static int command_info(struct session *session, struct session_request *request)
{
    if (request->argc == 2)
        return session__command(session, request);
    resp_put_array(&session->out, request->argc - 2);
    for (unsigned n = 2; n < request->argc; n++) {
        const struct session_command *command = session__command_named(session, &request->argv[n]);
        const struct redis_spec *part = command ? NULL : part_named(session, &request->argv[n]);
        if (command) {
            put_info(session, command);
        } else if (part) {
            resp_put_array(&session->out, 10);
            put_spec(session, part);
            resp_put_array(&session->out, 0);
        } else {
            resp_put_null(&session->out, session->protocol);
        }
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------ DOCS */

static void put_sized(struct session *session, const char *name, const char *text, size_t size)
{
    put_text(session, name);
    resp_put_bulk(&session->out, text, size);
}

static void put_argument_flags(struct session *session, const struct redis_argument *argument)
{
    resp_put_set(&session->out, session->protocol,
                 (size_t)argument->optional + argument->multiple + argument->multiple_token);
    if (argument->optional)
        resp_put_status(&session->out, "optional");
    if (argument->multiple)
        resp_put_status(&session->out, "multiple");
    if (argument->multiple_token)
        resp_put_status(&session->out, "multiple_token");
}

static void put_arguments(struct session *session, const char *text, size_t size)
{
    struct redis_argument argument;
    size_t count = 0, rest = size;
    for (const char *at = text; redis_argument_next(&at, &rest, &argument);)
        count++;
    resp_put_array(&session->out, count);
    while (redis_argument_next(&text, &size, &argument)) {
        bool flags = argument.optional || argument.multiple;
        resp_put_map(&session->out, session->protocol,
                     2 + (size_t)!argument.parts + (argument.key_spec >= 0) + !!argument.token +
                         !!argument.since + flags + !!argument.parts);
        put_sized(session, "name", argument.name, argument.name_size);
        put_sized(session, "type", argument.type, strlen(argument.type));
        if (!argument.parts)
            put_sized(session, "display_text", argument.name, argument.name_size);
        if (argument.key_spec >= 0) {
            put_text(session, "key_spec_index");
            resp_put_integer(&session->out, argument.key_spec);
        }
        if (argument.token)
            put_sized(session, "token", argument.token, argument.token_size);
        if (argument.since)
            put_sized(session, "since", argument.since, argument.since_size);
        if (flags) {
            put_text(session, "flags");
            put_argument_flags(session, &argument);
        }
        if (argument.parts) {
            put_text(session, "arguments");
            put_arguments(session, argument.parts, argument.parts_size);
        }
    }
}

static void put_pair(struct session *session, const char *name, const char *text)
{
    put_text(session, name);
    put_text(session, text);
}

static size_t spec_fields(const struct redis_spec *spec)
{
    return !spec
               ? 0
               : (size_t) !!spec->complexity + (spec->deprecated_since ? 3 : 0) + !!spec->arguments;
}

static void put_spec_docs(struct session *session, const struct redis_spec *spec)
{
    if (spec->complexity)
        put_pair(session, "complexity", spec->complexity);
    if (spec->deprecated_since) {
        put_text(session, "doc_flags");
        resp_put_set(&session->out, session->protocol, 1);
        resp_put_status(&session->out, "deprecated");
        put_pair(session, "deprecated_since", spec->deprecated_since);
        put_pair(session, "replaced_by", spec->replaced_by);
    }
    if (spec->arguments) {
        put_text(session, "arguments");
        put_arguments(session, spec->arguments, strlen(spec->arguments));
    }
}

static void put_docs(struct session *session, const struct session_command *command)
{
    const struct redis_spec *spec = session__spec(session, command);
    const char *module = session__module_of(command);
    size_t count = 0;
    while (command->subcommands && command->subcommands[count].name)
        count++;
    put_text(session, command->name);
    resp_put_map(&session->out, session->protocol,
                 3 + spec_fields(spec) + (count > 0) + (module != NULL));
    put_pair(session, "summary", command->summary);
    put_pair(session, "since", command->since);
    put_pair(session, "group", command->group);
    if (module)
        put_pair(session, "module", module);
    if (spec)
        put_spec_docs(session, spec);
    if (!count)
        return;
    put_text(session, "subcommands");
    resp_put_map(&session->out, session->protocol, count);
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
        found += session__command_named(session, &request->argv[n]) != NULL;
    resp_put_map(&session->out, session->protocol, found);
    for (unsigned n = 2; n < request->argc; n++) {
        const struct session_command *command = session__command_named(session, &request->argv[n]);
        if (command)
            put_docs(session, command);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------ LIST */

enum list_filter { FILTER_NONE, FILTER_MODULE, FILTER_CATEGORY, FILTER_PATTERN };

static bool in_category(const struct redis_spec *spec, const struct redis_slice *what)
{
    uint32_t categories = spec ? redis_spec_categories(spec) : 0;
    const char *name;
    for (unsigned n = 0; (name = redis_category_name(n)) != NULL; n++)
        if ((categories & 1u << n) && strlen(name) == what->size &&
            strncasecmp(name, what->data, what->size) == 0)
            return true;
    return false;
}

static bool listed(struct session *session, const struct session_command *command,
                   enum list_filter filter, const struct redis_slice *what)
{
    const char *module = session__module_of(command);
    if (filter == FILTER_PATTERN)
        return redis_glob_match(what->data, what->size, command->name, strlen(command->name));
    if (filter == FILTER_CATEGORY)
        return in_category(session__spec(session, command), what);
    return filter == FILTER_NONE || (module && strlen(module) == what->size &&
                                     strncasecmp(module, what->data, what->size) == 0);
}

struct list_walk {
    enum list_filter filter;
    const struct redis_slice *what;
    bool put;
    size_t count;
};

static void list_part(struct session *session, struct list_walk *walk,
                      const struct redis_spec *spec)
{
    const struct redis_slice *what = walk->what;
    bool fits = walk->filter == FILTER_NONE ||
                (walk->filter == FILTER_CATEGORY && in_category(spec, what)) ||
                (walk->filter == FILTER_PATTERN &&
                 redis_glob_match(what->data, what->size, spec->name, strlen(spec->name)));
    walk->count += fits;
    if (fits && walk->put)
        put_text(session, spec->name);
}

static void list_one(struct session *session, struct list_walk *walk,
                     const struct session_command *command)
{
    if (listed(session, command, walk->filter, walk->what)) {
        walk->count++;
        if (walk->put)
            put_text(session, command->name);
    }
    for (unsigned n = 0; command->subcommands && command->subcommands[n].name; n++)
        list_one(session, walk, &command->subcommands[n]);
    const struct redis_spec *spec;
    for (unsigned n = 0; command->redis && (spec = redis_spec_at(n)) != NULL; n++)
        if (is_part_of(spec, command->name))
            list_part(session, walk, spec);
}

static size_t list_all(struct session *session, struct list_walk walk)
{
    const struct service *service = session->service;
    const struct session_command *command = NULL;
    for (unsigned n = 0; n < service->command_count; n++)
        list_one(session, &walk, &service->commands[n]);
    while ((command = session__module_next(session->worker, command)))
        list_one(session, &walk, command);
    return walk.count;
}

static bool arg_is(const struct redis_slice *arg, const char *text)
{
    return arg->size == strlen(text) && strncasecmp(arg->data, text, arg->size) == 0;
}

/* COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern] */
static int command_list(struct session *session, struct session_request *request)
{
    const struct redis_slice *argv = request->argv;
    struct list_walk walk = {.what = &argv[request->argc - 1]};
    if (request->argc == 5 && arg_is(&argv[2], "filterby")) {
        walk.filter = arg_is(&argv[3], "module")    ? FILTER_MODULE
                      : arg_is(&argv[3], "aclcat")  ? FILTER_CATEGORY
                      : arg_is(&argv[3], "pattern") ? FILTER_PATTERN
                                                    : FILTER_NONE;
        if (walk.filter == FILTER_NONE)
            return redis_syntax_error();
    } else if (request->argc != 2) {
        return redis_syntax_error();
    }
    resp_put_array(&session->out, list_all(session, walk));
    walk.put = true;
    list_all(session, walk);
    return 0;
}

/* --------------------------------------------------------------------------------------- GETKEYS */

/* The row of the command that argv calls: of a subcommand when it has them. */
static const struct redis_spec *spec_of_call(struct session *session,
                                             const struct session_command *command,
                                             const struct redis_slice *argv, unsigned argc)
{
    char name[64];
    if (argc < 2 || (!command->redis && !command->subcommands))
        return session__spec(session, command);
    int size = snprintf(name, sizeof name, "%s|%.*s", command->name,
                        (int)(argv[1].size < 32 ? argv[1].size : 32), argv[1].data);
    for (int n = 0; n < size && n < (int)sizeof name - 1; n++)
        name[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] + 32 : name[n]);
    const struct redis_spec *sub = redis_spec_find(name);
    return sub ? sub : session__spec(session, command);
}

/* Keys of a module's command, which has three numbers. */
static int module_keys(const struct session_command *command, unsigned argc,
                       struct redis_key_at *keys, unsigned max)
{
    int last = command->last_key < 0 ? (int)argc + command->last_key : command->last_key;
    unsigned count = 0;
    if (command->first_key < 1 || command->key_step < 1 || last >= (int)argc)
        return -1;
    for (int n = command->first_key; n <= last && count < max; n += command->key_step)
        keys[count++] = (struct redis_key_at){(unsigned)n, KEY_RW | KEY_ACCESS | KEY_UPDATE};
    return (int)count;
}

static int keys_reply(struct session *session, struct session_request *request, bool flags)
{
    const struct redis_slice *argv = request->argv + 2;
    unsigned argc = request->argc - 2;
    const struct session_command *command = session__command_named(session, &argv[0]);
    if (!command)
        return diag_set(ERROR_INVALID, "Invalid command specified");
    const struct redis_spec *spec = spec_of_call(session, command, argv, argc);
    if (spec ? !spec->keys : command->first_key < 1)
        return diag_set(ERROR_INVALID, "The command has no key arguments");
    int arity = spec ? spec->arity : command->arity;
    if (arity > 0 ? argc != (unsigned)arity : argc < (unsigned)-arity)
        return diag_set(ERROR_INVALID, "Invalid number of arguments specified for command");
    struct redis_key_at *keys = calloc(argc, sizeof *keys);
    if (!keys)
        return diag_set(ERROR_MEMORY, "out of memory");
    int count = spec ? redis_spec_keys(spec, argv, argc, keys, argc)
                     : module_keys(command, argc, keys, argc);
    if (count < 0 && spec && (spec->flags & SPEC_NO_MANDATORY_KEYS))
        count = 0;
    if (count >= 0)
        resp_put_array(&session->out, (size_t)count);
    for (int n = 0; n < count; n++) {
        const struct redis_slice *key = &argv[keys[n].at];
        if (flags)
            resp_put_array(&session->out, 2);
        resp_put_bulk(&session->out, key->data, key->size);
        if (flags)
            put_words(session, keys[n].flags, redis_key_flag_name, "");
    }
    free(keys);
    return count < 0 ? diag_set(ERROR_INVALID, "Invalid arguments specified for command") : 0;
}

static int command_getkeys(struct session *session, struct session_request *request)
{
    return keys_reply(session, request, false);
}

static int command_getkeysandflags(struct session *session, struct session_request *request)
{
    return keys_reply(session, request, true);
}

static int command_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
    };
    session__put_help(session, "COMMAND", LINES, sizeof LINES / sizeof *LINES);
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
    ROW("command|getkeysandflags", -3,
        "Extracts the key names and access flags for an arbitrary command.", "7.0.0",
        command_getkeysandflags),
    ROW("command|help", 2, "Returns helpful text about the different subcommands.", "5.0.0",
        command_help),
    ROW("command|info", -2, "Returns information about one, multiple or all commands.", "2.8.13",
        command_info),
    ROW("command|list", -2, "Returns a list of command names.", "7.0.0", command_list),
    {0},
};
