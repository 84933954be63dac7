"""The command line: parse, call the pipeline, print."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from . import cli_compare, cli_export, cli_index, cli_serve
from .cli_teach import teach_app
from .errors import InputError, Interrupted, MissingExtra, PotstillError
from .version import __version__

app = typer.Typer(
    name="potstill",
    help="Distil large retrieval models into small, fast ones, and prove how much was kept.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
signals_app = typer.Typer(help="The store of teacher signals.", no_args_is_help=True)
app.add_typer(signals_app, name="signals")
app.add_typer(teach_app, name="teach")

Out = Annotated[Path, typer.Option("--out", help="Folder to write.", show_default=False)]
Signals = Annotated[
    Path | None,
    typer.Option("--signals", help="Folder of the signal store; default: POTSTILL_HOME or the user's cache."),
]
RecipeFile = Annotated[Path | None, typer.Argument(help="A YAML recipe; flags override it.", show_default=False)]
Collection = Annotated[str | None, typer.Option("--collection", help="Folder, file, hf:NAME or ir_datasets:NAME.")]
Teacher = Annotated[str | None, typer.Option("--teacher", help="A model id or folder.")]
StudentOption = Annotated[
    str | None, typer.Option("--student", help="static | static:RANK | layers:0,5 | tiny:2x128 | a model id or folder.")
]
Towers = Annotated[str | None, typer.Option("--towers", help="asymmetric (default) | shared | separate.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Any key of the recipe, e.g. training.epochs=2.")
]


# The base of all usage errors: click's ClickException, or the copy of it that newer typers bring along.
_Usage: type[Exception] = typer.BadParameter.__mro__[2]


@app.command()
def distill(
    recipe: RecipeFile = None,
    collection: Collection = None,
    teacher: Teacher = None,
    student: StudentOption = None,
    towers: Towers = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run.", show_default=False)] = None,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    signals: Signals = None,
) -> None:
    """Distil a student from a teacher on a collection, evaluate both, and write a run folder."""
    if out is None:
        raise InputError("there is no output folder", where="--out", fix="add --out RUN")
    from .api import distill as run

    done = run(
        collection,
        teacher,
        student,
        out=out,
        towers=towers,
        recipe=recipe,
        settings=settings or (),
        resume=resume,
        signals=signals,
    )
    _print_evaluation(done.evaluation)
    students = ", ".join(f"{folder.name}/" for folder in sorted(out.glob("student*/")))
    _say(f"\nrun: {out}/  ({students}, evaluation.json, metrics.jsonl, recipe.yaml, report.html)")


@app.command()
def evaluate(
    collection: Annotated[str, typer.Option("--collection", help="Folder, file, hf:NAME or ir_datasets:NAME.")],
    teacher: Annotated[str, typer.Option("--teacher", help="A model id or folder.")],
    student: Annotated[str, typer.Option("--student", help="A run, a student folder, or a model id.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    split: Annotated[str, typer.Option("--split", help="Judged split.")] = "test",
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="As ir_measures prints it; repeatable.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Keys below evaluate or teacher.")
    ] = None,
    signals: Signals = None,
) -> None:
    """Evaluate a student against its teacher: retention with intervals, agreement, cost."""
    from .recipe import load_recipe

    flags: dict[str, Any] = {"collection": collection, "teacher": teacher}
    flags["evaluate"] = {"split": split} | ({"measures": measure} if measure else {})
    resolved = load_recipe(None, flags=flags, settings=settings or ())
    _check_out(out)
    from . import pipeline

    found = pipeline.assess(collection, resolved.teacher, student, out, spec=resolved.evaluate, signals=signals)
    _print_evaluation(found)


@app.command()
def ensemble(
    collection: Annotated[str, typer.Option("--collection", help="Folder, file, hf:NAME or ir_datasets:NAME.")],
    teacher: Annotated[
        list[str],
        typer.Option(
            "--teacher", help="[NAME=][KIND:]WHAT, repeatable: a model's folder, cross-encoder:ID, a file, bm25."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    split: Annotated[str, typer.Option("--split", help="Judged split.")] = "test",
    student: Annotated[
        str | None, typer.Option("--student", help="A run, or a folder of a ranker or of a model of vectors.")
    ] = None,
    candidates: Annotated[
        str, typer.Option("--candidates", help="judged | pooled | bm25 | a teacher of vectors | a ranking's path.")
    ] = "auto",
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="As ir_measures prints it; repeatable.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="qrels, answered, holes, reference, depth.")
    ] = None,
    signals: Signals = None,
) -> None:
    """Evaluate teachers, what they come to together and a student on the same candidates: retention and cost."""
    _check_out(out)
    from .api import ensemble as compare
    from .report.table import ensemble_table

    found = compare(
        collection,
        teacher,
        split=split,
        student=student,
        candidates=candidates,
        measures=measure,
        settings=settings or (),
        out=out,
        signals=signals,
    )
    _say(ensemble_table(found))


@app.command()
def doctor(
    recipe: RecipeFile = None,
    collection: Collection = None,
    teacher: Teacher = None,
    student: StudentOption = None,
    towers: Towers = None,
    settings: Settings = None,
    signals: Signals = None,
) -> None:
    """Say all that can be known before work: widths, norms, prompts, truncation, leakage, disk and time."""
    from .recipe import load_recipe

    flags = {"collection": collection, "teacher": teacher, "student": student, "towers": towers}
    resolved = load_recipe(recipe, flags=flags, settings=settings or ())
    from .pipeline.doctor import examine

    findings = examine(resolved, signals=signals)
    for finding in findings:
        _say(str(finding))
    bad = sum(finding.level == "problem" for finding in findings)
    doubts = sum(finding.level == "warning" for finding in findings)
    _say(f"\n{bad} problems, {doubts} warnings")
    if bad:
        raise typer.Exit(2)


@signals_app.command("ls")
def signals_ls(signals: Signals = None) -> None:
    """List the tables of the store."""
    from .signals import listing

    entries = listing(_store(signals))
    for entry in entries:
        _say(str(entry))
    _say(
        f"{len(entries)} tables, {sum(entry.rows for entry in entries):,} rows, "
        f"{sum(entry.bytes for entry in entries) / 1e6:,.1f} MB"
    )


@signals_app.command("verify")
def signals_verify(signals: Signals = None) -> None:
    """Check every shard against its checksum."""
    from .signals import verify

    problems = verify(_store(signals))
    for problem in problems:
        _say(str(problem))
    if problems:
        raise InputError(
            "one shard is broken" if len(problems) == 1 else f"{len(problems)} shards are broken",
            where="signals",
            fix="`potstill signals gc` removes what is broken; the next run makes it again",
        )
    _say("all shards are whole")


@signals_app.command("gc")
def signals_gc(
    signals: Signals = None,
    older_than_days: Annotated[float | None, typer.Option(help="Remove tables not used for so long.")] = None,
    model: Annotated[str | None, typer.Option(help="Remove the tables of this model.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove broken shards, leftovers, and tables that are no longer wanted."""
    from .signals import gc

    older = timedelta(days=older_than_days) if older_than_days is not None else None
    freed = gc(_store(signals), older_than=older, model=model, dry_run=dry_run)
    _say(f"{'would free' if dry_run else 'freed'} {freed / 1e6:,.1f} MB")


