"""The stage `train` in a process of its own: python -m tests.jobs.train_directly ROOT '{"train__total_clips": 60}'."""

import json
import sys

from jobs import train
from tests.jobs import made_up

if __name__ == "__main__":
    root, changes = sys.argv[1], json.loads(sys.argv[2])
    fields = changes.pop("partition", {})
    result = train.run(made_up.config(**changes), made_up.partition(root, **fields))
    print(f"complete={result.complete} {result.summary}", flush=True)
