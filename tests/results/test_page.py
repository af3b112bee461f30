"""The page in a real browser: nothing is fetched, nothing fails, everything shows, from a phone to a screen."""

import json
import os
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

EARS = """<script>
window.faults = [];
addEventListener("error", (event) => faults.push(event.message || event.target.outerHTML.slice(0, 80)), true);
addEventListener("securitypolicyviolation", (event) => faults.push(`refused ${event.blockedURI}`));
for (const kind of ["error", "warn"]) console[kind] = (...words) => faults.push(words.join(" "));
</script>"""

CHECK = """<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  const [player] = document.querySelectorAll(".player");
  const [button, slider, output, sheet] =
    ["button", "input", "output", "img"].map((name) => player.querySelector(name));
  const said = [button.textContent];
  button.click();
  said.push(button.textContent);
  const places = [];
  for (const frame of [0, 7]) {
    slider.value = frame;
    slider.dispatchEvent(new Event("input"));
    places.push([output.textContent, sheet.style.transform, player.querySelector(".screen").className]);
  }
  parent.postMessage(JSON.stringify({
    faults, said, places,
    width: innerWidth,
    scroll: document.documentElement.scrollWidth,
    empty: pictures.filter((picture) => !picture.naturalWidth || !picture.alt).length,
    pictures: pictures.length,
    fetched: performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 60)),
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    unnamed: [...document.querySelectorAll("button, input, .scroll, td sup a")].filter(
      (one) => !(one.textContent.trim() || one.ariaLabel || one.getAttribute("aria-labelledby"))).length,
    unreachable: [...document.querySelectorAll(".scroll")].filter((one) => one.tabIndex !== 0).length,
    dangling: [...document.querySelectorAll("a[href^='#']")].filter(
      (one) => !document.getElementById(one.hash.slice(1))).length,
  }), "*");
});
</script>"""

FRAMES = """<!doctype html><body><pre></pre>
<script>
const seen = [];
addEventListener("message", (event) => {
  seen.push(JSON.parse(event.data));
  if (seen.length === 2) document.querySelector("pre").textContent = `DONE${JSON.stringify(seen)}DONE`;
});
</script>
<iframe src="page.html" style="width:1280px;height:800px;border:0"></iframe>
<iframe src="page.html" style="width:390px;height:800px;border:0"></iframe>
"""


@pytest.fixture
def html(made_up):
    made_up.write_samples(made_up.samples[:, :1])
    made_up.write_samples(made_up.samples[:, :1], made_up.info("unconditional"))
    made_up.write_log()
    made_up.write_strips()
    made_up.evaluate(metrics=("fvd", "psnr", "ssim", "lpips"))
    made_up.report()
    return made_up.paths.page.read_text()


def look(folder, html, dark):
    (folder / "page.html").write_text(
        html.replace("<style>", EARS + "<style>", 1).replace("</body>", CHECK + "</body>")
    )
    (folder / "frames.html").write_text(FRAMES)
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=8000", "--dump-dom",
        f"file://{folder / 'frames.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search("DONE(.*)DONE</pre>", done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.skipif(CHROMIUM is None and "REQUIRE_BROWSER" not in os.environ, reason="no chromium on PATH")
def test_the_page_in_a_browser(html, tmp_path):
    grounds = []
    for dark in (False, True):
        views = look(tmp_path, html, dark)
        assert sorted(view["width"] for view in views) == [390, 1280]
        for view in views:
            assert view["faults"] == []
            assert [name for name in view["fetched"] if not name.startswith("data:")] == []
            assert view["scroll"] <= view["width"]
            assert view["pictures"] == 5 + 3 and view["empty"] == 0
            assert view["unnamed"] == view["unreachable"] == view["dangling"] == 0
            assert view["said"] == ["Pause", "Play"]
            assert view["places"] == [
                ["frame 0, given", "translateY(0%)", "screen given"],
                ["frame 7, generated", f"translateY({-100 * 7 / 12:.4f}%)", "screen"],
            ]
        grounds.append((views[0]["ground"], views[0]["ink"]))
    assert grounds[0] != grounds[1]
