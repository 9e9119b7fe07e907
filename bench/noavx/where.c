/* Says where an illegal instruction was: preloaded into the emulated program, it prints one line
 *     SIGILL BYTES OFFSET FILE
 * and lets the signal kill.  Only write(2), open(2) and read(2) are called: a handler may call no more. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { SHOWN_BYTES = 16, MAPS_BYTES = 1 << 22 };

static char maps[MAPS_BYTES];

static char *hexadecimal(char *to, uint64_t value, int digits) {
    for (int at = digits - 1; at >= 0; at--) *to++ = "0123456789abcdef"[value >> (4 * at) & 15];
    return to;
}

static char *parse(char *from, uint64_t *value) {
    for (*value = 0;; from++) {
        char c = *from;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return from;
        *value = *value << 4 | (uint64_t)digit;
    }
}

/* The line of /proc/self/maps that holds the address: its path, where the mapping starts and its offset in the file. */
static char *mapped_file(uint64_t address, uint64_t *start, uint64_t *offset) {
    size_t length = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; fd >= 0 && (got = read(fd, maps + length, MAPS_BYTES - 1 - length)) > 0;) length += (size_t)got;
    if (fd >= 0) close(fd);
    maps[length] = 0;
    for (char *line = maps, *end; *line; line = end + 1) {
        uint64_t first, last;
        end = strchrnul(line, '\n');
        int is_last = !*end;
        *end = 0;
        char *at = parse(line, &first);
        at = parse(at + 1, &last);
        if (first <= address && address < last) {
            at = strchrnul(at + 1, ' ');
            parse(at + 1, offset);
            *start = first;
            char *path = strchr(at, '/');
            return path ? path : "memory without a file";
        }
        if (is_last) break;
    }
    *start = *offset = 0;
    return "memory that is not mapped";
}

static void say(int number, siginfo_t *information, void *context) {
    static char text[128 + 2 * SHOWN_BYTES] = "SIGILL ";
    uint64_t address = (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP], start, offset;
    char *file = mapped_file(address, &start, &offset), *to = text + 7;
    (void)information;
    for (int at = 0; at < SHOWN_BYTES; at++) to = hexadecimal(to, ((unsigned char *)address)[at], 2);
    *to++ = ' ';
    to = hexadecimal(to, address - start + offset, 12);
    *to++ = ' ';
    signal(number, SIG_DFL);
    if (write(2, text, (size_t)(to - text)) + write(2, file, strlen(file)) + write(2, "\n", 1) < 0) _exit(132);
    /* The instruction is run again when the handler returns, and kills. */
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action = {.sa_sigaction = say, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, 0);
}
