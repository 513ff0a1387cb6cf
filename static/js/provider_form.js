// The form of a provider: what the server does on its own, a moment sooner.
(() => {
  "use strict";
  const named = (row, name) => row.querySelector(`[name$="-${name}"]`);

  // A config value that is made a password, or invisible, is typed unseen at once.
  document.addEventListener("change", (event) => {
    const row = event.target.closest(".g-list-config_values .g-row-form");
    if (!row) return;
    const [value, type, visible] = ["value", "type", "visible"].map((name) => named(row, name));
    value.classList.toggle("g-masked", type.value === "password" || !visible.checked);
  });

  // After a row was added, removed or moved.
  document.addEventListener("htmx:afterSettle", () => {
    const marked = document.querySelector("#provider-form [data-focus]");
    if (!marked) return;
    marked.removeAttribute("data-focus");
    marked.focus();
  });
})();
