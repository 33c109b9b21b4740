/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The scripts, and the playing of one. A step that must wait is passed over, with all later ones of
 * its session, and tried again whenever a transaction has ended; so where a database lets writers
 * queue, the script goes on as its clients would.
 */
#include "history/hermitage.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

enum { STEPS_MAX = 24 };

const char *const hermitage_level_names[HERMITAGE_LEVELS] = {
    "read uncommitted", "read committed", "repeatable read", "snapshot", "serializable"};

/* A read is followed by what it gives if the anomaly happens. Who does not say when begins at the
 * beginning. */
const struct hermitage_row hermitage_rows[] = {
    {"G0",
     "two writers mixed",
     HERMITAGE_READ_UNCOMMITTED,
     {"1 put x 11; 2 put x 12; 2 put y 22; 1 put y 21; 1 commit; 2 commit; 0 get x 12; "
      "0 get y 21",
      "1 put x 11; 1 put y 21; 2 put y 22; 2 put x 12; 2 rollback; 1 commit; 0 get y 22"}},
    {"G1a",
     "a read of what is rolled back",
     HERMITAGE_READ_COMMITTED,
     {"1 put x 101; 2 get x 101; 1 rollback; 2 commit",
      "1 put z 30; 2 find 3 z; 1 rollback; 2 commit"}},
    {"G1b",
     "a read of what its writer then changes",
     HERMITAGE_READ_COMMITTED,
     {"1 put x 101; 2 get x 101; 1 put x 11; 1 commit; 2 commit"}},
    {"G1c",
     "two that read each other's writes",
     HERMITAGE_READ_COMMITTED,
     {"1 put x 11; 2 put y 22; 1 get y 22; 2 get x 11; 1 commit; 2 commit"}},
    {"OTV",
     "a writer seen and then not",
     HERMITAGE_READ_COMMITTED,
     {"1 put x 11; 1 put y 19; 1 commit; 2 put x 12; 3 get x 12; 3 get y 19; 2 put y 18; "
      "2 commit; 3 commit"}},
    {"PMP",
     "a range that changes between two looks",
     HERMITAGE_REPEATABLE_READ,
     {"1 find 3 -; 2 put z 30; 2 commit; 1 find 3 z; 1 commit",
      "1 find 2 y; 2 del y -; 2 commit; 1 find 2 -; 1 commit",
      "2 find 2 y; 1 put x 21; 1 put y 30; 1 commit; 2 del y -; 2 commit; 0 get y -"}},
    {"P4",
     "an update that is lost",
     HERMITAGE_REPEATABLE_READ,
     {"1 get x 10; 2 get x 10; 1 put x 11; 1 commit; 2 put x 12; 2 commit; 0 get x 12"}},
    {"G-single",
     "a read before and a read after another's commit",
     HERMITAGE_REPEATABLE_READ,
     {"1 get x 10; 2 get x 10; 2 get y 20; 2 put x 12; 2 put y 18; 2 commit; 1 get y 18; 1 commit",
      "1 find 1 x; 2 put x 30; 2 commit; 1 find 3 x; 1 commit",
      "1 get x 10; 2 put x 12; 2 put y 18; 2 commit; 1 find 2 -; 1 commit"}},
    {"G2-item",
     "write skew over rows",
     HERMITAGE_SERIALIZABLE,
     {"1 get x 10; 1 get y 20; 2 get x 10; 2 get y 20; 1 put x 11; 2 put y 21; 1 commit; 2 commit",
      "1 get x 10; 1 get y 20; 2 put y 25; 2 commit; 3 begin; 3 get x 10; 3 get y 25; 3 commit; 1 "
      "put x 0; "
      "1 commit"}},
    {"G2",
     "write skew over ranges",
     HERMITAGE_SERIALIZABLE,
     {"1 find 3 -; 2 find 3 -; 1 put z 30; 2 put w 31; 1 commit; 2 commit",
      "1 get z -; 2 get w -; 1 put w 30; 2 put z 31; 1 commit; 2 commit",
      "1 find 1 x; 1 find 2 y; 2 put z 25; 2 commit; 3 begin; 3 find 2 yz; 3 find 1 x; 3 commit; "
      "1 put x 0; 1 commit"}},
};

const size_t hermitage_row_count = sizeof hermitage_rows / sizeof *hermitage_rows;

struct play {
    const struct hermitage_player *player;
    struct hermitage_outcome *outcome;
    struct hermitage_step steps[STEPS_MAX];
    bool over[STEPS_MAX];
    unsigned count;
    bool ended[HERMITAGE_SESSIONS]; /* the session's transaction */
};

static void parse(struct play *play, const char *script)
{
    for (const char *at = script; *at != '\0';) {
        ASSERT(play->count < STEPS_MAX);
        struct hermitage_step *step = &play->steps[play->count++];
        int used = 0;
        char text[HERMITAGE_TEXT_MAX];
        ASSERT(sscanf(at, " %60[^;]%n", text, &used) == 1);
        int words =
            sscanf(text, "%u %11s %11s %11s", &step->session, step->verb, step->key, step->value);
        ASSERT((words == 2 || words == 4) && step->session < HERMITAGE_SESSIONS);
        at += used;
        at += strspn(at, "; ");
    }
}

