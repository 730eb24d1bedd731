"""Doors: what comes in from outside is checked here, arguments and seeds.

| module | what it does |
|---|---|
| `guarding` | makes the public functions and classes of a module check their arguments |
| `kinds`, `annotations` | what annotations say of arguments |
| `checks` | one sentence for each kind of wrong value, for what annotations cannot say |
| `randomness` | generators as a pure function of integers |
"""

from markovbridge.doors.guarding import guard

__all__ = ["guard"]
