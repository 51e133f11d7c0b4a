import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ConfigError
from worker.template import FIELDS, TemplateError, parse


@given(st.text(), st.text())
def test_a_message_is_never_parsed_again(text: str, around: str) -> None:
    literal = around.replace("{", "{{").replace("}", "}}")
    assert parse(literal + "{text}" + literal).render({"text": text}) == around + text + around


def test_fields_and_literal_braces() -> None:
    template = parse("{{{agent}}}:{class}{{}}")
    assert template.fields == {"agent", "class"}
    assert template.render({"agent": "{text}", "class": "human"}) == "{{text}}:human{}"


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_is_known(field: str) -> None:
    assert parse(f"{{{field}}}").render({field: "v"}) == "v"


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("{txt}", "did you mean {text}?"),
        ("{Agent}", "did you mean {agent}?"),
        ("{text.__class__}", "write {text} alone"),
        ("{text[0]}", "write {text} alone"),
        ("{text!r}", "write {text} alone"),
        ("{text:>10}", "write {text} alone"),
        ("{ text }", "write {text} alone"),
        ("{}", "{} is no placeholder"),
        ("{0}", "{0} is no placeholder"),
        ("a{", "write '{{'"),
        ("a}b", "write '}}'"),
        ("{text", "write '{{'"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(argument: str, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(argument)
    assert says in str(caught.value)
    assert repr(argument) in str(caught.value)
    assert isinstance(caught.value, ConfigError)
