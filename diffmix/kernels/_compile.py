"""How loops are compiled: quickly, to the same results, and kept on disk.

`kernel` makes what Python calls, without a second entry for C. `inner` makes what only kernels call: no entry from
Python and no file of its own, as it becomes a part of theirs. Both take further options of `numba.njit`. A division by
zero gives infinity or NaN, and no check.

What costs more than it looks like: an array assigned to a slice (one or two seconds, for the text of an error; see
`copy`), an inner function called with a literal here and a variable there (compiled twice), arithmetic on whole arrays,
and every further function (a tenth of a second, however short).
"""

import warnings
from functools import partial
from typing import Any

from numba import njit


def kept() -> bool:
    """Whether compiled loops can be kept: numba looks for a folder beside this one, then among the user's caches."""
    try:
        njit(cache=True)(kept)
    except RuntimeError:
        told = (
            "compiled effects cannot be kept, so each process compiles them: set NUMBA_CACHE_DIR to a writable folder"
        )
        warnings.warn(told, RuntimeWarning, stacklevel=2)
        return False
    return True


kernel: Any = partial(njit, nogil=True, cache=kept(), no_cfunc_wrapper=True, error_model="numpy")
inner: Any = partial(njit, nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True, error_model="numpy")


@inner
def copy(source, target):
    """``target[:] = source`` of flat arrays, without looking whether the source is as long."""
    for i in range(len(target)):
        target[i] = source[i]
