"""The manners of scikit-learn, without depending on it.

The constructor stores its arguments under their names and does nothing else; `fit` sets
attributes that end in an underscore. So `sklearn.base.clone`, pipelines, cross-validation and
searches over parameters work (https://scikit-learn.org/stable/developers/develop.html).
"""

from __future__ import annotations

import inspect
from typing import Any, Self

from markovbridge import doors


class Estimator:
    """What scikit-learn asks of an estimator beside `fit`."""

    @classmethod
    def _parameters(cls) -> dict[str, Any]:
        """Arguments of the constructor by name, with their defaults."""
        given = inspect.signature(cls).parameters.items()
        return {name: parameter.default for name, parameter in given}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, as they were given."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Replace arguments of the constructor.

        Raises:
            ValueError: If there is none of that name.
        """
        known = self._parameters()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, usual in self._parameters().items()
            if getattr(self, name) is not usual and getattr(self, name) != usual
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags  # only scikit-learn calls this

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(sparse=True, positive_only=True),
        )


doors.guard(__name__)
