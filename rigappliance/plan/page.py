"""A plan as a page for people: verdict, ledgers as stacked bars, the table of layouts, what would be better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rigappliance.plan.build import Plan
from rigappliance.plan.fit import Verdict
from rigappliance.plan.layout import Layout
from rigappliance.plan.ledger import Ledger
from rigappliance.units import format_duration, format_size

BAR_CELLS = 56
STYLES = {Verdict.FITS: "bold green", Verdict.UNSAFE: "bold yellow", Verdict.TOO_LARGE: "bold red"}
# Patterns as well as colours: a page may be printed, and pipes carry no colour.
FILLS = (("█", "blue"), ("▓", "yellow"), ("▒", "green"), ("░", "magenta"), ("■", "cyan"), ("▪", "red"))
ASCII_FILLS = ("#", "=", "+", "-", "*", "o")
# The rest is in --json: on eight cards there are a dozen, and the slowest of them help nobody.
LAYOUTS_SHOWN = 8


def print_plan(plan: Plan, console: Console) -> None:
    unicode = console.encoding.lower().startswith("utf")
    for part in parts_of(plan, unicode):
        console.print(part)


def parts_of(plan: Plan, unicode: bool) -> Iterator[RenderableType]:
    yield heading(plan)
    if plan.cards and plan.cards.memory:
        ledgers = [card.ledger for card in plan.cards.memory.cards]
        for owner, ledger in alike(ledgers):
            yield drawn(owner, ledger, unicode)
    yield from host(plan, unicode)
    if plan.layouts:
        yield layouts_table(plan)
    yield from advice(plan)


def host(plan: Plan, unicode: bool) -> Iterator[RenderableType]:
    """Where the processes' memory lies, by phase; phases that hold the same are drawn once."""
    for owner, ledger in alike([phase.ledger for phase in plan.host.phases]):
        yield drawn(owner, ledger, unicode, "RAM and swap")
    for phase in plan.host.phases:
        cache = f", {format_size(phase.cache_bytes)} of page cache beside it" if phase.cache_bytes else ""
        missing = f", {format_size(phase.missing_bytes)} nowhere" if phase.missing_bytes else ""
        places = f"{format_size(phase.ram_bytes)} in RAM, {format_size(phase.swap_bytes)} in swap{missing}{cache}"
        yield Text(f"  while {phase.phase}: {places}")
    yield Text("")


def heading(plan: Plan) -> RenderableType:
    layout = f"TP {plan.arguments.tensor_parallel} × PP {plan.arguments.pipeline_parallel}"
    first = Text.assemble((f"{plan.model}", "bold"), f" ({format_size(plan.checkpoint_bytes)}), {layout}")
    said = [Text.assemble((str(plan.verdict), STYLES[plan.verdict]))]
    said += [Text(f"  {reason}") for reason in plan.reasons]
    if plan.kv_tokens is not None:
        held = f"KV cache: {plan.kv_tokens} tokens"
        requests = plan.cards.requests if plan.cards else plan.kv_tokens // plan.arguments.max_model_len
        many = "one request" if requests == 1 else f"{requests} requests"
        said.append(Text(f"  {held}: {many} of {plan.arguments.max_model_len} tokens at a time"))
    if plan.layout:
        said.append(Text(f"  {times(plan.layout)}"))
    return Group(first, Text(f"on {plan.machine}"), *said, Text(""))


def times(layout: Layout) -> str:
    decode = ", ".join(f"{speed:.3g} tokens/s with {count}" for count, speed in layout.decode_tokens_s.items())
    return (
        f"loads in about {format_duration(layout.load_s)}, silent for {format_duration(layout.silent_s)} more; "
        f"prompts {layout.prefill_tokens_s:.3g} tokens/s; answers {decode} at a time"
    )


def alike(ledgers: Iterable[Ledger]) -> Iterator[tuple[str, Ledger]]:
    """Ledgers that differ in their owner alone, once."""
    for _, group in groupby(ledgers, key=lambda ledger: (ledger.capacity_bytes, ledger.lines)):
        same = list(group)
        first, last = same[0].owner, same[-1].owner
        # "card 0 to 7", "host while loading and serving": what they have in common is said once.
        head, tail = first.rpartition(" ")[0], last.rpartition(" ")[2]
        owner = first if len(same) == 1 else f"{first} {'to' if head == 'card' else 'and'} {tail}"
        yield owner, same[0]


