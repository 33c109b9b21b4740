/* SPDX-License-Identifier: Apache-2.0 */

/* The published table of commands: that it is in order and agrees with what is run, which arguments
 * are keys, and the grammar of arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "redis/redis.h"
#include "redis/redis_spec.h"

static void every_row_is_found_by_its_name(void **state)
{
    (void)state;
    const struct redis_spec *spec;
    unsigned n = 0;
    for (; (spec = redis_spec_at(n)) != NULL; n++)
        assert_ptr_equal(redis_spec_find(spec->name), spec);
    assert_true(n > 300);
    assert_null(redis_spec_find("nosuch"));
    assert_null(redis_spec_find("GET"));
}

static void each_data_command_is_published_as_it_is_run(void **state)
{
    (void)state;
    const struct redis_command *command;
    for (unsigned n = 0; (command = redis_command_at(n)) != NULL; n++) {
        const struct redis_spec *spec = redis_spec_find(command->name);
        assert_non_null(spec);
        /* Who publishes writes to no key; of XGROUP its subcommands have flags. */
        if (!(spec->flags & SPEC_PUBSUB) && strcmp(command->name, "xgroup") != 0)
            assert_int_equal(!!(spec->flags & SPEC_WRITE), !!(command->flags & REDIS_WRITE));
        assert_int_equal(spec->arity, command->arity);
    }
}

static int check(const char *name, struct redis_slice part)
{
    const struct redis_slice argv[2] = {{name, strlen(name)}, part};
    return redis_command_check(redis_command_find(name, strlen(name)), argv, 2);
}

static void a_subcommand_is_all_of_its_word(void **state)
{
    (void)state;
    static const char *const names[] = {"object", "xgroup", "xinfo"};
    for (unsigned n = 0; n < sizeof names / sizeof *names; n++) {
        assert_int_equal(check(names[n], (struct redis_slice){"Help", 4}), 0);
        assert_int_equal(check(names[n], (struct redis_slice){"help\0", 5}), ERROR_INVALID);
        assert_int_equal(check(names[n], (struct redis_slice){"hel", 3}), ERROR_INVALID);
        assert_int_equal(check(names[n], (struct redis_slice){"", 0}), ERROR_INVALID);
    }
}

static void categories_follow_from_flags_and_from_the_row(void **state)
{
    (void)state;
    assert_int_equal(redis_spec_categories(redis_spec_find("get")),
                     CATEGORY_READ | CATEGORY_STRING | CATEGORY_FAST);
    assert_int_equal(redis_spec_categories(redis_spec_find("flushall")),
                     CATEGORY_WRITE | CATEGORY_KEYSPACE | CATEGORY_SLOW | CATEGORY_DANGEROUS);
    assert_int_equal(redis_spec_categories(redis_spec_find("eval_ro")),
                     CATEGORY_SCRIPTING | CATEGORY_SLOW);
    assert_int_equal(redis_spec_categories(redis_spec_find("blpop")),
                     CATEGORY_WRITE | CATEGORY_LIST | CATEGORY_SLOW | CATEGORY_BLOCKING);
    assert_string_equal(redis_category_name(0), "keyspace");
    assert_string_equal(redis_category_name(20), "scripting");
    assert_null(redis_category_name(21));
    assert_string_equal(redis_spec_flag_name(18), "movablekeys");
    assert_null(redis_spec_flag_name(19));
}

/* "1:RO,access 3:.." of a call, "wrong" when its arguments are. */
static const char *keys_of(const char *call)
{
    static char words[256], text[512];
    struct redis_slice argv[32];
    struct redis_key_at keys[32];
    unsigned argc = 0;
    snprintf(words, sizeof words, "%s", call);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        argv[argc++] = (struct redis_slice){word, strlen(word)};
    int count = redis_spec_keys(redis_spec_find(words), argv, argc, keys, 32);
    text[0] = 0;
    for (int n = 0; n < count; n++) {
        sprintf(text + strlen(text), "%s%u:", n ? " " : "", keys[n].at);
        for (unsigned flag = 0; redis_key_flag_name(flag); flag++)
            if (keys[n].flags & 1u << flag)
                sprintf(text + strlen(text), "%s,", redis_key_flag_name(flag));
        text[strlen(text) - 1] = 0;
    }
    return count < 0 ? "wrong" : text;
}

