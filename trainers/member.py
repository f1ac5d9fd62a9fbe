"""One of the other processes of a training on several devices; `trainers.group` starts it."""

import sys

import torch

from trainers.group import Job, Member, Quiet, end_with
from trainers.train import fit_candidate


def main() -> None:
    """Train together with the first process, which says on standard input what."""
    job = Job.model_validate_json(sys.stdin.buffer.readline())
    end_with(sys.stdin.fileno())
    take_part(job, Member.other(job))


def take_part(job: Job, member: Member) -> None:
    """Train together with the first process; the errors are those of `trainers.train.fit_candidate`."""
    torch.set_num_threads(job.threads)
    fit_candidate(
        job.candidate, job.suite, job.budget, job.resume, Quiet(), keep_end=job.keep_end, member=member
    )


if __name__ == "__main__":
    main()
