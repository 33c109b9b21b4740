/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lua patterns whose matching can be interrupted: string.find, match and gmatch's step for
 * untrusted code.
 *
 * LuaJIT's own matcher is one C call that may take exponential time (`('.-'):rep(40)` on a long
 * string) and in which no hook runs. This one, a backtracking matcher for the language that the
 * reference manual describes (Lua 5.1, section 5.4.1), counts its steps and looks at the deadline
 * every PATTERN_STEPS_CHECK of them.
 */
#include <ctype.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"

enum { PATTERN_CAPTURES_MAX = 32, PATTERN_DEPTH_MAX = 200, PATTERN_STEPS_CHECK = 1 << 16 };
enum { CAPTURE_OPEN = -1, CAPTURE_POSITION = -2 };

struct match {
    lua_State *L;
    struct lua_runtime *runtime;
    const char *subject, *subject_end, *pattern_end;
    size_t steps;
    unsigned depth;
    int count;
    struct {
        const char *start;
        ptrdiff_t size;
    } captures[PATTERN_CAPTURES_MAX];
};

static const char *match_here(struct match *m, const char *s, const char *p);

/* Counts work: a step, and as many as a stretch of bytes that is looked through is worth. */
static void steps(struct match *m, size_t count)
{
    m->steps += count;
    if (m->steps < PATTERN_STEPS_CHECK)
        return;
    m->steps = 0;
    if (lua__interrupted(m->runtime))
        lua__raise(m->L, m->runtime, ERROR_TIMEOUT);
}

static void step(struct match *m)
{
    steps(m, 1);
}

/* Behind the single-character class at p. */
static const char *class_end(struct match *m, const char *p)
{
    if (*p++ == '%') {
        if (p == m->pattern_end)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (p[-1] != '[')
        return p;
    if (p < m->pattern_end && *p == '^')
        p++;
    do { /* a ] that comes first is a plain one */
        if (p == m->pattern_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
        if (*p++ == '%' && p < m->pattern_end)
            p++;
    } while (p == m->pattern_end || *p != ']');
    return p + 1;
}

static bool in_letter_class(unsigned char c, unsigned char letter)
{
    bool in;
    switch (tolower(letter)) {
    case 'a':
        in = isalpha(c);
        break;
    case 'c':
        in = iscntrl(c);
        break;
    case 'd':
        in = isdigit(c);
        break;
    case 'g':
        in = isgraph(c);
        break;
    case 'l':
        in = islower(c);
        break;
    case 'p':
        in = ispunct(c);
        break;
    case 's':
        in = isspace(c);
        break;
    case 'u':
        in = isupper(c);
        break;
    case 'w':
        in = isalnum(c);
        break;
    case 'x':
        in = isxdigit(c);
        break;
    case 'z':
        in = c == 0;
        break;
    default:
        return letter == c;
    }
    return islower(letter) ? in : !in;
}

/* p is at '[', last at the ']' that ends the set. */
static bool in_set(unsigned char c, const char *p, const char *last)
{
    bool found = true;
    if (p[1] == '^') {
        found = false;
        p++;
    }
    while (++p < last) {
        if (*p == '%') {
            if (in_letter_class(c, (unsigned char)*++p))
                return found;
        } else if (p[1] == '-' && p + 2 < last) {
            p += 2;
            if ((unsigned char)p[-2] <= c && c <= (unsigned char)*p)
                return found;
        } else if ((unsigned char)*p == c) {
            return found;
        }
    }
    return !found;
}

static bool single(struct match *m, const char *s, const char *p, const char *end)
{
    if (s >= m->subject_end)
        return false;
    unsigned char c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return true;
    case '%':
        return in_letter_class(c, (unsigned char)p[1]);
    case '[':
        steps(m, (size_t)(end - p) / 8);
        return in_set(c, p, end - 1);
    default:
        return (unsigned char)*p == c;
    }
}

static const char *match_balance(struct match *m, const char *s, const char *p)
{
    if (p + 1 >= m->pattern_end)
        luaL_error(m->L, "unbalanced pattern");
    if (s >= m->subject_end || *s != *p)
        return NULL;
    int open = 1;
    while (++s < m->subject_end) {
        step(m);
        if (*s == p[1] && --open == 0)
            return s + 1;
        if (*s == p[0] && *s != p[1])
            open++;
    }
    return NULL;
}

static const char *match_longest(struct match *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t count = 0;
    while (single(m, s + count, p, end)) {
        step(m);
        count++;
    }
    for (; count >= 0; count--) {
        const char *result = match_here(m, s + count, end + 1);
        if (result != NULL)
            return result;
    }
    return NULL;
}

static const char *match_shortest(struct match *m, const char *s, const char *p, const char *end)
{
    for (;; s++) {
        const char *result = match_here(m, s, end + 1);
        if (result != NULL)
            return result;
        if (!single(m, s, p, end))
            return NULL;
    }
}

static const char *open_capture(struct match *m, const char *s, const char *p, ptrdiff_t kind)
{
    if (m->count >= PATTERN_CAPTURES_MAX)
        luaL_error(m->L, "too many captures");
    m->captures[m->count].start = s;
    m->captures[m->count].size = kind;
    m->count++;
    const char *result = match_here(m, s, p);
    if (result == NULL)
        m->count--;
    return result;
}

static const char *close_capture(struct match *m, const char *s, const char *p)
{
    int i = m->count - 1;
    while (i >= 0 && m->captures[i].size != CAPTURE_OPEN)
        i--;
    if (i < 0)
        luaL_error(m->L, "invalid pattern capture");
    m->captures[i].size = s - m->captures[i].start;
    const char *result = match_here(m, s, p);
    if (result == NULL)
        m->captures[i].size = CAPTURE_OPEN;
    return result;
}

static const char *match_back(struct match *m, const char *s, char digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->count || m->captures[i].size == CAPTURE_OPEN)
        luaL_error(m->L, "invalid capture index");
    ptrdiff_t size = m->captures[i].size;
    if (size < 0 || m->subject_end - s < size)
        return NULL;
    steps(m, (size_t)size / 64);
    return memcmp(m->captures[i].start, s, (size_t)size) == 0 ? s + size : NULL;
}

