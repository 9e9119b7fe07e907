"""The guest's image: Debian from the distribution's packages, as a disk, a kernel and an initial file system."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shlex
import shutil
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.vmtest import cache
from rigappliance.vmtest.initrd import initrd
from rigappliance.vmtest.programs import program, run

SUITE = "trixie"
BASE_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "linux-image-cloud-amd64",
    "busybox-static",
    "python3",
    "python3-venv",
    "kmod",
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
    "util-linux",
    "mount",
    "procps",
    "iproute2",
    "zstd",
)
# Sparse: what the guest does not write costs the host nothing.
DISK_BYTES = 8 * 1024**3
JOURNAL_MIB = 32

# Chosen by the operator of the host, never by the tree; without it mmdebstrap has a default.
MIRROR_VARIABLE = "RIGAPPLIANCE_VMTEST_MIRROR"

BOOTSTRAP_TIMEOUT_S = 1800.0
DISK_TIMEOUT_S = 600.0

CONTROL_DIRECTORY = "/opt/rigappliance/control"
WHEELS_IN_GUEST = "/var/cache/vmtest-wheels"
REQUIREMENTS = "requirements.txt"

# Jobs of a long-lived host: in a guest that wakes up from a saved state they would all be due at once.
MASKED_UNITS = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    "xfs_scrub_all.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
)

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Wheels:
    """Wheels for the guest's Python that become the environment ``/opt/rigappliance/control`` of an image."""

    directory: Path
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """What an image is made from. ``packages`` come on top of the base; ``control`` is baked in where it is given."""

    suite: str = SUITE
    packages: tuple[str, ...] = ()
    disk_bytes: int = DISK_BYTES
    control: Wheels | None = None

    @property
    def key(self) -> str:
        """Name of everything that goes into the image, this program's own text included."""
        wheels = () if self.control is None else sorted(path.name for path in self.control.directory.glob("*.whl"))
        requirements = () if self.control is None else self.control.requirements
        return cache.key_of(
            self.suite, sorted(self.packages), self.disk_bytes, wheels, requirements, _own_text(), _mirror()
        )


@dataclass(frozen=True)
class Image:
    """A made image: never written to, only laid under overlays."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.ext4"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"


def image(recipe: Recipe | None = None) -> Image:
    """The recipe's image, made where it is not in the cache yet.

    Raises ``PreflightError`` where a program is missing, ``ImageError`` where a
    step failed.
    """
    wanted = recipe or Recipe()
    return Image(cache.entry("image", wanted.key, lambda directory: _make(wanted, directory), whole=_whole))


def _whole(directory: Path) -> bool:
    made = Image(directory)
    return made.disk.is_file() and made.kernel.is_file() and made.initrd.is_file()


def _make(recipe: Recipe, directory: Path) -> None:
    if platform.machine() != "x86_64":
        raise PreflightError(
            f"this machine is {platform.machine()}", "guests are x86_64", "run these tests on an x86_64 machine"
        )
    with tempfile.TemporaryDirectory(prefix="rigappliance-vmtest-") as work:
        archive = Path(work) / "root.tar"
        _bootstrap(recipe, Path(work), archive)
        _make_disk(recipe, archive, directory)


def _bootstrap(recipe: Recipe, work: Path, archive: Path) -> None:
    files = work / "files.tar"
    _write_guest_files(files)
    argv = [
        program("mmdebstrap"),
        "--variant=minbase",
        "--architectures=amd64",
        f"--include={','.join((*BASE_PACKAGES, *recipe.packages))}",
        *_proxies(),
        f"--customize-hook=tar-in {shlex.quote(str(files))} /",
    ]
    if recipe.control is not None:
        wheels = work / "wheels.tar"
        _write_wheels(wheels, recipe.control)
        argv.append(f"--customize-hook=tar-in {shlex.quote(str(wheels))} /")
        argv.append(f"--customize-hook={_install_wheels()}")
    # The host's proxy is nothing for the guest.
    argv.append('--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"')
    argv += [recipe.suite, str(archive), *_mirror()]
    run(argv, doing=f"making a Debian {recipe.suite} from its packages", timeout_s=BOOTSTRAP_TIMEOUT_S)


def _make_disk(recipe: Recipe, archive: Path, directory: Path) -> None:
    made = Image(directory)
    root = archive.parent / "root"
    root.mkdir()
    # The kernel provides devices itself, and Debian's initial file system gives way to ours.
    unpack = [program("tar"), "--extract", "--preserve-permissions", "--numeric-owner"]
    unpack += [f"--file={archive}", f"--directory={root}", "--exclude=./dev/*", "--exclude=./boot/initrd.img*"]
    fill = [program("mke2fs"), "-q", "-t", "ext4", "-L", "root", "-d", str(root), "-E", "root_owner=0:0"]
    fill += ["-J", f"size={JOURNAL_MIB}", str(made.disk), f"{recipe.disk_bytes // 1024}k"]
    # Owners of files are root and others; an ordinary user can only pretend that, and reads no file of mode 0.
    readable = ["find", str(root), "-type", "f", "!", "-perm", "-400", "-exec", "chmod", "u+r", "{}", "+"]
    steps = " && ".join(shlex.join(step) for step in (unpack, readable, fill))
    prefix = [] if os.geteuid() == 0 else [program("fakeroot"), "--"]
    run([*prefix, "/bin/sh", "-c", steps], doing="making the guest's disk", timeout_s=DISK_TIMEOUT_S)
    kernels = sorted((root / "boot").glob("vmlinuz-*"))
    made.initrd.write_bytes(initrd(root, (HERE / "guest" / "init").read_bytes()))
    shutil.copyfile(kernels[-1], made.kernel)


def _install_wheels() -> str:
    """Command for mmdebstrap; it runs natively, and so compiles Python's files in seconds."""
    python = f"{CONTROL_DIRECTORY}/bin/python"
    script = (
        f"set -eu; python3 -m venv {CONTROL_DIRECTORY}; "
        f"{python} -m pip install --quiet --isolated --disable-pip-version-check --no-cache-dir --no-compile "
        f"--no-index --find-links {WHEELS_IN_GUEST} --requirement {WHEELS_IN_GUEST}/{REQUIREMENTS}; "
        f"rm -r {WHEELS_IN_GUEST}; "
        # mmdebstrap sets times after its own start back to that, and Python compiles anew what is not of its time.
        f"find {CONTROL_DIRECTORY} -exec touch --no-dereference --date=@{int(time.time())} {{}} +; "
        f"{python} -m compileall -q {CONTROL_DIRECTORY}"
    )
    # The host's environment may configure pip, for places that the guest does not have.
    clean = "env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root"
    return f'chroot "$1" {clean} sh -c {shlex.quote(script)}'


