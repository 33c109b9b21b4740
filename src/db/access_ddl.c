/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the catalog: users, roles, passwords, privileges; and what other changes ask.
 *
 * Each looks at the picture that was in force when the gate closed, and writes rows; the pictures
 * that are made afterwards have the change. The first change of all writes the rows of what is
 * always there, so that its defaults can be taken away. Numbers are counted in the admin's row: one
 * that was used once, and may stand in what others hold, does not come back.
 */
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "codec/base64.h"
#include "db/access_private.h"
#include "db/ddl_private.h"

/* ------------------------------------------------------------------------------------ writing */

static void put_base64(struct mp_buffer *out, const void *data, size_t size)
{
    char text[128];
    base64_encode(text, data, size);
    mp_put_str(out, text, base64_size(size));
}

static void put_password(struct mp_buffer *out, const struct password *password)
{
    if (password == NULL) {
        mp_put_map(out, 0);
        return;
    }
    mp_put_map(out, 1);
    mp_put_str(out, "scrypt", 6);
    mp_put_map(out, 5);
    mp_put_str(out, "salt", 4);
    put_base64(out, password->salt, sizeof password->salt);
    mp_put_str(out, "hash", 4);
    put_base64(out, password->hash, sizeof password->hash);
    mp_put_str(out, "n", 1);
    mp_put_uint(out, password->n);
    mp_put_str(out, "r", 1);
    mp_put_uint(out, password->r);
    mp_put_str(out, "p", 1);
    mp_put_uint(out, password->p);
}

/* The row of a user as the struct says. */
static int put_user(struct ddl *ddl, const struct access_user *user)
{
    struct mp_buffer *tuple = ddl__tuple(ddl, 6);
    mp_put_uint(tuple, user->id);
    mp_put_uint(tuple, user->owner);
    mp_put_str(tuple, user->name, strlen(user->name));
    mp_put_str(tuple, user->role ? "role" : "user", 4);
    put_password(tuple, user->has_password ? &user->password : NULL);
    mp_put_raw(tuple, user->flags, user->flags_size);
    return ddl__put(ddl, SPACE_ID_USER);
}

/* The admin's row with another last number among its flags. */
static int put_admin(struct ddl *ddl, const struct access *access, uint32_t last_id)
{
    const struct access_user *admin = access_user_by_id(access, ACCESS_ADMIN);
    struct access_user changed = *admin;
    struct mp_buffer flags;
    const char *data = admin->flags;
    uint32_t count = mp_decode_map(&data);
    mp_buffer_create(&flags);
    mp_put_map(&flags, count + (access->counted ? 0 : 1));
    for (; count > 0; count--) {
        const char *start = data;
        bool ours = ddl__name_is(data, "last_id");
        mp_next(&data);
        mp_next(&data);
        if (!ours)
            mp_put_raw(&flags, start, (size_t)(data - start));
    }
    mp_put_str(&flags, "last_id", 7);
    mp_put_uint(&flags, last_id);
    int rc = flags.failed ? diag_set(ERROR_MEMORY, "no memory for a row of the catalog") : 0;
    if (rc == 0) {
        changed.flags = flags.data;
        changed.flags_size = (uint32_t)flags.size;
        rc = put_user(ddl, &changed);
    }
    mp_buffer_destroy(&flags);
    return rc;
}

static int put_grant(struct ddl *ddl, uint32_t grantee, const struct access_grant *grant)
{
    const char *type = access_object_name((enum access_object)grant->type);
    struct mp_buffer *tuple = ddl__tuple(ddl, grant->privileges != 0 ? 5 : 3);
    mp_put_uint(tuple, grantee);
    mp_put_str(tuple, type, strlen(type));
    mp_put_uint(tuple, grant->id);
    if (grant->privileges == 0)
        return ddl__delete(ddl, SPACE_ID_PRIV);
    mp_put_uint(tuple, grant->grantor);
    mp_put_uint(tuple, grant->privileges);
    return ddl__put(ddl, SPACE_ID_PRIV);
}

/* The first change of all: writes down what holds so far. */
static int write_defaults(struct ddl *ddl, const struct access *access)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && !access->written && i < access->count; i++) {
        const struct access_user *user = &access->users[i];
        rc = put_user(ddl, user);
        for (uint32_t n = 0; rc == 0 && n < user->grant_count; n++)
            rc = put_grant(ddl, user->id, &user->grants[n]);
    }
    return rc;
}

