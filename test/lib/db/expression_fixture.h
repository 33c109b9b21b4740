/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_DB_EXPRESSION_FIXTURE_H
#define TEST_LIB_DB_EXPRESSION_FIXTURE_H

/*
 * A small evaluator for definitions that contain expressions, in the place of Lua, which db has not
 * got. A text is a sum or a comparison of names of fields and numbers:
 *
 *      id + a        a < 10        a >= b        a        5
 *
 * Nil or another type in a sum, or compared by order, is ERROR_LUA.
 */
#include "db/expression.h"

const struct db_expressions *expression_fixture(void);

#endif
