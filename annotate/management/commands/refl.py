from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.restorer_runs import add_face_options, create_or_resume, images_of, write_faces
from annotate.management.run_options import add_config_options, config_from, default_name
from annotate.management.run_progress import command_errors, show_progress
from annotate.management.stage_command import usable_device


class Command(BaseCommand):
    help = (
        "Tune a diffusion restorer by reward feedback learning (Sec. 3.3). Run the same command again to resume. "
        "`accelerate launch manage.py refl ...` uses several processes. The defaults in brackets are those of DiffBIR, "
        "from the paper; each base has its own."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from refl.configs import PRESETS, ReflConfig

        parser.add_argument("--run", help="name of the run (default: derived from the configuration)")
        parser.add_argument(
            "--base",
            dest="preset",
            choices=list(PRESETS),
            default="diffbir",
            help="base to tune, with its defaults",
        )
        parser.add_argument("--base-run", metavar="RUN", help="the compact base, a run of train_base")
        parser.add_argument("--frm", metavar="RUN", required=True, help="the reward model, a run of train_frm")
        parser.add_argument("--judge", metavar="RUN", help="a reward model of another seed, for monitoring only")
        parser.add_argument("--sd", type=Path, help="folder with Stable Diffusion 2.1-base in the layout of diffusers")
        parser.add_argument("--checkpoint", type=Path, help="osediff_face.pkl for osediff, v1_face.pth for diffbir")
        parser.add_argument("--swinir", type=Path, help="face_swinir_v1.ckpt, stage 1 of diffbir")
        parser.add_argument("--prompts", type=Path, help="a table of tags (CSV or JSON lines) for --prompt file")
        add_face_options(parser)
        add_config_options(parser, ReflConfig, without=("base",))

    def check_options(self, options: dict[str, Any]) -> Any:
        """Return the configuration. Raises `CommandError` for invalid values."""
        from refl.configs import FIXED_STEPS, PRESETS

        config = config_from(options, PRESETS[options["preset"]])
        most = FIXED_STEPS.get(options["preset"], config.steps)
        if config.backprop_steps > most:
            raise CommandError(
                f"--backprop-steps {config.backprop_steps} is more than the base {options['preset']} has denoising "
                f"steps: {most}."
            )
        return config

    def handle(self, *args: Any, **options: Any) -> None:
        from accelerate import PartialState

        from refl.configs import FREE_TO_CHANGE
        from refl.train_refl import train
        from rewardlab.training import runs

        if options["device"]:
            usable_device(options["device"])
        config = self.check_options(options)
        with command_errors():
            run = runs.open_run(
                Path(settings.RUN_ROOT),
                options["run"] or default_name(f"refl-{config.base}", config, FREE_TO_CHANGE, options["dataset"]),
            )
            state = PartialState(cpu=options["device"] == "cpu")
            with state.main_process_first():
                if state.is_main_process:
                    with run.held():
                        self.create_or_resume(run, config, options)
            with show_progress(self, run, show=state.is_main_process) as on_progress:
                train(run, images=images_of(options, run), device=options["device"], on_progress=on_progress)
        if state.is_main_process:
            status = run.status()
            self.stdout.write(f"{run.name}: done. {status.error if status else ''}".rstrip())
            self.stdout.write(f"The tuned weights are in {run.model}")
            self.stdout.write(f"To restore with it: manage.py restore --restorer {run.name}")

    def create_or_resume(self, run: Any, config: Any, options: dict[str, Any]) -> None:
        from refl import prepare
        from refl.configs import FREE_TO_CHANGE
        from rewardlab.training import runs

        if not create_or_resume(self, run, config, free=FREE_TO_CHANGE, datasets=options["dataset"]):
            return

        def named(option: str) -> runs.Run | None:
            return runs.open_run(Path(settings.RUN_ROOT), options[option]) if options[option] else None

        base = named("base_run")
        if base and base.exists():
            required = {"multi-step": "compact-multi-step"}.get(base.description().config.get("variant", ""), "compact")
            if options["preset"] != required:
                raise CommandError(f"--base-run {base.name} needs --base {required}, not {options['preset']}.")
        sources = prepare.Sources(
            frm=named("frm"),
            judge=named("judge"),
            base=base,
            **{name: options[name] for name in ("sd", "checkpoint", "swinir", "prompts")},
        )
        write_faces(run, options)
        prepare.prepare(run, config, sources, images=images_of(options, run))
