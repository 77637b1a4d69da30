from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.restorer_runs import (
    add_face_options,
    create_or_resume,
    images_of,
    removed_on_refusal,
    write_faces,
)
from annotate.management.run_options import (
    add_config_options,
    add_continue_option,
    add_run_option,
    add_weights_root_option,
    config_from,
    config_of,
    default_name,
    parent_of,
)
from annotate.management.run_progress import command_errors, show_progress
from annotate.management.stage_command import usable_device

# Options that a run takes from the one that it continues.
DATA_OPTIONS = ("base_run", "frm", "judge", "faces", "dataset", "sd", "checkpoint", "swinir", "sparnet", "prompts")


class Command(BaseCommand):
    help = (
        "Tune a diffusion restorer by reward feedback learning (Sec. 3.3). Run the same command again to resume. "
        "`accelerate launch manage.py refl ...` uses several processes. The defaults in brackets are those of DiffBIR, "
        "from the paper; each base has its own."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from refl.configs import PRESETS, ReflConfig

        add_run_option(parser)
        parser.add_argument(
            "--base",
            dest="preset",
            choices=list(PRESETS),
            default="diffbir",
            help="base to tune, with its defaults (Tables 1 and 15)",
        )
        parser.add_argument("--base-run", metavar="RUN", help="the compact base, a run of train_base")
        parser.add_argument(
            "--frm",
            metavar="MODEL",
            help="the reward model (required): a run of train_frm, a model folder, or hpsv2 or hpsv2.1 as released",
        )
        parser.add_argument("--judge", metavar="MODEL", help="another reward model, for monitoring only")
        parser.add_argument("--sd", type=Path, help="folder with Stable Diffusion 2.1-base in the layout of diffusers")
        parser.add_argument(
            "--checkpoint",
            type=Path,
            help="the base's own weights: osediff_face.pkl, v1_face.pth (diffbir), GFPGANv1.4.pth, codeformer.pth, "
            "DR2_FFHQ.pkl",
        )
        parser.add_argument("--swinir", type=Path, help="face_swinir_v1.ckpt, stage 1 of diffbir")
        parser.add_argument("--sparnet", type=Path, help="SPARNetHD_FFHQ_DR2aug.pth, which enhances the images of dr2")
        parser.add_argument("--prompts", type=Path, help="a table of tags (CSV or JSON lines) for --prompt file")
        parser.add_argument(
            "--accept-licence",
            action="store_true",
            help="confirm that your use is non-commercial, which some bases require; their licence is shown first",
        )
        add_continue_option(parser)
        add_weights_root_option(parser)
        add_face_options(parser)
        add_config_options(parser, ReflConfig, without=("base",))

    def check_options(self, options: dict[str, Any]) -> Any:
        """Return the configuration. Raises `CommandError` for invalid values."""
        from refl.configs import FIXED_STEPS, PRESETS, ReflConfig

        parent = parent_of(options, "refl", DATA_OPTIONS)
        if parent:
            config = config_from(options, config_of(parent, ReflConfig))
            if options["preset"] != "diffbir" and PRESETS[options["preset"]].base != config.base:
                raise CommandError(
                    f"{parent.run.name} tunes the base {config.base}, not {options['preset']}. Remove --base."
                )
        else:
            if not options["frm"]:
                raise CommandError("--frm RUN is required: the name of a finished run of manage.py train_frm.")
            config = config_from(options, PRESETS[options["preset"]])
            require_accepted(config.base, options["accept_licence"])
        most = FIXED_STEPS.get(options["preset"], config.steps)
        if not parent and config.backprop_steps > most:
            raise CommandError(
                f"--backprop-steps {config.backprop_steps} is more than the base {options['preset']} has denoising "
                f"steps: {most}."
            )
        return config

    def handle(self, *args: Any, **options: Any) -> None:
        from refl.configs import FREE_TO_CHANGE
        from refl.train_refl import train
        from rewardlab import assets
        from rewardlab.training import processes, runs

        if options["device"]:
            usable_device(options["device"])
        config = self.check_options(options)
        parent = parent_of(options, "refl", DATA_OPTIONS)
        with command_errors(), assets.weights_root(options["weights_root"]):
            kind = f"{parent.run.name}-from-{parent.step}" if parent else f"refl-{config.base}"
            name = options["run"] or default_name(kind, config, FREE_TO_CHANGE, options["dataset"])
            run = runs.open_run(Path(settings.RUN_ROOT), name)
            state = processes.start(options["device"])
            note = self.stdout.write if state.is_main_process else str
            if config.memory == "frugal" and options["accumulation"] is not None:
                raise CommandError("--memory frugal has micro-batches of one face. Remove --accumulation.")
            config = config.divided(state.num_processes)
            config = divided(config, state.num_processes, given=options["accumulation"], note=note)
            with state.main_process_first():
                if state.is_main_process:
                    with run.held(), removed_on_refusal(run):
                        self.create_or_resume(run, config, options, parent)
            with show_progress(self, run, show=state.is_main_process) as on_progress:
                train(run, images=images_of(options, run), device=options["device"], on_progress=on_progress)
        if state.is_main_process:
            status = run.status()
            self.stdout.write(f"{run.name}: done. {status.error if status else ''}".rstrip())
            self.stdout.write(f"The tuned weights are in {run.model}")
            self.stdout.write(f"To restore with it: manage.py restore --restorer {run.name}")

    def create_or_resume(self, run: Any, config: Any, options: dict[str, Any], parent: Any) -> None:
        from refl import prepare
        from refl.bases import BASES
        from refl.configs import FIXED_WHEN_CONTINUED, FREE_TO_CHANGE
        from refl.restorers import SYSTEMS
        from rewardlab.reward_model import reward_sources
        from rewardlab.training import runs

        if not create_or_resume(
            self,
            run,
            config,
            free=FREE_TO_CHANGE,
            datasets=options["dataset"],
            parent=parent,
            fixed=FIXED_WHEN_CONTINUED,
        ):
            return
        if config.base in BASES and (system := SYSTEMS[BASES[config.base].system]).noncommercial:
            self.stdout.write(f"{system.name}: {system.licence}. You accepted it.")

        write_faces(run, options)

        def named(option: str) -> runs.Run | None:
            return runs.open_run(Path(settings.RUN_ROOT), options[option]) if options[option] else None

        def reward(option: str) -> Any:
            return (
                reward_sources.find(options[option], Path(settings.RUN_ROOT), f"--{option}")
                if options[option]
                else None
            )

        base = named("base_run")
        if base and base.exists():
            required = {"multi-step": "compact-multi-step"}.get(base.description().config.get("variant", ""), "compact")
            if options["preset"] != required:
                raise CommandError(f"--base-run {base.name} needs --base {required}, not {options['preset']}.")
        sources = prepare.Sources(
            frm=reward("frm"),
            judge=reward("judge"),
            base=base,
            **{name: options[name] for name in ("sd", "checkpoint", "swinir", "sparnet", "prompts", "accept_licence")},
        )
        prepare.prepare(run, config, sources, images=images_of(options, run))


def require_accepted(base: str, accepted: bool) -> None:
    """Raise `CommandError`, which shows the licence, for a base whose licence must be accepted and was not."""
    from refl.bases import BASES
    from refl.errors import LicenceError
    from refl.restorers import SYSTEMS

    try:
        if base in BASES:
            SYSTEMS[BASES[base].system].require_accepted(accepted)
    except LicenceError as error:
        raise CommandError(str(error)) from error


def divided(config: Any, processes: int, *, given: int | None, note: Callable[[str], Any]) -> Any:
    """Return the configuration with micro-batches that suit the number of processes.

    Each process computes its share of a step's faces. The default accumulation is lowered to what remains; a given one
    that does not divide the step is refused with the ones that do. Raises `CommandError`.
    """
    if config.batch_size % processes:
        raise CommandError(
            f"{config.batch_size} faces per step cannot be divided among {processes} processes: choose --batch-size as "
            f"a multiple of {processes}."
        )
    share = config.batch_size // processes
    if share % config.accumulation == 0:
        return config
    possible = [number for number in range(1, share + 1) if share % number == 0]
    if given is not None:
        raise CommandError(
            f"{config.batch_size} faces per step are {share} for each of {processes} processes, which --accumulation "
            f"{given} does not divide: choose {' or '.join(map(str, possible))}, or another --batch-size."
        )
    lowered = max(number for number in possible if number <= config.accumulation)
    note(f"{processes} processes with {share} faces each: --accumulation {lowered} instead of {config.accumulation}")
    return replace(config, accumulation=lowered)
