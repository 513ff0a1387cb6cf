"""Have every schedule made anew once: those of the release before know neither keep-alive nor ends of consent."""

from typing import Any

from django.db import migrations
from django.db.models.functions import Now


def schedule_anew(apps: Any, editor: Any) -> None:
    workspaces = apps.get_model("workspaces", "Workspace").objects.using(editor.connection.alias)
    workspaces.update(schedule_stale_since=Now())


class Migration(migrations.Migration):

    dependencies = [
        ("integrations", "0008_consent_ends"),
        ("workspaces", "0004_token_policy"),
    ]

    operations = [migrations.RunPython(schedule_anew, migrations.RunPython.noop)]
