"""Tables of counts: read from files, and written back to where scientists look."""

from markovbridge.data.tables.source import CountTable
from markovbridge.data.tables.table import Table
from markovbridge.data.tables.writing import write_results, write_table

__all__ = ["CountTable", "Table", "write_results", "write_table"]
