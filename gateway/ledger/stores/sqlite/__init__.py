"""The embedded store: one SQLite file.

APSW is the one SQLite library of the process: two copies of SQLite in one process break each other's POSIX locks
(https://www.sqlite.org/howtocorrupt.html, section 2.2.1), so nothing here may import `sqlite3`. One connection
belongs to one thread at a time.

`SqliteReader` (`reader.py`) puts together what is read, by subject: `ledgers.py`, `reports.py`, `decisions.py`, each
through `reading.py`. `SqliteStore` (`store.py`) commits, folds and lets go: `opening.py` opens its file and says why
what it commits is durable, `schema.py` brings it up to date, `writing.py` puts a commit into the tables, `log.py` sees
to the write-ahead log. `failing.py` has what goes wrong in words.
"""

from gateway.ledger.stores.sqlite.reader import SqliteReader
from gateway.ledger.stores.sqlite.store import SqliteStore

__all__ = ["SqliteReader", "SqliteStore"]
