"""Creates or resumes a toy study, named by its argument, in each database whose URL comes on stdin."""

import sys

from factories import suite
from toy_trainers import toy_config

from search.store.studies import create_or_resume
from space.study import StudyConfig

StudyConfig.suite_record = lambda self: suite()
config = toy_config(study=sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    create_or_resume(line.strip(), config)
    print("done", flush=True)
