"""Options: words, or a file, become the fields of a class, checked by its annotations.

`parser.parse` reads both; `hints` says what annotations say of an option, `from_file` what a
file may give, and `explain` what is wrong with what was given.
"""

__all__: list[str] = []
