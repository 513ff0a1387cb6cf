// Runs before the first paint: the theme a person chose, or the system's.
(() => {
  "use strict";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem("grantry-theme") || "system";
    } catch {
      return "system"; // Storage may be closed to us; the system's theme is fine.
    }
  }

  function apply() {
    const theme = chosen();
    root.dataset.bsTheme = theme === "system" ? (dark.matches ? "dark" : "light") : theme;
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
    }
  }

  root.classList.add("js");
  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", apply);
  addEventListener("storage", apply); // another tab switched

  document.addEventListener("click", (event) => {
    const choice = event.target.closest("[data-theme-choice]");
    const toggle = event.target.closest("[data-theme-toggle]");
    if (!choice && !toggle) return;
    const wanted = choice ? choice.dataset.themeChoice : root.dataset.bsTheme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("grantry-theme", wanted);
    } catch {
      root.dataset.bsTheme = wanted; // lasts for this page only
      return;
    }
    apply();
  });
})();
