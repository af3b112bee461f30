"""What the manifest says of the data stands on the page and under the tables."""

import html
import re

import pytest

TEST = {"psnr_db": 31.256, "ssim": 0.9124, "lpips": None, "num_identical_frames": 0.0}
VAL = {"psnr_db": 30.0, "ssim": 0.9, "lpips": 0.0343, "num_identical_frames": 2.0}
OVER = "mean over all frames of"
FROM = "reconstructed from the stored latents"


@pytest.fixture
def reported(made_up):
    """Writes the report of a run whose manifest says what it is told to; (page, Markdown)."""

    def report(**told):
        made_up.write_latents(**told)
        made_up.write_samples(made_up.samples[:, :1])
        made_up.evaluate(metrics=("psnr", "ssim"))
        made_up.report()
        page, markdown = made_up.paths.page, made_up.paths.tables / "results.md"
        return page.read_text(), markdown.read_text()

    return report


def provenance(page):
    section = page[page.index('id="provenance"') :]
    return {
        html.unescape(name): html.unescape(value)
        for name, value in re.findall(r"<dt>(.*?)</dt><dd><code>(.*?)</code>", section)
    }


def test_the_ceiling_of_each_split_is_shown(reported):
    page, markdown = reported(ceiling={"val": VAL, "test": TEST})
    expected = {
        "Autoencoder's ceiling, val": f"PSNR 30.00 dB, SSIM 0.900, LPIPS 0.034 (2 identical frames not in the PSNR); "
        f"{OVER} all 0 clips, {FROM}",
        "Autoencoder's ceiling, test": f"PSNR 31.26 dB, SSIM 0.912, LPIPS not measured; {OVER} all 4 clips, {FROM}",
    }
    shown = provenance(page)
    for name, value in expected.items():
        assert shown[name] == value
        assert f"- {name}: {value}." in markdown
    assert list(shown).index("Autoencoder's ceiling, val") < list(shown).index("Autoencoder's ceiling, test")
    assert "Latents here now" not in shown


def test_latents_of_earlier_versions_have_no_ceiling(reported):
    page, markdown = reported()
    assert provenance(page)["Autoencoder's ceiling"] == "not recorded with these latents"
    assert provenance(page)["Left out of the data set"] == "nothing"
    assert "- Autoencoder's ceiling: not recorded with these latents." in markdown
    assert "became no clip" not in page


def test_what_was_left_out_is_counted_and_listed(reported):
    lines = tuple(f"xanten_{index:06d}: 29 frames <b>`instead` of & 30" for index in range(23))
    page, markdown = reported(left_out=lines)
    assert provenance(page)["Left out of the data set"] == "23 lines, below"
    assert "<b>" not in page
    (details,) = re.findall(r"became no clip, and why</summary><pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    assert tuple(html.unescape(details).splitlines()) == lines
    shown = re.findall(r"^  - `([^`]*)`$", markdown, re.MULTILINE)
    assert shown == [line.replace("`", "'") for line in lines[:20]]
    assert "  - 3 more, on the page" in markdown


def test_one_line_left_out(reported):
    page, _ = reported(left_out=("files that are no PNG: 1",))
    assert provenance(page)["Left out of the data set"] == "1 line, below"


def test_latents_that_were_made_since_are_named(reported, made_up):
    reported(ceiling={"test": TEST})
    measured = made_up.fingerprint
    made_up.frames = made_up.frames[:, :, ::-1].copy()
    made_up.write_latents(ceiling={"test": TEST | {"psnr_db": 1.0}})
    made_up.report()
    shown = provenance(made_up.paths.page.read_text())
    assert shown["Latents"] == measured
    assert shown["Latents here now"] == f"{made_up.fingerprint}, made since; what follows is said of them"


def test_without_latents_nothing_is_said_of_them(reported, made_up):
    reported(ceiling={"test": TEST})
    (made_up.paths.latents / "manifest.json").unlink()
    made_up.report()
    assert "ceiling, test" not in made_up.paths.page.read_text()
    assert "## Data" not in (made_up.paths.tables / "results.md").read_text()
