/* Threads of this process that lend a hand with one piece of work at a time; see helpers.c. */
#ifndef OMENDB_HELPERS_H
#define OMENDB_HELPERS_H

#include <stddef.h>

/* Has `work` called with `job` by this thread, and meanwhile by up to `most` others; returns when all of
 * these calls have. `work` must do with being called once, and return when there is nothing left to do. */
void helpers_do(void (*work)(void *job), void *job, size_t most);

/* How many threads there are. */
size_t helpers_count(void);

/* Have all of them leave, and wait until they have. They come again when they are asked for. */
void helpers_dismiss(void);

#endif
