"""Tables of counts: read from files, and written back to where scientists look."""

from markovbridge.data.tables.source import CountTable
from markovbridge.data.tables.table import Table

__all__ = ["CountTable", "Table"]
