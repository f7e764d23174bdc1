"""How a run is done: in this process or in one a core, weighed before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from joblib import effective_n_jobs

from tlfeatures.backbones import gflop_of, is_depthwise, share_3x3_of, stands_bf16
from tlfeatures.engine import CPU_BATCH, winograd_pays
from tlfeatures.extraction.chunks._map import cluster_size, local_jobs
from tlfeatures.extraction.chunks._values import MakeEngine
from tlfeatures.machine import has_bf16, is_worker, n_cores

if TYPE_CHECKING:
    from tlfeatures.backbones import BackboneRequest
    from tlfeatures.extraction.planning._options import RunOptions

UNTRIED = "no GPU has run this"  # goes with the first run on one that the tests' bounds hold for
MOST_THREADS = 16
MOST_DECODERS = 32  # torch has no more streams, and no two decoders may share one
CHUNK_S = 4.0  # a chunk's length on a core, so that progress is seen and the ends meet
MOST_CHUNK = 1024
START_S = 1.5  # by which workers begin later than this process would; 0.5 if it has no torch yet
TOGETHER = 0.8  # rate of one process with threads, by that of as many processes: 0.8 to 0.95 on two
DECODE_S = 0.0025  # of one core, for a picture of 500 x 375: reading, decoding, resizing
GFLOP_PER_S = {"float32": 200.0, "bf16": 400.0, "gpu": 3e4}  # of one core with AVX-512, or a GPU
USUAL_GFLOP = 4.0
KERNELS_S = 2.0  # to compile our own operations
KERNELS_GAIN = 1.8  # of convolutions of 3 x 3: 1.4 to 2.6 in float32, 1.9 to 2.4 in bf16
# To compile our own resizing, and what it saves of DECODE_S: reckoned for the core
# that DECODE_S is of; measured on a slower one: 1.2 and 0.0017.
RESIZING_S, RESIZING_SAVES_S = 0.7, 0.001


@dataclass(frozen=True)
class Plan:
    """How missing pictures are computed.

    Attributes
    ----------
    n_workers : int
        Single-threaded processes; 1: this process.
    is_mapped : bool
        Whether chunks go to workers at all.
    n_threads : int
        Decoder threads of this process, where it works alone.
    batch_size : int
    most : int
        Pictures of a chunk.
    kernels_save_s : float
        Seconds that our own convolutions would save; 0.0: they are not for this run.
    resizing_saves_s : float
        The same of our own resizing.
    compile_s : float
        Seconds that compiling our own operations took, or finding what was compiled before.
    make_engine : callable or None
        Opens the network with our own operations; None: the run's own does.
    chosen : tuple of str
        What was chosen and why, in sentences.
    """

    n_workers: int = 1
    is_mapped: bool = False
    n_threads: int = 1
    batch_size: int = CPU_BATCH
    most: int = MOST_CHUNK
    kernels_save_s: float = 0.0
    resizing_saves_s: float = 0.0
    compile_s: float = 0.0
    make_engine: MakeEngine | None = None
    chosen: tuple[str, ...] = ()


def plan_run(n: int, request: BackboneRequest, run: RunOptions) -> Plan:
    """The plan for `n` pictures that lack codes, asked for by words.

    Parameters
    ----------
    n : int
    request : BackboneRequest
    run : RunOptions
        Settled.
    """
    return make_plan(
        n,
        None if request.needs_probes else request.backbone,
        run.device,
        run.precision,
        batch_size=run.batch_size or CPU_BATCH,
        n_jobs=run.n_jobs,
        kernels=run.kernels,
    )


def make_plan(
    n: int,
    backbone: str | None,
    device: str,
    precision: str,
    *,
    batch_size: int,
    n_jobs: int | None = None,
    kernels: str = "on",
) -> Plan:
    """Weigh what processes and a compiler cost at the start against what they save.

    Parameters
    ----------
    n : int
        Pictures that lack codes.
    backbone : str or None
        The network's name, of known ones the work for a picture is known; None where code of the
        user's own takes part, which other processes may not be able to import.
    device, precision : str
    batch_size : int
    n_jobs : int or None
        As the user wishes: processes on a CPU (1: this one), decoder threads on a GPU; negative
        counts from all cores, as in joblib.
    kernels : {"on", "off"}
    """
    plan = _share_out(n, backbone, device, precision, batch_size, n_jobs)
    seconds = n * seconds_of(backbone, "gpu" if device != "cpu" else precision) / plan.n_workers
    # They are for processes of one thread; on a cluster workers know their own processors.
    may_pay = cluster_size() > 0 or winograd_pays(precision)
    is_for_kernels = plan.is_mapped and may_pay and kernels == "on"
    share = share_3x3_of(backbone, is_wide=precision == "bf16") if is_for_kernels else 0.0
    saved = seconds * share * (1 - 1 / KERNELS_GAIN)
    chosen = (_say_precision(precision, device, backbone), *plan.chosen)
    if device != "cpu":
        chosen = (*chosen, UNTRIED)
    if kernels == "off":
        chosen = (*chosen, "kernels off, as asked: no operations of our own")
    plan = replace(plan, kernels_save_s=saved, chosen=chosen)
    if kernels == "off" or backbone is None:
        return plan
    decoders = plan.n_workers if plan.is_mapped else min(plan.n_threads, n_cores())
    saved = n * RESIZING_SAVES_S / decoders
    if device != "cpu":  # only what the network waits for counts
        saved = min(saved, max(0.0, n * DECODE_S / decoders - seconds))
    return replace(plan, resizing_saves_s=saved)


def _say_precision(precision: str, device: str, backbone: str | None) -> str:
    if precision == "float32" and device == "cpu" and has_bf16() and not stands_bf16(backbone):
        if is_depthwise(backbone):
            return "float32 on cpu: bf16 is too coarse for this network's depthwise convolutions"
        return "float32 on cpu: whether bf16 is fine enough for this network is not known"
    if precision == "float32":
        return f"float32 on {device}"
    if device == "cpu" and not has_bf16():
        return f"{precision} on {device}, slow: this processor has no operations for it"
    return f"{precision} on {device}, which this processor multiplies in"


def _share_out(
    n: int,
    backbone: str | None,
    device: str,
    precision: str,
    batch_size: int,
    n_jobs: int | None,
) -> Plan:
    if n_jobs is not None and n_jobs < 0:
        n_jobs = effective_n_jobs(n_jobs)
    threads = min(MOST_THREADS, n_cores())

    def here(n_threads: int, reason: str) -> Plan:
        return Plan(n_threads=n_threads, batch_size=batch_size, most=n, chosen=(reason,))

    if device != "cpu":
        decoders = min(n_jobs or threads, MOST_DECODERS)
        return here(decoders, f"one process on {device}, {decoders} threads decode")
    seconds = DECODE_S + seconds_of(backbone, precision)
    most = max(batch_size, min(MOST_CHUNK, int(CHUNK_S / seconds)) // batch_size * batch_size)

    def apart(n_workers: int, reason: str) -> Plan:
        return Plan(n_workers, is_mapped=True, batch_size=batch_size, most=most, chosen=(reason,))

    if n_cluster := cluster_size():
        return apart(n_cluster, f"{n_cluster} workers of joblib's backend")
    wanted = n_jobs or local_jobs()
    cores = wanted or (1 if is_worker() else n_cores())
    n_workers = min(cores, -(-n // batch_size))
    if n_workers <= 1:
        return here(threads, "in this process")
    if wanted is None and not isinstance(backbone, str):
        return here(threads, "in this process, for code of your own; `n_jobs` sends it to others")
    if wanted is None and not pays_off(n * seconds, n_workers):
        return here(threads, "in this process: starting others would take longer than it saves")
    return apart(n_workers, f"{n_workers} processes of one thread each, one a core")


def pays_off(seconds: float, n_workers: int) -> bool:
    """Whether processes are done earlier than threads, their start counted.

    Parameters
    ----------
    seconds : float
        Of one core, for all pictures.
    n_workers : int
    """
    apart = seconds / n_workers
    return START_S + apart < apart / TOGETHER


def seconds_of(backbone: str | None, precision: str) -> float:
    """About how long a core is in the network for a picture."""
    return 2 * (gflop_of(backbone) or USUAL_GFLOP) / GFLOP_PER_S[precision]
