/* SPDX-License-Identifier: Apache-2.0 */

/* See session_acl.h. The words and their errors are those of Redis 7.2. */
#include "session/session_acl.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "redis/redis_glob.h"
#include "session/session_internal.h"

STATIC_ASSERT(ACL_COMMAND_WORDS * 64 >= SERVICE_COMMANDS_MAX);

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

static int refuse(const char *reason)
{
    return diag_set(ERROR_INVALID, "%s", reason);
}

static bool is(const char *word, size_t size, const char *text)
{
    return strlen(text) == size && strncasecmp(word, text, size) == 0;
}

/* ------------------------------------------------------------------------------------- patterns */

static void patterns_clear(struct acl_patterns *patterns)
{
    for (size_t n = 0; n < patterns->count; n++)
        free(patterns->items[n].text);
    free(patterns->items);
    *patterns = (struct acl_patterns){.items = NULL};
}

static int pattern_add(struct acl_patterns *patterns, unsigned flags, const char *text, size_t size)
{
    for (size_t n = 0; n < patterns->count; n++)
        if (patterns->items[n].size == size && memcmp(patterns->items[n].text, text, size) == 0) {
            patterns->items[n].flags |= flags;
            return 0;
        }
    struct acl_pattern *items =
        realloc(patterns->items, (patterns->count + 1) * sizeof *patterns->items);
    if (items)
        patterns->items = items;
    char *copy = items ? malloc(size + 1) : NULL;
    if (!copy)
        return no_memory();
    memcpy(copy, text, size);
    copy[size] = 0;
    items[patterns->count++] = (struct acl_pattern){flags, size, copy};
    return 0;
}

static int key_pattern(struct acl_selector *selector, const char *word, size_t size)
{
    unsigned flags = word[0] == '~' ? ACL_KEY_READ | ACL_KEY_WRITE : 0;
    size_t at = 1;
    for (; word[0] == '%' && at < size && word[at] != '~'; at++) {
        unsigned flag = word[at] == 'R' || word[at] == 'r'   ? ACL_KEY_READ
                        : word[at] == 'W' || word[at] == 'w' ? ACL_KEY_WRITE
                                                             : 0;
        if (!flag || (flags & flag))
            return refuse("Syntax error");
        flags |= flag;
    }
    if (word[0] == '%' && (at++ >= size || !flags))
        return refuse("Syntax error");
    if (selector->keys.all)
        return refuse(
            "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid "
            "and does not have any effect. Try 'resetkeys' to start with an empty list of "
            "patterns");
    for (size_t n = at; n < size; n++)
        if (word[n] == ' ' || word[n] == 0)
            return refuse("Syntax error");
    if (flags == (ACL_KEY_READ | ACL_KEY_WRITE) && size - at == 1 && word[at] == '*') {
        patterns_clear(&selector->keys);
        selector->keys.all = true;
        return 0;
    }
    return pattern_add(&selector->keys, flags, word + at, size - at);
}

static int channel_pattern(struct acl_selector *selector, const char *word, size_t size)
{
    if (selector->channels.all)
        return refuse("Adding a pattern after the * pattern (or the 'allchannels' flag) is not "
                      "valid and does not have any effect. Try 'resetchannels' to start with an "
                      "empty list of channels");
    if (size == 2 && word[1] == '*') {
        patterns_clear(&selector->channels);
        selector->channels.all = true;
        return 0;
    }
    return pattern_add(&selector->channels, 0, word + 1, size - 1);
}

/* ------------------------------------------------------------------------------------- commands */

static void bit_set(struct acl_selector *selector, unsigned number, bool allow)
{
    uint64_t bit = UINT64_C(1) << number % 64;
    if (allow)
        selector->commands[number / 64] |= bit;
    else
        selector->commands[number / 64] &= ~bit;
}

