/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See options_file.h. The text is walked over by the tokens of Lua, as far as a table needs them:
 * comments, strings and brackets are passed over as a whole, so that a comma in one of them ends
 * no value.
 */
#include "server/options_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/options.h"

enum { FILE_BYTES_MAX = 1 << 20, FIELDS_MAX = 1024, NAME_MAX_BYTES = 64, NUMBER_DIGITS_MAX = 14 };

static const char NEW_FILE[] = "-- Written by CONFIG REWRITE.\nreturn {\n}\n";

/* ---------------------------------------------------------------------------------- text to read */

struct text {
    char *data; /* ends with a zero byte */
    size_t size;
};

struct scan {
    const char *text;
    size_t size, at;
};

struct field {
    char name[NAME_MAX_BYTES];
    size_t value, value_end; /* offsets */
};

struct table {
    struct field *fields;
    size_t count, close; /* offset of the closing brace */
    bool separated;      /* there is a separator behind the last field, or no field */
};

static bool at_end(const struct scan *scan)
{
    return scan->at >= scan->size;
}

static bool starts(const struct scan *scan, const char *with)
{
    size_t size = strlen(with);
    return scan->size - scan->at >= size && memcmp(scan->text + scan->at, with, size) == 0;
}

/* At `[[` or `[==[`: passes over it and what it encloses. False: it is none, or has no end. */
static bool long_bracket(struct scan *scan)
{
    size_t at = scan->at + 1, level = 0;
    if (scan->text[scan->at] != '[')
        return false;
    for (; scan->text[at] == '='; at++)
        level++;
    if (scan->text[at] != '[')
        return false;
    for (at++; at < scan->size; at++) {
        if (scan->text[at] != ']')
            continue;
        size_t same = 0;
        while (scan->text[at + 1 + same] == '=')
            same++;
        if (same == level && scan->text[at + 1 + same] == ']') {
            scan->at = at + level + 2;
            return true;
        }
    }
    return false;
}

/* At a quote. False: the string has no end on its line. */
static bool quoted(struct scan *scan)
{
    char quote = scan->text[scan->at];
    for (size_t at = scan->at + 1; at < scan->size && scan->text[at] != '\n'; at++) {
        if (scan->text[at] == quote) {
            scan->at = at + 1;
            return true;
        }
        at += scan->text[at] == '\\';
    }
    return false;
}

static void skip(struct scan *scan)
{
    for (;;) {
        while (isspace((unsigned char)scan->text[scan->at]))
            scan->at++;
        if (!starts(scan, "--"))
            return;
        scan->at += 2;
        if (!long_bracket(scan))
            scan->at += strcspn(scan->text + scan->at, "\n");
    }
}

static bool is_word(char letter)
{
    return isalnum((unsigned char)letter) || letter == '_';
}

static bool word(struct scan *scan, char out[NAME_MAX_BYTES])
{
    size_t size = 0;
    while (is_word(scan->text[scan->at + size]))
        size++;
    if (size == 0 || size >= NAME_MAX_BYTES || isdigit((unsigned char)scan->text[scan->at]))
        return false;
    memcpy(out, scan->text + scan->at, size);
    out[size] = 0;
    scan->at += size;
    return true;
}

static bool symbol(struct scan *scan, char which)
{
    skip(scan);
    if (scan->text[scan->at] != which)
        return false;
    scan->at++;
    return true;
}

/* `name` or `['name']`. */
static bool field_name(struct scan *scan, char out[NAME_MAX_BYTES])
{
    if (scan->text[scan->at] != '[')
        return word(scan, out);
    scan->at++;
    skip(scan);
    size_t start = scan->at;
    if ((scan->text[start] != '\'' && scan->text[start] != '"') || !quoted(scan))
        return false;
    size_t size = scan->at - start - 2;
    if (size >= NAME_MAX_BYTES || memchr(scan->text + start, '\\', size + 1))
        return false;
    memcpy(out, scan->text + start + 1, size);
    out[size] = 0;
    return symbol(scan, ']');
}