/* --------------------------------------------------------------------------------- permissions */

static const struct access *picture(struct ddl *ddl)
{
    return access_of(ddl->worker);
}

static bool is_super(const struct access *access, uint32_t user_id)
{
    return access_rights(access, user_id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN) == ACCESS_ALL;
}

int ddl__may(struct ddl *ddl, unsigned privileges, enum access_object type, uint32_t id,
             uint32_t owner, const char *name)
{
    return access_check(ddl->worker, privileges, type, id, owner, name);
}

int ddl__may_create(struct ddl *ddl, enum access_object type)
{
    return access_check(ddl->worker, ACCESS_CREATE, type, ACCESS_EVERY, ACCESS_ADMIN, NULL);
}

uint32_t ddl__owner(const struct ddl *ddl)
{
    return ddl->worker->user_id;
}

int ddl__privileges_drop(struct ddl *ddl, enum access_object type, uint32_t id)
{
    const struct access *access = picture(ddl);
    if (access == NULL)
        return diag_code();
    int rc = 0;
    for (uint32_t i = 0; access->written && i < access->count; i++) {
        const struct access_user *user = &access->users[i];
        for (uint32_t n = 0; rc == 0 && n < user->grant_count; n++) {
            struct access_grant grant = user->grants[n];
            grant.privileges = 0;
            if (grant.type == type && grant.id == id)
                rc = put_grant(ddl, user->id, &grant);
        }
    }
    return rc;
}

static int only_super(struct ddl *ddl, const struct access *access, const char *what)
{
    if (is_super(access, ddl->worker->user_id))
        return 0;
    return diag_set(ERROR_ACCESS, "%s is denied for user '%s': it needs the role super", what,
                    access_user_name(access, ddl->worker->user_id));
}

/* Whose rights are no more than those of the worker's user. */
static bool is_below(struct ddl *ddl, const struct access *access, const struct access_user *user)
{
    unsigned mine = access_rights(access, ddl->worker->user_id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN);
    unsigned theirs = access_rights(access, user->id, ACCESS_UNIVERSE, 0, ACCESS_ADMIN);
    return (theirs & ~mine) == 0 && (user->id >= ACCESS_ID_MIN || mine == ACCESS_ALL);
}

/* --------------------------------------------------------------------------------------- users */

struct user_args {
    const char *name;
    size_t size;
    bool role, tolerant;
    const struct password *password;
};

static const char *word_of(bool role)
{
    return role ? "Role" : "User";
}

static enum access_object object_of(bool role)
{
    return role ? ACCESS_ROLE : ACCESS_USER;
}

static int not_found(bool role, const char *name, size_t size)
{
    return diag_set(ERROR_NOT_FOUND, "%s '%.*s' is not found", word_of(role), (int)size, name);
}

/* What everybody gets who is made. */
static int put_first_grants(struct ddl *ddl, uint32_t id)
{
    struct access_grant grant = {.type = ACCESS_UNIVERSE,
                                 .grantor = ACCESS_ADMIN,
                                 .privileges = ACCESS_SESSION | ACCESS_USAGE};
    int rc = put_grant(ddl, id, &grant);
    if (rc != 0)
        return rc;
    grant = (struct access_grant){.id = ACCESS_PUBLIC,
                                  .type = ACCESS_ROLE,
                                  .grantor = ACCESS_ADMIN,
                                  .privileges = ACCESS_EXECUTE};
    return put_grant(ddl, id, &grant);
}

/* A change of users: on the way in, makes sure that there are rows. */
static int begin(struct ddl *ddl, const struct access **out)
{
    ddl->only_functions = true;
    *out = picture(ddl);
    return *out == NULL ? diag_code() : 0;
}

/* Names stand in lines of text (CLIENT LIST, the log). */
static int name_check(const struct user_args *args)
{
    const char *what = args->role ? "role" : "user";
    for (size_t i = 0; i < args->size; i++)
        if ((unsigned char)args->name[i] <= ' ' || args->name[i] == 127)
            return diag_set(ERROR_INVALID, "the name of a %s has no spaces in it", what);
    return ddl__name_check(what, args->name, args->size);
}