/* Forgets the first arguments of a command; of all: UINT_MAX. */
static void firsts_forget(struct acl_selector *selector, unsigned number)
{
    size_t kept = 0;
    for (size_t n = 0; n < selector->first_count; n++) {
        if (number != UINT_MAX && selector->firsts[n].number != number)
            selector->firsts[kept++] = selector->firsts[n];
        else
            free(selector->firsts[n].arg);
    }
    selector->first_count = kept;
}

static int first_add(struct acl_selector *selector, unsigned number, const char *arg, size_t size)
{
    struct acl_first *firsts =
        realloc(selector->firsts, (selector->first_count + 1) * sizeof *firsts);
    char *copy = strndup(arg, size);
    if (firsts)
        selector->firsts = firsts;
    if (!firsts || !copy) {
        free(copy);
        return no_memory();
    }
    firsts[selector->first_count++] = (struct acl_first){number, copy};
    return 0;
}

static bool first_fits(const struct acl_selector *selector, unsigned number,
                       const struct redis_slice *argv, unsigned argc)
{
    for (size_t n = 0; argc > 1 && n < selector->first_count; n++)
        if (selector->firsts[n].number == number &&
            is(argv[1].data, argv[1].size, selector->firsts[n].arg))
            return true;
    return false;
}

/* By a rule of its own or its category's. */
static void one_set(struct acl_selector *selector, unsigned number, bool allow)
{
    bit_set(selector, number, allow);
    firsts_forget(selector, number);
    if (!allow)
        selector->all_commands = false;
}

/* The command and its subcommands. */
static void command_set(struct acl_selector *selector, const struct session_command *command,
                        bool allow)
{
    one_set(selector, command->number, allow);
    for (const struct session_command *sub = command->subcommands; sub && sub->name; sub++)
        one_set(selector, sub->number, allow);
}

static int all_set(struct acl_selector *selector, bool allow)
{
    char *rules = strdup(allow ? "+@all" : "-@all");
    if (!rules)
        return no_memory();
    free(selector->rules);
    selector->rules = rules;
    selector->all_commands = allow;
    firsts_forget(selector, UINT_MAX);
    memset(selector->commands, allow ? 0xff : 0, sizeof selector->commands);
    return 0;
}

/* Categories of what has no published row: those of its group that matter. */
static uint32_t categories_of(const struct service *service, const struct session_command *command)
{
    const struct redis_spec *spec = service->specs[command->number];
    if (spec)
        return redis_spec_categories(spec);
    return (command->flags & SESSION_ADMIN) ? CATEGORY_ADMIN | CATEGORY_DANGEROUS | CATEGORY_SLOW
                                            : CATEGORY_SLOW;
}

static int category_set(const struct service *service, struct acl_selector *selector,
                        const char *name, size_t size, bool allow)
{
    unsigned bit = 0;
    while (bit < REDIS_CATEGORY_COUNT && !is(name, size, redis_category_name(bit)))
        bit++;
    if (bit == REDIS_CATEGORY_COUNT)
        return refuse("Unknown command or category name in ACL");
    for (unsigned n = 0; n < service->command_count + service->subcommand_count; n++) {
        const struct session_command *command = &service->commands[n];
        if (!command->name || !(categories_of(service, command) & 1u << bit))
            continue;
        one_set(selector, command->number, allow);
    }
    return 0;
}

/* A rule takes the place of those before it that it makes idle. */
static int rule_note(struct acl_selector *selector, const char *word, size_t size)
{
    size_t old = strlen(selector->rules), used = 0;
    char *rules = malloc(old + size + 2);
    if (!rules)
        return no_memory();
    for (const char *at = selector->rules; *at;) {
        size_t length = strcspn(at, " ");
        bool same = length >= size && strncasecmp(at + 1, word + 1, size - 1) == 0 &&
                    (length == size || (at[size] == '|' && word[1] != '@'));
        if (!same) {
            if (used)
                rules[used++] = ' ';
            memcpy(rules + used, at, length);
            used += length;
        }
        at += length;
        at += *at == ' ';
    }
    if (used)
        rules[used++] = ' ';
    rules[used] = word[0];
    for (size_t n = 1; n < size; n++)
        rules[used + n] = (char)(word[n] >= 'A' && word[n] <= 'Z' ? word[n] + 32 : word[n]);
    rules[used + size] = 0;
    free(selector->rules);
    selector->rules = rules;
    return 0;
}

