from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_system import recipe

from jssr.errors import RecipeError, nearest
from jssr.recipes.config import Network, Recipe
from jssr.recipes.load import build_system, load_recipe, override


@pytest.fixture(autouse=True)
def builtin(toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from jssr.recipes import RECIPES

    monkeypatch.setitem(RECIPES, "toy", recipe)


def test_every_builtin_survives_plain_data() -> None:
    from jssr.recipes import RECIPES

    for name in RECIPES:
        made = load_recipe(name)
        assert Recipe.model_validate(json.loads(made.model_dump_json())) == made
        assert made.name == name


def test_reads_json_and_toml(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(recipe(seed=5).model_dump_json())
    assert load_recipe(tmp_path / "r.json") == recipe(seed=5)
    (tmp_path / "r.toml").write_text(
        'name = "t"\n[network]\nsystem = "toy"\n[network.networks.G]\nwidth = 2\n'
        "[training]\nlearning_rates = {G = 1e-3}\n"
        '[training.stages.only]\nsteps = 2\ntrain = {main = ["G"]}\nweights = {reg = 1}\n'
    )
    (tmp_path / "r.yaml").write_text(
        "name: t\nnetwork: {system: toy, networks: {G: {width: 2}}}\ntraining:\n  learning_rates: {G: 1e-3}\n"
        "  stages: {only: {steps: 2, train: {main: [G]}, weights: {reg: 1}}}\n"
    )
    made = load_recipe(tmp_path / "r.toml", ["training.seed=3"])
    assert load_recipe(tmp_path / "r.yaml", ["training.seed=3"]) == made
    assert (made.training.stages[0].train, made.network.networks["G"]["width"], made.training.seed) == (
        {"main": ("G",)},
        2,
        3,
    )


def test_overrides_reach_every_depth() -> None:
    made = load_recipe(
        "toy",
        [
            "training.seed=7",
            "training.clip=null",
            "training.precision=bf16-mixed",
            "network.networks.G.width=8",
            "training.stages.segment.steps=10",
            "training.stages.joint.steps=3",
            "training.stages.joint.weights.sup=0.25",
            "training.stages.align.learning_rates.G=1e-5",
            "training.stages.align.weights.sup=0",
            'training.stages.joint.train.main=["G"]',
            "description=a = b",
        ],
    )
    assert (made.training.seed, made.training.clip, made.training.precision, made.network.networks["G"]["width"]) == (
        7,
        None,
        "bf16-mixed",
        8,
    )
    assert [stage.steps for stage in made.training.stages] == [10, 5, 3]
    assert made.training.steps == 18 and made.training.first_step(made.training.stages[2]) == 15
    assert made.training.stages[2].weights["sup"] == 0.25 and made.training.stages[2].train["main"] == ("G",)
    assert made.training.learning_rate(made.training.stages[1], "G") == 1e-5
    assert made.training.learning_rate(made.training.stages[0], "G") == 1e-2
    assert made.description == "a = b"
    assert recipe().training.seed == 0  # the original is as it was


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.sede=1", ["'training.sede'", "did you mean 'training.seed'?"]),
        ("seed=1", ["'seed'", "did you mean 'training.seed'?"]),
        ("stages.joint.steps=1", ["did you mean 'training.stages.joint.steps'?"]),
        ("network.networks.G.widht=1", ["did you mean 'network.networks.G.width'?"]),
        ("network.networks.Phy.width=1", ["did you mean 'network.networks.G.width'?"]),
        ("training.stages.jiont.steps=1", ["did you mean 'training.stages.joint.steps'?"]),
        ("training.stages.0.steps=1", ["unknown recipe key 'training.stages.0.steps'"]),
        ("training.stages.joint.stesp=1", ["did you mean 'training.stages.joint.steps'?"]),
        ("training.stages.joint.weights.rge=1", ["did you mean 'training.stages.joint.weights.reg'?"]),
        ("training.learning_rates.Pi=1", ["did you mean 'training.learning_rates.Phi'?"]),
        ("training.augment.flop=true", ["did you mean 'training.augment.flip'?"]),
        ("training.seed.deep=1", ["unknown recipe key 'training.seed.deep'", "training.seed"]),
        ("training.seed", ["key=value"]),
        ("training.seed=many", ["training.seed", "integer"]),
        ("training.seed=[1", ["not valid YAML"]),
        ("training.optimiser=lion", ["training.optimiser", "adam"]),
        ("training.batch=0", ["training.batch", "greater than or equal to 1"]),
        ('training.stages.joint.train.main=["Gee"]', ["'Gee'"]),
        ('network.structures=["liver", "liver"]', ["network.structures", "'liver'", "twice"]),
        ("training.patch=[32, 32, 32, 32]", ["training.patch [32, 32, 32, 32] has 4 axes", "3D"]),
        ("preprocessing.window=[3, 1]", ["window must rise"]),
        ("training.augment.p_affine=2", ["training.augment.p_affine", "less than or equal to 1"]),
    ],
)
def test_bad_overrides_say_what_is_near(text: str, words: list[str]) -> None:
    with pytest.raises(RecipeError) as error:
        override(recipe(), [text])
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_options_that_a_recipe_does_not_name_can_be_set_and_the_system_refuses_its_own() -> None:
    assert build_system(load_recipe("dual-compact", ["network.options.tile=24"])).tile == 24
    with pytest.raises(RecipeError, match="dual cannot be built from it .*tyle"):
        build_system(load_recipe("dual-compact", ["network.options.tyle=24"]))
    with pytest.raises(RecipeError, match="did you mean 'network.options.similarity'"):
        load_recipe("macjnet-compact", ["network.options.similarty=mi"])


