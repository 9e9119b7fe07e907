# No compiler for kernels that are made at run time: named, not tried again, and started once there is one.

# As bare as a path can be; what is named by an absolute path is still found.
BARE = "Environment=PATH=/run/bare\nEnvironment=CC=\n"

machine.start()
machine.succeed("mkdir -p /run/bare /run/full")
machine.succeed("for name in sh env python3 true cat; do ln -sf $(command -v $name) /run/bare/; done")
adjust(PATIENT + BARE)
with case("missing compiler"):
    begin(compiler=True)
    found = named("missing compiler", "jit-no-compiler", decision="stopped", evidence="(?i)compiler")
    stays_stopped(found)

    # A compiler comes: it is a fact that the next start looks at.
    machine.succeed(
        "printf '#!/bin/sh\\nexit 0\\n' >/run/full/cc; chmod 755 /run/full/cc; cp -d /run/bare/* /run/full/"
    )
    machine.succeed("ln -sf cc /run/full/gcc; ln -sf cc /run/full/c++; ln -sf cc /run/full/g++")
    adjust(PATIENT + "Environment=PATH=/run/full\nEnvironment=CC=\n")
    tell(pace=0, compiler=True)
    machine.succeed(f"systemctl start --no-block {UNIT}")
    wait_ready()
    assert completes(), journal()[-3000:]

done()