/* "+select|0", of a command without subcommands; deprecated in Redis. What stands behind the last bar
 * belongs to the command before it. */
static int first_rule(struct acl_selector *selector, const struct session_command *command,
                      const char *word, size_t size)
{
    const char *bar = memrchr(word, '|', size);
    size_t arg_size = size - (size_t)(bar + 1 - word);
    if (memchr(word, '|', (size_t)(bar - word)))
        return refuse("Allowing first-arg of a subcommand is not supported");
    if (arg_size == 0)
        return refuse("Syntax error");
    if (command->subcommands)
        return refuse("Unknown command or category name in ACL");
    int rc = first_add(selector, command->number, bar + 1, arg_size);
    return rc ? rc : rule_note(selector, word, size);
}

static int command_rule(const struct service *service, struct acl_selector *selector,
                        const char *word, size_t size)
{
    bool allow = word[0] == '+';
    if (is(word + 1, size - 1, "@all"))
        return all_set(selector, allow);
    if (size > 1 && word[1] == '@') {
        int rc = category_set(service, selector, word + 2, size - 2, allow);
        return rc ? rc : rule_note(selector, word, size);
    }
    const struct session_command *command = service__command_named(service, word + 1, size - 1);
    const char *bar = memrchr(word, '|', size);
    if (!command && allow && bar) { /* what stands before the last bar may be there */
        command = service__command_named(service, word + 1, (size_t)(bar - word - 1));
        if (command)
            return first_rule(selector, command, word, size);
    }
    if (!command)
        return refuse("Unknown command or category name in ACL");
    command_set(selector, command, allow);
    return rule_note(selector, word, size);
}

/* ------------------------------------------------------------------------------------ selectors */

static int selector_create(struct acl_selector *selector)
{
    *selector = (struct acl_selector){.rules = NULL};
    return all_set(selector, false);
}

static void selector_destroy(struct acl_selector *selector)
{
    free(selector->rules);
    firsts_forget(selector, UINT_MAX);
    free(selector->firsts);
    patterns_clear(&selector->keys);
    patterns_clear(&selector->channels);
}

static int selector_apply(const struct service *service, struct acl_selector *selector,
                          const char *word, size_t size)
{
    if (is(word, size, "allkeys"))
        return selector->keys.all ? 0 : key_pattern(selector, "~*", 2);
    if (is(word, size, "resetkeys")) {
        patterns_clear(&selector->keys);
        return 0;
    }
    if (is(word, size, "allchannels"))
        return selector->channels.all ? 0 : channel_pattern(selector, "&*", 2);
    if (is(word, size, "resetchannels")) {
        patterns_clear(&selector->channels);
        return 0;
    }
    if (is(word, size, "allcommands"))
        return all_set(selector, true);
    if (is(word, size, "nocommands"))
        return all_set(selector, false);
    if (size > 0 && (word[0] == '~' || word[0] == '%'))
        return key_pattern(selector, word, size);
    if (size > 0 && word[0] == '&')
        return channel_pattern(selector, word, size);
    if (size > 1 && (word[0] == '+' || word[0] == '-'))
        return command_rule(service, selector, word, size);
    return refuse("Syntax error");
}

static int selector_add(const struct service *service, struct acl *acl, const char *text,
                        size_t size)
{
    struct acl_selector *selectors =
        realloc(acl->selectors, (acl->selector_count + 1) * sizeof *selectors);
    if (!selectors)
        return no_memory();
    acl->selectors = selectors;
    struct acl_selector *selector = &selectors[acl->selector_count];
    int rc = selector_create(selector);
    if (rc)
        return rc;
    for (size_t at = 0; at < size && !rc;) {
        size_t length = 0;
        while (at + length < size && text[at + length] != ' ')
            length++;
        rc = length ? selector_apply(service, selector, text + at, length) : 0;
        at += length + 1;
    }
    if (rc)
        selector_destroy(selector);
    else
        acl->selector_count++;
    return rc;
}

