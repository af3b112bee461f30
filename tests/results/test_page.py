"""The page in a real browser: nothing is fetched, nothing fails, everything shows, from a phone to a screen."""

import contextlib
import http.server
import json
import os
import queue
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

EARS = """<script>
window.faults = [];
addEventListener("error", (event) => faults.push(event.message || event.target.outerHTML.slice(0, 80)), true);
addEventListener("securitypolicyviolation", (event) => faults.push(`refused ${event.blockedURI}`));
for (const kind of ["error", "warn"]) console[kind] = (...words) => faults.push(words.join(" "));
</script>"""

CHECK = """<script>
addEventListener("load", async () => {
  const pictures = [...document.images];
  const [player] = document.querySelectorAll(".player");
  const [button, slider, output, video] =
    ["button", "input", "output", "video"].map((name) => player.querySelector(name));
  const happens = (name) => new Promise((done) => video.addEventListener(name, done, { once: true }));
  const said = [];
  if (video.readyState < 2) await happens("loadeddata");
  if (!video.paused) { button.click(); await happens("pause"); }
  said.push(button.textContent);
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight), pen = canvas.getContext("2d");
  const places = [];
  const shown = () => {
    pen.drawImage(video, 0, 0);
    places.push([output.textContent, [...pen.getImageData(80, 170, 1, 1).data].slice(0, 3)]);
  };
  for (const frame of [0, 7]) {
    slider.value = frame;
    slider.dispatchEvent(new Event("input"));
    await happens("seeked");
    shown();
  }
  const table = document.querySelector("table"), heads = [...table.querySelectorAll(".heads th")];
  const place = heads.findIndex((head) => head.textContent.startsWith("SSIM ") && head.dataset.better === "up");
  const head = heads[place];
  const columns = () => [...table.tBodies[0].rows].map((row) => row.cells[place].dataset.value ?? "");
  const sorted = [[head.ariaSort, columns()]];
  for (let press = 0; press < 3; press += 1) {
    head.querySelector("button").click();
    sorted.push([head.ariaSort, columns()]);
  }
  heads[0].querySelector("button").click();
  const names = [...table.tBodies[0].rows].map((row) => row.cells[0].firstChild.textContent);
  const numbers = [...document.querySelectorAll(".number")];
  const bare = [...document.querySelectorAll("td[data-value]")].filter((cell) => !cell.closest(".spent")
    && !cell.querySelector(".number"));
  const first = ["model", "published"].map((kind) => numbers.find((one) => one.closest(`tr.${kind}`)));
  const origins = first.map((one) => {
    const box = one.popoverTargetElement, states = [box.checkVisibility()];
    one.click();
    const { left, right } = box.getBoundingClientRect();
    states.push(box.checkVisibility(), left >= 0 && right <= innerWidth && box.scrollWidth <= box.clientWidth);
    box.querySelector("button").click();
    return { states: [...states, box.checkVisibility()], text: box.textContent, shown: one.textContent };
  });
  const press = (key) => slider.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  press("ArrowRight");
  await happens("seeked");
  shown();
  press(" ");
  await happens("play");
  said.push(button.textContent);
  press(" ");
  await happens("pause");
  said.push(button.textContent);
  parent.postMessage(JSON.stringify({
    sorted, names, sorts: heads.map((one) => one.ariaSort),
    keys: heads.map((one) => one.querySelector("button").tabIndex),
    faults, said, places, origins, bare: bare.length,
    reach: numbers.filter((one) => one.tabIndex === 0 && one.popoverTargetElement).length - numbers.length,
    width: innerWidth,
    scroll: document.documentElement.scrollWidth,
    empty: pictures.filter((picture) => !picture.naturalWidth || !picture.alt).length,
    pictures: pictures.length,
    videos: [...document.querySelectorAll("video")].filter((one) => one.videoWidth && one.ariaLabel).length,
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

FRAMES = """<!doctype html><body>
<script>
const seen = [];
addEventListener("message", (event) => {
  seen.push(JSON.parse(event.data));
  if (seen.length === 2) fetch("http://127.0.0.1:PORT", {method: "POST", mode: "no-cors", body: JSON.stringify(seen)});
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
    made_up.write_ledger()
    made_up.write_strips()
    made_up.evaluate(metrics=("fvd", "psnr", "ssim", "lpips"))
    made_up.report()
    return made_up.paths.page.read_text()


@pytest.fixture
def pixels(made_up):
    """What the player must show of the first clip's sample at the place that CHECK looks at."""
    return [made_up.frames[0, 0, 1, 0], *(made_up.samples[0, 0, number, 1, 0] for number in (7, 8))]


class Ear(http.server.BaseHTTPRequestHandler):
    """Takes what the frames have to tell; a video plays in real time, so nobody can say beforehand when that is."""

    def do_POST(self):
        self.server.told.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        pass


@contextlib.contextmanager
def ear():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear)
    server.told = queue.Queue()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def look(folder, html, dark):
    (folder / "page.html").write_text(
        html.replace("<style>", EARS + "<style>", 1).replace("</body>", CHECK + "</body>")
    )
    with ear() as server:
        (folder / "frames.html").write_text(FRAMES.replace("PORT", str(server.server_port)))
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--remote-debugging-port=0",
            "--window-size=1300,1700", f"file://{folder / 'frames.html'}",
        ]  # fmt: skip
        with (folder / "chromium.log").open("w") as log:
            browser = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            return json.loads(server.told.get(timeout=60))
        except queue.Empty:
            raise AssertionError((folder / "chromium.log").read_text()[-2000:]) from None
        finally:
            browser.terminate()
            browser.wait(30)