/* Passes over an expression: up to a separator or brace that belongs to the table. */
static bool field_value(struct scan *scan, struct field *field)
{
    unsigned depth = 0;
    skip(scan);
    field->value = field->value_end = scan->at;
    while (!at_end(scan)) {
        char letter = scan->text[scan->at];
        if (depth == 0 && (letter == ',' || letter == ';' || letter == '}'))
            return field->value_end > field->value;
        if (letter == '\'' || letter == '"') {
            if (!quoted(scan))
                return false;
        } else if (!long_bracket(scan)) {
            depth += letter == '(' || letter == '{' || letter == '[';
            if (letter == ')' || letter == '}' || letter == ']') {
                if (depth == 0)
                    return false;
                depth--;
            }
            scan->at++;
        }
        field->value_end = scan->at;
        skip(scan);
    }
    return false;
}

static bool fields_scan(struct scan *scan, struct table *table)
{
    table->separated = true;
    for (;;) {
        skip(scan);
        if (scan->text[scan->at] == '}') {
            table->close = scan->at++;
            return true;
        }
        if (!table->separated || table->count == FIELDS_MAX)
            return false;
        struct field *field = &table->fields[table->count];
        if (!field_name(scan, field->name) || !symbol(scan, '=') || !field_value(scan, field))
            return false;
        table->count++;
        table->separated = scan->text[scan->at] == ',' || scan->text[scan->at] == ';';
        scan->at += table->separated;
    }
}

/* The whole of a file; scan->at is where it is something else. */
static bool table_scan(struct scan *scan, struct table *table)
{
    char name[NAME_MAX_BYTES];
    if (starts(scan, "#"))
        scan->at += strcspn(scan->text, "\n");
    skip(scan);
    size_t start = scan->at;
    if (!word(scan, name) || strcmp(name, "return") != 0) {
        scan->at = start;
        return false;
    }
    if (!symbol(scan, '{') || !fields_scan(scan, table))
        return false;
    symbol(scan, ';');
    skip(scan);
    return at_end(scan);
}

/* --------------------------------------------------------------------------------- text to write */

/* Appends; after a failure it does nothing. */
struct output {
    char *data;
    size_t size;
    FILE *file;
};

static void put(struct output *out, const char *text, size_t size)
{
    fwrite(text, 1, size, out->file);
}

static bool is_number(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    return digits > 0 && digits <= NUMBER_DIGITS_MAX && value[digits] == 0 &&
           (*value != '0' || digits == 1);
}

static void put_value(struct output *out, const char *value)
{
    if (is_number(value)) {
        put(out, value, strlen(value));
        return;
    }
    put(out, "'", 1);
    for (; *value; value++) {
        unsigned char letter = (unsigned char)*value;
        if (letter == '\'' || letter == '\\')
            fprintf(out->file, "\\%c", letter);
        else if (letter < 32 || letter == 127)
            fprintf(out->file, "\\%03u", letter);
        else
            putc(letter, out->file);
    }
    put(out, "'", 1);
}

static const char *wanted(const struct options_pair *pairs, size_t count, const char *name)
{
    for (size_t n = 0; n < count; n++)
        if (strcmp(pairs[n].name, options_canonical(name)) == 0)
            return pairs[n].value;
    return NULL;
}

static bool has_field(const struct table *table, const char *name)
{
    for (size_t n = 0; n < table->count; n++)
        if (strcmp(options_canonical(table->fields[n].name), name) == 0)
            return true;
    return false;
}

/* With underscores, so that it need not be quoted. */
static void put_name(struct output *out, const char *name)
{
    for (; *name; name++)
        putc(*name == '-' ? '_' : *name, out->file);
}

/* Where the line begins on which the closing brace stands alone; or the brace. */
static size_t line_of_close(const struct text *old, size_t close)
{
    size_t at = close;
    while (at > 0 && (old->data[at - 1] == ' ' || old->data[at - 1] == '\t'))
        at--;
    return at > 0 && old->data[at - 1] == '\n' ? at : close;
}

