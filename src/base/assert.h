/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

/*
 * Assertions for what a programmer causes. They stay on in release builds; what the outside causes
 * is returned as an error instead.
 */
_Noreturn void assert_failed(const char *expression, const char *file, int line,
                             const char *function);

#define ASSERT(expression)               \
    (__builtin_expect(!!(expression), 1) \
         ? (void)0                       \
         : assert_failed(#expression, __FILE__, __LINE__, __func__))

#define STATIC_ASSERT(expression) _Static_assert(expression, #expression)

#endif
