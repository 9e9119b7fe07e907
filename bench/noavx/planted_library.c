/* A library that dies when it is opened on a processor without AVX. */
__attribute__((constructor)) static void start(void) { __asm__ volatile("vxorps %%ymm0, %%ymm0, %%ymm0" ::: "xmm0"); }