def _write_guest_files(path: Path) -> None:
    guest = HERE / "guest"
    units = "etc/systemd/system"
    # systemd looks for caches to rebuild where these are older than /usr.
    stamps = {"etc/.updated": b"", "var/.updated": b""}
    with tarfile.open(path, "w") as archive:
        _add(archive, "usr/lib/vmtest/shell", (guest / "shell").read_bytes(), mode=0o755)
        _add(archive, f"{units}/vmtest-shell.service", (guest / "shell.service").read_bytes())
        _add_link(archive, f"{units}/multi-user.target.wants/vmtest-shell.service", "../vmtest-shell.service")
        for unit in MASKED_UNITS:
            _add_link(archive, f"{units}/{unit}", "/dev/null")
        # mmdebstrap leaves the host's there.
        _add(archive, "etc/resolv.conf", b"")
        _add(archive, "etc/hostname", b"machine\n")
        _add(archive, "etc/hosts", b"127.0.0.1 localhost machine\n::1 localhost\n")
        _add(archive, "etc/machine-id", hashlib.sha256(b"rigappliance.vmtest").hexdigest()[:32].encode() + b"\n")
        for name, data in stamps.items():
            _add(archive, name, data)


def _write_wheels(path: Path, wheels: Wheels) -> None:
    base = WHEELS_IN_GUEST.lstrip("/")
    with tarfile.open(path, "w") as archive:
        for wheel in sorted(wheels.directory.glob("*.whl")):
            _add(archive, f"{base}/{wheel.name}", wheel.read_bytes())
        _add(archive, f"{base}/{REQUIREMENTS}", "".join(f"{line}\n" for line in wheels.requirements).encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = mode
    member.mtime = int(time.time())
    archive.addfile(member, io.BytesIO(data))


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    member.mtime = int(time.time())
    archive.addfile(member)


def _mirror() -> list[str]:
    return os.environ.get(MIRROR_VARIABLE, "").split()


def _proxies() -> list[str]:
    """The host's own setting for its package manager; mmdebstrap starts without it."""
    if shutil.which("apt-config") is None:
        return []
    options = []
    for scheme in ("http", "https"):
        name = f"Acquire::{scheme}::Proxy"
        dump = run([program("apt-config"), "dump", "--format=%v%n", name], doing="reading apt's proxy", timeout_s=60)
        if dump.strip():
            options.append(f'--aptopt={name} "{dump.strip()}";')
    return options


def _own_text() -> list[str]:
    texts = [HERE / "image.py", HERE / "initrd.py", *sorted((HERE / "guest").iterdir())]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in texts]