def drawn(owner: str, ledger: Ledger, unicode: bool, of: str = "") -> RenderableType:
    """The bar, and below it what it is made of."""
    bar, marks = Text(), []
    most = max(ledger.capacity_bytes, ledger.used_bytes, 1)
    at_bytes, at_cells = 0, 0
    for place, line in enumerate(ledger.lines):
        fill, style = FILLS[place % len(FILLS)]
        fill = fill if unicode else ASCII_FILLS[place % len(ASCII_FILLS)]
        at_bytes += line.size_bytes
        cells = round(at_bytes / most * BAR_CELLS) - at_cells
        at_cells += cells
        bar.append(fill * cells, style)
        marks.append((fill, style))
    bar.append(("·" if unicode else ".") * (BAR_CELLS - at_cells), "dim")
    free = ledger.free_bytes
    end = f"{format_size(free)} free" if free >= 0 else f"{format_size(-free)} too much"
    top = Text.assemble(
        f"{owner}, {format_size(ledger.capacity_bytes)}{of and f' of {of}'}  ",
        bar,
        "  ",
        (end, "red" if free < 0 else ""),
    )
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    overflow = ledger.overflow
    for (fill, style), line in zip(marks, ledger.lines, strict=True):
        note = f"{line.basis}{': ' if line.note else ''}{line.note}"
        name = Text(line.name, "bold red" if line is overflow else "")
        table.add_row(Text(f"  {fill}", style), name, format_size(line.size_bytes), Text(note, "dim"))
    return Group(top, table, Text(""))


def layouts_table(plan: Plan) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 1), title=None)
    for name in ("layout", "", "load", "silent", "prompt tok/s", *(f"{n} at a time" for n in first_counts(plan))):
        table.add_column(name, no_wrap=True, justify="left" if name in ("layout", "") else "right")
    table.add_column("limited by", overflow="fold", ratio=1)
    for each in plan.layouts[:LAYOUTS_SHOWN]:
        mark = "*" if each is plan.layout else ""
        table.add_row(
            Text(f"{each.name} {mark}".strip()),
            Text("fits", "green") if each.fits else Text("no", "red"),
            format_duration(each.load_s),
            format_duration(each.silent_s),
            f"{each.prefill_tokens_s:.3g}",
            *(f"{each.decode_tokens_s[count]:.3g}" for count in first_counts(plan)),
            Text(each.reason or f"{each.limit} ({each.limit_share:.0%})"),
        )
    more = len(plan.layouts) - LAYOUTS_SHOWN
    last = [Text(f"  and {more} more: see --json")] if more > 0 else []
    return Group(
        Text("Layouts, the fastest first; * is the declared one; tokens/s of all answers together"),
        table,
        *last,
        Text(""),
    )


def first_counts(plan: Plan) -> tuple[int, ...]:
    return tuple(plan.layouts[0].decode_tokens_s)


def advice(plan: Plan) -> Iterator[RenderableType]:
    found = plan.limits
    if found and found.least_utilization is not None:
        yield Text(
            f"gpu_memory_utilization from {found.least_utilization:.2f} to {found.most_utilization:.2f} would fit; "
            f"one request of up to {found.longest_context} tokens as declared"
        )
    if found and found.kv_cache_memory_bytes and plan.arguments.kv_cache_memory_bytes is None:
        size = format_size(found.kv_cache_memory_bytes)
        yield Text(
            f"engine.kv_cache_memory of up to {size} a rank would fit too: it stays so whatever else is on a card, "
            "and the engine then trusts it instead of measuring"
        )
    for way in plan.ways:
        yield Text.assemble("would fit: ", (way.text, "bold"), f": {way.effect}")
    if not plan.ways and plan.verdict is not Verdict.FITS and plan.cards and plan.cards.reason:
        yield Text("no single change of the configuration makes it fit these cards")
    for note in plan.notes:
        yield Text(f"note: {note}")