static int user_create(struct ddl *ddl, void *arg)
{
    struct user_args *args = arg;
    const struct access *access;
    int rc = begin(ddl, &access);
    if (rc == 0)
        rc = name_check(args);
    if (rc != 0)
        return rc;
    const struct access_user *present = access_user(access, args->name, args->size);
    if (present != NULL && present->role == args->role && args->tolerant)
        return 0;
    if (present != NULL)
        return diag_set(ERROR_EXISTS, "%s '%.*s' already exists", word_of(present->role),
                        (int)args->size, args->name);
    if ((rc = ddl__may_create(ddl, object_of(args->role))) != 0 ||
        (rc = write_defaults(ddl, access)) != 0)
        return rc;
    char name[NAME_SIZE_MAX + 1];
    memcpy(name, args->name, args->size);
    name[args->size] = 0;
    struct access_user user = {.id = access->last_id + 1,
                               .owner = ddl__owner(ddl),
                               .name = name,
                               .role = args->role,
                               .has_password = args->password != NULL,
                               .flags = "\x80",
                               .flags_size = 1};
    if (args->password != NULL)
        user.password = *args->password;
    if ((rc = put_admin(ddl, access, user.id)) != 0 || (rc = put_user(ddl, &user)) != 0)
        return rc;
    return args->role ? 0 : put_first_grants(ddl, user.id);
}

int access_user_create(struct db_worker *worker, const char *name, size_t size, bool role,
                       const struct password *password, bool if_not_exists)
{
    struct user_args args = {name, size, role, if_not_exists, password};
    return ddl__run(worker, user_create, NULL, &args);
}

/* The name of a record that the user owns into name[size]; false: there is none. */
static bool owned_record(const struct catalog *catalog, enum catalog_kind kind, uint32_t user_id,
                         char *name, size_t size)
{
    uint64_t owner;
    uint32_t length;
    for (uint32_t i = 0; i < catalog_record_count(catalog, kind); i++) {
        const char *row = catalog_record_at(catalog, kind, i)->tuple;
        const char *field = mp_array_at(row, 1), *text = mp_array_at(row, 2);
        if (!mp_read_uint(&field, &owner) || owner != user_id || mp_typeof(*text) != MP_STR)
            continue;
        text = mp_decode_str(&text, &length);
        snprintf(name, size, "%.*s", (int)length, text);
        return true;
    }
    return false;
}

/* What has an owner that goes would belong to nobody. */
static int owns_nothing(const struct ddl *ddl, const struct access *access,
                        const struct access_user *user)
{
    const struct catalog *catalog = ddl->before;
    const char *type = NULL, *name = NULL;
    char record[NAME_SIZE_MAX + 1];
    if (owned_record(catalog, CATALOG_SEQUENCE, user->id, record, sizeof record))
        type = "sequence", name = record;
    else if (owned_record(catalog, CATALOG_TRIGGER, user->id, record, sizeof record))
        type = "trigger", name = record;
    else if (owned_record(catalog, CATALOG_MODULE, user->id, record, sizeof record))
        type = "module", name = record;
    for (uint32_t i = 0; type == NULL && i < catalog_space_count(catalog); i++)
        if (!catalog_space_at(catalog, i)->system &&
            catalog_space_at(catalog, i)->owner == user->id)
            type = "space", name = catalog_space_at(catalog, i)->name;
    for (uint32_t i = 0; type == NULL && i < catalog_func_count(catalog); i++)
        if (catalog_func_at(catalog, i)->owner == user->id)
            type = "function", name = catalog_func_at(catalog, i)->name;
    for (uint32_t i = 0; type == NULL && i < access->count; i++)
        if (access->users[i].owner == user->id && access->users[i].id != user->id)
            type = access->users[i].role ? "role" : "user", name = access->users[i].name;
    if (type == NULL)
        return 0;
    return diag_set(ERROR_INVALID, "%s '%s' can't be dropped: it owns the %s '%s'",
                    word_of(user->role), user->name, type, name);
}

