"""Fills in the results of a package's model card from its evaluation.json, between the markers.

Usage: card.py --package models/swift
"""
import argparse
import json
from pathlib import Path

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def tables(report):
    name, summary, rows = report["model"], report["summary"], report["rows"]
    points = list(dict.fromkeys((s["uplinkHeight"], s["codec"], s["bitrate"]) for s in summary))
    points.sort(key=lambda point: point[1] == "none")  # untouched ones last: a gain means nothing there
    damaged = [p for p in points if p[1] != "none"]

    def score(table, method, point, clip=None):
        return next(r for r in table if r["method"] == method and (r["uplinkHeight"], r["codec"], r["bitrate"]) == point
                    and (clip is None or r["clip"] == clip))

    def label(point):
        height, codec, rate = point
        return f"{height}p {codec.replace('none, ', '').replace('none', 'untouched')}" if rate == 0 else f"{height}p {rate // 1000}k"
    methods, sharp = ["bilinear", "bicubic", name], f"{name} with a still"
    stills = any(s["method"] == sharp for s in summary)
    more = " with a still | gain |" if stills else ""
    out = [f"| sent | {' | '.join(methods)} | gain over bicubic |{more}", "| --- " * (7 if stills else 5) + "|"]
    for point in points:
        scores = [score(summary, m, point) for m in methods]
        cells = [f"{s['psnrY']:.2f} / {s['ssimY']:.4f}" for s in scores]
        gain = f"{scores[2]['psnrY'] - scores[1]['psnrY']:+.2f} dB"
        if point not in damaged:
            cells[:2], gain = ["the original"] * 2, "—"
        more = ""
        if stills:
            found = [s for s in summary if s["method"] == sharp and (s["uplinkHeight"], s["codec"], s["bitrate"]) == point]
            more = f" {found[0]['psnrY']:.2f} / {found[0]['ssimY']:.4f} | {found[0]['psnrY'] - scores[1]['psnrY']:+.2f} dB |" if found else " — | — |"
        out.append(f"| {label(point)} | {' | '.join(cells)} | {gain} |{more}")
    out += ["", "Gain over bicubic in dB, clip by clip:", "",
            "| clip | " + " | ".join(map(label, damaged)) + " |", "| --- " * (len(damaged) + 1) + "|"]
    for clip in dict.fromkeys(r["clip"] for r in rows):
        gains = [score(rows, name, p, clip)["psnrY"] - score(rows, "bicubic", p, clip)["psnrY"] for p in damaged]
        out.append(f"| {Path(clip).stem} | " + " | ".join(f"{g:+.2f}" for g in gains) + " |")
    if stills:
        sharp_points = [p for p in damaged if any(r["method"] == sharp and (r["uplinkHeight"], r["codec"], r["bitrate"]) == p for r in rows)]
        out += ["", "With a still of the clip's first picture (WebP, quality 60; its bytes not counted), over the same without, in dB:", "",
                "| clip | " + " | ".join(map(label, sharp_points)) + " |", "| --- " * (len(sharp_points) + 1) + "|"]
        for clip in dict.fromkeys(r["clip"] for r in rows):
            gains = [score(rows, sharp, p, clip)["psnrY"] - score(rows, name, p, clip)["psnrY"] for p in sharp_points]
            out.append(f"| {Path(clip).stem} | " + " | ".join(f"{g:+.2f}" for g in gains) + " |")
    rounding = [r for r in report.get("rounding", []) if r["codec"] != "none" or r["blur"] or r["lost"]]
    if rounding:
        worst = max(rounding, key=lambda r: r["floatMinusInt8"])
        cost = max(0, worst["floatMinusInt8"])
        out += ["", f"Rounding to integers costs {cost:.2f} dB at most (mean over the clips, the same weights in floats)."]
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
