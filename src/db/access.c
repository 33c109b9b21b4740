/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The picture of users and their rights.
 *
 * Each worker makes its own from the newest catalog, when that has changed, and works out what a
 * user can do when it is first asked about that user: a walk over its roles, whose grants are merged
 * into one array that is searched by halving. Those who check often keep the answer (lua/statement.c,
 * session_auth.c), together with the version of the schema.
 */
#include "db/access_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/base64.h"
#include "codec/mp.h"
#include "db/ddl_private.h"

/* -------------------------------------------------------------------------------------- words */

static const struct {
    unsigned bit;
    const char *name;
} privilege_names[] = {
    {ACCESS_READ, "read"},       {ACCESS_WRITE, "write"}, {ACCESS_EXECUTE, "execute"},
    {ACCESS_SESSION, "session"}, {ACCESS_USAGE, "usage"}, {ACCESS_CREATE, "create"},
    {ACCESS_DROP, "drop"},       {ACCESS_ALTER, "alter"},
};
enum { PRIVILEGE_COUNT = sizeof privilege_names / sizeof *privilege_names };

static const char *const object_names[ACCESS_OBJECTS] = {
    "universe", "space", "function", "sequence", "role", "user", "lua_eval", "binding"};

/* Numbers are in the rows: they stay. */
static const char *const binding_names[] = {NULL, "socket", "http", "fio", "process"};
enum { BINDING_COUNT = sizeof binding_names / sizeof *binding_names };

static bool word_is(const char *word, size_t size, const char *name)
{
    return strlen(name) == size && memcmp(word, name, size) == 0;
}

static unsigned privilege_of(const char *word, size_t size)
{
    for (size_t i = 0; i < PRIVILEGE_COUNT; i++)
        if (word_is(word, size, privilege_names[i].name))
            return privilege_names[i].bit;
    return 0;
}

bool access_privileges_parse(const char *text, size_t size, unsigned *out)
{
    const char *end = text + size;
    *out = 0;
    while (text <= end) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *stop = comma == NULL ? end : comma, *next = stop + 1;
        while (text < stop && *text == ' ')
            text++;
        while (stop > text && stop[-1] == ' ')
            stop--;
        unsigned bit = privilege_of(text, (size_t)(stop - text));
        if (bit == 0)
            return false;
        *out |= bit;
        text = next;
    }
    return true;
}

void access_privileges_format(unsigned privileges, char out[96])
{
    size_t size = 0;
    out[0] = 0;
    for (size_t i = 0; i < PRIVILEGE_COUNT; i++)
        if ((privileges & privilege_names[i].bit) != 0)
            size += (size_t)snprintf(out + size, 96 - size, "%s%s", size == 0 ? "" : ",",
                                     privilege_names[i].name);
}

int access_object_parse(const char *name, size_t size)
{
    for (int i = 0; i < ACCESS_OBJECTS; i++)
        if (word_is(name, size, object_names[i]))
            return i;
    return -1;
}

const char *access_object_name(enum access_object type)
{
    return object_names[type];
}

uint32_t access_binding_find(const char *name, size_t size)
{
    for (uint32_t i = 1; i < BINDING_COUNT; i++)
        if (word_is(name, size, binding_names[i]))
            return i;
    return 0;
}

const char *access_binding_name(uint32_t id)
{
    return id < BINDING_COUNT ? binding_names[id] : NULL;
}

/* ------------------------------------------------------------------------------ reading rows */

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for the picture of users");
}

static int damaged(const char *space)
{
    return diag_set(ERROR_CORRUPT, "a row of %s is damaged", space);
}

