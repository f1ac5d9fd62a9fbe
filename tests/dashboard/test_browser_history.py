"""In a real Chromium: Back and Forward lead through what was looked at, and nothing is fetched elsewhere."""

from urllib.parse import parse_qs, urlparse

import browser
import pytest
from factories import make_study
from selenium.webdriver.common.by import By
from sqlalchemy import create_engine, text

pytestmark = pytest.mark.skipif(not (browser.CHROMIUM and browser.DRIVER), reason=browser.MISSING)

GROUND = """
const app = document.querySelector('[data-testid=stApp]');
return app && getComputedStyle(app).backgroundColor;
"""
CHART_GROUND = "return document.querySelector('.js-plotly-plot')?._fullLayout.paper_bgcolor"
ICON = "return [...document.querySelectorAll('link[rel~=icon]')].map(link => link.href)"
OVERFLOW = "return document.querySelector('[data-testid=stMain]').scrollWidth - window.innerWidth"
CODE = """
return [...document.querySelectorAll('[data-testid=stCode] code')].map(
  code => [code.innerText, code.getClientRects().length, code.offsetHeight])
"""
TABLES = ["task_scores", "curves", "routing", "checkpoints", "events", "trials", "candidates", "studies"]
BOXES = """
const boxes = [];
for (const text of document.querySelectorAll('.js-plotly-plot svg text')) {
  const box = text.getBoundingClientRect();
  if (text.textContent.trim() && box.width && box.height) boxes.push([text.textContent, box.left, box.top,
    box.right, box.bottom]);
}
return boxes;
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Two studies with other trials and other results."""
    folder = tmp_path_factory.mktemp("history")
    url = f"sqlite:///{folder / 'pathfront.db'}"
    make_study(url, "first", trials=24, artifacts=folder / "artifacts")
    make_study(url, "second", trials=40, seed=3, failed=2, artifacts=folder / "artifacts")
    return url


@pytest.fixture(scope="module")
def server(database):
    with browser.dashboard(database) as address:
        yield address


@pytest.fixture(scope="module")
def page():
    with browser.chromium() as window:
        yield window


def place(page):
    """What the page shows, and what its address says: path, study and trial."""
    parts = urlparse(page.current_url)
    query = parse_qs(parts.query)
    return parts.path, query.get("study", [None])[0], query.get("trial", [None])[0]


def at(page, path, study, trial=None):
    """Wait until address and page are at a place: the study in its box, the trial in what is said of it."""

    def there(page):
        if place(page) != (path, study, trial) or not browser.settled(page):
            return False
        if path == "/":
            return "Each study searches" in browser.page_text(page)
        if written(page, "study_box") != study:
            return False
        if path == "/trial":
            return written(page, "trial_box") == trial
        return path != "/front" or trial is None or f"Trial {trial}" in browser.page_text(page)

    browser.wait(page, there, 40)


def written(page, key):
    """What stands in the box of a key."""
    return page.execute_script(f"return document.querySelector('.st-key-{key} input')?.value")


def click_link(page, words):
    link = browser.wait(page, lambda page: page.find_elements(By.PARTIAL_LINK_TEXT, words))
    link[0].click()


