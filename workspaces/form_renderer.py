"""How Django's own form templates are rendered."""

from django.forms.renderers import TemplatesSetting


class GrantryFormRenderer(TemplatesSetting):
    """Finds form templates in the project's template folders before Django's own."""
