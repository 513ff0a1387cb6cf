// Unsaved changes (form[data-unsaved]), password reveal ([data-reveal="input id"]), sending once.
(() => {
  "use strict";
  const state = (form) => new URLSearchParams(new FormData(form)).toString();
  const before = new WeakMap();

  function watch() {
    for (const form of document.querySelectorAll("form[data-unsaved]")) {
      if (!before.has(form)) before.set(form, state(form));
    }
  }

  // A form that came back with errors is unsaved whatever it says now.
  const isChanged = (form) => before.has(form) && (form.dataset.unsaved === "yes" || before.get(form) !== state(form));

  function show(form) {
    for (const note of form.querySelectorAll("[data-unsaved-note]")) note.hidden = !isChanged(form);
  }

  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-unsaved]");
    if (form) show(form);
  });

  addEventListener("beforeunload", (event) => {
    const changed = [...document.querySelectorAll("form[data-unsaved]")].some((form) => isChanged(form) && !form.dataset.leaving);
    if (changed) event.preventDefault();
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented && !form.matches("[hx-post], [data-hx-post]")) return;
    form.dataset.leaving = "yes";
    if (!form.hasAttribute("data-once")) return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
  });

  document.addEventListener("click", (event) => {
    // Cancel leaves on purpose.
    const leaving = event.target.closest("[data-unsaved-discard]")?.closest("form");
    if (leaving) leaving.dataset.leaving = "yes";

    const button = event.target.closest("[data-reveal]");
    const input = button && document.getElementById(button.dataset.reveal);
    if (!input) return;
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    button.setAttribute("aria-pressed", String(hidden));
    const word = button.querySelector("[data-reveal-word]");
    if (word) word.textContent = hidden ? "Hide" : "Show";
    const use = button.querySelector("use");
    if (use) use.setAttribute("href", use.getAttribute("href").replace(/#.*/, hidden ? "#eye-off" : "#eye"));
  });

  // A form that htmx sent stays on the page, and may be sent again.
  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.target.closest("form");
    if (!form) return;
    delete form.dataset.sent;
    delete form.dataset.leaving;
    form.removeAttribute("aria-busy");
  });

  // Back in history brings the page as it was left, its "sent" mark included.
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form")) {
      delete form.dataset.sent;
      delete form.dataset.leaving;
      form.removeAttribute("aria-busy");
    }
  });

  document.addEventListener("DOMContentLoaded", watch);
  document.addEventListener("htmx:afterSettle", watch);
})();
