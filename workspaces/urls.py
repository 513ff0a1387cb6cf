"""Routes of the workspaces app. Everything inside a workspace stands under `/w/<slug>/`."""

app_name = "workspaces"
urlpatterns: list[object] = []