static void failed(struct play *play, const struct hermitage_step *step, const char *what)
{
    play->outcome->happened = false;
    if (play->outcome->why_not[0] == '\0')
        snprintf(play->outcome->why_not, sizeof play->outcome->why_not, "T%u %s %s: %s",
                 step->session, step->verb, step->key, what);
}

static void step_over(struct play *play, const struct hermitage_step *step,
                      enum hermitage_done done, const char *seen)
{
    bool reads = strcmp(step->verb, "get") == 0 || strcmp(step->verb, "find") == 0;
    bool ends = strcmp(step->verb, "commit") == 0 || strcmp(step->verb, "rollback") == 0;
    play->ended[step->session] = ends || done == HERMITAGE_LOST;
    if (done == HERMITAGE_LOST) {
        play->outcome->lost = true;
        failed(play, step, "lost");
    } else if (reads && strcmp(seen, step->value) != 0) {
        failed(play, step, seen);
    }
}

/* Does one step; false when it must wait. */
static bool step_do(struct play *play, const struct hermitage_step *step)
{
    const struct hermitage_player *player = play->player;
    char seen[HERMITAGE_TEXT_MAX] = "";
    enum hermitage_done done;
    if (play->ended[step->session])
        return true; /* what a transaction that has lost would have done */
    if (strcmp(step->verb, "begin") == 0) {
        player->begin(player->arg, step->session);
        return true;
    }
    if (strcmp(step->verb, "commit") == 0)
        done = player->end(player->arg, step->session, true);
    else if (strcmp(step->verb, "rollback") == 0)
        done = player->end(player->arg, step->session, false);
    else
        done = player->run(player->arg, step, seen);
    if (done == HERMITAGE_WAITS) {
        play->outcome->waited = true;
        return false;
    }
    step_over(play, step, done, seen);
    return true;
}

/* Goes over the steps once, from the first one that is not over; returns whether it did any, and
 * stops where a transaction has ended while others wait. */
static bool pass(struct play *play)
{
    bool any = false, waits[HERMITAGE_SESSIONS] = {false}, waiting = false;
    for (unsigned i = 0; i < play->count; i++) {
        const struct hermitage_step *step = &play->steps[i];
        if (play->over[i] || waits[step->session] || (step->session == 0 && waiting))
            continue;
        if (!step_do(play, step)) {
            waits[step->session] = waiting = true;
            continue;
        }
        play->over[i] = any = true;
        if (waiting && play->ended[step->session])
            return true;
    }
    return any;
}

void hermitage_play(const char *script, const struct hermitage_player *player,
                    struct hermitage_outcome *outcome)
{
    struct play play = {.player = player, .outcome = outcome};
    bool at_once[HERMITAGE_SESSIONS] = {false}, known[HERMITAGE_SESSIONS] = {false};
    *outcome = (struct hermitage_outcome){.happened = true};
    parse(&play, script);
    for (unsigned i = 0; i < play.count; i++) {
        unsigned session = play.steps[i].session;
        if (!known[session])
            at_once[session] = strcmp(play.steps[i].verb, "begin") != 0;
        known[session] = true;
    }
    for (unsigned session = 1; session < HERMITAGE_SESSIONS; session++)
        if (at_once[session])
            player->begin(player->arg, session);
    while (pass(&play)) {
    }
    for (unsigned i = 0; i < play.count; i++)
        ASSERT(play.over[i]); /* nobody waits for ever */
}

/* ------------------------------------------------------------------------------------ table */

static const char *word_of(const struct hermitage_outcome *outcome)
{
    if (outcome->happened)
        return "allowed";
    if (outcome->lost)
        return "prevented, by conflict";
    return outcome->waited ? "prevented, by waiting" : "prevented";
}

size_t hermitage_table(char *out, size_t room,
                       struct hermitage_outcome (*outcomes)[HERMITAGE_LEVELS])
{
    size_t size = 0;
    size += (size_t)snprintf(out + size, room - size, "| anomaly | what it is |");
    for (unsigned level = 0; level < HERMITAGE_LEVELS; level++)
        size += (size_t)snprintf(out + size, room - size, " %s |", hermitage_level_names[level]);
    size += (size_t)snprintf(out + size, room - size, "\n|---|---|---|---|---|---|---|\n");
    for (size_t row = 0; row < hermitage_row_count; row++) {
        size += (size_t)snprintf(out + size, room - size, "| %s | %s |", hermitage_rows[row].name,
                                 hermitage_rows[row].what);
        for (unsigned level = 0; level < HERMITAGE_LEVELS; level++)
            size +=
                (size_t)snprintf(out + size, room - size, " %s |", word_of(&outcomes[row][level]));
        size += (size_t)snprintf(out + size, room - size, "\n");
    }
    ASSERT(size < room);
    return size;
}
