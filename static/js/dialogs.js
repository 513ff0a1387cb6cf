// <a href="page that does the same" data-dialog="id"> opens <dialog id> instead of leaving the page.
(() => {
  "use strict";
  // A form with data-confirm-word may be sent only when its [data-confirm-input] says that word.
  function check(form) {
    const matches = form.querySelector("[data-confirm-input]").value.trim() === form.dataset.confirmWord;
    for (const button of form.querySelectorAll("[data-confirm-button]")) button.disabled = !matches;
  }

  function prepare() {
    for (const form of document.querySelectorAll("form[data-confirm-word]")) check(form);
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    const closer = event.target.closest("[data-dialog-close]");
    if (closer && closer.closest("dialog")) {
      event.preventDefault(); // without a dialog around it, Cancel is a link to somewhere
      closer.closest("dialog").close();
    }
    const dialog = opener && document.getElementById(opener.dataset.dialog);
    if (dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      opener.closest(".g-menu")?.removeAttribute("open");
      dialog.showModal();
    }
    if (event.target instanceof HTMLDialogElement) event.target.close(); // the backdrop
  });

  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-confirm-word]");
    if (form) check(form);
  });
  document.addEventListener("DOMContentLoaded", prepare);
  document.addEventListener("htmx:afterSettle", prepare);
})();
