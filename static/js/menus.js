// Menus are <details class="g-menu">: they open without this. It adds Escape, arrows, and closing outside.
(() => {
  "use strict";
  const openMenus = () => [...document.querySelectorAll(".g-menu[open]")];
  const items = (menu) => [...menu.querySelectorAll("a[href], button:not(:disabled)")].filter((item) => !item.closest("summary"));

  function close(menu, refocus) {
    menu.open = false;
    if (refocus) menu.querySelector("summary").focus();
  }

  document.addEventListener("click", (event) => {
    for (const menu of openMenus()) if (!menu.contains(event.target)) close(menu, false);
  });

  document.addEventListener("focusin", (event) => {
    for (const menu of openMenus()) if (!menu.contains(event.target)) close(menu, false);
  });

  function step(menu, by) {
    const all = items(menu);
    const at = all.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : (at + by + all.length) % all.length;
    if (all[next]) all[next].focus();
  }

  document.addEventListener("keydown", (event) => {
    const drawer = document.querySelector(".g-drawer[open]");
    const menu = event.target.closest(".g-menu");
    if (event.key === "Escape" && menu && menu.open) return close(menu, true);
    if (event.key === "Escape" && drawer) return close(drawer, true);
    if (!menu || !["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    if (!menu.open) menu.open = true;
    if (event.key === "Home") return items(menu)[0]?.focus();
    if (event.key === "End") return items(menu).at(-1)?.focus();
    step(menu, event.key === "ArrowDown" ? 1 : -1);
  });

  // "/" goes to the page's search field.
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    const search = document.querySelector("[data-search]");
    if (event.key !== "/" || typing || !search || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    event.preventDefault();
    search.focus();
    search.select();
  });
})();