def test_a_patch_that_the_network_does_not_take_is_refused_at_once() -> None:
    with pytest.raises(RecipeError, match=r"dual-compact: dual cannot be built .*sizes of at least 44 that 4 divides"):
        build_system(load_recipe("dual-compact", ["training.patch=[50,50,50]"]))
    build_system(load_recipe("dual-volume-compact", ["training.patch=[50,50,50]"]))  # whole volumes are padded
    with pytest.raises(RecipeError, match=r"the segmentors need more than 8 voxels along an axis"):
        build_system(load_recipe("macjnet-compact", ["training.patch=[8,8,8]"]))
    build_system(load_recipe("macjnet-compact", ["training.patch=[8,8,16]"]))
    register = Path(__file__).parents[2] / "projects/macjnet/register.py"
    build_system(load_recipe(register, ["training.patch=[8,8,8]"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("network.networks.Phi2.width=8", "one width for all"),
        ("network.networks.M.widths=[8,16,32,0]", "widths are at least 1"),
        ("network.options.similarity=foo", "unknown similarity 'foo'"),
        ("network.options.similarity=mind", "network.options.settings={}"),
        ("network.options.settings.patch=2.5", "odd patch in voxels"),
        ("network.options.settings.weights=[0,0]", "positive weight"),
        ('network.options.settings.weights=["a"]', "positive weight"),
    ],
)
def test_numbers_that_macjnet_does_not_take_are_refused_at_once(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match="macjnet cannot be built from it") as error:
        build_system(load_recipe("macjnet-compact", [text]))
    assert words in str(error.value)


def test_unknown_key_in_a_file_names_the_nearest(tmp_path: Path) -> None:
    data = recipe().model_dump(mode="json")
    data["training"]["stages"][1]["wieghts"] = {}
    path = tmp_path / "r.json"
    path.write_text(json.dumps(data))
    with pytest.raises(
        RecipeError, match=r"r\.json: unknown key 'training\.stages\.1\.wieghts'; did you mean 'weights'\?"
    ):
        load_recipe(path)


@pytest.mark.parametrize(
    ("name", "text"), [("r.json", "{"), ("r.toml", "= 1"), ("r.json", "[1]"), ("r.json", "{}"), ("r.yaml", "a: [")]
)
def test_malformed_files_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match=name.replace(".", r"\.")):
        load_recipe(tmp_path / name)


def test_unknown_recipe_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'toy'"):
        load_recipe("toyy")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.json")


def test_a_trained_part_needs_a_rate() -> None:
    with pytest.raises(RecipeError, match="learning_rates has none for 'S'"):
        recipe(learning_rates={"G": 1.0, "Phi": 1.0, "D": 1.0})


def test_nearest_lists_all_where_none_is_near() -> None:
    assert nearest("portal", ("arterial", "venous")) == "; known: arterial, venous"
    assert nearest("zzz", ["one", "two"]) == "; known: one, two"


