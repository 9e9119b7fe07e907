"""The rig's Pentium G4400, as flags of the kernel and as a model of the emulator.

Flags: those that the kernel lists on a real G4400 (https://pastebin.com/3AN81NKk, an lshw report, read 2026-11-23),
without what only a kernel or a BIOS uses.  A Celeron G3900, the same die and stepping, adds adx and mpx
(sysinfo test data of a public Go agent, microcode 0xea); what one of the two lacks is left out here.
Neither lists avx, avx2, f16c, fma, bmi1 or bmi2.

Erratum SKL052 of Intel's "6th Generation Intel Processor Family Specification Update" (quoted in
https://github.com/rust-lang/stdarch/pull/1249): CPUID of such processors may tell of BMI1 and BMI2 all the same,
unless the BIOS mends it, and their instructions raise #UD.  ``ERRATUM`` is that processor.
"""

from __future__ import annotations

from dataclasses import dataclass

NAME = "Intel(R) Pentium(R) CPU G4400 @ 3.30GHz"
CORES = 2

FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht syscall "
    "nx pdpe1gb rdtscp lm pni pclmulqdq monitor ssse3 cx16 sse4_1 sse4_2 movbe popcnt aes xsave rdrand lahf_lm abm "
    "3dnowprefetch fsgsbase erms rdseed smap clflushopt xsaveopt"
)
# What the emulator's Skylake has and a G4400 has not.
ABSENT = ("avx", "avx2", "f16c", "fma", "adx", "mpx", "hle", "rtm")
BMI = ("bmi1", "bmi2")
# What a G4400 has and the emulator has not: it says so for every program that it starts.
NOT_EMULATED = ("pcid", "x2apic", "tsc-deadline", "invpcid", "rdseed", "3dnowprefetch", "xsavec")


@dataclass(frozen=True)
class Processor:
    """``plugin``: a source beside this file that has to watch the program, or none."""

    name: str
    absent: tuple[str, ...]
    told: tuple[str, ...] = ()
    plugin: str | None = None

    @property
    def model(self) -> str:
        """The argument of ``qemu-x86_64 -cpu``."""
        less = [f"-{feature}" for feature in (*self.absent, *NOT_EMULATED)]
        return ",".join(["Skylake-Client", f"model-id={NAME}", *less])

    @property
    def cpuinfo(self) -> str:
        """``/proc/cpuinfo``, which the emulator leaves as it is on the machine that it runs on."""
        block = (
            "processor\t: {index}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 94\n"
            f"model name\t: {NAME}\nstepping\t: 3\nphysical id\t: 0\nsiblings\t: {CORES}\n"
            f"core id\t\t: {{index}}\ncpu cores\t: {CORES}\nflags\t\t: {' '.join((FLAGS, *self.told))}\n\n"
        )
        return "".join(block.format(index=index) for index in range(CORES))


G4400 = Processor("G4400", (*ABSENT, *BMI))
ERRATUM = Processor("G4400 with erratum SKL052", ABSENT, told=BMI, plugin="erratum.c")