static void put_new(struct output *out, const struct table *table, const struct options_pair *pairs,
                    size_t count, bool lines)
{
    bool first = true;
    for (size_t n = 0; n < count; n++) {
        if (has_field(table, pairs[n].name))
            continue;
        const char *before = lines ? "    " : !first ? ", " : table->count ? " " : "";
        fputs(before, out->file);
        put_name(out, pairs[n].name);
        fputs(" = ", out->file);
        put_value(out, pairs[n].value);
        if (lines)
            put(out, ",\n", 2);
        first = false;
    }
}

static void table_put(struct output *out, const struct text *old, const struct table *table,
                      const struct options_pair *pairs, size_t count)
{
    size_t done = 0, fresh = 0;
    for (size_t n = 0; n < count; n++)
        fresh += !has_field(table, pairs[n].name);
    for (size_t n = 0; n < table->count; n++) {
        const struct field *field = &table->fields[n];
        const char *value = wanted(pairs, count, field->name);
        size_t keep = value ? field->value : field->value_end;
        put(out, old->data + done, keep - done);
        if (value)
            put_value(out, value);
        done = field->value_end;
        if (n + 1 == table->count && fresh && !table->separated)
            put(out, ",", 1);
    }
    size_t line = line_of_close(old, table->close);
    put(out, old->data + done, line - done);
    put_new(out, table, pairs, count, line > 0 && old->data[line - 1] == '\n');
    put(out, old->data + line, old->size - line);
}

/* ------------------------------------------------------------------------------------- is it right */

/* Leaves the table that the text returns. */
static int table_run(lua_State *L, const struct text *text)
{
    if (luaL_loadbuffer(L, text->data, text->size, "=options") || lua_pcall(L, 0, 1, 0))
        return diag_set(ERROR_INVALID, "%s", lua_tostring(L, -1));
    if (!lua_istable(L, -1))
        return diag_set(ERROR_INVALID, "it has to return a table: return {name = value, ...}");
    return 0;
}

/* Whether each value of the table at `from` that is not to change is in that at `in`, and how many. */
static bool has_all(lua_State *L, int from, int in, const struct options_pair *pairs, size_t count,
                    size_t *seen)
{
    *seen = 0;
    for (lua_pushnil(L); lua_next(L, from); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING && wanted(pairs, count, lua_tostring(L, -2)))
            continue;
        ++*seen;
        lua_pushvalue(L, -2);
        lua_rawget(L, in);
        bool same = lua_rawequal(L, -1, -2);
        lua_pop(L, 1);
        if (!same)
            return false;
    }
    return true;
}

/* Whether the table says what the pair does, under each name that stands for it. */
static bool says(lua_State *L, int in, const struct options_pair *pair)
{
    bool found = false, same = true;
    for (lua_pushnil(L); lua_next(L, in); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !wanted(pair, 1, lua_tostring(L, -2)))
            continue;
        found = true;
        lua_pushvalue(L, -1); /* a conversion must not change the table */
        same = same && lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), pair->value) == 0;
        lua_pop(L, 1);
    }
    return found && same;
}

static int check(const struct text *old, const struct text *made, const struct options_pair *pairs,
                 size_t count)
{
    lua_State *L = luaL_newstate();
    if (!L)
        return diag_set(ERROR_MEMORY, "out of memory");
    size_t before, after;
    int rc = table_run(L, old);
    if (!rc)
        rc = table_run(L, made);
    bool same = !rc && has_all(L, 1, 2, pairs, count, &before) &&
                has_all(L, 2, 1, pairs, count, &after) && before == after;
    for (size_t n = 0; n < count && same; n++)
        same = says(L, 2, &pairs[n]);
    if (!rc && !same)
        rc = diag_set(ERROR_UNSUPPORTED, "what it computes can't be kept: write it by hand");
    lua_close(L);
    return rc;
}

/* ---------------------------------------------------------------------------------------- the file */

