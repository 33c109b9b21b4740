/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_DB_CHECKPOINT_FIXTURE_H
#define TEST_LIB_DB_CHECKPOINT_FIXTURE_H

/*
 * What the tests of checkpoints share: one database, with a space "s" of rows [key, value], over the
 * test disk, and something in between that lets a test act when a checkpoint has come to some point.
 * All functions fail the test when they fail, unless they return a code.
 */
#include <stdbool.h>
#include <stdint.h>

#include "db/checkpoint.h"
#include "db/db_fixture.h"
#include "io/io_schedule.h"

/* The database of the program; its name is short since each line of a test has it. */
extern struct db_fixture f;

/* For each test. Its state, unless it is NULL, is the name of the engine that spaces get. */
int checkpoint_setup(void **state);
int checkpoint_teardown(void **state);
#define WITH_CHECKPOINT_FIXTURE(test) \
    cmocka_unit_test_setup_teardown(test, checkpoint_setup, checkpoint_teardown)

/*
 * What the checkpoint's thread asks of the disk tells how far it is: the first file that ends in
 * ".run" is opened when K is fixed and the changed rows are taken. A test's function is called
 * before, on the thread that asks, and may refuse by an error.
 */
enum hook_call { HOOK_OPEN, HOOK_RENAME, HOOK_UNLINK };
typedef int (*hook_fn)(enum hook_call call, const char *path);
struct hook {
    _Atomic(hook_fn) fn;
    unsigned calls;                 /* that the function has acted on, as it counts them */
    _Atomic uint64_t room;          /* what the disk is said to have left; 0: what it has */
    bool schedules;                 /* from the next start on there is a scheduler for the disk, */
    struct io_scheduler *scheduler; /* which is this one; NULL: none */
};
extern struct hook hook;

/* From now on; NULL: none. */
void hook_set(hook_fn fn);
bool is_run(const char *path);

/* Refuses to make runs. */
int hook_no_space(enum hook_call call, const char *path);

/* Takes out parts of the rule (enum checkpoint_mutation), until the next start. */
void mutate(unsigned mutations);

void schema_make(void);
void set(unsigned key, unsigned value);
void unset(unsigned key);

/* Rows of 30000 bytes, keys [first, first + count). */
void big_rows(struct txn *txn, unsigned first, unsigned count);

/* All rows as text; one, NULL: it must not be there; the value of one, 0 when it is not there. */
const char *all(void);
void assert_one(unsigned key, const char *expected);
unsigned value_of(unsigned key);

/* Waits until everything committed is on the disk. */
void durable(void);

/* Makes a checkpoint. */
void checkpoint(void);
struct db_checkpoint_stats stats(void);

/* Ends the database as a power cut does, and starts it again. */
int cut_and_start(uint64_t seed);
void cut(uint64_t seed);

#endif