static void selectors_clear(struct acl *acl)
{
    while (acl->selector_count > 1)
        selector_destroy(&acl->selectors[--acl->selector_count]);
}

/* ------------------------------------------------------------------------------------ passwords */

void acl_password_hash(const char *text, size_t size, char out[ACL_HASH_SIZE])
{
    static const char DIGITS[] = "0123456789abcdef";
    unsigned char digest[32] = {0};
    EVP_Digest(text, size, digest, NULL, EVP_sha256(), NULL);
    for (size_t n = 0; n < sizeof digest; n++) {
        out[2 * n] = DIGITS[digest[n] >> 4];
        out[2 * n + 1] = DIGITS[digest[n] & 15];
    }
}

static size_t password_find(const struct acl *acl, const char hash[ACL_HASH_SIZE])
{
    size_t n = 0;
    while (n < acl->password_count && memcmp(acl->passwords[n], hash, ACL_HASH_SIZE) != 0)
        n++;
    return n;
}

bool acl_password_fits(const struct acl *acl, const char *text, size_t size)
{
    char hash[ACL_HASH_SIZE];
    bool fits = acl->nopass;
    acl_password_hash(text, size, hash);
    for (size_t n = 0; n < acl->password_count; n++)
        fits |= password_bytes_equal(acl->passwords[n], hash, sizeof hash);
    return fits;
}

static int password_change(struct acl *acl, const char *word, size_t size)
{
    char hash[ACL_HASH_SIZE];
    bool plain = word[0] == '>' || word[0] == '<', add = word[0] == '>' || word[0] == '#';
    if (plain) {
        acl_password_hash(word + 1, size - 1, hash);
    } else {
        bool right = size == ACL_HASH_SIZE + 1;
        for (size_t n = 1; right && n < size; n++)
            right = (word[n] >= '0' && word[n] <= '9') || (word[n] >= 'a' && word[n] <= 'f');
        if (!right)
            return refuse("The password hash must be exactly 64 characters and contain only "
                          "lowercase hexadecimal characters");
        memcpy(hash, word + 1, sizeof hash);
    }
    size_t at = password_find(acl, hash);
    if (!add && at == acl->password_count)
        return refuse("The password you are trying to remove from the user does not exist");
    if (!add) {
        memmove(acl->passwords[at], acl->passwords[at + 1],
                (acl->password_count - at - 1) * sizeof *acl->passwords);
        acl->password_count--;
        return 0;
    }
    acl->nopass = false;
    if (at < acl->password_count)
        return 0;
    void *passwords = realloc(acl->passwords, (acl->password_count + 1) * sizeof *acl->passwords);
    if (!passwords)
        return no_memory();
    acl->passwords = passwords;
    memcpy(acl->passwords[acl->password_count++], hash, sizeof hash);
    return 0;
}

/* ---------------------------------------------------------------------------------------- users */

int acl_create(struct acl *acl)
{
    *acl = (struct acl){.selectors = malloc(sizeof *acl->selectors)};
    if (!acl->selectors)
        return no_memory();
    acl->selector_count = 1;
    return selector_create(&acl->selectors[0]);
}

void acl_destroy(struct acl *acl)
{
    for (size_t n = 0; n < acl->selector_count; n++)
        selector_destroy(&acl->selectors[n]);
    free(acl->selectors);
    free(acl->passwords);
    *acl = (struct acl){.next = NULL};
}

