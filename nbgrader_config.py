# nbgrader's configuration: its command line works from this folder, nbgrader itself unchanged.
import os
import sys
from pathlib import Path

from nbgrader import preprocessors as nb
from nbgrader.coursedir import CourseDirectory

from graders.nbgrading import formgrader
from graders.nbgrading import plugins as plugins
from graders.nbgrading.collect import Collect
from graders.nbgrading.exporter import FeedbackExporter

c = get_config()
root = Path(__file__).resolve().parent
# nbgrader calls `alembic` by name: it lies beside this Python, whether or not that is on the path.
programs = str(Path(sys.executable).parent)
if os.environ["PATH"].split(os.pathsep)[0] != programs:  # JupyterLab reads this file at each click
    os.environ["PATH"] = os.pathsep.join([programs, os.environ["PATH"]])

c.CourseDirectory.course_id = "jax-course"
c.CourseDirectory.root = str(root)
c.CourseDirectory.source_directory = (
    "build/source"  # never solutions/: nbgrader copies what it finds
)
c.CourseDirectory.release_directory = "course"
c.CourseDirectory.submitted_directory = "build/submitted"
c.CourseDirectory.autograded_directory = "build/autograded"
c.CourseDirectory.feedback_directory = "build/feedback"
if (root / "solutions").is_dir():  # nbgrader makes the gradebook, but not the folder it lies in
    (root / "build").mkdir(exist_ok=True)
c.CourseDirectory.db_url = f"sqlite:///{root / 'build' / 'gradebook.db'}"

# The folder that a class hands in through, and the name of a student who has another login.
if folder := os.environ.get("JAX_COURSE_EXCHANGE"):
    c.Exchange.root = str(Path(folder).expanduser().resolve())
    c.Exchange.assignment_dir = str(root / "work")
    c.CourseDirectory.student_id = os.environ.get("JAX_COURSE_STUDENT", "*")
# A backup handed in would keep the student from the feedback: nbgrader waits for its page too.
c.CourseDirectory.ignore = [*CourseDirectory.ignore.default(), "*.backup-*"]

c.Exporter.optimistic_validation = True  # after all preprocessors, and not after each of them

c.GenerateAssignment.preprocessors = [
    nb.LockCells,
    plugins.ClearAnswers,
    nb.ClearOutput,
    nb.CheckCellMetadata,
    nb.ComputeChecksums,
    nb.SaveCells,  # with the hidden tests, which autograde puts back
    nb.ClearHiddenTests,
    nb.ComputeChecksums,
    nb.CheckCellMetadata,
]

c.Autograde.pre_convert_hook = plugins.refuse_links
c.Autograde.sanitize_preprocessors = [
    nb.ClearOutput,
    plugins.RestoreCells,
    nb.DeduplicateIds,
    nb.OverwriteKernelspec,
    nb.OverwriteCells,
    nb.CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    plugins.Execute,
    nb.IgnorePattern,
    plugins.KeepVerdict,
    nb.LimitOutput,
    plugins.LimitText,
    nb.SaveAutoGrades,
    nb.AssignLatePenalties,
    nb.CheckCellMetadata,
]
# A warning is no wrong answer: without this, text on stderr in a graded cell makes its mark 0.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"(?s).*"
c.Execute.timeout = 120  # seconds a cell
c.Execute.startup_timeout = 300
c.Execute.iopub_timeout = 120  # for a cell's last outputs; nbgrader gives up a submission after 4
c.Execute.extra_arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]

c.GenerateFeedback.exporter_class = FeedbackExporter
c.GenerateFeedback.preprocessors = [nb.GetGrades, plugins.NoteHandMarks, plugins.HideTests]
c.ExchangeFactory.collect = Collect
c.ExchangeFactory.release_feedback = plugins.ReleaseFeedback

formgrader.protect(c)

c.ExportPlugin.to = str(root / "build" / "grades.csv")