/* %f[set] at p, which points to the '['. */
static bool at_frontier(struct match *m, const char *s, const char *p, const char *end)
{
    steps(m, (size_t)(end - p) / 4);
    unsigned char before = s == m->subject ? 0 : (unsigned char)s[-1];
    unsigned char after = s < m->subject_end ? (unsigned char)*s : 0;
    return !in_set(before, p, end - 1) && in_set(after, p, end - 1);
}

/* The rest of the pattern from p, which is %b, %f, %1..%9; *next says where to go on. False: none
 * of these. */
static bool match_special(struct match *m, const char *s, const char *p, const char **at,
                          const char **next)
{
    if (*p != '%' || p + 1 >= m->pattern_end)
        return false;
    if (p[1] == 'b') {
        *at = match_balance(m, s, p + 2);
        *next = p + 4;
        return true;
    }
    if (p[1] == 'f') {
        if (p + 2 >= m->pattern_end || p[2] != '[')
            luaL_error(m->L, "missing '[' after '%%f' in pattern");
        *next = class_end(m, p + 2);
        *at = at_frontier(m, s, p + 2, *next) ? s : NULL;
        return true;
    }
    if (!isdigit((unsigned char)p[1]))
        return false;
    *at = match_back(m, s, p[1]);
    *next = p + 2;
    return true;
}

