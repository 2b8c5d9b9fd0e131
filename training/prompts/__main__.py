"""Train the classifier, write it into the package and score it: ``python -m training.prompts``."""

from __future__ import annotations

import hashlib
import json
import sys

from training.prompts.sentences import HELDOUT
from training.prompts.train import score, trained
from vsanimup.prompts import mix_of
from vsanimup.prompts.classifier import DATA, FOLDER, FORMAT, LABELS, MANIFEST, shipped


def main() -> None:
    data = trained()
    (FOLDER / DATA).write_bytes(data)
    manifest = {"format": FORMAT, "labels": LABELS, "sha256": hashlib.sha256(data).hexdigest()}
    (FOLDER / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    shipped.cache_clear()
    print(f"{DATA}: {len(data)} bytes")
    for file in HELDOUT:
        right, wrong = score(mix_of, file)
        print("\n".join(wrong), file=sys.stderr)
        for name, (good, count) in right.items():
            if count:
                print(f"{file}, {name}: {good} of {count}, {good / count:.1%}")


if __name__ == "__main__":
    main()