@pytest.mark.parametrize("steps", [3, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_back_and_forward_lead_through_pages_studies_and_trials(page, server, steps):
    page.get(server)
    browser.wait(page, browser.settled)
    click_link(page, "first")
    at(page, "/front", "first")
    page.get(f"{server}/front?study=first&trial=3")
    at(page, "/front", "first", "3")
    click_link(page, "Everything about this trial")
    at(page, "/trial", "first", "3")
    box = page.find_element(By.CSS_SELECTOR, ".st-key-trial_box button[data-testid=stNumberInputStepUp]")
    box.click()
    at(page, "/trial", "first", "4")
    click_link(page, "Tasks")
    at(page, "/tasks", "first", "4")
    choose_study(page, "second")
    at(page, "/tasks", "second")
    click_link(page, "Front")
    at(page, "/front", "second")

    way = [
        ("/tasks", "second", None),
        ("/tasks", "first", "4"),
        ("/trial", "first", "4"),
        ("/trial", "first", "3"),
        ("/front", "first", "3"),
        ("/front", "first", None),
        ("/", None, None),
    ][:steps]
    for step in way:
        page.back()
        at(page, *step)
    for step in [*reversed(way[:-1]), ("/front", "second", None)]:
        page.forward()
        at(page, *step)


def choose_study(page, name):
    page.find_element(By.CSS_SELECTOR, ".st-key-study_box [data-testid=stSelectbox] input").click()
    options = browser.wait(
        page, lambda page: [o for o in page.find_elements(By.CSS_SELECTOR, "[role=option]") if o.text == name]
    )
    options[0].click()


@pytest.mark.slow
def test_the_menu_loses_neither_study_nor_trial(page, server):
    page.get(f"{server}/front?study=first&trial=5")
    at(page, "/front", "first", "5")
    for words, path in {
        "Studies": "/",
        "All trials": "/trials",
        "Tasks": "/tasks",
        "Front": "/front",
    }.items():
        click_link(page, words)
        at(page, path, "first", "5")


def test_nothing_is_fetched_from_the_internet(server):
    port = urlparse(server).port
    own = (
        f"http://127.0.0.1:{port}/",
        f"ws://127.0.0.1:{port}/",
        f"blob:http://127.0.0.1:{port}/",
        "data:",
        "chrome",  # the browser's own new tab
    )
    with browser.chromium() as page:
        for path in ("", "front?study=second&trial=3", "tasks?study=second", "trials?study=second", "trial"):
            page.get(f"{server}/{path}")
            browser.wait(page, browser.settled)
            icons = page.execute_script(ICON)
            assert icons
            asked = browser.requests(page)
            assert any(url.startswith("ws:") for url in asked)
            assert [url for url in [*icons, *asked] if not url.startswith(own)] == []


@pytest.mark.parametrize(
    ("path", "scheme", "ground"),
    [
        ("front?study=first&trial=3", "dark", "#11161d"),
        pytest.param("tasks?study=first", "dark", "#11161d", marks=pytest.mark.slow),
        pytest.param("trial?study=first&trial=3", "dark", "#11161d", marks=pytest.mark.slow),
        pytest.param("front?study=first&trial=3", "light", "#ffffff", marks=pytest.mark.slow),
        pytest.param("tasks?study=first", "light", "#ffffff", marks=pytest.mark.slow),
        pytest.param("trial?study=first&trial=3", "light", "#ffffff", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_page_and_charts_follow_the_scheme_of_the_system(page, server, path, scheme, ground):
    color = f"rgb({', '.join(str(int(ground[i : i + 2], 16)) for i in (1, 3, 5))})"
    browser.prefer(page, scheme)
    try:
        page.get(f"{server}/{path}")
        browser.wait(page, lambda page: page.execute_script(GROUND) == color)
        browser.wait(page, lambda page: page.execute_script(CHART_GROUND) == ground)
    finally:
        browser.prefer(page, "light")


@pytest.mark.slow
def test_an_open_page_follows_when_the_scheme_changes(page, server):
    page.get(f"{server}/front?study=first")
    browser.wait(page, lambda page: page.execute_script(CHART_GROUND) == "#ffffff")
    try:
        browser.prefer(page, "dark")
        browser.wait(page, lambda page: page.execute_script(CHART_GROUND) == "#11161d", 60)
    finally:
        browser.prefer(page, "light")


@pytest.mark.slow
def test_at_800_pixels_nothing_overlaps_or_breaks(server):
    with browser.chromium(800) as page:
        for path in ("front", "tasks", "trial"):
            page.get(f"{server}/{path}?study=second&trial=3")
            browser.wait(page, browser.points_drawn if path == "front" else browser.settled)
            browser.wait(page, browser.settled)
            assert page.execute_script(OVERFLOW) <= 0
            assert overlapping(page.execute_script(BOXES)) == []
            for command, lines, _ in page.execute_script(CODE):
                assert "\n" not in command.strip()
                assert lines == 1


def overlapping(boxes):
    """Pairs of words whose boxes share more than a pixel."""
    found = []
    for i, (one, left, top, right, bottom) in enumerate(boxes):
        for other, l2, t2, r2, b2 in boxes[i + 1 :]:
            if min(right, r2) - max(left, l2) > 1 and min(bottom, b2) - max(top, t2) > 1:
                found.append((one, other))
    return found


@pytest.mark.slow
def test_a_study_that_is_deleted_and_comes_back_is_said_on_the_open_page(page, tmp_path):
    url = f"sqlite:///{tmp_path / 'live.db'}"
    make_study(url, trials=6, running=1, finished=False)
    with browser.dashboard(url) as address:
        page.get(f"{address}/front?study=quick")
        browser.wait(page, browser.points_drawn)
        engine = create_engine(url)
        with engine.begin() as connection:
            for name in TABLES:
                connection.execute(text(f"delete from pf_{name}"))
        engine.dispose()
        browser.wait(page, lambda page: "No study here yet" in browser.page_text(page), 60)
        make_study(url, trials=6)
        browser.wait(page, browser.points_drawn, 60)
        assert "Traceback" not in browser.page_text(page)
