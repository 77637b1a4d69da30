"""Translation of words and sentences that are stored in English.

Commands and trainings write them to the database and to run folders, in one language for all readers.
"""

import re
from functools import lru_cache

from django.utils.translation import gettext, gettext_noop

TRANSLATED = {"remedy", "where", "why"}  # placeholders for texts that are themselves translated

WORDS = (
    # splits
    gettext_noop("train"),
    gettext_noop("gold"),
    gettext_noop("test"),
    # rules
    gettext_noop("realism"),
    gettext_noop("detail"),
    gettext_noop("text"),
    # kinds of pairs
    gettext_noop("contested"),
    gettext_noop("anchored"),
    # origins of labels
    gettext_noop("ground truth"),
    gettext_noop("human"),
    gettext_noop("simulated"),
    # states of a run
    gettext_noop("running"),
    gettext_noop("done"),
    gettext_noop("failed"),
    gettext_noop("stopped"),
    gettext_noop("interrupted"),
    gettext_noop("waiting"),
    # verdicts
    gettext_noop("better"),
    gettext_noop("worse"),
    gettext_noop("unclear"),
)

TITLES = (
    gettext_noop("Input"),
    gettext_noop("Original"),
    gettext_noop("Chance"),
    gettext_noop("Constant order of restorers"),
    gettext_noop("SVM on metrics"),
    gettext_noop("SVM on metrics (version %(version)s)"),
    gettext_noop("MLP on metrics (3-layer)"),
    gettext_noop("MLP on metrics (4-layer)"),
    gettext_noop("Gradient-boosted tree on metrics"),
    gettext_noop("Backbone %(backbone)s of %(run)s, untuned"),
    gettext_noop("Backbone %(backbone)s, untuned"),
    gettext_noop("FRM, image and text"),
    gettext_noop("FRM, image and null text"),
    gettext_noop("FRM, %(share)s of the human labels"),
    gettext_noop("FRM, %(share)s of the human labels: the untuned backbone"),
    gettext_noop("FaceReward (%(run)s, trained with)"),
    gettext_noop("FaceReward (%(run)s, held out)"),
    gettext_noop("SFace angle (degrees)"),
    gettext_noop("Deg. (ArcFace, degrees)"),
    gettext_noop("landmark distance (68 points, px)"),
    gettext_noop("LMD (98 points, px)"),
    gettext_noop("CLIP Score (image to image, ViT-B/32)"),
    gettext_noop("CLIP Score (image to caption, ViT-B/32)"),
    gettext_noop("PSNR (dB, mean and variance corrected)"),
    gettext_noop("SSIM (mean and variance corrected)"),
    gettext_noop("NIQE (pyiqa's convention)"),
    gettext_noop("Deg. (ArcFace, degrees; values below 1 left out)"),
)