def as_people_count(name):
    """Key of a name: VDT979 comes before VDT1124."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), name.lower())


def check_sorting(view):
    (none, own), (down, best), (up, worst), (again, back) = view["sorted"]
    assert [none, down, up, again] == [None, "descending", "ascending", None]
    known = sorted((value for value in own if value), key=float)
    num_missing = len(own) - len(known)
    assert num_missing > 0 and len(known) > 3
    assert [*map(float, best[: len(known)])] == [*map(float, reversed(known))] and set(best[len(known) :]) == {""}
    assert [*map(float, worst[: len(known)])] == [*map(float, known)] and set(worst[len(known) :]) == {""}
    assert back == own
    assert view["names"] == sorted(view["names"], key=as_people_count)
    assert view["sorts"] == ["ascending"] + [None] * (len(view["sorts"]) - 1) and set(view["keys"]) == {0}


def check_origins(view):
    """Behind every number is its origin; a press shows it whole, another one hides it."""
    assert view["bare"] == view["reach"] == 0
    assert [one["states"] for one in view["origins"]] == [[False, True, True, False]] * 2
    mine, theirs = view["origins"]
    for name in (
        "clips-000003200",
        "2to28: 4 clips, 1 trajectory, 2 given of 12 frames",
        "Latents",
        "Code that measured",
    ):
        assert name in mine["text"]
    for name in ("Source", "Taken from", "cityscapes 128 px, 2to28"):
        assert name in theirs["text"]


@pytest.mark.skipif(CHROMIUM is None and "REQUIRE_BROWSER" not in os.environ, reason="no chromium on PATH")
def test_the_page_in_a_browser(html, pixels, tmp_path):
    grounds = []
    for dark in (False, True):
        views = look(tmp_path, html, dark)
        assert sorted(view["width"] for view in views) == [390, 1280]
        for view in views:
            assert view["faults"] == []
            assert [name for name in view["fetched"] if not name.startswith("data:")] == []
            assert view["scroll"] <= view["width"]
            assert view["pictures"] == 5 + 3 and view["empty"] == 0
            assert view["videos"] == 2
            assert view["unnamed"] == view["unreachable"] == view["dangling"] == 0
            assert view["said"] == ["Play", "Pause", "Play"]
            check_sorting(view)
            check_origins(view)
            told, colours = zip(*view["places"], strict=True)
            assert told == ("frame 0, given", "frame 7, generated", "frame 8, generated")
            assert np.abs(np.array(colours) - np.array(pixels, int)).max() < 12
        grounds.append((views[0]["ground"], views[0]["ink"]))
    assert grounds[0] != grounds[1]
