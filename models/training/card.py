"""Fills in the results of a package's model card from its evaluation.json, between the markers.

Usage: card.py --package models/swift
"""
import argparse
import json
from pathlib import Path

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def tables(report):
    name, summary, rows = report["model"], report["summary"], report["rows"]
    points = list(dict.fromkeys((s["uplinkHeight"], s["bitrate"]) for s in summary))

    def score(table, method, point, clip=None):
        return next(r for r in table if r["method"] == method and (r["uplinkHeight"], r["bitrate"]) == point
                    and (clip is None or r["clip"] == clip))
    methods = ["bilinear", "bicubic", name]
    out = [f"| uplink | kbit/s | {' | '.join(methods)} | gain over bicubic |", "| --- " * 6 + "|"]
    for height, rate in points:
        scores = [score(summary, m, (height, rate)) for m in methods]
        cells = [f"{s['psnrY']:.2f} / {s['ssimY']:.4f}" for s in scores]
        out.append(f"| {height}p | {rate // 1000} | {' | '.join(cells)} | {scores[2]['psnrY'] - scores[1]['psnrY']:+.2f} dB |")
    out += ["", "Gain over bicubic in dB, clip by clip:", "",
            "| clip | " + " | ".join(f"{h}p {r // 1000}k" for h, r in points) + " |", "| --- " * (len(points) + 1) + "|"]
    for clip in dict.fromkeys(r["clip"] for r in rows):
        gains = [score(rows, name, p, clip)["psnrY"] - score(rows, "bicubic", p, clip)["psnrY"] for p in points]
        out.append(f"| {Path(clip).stem} | " + " | ".join(f"{g:+.2f}" for g in gains) + " |")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", type=Path, required=True)
    package = parser.parse_args().package
    card = package / "README.md"
    text = card.read_text()
    head, rest = text.split(BEGIN)
    results = tables(json.loads((package / "evaluation.json").read_text()))
    card.write_text(f"{head}{BEGIN}\n{results}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
