"""The one exception family: what was expected, what was found, what to do."""


class LeadlightError(Exception):
    """A fault that the user can act on. The command line prints its text as one line."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        """`message` names the file or value at fault; `advice` says what to do about it."""
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class UnreadableRecording(LeadlightError):
    """A file that holds no usable recording: it goes to the rejects table of an import."""


class ModelMismatch(LeadlightError):
    """A model, its card and the records it is given disagree; nothing was computed."""
