"""Entry point: as little as possible before the verb is known, so that the program starts in a blink."""

from __future__ import annotations

import sys


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        from rigappliance import ENGINE_VERSION, __version__

        sys.stdout.write(f"rigappliance {__version__} (vLLM {ENGINE_VERSION})\n")
        return
    try:
        from rigappliance.cli import run

        code = run()
    except KeyboardInterrupt:
        # Ctrl-C before a verb could take it; 130 is ExitCode.INTERRUPTED.
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
