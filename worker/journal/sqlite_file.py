"""Recognises whether the files of an open SQLite journal were removed, replaced or truncated.

SQLite itself would notice none of this for a while: it goes on in the files that it has open, and in its cache.
Invariant: never a false alarm while only SQLite writes to the files. Neighbours: `session` asks before each write;
`connection` gives each new file the number by which it is recognised.
"""

import os
import pathlib
import sys

_HEAD_BYTES = 100
_LOG_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24
_INDEX_BYTES = 100


class SqliteFile:
    """The files of a journal as they were when the writer opened them."""

    def __init__(self, path: pathlib.Path) -> None:
        """Open the files a second time, and remember which ones they are."""
        self._paths = (path, path.with_name(f"{path.name}-wal"))
        # To close any handle of these files would release every lock that SQLite has on them in this process (POSIX).
        # So they are opened once, and closed after all connections.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._index = os.open(path.with_name(f"{path.name}-shm"), os.O_RDONLY | os.O_CLOEXEC)
        self._identity = self._identify()
        self._size = path.stat().st_size

    def intact(self) -> bool:
        """Return whether the files are still the same, and none has lost its end."""
        try:
            return self._identify() == self._identity and not self._truncated()
        except OSError:
            return False

    def close(self) -> None:
        """Close the files. Only for when this process has no connection to them any more."""
        os.close(self._file)
        os.close(self._index)

    def _identify(self) -> tuple[object, ...]:
        """Return what identifies this journal: where its files are on the disk, and its own number."""
        places = [(file.st_dev, file.st_ino) for file in (path.stat() for path in self._paths)]
        return (*places, os.pread(self._file, 4, 68))

    def _truncated(self) -> bool:
        """Return whether a file is shorter than SQLite left it.

        The offsets are those of https://sqlite.org/fileformat2.html and https://sqlite.org/walformat.html. The index of
        the log counts a frame only once it is written; a log that was moved into the file has none.
        """
        head = os.pread(self._file, _HEAD_BYTES, 0)
        page = int.from_bytes(head[16:18], "big")
        page = 65536 if page == 1 else page
        pages = int.from_bytes(head[28:32], "big")
        index = os.pread(self._index, _INDEX_BYTES, 0)
        frames, moved = (int.from_bytes(index[place : place + 4], sys.byteorder) for place in (16, 96))
        log = _LOG_HEAD_BYTES + frames * (page + _FRAME_HEAD_BYTES) if frames else 0
        sizes = [path.stat().st_size for path in self._paths]
        whole = max(_HEAD_BYTES, pages * page)
        # A full disk, or a kill, can end a move of the log after the head, which says how long the file will be. The
        # log still has the rest; until it is moved, the file may only not become shorter.
        shortest = whole if frames == moved else min(whole, self._size)
        self._size = sizes[0]
        return sizes[0] < shortest or sizes[1] < log
