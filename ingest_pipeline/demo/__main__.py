"""``python -m ingest_pipeline.demo DIR``: writes the sample inbox into DIR."""

import argparse
from pathlib import Path

from ingest_pipeline.demo.inbox import generate


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ingest_pipeline.demo", description="Write the sample inbox.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--people", type=int, default=64)
    arguments = parser.parse_args()
    generate(arguments.directory, arguments.seed, arguments.people)


if __name__ == "__main__":
    main()
