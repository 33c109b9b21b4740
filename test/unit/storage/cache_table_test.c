/* SPDX-License-Identifier: Apache-2.0 */

/* The page table of a shard by itself: what is found while entries come, go, and move, and what stands beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "storage/cache/cache_table.h"

enum { FRAMES = 400, STEPS = 20000, CLUSTERS = 16, FILE_NUMBER = 7, FETCH = 320 };

struct entry {
    struct cache_frame frame;
    bool present, located;
    char data;
};

static struct entry entries[FRAMES];

/* Hashes come close to one another, so that entries stand in rows and move when one of them goes. */
static void entry_create(struct entry *entry, uint64_t offset)
{
    atomic_init(&entry->frame.file, FILE_NUMBER);
    atomic_init(&entry->frame.offset, offset);
    entry->frame.hash = offset % CLUSTERS | offset << 48;
    entry->frame.data = &entry->data;
}

static void entry_turn(struct cache_table *table, struct entry *entry)
{
    if (!entry->present) {
        assert_int_equal(cache_table_reserve(table), 0);
        cache_table_insert(table, &entry->frame);
        entry->present = true;
    } else if (!entry->located) {
        cache_table_locate(table, &entry->frame);
        entry->located = true;
    } else {
        cache_table_remove(table, &entry->frame);
        entry->present = entry->located = false;
    }
}

static void all_found(const struct cache_table *table)
{
    for (uint64_t i = 0; i < FRAMES; i++) {
        struct entry *entry = &entries[i];
        struct cache_frame *found = entry->present ? &entry->frame : NULL;
        assert_ptr_equal(cache_table_find(table, FILE_NUMBER, i, entry->frame.hash), found);
        assert_ptr_equal(cache_table_look(table, FILE_NUMBER, i, entry->frame.hash, FETCH), found);
    }
}

static void data_beside(const struct cache_table *table)
{
    const struct cache_slots *slots = load_relaxed(&table->slots);
    uint64_t count = 0;
    for (uint64_t i = 0; i <= slots->mask; i++) {
        uint64_t word = load_relaxed(&slots->places[i].word);
        if (word == 0)
            continue;
        const struct entry *entry = (const struct entry *)(const void *)cache_table_frame(word);
        uintptr_t data = load_relaxed(&slots->places[i].data);
        assert_int_equal(data, entry->located ? (uintptr_t)entry->frame.data : 0);
        count++;
    }
    assert_int_equal(count, table->count);
}

static void what_is_in_the_table_is_found_and_its_data_stand_beside_it(void **state)
{
    struct cache_table table;
    struct random random;
    (void)state;
    random_create(&random, test_seed());
    assert_int_equal(cache_table_create(&table), 0);
    for (uint64_t i = 0; i < FRAMES; i++)
        entry_create(&entries[i], i);
    for (unsigned step = 0; step < STEPS; step++) {
        entry_turn(&table, &entries[random_below(&random, FRAMES)]);
        if (step % 64 == 0) {
            all_found(&table);
            data_beside(&table);
        }
    }
    cache_table_destroy(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_the_table_is_found_and_its_data_stand_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