static int user_drop(struct ddl *ddl, void *arg)
{
    struct user_args *args = arg;
    const struct access *access;
    int rc = begin(ddl, &access);
    if (rc != 0)
        return rc;
    const struct access_user *user = access_user(access, args->name, args->size);
    if (user == NULL || user->role != args->role)
        return args->tolerant ? 0 : not_found(args->role, args->name, args->size);
    if (user->id < ACCESS_ID_MIN)
        return diag_set(ERROR_ACCESS, "%s '%s' can't be dropped: it is always there",
                        word_of(user->role), user->name);
    rc = ddl__may(ddl, ACCESS_DROP, object_of(user->role), user->id, user->owner, user->name);
    if (rc == 0 && user->id == ddl->worker->user_id)
        rc = diag_set(ERROR_INVALID, "User '%s' can't drop itself", user->name);
    if (rc == 0)
        rc = owns_nothing(ddl, access, user);
    if (rc == 0)
        rc = write_defaults(ddl, access);
    for (uint32_t i = 0; rc == 0 && i < user->grant_count; i++) {
        struct access_grant grant = user->grants[i];
        grant.privileges = 0;
        rc = put_grant(ddl, user->id, &grant);
    }
    if (rc == 0)
        rc = ddl__privileges_drop(ddl, object_of(user->role), user->id);
    if (rc != 0)
        return rc;
    mp_put_uint(ddl__tuple(ddl, 1), user->id);
    return ddl__delete(ddl, SPACE_ID_USER);
}

int access_user_drop(struct db_worker *worker, const char *name, size_t size, bool role,
                     bool if_exists)
{
    struct user_args args = {name, size, role, if_exists, NULL};
    return ddl__run(worker, user_drop, NULL, &args);
}

static int password_set(struct ddl *ddl, void *arg)
{
    struct user_args *args = arg;
    const struct access *access;
    int rc = begin(ddl, &access);
    if (rc != 0)
        return rc;
    const struct access_user *user = access_user(access, args->name, args->size);
    if (user == NULL || user->role)
        return not_found(false, args->name, args->size);
    if (user->id == ACCESS_GUEST)
        return diag_set(ERROR_INVALID, "User 'guest' has no password: it is who has said none");
    if (user->id != ddl->worker->user_id) {
        rc = ddl__may(ddl, ACCESS_ALTER, ACCESS_USER, user->id, user->owner, user->name);
        if (rc == 0 && !is_below(ddl, access, user))
            rc = only_super(ddl, access, "the password of another with more rights");
    }
    if (rc != 0 || (rc = write_defaults(ddl, access)) != 0)
        return rc;
    struct access_user changed = *user;
    changed.has_password = args->password != NULL;
    if (args->password != NULL)
        changed.password = *args->password;
    return put_user(ddl, &changed);
}

int access_password_set(struct db_worker *worker, const char *name, size_t size,
                        const struct password *password)
{
    struct user_args args = {name, size, false, false, password};
    return ddl__run(worker, password_set, NULL, &args);
}

struct flag_args {
    const char *name;
    size_t size;
    const char *key, *text;
    size_t text_size;
};

/* The flags without the key, and then with it. */
static void put_flags(struct mp_buffer *out, const struct access_user *user,
                      const struct flag_args *args)
{
    const char *data = user->flags, *start;
    uint32_t count = mp_decode_map(&data), kept = 0;
    start = data;
    for (uint32_t i = 0; i < count; i++) {
        kept += !ddl__name_is(data, args->key);
        mp_next(&data);
        mp_next(&data);
    }
    mp_put_map(out, kept + (args->text != NULL));
    data = start;
    for (uint32_t i = 0; i < count; i++) {
        bool ours = ddl__name_is(data, args->key);
        start = data;
        mp_next(&data);
        mp_next(&data);
        if (!ours)
            mp_put_raw(out, start, (size_t)(data - start));
    }
    if (args->text == NULL)
        return;
    mp_put_str(out, args->key, strlen(args->key));
    mp_put_str(out, args->text, args->text_size);
}

static int flag_set(struct ddl *ddl, void *arg)
{
    struct flag_args *args = arg;
    const struct access *access;
    int rc = begin(ddl, &access);
    if (rc != 0)
        return rc;
    const struct access_user *user = access_user(access, args->name, args->size);
    if (user == NULL || user->role)
        return not_found(false, args->name, args->size);
    if ((rc = only_super(ddl, access, "changing rules")) != 0 ||
        (rc = write_defaults(ddl, access)) != 0)
        return rc;
    struct access_user changed = *user;
    struct mp_buffer flags;
    mp_buffer_create(&flags);
    put_flags(&flags, user, args);
    rc = flags.failed ? diag_set(ERROR_MEMORY, "no memory for a row of the catalog") : 0;
    if (rc == 0) {
        changed.flags = flags.data;
        changed.flags_size = (uint32_t)flags.size;
        rc = put_user(ddl, &changed);
    }
    mp_buffer_destroy(&flags);
    return rc;
}

