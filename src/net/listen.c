/* SPDX-License-Identifier: Apache-2.0 */

/* The list of addresses, from text. Words are taken from the back, as long as they are known: the path
 * of a socket may have spaces in it. */
#include "net/listen.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum { ENTRY_BYTES_MAX = 255 };

static const char SPACES[] = " \t\n";

static bool mode_parse(const char *digits, int *out)
{
    size_t size = strlen(digits);
    if (size < 3 || size > 4 || strspn(digits, "01234567") != size)
        return false;
    long mode = strtol(digits, NULL, 8);
    *out = (int)mode;
    return mode <= 0777;
}

/* 1: the word says something about the entry; 0: it is part of the address. */
static int word_take(const char *word, struct listen_entry *entry)
{
    if (strcmp(word, "tls") == 0)
        entry->tls = true;
    else if (strcmp(word, "proxy") == 0)
        entry->proxy = true;
    else if (strncmp(word, "mode=", 5) != 0)
        return 0;
    else if (!mode_parse(word + 5, &entry->mode))
        return diag_set(ERROR_INVALID, "'%s' is no mode: write three octal digits, as mode=660",
                        word);
    return 1;
}

/* `text` is one entry, without spaces around it; it is cut up. */
static int entry_parse(char *text, struct listen_entry *out)
{
    *out = (struct listen_entry){.mode = -1};
    for (;;) {
        char *space = strpbrk(text, SPACES);
        for (char *next; space && (next = strpbrk(space + 1, SPACES)) != NULL;)
            space = next;
        int rc = space ? word_take(space + 1, out) : 0;
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        while (space > text && strchr(SPACES, space[-1]))
            space--;
        *space = 0;
    }
    bool path = strncmp(text, "unix:", 5) == 0;
    if (!path && strpbrk(text, SPACES))
        return diag_set(ERROR_INVALID,
                        "'%s': behind an address there may be tls, proxy and mode=660; between "
                        "addresses there are commas",
                        text);
    if (out->mode >= 0 && !path)
        return diag_set(ERROR_INVALID, "'%s' has no mode: only unix:PATH has one", text);
    if (strlen(text) > ADDRESS_TEXT_MAX)
        return diag_set(ERROR_INVALID, "'%s' is too long for an address", text);
    memcpy(out->address, text, strlen(text) + 1);
    return 0;
}

int listen_parse(const char *text, struct listen_entry out[LISTEN_MAX], unsigned *count)
{
    const char *at = text;
    *count = 0;
    do {
        char entry[ENTRY_BYTES_MAX + 1];
        at += strspn(at, SPACES);
        const char *start = at;
        at += strcspn(at, ",");
        size_t size = (size_t)(at - start);
        while (size > 0 && strchr(SPACES, start[size - 1]))
            size--;
        if (size == 0)
            return diag_set(ERROR_INVALID, "an address is missing in '%s'", text);
        if (size > ENTRY_BYTES_MAX)
            return diag_set(ERROR_INVALID, "'%.40s...' is too long for an address", start);
        if (*count == LISTEN_MAX)
            return diag_set(ERROR_INVALID, "there can be %d addresses at most", LISTEN_MAX);
        memcpy(entry, start, size);
        entry[size] = 0;
        int rc = entry_parse(entry, &out[*count]);
        if (rc)
            return rc;
        ++*count;
    } while (*at++);
    return 0;
}
