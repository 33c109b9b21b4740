/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The diagnostics area: what is set is read back, context goes in front, and each thread has its
 * own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

static int clear(void **state)
{
    (void)state;
    diag_clear();
    return 0;
}

static void the_area_holds_code_and_message_of_the_last_error(void **state)
{
    (void)state;
    assert_int_equal(diag_set(ERROR_IO, "first"), ERROR_IO);
    assert_int_equal(diag_set(ERROR_INVALID, "bad %s %d", "number", 7), ERROR_INVALID);
    assert_int_equal(diag_code(), ERROR_INVALID);
    assert_string_equal(diag_message(), "bad number 7");
    diag_clear();
    assert_int_equal(diag_code(), 0);
    assert_string_equal(diag_message(), "");
}

static void context_goes_in_front_and_keeps_the_code(void **state)
{
    (void)state;
    diag_set(ERROR_CORRUPT, "checksum differs");
    assert_int_equal(diag_add("block %d", 3), ERROR_CORRUPT);
    diag_add("log");
    assert_string_equal(diag_message(), "log: block 3: checksum differs");
}

static void context_without_a_message_is_the_message(void **state)
{
    (void)state;
    diag_add("alone");
    assert_string_equal(diag_message(), "alone");
    assert_int_equal(diag_code(), 0);
}

static void a_system_error_is_appended_as_text(void **state)
{
    (void)state;
    assert_int_equal(diag_set_errno(ERROR_IO, ENOENT, "open %s", "x"), ERROR_IO);
    assert_string_equal(diag_message(), "open x: No such file or directory");
}

static void the_present_message_may_be_part_of_the_next(void **state)
{
    (void)state;
    diag_set(ERROR_IO, "inner");
    diag_set(ERROR_LUA, "outer(%s)", diag_message());
    assert_string_equal(diag_message(), "outer(inner)");
    diag_add("%s", diag_message());
    assert_string_equal(diag_message(), "outer(inner): outer(inner)");
}

static void a_long_message_is_cut(void **state)
{
    (void)state;
    char text[2 * DIAG_MESSAGE_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    diag_set(ERROR_INVALID, "%s", text);
    assert_int_equal(strlen(diag_message()), DIAG_MESSAGE_MAX);
    diag_add("front");
    assert_int_equal(strlen(diag_message()), DIAG_MESSAGE_MAX);
    assert_memory_equal(diag_message(), "front: xxx", 10);
    text[DIAG_MESSAGE_MAX] = '\0';
    diag_set(ERROR_INVALID, "%s", text);
    assert_string_equal(diag_message(), text);
}

static void a_cut_does_not_divide_a_character(void **state)
{
    (void)state;
    char text[DIAG_MESSAGE_MAX + 16];
    memset(text, 'x', sizeof(text));
    strcpy(text + DIAG_MESSAGE_MAX - 1, "\xe2\x82\xac and more");
    diag_set(ERROR_INVALID, "%s", text);
    assert_int_equal(strlen(diag_message()), DIAG_MESSAGE_MAX - 1);
    memcpy(text + DIAG_MESSAGE_MAX - 3, "\xe2\x82\xac!", 4);
    diag_set(ERROR_INVALID, "%s", text);
    assert_int_equal(strlen(diag_message()), DIAG_MESSAGE_MAX);
}

static void a_message_of_another_error_is_not_used(void **state)
{
    (void)state;
    diag_set(ERROR_IO, "disk on fire");
    assert_string_equal(diag_message_for(ERROR_IO), "disk on fire");
    assert_string_equal(diag_message_for(ERROR_EXISTS), error_text(ERROR_EXISTS));
}

static void *other_thread(void *message_length)
{
    *(size_t *)message_length = strlen(diag_message());
    diag_set(ERROR_BUSY, "other");
    return NULL;
}

static void each_thread_has_an_area_of_its_own(void **state)
{
    (void)state;
    diag_set(ERROR_IO, "mine");
    size_t length = 99;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &length), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(length, 0);
    assert_string_equal(diag_message(), "mine");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_area_holds_code_and_message_of_the_last_error, clear),
        cmocka_unit_test_setup(context_goes_in_front_and_keeps_the_code, clear),
        cmocka_unit_test_setup(context_without_a_message_is_the_message, clear),
        cmocka_unit_test_setup(a_system_error_is_appended_as_text, clear),
        cmocka_unit_test_setup(the_present_message_may_be_part_of_the_next, clear),
        cmocka_unit_test_setup(a_long_message_is_cut, clear),
        cmocka_unit_test_setup(a_cut_does_not_divide_a_character, clear),
        cmocka_unit_test_setup(a_message_of_another_error_is_not_used, clear),
        cmocka_unit_test_setup(each_thread_has_an_area_of_its_own, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