int access_flag_set(struct db_worker *worker, const char *name, size_t size, const char *key,
                    const char *text, size_t text_size)
{
    struct flag_args args = {name, size, key, text, text_size};
    return ddl__run(worker, flag_set, NULL, &args);
}

/* -------------------------------------------------------------------------------------- grants */

struct grant_args {
    const struct access_change *change;
    bool revoke;
};

/* The object of a grant, found. */
struct object {
    uint32_t id, owner;
    char name[NAME_SIZE_MAX + 3]; /* " 'x'", "" for all */
};

static int no_object(const struct access_change *change)
{
    return diag_set(ERROR_NOT_FOUND, "there is no %s '%.*s'", access_object_name(change->type),
                    (int)change->object_size, change->object);
}

static int sequence_find(const struct catalog *catalog, const struct access_change *change,
                         struct object *out)
{
    const struct catalog_record *record =
        catalog_record(catalog, CATALOG_SEQUENCE, change->object, change->object_size);
    uint64_t id, owner;
    const char *data = record == NULL ? NULL : record->tuple;
    if (data == NULL)
        return no_object(change);
    mp_decode_array(&data);
    if (!mp_read_uint(&data, &id) || !mp_read_uint(&data, &owner))
        return no_object(change);
    out->id = (uint32_t)id;
    out->owner = (uint32_t)owner;
    return 0;
}

static int user_find(const struct access *access, const struct access_change *change,
                     struct object *out)
{
    const struct access_user *user = access_user(access, change->object, change->object_size);
    if (user == NULL || user->role != (change->type == ACCESS_ROLE))
        return not_found(change->type == ACCESS_ROLE, change->object, change->object_size);
    out->id = user->id;
    out->owner = user->owner;
    return 0;
}

static int object_find(const struct ddl *ddl, const struct access *access,
                       const struct access_change *change, struct object *out)
{
    const struct space *space;
    const struct func *func;
    *out = (struct object){.id = change->type == ACCESS_UNIVERSE ? 0 : ACCESS_EVERY,
                           .owner = ACCESS_ADMIN};
    if (change->object == NULL || change->type == ACCESS_UNIVERSE ||
        change->type == ACCESS_LUA_EVAL)
        return 0;
    if (change->object_size > NAME_SIZE_MAX)
        return no_object(change);
    snprintf(out->name, sizeof out->name, "%.*s", (int)change->object_size, change->object);
    switch (change->type) {
    case ACCESS_SPACE:
        space = catalog_space(ddl->before, change->object, change->object_size);
        if (space == NULL)
            return no_object(change);
        out->id = space->id;
        out->owner = space->system ? ACCESS_ADMIN : space->owner;
        return 0;
    case ACCESS_FUNCTION:
        func = catalog_func(ddl->before, change->object, change->object_size);
        if (func == NULL)
            return no_object(change);
        out->id = func->id;
        out->owner = func->owner;
        return 0;
    case ACCESS_SEQUENCE:
        return sequence_find(ddl->before, change, out);
    case ACCESS_ROLE:
    case ACCESS_USER:
        return user_find(access, change, out);
    default:
        out->id = access_binding_find(change->object, change->object_size);
        return out->id == 0 ? no_object(change) : 0;
    }
}

/* Which privileges mean something on which objects. */
static unsigned privileges_of(enum access_object type)
{
    switch (type) {
    case ACCESS_UNIVERSE:
        return ACCESS_ALL;
    case ACCESS_SPACE:
        return ACCESS_READ | ACCESS_WRITE | ACCESS_CREATE | ACCESS_DROP | ACCESS_ALTER;
    case ACCESS_SEQUENCE:
        return ACCESS_READ | ACCESS_WRITE | ACCESS_CREATE | ACCESS_DROP | ACCESS_ALTER;
    case ACCESS_FUNCTION:
        return ACCESS_EXECUTE | ACCESS_CREATE | ACCESS_DROP | ACCESS_ALTER;
    case ACCESS_ROLE:
        return ACCESS_EXECUTE | ACCESS_CREATE | ACCESS_DROP | ACCESS_ALTER;
    case ACCESS_USER:
        return ACCESS_CREATE | ACCESS_DROP | ACCESS_ALTER;
    default:
        return ACCESS_EXECUTE;
    }
}

