/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_MUTATION_SCENE_H
#define TEST_MUTATION_SCENE_H

/*
 * Scenes: each plays one interleaving or one course of events, and looks whether anything was lost.
 * It is played with all rules in force, and must find nothing, and then with one rule out, and must
 * find the damage: so the rule is needed, and the scene would notice its absence.
 *
 * Each time in a process of its own, which ends without further ado when the damage has been seen:
 * an engine without one of its rules can't be trusted to clean up.
 */
#include <stddef.h>

#include "base/mutation.h"

struct scene {
    const char *name;       /* what holds: a sentence */
    enum mutation mutation; /* what is taken out */
    /* Opens what it needs, plays, closes, and returns NULL; or says what went wrong, leaving all as
     * it is. */
    const char *(*play)(void);
};

/* Sets what is done when a point is passed for the first time from now; NULL: nothing. Points passed
 * by what is called there are ignored, until it sets another. */
void scene_at(enum mutation_at at, void (*step)(void));

/* How often the point of the last scene_at was passed. */
unsigned scene_passed(void);

/* Ends the scene at once: for steps that cannot return any more. */
_Noreturn void scene_found(const char *what);

/* The main function of a program: plays all of them, or those that the command line names. */
int scenes_main(int argc, char **argv, const struct scene *scenes, size_t count);

#define SCENE(function, without)                                            \
    {                                                                       \
        .name = #function, .mutation = MUTATION_##without, .play = function \
    }

/* In a scene: returns what went wrong unless the condition holds. */
#define SCENE_EXPECT(condition, what) \
    do {                              \
        if (!(condition))             \
            return (what);            \
    } while (0)

#endif
