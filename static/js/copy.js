// Copy buttons: data-copy="text", or data-copy-from="id of the element that holds it".
(() => {
  "use strict";
  const SHOWN = 2000; // ms

  function textOf(button) {
    const source = document.getElementById(button.dataset.copyFrom || "");
    if (!source) return button.dataset.copy || "";
    return "value" in source ? source.value : source.textContent.trim();
  }

  async function write(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    // Over plain http the clipboard is closed; the old way still works.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "g-visually-hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("copy refused");
  }

  function confirmOn(button) {
    const use = button.querySelector("use");
    const word = button.querySelector("[data-copy-word]");
    if (button.dataset.copied || !use) return;
    const before = { href: use.getAttribute("href"), word: word && word.textContent };
    button.dataset.copied = "yes";
    use.setAttribute("href", before.href.replace(/#.*/, "#check"));
    if (word) word.textContent = "Copied";
    setTimeout(() => {
      use.setAttribute("href", before.href);
      if (word) word.textContent = before.word;
      delete button.dataset.copied;
    }, SHOWN);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    try {
      await write(textOf(button));
      confirmOn(button);
      window.grantry.announce("Copied");
    } catch {
      window.grantry.toast("The browser did not allow copying. Select the text and copy it by hand.", "waiting");
    }
  });
})();