static bool read_uint32(const char **data, uint32_t *out)
{
    uint64_t value;
    if (!mp_read_uint(data, &value) || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool map_uint32(const char *map, const char *name, uint32_t *out)
{
    const char *value = mp_map_find(map, name);
    return value != NULL && read_uint32(&value, out);
}

/* Bytes that are kept as base64. */
static bool map_bytes(const char *map, const char *name, void *out, size_t wanted)
{
    const char *value = mp_map_find(map, name);
    uint32_t size;
    if (value == NULL || mp_typeof(*value) != MP_STR)
        return false;
    const char *text = mp_decode_str(&value, &size);
    unsigned char bytes[64];
    if (size / 4 * 3 > sizeof bytes || base64_decode(bytes, text, size) != (int64_t)wanted)
        return false;
    memcpy(out, bytes, wanted);
    return true;
}

static bool read_password(const char *auth, struct password *out)
{
    const char *record = mp_map_find(auth, "scrypt");
    return record != NULL && map_uint32(record, "n", &out->n) && map_uint32(record, "r", &out->r) &&
           map_uint32(record, "p", &out->p) &&
           map_bytes(record, "salt", out->salt, sizeof out->salt) &&
           map_bytes(record, "hash", out->hash, sizeof out->hash) && password_valid(out);
}

static int user_read(struct access *access, const char *data)
{
    struct access_user *user = &access->users[access->count];
    uint32_t size;
    memset(user, 0, sizeof *user);
    if (mp_typeof(*data) != MP_ARRAY || mp_decode_array(&data) < 6 ||
        !read_uint32(&data, &user->id) || !read_uint32(&data, &user->owner) ||
        mp_typeof(*data) != MP_STR)
        return damaged("_user");
    const char *name = mp_decode_str(&data, &size);
    char *copy = arena_alloc(&access->arena, (size_t)size + 1);
    if (copy == NULL)
        return no_memory();
    memcpy(copy, name, size);
    copy[size] = 0;
    user->name = copy;
    if (mp_typeof(*data) != MP_STR)
        return damaged("_user");
    const char *type = mp_decode_str(&data, &size);
    user->role = word_is(type, size, "role");
    user->has_password = read_password(data, &user->password);
    mp_next(&data);
    const char *end = data;
    mp_next(&end);
    if (mp_typeof(*data) != MP_MAP)
        return damaged("_user");
    user->flags_size = (uint32_t)(end - data);
    user->flags = arena_copy(&access->arena, data, user->flags_size);
    if (user->flags == NULL)
        return no_memory();
    access->count++;
    return 0;
}

static struct access_user *user_find(const struct access *access, uint32_t id)
{
    size_t low = 0, high = access->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (access->users[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < access->count && access->users[low].id == id ? &access->users[low] : NULL;
}

struct priv_row {
    uint32_t grantee;
    struct access_grant grant;
};

static int priv_read(const char *data, struct priv_row *out)
{
    uint32_t size, privileges;
    if (mp_typeof(*data) != MP_ARRAY || mp_decode_array(&data) < 5 ||
        !read_uint32(&data, &out->grantee) || mp_typeof(*data) != MP_STR)
        return damaged("_priv");
    const char *name = mp_decode_str(&data, &size);
    int type = access_object_parse(name, size);
    if (type < 0 || !read_uint32(&data, &out->grant.id) ||
        !read_uint32(&data, &out->grant.grantor) || !read_uint32(&data, &privileges))
        return damaged("_priv");
    out->grant.type = (uint8_t)type;
    out->grant.privileges = (uint16_t)(privileges & ACCESS_ALL);
    return 0;
}

/* The rows of one grantee stand together, since they are in order of their keys. */
static int privs_read(struct access *access, const struct catalog *catalog)
{
    uint32_t count = catalog_record_count(catalog, CATALOG_PRIV), i = 0;
    struct access_grant *grants = arena_alloc(&access->arena, (count + 1) * sizeof *grants);
    if (grants == NULL)
        return no_memory();
    for (; i < count; i++) {
        struct priv_row row = {0};
        int rc = priv_read(catalog_record_at(catalog, CATALOG_PRIV, i)->tuple, &row);
        if (rc != 0)
            return rc;
        grants[i] = row.grant;
        struct access_user *user = user_find(access, row.grantee);
        if (user == NULL)
            continue;
        if (user->grant_count == 0)
            user->grants = &grants[i];
        user->grant_count++;
    }
    return 0;
}

/* -------------------------------------------------------------------------- what is always there */

static struct access_grant guest_grants[] = {
    {.id = 0,
     .grantor = ACCESS_ADMIN,
     .type = ACCESS_UNIVERSE,
     .privileges = ACCESS_SESSION | ACCESS_USAGE},
    {.id = ACCESS_PUBLIC,
     .grantor = ACCESS_ADMIN,
     .type = ACCESS_ROLE,
     .privileges = ACCESS_EXECUTE},
    {.id = ACCESS_SUPER,
     .grantor = ACCESS_ADMIN,
     .type = ACCESS_ROLE,
     .privileges = ACCESS_EXECUTE},
};

static const struct access_user the_four[] = {
    {.id = ACCESS_GUEST,
     .owner = ACCESS_ADMIN,
     .name = "guest",
     .grant_count = 3,
     .grants = guest_grants},
    {.id = ACCESS_ADMIN, .owner = ACCESS_ADMIN, .name = "admin"},
    {.id = ACCESS_PUBLIC, .owner = ACCESS_ADMIN, .name = "public", .role = true},
    {.id = ACCESS_SUPER, .owner = ACCESS_ADMIN, .name = "super", .role = true},
};

/* Those of them that have no row: all, or, of a catalog that somebody has damaged, some. */
static void the_four_add(struct access *access)
{
    for (size_t i = 0; i < 4; i++) {
        if (user_find(access, the_four[i].id) != NULL)
            continue;
        uint32_t at = access->count++;
        while (at > 0 && access->users[at - 1].id > the_four[i].id) {
            access->users[at] = access->users[at - 1];
            at--;
        }
        access->users[at] = the_four[i];
        access->users[at].flags = "\x80";
        access->users[at].flags_size = 1;
        if (access->written)
            access->users[at].grant_count = 0;
    }
}

static int fill(struct access *access, const struct catalog *catalog)
{
    uint32_t count = catalog_record_count(catalog, CATALOG_USER);
    size_t room = count + 4;
    access->users = arena_alloc(&access->arena, room * sizeof *access->users);
    access->effective = arena_alloc(&access->arena, room * sizeof *access->effective);
    if (access->users == NULL || access->effective == NULL)
        return no_memory();
    memset(access->effective, 0, room * sizeof *access->effective);
    for (uint32_t i = 0; i < count; i++) {
        int rc = user_read(access, catalog_record_at(catalog, CATALOG_USER, i)->tuple);
        if (rc != 0)
            return rc;
    }
    const struct access_user *admin = user_find(access, ACCESS_ADMIN);
    access->written = count > 0;
    access->last_id = ACCESS_ID_MIN - 1;
    access->counted = admin != NULL && map_uint32(admin->flags, "last_id", &access->last_id);
    if (count > 0 && access->users[count - 1].id > access->last_id)
        access->last_id = access->users[count - 1].id;
    the_four_add(access);
    return privs_read(access, catalog);
}

int access__make(const struct catalog *catalog, struct access **out)
{
    struct access *access = calloc(1, sizeof *access);
    if (access == NULL)
        return no_memory();
    arena_create(&access->arena, 0);
    access->version = catalog_version(catalog);
    int rc = fill(access, catalog);
    if (rc != 0) {
        access__delete(access);
        return rc;
    }
    *out = access;
    return 0;
}

void access__delete(struct access *access)
{
    if (access == NULL)
        return;
    arena_destroy(&access->arena);
    free(access);
}

/* The picture of the catalog as the worker sees it, to be released. */
static struct catalog *catalog_take(struct db_worker *worker)
{
    struct db *db = worker->db;
    struct catalog *catalog;
    pthread_mutex_lock(&db->catalog_mutex);
    catalog = worker->ddl == NULL ? db->catalog : (struct catalog *)ddl__catalog(worker->ddl);
    atomic_fetch_add(&catalog->references, 1);
    pthread_mutex_unlock(&db->catalog_mutex);
    return catalog;
}

const struct access *access_of(struct db_worker *worker)
{
    struct access *made = NULL;
    if (worker->access != NULL && worker->access->version == db_schema_version(worker))
        return worker->access;
    struct catalog *catalog = catalog_take(worker);
    int rc = access__make(catalog, &made);
    db__catalog_release(catalog);
    if (rc != 0)
        return NULL;
    access__delete(worker->access);
    worker->access = made;
    return made;
}

/* ------------------------------------------------------------------------------------- looking up */

const struct access_user *access_user_by_id(const struct access *access, uint32_t id)
{
    return user_find(access, id);
}

const struct access_user *access_user(const struct access *access, const char *name, size_t size)
{
    for (uint32_t i = 0; i < access->count; i++)
        if (word_is(name, size, access->users[i].name))
            return &access->users[i];
    return NULL;
}

uint32_t access_user_count(const struct access *access)
{
    return access->count;
}

const struct access_user *access_user_at(const struct access *access, uint32_t n)
{
    return &access->users[n];
}

const char *access_user_name(const struct access *access, uint32_t id)
{
    const struct access_user *user = user_find(access, id);
    return user == NULL ? "nobody" : user->name;
}

/* ----------------------------------------------------------------------------- effective rights */

/* Marks the user and all roles below it. Roles form no cycles, but a damaged catalog's might. */
static void mark(const struct access *access, const struct access_user *user, bool *marked)
{
    marked[user - access->users] = true;
    for (uint32_t i = 0; i < user->grant_count; i++) {
        const struct access_grant *grant = &user->grants[i];
        if (grant->type != ACCESS_ROLE || (grant->privileges & ACCESS_EXECUTE) == 0)
            continue;
        const struct access_user *role = user_find(access, grant->id);
        if (role != NULL && role->role && !marked[role - access->users])
            mark(access, role, marked);
    }
}

bool access_includes(const struct access *access, uint32_t grantee, uint32_t role)
{
    const struct access_user *user = user_find(access, grantee), *wanted = user_find(access, role);
    bool *marked = calloc(access->count, sizeof *marked);
    if (marked == NULL)
        return true; /* what is asked for is to be refused then */
    if (user != NULL)
        mark(access, user, marked);
    bool found = wanted != NULL && marked[wanted - access->users];
    free(marked);
    return found;
}

static int by_object(const void *left, const void *right)
{
    const struct access_grant *a = left, *b = right;
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Sorts and makes one of those for the same object. */
static void merge(struct access_effective *effective)
{
    uint32_t kept = 0;
    qsort(effective->grants, effective->count, sizeof *effective->grants, by_object);
    for (uint32_t i = 0; i < effective->count; i++) {
        struct access_grant *grant = &effective->grants[i];
        if (kept > 0 && by_object(&effective->grants[kept - 1], grant) == 0)
            effective->grants[kept - 1].privileges |= grant->privileges;
        else
            effective->grants[kept++] = *grant;
    }
    effective->count = kept;
}

static void collect(struct access_effective *effective, const struct access_user *user)
{
    if (user->id == ACCESS_ADMIN || user->id == ACCESS_SUPER)
        effective->of_type[ACCESS_UNIVERSE] = ACCESS_ALL;
    for (uint32_t i = 0; i < user->grant_count; i++) {
        const struct access_grant *grant = &user->grants[i];
        if (grant->type == ACCESS_UNIVERSE || grant->id == ACCESS_EVERY)
            effective->of_type[grant->type] |= grant->privileges;
        else
            effective->grants[effective->count++] = *grant;
    }
}

static struct access_effective *work_out(struct access *access, const struct access_user *user)
{
    struct access_effective *effective = arena_alloc(&access->arena, sizeof *effective);
    bool *marked = arena_alloc(&access->arena, access->count);
    if (effective == NULL || marked == NULL)
        return NULL;
    memset(effective, 0, sizeof *effective);
    memset(marked, 0, access->count);
    mark(access, user, marked);
    size_t room = 1;
    for (uint32_t i = 0; i < access->count; i++)
        room += marked[i] ? access->users[i].grant_count : 0;
    effective->grants = arena_alloc(&access->arena, room * sizeof *effective->grants);
    if (effective->grants == NULL)
        return NULL;
    for (uint32_t i = 0; i < access->count; i++)
        if (marked[i])
            collect(effective, &access->users[i]);
    merge(effective);
    return effective;
}

/* NULL: there is no such user, or no memory; in both cases it has no rights. */
static const struct access_effective *effective_of(const struct access *picture, uint32_t id)
{
    struct access *access = (struct access *)picture; /* a cache inside of what the worker owns */
    const struct access_user *user = user_find(access, id);
    if (user == NULL)
        return NULL;
    struct access_effective **slot = &access->effective[user - access->users];
    if (*slot == NULL)
        *slot = work_out(access, user);
    return *slot;
}

static unsigned object_rights(const struct access_effective *effective, enum access_object type,
                              uint32_t id)
{
    const struct access_grant key = {.type = (uint8_t)type, .id = id};
    const struct access_grant *found =
        bsearch(&key, effective->grants, effective->count, sizeof *effective->grants, by_object);
    return found == NULL ? 0 : found->privileges;
}

unsigned access_rights(const struct access *access, uint32_t user_id, enum access_object type,
                       uint32_t object_id, uint32_t owner)
{
    const struct access_effective *effective = effective_of(access, user_id);
    if (effective == NULL)
        return 0;
    unsigned universe = effective->of_type[ACCESS_UNIVERSE];
    if (type == ACCESS_UNIVERSE)
        return (universe & ACCESS_USAGE) != 0 ? universe : universe & ACCESS_SESSION;
    if ((universe & ACCESS_USAGE) == 0)
        return 0;
    unsigned rights = universe | effective->of_type[type];
    if (object_id == ACCESS_EVERY)
        return rights;
    rights |= object_rights(effective, type, object_id);
    return owner == user_id && owner != ACCESS_GUEST ? ACCESS_ALL : rights;
}

/* -------------------------------------------------------------------------------------- checking */

void access_user_set(struct db_worker *worker, uint32_t user_id)
{
    worker->user_id = user_id;
}

uint32_t access_user_get(const struct db_worker *worker)
{
    return worker->user_id;
}

int access_denied(const struct access *access, uint32_t user_id, unsigned privileges,
                  enum access_object type, const char *name)
{
    char words[96];
    access_privileges_format(privileges, words);
    if (words[0] >= 'a')
        words[0] = (char)(words[0] - 'a' + 'A');
    if (name == NULL)
        return diag_set(ERROR_ACCESS, "%s access to %s is denied for user '%s'", words,
                        object_names[type], access_user_name(access, user_id));
    return diag_set(ERROR_ACCESS, "%s access to %s '%s' is denied for user '%s'", words,
                    object_names[type], name, access_user_name(access, user_id));
}

int access_check(struct db_worker *worker, unsigned privileges, enum access_object type,
                 uint32_t object_id, uint32_t owner, const char *name)
{
    if (worker->user_id == ACCESS_ADMIN)
        return 0;
    const struct access *access = access_of(worker);
    if (access == NULL)
        return diag_code();
    unsigned rights = access_rights(access, worker->user_id, type, object_id, owner);
    if ((rights & privileges) == privileges)
        return 0;
    return access_denied(access, worker->user_id, privileges & ~rights, type, name);
}
