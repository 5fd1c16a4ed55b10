"""What the server answers when it cannot: one sentence, advice, and a status of HTTP."""

from leadlight.errors import LeadlightError


class Refusal(LeadlightError):
    """The question cannot be answered as it was put."""

    status = 422


class NotThere(Refusal):
    """The study has no such thing."""

    status = 404


class Busy(Refusal):
    """Not now: too much is being asked, or a file is just being written anew."""

    status = 503
    retry_after_s = 1
