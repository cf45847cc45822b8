# SPDX-License-Identifier: Apache-2.0
"""The two charts as SVG, from a result of bench/run. Written out by hand: no library is needed for them."""
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP = 760, 190, 30, 56
COLOURS = ("#0b6e99", "#c05621", "#4a7c2a", "#7a4fa3", "#8a6d1d")
STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600;font-size:15px}"
    ".s{fill:#666;font-size:12px}.g{stroke:#ddd}.p{fill:#fff}.f{stroke:#b00020;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}.s{fill:#aaa}.g{stroke:#444}.p{fill:#1b1b1b}.f{stroke:#ff6b81}}"
    "</style>"
)


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def rule(x1, y1, x2, y2, kind="g"):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def box(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def page(height, title, subtitle, parts):
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"'
    paper = f'<rect class="p" width="{WIDTH}" height="{height}"/>'
    words = text(16, 24, title, "t") + text(16, 42, subtitle, "s")
    return f"<svg {frame}>{STYLE}{paper}{words}{''.join(parts)}</svg>\n"


def round_up(value):
    """The next of 1, 2, 5, 10, 20, 50 ... and its fifth or fourth as the step of the grid."""
    size = 1.0
    while size * 10 <= value:
        size *= 10
    top = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= value)
    return top, top / 5


def cpu_chart(result):
    rows, floor = result["servers"], result["floor_cpu_ms"]["sum"]
    top, step = round_up(max(row["cpu_ms"] for row in rows))
    scale = (WIDTH - LEFT - RIGHT - 60) / top
    height = TOP + 34 * len(rows) + 44
    parts = []
    bottom = TOP + 34 * len(rows)
    for tick in range(6):
        x = LEFT + tick * step * scale
        parts += [rule(x, TOP, x, bottom), text(x, bottom + 16, f"{tick * step:g}", "s", "middle")]
    for index, row in enumerate(rows):
        y = TOP + 34 * index + 6
        width = row["cpu_ms"] * scale
        parts.append(text(LEFT - 8, y + 15, f"{row['name'].removesuffix('-fp32')}, {row['precision']}", anchor="end"))
        parts.append(box(LEFT, y, width, 22, COLOURS[min(index, 2)]))
        parts.append(text(LEFT + width + 6, y + 15, f"{row['cpu_ms']:.2f}"))
    x = LEFT + floor * scale
    parts.append(rule(x, TOP - 4, x, bottom, "f"))
    parts.append(text(x, bottom + 34, f"int8 floor {floor:.2f}", "s", "middle"))
    subtitle = "server CPU milliseconds, user and system, median of interleaved rounds; 8 clients, closed loop"
    return page(height, "CPU per image", subtitle, parts)


def line(points, colour, dashed):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


def latency_chart(result):
    curves = result["latency_by_rate"]
    left, bottom, height = 60, 360, 430
    rate_top, rate_step = round_up(max(point["rate"] for points in curves.values() for point in points))
    # Overloaded servers go off the chart: its top is four times the first server's worst p99.
    first = next(iter(curves.values()))
    cap = max(4 * max(point["latency_ms"]["p99"] for point in first), 20)
    top, step = round_up(min(cap, max(p["latency_ms"]["p99"] for points in curves.values() for p in points)))
    x_of = lambda rate: left + rate / rate_top * (WIDTH - left - RIGHT)
    y_of = lambda value: bottom - min(value, top) / top * (bottom - TOP)
    parts = []
    for tick in range(6):
        y, x = y_of(tick * step), x_of(tick * rate_step)
        parts += [rule(left, y, WIDTH - RIGHT, y), text(left - 8, y + 4, f"{tick * step:g}", "s", "end")]
        parts.append(text(x, bottom + 16, f"{tick * rate_step:g}", "s", "middle"))
    for index, (name, points) in enumerate(curves.items()):
        for quantile, dashed in (("p50", False), ("p99", True)):
            places = [(x_of(p["rate"]), y_of(p["latency_ms"][quantile])) for p in points]
            parts.append(line(places, COLOURS[index], dashed))
        parts.append(box(left + 220 * index, bottom + 40, 14, 14, COLOURS[index]))
        parts.append(text(left + 220 * index + 20, bottom + 52, name))
    parts.append(text((left + WIDTH) / 2, bottom + 32, "requests a second (Poisson)", "s", "middle"))
    subtitle = "int8; milliseconds from the intended arrival; solid p50, dashed p99; at the top edge: off the chart"
    return page(height, "Latency by rate", subtitle, parts)
