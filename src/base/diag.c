/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The diagnostics area: one code and one message a thread, in thread-local storage.
 *
 * Every message is formatted aside first and copied afterwards, so that the present message may be
 * an argument of the next one. A message that is too long is cut between two UTF-8 characters.
 */
#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

struct diag {
    int code;
    char message[DIAG_MESSAGE_MAX + 1];
};

static _Thread_local struct diag diag;

/* Cuts `text` to at most `max` bytes without dividing a UTF-8 character. */
static void diag_cut(char *text, size_t max)
{
    if (strlen(text) <= max)
        return;
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    text[max] = '\0';
}

/* One byte more than a message may have, so that diag_cut sees what the next character is. */
struct diag_text {
    char bytes[DIAG_MESSAGE_MAX + 2];
};

static void diag_append(struct diag_text *text, const char *tail)
{
    size_t length = strlen(text->bytes);
    snprintf(text->bytes + length, sizeof(text->bytes) - length, "%s", tail);
}

static void diag_store(int code, struct diag_text *text)
{
    diag_cut(text->bytes, DIAG_MESSAGE_MAX);
    diag.code = code;
    memcpy(diag.message, text->bytes, strlen(text->bytes) + 1);
}

static void diag_format(struct diag_text *text, const char *format, va_list arguments)
{
    text->bytes[0] = '\0';
    vsnprintf(text->bytes, sizeof(text->bytes), format, arguments);
}

int diag_set(int code, const char *format, ...)
{
    struct diag_text text;
    va_list arguments;
    va_start(arguments, format);
    diag_format(&text, format, arguments);
    va_end(arguments);
    diag_store(code, &text);
    return code;
}

int diag_set_errno(int code, int error, const char *format, ...)
{
    struct diag_text text;
    va_list arguments;
    va_start(arguments, format);
    diag_format(&text, format, arguments);
    va_end(arguments);
    char buffer[128];
    diag_append(&text, ": ");
    diag_append(&text, strerror_r(error, buffer, sizeof(buffer)));
    diag_store(code, &text);
    return code;
}

int diag_add(const char *format, ...)
{
    struct diag_text text;
    va_list arguments;
    va_start(arguments, format);
    diag_format(&text, format, arguments);
    va_end(arguments);
    if (diag.message[0] != '\0') {
        diag_append(&text, ": ");
        diag_append(&text, diag.message);
    }
    diag_store(diag.code, &text);
    return diag.code;
}

const char *diag_message(void)
{
    return diag.message;
}

int diag_code(void)
{
    return diag.code;
}

const char *diag_message_for(int code)
{
    if (diag.code == code && diag.message[0] != '\0')
        return diag.message;
    return error_text(code);
}

void diag_clear(void)
{
    diag.code = 0;
    diag.message[0] = '\0';
}
