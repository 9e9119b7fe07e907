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
WORDS = 1 << 44


def make_all() -> int:
    """How many became immortal: all that is alive, and what only they refer to; none where this Python cannot.

    To be called between the imports and the fork, before ``gc.freeze``.
    """
    if not is_possible():
        return 0
    made, memory = 0, all_memory()
    count, referents = sys.getrefcount, gc.get_referents
    # The collector does not know strings and numbers; they are found by those that refer to them.
    found: list[object] = gc.get_objects()
    while found:
        fresh = []
        for one in found:
            if count(one) < COUNT:
                memory[id(one) >> 3] = COUNT
                fresh.append(one)
        made += len(fresh)
        found = referents(*fresh)
        # Nor does it look into code.
        found.extend(part for one in fresh if type(one) is CodeType for part in parts_of(one))
    return made


def parts_of(code: CodeType) -> tuple[object, ...]:
    """What running it uses. Names of variables are left: asking for them makes a tuple that each code then keeps."""
    return code.co_consts, code.co_names, code.co_name, code.co_qualname, code.co_filename


def is_possible() -> bool:
    """A Python whose counts are as expected here, with the lock that they rely on."""
    if sys.version_info[:2] not in VERSIONS or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    return sys.maxsize > 1 << 32 and all_memory()[id(None) >> 3] == COUNT


def all_memory() -> ctypes.Array[ctypes.c_uint64]:
    """This process's, in words: setting one costs a third of what an object of ctypes' own for each would."""
    return (ctypes.c_uint64 * WORDS).from_address(0)