int acl_apply(const struct service *service, struct acl *acl, const char *word, size_t size)
{
    if (is(word, size, "on") || is(word, size, "off")) {
        acl->on = is(word, size, "on");
    } else if (is(word, size, "nopass") || is(word, size, "resetpass")) {
        acl->nopass = is(word, size, "nopass");
        acl->password_count = 0;
    } else if (is(word, size, "reset")) {
        acl_destroy(acl);
        return acl_create(acl);
    } else if (is(word, size, "clearselectors")) {
        selectors_clear(acl);
    } else if (is(word, size, "sanitize-payload") || is(word, size, "skip-sanitize-payload")) {
        return 0; /* payloads are always checked */
    } else if (size > 0 && strchr("><#!", word[0])) {
        return password_change(acl, word, size);
    } else if (size > 1 && word[0] == '(' && word[size - 1] == ')') {
        return selector_add(service, acl, word + 1, size - 2);
    } else {
        return selector_apply(service, &acl->selectors[0], word, size);
    }
    return 0;
}

int acl_apply_text(const struct service *service, struct acl *acl, const char *text, size_t size)
{
    int rc = 0;
    for (size_t at = 0; at < size && !rc;) {
        size_t length = 0;
        char end = text[at] == '(' ? ')' : ' ';
        while (at + length < size && text[at + length] != end)
            length++;
        length += end == ')' && at + length < size;
        rc = length ? acl_apply(service, acl, text + at, length) : 0;
        at += length + 1;
    }
    return rc;
}

/* ----------------------------------------------------------------------------------------- text */

static void put(struct mp_buffer *out, const char *text)
{
    mp_put_raw(out, text, strlen(text));
}

void acl_format_keys(const struct acl_selector *selector, struct mp_buffer *out)
{
    if (selector->keys.all)
        put(out, "~*");
    for (size_t n = 0; n < selector->keys.count; n++) {
        const struct acl_pattern *pattern = &selector->keys.items[n];
        put(out, n ? " " : "");
        put(out, pattern->flags == ACL_KEY_READ    ? "%R~"
                 : pattern->flags == ACL_KEY_WRITE ? "%W~"
                                                   : "~");
        mp_put_raw(out, pattern->text, pattern->size);
    }
}

void acl_format_channels(const struct acl_selector *selector, struct mp_buffer *out)
{
    if (selector->channels.all)
        put(out, "&*");
    for (size_t n = 0; n < selector->channels.count; n++) {
        put(out, n ? " &" : "&");
        mp_put_raw(out, selector->channels.items[n].text, selector->channels.items[n].size);
    }
}

static void selector_format(const struct acl_selector *selector, struct mp_buffer *out)
{
    acl_format_keys(selector, out);
    put(out, selector->keys.all || selector->keys.count ? " " : "");
    if (!selector->channels.all)
        put(out, "resetchannels ");
    acl_format_channels(selector, out);
    put(out, selector->channels.all || selector->channels.count ? " " : "");
    put(out, selector->rules);
}

void acl_format(const struct acl *acl, struct mp_buffer *out)
{
    put(out, acl->on ? "on" : "off");
    put(out, acl->nopass ? " nopass " : " ");
    for (size_t n = 0; n < acl->password_count; n++) {
        put(out, "#");
        mp_put_raw(out, acl->passwords[n], ACL_HASH_SIZE);
        put(out, " ");
    }
    selector_format(&acl->selectors[0], out);
    for (size_t n = 1; n < acl->selector_count; n++) {
        put(out, " (");
        selector_format(&acl->selectors[n], out);
        put(out, ")");
    }
}

/* ------------------------------------------------------------------------------------- checking */

static bool key_fits(const struct acl_selector *selector, const struct redis_slice *key,
                     unsigned wanted)
{
    for (size_t n = 0; n < selector->keys.count; n++) {
        const struct acl_pattern *pattern = &selector->keys.items[n];
        if ((pattern->flags & wanted) == wanted &&
            redis_glob_match(pattern->text, pattern->size, key->data, key->size))
            return true;
    }
    return selector->keys.all;
}

