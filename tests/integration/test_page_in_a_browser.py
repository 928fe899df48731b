# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML page as people use it, in Chromium: links, filters, zoom, keys, dark, no script."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from tests import mock_places, mock_stories
from tests.hostile_text import NAMES, forged
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
pytestmark = [
    pytest.mark.truth,
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"no {' and no '.join(MISSING)}: apt-get install chromium chromium-driver",
    ),
]
GOLDEN = Path(__file__).parents[1] / "golden"
#: Seconds until a page is drawn on a slow machine.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Any:
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    chromium.set_window_size(1400, 1200)
    return chromium


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Callable[..., Any]:
    """A function: a trace -> the browser that shows its page, drawn."""

    def show(trace: MockTrace | Path, fragment: str = "") -> Any:
        path = trace if isinstance(trace, Path) else trace.write(tmp_path / "t.mapcount")
        output = tmp_path / "t.html"
        assert main(["report", str(path), "-o", str(output), "-q", "-f"]) == 0
        browser.get(output.as_uri() + fragment)
        _until(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
        return browser

    return show


def _until(done: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE
    while not (found := done()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)
    return found


def _race_and_wrong_counter() -> MockTrace:
    trace = mock_stories.seed_2015()
    kernel = MockKernel(trace)
    folio = kernel.alloc(mock_stories.HEAD + 512)
    kernel.map_pmd(folio, mock_stories.PARENT, new=True)
    kernel.emit("deferred", folio, entire=5)
    return trace


def _shown(browser: Any) -> list[str]:
    """The findings that are in the table and not filtered out, in its order."""
    return [
        body.get_attribute("id")
        for body in browser.find_elements(By.CSS_SELECTOR, "table.findings > tbody")
        if body.is_displayed()
    ]


def _model(browser: Any, name: str, what: str) -> Any:
    """Something of a model of Bokeh's."""
    return browser.execute_script(
        "const found = Bokeh.documents.map(one => one.get_model_by_name(arguments[0]))"
        f".find(one => one !== null); return found.{what};",
        name,
    )


def _span(browser: Any) -> tuple[float, float]:
    return _model(browser, "time", "start"), _model(browser, "time", "end")


@pytest.mark.parametrize(
    "story", [mock_stories.lifecycle, mock_stories.seed_2015, mock_stories.crash,
              mock_stories.lossy, mock_stories.file_thp, MockTrace], ids=lambda one: one.__name__,
)  # fmt: skip
def test_no_error_and_no_network_when_a_page_is_shown(
    story: Callable[[], MockTrace], page: Callable[..., Any]
) -> None:
    # GIVEN the page of a trace WHEN it is shown THEN no script complains
    browser = page(story())
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []
    # AND nothing was asked for but what is in it
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(one => one.name.slice(0, 5))"
    )
    assert set(asked) <= {"data:"}


def test_a_link_to_a_finding_shows_it_whatever_is_filtered(page: Callable[..., Any]) -> None:
    # GIVEN a page with two findings WHEN it is opened by the link of the second
    browser = page(mock_stories.seed_2015(), "#finding-1")
    # THEN that one is told in full, and in view
    finding = browser.find_element(By.ID, "finding-1")
    assert finding.find_element(By.TAG_NAME, "details").get_attribute("open")
    assert 0 <= finding.rect["y"] - browser.execute_script("return scrollY") < 1200


def test_findings_are_those_wanted_when_they_are_filtered_and_sorted(
    page: Callable[..., Any],
) -> None:
    # GIVEN findings of two rules WHEN one is chosen
    browser = page(_race_and_wrong_counter())
    everything = _shown(browser)
    rules = browser.find_element(By.CSS_SELECTOR, "#finding-filters [name=rule]")
    chosen = rules.find_elements(By.TAG_NAME, "option")[1]
    chosen.click()
    # THEN only those are left, and their number is told
    left = _shown(browser)
    assert 0 < len(left) < len(everything)
    for one in left:
        assert browser.find_element(By.ID, one).get_attribute("data-rule") == chosen.text
    told = browser.find_element(By.CSS_SELECTOR, "#finding-filters output").text
    assert told == f"{len(left)} of {len(everything)} shown"
    # WHEN a link goes to another one THEN all are back
    (hidden, *_) = set(everything) - set(left)
    browser.execute_script("location.hash = arguments[0]", hidden)
    _until(lambda: _shown(browser) == everything)
    # WHEN they are sorted by their numbers, twice THEN the last is first
    by_number = browser.find_element(By.CSS_SELECTOR, ".findings thead button")
    by_number.click()
    by_number.click()
    numbers = [int(one.removeprefix("finding-")) for one in _shown(browser)]
    assert numbers == sorted(numbers, reverse=True)


def test_a_life_is_drawn_when_it_is_chosen(page: Callable[..., Any]) -> None:
    # GIVEN the page of a life cycle of 513 lives WHEN the table is filtered by a page
    browser = page(GOLDEN / "6.1-lifecycle.mapcount")
    pfn = browser.find_element(By.CSS_SELECTOR, "#life-filters [name=pfn]")
    pfn.send_keys("0x112005")
    told = browser.find_element(By.CSS_SELECTOR, "#life-filters output")
    # THEN the folio and that page are left
    _until(lambda: told.text == "2 of 513 shown")
    # WHEN the second row is clicked THEN the page's life is drawn, and has an address
    cells = _until(lambda: browser.execute_script(
        "const inside = one => [...one.querySelectorAll('*')].flatMap("
        "each => [each, ...(each.shadowRoot ? inside(each.shadowRoot) : [])]);"
        "const found = inside(document.getElementById('life-table'))"
        ".filter(one => one.classList.contains('slick-row'));"
        "return found.length === 2 && found.map(one => one.children[0]);"
    ))  # fmt: skip
    cells[1].click()
    title = browser.find_element(By.ID, "life-title")
    _until(lambda: "at pfn 0x112005" in title.text)
    assert browser.current_url.endswith("#life-6")
    assert len(_model(browser, "events", "data.ms")) == 3


def test_time_is_zoomed_when_keys_and_the_mouse_are_used(page: Callable[..., Any]) -> None:
    # GIVEN a drawn life WHEN keys are pressed in it
    browser = page(mock_stories.lifecycle())
    first, last = _span(browser)
    drawing = browser.find_element(By.ID, "drawing")
    browser.execute_script("arguments[0].focus()", drawing)
    browser.switch_to.active_element.send_keys("+")
    # THEN half of the time is left, which arrows move, and 0 brings all back
    low, high = _span(browser)
    assert high - low == pytest.approx((last - first) / 2)
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert _span(browser)[0] > low
    browser.switch_to.active_element.send_keys("0")
    assert _span(browser) == pytest.approx((first, last))
    # WHEN a part is marked with the mouse THEN that part is shown
    drag = ActionChains(browser).move_to_element(drawing)
    drag.move_by_offset(-100, 0).click_and_hold().move_by_offset(200, 30).release().perform()
    _until(lambda: _span(browser)[1] - _span(browser)[0] < (last - first) / 2)


def test_an_event_is_told_when_it_is_pointed_at(page: Callable[..., Any]) -> None:
    # GIVEN a drawn life WHEN the mouse is at the mark of its allocation
    browser = page(mock_stories.lifecycle())
    x, y = browser.execute_script(
        "const view = [...Object.values(Bokeh.index)].flatMap(root => [...root.owner.query("
        "one => one.model.name === 'tasks')])[0];"
        "const data = Bokeh.documents.map(one => one.get_model_by_name('events'))"
        ".find(one => one !== null).data; view.el.scrollIntoView({block: 'center'});"
        "const box = view.el.getBoundingClientRect();"
        "return [box.x + view.frame.x_scale.compute(data.ms[0]),"
        " box.y + view.frame.y_scale.compute(data.lane[0])];"
    )
    ActionChains(browser).move_by_offset(1, 1).perform()
    action = ActionChains(browser)
    action.w3c_actions.pointer_action.move_to_location(int(x), int(y))
    action.perform()
    # THEN its function and task are told
    words = _until(lambda: browser.execute_script(
        "const inside = one => [...one.querySelectorAll('*')].flatMap("
        "each => [each, ...(each.shadowRoot ? inside(each.shadowRoot) : [])]);"
        "return inside(document).filter(one => one.className === 'bk-tooltip-content'"
        " || one.classList.contains('bk-tooltip-content') || "
        "one.classList.contains('bk-tooltip-row-value')).map(one => one.textContent).join(' ');"
    ))  # fmt: skip
    assert "mm_page_alloc" in words


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_are_text_when_the_page_is_shown(name: str, page: Callable[..., Any]) -> None:
    # GIVEN a trace in which everything has a hostile name WHEN its page is shown
    browser = page(forged(name))
    # THEN no script of theirs ran (an open alert would fail each command), nor does ours complain
    assert browser.execute_script("return document.querySelectorAll('script').length") > 3
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


@pytest.mark.parametrize("width", [800, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_when_it_is_narrow_or_dark(
    width: int, scheme: str, page: Callable[..., Any], browser: Any
) -> None:
    # GIVEN a window of some width, light or dark WHEN a page is shown
    browser.set_window_size(width, 1200)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page(mock_stories.seed_2015())
    # THEN nothing sticks out of it
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    # AND ground and letters are of that scheme
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")


def test_page_is_the_static_one_when_it_is_printed(page: Callable[..., Any]) -> None:
    # GIVEN a page that draws a life WHEN it is printed
    browser = page(mock_stories.lifecycle())
    assert browser.find_element(By.ID, "life-view").is_displayed()
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    # THEN the static pictures, tables that were folded and the list of lives are there, and nothing
    # to be clicked
    for picture in ("#lives img", "#waste img"):
        assert browser.find_element(By.CSS_SELECTOR, picture).is_displayed()
    tables = browser.find_elements(By.CSS_SELECTOR, "#waste table")
    assert len(tables) == 2 and all(one.is_displayed() for one in tables)
    assert browser.find_element(By.ID, "static-lives").is_displayed()
    for control in ("#life-filters", "#life-table", "#life-view", "nav"):
        assert not browser.find_element(By.CSS_SELECTOR, control).is_displayed()


def test_where_is_told_when_no_script_runs(browser: Any, tmp_path: Path) -> None:
    # GIVEN a browser that runs no scripts WHEN the page of a trace with places is shown, narrow
    path = mock_places.story("<script>alert(1)</script>").write(tmp_path / "t.mapcount")
    assert main(["report", str(path), "-o", str(tmp_path / "t.html"), "-q"]) == 0
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.set_window_size(800, 1200)
    browser.get((tmp_path / "t.html").as_uri())
    # THEN the table and the picture are there, each other mark unfolds, and nothing sticks out
    where = browser.find_element(By.ID, "where")
    assert where.find_element(By.TAG_NAME, "table").is_displayed()
    assert where.find_element(By.TAG_NAME, "img").rect["width"] > 600
    folded = where.find_elements(By.CSS_SELECTOR, "details:not([open])")
    folded[0].find_element(By.TAG_NAME, "summary").click()
    assert folded[0].find_element(By.TAG_NAME, "table").is_displayed()
    assert where.rect["width"] <= 800


def test_verdict_findings_and_pictures_are_there_when_no_script_runs(
    browser: Any, tmp_path: Path
) -> None:
    # GIVEN a browser that runs no scripts WHEN a page is shown
    path = mock_stories.seed_2015().write(tmp_path / "t.mapcount")
    assert main(["report", str(path), "-o", str(tmp_path / "t.html"), "-q"]) == 0
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get((tmp_path / "t.html").as_uri())
    # THEN all of this can be seen, and nothing that would need a script
    assert "2 races of readers" in browser.find_element(By.CLASS_NAME, "verdict").text
    assert _shown(browser) == ["finding-0", "finding-1"]
    assert browser.find_element(By.CSS_SELECTOR, "#finding-0 img").rect["width"] > 600
    assert browser.find_element(By.ID, "static-lives").is_displayed()
    for control in ("#finding-filters", "#life-filters", "#life-view"):
        assert not browser.find_element(By.CSS_SELECTOR, control).is_displayed()
