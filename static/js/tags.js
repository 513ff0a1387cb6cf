// A <textarea data-tags> becomes chips and an input. The textarea stays the field that is sent, and
// always holds the chips and whatever is still being typed, so nothing is lost on submit.
(() => {
  "use strict";
  let serial = 0;

  const pattern = (area) => (area.dataset.tagsDelimiter === "," ? /[,\n]+/ : area.dataset.tagsDelimiter === " " ? /[ \n]+/ : /[\s,]+/);
  const glue = (area) => area.dataset.tagsDelimiter || "\n";
  const split = (area, text) => text.split(pattern(area)).map((tag) => tag.trim()).filter(Boolean);

  function invalidOnes(area) {
    return new Set(area.dataset.tagsInvalid ? split({ dataset: {} }, area.dataset.tagsInvalid) : []);
  }

  function build(area) {
    const box = document.createElement("div");
    const list = document.createElement("ul");
    const input = document.createElement("input");
    const name = area.labels[0]?.textContent.trim() || "Entries";
    const wrong = invalidOnes(area);
    let tags = [];

    function sync(typed) {
      area.value = [...tags, ...split(area, input.value)].join(glue(area));
      if (typed) area.dispatchEvent(new Event("input", { bubbles: true }));
    }

    function chip(tag) {
      const item = document.createElement("li");
      const remove = document.createElement("button");
      item.className = wrong.has(tag) ? "g-tag is-invalid" : "g-tag";
      item.textContent = tag;
      remove.type = "button";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Remove ${tag}`);
      remove.addEventListener("click", () => {
        drop(tag);
        input.focus();
      });
      item.append(remove);
      return item;
    }

    function draw() {
      list.replaceChildren(...tags.map(chip));
      list.hidden = tags.length === 0;
    }

    function add(texts) {
      const fresh = texts.filter((tag, at) => !tags.includes(tag) && texts.indexOf(tag) === at);
      if (fresh.length === 0) return;
      tags = [...tags, ...fresh];
      draw();
      window.grantry.announce(`Added ${fresh.join(", ")}`);
    }

    function drop(tag) {
      tags = tags.filter((other) => other !== tag);
      draw();
      sync(true);
      window.grantry.announce(`Removed ${tag}`);
    }

    function take() {
      add(split(area, input.value));
      input.value = "";
      sync(true);
    }

    input.addEventListener("input", () => {
      if (pattern(area).test(input.value)) take();
      else sync(true);
    });
    input.addEventListener("blur", () => input.value.trim() && take());
    input.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text");
      if (split(area, text).length < 2) return;
      event.preventDefault();
      add(split(area, input.value + text)); // an input of one line would swallow the line breaks
      input.value = "";
      sync(true);
    });
    input.addEventListener("keydown", (event) => {
      const delimiter = event.key === "," && area.dataset.tagsDelimiter !== " ";
      if ((event.key === "Enter" || delimiter) && input.value.trim()) {
        event.preventDefault();
        take();
      } else if (event.key === "Backspace" && input.value === "" && tags.length) {
        drop(tags.at(-1));
      }
    });
    box.addEventListener("click", (event) => event.target === box && input.focus());
    // A suggestion: <button data-tags-add="scope" data-tags-for="id of the textarea">
    area.addEventListener("grantry:add-tag", (event) => {
      add([event.detail]);
      sync(true);
    });

    serial += 1;
    input.type = "text";
    input.autocomplete = "off";
    input.spellcheck = false;
    input.setAttribute("autocapitalize", "none");
    input.id = `${area.id || `tags-${serial}`}-entry`;
    for (const attribute of ["aria-describedby", "aria-invalid", "placeholder"]) {
      if (area.hasAttribute(attribute)) input.setAttribute(attribute, area.getAttribute(attribute));
    }
    if (area.dataset.tagsList) input.setAttribute("list", area.dataset.tagsList);
    for (const label of [...area.labels]) label.htmlFor = input.id;
    list.setAttribute("aria-label", `${name}, chosen`);
    box.className = area.classList.contains("is-invalid") ? "g-tags is-invalid" : "g-tags";
    box.append(list, input);
    tags = [...new Set(split(area, area.value))];
    area.hidden = true;
    area.required = false; // a hidden field cannot be pointed at; the server says what is missing
    area.dataset.tagsReady = "yes";
    area.after(box);
    draw();
  }

  function enhance() {
    for (const area of document.querySelectorAll("textarea[data-tags]:not([data-tags-ready])")) build(area);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-tags-add]");
    const area = button && document.getElementById(button.dataset.tagsFor);
    if (area) area.dispatchEvent(new CustomEvent("grantry:add-tag", { detail: button.dataset.tagsAdd }));
  });
  document.addEventListener("DOMContentLoaded", enhance);
  document.addEventListener("htmx:afterSettle", enhance);
})();
