"""What the student's object is: a prediction, or a recalled fact."""

from __future__ import annotations

from typing import Any

import numpy as np

from graders.values.plain import Plain, plain


def value(answer: Any) -> Plain:
    """The student's object itself, as plain data: a prediction.

    A dtype, and the class of an exception, become their names.
    """
    if isinstance(answer, type) and issubclass(answer, BaseException):
        return answer.__name__
    dtype = getattr(answer, "dtype", None) if isinstance(answer, type) else answer
    if isinstance(answer, type) and issubclass(answer, np.generic):
        dtype = np.dtype(answer)
    return dtype.name if isinstance(dtype, np.dtype) else plain(answer)
