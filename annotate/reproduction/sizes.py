"""Sizes of the preset compact."""

from dataclasses import replace

from annotate.demo import tour

SIZES = {
    # Checks that the parts work together; its figures are meaningless. Half of its labels are just enough for an SVM.
    "tiny": replace(tour.SIZES["tiny"], train=9, log_every=2),
    # Shorter trainings than in the tour: there are sixteen tunings, most of the multi-step base.
    "small": replace(tour.SIZES["small"], base_steps=700, refl_steps=50, evaluations=3),
    # The tour's faces, with trainings of these lengths.
    "full": replace(tour.SIZES["full"], frm_steps=200, base_steps=1000, refl_steps=50, evaluations=3, batch=4),
}
