"""The table of Django's database cache, so that `migrate` alone is enough (no `createcachetable`).

Rate limits count in it when there is no Redis. It is made in any case: an installation may drop Redis later.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                # Columns as `django.core.cache.backends.db` expects them; it reads the table without a model.
                migrations.CreateModel(
                    name="CacheEntry",
                    fields=[
                        ("cache_key", models.CharField(max_length=255, primary_key=True)),
                        ("value", models.TextField()),
                        ("expires", models.DateTimeField(db_index=True)),
                    ],
                    options={"db_table": "cache"},
                ),
            ],
            state_operations=[],
        )
    ]