for _commands in (cli_export, cli_index, cli_serve, cli_compare):
    _commands.register(app)


def _store(signals: Path | None) -> Path | None:
    if signals is not None and not signals.exists():
        raise InputError("there is no signal store here", where=str(signals), fix="check the path given to --signals")
    return signals


def _print_evaluation(found: dict[str, Any]) -> None:
    from .report.table import evaluation_table

    _say(evaluation_table(found))


def _check_out(out: Path) -> None:
    if not out.parent.is_dir():
        raise InputError("no such folder", where=str(out.parent), fix="make it, or give another --out")
    if out.is_dir():
        raise InputError("this is a folder", where=str(out), fix="give the name of a JSON file: --out FILE.json")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _version(show: bool) -> None:
    if show:
        _say(f"potstill {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and give its exit code; no traceback reaches the user unless POTSTILL_DEBUG is set."""
    return _guarded(lambda: app(args=arguments, standalone_mode=False))


def _guarded(call: Callable[[], Any]) -> int:
    try:
        code = call()
        if code == Interrupted.exit_code:  # what newer typers make of Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except _Usage as error:
        said = error.format_message()  # type: ignore[attr-defined]
        if type(error).__name__ == "NoArgsIsHelpError":  # the help; newer typers have printed it
            _err(said)
        else:
            _err(f"potstill: {_plain(said)}\n  What to do: see potstill --help")
        return 2
    except PotstillError as error:
        _err(f"potstill: {error}")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        fix = "start again; teacher signals are kept, --resume goes on with a run"
        _err(f"potstill: {Interrupted('stopped', fix=fix)}")
        return Interrupted.exit_code
    except ImportError as error:
        if os.environ.get("POTSTILL_DEBUG"):
            raise
        _err(f"potstill: {MissingExtra((error.name or 'a package').partition('.')[0], 'train')}")
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if os.environ.get("POTSTILL_DEBUG"):
            raise
        place = f"{error.filename}: " if error.filename else ""
        _err(
            f"potstill: {place}{error.strerror or error}\n  What to do: check the path, its rights and the disk's room"
        )
        return 1
    except Exception as error:
        if os.environ.get("POTSTILL_DEBUG"):
            raise
        _err(
            f"potstill: unexpected {type(error).__name__}: {error}\n"
            "  What to do: this is a defect of Potstill; run again with POTSTILL_DEBUG=1 and report what it prints"
        )
        return 1


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _err(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> None:
    """Entry point of the `potstill` command."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # Potstill says itself what a user must know; the libraries' own bars and notes would bury it.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    sys.exit(run())


if __name__ == "__main__":
    main()
