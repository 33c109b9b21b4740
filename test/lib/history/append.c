/* SPDX-License-Identifier: Apache-2.0 */

/* Recording of histories, the table of levels, and the course of a check. */
#include "history/append_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { TOLD_MAX = 3 }; /* anomalies of a kind that are told in words */

const char *append_level_name(enum append_level level)
{
    static const char *const names[] = {"read uncommitted", "read committed", "snapshot",
                                        "serializable"};
    return names[level];
}

const char *append_anomaly_name(enum append_anomaly anomaly)
{
    static const char *const names[] = {"garbage",
                                        "duplicate",
                                        "incompatible orders",
                                        "internal",
                                        "lost append",
                                        "G0",
                                        "G1a",
                                        "G1b",
                                        "G1c",
                                        "lost update (P4)",
                                        "G-single",
                                        "G-nonadjacent",
                                        "G2-item",
                                        "G2",
                                        "real time"};
    return names[anomaly];
}

bool append_forbids(enum append_level level, enum append_anomaly anomaly)
{
    switch (anomaly) {
    case APPEND_INCOMPATIBLE:
    case APPEND_LOST_APPEND:
    case APPEND_G1A:
    case APPEND_G1B:
    case APPEND_G1C:
        return level >= APPEND_READ_COMMITTED;
    case APPEND_LOST_UPDATE:
    case APPEND_G_SINGLE:
    case APPEND_G_NONADJACENT:
        return level >= APPEND_SNAPSHOT;
    case APPEND_G2_ITEM:
    case APPEND_G2:
        return level >= APPEND_SERIALIZABLE;
    default:
        return true;
    }
}

void append_history_create(struct append_history *history)
{
    memset(history, 0, sizeof *history);
}

void append_history_destroy(struct append_history *history)
{
    free(history->txns);
    free(history->ops);
    free(history->values);
}

void append_begin(struct append_history *history, uint32_t session, enum append_level level,
                  uint64_t time)
{
    history_room(history->txns, history->txn_count, history->txn_room, 1);
    history->txns[history->txn_count++] = (struct append_txn){.session = session,
                                                              .level = level,
                                                              .status = APPEND_UNKNOWN,
                                                              .begin = time,
                                                              .end = UINT64_MAX,
                                                              .first = history->op_count};
}

static void op_add(struct append_history *history, const struct append_op *op)
{
    ASSERT(history->txn_count > 0);
    history_room(history->ops, history->op_count, history->op_room, 1);
    history->ops[history->op_count++] = *op;
    history->txns[history->txn_count - 1].count++;
}

void append_value(struct append_history *history, uint32_t key, uint32_t value)
{
    ASSERT(value > 0);
    op_add(history, &(struct append_op){.key = key, .value = value});
}

void append_read(struct append_history *history, uint32_t key, const uint32_t *values,
                 uint32_t count, bool predicate)
{
    history_room(history->values, history->value_count, history->value_room, count);
    if (count > 0)
        memcpy(history->values + history->value_count, values, count * sizeof *values);
    op_add(history, &(struct append_op){.key = key,
                                        .read = true,
                                        .predicate = predicate,
                                        .first = history->value_count,
                                        .count = count});
    history->value_count += count;
}

void append_end(struct append_history *history, enum append_status status, uint64_t time)
{
    struct append_txn *txn = &history->txns[history->txn_count - 1];
    txn->status = status;
    txn->end = status == APPEND_UNKNOWN ? UINT64_MAX : time;
}

void append_history_join(struct append_history *history, const struct append_history *from)
{
    history_room(history->txns, history->txn_count, history->txn_room, from->txn_count);
    history_room(history->ops, history->op_count, history->op_room, from->op_count);
    history_room(history->values, history->value_count, history->value_room, from->value_count);
    for (size_t i = 0; i < from->txn_count; i++) {
        history->txns[history->txn_count + i] = from->txns[i];
        history->txns[history->txn_count + i].first += history->op_count;
    }
    for (size_t i = 0; i < from->op_count; i++) {
        history->ops[history->op_count + i] = from->ops[i];
        history->ops[history->op_count + i].first += history->value_count;
    }
    for (size_t i = 0; i < from->value_count; i++)
        history->values[history->value_count + i] = from->values[i];
    history->txn_count += from->txn_count;
    history->op_count += from->op_count;
    history->value_count += from->value_count;
}

static void say(struct append_report *report, const char *format, va_list args)
{
    size_t room = sizeof report->text - report->text_size;
    int size = vsnprintf(report->text + report->text_size, room, format, args);
    report->text_size += (size_t)size < room ? (size_t)size : room - 1;
}

void append__say(struct append_check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(check->report, format, args);
    va_end(args);
}

void append__found(struct append_check *check, enum append_anomaly anomaly, const char *format, ...)
{
    check->report->total++;
    if (check->report->found[anomaly]++ >= TOLD_MAX)
        return;
    va_list args;
    append__say(check, "%s: ", append_anomaly_name(anomaly));
    va_start(args, format);
    say(check->report, format, args);
    va_end(args);
    append__say(check, "\n");
}

void append__edge(struct append_check *check, const struct append_edge *edge)
{
    if (edge->from == edge->to || !check->committed[edge->from] || !check->committed[edge->to])
        return;
    history_room(check->edges, check->edge_count, check->edge_room, 1);
    check->edges[check->edge_count++] = *edge;
}

bool append_check(const struct append_history *history, const struct append_options *options,
                  struct append_report *report)
{
    struct append_check check = {.history = history, .options = *options, .report = report};
    memset(report, 0, sizeof *report);
    append__lists_find(&check);
    append__reads_check(&check);
    if (options->real_time)
        append__time_add(&check);
    append__cycles_find(&check);
    report->edges = check.edge_count;
    for (size_t i = 0; i < history->txn_count; i++)
        report->committed += check.committed[i];
    for (size_t key = 0; key < check.list_count; key++)
        free(check.lists[key].unseen);
    free(check.lists);
    free(check.written);
    free(check.committed);
    free(check.edges);
    free(check.edge_first);
    return report->total == 0;
}
