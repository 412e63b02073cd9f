"""Editing pictures by text. The folder can be called: `clipdiff_jax.edit(...)` is `edit.api.edit`.

The public function and this folder have one name in the package, and Python binds it to the folder
as soon as any module in here is imported. So the folder answers as the function does.
"""

import inspect
import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A module that is called as `edit.api.edit` is."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from clipdiff_jax.edit.api import edit

        return edit(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        from clipdiff_jax.edit.api import edit

        return inspect.signature(edit)


sys.modules[__name__].__class__ = _Callable
