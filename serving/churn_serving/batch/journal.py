"""How far a file got, kept beside its output: what makes a killed run go on where it was.

The scores so far lie in `.NAME.partial`. The journal says how many rows they are and how many bytes; a
killed run may have written more, which is cut off before it goes on. So no row is there twice and none is
lost.
"""

import os
from pathlib import Path

import msgspec

from churn_serving.batch.lines import Mark


class Journal(msgspec.Struct):
    """What stands on disk for certain.

    Attributes:
        run: What is scored with what; of another run it is no use.
        mark: Where in the input to go on; None at its beginning.
        output_bytes: Bytes of the output that they gave.
        rejected_bytes: Bytes of the rejected rows' file.
        done: All rows are; only the files' names may still have to change.
    """

    run: str
    mark: Mark | None = None
    output_bytes: int = 0
    rejected_bytes: int = 0
    scored: int = 0
    churning: int = 0
    rejected: int = 0
    done: bool = False

    @property
    def rows(self) -> int:
        """Rows of the input that are dealt with."""
        return self.scored + self.rejected


def read_journal(path: Path, run: str) -> Journal | None:
    """The journal, if there is one and it is of this run."""
    try:
        journal = msgspec.json.decode(path.read_bytes(), type=Journal)
    except (OSError, msgspec.DecodeError):
        return None
    return journal if journal.run == run else None


def write_journal(path: Path, journal: Journal) -> None:
    """Replace the journal: either the old or the new one is there, whenever the process dies."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(journal))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
