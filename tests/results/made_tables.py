"""Records and tables that tests make, and the numbers that the published rows must have."""

from results import current, published
from results.tables import building
from vdt_hpc.store.records import Record

MAIN, LAB = "cityscapes 128 px, 2to28", "cityscapes 128 px, lab2024"
ORDER = ("fvd", "ssim", "psnr", "lpips")
LISTED = {
    "SVG-LP": (1300.3, 0.574), "vRNN 1L": (682.1, 0.609), "Hier-vRNN": (567.5, 0.628), "GHVAE": (418.0, 0.740),
    "MCVD-spatin": (184.8, 0.720), "MCVD-concat": (141.4, 0.690), "VDT": (142.3, 0.880),
    "VDT979": (1607.1, 0.406), "VDT1124": (1555.7, 0.402),
    "ExtDM-K4": (121.3, 0.745, 0.108), "STDiff": (107.31, 0.658, 0.13626), "SyncVP RGB": (97.31, 0.652, 0.1611),
    "SyncVP RGB+depth": (84.0, 0.649, 0.1597), "NPVP": (768.0, 0.744, 0.1832),
}  # fmt: skip


def record(metric, value, **changes):
    fields = {
        "run": "big", "dataset": "cityscapes", "subject": "model", "task": "prediction", "protocol": "2to28",
        "metric": metric, "value": value, "missing": None, "interval_low": None, "interval_high": None,
        "num_clips": 256, "num_trajectories": 1, "num_frames": 30, "given_frames": 2, "sampler": "ddim",
        "num_steps": 50, "seed": 0, "checkpoint": "clips-000800000", "clips_seen": 800_000, "samples": "set-a",
        "latents_fingerprint": "f00", "code_commit": "c0ffee",
    }  # fmt: skip
    if changes.get("subject", "model") != "model":
        changes = dict.fromkeys(("sampler", "num_steps", "seed", "checkpoint", "clips_seen", "samples")) | changes
    return Record(**(fields | changes))


def build(records, height=128):
    comparisons = current.newest(records, height)
    return [building.build(comparison, published.load(), ORDER) for comparison in comparisons]


def column(table, conditions, metric):
    return [(c.conditions, c.metric) for c in table.columns].index((conditions, metric))


def texts(table, conditions, metric):
    index = column(table, conditions, metric)
    return {row.label: row.cells[index].text for row in table.rows}


def ranks(table, metric):
    index = [c.metric for c in table.columns].index(metric)
    return {row.label: row.cells[index].rank for row in table.rows if row.cells[index].rank in (1, 2)}
