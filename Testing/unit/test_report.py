"""The report: what it says, what it shows, what it never says."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from HemoCAMLib import analyze, write_sample
from HemoCAMLib.errors import HemoCAMError, UsageError
from HemoCAMLib.measure.agreement import compare_label_maps
from HemoCAMLib.report import ReportOptions, write_report
from HemoCAMLib.report.choice import key_slices
from HemoCAMLib.report.facts import doubtful_slices, facts, summary, volume_text
from HemoCAMLib.report.page import report_html
from HemoCAMLib.report.patient import Patient
from HemoCAMLib.report.pictures import PICTURE_ROWS, Illustrator
from HemoCAMLib.report.strip import probability_strip
from HemoCAMLib.report.windows import BRAIN, SUBDURAL, heat_colors
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run
from HemoCAMLib.subtypes import SUBTYPES


class Page(HTMLParser):
    """A parsed page: its tags with attributes, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "img", "link", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "title"}:
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_sample(tmp_path_factory.mktemp("sample") / "sample")


@pytest.fixture(scope="module")
def result(sample: Any, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return analyze(sample.scan, tmp_path_factory.mktemp("run") / "run", threads=1)


@pytest.fixture(scope="module")
def page(result: Result) -> Page:
    return Page(report_html(result, ct=scan_of_run(result)))


def changed(result: Result, **volume_ml: float) -> Result:
    fields = copy.deepcopy(result.fields)
    fields["volume_ml"] = {**dict.fromkeys(fields["volume_ml"], 0.0), **volume_ml}
    fields["side"].update(dict.fromkeys(volume_ml, "left"))
    for entry in fields["slices"]:
        entry["area_mm2"] = dict.fromkeys(entry["area_mm2"], 0.0)
    return Result(result.folder, fields)


def test_the_page_gives_every_volume_with_its_unit(page: Page, result: Result) -> None:
    for name in ("IPH", "IVH", "SAH", "SDH", "EDH", "total"):
        assert volume_text(result.volume_ml[name]) in page.words


def test_the_page_asks_for_nothing_outside_itself(page: Page) -> None:
    addresses = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert addresses
    assert all((address or "").startswith("data:image/jpeg;base64,") for address in addresses)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert not page.all("script")


def test_the_page_is_well_formed_and_says_what_pictures_show(page: Page) -> None:
    assert page.open == []
    assert all(picture["alt"] for picture in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    named = {heading["id"] for heading in page.all("h2")}
    assert {section["aria-labelledby"] for section in page.all("section")} == named
    assert all(cell.get("scope") for cell in page.all("th"))


def test_the_page_says_that_it_is_for_research_and_which_model_spoke(page: Page, result: Result) -> None:
    assert "Research use only" in page.words
    assert result.fields["model"]["checksum"] in page.words
    assert result.fields["model"]["name"] in page.words


def test_pictures_are_those_of_the_key_slices(page: Page, result: Result) -> None:
    shown = key_slices(result.slices)
    assert len(page.all("img")) == 3 * len(shown)
    for index in shown:
        assert f"Slice {index + 1} of {len(result.slices)}" in page.words
    first = page.all("img")[0]["src"]
    assert first is not None
    picture = Image.open(io.BytesIO(base64.b64decode(first.split(",")[1])))
    assert picture.height == PICTURE_ROWS


def test_without_the_scan_the_page_says_that_pictures_are_missing(result: Result) -> None:
    page = Page(report_html(result))
    assert not page.all("img")
    assert "has no pictures" in page.words


def test_nothing_of_the_patient_is_on_the_page_unless_asked_for(result: Result, tmp_path: Path) -> None:
    import pydicom

    source = tmp_path / "scan"
    shutil.copytree(Path(json.loads((result.folder / "job.json").read_text())["input"]), source)
    for file in source.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "Lékař^Ľubomíra", "ID-4711", "ACC-99"
        dataset.PatientBirthDate, dataset.StudyDate = "19510203", "20260304"
        dataset.save_as(file)
    ct = scan_of_run(result, source)
    words = ("Lékař", "ID-4711", "ACC-99", "19510203", "20260304", str(source))
    plain = write_report(result, tmp_path / "plain", ct=ct, options=ReportOptions(pdf=False))
    assert not any(word in plain[0].read_text(encoding="utf-8") for word in words)
    named = Page(report_html(result, ct=ct, patient=Patient.of(ct)))
    assert "Lékař Ľubomíra" in named.words
    assert all(word in named.words for word in words[1:-1])


def test_text_from_a_file_cannot_become_markup(result: Result) -> None:
    fields = copy.deepcopy(result.fields)
    fields["model"]["intended_use"] = "<script>alert(1)</script>"
    patient = Patient("<b>x</b>", "<img src=http://x>", "", "", "")
    page = Page(report_html(Result(result.folder, fields), patient=patient))
    assert not page.all("script")
    assert not page.all("img")
    assert not page.all("b")


def test_the_summary_names_the_largest_first(result: Result) -> None:
    found = summary(changed(result, IPH=2.0, SDH=40.0, total=42.0))
    assert found == "Found by this model: subdural hematoma 40.0 mL, left, intraparenchymal hemorrhage 2.00 mL, left."
    assert summary(changed(result)) == "No hemorrhage was found by this model."


@pytest.mark.parametrize(
    ("name", "volume_ml", "words"),
    [
        ("IPH", 30.0, "at or above 30 mL"),
        ("IPH", 29.9, "below 30 mL"),
        ("EDH", 30.0, "not above 30 mL"),
        ("EDH", 30.1, ": above 30 mL"),
    ],
)
def test_a_line_of_the_literature_is_told_on_the_right_side(
    result: Result, name: str, volume_ml: float, words: str
) -> None:
    assert any(words in sentence for sentence in facts(changed(result, **{name: volume_ml})))


def test_nothing_found_gives_no_facts_and_says_where_the_model_was_unsure(result: Result) -> None:
    empty = changed(result)
    assert facts(empty) == []
    likely = [entry["index"] for entry in result.slices if entry["probability"]["any"] > 0.5]
    assert doubtful_slices(empty) == likely
    assert len(key_slices(empty.slices)) == 3


def test_the_strip_is_as_wide_as_the_slices_are_thick(result: Result) -> None:
    slices = copy.deepcopy(result.slices[:3])
    for entry, extent in zip(slices, (2.0, 2.0, 4.0), strict=True):
        entry["extent_mm"] = extent
    strip = probability_strip(slices, [0])
    widths = [float(width) + 0.6 for width in re.findall(r'width="([\d.]+)" height="20"', strip)[:3]]
    assert widths[2] == pytest.approx(2 * widths[0], rel=0.01)
    assert strip.count("<title>") == 18


def test_heat_grows_lighter_with_its_value() -> None:
    lightness = heat_colors(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize("window", [BRAIN, SUBDURAL])
def test_a_window_shows_its_ends_as_black_and_white(window: Any) -> None:
    low, high = window.center_hu - window.width_hu / 2, window.center_hu + window.width_hu / 2
    assert window.grey(np.array([low - 1, low, high, high + 1])).tolist() == [0, 0, 255, 255]


def test_outlines_have_the_colour_of_the_subtype_and_lie_on_the_labels(result: Result) -> None:
    ct = scan_of_run(result)
    labels = np.zeros(ct.shape[1:], np.uint8)
    labels[200:300, 200:300] = 3
    views = Illustrator(ct).pictures(ct.slices[10], labels, None)
    drawn = (views.outlined == SUBTYPES[2].color_rgb).all(axis=2)
    rows, columns = np.nonzero(drawn)
    square = (rows.max() - rows.min()) / (columns.max() - columns.min())
    assert square == pytest.approx(1.0, abs=0.03)
    assert not drawn[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2]
    assert np.array_equal(views.heat, views.brain)


def test_the_comparison_gives_the_numbers_of_the_agreement(result: Result) -> None:
    ct = scan_of_run(result)
    ours: Any = ct.grid.to_canonical(result.labels)
    truth = np.where(ours == 1, 1, 0).astype(np.uint8)
    agreement = compare_label_maps(ours, truth, ct.geometry)
    page = Page(report_html(result, agreement=agreement))
    assert "Against ground truth" in page.words
    assert f"{agreement['IPH'].dice:.2f}" == "1.00"
    assert "the truth is empty" in page.words


def test_a_pdf_is_written_from_the_same_page(result: Result, tmp_path: Path) -> None:
    try:
        files = write_report(result, tmp_path, ct=scan_of_run(result), options=ReportOptions(pdf=True, key_slices=1))
    except UsageError as error:
        assert error.code == "USAGE_REPORT_LIBRARY"
        pytest.skip("WeasyPrint cannot load Pango here")
    assert [file.name for file in files] == ["report.html", "report.pdf"]
    content = files[1].read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(content) > 20_000


def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(result: Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HemoCAMError) as caught:
        write_report(result, tmp_path / "file" / "report")
    assert caught.value.code == "USAGE_OUT"


@pytest.fixture
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


def test_a_browser_shows_the_page_without_a_complaint(browser: str, result: Result, tmp_path: Path) -> None:
    files = write_report(result, tmp_path, ct=scan_of_run(result))
    picture = tmp_path / "page.png"
    answer = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=960,1400"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", files[0].as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ":CONSOLE" not in answer.stderr
    shown = np.asarray(Image.open(picture).convert("L"))
    assert shown.std() > 20
