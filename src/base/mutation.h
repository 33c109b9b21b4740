/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MUTATION_H
#define BASE_MUTATION_H

/*
 * Rules of the engine taken out one at a time, so that a test can show what would be lost without
 * them (docs/invariants.md), and places where a test steps in between two instructions.
 *
 * MUTATION(NAME) is true where the rule of that name is out. It is the constant 0 unless
 * PERIGEE_MUTATIONS is defined, which is so only in the second compilation of a source file for the
 * programs of test/mutation: what is delivered has nothing of it.
 *
 * MUTATION_POINT(NAME) stands between two steps of an algorithm. There it calls what a test has set
 * in mutation_point, which lets other workers do in this moment what they could do. Workers may be
 * driven from one thread, so such an interleaving is the same each time.
 *
 * A check compares both lists with what src and test/mutation use.
 */

/* X(name, number of the rule, what the engine does without it) */
#define MUTATION_LIST(X)                                                                           \
    X(REPLAY_LAST_WINS, 3, "of two records of a key the one that is read last wins")               \
    X(REPLAY_DROPS_TOMBSTONES, 3, "a tombstone is forgotten when there is nothing to delete yet")  \
    X(RESERVED_LATE, 4, "room in the log is waited for with a timestamp in hand")                  \
    X(RECORDS_NOT_SUMMED, 5, "what workers have checksummed is not looked at")                     \
    X(REPLY_BEFORE_FLUSH, 6, "replies under commit do not wait for the flush")                     \
    X(REPLY_BEFORE_WRITE, 6, "replies under interval do not wait for the write")                   \
    X(READ_AT_CLOCK, 8, "a read-only transaction reads at the clock instead of V")                 \
    X(REPLY_FORGETS_ROW, 9, "a reply does not wait for a row that was read")                       \
    X(REPLY_FORGETS_TOMBSTONE, 9, "a reply does not wait for a tombstone that was met")            \
    X(REPLY_FORGETS_SCANNED, 9, "a reply does not wait for what a cursor has passed")              \
    X(REPLY_FORGETS_WINNER, 9, "the answer of a conflict does not wait for its winner")            \
    X(REPLY_NOT_HELD, 9, "a connection sends its replies without waiting")                         \
    X(READS_OLD_BEHIND_REPLY, 9, "a connection reads at V behind a reply of its own that waits")   \
    X(WATCH_UNSEEN, 9, "EXEC does not look at what is watched")                                    \
    X(DEFERRED_EARLY, 10, "actions go out before their commit is durable")                         \
    X(DEFERRED_ANY_ORDER, 10, "actions go out worker by worker")                                   \
    X(DEFERRED_LATE, 10, "actions are queued when a cut may have passed their commit")             \
    X(DEFERRED_AFTER_ROLLBACK, 10, "actions go out after a rollback")                              \
    X(DEFERRED_PAST_SAVEPOINT, 10, "actions stay when their savepoint is returned to")             \
    X(WRITE_OVER_NEWER, 11, "a write goes over a version newer than its snapshot")                 \
    X(WRITE_OVER_UNCOMMITTED, 11, "a write goes over another's uncommitted version")               \
    X(FOR_UPDATE_READS_FIRST, 11, "a row that is taken for an update is read before it is tagged") \
    X(PRUNE_IGNORES_D, 12, "D does not count as a snapshot")                                       \
    X(PRUNE_IGNORES_CUT, 12, "a cut not yet published does not count as a snapshot")               \
    X(PRUNE_IGNORES_SNAPSHOT, 12, "a registered snapshot does not count")                          \
    X(PRUNE_IGNORES_STARTING, 12, "a snapshot that is being taken does not count")                 \
    X(VALIDATION_UNANNOUNCED, 12, "the timestamp of a validation does not count as a snapshot")    \
    X(DESCRIPTOR_WITHOUT_EPOCH, 13, "a descriptor is used again at once")                          \
    X(LOOKED_ONCE, 13, "who has passed an uncommitted version does not look again")                \
    X(CHAIN_PRUNED_TWICE, 13, "two shorten one chain at a time")                                   \
    X(ROW_END_UNEXAMINED, 14, "a row ends without a look at its chain under the latch")            \
    X(DEAD_ROW_TAKEN, 14, "a writer takes a dead row")                                             \
    X(DEAD_ROW_FOUND, 14, "a row that was found before is taken again without a look at its end")  \
    X(SECOND_ANCHOR, 14, "a writer replaces the row that another has just made")                   \
    X(ENTRY_FIRST, 14, "the entry comes before the version")                                       \
    X(ENTRY_UNEXAMINED, 14, "an entry goes without a look at the versions that are left")          \
    X(ENTRY_OF_ANOTHER, 14, "an entry goes that leads to another row")                             \
    X(ROW_FREED_EARLY, 14, "a row with entries is freed after one round of reclamation")           \
    X(UNIQUE_TOPMOST, 15, "only the topmost uncommitted version is asked for a unique key")        \
    X(UNIQUE_NEWER_HOLDER, 15, "a holder newer than the snapshot is a duplicate")                  \
    X(UNIQUE_BOTH_WIN, 15, "of two that race for a unique key none yields")                        \
    X(UNIQUE_BOTH_YIELD, 15, "of two that race for a unique key the older yields as well")         \
    X(ROW_NOT_VALIDATED, 16, "rows that were read are not validated")                              \
    X(ABSENT_NOT_VALIDATED, 16, "keys that were found absent are not looked up again")             \
    X(REBORN_NOT_LOOKED_UP, 16, "a row that has ended is not looked for under its key")            \
    X(INVISIBLE_NOT_READ, 16, "rows that were visited and not visible are not validated")          \
    X(LEAF_NOT_SCANNED_AGAIN, 16, "leaves that have changed are not scanned again")                \
    X(FAR_BOUND_LOST, 16, "a range ends at its last row, also when it was read to its end")        \
    X(SECONDARY_NOT_VALIDATED, 16, "ranges of secondary indexes are not validated")                \
    X(VALIDATED_EARLY, 16, "validation comes before the timestamp")                                \
    X(LEFT_UNPUBLISHED, 17, "a row leaves the head before a picture of the body has it")           \
    X(WALK_NOT_RENEWED, 17, "a cursor keeps the picture of the body that it began with")           \
    X(LEFT_EARLY, 18, "a row leaves the head under a snapshot that is older")                      \
    X(TOMBSTONE_ENDS_EARLY, 19, "a tombstone ends before a run covers it")                         \
    X(NOT_LISTED_AGAIN, 19, "a row with versions above K is not listed again")                     \
    X(LISTED_LATE, 19, "changed rows are listed when a cut may have passed their commit")          \
    X(UNLISTED_TO_LOOK, 19, "a row is off the list while a checkpoint looks whether it changed")   \
    X(CATALOG_NOT_CHECKED, 21, "the catalog rows are not checked at the commit")                   \
    X(INCARNATION_IGNORED, 21, "replay does not look at incarnations")                             \
    X(CONFLICT_DOES_NOT_DOOM, 22, "a conflict does not doom its transaction")                      \
    X(WAIT_FORGOTTEN, 23, "a transaction that must wait may commit")                               \
    X(LOCKS_DROPPED_TO_WAIT, 23, "who waits lets go of the locks it has")                          \
    X(LOCKED_UNSEEN, 23, "who writes without locks does not ask whether a row is locked")          \
    X(SPACE_LOCKED_UNSEEN, 23, "a commit does not ask whether the space was locked meanwhile")     \
    X(SHARED_LOCK_BLIND, 23, "who locks a row for sharing does not look for a writer")             \
    X(LOCKS_RELEASED_EARLY, 23, "locks are given back before the commit")                          \
    X(GATE_UNSEEN, 24, "a new writer does not look at the gate")                                   \
    X(GATE_CLOSED_AT_ONCE, 24, "who closes the gate does not wait for running writers")            \
    X(RESUMED_BEFORE_GATE, 24, "who goes on stops counting as parked before it passes the gate")   \
    X(PARKED_BEHIND_GATE, 24, "who parks leaves the gate before others may claim it")              \
    X(CANCELLED_IN_GATE, 24, "who ends a parked one because of a limit does not pass the gate")    \
    X(GATE_NEVER, 24, "who has lost several times is not let into the gate")                       \
    X(AGE_FORGOTTEN, 24, "who has lost is as young as ever when it is run again")                  \
    X(SEVERAL_ROWS_WEAKLY, 25, "a command on several rows runs at read committed")                 \
    X(SPREAD_WEAKLY, 25, "a command on a spread collection goes on at read committed")             \
    X(REGISTERED_LAST, 26, "who waits for a key does not look once more when it is registered")    \
    X(ALL_WOKEN, 26, "who pushes wakes all that wait")                                             \
    X(PLACE_LOST, 26, "one that finds nothing waits behind the others")                            \
    X(WAKE_NOT_PASSED, 26, "one that leaves keeps the wake that it has not used")                  \
    X(NOW_TAKEN_TWICE, 27, "each command of a script takes its own time")                          \
    X(ALTER_UNSEEN, 29, "writers do not heed what a space is being altered to")                    \
    X(BUILD_UNSEEN, 29, "writers do not maintain an index that is being built")                    \
    X(FILLED_ONCE, 29, "who fills an index does not look whether the version is still there")      \
    X(FOREIGN_LOOKED_FIRST, 30, "who writes what refers to a row looks for that row before")       \
    X(FOREIGN_PARENT_UNSEEN, 30, "a row that another is deleting can be referred to")              \
    X(FOREIGN_SNAPSHOT_READ, 30, "what is referred to is looked for in the snapshot")              \
    X(FOREIGN_CHILD_UNSEEN, 30, "who deletes a row does not look for what refers to it")           \
    X(TRIGGER_ERROR_KEEPS, 31, "what a statement has written stays when a trigger has failed")     \
    X(TRIGGER_GOES_BACK, 31, "a trigger can return to before the statement that runs it")          \
    X(SEQUENCE_UNRESERVED, 32, "numbers of a sequence are given before they are reserved")         \
    X(LOAD_UNNOTED, 33, "who loads a row from a run does not note that")                           \
    X(LISTED_ROW_FREED, 33, "a listed row is freed when it leaves its tree")                       \
    X(TIME_UNTOLD, 35, "who drops what has expired does not ask for the time of those who run")    \
    X(RENEWED_KEY_UNASKED, 35, "who writes a row anew does not ask for the unique keys it had")    \
    X(ENTRY_TIME_KEPT, 35,                                                                         \
      "an entry keeps the time at which its row expired before it was written")                    \
    X(INGESTED_UNABSORBED, 36, "rows are ingested in front of what the head has of the space")     \
    X(REPLACED_ROW_STAYS, 36, "a row that is replaced by an ingested one stays in the head")       \
    X(INGEST_END_UNSEEN, 36, "rows are taken in although that was cancelled in the gate")

