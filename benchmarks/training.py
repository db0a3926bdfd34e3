"""How fast the classifier trains in each setting, beside the original's loop and a plain one, in one run.

    python -m benchmarks.training            # MERT-v1-330M with random weights; within ten minutes on one H100 or H200
    python -m benchmarks.training --minutes 4    # the first rows of the table, which are the most important
    python -m benchmarks.training --tiny     # a small MERT, without a GPU: that everything runs, nothing about speed
    python -m benchmarks.training --profile  # where the time of a step goes

Prints, and writes into docs/performance.md. Needs torch, transformers and numpy (peft for LoRA, and all of Tarkib's
libraries for the rows of the whole training), no data, no network.

Every setting runs in a process of its own, so that neither memory nor kernels of one are left for the next. After the
first steps, which are not counted, a GPU is waited for every few steps only, as in training; the figure is the median.
MFU is what a step must compute (what checkpointing computes again is not counted) over what the device could have.
"""

import argparse
import math
import multiprocessing
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.autograd import DeviceType

from benchmarks import loops, tables
from benchmarks.loops import Setting, Shape

DOCUMENT = Path("docs/performance.md")
H200_FLOP_PER_S = 790e12
"""bf16 matrix products measured on an H200"""

CLIPS, EPOCHS = 50_000, 10
"""of the paper"""

_WARM_UP, _BLOCK = 5, 5  # steps that are not counted; steps between two waits for a GPU
_EPOCH = 4  # times as many steps has an epoch of the whole training
_GRACE_S = 10.0  # for a process to end once it has reported its figures
_GIB, _MIB = 2**30, 2**20


@dataclass(frozen=True)
class Result:
    """What was measured of a setting: seconds a step, peak memory in bytes; or the reason why nothing was."""

    step_s: float | None = None
    peak: int | None = None
    reason: str = ""


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(setting: Setting, shape: Shape, steps: int, seconds: float) -> Result:
    """Make steps of a setting, `steps` at most and for about `seconds`, in a process that has done nothing else."""
    device = _device()
    if setting.graph and device.type != "cuda":
        return Result(reason="needs a GPU")
    torch.set_float32_matmul_precision("high" if setting.tf32 else "highest")
    torch.manual_seed(1)
    before = 0 if device.type == "cuda" else _status("VmRSS")
    if setting.whole:
        from benchmarks import whole

        return Result(whole.step_s(setting, shape, device, _EPOCH * steps), _peak(device, before))
    step = setting.loop(setting, shape, device)
    block, wait = _pace(device)
    # A graph is recorded within them all.
    for _ in range(_WARM_UP if setting.graph else min(_WARM_UP, steps)):
        made = step()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) * block < steps and (len(times) < 2 or time.perf_counter() - begun < seconds):
        wait()
        start = time.perf_counter()
        for _ in range(block):
            made = step()
        wait()
        times.append((time.perf_counter() - start) / block)
    if not torch.isfinite(made).all():
        return Result(reason="what it made is not finite")
    return Result(statistics.median(times), _peak(device, before))


def _peak(device: torch.device, before: int) -> int:
    """Bytes of a GPU, or by which this process has grown since it had `before`."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else _status("VmHWM") - before


def _pace(device: torch.device) -> tuple[int, Callable[[], object]]:
    """Steps between two waits, and how to wait."""
    return (_BLOCK, torch.cuda.synchronize) if device.type == "cuda" else (1, lambda: None)


def _status(name: str) -> int:
    """This process's memory in bytes, from the kernel: VmRSS now, or VmHWM, the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def environment() -> tuple[str, float | None]:
    """The device and the versions that figures belong to, and what `matmul_peak` says of a GPU."""
    device = _device()
    gpu = device.type == "cuda"
    name = f"one {torch.cuda.get_device_name()}" if gpu else f"one core of {tables.machine()}"
    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    return f"{name}; {versions}", matmul_peak(device) if gpu else None


def matmul_peak(device: torch.device) -> float:
    """The best FLOP/s of a GPU's bf16 products of large square matrices."""
    best = 0.0
    for size in (4096, 8192, 16384):
        left, right = (torch.randn((size, size), device=device, dtype=torch.bfloat16) for _ in range(2))
        for _ in range(6):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(10):
                left @ right
            torch.cuda.synchronize()
            best = max(best, 10 * 2 * size**3 / (time.perf_counter() - start))
    return best


