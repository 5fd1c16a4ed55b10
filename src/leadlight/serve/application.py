"""The routes: which address is answered by which function, in a thread, behind the guard."""

import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import MultiMapping

from leadlight.errors import LeadlightError
from leadlight.serve import api, guard, pages, views
from leadlight.serve.answers import TEXT, Answer, json_answer, refusal_headers
from leadlight.serve.folder import StudyFolder
from leadlight.serve.guard import Pass
from leadlight.serve.refusals import Refusal
from leadlight.serve.workers import Workers

# A page of the study or a piece of its API: the study, the address's parameters, the answer.
View = Callable[[StudyFolder, Mapping[str, str]], Answer]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MOST_PARAMETERS = 200
_SENTENCES = {404: "There is no such page.", 405: "This server only answers GET and HEAD."}


@dataclass
class Activity:
    """When the server was last asked, and how many answers are under way."""

    last: float = field(default_factory=time.monotonic)
    now: int = 0

    def idle_s(self) -> float:
        """Seconds since the last answer; 0 while one is under way."""
        return 0.0 if self.now else time.monotonic() - self.last


def make_application(
    study: StudyFolder,
    allowed: Pass,
    *,
    workers: Workers,
    activity: Activity,
    note: Callable[[str], None],
) -> web.Application:
    """The application of aiohttp.

    Args:
        study: what is shown.
        allowed: the token and the cookie.
        workers: where pages are made; its bounds are the server's.
        activity: kept up to date.
        note: takes one line for the person at the terminal; never what a record holds.
    """
    application = web.Application(
        middlewares=[_guarding(study, allowed, activity, note)], client_max_size=1024
    )
    routes: dict[str, View] = {**views.VIEWS, **api.VIEWS}
    for path, view in routes.items():
        application.router.add_get(path, _handler(study, workers, view))
    application.router.add_get("/static/{name}", _static)
    return application


def _handler(study: StudyFolder, workers: Workers, view: View) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        given = _parameters(request.query) | dict(request.match_info)
        accepted = request.headers.get("Accept-Encoding", "")

        def work() -> Answer:
            return view(study, given).bounded().packed(accepted)

        return _response(await workers.run(work))

    return handle


async def _static(request: web.Request) -> web.StreamResponse:
    return _response(pages.static_file(request.match_info["name"]))


def _guarding(
    study: StudyFolder, allowed: Pass, activity: Activity, note: Callable[[str], None]
) -> Middleware:
    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = partial(_refused, study, request.path)
        hosts = request.headers.getall("Host", [])
        denied = guard.denied(request.method, request.path_qs, hosts, request.headers)
        if denied is not None:
            headers = {"Allow": ", ".join(guard.METHODS)} if denied.status == 405 else {}
            return refused(denied.status, denied.sentence, headers=headers)
        cookie = cookie_name(request)
        if request.path == "/" and "token" in request.query:
            if not allowed.is_token(request.query["token"]):
                return refused(403, _NEEDS_TOKEN)
            response = _let_in(request)
            response.set_cookie(cookie, allowed.session, httponly=True, samesite="Strict", path="/")
            return response
        by_cookie = allowed.is_session(request.cookies.get(cookie, ""))
        if not by_cookie and not allowed.is_token(guard.bearer(request.headers)):
            return refused(403, _NEEDS_TOKEN)
        activity.now += 1
        try:
            return await handler(request)
        except Refusal as error:
            return refused(error.status, error.message, error.advice, refusal_headers(error))
        except LeadlightError as error:
            return refused(422, error.message, error.advice)
        except web.HTTPException as error:
            return refused(error.status, _SENTENCES.get(error.status, "This cannot be answered."))
        except Exception as error:
            note(f"A fault of the server: {_place_of(error)}.")
            return refused(500, "The server failed at this.", "Its terminal says where.")
        finally:
            activity.now -= 1
            activity.last = time.monotonic()

    return guarded


def _let_in(request: web.Request) -> web.Response:
    """The way from the address with the token to the one without.

    Where a page of another site led here (a terminal in a browser, say), browsers would not send
    the cookie to an address that they are sent on to, but they do where a page of ours leads there.
    """
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return _response(Answer(b"", status=303, headers={"Location": "/"}))
    return _response(
        Answer(
            b'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Leadlight</title>'
            b'<meta http-equiv="refresh" content="0; url=/"></head>'
            b'<body><p><a href="/">Go on to the study</a></p></body></html>'
        )
    )


_NEEDS_TOKEN = "This needs the address with the token that leadlight serve printed."


def cookie_name(request: web.Request) -> str:
    """Of its own for each server: browsers send cookies to every port of a name."""
    port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
    return f"leadlight-{port}"


def _refused(
    study: StudyFolder,
    path: str,
    status: int,
    sentence: str,
    advice: str = "",
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """A refusal as the asker reads it: JSON of the API, else a page."""
    if path.startswith("/api/"):
        answer = json_answer({"error": sentence, "advice": advice}, status)
    elif status in (403, 405, 414):
        # To one who may not ask, nothing of the study is told, not even its name.
        answer = Answer(f"{sentence} {advice}".strip().encode(), TEXT, status)
    else:
        answer = pages.page(
            study, "message.html", here="", status=status, sentence=sentence, advice=advice
        )
    return _response(replace(answer, status=status, headers={**answer.headers, **(headers or {})}))


def _response(answer: Answer) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, headers=answer.all_headers())


def _parameters(query: MultiMapping[str]) -> dict[str, str]:
    if len(query) > _MOST_PARAMETERS:
        raise Refusal(f"An address may have {_MOST_PARAMETERS} parameters.")
    return {name: query[name] for name in query}


def _place_of(error: BaseException) -> str:
    """Kind of an error and where it was raised; not its text, which may speak of a record."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if "leadlight" in frame.filename] or frames
    place = f"{Path(mine[-1].filename).name}, line {mine[-1].lineno}" if mine else "somewhere"
    return f"{type(error).__name__} in {place}"


def print_note(line: str) -> None:
    """A line on the terminal."""
    print(f"leadlight serve: {line}", file=sys.stderr, flush=True)
