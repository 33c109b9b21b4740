/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TXN_BODY_FIXTURE_H
#define TEST_TXN_BODY_FIXTURE_H

/*
 * A head whose rows leave it: the fixture's second one, with the reference engine's body behind it,
 * and checkpoints in the smallest form.
 */
#include "storage/engine.h"
#include "txn/txn_fixture.h"

struct body_fixture {
    struct txn_fixture *txn;
    struct body *body;
    struct head_body published;
    struct txn_index index; /* of the rows */
    uint64_t k;
    unsigned worker; /* whose thread makes the checkpoints */
};

/* Gives fixture->other the body; `worker` has no transaction while a checkpoint is made. */
void body_fixture_open(struct body_fixture *fixture, struct txn_fixture *txn, unsigned worker);

/* Before fixture_close. */
void body_fixture_close(struct body_fixture *fixture);

/* The parts of a checkpoint: what was committed up to K is taken over by the body; readers get the
 * picture that has it; rows are told, and leave as far as snapshots allow. */
void body_fixture_absorb(struct body_fixture *fixture, struct txn_changes *changes);
void body_fixture_publish(struct body_fixture *fixture);
void body_fixture_done(struct body_fixture *fixture, struct txn_changes *changes);

/* All of them, while other threads have the other workers; and with all workers driven by one thread,
 * which collects for each. */
void body_fixture_checkpoint_beside(struct body_fixture *fixture);
void body_fixture_checkpoint(struct body_fixture *fixture);

/* Rows that are in the head. */
size_t body_fixture_resident(const struct body_fixture *fixture);

#endif
