/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "codec/json.h"
#include "codec/mp.h"
#include "codec/path.h"

/* The steps of a path as text: names, numbers, `*`; `!` where it is none. */
static const char *steps(const char *text)
{
    static char out[256];
    struct path path = {.text = text, .size = strlen(text)};
    size_t size = 0;
    out[0] = 0;
    for (;;) {
        struct path_step step = path_next(&path);
        const char *space = size > 0 ? " " : "";
        if (step.kind == PATH_END)
            return out;
        if (step.kind == PATH_NAME)
            size += (size_t)sprintf(out + size, "%s%.*s", space, (int)step.size, step.name);
        else if (step.kind == PATH_NUMBER)
            size += (size_t)sprintf(out + size, "%s%u", space, step.number);
        else
            size += (size_t)sprintf(out + size, "%s%s", space, step.kind == PATH_EACH ? "*" : "!");
        if (step.kind == PATH_BAD)
            return out;
    }
}

static void test_names_numbers_and_each_element_are_steps(void **state)
{
    (void)state;
    assert_string_equal("data address city", steps("data.address.city"));
    assert_string_equal("tags 2", steps("tags[2]"));
    assert_string_equal("3 x", steps("[3].x"));
    assert_string_equal("items * sku", steps("items[*].sku"));
    assert_string_equal("a key with.a dot", steps("[\"a key\"]['with.a dot']"));
    assert_string_equal("x", steps(".x"));
    assert_string_equal("", steps(""));
}

static void test_what_is_no_path_is_said_where_it_is_not(void **state)
{
    (void)state;
    static const char *const bad[] = {"a..b", "a.", "a[",  "a[1",   "a[0]",           "a[-1]",
                                      "a[]",  "1a", "a b", "a['x]", "a[99999999999]", "[*"};
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        assert_false(path_check(bad[n], strlen(bad[n]), NULL));
        const char *text = steps(bad[n]);
        assert_int_equal('!', text[strlen(text) - 1]);
    }
    unsigned each;
    assert_true(path_check("a[*].b[*]", 9, &each));
    assert_int_equal(2, each);
    assert_false(path_check("", 0, NULL));
}

static const char *at(const char *json, const char *text)
{
    static char copy[256];
    struct json_buffer packed, shown;
    json_buffer_create(&packed);
    json_buffer_create(&shown);
    assert_int_equal(0, json_to_msgpack(json, strlen(json), &packed));
    struct path path = {.text = text, .size = strlen(text)};
    const char *value = path_follow(&path, packed.data);
    if (value != NULL)
        assert_int_equal(0, json_from_msgpack(&shown, &value));
    snprintf(copy, sizeof copy, "%.*s", value == NULL ? 4 : (int)shown.size,
             value == NULL ? "none" : shown.data);
    json_buffer_destroy(&packed);
    json_buffer_destroy(&shown);
    return copy;
}

static void test_a_path_leads_into_maps_and_arrays(void **state)
{
    (void)state;
    const char *json = "[1, {\"a\": {\"b\": [10, 20]}, \"c.d\": 5}]";
    assert_string_equal("1", at(json, "[1]"));
    assert_string_equal("20", at(json, "[2].a.b[2]"));
    assert_string_equal("5", at(json, "[2]['c.d']"));
    assert_string_equal("none", at(json, "[3]"));
    assert_string_equal("none", at(json, "[2].a.x"));
    assert_string_equal("none", at(json, "[2].a.b.x"));
    assert_string_equal("none", at(json, "[1].a"));
    assert_string_equal("none", at(json, "[2].a.b[*]"));
    assert_string_equal("none", at(json, "[2]!"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_numbers_and_each_element_are_steps),
        cmocka_unit_test(test_what_is_no_path_is_said_where_it_is_not),
        cmocka_unit_test(test_a_path_leads_into_maps_and_arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