def test_build_system_says_what_does_not_fit() -> None:
    assert build_system(recipe(networks={"G": {"width": 3}, "Phi": {}, "S": {}, "D": {}})).networks == (
        "G",
        "Phi",
        "S",
        "D",
    )
    with pytest.raises(RecipeError, match="unknown system 'toi'; did you mean 'toy'"):
        build_system(recipe(system="toi"))
    with pytest.raises(RecipeError, match="depth"):
        build_system(recipe(networks={"G": {"depth": 3}, "Phi": {}, "S": {}, "D": {}}))


def test_one_piece_names_structures() -> None:
    for key in ("one_piece", "two_pieces"):
        with pytest.raises(RecipeError, match=f"{key}: 'lungs' is none of the structures"):
            recipe(structures=("liver",), **{key: ("lungs",)})


def test_networks_and_stages_come_together() -> None:
    stage = {"name": "s", "steps": 1, "train": {"m": ["G"]}, "weights": {"a": 1}}
    assert Recipe(name="free", network=Network(system="discrete")).training.stages == ()
    with pytest.raises(ValueError, match="the other way round"):
        Recipe(name="half", network=Network(system="discrete", networks={"G": {}}))
    with pytest.raises(ValueError, match="the other way round"):
        Recipe.model_validate(
            {"name": "half", "network": {"system": "x"}, "training": {"stages": [stage], "learning_rates": {"G": 1}}}
        )


def test_structures_take_one_piece_along():
    recipe = load_recipe("jssr-compact", ['network.structures=["liver","aorta"]'])
    assert (recipe.network.structures, recipe.inference.one_piece) == (("liver", "aorta"), ("liver", "aorta"))
    assert (
        load_recipe("jssr-compact", ['network.structures=["liver"]', "inference.one_piece=[]"]).inference.one_piece
        == ()
    )
    with pytest.raises(RecipeError, match="none of the structures"):
        load_recipe("jssr-compact", ['network.structures=["liver"]', 'inference.one_piece=["spleen"]'])
    assert load_recipe("jrsnet-compact", ['network.structures=["heart"]']).inference.two_pieces == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.toml", 'extends = "jssr-compact"\n[training]\nbatch = 2\n[training.stages.joint]\nsteps = 7\n'),
        ("mine.yaml", "extends: jssr-compact\ntraining:\n  batch: 2\n  stages:\n    - {name: joint, steps: 7}\n"),
    ],
)
def test_a_file_extends_a_recipe_with_what_differs(tmp_path: Path, name: str, text: str) -> None:
    base = load_recipe("jssr-compact")
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = load_recipe(tmp_path / name)
    joint = base.training.stage("joint").model_copy(update={"steps": 7})
    stages = tuple(joint if stage.name == "joint" else stage for stage in base.training.stages)
    assert found == base.changed(name="mine", training={"batch": 2, "stages": stages})


def test_a_file_extends_another_file_beside_it_but_not_itself(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "jssr-compact"\n[network]\nstructures = ["liver"]\n', encoding="utf-8")
    (tmp_path / "b.json").write_text('{"extends": "a.toml", "name": "second"}', encoding="utf-8")
    found = load_recipe(tmp_path / "b.json")
    assert (found.name, found.network.structures) == ("second", ("liver",))
    assert set(found.inference.one_piece) <= {"liver"}
    (tmp_path / "a.toml").write_text('extends = "b.json"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="which extends this file"):
        load_recipe(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "jssr-compct"\n', "did you mean 'jssr-compact'"),
        ("extends = 3\n", "expected a built-in recipe"),
        ('extends = "mine.py"\n', "expected a built-in recipe"),
        ('extends = "gone.toml"\n', "gone.toml: this recipe cannot be read .no such file"),
        ('extends = "jssr-compact"\n[training]\nbach = 2\n', "unknown key 'training.bach'; did you mean 'batch'"),
    ],
)
def test_what_a_file_cannot_extend_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    "text",
    ["training=3", "network=3", "inference=null", "training.stages=3", "network.structures=5", "inference.one_piece=5",
     "network={}"],
)  # fmt: skip
def test_overrides_that_are_no_section_or_list_are_refused(text):
    with pytest.raises(RecipeError):
        load_recipe("jssr-compact", [text])


@pytest.mark.parametrize("text", ["raise SystemExit(7)", "def recipe():\n    raise SystemExit(7)"])
def test_a_recipe_that_exits_is_refused(text, tmp_path):
    path = tmp_path / f"exits_{len(text)}.py"
    path.write_text(text)
    with pytest.raises(RecipeError, match="SystemExit"):
        load_recipe(path)
