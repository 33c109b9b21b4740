/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_ACCESS_H
#define DB_ACCESS_H

/*
 * Who may do what: users, roles and privileges, made from the rows of _user and _priv.
 *
 *      _user  [id, owner, name, 'user' | 'role', auth {scrypt: {salt, hash, n, r, p}}, flags {..}]
 *      _priv  [grantee, object type, object id, grantor, privileges]
 *
 *      user ──has──► role ──has──► role ..        a role is granted as an object of type 'role'
 *        └─ privileges ─┴─ privileges
 *
 * The effective rights of a user are what it and all roles below it have been granted, and
 * everything on what it owns, but for the guest, who is anybody: what is made by the guest belongs
 * to nobody but the admin. The numbers, names and texts are Tarantool's where it has them.
 *
 * Four of them are always there: the guest (a connection that has not said who it is), the admin,
 * the roles public and super. As long as nobody has changed anything about users there are no rows:
 * the guest then has super, so that a new database serves everybody. The first change writes the
 * rows of the four.
 *
 * Whoever executes statements says for whom (access_user_set); a worker that nobody has told works
 * for the admin. Changes of the catalog look at it themselves; statements on rows do not, that is
 * the affair of those who take them from users.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/password.h"
#include "db/db.h"

enum {
    ACCESS_GUEST = 0,
    ACCESS_ADMIN = 1,
    ACCESS_PUBLIC = 2,
    ACCESS_SUPER = 31,
    ACCESS_ID_MIN = 32 /* of those that people make; no number is used twice */
};

/* Privileges, as bits. */
enum {
    ACCESS_READ = 1,
    ACCESS_WRITE = 2,
    ACCESS_EXECUTE = 4,
    ACCESS_SESSION = 8, /* on the universe: may log in */
    ACCESS_USAGE = 16,  /* on the universe: may use what it has been granted */
    ACCESS_CREATE = 32,
    ACCESS_DROP = 64,
    ACCESS_ALTER = 128,
    ACCESS_ALL = 255
};

/* What they are granted on. */
enum access_object {
    ACCESS_UNIVERSE, /* everything */
    ACCESS_SPACE,
    ACCESS_FUNCTION,
    ACCESS_SEQUENCE,
    ACCESS_ROLE,
    ACCESS_USER,
    ACCESS_LUA_EVAL, /* text that a client sends */
    ACCESS_BINDING,  /* what Lua can do outside of the database: access_binding_find */
    ACCESS_OBJECTS
};

/* The object id of a grant on all objects of a type. */
#define ACCESS_EVERY UINT32_MAX

struct access_grant {
    uint32_t id; /* ACCESS_EVERY, or of the object; of the universe 0 */
    uint32_t grantor;
    uint8_t type; /* enum access_object */
    uint16_t privileges;
};

struct access_user {
    uint32_t id, owner;
    const char *name;
    bool role;
    bool has_password;
    struct password password;
    const char *flags; /* MessagePack map: what other faces of these records keep here */
    uint32_t flags_size;
    uint32_t grant_count;
    struct access_grant *grants;
};

/* A picture of all of them: belongs to the worker, until its next call of access_of. */
struct access;

/* The newest; at once unless the catalog has changed. NULL with diagnostics: memory is out. */
const struct access *access_of(struct db_worker *worker);

const struct access_user *access_user(const struct access *access, const char *name, size_t size);
const struct access_user *access_user_by_id(const struct access *access, uint32_t id);

/* In order of id. */
uint32_t access_user_count(const struct access *access);
const struct access_user *access_user_at(const struct access *access, uint32_t n);

/* "nobody" for one that does not exist. */
const char *access_user_name(const struct access *access, uint32_t id);

/*
 * The effective privileges of a user on an object that belongs to `owner`; 0 for a user that does
 * not exist. With ACCESS_EVERY: on objects of the type in general.
 */
unsigned access_rights(const struct access *access, uint32_t user_id, enum access_object type,
                       uint32_t object_id, uint32_t owner);

/* Whether the role is granted to the user or role, or to a role of it; true, too, when memory is out:
 * for those who refuse loops. */
bool access_includes(const struct access *access, uint32_t grantee, uint32_t role);

/* For whom the worker works from now on. */
void access_user_set(struct db_worker *worker, uint32_t user_id);
uint32_t access_user_get(const struct db_worker *worker);

/* 0 when the worker's user has these privileges; ERROR_ACCESS with "Read access to space 'x' is
 * denied for user 'bob'"; ERROR_MEMORY. `name`: of the object, NULL for all of the type. */
int access_check(struct db_worker *worker, unsigned privileges, enum access_object type,
                 uint32_t object_id, uint32_t owner, const char *name);

/* Sets the diagnostics to that text; returns ERROR_ACCESS. */
int access_denied(const struct access *access, uint32_t user_id, unsigned privileges,
                  enum access_object type, const char *name);

/* Words: "read,write" and back, "space" and back. _parse returns false when there is another
 * word, of which *wrong, if it is not NULL, is where it begins. */
bool access_privileges_parse(const char *text, size_t size, unsigned *out);
void access_privileges_format(unsigned privileges, char out[96]);
int access_object_parse(const char *name, size_t size); /* -1: none */
const char *access_object_name(enum access_object type);

/* The number of a binding ("socket", "fio" ..); 0: there is none called so. */
uint32_t access_binding_find(const char *name, size_t size);
const char *access_binding_name(uint32_t id); /* NULL: none */

/*
 * Changes, each a change of the catalog (db/ddl.h). Who may:
 *      make and drop    who has create or drop on users or roles; what it has made is its own
 *      a password       the user itself, or who may alter it, unless it has rights that they lack
 *      grant, revoke    who has super, or owns the object; of a role, who owns that
 * ERROR_ACCESS, ERROR_EXISTS, ERROR_NOT_FOUND, ERROR_INVALID, with diagnostics.
 */
int access_user_create(struct db_worker *worker, const char *name, size_t size, bool role,
                       const struct password *password, bool if_not_exists);
int access_user_drop(struct db_worker *worker, const char *name, size_t size, bool role,
                     bool if_exists);
int access_password_set(struct db_worker *worker, const char *name, size_t size,
                        const struct password *password);

/* The text that another face of the user keeps among its flags under `key`; NULL: none. Who may: super.
 * ERROR_NOT_FOUND, ERROR_ACCESS. */
int access_flag_set(struct db_worker *worker, const char *name, size_t size, const char *key,
                    const char *text, size_t text_size);

struct access_change {
    const char *grantee;
    size_t grantee_size;
    bool role; /* the grantee is one */
    unsigned privileges;
    enum access_object type;
    const char *object; /* NULL: the universe, or all objects of the type */
    size_t object_size;
    bool tolerant; /* granting what is there, or revoking what is not, is no error */
};
int access_grant(struct db_worker *worker, const struct access_change *change);
int access_revoke(struct db_worker *worker, const struct access_change *change);

#endif
