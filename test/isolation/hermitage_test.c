/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What each isolation level allows and prevents: the Hermitage list (history/hermitage.h), played
 * on transactions that one thread interleaves. What a level allows does happen here, and what it
 * prevents does not, whether the transactions are interactive ones, which are parked between their
 * statements and for which others wait, or such as do not yield, to which others lose; and whether
 * ranges are read by the primary tree or by a secondary index.
 *
 * The table is that of interactive ones.
 * `--print` prints the table; docs/transactions.md has it between two marks, and a test compares.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "history/hermitage.h"
#include "txn/txn_fixture.h"

static const enum txn_level LEVELS[HERMITAGE_LEVELS] = {
    TXN_READ_UNCOMMITTED, TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SNAPSHOT, TXN_SERIALIZABLE};

enum { ROWS_MAX = 32 };

struct stage {
    struct txn_fixture fixture;
    struct txn *txns[HERMITAGE_SESSIONS]; /* NULL: none is open */
    enum txn_level level;
    bool alone;    /* each statement in a transaction of its own */
    bool parked;   /* between statements */
    bool by_index; /* ranges */
};

static enum hermitage_done lost(struct stage *stage, unsigned session, struct txn *txn)
{
    txn_rollback(txn);
    stage->txns[session] = NULL;
    return HERMITAGE_LOST;
}

/* A value is "20|": what stands before the bar is the secondary key. */
static void without_bar(char *out, const char *text)
{
    snprintf(out, HERMITAGE_TEXT_MAX, "%.*s", text == NULL ? 1 : (int)strcspn(text, "|"),
             text == NULL ? "-" : text);
}

static int find_by_index(struct stage *stage, struct txn *txn, const char *value, char *seen)
{
    char until[16];
    snprintf(until, sizeof until, "%s~", value);
    const char *keys =
        fixture_scan(&stage->fixture, txn, &stage->fixture.secondary, value, until, false, 9);
    if (strcmp(keys, "CONFLICT") == 0)
        return ERROR_CONFLICT;
    for (; *keys != '\0'; keys++)
        if (*keys != ' ')
            strncat(seen, keys, 1);
    return 0;
}

static int find_by_scan(struct stage *stage, struct txn *txn, const char *value, char *seen)
{
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc;
    txn_cursor_open(&cursor, txn, &stage->fixture.primary, &(struct txn_range){0});
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        if (version->size >= strlen(value) && memcmp(version->bytes, value, strlen(value)) == 0)
            strncat(seen, (const char *)row->key, row->key_size);
    return rc == ERROR_END ? 0 : rc;
}

/* An entry of the index has its row's primary key behind the secondary one. */
static int step_find(struct stage *stage, struct txn *txn, const char *value, char *seen)
{
    seen[0] = '\0';
    int rc = stage->by_index ? find_by_index(stage, txn, value, seen)
                             : find_by_scan(stage, txn, value, seen);
    if (seen[0] == '\0')
        strcpy(seen, "-");
    return rc;
}

static int step_run(struct stage *stage, struct txn *txn, const struct hermitage_step *step,
                    char *seen)
{
    char value[16];
    txn_statement(txn);
    if (strcmp(step->verb, "get") == 0) {
        const char *text = fixture_get(&stage->fixture, txn, step->key);
        without_bar(seen, text);
        return text != NULL && strcmp(text, "CONFLICT") == 0 ? ERROR_CONFLICT : 0;
    }
    if (strcmp(step->verb, "find") == 0)
        return step_find(stage, txn, step->key, seen);
    if (strcmp(step->verb, "del") == 0)
        return fixture_delete(&stage->fixture, txn, step->key);
    assert_string_equal(step->verb, "put");
    snprintf(value, sizeof value, "%s|", step->value);
    return fixture_put(&stage->fixture, txn, step->key, value);
}

