"""How forms look: errors and help tied to their controls, secrets never written back."""

from __future__ import annotations

import re

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget

from tests.ui.style_guide import ExampleForm
from workspaces.widgets import SecretInput, TagsInput

SECRET = "hunter2-hunter2"


def control(html: str, name: str) -> str:
    found = re.search(rf'<(?:input|select|textarea)[^>]*name="{name}"[^>]*>', html)
    assert found, name
    return found[0]


def test_errors_and_help_are_announced_with_their_control() -> None:
    """Both ids exist, and the control is marked."""
    html = str(ExampleForm({"name": ""}))
    assert 'aria-describedby="id_name_helptext id_name_error"' in control(html, "name")
    assert 'id="id_name_error"' in html
    assert 'id="id_name_helptext"' in html
    assert 'class="form-control is-invalid"' in control(html, "name")
    assert 'aria-invalid="true"' in control(html, "name")


def test_a_clean_control_is_not_marked() -> None:
    """Unbound, or right."""
    assert "is-invalid" not in str(ExampleForm())


def test_each_kind_of_control_has_its_class() -> None:
    """What the widget itself asks for stays."""
    html = str(ExampleForm())
    assert 'class="g-mono form-control"' in control(html, "client_id")
    assert 'class="form-select"' in control(html, "region")
    assert 'class="form-check-input"' in control(html, "agreed")


def test_a_group_of_choices_has_a_legend_and_labels() -> None:
    """Each box its own."""
    html = str(ExampleForm())
    assert re.search(r"<fieldset[^>]*>\s*<legend[^>]*>Grant</legend>", html)
    assert '<label class="form-check-label" for="id_grant_0">Delegated user</label>' in html


def test_optional_fields_say_so_but_not_a_stored_secret() -> None:
    """Leaving it blank keeps it, which is something else."""
    html = str(ExampleForm())
    assert "Additional scopes <span" in html
    assert "Client secret <span" not in html


def test_a_secret_is_never_written_back() -> None:
    """Not even the one just sent with an error elsewhere."""
    form = ExampleForm({"client_secret": SECRET})
    assert not form.is_valid()
    html = str(form)
    assert SECRET not in html
    assert "value=" not in control(html, "client_secret")
    assert "…4f9a" in html


def test_a_secret_that_is_stored_is_not_asked_for_again() -> None:
    """`required` in the browser would force people to type it."""

    class Form(forms.Form):
        stored = forms.CharField(widget=SecretInput(stored_hint="4f9a"))
        fresh = forms.CharField(widget=SecretInput())

    html = str(Form())
    assert "required" not in control(html, "stored")
    assert "required" in control(html, "fresh")


def test_tags_show_a_list_one_per_line() -> None:
    """So that it works as a plain text area."""
    html = TagsInput().render("scopes", ["repo", "read:org"], {"id": "id_scopes"})
    assert ">\nrepo\nread:org</textarea>" in html
    assert "data-tags" in html


def test_tags_are_joined_by_the_delimiter_that_was_chosen() -> None:
    """The server splits by exactly it."""
    html = TagsInput(delimiter=",").render("scopes", ["a b", "c"], {})
    assert "a b,c</textarea>" in html
    assert 'data-tags-delimiter=","' in html


def test_wrong_tags_are_named_to_the_script() -> None:
    """It marks their chips."""
    form = ExampleForm({"additional_scopes": "repo\nadmin:org"})
    assert not form.is_valid()
    assert 'data-tags-invalid="admin:org"' in str(form)


def test_the_admins_own_widgets_keep_their_look() -> None:
    """Django admin has a style of its own."""

    class Form(forms.Form):
        name = forms.CharField(widget=AdminTextInputWidget())

    assert "form-control" not in str(Form())


def test_errors_of_the_whole_form_come_first_and_are_an_alert() -> None:
    """They are read out when the page comes back."""

    class Form(forms.Form):
        name = forms.CharField()

        def clean(self) -> None:
            raise forms.ValidationError("Both cannot be.")

    html = str(Form({"name": "x"}))
    assert re.search(r'role="alert".*Both cannot be\..*name="name"', html, re.DOTALL)
