/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check constraints: a condition that must hold for each tuple that is written, in Lua or as terms
 * that need none. One of a field is not asked of nil; one of a tuple sees all of it. What is neither
 * false nor nil holds.
 */
#include "db/format_private.h"

#include <stdio.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

enum { ROW_TEXT_MAX = 160 };

static bool is_asked(const struct constraint *constraint, const char *tuple)
{
    if (constraint->field == CONSTRAINT_TUPLE)
        return true;
    const char *value = mp_array_at(tuple, constraint->field);
    return value != NULL && mp_typeof(*value) != MP_NIL;
}

/* 1, 0, or an error. */
static int text_holds(const struct space *space, const struct expression *text, const char *tuple)
{
    struct mp_buffer results;
    mp_buffer_create(&results);
    int rc = db__evaluate(space, text, tuple, &results);
    if (rc == 0) {
        const char *first = mp_array_at(results.data, 0);
        if (first != NULL && mp_typeof(*first) == MP_BOOL)
            rc = mp_decode_bool(&first);
        else
            rc = first != NULL && mp_typeof(*first) != MP_NIL;
    }
    mp_buffer_destroy(&results);
    return rc;
}

int db__constraints_check(const struct space *space, const char *tuple)
{
    char row[ROW_TEXT_MAX], message[DIAG_MESSAGE_MAX];
    for (uint32_t i = 0; i < space->constraint_count; i++) {
        const struct constraint *constraint = &space->constraints[i];
        if (!is_asked(constraint, tuple))
            continue;
        int rc = constraint->text.text != NULL ? text_holds(space, &constraint->text, tuple)
                                               : condition_holds(&constraint->terms, tuple);
        if (rc == 1)
            continue;
        if (rc != 0 && rc != ERROR_LUA)
            return rc == ERROR_MEMORY ? diag_set(rc, "no memory for a constraint") : rc;
        if (rc == ERROR_LUA)
            snprintf(message, sizeof message, "%s", diag_message());
        db__row_text(space, tuple, row, sizeof row);
        return diag_set(ERROR_CONSTRAINT, "constraint \"%s\" of space \"%s\" %s row %s%s%s",
                        constraint->name, space->name,
                        rc == 0 ? "does not hold for" : "cannot be checked for", row,
                        rc == 0 ? "" : ": ", rc == 0 ? "" : message);
    }
    return 0;
}