/* A pattern that is listened to has to be one of the patterns itself. */
static bool channel_fits(const struct acl_selector *selector, const struct redis_slice *name,
                         bool pattern)
{
    for (size_t n = 0; n < selector->channels.count; n++) {
        const struct acl_pattern *item = &selector->channels.items[n];
        if (pattern ? item->size == name->size && memcmp(item->text, name->data, name->size) == 0
                    : redis_glob_match(item->text, item->size, name->data, name->size))
            return true;
    }
    return selector->channels.all;
}

bool acl_check_channel(const struct acl *acl, const struct redis_slice *name, bool pattern)
{
    bool fits = false;
    for (size_t n = 0; n < acl->selector_count; n++)
        fits |= channel_fits(&acl->selectors[n], name, pattern);
    return fits;
}

static enum acl_verdict check_keys(const struct acl_selector *selector,
                                   const struct redis_spec *spec, const struct redis_slice *argv,
                                   unsigned argc, struct redis_slice *wrong)
{
    enum { FEW = 64 };
    struct redis_key_at few[FEW], *keys = few;
    int count = spec && !selector->keys.all ? redis_spec_keys(spec, argv, argc, few, FEW) : 0;
    if (count > FEW) {
        keys = malloc((size_t)count * sizeof *keys);
        if (!keys)
            return ACL_DENIED_KEY;
        count = redis_spec_keys(spec, argv, argc, keys, (unsigned)count);
    }
    enum acl_verdict verdict = ACL_ALLOWED;
    for (int n = 0; n < count && verdict == ACL_ALLOWED; n++) {
        unsigned flags = keys[n].flags, wanted = flags & KEY_ACCESS ? ACL_KEY_READ : 0;
        if (flags & (KEY_INSERT | KEY_DELETE | KEY_UPDATE))
            wanted |= ACL_KEY_WRITE;
        if ((flags & KEY_NOT_KEY) || key_fits(selector, &argv[keys[n].at], wanted))
            continue;
        *wrong = argv[keys[n].at];
        verdict = ACL_DENIED_KEY;
    }
    if (keys != few)
        free(keys);
    return verdict;
}

/* BY and GET of SORT read keys that no rule has seen: they want the right to read all. */
static enum acl_verdict check_sort(const struct acl_selector *selector, const char *name,
                                   const struct redis_slice *argv, unsigned argc,
                                   struct redis_slice *wrong)
{
    if (strncmp(name, "sort", 4) != 0 || (name[4] && strcmp(name, "sort_ro") != 0))
        return ACL_ALLOWED;
    for (size_t n = 0; n < selector->keys.count; n++)
        if ((selector->keys.items[n].flags & ACL_KEY_READ) && selector->keys.items[n].size == 1 &&
            selector->keys.items[n].text[0] == '*')
            return ACL_ALLOWED;
    for (unsigned n = 2; n + 1 < argc && !selector->keys.all; n++)
        if ((is(argv[n].data, argv[n].size, "by") || is(argv[n].data, argv[n].size, "get")) &&
            memchr(argv[n + 1].data, '*', argv[n + 1].size)) {
            *wrong = argv[n + 1];
            return ACL_DENIED_KEY;
        }
    return ACL_ALLOWED;
}

static enum acl_verdict check_channels(const struct acl_selector *selector, const char *name,
                                       const struct redis_slice *argv, unsigned argc,
                                       struct redis_slice *wrong)
{
    bool pattern = strcmp(name, "psubscribe") == 0;
    bool listens = pattern || strcmp(name, "subscribe") == 0 || strcmp(name, "ssubscribe") == 0;
    bool publishes = strcmp(name, "publish") == 0 || strcmp(name, "spublish") == 0;
    unsigned last = listens ? argc : publishes ? 2 : 0;
    for (unsigned n = 1; n < last && n < argc; n++)
        if (!channel_fits(selector, &argv[n], pattern)) {
            *wrong = argv[n];
            return ACL_DENIED_CHANNEL;
        }
    return ACL_ALLOWED;
}

