"""The one exception family: what was expected, what was found, what to do."""

import unicodedata

# Control, format (which can turn text around), surrogate, line and paragraph characters.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class LeadlightError(Exception):
    """A fault that the user can act on. The command line prints its text as one line."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        """`message` names the file or value at fault; `advice` says what to do about it."""
        self.message = one_line(message)
        self.advice = one_line(advice)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class UnreadableRecording(LeadlightError):
    """A file that holds no usable recording: it goes to the rejects table of an import."""


class ModelMismatch(LeadlightError):
    """A model, its card and the records it is given disagree; nothing was computed."""


def one_line(text: str) -> str:
    """Text with what a terminal would not show, or obey, written out: a file may have any name."""
    if text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNSEEN else character
        for character in text
    )
