"""A campaign against the suite: kills, full disks, damaged state, hostile files and command lines.

``python -m tests.campaign --minutes 30 --seed 0`` runs it, ``make campaign`` for short. Every family of
disturbances is an `Experiment` (`tests.campaign.experiment`); what must hold whatever is done to the suite is
in `tests.campaign.oracles`. A finding leaves a folder with its case, which ``--replay FOLDER`` tries again.
"""
