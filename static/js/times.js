// Keeps <time data-relative> current, in the words the server used, and says exact times in the reader's locale.
(() => {
  "use strict";
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const formats = {
    datetime: new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }),
    date: new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }),
    time: new Intl.DateTimeFormat(undefined, { timeStyle: "short" }),
  };
  const STEPS = [[60, "s", 1], [3600, "min", 60], [86400, "h", 3600], [86400 * 31, "day", 86400]];

  // The same words as workspaces/time_words.py.
  function words(moment, now) {
    const seconds = Math.round((moment - now) / 1000);
    const size = Math.abs(seconds);
    if (size < 5) return "just now";
    const step = STEPS.find(([limit]) => size < limit);
    if (!step) return formats.date.format(moment);
    const amount = Math.floor(size / step[2]);
    const unit = step[1] === "day" && amount !== 1 ? "days" : step[1];
    return seconds > 0 ? `in ${amount} ${unit}` : `${amount} ${unit} ago`;
  }

  function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function refresh() {
    if (document.hidden) return;
    const now = new Date();
    for (const element of document.querySelectorAll("time[datetime]")) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      if (element.hasAttribute("data-relative")) {
        put(element, words(moment, now));
        element.title = exact.format(moment);
      } else if (formats[element.dataset.local]) {
        put(element, formats[element.dataset.local].format(moment));
        element.title = exact.format(moment);
      }
    }
    for (const element of document.querySelectorAll("data[data-number]")) {
      put(element, Number(element.value).toLocaleString());
    }
  }

  document.addEventListener("DOMContentLoaded", refresh);
  document.addEventListener("htmx:afterSettle", refresh);
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, 10_000);
})();
