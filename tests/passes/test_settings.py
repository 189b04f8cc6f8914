"""A setting whose value comes with code: what is set goes, what is executed before stays."""

from torchcrux.passes import Draft
from torchcrux.passes.context import DropItem, DropSetting, PlainContext
from torchcrux.program.context import Context
from torchcrux.program.ir import Program

SETTING = "torch._inductor.config.post_grad_custom_pre_pass = run"
FUNCTION = "def run(graph):\n    TABLE.apply(graph)"
CODE = f"import torch\nTABLE = {{}}\n\n\n{FUNCTION}\n\n\n"


def edits(*config):
    draft = Draft(Program((), ()), Context(config=config))
    return draft, [*PlainContext().edits(draft)]


def test_what_may_set_the_same_is_asked_about_by_itself():
    item = f"{CODE}run(None)\n{SETTING}"
    draft, (edit,) = edits("torch._dynamo.config.x = 1", item)[0], edits(item)[1]
    assert edit == DropSetting(item) and str(edit) == f"without {SETTING}"
    first, left = edit.apply(draft).context.config
    assert first == "torch._dynamo.config.x = 1"
    assert left.endswith("run(None)\n") and SETTING not in left and FUNCTION in left
    assert edits(left)[1] == [DropItem("config", left)]
    assert str(DropItem("config", left)) == "without run(None)"


def test_what_only_serves_a_setting_goes_with_it():
    plain = CODE + SETTING
    for item in (plain, SETTING, f"{CODE}@register(run)\ndef rule():\n    pass"):
        draft, (edit,) = edits(item)
        assert edit == DropItem("config", item)
        assert edit.apply(draft).context.config == ()
