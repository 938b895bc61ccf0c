/* Signals: sent to oneself, and a page fault's. */
#include "measure.h"
#include "pin.h"
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile int received;

static void count(int number) {
    received += number;
}

static int prepare_signal(void) {
    signal(SIGUSR1, count);
    return pin();
}

static void send(uint64_t n) {
    pid_t self = getpid();
    while (n--)
        kill(self, SIGUSR1);
    sink = (uint64_t)received;
}

static char *page;

static void allow(int number, siginfo_t *information, void *context) {
    (void)number;
    (void)information;
    (void)context;
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static int prepare_fault(void) {
    struct sigaction action = {0};
    action.sa_sigaction = allow;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, NULL);
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED || pin();
}

static void fault(uint64_t n) {
    while (n--) {
        mprotect(page, 4096, PROT_NONE);
        *(volatile char *)page = 1;
    }
}

const struct measure sys_signals[] = {
    {"sys.signal", send, 0, prepare_signal, NULL},
    {"sys.segv_handler", fault, 0, prepare_fault, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