static void keys_are_found_as_redis_finds_them(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"get k", "1:RO,access"},
        {"mset a 1 b 2", "1:OW,update 3:OW,update"},
        {"set k v", "1:OW,update"},
        {"set k v get", "1:RW,access,update"},
        {"eval script 2 a b c", "3:RW,access,update 4:RW,access,update"},
        {"eval script 3 a b", "wrong"},
        {"eval script x a b", "wrong"},
        {"zunionstore d 2 a b weights 1 2", "1:OW,update 3:RO,access 4:RO,access"},
        {"xread count 1 streams a b 0 0", "4:RO,access 5:RO,access"},
        {"sort k by x* get y* store d", "1:RO,access 7:OW,update"},
        {"sort k limit 0 store", "1:RO,access"},
        {"georadius k 1 1 1 m store d", "1:RO,access 7:OW,update"},
        {"bitfield k get u8 0", "1:RO,access"},
        {"bitfield k get u8 0 set u8 0 1", "1:RW,access,update"},
        {"bitfield k overflow wrap incrby u8 0 1", "1:RW,access,update"},
        {"bitop and d a b", "2:OW,update 3:RO,access 4:RO,access"},
        {"rename a b", "1:RW,access,delete 2:OW,update"},
        {"lmpop 2 a b left", "2:RW,access,delete 3:RW,access,delete"},
    };
    for (unsigned n = 0; n < sizeof CASES / sizeof *CASES; n++)
        assert_string_equal(keys_of(CASES[n][0]), CASES[n][1]);
}

static void more_keys_than_there_is_room_for_are_counted(void **state)
{
    (void)state;
    const struct redis_slice argv[] = {{"del", 3}, {"a", 1}, {"b", 1}, {"c", 1}};
    struct redis_key_at key;
    assert_int_equal(redis_spec_keys(redis_spec_find("del"), argv, 4, &key, 1), 3);
    assert_int_equal(key.at, 1);
}

static void arguments_are_read_part_by_part(void **state)
{
    (void)state;
    const char *text = "@0:key |cond(!nx=NX !xx=XX)^2.6.12? +more=MORE($a #b='* '?)?** $c*";
    size_t size = strlen(text);
    struct redis_argument argument;
    assert_true(redis_argument_next(&text, &size, &argument));
    assert_string_equal(argument.type, "key");
    assert_int_equal(argument.key_spec, 0);
    assert_memory_equal(argument.name, "key", 3);
    assert_false(argument.optional);
    assert_true(redis_argument_next(&text, &size, &argument));
    assert_string_equal(argument.type, "oneof");
    assert_int_equal(argument.parts_size, strlen("!nx=NX !xx=XX"));
    assert_memory_equal(argument.since, "2.6.12", 6);
    assert_int_equal(argument.since_size, 6);
    assert_true(argument.optional);
    assert_true(redis_argument_next(&text, &size, &argument));
    assert_string_equal(argument.type, "block");
    assert_int_equal(argument.token_size, 4);
    assert_true(argument.multiple_token);
    const char *parts = argument.parts;
    size_t parts_size = argument.parts_size;
    struct redis_argument part;
    assert_true(redis_argument_next(&parts, &parts_size, &part));
    assert_null(part.token);
    assert_true(redis_argument_next(&parts, &parts_size, &part));
    assert_string_equal(part.type, "integer");
    assert_memory_equal(part.token, "* ", 2);
    assert_true(part.optional);
    assert_false(redis_argument_next(&parts, &parts_size, &part));
    assert_true(redis_argument_next(&text, &size, &argument));
    assert_true(argument.multiple);
    assert_false(argument.multiple_token);
    assert_false(redis_argument_next(&text, &size, &argument));
}

static void parts_read(const char *text, size_t size)
{
    struct redis_argument argument;
    while (redis_argument_next(&text, &size, &argument)) {
        assert_true(argument.name_size > 0);
        if (argument.parts)
            parts_read(argument.parts, argument.parts_size);
    }
}

static void the_keys_and_arguments_of_every_row_can_be_read(void **state)
{
    (void)state;
    const struct redis_spec *spec;
    for (unsigned n = 0; (spec = redis_spec_at(n)) != NULL; n++) {
        struct redis_key_spec key;
        for (const char *at = spec->keys; redis_key_spec_next(&at, &key);)
            assert_true(key.flags != 0);
        if (spec->arguments)
            parts_read(spec->arguments, strlen(spec->arguments));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_its_name),
        cmocka_unit_test(each_data_command_is_published_as_it_is_run),
        cmocka_unit_test(a_subcommand_is_all_of_its_word),
        cmocka_unit_test(categories_follow_from_flags_and_from_the_row),
        cmocka_unit_test(keys_are_found_as_redis_finds_them),
        cmocka_unit_test(more_keys_than_there_is_room_for_are_counted),
        cmocka_unit_test(arguments_are_read_part_by_part),
        cmocka_unit_test(the_keys_and_arguments_of_every_row_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
