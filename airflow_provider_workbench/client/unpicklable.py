"""What holds secrets is not pickled: files, queues and other processes' logs would have them as they are."""

from __future__ import annotations

from typing import Any, NoReturn, SupportsIndex, TypeVar

_T = TypeVar("_T")


class Unpicklable:
    """Refuses to be pickled. Copies are the thing itself: there is no use for a second one."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} is not pickled, since it holds secrets: make it anew where it is needed."
        )

    def __copy__(self: _T) -> _T:
        return self

    def __deepcopy__(self: _T, memo: dict[int, Any]) -> _T:
        return self