static int grant_check(struct ddl *ddl, const struct access *access,
                       const struct access_change *change, const struct access_user *grantee,
                       const struct object *object)
{
    char words[96];
    unsigned wrong = change->privileges & ~privileges_of(change->type);
    if (wrong != 0 || change->privileges == 0) {
        access_privileges_format(wrong, words);
        return diag_set(ERROR_INVALID, "privilege '%s' can't be granted on %s", words,
                        access_object_name(change->type));
    }
    if (grantee->id == ACCESS_ADMIN || grantee->id == ACCESS_SUPER)
        return diag_set(ERROR_INVALID, "%s '%s' may do everything, and that does not change",
                        word_of(grantee->role), grantee->name);
    bool owns = object->owner == ddl->worker->user_id && object->owner != ACCESS_GUEST &&
                object->id != ACCESS_EVERY && change->type != ACCESS_UNIVERSE &&
                change->type != ACCESS_BINDING;
    if (owns)
        return 0;
    return only_super(ddl, access, "granting and revoking on what belongs to others");
}

static int role_check(const struct access *access, const struct access_change *change,
                      const struct access_user *grantee, const struct object *object)
{
    if (change->type != ACCESS_ROLE || object->id == ACCESS_EVERY ||
        (change->privileges & ACCESS_EXECUTE) == 0 ||
        !access_includes(access, object->id, grantee->id))
        return 0;
    return diag_set(ERROR_INVALID, "Granting role '%s' to role '%s' would create a loop",
                    object->name, grantee->name);
}

static struct access_grant grant_present(const struct access_user *user, enum access_object type,
                                         uint32_t id)
{
    for (uint32_t i = 0; i < user->grant_count; i++)
        if (user->grants[i].type == type && user->grants[i].id == id)
            return user->grants[i];
    return (struct access_grant){.id = id, .type = (uint8_t)type};
}

static int nothing_to_do(const struct access_change *change, const struct access_user *grantee,
                         const struct object *object, bool revoke)
{
    char words[96];
    const char *mark = object->name[0] != 0 ? "'" : "";
    const char *space = object->name[0] != 0 ? " " : "";
    if (change->tolerant)
        return 0;
    if (change->type == ACCESS_ROLE && object->id != ACCESS_EVERY)
        return diag_set(revoke ? ERROR_NOT_FOUND : ERROR_EXISTS, "%s '%s' %s role '%s'",
                        word_of(grantee->role), grantee->name,
                        revoke ? "does not have" : "already has", object->name);
    access_privileges_format(change->privileges, words);
    return diag_set(revoke ? ERROR_NOT_FOUND : ERROR_EXISTS, "%s '%s' %s %s access on %s%s%s%s%s",
                    word_of(grantee->role), grantee->name, revoke ? "does not have" : "already has",
                    words, access_object_name(change->type), space, mark, object->name, mark);
}

static int grant_change(struct ddl *ddl, void *arg)
{
    const struct grant_args *args = arg;
    const struct access_change *change = args->change;
    const struct access *access;
    struct object object;
    int rc = begin(ddl, &access);
    if (rc != 0)
        return rc;
    const struct access_user *grantee = access_user(access, change->grantee, change->grantee_size);
    if (grantee == NULL || grantee->role != change->role)
        return not_found(change->role, change->grantee, change->grantee_size);
    if ((rc = object_find(ddl, access, change, &object)) != 0 ||
        (rc = grant_check(ddl, access, change, grantee, &object)) != 0 ||
        (!args->revoke && (rc = role_check(access, change, grantee, &object)) != 0))
        return rc;
    struct access_grant grant = grant_present(grantee, change->type, object.id);
    unsigned before = grant.privileges, mask = change->privileges;
    unsigned after = args->revoke ? before & ~mask : before | mask;
    if (args->revoke ? (before & mask) == 0 : after == before)
        return nothing_to_do(change, grantee, &object, args->revoke);
    grant.privileges = (uint16_t)after;
    grant.grantor = ddl__owner(ddl);
    rc = write_defaults(ddl, access);
    return rc != 0 ? rc : put_grant(ddl, grantee->id, &grant);
}

int access_grant(struct db_worker *worker, const struct access_change *change)
{
    struct grant_args args = {change, false};
    return ddl__run(worker, grant_change, NULL, &args);
}

int access_revoke(struct db_worker *worker, const struct access_change *change)
{
    struct grant_args args = {change, true};
    return ddl__run(worker, grant_change, NULL, &args);
}
