/* SPDX-License-Identifier: Apache-2.0 */

/* Changes of the catalog: rows of _space, from definitions and back. */
#include "db/format_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

void ddl__space_def(const struct space *space, struct space_def *out)
{
    const char *row = space->row_version->bytes, *flags = mp_array_at(row, 5);
    *out = (struct space_def){.id = space->id,
                              .owner = space->owner,
                              .incarnation = space->head->incarnation,
                              .exact_count = space->exact_count,
                              .name = space->name,
                              .name_size = strlen(space->name),
                              .engine = space->engine,
                              .format = mp_array_at(row, 6),
                              .constraint = mp_map_find(flags, "constraint"),
                              .foreign_key = mp_map_find(flags, "foreign_key"),
                              .view = mp_map_find(flags, "view"),
                              .temporary = space->temporary,
                              .local = space->local,
                              .quiet = space->quiet};
    body_options_find(flags, &out->body);
}

static void string_put(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void value_put(struct mp_buffer *out, const char *value)
{
    const char *end = value;
    mp_next(&end);
    mp_put_raw(out, value, (size_t)(end - value));
}

static int flags_put(struct ddl *ddl, const struct space *draft, const struct space_def *def,
                     struct mp_buffer *tuple)
{
    unsigned body_options = 0;
    int rc = 0;
    for (unsigned i = 0; i < BODY_OPTIONS; i++)
        body_options += def->body.at[i] != NULL;
    mp_put_map(tuple, 1 + (def->constraint != NULL) + (def->foreign_key != NULL) +
                          (def->view != NULL) + def->temporary + def->local + def->quiet +
                          body_options);
    string_put(tuple, "incarnation");
    mp_put_uint(tuple, def->incarnation);
    if (def->constraint != NULL) {
        string_put(tuple, "constraint");
        rc = ddl__constraints_put(ddl, draft, CONSTRAINT_TUPLE, def->constraint, tuple);
    }
    if (rc == 0 && def->foreign_key != NULL) {
        string_put(tuple, "foreign_key");
        rc = ddl__foreign_put(ddl, draft, CONSTRAINT_TUPLE, def->foreign_key, tuple);
    }
    if (rc == 0 && def->view != NULL) {
        string_put(tuple, "view");
        value_put(tuple, def->view);
    }
    if (def->temporary) {
        string_put(tuple, "temporary");
        mp_put_bool(tuple, true);
    }
    if (def->local) {
        string_put(tuple, "is_local");
        mp_put_bool(tuple, true);
    }
    if (def->quiet) {
        string_put(tuple, "run_triggers");
        mp_put_bool(tuple, false);
    }
    for (unsigned i = 0; rc == 0 && i < BODY_OPTIONS; i++)
        if (def->body.at[i] != NULL) {
            string_put(tuple, body_option_name(i));
            if (i == BODY_EXPIRE)
                rc = body_options_expire_put(def->body.at[i], draft->fields, draft->field_count,
                                             tuple);
            else
                value_put(tuple, def->body.at[i]);
        }
    return rc;
}

/* The fields of the format, for those who refer to them. */
static int draft_make(struct ddl *ddl, const struct space_def *def, struct space *draft)
{
    struct mp_buffer names;
    mp_buffer_create(&names);
    *draft = (struct space){.id = def->id, .temporary = def->temporary, .engine = def->engine};
    int rc = ddl__format_put(ddl, NULL, &names, def->format);
    char *name = arena_alloc(&ddl->arena, def->name_size + 1);
    char *format = rc == 0 ? arena_copy(&ddl->arena, names.data, names.size) : NULL;
    if (rc == 0 && (name == NULL || names.failed || format == NULL ||
                    db__format_read(&ddl->arena, format, draft) != 0))
        rc = diag_set(ERROR_MEMORY, "no memory for a format");
    if (rc == 0) {
        memcpy(name, def->name, def->name_size);
        name[def->name_size] = '\0';
        draft->name = name;
    }
    mp_buffer_destroy(&names);
    return rc;
}

int ddl__space_encode(struct ddl *ddl, const struct space_def *def)
{
    struct space draft;
    int rc = draft_make(ddl, def, &draft);
    if (rc != 0)
        return rc;
    struct mp_buffer *tuple = ddl__tuple(ddl, 7);
    mp_put_uint(tuple, def->id);
    mp_put_uint(tuple, def->owner);
    mp_put_str(tuple, def->name, def->name_size);
    string_put(tuple, def->engine);
    mp_put_uint(tuple, def->exact_count);
    rc = flags_put(ddl, &draft, def, tuple);
    if (rc == 0)
        rc = ddl__format_put(ddl, &draft, tuple, def->format);
    if (rc == 0 && tuple->failed)
        rc = diag_set(ERROR_MEMORY, "no memory for a row of the catalog");
    return rc;
}

int ddl__space_put(struct ddl *ddl, const struct space_def *def)
{
    int rc = ddl__space_encode(ddl, def);
    return rc != 0 ? rc : ddl__put(ddl, SPACE_ID_SPACE);
}
