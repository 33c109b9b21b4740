/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_ACL_H
#define SESSION_SESSION_ACL_H

/*
 * ACL rules of Redis: what a user may do with which keys and channels.
 *
 *     row of _user: flags {acl: "on #.. ~key:* &* +@all -@admin (~other +get)"}
 *        │ words as ACL SETUSER takes them
 *        ▼
 *     struct acl: passwords, root selector, selectors      of one version of the schema, of a worker
 *
 * A user with rules is judged by them alone where commands of Redis are concerned, on every path;
 * what it does with spaces, procedures and other objects is the affair of its privileges
 * (db/access.h). A user without rules has its privileges only, and ACL shows rules made of them.
 * The guest is the user "default".
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/mp.h"
#include "db/access.h"
#include "redis/redis.h"
#include "redis/redis_spec.h"

struct service;
struct session;
struct session_command;
struct session_request;
struct session_worker;

enum { ACL_COMMAND_WORDS = 10, ACL_HASH_SIZE = 64 };
enum acl_key_flags { ACL_KEY_READ = 1, ACL_KEY_WRITE = 2 };

struct acl_pattern {
    unsigned flags; /* of keys: enum acl_key_flags */
    size_t size;
    char *text;
};

struct acl_patterns {
    struct acl_pattern *items;
    size_t count;
    bool all;
};

/* "+select|0": a command that may run with this first argument alone. */
struct acl_first {
    unsigned number; /* the command's */
    char *arg;
};

struct acl_selector {
    bool all_commands;                    /* those of modules as well */
    uint64_t commands[ACL_COMMAND_WORDS]; /* by number: SERVICE_COMMANDS_MAX */
    struct acl_first *firsts;
    size_t first_count;
    char *rules; /* "-@all +get" */
    struct acl_patterns keys, channels;
};

struct acl {
    struct acl *next; /* of the worker's */
    uint32_t user_id;
    bool on, nopass;
    char (*passwords)[ACL_HASH_SIZE];
    size_t password_count, selector_count;
    struct acl_selector *selectors; /* the first is the root */
};

/* Of a worker. */
struct session_acls {
    uint64_t version; /* of the schema */
    struct acl *first;
};

/* What stands against a command: in order of how far it has come. */
enum acl_verdict { ACL_ALLOWED, ACL_DENIED_COMMAND, ACL_DENIED_KEY, ACL_DENIED_CHANNEL };

/* An acl as a new user has it: off, and nothing is allowed. ERROR_MEMORY. _destroy: frees what it
 * holds. */
int acl_create(struct acl *acl);
void acl_destroy(struct acl *acl);

/* Applies one word of ACL SETUSER. ERROR_INVALID with Redis's reason, ERROR_MEMORY. */
int acl_apply(const struct service *service, struct acl *acl, const char *word, size_t size);

/* All words of a text, with blanks between. */
int acl_apply_text(const struct service *service, struct acl *acl, const char *text, size_t size);

/* As ACL LIST shows it, without the name; acl_apply_text makes the same of it. */
void acl_format(const struct acl *acl, struct mp_buffer *out);
void acl_format_keys(const struct acl_selector *selector, struct mp_buffer *out);
void acl_format_channels(const struct acl_selector *selector, struct mp_buffer *out);

/* Whether the command may run; *wrong: the key or channel it may not. */
enum acl_verdict acl_check(const struct acl *acl, const struct session_command *command,
                           const struct redis_spec *spec, const struct redis_slice *argv,
                           unsigned argc, struct redis_slice *wrong);
bool acl_check_channel(const struct acl *acl, const struct redis_slice *name, bool pattern);
bool acl_password_fits(const struct acl *acl, const char *text, size_t size);
void acl_password_hash(const char *text, size_t size, char out[ACL_HASH_SIZE]);

/* The rules that stand in the user's row; false: none. */
bool acl_text_of(const struct access_user *user, const char **text, uint32_t *size);

/* What the worker knows of this user's rules; NULL: it has none. Valid until the schema changes.
 * ERROR_MEMORY counts as rules that allow nothing. */
const struct acl *session__acl_of(struct session_worker *worker, uint32_t user_id);
void session__acls_destroy(struct session_acls *acls);

/* session_acl_command.c: ACL; and its log. `context`: "toplevel", "multi", "lua". _denied returns
 * ERROR_ACCESS with Redis's text. */
struct session_acl_log;
int session__acl_denied(struct session *session, struct service *service, const char *user,
                        enum acl_verdict verdict, const char *command,
                        const struct redis_slice *wrong, const char *context);
void session__acl_log_auth(struct session *session, const char *user);
struct session_acl_log *session__acl_log_new(void);
void session__acl_log_delete(struct session_acl_log *log);

#endif
