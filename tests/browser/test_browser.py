"""The browser of these tests sees faults: otherwise the other files here would prove nothing."""

from pathlib import Path

_POLICY = "default-src 'none'; img-src data:"


def _page(tmp_path: Path, body: str, policy: str = "") -> Path:
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    file = tmp_path / "page.html"
    file.write_text(
        f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>{meta}<title>T</title></head>"
        f"<body><main><h1>T</h1>{body}</main></body></html>"
    )
    return file


def test_a_sound_page_has_no_fault(tmp_path, open_page, axe):
    page = open_page(_page(tmp_path, "<p>Hello.</p>", _POLICY))
    assert page.inner_text("h1") == "T"
    assert page.console_errors == []
    assert axe(page) == []


def test_errors_and_what_the_policy_forbids_are_seen(tmp_path, open_page):
    page = open_page(_page(tmp_path, "<script>console.error('one'); throw Error('two')</script>"))
    assert "one" in page.console_errors
    assert any("two" in said for said in page.console_errors)
    page = open_page(_page(tmp_path, "<script>document.title = 'ran'</script>", _POLICY))
    assert page.title() == "T"
    assert any("script-src" in said for said in page.console_errors)


def test_axe_sees_faults_through_the_policy(tmp_path, open_page, axe):
    page = open_page(_page(tmp_path, "<button></button><img src='data:,'>", _POLICY))
    found = " ".join(axe(page))
    assert "button-name" in found
    assert "image-alt" in found


def test_a_request_that_would_leave_is_refused_and_named(tmp_path, browser, guarded):
    context, left = guarded
    page = context.new_page()
    page.goto(_page(tmp_path, "<img alt='' src='http://example.org/a.png'>").as_uri())
    assert left == ["http://example.org/a.png"]
    assert page.evaluate("document.images[0].naturalWidth") == 0
