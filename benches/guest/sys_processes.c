/* Processes and threads: made, waited for, and handing a byte to each other. */
#include "measure.h"
#include "pin.h"
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char *const ARGUMENTS[] = {"measures", "--true", NULL}, *const ENVIRONMENT[] = {NULL};

static void fork_wait(uint64_t n) {
    while (n--) {
        pid_t child = fork();
        if (!child)
            _exit(0);
        waitpid(child, NULL, 0);
    }
}

static void must_have_run(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || status) {
        fputs("cannot run itself\n", stderr);
        exit(1);
    }
}

static void fork_exec(uint64_t n) {
    while (n--) {
        pid_t child = fork();
        if (!child) {
            execve("/proc/self/exe", ARGUMENTS, ENVIRONMENT);
            _exit(1);
        }
        must_have_run(child);
    }
}

static void vfork_exec(uint64_t n) {
    while (n--) {
        pid_t child = vfork();
        if (!child) {
            execve("/proc/self/exe", ARGUMENTS, ENVIRONMENT);
            _exit(1);
        }
        must_have_run(child);
    }
}

/* Reading ends first, as pipe(2) gives them. */
static void ping_pong(const int *there, const int *back, uint64_t n) {
    char c = 1;
    pid_t child = fork();
    if (!child) {
        for (uint64_t i = 0; i < n; i++)
            if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1)
                _exit(1);
        _exit(0);
    }
    for (uint64_t i = 0; i < n; i++)
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
            exit(1);
    waitpid(child, NULL, 0);
}

static void through_pipes(uint64_t n) {
    int there[2], back[2];
    if (pipe(there) || pipe(back))
        exit(1);
    ping_pong(there, back, n);
    for (int i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
}

static void through_sockets(uint64_t n) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        exit(1);
    int there[2] = {ends[1], ends[0]}, back[2] = {ends[0], ends[1]};
    ping_pong(there, back, n);
    close(ends[0]);
    close(ends[1]);
}

static void *nothing(void *argument) {
    return argument;
}

static void threads(uint64_t n) {
    while (n--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL))
            exit(1);
        pthread_join(thread, NULL);
    }
}

const struct measure sys_processes[] = {
    {"sys.fork_wait", fork_wait, 0, pin, NULL},
    {"sys.fork_exec_wait", fork_exec, 0, pin, NULL},
    {"sys.vfork_exec_wait", vfork_exec, 0, pin, NULL},
    {"sys.pipe_roundtrip", through_pipes, 0, pin, NULL},
    {"sys.unix_roundtrip", through_sockets, 0, pin, NULL},
    {"sys.thread_create", threads, 0, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
