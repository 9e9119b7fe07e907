"""Objects that stay for good are made immortal, so that nobody writes their reference counts any more.

Whoever uses an object of Python's writes its count, and a page that is written to is no longer shared after a fork:
a third of what was imported became each process's own that way.  From Python 3.12 on there is a count that is never
written (PEP 683), which `None` has, and 3.12 and 3.13 keep it in the same word.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig
from types import CodeType

VERSIONS = ((3, 12), (3, 13))
# Include/object.h, _Py_IMMORTAL_REFCNT, on machines of 64 bits.
COUNT = 0xFFFF_FFFF


def make_all() -> int:
    """How many became immortal: all that is alive, and what only they refer to; none where this Python cannot.

    To be called between the imports and the fork, before ``gc.freeze``.
    """
    if not is_possible():
        return 0
    made = 0
    count, word, referents = sys.getrefcount, ctypes.c_uint64.from_address, gc.get_referents
    # The collector does not know strings and numbers; they are found by those that refer to them.
    found: list[object] = gc.get_objects()
    while found:
        one = found.pop()
        if count(one) >= COUNT:
            continue
        word(id(one)).value = COUNT
        made += 1
        # Nor does it look into code.
        found.extend(parts_of(one) if type(one) is CodeType else referents(one))
    return made


def parts_of(code: CodeType) -> tuple[object, ...]:
    return (
        code.co_consts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_name,
        code.co_qualname, code.co_filename, code.co_linetable, code.co_exceptiontable,
    )  # fmt: skip


def is_possible() -> bool:
    """A Python whose counts are as expected here, with the lock that they rely on."""
    if sys.version_info[:2] not in VERSIONS or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    return sys.maxsize > 1 << 32 and ctypes.c_uint64.from_address(id(None)).value == COUNT
