/* SPDX-License-Identifier: Apache-2.0 */
/* Update operations where types meet that Lua's specs (test/lua/update_spec.lua) do not write down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/db_fixture.h"
#include "storage/engines.h"

/* Decimals: scale, digits, sign. */
#define D_0_1     "{\"$ext\":1,\"data\":\"ARw=\"}"
#define D_0_2     "{\"$ext\":1,\"data\":\"ASw=\"}"
#define D_LARGEST "{\"$ext\":1,\"data\":\"AAmZmZmZmZmZmZmZmZmZmZmZmZmc\"}"

static struct db_fixture f;

static int setup(void **state)
{
    db_fixture_open(&f);
    f.engine = *state;
    assert_int_equal(0, make_space(&f, "s", "{}"));
    assert_int_equal(0, make_index(&f, "s", "pk", "{\"parts\": [[1, \"unsigned\"]]}"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

static void assert_update(const char *tuple, const char *ops, const char *expected)
{
    assert_int_equal(0, replace(&f, NULL, "s", tuple));
    int rc = update_by(&f, NULL, "s", "pk", "[1]", ops);
    if (rc != 0)
        fail_msg("%s: %s", ops, diag_message());
    assert_string_equal(expected, get_by(&f, NULL, "s", "pk", "[1]"));
}

static void assert_refused(const char *tuple, const char *ops, const char *words)
{
    assert_int_equal(0, replace(&f, NULL, "s", tuple));
    assert_int_equal(ERROR_INVALID, update_by(&f, NULL, "s", "pk", "[1]", ops));
    if (strstr(diag_message(), words) == NULL)
        fail_msg("%s: %s", ops, diag_message());
}

static void decimals_make_decimals_of_other_numbers(void **state)
{
    (void)state;
    assert_update("[1," D_0_1 "]", "[[\"+\",2," D_0_2 "]]", "[1,0.3]");
    assert_update("[1," D_0_1 "]", "[[\"+\",2,1]]", "[1,1.1]");
    assert_update("[1,1]", "[[\"+\",2," D_0_1 "]]", "[1,1.1]");
    assert_update("[1," D_0_1 "]", "[[\"+\",2,0.5]]", "[1,0.6]");
    assert_update("[1," D_0_1 "]", "[[\"-\",2," D_0_2 "]]", "[1,-0.1]");
    assert_update("[1,{\"a\":[" D_0_1 "]}]", "[[\"+\",\"[2].a[1]\"," D_0_2 "]]",
                  "[1,{\"a\":[0.3]}]");
}

static void what_a_decimal_can_not_hold_is_refused(void **state)
{
    (void)state;
    assert_refused("[1," D_LARGEST "]", "[[\"+\",2,1]]", "decimal overflow");
    assert_refused("[1," D_0_1 "]", "[[\"+\",2,\"x\"]]", "must be numbers");
    assert_refused("[1," D_0_1 "]", "[[\"&\",2,1]]", "unsigned integers");
}

static void integers_that_do_not_fit_are_refused_and_doubles_are_not_exact(void **state)
{
    (void)state;
    assert_refused("[1,9223372036854775807]",
                   "[[\"+\",2,9223372036854775807],[\"+\",2,9223372036854775807]]",
                   "'+' on field 2: integer overflow");
    assert_update("[1,9223372036854775807]", "[[\"+\",2,1],[\"-\",2,1]]",
                  "[1,9223372036854775807]");
    assert_update("[1,9007199254740993]", "[[\"+\",2,0.0]]", "[1,9007199254740992.0]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(decimals_make_decimals_of_other_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_decimal_can_not_hold_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(
            integers_that_do_not_fit_are_refused_and_doubles_are_not_exact, setup, teardown),
    };
    return engines_run_all("updates", tests, sizeof tests / sizeof *tests);
}
