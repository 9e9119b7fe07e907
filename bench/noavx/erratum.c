/* A plug-in of qemu-x86_64: the program ends at the first VEX or EVEX instruction that it comes to.
 *
 * Erratum SKL052 lets CPUID of some Pentiums and Celerons of the sixth generation tell of BMI1 and BMI2, whose
 * instructions then raise #UD.  The emulator runs what its CPUID tells of, so that the lie needs a referee: all
 * BMI instructions but tzcnt (which older processors run as bsf) have a VEX prefix, and in 64-bit mode the bytes
 * c4, c5 and 62 begin nothing else.  Output is the line of where.c; addresses of the guest are those of the host. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is used of the interface, version 1 (QEMU 4.2 and later); Debian has no header for it. */
struct tb;
struct insn;
typedef void translated(uint64_t plugin, struct tb *block);
typedef void executed(unsigned cpu, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, translated *call);
size_t qemu_plugin_tb_n_insns(const struct tb *block);
struct insn *qemu_plugin_tb_get_insn(const struct tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct insn *instruction);
void qemu_plugin_register_vcpu_insn_exec_cb(struct insn *instruction, executed *call, int registers, void *data);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* Prefixes that may stand before those. */
static const char SEGMENT_AND_SIZE[] = "\x26\x2e\x36\x3e\x64\x65\x67";

struct seen {
    uint64_t address;
    unsigned char bytes[16];
};

static void refuse(unsigned cpu, void *data) {
    struct seen *seen = data;
    char line[4096], file[4096] = "memory without a file";
    uint64_t first, last, offset = 0, place = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    (void)cpu;
    while (maps && fgets(line, sizeof line, maps))
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &first, &last, &offset) == 3 &&
            first <= seen->address && seen->address < last) {
            char *path = strchr(line, '/');
            place = seen->address - first + offset;
            if (path) strcpy(file, strtok(path, "\n"));
        }
    fprintf(stderr, "SIGILL ");
    for (size_t at = 0; at < sizeof seen->bytes; at++) fprintf(stderr, "%02x", seen->bytes[at]);
    fprintf(stderr, " %012" PRIx64 " %s\n", place, file);
    _exit(132);
}

static void watch(uint64_t plugin, struct tb *block) {
    (void)plugin;
    for (size_t at = 0; at < qemu_plugin_tb_n_insns(block); at++) {
        struct insn *instruction = qemu_plugin_tb_get_insn(block, at);
        uint64_t address = qemu_plugin_insn_vaddr(instruction);
        /* Not qemu_plugin_insn_data: it has no more bytes than the emulator looked at before it gave up. */
        const unsigned char *bytes = (const unsigned char *)address, *first = bytes;
        while (*first && strchr(SEGMENT_AND_SIZE, *first)) first++;
        if (*first != 0xc4 && *first != 0xc5 && *first != 0x62) continue;
        struct seen *seen = calloc(1, sizeof *seen);
        seen->address = address;
        memcpy(seen->bytes, bytes, sizeof seen->bytes);
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, refuse, 0, seen);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t plugin, const void *info, int count, char **arguments) {
    (void)info, (void)count, (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, watch);
    return 0;
}
