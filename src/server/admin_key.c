/* SPDX-License-Identifier: Apache-2.0 */

/* See admin_key.h. Files of the folder are made readable for their owner only. */
#include "server/admin_key.h"

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/password.h"
#include "net/address.h"

static const char KEY_FILE[] = "admin.key", KEY_FILE_NEW[] = "admin.key.new";

int admin_key_make(struct io *io, char key[ADMIN_KEY_SIZE + 1])
{
    unsigned char bytes[ADMIN_KEY_SIZE / 2];
    struct io_file *file;
    if (password_random(bytes, sizeof bytes))
        return diag_set(ERROR_IO, "no random bytes for the key of the admin");
    for (size_t n = 0; n < sizeof bytes; n++)
        snprintf(key + 2 * n, 3, "%02x", bytes[n]);
    int rc = io_open(io, KEY_FILE_NEW, IO_WRITE | IO_CREATE | IO_TRUNCATE, &file);
    if (rc)
        return rc;
    rc = io_write(file, key, ADMIN_KEY_SIZE, 0);
    io_close(file);
    return rc ? rc : io_rename(io, KEY_FILE_NEW, KEY_FILE);
}

void admin_key_forget(struct io *io)
{
    io_unlink(io, KEY_FILE);
}

/* The first line of a file, without its end; false when there is none. */
static bool line_read(const char *dir, const char *name, char *out, int size)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return false;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool read = fgets(out, size, file) != NULL;
    fclose(file);
    if (read)
        out[strcspn(out, "\n")] = 0;
    return read;
}

static bool same_address(const char *left, const char *right)
{
    struct address addresses[2];
    char texts[2][ADDRESS_TEXT_MAX + 1];
    if (address_parse(left, &addresses[0]) || address_parse(right, &addresses[1]))
        return false;
    for (int n = 0; n < 2; n++) {
        address_reachable(&addresses[n]);
        address_format(&addresses[n], texts[n]);
    }
    return strcmp(texts[0], texts[1]) == 0;
}

bool admin_key_find(const char *dir, const char *address, char key[ADMIN_KEY_SIZE + 1])
{
    char listens[ADDRESS_TEXT_MAX + 2];
    return line_read(dir, "address", listens, sizeof listens) && same_address(listens, address) &&
           line_read(dir, KEY_FILE, key, ADMIN_KEY_SIZE + 1) && strlen(key) == ADMIN_KEY_SIZE;
}