/* A file that is not there reads as one without options. */
static int file_read(const char *path, struct text *out, mode_t *mode)
{
    struct stat status;
    *mode = 0600;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        out->data = strdup(NEW_FILE);
        out->size = sizeof NEW_FILE - 1;
        return out->data ? 0 : diag_set(ERROR_MEMORY, "out of memory");
    }
    if (fd < 0)
        return diag_set_errno(ERROR_IO, errno, "it can't be read");
    int rc = 0;
    out->data = malloc(FILE_BYTES_MAX + 1);
    if (!out->data)
        rc = diag_set(ERROR_MEMORY, "out of memory");
    ssize_t size;
    while (!rc && (size = read(fd, out->data + out->size, FILE_BYTES_MAX - out->size)) != 0) {
        if (size < 0)
            rc = diag_set_errno(ERROR_IO, errno, "it can't be read");
        else
            out->size += (size_t)size;
    }
    if (!rc && out->size == FILE_BYTES_MAX)
        rc = diag_set(ERROR_UNSUPPORTED, "it is larger than %d bytes", FILE_BYTES_MAX);
    if (!rc && fstat(fd, &status) == 0)
        *mode = status.st_mode & 07777;
    close(fd);
    if (!rc)
        out->data[out->size] = 0;
    return rc;
}

static int folder_sync(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    close(fd);
    return rc;
}

static bool all_written(int fd, const struct text *text)
{
    for (size_t at = 0; at < text->size;) {
        ssize_t size = write(fd, text->data + at, text->size - at);
        if (size < 0 && errno != EINTR)
            return false;
        at += size > 0 ? (size_t)size : 0;
    }
    return true;
}

static int file_write(const char *path, const struct text *text, mode_t mode)
{
    char new_path[PATH_MAX + 8];
    snprintf(new_path, sizeof new_path, "%s.new", path);
    int fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return diag_set_errno(ERROR_IO, errno, "%s can't be made", new_path);
    bool done = fchmod(fd, mode) == 0 && all_written(fd, text) && fsync(fd) == 0;
    int error = errno;
    if (close(fd) && done) {
        done = false;
        error = errno;
    }
    if (done && (rename(new_path, path) || folder_sync(path))) {
        done = false;
        error = errno;
    }
    if (done)
        return 0;
    unlink(new_path);
    return diag_set_errno(ERROR_IO, error, "it can't be written");
}

static unsigned line_at(const struct scan *scan)
{
    unsigned line = 1;
    for (size_t n = 0; n < scan->at && n < scan->size; n++)
        line += scan->text[n] == '\n';
    return line;
}

/* What the file is to be; `made` is the caller's to free. */
static int rewrite(const struct text *old, const struct options_pair *pairs, size_t count,
                   struct text *made)
{
    struct table table = {.fields = calloc(FIELDS_MAX, sizeof *table.fields)};
    struct scan scan = {old->data, old->size, 0};
    struct output out = {NULL, 0, NULL};
    int rc = 0;
    if (!table.fields || !(out.file = open_memstream(&out.data, &out.size)))
        rc = diag_set(ERROR_MEMORY, "out of memory");
    else if (!table_scan(&scan, &table))
        rc = diag_set(ERROR_UNSUPPORTED,
                      "line %u: only a file that is `return {name = value, ...}` can be rewritten, "
                      "and this is a program: write it by hand",
                      line_at(&scan));
    if (!rc)
        table_put(&out, old, &table, pairs, count);
    free(table.fields);
    bool written = out.file && !ferror(out.file);
    if (out.file && fclose(out.file) != 0)
        written = false;
    if (!rc && !written)
        rc = diag_set(ERROR_MEMORY, "out of memory");
    *made = (struct text){out.data, out.size};
    return rc ? rc : check(old, made, pairs, count);
}

int options_file_rewrite(const char *path, const struct options_pair *pairs, size_t count)
{
    struct text old = {NULL, 0}, made = {NULL, 0};
    char real[PATH_MAX];
    mode_t mode;
    const char *at = realpath(path, real) ? real : path;
    int rc = file_read(at, &old, &mode);
    if (!rc)
        rc = rewrite(&old, pairs, count, &made);
    if (!rc)
        rc = file_write(at, &made, mode);
    free(old.data);
    free(made.data);
    if (rc)
        diag_add("%s", path);
    return rc;
}
