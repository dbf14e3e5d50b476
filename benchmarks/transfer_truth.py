"""T1 and T2: the same and another recording, judged against what the style would have made of the input."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common import RESULTS, Cell, table
from benchmarks.transfer_bench import Bench, Table, judged
from benchmarks.transfer_content import cross_trials, pools, same_trials
from benchmarks.transfer_scores import Row, by, frontier, main_columns, main_rows, percent, systems

TAUS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3)
ERRORS = (
    "Errors against the truth, both at a peak of −12 dBFS, as DeepAFx-ST defines them, but RMS in 20 log10: MSD 128 "
    "mel bands of windows of 65536, log-MSD its logarithmic half in dB, STFT six resolutions, SCE spectral centroid, "
    "MLDR dynamics. `ratio`: mean MSD over the input's, its interval by a bootstrap over songs. `harm`: share of "
    "trials worse than the input by 5 %; `better`: better by 5 %; `wins`: better at all; `median` and `P95 ratio` are "
    "over trials. `trials` differ where a system is slow. PESQ, where there is one: wide band, more is better, "
    "speech that it does not find is left out."
)


def same_recording(bench: Bench) -> list[Table]:
    """T1."""
    rows = judged(bench, "T1", same_trials(bench.found, bench.trials, bench.seed), 2 * bench.trials)
    tables = []
    for domain in ("speech", "music"):
        part = [row for row in rows if row["domain"] == domain]
        if part:
            text = f"The first half in the style of the second, published families. {ERRORS}"
            tables.append(table(f"T1, the same recording: {domain}", main_columns(part), main_rows(part), text))
    return [*tables, _by_style("T1, by family: ratio of means / harm", rows)]


def extra_styles(bench: Bench) -> list[Table]:
    """T2 with styles that an equaliser and a compressor cannot make, in stereo."""
    count = max(5, bench.trials // 4)
    trials = cross_trials(bench.found, count, bench.seed + 9, ["extra"], channels=2)
    rows = judged(bench, "extras", trials, count * len(pools(bench.found)))
    text = f"Random bands and compressors of a quarter of the decibels with one thing more; another song. {ERRORS}"
    columns, cells = main_columns(rows), main_rows(rows)
    first = table("Extra styles, another recording", columns, cells, text)
    return [first, _by_style("Extra styles, by what was added: ratio of means / harm", rows)]


def _by_style(title: str, rows: Sequence[Row]) -> Table:
    values, cells = by([{**row, "cell": f"{row['domain']}, {row['style']}"} for row in rows], "cell")
    return table(title, ["system", *values], cells)


def other_recording(bench: Bench) -> list[Table]:
    """T2, and the gate's frontier."""
    rows = judged(
        bench, "T2", cross_trials(bench.found, bench.trials, bench.seed), bench.trials * len(pools(bench.found))
    )
    tables = []
    for domain in ("speech", "music"):
        part = [row for row in rows if row["domain"] == domain]
        if not part:
            continue
        songs = len({row["song"] for row in part})
        text = f"The reference is another song, of one fold; {songs} songs as input. {ERRORS}"
        tables.append(table(f"T2, another recording: {domain}", main_columns(part), main_rows(part), text))
    values, cells = _split(rows)
    tables.append(table("T2, by kind of style and by class: ratio of means / harm", ["system", *values], cells))
    tables += _frontier_tables(rows)
    return tables


def _split(rows: Sequence[Row]) -> tuple[list[str], list[list[Cell]]]:
    kinds = [{**row, "cell": f"{row['domain']}, {row['kind']}"} for row in rows]
    first, left = by(kinds, "cell")
    music = [row for row in rows if row["domain"] == "music"]
    second, right = by(music, "group")
    third, last = by([{**row, "cell": f"fold {row['fold']}"} for row in music], "cell")
    names = systems(rows)
    cells = {str(line[0]): line[1:] for line in left}
    for more, width in ((right, len(second)), (last, len(third))):
        lines = {str(line[0]): line[1:] for line in more}
        for name in names:
            cells[name] = [*cells[name], *lines.get(name, [None] * width)]
    return [*first, *second, *third], [[name, *cells[name]] for name in names]


def _frontier_tables(rows: Sequence[Row]) -> list[Table]:
    name = "diffmix, bold"
    if name not in systems(rows):
        return []
    domains = [d for d in ("music", "speech") if any(row["domain"] == d for row in rows)]
    curves = {d: frontier([row for row in rows if row["domain"] == d], name, TAUS) for d in domains}
    cells: list[list[Cell]] = []
    for n, tau in enumerate(TAUS):
        line: list[Cell] = [f"{tau:.2f}"]
        for d in domains:
            line += [curves[d][n][1], percent(curves[d][n][2]), percent(curves[d][n][3])]
        cells.append(line)
    columns = ["acts below", *(f"{d}, {what}" for d in domains for what in ("ratio", "harm", "acted"))]
    plot_frontier(curves, RESULTS / "transfer_frontier.svg")
    text = (
        "What the same predictions come to if the input is left alone unless the expected ratio is below a limit.\n\n"
        "![harm against the ratio of means](results/transfer_frontier.svg)"
    )
    return [table("T2, the gate's frontier", columns, cells, text)]


def plot_frontier(curves: Mapping[str, Sequence[tuple[float, float, float, float]]], path: Path) -> None:
    """Harm against the ratio of means, one line a domain, gates written at some points."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for domain, curve in curves.items():
        ratio, harm = [c[1] for c in curve], [100 * c[2] for c in curve]
        axes.plot(harm, ratio, "o-", label=domain)
        for gate, r, h, _ in curve:
            if gate in (1.0, 0.8, 0.6, 0.4):
                axes.annotate(f"{gate:g}", (100 * h, r), textcoords="offset points", xytext=(4, 5), fontsize=8)
    axes.set_xlabel("trials worse than the input by 5 %, %")
    axes.set_ylabel("mean MSD over the input's")
    axes.set_xlim(left=0)
    axes.legend(title="acts where less is expected than")
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "diffmix"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
