"""What is kept in files: whole or not at all, read as plain data, by public names.

| module | what it does |
|---|---|
| `files`, `locks` | one writing of everything, and one process at a time in a folder |
| `documents`, `reading` | YAML and JSON within bounds; errors that name the file |
| `config`, `parts`, `public_names` | objects as configuration, and what a file may name |
| `errors` | the error of wrong names, and what was meant instead |
| `png` | pictures as bytes |
| `lazily` | what is imported when it is asked for: public names, optional packages |
"""

__all__: list[str] = []
