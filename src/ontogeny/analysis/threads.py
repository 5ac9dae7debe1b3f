"""Linear algebra on one thread: for matrices of hundreds of rows more threads only wait."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

P = ParamSpec("P")
T = TypeVar("T")


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function use one thread of BLAS.

    Beside other work on the same cores it is then ten times as fast and more, because threads that
    wait for each other do not hold them. Results do not depend on the number of cores either.

    Args:
        function: Any.

    Examples:
        >>> on_one_thread(abs)(-2)
        2
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> T:
        with threadpool_limits(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
