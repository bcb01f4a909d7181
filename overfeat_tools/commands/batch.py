"""of-batch: the features of whole collections of pictures."""

from functools import partial
from typing import TYPE_CHECKING

from overfeat_tools import cli
from overfeat_tools.commands.batch_options import Options
from overfeat_tools.errors import ImageError, OverfeatError, UsageError

if TYPE_CHECKING:
    from overfeat_tools.batch.job import Job
    from overfeat_tools.batch.listing import Sources
    from overfeat_tools.batch.output import Output
    from overfeat_tools.batch.report import Report
    from overfeat_tools.networks.topology import Topology

PROGRAM = "of-batch"


def batch(options: Options) -> int:
    """Write the features of whole collections of pictures: resumable, on one machine or many.

    Pictures are files, folders, tar archives, or addresses of them. Running the same command again does what is left.
    """
    options.check()
    options.files = [*(options.sources or ()), *(options.files or ())]
    files = cli.input_files(options)
    stream = "-" in files
    if stream and (len(files) > 1 or options.dask or options.shard):
        raise UsageError("standard input goes with neither other sources, --dask nor --shard")

    from overfeat_tools.batch.job import forget
    from overfeat_tools.batch.listing import Sources
    from overfeat_tools.batch.output import open_output

    suffix = "" if options.output == "-" else f".{options.form}"
    sources = Sources([] if stream else files, options.names_from, options.recursive, suffix)
    job = _job(options, sources, stream=stream)
    cli.started()
    if job.made_with["weights"] is None:
        job.open_network()  # which says what is wrong with them
    output = None if job.output == "-" else open_output(job.output)
    try:
        if output and options.force:
            forget(output)
        if output:
            job.check_output(output)
        return _run(options, job, sources, output)
    except KeyboardInterrupt:
        if output:
            cli.say(PROGRAM, "stopped; run the same command again to go on")
        raise
    finally:
        if output:
            output.close()


def _job(options: Options, sources: "Sources", *, stream: bool) -> "Job":
    """Describe the work."""
    from overfeat_tools import __version__
    from overfeat_tools.backend.machine import processors
    from overfeat_tools.batch.computing import Layers, Looking
    from overfeat_tools.batch.job import Job
    from overfeat_tools.batch.reader import Reading
    from overfeat_tools.batch.sums import weights_sum
    from overfeat_tools.commands.sizes import chosen_layers, side_of_a_map, side_of_one_answer
    from overfeat_tools.networks.preparation import to_a_map
    from overfeat_tools.networks.topology import TOPOLOGIES
    from overfeat_tools.pictures import Wanted, colour

    topology = TOPOLOGIES[options.name]
    numbers = chosen_layers(topology, options.layers)
    side = side_of_a_map(topology, options.size, max(numbers))
    if options.classes and options.views == "centre":
        if side is None:
            raise UsageError("--classes needs a --size that gives one place, as --size input does, or --views")
        side_of_one_answer(topology, options.size)
    looking = None if options.views == "centre" else Looking(options.views, topology.name, options.folder)
    least_side = topology.least_side(max(numbers))
    prepare = partial(to_a_map, least_side=least_side, side=side, cut=options.size is not None)
    background = None if options.background is None else colour(options.background)
    wanted = Wanted(None if options.exact else side, options.most_frames, background)
    made_with = {
        "program": f"overfeat_tools {__version__}", "network": topology.name, "layers": ",".join(map(str, numbers)),
        "weights": weights_sum(topology.name, options.folder), "method": options.method,
        "size": "input" if side == topology.input_size else options.size or "as it is", "exact_decode": options.exact,
        "frames": options.frames, "background": background, "classes": options.classes, "views": options.views,
        "format": options.form, "strict": options.strict,
        **({} if options.precision == "float32" else {"precision": options.precision}),
    }  # fmt: skip
    return Job(
        topology.name, Layers(numbers, bool(options.classes), looking),
        Reading(wanted, prepare, looking), str(options.form), options.output, made_with, sources.naming,
        options.folder, options.device, options.threads, options.method, options.reproducible, options.batch,
        _columns(topology, numbers, side), options.classes, options.readers or processors(),
        sources.are_remote and not stream, options.strict, options.retry_failed, options.checksum, options.precision,
    )  # fmt: skip


def _columns(topology: "Topology", numbers: tuple[int, ...], side: int | None) -> dict[str, int | None]:
    """Name the columns of a table; with how many values a picture has in each, where all give one place."""
    shapes = topology.shapes(side, side) if side else [(0, 0, 0)] * (topology.last_layer + 1)
    lengths = [shapes[number][0] if shapes[number][1:] == (1, 1) else None for number in numbers]
    names = [f"layer_{number}" for number in numbers] if len(numbers) > 1 else ["features"]
    return dict(zip(names, lengths, strict=True))


def _run(options: Options, job: "Job", sources: "Sources", output: "Output | None") -> int:
    """Do the work and tell of it; return the exit status."""
    from overfeat_tools.batch.plan import Plan, unplanned
    from overfeat_tools.batch.report import Report
    from overfeat_tools.batch.session import Session

    shards, count, files = None, 0, 0
    if sources.are_given:
        number, of = options.part
        if output:
            plan = Plan(output, options.shard_size)
            plan.update(lambda: sources, once_each=sources.names_from is None)
            shards, (count, files) = plan.shards(number, of), plan.count(number, of)
        else:
            shards = unplanned(sources, options.shard_size, number, of)
    report = Report(PROGRAM, count, files, quiet=options.quiet)
    session = Session(job, output, report.row)
    try:
        if shards is None:
            outcomes = session.process_stream(options.shard_size)
        elif options.dask:
            from overfeat_tools.batch.cluster import distribute

            outcomes = distribute(job, shards, options.dask)
        else:
            outcomes = session.process(shards)
        for outcome in outcomes:
            report.shard(outcome, count_rows=bool(options.dask))
        if options.verbose:
            for line in session.told():
                cli.say(PROGRAM, line)
    finally:
        session.close()
    for remark in sources.remarks:
        cli.say(PROGRAM, remark)
    return _end(options, report, output)


def _end(options: Options, report: "Report", output: "Output | None") -> int:
    """Tell what came of it; return the exit status."""
    from overfeat_tools.batch.report import write_failures

    name = "failures" if options.shard is None else f"failures-{options.part[0]}-of-{options.part[1]}"
    where = write_failures(output, f"{name}.tsv", report.tally) if output else None
    if not options.quiet:
        cli.say(PROGRAM, report.summary())
    if where and not options.quiet:
        cli.say(PROGRAM, f"failures are listed in {where}")
    if report.faults:
        return OverfeatError.exit_status
    return ImageError.exit_status if report.tally.failures else 0


main = cli.program(PROGRAM, batch, Options)
