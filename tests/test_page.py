"""The page of results: valid wherever it ends, whatever files are called, and usable by everybody."""

import io
import itertools
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overfeat_tools.networks.classes import Class
from overfeat_tools.results.page import Row, page_end, page_entry, page_failure, page_head
from tests.processes import run

SAMPLES = Path(__file__).parents[1] / "samples"
CLASSES = [Class(0, "n1", "crane"), Class(1, "n2", "tabby, tabby cat"), Class(2, "n3", "crane"), Class(3, "n4", "<b>&")]
HOSTILE = "</script><script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=1>\x00\x1b\u202e&lt;\udcff"
PIXELS = np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)


def many(count: int) -> bytes:
    """Make a page of so many pictures: every tenth has failed, every seventh has a warning."""
    rng = np.random.default_rng(0)
    pieces = [page_head("of-classify: tiny", "A note.")]
    for number in range(count):
        if number % 10 == 9:
            pieces.append(page_failure(f"photo {number}.jpg", "is no picture"))
            continue
        first, second = rng.permutation(4)[:2]
        probability = float(rng.uniform(0.5, 1))
        rows = [Row(CLASSES[first], probability), Row(CLASSES[second], 1 - probability)]
        pieces.append(page_entry(f"photo {number}.jpg", PIXELS, rows, "damaged" if number % 7 == 0 else None))
    return b"".join([*pieces, page_end(count - count // 10, count // 10)])


@settings(max_examples=15)
@given(st.text() | st.binary().map(lambda name: name.decode("utf-8", "surrogateescape")) | st.just(HOSTILE))
def test_valid_wherever_it_ends(name: str) -> None:
    """Whatever the names; and what is read in them is what `printable` makes of them."""
    html5lib = pytest.importorskip("html5lib")
    boxed = [Row(CLASSES[3], 0.9, (3, 4, 50, 60)), Row(CLASSES[0], 0.1, (0, 0, 8, 6))]
    pieces = [
        page_head(name, name),
        page_failure(name, name),
        page_entry(name, PIXELS, [Row(CLASSES[3], 0.25)], name),
        page_entry(name, PIXELS.astype(np.float32), boxed),
        page_entry(name, PIXELS, []),
        page_end(3, 1),
    ]
    for end in range(1, len(pieces) + 1):
        html = b"".join(pieces[:end])
        tree = html5lib.HTMLParser(strict=True).parse(html)
        told = ["".join(title.itertext()) for title in tree.iter("{http://www.w3.org/1999/xhtml}h2")]
        assert len(told) == min(end - 1, 4)
        for text in told:
            assert text.isprintable()
            assert not name.isprintable() or "\\" in name or text == name
        assert {element.tag.rpartition("}")[2] for element in tree.iter()}.isdisjoint({"b", "a"})
    assert html.count(b"<script") == 1


def test_of_classify(tmp_path: Path) -> None:
    """Every picture has an entry, in order, with its classes, and the thumbnail is the square that the network sees."""
    broken = tmp_path / "<i>.png"
    broken.write_bytes(b"no picture")
    files = [str(SAMPLES / "star.png"), str(broken), str(SAMPLES / "stream.ppm")]
    command = ["classify", "--net", "tiny", "--format"]
    done = run(*command, "html", "-n", "2", *files)
    assert (done.status, done.out.count(b"<article")) == (3, 6)
    expected = run(*command, "tsv", "-n", "2", *files).out.decode()
    lines = [line.split("\t") for line in expected.splitlines()]
    page = done.out.decode()
    told = re.findall(r'<span title="(.*?)">(.*?)</span> <data value="(.*?)">', page)
    assert [tuple(map(unescape, one)) for one in told] == [tuple(line[3:]) for line in lines if line[3]]
    assert "&lt;i&gt;.png" in page
    assert "answered: 5; failed: 1." in page
    jpeg = re.search(r"base64,([^\"]*)", page)
    assert jpeg is not None
    with Image.open(io.BytesIO(b64decode(jpeg[1]))) as image, Image.open(SAMPLES / "star.png") as star:
        side = min(star.size)
        left, top = (star.width - side) // 2, (star.height - side) // 2
        seen = star.convert("RGB").crop((left, top, left + side, top + side)).resize(image.size)
        assert image.size == (192, 192)
        assert np.abs(np.asarray(image, float) - np.asarray(seen, float)).mean() < 6
    refused = run(*command, "html", "--truth", "x", *files)
    assert (refused.status, refused.out) == (2, b"")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a browser without windows, or skip the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives a browser, is not installed")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no Chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:  # noqa: ANN401 -- selenium may be missing
    """Open a page of three hundred pictures."""
    (tmp_path / "page.html").write_bytes(many(300))
    browser.get(f"file://{tmp_path / 'page.html'}")
    return browser


SHOWN = "return [...document.querySelectorAll('article:not([hidden])')].map(one => one.querySelector('h2').textContent)"
ORDERED = "return [...document.querySelectorAll('article')].map(({dataset: d}) => [d.best ?? '', d.probability])"


def test_keyboard(page: Any) -> None:  # noqa: ANN401
    """Tab reaches every control in turn, and keys alone search, choose, sort and reset."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        ActionChains(page).send_keys(*keys).perform()

    def reached() -> str:
        return str(page.execute_script("return document.activeElement.name || document.activeElement.textContent"))

    status = page.find_element("css selector", "output")
    assert status.text == "300 of 300 pictures; 30 failed"
    press(Keys.TAB, "PHOTO 12")
    assert (reached(), status.text) == ("words", "13 of 300 pictures; 30 failed")
    assert page.execute_script(SHOWN)[:3] == ["photo 12.jpg", "photo 112.jpg", "photo 120.jpg"]
    press(Keys.ESCAPE)
    assert status.text.startswith("300 of")
    press(Keys.TAB, "<b>")
    assert reached() == "best"
    best = page.execute_script(SHOWN)
    assert 45 < len(best) < 90
    press(Keys.TAB, "90")
    assert reached() == "least"
    assert 0 < len(page.execute_script(SHOWN)) < len(best)
    press(Keys.TAB, Keys.TAB, "most")
    assert reached() == "order"
    order = [float(probability or -1) for _, probability in page.execute_script(ORDERED)]
    assert order == sorted(order, reverse=True)
    press("by best")
    classes = [best for best, _ in page.execute_script(ORDERED)]
    assert classes[-30:] == [""] * 30
    assert len(list(itertools.groupby(classes))) >= 5
    press(Keys.TAB, Keys.ENTER)
    assert reached() == "Reset"
    assert page.execute_script(SHOWN) == [f"photo {number}.jpg" for number in range(300)]
    page.execute_script("const show = document.forms[0].elements.show; show.value = 'failed';"
                        "show.dispatchEvent(new Event('input', {bubbles: true}))")  # fmt: skip
    assert page.execute_script(SHOWN) == [f"photo {number}.jpg" for number in range(9, 300, 10)]


def test_nothing_is_fetched_or_run(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Not even where everything is called so as to be run, and the page ends early."""
    entries = page_failure(HOSTILE, HOSTILE) + page_entry(HOSTILE, PIXELS, [Row(CLASSES[3], 0.5)], HOSTILE)
    (tmp_path / "page.html").write_bytes(page_head(HOSTILE, HOSTILE) + entries)
    browser.get(f"file://{tmp_path / 'page.html'}")
    assert browser.execute_script("return window.pwned") is None
    seen = HOSTILE.replace("\x00\x1b\u202e", r"\x00\x1b\u202e").replace("\udcff", r"\udcff")
    assert browser.execute_script(SHOWN) == [seen] * 2
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert [url for url in fetched if not url.startswith("data:")] == []
    assert browser.get_log("browser") == []
    assert "may have been more" in browser.find_element("css selector", "output").text


CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const ground = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return (channels(colour)[3] ?? 1) > 0 ? colour : ground(one.parentElement);
};
const texts = "h1, p, label, input, select, button, output, h2, li span, data, small";
const all = (selector) => [...document.querySelectorAll(selector)];
const found = all(texts).map((one) => [one.tagName, contrast(getComputedStyle(one).color, ground(one))]);
const bars = all("li").map((one) =>
    [one.tagName, contrast(getComputedStyle(one, "::after").borderTopColor, ground(one))]);
const edges = all("input, select, button").map((one) =>
    [one.tagName, contrast(getComputedStyle(one).borderTopColor, ground(one.parentElement))]);
return [found, [...bars, ...edges]];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_what_a_screen_reader_is_told(browser: Any, tmp_path: Path, scheme: str) -> None:  # noqa: ANN401
    """As WCAG 2 asks at level AA: 4.5 for text, 3 for what else must be seen; every control has a name."""
    boxed = page_entry("boxed", PIXELS, [Row(CLASSES[0], 0.5, (0, 0, 40, 30))])
    (tmp_path / "page.html").write_bytes(many(20).replace(b"<footer>", boxed + b"<footer>"))
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(f"file://{tmp_path / 'page.html'}")
    assert light_ground(browser) == (scheme == "light")
    texts, others = browser.execute_script(CONTRASTS)
    assert [one for one in texts if one[1] < 4.5] == []
    assert [one for one in others if one[1] < 3] == []
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    controls = {role: name for role, name in told if role in ("searchbox", "combobox", "spinbutton", "button")}
    assert set(controls) == {"searchbox", "combobox", "spinbutton", "button"}
    assert all(name.strip() for role, name in told if role in controls)
    roles = [role for role, _ in told]
    assert [roles.count(role) for role in ("main", "search", "banner", "contentinfo", "article")] == [1, 1, 1, 1, 21]


def light_ground(browser: Any) -> bool:  # noqa: ANN401
    """Tell whether the page is dark on light."""
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    return int(re.findall(r"\d+", ground)[0]) > 128
