/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands that installed modules register: looked up when the server's own table has none of the
 * name, and run as CALL of the procedure that the manifest names.
 *
 * Each worker keeps what the catalog's picture says of them, and reads it again when the schema has
 * changed. An entry is never freed before the worker, since a request that waits still points to it:
 * one whose module has gone is only marked, and used again when the name comes back.
 */
#include <ctype.h>
#include <stdlib.h>

#include "db/catalog.h"
#include "session/session_internal.h"

struct session_module_command {
    struct session_command command; /* first: what requests point to */
    char *text;                     /* what the strings of it point into */
    const char *procedure, *module;
    bool installed;
    struct session_module_command *next;
};

static struct session_module_command *of_name(const struct session_modules *modules,
                                              const char *name, size_t size)
{
    for (struct session_module_command *entry = modules->first; entry; entry = entry->next)
        if (strncasecmp(entry->command.name, name, size) == 0 && entry->command.name[size] == 0)
            return entry;
    return NULL;
}

static bool read_text(const char *map, const char *name, const char **text, uint32_t *size)
{
    const char *value = mp_map_find(map, name);
    *text = "";
    *size = 0;
    if (!value || mp_typeof(*value) != MP_STR)
        return false;
    *text = mp_decode_str(&value, size);
    return true;
}

static int read_int(const char *map, const char *name, int otherwise)
{
    const char *value = mp_map_find(map, name);
    int64_t number;
    return value && mp_read_int(&value, &number) && number > -1000 && number < 1000 ? (int)number
                                                                                    : otherwise;
}

/* keys = {first, last, step} */
static void read_keys(const char *map, struct session_command *command)
{
    const char *keys = mp_map_find(map, "keys");
    int64_t numbers[3] = {0, 0, 1};
    if (!keys || mp_typeof(*keys) != MP_ARRAY)
        return;
    uint32_t count = mp_decode_array(&keys);
    for (uint32_t n = 0; n < count && n < 3; n++)
        if (!mp_read_int(&keys, &numbers[n]))
            return;
    command->first_key = (int)numbers[0];
    command->last_key = (int)(count > 1 ? numbers[1] : numbers[0]);
    command->key_step = (int)numbers[2];
}

static const char *copy(char **to, const char *text, size_t size, bool lower)
{
    char *start = *to;
    for (size_t i = 0; i < size; i++)
        start[i] = lower ? (char)tolower((unsigned char)text[i]) : text[i];
    start[size] = 0;
    *to = start + size + 1;
    return start;
}

struct given {
    const char *text;
    uint32_t size;
};

/* Fills the entry in. Without memory it stays as it was, and not installed. */
static void entry_set(struct session_module_command *entry, const struct given *name,
                      const struct given *module, const char *definition)
{
    struct given procedure, summary, since;
    read_text(definition, "procedure", &procedure.text, &procedure.size);
    read_text(definition, "summary", &summary.text, &summary.size);
    if (!read_text(definition, "since", &since.text, &since.size))
        since = (struct given){"1.0.0", 5};
    char *text =
        malloc((size_t)name->size + module->size + procedure.size + summary.size + since.size + 5);
    if (!text)
        return;
    struct session_command *command = &entry->command;
    char *end = text;
    command->name = copy(&end, name->text, name->size, true);
    command->summary = copy(&end, summary.text, summary.size, false);
    command->since = copy(&end, since.text, since.size, false);
    entry->procedure = copy(&end, procedure.text, procedure.size, false);
    entry->module = copy(&end, module->text, module->size, false);
    free(entry->text);
    entry->text = text;
    command->arity = read_int(definition, "arity", -1);
    read_keys(definition, command);
    entry->installed = true;
}

static void command_read(struct session_worker *worker, const struct given *module,
                         const struct given *name, const char *definition)
{
    struct session_modules *modules = &worker->modules;
    if (mp_typeof(*definition) != MP_MAP ||
        service__command_find(worker->service, name->text, name->size))
        return;
    struct session_module_command *entry = of_name(modules, name->text, name->size);
    if (!entry) {
        if (!(entry = calloc(1, sizeof *entry)))
            return;
        const struct session_command *call = service__command_find(worker->service, "call", 4);
        entry->command.flags = call->flags;
        entry->command.group = "module";
        entry->command.run = session__module_run;
        entry->command.number = call->number; /* counted as calls of procedures */
        entry_set(entry, name, module, definition);
        if (!entry->installed) {
            free(entry);
            return;
        }
        entry->next = modules->first;
        modules->first = entry;
    } else {
        entry_set(entry, name, module, definition);
    }
}

static void module_read(struct session_worker *worker, const char *tuple)
{
    struct given module, name;
    const char *text = mp_array_at(tuple, 2), *manifest = mp_array_at(tuple, 4);
    module.text = mp_decode_str(&text, &module.size);
    const char *commands = manifest ? mp_map_find(manifest, "commands") : NULL;
    if (!commands || mp_typeof(*commands) != MP_MAP)
        return;
    for (uint32_t count = mp_decode_map(&commands); count > 0; count--) {
        if (mp_typeof(*commands) != MP_STR)
            return;
        name.text = mp_decode_str(&commands, &name.size);
        command_read(worker, &module, &name, commands);
        mp_next(&commands);
    }
}

/* Reads the manifests again if the schema has changed. */
static void modules_refresh(struct session_worker *worker)
{
    struct session_modules *modules = &worker->modules;
    uint64_t version = db_schema_version(worker->db);
    if (modules->schema_version == version)
        return;
    modules->schema_version = version;
    modules->count = 0;
    for (struct session_module_command *entry = modules->first; entry; entry = entry->next)
        entry->installed = false;
    const struct catalog *catalog = db_catalog(worker->db);
    for (uint32_t n = 0; n < catalog_record_count(catalog, CATALOG_MODULE); n++)
        module_read(worker, catalog_record_at(catalog, CATALOG_MODULE, n)->tuple);
    for (struct session_module_command *entry = modules->first; entry; entry = entry->next)
        modules->count += entry->installed;
}

const struct session_command *session__module_command(struct session_worker *worker,
                                                      const char *name, size_t size)
{
    modules_refresh(worker);
    const struct session_module_command *entry = of_name(&worker->modules, name, size);
    return entry && entry->installed ? &entry->command : NULL;
}

const struct session_command *session__module_next(struct session_worker *worker,
                                                   const struct session_command *before)
{
    const struct session_module_command *entry;
    if (before) {
        entry = ((const struct session_module_command *)(const void *)before)->next;
    } else {
        modules_refresh(worker);
        entry = worker->modules.first;
    }
    while (entry && !entry->installed)
        entry = entry->next;
    return entry ? &entry->command : NULL;
}

unsigned session__module_count(struct session_worker *worker)
{
    modules_refresh(worker);
    return worker->modules.count;
}

const char *session__module_of(const struct session_command *command)
{
    return command->run == session__module_run
               ? ((const struct session_module_command *)(const void *)command)->module
               : NULL;
}

int session__module_run(struct session *session, struct session_request *request)
{
    const struct session_module_command *entry =
        (const struct session_module_command *)(const void *)request->command;
    return session__procedure_run(session, request, entry->procedure, 1);
}

void session__modules_destroy(struct session_modules *modules)
{
    while (modules->first) {
        struct session_module_command *entry = modules->first;
        modules->first = entry->next;
        free(entry->text);
        free(entry);
    }
}