SENTENCES = (
    # why a scorer has no answers
    gettext_noop("%(n)s of %(total)s pairs have no %(metric)s. %(remedy)s"),
    gettext_noop("Face %(face)s of data set %(dataset)s has no original, which the metric needs."),
    gettext_noop("Face %(face)s of data set %(dataset)s has no original, which FID needs without --fid-stats."),
    gettext_noop("%(n)s of %(total)s pairs lack a metric: run %(command)s."),
    gettext_noop("No version has been fitted: run manage.py fit_predictor."),
    gettext_noop("No training pair has been judged."),
    gettext_noop("It was trained on face %(face)s, which is in this gold set: train it again without that face."),
    gettext_noop("Run manage.py score --metrics %(name)s."),
    # notes on a scorer or a method
    gettext_noop("it is trained on contested pairs only, so it extrapolates on pairs with the photograph"),
    gettext_noop("it is measured against the photograph, so it is always right on pairs with the photograph"),
    gettext_noop("trained on contested pairs only, so it extrapolates here"),
    gettext_noop("the run itself"),
    gettext_noop("the paper's own figure for 0%% equals that row's MUSIQ and is not a multiple of 1/360"),
    # notes on a metric of an evaluation
    gettext_noop("trained on labels by SIMULATED annotators"),
    gettext_noop("scored without captions, as in its training"),
    gettext_noop("for non-commercial use only"),
    gettext_noop("no value for any face"),
    gettext_noop("%(n)s of %(total)s faces left out: a row has no value for them"),
    # places in the paper
    gettext_noop("Table %(n)s"),
    gettext_noop("Table %(n)s; App. G.2 says %(share)s"),
    # alarms of a tuning
    gettext_noop(
        "Possible reward hacking: the training reward rose by %(rise)s, but the score of the held-out judge fell "
        "(%(change)s, 95%% %(low)s to %(high)s)."
    ),
    gettext_noop(
        "Possible reward hacking: the training reward rose by %(rise)s, but NIQE, which is not a training objective, "
        "got worse (%(change)s, 95%% %(low)s to %(high)s)."
    ),
    gettext_noop(
        "Possible reward hacking: the training reward rose by %(rise)s, but the faces lost identity (larger SFace "
        "angle) (%(change)s, 95%% %(low)s to %(high)s)."
    ),
    # why a stage does not start
    gettext_noop(
        "The stage %(name)s is running already (%(holder)s). Wait until it has ended, or stop it; then run the same "
        "command to do the rest."
    ),
    gettext_noop("--workers %(n)s: this machine has %(cores)s cores. Use at most %(most)s."),
    gettext_noop("--engine ray needs Ray: run pip install -r %(file)s."),
    gettext_noop(
        "--engine ray needs the address of a cluster: set RAY_ADDRESS, for example to HOST:6379, or to auto on a "
        "machine of the cluster."
    ),
    # what is wrong with a file
    gettext_noop("%(where)s is missing"),
    gettext_noop("%(where)s cannot be read: %(why)s"),
    gettext_noop("%(where)s is not valid JSON, or is truncated"),
    gettext_noop("%(where)s is not a finite number"),
    gettext_noop("%(where)s is not a count"),
    gettext_noop("%(where)s is not a string"),
    gettext_noop("%(where)s is neither true nor false"),
    gettext_noop("%(where)s is not a list"),
    gettext_noop("%(where)s is not an object"),
    gettext_noop("%(where)s is not a time"),
    gettext_noop("%(where)s has an unknown value: %(value)s"),
    gettext_noop("%(where)s has neither a loss nor an evaluation"),
    gettext_noop(
        "%(where)s has version %(found)s, but this program reads version %(known)s: update the program to read this run"
    ),
    gettext_noop("line %(n)s"),
    # a pretrained file
    gettext_noop("%(name)s: the file %(file)s is missing. Get it from %(source)s and put it into %(folder)s."),
    gettext_noop(
        "%(name)s: the file %(file)s is missing. Get it with `%(command)s` from %(source)s, or put it into %(folder)s."
    ),
    # how a job ended
    gettext_noop("The site was stopped while the job ran."),
    gettext_noop("The process that ran the job ended unexpectedly."),
    gettext_noop("%(n)s skipped, see above. Use --skip-bad to exit with 0."),
    # why a job failed
    gettext_noop("Pass the folder of the photographs, or with --lq that of low-quality pictures."),
    gettext_noop("--preset needs PATH, the folder of the data set, in which it finds its pictures; no --lq."),
    gettext_noop(
        "--lq needs --aligned: a given low-quality picture shows the same section as its photograph, so the photograph "
        "must not be cropped or turned."
    ),
    gettext_noop("There is nothing to process: %(remedy)s"),
    gettext_noop("run ingest first."),
    gettext_noop("run degrade first."),
    gettext_noop("run restore first."),
    gettext_noop(
        "%(n)s answers of the gold set %(name)s are missing. It needs %(overlap)s per pair, from at least %(least)s "
        "annotators. Freeze it when it is complete."
    ),
    gettext_noop(
        "%(n)s answers of the gold set %(name)s are missing. It needs %(overlap)s per pair, from at least %(least)s "
        "annotators. Freeze it when it is complete. %(left)s answers of simulated annotators are left out. To count "
        "them as labels, run manage.py count_simulated yes."
    ),
    gettext_noop("The gold set %(name)s was frozen on %(day)s."),
    gettext_noop("The campaign “%(name)s” already exists: choose another name."),
    gettext_noop(
        "The faces of split gold have %(n)s pairs, with one face per person; %(wanted)s are needed. Ingest more "
        "photographs with --split gold, restore them and build their pairs, or make a smaller gold set: make_gold "
        "--pairs %(pairs)s."
    ),
    gettext_noop(
        "The compact backbone is aligned on photographs of training faces, but no pair of this manifest has one. Take "
        "a snapshot that includes the origin ground_truth, or train --backbone hpsv2 if the faces have no photographs."
    ),
    gettext_noop(
        "face %(face)s of data set %(dataset)s has no original; the training of a restorer needs one. Choose another "
        "data set."
    ),
    gettext_noop(
        "face %(face)s of data set %(dataset)s has no original; %(what)s needs one. Leave it out of --metrics."
    ),
    gettext_noop(
        "face %(face)s of data set %(dataset)s has no original; %(what)s needs one. Leave it out of --metrics, or pass "
        "--fid-stats to compare with a file of statistics."
    ),
    gettext_noop(
        "%(wild)s have no original, and %(others)s have one: evaluate one data set at a time, with --dataset."
    ),
    gettext_noop("There is no gold set yet: run manage.py make_gold."),
    gettext_noop(
        "Judged pairs: %(n)s, of faces: %(faces)s. The predictor needs at least %(least)s pairs of %(folds)s faces. "
        "Judge more pairs."
    ),
    gettext_noop(
        "Judged pairs: %(n)s, of faces: %(faces)s. The predictor needs at least %(least)s pairs of %(folds)s faces. "
        "Judge more pairs. %(left)s answers of simulated annotators are left out. To count them as labels, run "
        "manage.py count_simulated yes."
    ),
    gettext_noop("There is no version yet. Run manage.py fit_predictor."),
    gettext_noop(
        "SVM version %(n)s learned from simulated annotators, whose answers do not count. To count them, run manage.py "
        "count_simulated yes."
    ),
    gettext_noop("SVM version %(n)s needs scores of %(names)s. Run manage.py score --metrics %(metrics)s."),
    gettext_noop("%(n)s of %(total)s faces have no caption: run manage.py caption."),
    gettext_noop(
        "Split %(split)s has no faces: choose another split with --faces, or ingest photographs with --split %(same)s."
    ),
    gettext_noop(
        "All %(n)s faces of split %(split)s were used to monitor the training of these restorers, so they are not test "
        "faces. Ingest more photographs, train with a smaller --held-out, or include these faces with --with-monitored."
    ),
    gettext_noop("%(missing)s. Or compare only the faces that all of them have, with --skip-missing."),
    gettext_noop("The evaluation %(name)s exists with other options (%(changed)s): choose another --name."),
    gettext_noop("The run %(name)s is done. Choose another name with --run."),
    gettext_noop("The run %(name)s exists with another configuration (%(changed)s). Choose another name with --run."),
    gettext_noop("--device %(name)s does not work on this machine (%(reason)s). Use --device cpu."),
    gettext_noop("--%(option)s needs exactly one --restorer."),
    gettext_noop("--option %(option)s: write NAME=VALUE."),
    gettext_noop(
        "--from-folder %(text)s: low-quality pictures are not restorations. Give them with ingest --lq %(path)s."
    ),
    gettext_noop("--result %(name)s: this name is reserved. Choose another."),
    gettext_noop("%(name)s has no option %(option)s. It has no options."),
    gettext_noop("%(name)s has no option %(option)s. It has the options %(known)s."),
    gettext_noop("%(name)s: %(option)s cannot be %(value)s. It is a number from %(low)s to %(high)s."),
    gettext_noop("%(name)s: %(option)s cannot be %(value)s. It is an integer from %(low)s to %(high)s."),
    gettext_noop("%(name)s: %(option)s cannot be %(value)s. It is one of %(known)s."),
    gettext_noop(
        "%(name)s is free for non-commercial use only. Its licence: %(licence)s. If your use is non-commercial, repeat "
        "the command with --accept-licence. The restorer records that you accepted it."
    ),
    gettext_noop("The process was ended by %(signal)s."),
    gettext_noop(
        "The process was killed (SIGKILL), mostly because memory ran out. Try a smaller batch, or a larger machine."
    ),
    gettext_noop("The last refit failed: %(why)s"),
    gettext_noop("The last grid search failed: %(why)s"),
    gettext_noop("Version %(n)s is pinned by a rollback: newer answers wait until someone fits the SVM."),
    # values of options
    gettext_noop("%(value)s is not a positive integer"),
    gettext_noop("%(value)s is not an integer from 0 to 4,294,967,295"),
    gettext_noop("%(value)s is not a number between 0 and 1"),
    gettext_noop("argument %(name)s: %(why)s"),
    # how a run ended
    gettext_noop("Interrupted. Run the same command to resume."),
    gettext_noop("Interrupted. Run the same command to resume from step %(step)s."),
)


def translated(stored: str) -> str:
    """Return the text in the reader's language, or as it is if it is not one of the known texts."""
    for pattern, message in _patterns():
        if found := pattern.fullmatch(stored):
            values = {
                name: translated(text) if name in TRANSLATED else text for name, text in found.groupdict().items()
            }
            return gettext(message) % values
    return stored


def translated_notes(stored: str) -> str:
    """Translate notes that were joined by semicolons."""
    return "; ".join(map(translated, stored.split("; ")))


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return each known text as a pattern, the longest first, so that a placeholder does not swallow what follows."""
    known = sorted((*WORDS, *TITLES, *SENTENCES), key=len, reverse=True)
    return [(_pattern(message), message) for message in known]


def _pattern(message: str) -> re.Pattern[str]:
    parts = re.split(r"%\((\w+)\)s", message)
    literals = [re.escape(part.replace("%%", "%")) for part in parts[::2]]
    groups = [f"(?P<{name}>.+?)" for name in parts[1::2]]
    return re.compile("".join(part for pair in zip(literals, [*groups, ""], strict=True) for part in pair), re.DOTALL)
