"""The report in a browser: headless Chromium, from the disk, with nothing but the folder."""

import json
import shutil
from itertools import pairwise

import pytest
from helpers import stored

from lrbench.report.site import writer
from lrbench.report.site.pages import Pages

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="there is no chromium and chromedriver here"),
]

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
KINDS = ["index", "tables", "figures", "cost", "runs", "run", "sr"]
MANY = 450  # lines of the long list


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of each kind of page, and of a list of very many runs."""
    folder = tmp_path_factory.mktemp("browser")
    store, runs = stored.folder(folder)
    writer.write(store, folder / "site", folder / "data", lambda message: None)
    paths = {kind: f"{kind}.html" for kind in KINDS[:-2]}
    paths |= {"run": f"runs/{runs['dfd'][0].id}/index.html", "sr": f"runs/{runs['sr-espcn'][0].id}/index.html"}
    names = ("id", "name", "dataset", "size", "hr", "backbone", "recipe", "epochs", "train", "seed", "psnr", "finished")
    rows = [dict.fromkeys(names, "x") | {"name": f"run {n}", "top1": f"{n / 10:.1f}"} for n in range(MANY)]
    Pages(folder / "site", links=[], made="").write("runs.html", "many.html", rows=rows)
    return {kind: (folder / "site" / path).as_uri() for kind, path in (paths | {"many": "many.html"}).items()}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get("about:blank")  # what it opens by itself is not ours
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """The browser as a desktop, light and with scripts; its logs are empty."""
    screen(chromium, 1280)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    for log in ("browser", "performance"):
        chromium.get_log(log)
    return chromium


def screen(driver, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def column(driver, number):
    script = "return [...document.querySelectorAll('#runs tbody tr')].map(row => row.cells[arguments[0]].innerText)"
    return [text.strip() for text in driver.execute_script(script, number)]


def head(driver, text):
    """The number of a column, and the button in its head."""
    names = driver.execute_script(
        "return [...document.querySelectorAll('#runs thead th')].map(one => one.innerText.trim())"
    )
    number = names.index(text)
    return number, driver.find_elements(By.CSS_SELECTOR, "#runs thead th")[number]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_has_no_error_no_request_and_no_overflow(kind, width, site, browser):
    screen(browser, width)
    browser.get(site[kind])
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith("report.css") for url in asked)
    assert all(url.startswith(("file://", "blob:", "data:")) for url in asked), asked
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= inner == width
    assert browser.execute_script(
        "return [...document.images].every(one => one.loading === 'lazy' || one.naturalWidth)"
    )


def becomes(driver, seen, wanted):
    """A table is laid out a moment after a click: wait until what is seen is what is wanted."""
    try:
        WebDriverWait(driver, 20).until(lambda _: seen() == wanted)
    except TimeoutException:
        assert seen() == wanted


def shown(driver, site, kind):
    """The page, with its tables ready."""
    driver.get(site[kind])
    WebDriverWait(driver, 20).until(lambda one: one.find_elements(By.CSS_SELECTOR, ".dt-container"))
    return driver


def test_a_click_on_a_head_sorts_numbers_down_and_up(site, browser):
    shown(browser, site, "runs")
    number, top = head(browser, "top-1 (%)")
    first = column(browser, number)
    up = ["", "70.00", "71.00", "75.00", "76.00", "90.00", "91.00"]
    assert sorted(first) == sorted(up) and first != up
    for order, rows in (("descending", [*reversed(up)]), ("ascending", up)):
        top.click()
        becomes(browser, lambda: (column(browser, number), top.get_attribute("aria-sort")), (rows, order))


def test_heads_are_sorted_from_the_keyboard_and_words_as_words(site, browser):
    shown(browser, site, "runs")
    number, names = head(browser, "run")
    rows = sorted(column(browser, number), key=str.lower)
    names.find_element(By.CSS_SELECTOR, "[role=button]").send_keys(Keys.ENTER)
    becomes(browser, lambda: (column(browser, number), names.get_attribute("aria-sort")), (rows, "ascending"))


def test_the_list_of_runs_is_filtered(site, browser):
    shown(browser, site, "runs")
    box = browser.find_element(By.CSS_SELECTOR, "input[type=search]")
    box.send_keys("DFD")
    becomes(browser, lambda: column(browser, 0), ["DFD", "DFD"])
    assert browser.find_element(By.CSS_SELECTOR, ".dt-info").text == "2 lines of 7"
    box.send_keys(" 76.00")
    becomes(browser, lambda: column(browser, 0), ["DFD"])
    box.clear()
    box.send_keys("nothing")
    becomes(browser, lambda: column(browser, 0), ["no line"])


def test_a_menu_in_a_head_chooses_among_values(site, browser):
    shown(browser, site, "index")
    methods = "return [...document.querySelectorAll('#ways tbody tr')].map(row => row.cells[0].innerText)"
    every = browser.execute_script(methods)
    assert len(every) > len(set(every) & {"DFD"}) and "DFD" in every
    browser.find_element(By.CSS_SELECTOR, "#ways thead th .dtcc-button").click()
    [choice] = [one for one in browser.find_elements(By.CSS_SELECTOR, ".dtcc-list button") if one.text == "DFD"]
    choice.click()
    becomes(browser, lambda: set(browser.execute_script(methods)), {"DFD"})


def test_the_plot_of_gains_is_drawn_and_a_point_opens_a_run(site, browser):
    shown(browser, site, "index")
    WebDriverWait(browser, 20).until(lambda one: one.find_elements(By.CSS_SELECTOR, "#gains .point"))
    assert [text.text for text in browser.find_elements(By.CSS_SELECTOR, "#gains .ytick")] == ["DFD"]
    point = browser.find_element(By.CSS_SELECTOR, "#gains .point")
    ActionChains(browser).move_to_element(point).pause(0.5).click().perform()
    WebDriverWait(browser, 20).until(lambda one: "/runs/" in one.current_url)
    assert browser.find_element(By.TAG_NAME, "h1").text == "DFD"


def test_no_two_labels_of_the_plot_overlap_and_points_have_room(tmp_path, browser):
    store, _ = stored.folder(tmp_path)
    names = [{"lam": n / 10} for n in range(1, 9)]
    names += [{"lam": n / 7, "reduction": "sum"} for n in range(1, 4)]  # DFD lam=0.14285714285714285 reduction=sum
    for settings in names:
        stored.put(store, "dfd", settings=settings)
    writer.write(store, tmp_path / "site", tmp_path / "data", lambda message: None)
    for width in (360, 1280):
        screen(browser, width)
        browser.get((tmp_path / "site" / "index.html").as_uri())
        WebDriverWait(browser, 20).until(lambda one: one.find_elements(By.CSS_SELECTOR, "#gains .point"))
        box, drawn, *labels = browser.execute_script(
            "return ['#gains', '#gains .nsewdrag', '#gains .ytick text'].flatMap(one =>"
            "[...document.querySelectorAll(one)].map(each => each.getBoundingClientRect().toJSON()))"
        )
        labels.sort(key=lambda one: one["top"])
        assert len(labels) == 1 + len(names)
        assert all(one["bottom"] <= other["top"] for one, other in pairwise(labels))
        assert all(box["left"] <= one["left"] < one["right"] <= drawn["left"] for one in labels)
        assert drawn["width"] > 0.25 * box["width"]


def test_the_leaderboard_fits_a_desktop_and_shows_numbers_beside_names_on_a_phone(site, browser):
    boxes = (
        "const box = one => document.querySelector(one).getBoundingClientRect().toJSON();"
        "return ['.scroll:has(#ways)', '#ways', ...[1, 2, 3].map(n => `#ways tbody tr > :nth-child(${n})`)].map(box)"
    )
    shown(browser, site, "index")
    below = "return getComputedStyle(document.querySelector('#ways tbody th'), '::after').content"
    box, table, *_ = browser.execute_script(boxes)
    assert table["right"] <= box["right"] and browser.execute_script(below) == "none"
    screen(browser, 360)
    shown(browser, site, "index")
    box, _, name, _, gain = browser.execute_script(boxes)
    assert box["left"] <= name["left"] and gain["right"] <= box["right"] <= 360
    assert browser.execute_script(below) != "none"  # the settings, whose column is beyond the screen
    browser.execute_script("document.querySelector('#ways').parentElement.scrollLeft = 200")
    _, _, kept, moved, _ = browser.execute_script(boxes)
    assert box["left"] <= kept["left"] <= name["left"] and moved["left"] < kept["right"]


def test_the_menu_of_the_plot_shows_another_place(tmp_path, browser):
    store, _ = stored.folder(tmp_path)
    for method in ("lr-baseline", "dfd"):
        stored.put(store, method, scale=2)
    writer.write(store, tmp_path / "site", tmp_path / "data", lambda message: None)
    browser.get((tmp_path / "site" / "index.html").as_uri())
    WebDriverWait(browser, 20).until(lambda one: one.find_elements(By.CSS_SELECTOR, "#gains .point"))
    ways = "data.filter(one => one.visible).flatMap(one => one.customdata)"
    seen = f"return document.querySelector('#gains').{ways}.map(way => way[2])"  # the number of seeds of each
    seeds = {"cifar10 8x8 resnet18": [2], "cifar10 16x16 resnet18": [1]}
    assert browser.execute_script(seen) == [2]
    for place in [*seeds][::-1]:
        browser.find_element(By.CSS_SELECTOR, "#gains .updatemenu-header").click()
        buttons = browser.find_elements(By.CSS_SELECTOR, "#gains .updatemenu-dropdown-button")
        becomes(browser, lambda shown=buttons: {one.text for one in shown}, {*seeds})  # they fade in
        ActionChains(browser).click(next(one for one in buttons if one.text == place)).perform()
        becomes(browser, lambda: browser.execute_script(seen), seeds[place])


def test_of_very_many_runs_a_page_is_laid_out_and_all_are_sorted_and_filtered(site, browser):
    shown(browser, site, "many")
    assert len(column(browser, 0)) == 50
    number, top = head(browser, "top-1 (%)")
    for rows in (["44.9", "44.8"], ["0.0", "0.1"]):
        top.click()
        becomes(browser, lambda: column(browser, number)[:2], rows)
    browser.find_element(By.CSS_SELECTOR, "input[type=search]").send_keys("run 44")
    becomes(browser, lambda: len(column(browser, 0)), len([n for n in range(MANY) if "44" in str(n)]))


def test_a_link_in_a_table_opens_the_run(site, browser):
    shown(browser, site, "tables")
    row = browser.find_element(By.XPATH, "//tr[th//*[text()='DFD (ResNet-18)']]")
    row.find_element(By.LINK_TEXT, "0").click()
    assert browser.current_url == site["run"] and browser.find_element(By.TAG_NAME, "h1").text == "DFD"
    browser.find_element(By.CSS_SELECTOR, ".tree a").click()
    assert browser.find_element(By.TAG_NAME, "h1").text in ("HR-baseline", "LR-baseline")


def test_light_and_dark_follow_the_system(site, browser):
    seen = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [feature]})
        browser.get(site["run"])
        script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        seen[scheme] = [sum(map(int, colour[4:-1].split(","))) for colour in browser.execute_script(script)]
    assert seen["light"][0] - seen["light"][1] > 300 < seen["dark"][1] - seen["dark"][0]


def test_a_page_is_read_without_scripts_and_printed_without_the_menu(site, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(site["runs"])
        assert browser.find_element(By.TAG_NAME, "tbody").text.count("DFD") == 2
        assert not browser.find_elements(By.TAG_NAME, "input")
        assert browser.find_element(By.TAG_NAME, "nav").is_displayed()
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
        assert not browser.find_element(By.TAG_NAME, "nav").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
