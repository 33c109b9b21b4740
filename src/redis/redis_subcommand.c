/* SPDX-License-Identifier: Apache-2.0 */

/* Commands that are containers of others: XGROUP CREATE and the like. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_value.h"

static void upper(char *out, const char *name)
{
    for (; *name; name++)
        *out++ = (char)toupper((unsigned char)*name);
    *out = 0;
}

int redis__subcommand_unknown(struct redis_call *call, const char *command)
{
    char name[32];
    upper(name, command);
    return diag_set(
        ERROR_INVALID, "unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
        (int)(call->argv[1].size < 128 ? call->argv[1].size : 128), call->argv[1].data, name);
}

int redis__subcommand_run(struct redis_call *call, const struct redis_subcommand *subcommands)
{
    const struct redis_subcommand *sub = subcommands;
    while (!redis_word(call, 1, sub->name)) {
        sub++;
        ASSERT(sub->name); /* redis_command_check has found it */
    }
    return sub->run(call);
}

int redis__help_reply(struct redis_call *call, const char *const *lines, size_t count)
{
    call->sink->vtab->array(call->sink, count);
    for (size_t n = 0; n < count; n++)
        call->sink->vtab->status(call->sink, lines[n]);
    return 0;
}
