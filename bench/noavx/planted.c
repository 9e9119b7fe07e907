/* Runs one instruction of the set that the argument names, then says so. */
#include <stdio.h>
#include <string.h>

#define PLANT(name, code) \
    if (!strcmp(set, name)) known = 1, ({ __asm__ volatile(code ::: "rax", "rcx", "xmm0", "xmm1", "memory"); })

int main(int count, char **arguments) {
    const char *set = count > 1 ? arguments[1] : "";
    int known = 0;
    PLANT("sse4.2", "crc32q %%rcx, %%rcx");
    PLANT("popcnt", "popcnt %%rcx, %%rcx");
    PLANT("movbe", "movbe (%%rsp), %%rax");
    PLANT("aes", "aesenc %%xmm1, %%xmm0");
    PLANT("pclmulqdq", "pclmulqdq $0, %%xmm1, %%xmm0");
    PLANT("lzcnt", "lzcnt %%rcx, %%rcx");
    PLANT("avx", "vxorps %%ymm0, %%ymm0, %%ymm0");
    PLANT("avx2", "vpaddd %%ymm0, %%ymm0, %%ymm0");
    PLANT("fma", "vfmadd213ps %%ymm0, %%ymm0, %%ymm0");
    PLANT("f16c", "vcvtph2ps %%xmm0, %%xmm0");
    PLANT("avx512", "vpxord %%zmm0, %%zmm0, %%zmm0");
    PLANT("bmi1", "andn %%rcx, %%rcx, %%rcx");
    PLANT("bmi2 pdep", "pdep %%rcx, %%rcx, %%rcx");
    PLANT("bmi2 mulx", "mulx %%rcx, %%rcx, %%rax");
    PLANT("adx", "adcx %%rcx, %%rcx");
    if (known) puts("ran");
    return !known;
}
