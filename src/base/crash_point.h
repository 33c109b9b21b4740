/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CRASH_POINT_H
#define BASE_CRASH_POINT_H

/*
 * Named places at which a test can have the process killed, as by a power cut between two of its
 * instructions. The code says `crash_point("wal.block.flushed");` at the place; nothing happens
 * there, at the price of a load and a branch, until that name is armed.
 *
 * Where the death should find something half done, the code asks and does it:
 *
 *      if (crash_point_armed_now("wal.block.half")) {
 *          ... writes the first half ...
 *          crash_point_kill();
 *      }
 *
 * Names are arguments of these two as literals: a check compares them with the list, both ways.
 */
#include <stdatomic.h>
#include <stdbool.h>

/* X(name, where it is) */
#define CRASH_POINT_LIST(X)                                                                       \
    X("wal.block.before", "before the first byte of a block is written")                          \
    X("wal.block.half", "when half of a block is written")                                        \
    X("wal.block.flushed", "when a block is durable and nobody has been told")                    \
    X("wal.segment.recycled", "when a segment has its new name and not yet its new header")       \
    X("wal.segment.released", "when segments may go and the first of them has gone")              \
    X("checkpoint.run.half", "when half of a run is written")                                     \
    X("checkpoint.runs.written", "when the runs of a checkpoint are durable and no manifest has " \
                                 "them")                                                          \
    X("checkpoint.manifest.written", "when the new manifest is durable under its temporary name") \
    X("checkpoint.manifest.renamed", "when the new manifest has its name, which may not be "      \
                                     "durable")                                                   \
    X("checkpoint.unlink", "before a file that the manifest no longer names is unlinked")         \
    X("merge.run.written", "when a merged run is durable and no manifest has it")                 \
    X("index.build.begun", "when writers maintain an index and none of its rows is filled in")    \
    X("index.build.filled", "when an index is filled and its row still says that it is built")    \
    X("ingest.written",                                                                           \
      "when the files of rows that are ingested are there, and no part of a body")                \
    X("ingest.taken", "when a body has taken them in and no manifest names them")                 \
    X("ingest.in_force", "when one does, and nobody has seen the rows")                           \
    X("index.body.viewed", "when the picture of a body is held whose rows an index is to have")   \
    X("index.body.sorted", "when the keys of these rows are sorted and none of them is in it")    \
    X("index.body.absorbed", "when the last of them is durable in the body")                      \
    X("space.alter.begun", "when writers heed what a space is being altered to and no row has "   \
                           "been looked at")                                                      \
    X("space.alter.checked", "when all rows fit and the row of the space is the old one")

/* The nth name of the list, from 0; NULL behind the last. Static strings. */
const char *crash_point_name(unsigned number);

/* Arms a point: "name", or "name:n" for its nth pass from now (n >= 1). NULL or "" disarms. Called
 * while no other thread passes a point. ERROR_INVALID with diagnostics: no such name or number. */
int crash_point_arm(const char *text);

/* Kills the process (SIGKILL) if `name` is armed and this is the pass. */
#define crash_point(name)                \
    do {                                 \
        if (crash_point_armed_now(name)) \
            crash_point_kill();          \
    } while (0)

/* Counts a pass; true if `name` is armed and this is the one: once at most, also among several
 * threads. Who is told true does what it wants to leave behind and calls crash_point_kill. */
#define crash_point_armed_now(name)                                                              \
    (__builtin_expect(atomic_load_explicit(&crash_point__armed, memory_order_relaxed), false) && \
     crash_point__pass(name))

/* Ends the process by SIGKILL, after one line in its log that says at which point. */
_Noreturn void crash_point_kill(void);

/* Of the macros. */
extern _Atomic bool crash_point__armed;
bool crash_point__pass(const char *name);

#endif
