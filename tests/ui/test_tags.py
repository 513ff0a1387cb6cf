"""The template tags: what they write, and that they escape it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.template import engines
from django.utils import timezone

from integrations.models import ConnectionStatus, GrantType
from tests.ui.style_guide import Provider
from workspaces.templatetags.ui import GRANT_TYPES, STATUS_BADGES, initials, monogram


def rendered(source: str, **context: object) -> str:
    return engines["django"].from_string("{% load ui %}" + source).render(context)


def test_an_icon_beside_words_is_decoration() -> None:
    """It is not read out."""
    html = rendered('{% icon "plus" "sm" %}')
    assert 'aria-hidden="true"' in html
    assert "sprite.svg#plus" in html
    assert 'class="g-icon g-icon-sm"' in html


def test_an_icon_alone_says_what_it_means() -> None:
    """Its label is escaped."""
    html = rendered('{% icon "check" label=words %}', words='Done "now"')
    assert 'role="img" aria-label="Done &quot;now&quot;"' in html


def test_each_status_has_icon_words_and_tint() -> None:
    """Every status the models know; none by colour alone."""
    assert set(STATUS_BADGES) == set(ConnectionStatus.values)
    for status in ConnectionStatus:
        html = rendered("{% status_badge status %}", status=status)
        assert "<svg" in html
        assert STATUS_BADGES[status].label in html
    assert "Expired – reconnect" in rendered('{% status_badge "reconnect_required" %}')


def test_an_unknown_status_is_an_error_not_a_blank() -> None:
    """A page must not show half a status."""
    with pytest.raises(KeyError):
        rendered('{% status_badge "fine" %}')


def test_each_grant_type_has_words() -> None:
    """Those of the models."""
    assert set(GRANT_TYPES) == set(GrantType.values)
    assert "Service account" in rendered('{% grant_type "client_credentials" %}')


def test_a_provider_with_a_brand_shows_its_mark() -> None:
    """In the brand's colour."""
    html = rendered("{% provider_mark provider %}", provider=Provider("GitHub", brand_icon="github"))
    assert "simple-icons/sprite.svg#github" in html
    assert "brand-github" in html


def test_a_provider_without_a_mark_of_ours_shows_a_monogram() -> None:
    """A name that is no brand here, a colour that is no hue, and markup in the name."""
    provider = Provider("<b> x", brand_icon="nowhere", color="mauve")
    html = rendered('{% provider_mark provider "sm" %}', provider=provider)
    assert "<svg" not in html
    assert "g-hue-slate" in html
    assert "&lt;X" in html


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Northwind ID", "NI"), ("salesforce", "Sa"), ("", "")],
)
def test_a_monogram_is_two_letters(name: str, letters: str) -> None:
    """Of the first two words, or of the only one."""
    assert monogram(name) == letters


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Dana Ortiz", "DO"), ("dana.ortiz@acme.example", "DO"), ("Cher", "C"), ("", "")],
)
def test_initials_come_from_a_name_or_an_address(name: str, letters: str) -> None:
    """At most two."""
    assert initials(name) == letters


def test_a_relative_time_is_exact_on_hover() -> None:
    """Words for people, ISO 8601 for the script."""
    moment = timezone.now() - timedelta(minutes=4, seconds=1)
    html = rendered("{% relative_time moment %}", moment=moment)
    assert ">4 min ago</time>" in html
    assert f'datetime="{moment.isoformat(timespec="seconds")}"' in html
    assert "UTC" in html


def test_a_missing_time_has_words_too() -> None:
    """ "Never", or what the page prefers."""
    assert rendered("{% relative_time moment %}", moment=None) == "Never"
    assert rendered('{% local_time moment never="Not yet" %}', moment=None) == "Not yet"


def test_a_local_time_shows_the_part_asked_for() -> None:
    """The browser writes it in the reader's locale."""
    moment = datetime(2026, 11, 3, 9, 26, tzinfo=UTC)
    assert ">3 Nov 2026</time>" in rendered('{% local_time moment "date" %}', moment=moment)
    assert 'data-local="time">09:26</time>' in rendered('{% local_time moment "time" %}', moment=moment)


def test_a_callout_escapes_its_title_and_keeps_its_content() -> None:
    """The content is the template's own markup; variables in it are escaped as ever."""
    html = rendered('{% callout tone="bad" title=t %}<p>{{ x }}</p>{% endcallout %}', t="<i>", x="<b>")
    assert "&lt;i&gt;" in html
    assert "<p>&lt;b&gt;</p>" in html


def test_a_chart_has_its_numbers_in_a_table() -> None:
    """For those who cannot see it."""
    html = rendered('{% bar_chart bars "Renewals" unit="Renewals" %}', bars=[("09:00", (("good", 4), ("bad", 0)))])
    assert '<th scope="row">09:00</th><td class="g-number">4</td>' in html
    assert html.count("<rect") == 1  # nothing is drawn for zero


def test_code_lines_are_escaped() -> None:
    """They hold what people typed."""
    assert "&lt;script&gt;" in rendered("{% code_lines lines %}", lines=["<script>"])


def test_the_tags_do_not_need_a_request() -> None:
    """The page for a failed request renders without one."""
    assert "There is nothing here" in engines["django"].get_template("workspaces/error.html").render(
        {"title": "There is nothing here", "message": "", "reference": "r-1", "code": "not_found"}
    )
