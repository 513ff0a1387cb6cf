"""Parameter values are encrypted from here on. Before the first release: what stood in the clear is dropped."""

import integrations.fields
from django.db import migrations


def _sealed(model: str, name: str, *, replaces: str) -> list[migrations.operations.base.Operation]:
    return [
        migrations.RemoveField(model_name=model, name=replaces),
        migrations.AddField(model_name=model, name=name, field=integrations.fields.SealedTextField(null=True)),
    ]


class Migration(migrations.Migration):
    dependencies = [("integrations", "0002_connect_link_creator")]

    operations = [
        *_sealed("connectlink", "sealed_parameters", replaces="parameters"),
        *_sealed("connection", "sealed_parameters", replaces="parameters"),
        *_sealed("integration", "sealed_parameters", replaces="parameters"),
        *_sealed("pendingauthorization", "sealed_parameters", replaces="parameters"),
        *_sealed("pendingauthorization", "authorization_endpoint", replaces="authorization_endpoint"),
        *_sealed("pendingauthorization", "token_endpoint", replaces="token_endpoint"),
        migrations.AlterModelOptions(name="connectlink", options={"base_manager_name": "objects"}),
        migrations.AlterModelOptions(
            name="connection", options={"base_manager_name": "objects", "ordering": ("-is_default", "name")}
        ),
    ]
