"""A stream that may be a terminal."""

import io


class Stream(io.StringIO):
    """Takes text, and says whether it goes to a terminal."""

    def __init__(self, *, is_terminal: bool = True) -> None:
        """Say whether it is one."""
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._is_terminal

    def fileno(self) -> int:
        """Return the descriptor of stdout."""
        return 1
