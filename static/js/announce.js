// Says things: the live region for screen readers, and toasts for everyone.
(() => {
  "use strict";
  const LASTS = 6000; // ms; problems stay until dismissed

  function announce(text) {
    const region = document.getElementById("live");
    if (!region) return;
    region.textContent = "";
    setTimeout(() => { region.textContent = text; }, 50); // the same words twice are two events
  }

  function retire(toast) {
    if (toast.dataset.retiring || toast.classList.contains("g-tone-bad") || toast.classList.contains("g-tone-waiting")) return;
    toast.dataset.retiring = "yes";
    let timer = setTimeout(() => toast.remove(), LASTS);
    toast.addEventListener("mouseenter", () => clearTimeout(timer));
    toast.addEventListener("focusin", () => clearTimeout(timer));
    toast.addEventListener("mouseleave", () => { timer = setTimeout(() => toast.remove(), LASTS); });
  }

  function show(text, tone = "good") {
    const list = document.getElementById("toasts");
    const template = document.getElementById(`toast-${tone}`) || document.getElementById("toast-good");
    if (!list || !template) return;
    const toast = template.content.firstElementChild.cloneNode(true);
    toast.querySelector("[data-toast-text]").textContent = text;
    list.append(toast);
    retire(toast);
  }

  function settle(root) {
    for (const toast of document.querySelectorAll("#toasts > .g-toast")) retire(toast);
    for (const said of root.querySelectorAll("[data-announce]")) announce(said.dataset.announce || said.textContent.trim());
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-toast-dismiss]");
    if (button) button.closest(".g-toast").remove();
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const toast of document.querySelectorAll("#toasts > .g-toast")) retire(toast);
  });
  // A view says HX-Trigger: {"toast": {"text": "…", "tone": "good"}}
  document.addEventListener("toast", (event) => show(event.detail.text, event.detail.tone));
  document.addEventListener("htmx:afterSettle", (event) => settle(event.detail.elt.parentElement || document));
  // A refusal that says where it belongs (HX-Retarget) is shown there, whatever its status.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!event.detail.xhr.getResponseHeader("HX-Retarget")) return;
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  });
  document.addEventListener("htmx:responseError", (event) => {
    show(`That did not work: the server answered ${event.detail.xhr.status}. Nothing was changed on this page.`, "bad");
  });
  document.addEventListener("htmx:sendError", () => show("Grantry cannot be reached. Check your connection and try again.", "bad"));

  // A security key that was not touched, or refused by the browser; allauth's script says so.
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    show("The security key was not used. Try again, or choose another way.", "bad");
  });

  window.grantry = Object.assign(window.grantry || {}, { announce, toast: show });
})();
