/* SPDX-License-Identifier: Apache-2.0 */
/* See expression_fixture.h. */
#include "db/expression_fixture.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/catalog.h"

struct reader {
    const char *at;
    const struct expression *expression;
    const struct space *space;
    const char *tuple;
    bool compile; /* only */
};

static int wrong(const struct reader *reader, const char *what)
{
    return diag_set(ERROR_LUA, "%s: %s", reader->expression->name, what);
}

static void blanks(struct reader *reader)
{
    while (*reader->at == ' ')
        reader->at++;
}

/* A name or number; *number is false for what is none. */
static int operand(struct reader *reader, bool *number, int64_t *out)
{
    blanks(reader);
    const char *start = reader->at;
    *number = true;
    *out = 0;
    if (isdigit((unsigned char)*start)) {
        *out = strtoll(start, (char **)&reader->at, 10);
        return 0;
    }
    while (isalnum((unsigned char)*reader->at) || *reader->at == '_')
        reader->at++;
    if (reader->at == start)
        return wrong(reader, "a name or number is expected");
    if (reader->compile)
        return 0;
    int64_t field = reader->space == NULL
                        ? -1
                        : space_field(reader->space, start, (size_t)(reader->at - start));
    const char *value =
        field < 0 || reader->tuple == NULL ? NULL : mp_array_at(reader->tuple, (uint32_t)field);
    *number = value != NULL && mp_read_int(&value, out);
    return 0;
}

static int sum(struct reader *reader, bool *number, int64_t *out)
{
    int rc = operand(reader, number, out);
    for (blanks(reader); rc == 0 && *reader->at == '+'; blanks(reader)) {
        int64_t other;
        bool is_number;
        reader->at++;
        rc = operand(reader, &is_number, &other);
        if (rc == 0 && !(*number && is_number))
            rc = wrong(reader, "attempt to add what is no number");
        *out += other;
    }
    return rc;
}

static int value(struct reader *reader, struct mp_buffer *out)
{
    int64_t left, right;
    bool number, other;
    int rc = sum(reader, &number, &left);
    blanks(reader);
    if (rc != 0)
        return rc;
    if (*reader->at == '\0') {
        if (out != NULL && number)
            mp_put_int(out, left);
        else if (out != NULL)
            mp_put_nil(out);
        return 0;
    }
    char op = *reader->at++;
    bool equal = *reader->at == '=';
    reader->at += equal;
    if ((op != '<' && op != '>' && op != '=') || (op == '=' && !equal))
        return wrong(reader, "an operator is expected");
    rc = sum(reader, &other, &right);
    blanks(reader);
    if (rc == 0 && *reader->at != '\0')
        rc = wrong(reader, "there is more behind");
    if (rc == 0 && !(number && other))
        rc = wrong(reader, "attempt to compare what is no number");
    if (rc == 0 && out != NULL)
        mp_put_bool(out, (equal && left == right) || (op == '<' && left < right) ||
                             (op == '>' && left > right));
    return rc;
}

static int evaluate(void *arg, const struct expression *expression, const struct space *space,
                    const char *tuple, struct mp_buffer *out)
{
    (void)arg;
    struct reader reader = {
        .at = expression->text, .expression = expression, .space = space, .tuple = tuple};
    mp_put_array(out, 1);
    return value(&reader, out);
}

static int check(void *arg, const struct expression *expression)
{
    (void)arg;
    struct reader reader = {.at = expression->text, .expression = expression, .compile = true};
    return value(&reader, NULL);
}

const struct db_expressions *expression_fixture(void)
{
    static const struct db_expressions expressions = {.evaluate = evaluate, .check = check};
    return &expressions;
}