/* X(name, where it is) */
#define MUTATION_POINT_LIST(X)                                                                     \
    X(SNAPSHOT_READ, "a snapshot has been read and is not yet published")                          \
    X(GATE_WAIT, "a writer waits outside of the gate")                                             \
    X(GATE_CLOSING, "who closes the gate waits for a running writer")                              \
    X(PARKING, "one that parks has left the gate and can not be claimed yet")                      \
    X(TAG_LOADED, "a reader has a tag and has not yet looked at its owner")                        \
    X(TAG_PASSED, "a reader goes on to what is below an uncommitted version")                      \
    X(ROW_FOUND, "a writer has looked for its row and not yet written it")                         \
    X(OWNER_MET, "a writer waits for the owner of a tag")                                          \
    X(FOR_UPDATE, "a row is about to be tagged for an update")                                     \
    X(UNIQUE_WAIT, "one of two that race for a unique key waits for the other")                    \
    X(BEFORE_TIMESTAMP, "a commit is about to take its timestamp")                                 \
    X(TIMESTAMP_TAKEN, "a commit has its timestamp and is about to validate")                      \
    X(WAL_ENDED, "a commit is in the log buffer, and a cut may pass it")                           \
    X(CHAIN_FOLLOWED, "a version is about to be unlinked")                                         \
    X(ROW_ENDING, "a row is about to end, and its leaf not yet latched")                           \
    X(CHANGE_LOOK, "a checkpoint is about to look whether a row has changed since")                \
    X(STATEMENT_WRITES, "a statement is about to put its version, or its entry if that is first")  \
    X(SCRIPT_COMMAND, "a command of a script is about to run")                                     \
    X(BLOCKING, "who waits for a key has found nothing and is about to register")                  \
    X(BUILD_SLICE, "some rows of an index that is being built are about to be filled in")          \
    X(ENTRY_FILLING, "an entry of a version that was found is about to be added")                  \
    X(WALK_MERGES, "a cursor has a row of the head and is about to look at the body")              \
    X(INGEST_PUBLISHES, "rows that are ingested are in files, and the gate is about to be closed") \
    X(INGEST_LOOKS, "the gate is closed, and the head is about to be compared with such rows")

#define MUTATION_NAME(name, rule, text) MUTATION_##name,
enum mutation { MUTATION_NONE, MUTATION_LIST(MUTATION_NAME) MUTATION_MAX };
#undef MUTATION_NAME

#define MUTATION_POINT_NAME(name, text) MUTATION_AT_##name,
enum mutation_at { MUTATION_AT_NOWHERE, MUTATION_POINT_LIST(MUTATION_POINT_NAME) MUTATION_AT_MAX };
#undef MUTATION_POINT_NAME

#ifdef PERIGEE_MUTATIONS
/* The rule that is out, and what is called at each point; of the test. */
extern enum mutation mutation_active;
extern void (*mutation_point)(enum mutation_at at);
#define MUTATION(name) (mutation_active == MUTATION_##name)
#define MUTATION_POINT(name)                    \
    do {                                        \
        if (mutation_point != NULL)             \
            mutation_point(MUTATION_AT_##name); \
    } while (0)
#else
#define MUTATION(name)       0
#define MUTATION_POINT(name) ((void)0)
#endif

#endif
