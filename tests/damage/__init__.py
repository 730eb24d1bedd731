"""Damaged and hostile files for everything that reads data, and what becomes of them.

`samples` has a small good file for every source and every suffix of it, `hostile` what is done
to them, and `campaign` reads what comes out in processes of their own, so that a death is seen.
"""
