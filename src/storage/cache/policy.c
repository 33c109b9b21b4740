/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of the policies.
 */
#include "storage/cache/policy.h"

#include <string.h>

#include "storage/cache/cache.h"

const struct cache_policy_vtab *const cache_policies[] = {
    &cache_policy_clock, &cache_policy_lru, &cache_policy_2q,       &cache_policy_lru_k,
    &cache_policy_lirs,  &cache_policy_arc, &cache_policy_arc_scan, NULL,
};

const struct cache_policy_vtab *cache_policy_find(const char *name)
{
    for (unsigned i = 0; cache_policies[i] != NULL; i++) {
        if (strcmp(cache_policies[i]->name, name) == 0)
            return cache_policies[i];
    }
    return NULL;
}

const char *cache_policy_name(unsigned number)
{
    for (unsigned i = 0; cache_policies[i] != NULL; i++) {
        if (i == number)
            return cache_policies[i]->name;
    }
    return NULL;
}
