"""The house rules, read off the imports: floors, stages that never import each other, a light login node."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from vdt_hpc.experiment import stages

HOME = Path(__file__).parents[1]
STAGE_PACKAGES = ("preprocess", "jobs", "results")
GROUND = {
    "vdt_hpc", "vdt_hpc.errors", "vdt_hpc.exclusive", "vdt_hpc.files", "vdt_hpc.pool", "vdt_hpc.processes",
    "vdt_hpc.progress", "vdt_hpc.slurm", "vdt_hpc.stopping", "vdt_hpc.typed", "vdt_hpc.unfinished",
}  # fmt: skip
FRONT_DOORS = {"vdt_hpc.launch", "vdt_hpc.report", "vdt_hpc.status", "vdt_hpc.export", "vdt_hpc.weights"}
HEAVY = {"torch", "h5py", "numpy", "pandas", "diffusers"}


def modules():
    for package in ("vdt_hpc", *STAGE_PACKAGES):
        for path in sorted((HOME / package).rglob("*.py")):
            name = ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")
            yield name, path


def imports(path):
    """Every module a file imports, inside functions too; `from package import module` counts as that module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                child = HOME / Path(*node.module.split("."), f"{alias.name}.py")
                package = HOME / Path(*node.module.split("."), alias.name, "__init__.py")
                yield f"{node.module}.{alias.name}" if child.exists() or package.exists() else node.module


EDGES = [(name, target) for name, path in modules() for target in imports(path)]
OWN = [(name, target) for name, target in EDGES if target.split(".")[0] in ("vdt_hpc", *STAGE_PACKAGES)]


def floor(name):
    if name in GROUND:
        return "ground"
    if name in FRONT_DOORS:
        return "front door"
    parts = name.split(".")
    return parts[1] if parts[0] == "vdt_hpc" else parts[0]


MAY_IMPORT = {
    "ground": {"ground"},
    "experiment": {"ground", "experiment"},
    "commandline": {"ground", "experiment"},
    "cluster": {"ground", "experiment", "lease", "cluster"},
    "store": {"ground", "experiment", "store"},
    "model": {"ground", "experiment", "model"},
    "quality": {"ground", "experiment", "quality"},
    "dist": {"ground", "experiment"},
    "pictures": {"ground"},
    "lease": {"ground", "lease"},
    "commands": {"ground", "experiment", "cluster", "store", "lease", "commands"},
    "front door": {"ground", "experiment", "commandline", "dist", "cluster", "store", "lease", "commands"},
    **{
        stage: {"ground", "experiment", "store", "model", "quality", "dist", "lease", "pictures", stage}
        for stage in STAGE_PACKAGES
    },
}


def test_every_import_goes_down_the_house():
    wrong = [f"{name} -> {target}" for name, target in OWN if floor(target) not in MAY_IMPORT[floor(name)]]
    assert not wrong


def test_no_module_imports_itself_through_others():
    graph = {}
    for name, target in OWN:
        graph.setdefault(name, set()).add(target)

    def visit(name, path):
        assert name not in path, " -> ".join([*path, name])
        for target in graph.get(name, ()):
            if target not in done:
                visit(target, [*path, name])
        done.add(name)

    done = set()
    for name in list(graph):
        visit(name, [])


@pytest.mark.parametrize(
    "code",
    [
        "import vdt_hpc.launch, vdt_hpc.cluster.local, vdt_hpc.cluster.executor",
        "import vdt_hpc.status, vdt_hpc.export, vdt_hpc.commands.rehearsal",
        "import vdt_hpc.commands.preflight, vdt_hpc.commands.choice",
        "from vdt_hpc.weights import main; assert main(['--list']) == 0",
        "from vdt_hpc.launch import main; assert main(['--partition', 'a100', '--dry-run']) == 0",
        "from vdt_hpc.launch import main; assert main(['--partition', 'local', '--run', 'smoke', '--dry-run']) == 0",
    ],
)
def test_a_login_node_imports_nothing_heavy(code):
    check = f"import sys; {code}; heavy = {HEAVY!r} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", check], cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_every_row_of_the_stage_table_exposes_run(stage):
    run = stages.load(stage.name)
    assert list(run.__annotations__) == ["config", "partition", "return"]
    module = sys.modules[stage.module]
    functions = [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == stage.module
    ]
    assert functions == ["run"], f"{stage.module} exposes {functions}"


def test_the_readme_repeats_the_stage_table():
    readme = (HOME / "README.md").read_text()
    for stage in stages.STAGES:
        assert f"| {stage.name} | {stage.module} | {stage.reads} | {stage.writes} |" in readme


def test_files_stay_rooms():
    long = {name: len(path.read_text().splitlines()) for name, path in modules()}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


def test_importing_does_no_work():
    """At module level only definitions, constants and docstrings: no loops, no with, no calls for their effect."""
    allowed_calls = {"_Loader.add_implicit_resolver"}
    wrong = []
    for name, path in modules():
        for node in ast.parse(path.read_text()).body:
            effect = isinstance(node, (ast.For, ast.While, ast.With, ast.Try)) or (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Call)
                and ast.unparse(node.value.func) not in allowed_calls
            )
            if effect:
                wrong.append(f"{name}:{node.lineno}")
    assert not wrong
