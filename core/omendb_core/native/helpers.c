/* Helpers wait here, in C, and touch nothing of Python: no interpreter waits for them, nor they for it.
 *
 * A helper that has nothing to do looks out for more for a moment, as waking it takes 50 us, then waits, and
 * ends after some seconds. There is one piece of work at a time: whoever comes while there is one does its
 * own alone. Whoever had to wait long for a helper, which the system had put aside for somebody else, does
 * without for some calls, twice as many each time (as engine/reads/split_scan.py does, of the same numbers).
 *
 * A forked process begins with none.
 */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#include "helpers.h"

#if defined(_WIN32)

void helpers_do(void (*work)(void *job), void *job, size_t most)
{
    (void)most;
    work(job);
}

size_t helpers_count(void)
{
    return 0;
}

void helpers_dismiss(void)
{
}

#else

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define MOST_HELPERS 63
/* Some 20 us of looking out. */
#define LOOKS 500
#define IDLE_SECONDS 5
/* To wait longer for a helper than this part of one's own work, and than so many ns, is long. */
#define LATE_PART 0.5
#define LATE_NS 200e3
#define FIRST_REST_CALLS 4
#define MOST_REST_CALLS 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_work = PTHREAD_COND_INITIALIZER, has_ended = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Under the lock; `open` is looked at without it, too. */
static void (*work_now)(void *job);
static void *job_now;
static bool is_busy;         /* there is a piece of work */
static atomic_size_t open;   /* so many helpers more may join it, */
static atomic_size_t active; /* and so many work on it */
static size_t helpers;
static bool is_dismissing;
static size_t rest_calls, next_rest_calls = FIRST_REST_CALLS;

static void pause_a_moment(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* By the thread that forked, which is the only one. */
static void in_child(void)
{
    pthread_cond_init(&has_work, NULL);
    pthread_cond_init(&has_ended, NULL);
    is_busy = is_dismissing = false;
    atomic_store(&open, 0);
    atomic_store(&active, 0);
    helpers = 0;
    pthread_mutex_unlock(&lock);
}

static void once_only(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

/* Wait until there is something to do, with the lock. False: time to leave. */
static bool wait_for_work(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += IDLE_SECONDS;
    int error = 0;
    while (atomic_load(&open) == 0 && !is_dismissing && error == 0)
        error = pthread_cond_timedwait(&has_work, &lock, &end);
    return atomic_load(&open) > 0;
}

static void *help(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    while (wait_for_work()) {
        void (*work)(void *job) = work_now;
        void *job = job_now;
        atomic_fetch_sub(&open, 1);
        atomic_fetch_add(&active, 1);
        pthread_mutex_unlock(&lock);
        work(job);
        if (atomic_fetch_sub(&active, 1) == 1) {
            pthread_mutex_lock(&lock);
            pthread_cond_broadcast(&has_ended);
            pthread_mutex_unlock(&lock);
        }
        for (int look = 0; look < LOOKS && atomic_load(&open) == 0; look++)
            pause_a_moment();
        pthread_mutex_lock(&lock);
    }
    helpers--;
    pthread_cond_broadcast(&has_ended);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* Have `count` helpers, with the lock, as far as the system gives as many. They take no signals. */
static void start(size_t count)
{
    sigset_t all, before;
    pthread_attr_t detached;
    pthread_t thread;
    if (helpers >= count || pthread_attr_init(&detached) != 0)
        return;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (helpers < count && pthread_create(&thread, &detached, help, NULL) == 0)
        helpers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
}

/* Whether there is a piece of work for helpers from now on. */
static bool offer(void (*work)(void *job), void *job, size_t most)
{
    bool is_offered = false;
    pthread_mutex_lock(&lock);
    if (!is_busy && !is_dismissing && rest_calls == 0) {
        most = most < MOST_HELPERS ? most : MOST_HELPERS;
        start(most);
        most = most < helpers ? most : helpers;
        is_busy = is_offered = most > 0;
        work_now = work;
        job_now = job;
        atomic_store(&open, most);
        pthread_cond_broadcast(&has_work);
    } else if (!is_busy && rest_calls > 0) {
        rest_calls--;
    }
    pthread_mutex_unlock(&lock);
    return is_offered;
}

/* Nobody joins any more; wait for those who did. */
static void wait_for_helpers(void)
{
    pthread_mutex_lock(&lock);
    atomic_store(&open, 0);
    pthread_mutex_unlock(&lock);
    for (int look = 0; look < LOOKS && atomic_load(&active) > 0; look++)
        pause_a_moment();
    pthread_mutex_lock(&lock);
    while (atomic_load(&active) > 0)
        pthread_cond_wait(&has_ended, &lock);
    is_busy = false;
    pthread_cond_broadcast(&has_ended);
}

static void note(double own_ns, double waited_ns)
{
    if (waited_ns > LATE_NS && waited_ns > LATE_PART * own_ns) {
        rest_calls = next_rest_calls;
        next_rest_calls = 2 * rest_calls < MOST_REST_CALLS ? 2 * rest_calls : MOST_REST_CALLS;
    } else {
        size_t fewer = next_rest_calls / 2;
        next_rest_calls = fewer > FIRST_REST_CALLS ? fewer : FIRST_REST_CALLS;
    }
}

void helpers_do(void (*work)(void *job), void *job, size_t most)
{
    pthread_once(&once, once_only);
    if (most == 0 || !offer(work, job, most)) {
        work(job);
        return;
    }
    const double began = now_ns();
    work(job);
    const double worked = now_ns();
    wait_for_helpers();
    note(worked - began, now_ns() - worked);
    pthread_mutex_unlock(&lock);
}

size_t helpers_count(void)
{
    pthread_mutex_lock(&lock);
    const size_t count = helpers;
    pthread_mutex_unlock(&lock);
    return count;
}

void helpers_dismiss(void)
{
    pthread_mutex_lock(&lock);
    is_dismissing = true;
    pthread_cond_broadcast(&has_work);
    while (helpers > 0 || is_busy)
        pthread_cond_wait(&has_ended, &lock);
    is_dismissing = false;
    pthread_mutex_unlock(&lock);
}

#endif