enum acl_verdict acl_check(const struct acl *acl, const struct session_command *command,
                           const struct redis_spec *spec, const struct redis_slice *argv,
                           unsigned argc, struct redis_slice *wrong)
{
    enum acl_verdict worst = ACL_DENIED_COMMAND;
    for (size_t n = 0; n < acl->selector_count; n++) {
        const struct acl_selector *selector = &acl->selectors[n];
        struct redis_slice at = {NULL, 0};
        enum acl_verdict verdict =
            session__module_of(command)
                ? (selector->all_commands ? ACL_ALLOWED : ACL_DENIED_COMMAND)
            : (command->flags & SESSION_NO_AUTH) ||
                    (selector->commands[command->number / 64] >> command->number % 64 & 1) ||
                    first_fits(selector, command->number, argv, argc)
                ? ACL_ALLOWED
                : ACL_DENIED_COMMAND;
        if (verdict == ACL_ALLOWED)
            verdict = check_keys(selector, spec, argv, argc, &at);
        if (verdict == ACL_ALLOWED)
            verdict = check_sort(selector, command->name, argv, argc, &at);
        if (verdict == ACL_ALLOWED && strcmp(command->group, "pubsub") == 0)
            verdict = check_channels(selector, command->name, argv, argc, &at);
        if (verdict == ACL_ALLOWED)
            return verdict;
        if (verdict > worst) {
            worst = verdict;
            *wrong = at;
        }
    }
    return worst;
}

/* ---------------------------------------------------------------------------------- of a worker */

bool acl_text_of(const struct access_user *user, const char **text, uint32_t *size)
{
    const char *at = user->flags;
    for (uint32_t count = mp_decode_map(&at); count > 0; count--) {
        bool found = false;
        if (mp_typeof(*at) == MP_STR) {
            uint32_t length;
            const char *name = mp_decode_str(&at, &length);
            found = length == 3 && memcmp(name, "acl", 3) == 0 && mp_typeof(*at) == MP_STR;
        } else {
            mp_next(&at);
        }
        if (found) {
            *text = mp_decode_str(&at, size);
            return true;
        }
        mp_next(&at);
    }
    return false;
}

void session__acls_destroy(struct session_acls *acls)
{
    struct acl *acl;
    while ((acl = acls->first) != NULL) {
        acls->first = acl->next;
        acl_destroy(acl);
        free(acl);
    }
}

/* Rules of a later version, which are not known here, allow nothing. */
static struct acl *acl_make(struct session_worker *worker, uint32_t user_id, const char *text,
                            uint32_t size)
{
    struct acl *acl = malloc(sizeof *acl);
    if (!acl || acl_create(acl)) {
        free(acl);
        return NULL;
    }
    if (acl_apply_text(worker->service, acl, text, size)) {
        acl_destroy(acl);
        if (acl_create(acl)) {
            free(acl);
            return NULL;
        }
    }
    acl->user_id = user_id;
    acl->next = worker->acls.first;
    worker->acls.first = acl;
    return acl;
}

const struct acl *session__acl_of(struct session_worker *worker, uint32_t user_id)
{
    static const struct acl NOTHING = {.selector_count = 0};
    struct session_acls *acls = &worker->acls;
    uint64_t version = db_schema_version(worker->db);
    const char *text;
    uint32_t size;
    if (acls->version != version)
        session__acls_destroy(acls);
    acls->version = version;
    for (const struct acl *acl = acls->first; acl; acl = acl->next)
        if (acl->user_id == user_id)
            return acl;
    const struct access *access = access_of(worker->db);
    const struct access_user *user = access ? access_user_by_id(access, user_id) : NULL;
    if (!access)
        return &NOTHING;
    if (!user || !acl_text_of(user, &text, &size))
        return NULL;
    const struct acl *acl = acl_make(worker, user_id, text, size);
    return acl ? acl : &NOTHING;
}
