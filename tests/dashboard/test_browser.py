"""In a real Chromium: a click selects, the address keeps it, a new result does not take it away."""

import math
import time
from urllib.parse import parse_qs, urlparse

import browser
import pytest
from factories import make_study
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from sqlalchemy import create_engine, text

pytestmark = pytest.mark.skipif(not (browser.CHROMIUM and browser.DRIVER), reason=browser.MISSING)

POINT = """
const chart = document.querySelector('.js-plotly-plot'), layout = chart._fullLayout;
const plot = chart.querySelector('.nsewdrag').getBoundingClientRect();
for (const trace of chart._fullData) {
  if (trace.mode !== 'markers' || !trace.customdata) continue;
  for (let i = 0; i < trace._length; i++) {
    const facts = trace.customdata[i];
    if (Number(facts['0'] ?? facts[0]) === arguments[0])
      return [plot.left + layout.xaxis.d2p(trace.x[i]), plot.top + layout.yaxis.d2p(trace.y[i])];
  }
}
"""
POINTS = """
const chart = document.querySelector('.js-plotly-plot'), layout = chart._fullLayout, points = [];
for (const trace of chart._fullData) {
  if (trace.mode !== 'markers' || !trace.customdata) continue;
  for (let i = 0; i < trace._length; i++)
    points.push([Number(trace.customdata[i]['0'] ?? trace.customdata[i][0]),
      layout.xaxis.d2p(trace.x[i]), layout.yaxis.d2p(trace.y[i])]);
}
return points;
"""
VISIBLE = """
const chart = document.querySelector('.js-plotly-plot'), {xaxis, yaxis} = chart._fullLayout;
const inside = (value, [low, high]) => value > low + 0.1 * (high - low) && value < high - 0.1 * (high - low);
for (const trace of chart._fullData) {
  if (trace.mode !== 'markers' || !trace.customdata) continue;
  for (let i = 0; i < trace._length; i++)
    if (inside(Math.log10(trace.x[i]), xaxis.range) && inside(trace.y[i], yaxis.range))
      return Number(trace.customdata[i]['0'] ?? trace.customdata[i][0]);
}
"""
RANGE = "return document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range"
RING = "return document.querySelector('.js-plotly-plot')._fullData.some(t => t.name === arguments[0])"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    url = f"sqlite:///{folder / 'pathfront.db'}"
    make_study(url, trials=24, running=2, finished=False, artifacts=folder / "artifacts")
    return url


@pytest.fixture(scope="module")
def server(database):
    with browser.dashboard(database) as address:
        yield address


@pytest.fixture
def page():
    with browser.chromium() as window:
        yield window


def number_in(address):
    return parse_qs(urlparse(address).query).get("trial", [None])[0]


def click_trial(page, number):
    x, y = page.execute_script(POINT, number)
    mouse = ActionBuilder(page)
    mouse.pointer_action.move_to_location(round(x) + 1, round(y))
    mouse.perform()
    time.sleep(0.3)  # the chart answers a click on what it hovers over
    mouse = ActionBuilder(page)
    mouse.pointer_action.click()
    mouse.perform()


def by_room(page):
    """Numbers of the trials on the chart, those farthest from any other point first."""
    points = page.execute_script(POINTS)

    def room(point):
        return min(math.dist(point[1:], other[1:]) for other in points if other is not point)

    return [number for number, *_ in sorted(points, key=room, reverse=True)]


def shows(page, number):
    ringed = page.execute_script(RING, f"trial {number}, selected")
    return (
        number_in(page.current_url) == str(number) and f"Trial {number}" in browser.page_text(page) and ringed
    )


def finish_a_running_trial(url):
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "update pf_trials set state = 'done', score = 0.3, stderr = 0.01 where number ="
                " (select max(number) from pf_trials where state = 'running')"
            )
        )
    engine.dispose()


def test_a_click_selects_and_the_selection_lasts(page, server, database):
    page.get(f"{server}/front?study=quick")
    drawn = browser.wait(page, browser.points_drawn)
    browser.wait(page, browser.settled)
    number, other = by_room(page)[:2]

    click_trial(page, number)
    browser.wait(page, lambda page: shows(page, number))
    assert f"--trial {number} " in browser.page_text(page)

    page.refresh()
    browser.wait(page, lambda page: browser.points_drawn(page) == drawn and shows(page, number))

    finish_a_running_trial(database)
    browser.wait(page, lambda page: browser.points_drawn(page) == drawn + 1)
    browser.wait(page, lambda page: shows(page, number))

    click_trial(page, other)
    browser.wait(page, lambda page: shows(page, other))


@pytest.mark.slow
def test_a_zoom_outlives_a_click(page, server):
    page.get(f"{server}/front?study=quick")
    browser.wait(page, browser.points_drawn)
    browser.wait(page, browser.settled)
    time.sleep(0.5)
    whole = page.execute_script(RANGE)
    plot = page.find_element(By.CSS_SELECTOR, ".js-plotly-plot .nsewdrag")
    drag = ActionChains(page).move_to_element_with_offset(plot, -200, -150).click_and_hold()
    drag.move_by_offset(380, 280).release().perform()
    zoomed = browser.wait(
        page, lambda page: page.execute_script(RANGE) != whole and page.execute_script(RANGE)
    )
    time.sleep(0.5)
    number = page.execute_script(VISIBLE)

    click_trial(page, number)
    browser.wait(page, lambda page: shows(page, number))
    assert page.execute_script(RANGE) == pytest.approx(zoomed)

    ActionChains(page).double_click(page.find_element(By.CSS_SELECTOR, ".js-plotly-plot .nsewdrag")).perform()
    browser.wait(page, lambda page: page.execute_script(RANGE)[0] < zoomed[0])


@pytest.mark.slow
def test_the_pages_lead_to_each_other_with_the_selection(page, server):
    page.get(server)
    link = browser.wait(page, lambda page: page.find_elements(By.LINK_TEXT, "quick"))
    browser.wait(page, browser.settled)
    link[0].click()
    browser.wait(page, browser.points_drawn)
    assert "study=quick" in page.current_url

    page.get(f"{server}/front?study=quick&trial=2")
    browser.wait(page, browser.points_drawn)
    browser.wait(page, browser.settled)
    page.find_element(By.PARTIAL_LINK_TEXT, "Everything about this trial").click()
    browser.wait(page, lambda page: "Score on each task" in browser.page_text(page))
    assert urlparse(page.current_url).path == "/trial"
    assert number_in(page.current_url) == "2"

    page.find_element(By.LINK_TEXT, "Tasks").click()
    browser.wait(page, lambda page: "Tasks above each threshold" in browser.page_text(page))
    browser.wait(page, lambda page: number_in(page.current_url) == "2")


@pytest.mark.slow
def test_a_click_on_the_table_selects(page, server):
    page.get(f"{server}/front?study=quick")
    browser.wait(page, browser.points_drawn)
    browser.wait(page, browser.settled)
    table = page.find_element(By.CSS_SELECTOR, "[data-testid=stDataFrame]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
    time.sleep(0.5)
    left, top = 250 - table.size["width"] // 2, 55 - table.size["height"] // 2  # the first row's score
    ActionChains(page).move_to_element_with_offset(table, left, top).click().perform()
    browser.wait(page, lambda page: number_in(page.current_url) is not None)
    browser.wait(page, lambda page: shows(page, int(number_in(page.current_url))))