/* A statement in a transaction of its own. */
static void run_alone(struct stage *stage, const struct hermitage_step *step, char *seen)
{
    struct txn *txn = fixture_begin(&stage->fixture, step->session, TXN_READ_COMMITTED);
    assert_int_equal(step_run(stage, txn, step, seen), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static enum hermitage_done play_run(void *arg, const struct hermitage_step *step, char *seen)
{
    struct stage *stage = arg;
    struct txn *txn = stage->txns[step->session];
    if (txn == NULL) {
        run_alone(stage, step, seen);
        return HERMITAGE_DONE;
    }
    if (stage->parked)
        assert_int_equal(txn_resume(txn), 0);
    struct txn_savepoint savepoint = txn_savepoint(txn);
    int rc = step_run(stage, txn, step, seen);
    if (rc == ERROR_WAIT)
        txn_rollback_to(txn, savepoint);
    else if (rc != 0)
        return lost(stage, step->session, txn);
    if (stage->parked)
        txn_park(txn);
    return rc == ERROR_WAIT ? HERMITAGE_WAITS : HERMITAGE_DONE;
}

static void play_begin(void *arg, unsigned session)
{
    struct stage *stage = arg;
    struct txn_options options = {.level = stage->level};
    struct txn_worker *worker = stage->fixture.workers[session];
    struct txn **txn = &stage->txns[session];
    if (stage->parked) {
        assert_int_equal(txn_open(worker, &options, txn), 0);
        txn_park(*txn);
    } else if (!stage->alone) {
        assert_int_equal(txn_begin(worker, &options, txn), 0);
    }
}

static enum hermitage_done play_end(void *arg, unsigned session, bool commit)
{
    struct stage *stage = arg;
    struct txn *txn = stage->txns[session];
    stage->txns[session] = NULL;
    if (txn == NULL)
        return HERMITAGE_DONE;
    if (stage->parked)
        assert_int_equal(txn_resume(txn), 0);
    if (!commit)
        txn_rollback(txn);
    else if (txn_commit(txn) != 0)
        return HERMITAGE_LOST;
    return HERMITAGE_DONE;
}

static void play_one(const char *script, struct stage *stage, struct hermitage_outcome *outcome)
{
    struct hermitage_player player = {stage, play_begin, play_run, play_end};
    fixture_open(&stage->fixture, HERMITAGE_SESSIONS);
    fixture_set(&stage->fixture, 0, "x", "10|");
    fixture_set(&stage->fixture, 0, "y", "20|");
    hermitage_play(script, &player, outcome);
    for (unsigned session = 0; session < HERMITAGE_SESSIONS; session++)
        assert_null(stage->txns[session]);
    fixture_close(&stage->fixture);
}

/* What the scripts of a row come to at a level; asserts that each is what it must be. */
static void row_play(const struct hermitage_row *row, unsigned level, bool parked, bool by_index,
                     struct hermitage_outcome *all)
{
    *all = (struct hermitage_outcome){.happened = false};
    for (unsigned i = 0; i < HERMITAGE_SCRIPTS_MAX && row->scripts[i] != NULL; i++) {
        struct stage stage = {.level = LEVELS[level], .parked = parked, .by_index = by_index};
        struct hermitage_outcome outcome;
        play_one(row->scripts[i], &stage, &outcome);
        if (outcome.happened == (level >= row->prevented_from))
            fail_msg("%s, script %u, at %s: %s %s", row->name, i, hermitage_level_names[level],
                     outcome.happened ? "happened" : "did not happen:", outcome.why_not);
        all->happened |= outcome.happened;
        all->lost |= outcome.lost;
        all->waited |= outcome.waited;
    }
}

static void each_level_prevents_what_it_must_and_allows_what_it_may(void **state)
{
    (void)state;
    struct hermitage_outcome outcome;
    for (size_t row = 0; row < hermitage_row_count; row++)
        for (unsigned level = 0; level < HERMITAGE_LEVELS; level++)
            for (unsigned how = 0; how < 4; how++)
                row_play(&hermitage_rows[row], level, how % 2, how / 2, &outcome);
}

static void without_transactions_every_anomaly_happens(void **state)
{
    (void)state;
    for (size_t row = 0; row < hermitage_row_count; row++)
        for (unsigned i = 0; i < HERMITAGE_SCRIPTS_MAX; i++) {
            struct stage stage = {.alone = true, .by_index = i % 2};
            struct hermitage_outcome outcome;
            if (hermitage_rows[row].scripts[i] == NULL)
                break;
            play_one(hermitage_rows[row].scripts[i], &stage, &outcome);
            if (!outcome.happened)
                fail_msg("%s, script %u: %s", hermitage_rows[row].name, i, outcome.why_not);
        }
}

static const char *table_make(void)
{
    static char text[8192];
    static struct hermitage_outcome outcomes[ROWS_MAX][HERMITAGE_LEVELS];
    assert_true(hermitage_row_count <= ROWS_MAX);
    for (size_t row = 0; row < hermitage_row_count; row++)
        for (unsigned level = 0; level < HERMITAGE_LEVELS; level++)
            row_play(&hermitage_rows[row], level, true, true, &outcomes[row][level]);
    hermitage_table(text, sizeof text, outcomes);
    return text;
}

static void the_documentation_has_the_table(void **state)
{
    (void)state;
    static const char begin[] = "<!-- hermitage -->\n", end[] = "<!-- /hermitage -->";
    static char text[256 * 1024];
    FILE *in = fopen("docs/transactions.md", "r");
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    char *from = strstr(text, begin), *to = strstr(text, end);
    assert_non_null(from);
    assert_non_null(to);
    from += strlen(begin);
    *to = '\0';
    from += strspn(from, "\n");
    while (to > from + 1 && to[-1] == '\n' && to[-2] == '\n')
        *--to = '\0';
    assert_string_equal(from, table_make());
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_level_prevents_what_it_must_and_allows_what_it_may),
        cmocka_unit_test(without_transactions_every_anomaly_happens),
        cmocka_unit_test(the_documentation_has_the_table),
    };
    if (count > 1 && strcmp(arguments[1], "--print") == 0) {
        fputs(table_make(), stdout);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