static const char *match_loop(struct match *m, const char *s, const char *p)
{
    const char *next;
    while (p < m->pattern_end) {
        step(m);
        if (*p == '(')
            return p + 1 < m->pattern_end && p[1] == ')'
                       ? open_capture(m, s, p + 2, CAPTURE_POSITION)
                       : open_capture(m, s, p + 1, CAPTURE_OPEN);
        if (*p == ')')
            return close_capture(m, s, p + 1);
        if (*p == '$' && p + 1 == m->pattern_end)
            return s == m->subject_end ? s : NULL;
        if (match_special(m, s, p, &s, &next)) {
            if (s == NULL)
                return NULL;
            p = next;
            continue;
        }
        const char *end = class_end(m, p);
        steps(m, (size_t)(end - p) / 8);
        char quantifier = end < m->pattern_end ? *end : 0;
        if (quantifier == '*')
            return match_longest(m, s, p, end);
        if (quantifier == '-')
            return match_shortest(m, s, p, end);
        bool one = single(m, s, p, end);
        if (quantifier == '+')
            return one ? match_longest(m, s + 1, p, end) : NULL;
        if (quantifier == '?') {
            const char *result = one ? match_here(m, s + 1, end + 1) : NULL;
            if (result != NULL)
                return result;
            p = end + 1;
            continue;
        }
        if (!one)
            return NULL;
        s++;
        p = end;
    }
    return s;
}

static const char *match_here(struct match *m, const char *s, const char *p)
{
    if (++m->depth > PATTERN_DEPTH_MAX)
        luaL_error(m->L, "pattern too complex");
    const char *result = match_loop(m, s, p);
    m->depth--;
    return result;
}

/* ------------------------------------------------------------------------------- the binding */

static void push_capture(struct match *m, int i)
{
    ptrdiff_t size = m->captures[i].size;
    if (size == CAPTURE_OPEN)
        luaL_error(m->L, "unfinished capture");
    if (size == CAPTURE_POSITION)
        lua_pushinteger(m->L, m->captures[i].start - m->subject + 1);
    else
        lua_pushlstring(m->L, m->captures[i].start, (size_t)size);
}

static int no_match(lua_State *L)
{
    lua_pushnil(L);
    return 1;
}

/*
 * match(subject, pattern, start) -> first, last, captures..: the first match at or behind `start`
 * (from 1), or nothing. Without captures in the pattern none are given.
 */
static int native_match(lua_State *L)
{
    size_t subject_size, pattern_size;
    const char *subject = luaL_checklstring(L, 1, &subject_size);
    const char *p = luaL_checklstring(L, 2, &pattern_size);
    lua_Number start = luaL_checknumber(L, 3);
    bool anchored = pattern_size > 0 && *p == '^';
    struct match m = {.L = L,
                      .runtime = lua__runtime(L),
                      .subject = subject,
                      .subject_end = subject + subject_size,
                      .pattern_end = p + pattern_size};
    if (!(start >= 1 && start <= (double)subject_size + 1))
        return no_match(L);
    const char *s = subject + (size_t)start - 1;
    for (;; s++) {
        m.count = 0;
        m.depth = 0;
        const char *end = match_here(&m, s, p + anchored);
        if (end != NULL) {
            lua_pushinteger(L, s - subject + 1);
            lua_pushinteger(L, end - subject);
            luaL_checkstack(L, m.count, "too many captures");
            for (int i = 0; i < m.count; i++)
                push_capture(&m, i);
            return 2 + m.count;
        }
        if (anchored || s >= m.subject_end)
            return no_match(L);
    }
}

/* find_plain(subject, text, start) -> first, last */
static int native_find_plain(lua_State *L)
{
    size_t subject_size, size;
    const char *subject = luaL_checklstring(L, 1, &subject_size);
    const char *text = luaL_checklstring(L, 2, &size);
    lua_Number start = luaL_checknumber(L, 3);
    if (!(start >= 1 && start <= (double)subject_size + 1))
        return no_match(L);
    size_t skip = (size_t)start - 1;
    const char *found = memmem(subject + skip, subject_size - skip, text, size);
    if (found == NULL)
        return no_match(L);
    lua_pushinteger(L, found - subject + 1);
    lua_pushinteger(L, found - subject + (ptrdiff_t)size);
    return 2;
}

void lua__open_pattern(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"match", native_match},
        {"find_plain", native_find_plain},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