def profile(setting: Setting, shape: Shape, steps: int) -> str:
    """The operations of some steps by the time that they take themselves, and how long a GPU was busy."""
    device = _device()
    step = setting.loop(setting, shape, device)
    _, wait = _pace(device)
    for _ in range(_WARM_UP):
        step()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    wait()
    with torch.profiler.profile(activities=kinds) as profiler:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        wait()
        spent = time.perf_counter() - start
    averages = profiler.key_averages()
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    text = averages.table(sort_by=order, row_limit=30, max_name_column_width=70)
    if device.type == "cuda":
        kernels = [one for one in averages if one.device_type == DeviceType.CUDA and not one.is_user_annotation]
        busy = sum(one.self_device_time_total for one in kernels) / 1e6
        text += f"\nThe GPU computed {busy / spent:.0%} of the time (profiling itself slows the host)."
    return f"{steps} steps of {setting.title.strip('*')}: {1000 * spent / steps:.1f} ms each\n{text}"


def _alone(function: Callable[..., Any], *arguments: object, timeout: float) -> Any:
    """What a function gives in a process of its own; a Result with the reason where it fails or takes too long."""
    if timeout <= 0:
        return Result(reason="no time was left for it")
    # A forked process has everything imported, but cannot use a GPU that its parent has asked for.
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            return Result(reason="no time was left for it")
        given = receiver.recv()
        process.join(_GRACE_S)
        return given
    except EOFError:
        process.join(_GRACE_S)
        return Result(reason=f"its process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _child(sender: Connection, function: Callable[..., Any], arguments: Sequence[object]) -> None:
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    try:
        sender.send(function(*arguments))
    except ImportError as error:
        sender.send(Result(reason=f"{error.name} is not installed"))
    except torch.OutOfMemoryError:
        sender.send(Result(reason="the device's memory is too small"))
    except Exception as error:  # whatever a kernel raises is the row's reason, and others go on
        print(f"{function.__name__}: {error!r}", file=sys.stderr)
        sender.send(Result(reason=f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"))


def table(results: dict[Setting, Result], shape: Shape, peak: float | None) -> str:
    """A row a setting. Figures that are not known are dashes."""
    lines = []
    original = _clip_s(results, loops.original)
    for setting, result in results.items():
        if result.step_s is None:
            lines.append([setting.title, setting.batch, *[None] * 7, result.reason])
            continue
        speed = setting.batch / result.step_s
        flop = shape.flop.get(setting.flop or "")
        whole = CLIPS * (1 if setting.once else EPOCHS) / speed
        lines.append(
            [
                setting.title,
                setting.batch,
                _digits(1000 * result.step_s),
                _digits(speed),
                _digits(speed * original) if original else None,
                f"{flop * speed / H200_FLOP_PER_S:.1%}" if flop and peak else None,
                f"{flop * speed / peak:.1%}" if flop and peak else None,
                f"{result.peak / _GIB:.1f} GiB" if result.peak >= _GIB else f"{result.peak / _MIB:.0f} MiB",
                (f"{whole / 60:.1f} min" if whole < 5_400 else f"{whole / 3_600:.1f} h") if shape.flop else None,
                "once" if setting.once else "",
            ]
        )
    measured = f"of {peak / 1e12:.0f} measured here" if peak else "of this device"
    header = ["setting", "batch", "ms a step", "clips/s", "times the original"]
    header += [f"MFU of {H200_FLOP_PER_S / 1e12:.0f} TFLOP/s", f"MFU {measured}", "peak memory"]
    return tables.markdown([*header, f"{EPOCHS} × {CLIPS:,} clips take", ""], lines)


def _digits(value: float) -> str:
    """Two decimals below 10, one below 100, else none.

    >>> _digits(0.12345), _digits(4.567), _digits(45.67), _digits(45_678.0)
    ('0.12', '4.57', '45.7', '45,678')
    """
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _clip_s(results: dict[Setting, Result], loop: Callable[..., Any]) -> float | None:
    """Seconds a clip of a loop, where it was measured."""
    for setting, result in results.items():
        if setting.loop is loop and result.step_s is not None:
            return result.step_s / setting.batch
    return None


def aims(results: dict[Setting, Result], shape: Shape) -> str:
    """What was aimed at on one H100 or H200, and what is reached here, as far as it was measured."""

    def clip_s(batch: int, whole: bool = False) -> float:
        """Seconds a clip of the paper's setting, with or without a graph, whichever is faster."""
        found = [
            result.step_s / one.batch
            for one, result in results.items()
            if result.step_s is not None and one.loop in (loops.ours, loops.graphed)
            if one.flop == "full" and one.bf16 and not one.checkpointing
            if (one.batch, one.whole) == (batch, whole)
        ]
        return min(found, default=math.nan)

    size = loops.HEADLINE.batch
    bare, whole, wide = clip_s(size), clip_s(size, whole=True), clip_s(64)
    minutes = EPOCHS * CLIPS * whole / 60
    original, plain = (_clip_s(results, loop) or math.nan for loop in (loops.original, loops.plain))
    reached = (
        ("at most 42 ms a step", 1000 * size * bare, " ms", 1000 * size * bare <= 42),
        ("at most 46 ms a step of the whole training", 1000 * size * whole, " ms", 1000 * size * whole <= 46),
        ("at least 8 times the original's loop", original / bare, " times", original / bare >= 8),
        ("at least twice the plain loop", plain / bare, " times", plain / bare >= 2),
        ("at least 450 clips/s at batch 64", 1 / wide, " clips/s", 1 / wide >= 450),
        (f"{EPOCHS} × {CLIPS:,} clips in under 25 minutes", minutes, " min", minutes < 25),
    )
    lines = [
        f"- {aim}: {value:.1f}{unit}, {'met' if met else 'missed'}"
        for aim, value, unit, met in reached
        if not math.isnan(value)
    ]
    return "\n".join(["Aimed at, and reached here:", "", *lines]) if lines and shape.flop else ""


def main() -> None:
    """Measure, print, and put the table into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a small model and clips of a second")
    parser.add_argument("--steps", type=int, default=40, help="of each setting, at most")
    parser.add_argument("--seconds", type=float, default=10.0, help="for the steps of each setting, about")
    parser.add_argument("--rounds", type=int, default=1, help="runs of every setting in turn; their median is reported")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all; the most important rows come first")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="TEXT", help="leave out settings with it in the title"
    )
    parser.add_argument("--profile", action="store_true", help="only print where the time of the headline's steps goes")
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    shape = loops.TINY if options.tiny else loops.PAPER
    if not options.tiny and not torch.cuda.is_available():
        parser.error("torch finds no GPU here, and the paper's model needs one; --tiny shows that everything runs")
    end = time.monotonic() + 60 * options.minutes

    def left() -> float:
        return end - time.monotonic()

    if options.profile:
        text = _alone(profile, loops.HEADLINE, shape, 5, timeout=left())
        sys.exit(text.reason) if isinstance(text, Result) else print(text)
        return
    found = _alone(environment, timeout=left())
    if isinstance(found, Result):
        sys.exit(found.reason)
    where, peak = found
    settings = [one for one in loops.SETTINGS if not any(text in one.title for text in options.without)]
    found: dict[Setting, list[Result]] = {setting: [] for setting in settings}
    for _ in range(options.rounds):
        for setting in settings:
            result = _alone(measure, setting, shape, options.steps, options.seconds, timeout=left())
            print(f"{setting.title}: {result}", file=sys.stderr, flush=True)
            found[setting].append(result)
    results = {setting: _median(some) for setting, some in found.items()}
    command = shlex.join(["python", "-m", "benchmarks.training", *sys.argv[1:]])
    parts = [f"Measured with `{command}` on {where}: {shape.name}, random weights.", table(results, shape, peak)]
    text = "\n\n".join(filter(None, [*parts, aims(results, shape)]))
    print(text)
    if not options.print_only:
        tables.fill(DOCUMENT, "training-tiny" if options.tiny else "training", text)


def _median(results: Sequence[Result]) -> Result:
    """The median of a setting's rounds, and its highest peak; the first reason where it failed in one."""
    failed = [result for result in results if result.step_s is None]
    if failed:
        return failed[0]
    return Result(statistics.median(one.step_s for one in results), max(one.peak for one in results))


if __name__ == "__main__":
    main()
