"""The gradebook's tables, and how a file is opened as one.

WAL and ``synchronous=FULL``: what a finished transaction wrote survives ``kill -9``. The history
can be added to and never changed; triggers see to it. Source: SQLite's pages on WAL and PRAGMA.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from course_lib.errors import DataError

VERSION = 1
_TABLES = """
CREATE TABLE students(student TEXT PRIMARY KEY, name TEXT, course TEXT, enrolled INTEGER);
CREATE TABLE submissions(id INTEGER PRIMARY KEY, student TEXT, file TEXT, sha256 TEXT,
  handed_in TEXT, graded TEXT, late_seconds INTEGER, status TEXT, UNIQUE(student, sha256));
CREATE TABLE answers(id INTEGER PRIMARY KEY, submission INTEGER, student TEXT, quiz TEXT,
  question TEXT, version INTEGER, attempt INTEGER, value TEXT, time TEXT, hints INTEGER,
  outcome TEXT);
CREATE TABLE marks(student TEXT, quiz TEXT, item TEXT, kind TEXT, answer INTEGER, points REAL,
  out_of REAL, share REAL, outcome TEXT, key TEXT, version INTEGER, graded TEXT, detail TEXT,
  PRIMARY KEY(student, quiz, item)) WITHOUT ROWID;
CREATE TABLE history(id INTEGER PRIMARY KEY, time TEXT, action TEXT, actor TEXT, student TEXT,
  quiz TEXT, item TEXT, before REAL, after REAL, why TEXT, key_before TEXT, key_after TEXT);
CREATE TABLE faults(id INTEGER PRIMARY KEY, time TEXT, file TEXT, student TEXT, field TEXT,
  code TEXT, message TEXT, next_step TEXT);
CREATE TABLE flags(id INTEGER PRIMARY KEY, kind TEXT, students TEXT, evidence TEXT);
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TRIGGER history_is_kept BEFORE UPDATE ON history
  BEGIN SELECT RAISE(ABORT, 'the history is never changed'); END;
CREATE TRIGGER history_is_not_deleted BEFORE DELETE ON history
  BEGIN SELECT RAISE(ABORT, 'the history is never changed'); END;
"""
# Only for speed. They grow at their ends: one sorted by question is written all over for each
# student. A gradebook of before has another one; it gets these when it is next written.
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS answers_by_submission ON answers(submission)",
    "CREATE INDEX IF NOT EXISTS faults_by_file ON faults(file)",
)


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Set an open file up as a gradebook; make its tables where it is empty.

    Raises:
        DataError: when it is no gradebook, or one of another version.
        sqlite3.DatabaseError: when it is no SQLite file, or cannot be written.
    """
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA foreign_keys=ON")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables:
            raise DataError("this is no gradebook", where=str(path),
                            got="an SQLite file of something else")  # fmt: skip
        made = re.sub(r"CREATE (\w+)", r"CREATE \1 IF NOT EXISTS", _TABLES)  # by two at once
        made += "".join(f"{index};" for index in _INDEXES)
        db.executescript(f"BEGIN IMMEDIATE; {made} PRAGMA user_version={VERSION}; COMMIT;")
    elif version != VERSION:
        raise DataError("this gradebook is of another version", where=str(path),
                        got=str(version), expected=str(VERSION))  # fmt: skip


def add_indexes(db: sqlite3.Connection) -> None:
    """Give an older gradebook the indexes it lacks; to be called inside a transaction."""
    for index in _INDEXES:
        db.execute(index)
